"""Fit a linear layer anew by ridge regression, because its inputs have changed.

======  ==============================================================  ==========
symbol  meaning                                                         shape
======  ==============================================================  ==========
X       what each row or position of the layer's output is made from,   (rows, p)
        and a 1 if the layer has a bias
Y       what the layer should give                                      (rows, q)
W       weights, argmin |XW - Y|^2 + lambda |W|^2; the bias comes last  (p, q)
lambda  ``RIDGE`` times the mean of the diagonal of X'X
======  ==============================================================  ==========

X'X and X'Y are summed in float64 over chunks of rows, so memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.models.surgery import match_attributes
from designer.probing.calling import without_padding
from designer.probing.hidden import CONVOLUTIONS, channel_axis

LinearLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
"""Layers that can be fitted to other inputs."""


FIT_WIDTH = 4096
"""The most weights per output that are fitted: X'X has (p, p) numbers."""


CHUNK_ROWS = 1 << 14
"""About how many rows of X are in memory at a time."""


RIDGE = 1e-3
"""Strength of the penalty on the weights, as a share of the mean square of the features."""


class Unsolvable(Exception):
    """Normal equations have no solution: a number in them is not finite."""


@dataclass(eq=False)
class NormalEquations:
    """The sums that least squares need, added up batch by batch."""

    constant: bool | None = None
    """True to fit a constant, too, which comes last; None to fit one if the layer has a bias."""
    xx: Tensor = field(default_factory=lambda: torch.zeros(()))
    """X'X (p, p)."""
    xy: Tensor = field(default_factory=lambda: torch.zeros(()))
    """X'Y (p, q)."""
    rows: int = 0
    """How many rows of X have been added."""

    def add(self, layer: LinearLayer, x: Tensor, y: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            layer: the layer to fit; its present weights do not matter.
            x: what it receives, (n, ..., features), or (n, channels, ...) by a convolution.
            y: what it should give for that.
            mask: (n, tokens), true for tokens and false for padding, which convolutions cannot
                leave out; None without any.
        """
        if isinstance(layer, nn.Linear):
            x, y = without_padding(x, mask), without_padding(y, mask)
        constant = layer.bias is not None if self.constant is None else self.constant
        for design, target in _rows(layer, x, y, constant=constant):
            self.xx = self.xx.to(design) + design.T @ design
            self.xy = self.xy.to(design) + design.T @ target
            self.rows += len(design)

    def solution(self, ridge: float | None = None) -> Tensor:
        """Return W (p, q); zeros if the layer receives nothing but zeros.

        Args:
            ridge: strength of the penalty, as a share of the mean square of the features; ``RIDGE``
                by default.

        Raises:
            Unsolvable: if the features or the targets were not finite.
        """
        if not (self.xx.isfinite().all() and self.xy.isfinite().all()):
            raise Unsolvable
        penalty = (RIDGE if ridge is None else ridge) * float(self.xx.diagonal().mean())
        if penalty <= 0:
            return torch.zeros_like(self.xy)
        penalised = self.xx + penalty * torch.eye(len(self.xx)).to(self.xx)
        return torch.cholesky_solve(self.xy, torch.linalg.cholesky(penalised))


def is_fittable(layer: nn.Module) -> bool:
    """Return True if least squares can find the weights of a layer.

    Subclasses may compute something else from their weights, parametrised weights are made anew
    in every forward pass, and in a grouped convolution each output sees a part of the input only.
    """
    if type(layer) not in LinearLayer.__args__ or "weight" not in layer._parameters:
        return False
    return not isinstance(layer, CONVOLUTIONS) or layer.groups == 1


def fitted_width(layer: nn.Module, x: Tensor) -> int:
    """Return how many weights per output a layer has once it is fitted to ``x``, without bias."""
    kernel = layer.get_parameter("weight")[0, 0].numel()
    return x.shape[channel_axis(layer)] * kernel


def set_weights(layer: LinearLayer, solution: Tensor, x: Tensor) -> None:
    """Give a layer fitted weights, in its own precision.

    Args:
        layer: changed in place.
        solution: W (p, q).
        x: the inputs that it was fitted to, for their number of channels.
    """
    dtype = layer.weight.dtype
    if layer.bias is not None:
        layer.bias = nn.Parameter(solution[-1].to(dtype), layer.bias.requires_grad)
        solution = solution[:-1]
    weights = solution.T.to(dtype).contiguous()
    if isinstance(layer, CONVOLUTIONS):
        weights = weights.view(len(weights), x.shape[1], *layer.kernel_size)
    layer.weight = nn.Parameter(weights, layer.weight.requires_grad)
    match_attributes(layer)


def _rows(
    layer: LinearLayer, x: Tensor, y: Tensor, *, constant: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield X (rows, p) and Y (rows, q) in float64, a chunk of samples at a time."""
    per_sample = y.numel() // (len(y) * len(layer.weight))
    samples = max(1, CHUNK_ROWS // max(per_sample, 1))
    for inputs, outputs in zip(torch.split(x, samples), torch.split(y, samples), strict=True):
        design = _patches(layer, inputs).double()
        target = outputs.movedim(channel_axis(layer), -1)
        if constant:
            design = torch.cat([design, design.new_ones(len(design), 1)], dim=1)
        yield design, target.flatten(0, -2).double()


def _patches(layer: LinearLayer, x: Tensor) -> Tensor:
    """Return (rows, inputs * kernel), what each row or position of the output is made from."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    patches = functional.pad(x, layer._reversed_padding_repeated_twice, mode)
    axes = zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
    for axis, (size, dilation, stride) in enumerate(axes, start=2):
        patches = patches.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return patches.movedim(1, x.ndim - 1).flatten(x.ndim - 1).flatten(0, -2)
