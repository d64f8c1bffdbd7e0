"""Evidence for whether the search pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.payoff import NEAR
from benchmarks.claims.payoff_searches import (
    ARMS,
    HALF,
    NO_EDITS,
    NO_PRUNING,
    NSGA2,
    OURS,
    PARETO,
    REFERENCE,
)
from benchmarks.evidence.markdown import difference, table, verdict, with_interval
from benchmarks.evidence.statement import holds
from benchmarks.result_files import is_measured, read_result

FILES = {
    "payoff_mnist.json": "perceptrons, MNIST",
    "payoff_fashion.json": "perceptrons, Fashion-MNIST",
    "payoff_digits.json": "perceptrons, digits",
    "payoff_cnn_fashion.json": "CNNs, Fashion-MNIST",
    "payoff_cnn_cifar.json": "CNNs, CIFAR-10",
}

IN_WORDS = {
    OURS: "`designer search` as it comes",
    HALF: "the same with half of the trials and edits",
    NO_EDITS: "the same without edits, with more trials",
    NO_PRUNING: "the same without pruning, with fewer trials",
    PARETO: "`--objective pareto`, with fewer trials",
    **{arm: f"Optuna: {arm}" for arm in ARMS if not arm.startswith(OURS)},
}

Results = Mapping[str, Figures]
"""Results by what was searched."""


def payoffs() -> Results:
    """Return the results that were measured, by what was searched."""
    return {title: read_result(file) for file, title in FILES.items() if is_measured(file)}


def mean_regret(results: Results, arm: str, share: str = "1.0") -> float | None:
    """Return the regret in points at a share of the time, mean over what was searched.

    None if an arm was left out somewhere, or if some search has found nothing by then.
    """
    if any(arm not in result["arms"] for result in results.values()):
        return None
    regrets = [result["arms"][arm]["curve"][share]["mean"] for result in results.values()]
    return None if None in regrets else fmean(regrets)


def searches_near(results: Results, arm: str) -> tuple[int, int]:
    """Return how many searches came near the best known, and how many there were."""
    near = [seconds for result in results.values() for seconds in result["arms"][arm]["near"]]
    return sum(seconds is not None for seconds in near), len(near)


def half_is_enough(results: Results) -> bool:
    """Return True if half of the time of ours is enough for the regret of the reference."""
    ours, theirs = mean_regret(results, OURS, "0.5"), mean_regret(results, REFERENCE)
    return ours is not None and theirs is not None and ours <= theirs


def settings_with_half(results: Results) -> int:
    """Return in how many settings half of the time is enough."""
    return sum(half_is_enough({title: result}) for title, result in results.items())


def payoff() -> Iterator[str]:
    """Yield the true accuracy of the best so far against the time it took."""
    results = payoffs()
    if not results:
        return
    yield (
        "\n**Does the search pay?** All arms have the processor time that `designer search` takes "
        "with its defaults, in spaces of small networks. Regret is what the long-trained test "
        "accuracy of the best so far lacks to the best known of all arms, in "
        f"points with 95 % intervals over the seeds; near is within {NEAR} points of it. The "
        "volume of a front is the true accuracy of the best network of at most a given size, as a "
        "mean over the logarithm of the size (`python -m benchmarks.run payoff`)."
    )
    for title, result in results.items():
        yield from _setting(title, result)
    yield from ("", " ".join(_conclusion(results)), "")


def _setting(title: str, result: Figures) -> Iterator[str]:
    yield (
        f"\n{title}, {len(result['arms'][OURS]['near'])} seeds: best known "
        f"{result['best_known']:.2f} %, of {result['networks']} networks; "
        f"one long run differs from the next by {result['seed_sd']:.2f} points"
    )
    columns = (
        "arm",
        "regret after half the time",
        "in the end",
        "near",
        "volume of the front",
        "ours is ahead by",
        "trials",
        "processor seconds",
    )
    yield from table(columns, (_row(arm, row) for arm, row in result["arms"].items()))


def _row(arm: str, row: Figures) -> list[str]:
    near = [seconds for seconds in row["near"] if seconds is not None]
    lead = row["volume_lead_of_ours"]
    return [
        IN_WORDS[arm],
        with_interval(row["curve"]["0.5"]),
        with_interval(row["curve"]["1.0"]),
        f"{len(near)}/{len(row['near'])}",
        with_interval(row["volume"], 1),
        "-" if arm == OURS else difference(lead),
        f"{row['trials']['mean']:.0f}",
        f"{row['seconds']['mean']:.0f}",
    ]


def _conclusion(results: Results) -> Iterator[str]:
    """Yield sentences: whether half of the time is enough, and whose front is larger."""
    shown = {
        arm: f"{regret:.2f}"
        for arm in ARMS
        for regret in (mean_regret(results, arm),)
        if regret is not None
    }
    half = mean_regret(results, OURS, "0.5")
    yield (
        f"Mean regret over all of these: {', '.join(f'{a} {r}' for a, r in shown.items())}; "
        f"{OURS} after half of the time {'-' if half is None else f'{half:.2f}'}. Half of the "
        f"time of {REFERENCE} is enough on average: {holds(half_is_enough(results))}; in "
        f"{settings_with_half(results)} of {len(results)} settings."
    )
    leads = {t: r["arms"][NSGA2]["volume_lead_of_ours"] for t, r in results.items()}
    yield (
        f"Against the front of {NSGA2} ours is "
        + "; ".join(f"{verdict(lead)} on {title}" for title, lead in leads.items())
        + "."
    )
