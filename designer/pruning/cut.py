"""Cutting blocks out of a copy of a model, and fitting what follows to what it receives now.

Where a block is gone, the next layer that everything passes through receives other features.
That layer is linear, so what it should give is known, and its weights are a least-squares problem:

======  ==============================================================  ==========
symbol  meaning                                                         shape
======  ==============================================================  ==========
X       what the layer receives without the block, a 1 for the bias     (rows, p)
Y       what it gave in the whole network                               (rows, q)
W       its new weights, argmin |XW - Y|^2 + ridge |W|^2                (p, q)
======  ==============================================================  ==========

This is the best linear bridge from the block's input to its output, as far as the next layer can
tell, folded into that layer: it takes any width and costs nothing afterwards.  Running statistics
of BatchNorm are taken anew, and the head, where there is one, is fitted last.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from designer.blocks import submodules
from designer.datasets import LabelledTensors
from designer.errors import ModelError
from designer.pruning.removable import Removable, received
from designer.surgery import Removal, match_attributes, remove

FIT_SAMPLES = 4096
"""Training samples that layers are fitted to."""

FIT_BATCH = 512

FIT_WIDTH = 4096
"""The most features p that a layer is fitted to; a wider one stays as it is."""

FIT_ROWS = 1 << 18
"""About so many rows at the most: the positions of maps are many, and alike."""

RIDGE = 1e-3
"""Of the mean square of the features."""


Fitted = nn.Linear | nn.Conv2d
"""Layers that can be."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A smaller network."""

    model: nn.Module
    removals: tuple[Removal, ...]
    """What was removed, to write it down."""
    fitted: tuple[str, ...]
    """Layers that were fitted again."""


def cut(
    model: nn.Module, blocks: Sequence[Removable], data: LabelledTensors, *, fit: bool = True
) -> Cut:
    """A copy of a model without some of its blocks.

    Args:
        model: unwrapped, in eval mode, in float32; left as it was.
        blocks: to remove; each can go.
        data: what layers are fitted to.
        fit: whether layers are fitted where they need not be; those whose width changes are in
            any case.

    Raises:
        ModelError: where the blocks cannot go together.
    """
    blocks = sorted(blocks, key=lambda block: block.place)
    memo: dict[int, object] = {}
    smaller = copy.deepcopy(model, memo)
    known = submodules(model)
    removals = tuple(removal for block in blocks for removal in block.removals)
    gone = {name for removal in removals for name in _within(removal.block, known)}
    remove(smaller, removals)
    layers = _consumers(blocks, gone, fit=fit)
    some = LabelledTensors(data.inputs[:FIT_SAMPLES], data.labels[:FIT_SAMPLES])
    head = _head(blocks, gone) if fit else None
    try:
        fitted = [name for name in layers if _fit(model, smaller, known[name], memo, some)]
        if fit:
            _renew_norms(smaller, some)
        if head is not None and _fit(model, smaller, known[head], memo, some):
            fitted.append(head)
    except (RuntimeError, ValueError, IndexError) as error:
        names = ", ".join(f"'{block.name}'" for block in blocks)
        raise ModelError(
            f"Expected blocks that can go together, got {names}, without which the model raises "
            f"{type(error).__name__}: {error}; remove fewer."
        ) from error
    return Cut(smaller.eval(), removals, tuple(dict.fromkeys(fitted)))


def _within(name: str, known: dict[str, nn.Module]) -> list[str]:
    return [other for other in known if other == name or other.startswith(f"{name}.")]


def _consumers(blocks: Sequence[Removable], gone: set[str], *, fit: bool) -> list[str]:
    """Per block the first layer behind it that is left, without repetition, in running order."""
    found = []
    for block in blocks:
        left = [name for name in block.consumers if name not in gone]
        if left and (fit or block.refit):
            found.append(left[0])
    return list(dict.fromkeys(found))


