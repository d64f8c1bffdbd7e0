"""Cut blocks out of a copy of a model, and fit what follows to what it receives now.

Without a block, the next layer that everything passes through receives other features.  That layer
is linear, and what it should give is known: what it gave in the whole network.  So its weights are
a least-squares problem, see ``least_squares``.  The solution is the best linear bridge from the
block's input to its output, as far as the next layer can tell, folded into that layer: it takes
any width and costs nothing afterwards.

Where something flows past the layers, as in residual networks, the blocks behind the removal are
repaired one by one instead (see ``repair``).

Layers are fitted in running order, so that each sees what those before it give now, and the head,
if there is one, last.  If nothing is repaired, the running statistics of BatchNorm are recomputed
before each.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from designer.data.dataset import LabelledTensors
from designer.errors import ModelError, first_line
from designer.models.least_squares import (
    FIT_WIDTH,
    LinearLayer,
    NormalEquations,
    Unsolvable,
    fitted_width,
    set_weights,
)
from designer.models.surgery import Removal, remove
from designer.probing.calling import (
    Inputs,
    cloned,
    first_tensor,
    run_model,
    submodules,
    token_mask,
)
from designer.probing.untouched import untouched
from designer.pruning.fits import BatchNorm, LayerFit
from designer.pruning.forward_passes import Place, received
from designer.pruning.removable import Removable
from designer.pruning.repair import Branch, repair

FIT_SAMPLES = 4096
"""The most training samples that layers are fitted to."""


FIT_BATCH = 512
"""Samples per forward pass."""


FIT_ROWS = 1 << 18
"""Fitting a layer stops after about this many rows: maps have many positions, much alike."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A network without some of its blocks."""

    model: nn.Module
    """The smaller network, in eval mode."""
    removals: tuple[Removal, ...]
    """What was removed, in running order; applied to the original, it gives this structure."""
    fitted: tuple[str, ...]
    """Names of the layers that were fitted again, in running order."""


def cut(
    model: nn.Module, blocks: Sequence[Removable], data: LabelledTensors, *, fit: bool = True
) -> Cut:
    """Return a copy of a model without some of its blocks.

    Args:
        model: unwrapped, in eval mode, in float32; left as it was.
        blocks: the blocks to remove, in any order; each can go.
        data: training data that layers are fitted on; inputs (n, ...).
        fit: True to fit what follows every block, recompute the statistics of norms, and fit the
            head; False to fit only layers whose width changes.

    Raises:
        ModelError: if the blocks cannot go together.
    """
    blocks = sorted(blocks, key=lambda block: block.place)
    copies: dict[int, Any] = {}
    removals = tuple(removal for block in blocks for removal in block.removals)
    samples = _shuffled_part(data)
    try:
        with untouched(model):
            smaller = copy.deepcopy(model, copies)
            remove(smaller, removals)
            fitted = _fit_all(model, smaller, copies, blocks, samples, fit=fit)
            _check_output(model, smaller, samples.at(slice(2)).inputs)
    except Exception as error:  # the model is the user's and may raise anything
        names = ", ".join(f"'{block.name}'" for block in blocks)
        raise ModelError(
            f"Expected blocks that can go together, got {names}, without which the model raises "
            f"{type(error).__name__}: {first_line(error)}; remove fewer."
        ) from error
    _restore_packing(model, copies)
    return Cut(smaller.eval(), removals, fitted)


def _shuffled_part(data: LabelledTensors) -> LabelledTensors:
    """Return up to ``FIT_SAMPLES`` samples in random order, always the same.

    Data are often sorted by class, and the first batches must stand for all of them.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(data), generator=generator)[:FIT_SAMPLES].to(data.device)
    return data.at(rows)


def _restore_packing(model: nn.Module, copies: dict[int, Any]) -> None:
    """Let copied encoders pack tokens as the originals do; it was off while they were copied."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            copies[id(module)].use_nested_tensor = module.use_nested_tensor


def _fit_all(
    model: nn.Module,
    smaller: nn.Module,
    copies: dict[int, Any],
    blocks: Sequence[Removable],
    data: LabelledTensors,
    *,
    fit: bool,
) -> tuple[str, ...]:
    """Fit what follows the blocks, in running order; return the names of what was fitted."""
    modules = submodules(model)
    gone = {
        name for block in blocks for removal in block.removals for name in _within(removal, modules)
    }
    chosen = _chosen_fits(blocks, gone, fit=fit)
    # a repaired block gives what it gave, so the statistics of the norms behind it still hold
    renewing = fit and all(layer_fit.exact for layer_fit in chosen)
    fitted = []
    for layer_fit in chosen:
        layer, copied = modules[layer_fit.layer], copies[id(modules[layer_fit.layer])]
        if renewing:  # a layer is fitted to what norms give once their statistics are renewed
            _renew_norms(smaller, data, until=copied)
        if layer_fit.exact:
            changed = _fit(model, smaller, layer, copied, data)
        else:
            changed = _repair(model, smaller, copies, modules, layer_fit, gone, data)
        fitted += [layer_fit.layer] * changed
    if renewing:
        _renew_norms(smaller, data)
    return tuple(fitted)


