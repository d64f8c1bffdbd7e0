"""Narrow layers: they lose the output units that the class directions do not use.

Which units go is decided on the block's features, by how much of the class directions lies in
each unit.  What else has to lose the same units (norms, the next layers, whatever is added to it)
is found by Torch-Pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023).

======  ===========================================================  ======
symbol  meaning                                                      shape
======  ===========================================================  ======
V       class directions: right singular vectors of the class means  (p, r)
u_j     share of the directions in unit j: the sum of V_jk^2 over
        k and over the positions of a map, divided by r              (units,)
======  ===========================================================  ======
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from designer.choices import Reduction
from designer.data.dataset import LabelledTensors
from designer.measures.class_sums import ClassSums
from designer.measures.features import Reducer
from designer.probing.calling import (
    Inputs,
    cloned,
    first_tensor,
    run_model,
    submodules,
    token_mask,
)
from designer.probing.hidden import CONVOLUTIONS
from designer.probing.probes import probing, taps_of
from designer.results.layers import LayerReport
from designer.results.measured import Verdict

KEPT_SHARE = 0.95
"""Share of the class directions that the remaining units hold together, at least."""


LEAST_UNITS = 4
"""A layer keeps at least this many units."""


BATCH = 512
"""Samples per forward pass."""


FEW = 2
"""Samples to run the model on where only shapes matter."""


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A copy of a model with narrower layers."""

    model: nn.Module
    """The copy, in eval mode."""
    layers: dict[str, tuple[int, int]]
    """By name of a layer that became narrower: how many units it had, and how many it has."""


def narrow(
    model: nn.Module,
    layers: Sequence[LayerReport],
    data: LabelledTensors,
    blocks: Sequence[str] | None = None,
) -> Narrowed:
    """Return a copy in which blocks that contribute too little for their width are narrower.

    A block whose layer cannot be found or changed keeps its width.

    Args:
        model: unwrapped, in eval mode, in float32; left as it was.
        layers: what was measured of its blocks; those of verdict low or negative are narrowed.
        data: training data, inputs (n, ...).
        blocks: names of submodules; None if blocks are found.
    """
    low = [layer.name for layer in layers if layer.verdict in {Verdict.LOW, Verdict.NEGATIVE}]
    narrower = copy.deepcopy(model)
    few = data.at(slice(FEW)).inputs
    for block in low:
        name = _producer(narrower, block, few, blocks)
        use = unit_use(narrower, block, data, blocks)
        if name is None or len(use) != _units(narrower, name):
            continue
        smaller = _without_units(narrower, name, unused(use), few)
        if smaller is not None:
            narrower = smaller
    return Narrowed(narrower.eval(), _changed_widths(model, narrower))


def _changed_widths(model: nn.Module, narrower: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the units before and after of all layers that lost some.

    Layers that are added to each other lose theirs together.
    """
    after = submodules(narrower)
    widths = {
        name: (_width(layer), _width(after[name])) for name, layer in submodules(model).items()
    }
    return {
        name: (whole, left)
        for name, (whole, left) in widths.items()
        if whole is not None and left is not None and left < whole
    }


def _width(layer: nn.Module) -> int | None:
    """Return how many units a linear or convolutional layer gives; None for other parts."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, CONVOLUTIONS) else None


@torch.no_grad()
def unit_use(
    model: nn.Module, block: str, data: LabelledTensors, blocks: Sequence[str] | None = None
) -> Tensor:
    """Return the share (units,) of the class directions in each unit of what a block gives.

    Args:
        model: unwrapped; left as it was.
        block: name of the block.
        data: training data, inputs (n, ...).
        blocks: names of submodules; None if blocks are found.

    Returns:
        u (units,), float64, sums to 1. Units are channels of maps, else the last axis. All zeros if
        the class means coincide.
    """
    sums = ClassSums(int(data.labels.max()) + 1)
    flatten = Reducer(Reduction.FLATTEN)
    shape: tuple[int, ...] = ()
    with probing(model, blocks) as probe:
        for inputs, labels in data.batches(BATCH):
            outputs = probe.features(inputs)
            output = outputs[1 + probe.names.index(block)]
            shape = tuple(output.shape)
            if labels.ndim > 1:  # every token has a label
                sums.update(output[labels >= 0], labels[labels >= 0])
                shape = shape[1:]
            else:
                sums.update(flatten(output, token_mask(inputs)), labels)
    directions = sums.directions()
    v = directions.basis * directions.singular_values
    use = v.square().sum(1) / max(v.shape[1], 1)
    if len(shape) == 4:  # channels first
        return use.view(shape[1], -1).sum(1)
    return use.view(-1, shape[-1]).sum(0)


def unused(use: Tensor) -> list[int]:
    """Return the units that can go: those of least use, together no more than 1 - ``KEPT_SHARE``.

    Args:
        use: u (units,), see ``unit_use``; nothing goes if it is all zeros.
    """
    order = use.argsort()
    held = use[order].cumsum(0) / use.sum()
    count = min(int((held <= 1 - KEPT_SHARE).sum()), len(use) - LEAST_UNITS)
    return sorted(order[: max(count, 0)].tolist())


def _producer(
    model: nn.Module, block: str, few: Inputs, blocks: Sequence[str] | None
) -> str | None:
    """Return the name of the last linear layer or convolution in a block, which gives its units."""
    trace, taps = taps_of(model, few, blocks)
    entry = next(tap.entry[0] for tap in taps if tap.name == block)
    layers = [
        call.name
        for call in trace.by_end
        if f"{call.name}.".startswith(f"{entry}.")
        and isinstance(call.module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1] if layers else None


def _units(model: nn.Module, name: str) -> int:
    weight = submodules(model)[name].weight
    return len(weight)  # type: ignore[arg-type]


def _without_units(model: nn.Module, name: str, units: list[int], few: Inputs) -> nn.Module | None:
    """Return a copy in which a layer, and everything that depends on it, has lost units.

    None if that cannot be done, or would change the shape of the model's output.
    """
    import torch_pruning

    if not units:
        return None
    narrower = copy.deepcopy(model)
    layer = submodules(narrower)[name]
    try:
        with warnings.catch_warnings(action="ignore"):
            graph = torch_pruning.DependencyGraph().build_dependency(narrower, cloned(few))
            prune = graph.get_pruner_of_module(layer).prune_out_channels
            group = graph.get_pruning_group(layer, prune, idxs=units)
            if not graph.check_pruning_group(group):
                return None
            group.prune()
        same = _shape_of_output(narrower, few) == _shape_of_output(model, few)
    except Exception:  # noqa: BLE001 - the model is the user's and may raise anything
        return None
    return narrower if same else None


@torch.no_grad()
def _shape_of_output(model: nn.Module, few: Inputs) -> tuple[int, ...]:
    output = first_tensor(run_model(model.eval(), cloned(few)))
    return () if output is None else tuple(output.shape)
