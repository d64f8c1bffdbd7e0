"""Evidence for the law itself: the figures of the paper, and a transformer's residual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import spread, table
from benchmarks.result_files import read_result

FILES = ("paper.json", "paper_theirs.json")
"""The figures of the paper, and two of them in the setting of its own program."""

DEPTH, FROZEN = "depth (their program)", "frozen (their program)"

NEARLY = 0.95
"""Share of the greatest reduction from which on a network is called deep enough."""

LAW = ("rho", "r", "uniformity", "total_reduction")


def paper() -> Iterator[str]:
    """Yield a table for each figure of the paper, and how many agree."""
    meta = read_result(FILES[0])["meta"]
    seconds = sum(read_result(file)["meta"]["network_seconds"] for file in FILES)
    yield (
        "**The paper, reproduced.** What He & Su (PNAS 2023) say, and what was measured: mean ± "
        f"standard deviation over {len(meta['seeds'])} seeds, each with images of its own "
        f"({seconds / 60:.0f} minutes of one core in all; "
        "`python -m benchmarks.run paper --figure all`). The learning rate is tuned for every "
        "kind of network. As in the paper, a network follows the law if r is at most -0.95; "
        "uniformity, which is 1 for equal steps, is the stricter judge. Reduction is log D of the "
        "input minus log D of the last block, in nats."
    )
    for name, figure in _figures().items():
        agrees = "It agrees." if figure["agrees"] else "It does not agree here."
        yield from ("", f"*{name.capitalize()}.* {figure['says']} **{agrees}**")
        columns = ("network", "rate", "rho", "r", "uniformity", "reduction", "test accuracy")
        yield from table(columns, map(_condition, *zip(*figure["conditions"].items(), strict=True)))
        yield from _notes(figure["conditions"])
        yield from _explanation(name, figure["conditions"])
    agreeing, others = verdicts()
    yield from (
        "",
        f"So {len(agreeing)} of {len(agreeing) + len(others)} claims came out as the paper has them"
        + (f"; these did not: {', '.join(others)}." if others else ".")
        + " The law is a good description of trained plain networks with normalisation, and no "
        "proof of quality: labels without meaning are separated by it as well.",
        "",
    )


def _figures() -> Figures:
    """Return all figures, by name."""
    return {name: figure for file in FILES for name, figure in read_result(file)["figures"].items()}


def _explanation(name: str, conditions: Figures) -> Iterator[str]:
    """Yield what explains that a figure came out otherwise at first."""
    if name == DEPTH:
        enough = ", ".join(f"{depth} for {data}" for data, depth in enough_depths(conditions))
        yield (
            f"\nToo deep a network follows the law less, and the harder the data are, the later; "
            f"too shallow a network follows it as well as any. What it lacks is reduction: from "
            f"this number of layers on log D falls within {1 - NEARLY:.0%} of the most that it "
            f"falls at any depth: {enough}. So the depth that pays does grow with the data, but "
            f"neither r nor uniformity shows it."
        )
    if name == FROZEN:
        yield (
            "\nIn the paper's own program no half keeps its initial weights: the first half is "
            "trained for 900 epochs and then frozen while the rest is trained for 600; and "
            "networks are compared at the rate that brings their training loss lowest, which "
            "leaves it somewhat higher where halves are trained in turn. Frozen at its initial "
            "weights, as above, a network whose last half is fixed is more accurate when it "
            "reaches the loss, which takes it more epochs."
        )


def enough_depths(conditions: Figures) -> Iterator[tuple[str, int]]:
    """Yield the data sets with the least depth at which log D falls nearly as far as it can."""
    reductions: dict[str, dict[int, float]] = {}
    for condition, group in conditions.items():
        data, _, depth = condition.partition(", ")
        reductions.setdefault(data, {})[int(depth.split()[0])] = group["total_reduction"]["mean"]
    for data, by_depth in reductions.items():
        most = max(by_depth.values())
        yield data, min(depth for depth, fall in by_depth.items() if fall >= NEARLY * most)


def verdicts() -> tuple[list[str], list[str]]:
    """Return the figures of the paper that agree, and those that do not."""
    figures = _figures()
    agreeing = [name for name, figure in figures.items() if figure["agrees"]]
    return agreeing, [name for name in figures if name not in agreeing]


def _condition(name: str, group: Figures) -> list[str]:
    law = [spread(group[key]) for key in LAW]
    return [name, f"{group['learning_rate']:g}", *law, spread(group["test_accuracy"], 100, 1)]


def _notes(conditions: Figures) -> Iterator[str]:
    """Yield what does not fit the columns."""
    for condition, group in conditions.items():
        if "emergence" in group:
            looks = [f"{epoch}: {look['r']:+.2f}" for epoch, look in group["emergence"].items()]
            yield from ("", f"r by epoch, {condition}: {', '.join(looks)}.")
        if "inner_uniformity" in group:
            yield from (
                "",
                f"{condition}: from layer to layer r {spread(group['inner_r'])}, uniformity "
                f"{spread(group['inner_uniformity'])}.",
            )
        if "training_loss" in group:
            yield from (
                "",
                f"{condition}: {spread(group['epochs'], 1, 0)} epochs, training loss "
                f"{spread(group['training_loss'], 1, 3)}.",
            )


def residual() -> Iterator[str]:
    """Yield the law with the prediction residual."""
    runs = read_result("residual.json")["runs"]
    laws = [run["after"]["law"] for run in runs]
    untrained = [run["before"]["law"] for run in runs]
    yield from (
        "",
        "**Does the law hold for next characters?** Prediction residual of a character-level "
        f"transformer of {runs[0]['depth']} layers on held-out text, {len(runs)} seeds: "
        f"r {_each(laws, 'r')}, uniformity {_each(laws, 'uniformity')}, rho {_each(laws, 'rho')}, "
        f"total reduction {_each(laws, 'total_reduction')} nats, and "
        f"{_each(untrained, 'total_reduction')} before training "
        "(`python -m benchmarks.run residual`).",
    )


def _each(laws: Sequence[Figures], figure: str) -> str:
    return ", ".join(f"{law[figure]:.3f}" for law in laws)
