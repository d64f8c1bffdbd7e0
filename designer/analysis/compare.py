"""Compare networks: curves, differences layer by layer, and which network is better at what.

A difference of accuracy counts only if the 95 % intervals do not overlap, which is conservative.
Sizes and figures of the law have no interval and are compared as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from designer.analysis.analyze import IN_MEMORY, analyze, with_origin
from designer.analysis.aspects import ASPECTS, PERPLEXITY, Aspect, lacks_directions
from designer.analysis.data_for_model import ModelData, data_for_model
from designer.analysis.passes import PassProgress
from designer.analysis.warnings import coverage_warnings
from designer.data.batches import batches_of
from designer.errors import InvalidInputError
from designer.folders import PRUNED_FILE, REPORT_FILE, SPEC_FILE
from designer.importing import Trust, Trusted
from designer.measures.intervals import t_half_width
from designer.measures.proportions import wilson
from designer.models.loaded import LoadedModel
from designer.models.loading import load_model
from designer.models.size import size_of_model
from designer.probing.calling import samples_at
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
from designer.results.provenance import versions
from designer.results.ranges import Measured
from designer.results.search import SearchResult
from designer.results.serialisation import read_report

SAME = 0.01
"""Sizes and figures of the law count as equal if they differ by at most this share."""


AlignedLayers = list[LayerReport | InputReport | None]
"""The layer of each network at one place; None for a network that has none there."""


def compare(
    sources: Sequence[str | Path],
    *,
    trust: Trusted = (),
    command: str = "",
    progress: PassProgress | None = None,
) -> ComparisonReport:
    """Compare networks.

    Args:
        sources: at least two. Each is the folder of a search, whose first recommendation is taken;
            a report of ``analyze``, or the folder that it is in; or the folder of a model that
            search or prune wrote, which is analyzed here with the data it was trained on.
        trust: names that the folders of models may import, as in ``load``.
        command: the command line to record in the report.
        progress: called after every batch of an analysis.

    Raises:
        InvalidInputError: if there are fewer than two sources, two of them are the same, or one
            holds no network.
        TrustError: if a folder names what may not be imported.
    """
    trusted = Trust.of(trust)
    _check_different(sources)
    networks = [_network(str(source), trusted, progress) for source in sources]
    aligned_by, places = _aligned(networks)
    same_data = _same_data(networks)
    advantages = (
        *_accuracy_advantage(networks, same_data=same_data),
        *_advantages(networks, same_data=same_data),
    )
    return ComparisonReport(
        schema=COMPARISON_SCHEMA,
        networks=tuple(networks),
        aligned_by=aligned_by,
        differences=tuple(_differences(networks, places)) if _same_measure(networks) else (),
        advantages=advantages,
        conclusion=_conclusion(advantages),
        warnings=tuple(_warnings(networks)),
        versions=versions(),
        command=command,
    )


def _check_different(sources: Sequence[str | Path]) -> None:
    if len(sources) < 2:
        raise InvalidInputError(f"Expected at least 2 networks to compare, got {len(sources)}.")
    paths = [Path(source).resolve() for source in sources]
    twice = [str(s) for s, path in zip(sources, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise InvalidInputError(f"Expected networks that differ, got '{twice[0]}' twice.")


def _network(source: str, trust: Trust, progress: PassProgress | None) -> ComparedNetwork:
    """Return the network that a source holds."""
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in (PRUNED_FILE, SPEC_FILE)):
        return _network_of_model(source, trust, progress)
    if not path.exists() or not (path.is_file() or (path / REPORT_FILE).exists()):
        raise InvalidInputError(
            f"Expected a folder that search, analyze or prune wrote, or the JSON of an analysis, "
            f"got '{source}'; for a model of yours, run designer analyze and compare what it "
            f"writes."
        )
    report = read_report(path)
    if isinstance(report, SearchResult):
        return _network_of_search(source, report)
    if isinstance(report, AnalysisResult):
        return _network_of_analysis(source, report, flops=None)
    raise InvalidInputError(
        f"Expected the report of a search or an analysis in '{source}', got {report.schema}; to "
        f"compare a pruned model, name the folder that it is in."
    )


def _network_of_search(name: str, result: SearchResult) -> ComparedNetwork:
    if not result.recommendations:
        raise InvalidInputError(
            f"Expected a search with a recommendation in '{name}', but it has none yet; continue "
            f"it with more --trials."
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
        coverage=best.coverage,
        features=best.features,
        num_classes=None if data is None else data.num_classes,
    )


def _over_seeds(accuracy: MeanSd, samples: int) -> Proportion | None:
    """Return a mean accuracy with the wider of its intervals over samples and over seeds."""
    if not samples or not math.isfinite(accuracy.mean):
        return None
    several = accuracy.sd is not None and accuracy.seeds > 1
    half = t_half_width(accuracy.sd or 0.0, accuracy.seeds) if several else 0.0
    return _proportion(accuracy.mean, samples, half)


def _proportion(share: float, samples: int, half: float = 0.0) -> Proportion:
    """Return a share with the wider of Wilson's interval and one of this half width."""
    low, high = wilson(round(share * samples), samples)
    interval = (max(min(low, share - half), 0.0), min(max(high, share + half), 1.0))
    return Proportion(share, interval, samples)


