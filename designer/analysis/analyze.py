"""Analyze a model: its blocks, their law, and what to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from designer.analysis.advice import input_report, layer_reports, stage_laws
from designer.analysis.contribution import SAMPLES
from designer.analysis.data_for_model import ModelData
from designer.analysis.diagnosis import diagnose
from designer.analysis.options import MANY_CLASSES, AnalysisOptions
from designer.analysis.passes import PassProgress
from designer.analysis.pooled_contributions import contributions_or_reasons
from designer.analysis.profile import profile_with_options
from designer.analysis.unit_use import unit_use
from designer.analysis.warnings import (
    bypass_warnings,
    coverage_warnings,
    law_warnings,
    leak_warnings,
    no_normalisation_warning,
    unseen_warnings,
)
from designer.data.batches import LabelledData, batches_of
from designer.errors import InvalidInputError
from designer.measures.law import DEEP, tunnel_entrance
from designer.measures.proportions import beats_chance
from designer.models.loaded import LoadedModel
from designer.probing.blocks import BlockCandidate
from designer.probing.calling import unwrap
from designer.probing.probes import TRACED_SAMPLES, block_candidates
from designer.results.analysis import (
    ANALYSIS_SCHEMA,
    AnalysisResult,
    DataUsed,
    ModelSummary,
    Tunnel,
)
from designer.results.contribution import BlockContribution
from designer.results.layers import LawSummary, LayerReport, ReportWarning
from designer.results.measured import (
    Separation,
    SeparationProfile,
    SeparationStatus,
    measured,
    perplexity_of,
)
from designer.results.provenance import versions
from designer.results.units import UnitUse

NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
"""Torch's classes that normalise features."""

NORMALISATION_NAME = re.compile(
    r"(?<!No)(?<!Un)(?<!De)(?<!Weight)(?<!Spectral)Norm(alization)?(Act)?(\dd)?$"
)
"""The end of the name of a class that normalises features; weights do not count."""

IN_MEMORY = "data in memory"
"""The name of data that come without one."""


def analyze(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None = None,
    blocks: Sequence[str] | None = None,
    *,
    measure: str | None = None,
    features: str | None = None,
    dimension: int | None = None,
    permutations: int | None = None,
    resamples: int = 200,
    contribution_samples: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: PassProgress | None = None,
) -> AnalysisResult:
    """Analyze a model: what each block shows and contributes, and what to change.

    Args:
        model: any module; it is left exactly as it was.
        train: training data; see ``designer.profile``.
        heldout: held-out data; without them there is no cross-fitted D, no contribution and no
            tunnel.
        blocks: names of submodules; see ``designer.profile``.
        measure: ``separation`` or ``residual``; by default as for ``designer.profile``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        dimension: number of features to project to; implies ``project``.
        permutations: label permutations for the null of separation.
        resamples: bootstrap resamples for intervals; 0 for none.
        contribution_samples: how many training samples, and how many held-out samples, the
            contributions are measured on, by default 1,024 of each; 0 for no contributions. See
            ``designer.contributions``.
        batch_size: samples per forward pass for data in memory.
        seed: seed of permutations, resamples and projections.
        progress: called after every batch.

    Returns:
        What was measured, verdicts and advice per block, and warnings.

    Raises:
        ModelError: if the model raises.
        InvalidInputError: if data or options are malformed, or the model has no blocks.
    """
    options = AnalysisOptions(
        measure=measure,
        features=features,
        dimension=dimension,
        permutations=permutations,
        resamples=resamples,
        batch_size=batch_size,
        seed=seed,
    )
    samples = SAMPLES if contribution_samples is None else contribution_samples
    if samples < 0:
        raise InvalidInputError(f"Expected `contribution_samples` of at least 0, got {samples}.")
    profile = profile_with_options(model, train, heldout, blocks, options, progress)
    contributions = contributions_or_reasons(
        model,
        train,
        heldout,
        blocks,
        options,
        profile,
        samples=samples,
        progress=progress,
    )
    units = unit_use(model, train, heldout, blocks, options, samples=samples)
    result = _result(profile, contributions, units, unwrap(model))
    return replace(result, warnings=(*leak_warnings(train, heldout), *result.warnings))


