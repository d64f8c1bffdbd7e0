"""Find the layers behind a block that can be fitted to what they receive without it.

There are two kinds.  Where everything passes through a layer, it is fitted to what it gave in the
whole network: that hides the removal from all that follows.  Where something flows past it, as in
the branch of a residual block, that would not do, since what flows past has changed, too.  Such a
layer is fitted to make the *sum* behind its block what it was::

    x ──┬──> conv ──> norm ──> relu ──> conv ──> norm ──> add ──> relu ──> next block
        └────────────────────────────────────────────────┘                ^
                                         ^ fitted            compared here ┘

The last layer of every block that is left can do this, with a norm of running statistics behind it
or without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from designer.models.least_squares import is_fittable
from designer.probing.hidden import CONVOLUTIONS
from designer.probing.spans import parts_of
from designer.probing.tracing import Call, Tap, Trace

BatchNorm = nn.modules.batchnorm._BatchNorm

Owners = Mapping[Any, set[nn.Module]]
"""For each parameter, the modules that have it for their own."""


@dataclass(frozen=True)
class Outlet:
    """A place where what a block gives, together with what flows past it, can be seen."""

    name: str
    """Name of a submodule."""
    receives: bool
    """True for what the submodule receives, False for what it gives."""


@dataclass(frozen=True)
class LayerFit:
    """A layer behind a block that can be fitted to what it receives without the block."""

    layer: str
    """Name of the layer."""
    started: int
    """When it runs; of two layers, the one with the smaller number runs first."""
    outlets: tuple[Outlet, ...] = ()
    """Where its effect is compared with the whole network: at the first of these that is left.
    Empty if everything passes through the layer, which is then compared itself."""
    norm: str | None = None
    """Name of the norm with running statistics that takes what the layer gives."""

    @property
    def exact(self) -> bool:
        """True if everything passes through the layer, so that fitting it hides the removal."""
        return not self.outlets


class FitFinder:
    """Finds the layers behind the blocks of a traced model.

    Args:
        trace: one forward pass, recorded with ``flow=True``.
        taps: the blocks.
        owners: for each parameter, the modules that have it for their own.
    """

    def __init__(self, trace: Trace, taps: Sequence[Tap], owners: Owners) -> None:
        self._trace, self._owners = trace, owners
        self._runs = Counter(call.module for call in trace.calls)
        self._branches = list(self._branch_fits([parts_of(trace, tap) for tap in taps]))

    def fits_behind(self, parts: Sequence[Call]) -> tuple[LayerFit, ...]:
        """Return what can be fitted behind a block, in running order."""
        gone = {module for part in parts for module in part.module.modules()}
        exact = [
            LayerFit(call.name, call.started)
            for call in self._trace.calls
            if call.started > parts[-1].ended
            and self._fittable(call, gone)
            # if something flows past the layer, giving what it gave does not mend the rest
            and self._trace.is_cut(call.node)
            # and everything that is known of the input must pass through what it receives
            and self._trace.is_cut(call.received_node)
        ]
        branches = [fit for fit in self._branches if fit.started > parts[-1].ended]
        return tuple(sorted([*exact, *branches], key=lambda fit: fit.started))

    def _fittable(self, call: Call, gone: Collection[nn.Module] = ()) -> bool:
        return (
            is_fittable(call.module)
            # another layer with the same weights would be changed, too, unless it goes as well
            and self._owners[call.module.get_parameter("weight")] <= {*gone, call.module}
            # there is one right output to fit to, not one per run
            and self._runs[call.module] == 1
            and call.node is not None
        )

    def _branch_fits(self, blocks: Sequence[Sequence[Call]]) -> Iterator[LayerFit]:
        """Yield the layer of each block that can best make up for what flows past it."""
        for parts in blocks:
            outlets = tuple(self._outlets(parts[-1]))
            layers = [
                call
                for call in self._trace.calls
                if parts[0].started <= call.started
                and call.ended <= parts[-1].ended
                and self._fittable(call)
                and not self._trace.is_cut(call.node)
                and _shape((self._norm_behind(call) or call).output) == _shape(parts[-1].output)
            ]
            # a layer of the shortcut sees no more than what the block receives
            deep = [call for call in layers if call.received_node is not parts[0].received_node]
            if outlets and layers:
                layer = max(deep or layers, key=_capacity)
                norm = self._norm_behind(layer)
                name = None if norm is None else norm.name
                yield LayerFit(layer.name, layer.started, outlets, name)

    def _outlets(self, block: Call) -> Iterator[Outlet]:
        """Yield where the sum behind a block can be seen: in the block, or where it arrives."""
        if block.node is None or block.output is None:
            return
        if self._trace.is_cut(block.node):
            yield Outlet(block.name, receives=False)
            return
        arrived: Any = None
        for call in self._trace.calls:
            node, received = call.received_node, call.received
            if call.started < block.ended or received is None or not self._trace.is_cut(node):
                continue
            if self._runs[call.module] > 1:  # only the first run of a module is looked at
                continue
            if received.shape != block.output.shape or arrived not in (None, node):
                # a later sum holds what later blocks have added
                if arrived is not None:
                    return
                continue
            arrived = node
            yield Outlet(call.name, receives=True)

    def _norm_behind(self, layer: Call) -> Call | None:
        """Return the norm that takes what a layer gives and nothing else; None if there is none."""
        following = self._trace.next_call(layer)
        if (
            following is not None
            and isinstance(following.module, BatchNorm)
            and following.received_node is layer.node
            and following.module.track_running_stats
            and following.module.affine
            and self._runs[following.module] == 1
            # its statistics must be those of the layer's outputs, not of tokens or positions
            and (isinstance(layer.module, CONVOLUTIONS) or _rank(layer.output) == 2)
        ):
            return following
        return None


def _rank(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.ndim


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tuple(tensor.shape)


def _capacity(layer: Call) -> tuple[int, int]:
    """Return the number of weights per output; of equal layers, the later one has more."""
    return layer.module.get_parameter("weight")[0].numel(), layer.started
