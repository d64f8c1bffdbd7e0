"""Tables of the pools: which of a short run's figures tells the accuracy after long training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from benchmarks.result_files import is_measured, read_result

POOLS = {
    "perceptrons": {
        "criterion_fashion_mlp.json": "Fashion-MNIST, plain (chosen here)",
        "criterion_fashion.json": "Fashion-MNIST (and here)",
        "criterion_mnist.json": "MNIST",
        "criterion_mnist_100.json": "MNIST, another draw",
        "criterion_digits.json": "digits",
    },
    "CNNs": {
        "criterion_cnn_fashion.json": "Fashion-MNIST",
        "criterion_cnn_mnist.json": "MNIST",
        "criterion_cnn_digits.json": "digits",
    },
    "ResNets": {
        "criterion_resnet_fashion.json": "Fashion-MNIST",
        "criterion_resnet_mnist.json": "MNIST",
        "criterion_resnet_digits.json": "digits",
    },
}
CHOSEN_ON = ("criterion_fashion_mlp.json", "criterion_fashion.json")
CRITERIA = {
    "design_score": "design score",
    "heldout_separation": "held-out separation alone",
    "adherence": "adherence alone",
    "pearson_r": "Pearson's r of log D",
    "mean_accuracy_with_input": "nearest class mean, all layers",
    "last_layer_accuracy": "nearest class mean, last block",
    "validation_accuracy": "validation accuracy",
    "extrapolation": "validation accuracy, extrapolated",
    "training_loss": "summed training loss",
    "parameters": "parameters",
    "flops": "FLOPs",
    "depth": "fewer blocks",
    "naswot": "NASWOT",
    "synflow": "synflow",
    "gradient_norm": "gradient norm",
    "snip": "SNIP",
    "jacobian_covariance": "Jacobian covariance",
}
UNTRAINED = (
    "parameters",
    "flops",
    "depth",
    "naswot",
    "synflow",
    "gradient_norm",
    "snip",
    "jacobian_covariance",
)
EPOCHS = ("2", "5", "10", "20")
TOLD = ("5", "10", "20")
"""Epochs at which the leads are told."""

PUBLISHED = {
    "params": "parameters",
    "flops": "FLOPs",
    "synflow": "synflow",
    "grad_norm": "gradient norm",
    "snip": "SNIP",
    "jacov": "Jacobian covariance",
    "fisher": "Fisher",
    "grasp": "GraSP",
    "epe_nas": "EPE-NAS",
    "l2_norm": "L2 norm of the weights",
    "plain": "plain",
}
TASKS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "ImageNet16-120": "ImageNet16-120"}

Found = dict[str, Any]


def criterion() -> Iterator[str]:
    """All that the pools say."""
    yield (
        "**Which of a short run's figures tells the accuracy after long training?** Architectures "
        "drawn at random from a space are trained briefly, and anew for long from the same seed; "
        "where there are several seeds, figures are means over them. Each result file's command "
        "says how many images, epochs and seeds: fewer for CNNs and ResNets, and one seed "
        "(`python -m benchmarks.bench_criterion`). Spearman after 10 epochs over all architectures "
        "/ over the better half of them by their accuracy in the end:"
    )
    for group, pools in known_pools().items():
        yield from _group(group, pools)
    yield from _averages()
    yield from _leads()
    yield from _published()


def criterion_in_short() -> str:
    """The same in a line."""
    pools = untouched()

    def means(name: str, which: str = "all") -> str:
        return " / ".join(f"{fmean(found[name][e][which] for found in pools):.2f}" for e in TOLD)

    return (
        f"- **Which architecture will win?** Spearman with the accuracy after long training, from "
        f"5 / 10 / 20 epochs, mean over the {len(pools)} pools of {_kinds()} on which nothing was "
        f"chosen: design score {means('design_score')}, validation accuracy "
        f"{means('validation_accuracy')}; among the better half of the architectures "
        f"{means('design_score', 'top_half')} and {means('validation_accuracy', 'top_half')}. "
        f"Over all of them the score is, by kind of network, {_by_group()}."
    )


def _kinds() -> str:
    *first, last = (group for group, pools in known_pools().items() if pools)
    return f"{', '.join(first)} and {last}"


def known_pools(without: Sequence[str] = ()) -> dict[str, dict[str, Found]]:
    """The pools that were measured, but for some files, by group and title."""
    return {
        group: {
            title: read_result(file)
            for file, title in pools.items()
            if is_measured(file) and file not in without
        }
        for group, pools in POOLS.items()
    }


def untouched() -> list[Found]:
    """Those on which nothing was chosen."""
    return [found for pools in known_pools(CHOSEN_ON).values() for found in pools.values()]


def _group(group: str, pools: dict[str, Found]) -> Iterator[str]:
    if not pools:
        return
    heads = [f"{title}, {found['meta']['architectures']}" for title, found in pools.items()]
    yield from ("", f"| {group} | {' | '.join(heads)} |", f"|---|{'---:|' * len(pools)}")
    for name, label in CRITERIA.items():
        cells = [_pair(found[name]["10"]) if name in found else "-" for found in pools.values()]
        yield f"| {label} | {' | '.join(cells)} |"


def _averages() -> Iterator[str]:
    pools = untouched()
    yield from (
        "",
        f"The same, mean over the {len(pools)} pools on which nothing was chosen, after so many "
        "epochs; after 10 also Kendall's tau, what the best of the top one / five lacks to the "
        "best of all in points, and the median time per network on one core, training included:",
        "",
        "| criterion | "
        + " | ".join(f"{e} epochs" for e in EPOCHS)
        + " | tau | regret | seconds |",
        f"|---|{'---:|' * (len(EPOCHS) + 3)}",
    )
    for name, label in CRITERIA.items():
        rows = [found[name] for found in pools if name in found]
        if rows:
            yield f"| {label} | {' | '.join(_cells(rows))} |"


def _cells(rows: Sequence[Found]) -> Iterator[str]:
    """Of one criterion over pools."""

    def mean(epochs: str, key: str) -> float:
        return fmean(row[epochs][key] for row in rows)

    for epochs in EPOCHS:
        yield f"{mean(epochs, 'all'):.2f} / {mean(epochs, 'top_half'):.2f}"
    yield f"{mean('10', 'kendall'):.2f}"
    yield f"{mean('10', 'regret_top1'):.2f} / {mean('10', 'regret_top5'):.2f}"
    yield f"{mean('10', 'seconds'):.3f}"


def _leads() -> Iterator[str]:
    """What the design score is ahead of validation accuracy, over pools together."""
    groups = known_pools()
    everything = [found for pools in groups.values() for found in pools.values()]
    parts = {
        "all pools": everything,
        "those on which nothing was chosen": untouched(),
        **{group: list(pools.values()) for group, pools in groups.items() if pools},
    }
    yield from (
        "",
        "Lead of the design score over validation accuracy at the same epoch, in Spearman over all "
        "/ over the better half, mean over pools with its 95 % interval:",
        "",
        f"| pools | {' | '.join(f'{e} epochs' for e in TOLD)} |",
        f"|---|{'---:|' * len(TOLD)}",
    )
    for title, pools in parts.items():
        cells = [
            f"{_said(*_mean_lead(pools, e, ''))} / {_said(*_mean_lead(pools, e, 'top_half_'))}"
            for e in TOLD
        ]
        yield f"| {title}, {len(pools)} | {' | '.join(cells)} |"
    yield from (
        "",
        "So against validation accuracy at the same epoch, over all architectures, the design "
        f"score is {_verdicts(everything)} over all pools, and {_verdicts(untouched())} over those "
        f"on which nothing was chosen ({_by_group()}). Among the better half of the architectures, "
        f"where the choice is made, it is {_verdicts(everything, 'top_half_')} over all pools, and "
        f"{_verdicts(untouched(), 'top_half_')} over those on which nothing was chosen. Forms "
        "of the score that were tried: adherence to the law alone, the nearest-class-mean accuracy "
        "averaged over all layers, over the later two thirds (which it became), and of the last "
        "block. "
        f"{_untrained()} (The first MNIST pool and the digits pool of perceptrons had been seen "
        "with an earlier form of the score; the other draw, the CNNs and the ResNets had not.)",
        "",
    )


def _by_group() -> str:
    """The verdicts on those on which nothing was chosen, group by group."""
    groups = known_pools(CHOSEN_ON)
    return "; ".join(
        f"for {group} {_verdicts(list(pools.values()))}" for group, pools in groups.items() if pools
    )


def _untrained() -> str:
    """What tells most of all that is read from networks before any training."""
    pools = [found for found in untouched() if "2" in found["design_score"]]

    def mean(name: str) -> float:
        return fmean(found[name]["2"]["all"] for found in pools if name in found)

    best = max(UNTRAINED, key=mean)
    return (
        f"Of what is known before any training {CRITERIA[best]} tells most, {mean(best):.2f} in "
        f"the mean, against {mean('validation_accuracy'):.2f} for validation accuracy after two "
        "epochs, and costs next to nothing."
    )


def _verdicts(pools: Sequence[Found], which: str = "") -> str:
    """Ahead, level or behind, after each number of epochs."""
    said = [f"{_verdict(*_mean_lead(pools, e, which))} after {e}" for e in TOLD]
    return f"{', '.join(said)} epochs"


def _verdict(mean: float, half: float) -> str:
    if abs(mean) <= half:
        return "level"
    return "ahead" if mean > 0 else "behind"


def _mean_lead(pools: Sequence[Found], epochs: str, which: str) -> tuple[float, float]:
    """With half of its interval: pools are independent, so that the variances of their bootstrap
    intervals add up."""
    rows = [found["design_score"][epochs] for found in pools]
    ends = [row[f"{which}lead_interval"] for row in rows]
    half = math.sqrt(sum(((high - low) / 2) ** 2 for low, high in ends)) / len(rows)
    return fmean(row[f"{which}lead"] for row in rows), half


def _said(mean: float, half: float) -> str:
    return f"{mean:+.3f} ± {half:.3f}"


def _published() -> Iterator[str]:
    """What peers published for scores of untrained networks, beside what was measured here."""
    found = read_result("zero_cost_published.json")
    known_as = {label: name for name, label in CRITERIA.items()}
    groups = {group: list(pools.values()) for group, pools in known_pools().items() if pools}
    networks = next(iter(found["tasks"].values()))["networks"]
    yield from (
        "**What do others find for scores of untrained networks?** Spearman with the accuracy "
        f"after training, over the {networks} networks of NAS-Bench-201 for which NASLib publishes "
        "them (`python -m benchmarks.bench_published`), and beside it the means over our pools:",
        "",
        f"| score | {' | '.join((*TASKS.values(), *(f'our {group}' for group in groups)))} |",
        f"|---|{'---:|' * (len(TASKS) + len(groups))}",
    )
    for name, label in PUBLISHED.items():
        cells = [f"{found['tasks'][task]['spearman'][name]['all']:.2f}" for task in TASKS]
        cells += [_mean_of(known_as.get(label), pools) for pools in groups.values()]
        yield f"| {label} | {' | '.join(cells)} |"
    yield from (
        "",
        "So what ranks the networks of one cell-based space, where size decides, need not rank "
        "those of another in which depth, width, normalisation and learning rate vary freely: "
        "measure such a score on the space in hand before relying on it.",
        "",
    )


def _mean_of(name: str | None, pools: Sequence[Found]) -> str:
    """Of a criterion over pools."""
    rows = [found[name]["10"]["all"] for found in pools if name in found]
    return f"{fmean(rows):.2f}" if rows else "-"


def _pair(row: Found) -> str:
    return f"{row['all']:.2f} / {row['top_half']:.2f}"
