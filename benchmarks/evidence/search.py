"""Evidence for the sampler and the pruner of the search."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table
from benchmarks.result_files import read_result

SAMPLERS = {
    "tpe_multivariate": "TPE, multivariate",
    "tpe_univariate": "TPE, univariate",
    "gp": "Gaussian process",
    "nsga2": "NSGA-II",
    "random": "random",
}
SEARCHES = {
    "search_fashion.json": "Fashion-MNIST (1,000 images of 10x10; chosen here)",
    "search_mnist.json": "MNIST (the same size)",
}
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
    for file, title in SEARCHES.items():
        result = read_result(file)
        seeds = len(result["meta"]["seeds"])
        yield from (
            "",
            f"Whole searches of 25 trials on {title}, mean of {seeds} seeds, with the difference "
            "to TPE without pruning and its 95 % interval:",
        )
        columns = ("search", "test accuracy", "difference", "epochs")
        yield from table(columns, (_arm(label, result[name]) for name, label in ARMS.items()))
    yield from (
        "",
        "On real training of this size no sampler is clearly ahead of random search after 25 "
        "trials. Pruning was measured here when it compared trials once, at half of their epochs, "
        "by a whole profile, which took as much time as the pruning saved. Today trials are "
        "compared after every epoch unless `--no-prune` is given, by a look that costs about a "
        "tenth of that or less (see below).",
        "",
    )


def _arm(label: str, arm: Figures) -> list[str]:
    accuracy = arm["test_accuracy"]
    low, high = accuracy["difference"]["interval"]
    lead = f"{accuracy['difference']['mean']:+.2f} ({low:+.2f} to {high:+.2f})"
    return [label, f"{accuracy['mean']:.1f} %", lead, f"{arm['epochs']['mean']:.0f}"]
