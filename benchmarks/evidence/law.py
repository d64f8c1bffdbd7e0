"""Evidence for the law itself: the figures of the paper, and a transformer's residual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import spread, table
from benchmarks.result_files import read_result

LAW = ("rho", "r", "uniformity", "total_reduction")


def paper() -> Iterator[str]:
    """Yield a table for each figure of the paper, and how many agree."""
    result = read_result("paper.json")
    meta = result["meta"]
    yield (
        "**The paper, reproduced.** What He & Su (PNAS 2023) say, and what was measured: mean ± "
        f"standard deviation over {len(meta['seeds'])} seeds, each with images of its own "
        f"({meta['network_seconds'] / 60:.0f} minutes of one core in all; "
        "`python -m benchmarks.run paper --figure all`). The learning rate is tuned for every "
        "kind of network. As in the paper, a network follows the law if r is at most -0.95; "
        "uniformity, which is 1 for equal steps, is the stricter judge. Reduction is log D of the "
        "input minus log D of the last block, in nats."
    )
    for name, figure in result["figures"].items():
        agrees = "It agrees." if figure["agrees"] else "It does not agree here."
        yield from ("", f"*{name.capitalize()}.* {figure['says']} **{agrees}**")
        columns = ("network", "rate", "rho", "r", "uniformity", "reduction", "test accuracy")
        yield from table(columns, map(_condition, *zip(*figure["conditions"].items(), strict=True)))
        yield from _notes(figure["conditions"])
    agreeing, others = verdicts()
    yield from (
        "",
        f"So {len(agreeing)} of {len(agreeing) + len(others)} claims came out as the paper has them"
        + (f"; these did not: {', '.join(others)}." if others else ".")
        + " The law is a good description of trained plain networks with normalisation, and no "
        "proof of quality: labels without meaning are separated by it as well.",
        "",
    )


def verdicts() -> tuple[list[str], list[str]]:
    """Return the figures of the paper that agree, and those that do not."""
    figures = read_result("paper.json")["figures"]
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
