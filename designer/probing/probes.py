"""Taps on a module: the outputs of its blocks, in the order in which they run.

A tap is a forward hook that lives no longer than its context manager, which leaves the module
as it was: hooks, training mode, buffers such as running statistics, gradients and the random
state, also when it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from designer.errors import InvalidInputError, ModelError
from designer.probing.blocks import BlockCandidate, find_blocks, taps_named
from designer.probing.calling import (
    Inputs,
    call_model,
    first_tensor,
    floating_inputs,
    map_tensors,
    submodules,
    tensors_of,
    unwrap,
)
from designer.probing.tracing import Tap, Trace, trace_forward
from designer.probing.untouched import untouched

TRACED_SAMPLES = 5
"""Samples in the forward pass that finds the blocks."""


class Probe:
    """Runs a model and hands back what its blocks gave; made by ``probing``.

    Attributes:
        taps: where it looks, in running order, once it has seen a batch.
        named: whether the caller said which parts are blocks.
        enters: whether what the first block receives stands for the input: where that is only
            tokens, and where it was asked for and there are layers before the first block.
        output: what the model gave for the last batch, its first floating tensor.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[str] | None, *, entry: bool) -> None:
        self._model = model
        self._blocks = blocks
        self.named = blocks is not None
        self._entry = entry
        self._like = next((p for p in model.parameters() if p.is_floating_point()), None)
        self._hooks = ExitStack()
        self._listeners: list[_Listener] = []
        self._axes: list[int] = []
        self._copy = False
        self.taps: tuple[Tap, ...] = ()
        self.enters = False
        self.output = torch.empty(0)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the blocks; empty before the first batch."""
        return tuple(tap.name for tap in self.taps)

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def features(self, inputs: Inputs) -> list[Tensor]:
        """Input and block outputs for a batch of n samples, each (n, ...), on the model's device.

        The input is given as (n, p), all its tensors side by side, or as what the first block
        receives, where that stands for it (``enters``).

        Raises:
            InvalidInputError: where there are no blocks, or one does not run as it did in the
                first batch, or gives no tensor with a row for every sample.
        """
        inputs = map_tensors(inputs, lambda t: t if self._like is None else t.to(self._like.device))
        if not self.taps:
            self._look(inputs)
        outputs = self._run(inputs)
        rows = [t.movedim(axis, 0) for t, axis in zip(outputs, self._axes, strict=True)]
        if self.enters:
            return rows
        flat = [t.reshape(len(t), -1) for t in floating_inputs(inputs)]
        return [torch.cat(flat, dim=1), *rows]

    def prepared(self, inputs: Inputs) -> Inputs:
        """A batch as the model takes it: on its device, floating tensors in its precision."""
        if self._like is None:
            return inputs
        like = self._like
        return map_tensors(inputs, lambda t: t.to(like if t.is_floating_point() else like.device))

    def close(self) -> None:
        """Remove the hooks."""
        self._hooks.close()

    def _look(self, inputs: Inputs) -> None:
        """Find the taps, and along which axis the samples lie there."""
        few = map_tensors(inputs, partial(_first, count=TRACED_SAMPLES))
        seen, taps = taps_of(self._model, self.prepared(few), self._blocks)
        tokens = not floating_inputs(inputs)
        self.enters = tokens or (self._entry and seen.leads_to(taps[0]))
        self._attach([taps[0].before, *taps] if self.enters else taps)
        self._axes = self._find_axes(few)
        self.taps = tuple(taps)

    def _attach(self, taps: list[Tap]) -> None:
        known = submodules(self._model)
        for tap in taps:
            listener = _Listener(tap)
            self._listeners.append(listener)
            self._hooks.callback(listener.attach(known[tap.module]))

    def _find_axes(self, few: Inputs) -> list[int]:
        """0 or 1 for each tap: the axis that is as long as there are samples, whatever their
        number."""
        n = len(tensors_of(few)[0])
        counts = (n, n - 1) if n > 1 else (n,)
        batches = [self._run(map_tensors(few, partial(_first, count=m))) for m in counts]
        found = []
        for listener, *seen in zip(self._listeners, *batches, strict=True):
            axes = [
                axis
                for axis in (0, 1)
                if all(t.shape[axis : axis + 1] == (m,) for t, m in zip(seen, counts, strict=True))
            ]
            if not axes:
                raise InvalidInputError(
                    f"Expected block '{listener.tap.name}' to give a row for each of {n} samples, "
                    f"got shape {tuple(seen[0].shape)}; name other blocks."
                )
            found.append(axes[0])
        return found

    def _run(self, inputs: Inputs) -> list[Tensor]:
        outputs = self._run_once(inputs)
        if not self._copy and any(listener.overwritten for listener in self._listeners):
            # something later in the model works in place, so keep copies from now on
            self._copy = True
            outputs = self._run_once(inputs)
        return outputs

    def _run_once(self, inputs: Inputs) -> list[Tensor]:
        for listener in self._listeners:
            listener.expect(copy=self._copy)
        # a first layer that works in place must not change the data
        output = first_tensor(
            call_model(self._model, map_tensors(self.prepared(inputs), torch.clone))
        )
        if output is None:
            raise InvalidInputError(
                "Expected the model to return a floating tensor, or a tuple or dict that holds "
                "one, got none."
            )
        self.output = output
        return [listener.result() for listener in self._listeners]


class _Listener:
    """Keeps what one tap sees in a forward pass."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.seen = torch.empty(0)
        self._version = -1
        self._run = 0
        self._copy = False

    def attach(self, module: nn.Module) -> Callable[[], None]:
        """Hook it to the tap's module; returns what unhooks it."""
        if self.tap.receives:
            return module.register_forward_pre_hook(self._before, with_kwargs=True).remove
        return module.register_forward_hook(self._behind).remove

    def expect(self, *, copy: bool) -> None:
        """Be ready for the next forward pass."""
        self._run, self._version, self._copy = 0, -1, copy

    @property
    def overwritten(self) -> bool:
        """Whether what was seen has been changed in place since."""
        return _version(self.seen) != self._version

    def result(self) -> Tensor:
        """What was seen.

        Raises:
            InvalidInputError: where the block did not run, or gave no tensor.
        """
        if self._run <= self.tap.run:
            raise InvalidInputError(
                f"Expected block '{self.tap.name}' to run in every forward pass, but in one it "
                f"did not; name blocks that always run."
            )
        if self._version < 0:
            raise InvalidInputError(f"Expected block '{self.tap.name}' to give a tensor, got none.")
        return self.seen

    def _before(
        self, _module: nn.Module, args: tuple[object, ...], named: dict[str, object]
    ) -> None:
        self._take((*args, *named.values()))

    def _behind(self, _module: nn.Module, _args: object, output: object) -> None:
        self._take(output)

    def _take(self, value: object) -> None:
        tensor = first_tensor(value) if self._run == self.tap.run else None
        self._run += 1
        if tensor is not None:
            kept = tensor.detach()
            self.seen = kept.clone() if self._copy or kept.is_inference() else kept
            self._version = _version(self.seen)


