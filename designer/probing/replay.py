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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from designer.probing.calling import (
    Inputs,
    call_model,
    first_tensor,
    map_tensors,
    tensor_at,
    unwrap,
)
from designer.probing.probes import TRACED_SAMPLES, Probe, probing
from designer.probing.spans import Span, call_of, spans_of
from designer.probing.tracing import Call, Trace, trace_forward

Key = tuple[nn.Module, int]
"""A submodule and which of its runs is meant, from 0."""

Answer = Callable[..., object]
"""What takes the place of a submodule's ``forward``."""


@dataclass(frozen=True)
class Entry:
    """What a call receives in place of what reaches it."""

    source: Key
    """The call whose input that is made from."""
    index: int | None
    """Which of the floating tensors that the call receives is replaced; None for the first."""
    made_from: Callable[[Tensor], Tensor]
    """Makes it from what the source received in the same pass."""


@dataclass(frozen=True)
class Replacement:
    """What takes the place of one or more blocks."""

    answers: dict[Key, Answer] = field(default_factory=dict)
    """What calls give in place of what they would compute."""
    entries: dict[Key, Entry] = field(default_factory=dict)
    """What calls receive in place of what reaches them."""

    def __or__(self, other: Replacement) -> Replacement:
        """Return both; where they differ, the other's."""
        return Replacement(self.answers | other.answers, self.entries | other.entries)


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
        self._end = _end_of(spans[-1], trace)
        self._switches = {
            call.module: _Switch(self, call.module) for call in [*kept, *parts, *trace.calls]
        }
        self._parts = {(part.module, part.run): part.stream for part in parts}
        self._kept_keys = {(call.module, call.run) for call in [*kept, *parts]}
        self._followers = {
            (span.follower.module, span.follower.run): span.tap.index
            for span in spans
            if span.follower is not None
        }
        self.standing = Replacement()
        """What holds in every pass, also in the whole ones: for blocks that are gone."""
        self._now = Replacement()
        self._sources: dict[Key, Tensor | None] = {}
        self._recording = False
        self._copying = False
        self._fused = True
        self._versions: list[tuple[Tensor, int]] = []
        self.outputs: dict[Key, object] = {}
        """What the kept calls gave in the latest ``first_pass``."""
        self.received: dict[Key, Tensor] = {}
        """What the parts of the blocks received in the latest ``first_pass``."""
        self.followed: dict[Key, Tensor] = {}
        """What the followers of blocks received in the latest ``first_pass``."""
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

    def pass_without(self, place: int, instead: Replacement, inputs: Inputs) -> object:
        """Run the model on the batch of ``first_pass`` without a block, and return its output.

        Args:
            place: place of the block, from 0.
            instead: what takes the place of the block.
            inputs: the same batch.

        Raises:
            ModelError: if the model raises.
        """
        known = {
            (call.module, call.run): self._from_memory((call.module, call.run))
            for call in self._finished[place]
            if (call.module, call.run) in self.outputs
        }
        return self._run(Replacement(known) | instead, inputs)

    def _record(self, inputs: Inputs) -> object:
        self.outputs.clear()
        self.received.clear()
        self.followed.clear()
        self._versions.clear()
        self._recording = True
        try:
            return self._run(Replacement(), inputs)
        finally:
            self._recording = False

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _run(self, instead: Replacement, inputs: Inputs) -> object:
        self.last_features = None
        self._now = self.standing | instead
        self._sources = {entry.source: None for entry in self._now.entries.values()}
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
        if key in self._now.entries:
            args, named = self._entered(self._now.entries[key], args, named)
        self._note_received(key, (*args, *named.values()))
        if key in self._now.answers:
            self._count_inner_runs(key)
        output = self._now.answers.get(key, own)(*args, **named)
        if self._recording and key in self._kept_keys:
            self.outputs[key] = self._kept(output)
        if key == self._end.key:
            at_end = (*args, *named.values()) if self._end.receives else output
            features = tensor_at(at_end, self._end.index)
            if features is None:  # a stand-in gives none of the tensors that nothing uses
                features = first_tensor(at_end)
            self.last_features = None if features is None else features.clone()
        return output

    def _note_received(self, key: Key, values: tuple[Any, ...]) -> None:
        """Keep what a call receives, if it is needed in this pass or after it."""
        if key in self._sources:
            self._sources[key] = tensor_at(values, self._parts[key])
        if not self._recording:
            return
        for kept, places in ((self.received, self._parts), (self.followed, self._followers)):
            if key in places:
                tensor = tensor_at(values, places[key])
                if tensor is not None:
                    kept[key] = self._kept(tensor)

    def _entered(
        self, entry: Entry, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what a call receives, with what the entry makes in place of one tensor."""
        arriving = tensor_at((*args, *named.values()), entry.index)
        source = self._sources[entry.source]
        if source is None:  # it was answered from memory in this pass
            source = self.received.get(entry.source)
        if arriving is None or source is None:
            return args, named
        instead = entry.made_from(source)

        def replaced(tensor: Tensor) -> Tensor:
            return instead if tensor is arriving else tensor

        return _with_new_containers(args, replaced), _with_new_containers(named, replaced)

    def _count_inner_runs(self, key: Key) -> None:
        """Count the runs of the modules inside of a call that does not run now."""
        for module, last in self._inside[key].items():
            self._switches[module].runs = max(self._switches[module].runs, last + 1)

    def _kept(self, value: Any) -> Any:
        """Return a value to keep: a copy once something was seen to work in place.

        Inference mode does not count changes in place, so what is made there is copied at once.
        """
        tensors: list[Tensor] = []

        def noted(tensor: Tensor) -> Tensor:
            tensors.append(tensor)
            return tensor

        kept = _with_new_containers(value, noted)
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


@dataclass(frozen=True)
class _End:
    """The place where the last block of a network is measured."""

    key: Key
    receives: bool
    index: int | None


def _end_of(span: Span, trace: Trace) -> _End:
    call = call_of(trace, span.tap.module, span.tap.run)
    return _End((call.module, call.run), span.tap.receives, span.tap.index)


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


def _with_new_containers(value: Any, change: Callable[[Tensor], Tensor] = lambda t: t) -> Any:
    """Return a value whose containers are new, but whose tensors are the same, unless changed.

    Code that later puts other tensors into a container does not change the one that is returned.

    Args:
        value: a tensor, a container of values, or anything else, which is returned as it is.
        change: returns what takes the place of a tensor.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        changed = copy.copy(value)
        for key in value:
            changed[key] = _with_new_containers(value[key], change)
        return changed
    if isinstance(value, list):
        return [_with_new_containers(part, change) for part in value]
    if isinstance(value, tuple):
        parts = [_with_new_containers(part, change) for part in value]
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
