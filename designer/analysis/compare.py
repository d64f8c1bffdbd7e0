"""Networks side by side: curves, differences layer by layer, and which is better at what.

A difference of accuracy counts where the 95 % intervals do not overlap, which is careful; sizes
and the law are what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from designer.analysis.analyze import IN_MEMORY, analyze, with_origin
from designer.analysis.data_for_model import data_for_model
from designer.analysis.passes import PassProgress
from designer.errors import InvalidInputError
from designer.folders import PRUNED_FILE, REPORT_FILE, SPEC_FILE
from designer.measures.proportions import wilson
from designer.models.loading import load_model
from designer.models.size import size_of_model
from designer.probing.probes import probing
from designer.results.analysis import AnalysisResult
from designer.results.comparison import (
    COMPARISON_SCHEMA,
    Advantage,
    ComparedNetwork,
    ComparisonReport,
    LayerDifference,
)
from designer.results.layers import InputReport, LayerReport, MeanSd, Proportion, ReportWarning
from designer.results.measured import Measured
from designer.results.provenance import versions
from designer.results.search import SearchResult
from designer.results.serialisation import read_report

SAME = 0.01
"""Sizes and figures of the law this close, as a share, are called equal."""


NORMAL_95 = 1.96
"""Standard errors on both sides of a 95 % interval."""


@dataclass(frozen=True)
class Respect:
    """One respect in which networks are compared."""

    what: str
    value: Callable[[ComparedNetwork], Measured]
    higher: bool
    """Whether more of it is better."""
    said: str
    """With ``{best}`` and ``{value}`` to be filled in."""
    form: str = ".2f"
    of_data: bool = False
    """Whether it says nothing where the networks saw different data."""
    positive: bool = False
    """Whether it says nothing where no network is above zero."""


def _last_heldout(one: ComparedNetwork) -> Measured:
    return one.layers[-1].separation_heldout if one.layers else None


RESPECTS = (
    Respect("parameters", lambda one: one.parameters, higher=False, said="has fewest parameters",
            form=",.0f"),
    Respect("operations", lambda one: one.flops, higher=False, said="needs fewest operations",
            form=",.0f"),
    Respect("held-out separation at the end", _last_heldout, higher=False,
            said="separates held-out data best at its last layer (least D)", of_data=True),
    Respect("uniformity of the law", lambda one: one.law.uniformity, higher=True,
            said="shares the work most equally among its layers", positive=True),
    Respect("total reduction of D", lambda one: one.law.total_reduction, higher=True,
            said="reduces D most from input to last layer on training data", of_data=True,
            positive=True),
)  # fmt: skip


def compare(
    sources: Sequence[str | Path], *, command: str = "", progress: PassProgress | None = None
) -> ComparisonReport:
    """Compare networks.

    Args:
        sources: at least two of: the folder of a search, whose first recommendation is taken; a
            report of ``analyze``, or the folder that it was written into; a folder of a model
            that search or prune wrote, which is looked into here, with the data it was trained
            on.
        command: to note with it.
        progress: called with what is being done.

    Raises:
        InvalidInputError: where there are fewer than two, one of them is none of these, or
            nothing was recommended there.
    """
    if len(sources) < 2:
        raise InvalidInputError(f"Expected at least 2 networks to compare, got {len(sources)}.")
    paths = [Path(source).resolve() for source in sources]
    twice = [str(s) for s, path in zip(sources, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise InvalidInputError(f"Expected networks that differ, got '{twice[0]}' twice.")
    networks = [_network(str(source), progress) for source in sources]
    aligned_by, places = _places(networks)
    same_data = _same_data(networks)
    advantages = (
        *_accuracy(networks, same_data=same_data),
        *_respects(networks, same_data=same_data),
    )
    return ComparisonReport(
        schema=COMPARISON_SCHEMA,
        networks=tuple(networks),
        aligned_by=aligned_by,
        differences=tuple(_differences(places)),
        advantages=advantages,
        conclusion=_conclusion(advantages),
        warnings=tuple(_warnings(networks)),
        versions=versions(),
        command=command,
    )


def _network(source: str, progress: PassProgress | None) -> ComparedNetwork:
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in (PRUNED_FILE, SPEC_FILE)):
        return _looked_into(source, progress)
    if not path.exists() or not (path.is_file() or (path / REPORT_FILE).exists()):
        raise InvalidInputError(
            f"Expected a folder that search, analyze or prune wrote, or the JSON of an analysis, "
            f"got '{source}'; for a model of yours, run designer analyze and compare what it "
            f"writes."
        )
    report = read_report(path)
    if isinstance(report, SearchResult):
        return _recommended(source, report)
    if isinstance(report, AnalysisResult):
        return _analysed(source, report, None)
    raise InvalidInputError(
        f"Expected the report of a search or an analysis in '{source}', got {report.schema}; to "
        f"compare a pruned model, name the folder that it is in."
    )


def _recommended(name: str, result: SearchResult) -> ComparedNetwork:
    if not result.recommendations:
        raise InvalidInputError(
            f"Expected a search that recommends something in '{name}', but it does not yet; "
            f"continue it with more --trials."
        )
    best, data = result.recommendations[0], result.study.dataset
    return ComparedNetwork(
        name=name,
        kind=result.study.space,
        spec=best.spec,
        data=result.study.data,
        fingerprint="" if data is None else data.fingerprint,
        parameters=best.parameters,
        flops=best.flops,
        accuracy=_over_seeds(best.validation_accuracy, 0 if data is None else data.validation),
        accuracy_part="validation",
        law=best.law,
        input=best.input,
        layers=best.layers,
        num_classes=None if data is None else data.num_classes,
    )


def _over_seeds(accuracy: MeanSd, samples: int) -> Proportion | None:
    """The wider of two intervals: of the samples, and of the seeds."""
    if not samples or not math.isfinite(accuracy.mean):
        return None
    seeds = (accuracy.sd or 0.0) / math.sqrt(accuracy.seeds)
    return _proportion(accuracy.mean, samples, seeds)


def _proportion(share: float, samples: int, error: float = 0.0) -> Proportion:
    """With the wider of two intervals: Wilson's, and what a standard error says."""
    low, high = wilson(round(share * samples), samples)
    half = NORMAL_95 * error
    interval = (max(min(low, share - half), 0.0), min(max(high, share + half), 1.0))
    return Proportion(share, interval, samples)


