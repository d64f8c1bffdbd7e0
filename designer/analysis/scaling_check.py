"""Check whether a model is fed data that are scaled as in its training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from designer.choices import Scaling
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.scaling import scale_inputs
from designer.data.streamed import StreamedImages
from designer.errors import DataError, DesignerError, InvalidInputError
from designer.measures.logits import LogitReader
from designer.measures.proportions import beats_chance
from designer.probing.calling import call_model, class_tensor, samples_at, unwrap
from designer.probing.probes import TRACED_SAMPLES, ends_in_sigmoid, probing
from designer.results.layers import ReportWarning

SCALING_SAMPLES = 256
"""Number of training samples on which scalings are compared."""


STREAMED_VALUES = 1 << 24
"""Values of those samples, 64 MiB as float32, where the data themselves do not fit in memory."""


Show = Callable[[Scaling], str]
"""Returns how the user asks for a scaling."""


SCALING_OPTION: Show = "--scaling {}".format
"""How it is asked for on the command line."""


BATCH = 64
"""Samples per forward pass."""


CLEARLY_BETTER = 0.1
"""How much more accuracy, from 0 to 1, makes one scaling clearly better than another."""


LEARNT_SHARE = 0.25
"""Share of the way from chance to 1 that an accuracy must cover to show that a model was trained
with a scaling. Untrained networks reach some of it by luck."""


LEARNT_TIMES = 4
"""Times chance that show the same where there are many classes."""


ROUNDING = 1e-5
"""Inputs are the same if they differ by at most this share of the largest of them."""


CANDIDATES = (
    Scaling.NONE,
    Scaling.UNIT,
    Scaling.BYTES,
    Scaling.IMAGENET,
    Scaling.STANDARD,
)
"""Scalings that are tried; of two that give the same inputs, the first is named."""


@dataclass(frozen=True)
class ScalingComparison:
    """The accuracy of a model under the scaling in use, and under those that are clearly better."""

    used: float
    """Accuracy under the scaling in use, from 0 to 1."""
    better: tuple[tuple[Scaling, float], ...]
    """Scalings that are clearly better, and their accuracies, the best first; those that are
    clearly worse than the best of them are left out."""


def check_scaling(model: nn.Module, data: Dataset, show: Show = SCALING_OPTION) -> None:
    """Raise if a model is fed data as they come, and another scaling is clearly right.

    Args:
        model: any module; one that gives no logits (n, K) is not checked.
        data: data as they come, as they were loaded for the model.
        show: returns how the user asks for a scaling.

    Raises:
        InvalidInputError: if the accuracy on some training data is clearly better under another
            scaling.
    """
    comparison = compare_scalings(model, data)
    if comparison.better:
        raise InvalidInputError(
            f"The model is right on {_described(comparison, 'as they come', show)}: name the "
            f"scaling that it was trained with."
        )


def scaling_warning(
    model: nn.Module, data: Dataset, show: Show = SCALING_OPTION
) -> ReportWarning | None:
    """Return a warning if another scaling than the one in use is clearly right.

    Args:
        model: any module; one that gives no logits (n, K) is not checked.
        data: data that are scaled as the user asked.
        show: returns how the user asks for a scaling.
    """
    comparison = compare_scalings(model, data)
    if not comparison.better:
        return None
    described = _described(comparison, "with the scaling in use", show)
    return ReportWarning(
        "scaling",
        f"The model is right on {described}: it was probably trained with another scaling.",
    )


def _described(comparison: ScalingComparison, used: str, show: Show) -> str:
    """Return the accuracies in words, to follow "The model is right on"."""
    parts = [
        f"{100 * comparison.used:.0f} % of some training data {used}",
        *(f"on {100 * accuracy:.0f} % with {show(name)}" for name, accuracy in comparison.better),
    ]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def compare_scalings(model: nn.Module, data: Dataset) -> ScalingComparison:
    """Return the accuracy of a model on some training data, and the scalings that are better.

    Another scaling is clearly better if the model has learnt something with it, and either its
    accuracy is higher by ``CLEARLY_BETTER``, or the scaling in use is no better than chance. No
    other scaling is tried if there is too little room above the accuracy of the one in use.

    Args:
        model: any module, left as it was.
        data: the data as they are scaled now.

    Returns:
        The comparison; ``used`` is NaN, and nothing is better, if the model gives no logits.
    """
    if not data.is_scaled:
        return ScalingComparison(math.nan, ())
    some = _some(data.train)
    used = _accuracy(model, some)
    if not used <= 1 - CLEARLY_BETTER:
        return ScalingComparison(used, ())
    chance = data.train.chance
    at_chance = not beats_chance(used, len(some), chance)
    accuracies = {
        name: _accuracy(model, LabelledTensors(inputs, some.labels))
        for name, inputs in _scaled_otherwise(some.inputs, data.scaling).items()
    }
    better = {
        name: accuracy
        for name, accuracy in accuracies.items()
        if _has_learnt(accuracy, len(some), chance)
        and (at_chance or accuracy > used + CLEARLY_BETTER)
    }
    best = max(better.values(), default=0.0)
    ranked = sorted(better.items(), key=lambda pair: -pair[1])
    return ScalingComparison(used, tuple(p for p in ranked if p[1] >= best - CLEARLY_BETTER))


def _some(train: LabelledTensors) -> LabelledTensors:
    """Return samples from everywhere in the training data, which may be sorted by class."""
    samples = min(SCALING_SAMPLES, len(train))
    if isinstance(train, StreamedImages):
        samples = min(samples, max(1, STREAMED_VALUES // prod(train.input_shape)))
    return train.at(torch.linspace(0, len(train) - 1, samples).long())


def _has_learnt(accuracy: float, samples: int, chance: float) -> bool:
    """True if an accuracy is so far above chance that the model must have been trained for it."""
    enough = min(LEARNT_TIMES * chance, chance + LEARNT_SHARE * (1 - chance))
    return accuracy >= enough and beats_chance(accuracy, samples, chance)


def _scaled_otherwise(inputs: Tensor, scaling: Mapping[str, list[float]]) -> dict[Scaling, Tensor]:
    """Return inputs under every other scaling that fits them and makes a difference."""
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    mean, scale = (
        torch.tensor(scaling[name], dtype=torch.float64).view(shape) for name in ("mean", "scale")
    )
    raw = inputs.double() * scale + mean
    scaled: dict[Scaling, Tensor] = {}
    for candidate in CANDIDATES:
        try:
            other = scale_inputs({"train": raw}, candidate)[0]["train"]
        except DataError:  # the scaling is not meant for such inputs
            continue
        if not any(_same(other, known) for known in (inputs, *scaled.values())):
            scaled[candidate] = other
    return scaled


def _same(first: Tensor, second: Tensor) -> bool:
    """True if inputs differ by rounding alone."""
    return float((first - second).abs().max()) <= ROUNDING * float(second.abs().max())


@torch.no_grad()
def _accuracy(model: nn.Module, samples: LabelledTensors) -> float:
    """Return the accuracy on a few samples; NaN if the model gives no logits, or cannot run."""
    hits, read, classes = 0, None, int(samples.labels.max()) + 1
    try:
        for inputs, labels in samples.batches(BATCH):
            with probing(model) as probe:
                prepared = probe.prepared(inputs)
                output = class_tensor(call_model(model, prepared), classes)
                if read is None:
                    few = samples_at(prepared, slice(TRACED_SAMPLES))
                    sigmoid = ends_in_sigmoid(unwrap(model), few, output)
                    read = LogitReader(classes, sigmoid=sigmoid, all_classes=False)
            logits = read(output, len(labels), None, tokens=False)
            if logits is None:
                return float("nan")
            hits += int((logits.argmax(1).cpu() == labels.cpu()).sum())
    except DesignerError:
        return float("nan")
    return hits / len(samples)
