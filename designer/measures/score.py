"""The design score: profile and accuracies to the number that a search maximises.

======  =================================================================
symbol  meaning
======  =================================================================
a_l     held-out nearest-class-mean accuracy after block l
c       chance: share of the largest held-out class
H       held-out separation: (a - c) / (1 - c) with a the mean of a_l over the
        later two thirds of the depth
U       adherence: depth-fair uniformity of the steps of log(D / D_null)
======  =================================================================

    score = H (1 - W (1 - U) / 2),   W = 0.05

H says which architecture will win: of what a short run offers, nearest-class-mean accuracy
inside the network agreed best with the accuracy after long training.  The first third is left
out, because there the features are still near the input and tell networks apart by chance; the
later blocks are averaged, because that is steadier than the last or the best one alone.  Depth
is cut at exactly one third (a block in which the cut falls counts in part), so that adding
layers does not move the cut to and fro.  U says how equally the blocks
share the work.  It always counts, and it multiplies, so a network that follows the law on
memorised labels (H = 0) scores nothing.  D is taken over its label-permutation null, because
wide layers look separated by chance, and the uniformity is the depth-fair one, because few
steps look equal by chance.  W is small because the measurements say so: adherence alone is a
poor predictor.  ``benchmarks/bench_criterion.py`` shows each part beside every baseline.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, norm

from designer.errors import InvalidInputError
from designer.measures.law import depth_fair_uniformity, steps
from designer.results.measured import DesignScore, FloatArray, SeparationProfile

EARLY = 1 / 3
"""Share of the depth, from the input on, that does not count in H."""


ADHERENCE_WEIGHT = 0.05
"""W: what the score loses at the most for steps that depart from equi-separation."""


def design_score(profile: SeparationProfile) -> DesignScore:
    """The design score of a profile with held-out data, higher is better, at most 1.

    Raises:
        InvalidInputError: where the profile was measured without held-out data.
    """
    if profile.law_heldout is None:
        raise InvalidInputError(
            "Expected a profile with held-out data, got one without; pass `heldout` to "
            "`designer.profile`."
        )
    heldout = heldout_separation(
        np.array([layer.nearest_class_mean_accuracy for layer in profile.layers[1:]]),
        profile.chance,
    )
    follows = adherence(profile.values, profile.nulls)
    value = combine(heldout, follows)
    return DesignScore(value, heldout, follows, explain(value, heldout, follows))


def heldout_separation(accuracies: FloatArray, chance: float) -> float:
    """H from held-out nearest-class-mean accuracies (L,) of the blocks: 0 chance, 1 perfect."""
    depth = len(accuracies)
    weights = np.clip(np.arange(1, depth + 1) - EARLY * depth, 0, 1)
    mean = float(weights @ accuracies / weights.sum())
    return (mean - chance) / (1 - chance) if chance < 1 else 0.0


def adherence(values: FloatArray, nulls: FloatArray) -> float:
    """U from D (L + 1,) and its label-permutation null (L + 1,), -1..1.

    -1, the worst, where D does not exist somewhere or is not positive. A null that was not
    measured (nan) leaves D as it is.
    """
    if not np.all(np.isfinite(values) & (values > 0)):
        return -1.0
    usable = np.isfinite(nulls) & (nulls > 0)
    return depth_fair_uniformity(steps(values / np.where(usable.all(), nulls, 1.0)))


def combine(heldout: float, adherence: float) -> float:
    """The design score from its parts; below chance there is nothing to reduce."""
    if heldout <= 0:
        return heldout
    return heldout * (1 - ADHERENCE_WEIGHT * (1 - adherence) / 2)


def beats_chance(accuracy: float, samples: int, chance: float) -> bool:
    """Whether an accuracy on so many samples can be told from always naming the largest class.

    One-sided binomial test at three standard deviations, which allows for having looked at the
    best of several.
    """
    hits = round(accuracy * samples)
    return float(binom.sf(hits - 1, samples, chance)) <= float(norm.sf(3))


def explain(value: float, heldout: float, adherence: float) -> str:
    """One sentence that says what the score is and how it came about."""
    return (
        f"Design score {value:.3f}: on held-out data the nearest class mean is right "
        f"{heldout:.3f} of the way from chance to perfect over the later two thirds of the "
        f"depth, less "
        f"{1 - value / heldout if heldout > 0 else 0:.1%} because the blocks' steps are equal to "
        f"degree {adherence:.2f} (1 is equi-separation)."
    )
