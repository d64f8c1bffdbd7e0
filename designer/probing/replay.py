"""Run a model again and again on one batch, each time with another block replaced.

The calls before the replaced block are not computed again; they give what they gave the first time,
since nothing that runs later can change it.  So a replay costs only what lies behind the
block, and all replays of a chain of equal blocks together cost half of a forward pass per block.

The first pass keeps the outputs of the *finished* calls: those that had ended before some block
started, and that lie in no other such call.  In ``stem, block 0, block 1, head``, a replay without
block 1 takes the outputs of the stem and of block 0 from memory, puts the stand-in in the place of
block 1, and runs the head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from designer.probing.calling import (
    Inputs,
    call_model,
    map_tensors,
    tensor_at,
    unwrap,
)
from designer.probing.probes import TRACED_SAMPLES, Probe, probing
from designer.probing.spans import Span, spans_of
from designer.probing.tracing import Call, Trace, trace_forward

Key = tuple[nn.Module, int]
"""A submodule and which of its runs is meant, from 0."""

Answer = Callable[..., object]
"""What takes the place of a submodule's ``forward``."""


@contextmanager
def replaying(
    model: nn.Module, blocks: Sequence[str] | None, inputs: Inputs
) -> Iterator[tuple[Probe, Replayer]]:
    """Prepare a model for replays; on leaving it is as it was, also if something raises.

    Args:
        model: any module.
        blocks: names of submodules; None for those that the model names or that are found.
        inputs: samples in the form that the model takes; a few of them are traced.

    Yields:
        The probe, which knows the blocks and puts inputs on the right device, and the replayer.

    Raises:
        InvalidInputError: if there are no blocks, or a named one is not there.
        ModelError: if the model raises.
    """
    inner = unwrap(model)
    with probing(model, blocks) as probe:
        few = map_tensors(inputs, lambda tensor: tensor[:TRACED_SAMPLES])
        probe.features(few)
        trace = trace_forward(inner, probe.prepared(few), flow=True)
        spans = spans_of(trace, probe.taps)
        probe.detach()
        with Replayer(inner, trace, spans) as replayer:
            yield probe, replayer


class Replayer:
    """Runs a model with some of its calls answered from memory or by stand-ins.

    Use it as a context manager; on leaving, every ``forward`` is as it was.

    Args:
        model: unwrapped, in eval mode.
        trace: one forward pass of it.
        spans: its blocks, in running order.
    """

    def __init__(self, model: nn.Module, trace: Trace, spans: Sequence[Span]) -> None:
        self._model = model
        self.spans = tuple(spans)
        self._finished = [_finished_before(trace, span.parts[0].started) for span in spans]
        kept = [call for calls in self._finished for call in calls]
        parts = [part for span in spans for part in span.parts]
        self._inside = {(call.module, call.run): _last_runs(call) for call in [*kept, *parts]}
        self._tapped = (spans[-1].parts[-1].module, spans[-1].parts[-1].run)
        self._switches = {
            call.module: _Switch(self, call.module) for call in [*kept, *parts, *trace.calls]
        }
        self._parts = {(part.module, part.run): part.stream for part in parts}
        self._kept_keys = {(call.module, call.run) for call in [*kept, *parts]}
        self.standing: dict[Key, Answer] = {}
        """Answers that hold in every pass, also in the whole ones: for blocks that are gone."""
        self._answers: dict[Key, Answer] = {}
        self._recording = False
        self._copying = False
        self._fused = True
        self._versions: list[tuple[Tensor, int]] = []
        self.outputs: dict[Key, object] = {}
        """What the kept calls gave in the latest ``first_pass``."""
        self.received: dict[Key, Tensor] = {}
        """What the parts of the blocks received in the latest ``first_pass``."""
        self.last_features: Tensor | None = None
        """What the last block of the network gave in the latest pass; None if it gave no tensor."""

    def first_pass(self, inputs: Inputs) -> object:
        """Run the model on a batch, keep what its parts give, and return its output.

        Raises:
            ModelError: if the model raises.
        """
        output = self._record(inputs)
        if not self._copying and any(t._version != version for t, version in self._versions):
            # a later part works in place and has overwritten what was kept
            self._copying = True
            output = self._record(inputs)
        return output

    def pass_without(self, place: int, answers: dict[Key, Answer], inputs: Inputs) -> object:
        """Run the model on the batch of ``first_pass`` without a block, and return its output.

        Args:
            place: place of the block, from 0.
            answers: what takes the place of the block's parts.
            inputs: the same batch.

        Raises:
            ModelError: if the model raises.
        """
        known = {
            (call.module, call.run): self._from_memory((call.module, call.run))
            for call in self._finished[place]
            if (call.module, call.run) in self.outputs
        }
        return self._run(known | answers, inputs)

    def _record(self, inputs: Inputs) -> object:
        self.outputs.clear()
        self.received.clear()
        self._versions.clear()
        self._recording = True
        try:
            return self._run({}, inputs)
        finally:
            self._recording = False

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _run(self, answers: dict[Key, Answer], inputs: Inputs) -> object:
        self.last_features = None
        self._answers = self.standing | answers
        for switch in self._switches.values():
            switch.runs = 0
        # a first layer that works in place must not change the data
        return call_model(self._model, map_tensors(inputs, torch.clone))

    def _from_memory(self, key: Key) -> Answer:
        def answer(*_args: object, **_named: object) -> object:
            output = self.outputs[key]
            return copy.deepcopy(output) if self._copying else _with_new_containers(output)

        return answer

    def answer(self, key: Key, own: Answer, args: tuple[Any, ...], named: dict[str, Any]) -> object:
        """Return what a call gives in this pass: from memory, from a stand-in, or computed."""
        if self._recording and key in self._parts:
            received = tensor_at((*args, *named.values()), self._parts[key])
            if received is not None:
                self.received[key] = self._kept(received)
        if key in self._answers:
            self._count_inner_runs(key)
        output = self._answers.get(key, own)(*args, **named)
        if self._recording and key in self._kept_keys:
            self.outputs[key] = self._kept(output)
        if key == self._tapped:
            features = tensor_at(output, self.spans[-1].tap.index)
            self.last_features = None if features is None else features.clone()
        return output

    def _count_inner_runs(self, key: Key) -> None:
        """Count the runs of the modules inside of a call that does not run now."""
        for module, last in self._inside[key].items():
            self._switches[module].runs = max(self._switches[module].runs, last + 1)

    def _kept(self, value: Any) -> Any:
        """Return a value to keep: a copy once something was seen to work in place.

        Inference mode does not count changes in place, so what is made there is copied at once.
        """
        tensors: list[Tensor] = []
        kept = _with_new_containers(value, tensors.append)
        self._copying |= any(tensor.is_inference() for tensor in tensors)
        if self._copying:
            return copy.deepcopy(value)
        self._versions += [(tensor, tensor._version) for tensor in tensors]
        return kept

    def __enter__(self) -> Replayer:
        # the fused kernel of transformer layers would skip their parts
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        for module, switch in self._switches.items():
            switch.attach(module)
        return self

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fused)
        for module, switch in self._switches.items():
            switch.detach(module)


