"""Proportions of samples: their intervals, their paired differences, and chance.

======  =======================================================  ======
symbol  meaning                                                  shape
======  =======================================================  ======
n       samples                                                  scalar
k       samples among them that are classified correctly         scalar
p       the proportion k / n                                     scalar
z       quantile of the normal distribution                      scalar
b, c    samples that only the one network, or only the other,    scalar
        classifies correctly
======  =======================================================  ======

References: Wilson, "Probable inference, the law of succession, and statistical inference",
Journal of the American Statistical Association 22, 1927; Bonett & Price, "Adjusted Wald
confidence interval for a difference of binomial proportions based on paired data", Journal of
Educational and Behavioral Statistics 37(4), 2012; Cohen, "A coefficient of agreement for nominal
scales", Educational and Psychological Measurement 20(1), 1960.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import betainc, ndtr, ndtri
from torch import Tensor

from designer.results.layers import Proportion

NORMAL_95 = 1.96
"""Half width of a two-sided 95 % interval of a mean, in standard errors."""

CONFIDENCE = 0.95
"""Confidence of all intervals and bounds."""

CHANCE_DEVIATIONS = 3
"""An accuracy beats chance if it lies this many standard deviations above it. The number is high,
because the accuracy that is tested is often the best of several."""


@dataclass(frozen=True)
class Drop:
    """Accuracy that a smaller network lacks."""

    value: float
    """Accuracy of the original minus accuracy of the smaller network."""
    bound: float
    """Upper 95 % confidence bound on ``value`` (paired)."""


def proportion(mask: Tensor) -> Proportion:
    """Return the share of True in a mask (n,), n >= 1, with its Wilson interval."""
    hits, n = int(mask.sum()), len(mask)
    return Proportion(hits / n, wilson(hits, n), n)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the two-sided 95 % interval of a proportion (Wilson, 1927).

    It has a width even if none or all of the samples are hits.

    Args:
        hits: k, 0..n.
        n: at least 1.
    """
    p = hits / n
    z = float(ndtri(0.5 + 0.5 * CONFIDENCE))
    scale = 2 * (n + z**2)
    centre = (2 * n * p + z**2) / scale
    half_width = z / scale * math.sqrt(4 * n * p * (1 - p) + z**2)
    low = 0.0 if hits == 0 else centre - half_width
    high = 1.0 if hits == n else centre + half_width
    return low, high


def drop_of(original: Tensor, smaller: Tensor) -> Drop:
    """Return the accuracy that a smaller network lacks, with its upper 95 % bound.

    The bound is that of ``paired_difference``.

    Args:
        original: (n,) mask of the samples that the original classifies correctly.
        smaller: (n,) the same for the smaller network, in the same order.
    """
    lost, gained = int((original & ~smaller).sum()), int((smaller & ~original).sum())
    centre, spread = paired_difference(lost, gained, len(original))
    return Drop((lost - gained) / len(original), centre + float(ndtri(CONFIDENCE)) * spread)


def paired_difference(more: int, less: int, n: int) -> tuple[float, float]:
    """Return the centre and the standard error of the difference of two paired proportions.

    It is Wald's, with one sample added to both counts (Bonett & Price, 2012), so that an interval
    has a width even if the two agree on all samples.

    Args:
        more: samples that count for the first proportion only.
        less: samples that count for the second only.
        n: all samples, at least 1.
    """
    p, q = (more + 1) / (n + 2), (less + 1) / (n + 2)
    return p - q, math.sqrt((p + q - (p - q) ** 2) / (n + 2))


def beats_chance(accuracy: float, samples: int, chance: float) -> bool:
    """Return True if an accuracy is better than chance.

    This is the one-sided binomial test at ``CHANCE_DEVIATIONS`` standard deviations.

    Args:
        accuracy: share of the samples that are classified correctly.
        samples: n.
        chance: the accuracy that the predictions have by chance, see ``accuracy_by_chance``; where
            they are not known, the share of the largest class, which is the most that it can be.
    """
    hits = round(accuracy * samples)
    return _at_least(hits, samples, chance) <= float(ndtr(-CHANCE_DEVIATIONS))


def accuracy_by_chance(predicted: Tensor, labels: Tensor) -> float:
    """Return the accuracy that predictions would have if they did not depend on the labels.

    This is Cohen's (1960) agreement by chance, the sum over all classes of the share that is
    predicted times the share that is there. A network that was trained with class weights may be
    right less often than one that always names the largest class, and yet tell classes apart.

    Args:
        predicted: (n,) classes that are predicted, -1 for none; n >= 1.
        labels: (n,) classes.
    """
    k = int(max(predicted.max(), labels.max())) + 1
    shares = [torch.bincount(x[x >= 0], minlength=k).double() / len(x) for x in (predicted, labels)]
    return float(shares[0] @ shares[1])


def _at_least(hits: int, n: int, p: float) -> float:
    """Return the probability of at least this many hits among n, each with probability p."""
    return float(betainc(hits, n - hits + 1, p)) if hits > 0 else 1.0
