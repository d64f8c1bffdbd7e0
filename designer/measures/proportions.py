"""Proportions and their paired differences with confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import binomtest, norm
from torch import Tensor

from designer.results.layers import Proportion

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Drop:
    """Accuracy that a network lacks to another."""

    value: float
    bound: float
    """It lacks no more than this, with 95 % confidence."""


def proportion(mask: Tensor) -> Proportion:
    """Share of a mask (n,), with its Wilson interval."""
    hits, n = int(mask.sum()), len(mask)
    return Proportion(hits / n, wilson(hits, n), n)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, which has a width also where all or none are right."""
    found = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def drop_of(original: Tensor, smaller: Tensor) -> Drop:
    """From what both (n,) are right on."""
    n = len(original)
    b = int((original & ~smaller).sum())
    c = int((smaller & ~original).sum())
    p, q = (b + 1) / (n + 2), (c + 1) / (n + 2)
    spread = math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return Drop((b - c) / n, p - q + float(norm.ppf(CONFIDENCE)) * spread)
