"""See what the blocks of a module give, in the order in which they run.

Taps are forward hooks that live no longer than the context manager ``probing``, which leaves the
module as it was: hooks, training mode, buffers such as running statistics, gradients and the random
state, also if something raises.  ``probing_again`` puts the taps of a probe back in place, without
looking for the blocks once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from designer.errors import InvalidInputError, ModelError
from designer.probing.block_sizes import Coverage, block_parameters, coverage_of
from designer.probing.blocks import RESHAPING, BlockCandidate, find_blocks, taps_named
from designer.probing.bypassed import bypassed_parts, unseen_end
from designer.probing.calling import (
    Inputs,
    call_model,
    first_tensor,
    floating_inputs,
    map_tensors,
    submodules,
    tensor_at,
    tensors_of,
    unwrap,
)
from designer.probing.tracing import Tap, Trace, trace_forward
from designer.probing.untouched import python_random_states, untouched
from designer.results.measured import BypassedParts

TRACED_SAMPLES = 5
"""Number of samples in the forward pass that finds the blocks."""


class Probe:
    """Runs a model and returns what its blocks gave, inside ``probing`` or ``probing_again``.

    Args:
        model: may be wrapped by ``DataParallel`` or ``torch.compile``; the probe looks inside.
        blocks: names of submodules, see ``blocks.taps_named``. By default the blocks are those
            that the model lists in its attribute ``block_names``, else those that are found.
        entry: True to let what the first block receives stand for the input, if layers run before
            that block.

    Attributes:
        wrapped: the model, as it was given.
        taps: one for each block, in running order; empty before the first batch.
        parameters: for each block, the number of parameters that no other part of the model uses.
        coverage: how much of the model the blocks hold; no share before the first batch.
        bypassed: parts that a reader may take for the blocks, though part of the input flows past
            them; None if there are none, the blocks are named, or before the first batch.
        unseen_end: a last part that is like the blocks, but what it gives can be seen nowhere; None
            as for ``bypassed``.
        named: True if the caller or the model named the blocks.
        enters: True if what the first block receives stands for the input. That is so if the input
            is only tokens, or if ``entry`` asks for it and layers run before the first block.
        output: the first floating tensor that the model gave for the last batch.
        answer: all that the model gave for the last batch.
        ends_in_sigmoid: True if ``output`` is one number per row, which a sigmoid gave.
        draws: True if the model drew random numbers from Python's or NumPy's global generators
            when the probe was used for the first time; None before.

    Raises:
        ModelError: if the model is TorchScript, which runs no hooks.
    """

    def __init__(
        self, model: nn.Module, blocks: Sequence[str] | None = None, *, entry: bool = False
    ) -> None:
        self.wrapped = model
        self._model = unwrap(model)
        self._blocks = blocks
        self.named = blocks is not None or getattr(self._model, "block_names", None) is not None
        self._entry = entry
        self._like = next((p for p in self._model.parameters() if p.is_floating_point()), None)
        self._hooks = ExitStack()
        self._listeners: list[_Listener] = []
        self._axes: list[int] = []
        self._copy = False
        self.taps: tuple[Tap, ...] = ()
        self.parameters: tuple[int, ...] = ()
        self.coverage = Coverage(None, 0)
        self.bypassed: BypassedParts | None = None
        self.unseen_end: str | None = None
        self.enters = False
        self.output = torch.empty(0)
        self.answer: object = None
        self.ends_in_sigmoid = False
        self.draws: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks in running order; empty before the first batch."""
        return tuple(tap.name for tap in self.taps)

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def features(self, inputs: Inputs) -> list[Tensor]:
        """Return the input and the block outputs for a batch, in running order.

        Args:
            inputs: n samples, as the model takes them, on any device; left as they are.

        Returns:
            Tensors (n, ...) on the model's device. The first is the input as (n, p), all its
            tensors side by side, or what the first block receives if that stands for the input
            (``enters``).

        Raises:
            InvalidInputError: if there are no blocks, or one does not run as it did in the first
                batch, or gives no tensor with a row for every sample.
            ModelError: if the model raises.
        """
        inputs = map_tensors(inputs, lambda t: t if self._like is None else t.to(self._like.device))
        if not self.taps:
            self._place_taps(inputs)
        outputs = self._run(inputs)
        pairs = zip(outputs, self._axes, strict=True)
        rows = [t.movedim(axis, 0) if axis else t for t, axis in pairs]
        if self.enters:
            return rows
        flat = [t.reshape(len(t), -1) for t in floating_inputs(inputs)]
        return [flat[0] if len(flat) == 1 else torch.cat(flat, dim=1), *rows]

    def prepared(self, inputs: Inputs) -> Inputs:
        """Return a batch on the model's device, with floating tensors in its precision."""
        if self._like is None:
            return inputs
        like = self._like
        return map_tensors(inputs, lambda t: t.to(like if t.is_floating_point() else like.device))

    @property
    def last_sample_axis(self) -> int:
        """The axis along which the samples lie in what the last block gives."""
        return self._axes[-1]

    def attach(self) -> None:
        """Put the model into eval mode, and hook the taps if they are known already."""
        self._model.eval()
        self._hook()

    def detach(self) -> None:
        """Remove the hooks, and let go of what they kept of the last batch."""
        self._hooks.close()
        self.output, self.answer = torch.empty(0), None
        for listener in self._listeners:
            listener.forget()

    def _place_taps(self, inputs: Inputs) -> None:
        """Find the blocks, hook them, and find the axis along which the samples lie there."""
        few = map_tensors(inputs, partial(_first, count=TRACED_SAMPLES))
        trace, taps = taps_of(self._model, self.prepared(few), self._blocks)
        only_tokens = not floating_inputs(inputs)
        self.enters = only_tokens or (self._entry and trace.has_layers_before(taps[0]))
        known = submodules(self._model)
        hooked = [taps[0].before, *taps] if self.enters else taps
        self._listeners = [_Listener(tap, known[tap.module]) for tap in hooked]
        self._hook()
        self._axes = self._find_axes(few)
        self.parameters = block_parameters(trace, taps)
        self.coverage = coverage_of(self._model, trace, taps)
        self.bypassed = None if self.named else bypassed_parts(trace, taps)
        self.unseen_end = None if self.named else unseen_end(trace, taps)
        self.ends_in_sigmoid = ends_in_sigmoid(self._model, self.prepared(few), self.output)
        self.taps = tuple(taps)

    def _hook(self) -> None:
        for listener in self._listeners:
            self._hooks.callback(listener.attach())

    def _find_axes(self, few: Inputs) -> list[int]:
        """Find the axis of samples of each tap: 0, or 1 in networks that put tokens first.

        Two batches of different size tell it from an axis that is as long by chance.
        """
        n = len(tensors_of(few)[0])
        counts = (n, n - 1) if n > 1 else (n,)
        batches = [self._run(map_tensors(few, partial(_first, count=m))) for m in counts]
        sample_axes = []
        for listener, *outputs in zip(self._listeners, *batches, strict=True):
            axes = [
                axis
                for axis in (0, 1)
                if all(
                    t.shape[axis : axis + 1] == (m,) for t, m in zip(outputs, counts, strict=True)
                )
            ]
            if not axes:
                raise InvalidInputError(
                    f"Expected {_with_rows(listener.tap)} a row for each of {n} samples, got shape "
                    f"{tuple(outputs[0].shape)}; name other blocks."
                )
            sample_axes.append(axes[0])
        return sample_axes

    def _run(self, inputs: Inputs) -> list[Tensor]:
        outputs = self._run_once(inputs)
        if not self._copy and any(listener.overwritten for listener in self._listeners):
            # a later part of the model works in place, so keep copies from now on
            self._copy = True
            outputs = self._run_once(inputs)
        return outputs

    def _run_once(self, inputs: Inputs) -> list[Tensor]:
        for listener in self._listeners:
            listener.expect(copy=self._copy)
        # a first layer that works in place must not change the data
        self.answer = call_model(self._model, map_tensors(self.prepared(inputs), torch.clone))
        output = first_tensor(self.answer)
        if output is None:
            raise InvalidInputError(
                "Expected the model to return a floating tensor, or a tuple or dict that holds "
                "one, got none."
            )
        self.output = output
        return [listener.result() for listener in self._listeners]


