"""Evidence for whether the search pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table, with_interval
from benchmarks.result_files import is_measured, read_result

FILES = {
    "payoff_mnist.json": "MNIST",
    "payoff_fashion.json": "Fashion-MNIST",
    "payoff_digits.json": "digits",
}
ARMS = {
    "designer": "design score, short runs",
    "accuracy": "validation accuracy, short runs",
    "designer, pruned": "design score, short runs, pruned",
    "accuracy, pruned": "validation accuracy, short runs, pruned",
    "designer, confirmed": "design score, half for confirming",
    "accuracy, confirmed": "validation accuracy, half for confirming",
    "median": "Optuna: TPE, MedianPruner",
    "hyperband": "Optuna: TPE, Hyperband",
    "halving": "Optuna: random, successive halving",
    "random": "Optuna: random",
}

Results = Mapping[str, Figures]
"""Results by data set."""


def payoffs() -> Results:
    """Return the results that were measured, by data set."""
    return {title: read_result(file) for file, title in FILES.items() if is_measured(file)}


def budgets(results: Results) -> list[str]:
    """Return the numbers of epochs at which regret is known."""
    return list(next(iter(results.values()))["arms"]["designer"]["curve"])


def mean_regret(results: Results, arm: str, budget: str) -> float:
    """Return the regret in points after a number of epochs, mean over the data sets."""
    return fmean(result["arms"][arm]["curve"][budget]["mean"] for result in results.values())


def ranking(results: Results) -> list[str]:
    """Return the arms by their mean regret in the end, the least first."""
    end = budgets(results)[-1]
    return sorted(ARMS, key=lambda arm: mean_regret(results, arm, end))


def mean_seconds(results: Results, arm: str) -> float:
    """Return the processor seconds of a search, mean over the data sets."""
    return fmean(result["arms"][arm]["seconds"]["mean"] for result in results.values())


def searches_near(results: Results, arm: str) -> tuple[int, int]:
    """Return how many searches ever came near the best known, and how many there were."""
    near = [result["arms"][arm]["to_within_half_a_point"] for result in results.values()]
    return sum(row["reached"] for row in near), sum(len(row["epochs"]) for row in near)


def payoff() -> Iterator[str]:
    """Yield the true accuracy of the best so far against the compute it took."""
    results = payoffs()
    if not results:
        return
    known = budgets(results)
    shown = [known[len(known) // 4 - 1], known[len(known) // 2 - 1], known[-1]]
    seeds = searches_near(results, "designer")[1] // len(results)
    yield from (
        "",
        "**Does the search pay?** Every arm searches the space `mlp` (1,000 training images of "
        f"10x10; digits as they are) with the same trainer for {known[-1]} epochs of training in "
        f"all, {seeds} seeds each. Regret is what the long-trained test accuracy of the best so "
        "far lacks to the best known of all arms, in points with 95 % intervals over the seeds; "
        "near is within half a point of it (`python -m benchmarks.run payoff`).",
    )
    for title, result in results.items():
        yield from _data_set(title, result, shown)
    yield from _means(results, shown)
    yield from ("", " ".join(_conclusion(results)), "")


def _columns(shown: list[str], *more: str) -> list[str]:
    first, *rest = [f"{budget} epochs" for budget in shown]
    return ["arm", f"regret after {first}", *rest, "ever near", *more]


def _data_set(title: str, result: Figures, shown: list[str]) -> Iterator[str]:
    yield from (
        "",
        f"{title}: best known {result['best_known']:.2f} %, of {result['incumbents']} "
        f"incumbents; one long run differs from the next by {result['seed_sd']:.2f} points",
    )
    yield from table(
        _columns(shown, "trials", "processor seconds"),
        (
            [
                ARMS[arm],
                *(with_interval(row["curve"][budget]) for budget in shown),
                "{reached}/{}".format(
                    len(row["to_within_half_a_point"]["epochs"]), **row["to_within_half_a_point"]
                ),
                f"{row['trials']['mean']:.0f}",
                f"{row['seconds']['mean']:.0f}",
            ]
            for arm, row in result["arms"].items()
        ),
    )


def _means(results: Results, shown: list[str]) -> Iterator[str]:
    yield from (
        "",
        f"Mean over the {len(results)} data sets, and how many searches ever came near:",
    )
    yield from table(
        _columns(shown, "processor seconds"),
        (
            [
                label,
                *(f"{mean_regret(results, arm, budget):.2f}" for budget in shown),
                "/".join(map(str, searches_near(results, arm))),
                f"{mean_seconds(results, arm):.0f}",
            ]
            for arm, label in ARMS.items()
        ),
    )


def _conclusion(results: Results) -> Iterator[str]:
    """Yield sentences: whether half of the compute is enough, and who is ahead in the end."""
    yield "Within half a point of the best known, against TPE with MedianPruner:"
    for title, result in results.items():
        yield f"{title}: {_race(result)}."
    end = budgets(results)[-1]
    half = str(int(end) // 2)
    ranked = ranking(results)
    final = {arm: mean_regret(results, arm, end) for arm in ARMS}
    yield (
        f"So half the compute is plainly not reached. In the end {ARMS[ranked[0]]} "
        f"({final[ranked[0]]:.2f}) and {ARMS[ranked[1]]} ({final[ranked[1]]:.2f}) have the least "
        f"mean regret; {ARMS['designer']} is number {ranked.index('designer') + 1} of "
        f"{len(ranked)} ({final['designer']:.2f}). After half of the epochs the design score with "
        f"pruning is at {mean_regret(results, 'designer, pruned', half):.2f}, where TPE with "
        f"MedianPruner ends at {final['median']:.2f}; after equal processor time, as much as the "
        f"quickest search took, they are at {_regret_in_time(results, 'designer, pruned'):.2f} and "
        f"{_regret_in_time(results, 'median'):.2f}, since looking inside takes time, too."
    )
    yield (
        "Two ways to be quicker were tried: pruning the short runs, which helps whatever is looked "
        "at but costs looks, and spending half of the epochs on longer runs of the best, which "
        "does not help. So `designer search` prunes after every epoch; its looks cost far less "
        "than those measured here, each of which was a whole profile. On a space of small "
        "networks, where any decent perceptron comes close, the way to search matters little "
        "beside the luck of the seed; search with the law to see what the layers do, not to save "
        "epochs."
    )


def _race(result: Figures) -> str:
    """Return which of the two searches came near first, by the median over the seeds."""
    ours, theirs = (
        result["arms"][arm]["to_within_half_a_point"]["median_epochs"]
        for arm in ("designer", "median")
    )
    if ours is None:
        other = "nor does theirs" if theirs is None else f"theirs does after {theirs:.0f} epochs"
        return f"our median search never comes so near, {other}"
    other = "theirs never does" if theirs is None else f"theirs {theirs:.0f}"
    return f"ours takes {ours:.0f} epochs, {other}"


def _regret_in_time(results: Results, arm: str) -> float:
    """Return the regret when the quickest search ended, mean over the data sets."""
    curves = [list(result["arms"][arm]["curve_seconds"].values()) for result in results.values()]
    return fmean(curve[-1]["mean"] for curve in curves)
