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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.errors import ModelError, first_line
from designer.models.surgery import Removal, match_attributes, remove
from designer.probing.calling import first_tensor, submodules
from designer.probing.untouched import untouched
from designer.pruning.removable import FIT_WIDTH, Fitted, Removable, fitted_width, received

FIT_SAMPLES = 4096
"""Training samples that layers are fitted to."""


FIT_BATCH = 512


FIT_ROWS = 1 << 18
"""About so many rows at the most: the positions of maps are many, and alike."""


CHUNK_ROWS = 1 << 14
"""About so many rows at a time."""


RIDGE = 1e-3
"""Of the mean square of the features."""


Norm = nn.modules.batchnorm._BatchNorm


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
    memo: dict[int, Any] = {}
    removals = tuple(removal for block in blocks for removal in block.removals)
    some = LabelledTensors(data.inputs[:FIT_SAMPLES], data.labels[:FIT_SAMPLES])
    try:
        with untouched(model):
            smaller = copy.deepcopy(model, memo)
            remove(smaller, removals)
            fitted = _fit_all(model, smaller, memo, blocks, some, fit=fit)
            _check_output(model, smaller, some.inputs[:2])
    except Exception as error:  # the model is the user's and may raise anything
        names = ", ".join(f"'{block.name}'" for block in blocks)
        raise ModelError(
            f"Expected blocks that can go together, got {names}, without which the model raises "
            f"{type(error).__name__}: {first_line(error)}; remove fewer."
        ) from error
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):  # which did not pack tokens meanwhile
            memo[id(module)].use_nested_tensor = module.use_nested_tensor
    return Cut(smaller.eval(), removals, fitted)


def _fit_all(
    model: nn.Module,
    smaller: nn.Module,
    memo: dict[int, Any],
    blocks: Sequence[Removable],
    data: LabelledTensors,
    *,
    fit: bool,
) -> tuple[str, ...]:
    """Fit what follows the blocks, in running order, each layer behind norms that are right, and
    the head last; the names of what was fitted."""
    known = submodules(model)
    gone = {
        name for block in blocks for removal in block.removals for name in _within(removal, known)
    }
    done = []
    for name in _consumers(blocks, gone, fit=fit) + _head(blocks, gone) * fit:
        own = memo[id(known[name])]
        if fit:
            _renew_norms(smaller, data, until=own)
        if _fit(model, smaller, known[name], own, data):
            done.append(name)
    if fit:
        _renew_norms(smaller, data)
    return tuple(dict.fromkeys(done))


@torch.no_grad()
def _check_output(model: nn.Module, smaller: nn.Module, few: Tensor) -> None:
    wanted, found = (first_tensor(one(few.clone())) for one in (model, smaller))
    if wanted is None or found is None or wanted.shape != found.shape:
        raise ModelError("its output changes shape")


def _within(removal: Removal, known: dict[str, nn.Module]) -> list[str]:
    """Names of everything that is gone with it."""
    name = removal.block
    return [other for other in known if other == name or other.startswith(f"{name}.")]


def _consumers(blocks: Sequence[Removable], gone: set[str], *, fit: bool) -> list[str]:
    """Per block the first layer behind it that is left, without repetition, in running order."""
    found = []
    for block in blocks:
        left = [name for name in block.consumers if name not in gone]
        if left and (fit or block.refit):
            found.append(left[0])
    return list(dict.fromkeys(found))


def _head(blocks: Sequence[Removable], gone: set[str]) -> list[str]:
    """The last linear layer behind all blocks that is left, if there is one."""
    left = [name for name in blocks[-1].consumers if name not in gone] if blocks else []
    return left[-1:]


@torch.no_grad()
def _fit(
    model: nn.Module, smaller: nn.Module, layer: nn.Module, own: Fitted, data: LabelledTensors
) -> bool:
    """Fit ``own``, the copy of a layer of ``model``; whether that could be done."""
    if _shared(smaller, own):
        return False
    xx, xy = torch.zeros(()), torch.zeros(())
    rows = 0
    for inputs, _ in data.batches(FIT_BATCH):
        x = received(smaller, own, inputs)
        if fitted_width(own, x) > FIT_WIDTH:
            return False
        y = layer.forward(received(model, layer, inputs))
        for design, wanted in _rows(own, x, y):
            xx, xy = xx.to(design) + design.T @ design, xy.to(design) + design.T @ wanted
            rows += len(design)
        if rows >= FIT_ROWS:
            break
    _set_weights(own, _solved(xx, xy), x)
    return True


def _shared(model: nn.Module, layer: nn.Module) -> bool:
    """Whether other layers use the same weights."""
    others = (m for m in model.modules() if m is not layer)
    return any(p is layer.weight for m in others for p in m.parameters(recurse=False))


def _rows(layer: Fitted, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """X (rows, p) and Y (rows, q) in float64, a chunk of samples at a time."""
    per_sample = y.numel() // (len(y) * len(layer.weight))
    samples = max(1, CHUNK_ROWS // max(per_sample, 1))
    pairs = zip(torch.split(x, samples), torch.split(y, samples), strict=True)
    for some, given in pairs:
        design = _seen_by(layer, some).double()
        wanted = given if isinstance(layer, nn.Linear) else given.movedim(1, -1)
        if layer.bias is not None:
            design = torch.cat([design, design.new_ones(len(design), 1)], dim=1)
        yield design, wanted.flatten(0, -2).double()


def _seen_by(layer: Fitted, x: Tensor) -> Tensor:
    """(rows, inputs * kernel) what each row or position of the output is made from."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(x, layer._reversed_padding_repeated_twice, mode)
    patches = functional.unfold(
        padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride
    )
    return patches.transpose(1, 2).flatten(0, 1)


def _solved(xx: Tensor, xy: Tensor) -> Tensor:
    """(p, q) weights."""
    ridge = RIDGE * float(xx.diagonal().mean())
    if ridge <= 0:  # it receives nothing but zeros
        return torch.zeros_like(xy)
    xx.diagonal().add_(ridge)
    return torch.cholesky_solve(xy, torch.linalg.cholesky(xx))


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


@torch.no_grad()
def _renew_norms(model: nn.Module, data: LabelledTensors, until: Fitted | None = None) -> None:
    """Running statistics of what the norms receive now, with all else in eval mode; norms that do
    not run, or not before ``until`` does, keep theirs."""
    norms = [m for m in model.modules() if isinstance(m, Norm) and m.track_running_stats]
    batches = [inputs for inputs, _ in data.batches(FIT_BATCH) if len(inputs) > 1]
    if not norms or not batches:
        return
    before = [(norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for inputs in batches:
        model(inputs.clone()) if until is None else received(model, until, inputs)
    for norm, (momentum, state) in zip(norms, before, strict=True):
        norm.eval().momentum = momentum
        if not norm.num_batches_tracked:
            norm.load_state_dict(state)
