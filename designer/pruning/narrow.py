"""Narrowing: layers lose the output units that the class directions do not use.

Which units go is decided on the block's features, by how much of the class directions lies in
each unit; what else has to lose the same units (norms, the next layers, whatever is added to it)
is found by Torch-Pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023).

======  ===========================================================  ======
symbol  meaning                                                      shape
======  ===========================================================  ======
V       class directions: right singular vectors of the class means  (p, r)
u_j     share of the directions in unit j, the sum of V_jk^2 over
        k and over the positions of a map, over r                    (units,)
======  ===========================================================  ======
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from designer.blocks import submodules
from designer.datasets import LabelledTensors
from designer.probes import probing
from designer.results import LayerReport, Verdict
from designer.separation import ClassSums
from designer.surgery import resize

KEPT_SHARE = 0.95
"""Of the class directions that the units that stay hold together."""

LEAST_UNITS = 4

BATCH = 512


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A copy of a model with narrower layers."""

    model: nn.Module
    layers: dict[str, tuple[int, int]]
    """Units that each had and has."""


def narrow(
    model: nn.Module,
    layers: Sequence[LayerReport],
    data: LabelledTensors,
    blocks: Sequence[str] | None = None,
) -> Narrowed:
    """Narrow the blocks that contribute too little for their width.

    Args:
        model: unwrapped, in eval mode, in float32; left as it was.
        layers: what was measured of its blocks.
        data: training data.
        blocks: names of the blocks, see ``designer.profile``.
    """
    low = [layer.name for layer in layers if layer.verdict in {Verdict.LOW, Verdict.NEGATIVE}]
    narrower = copy.deepcopy(model)
    changed: dict[str, tuple[int, int]] = {}
    for name in low:
        producer = _producer(narrower, name)
        if producer is None:
            continue
        label, layer = producer
        use = unit_use(narrower, name, data, blocks)
        gone = unused(use)
        units = layer.weight.shape[0]
        if len(use) == units and gone and _take_out(narrower, layer, gone, data.inputs[:2]):
            changed[label] = (units, layer.weight.shape[0])
    return Narrowed(narrower.eval(), changed)


@torch.no_grad()
def unit_use(
    model: nn.Module, block: str, data: LabelledTensors, blocks: Sequence[str] | None = None
) -> Tensor:
    """(units,) share of the class directions in each unit of what a block gives; sums to 1."""
    sums = ClassSums(int(data.labels.max()) + 1)
    shape: tuple[int, ...] = ()
    with probing(model, blocks) as probe:
        for inputs, labels in data.batches(BATCH):
            outputs = probe.features(inputs)
            output = outputs[1 + probe.names.index(block)]
            shape = tuple(output.shape)
            sums.update(output.flatten(1), labels)
    directions = sums.directions()
    v = directions.basis * directions.singular_values
    use = v.square().sum(1) / max(v.shape[1], 1)
    if len(shape) == 4:  # channels first
        return use.view(shape[1], -1).sum(1)
    return use.view(-1, shape[-1]).sum(0)


def unused(use: Tensor) -> list[int]:
    """Units that hold the least of the class directions, all together no more than 5 %."""
    order = use.argsort()
    held = use[order].cumsum(0) / use.sum()
    count = min(int((held <= 1 - KEPT_SHARE).sum()), len(use) - LEAST_UNITS)
    return sorted(order[: max(count, 0)].tolist())


def _producer(model: nn.Module, block: str) -> tuple[str, nn.Linear | nn.Conv2d] | None:
    """The layer that gives a block's units: its last linear layer or convolution."""
    prefix = f"{block}."
    known = submodules(model).items()
    layers = [
        (name, module)
        for name, module in known
        if (name == block or name.startswith(prefix)) and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1] if layers else None


def _take_out(
    model: nn.Module, layer: nn.Linear | nn.Conv2d, units: list[int], few: Tensor
) -> bool:
    """Take units out of a layer and of everything that depends on them; whether that could be
    done."""
    import torch_pruning

    before = copy.deepcopy(model.state_dict())
    function = (
        torch_pruning.prune_linear_out_channels
        if isinstance(layer, nn.Linear)
        else torch_pruning.prune_conv_out_channels
    )
    with warnings.catch_warnings(action="ignore"):
        graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=few)
        group = graph.get_pruning_group(layer, function, idxs=units)
        if not graph.check_pruning_group(group):
            return False
        group.prune()
    try:
        with torch.no_grad():
            model.eval()(few)
    except RuntimeError:
        resize(model, {name: tuple(tensor.shape) for name, tensor in before.items()})
        model.load_state_dict(before)
        return False
    return True
