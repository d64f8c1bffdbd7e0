"""What is inside a model that somebody already has: its blocks, their law, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from designer.analysis.advice import input_report, law_warnings, layer_reports, stage_laws
from designer.analysis.data_for_model import ModelData
from designer.analysis.options import MANY_CLASSES
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.data.batches import LabelledData, batches_of
from designer.measures.law import tunnel_entrance
from designer.measures.score import beats_chance
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
from designer.results.layers import LawSummary, ReportWarning
from designer.results.measured import SeparationProfile, SeparationStatus, measured
from designer.results.provenance import versions

IN_MEMORY = "data in memory"
"""What data without a name are called."""


MEMORISED_GAP = 0.3
"""A training accuracy this far above the held-out one is called memorising."""


DEEP = 6
"""From so many blocks on, the law is not expected without normalisation."""


def analyze(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None = None,
    blocks: Sequence[str] | None = None,
    *,
    measure: str = "separation",
    features: str | None = None,
    dimension: int | None = None,
    permutations: int | None = None,
    resamples: int = 200,
    batch_size: int | None = None,
    seed: int = 0,
    progress: PassProgress | None = None,
) -> AnalysisResult:
    """Look inside a model: what each block contributes, and what to change.

    Args:
        model: any module; left exactly as it was.
        train, heldout, blocks, measure, features, dimension, permutations, resamples, batch_size,
            seed, progress: see ``designer.profile``.

    Raises:
        ModelError: where the model raises, or has no blocks.
        InvalidInputError: on malformed data or arguments.
    """
    seen = profile(
        model,
        train,
        heldout,
        blocks,
        measure=measure,
        features=features,
        dimension=dimension,
        permutations=permutations,
        resamples=resamples,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    law = LawSummary.of(seen.law)
    layers = layer_reports([seen])
    inner = unwrap(model)
    return AnalysisResult(
        schema=ANALYSIS_SCHEMA,
        model=ModelSummary(
            name=type(inner).__name__,
            weights=None,
            kind=type(inner).__name__,
            parameters=sum(p.numel() for p in inner.parameters()),
            accuracy=measured(seen.accuracy),
            accuracy_heldout=measured(seen.accuracy_heldout),
        ),
        data=DataUsed(
            name=IN_MEMORY,
            train=seen.samples,
            heldout=seen.samples_heldout,
            heldout_part="held-out",
            num_classes=seen.num_classes,
            chance=measured(seen.chance),
        ),
        measure=seen.measure,
        features=seen.features,
        law=law,
        law_heldout=None if seen.law_heldout is None else LawSummary.of(seen.law_heldout),
        input=input_report([seen]),
        layers=layers,
        stages=stage_laws([seen]),
        tunnel=_tunnel(seen),
        warnings=(*_warnings(seen, inner), *law_warnings("The model", law, layers)),
        versions=versions(),
    )


def list_candidates(model: nn.Module, train: LabelledData) -> list[BlockCandidate]:
    """Every part of a model that might be a block, in running order, and why it is one or not.

    Raises:
        ModelError: where the model raises.
    """
    inputs, _, _ = next(iter(batches_of(train, TRACED_SAMPLES)))
    return block_candidates(model, inputs)


def with_origin(
    result: AnalysisResult, model: LoadedModel, weights: Path | None, model_data: ModelData
) -> AnalysisResult:
    """The result with where the model and its data came from."""
    return replace(
        result,
        model=replace(
            result.model, name=model.name, weights=None if weights is None else weights.name
        ),
        data=replace(
            result.data,
            name=model_data.name,
            heldout_part=model_data.heldout_part,
            fingerprint=model_data.fingerprint,
            scaling=model_data.scaling,
        ),
        warnings=(*model_data.warnings, *result.warnings),
    )


def _tunnel(seen: SeparationProfile) -> Tunnel | None:
    values = seen.values_heldout
    if not np.all(np.isfinite(values) & (values > 0)):
        return None
    draws = np.array(seen.resampled_heldout).reshape(-1, len(values))
    entrance = tunnel_entrance(values, draws)
    names = [layer.name for layer in seen.layers]
    beyond = tuple(names[entrance + 1 :])
    return Tunnel(names[entrance], beyond, _tunnel_reason(names[entrance], beyond))


def _tunnel_reason(entrance: str, beyond: Sequence[str]) -> str:
    if not beyond:
        return "The separation of held-out data improves up to the last block."
    said = "1 block lies" if len(beyond) == 1 else f"{len(beyond)} blocks lie"
    return (
        f"On held-out data the separation improves no more after '{entrance}': {said} beyond, "
        f"and may not be needed."
    )


def _non_finite(seen: SeparationProfile) -> Iterator[ReportWarning]:
    for part, of in (("training", "train"), ("held-out", "heldout")):
        for layer in seen.layers:
            found = getattr(layer, of)
            if found is not None and found.status is SeparationStatus.NON_FINITE:
                yield ReportWarning(
                    "non_finite",
                    f"On {part} data the features contain NaN or infinity from '{layer.name}' on: "
                    f"look there first, nothing behind it can be judged.",
                )
                break


def _warnings(seen: SeparationProfile, model: nn.Module) -> Iterator[ReportWarning]:
    for note in seen.notes:
        yield ReportWarning("measured_otherwise", note)
    yield from _non_finite(seen)
    chance = seen.chance_train
    if np.isfinite(seen.accuracy) and not beats_chance(seen.accuracy, seen.samples, chance):
        yield ReportWarning(
            "model_at_chance",
            f"The model is right on {100 * seen.accuracy:.1f} % of the training data, which is no "
            f"better than chance: is it trained, are these its weights (--weights), its data, and "
            f"its scaling of them (--scaling none)?",
        )
    if seen.accuracy - seen.accuracy_heldout > MEMORISED_GAP:
        gap = 100 * (seen.accuracy - seen.accuracy_heldout)
        yield ReportWarning(
            "memorised_labels",
            f"The model is right {gap:.0f} points more often on training than on held-out data: it "
            f"has memorised labels, and the law holds for memorised labels, too.",
        )
    if seen.measure == "separation" and seen.num_classes > MANY_CLASSES:
        yield ReportWarning(
            "many_classes",
            f"With {seen.num_classes} classes separation is the wrong ruler; --measure residual "
            f"is made for more than {MANY_CLASSES}.",
        )
    if len(seen.layers) > DEEP and not any("Norm" in type(m).__name__ for m in model.modules()):
        yield ReportWarning(
            "no_normalisation",
            "The model has no normalisation: the law is not expected in deep networks of that "
            "kind.",
        )
    if not seen.samples_heldout:
        yield ReportWarning(
            "no_heldout_data",
            "There are no held-out data: what the last blocks do on training data alone says "
            "little of whether they are needed.",
        )
