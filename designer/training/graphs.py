"""Record a training step as a CUDA graph, and replay it: one launch in the place of hundreds.

The first steps run as they are, because libraries and the optimizer set themselves up in them; they
are ordinary steps of the run, so nothing has to be undone.  The next step is recorded, which
computes nothing, and is replayed from then on.  So a run sees the same batches and random numbers
as without a graph, and its results differ by rounding alone.

Reference: PyTorch's notes on CUDA semantics, section "CUDA Graphs", whole-network capture.

A search does this on CUDA devices for networks that say ``cuda_graphs = True``. The gain is
measured by ``python -m benchmarks.run gpu --part search`` (``benchmarks/results/gpu_search.json``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError

WARM_UP_STEPS = 3
"""Number of steps before one is recorded, as in PyTorch's notes."""

Step = Callable[[Tensor, Tensor], Tensor]
"""Takes a training step on inputs (n, ...) and labels (n,); returns the loss before it."""


class GraphedStep:
    """A training step that is replayed from a CUDA graph for batches of the first one's shape.

    Batches of other shapes, such as a last smaller one, run step by step.

    Args:
        step: takes one step, without a decision that depends on the values of tensors.
        optimizer: what the step moves the weights with; it is changed so that a graph can hold its
            step.
        device: where the step runs.

    Raises:
        InvalidInputError: if the device has no CUDA graphs, or the optimizer does not fit into one.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        if device.type != "cuda":
            raise InvalidInputError(
                f"Expected data on a CUDA device for CUDA graphs, got them on '{device}'."
            )
        make_capturable(optimizer, device)
        self._step, self._optimizer, self._device = step, optimizer, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._shape: torch.Size | None = None
        self._warmed_up = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs = self._labels = self._loss = torch.empty(0)

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take one step; the loss that is returned holds until the next call."""
        if self._shape is None:
            self._shape = inputs.shape
        if inputs.shape != self._shape:
            return self._step(inputs, labels)
        if self._warmed_up < WARM_UP_STEPS:
            self._warmed_up += 1
            return self._step_aside(inputs, labels)
        if self._graph is None:
            self._graph = self._recorded(inputs, labels)
        self._inputs.copy_(inputs)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss

    def _step_aside(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take one step on the stream that the graph will be recorded on."""
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                loss = self._step(inputs, labels)
            current.wait_stream(self._stream)
        return loss

    def _recorded(self, inputs: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Return the graph of a step on tensors of its own; nothing is computed yet."""
        self._inputs, self._labels = inputs.clone(), labels.clone()
        # so that the graph has gradients of its own
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.device(self._device):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._step(self._inputs, self._labels)
        return graph


def check_graphable(data: LabelledTensors) -> None:
    """Check that a training step on such data makes no decision on the values of tensors.

    Raises:
        InvalidInputError: if there are several inputs, or a label for each token.
    """
    if not isinstance(data.inputs, Tensor) or data.labels.ndim != 1:
        raise InvalidInputError(
            "Expected a single input and one label per sample for CUDA graphs; train without."
        )


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimizer keep its numbers on the device: the count of its steps, and its rate.

    Raises:
        InvalidInputError: if it cannot.
    """
    for group in optimizer.param_groups:
        if "capturable" not in group:
            raise InvalidInputError(
                f"Expected an optimizer with the option `capturable` for CUDA graphs, got "
                f"{type(optimizer).__name__}."
            )
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters, in place where the optimizer keeps a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
