"""Repair a residual block behind a removal by least squares, before anything is trained.

What flows past the block is no longer what it was, so the last layer of the block's branch is
corrected until the sum behind the block is:

======  ===============================================================  =========
symbol  meaning                                                          shape
======  ===============================================================  =========
H       what each row or position of the layer's output is made from,    (rows, p)
        and a 1 for the constant
E       the sum behind the block in the whole network, minus that in     (rows, q)
        the smaller one
a       slope of the norm behind the layer: its weight divided by its    (q,)
        running standard deviation; 1 without a norm
dW      correction, argmin |H dW - E / a|^2 + lambda |dW|^2              (p, q)
======  ===============================================================  =========

It is exact where the block ends with the sum.  Where more follows the layer, such as a layer scale
or an activation behind the sum, it is a Gauss-Newton step, and each channel is scaled by the
least-squares length of that step: <C, E> / <C, C>, with C the change of the sum that the correction
made.  Some samples are kept out of the fit; where E does not shrink on these, the layer stays as it
was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.models.least_squares import (
    FIT_WIDTH,
    LinearLayer,
    NormalEquations,
    Unsolvable,
    fitted_width,
)
from designer.probing.calling import Inputs, token_mask, without_padding
from designer.probing.hidden import channel_axis
from designer.pruning.forward_passes import Place, observed

REPAIR_BATCH = 256
"""Samples per forward pass."""

REPAIR_BATCHES = 2
"""The fewest batches that a repair is fitted to, if there are as many; one more checks it."""

ROWS_PER_WEIGHT = 64
"""A fit stops after this many rows per weight: maps have many positions, much alike."""

FEWEST_PARTS = 5
"""Few samples are divided into this many parts, one of which checks the fit."""

LEAST_SLOPE = 1e-3
"""Channels whose norm has less than this share of the largest slope keep their weights."""


@dataclass(frozen=True, eq=False)
class Branch:
    """The last layer of a block's branch, and where its effect is seen."""

    layer: LinearLayer
    """The layer in the smaller network, which is corrected in place."""
    norm: Any
    """The norm behind it, which is corrected along with it; None if there is none."""
    whole_outlet: Place
    """Where the sum behind the block is seen in the whole network."""
    outlet: Place
    """The same place in the smaller network."""

    @property
    def corrected(self) -> list[nn.Module]:
        """The modules that a correction changes."""
        return [self.layer] if self.norm is None else [self.layer, self.norm]


@torch.no_grad()
def repair(model: nn.Module, smaller: nn.Module, branch: Branch, data: LabelledTensors) -> bool:
    """Correct a branch in the smaller network; return False if it stays as it was.

    Args:
        model: the whole network, in eval mode.
        smaller: the network without some blocks, in eval mode; everything before the branch is as
            it is to be.
        branch: what is corrected.
        data: training data; inputs (n, ...).

    Raises:
        ModelError: if a part does not run.
    """
    parts = max(FEWEST_PARTS, math.ceil(len(data) / REPAIR_BATCH))
    size = math.ceil(len(data) / parts)
    *fitted, check = (batch.inputs for batch in data.batches(size))
    if not fitted:
        return False
    pair = _Pair(model, smaller, branch)
    lacking = pair.lacking(check)
    equations = pair.equations(fitted)
    if equations is None or not lacking.square().sum() > 0:
        return False
    states = [copy.deepcopy(module.state_dict()) for module in branch.corrected]
    try:
        correction = equations.solution()
    except Unsolvable:
        return False
    length = pair.length(correction, equations, fitted[0], states)
    _correct(branch, correction * length, equations)
    if pair.lacking(check).square().mean() < lacking.square().mean():
        return True
    _restore(branch.corrected, states)
    return False


def _restore(modules: Sequence[nn.Module], states: Sequence[dict[str, Tensor]]) -> None:
    for module, state in zip(modules, states, strict=True):
        module.load_state_dict(state)


