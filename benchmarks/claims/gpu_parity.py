"""Part of the claim ``gpu``: the same network and data give the same figures on both devices.

Differences are relative, for each kind of figure in its own way:

=================  =============================================================================
figure             difference, divided by
=================  =============================================================================
D                  D on the processor, for each layer, on training and held-out data and the null
contributions      the largest effect of that kind in the network, since single ones are near 0
analysis           the number on the processor, or 0.01 if it is smaller: for every number of the
                   whole result; besides, the texts that differ are counted
look               nothing: the largest difference of the accuracies of a look, as a fraction
=================  =============================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.claim import Figures
from benchmarks.command import say
from benchmarks.gpu_timing import SEED, Setting, or_error, significant
from designer import analyze, contributions
from designer.analysis.look import Look, LookSamples
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.results.contribution import BlockContribution
from designer.results.measured import FloatArray, SeparationProfile
from designer.training.trainer import build_seeded, train
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec, ResnetSpace, ResnetSpec

NETWORKS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "MLP": partial(MlpSpace().build, MlpSpec((64,) * 6, "batch", "relu", 1e-3)),
    "CNN": partial(CnnSpace().build, CnnSpec((2, 2), (16, 32), "batch", 1e-3)),
    "ResNet": partial(ResnetSpace().build, ResnetSpec("basic", (2, 2), (16, 32), 1e-3)),
}
EPOCHS, RATE = 5, 1e-3
TOLERANCE = 1e-4
"""Acceptance: the largest relative difference in float32."""
FLOOR = 0.01
"""Numbers of an analysis below this are compared with this."""
EFFECTS = ("separation", "cross_entropy", "accuracy")


def measure(setting: Setting) -> Figures:
    """Compare all networks."""
    data = load_dataset("digits")
    rows = {}
    for name, build in NETWORKS.items():
        rows[name] = or_error(partial(_row, build, data, setting))
        say(f"{name}: {rows[name]}")
    worst = [row.get("float32", {}).get("worst", float("inf")) for row in rows.values()]
    return {"rows": rows, "acceptance": TOLERANCE, "met": max(worst) <= TOLERANCE}


def _row(
    build: Callable[[tuple[int, ...], int], nn.Module], data: Dataset, setting: Setting
) -> Figures:
    """Compare one network, trained briefly, with itself on the other device."""
    device, epochs = setting.device, 1 if setting.quick else EPOCHS
    there = data.to(device)
    model = build_seeded(partial(build, data.input_shape, data.num_classes), SEED, device)
    train(model, there.train, epochs=epochs, learning_rate=RATE, seed=SEED)
    here = copy.deepcopy(model).cpu()
    expected = _measured(here, data)
    ways: dict[str, AbstractContextManager[Any]] = {
        "float32": _single_precision(),
        "float32 with TF32": _single_precision(tf32=True),
        "bfloat16": torch.autocast(device.type, torch.bfloat16),
    }
    figures: Figures = {"accuracy": round(expected[0].accuracy_heldout, 4)}
    for way, context in ways.items():
        with context:
            figures[way] = or_error(partial(_differences, expected, model, there))
    return figures


Measurements = tuple[SeparationProfile, tuple[BlockContribution, ...], dict[str, Any], FloatArray]
"""The profile, the contributions, the whole analysis, and a look's accuracies of a network."""


def _measured(model: nn.Module, data: Dataset) -> Measurements:
    parts = tuple(data.train), tuple(data.validation)
    return (
        profile(model, *parts),
        contributions(model, *parts),
        asdict(analyze(model, *parts)),
        Look(model, LookSamples.of(data, SEED)).heldout_accuracies().blocks,
    )


def _differences(expected: Measurements, model: nn.Module, data: Dataset) -> Figures:
    """Return the largest difference of each kind of figure."""
    measured = _measured(model, data)
    figures: Figures = {
        "d": relative(expected[0].values, measured[0].values),
        "d_heldout": relative(expected[0].values_heldout, measured[0].values_heldout),
        "d_null": relative(expected[0].nulls, measured[0].nulls),
        "d_median": significant(
            float(np.median(np.abs(measured[0].values / expected[0].values - 1)))
        ),
        **{effect: _effect_difference(expected[1], measured[1], effect) for effect in EFFECTS},
        **analysis_difference(expected[2], measured[2]),
        "look_accuracy": significant(float(np.max(np.abs(measured[3] - expected[3])))),
    }
    kinds = ("d", "d_heldout", "d_null", *EFFECTS, "analysis")
    return {**figures, "worst": max(figures[kind] for kind in kinds)}


def relative(expected: FloatArray, measured: FloatArray) -> float:
    """Return the largest relative difference of two arrays (L,); infinite if a number is not."""
    difference = np.abs(measured - expected) / np.abs(expected)
    both_missing = np.isnan(expected) & np.isnan(measured)
    worst = np.max(np.where(both_missing, 0.0, difference))
    return significant(float(np.nan_to_num(worst, nan=np.inf)))


def _effect_difference(
    expected: tuple[BlockContribution, ...], measured: tuple[BlockContribution, ...], name: str
) -> float:
    """Return the largest difference of an effect, relative to the largest effect."""
    pairs = [
        [getattr(record.contribution, name, None) for record in records]
        for records in zip(expected, measured, strict=True)
    ]
    values = np.array([[np.nan if e is None else e.value for e in pair] for pair in pairs])
    both_missing = np.isnan(values).all(1)
    if both_missing.all():
        return 0.0
    values = values[~both_missing]
    scale = max(float(np.nanmax(np.abs(values[:, 0]))), 1e-12)
    worst = np.max(np.abs(values[:, 1] - values[:, 0])) / scale
    return significant(float(np.nan_to_num(worst, nan=np.inf)))


def analysis_difference(expected: object, measured: object) -> Figures:
    """Return the largest difference of the numbers of two analyses, where it is, and of texts."""
    ours, theirs = dict(leaves(expected)), dict(leaves(measured))
    if ours.keys() != theirs.keys():
        missing = sorted(ours.keys() ^ theirs.keys())
        return {"analysis": float("inf"), "analysis_at": missing[0], "texts": len(missing)}
    differences = {place: _number_difference(ours[place], theirs[place]) for place in ours}
    place = max(differences, key=lambda place: differences[place])
    texts = [p for p in ours if isinstance(ours[p], str) and ours[p] != theirs[p]]
    return {
        "analysis": significant(differences[place]),
        "analysis_at": f"{place}: {ours[place]} and {theirs[place]}",
        "texts": len(texts),
        "first_text": f"{texts[0]}: {ours[texts[0]]} / {theirs[texts[0]]}" if texts else "",
    }


def leaves(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Yield all numbers and texts in nested records, each with its place."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{place}.{number}")
    else:
        yield place, value


def _number_difference(expected: object, measured: object) -> float:
    """Return the difference of two numbers by the size of the first; 0 for equal values, texts."""
    if expected == measured or isinstance(expected, str):
        return 0.0
    if not isinstance(expected, int | float) or not isinstance(measured, int | float):
        return float("inf")
    return abs(measured - expected) / max(abs(expected), FLOOR)


@contextmanager
def _single_precision(*, tf32: bool = False) -> Iterator[None]:
    """Let a GPU compute float32 products in float32, or round their factors to TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
