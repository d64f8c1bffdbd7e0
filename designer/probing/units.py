"""Tell which classes are the repeating units of a network.

A unit is a block as a whole, even if everything passes through parts of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from torch import nn

from designer.probing.tracing import Call, Trace, weights_of


def unit_classes(
    trace: Trace, may_be_block: Callable[[Call], bool], has_tap: Callable[[Call], bool]
) -> set[type[nn.Module]]:
    """Return the classes that are the repeating unit of a network.

    A unit is a class that runs several times, and in which nothing repeats that holds most of its
    weights. A stage of residual blocks is none, as the blocks in it repeat; a block is one, even if
    everything passes through its convolution for positions, or through each of its sub-layers. A
    downsampling is none if it begins with a block like those that are listed behind it, and all
    that follows in it can be seen, too.

    Args:
        trace: of the model.
        may_be_block: tells of a run whether it might be a block.
        has_tap: tells of a run whether there is a place behind it where everything passes.
    """
    runs: dict[type[nn.Module], list[Call]] = {}
    for call in trace.calls:
        if call.is_compound and type(call.module) is not nn.Sequential:
            runs.setdefault(type(call.module), []).append(call)
    return {
        kind
        for kind, calls in runs.items()
        # one run within another is no repetition
        if len([call for call in calls if not _runs_within(call, kind)]) > 1
        and not any(_wraps(call) or _holds_repetition(call, may_be_block) for call in calls)
        and not any(
            may_be_block(child) and _repeats_outside(kind, child, runs.get(type(child.module), ()))
            for call in calls
            if all(has_tap(child) for child in call.children if child.is_compound)
            for child in call.children
        )
    }


def _repeats_outside(holder: type[nn.Module], part: Call, alike: Sequence[Call]) -> bool:
    """True if most runs of a part's class stand in lists outside of the class that holds the part.

    Args:
        holder: class that holds the part.
        part: of several layers.
        alike: all runs of the part's class.
    """
    listed = sum(is_listed(call) and not _runs_within(call, holder) for call in alike)
    return has_layers(part) and 2 * listed > len(alike)


def _runs_within(call: Call, kind: type[nn.Module]) -> bool:
    """True if a call runs within one of some class."""
    outer = call.parent
    while outer is not None and type(outer.module) is not kind:
        outer = outer.parent
    return outer is not None


def _wraps(call: Call) -> bool:
    """True if all weights of a part lie in a single part with a class of its own."""
    parts = [child for child in call.children if child.has_weights]
    while len(parts) == 1 and type(parts[0].module) is nn.Sequential:
        parts = [child for child in parts[0].children if child.has_weights]
    return len(parts) == 1 and parts[0].is_compound


def _holds_repetition(call: Call, may_be_block: Callable[[Call], bool]) -> bool:
    """True if parts that repeat and might be blocks hold at least half of the weights of a part.

    Parts repeat if they are of one class and their names differ in numbers alone, as ``blocks.0``
    and ``blocks.1`` do. Outside of lists, where ``conv1`` and ``conv2`` are usual names within a
    unit, they must have several layers, and no part of another kind may be among them.
    """
    listed: dict[_Kind, set[nn.Module]] = {}
    unlisted: dict[_Kind, set[nn.Module]] = {}
    for part in filter(may_be_block, call.descendants):
        kind = type(part.module), re.sub(r"\d+", "#", part.name.removeprefix(call.name))
        if is_listed(part):
            listed.setdefault(kind, set()).add(part.module)
        elif part.parent is call:
            unlisted.setdefault(kind, set())
            if has_layers(part):
                unlisted[kind].add(part.module)
    groups = [*listed.values(), *(unlisted.values() if len(unlisted) == 1 else ())]
    repeating = {
        weight: weight.numel()
        for modules in groups
        if len(modules) > 1
        for module in modules
        for weight in weights_of(module)
    }
    return 2 * sum(repeating.values()) >= sum(w.numel() for w in weights_of(call.module))


_Kind = tuple[type[nn.Module], str]
"""The class of a part, and its name with a sign in the place of each number."""


def is_listed(part: Call) -> bool:
    """True if a part stands in a list or sequence."""
    within = part.parent is not None and isinstance(part.parent.module, nn.Sequential)
    return within or part.is_numbered


def has_layers(part: Call) -> bool:
    """True if more than one layer with weights ran within a part."""
    return sum(c.has_weights and not c.is_compound for c in part.descendants) > 1
