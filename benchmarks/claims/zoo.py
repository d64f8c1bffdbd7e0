"""Models that people have: are their blocks found, can they be looked into, and can blocks go.

    make zoo            # or: python -m benchmarks.run zoo [--library NAME] [--runs FILE]

Every architecture of ``zoo_architectures`` is made with random weights.  Its blocks are found and
compared with those that an expert would name; it is analyzed, with the contribution of each block,
on random inputs with the labels that it gives them itself; the first block that can go is removed,
the rest runs, and is exported by ``torch.export``.  The model must be left as it was, to the bit,
and be copyable.

Blocks are *right* if all that the expert names are among them.  What else is found lies beside
them: a stem, a downsampling, a head.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from benchmarks.claim import Figures, Result
from benchmarks.claims.zoo_architectures import SAMPLES, Architecture, architectures
from benchmarks.command import Parser, output_file, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from designer.analysis.analyze import analyze
from designer.analysis.warnings import LEAST_COVERAGE
from designer.data.dataset import LabelledTensors
from designer.probing.calling import (
    Inputs,
    arguments,
    call_model,
    first_tensor,
    run_model,
    samples_at,
    tensors_of,
)
from designer.probing.probes import probing
from designer.pruning.cut import cut
from designer.pruning.removable import FEW, removable_blocks

LIBRARIES = ("torchvision", "timm", "transformers")


@dataclass(frozen=True)
class ZooTask:
    """One architecture, by its library and its name."""

    library: str
    name: str
    zoo: bool = True
    """Tells these jobs from those of other claims."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="only these")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Go through all architectures."""
    libraries = options.library or LIBRARIES
    tasks = [ZooTask(a.library, a.name) for a in architectures() if a.library in libraries]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(outcome_of, tasks, "architectures")
    about = {"libraries": {name: version(name) for name in libraries}}
    return Result(options, figures_of(rows), [0], about, kept.earlier_seconds)


def outcome_of(task: ZooTask) -> Figures:
    """Find, analyze, remove and export; each part that fails says why."""
    warnings.simplefilter("ignore")  # the libraries' own
    architecture = next(
        a for a in architectures() if (a.library, a.name) == (task.library, task.name)
    )
    started = time.perf_counter()
    row: Figures = {"library": task.library, "name": task.name}
    try:
        model, inputs = architecture.build()
    except Exception as error:  # noqa: BLE001 - a library may raise anything
        return {**row, "failure": _words(error)}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    row |= _tried("find", lambda: _blocks(model, inputs, architecture))
    row |= _tried("analysis", lambda: _analysis(model, inputs))
    row |= _tried("removal", lambda: _removal(model, inputs))
    row |= {"untouched": _is_same(model, state), "copyable": _is_copyable(model)}
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


def _tried(part: str, measure: Any) -> Figures:
    try:
        figures: Figures = measure()
    except Exception as error:  # noqa: BLE001 - what fails is what is measured
        return {f"{part}_failure": _words(error)}
    return figures


def _blocks(model: nn.Module, inputs: Inputs, architecture: Architecture) -> Figures:
    expected = architecture.expected(model)
    with probing(model) as probe:
        probe.features(samples_at(inputs, slice(FEW)))
        names, coverage = {name.partition("#")[0] for name in probe.names}, probe.coverage.share
        is_low = coverage is not None and coverage < LEAST_COVERAGE
        bypassed = probe.bypassed is not None
    return {
        "expected": len(expected),
        "found": len(names),
        "right": bool(expected) and expected <= names,
        "coverage": None if coverage is None else round(coverage, 3),
        "bypassed": bypassed,
        "warned": is_low or bypassed,
    }


class _Centred(nn.Module):
    """A classifier whose logits have mean 0, so that untrained weights tell classes apart."""

    def __init__(self, model: nn.Module, mean: Tensor) -> None:
        super().__init__()
        self.model, self.mean = model, nn.Buffer(mean)

    def forward(self, *args: Any, **named: Any) -> Tensor:
        logits = first_tensor(self.model(*args, **named))
        assert logits is not None
        return logits - self.mean


