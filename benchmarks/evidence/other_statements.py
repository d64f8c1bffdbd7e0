"""Claims on costs, on speed, and on the law."""

from __future__ import annotations

from benchmarks.evidence import contribution_gpu, gpu, law, pretrained
from benchmarks.evidence.costs import separation_figure, separation_is_fast
from benchmarks.evidence.scaling import TRIALS_PER_HOUR
from benchmarks.evidence.statement import Page, Statement, marked, verdict_of
from benchmarks.result_files import read_result
from designer.measures.law import HOLDS_FROM

FOLLOWS = -0.95
"""Largest r of a network that follows the law, as in the paper."""

NOT_FOUND = {
    "depth": "too shallow networks follow the law less",
    "frozen": "networks with a frozen half generalise less",
}
"""What claims of the paper say that did not come out so, by their names in the tables."""

KEPT = 0.8
"""Share of the ideal rate that workers must keep."""


def costs() -> Statement:
    """Return what it costs to look inside."""
    analysis = read_result("analysis.json")["time"]["10"]
    looks = [(name, read_result("looks.json")[name]) for name in ("mlp", "cnn")]
    return Statement(
        "the cost of looking inside",
        "Looking inside a network costs little, on a processor and on a GPU",
        (
            f"`analyze` of a ResNet-18 without contributions: {analysis['ratio']:.2f} times two "
            f"plain forward passes (at most {analysis['acceptance']} wanted)",
            marked(
                f"the same on a GPU: {gpu.analysis_figure()}",
                met=gpu.analysis_is_cheap(),
            ),
            marked(contribution_gpu.cost_figure(), met=all(contribution_gpu.costs_are_met())),
            marked(
                "a look between two epochs: "
                + ", ".join(
                    f"{row['look']:.1%} of an epoch of the space `{name}` (at most "
                    f"{row['acceptance']:.0%} wanted)"
                    for name, row in looks
                ),
                met=all(row["met"] for _, row in looks),
            ),
            marked(separation_figure(), met=separation_is_fast()),
        ),
        verdict_of(
            analysis["met"],
            *contribution_gpu.costs_are_met(),
            gpu.analysis_is_cheap(),
            *(row["met"] for _, row in looks),
            separation_is_fast(),
        ),
        ("analysis", "gpu", "looks", "separation"),
        (Page.COSTS, Page.PRUNING),
    )


def speed() -> Statement:
    """Return how many trials a search does in an hour, alone, on a GPU and with many workers."""
    rows = read_result("scaling_plain.json")["rows"]
    cores, many = read_result("scaling_cores.json"), read_result("scaling_workers.json")["rows"]
    most = max(row["workers"] for row in many)
    kept = [
        f"{row['of_ideal']:.0%} ({row['storage'].removeprefix('gRPC proxy, on ')})"
        for row in many
        if row["workers"] == most
    ]
    return Statement(
        "trials per hour",
        f"A search measures every network, and still does {TRIALS_PER_HOUR} times the trials per "
        "hour of a plain Optuna loop",
        (
            marked(
                "on a processor: "
                + "; ".join(f"{row['ratio']:.2f} times ({row['networks']})" for row in rows),
                met=all(row["ratio"] >= TRIALS_PER_HOUR for row in rows),
            ),
            f"on a GPU: {gpu.rates_figure()}",
            marked(
                f"a GPU gives the same figures as a processor, to {gpu.worst_parity():.0e} in "
                "float32",
                met=gpu.is_same(),
            ),
            f"two workers on {cores['meta']['machine']['cores']} cores do {cores['ratio']:.2f} "
            f"times the trials of one; {most} workers with jobs that only wait keep "
            f"{', '.join(kept)} of the ideal rate ({KEPT:.0%} wanted)",
        ),
        verdict_of(
            all(row["ratio"] >= TRIALS_PER_HOUR for row in rows),
            gpu.is_fast(),
            gpu.is_same(),
            all(row["of_ideal"] >= KEPT for row in many),
        ),
        ("scaling", "gpu"),
        (Page.SCALING, Page.COSTS),
    )


def the_law() -> Statement:
    """Return where log D falls by equal steps, and where it does not."""
    agreeing, others = law.verdicts()
    missing = dict.fromkeys(NOT_FOUND[name.partition(" (")[0]] for name in others)
    runs = [run["after"]["law"] for run in read_result("residual.json")["runs"]]
    fit = [
        f"{words} {min(run[key] for run in runs):.2f} to {max(run[key] for run in runs):.2f}"
        for key, words in (("uniformity", "uniformity"), ("r", "Pearson r"))
    ]
    return Statement(
        "the law itself",
        "In a trained classifier log D falls by the same step at every layer (He & Su, PNAS 2023)",
        (
            marked(
                f"{len(agreeing)} of {len(agreeing) + len(others)} of their claims were reproduced "
                f"with small networks; not that {', nor that '.join(missing)}",
                met=not others,
            ),
            marked(
                f"over all blocks of ResNet-20 and ResNet-56 that others trained: "
                f"{pretrained.figure()}",
                met=pretrained.follows(),
            ),
            f"next characters, with the residual of a linear prediction in place of D: "
            f"{'; '.join(fit)}",
        ),
        verdict_of(
            not others,
            pretrained.follows(),
            all(run["r"] <= FOLLOWS and run["uniformity"] >= HOLDS_FROM for run in runs),
        ),
        ("paper", "pretrained", "residual"),
        (Page.LAW,),
        "law",
    )