def _network_of_analysis(
    name: str, result: AnalysisResult, *, flops: int | None
) -> ComparedNetwork:
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
        coverage=result.model.coverage,
        num_classes=result.data.num_classes or None,
        measure=result.measure,
        features=result.features,
        perplexity=result.model.perplexity_heldout,
    )


def _network_of_model(source: str, trust: Trust, progress: PassProgress | None) -> ComparedNetwork:
    """Analyze a model that search or prune wrote, with the data it was trained on."""
    loaded = load_model(source, trust=trust)
    data = data_for_model(loaded, None)
    result = analyze(loaded.model, data.train, data.heldout, progress=progress)
    result = with_origin(result, loaded, None, data)
    return _network_of_analysis(source, result, flops=_flops(loaded, data))


def _flops(loaded: LoadedModel, data: ModelData) -> int:
    """Return the operations for the first training sample."""
    inputs, _, _ = next(iter(batches_of(data.train)))
    with probing(loaded.model) as probe:
        sample = probe.prepared(samples_at(inputs, slice(1)))
    return size_of_model(loaded.model, sample).flops


def _aligned(networks: Sequence[ComparedNetwork]) -> tuple[str, list[AlignedLayers]]:
    """Return ``name`` or ``position``, by which layers are matched, and the matched layers.

    They are matched by name if the longest network has all names, and no name occurs twice.
    """
    names = [[layer.name for layer in network.layers] for network in networks]
    longest = max(names, key=len)
    places: list[AlignedLayers] = [[network.input for network in networks]]
    if all(set(own) <= set(longest) and len(set(own)) == len(own) for own in names):
        by_name = [{layer.name: layer for layer in network.layers} for network in networks]
        places += [[layers.get(name) for layers in by_name] for name in longest]
        return "name", places
    for i in range(len(longest)):
        places.append([n.layers[i] if i < len(n.layers) else None for n in networks])
    return "position", places


def _differences(
    networks: Sequence[ComparedNetwork], places: Sequence[AlignedLayers]
) -> Iterator[LayerDifference]:
    for index, layers in enumerate(places):
        whole = list(_without_lacking(networks, layers))
        yield LayerDifference(
            index=index,
            layers=tuple(_name(layer) for layer in layers),
            separation=_log_ratios([None if x is None else x.separation for x in whole]),
            separation_heldout=_log_ratios(
                [None if x is None else x.separation_heldout for x in whole]
            ),
        )


def _without_lacking(
    networks: Sequence[ComparedNetwork], layers: AlignedLayers
) -> Iterator[LayerReport | InputReport | None]:
    """Yield the layers at one place, None in the place of those that lack class directions."""
    for network, layer in zip(networks, layers, strict=True):
        lacking = isinstance(layer, LayerReport) and lacks_directions(network, layer)
        yield None if lacking else layer