class _Listener:
    """Keeps the tensor that one tap sees in a forward pass."""

    def __init__(self, tap: Tap, module: nn.Module) -> None:
        self.tap = tap
        self._module = module
        self._tensor = torch.empty(0)
        self._version = -1  # below 0 until there is a tensor
        self._run = 0
        self._copy = False

    def attach(self) -> Callable[[], None]:
        """Hook the module; return a function that removes the hook."""
        if self.tap.receives:
            return self._module.register_forward_pre_hook(self._before, with_kwargs=True).remove
        return self._module.register_forward_hook(self._behind).remove

    def forget(self) -> None:
        """Let go of the last tensor."""
        self._tensor, self._run, self._version = torch.empty(0), 0, -1

    def expect(self, *, copy: bool) -> None:
        """Get ready for the next forward pass."""
        self._run, self._version, self._copy = 0, -1, copy

    @property
    def overwritten(self) -> bool:
        """True if the tensor has been changed in place since it was seen."""
        return _version(self._tensor) != self._version

    def result(self) -> Tensor:
        """Return the tensor of the last forward pass.

        Raises:
            InvalidInputError: if the block did not run, or gave no tensor.
        """
        if self._run <= self.tap.run:
            raise InvalidInputError(
                f"Expected block '{self.tap.name}' to run in every forward pass, but in one it "
                f"did not; name blocks that always run."
            )
        if self._version < 0:
            raise InvalidInputError(f"Expected block '{self.tap.name}' to give a tensor, got none.")
        return self._tensor

    def _before(
        self, _module: nn.Module, args: tuple[object, ...], named: dict[str, object]
    ) -> None:
        self._take((*args, *named.values()))

    def _behind(self, _module: nn.Module, _args: object, output: object) -> None:
        self._take(output)

    def _take(self, value: object) -> None:
        tensor = tensor_at(value, self.tap.index) if self._run == self.tap.run else None
        self._run += 1
        if tensor is not None:
            kept = tensor.detach()
            self._tensor = kept.clone() if self._copy or kept.is_inference() else kept
            self._version = _version(self._tensor)