def _analysed(name: str, result: AnalysisResult, flops: int | None) -> ComparedNetwork:
    correct, samples = result.model.accuracy_heldout, result.data.heldout
    return ComparedNetwork(
        name=name,
        kind=result.model.kind,
        spec={},
        data=result.data.name,
        fingerprint=result.data.fingerprint,
        parameters=result.model.parameters,
        flops=flops,
        accuracy=None if correct is None or not samples else _proportion(correct, samples),
        accuracy_part=result.data.heldout_part,
        law=result.law,
        input=result.input,
        layers=result.layers,
        num_classes=result.data.num_classes or None,
    )


def _looked_into(source: str, progress: PassProgress | None) -> ComparedNetwork:
    loaded = load_model(source)
    model_data = data_for_model(loaded, None)
    seen = analyze(loaded.model, model_data.train, model_data.heldout, progress=progress)
    flops = None
    if loaded.input_shape is not None:
        with probing(loaded.model) as probe:
            one = probe.prepared(torch.zeros(1, *loaded.input_shape))
        flops = size_of_model(loaded.model, one).flops
    return _analysed(source, with_origin(seen, loaded, None, model_data), flops)


AlignedLayers = list[LayerReport | InputReport | None]
"""What each network has at one place."""


def _places(networks: Sequence[ComparedNetwork]) -> tuple[str, list[AlignedLayers]]:
    """Layers of equal names together, where the longest network has them all; else those of
    equal position."""
    names = [[layer.name for layer in one.layers] for one in networks]
    longest = max(names, key=len)
    places: list[AlignedLayers] = [[one.input for one in networks]]
    if all(set(own) <= set(longest) and len(set(own)) == len(own) for own in names):
        kept = [{layer.name: layer for layer in one.layers} for one in networks]
        places += [[own.get(name) for own in kept] for name in longest]
        return "name", places
    for i in range(len(longest)):
        places.append([one.layers[i] if i < len(one.layers) else None for one in networks])
    return "position", places


def _differences(places: Sequence[AlignedLayers]) -> Iterator[LayerDifference]:
    for index, here in enumerate(places):
        yield LayerDifference(
            index=index,
            layers=tuple(_name(one) for one in here),
            separation=_ratios([None if one is None else one.separation for one in here]),
            separation_heldout=_ratios(
                [None if one is None else one.separation_heldout for one in here]
            ),
        )


def _name(one: LayerReport | InputReport | None) -> str | None:
    if one is None:
        return None
    return one.name if isinstance(one, LayerReport) else "input"


def _ratios(values: Sequence[Measured]) -> tuple[Measured, ...]:
    """Logarithms of the values over the first; None where either is not above zero."""
    first = values[0]
    return tuple(
        math.log(value / first) if value and first and value > 0 and first > 0 else None
        for value in values
    )