def _name(layer: LayerReport | InputReport | None) -> str | None:
    if layer is None:
        return None
    return layer.name if isinstance(layer, LayerReport) else "input"


def _log_ratios(values: Sequence[Measured]) -> tuple[Measured, ...]:
    """Return log(value / first value), in nats; None where either is not above zero."""
    first = values[0]
    return tuple(
        math.log(value) - math.log(first) if value and first and value > 0 and first > 0 else None
        for value in values
    )


def _same_data(networks: Sequence[ComparedNetwork]) -> bool:
    """True if accuracies are of one task: equal arrays, or one name and one number of classes.

    Data of one name may be split in different ways.
    """
    tasks = {(network.data, network.num_classes) for network in networks}
    return len(_arrays(networks)) == 1 or (len(tasks) == 1 and networks[0].data != IN_MEMORY)


def _same_part(networks: Sequence[ComparedNetwork]) -> bool:
    """True if held-out figures are all of validation data, or all of test data."""
    return len({network.accuracy_part for network in networks}) == 1


def _same_measure(networks: Sequence[ComparedNetwork]) -> bool:
    """True if D means the same for all."""
    return len({network.measure for network in networks}) == 1


def _same_features(networks: Sequence[ComparedNetwork]) -> bool:
    """True if all were measured on the same features, as far as that is known."""
    return len({network.features for network in networks if network.features}) <= 1


def _arrays(networks: Sequence[ComparedNetwork]) -> set[object]:
    """Return what tells data sets apart: fingerprints; without one, names, classes and sizes."""
    return {
        network.fingerprint or (network.data, network.num_classes, _samples(network))
        for network in networks
    }


def _samples(network: ComparedNetwork) -> int:
    return 0 if network.accuracy is None else network.accuracy.samples


def _accuracy_advantage(
    networks: Sequence[ComparedNetwork], *, same_data: bool
) -> Iterator[Advantage]:
    """Yield which network is most accurate, if any accuracy is known."""
    known = [network for network in networks if network.accuracy is not None]
    if not known:
        return
    ranked = sorted(known, key=lambda network: -_accuracy(network))
    best = ranked[0]
    rivals = [network for network in ranked[1:] if _upper_bound(network) >= _lower_bound(best)]
    all_known = len(known) == len(networks)
    comparable = same_data and _same_part(known)
    yield Advantage(
        what="held-out accuracy",
        values=tuple(
            None if network.accuracy is None else network.accuracy.value for network in networks
        ),
        best=best.name if comparable and all_known and not rivals else "",
        reason=(
            f"{_ranking(best, rivals, all_known=all_known)}."
            if comparable
            else f"Held-out accuracies are of different {_accuracies(ranked, same_data=same_data)}."
        ),
    )


def _ranking(best: ComparedNetwork, rivals: Sequence[ComparedNetwork], *, all_known: bool) -> str:
    """Say which network is most accurate, and how certain that is."""
    value = f"{100 * _accuracy(best):.1f} %"
    if rivals and all(_accuracy(rival) == _accuracy(best) for rival in rivals):
        names = " and ".join(network.name for network in (best, *rivals))
        return f"{names} are equally accurate on held-out data ({value})"
    claim = f"{best.name} is the most accurate on held-out data ({value})"
    if rivals:
        others = ", ".join(rival.name for rival in rivals)
        return f"{claim}, but cannot be told from {others} with so few samples"
    return claim if all_known else f"{claim}, of those whose accuracy is known"


def _accuracies(networks: Sequence[ComparedNetwork], *, same_data: bool) -> str:
    """Return what differs, and the accuracies with the data, or the parts, that they are of."""
    accuracies = ", ".join(
        f"{network.name} {100 * _accuracy(network):.1f} % on "
        f"{f'{network.accuracy_part} data' if same_data else network.data}"
        for network in networks
    )
    return f"{'parts of the data' if same_data else 'data'}: {accuracies}"


def _accuracy(network: ComparedNetwork) -> float:
    return network.accuracy.value if network.accuracy is not None else -math.inf