def list_candidates(model: nn.Module, train: LabelledData) -> list[BlockCandidate]:
    """Return every part of a model that might be a block, in running order, with the reasons.

    Args:
        model: any module; it is left exactly as it was.
        train: training data, of which the first samples run through the model.

    Raises:
        ModelError: if the model raises.
    """
    inputs, _, _ = next(iter(batches_of(train, TRACED_SAMPLES)))
    return block_candidates(model, inputs)


def with_origin(
    result: AnalysisResult, model: LoadedModel, weights: Path | None, data: ModelData
) -> AnalysisResult:
    """Return the result with the origin of its model and of its data.

    Args:
        result: what was measured.
        model: the model, as it was loaded.
        weights: file that the weights came from, if it was named.
        data: the data, as they were loaded for the model.
    """
    return replace(
        result,
        model=replace(
            result.model, name=model.name, weights=None if weights is None else weights.name
        ),
        data=replace(
            result.data,
            name=data.name,
            heldout_part=data.heldout_part,
            fingerprint=data.fingerprint,
            scaling=data.scaling,
        ),
        warnings=(*data.warnings, *result.warnings),
    )


def _result(
    profile: SeparationProfile,
    contributions: Sequence[BlockContribution],
    units: UnitUse,
    model: nn.Module,
) -> AnalysisResult:
    """Return what a profile, contributions and units say about a model."""
    law = LawSummary.of(profile.law)
    law_heldout = None if profile.law_heldout is None else LawSummary.of(profile.law_heldout)
    layers = layer_reports([profile], contributions)
    return AnalysisResult(
        schema=ANALYSIS_SCHEMA,
        model=_model_summary(profile, model),
        data=_data_used(profile),
        measure=profile.measure,
        features=profile.features,
        law=law,
        law_heldout=law_heldout,
        input=input_report([profile]),
        layers=layers,
        stages=stage_laws([profile]),
        tunnel=_tunnel(profile, layers),
        warnings=(*_warnings(profile, model), *law_warnings("The model", law, layers)),
        versions=versions(),
        diagnosis=diagnose([profile], contributions, normalised=_is_normalised(model), units=units),
    )


def _model_summary(profile: SeparationProfile, model: nn.Module) -> ModelSummary:
    kind = type(model).__name__
    return ModelSummary(
        name=kind,
        weights=None,
        kind=kind,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        accuracy=measured(profile.accuracy),
        accuracy_heldout=measured(profile.accuracy_heldout),
        coverage=profile.coverage,
        embedding_parameters=profile.embedding_parameters,
        perplexity=measured(perplexity_of(profile.loss)),
        perplexity_heldout=measured(perplexity_of(profile.loss_heldout)),
    )


def _data_used(profile: SeparationProfile) -> DataUsed:
    return DataUsed(
        name=IN_MEMORY,
        train=profile.samples,
        heldout=profile.samples_heldout,
        heldout_part="held-out",
        num_classes=profile.num_classes,
        chance=measured(profile.chance),
    )


def _is_normalised(model: nn.Module) -> bool:
    """Return True if any part of a model is a normalisation of features."""
    return any(map(_normalises, model.modules()))


def _normalises(module: nn.Module) -> bool:
    """Return True for torch's normalisations, and for parts that are named like one.

    Only the end of the name counts, and only of parts without parts: a ``NormFreeBlock`` is none.
    """
    if isinstance(module, NORMALISATIONS):
        return True
    named = NORMALISATION_NAME.search(type(module).__name__) is not None
    return named and next(module.children(), None) is None


def _tunnel(profile: SeparationProfile, layers: Sequence[LayerReport]) -> Tunnel | None:
    """Return where held-out separation stops improving; None without a D at every tap."""
    values = profile.values_heldout
    if not np.all(np.isfinite(values) & (values > 0)):
        return None
    draws = np.array(profile.resampled_heldout).reshape(-1, len(values))
    entrance = tunnel_entrance(values, draws)
    names = [layer.name for layer in profile.layers]
    beyond = layers[entrance:]
    reason = _tunnel_reason(names[entrance], beyond)
    return Tunnel(names[entrance], tuple(layer.name for layer in beyond), reason)