@contextmanager
def probing(
    model: nn.Module, blocks: Sequence[str] | None = None, *, entry: bool = False
) -> Iterator[Probe]:
    """Yield a ``Probe`` of the model in eval mode; on leaving, the model is as it was.

    Args:
        model: may be wrapped by ``DataParallel`` or ``torch.compile``; the probe looks inside.
        blocks: names of submodules, see ``blocks.taps_named``. By default the blocks are those
            that the model lists in its attribute ``block_names``, else those that are found.
        entry: True to let what the first block receives stand for the input, if layers run before
            that block.

    Raises:
        ModelError: if the model is TorchScript, which runs no hooks.
    """
    with probing_again(Probe(model, blocks, entry=entry)) as probe:
        yield probe


@contextmanager
def probing_again(probe: Probe) -> Iterator[Probe]:
    """Yield a probe of a model in eval mode; on leaving, the model is as it was.

    Args:
        probe: a new one, or one that was used before. The latter does not look for the blocks
            again, which takes far longer than a forward pass of a small network, and does not keep
            the states of Python's and NumPy's generators if the model did not draw from them.
    """
    before = python_random_states() if probe.draws is None else None
    with untouched(probe.wrapped, python_random=probe.draws is not False):
        try:
            probe.attach()
            yield probe
        finally:
            probe.detach()
        if probe.taps and before is not None:
            probe.draws = python_random_states() != before


def block_candidates(model: nn.Module, inputs: Inputs) -> list[BlockCandidate]:
    """Return every part of the model that might be a block, and why it is one or not.

    Args:
        model: may be wrapped; left as it was.
        inputs: a batch, of which the first ``TRACED_SAMPLES`` samples are used.

    Returns:
        In running order; layers with weights that do not run come last.

    Raises:
        ModelError: if the model raises.
    """
    inner = unwrap(model)
    with untouched(model), probing(inner) as probe:
        few = probe.prepared(map_tensors(inputs, partial(_first, count=TRACED_SAMPLES)))
        trace = trace_forward(inner, few, flow=True)
        return [
            *find_blocks(trace)[1],
            *(_idle(name, type(layer).__name__) for name, layer in trace.idle_layers(inner)),
        ]


def taps_of(model: nn.Module, few: Inputs, blocks: Sequence[str] | None) -> tuple[Trace, list[Tap]]:
    """Trace a model and return taps at its blocks.

    Args:
        model: unwrapped, in eval mode.
        few: a few samples, as the model takes them.
        blocks: names of submodules; None for those that the model lists itself, else those that
            are found.

    Raises:
        InvalidInputError: if no blocks are found, or those that are named do not run.
        ModelError: if the model raises, or its ``block_names`` are no names.
    """
    names = blocks if blocks is not None else _own_names(model)
    trace = trace_forward(model, few, flow=names is None)
    taps = find_blocks(trace)[0] if names is None else taps_named(trace, model, names)
    if not taps:
        listed = ", ".join(f"'{name}'" for name, _ in model.named_children()) or "none"
        raise InvalidInputError(
            f"Expected a model with blocks to look at, found none in {type(model).__name__}: name "
            f"them with `blocks` (--blocks). Its submodules are {listed}."
        )
    return trace, taps


def ends_in_sigmoid(model: nn.Module, few: Inputs, output: Tensor | None) -> bool:
    """Return whether a model gives one number per row, (n,) or (n, ..., 1), from a sigmoid.

    Args:
        model: unwrapped, in eval mode.
        few: a few samples, as the model takes them.
        output: what it gave for some samples.

    Raises:
        ModelError: if the model raises.
    """
    if output is None or (output.ndim > 1 and output.shape[-1] > 1):
        return False
    traced = trace_forward(model, few, flow=True).output
    node = None if traced is None else traced.grad_fn
    while node is not None and RESHAPING.search(node.name()):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("SigmoidBackward")


def _own_names(model: nn.Module) -> Sequence[str] | None:
    """Return the names that a model lists as its blocks; None if it lists none."""
    names = getattr(model, "block_names", None)
    if names is None or (
        isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    ):
        return names
    raise ModelError(
        f"Expected `block_names` of {type(model).__name__} as names, got {type(names).__name__}."
    )


def _with_rows(tap: Tap) -> str:
    """Return what has to have a row for each sample: what a block gives, or the first receives."""
    if tap.name == "input":
        return f"what block '{tap.module}' receives, such as a packed sequence, to have"
    return f"block '{tap.name}' to give"


def _idle(name: str, kind: str) -> BlockCandidate:
    return BlockCandidate(name, kind, shape=None, chosen=False, reason="does not run")


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place.

    Inference mode does not count that; what is seen there is copied at once.
    """
    return 0 if tensor.is_inference() else tensor._version


def _first(tensor: Tensor, count: int) -> Tensor:
    return tensor[:count]