def _lower_bound(network: ComparedNetwork) -> float:
    return network.accuracy.interval[0] if network.accuracy is not None else -math.inf


def _upper_bound(network: ComparedNetwork) -> float:
    return network.accuracy.interval[1] if network.accuracy is not None else -math.inf


def _advantages(networks: Sequence[ComparedNetwork], *, same_data: bool) -> Iterator[Advantage]:
    """Yield the best network in every aspect that at least two networks have a value for."""
    for aspect in ASPECTS:
        values = tuple(aspect.value(network) for network in networks)
        if sum(value is not None for value in values) >= 2:
            best, reason = _best(aspect, networks, values, same_data=same_data)
            yield Advantage(aspect.what, values, best, reason)


def _best(
    aspect: Aspect,
    networks: Sequence[ComparedNetwork],
    values: Sequence[Measured],
    *,
    same_data: bool,
) -> tuple[str, str]:
    """Return the name of the best network, empty if there is none, and the reason."""
    if aspect.of_law and not _same_measure(networks):
        return "", f"The networks were measured differently, which {aspect.what} depends on."
    if aspect.needs_same_data and not same_data:
        return "", f"The networks saw different data, which {aspect.what} depends on."
    if aspect.of_law and aspect.needs_same_data and not _same_features(networks):
        return "", f"The networks were measured on different features, which {aspect.what} needs."
    if aspect.needs_same_part and not _same_part(networks):
        return "", f"The held-out data are different parts, which {aspect.what} depends on."
    known = [value for value in values if value is not None]
    top = max(known) if aspect.higher_is_better else min(known)
    if aspect.needs_positive and top <= 0:
        return "", f"None of them is above zero in {aspect.what}."
    names = [
        network.name
        for network, value in zip(networks, values, strict=True)
        if value is not None and math.isclose(value, top, rel_tol=SAME)
    ]
    of_known = "" if len(known) == len(networks) else ", of those where it is known"
    number = f"{top:{aspect.number_format}}{of_known}"
    if len(names) == 1:
        return names[0], f"{names[0]} {aspect.praise}: {number}."
    return "", f"{' and '.join(names)} are level in {aspect.what}: {number}."


def _conclusion(advantages: Sequence[Advantage]) -> str:
    """Return the sentences on what decides: perplexity or accuracy first, then size."""
    reasons = {advantage.what: advantage.reason for advantage in advantages}
    quality = PERPLEXITY if PERPLEXITY in reasons else "held-out accuracy"
    return " ".join(reasons[what] for what in (quality, "parameters") if what in reasons)


def _warnings(networks: Sequence[ComparedNetwork]) -> Iterator[ReportWarning]:
    if len(_arrays(networks)) > 1:
        yield ReportWarning(
            "other_data",
            "The networks were analyzed with different data or splits, so differences of D and "
            "of accuracy may be those of the data.",
        )
    elif not _same_part(networks):
        parts = (f"{network.name} on {network.accuracy_part} data" for network in networks)
        yield ReportWarning(
            "other_part",
            f"Not all accuracies are on the same part of the data: {', '.join(parts)}.",
        )
    if not _same_measure(networks):
        measures = ", ".join(f"{network.name} by its {network.measure}" for network in networks)
        yield ReportWarning(
            "other_measure",
            f"The networks were measured differently: {measures}. So D is not compared.",
        )
    elif not _same_features(networks):
        features = "; ".join(f"{network.name}: {network.features}" for network in networks)
        yield ReportWarning(
            "other_features",
            f"The networks were measured on different features, which D depends on: {features}.",
        )
    for network in networks:
        yield from coverage_warnings(network.name, network.coverage)
        yield from _missing_directions(network)


def _missing_directions(network: ComparedNetwork) -> Iterator[ReportWarning]:
    """Yield where D counts fewer class directions than there are, if it does so anywhere."""
    lacking = [layer.name for layer in network.layers if lacks_directions(network, layer)]
    if lacking:
        yield ReportWarning(
            "missing_directions",
            f"{network.name} lacks class directions behind {', '.join(lacking)}, which makes D "
            f"smaller. So its D is not compared there.",
        )
