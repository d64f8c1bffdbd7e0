"""What takes the place of a block that is left out.

In order of preference:

1. *Zeros*, if the block's output is added, outside of the block, to what flows past it.
2. *What it receives*, if a shortcut inside of the block hands that on, and the block gives a tensor
   of the same shape: the block is skipped.
3. *A linear map*, fitted by least squares on training data from what the block receives to what it
   gives: a ``Linear`` on the last axis, or for maps (n, channels, ...) of one to three dimensions
   a convolution of kernel 1 with the block's stride; the layers in the block tell which axis holds
   the channels.  It stands in for plain blocks, which nothing flows past, and for blocks that
   change the shape.
4. *What it receives*, if there is no such map but the shape stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from designer.models.least_squares import (
    FIT_WIDTH,
    RIDGE,
    LinearLayer,
    NormalEquations,
    Unsolvable,
    fitted_width,
    set_weights,
)
from designer.models.surgery import Form, form_of
from designer.probing.calling import first_tensor, floating_tensors, tensor_at
from designer.probing.hidden import CONVOLUTIONS
from designer.probing.replay import Entry, Replacement, Replayer
from designer.probing.spans import Span

KERNEL_1: dict[int, Callable[..., LinearLayer]] = {
    3: nn.Conv1d,
    4: nn.Conv2d,
    5: nn.Conv3d,
}
"""By the axes of a map, the convolution that maps its channels at every position."""

NO_PADDING = ("valid", (0,), (0, 0), (0, 0, 0))
"""How convolutions say that they have no padding."""

EXACT_RIDGE = 1e-9
"""Ridge penalty if there are at least twice as many equations as weights per output."""


class Kind(StrEnum):
    """What a stand-in gives, in the words of a report."""

    ZERO = "what flows past it"
    RECEIVED = "what it receives"
    LINEAR = "a linear map"
    CONVOLUTION = "a 1x1 convolution"


class NoStandIn(Exception):
    """Nothing can take the place of a block; the message says why in a sentence."""


@dataclass(eq=False)
class StandIn:
    """What takes the place of one block.

    Args:
        span: the block.
        kind: what is given in its place.
        layer: the layer to fit, for a linear map.
        margins: how many positions of each axis of a map convolutions without padding cut off; they
            are left out at both ends before a linear map, half at each.
    """

    span: Span
    kind: Kind
    layer: LinearLayer | None = None
    margins: tuple[int, ...] = ()
    _equations: NormalEquations = field(default_factory=NormalEquations)
    _last: Tensor = field(default_factory=lambda: torch.empty(0))
    """What the block received in the last pass that was observed."""

    def observe(self, replayer: Replayer, mask: Tensor | None = None) -> None:
        """Add the latest whole pass to the equations of the linear map, if there is one.

        Args:
            replayer: has made the pass.
            mask: (n, tokens), true for tokens and false for padding; None without any.
        """
        if self.layer is None:
            return
        received, output = self._pair(replayer)
        received, output = self._before_layer(received), _unflattened(output, self.span)
        self._equations.add(self.layer, received, output, mask)
        self._last = received

    def forget(self) -> None:
        """Forget what was observed, so that the linear map is fitted anew."""
        self._equations = NormalEquations()

    def fit(self) -> None:
        """Fit the linear map, if there is one, to all passes that were observed.

        Raises:
            NoStandIn: if what the block received or gave is not finite.
        """
        if self.layer is None:
            return
        rows, width = self._equations.rows, len(self._equations.xx)
        ridge = EXACT_RIDGE if rows >= 2 * width else RIDGE
        try:
            solution = self._equations.solution(ridge)
        except Unsolvable:
            raise NoStandIn("What the block receives or gives is not finite.") from None
        set_weights(self.layer, solution, self._last)

    def replacement(self, replayer: Replayer) -> Replacement:
        """Return what takes the place of the block in a replay.

        The first part gives what stands in for the block; the others hand on what they receive.
        Where the block gives as much as it receives, that suits every later batch, too. Where the
        block is seen at what a follower receives, a linear map gives that to the follower.
        """
        first, *others = self.span.parts
        follower = self.span.follower
        if self.layer is not None and follower is not None:
            entry = Entry((first.module, first.run), self.span.tap.index, self._to_follower)
            return Replacement(entries={(follower.module, follower.run): entry})
        key = (first.module, first.run)
        output = replayer.outputs.get(key)
        form = form_of(output) or form_of(first.value)
        like = self._zeros_like(output)

        def block(*args: object, **named: object) -> object:
            whole = (
                _like_output(args, output) if form is None and self.kind is Kind.RECEIVED else None
            )
            if whole is not None:
                return whole
            received = _tensor_among(args, named, first.stream)
            return (form or Form()).around(self._stand_in_output(received, like))

        def hand_on(*args: object, **named: object) -> object:
            return _tensor_among(args, named)

        handed_on = {(part.module, part.run): hand_on for part in others}
        return Replacement({key: block} | handed_on)

    def _before_layer(self, received: Tensor) -> Tensor:
        """Return what the linear map takes: the mean over positions where the block is pooled."""
        if _is_pooled(self.span):
            return _mean_over_positions(received)
        return _without_margins(received, self.margins)

    def _to_follower(self, received: Tensor) -> Tensor:
        """Return what the follower receives in place of what the block would give."""
        if self.layer is None or self.span.output is None:
            return received
        output: Tensor = self.layer(self._before_layer(received))
        return output if output.ndim == self.span.output.ndim else output.flatten(1)

    def _zeros_like(self, output: object) -> Tensor | None:
        """Return the tensor that zeros have to resemble; None for what the block receives.

        Only the latter suits batches of any size.
        """
        traced = [t.shape for t in (self.span.received, self.span.output) if t is not None]
        same = len(traced) == 2 and traced[0] == traced[1]
        return None if same else first_tensor(output)

    def _stand_in_output(self, received: Tensor, like: Tensor | None) -> Tensor:
        if self.kind is Kind.ZERO:
            return torch.zeros_like(received if like is None else like)
        return received if self.layer is None else self.layer(self._before_layer(received))

    def _pair(self, replayer: Replayer) -> tuple[Tensor, Tensor]:
        """Return what the block received and gave in the latest whole pass."""
        first, last = self.span.parts[0], self.span.parts[-1]
        received = replayer.received.get((first.module, first.run))
        follower = self.span.follower
        output = (
            first_tensor(replayer.outputs.get((last.module, last.run)))
            if follower is None
            else replayer.followed.get((follower.module, follower.run))
        )
        if received is None or output is None:
            raise NoStandIn("The block does not run in every forward pass.")
        return received, output


def _like_output(args: Sequence[object], output: object) -> object | None:
    """Return the argument that has the form of an output of several tensors.

    Where a block gives as many tensors in a tuple as it receives first, these have that form. None
    if nothing has.
    """
    # batches may be of another size
    shapes = [tensor.shape[1:] for tensor in floating_tensors(output)]
    candidates = [*args, args[: len(output)]] if type(output) is tuple else args
    alike = (
        value
        for value in candidates
        if type(value) is type(output) and [t.shape[1:] for t in floating_tensors(value)] == shapes
    )
    return next(alike, None)


def stand_in_of(span: Span, *, linear: bool = False) -> StandIn:
    """Return what takes the place of a block.

    Args:
        span: the block, in a trace of a few samples.
        linear: True to fit a linear map, if there is one, even if the block could be skipped.

    Raises:
        NoStandIn: if nothing can take the place of the block.
    """
    received, output = span.received, span.output
    if received is None or output is None:
        raise NoStandIn("The block receives or gives no floating tensor.")
    if not linear and span.added:
        return StandIn(span, Kind.ZERO)
    same_shape = received.shape == output.shape
    if not linear and same_shape and not span.plain:
        return StandIn(span, Kind.RECEIVED)
    if _is_pooled(span):
        received = _mean_over_positions(received)
    wanted = _unflattened(output, span)
    margins = _margins(span, received, wanted)
    received = _without_margins(received, margins)
    layer = _linear_layer(span, received, wanted)
    if layer is not None and fitted_width(layer, received) <= FIT_WIDTH:
        kind = Kind.CONVOLUTION if isinstance(layer, nn.Conv2d) else Kind.LINEAR
        return StandIn(span, kind, layer.to(received), margins)
    if same_shape:
        return StandIn(span, Kind.RECEIVED)
    raise NoStandIn(
        f"The block takes {_shape(received)} and gives {_shape(output)}, and no linear map leads "
        f"from one to the other."
    )


def _is_pooled(span: Span) -> bool:
    """Return True if a plain block gives maps, of which a function takes one number per channel."""
    received, own, output = span.received, span.parts[-1].output, span.output
    if span.follower is None or received is None or own is None or output is None:
        return False
    maps = received.ndim == own.ndim and own.ndim in KERNEL_1
    return maps and _channel_axis(span, received) == 1 and output.shape == own.shape[:2]


def _mean_over_positions(maps: Tensor) -> Tensor:
    return maps.flatten(2).mean(2)


def _unflattened(output: Tensor, span: Span) -> Tensor:
    """Return what a follower receives as maps, if a function has pooled and flattened these."""
    own = span.parts[-1].output
    if span.follower is None or own is None or own.ndim not in KERNEL_1 or output.ndim != 2:
        return output
    channels, *sizes = own.shape[1:]
    positions = output.shape[1] // channels
    step = round((math.prod(sizes) / max(positions, 1)) ** (1 / len(sizes)))
    maps = (channels, *(size // max(step, 1) for size in sizes))
    if positions < 2 or math.prod(maps) != output.shape[1]:
        return output
    return output.reshape(len(output), *maps)


def _margins(span: Span, x: Tensor, y: Tensor) -> tuple[int, ...]:
    """Return how many positions per axis are cut off by convolutions without padding; () for none.

    What is left is a multiple of what the block gives: the rest is its stride, or pooling.
    """
    unpadded = [m for m in _convolutions(span) if m.padding in NO_PADDING]
    sizes = list(zip(x.shape[2:], y.shape[2:], strict=True)) if x.ndim == y.ndim else []
    if any(before < after for before, after in sizes):
        return ()
    cut = [
        sum(m.dilation[axis] * (m.kernel_size[axis] - 1) for m in unpadded)
        for axis in range(len(sizes))
    ]
    if not any(cut):
        return ()
    left = [before - margin for (before, _), margin in zip(sizes, cut, strict=True)]
    # branches side by side do not add up: all of them together may cut off more than there is
    if all(
        rest >= after and rest % after == 0 for rest, (_, after) in zip(left, sizes, strict=True)
    ):
        return tuple(cut)
    fits = _linear_layer(span, x, y) is not None
    return () if fits else tuple(before % after for before, after in sizes)


def _without_margins(x: Tensor, margins: tuple[int, ...]) -> Tensor:
    for axis, margin in enumerate(margins, start=2):
        x = x.narrow(axis, margin // 2, x.shape[axis] - margin)
    return x


def _linear_layer(span: Span, x: Tensor, y: Tensor) -> LinearLayer | None:
    """Return a layer that can map tensors like x to tensors like y; None if there is none."""
    axis = _channel_axis(span, x)
    if axis == 1 and x.ndim == y.ndim and x.ndim in KERNEL_1:
        sizes = list(zip(x.shape[2:], y.shape[2:], strict=True))
        strides = tuple(-(-before // after) for before, after in sizes)
        layer = KERNEL_1[x.ndim](x.shape[1], y.shape[1], 1, stride=strides)
        own = _strides(span)
        fits = all(
            before == stride * after or (stride in own and (before - 1) // stride + 1 == after)
            for (before, after), stride in zip(sizes, strides, strict=True)
        )
        return layer if fits else None
    if axis == x.ndim - 1 and x.ndim == y.ndim and x.shape[:-1] == y.shape[:-1]:
        return nn.Linear(x.shape[-1], y.shape[-1])
    return None


def _strides(span: Span) -> set[int]:
    """Return the strides of the convolutions of a block."""
    return {int(s) for m in _convolutions(span) for s in m.stride}


def _convolutions(span: Span) -> list[Any]:
    """Return the convolutions of a block."""
    return [module for module in _modules(span) if isinstance(module, CONVOLUTIONS)]


def _modules(span: Span) -> Iterator[nn.Module]:
    """Yield the modules of a block, with all inside of them."""
    for part in span.parts:
        yield from part.module.modules()


def _channel_axis(span: Span, x: Tensor) -> int:
    """Return the axis of what a block receives that holds the channels.

    The layers in the block tell. Without any that fits, it is the last axis, or the second of maps.
    """
    if any(m.in_channels == x.shape[1] for m in _convolutions(span)):
        return 1
    if any(isinstance(m, nn.Linear) and m.in_features == x.shape[-1] for m in _modules(span)):
        return x.ndim - 1
    return 1 if x.ndim in (4, 5) else x.ndim - 1


def _tensor_among(
    args: tuple[object, ...], named: dict[str, object], index: int | None = None
) -> Tensor:
    tensor = tensor_at((*args, *named.values()), index)
    if tensor is None:
        raise NoStandIn("The block receives no floating tensor.")
    return tensor


def _shape(tensor: Tensor) -> str:
    return f"(n, {', '.join(map(str, tensor.shape[1:]))})"