@dataclass(frozen=True, eq=False)
class _Pair:
    """The whole and the smaller network, side by side."""

    model: nn.Module
    smaller: nn.Module
    branch: Branch
    _wholes: dict[int, Tensor] = field(default_factory=dict)
    """By the identity of a batch: the sum in the whole network, which does not change."""

    def whole(self, inputs: Inputs) -> Tensor:
        """Return the sum in the whole network."""
        if id(inputs) not in self._wholes:
            (self._wholes[id(inputs)],) = observed(self.model, [self.branch.whole_outlet], inputs)
        return self._wholes[id(inputs)]

    def lacking(self, inputs: Inputs) -> Tensor:
        """Return E."""
        (now,) = observed(self.smaller, [self.branch.outlet], inputs)
        return without_padding(self.whole(inputs) - now, token_mask(inputs))

    def length(
        self,
        correction: Tensor,
        equations: NormalEquations,
        inputs: Inputs,
        states: Sequence[dict[str, Tensor]],
    ) -> Tensor:
        """Return by how much each channel of a correction (p, q) is to be scaled, (q,).

        It is 0 for channels that change nothing. The layer and its norm are left as in ``states``.
        """
        before = self.lacking(inputs)
        _correct(self.branch, correction, equations)
        change = before - self.lacking(inputs)
        _restore(self.branch.corrected, states)
        channels = channel_axis(self.branch.layer) % change.ndim
        over = [axis for axis in range(change.ndim) if axis != channels]
        wanted = (change * before).double().sum(over)
        squares = change.double().square().sum(over)
        lengths = torch.where(squares > 0, wanted / squares, torch.zeros_like(squares))
        return lengths.nan_to_num(0.0)

    def equations(self, batches: Sequence[Inputs]) -> NormalEquations | None:
        """Return the normal equations of the correction; None if they would be too many."""
        layer = self.branch.layer
        inverse = _inverse_slope(self.branch)
        equations = NormalEquations(constant=_has_constant(self.branch))
        for done, inputs in enumerate(batches, start=1):
            places = [Place(layer, receives=True), self.branch.outlet]
            received, now = observed(self.smaller, places, inputs)
            if fitted_width(layer, received) > FIT_WIDTH:
                return None
            lacking = inverse(self.whole(inputs) - now)
            equations.add(layer, received, lacking, token_mask(inputs))
            enough = equations.rows >= ROWS_PER_WEIGHT * len(equations.xx)
            if enough and done >= REPAIR_BATCHES:
                break
        return equations


def _has_constant(branch: Branch) -> bool:
    return branch.norm is not None or branch.layer.bias is not None


def _slope(norm: Any) -> Tensor:
    """Return what a norm in eval mode multiplies each channel by, (q,)."""
    slope: Tensor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return slope


def _inverse_slope(branch: Branch) -> Callable[[Tensor], Tensor]:
    """Return what divides an output of the norm (n, q, ...) by its slope."""
    if branch.norm is None:
        return lambda error: error
    slope = _slope(branch.norm)
    steep = slope.abs() > LEAST_SLOPE * slope.abs().max()
    inverse = torch.where(steep, 1 / slope, torch.zeros_like(slope))
    return lambda error: error * inverse.view(1, -1, *[1] * (error.ndim - 2))


def _correct(branch: Branch, correction: Tensor, equations: NormalEquations) -> None:
    """Add a correction to the layer, and keep the norm's statistics those of its input."""
    layer, norm = branch.layer, branch.norm
    constant = correction[-1] if equations.constant else None
    weights = correction[: -1 if equations.constant else None]
    layer.weight += weights.T.reshape(layer.weight.shape).to(layer.weight)
    if constant is not None and layer.bias is not None:
        layer.bias += constant.to(layer.bias)
    if norm is None:
        return
    slope = _slope(norm)
    shift = norm.bias - slope * norm.running_mean
    if constant is not None and layer.bias is None:
        shift = shift + slope * constant.to(slope)
    _keep_function(norm, slope, shift, *_moments(layer, equations))


def _moments(layer: LinearLayer, equations: NormalEquations) -> tuple[Tensor, Tensor]:
    """Return mean and variance (q,) of what the layer gives for the rows that it was fitted to."""
    weights = layer.weight.flatten(1).T.double()
    products, rows = equations.xx, equations.rows
    mean_input, second = products[-1, :-1] / rows, products[:-1, :-1] / rows
    mean = mean_input @ weights
    variance = ((second @ weights) * weights).sum(0) - mean.square()
    if layer.bias is not None:
        mean = mean + layer.bias.double()
    return mean, variance.clamp(min=0)


def _keep_function(norm: Any, slope: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Give a norm new running statistics, and weights with which it is z -> slope z + shift.

    In training mode the norm goes by the statistics of the batch; if these were not those that it
    keeps, the first step of training would undo the repair.
    """
    mean, variance = mean.to(slope), variance.to(slope)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(slope * torch.sqrt(variance + norm.eps))
    norm.bias.copy_(shift + slope * mean)
