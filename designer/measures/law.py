"""The law of equi-separation on the values D_0 .. D_L of one network, and the bounds of verdicts.

======  ===========================================================  ========
symbol  meaning                                                      shape
======  ===========================================================  ========
D       separation fuzziness, input first                            (L + 1,)
g       steps g_l = log D_{l-1} - log D_l, in nats                   (L,)
share   g_l / mean(g)                                                (L,)
rho     decay ratio: exp of the least-squares slope of log D on l    scalar
======  ===========================================================  ========

The law says D_l = rho^l D_0, that is, all steps are equal.  Pearson's r is reported because
the paper reports it, but it is a poor score: independent random steps give r near -0.99 and
two layers fit any line.  The steps themselves tell: mean(g) / rms(g) is the cosine between
g and (1, .., 1), so it is 1 exactly when the law holds, 0 without net progress, and negative
where separation gets worse.

All bounds on these numbers, from which a verdict or a warning follows, are the constants below;
the bounds on shares, which the report draws, are in ``designer.results.measured``.

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from designer.errors import InvalidInputError
from designer.results.measured import HIGH_SHARE, LOW_SHARE, FloatArray, LawFit, LawStatus, Verdict
from designer.results.ranges import Interval

MIN_STEPS = 3
"""With fewer steps the law is not judged: one or two steps nearly fit any line."""

HOLDS_FROM = 0.9
"""The law holds from this uniformity on: the sd of the steps is then below half their mean."""

ROUNDING = 1e-6
"""A step of less than this many nats counts as 0."""

LEAST_GAIN = 0.02
"""A fall of log D by less than this share of the total reduction is no gain, however certain."""

MEMORISED_GAP = 0.3
"""A network memorises if its training accuracy is this far above its held-out accuracy."""

DEEP = 6
"""With this many blocks or more, the law is not expected without normalisation."""


def fit_law(values: Sequence[float] | FloatArray) -> LawFit:
    """Fit the law of equi-separation to D_0 .. D_L.

    Args:
        values: (L + 1,) separation fuzziness, input first; at least two values.

    Returns:
        The fit. If a value is not positive and finite, its status is ``degenerate`` and all its
        numbers are nan.

    Raises:
        InvalidInputError: on fewer than two values, or more than one dimension.

    Reference: He & Su, PNAS 2023, who fit the same line; their L counts the layer of the logits,
    too.
    """
    d = np.asarray(values, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2:
        raise InvalidInputError(f"Expected `values` of shape (L + 1,), L >= 1, got {d.shape}.")
    if not np.all(np.isfinite(d) & (d > 0)):
        return _degenerate(d)
    g = steps(d)
    slope, line = _least_squares(np.log(d))
    r = correlation(np.log(d))
    status, reason = _judge_law(g)
    return LawFit(
        status=status,
        reason=reason,
        rho=float(np.exp(slope)),
        half_life=float(np.log(2) / -slope) if slope < 0 else float("inf"),
        r=r,
        r_squared=r**2,
        uniformity=uniformity(g),
        curvature=curvature(g),
        total_reduction=float(g.sum()),
        robustness_ratio=robustness_ratio(g),
        steps=tuple(g.tolist()),
        shares=tuple(shares(g).tolist()),
        residuals=tuple((np.log(d) - line).tolist()),
    )


def steps(values: FloatArray) -> FloatArray:
    """Return the steps (..., L) in nats of D (..., L + 1); positive where D falls."""
    g: FloatArray = -np.diff(np.log(values), axis=-1)
    return g


def shares(g: FloatArray) -> FloatArray:
    """Return the steps g (..., L) over their mean; nan where the mean is not positive."""
    mean = g.mean(axis=-1, keepdims=True)
    share: FloatArray = np.where(mean > 0, g / np.where(mean > 0, mean, 1), np.nan)
    return share


def uniformity(g: FloatArray) -> float:
    """Return mean(g) / rms(g) of the steps g (L,), -1..1: the cosine between g and (1, .., 1).

    0 if all steps are 0.
    """
    rms = float(np.sqrt(np.mean(g**2)))
    return float(np.clip(g.mean() / rms, -1, 1)) if rms > 0 else 0.0


def depth_fair_uniformity(g: FloatArray) -> float:
    """Return the uniformity of the steps g (L,) with the unbiased variance, -1..1.

    mean(g)^2 / rms(g)^2 flatters shallow networks: one step is always equal to itself.  With
    rms^2 = mean^2 + variance and the variance over L - 1 that advantage is gone.  0 for a single
    step, and if all steps are 0.
    """
    if len(g) < 2:
        return 0.0
    rms = float(np.sqrt(g.mean() ** 2 + g.var(ddof=1)))
    return float(np.clip(g.mean() / rms, -1, 1)) if rms > 0 else 0.0


def curvature(g: FloatArray) -> float:
    """Return the least-squares rise of the shares of the steps g (L,) from the first to the last.

    0 if the law holds, above 0 if late layers do more, below 0 if early ones do.  nan for a
    single step, and without shares.
    """
    share = shares(g)
    if len(g) < 2 or not np.isfinite(share).all():
        return float("nan")
    return float(np.polyfit(np.linspace(0, 1, len(g)), share, 1)[0])


def robustness_ratio(g: FloatArray) -> float:
    """Return sum(1 / rho_l) / (L (prod rho_l)^(-1/L)) of the steps g (L,), at least 1.

    rho_l = exp(-g_l).  For a given total reduction the sensitivity to perturbation,
    sum(1 / rho_l), is least when all steps are equal; this ratio says how far the network is from
    that (He & Su, PNAS 2023).
    """
    with np.errstate(over="ignore"):
        return float(np.mean(np.exp(g - g.mean())))


def correlation(log_values: FloatArray) -> float:
    """Return the Pearson correlation of log D_l (L + 1,) with l; nan if log D is constant."""
    if np.ptp(log_values) == 0:
        return float("nan")
    return float(np.corrcoef(np.arange(len(log_values)), log_values)[0, 1])


def tunnel_entrance(values: FloatArray, draws: FloatArray) -> int:
    """Return the first tap, 0..L, behind which D falls no further.

    The layers behind it are called a tunnel (Masarczyk et al., "The tunnel effect", NeurIPS 2023,
    who use linear probes).  D falls from this tap to a later one if the 95 % interval of the fall
    lies above ``LEAST_GAIN`` times the largest fall from the input.  L means that there is no
    tunnel.

    Args:
        values: (L + 1,) cross-fitted D, positive and finite.
        draws: (B, L + 1) bootstrap values of it; with (0, L + 1) ``values`` alone decide.
    """
    logs = np.log(np.vstack([values, draws]))
    bound = LEAST_GAIN * (logs[0, 0] - logs[0].min())
    for tap in range(len(values) - 1):
        falls = logs[:, tap, None] - logs[:, tap + 1 :]
        certain = falls[0] if not len(draws) else np.percentile(falls[1:], 2.5, axis=0)
        if not (certain > bound).any():
            return tap
    return len(values) - 1


def judge(share: float, interval: Interval, step_interval: Interval, degenerate: bool) -> Verdict:
    """Return the verdict on one layer.

    A layer is low, high or negative only if its whole interval lies beyond the bound.  If its
    share lies beyond but its interval does not, it is uncertain.  A layer whose step is 0 up to
    ``ROUNDING`` is low.

    Args:
        share: share of the layer; nan if D does not fall in total.
        interval: interval of the share, over resamples of data and seeds.
        step_interval: interval of the step in nats, which decides if there is no share.
        degenerate: True if a class direction is missing before or behind the layer.
    """
    if degenerate:
        return Verdict.DEGENERATE
    if np.isnan(share):
        return Verdict.NEGATIVE if step_interval[1] < -ROUNDING else Verdict.UNCERTAIN
    low, high = interval
    if max(map(abs, step_interval)) < ROUNDING:
        return Verdict.LOW
    if high <= 0:
        return Verdict.NEGATIVE
    if LOW_SHARE <= share <= HIGH_SHARE:
        return Verdict.OK
    if high < LOW_SHARE:
        return Verdict.LOW
    return Verdict.HIGH if low > HIGH_SHARE else Verdict.UNCERTAIN


def _least_squares(log_values: FloatArray) -> tuple[float, FloatArray]:
    """Return the slope of log D_l on l, 0 if it is within rounding, and the fit (L + 1,)."""
    layers = np.arange(len(log_values))
    slope, intercept = np.polyfit(layers, log_values, 1)
    rounding = 8 * np.finfo(np.float64).eps * (1 + np.abs(log_values).max())
    if abs(slope) <= rounding:
        slope, intercept = 0.0, log_values.mean()
    return float(slope), slope * layers + intercept


def _judge_law(g: FloatArray) -> tuple[LawStatus, str]:
    """Return the status of the law for steps g (L,), and the sentence that explains it."""
    u = uniformity(g)
    if len(g) < MIN_STEPS:
        return (
            LawStatus.TOO_FEW_LAYERS,
            f"{len(g)} step{'s nearly fit' if len(g) > 1 else ' fits'} any line; "
            f"the law needs at least {MIN_STEPS}.",
        )
    if g.sum() <= 0:
        return LawStatus.NOT_DECREASING, "D does not fall from the input to the last layer."
    if u >= HOLDS_FROM:
        return LawStatus.HOLDS, f"The steps are nearly equal (uniformity {u:.2f})."
    return (
        LawStatus.DOES_NOT_HOLD,
        f"The steps differ (uniformity {u:.2f}, the law asks for {HOLDS_FROM}).",
    )


def _degenerate(d: FloatArray) -> LawFit:
    """Return the fit without numbers of D (L + 1,), some of which have no logarithm."""
    nan = float("nan")
    bad = int(np.flatnonzero(~(np.isfinite(d) & (d > 0)))[0])
    length = len(d) - 1
    return LawFit(
        status=LawStatus.DEGENERATE,
        reason=f"D is {d[bad]:g} at layer {bad}, so its logarithm means nothing there.",
        rho=nan,
        half_life=nan,
        r=nan,
        r_squared=nan,
        uniformity=nan,
        curvature=nan,
        total_reduction=nan,
        robustness_ratio=nan,
        steps=(nan,) * length,
        shares=(nan,) * length,
        residuals=(nan,) * (length + 1),
    )