class _Switch:
    """Takes the place of a submodule's ``forward`` and asks the replayer what each run gives."""

    def __init__(self, replayer: Replayer, module: nn.Module) -> None:
        self._replayer, self._module = replayer, module
        self._own = module.forward
        self._had_own = "forward" in vars(module)
        self.runs = 0
        """How many runs of the submodule this pass has seen."""

    def __call__(self, *args: Any, **named: Any) -> object:
        key = (self._module, self.runs)
        self.runs += 1
        return self._replayer.answer(key, self._own, args, named)

    def attach(self, module: nn.Module) -> None:
        """Take the place of ``forward``."""
        vars(module)["forward"] = self

    def detach(self, module: nn.Module) -> None:
        """Put ``forward`` back as it was."""
        if self._had_own:
            vars(module)["forward"] = self._own
        else:
            vars(module).pop("forward", None)


def _with_new_containers(value: Any, note: Callable[[Tensor], None] = lambda _: None) -> Any:
    """Return a value whose containers are new, but whose tensors are the same.

    Code that later puts other tensors into a container does not change the one that is returned.

    Args:
        value: a tensor, a container of values, or anything else, which is returned as it is.
        note: called with every tensor.
    """
    if isinstance(value, Tensor):
        note(value)
    elif isinstance(value, dict):
        changed = copy.copy(value)
        for key in value:
            changed[key] = _with_new_containers(value[key], note)
        return changed
    elif isinstance(value, list):
        return [_with_new_containers(part, note) for part in value]
    elif isinstance(value, tuple):
        parts = [_with_new_containers(part, note) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _finished_before(trace: Trace, tick: int) -> list[Call]:
    """Return the calls that had ended by a tick and lie in no other such call."""
    return [
        call
        for call in trace.calls
        if call.ended < tick and not (call.parent is not None and call.parent.ended < tick)
    ]


def _last_runs(call: Call) -> dict[nn.Module, int]:
    """Return the last run of every submodule that ran inside of a call."""
    runs: dict[nn.Module, int] = {}
    for child in call.children:
        runs[child.module] = max(runs.get(child.module, -1), child.run)
        for module, run in _last_runs(child).items():
            runs[module] = max(runs.get(module, -1), run)
    return runs