def _same_data(networks: Sequence[ComparedNetwork]) -> bool:
    """Whether accuracies are of one task: the same arrays, or data of one name and of as many
    classes, however split."""
    names = {(one.data, one.num_classes) for one in networks}
    return len(_arrays(networks)) == 1 or (len(names) == 1 and networks[0].data != IN_MEMORY)


def _arrays(networks: Sequence[ComparedNetwork]) -> set[str]:
    return {one.fingerprint or one.data for one in networks}


def _accuracy(networks: Sequence[ComparedNetwork], *, same_data: bool) -> Iterator[Advantage]:
    known = [one for one in networks if one.accuracy is not None]
    if not known:
        return
    ranked = sorted(known, key=lambda one: -_value(one))
    best = ranked[0]
    rivals = [one for one in ranked[1:] if _high(one) >= _low(best)]
    sure = same_data and not rivals and len(known) == len(networks)
    yield Advantage(
        what="held-out accuracy",
        values=tuple(None if one.accuracy is None else one.accuracy.value for one in networks),
        best=best.name if sure else "",
        reason=(
            f"{_ranking(best, rivals, all_known=len(known) == len(networks))}."
            if same_data
            else f"Held-out accuracies are of different data: {_each(ranked)}."
        ),
    )


def _ranking(best: ComparedNetwork, rivals: Sequence[ComparedNetwork], *, all_known: bool) -> str:
    """Who is most accurate, and how surely."""
    value = f"{100 * _value(best):.1f} %"
    if rivals and all(_value(one) == _value(best) for one in rivals):
        level = " and ".join(one.name for one in (best, *rivals))
        return f"{level} are equally accurate on held-out data ({value})"
    said = f"{best.name} is most accurate on held-out data ({value})"
    if rivals:
        others = ", ".join(one.name for one in rivals)
        return f"{said}, but cannot be told from {others} with so few samples"
    return said if all_known else f"{said}, of those whose accuracy is known"


def _each(networks: Sequence[ComparedNetwork]) -> str:
    return ", ".join(f"{one.name} {100 * _value(one):.1f} % on {one.data}" for one in networks)


def _value(one: ComparedNetwork) -> float:
    return one.accuracy.value if one.accuracy is not None else -math.inf


def _low(one: ComparedNetwork) -> float:
    return one.accuracy.interval[0] if one.accuracy is not None else -math.inf


def _high(one: ComparedNetwork) -> float:
    return one.accuracy.interval[1] if one.accuracy is not None else -math.inf


def _respects(networks: Sequence[ComparedNetwork], *, same_data: bool) -> Iterator[Advantage]:
    for respect in RESPECTS:
        values = tuple(respect.value(one) for one in networks)
        known = [value for value in values if value is not None]
        if len(known) < 2:
            continue
        if respect.of_data and not same_data:
            reason = f"The networks saw different data, which {respect.what} depends on."
            yield Advantage(respect.what, values, "", reason)
            continue
        top = max(known) if respect.higher else min(known)
        if respect.positive and top <= 0:
            reason = f"None of them is above zero in {respect.what}."
            yield Advantage(respect.what, values, "", reason)
            continue
        best = [
            one
            for one, v in zip(networks, values, strict=True)
            if v is not None and math.isclose(v, top, rel_tol=SAME)
        ]
        alone = len(best) == 1
        who = " and ".join(one.name for one in best)
        reason = (
            f"{best[0].name} {respect.said}: {top:{respect.form}}."
            if alone
            else f"{who} are level in {respect.what}: {top:{respect.form}}."
        )
        yield Advantage(respect.what, values, best[0].name if alone else "", reason)


def _conclusion(advantages: Sequence[Advantage]) -> str:
    """What decides first: accuracy, and then size."""
    by_name = {one.what: one for one in advantages}
    first, size = by_name.get("held-out accuracy"), by_name.get("parameters")
    return " ".join(one.reason for one in (first, size) if one is not None)


def _warnings(networks: Sequence[ComparedNetwork]) -> Iterator[ReportWarning]:
    if len(_arrays(networks)) > 1:
        yield ReportWarning(
            "other_data",
            "The networks were looked at with different data or splits, so differences of D and "
            "of accuracy may be those of the data.",
        )
    elif len({one.accuracy_part for one in networks}) > 1:
        yield ReportWarning(
            "other_part",
            "Not all accuracies are on the same part of the data: "
            + ", ".join(f"{one.name} on {one.accuracy_part} data" for one in networks)
            + ".",
        )
