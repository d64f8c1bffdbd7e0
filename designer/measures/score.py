"""The design score: the number that a search maximises, from the profile of one network.

======  ====================================================================  ========
symbol  meaning                                                               shape
======  ====================================================================  ========
a_l     held-out nearest-class-mean accuracy after block l                    (L,)
v       held-out accuracy of the network itself, mean over its last epochs    scalar
c       chance: share of the largest held-out class                           scalar
H       held-out separation (a - c) / (1 - c), where a is the mean of a_l     scalar
        over the later two thirds of the depth
V       accuracy above chance (v - c) / (1 - c)                               scalar
U       adherence: depth-fair uniformity of the steps of D / D_null           scalar
W       weight of the adherence, 0.05                                         scalar
======  ====================================================================  ========

    score = (max(H, 0) + V) / 2 (1 - W (1 - U) / 2)

H and V say which architecture will win.  H, nearest-class-mean accuracy inside the network, is the
better guide for perceptrons, V for convolutional networks, and their mean is never far behind
either.  V is averaged over the last epochs, because the running statistics of batch normalisation
make the accuracy after a single early epoch noisy.  In H the first third of the depth does not
count, because its features are still near the input and tell networks apart by chance.  The later
blocks are averaged, because the mean is steadier than the last or the best block alone.  Depth is
cut at exactly one third, and a block in which the cut falls counts in part, so that adding layers
does not move the cut to and fro.

H can be far below 0 where classes are of very different sizes, since the nearest mean knows nothing
of their sizes, which chance is made of.  There it says nothing, and V decides.

U says how equally the blocks share the work.  It multiplies the rest, so a network that follows the
law on memorised labels (H = V = 0) scores nothing.  D is divided by its label-permutation null,
because wide layers look separated by chance, and the uniformity is the depth-fair one, because few
steps look equal by chance.  W is small, because adherence alone predicts the accuracy poorly.
``benchmarks/claims/score.py`` compares this form with others, and ``criterion.py`` with every
baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from designer.choices import Measure
from designer.errors import InvalidInputError
from designer.measures.law import depth_fair_uniformity, steps
from designer.results.measured import DesignScore, FloatArray, SeparationProfile

EARLY = 1 / 3
"""Share of the depth, from the input on, that does not count in H."""

LAST_EPOCHS = 3
"""Epochs over which V is averaged."""

ADHERENCE_WEIGHT = 0.05
"""W: the largest share of the score that unequal steps can cost."""


def design_score(
    profile: SeparationProfile, accuracies: Sequence[float | None] = ()
) -> DesignScore:
    """Return the design score of a profile: higher is better, at most 1.

    Args:
        profile: measured with held-out data.
        accuracies: held-out accuracies from 0 to 1 after earlier epochs of the same training, in
            order; None and NaN, where there was none, do not count. Those of the last
            ``LAST_EPOCHS`` count, that of the profile included. Without logits, and so without any
            accuracy, the score is made of H and U alone.

    Raises:
        InvalidInputError: if this is no profile, it was measured without held-out data or by its
            residual, or an accuracy is not a number from 0 to 1.
    """
    if not isinstance(profile, SeparationProfile):
        raise InvalidInputError(
            f"Expected what `designer.profile` returns, got {type(profile).__name__}."
        )
    if profile.measure != Measure.SEPARATION:
        raise InvalidInputError(
            "Expected a profile of the separation, got one of the residual: the design score is "
            "made of how well classes are separated."
        )
    if profile.law_heldout is None:
        raise InvalidInputError(
            "Expected a profile with held-out data, got one without; pass `heldout` to "
            "`designer.profile`."
        )
    blocks = [layer.nearest_class_mean_accuracy for layer in profile.layers[1:]]
    h = heldout_separation(np.array(blocks), profile.chance)
    latest = [*_known(accuracies), profile.accuracy_heldout][-LAST_EPOCHS:]
    v = above_chance(float(np.mean(latest)), profile.chance)
    u = adherence(profile.values, profile.nulls)
    value = combine(h, v, u)
    return DesignScore(value, h, v, u, explain(value, h, v, u))


def _known(accuracies: Sequence[float | None]) -> list[float]:
    """Return the accuracies that exist, checked to be from 0 to 1."""
    try:
        numbers = [float(accuracy) for accuracy in accuracies if accuracy is not None]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Expected accuracies of earlier epochs as a list of numbers, got {accuracies!r:.40}."
        ) from error
    known = [accuracy for accuracy in numbers if not math.isnan(accuracy)]
    for accuracy in known:
        if not 0 <= accuracy <= 1:
            raise InvalidInputError(f"Expected accuracies from 0 to 1, got {accuracy:g}.")
    return known


def heldout_separation(accuracies: FloatArray, chance: float) -> float:
    """Return H: 0 is chance, 1 is perfect; 0 if there is only one held-out class.

    Args:
        accuracies: (L,) held-out nearest-class-mean accuracies of the blocks.
        chance: share of the largest held-out class.
    """
    depth = len(accuracies)
    weights = np.clip(np.arange(1, depth + 1) - EARLY * depth, 0, 1)
    return above_chance(float(weights @ accuracies / weights.sum()), chance)


def above_chance(accuracy: float, chance: float) -> float:
    """Return an accuracy scaled so that 0 is chance and 1 is perfect; 0 if chance is perfect."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0


def adherence(values: FloatArray, nulls: FloatArray) -> float:
    """Return U, -1..1; -1, the worst, if some D does not exist or is not positive.

    Args:
        values: (L + 1,) D.
        nulls: (L + 1,) its label-permutation null; if some are nan, D is taken as it is.
    """
    if not np.all(np.isfinite(values) & (values > 0)):
        return -1.0
    usable = np.isfinite(nulls) & (nulls > 0)
    return depth_fair_uniformity(steps(values / np.where(usable.all(), nulls, 1.0)))


def combine(heldout: float, accuracy: float, adherence: float) -> float:
    """Return the design score from H, V and U.

    Args:
        heldout: H. Below 0 it counts as 0, unless there is nothing else.
        accuracy: V; NaN if the network has no accuracy.
        adherence: U. It does not count for a network that is no better than chance.
    """
    mean = (max(heldout, 0.0) + accuracy) / 2 if np.isfinite(accuracy) else heldout
    return mean * (1 - ADHERENCE_WEIGHT * (1 - adherence) / 2) if mean > 0 else mean


def explain(value: float, heldout: float, accuracy: float, adherence: float) -> str:
    """Return one sentence that explains the score and its parts."""
    known = np.isfinite(accuracy)
    mean = combine(heldout, accuracy, 1.0)
    counts = ", which counts as 0" if known and heldout < 0 else ""
    separation = (
        f"held-out separation {heldout:.3f}{counts} (nearest-class-mean accuracy over the "
        f"later two thirds of the depth; 0 is chance, 1 is perfect)"
    )
    parts = f"the mean of {separation} and accuracy {accuracy:.3f} (scaled alike)"
    return (
        f"Design score {value:.3f}: {parts if known else separation}, less "
        f"{1 - value / mean if mean > 0 else 0:.1%} for an adherence of {adherence:.2f} "
        f"(how equal the steps of the blocks are; 1 is equi-separation)."
    )
