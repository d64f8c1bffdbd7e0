"""Contributions as reports need them: always a record for every block, pooled over seeds.

======  =========================================================  ======
symbol  meaning                                                    shape
======  =========================================================  ======
v       effect of leaving the block out, one value per seed        (s,)
h       half widths of the intervals of v over held-out samples    (s,)
======  =========================================================  ======

The pooled value is mean(v).  Its interval has the half width
sqrt(mean(h^2) + (1.96 sd(v))^2 / s): the variances of samples and of seeds add up, and that of the
samples does not shrink with more seeds, because all seeds are measured on the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import nn

from designer.analysis.contribution import measure_contributions
from designer.analysis.options import AnalysisOptions
from designer.analysis.passes import PassProgress
from designer.data.batches import LabelledData
from designer.errors import DesignerError, one_line
from designer.measures.proportions import NORMAL_95, beats_chance
from designer.results.contribution import BlockContribution, Contribution, Effect
from designer.results.measured import SeparationProfile

NOT_FINITE = "What the network gives without it is not finite."
"""The reason if no effect of a block is a number."""


def contributions_or_reasons(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None,
    blocks: Sequence[str] | None,
    options: AnalysisOptions,
    profile: SeparationProfile,
    *,
    samples: int,
    progress: PassProgress | None = None,
) -> tuple[BlockContribution, ...]:
    """Measure the contribution of every block of a profile, or say why there is none.

    Args:
        model: the model that was profiled; it is left exactly as it was.
        train: training data.
        heldout: held-out data, if there are any.
        blocks: names of submodules, as for the profile.
        options: how the profile was measured.
        profile: what was measured before. It names the blocks and tells whether there is
            anything to lose.
        samples: how many training samples, and how many held-out samples, are used; 0 for none.
        progress: called after every batch.
    """
    reason = _reason_against(profile, samples)
    if reason or heldout is None:
        return _without(profile, reason)
    try:
        measured = measure_contributions(
            model, train, heldout, blocks, options, samples=samples, progress=progress
        )
    except DesignerError as error:
        return _without(profile, f"It could not be measured: {one_line(str(error))}")
    return tuple(map(_finite, measured))


def pooled_contributions(
    runs: Sequence[Sequence[BlockContribution]],
) -> tuple[BlockContribution, ...]:
    """Return the contribution of every block over several seeds.

    Args:
        runs: for each seed, one record per block in running order.

    Returns:
        One record per block; the reason of the first seed that has none if any has none. Empty
        without any seed, or if a seed has no records.
    """
    if not runs or not all(runs):
        return ()
    return tuple(_pooled(records) for records in zip(*runs, strict=True))


def _reason_against(profile: SeparationProfile, samples: int) -> str:
    """Return why there is no point in measuring; empty if there is."""
    if not samples:
        return "It was not asked for."
    if not profile.samples_heldout:
        return "There are no held-out data."
    accuracy, chance = profile.accuracy_heldout, profile.accuracy_by_chance_heldout
    if math.isfinite(accuracy) and not beats_chance(accuracy, profile.samples_heldout, chance):
        return "On held-out data the model is no better than chance, so it has nothing to lose."
    return ""


def _without(profile: SeparationProfile, reason: str) -> tuple[BlockContribution, ...]:
    return tuple(
        BlockContribution(layer.name, layer.kind, None, reason) for layer in profile.layers[1:]
    )


def _finite(record: BlockContribution) -> BlockContribution:
    """Return a record whose effects are all finite numbers; None stands for the others."""
    if record.contribution is None:
        return record
    effects = _effects_of(record.contribution)
    known = [effect if effect and _is_finite(effect) else None for effect in effects]
    if not any(known):
        return BlockContribution(record.name, record.kind, None, NOT_FINITE)
    contribution = Contribution(record.contribution.stand_in, *known)
    return BlockContribution(record.name, record.kind, contribution)


def _pooled(records: Sequence[BlockContribution]) -> BlockContribution:
    """Return the record of one block over several seeds."""
    first = records[0]
    contributions = [record.contribution for record in records if record.contribution is not None]
    if len(contributions) < len(records):
        reason = next(record.reason for record in records if record.contribution is None)
        return BlockContribution(first.name, first.kind, None, reason)
    columns = zip(*map(_effects_of, contributions), strict=True)
    effects = [_pooled_effect([e for e in column if e is not None], column) for column in columns]
    pooled = Contribution(contributions[0].stand_in, *effects)
    return BlockContribution(first.name, first.kind, pooled)


def _pooled_effect(known: Sequence[Effect], column: Sequence[Effect | None]) -> Effect | None:
    """Return the mean effect with its interval; None if a seed lacks it."""
    if len(known) < len(column):
        return None
    values = np.array([effect.value for effect in known])
    half_widths = np.array([(effect.interval[1] - effect.interval[0]) / 2 for effect in known])
    seeds = NORMAL_95 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    half = math.sqrt(float(np.mean(half_widths**2)) + float(seeds) ** 2)
    mean = float(values.mean())
    return Effect(mean, (mean - half, mean + half))


def _effects_of(
    contribution: Contribution,
) -> tuple[Effect | None, Effect | None, Effect | None]:
    return contribution.separation, contribution.cross_entropy, contribution.accuracy


def _is_finite(effect: Effect) -> bool:
    return all(map(math.isfinite, (effect.value, *effect.interval)))