def _analysis(model: nn.Module, inputs: Inputs) -> Figures:
    labels = torch.arange(SAMPLES) % 2
    output = first_tensor(call_model(model, inputs))
    if output is not None and output.ndim == 2 and output.shape[1] > 1:
        mean = output.detach().mean(0)
        own = (output.detach() - mean).argmax(1)
        if bool((own != own[0]).any()):  # some heads begin with weights of 0
            model, labels = _Centred(model, mean), own
    data = (inputs, labels)
    started = time.perf_counter()
    with torch.no_grad():
        result = analyze(model, data, data, contribution_samples=SAMPLES)
    return {
        "layers": len(result.layers),
        "with_contribution": sum(layer.contribution is not None for layer in result.layers),
        "analysis_seconds": round(time.perf_counter() - started, 1),
    }


def _removal(model: nn.Module, inputs: Inputs) -> Figures:
    few = samples_at(inputs, slice(FEW))
    blocks = removable_blocks(model, few)
    going = [block for block in blocks if block.can_go]
    row: Figures = {"blocks": len(blocks), "removable": len(going)}
    if not going:
        return row
    labels = torch.arange(len(tensors_of(inputs)[0])) % 2
    smaller = cut(model, [going[0]], LabelledTensors(inputs, labels), fit=False).model
    row |= {"parameters_removed": _parameters(model) - _parameters(smaller)}
    row |= _tried("run", lambda: _runs(smaller, few))
    return row | _tried("export", lambda: _exports(smaller, few))


def _runs(model: nn.Module, few: Inputs) -> Figures:
    with torch.no_grad():
        run_model(model, few)
    return {"runs": True}


def _exports(model: nn.Module, few: Inputs) -> Figures:
    args, named = arguments(few)
    torch.export.export(model, args, named)
    return {"exported": True}


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _is_same(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    now = model.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[k], state[k]) for k in now)


def _is_copyable(model: nn.Module) -> bool:
    try:
        copy.deepcopy(model)
    except Exception:  # noqa: BLE001 - a tensor in the graph raises RuntimeError, others differ
        return False
    return True


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:200]


# --- figures ---


def figures_of(rows: Sequence[Figures]) -> Figures:
    """Return the totals of each library and of all, and every row."""
    groups = {library: [r for r in rows if r["library"] == library] for library in LIBRARIES}
    groups = {name: group for name, group in groups.items() if group} | {"all": list(rows)}
    return {
        "groups": {name: _totals(group) for name, group in groups.items()},
        "architectures": list(rows),
    }


def _totals(rows: Sequence[Figures]) -> Figures:
    removable = [row for row in rows if row.get("removable")]
    return {
        "architectures": len(rows),
        "right": _count(rows, "right"),
        "wrong_without_warning": sum(not (r.get("right") or r.get("warned")) for r in rows),
        "analyzed": sum("layers" in row for row in rows),
        "with_contributions": _count(rows, "with_contribution"),
        "untouched": _count(rows, "untouched"),
        "copyable": _count(rows, "copyable"),
        "removable": len(removable),
        "running": _count(removable, "runs"),
        "exported": _count(removable, "exported"),
        "seconds": round(sum(row.get("seconds", 0.0) for row in rows), 1),
    }


def _count(rows: Sequence[Figures], key: str) -> int:
    return sum(bool(row.get(key)) for row in rows)


def show(result: Result) -> None:
    """Print the totals, and what did not work."""
    table = Table("library", *next(iter(result.figures["groups"].values())), box=None)
    for name, totals in result.figures["groups"].items():
        table.add_row(name, *map(str, totals.values()))
    console = wide_console()
    console.print(table)
    for line in failures(result.figures["architectures"]):
        console.print(line)


def failures(rows: Sequence[Figures]) -> Iterator[str]:
    """Yield what did not work, in words."""
    for row in rows:
        name = f"{row['library']}:{row['name']}"
        if "expected" in row and not row["right"]:
            warned = "warned" if row["warned"] else "no warning"
            yield f"{name}: other blocks, {row['found']} for {row['expected']} ({warned})"
        yield from (f"{name}: {k}: {v}" for k, v in row.items() if k.endswith("failure"))
        yield from (f"{name}: not {k}" for k in ("untouched", "copyable") if row.get(k) is False)