def _tunnel_reason(entrance: str, beyond: Sequence[LayerReport]) -> str:
    if not beyond:
        return "The separation of held-out data improves up to the last block."
    blocks = "1 block lies" if len(beyond) == 1 else f"{len(beyond)} blocks lie"
    return (
        f"On held-out data the separation does not improve after '{entrance}': {blocks} beyond. "
        f"{_need_beyond(beyond)}"
    )


def _need_beyond(beyond: Sequence[LayerReport]) -> str:
    """Return which of the blocks behind the entrance of a tunnel are needed, in a sentence."""
    tried = [layer for layer in beyond if layer.contribution is not None]
    needed = [layer.name for layer in tried if layer.contribution and layer.contribution.needed]
    if needed:
        return f"Needed all the same: {', '.join(needed)}."
    if len(tried) == len(beyond):
        return "No block there is surely needed, left out alone."
    return "Whether they are needed was not tried."


def _warnings(profile: SeparationProfile, model: nn.Module) -> Iterator[ReportWarning]:
    """Yield what makes the measurements doubtful, apart from the law itself."""
    yield from (ReportWarning("measured_otherwise", note) for note in profile.notes)
    if not profile.blocks_named:
        yield from coverage_warnings("the model", profile.coverage)
    yield from bypass_warnings(profile.bypassed)
    yield from unseen_warnings(profile.unseen_block)
    yield from _feature_warnings(profile)
    yield from _accuracy_warnings(profile)
    yield from _setting_warnings(profile, model)


def _feature_warnings(profile: SeparationProfile) -> Iterator[ReportWarning]:
    """Yield a warning that names the first layer with NaN or infinity, per part of the data.

    Where training features are not finite, the held-out D is none either, whatever these data are.
    """
    training = [layer.name for layer in profile.layers if _is_non_finite(layer.train)]
    heldout = [layer.name for layer in profile.layers if _is_non_finite(layer.heldout)]
    only_heldout = [name for name in heldout if name not in training]
    for part, broken in (("training", training), ("held-out", only_heldout)):
        if broken:
            yield ReportWarning(
                "non_finite",
                f"On {part} data the features contain NaN or infinity from '{broken[0]}' on: "
                f"look there first, because no block behind it can be judged.",
            )


def _is_non_finite(separation: Separation | None) -> bool:
    return separation is not None and separation.status is SeparationStatus.NON_FINITE


def _accuracy_warnings(profile: SeparationProfile) -> Iterator[ReportWarning]:
    """Yield warnings if the model's accuracy is a reason not to trust its law."""
    accuracy, chance = profile.accuracy, profile.accuracy_by_chance
    right = bool(np.isfinite(accuracy)) and beats_chance(accuracy, profile.samples, chance)
    if profile.logits is not None and profile.logits > profile.num_classes and not right:
        yield ReportWarning(
            "other_head",
            f"The model gives {profile.logits:,} logits, but the data have {profile.num_classes} "
            f"classes: its head was made for other classes, unless the training data lack some. "
            f"Then accuracy and cross-entropy say nothing, here and without a block; the "
            f"separation does not depend on the head.",
        )
    if np.isfinite(accuracy) and not right:
        yield ReportWarning(
            "model_at_chance",
            f"The model is right on {100 * accuracy:.1f} % of the training data, which is no "
            f"better than chance: is it trained, are these its weights (--weights) and its data, "
            f"and are they scaled as in its training (--scaling)?",
        )


def _setting_warnings(profile: SeparationProfile, model: nn.Module) -> Iterator[ReportWarning]:
    """Yield warnings if the law is not meant for this measure, network or data."""
    if profile.measure == "separation" and profile.classes_present > MANY_CLASSES:
        yield ReportWarning(
            "many_classes",
            f"Separation is not suited to {profile.classes_present} classes; use --measure "
            f"residual for more than {MANY_CLASSES}.",
        )
    blocks = len(profile.layers) - 1
    if blocks >= DEEP and not _is_normalised(model):
        yield no_normalisation_warning("The model")
    if not profile.samples_heldout:
        yield ReportWarning(
            "no_heldout_data",
            "There are no held-out data: what the last blocks do on training data alone says "
            "little about whether they are needed.",
        )
