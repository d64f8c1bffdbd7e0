"""The design score: the number that a search maximises, from the profile of one network.

======  ====================================================================  ========
symbol  meaning                                                               shape
======  ====================================================================  ========
a_l     held-out nearest-class-mean accuracy after block l                    (L,)
c       chance: share of the largest held-out class                           scalar
H       held-out separation (a - c) / (1 - c), where a is the mean of a_l     scalar
        over the later two thirds of the depth
U       adherence: depth-fair uniformity of the steps of D / D_null           scalar
W       weight of the adherence, 0.05                                         scalar
======  ====================================================================  ========

    score = H (1 - W (1 - U) / 2)

H says which architecture will win: of all figures of a short run, nearest-class-mean accuracy
inside the network agreed best with the accuracy after long training.  The first third of the
depth does not count, because its features are still near the input and tell networks apart by
chance.  The later blocks are averaged, because the mean is steadier than the last or the best
block alone.  Depth is cut at exactly one third, and a block in which the cut falls counts in part,
so that adding layers does not move the cut to and fro.

U says how equally the blocks share the work.  It multiplies H, so a network that follows the law
on memorised labels (H = 0) scores nothing.  D is divided by its label-permutation null, because
wide layers look separated by chance, and the uniformity is the depth-fair one, because few steps
look equal by chance.  W is small, because adherence alone predicts the accuracy poorly.
``benchmarks/claims/criterion.py`` shows each part beside every baseline.
"""

from __future__ import annotations

import numpy as np

from designer.errors import InvalidInputError
from designer.measures.law import depth_fair_uniformity, steps
from designer.results.measured import DesignScore, FloatArray, SeparationProfile

EARLY = 1 / 3
"""Share of the depth, from the input on, that does not count in H."""

ADHERENCE_WEIGHT = 0.05
"""W: the largest share of the score that unequal steps can cost."""


def design_score(profile: SeparationProfile) -> DesignScore:
    """Return the design score of a profile: higher is better, at most 1.

    Args:
        profile: measured with held-out data.

    Raises:
        InvalidInputError: if the profile was measured without held-out data.
    """
    if profile.law_heldout is None:
        raise InvalidInputError(
            "Expected a profile with held-out data, got one without; pass `heldout` to "
            "`designer.profile`."
        )
    accuracies = [layer.nearest_class_mean_accuracy for layer in profile.layers[1:]]
    h = heldout_separation(np.array(accuracies), profile.chance)
    u = adherence(profile.values, profile.nulls)
    value = combine(h, u)
    return DesignScore(value, h, u, explain(value, h, u))


def heldout_separation(accuracies: FloatArray, chance: float) -> float:
    """Return H: 0 is chance, 1 is perfect; 0 if there is only one held-out class.

    Args:
        accuracies: (L,) held-out nearest-class-mean accuracies of the blocks.
        chance: share of the largest held-out class.
    """
    depth = len(accuracies)
    weights = np.clip(np.arange(1, depth + 1) - EARLY * depth, 0, 1)
    mean = float(weights @ accuracies / weights.sum())
    return (mean - chance) / (1 - chance) if chance < 1 else 0.0


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


def combine(heldout: float, adherence: float) -> float:
    """Return the design score from H and U; an H of 0 (chance) or less is returned as it is."""
    if heldout <= 0:
        return heldout
    return heldout * (1 - ADHERENCE_WEIGHT * (1 - adherence) / 2)


def explain(value: float, heldout: float, adherence: float) -> str:
    """Return one sentence that explains the score and its parts."""
    return (
        f"Design score {value:.3f}: held-out separation {heldout:.3f} (nearest-class-mean accuracy "
        f"over the later two thirds of the depth; 0 is chance, 1 is perfect), less "
        f"{1 - value / heldout if heldout > 0 else 0:.1%} for an adherence of {adherence:.2f} "
        f"(how equal the steps of the blocks are; 1 is equi-separation)."
    )
