"""Evidence for the sampler and the pruner of the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import difference, table, verdict
from benchmarks.result_files import is_measured, read_result

SAMPLERS = {
    "tpe_multivariate": "TPE, multivariate",
    "tpe_univariate": "TPE, univariate",
    "gp": "Gaussian process",
    "nsga2": "NSGA-II",
    "random": "random",
}
SEARCHES = {
    "search_fashion.json": "Fashion-MNIST",
    "search_mnist.json": "MNIST",
}
BOUNDED = (
    ("bounded_history_macro.json", "NAS-Bench-Macro", 2),
    ("bounded_history_digits.json", "digits", 3),
)
ARMS = {
    "no pruning": "TPE",
    "pruning": "TPE, pruning",
    "pruning, equal epochs": "TPE, pruning, as many epochs",
    "random, no pruning": "random",
}
MOMENTS = ("10", "25", "50")


def samplers() -> Iterator[str]:
    """Yield the samplers on a table of trained networks, and on real training."""
    result = read_result("search_macro.json")
    yield (
        "**Which sampler?** Points of accuracy that the best trial so far lacks to the best of the "
        f"NAS-Bench-Macro table, mean of {len(result['meta']['seeds'])} seeds "
        "(`python -m benchmarks.run search --table`). The designer uses multivariate TPE:"
    )
    yield from table(
        ("sampler", "10 trials", "25", "50"),
        (
            [label, *(f"{result[name][moment]['mean']:.2f}" for moment in MOMENTS)]
            for name, label in SAMPLERS.items()
        ),
    )
    yield from _bounded_history()
    for file, title in SEARCHES.items():
        result = read_result(file)
        seeds = len(result["meta"]["seeds"])
        yield from (
            "",
            f"Searches of 25 trials on {title} (1,000 images of 10x10) without edits, mean of "
            f"{seeds} seeds, with the difference to TPE without pruning and its 95 % interval:",
        )
        columns = ("search", "test accuracy", "difference", "epochs")
        yield from table(columns, (_arm(label, result[name]) for name, label in ARMS.items()))
    yield from ("", _arms_in_words(), "")


def _arms_in_words() -> str:
    """Return in words how random search, and pruning after every epoch, compare with TPE."""
    results = {title: read_result(file) for file, title in SEARCHES.items()}
    saved = [
        100 * (1 - result["pruning"]["epochs"]["mean"] / result["no pruning"]["epochs"]["mean"])
        for result in results.values()
    ]
    return (
        f"Compared with TPE, random search is {_standing('random, no pruning', results)}. Pruning "
        f"after every epoch, which is on unless `--no-prune` is given, saves {min(saved):.0f} to "
        f"{max(saved):.0f} % of the epochs; what is recommended is then "
        f"{_standing('pruning', results)}, and with as many epochs as without "
        f"{_standing('pruning, equal epochs', results)}."
    )


def _standing(arm: str, results: Mapping[str, Figures]) -> str:
    """Return on which data an arm is ahead or behind by its whole interval, and where it is level.

    For example "level on Fashion-MNIST and behind on MNIST".
    """
    places: dict[str, list[str]] = {}
    for title, result in results.items():
        places.setdefault(verdict(result[arm]["test_accuracy"]["difference"]), []).append(title)
    return " and ".join(f"{word} on {' and '.join(at)}" for word, at in places.items())


def _bounded_history() -> Iterator[str]:
    """Yield what a sampler loses that learns from a part of the history."""
    yield from (
        "",
        "Does it do harm that the sampler learns from a part of a long history? Searches with the "
        "same seeds; `late` is the mean of all trials after the designer's bound, in points of "
        "accuracy on the table and in design score on the digits; `lead` is the difference to a "
        "sampler that learns from all trials, with its 95 % interval, paired by seed "
        "(`python -m benchmarks.run bounded_history`):",
    )
    columns = ("search", "learns from", "late", "lead", "best", "lead")
    yield from table(
        columns, (row for file in BOUNDED if is_measured(file[0]) for row in _bounded_rows(*file))
    )


def _bounded_rows(file: str, title: str, decimals: int) -> Iterator[list[str]]:
    result = read_result(file)
    for way, row in result.items():
        if way == "meta":
            continue
        cells = []
        for name in ("late", "best"):
            lead = row[name]["lead"]
            cells += [
                f"{row[name]['mean']['mean']:.{decimals}f}",
                difference(lead, digits=decimals),
            ]
        yield [f"{title}, {len(result['meta']['seeds'])} seeds", way, *cells]


def _arm(label: str, arm: Figures) -> list[str]:
    accuracy = arm["test_accuracy"]
    cells = f"{accuracy['mean']:.1f} %", difference(accuracy["difference"])
    return [label, *cells, f"{arm['epochs']['mean']:.0f}"]
