"""What three tools say of single blocks: ``designer.analyze``, ``delve`` and ``rfa_toolbox``.

Every rule was written down before its outcomes were looked at.  That the diagnosis of ours looks at
dead units and tries narrower layers was decided after a first run had shown that it missed both.

=================  ===============================================================================
tool               a block is flagged if
=================  ===============================================================================
designer           the advice on it is to change it, or a finding of the diagnosis names it
delve, tail        it lies in an unbroken run, up to the last block, of blocks whose saturation is
                   below ``LOW`` times the mean over all blocks.  The authors' documents say that
                   the layers of such a tail contribute nothing, and name no number
delve, any layer   its saturation is below that bound, wherever it lies
rfa_toolbox        all its convolutions of more than one pixel are what the tool calls border
                   layers, "predicted to be unproductive" at this size of images
=================  ===============================================================================

The saturation of a block is the mean over its layers.  Low saturation is read as "remove" or as
"narrow", whichever is right, and a border layer as "remove".  ``rfa_toolbox`` 1.7 knows
convolutions only.  It asks for Python below 3.11, and imports names that Python moved; with these
names restored it runs: ``pip install --no-deps --ignore-requires-python rfa_toolbox graphviz``.
"""

from __future__ import annotations

import collections
import collections.abc
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from benchmarks.claims.contribution_criteria import layer_saturations
from designer import analyze
from designer.data.dataset import Dataset
from designer.report.views.network import is_edit
from designer.results.diagnosis import FindingKind

LOW = 0.5
"""A saturation is low below this share of the mean."""

DESIGNER, DELVE_TAIL, DELVE_ANY, RFA = "designer", "delve, tail", "delve, any layer", "rfa_toolbox"

REMOVE, NARROW, WIDEN, FEWER = "remove", "narrow", "widen", "fewer blocks"
"""What a tool advises."""

NAMING = {
    FindingKind.TOO_NARROW: frozenset({WIDEN, REMOVE}),
    FindingKind.DEAD_UNITS: frozenset({NARROW, REMOVE}),
    FindingKind.TOO_WIDE: frozenset({NARROW}),
}
"""What the findings advise that name blocks."""


class NotApplicable(Exception):
    """A tool says nothing of such a network, or is not installed; the message says why."""


@dataclass(frozen=True)
class Flags:
    """What a tool says of a network."""

    blocks: dict[str, frozenset[str]]
    """The advice on each flagged block, by its name; more than one where words can be read so."""
    whole: frozenset[str] = frozenset()
    """The advice on the network as a whole."""
    findings: tuple[str, ...] = ()
    """Names of all findings on the whole network."""


def by_designer(model: nn.Module, data: Dataset) -> Flags:
    """Return the advice of a report, on training and held-out data."""
    result = analyze(model, data.train, data.validation)
    blocks = {
        layer.name: frozenset({layer.advice.partition(":")[0]})
        for layer in result.layers
        if is_edit(layer.advice)
    }
    whole = set()
    for finding in result.diagnosis:
        for name in re.findall(r"'([^']+)' \(", finding.evidence):
            if finding.kind in NAMING:
                blocks[name] = blocks.get(name, frozenset()) | NAMING[finding.kind]
        if finding.kind is FindingKind.OVER_DEEP:
            whole.add(FEWER)
    return Flags(blocks, frozenset(whole), tuple(finding.kind.name for finding in result.diagnosis))


def by_delve_tail(model: nn.Module, data: Dataset) -> Flags:
    """Return the blocks of the tail."""
    names = _lowly_saturated(model, data)
    tail = []
    for name in reversed(_block_names(model)):
        if name not in names:
            break
        tail.append(name)
    return Flags(dict.fromkeys(tail, frozenset({REMOVE, NARROW})))


def by_delve_any(model: nn.Module, data: Dataset) -> Flags:
    """Return all blocks of low saturation."""
    return Flags(dict.fromkeys(_lowly_saturated(model, data), frozenset({REMOVE, NARROW})))


def _lowly_saturated(model: nn.Module, data: Dataset) -> list[str]:
    try:
        layers = layer_saturations(model, data.train)
    except ImportError as error:
        raise NotApplicable("delve is not installed") from error
    values = {
        block: np.mean([value for name, value in layers.items() if _within(name, block)])
        for block in _block_names(model)
    }
    bound = LOW * np.mean(list(values.values()))
    return [block for block, value in values.items() if value < bound]


def by_rfa(model: nn.Module, data: Dataset) -> Flags:
    """Return the blocks of convolutions that are predicted to be unproductive."""
    shape = data.input_shape
    if not any(isinstance(part, nn.Conv2d) for part in model.modules()):
        raise NotApplicable("there are no convolutions")
    graph = graph_by_rfa(model, shape)
    border: dict[str, list[bool]] = {name: [] for name in _block_names(model)}
    for node in graph.all_layers:
        if node.layer_info.name.startswith("Conv") and np.max(node.kernel_size) > 1:
            for block, flags in border.items():
                if _within(node.name, block):
                    flags.append(bool(node.is_border(shape[1:])))
    flagged = [block for block, flags in border.items() if flags and all(flags)]
    return Flags(dict.fromkeys(flagged, frozenset({REMOVE})))


def graph_by_rfa(model: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the graph that ``rfa_toolbox`` makes of a network, for images of a shape.

    Raises:
        NotApplicable: if it is not installed.
    """
    for name in ("Sequence", "Mapping", "Iterable"):  # where Python below 3.10 has them
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    try:
        from rfa_toolbox.encodings.pytorch.ingest_architecture import create_graph_from_model
    except ImportError as error:
        raise NotApplicable("rfa_toolbox is not installed") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit, which the tool uses, is deprecated
        return create_graph_from_model(model.eval(), input_res=(1, *shape))


def _block_names(model: nn.Module) -> tuple[str, ...]:
    names: tuple[str, ...] = model.block_names  # type: ignore[assignment]
    return names


def _within(name: str, block: str) -> bool:
    return name == block or name.startswith(f"{block}.")


TOOLS: dict[str, Callable[[nn.Module, Dataset], Flags]] = {
    DESIGNER: by_designer,
    DELVE_TAIL: by_delve_tail,
    DELVE_ANY: by_delve_any,
    RFA: by_rfa,
}
"""All tools, by name."""


def timed(tool: str, model: nn.Module, data: Dataset) -> tuple[Flags, float]:
    """Return what a tool says, and how many seconds it took.

    Raises:
        NotApplicable: if it says nothing of such a network.
    """
    started = time.perf_counter()
    flags = TOOLS[tool](model, data)
    return flags, time.perf_counter() - started