def _repair(
    model: nn.Module,
    smaller: nn.Module,
    copies: dict[int, Any],
    modules: dict[str, nn.Module],
    layer_fit: LayerFit,
    gone: set[str],
    data: LabelledTensors,
) -> bool:
    """Repair a residual block of the smaller network; return False if that cannot be done."""
    layer = copies[id(modules[layer_fit.layer])]
    left = [outlet for outlet in layer_fit.outlets if outlet.name not in gone]
    if not left or _shares_weights(smaller, layer):
        return False
    whole, now = layer_fit.outlets[0], left[0]
    branch = Branch(
        layer,
        None if layer_fit.norm is None else copies[id(modules[layer_fit.norm])],
        Place(modules[whole.name], receives=whole.receives),
        Place(copies[id(modules[now.name])], receives=now.receives),
    )
    return repair(model, smaller, branch, data)


@torch.no_grad()
def _check_output(model: nn.Module, smaller: nn.Module, few: Inputs) -> None:
    networks = (model, smaller)
    before, after = (first_tensor(run_model(network, cloned(few))) for network in networks)
    if before is None or after is None or before.shape != after.shape:
        raise ModelError("its output changes shape")


def _within(removal: Removal, modules: dict[str, nn.Module]) -> list[str]:
    """Return the names of everything that is gone with a removal."""
    block = removal.block
    return [name for name in modules if name == block or name.startswith(f"{block}.")]


def _chosen_fits(blocks: Sequence[Removable], gone: set[str], *, fit: bool) -> list[LayerFit]:
    """Return what to fit, in running order.

    These are the first layer behind each block that everything passes through, the last of those
    behind all blocks, which is the head, and every residual block behind the first removal.
    Without ``fit``, it is only what has to be fitted since its width changes.
    """
    chosen: dict[str, LayerFit] = {}
    for block in blocks:
        left = [layer_fit for layer_fit in block.fits if layer_fit.layer not in gone]
        exact = [layer_fit for layer_fit in left if layer_fit.exact]
        wanted = exact[:1] if fit or block.refit else []
        if fit:
            wanted += [layer_fit for layer_fit in left if not layer_fit.exact]
            wanted += exact[-1:] if block is blocks[-1] else []
        chosen |= {layer_fit.layer: layer_fit for layer_fit in wanted}
    return sorted(chosen.values(), key=lambda layer_fit: layer_fit.started)


@torch.no_grad()
def _fit(
    model: nn.Module,
    smaller: nn.Module,
    layer: nn.Module,
    copied: LinearLayer,
    data: LabelledTensors,
) -> bool:
    """Fit the copy of a layer of the model; return False if that cannot be done."""
    if _shares_weights(smaller, copied):
        return False
    equations = NormalEquations()
    for inputs, _ in data.batches(FIT_BATCH):
        x = received(smaller, copied, inputs)
        if fitted_width(copied, x) > FIT_WIDTH:
            return False
        # forward() itself, since hooks of the user have already changed what was received
        y = layer.forward(received(model, layer, inputs))
        equations.add(copied, x, y, token_mask(inputs))
        if equations.rows >= FIT_ROWS:
            break
    try:
        solution = equations.solution()
    except Unsolvable:
        return False
    set_weights(copied, solution, x)
    return True


def _shares_weights(model: nn.Module, layer: nn.Module) -> bool:
    """Return True if another layer uses the same weights, which fitting would change."""
    others = (module for module in model.modules() if module is not layer)
    return any(p is layer.weight for other in others for p in other.parameters(recurse=False))


@torch.no_grad()
def _renew_norms(model: nn.Module, data: LabelledTensors, until: LinearLayer | None = None) -> None:
    """Recompute the running statistics of BatchNorm from what it receives now.

    Everything else stays in eval mode. Norms that do not run, or not before ``until`` does, keep
    their statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    # a single sample has no variance
    batches = [batch.inputs for batch in data.batches(FIT_BATCH) if len(batch) > 1]
    if not norms or not batches:
        return
    before = [(norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for inputs in batches:
        run_model(model, cloned(inputs)) if until is None else received(model, until, inputs)
    for norm, (momentum, state) in zip(norms, before, strict=True):
        norm.eval().momentum = momentum
        if not norm.num_batches_tracked:
            norm.load_state_dict(state)
