"""Find hidden layers: those whose units nothing but one later layer reads.

Only such a layer can be made narrower without touching anything else: the features that several
layers read, or that are added to others, have one width for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from designer.probing.flow import topological_order
from designer.probing.tracing import Call, Tap, Trace

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class HiddenLayer:
    """A layer whose units a single later layer reads, directly or behind norms and activations."""

    block: str
    """Name of the block that the layer lies in."""
    name: str
    """Name of the layer's submodule."""
    reader: str
    """Name of the submodule that reads its units."""
    units: int
    """Number of its units, which are channels if it is a convolution."""


def units_of(layer: nn.Module) -> int | None:
    """Return how many units a dense linear or convolutional layer gives; None for other parts."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, CONVOLUTIONS) and layer.groups == 1:
        return layer.out_channels
    return None


def channel_axis(layer: nn.Module) -> int:
    """Return the axis of the units in what a linear or convolutional layer gives or receives."""
    return 1 if isinstance(layer, CONVOLUTIONS) else -1


def block_of(name: str, taps: Sequence[Tap]) -> str | None:
    """Return the name of the block that a submodule lies in; None outside of all blocks."""
    holders = (tap for tap in taps if f"{name}.".startswith(f"{tap.entry[0]}."))
    return next((tap.name for tap in holders), None)


def hidden_layers(trace: Trace, taps: Sequence[Tap]) -> Iterator[HiddenLayer]:
    """Yield the hidden layers in blocks, in running order of their readers.

    Args:
        trace: with the graph of what flows past what.
        taps: at the blocks.
    """
    if trace.output is None or trace.output.grad_fn is None:
        return
    order = topological_order(trace.output.grad_fn)
    uses = Counter(node for user in order for node, _ in user.next_functions)
    runs = Counter(call.module for call in trace.calls)
    layers = [
        call for call in trace.calls if units_of(call.module) is not None and runs[call.module] == 1
    ]
    makers = {call.node: call for call in layers if call.node is not None}
    for reader in layers:
        maker = _maker(trace, reader, makers, uses)
        block = None if maker is None else block_of(maker.name, taps)
        if maker is not None and block is not None:
            units = units_of(maker.module)
            if units is not None and units == _inputs_of(reader.module):
                yield HiddenLayer(block, maker.name, reader.name, units)


def _inputs_of(layer: nn.Module) -> int | None:
    """Return how many units a dense linear or convolutional layer reads."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels if isinstance(layer, CONVOLUTIONS) else None


def _maker(
    trace: Trace, reader: Call, makers: Mapping[Any, Call], uses: Mapping[Any, int]
) -> Call | None:
    """Return the run that made what a layer reads, if nothing else uses it on the way."""
    node = reader.received_node
    while node is not None and uses[node] == 1:
        if node in makers:
            return makers[node]
        before = [n for n, _ in node.next_functions if n is not None and trace.on_path(n)]
        node = before[0] if len(before) == 1 else None
    return None