@contextmanager
def probing(
    model: nn.Module, blocks: Sequence[str] | None = None, *, entry: bool = False
) -> Iterator[Probe]:
    """A ``Probe`` of the model in eval mode; on leaving, the model is as it was.

    Args:
        model: may be wrapped by ``DataParallel`` or ``torch.compile``; the probe looks inside.
        blocks: names of submodules, see ``blocks.matching``; by default those that the model lists
            in its attribute ``block_names``, else those that are found.
        entry: whether what the first block receives shall stand for the input.
    """
    inner = unwrap(model)
    probe = Probe(inner, blocks, entry=entry)
    with untouched(model):
        inner.eval()
        try:
            yield probe
        finally:
            probe.close()


def block_candidates(model: nn.Module, inputs: Inputs) -> list[BlockCandidate]:
    """Every part of the model that might be a block, in running order, and why it is one or not.

    Args:
        model: left as it was.
        inputs: a batch of a few samples.
    """
    inner = unwrap(model)
    with untouched(model), probing(inner) as probe:
        few = probe.prepared(map_tensors(inputs, partial(_first, count=TRACED_SAMPLES)))
        seen = trace_forward(inner, few, flow=True)
        idle = seen.idle(inner)
        return [
            *find_blocks(seen)[1],
            *(_idle(name, type(module).__name__) for name, module in idle),
        ]


def taps_of(model: nn.Module, few: Inputs, blocks: Sequence[str] | None) -> tuple[Trace, list[Tap]]:
    """Taps of a model in eval mode, from a pass over a few samples.

    Raises:
        InvalidInputError: where no blocks are found, or those that are named do not run.
    """
    names = blocks if blocks is not None else _own_names(model)
    seen = trace_forward(model, few, flow=names is None)
    taps = find_blocks(seen)[0] if names is None else taps_named(seen, model, names)
    if not taps:
        listed = ", ".join(f"'{name}'" for name, _ in model.named_children()) or "none"
        raise InvalidInputError(
            f"Expected a model with blocks to look at, found none in {type(model).__name__}: name "
            f"them with `blocks` (--blocks). Its submodules are {listed}."
        )
    return seen, taps


def _own_names(model: nn.Module) -> Sequence[str] | None:
    """Those that a model lists as its blocks."""
    names = getattr(model, "block_names", None)
    if names is None or (
        isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    ):
        return names
    raise ModelError(
        f"Expected `block_names` of {type(model).__name__} as names, got {type(names).__name__}."
    )


def _idle(name: str, kind: str) -> BlockCandidate:
    return BlockCandidate(name, kind, shape=None, chosen=False, reason="does not run")


def _version(tensor: Tensor) -> int:
    """How often it has been changed in place; inference mode does not count, so copies are kept."""
    return 0 if tensor.is_inference() else tensor._version


def _first(tensor: Tensor, count: int) -> Tensor:
    return tensor[:count]
