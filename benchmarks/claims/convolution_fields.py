"""How much of an image the convolutions of a network see, from the sizes of kernels and strides.

The receptive field of a feature is the part of the image that it depends on.  Along each axis:

======  ==========================================================================================
symbol  meaning
======  ==========================================================================================
r       size of the receptive field, in pixels of the image; 1 for the image itself
j       distance of neighbouring features, in pixels of the image; 1 for the image itself
k, s    kernel size, with its dilation counted, and stride of a layer
======  ==========================================================================================

A layer makes r + (k - 1) j of r, and s j of j.  Where paths of different length join, there are a
smallest r and a largest one.  The paths are those of autograd's graph, so that layers count that
are no modules.  What is not known exactly, such as what follows a reshaping or a norm over pixels,
is left out.

A convolution adds no new pixels if what it receives sees the whole image already, even along the
shortest path: at the centre of the image from r = n pixels on, and everywhere, at its border too,
from r = 2 n - 1 on.  Richter et al. ("Should you go deeper?", ICMLA 2021) call layers unproductive
by the first bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from designer.probing.calling import Inputs, map_tensors, tensors_of, unwrap
from designer.probing.flow import topological_order
from designer.probing.tracing import trace_forward
from designer.probing.untouched import untouched

Sizes = tuple[float, float]
"""Height and width, in pixels of the image; infinite behind a mean over all pixels."""

TRACED = 2
"""Samples of the forward pass in which the paths are recorded."""


@dataclass(frozen=True)
class ReceptiveField:
    """What features see of the image."""

    smallest: Sizes
    """r along the shortest path."""
    largest: Sizes
    """r along the longest path."""
    distance: Sizes
    """j, which is the same along all paths."""


@dataclass(frozen=True)
class ConvolutionField:
    """What one convolution receives."""

    name: str
    """Path of the convolution in the model."""
    kernel: tuple[int, int]
    """Height and width of its kernel."""
    received: ReceptiveField
    """What the features see that it receives."""
    gives: ReceptiveField
    """What the features see that it gives."""
    image: tuple[int, int]
    """Height and width of the image."""

    @property
    def nothing_new_at_centre(self) -> bool:
        """True if what it receives at the centre of the image sees the whole image already."""
        return self._received(self.image)

    @property
    def nothing_new_anywhere(self) -> bool:
        """True if what it receives sees the whole image already, also at the border."""
        return self._received((2 * self.image[0] - 1, 2 * self.image[1] - 1))

    def _received(self, pixels: tuple[int, int]) -> bool:
        """True if its kernel has neighbours, along axes of which it receives so many pixels."""
        axes = zip(self.kernel, self.received.smallest, pixels, strict=True)
        reached = [size >= wanted for kernel, size, wanted in axes if kernel > 1]
        return bool(reached) and all(reached)


def convolution_fields(model: nn.Module, inputs: Inputs) -> tuple[ConvolutionField, ...]:
    """Return what the convolutions of a model receive, as far as that is known exactly.

    Args:
        model: may be wrapped; left as it was.
        inputs: a batch, of which the first samples run through the model.

    Returns:
        In running order; empty if the inputs are no images, (n, channels, height, width).

    Raises:
        ModelError: if the model raises.
    """
    inner = unwrap(model)
    tensors = tensors_of(inputs)
    if len(tensors) != 1 or tensors[0].ndim != 4 or not tensors[0].is_floating_point():
        return ()
    if not any(isinstance(part, nn.Conv2d) for part in inner.modules()):
        return ()
    like = next(inner.parameters())
    few = map_tensors(inputs, lambda tensor: tensor[:TRACED].to(like))
    image = (int(tensors[0].shape[2]), int(tensors[0].shape[3]))
    with untouched(model):
        inner.eval()
        trace = trace_forward(inner, few, flow=True)
        node = None if trace.output is None else trace.output.grad_fn
        fields = _fields(node, {id(p) for p in inner.parameters()}, tensors_of(few)[0].shape)
        return tuple(
            ConvolutionField(call.name, _kernel(call.node), received, gives, image)
            for call in trace.calls
            if isinstance(call.module, nn.Conv2d)
            and (gives := fields.get(call.node)) is not None
            and (received := _joined(call.node, fields)) is not None
        )


def _fields(
    output: Any, parameters: set[int], image: torch.Size
) -> dict[Any, ReceptiveField | None]:
    """Return the field of each node that depends on the image; None where it is not known.

    Args:
        output: node that computed the output; None without a graph.
        parameters: identities of all parameters, which are leaves of the graph as the image is.
        image: shape of the images.
    """
    pixels = ReceptiveField((1, 1), (1, 1), (1, 1))
    fields: dict[Any, ReceptiveField | None] = {}
    for node in reversed([] if output is None else topological_order(output)):
        if hasattr(node, "variable"):  # a leaf: the image, or a parameter
            if id(node.variable) not in parameters:
                fields[node] = pixels if node.variable.shape == image else None
        elif any(source in fields for source, _ in node.next_functions):
            received = _joined(node, fields)
            rule = RULES.get(node.name())
            fields[node] = None if received is None or rule is None else rule(node, received)
    return fields


def _joined(node: Any, fields: dict[Any, ReceptiveField | None]) -> ReceptiveField | None:
    """Return the field of all that a node receives; None if it is not known."""
    received = [fields[source] for source, _ in node.next_functions if source in fields]
    known = [field for field in received if field is not None]
    distances = {field.distance for field in known if math.inf not in field.smallest}
    if len(known) < len(received) or not known or len(distances) > 1:
        return None
    return ReceptiveField(
        _per_axis(min, [field.smallest for field in known]),
        _per_axis(max, [field.largest for field in known]),
        distances.pop() if distances else known[0].distance,
    )


def _per_axis(choose: Callable[[Iterator[float]], float], sizes: Sequence[Sizes]) -> Sizes:
    return choose(size[0] for size in sizes), choose(size[1] for size in sizes)


# --- what each operation does to a field ---


def _unchanged(_node: Any, field: ReceptiveField) -> ReceptiveField:
    return field


def _normalised(node: Any, field: ReceptiveField) -> ReceptiveField | None:
    """Return the field behind a batch norm, unless it takes its statistics from the batch."""
    return None if node._saved_training else field


def _concatenated(node: Any, field: ReceptiveField) -> ReceptiveField | None:
    """Return the field behind channels side by side; other axes move pixels."""
    return field if node._saved_dim == 1 else None


def _sliced(node: Any, field: ReceptiveField) -> ReceptiveField | None:
    """Return the field behind a slice, which may take every second pixel, say."""
    axis, step = node._saved_dim - 2, node._saved_step
    if axis not in (0, 1):
        return field
    steps = (step, 1) if axis == 0 else (1, step)
    return _spread(field, (1, 1), steps)


def _convolved(node: Any, field: ReceptiveField) -> ReceptiveField | None:
    if node._saved_transposed or node._saved_weight.ndim != 4:
        return None
    extents = tuple(
        1 + dilation * (kernel - 1)
        for kernel, dilation in zip(_kernel(node), node._saved_dilation, strict=True)
    )
    return _spread(field, extents, node._saved_stride)


def _max_pooled(node: Any, field: ReceptiveField) -> ReceptiveField:
    pairs = zip(_pair(node._saved_kernel_size), _pair(node._saved_dilation), strict=True)
    extents = tuple(1 + dilation * (kernel - 1) for kernel, dilation in pairs)
    return _spread(field, extents, _pair(node._saved_stride or node._saved_kernel_size))


def _average_pooled(node: Any, field: ReceptiveField) -> ReceptiveField:
    kernel = _pair(node._saved_kernel_size)
    return _spread(field, kernel, _pair(node._saved_stride or kernel))


def _averaged(node: Any, field: ReceptiveField) -> ReceptiveField | None:
    """Return the field behind a mean: over all pixels it sees the whole image."""
    if {axis % 2**64 for axis in node._saved_dim} not in ({2, 3}, {2**64 - 2, 2**64 - 1}):
        return None
    whole = (math.inf, math.inf)
    return replace(field, smallest=whole, largest=whole)


def _spread(
    field: ReceptiveField, extents: Sequence[int], strides: Sequence[int]
) -> ReceptiveField:
    """Return the field behind a window, per axis r + (k - 1) j and s j."""
    grown = [(k - 1) * j for k, j in zip(extents, field.distance, strict=True)]
    return ReceptiveField(
        (field.smallest[0] + grown[0], field.smallest[1] + grown[1]),
        (field.largest[0] + grown[0], field.largest[1] + grown[1]),
        (field.distance[0] * strides[0], field.distance[1] * strides[1]),
    )


def _kernel(node: Any) -> tuple[int, int]:
    weight: Tensor = node._saved_weight
    return int(weight.shape[2]), int(weight.shape[3])


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return (int(values[0]), int(values[-1]))


POINTWISE = (
    *("Add", "Sub", "Mul", "Div", "Clone", "Alias", "Relu", "Hardtanh", "Hardswish", "Hardsigmoid"),
    *("Sigmoid", "Tanh", "Silu", "Gelu", "Elu", "Celu", "LeakyRelu", "Mish", "Softplus"),
    *("Threshold", "PreluKernel", "ConstantPadNd", "ToCopy"),
)
"""Operations that leave every feature where it is."""

RULES: dict[str, Callable[[Any, ReceptiveField], ReceptiveField | None]] = {
    **{f"{name}Backward0": _unchanged for name in POINTWISE},
    "NativeBatchNormBackward0": _normalised,
    "CudnnBatchNormBackward0": _normalised,
    "CatBackward0": _concatenated,
    "SliceBackward0": _sliced,
    "ConvolutionBackward0": _convolved,
    "MaxPool2DWithIndicesBackward0": _max_pooled,
    "AvgPool2DBackward0": _average_pooled,
    "MeanBackward1": _averaged,
}
"""What each of autograd's nodes does to a field, by the name of the node."""