def _head(blocks: Sequence[Removable], gone: set[str]) -> str | None:
    """The last linear layer behind all blocks that is left."""
    left = [name for name in blocks[-1].consumers if name not in gone] if blocks else []
    return left[-1] if left else None


@torch.no_grad()
def _fit(
    model: nn.Module,
    smaller: nn.Module,
    layer: nn.Module,
    memo: dict[int, object],
    data: LabelledTensors,
) -> bool:
    """Fit the copy of a layer of ``model``; whether that could be done."""
    own = cast("Fitted", memo[id(layer)])
    if _shared(smaller, own):
        return False
    products: list[tuple[Tensor, Tensor]] = []
    rows = 0
    for inputs, _ in data.batches(FIT_BATCH):
        x = received(smaller, own, inputs)
        y = layer(received(model, layer, inputs))
        design, wanted = _rows(own, x, y)
        if design.shape[1] > FIT_WIDTH and own.weight.shape[1] == _inputs(own, x):
            return False
        products.append((design.T @ design, design.T @ wanted))
        rows += len(design)
        if rows >= FIT_ROWS:
            break
    xx, xy = (torch.stack(batches).sum(0) for batches in zip(*products, strict=True))
    _set_weights(own, _solved(xx, xy), x)
    return True


def _inputs(layer: Fitted, x: Tensor) -> int:
    """Features or channels that a layer receives."""
    return x.shape[-1] if isinstance(layer, nn.Linear) else x.shape[1]


def _shared(model: nn.Module, layer: nn.Module) -> bool:
    """Whether other layers use the same weights."""
    others = (m for m in model.modules() if m is not layer)
    return any(p is layer.weight for m in others for p in m.parameters(recurse=False))


def _rows(layer: Fitted, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """X (rows, p) and Y (rows, q) in float64."""
    if isinstance(layer, nn.Linear):
        design, wanted = x.flatten(0, -2), y.flatten(0, -2)
    else:
        design = _patches(layer, x).transpose(1, 2).flatten(0, 1)
        wanted = y.flatten(2).transpose(1, 2).flatten(0, 1)
    design, wanted = design.double(), wanted.double()
    if layer.bias is not None:
        design = torch.cat([design, design.new_ones(len(design), 1)], dim=1)
    return design, wanted


def _patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """(n, channels * kernel, positions) what each position of the output is made from."""
    if isinstance(layer.padding, str):
        left = [d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        pads = (
            [0, 0, 0, 0]
            if layer.padding == "valid"
            else [
                left[1],
                total[1] - left[1],
                left[0],
                total[0] - left[0],
            ]
        )
        x, padding = functional.pad(x, pads), (0, 0)
    else:
        padding = layer.padding  # type: ignore[assignment]
    return functional.unfold(
        x, layer.kernel_size, dilation=layer.dilation, padding=padding, stride=layer.stride
    )


def _solved(xx: Tensor, xy: Tensor) -> Tensor:
    """(p, q) weights."""
    ridge = RIDGE * float(xx.diagonal().mean())
    if ridge <= 0:  # it receives nothing but zeros
        return torch.zeros_like(xy)
    factor = torch.linalg.cholesky(xx + ridge * torch.eye(len(xx), dtype=xx.dtype))
    return torch.cholesky_solve(xy, factor)


def _set_weights(layer: Fitted, solved: Tensor, x: Tensor) -> None:
    kind = layer.weight.dtype
    if layer.bias is not None:
        layer.bias = nn.Parameter(solved[-1].to(kind))
        solved = solved[:-1]
    weights = solved.T.to(kind).contiguous()
    if isinstance(layer, nn.Conv2d):
        weights = weights.view(len(weights), x.shape[1], *layer.kernel_size)
    layer.weight = nn.Parameter(weights)
    match_attributes(layer)


def _renew_norms(model: nn.Module, data: LabelledTensors) -> None:
    """Running statistics of what the norms receive now."""
    batches = [batch for batch in data.batches(FIT_BATCH) if len(batch[1]) > 1]
    update_bn(batches, model)
    model.eval()
