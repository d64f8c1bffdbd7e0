"""Evidence for the criterion: which figure of a short run tells the accuracy in the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.criterion import REFERENCE
from benchmarks.evidence.markdown import AHEAD, BEHIND, LEVEL, listed, table
from benchmarks.result_files import is_measured, read_result

FULL_SIZE = "CIFAR-10, 32x32"
"""Title of the pools whose images are not made smaller."""

POOLS = {
    "perceptrons": {
        "criterion_fashion_mlp.json": "Fashion-MNIST, plain (chosen here)",
        "criterion_fashion.json": "Fashion-MNIST (and here)",
        "criterion_mnist.json": "MNIST",
        "criterion_mnist_100.json": "MNIST, another draw",
        "criterion_digits.json": "digits",
        "criterion_cifar.json": "CIFAR-10, 10x10",
    },
    "CNNs": {
        "criterion_cnn_fashion.json": "Fashion-MNIST (chosen here)",
        "criterion_cnn_mnist.json": "MNIST",
        "criterion_cnn_digits.json": "digits",
        "criterion_cnn_cifar.json": "CIFAR-10, 16x16",
        "criterion_cnn_cifar_32.json": FULL_SIZE,
    },
    "ResNets": {
        "criterion_resnet_fashion.json": "Fashion-MNIST",
        "criterion_resnet_mnist.json": "MNIST",
        "criterion_resnet_digits.json": "digits",
        "criterion_resnet_cifar_32.json": FULL_SIZE,
    },
}
"""Result files and their titles, by kind of network."""

CHOSEN_ON = (
    "criterion_fashion_mlp.json",
    "criterion_fashion.json",
    "criterion_cnn_fashion.json",
)
"""Pools on which the form of the design score was chosen."""

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
LEAD_EPOCHS = ("5", "10", "20")
"""Epochs at which leads are shown."""

TOP_HALF = "top_half_"
"""Prefix of the figures among the better half of the architectures."""

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


# --- pools ---


def known_pools(without: Sequence[str] = ()) -> dict[str, dict[str, Figures]]:
    """Return the pools that were measured, but for some files, by group and title."""
    return {
        group: {
            title: read_result(file)
            for file, title in pools.items()
            if is_measured(file) and file not in without
        }
        for group, pools in POOLS.items()
    }


def untouched_pools() -> list[Figures]:
    """Return the pools on which nothing was chosen."""
    return [result for pools in known_pools(CHOSEN_ON).values() for result in pools.values()]


def kinds_of_networks() -> str:
    """Return the kinds of networks that were measured, as in a sentence."""
    return listed([group for group, pools in known_pools().items() if pools])


def full_size_pools() -> list[Figures]:
    """Return the pools of networks that were trained on images of full size."""
    pools = [pools.get(FULL_SIZE) for pools in known_pools().values()]
    return [pool for pool in pools if pool]


# --- leads and verdicts ---


def verdicts(pools: Sequence[Figures], which: str = "") -> str:
    """Return whether the design score is ahead, level or behind after each number of epochs."""
    words = zip(verdict_words(pools, which), LEAD_EPOCHS, strict=True)
    runs = [
        (word, [epochs for _, epochs in run]) for word, run in groupby(words, lambda pair: pair[0])
    ]
    return ", ".join(f"{word} after {listed(epochs)}" for word, epochs in runs) + " epochs"


def beside_accuracy(pools: Sequence[Figures], which: str = "") -> str:
    """Return the mean Spearman correlations of the design score and of validation accuracy.

    Args:
        pools: the pools.
        which: empty for all architectures, ``TOP_HALF`` for the better half of them.
    """
    score, accuracy = (means(name, pools, which) for name in ("design_score", REFERENCE))
    return f"{score}, validation accuracy {accuracy} ({' / '.join(verdict_words(pools, which))})"


def means(name: str, pools: Sequence[Figures], which: str = "") -> str:
    """Return the mean Spearman correlation of a criterion after each of ``LEAD_EPOCHS``."""
    key = which.rstrip("_") or "all"
    by_epochs = ([pool[name][epochs][key] for pool in pools] for epochs in LEAD_EPOCHS)
    return " / ".join(f"{fmean(values):.2f}" for values in by_epochs)


def verdict_words(pools: Sequence[Figures], which: str = "") -> list[str]:
    """Return "ahead", "level" or "behind" for each of ``LEAD_EPOCHS``.

    Args:
        pools: the pools.
        which: empty for all architectures, ``TOP_HALF`` for the better half of them.
    """
    return [_verdict(*_mean_lead(pools, epochs, which)) for epochs in LEAD_EPOCHS]


def _verdict(mean: float, half: float) -> str:
    if abs(mean) <= half:
        return LEVEL
    return AHEAD if mean > 0 else BEHIND


def _mean_lead(pools: Sequence[Figures], epochs: str, which: str) -> tuple[float, float]:
    """Return the mean lead of the design score over pools, and half of its 95 % interval."""
    rows = [pool["design_score"][epochs] for pool in pools]
    ends = [row[f"{which}lead_interval"] for row in rows]
    # Pools are independent, so that the variances of their bootstrap intervals add up.
    half = math.sqrt(sum(((high - low) / 2) ** 2 for low, high in ends)) / len(rows)
    return fmean(row[f"{which}lead"] for row in rows), half


def _verdicts_by_group() -> str:
    groups = known_pools(CHOSEN_ON)
    return "; ".join(
        f"for {group} {verdicts(list(pools.values()))}" for group, pools in groups.items() if pools
    )


# --- sections ---


def criterion() -> Iterator[str]:
    """Yield everything that the pools show."""
    yield (
        "**Which of a short run's figures tells the accuracy after long training?** Architectures "
        "drawn at random from a space are trained briefly, and anew for long from the same seed; "
        "where there are several seeds, figures are means over them. Each result file's command "
        "says how many images, epochs and seeds: fewer for CNNs and ResNets, and one seed "
        "(`python -m benchmarks.run criterion`). Spearman after 10 epochs over all architectures "
        "/ over the better half of them by their accuracy in the end:"
    )
    for group, pools in known_pools().items():
        if pools:
            yield from _group(group, pools)
    yield from _averages()
    yield from _leads()
    yield from _conclusion()
    yield from _published()


def _group(group: str, pools: dict[str, Figures]) -> Iterator[str]:
    heads = [f"{title}, {pool['meta']['architectures']}" for title, pool in pools.items()]
    yield from table(
        (group, *heads),
        (
            [label, *(_pair(pool[name]["10"]) if name in pool else "-" for pool in pools.values())]
            for name, label in CRITERIA.items()
        ),
    )


def _pair(row: Figures) -> str:
    return f"{row['all']:.2f} / {row['top_half']:.2f}"


def _averages() -> Iterator[str]:
    pools = untouched_pools()
    yield from (
        "",
        f"The same as a mean over the {len(pools)} pools on which nothing was chosen, by the "
        "epochs of the short run; after 10 also Kendall's tau, what the best of the top one / five "
        "lacks to the best of all in points, and the median time per network on one core, training "
        "included:",
    )
    rows = {name: [pool[name] for pool in pools if name in pool] for name in CRITERIA}
    yield from table(
        ("criterion", *(f"{e} epochs" for e in EPOCHS), "tau", "regret", "seconds"),
        ([CRITERIA[name], *_average_cells(some)] for name, some in rows.items() if some),
    )


def _average_cells(rows: Sequence[Figures]) -> Iterator[str]:
    """Yield the means of one criterion over pools."""

    def mean(epochs: str, key: str) -> float:
        return fmean(row[epochs][key] for row in rows if row[epochs][key] is not None)

    for epochs in EPOCHS:
        yield f"{mean(epochs, 'all'):.2f} / {mean(epochs, 'top_half'):.2f}"
    yield f"{mean('10', 'kendall'):.2f}"
    yield f"{mean('10', 'regret_top1'):.2f} / {mean('10', 'regret_top5'):.2f}"
    yield f"{mean('10', 'seconds'):.3f}"


def _leads() -> Iterator[str]:
    """Yield what the design score is ahead of validation accuracy, over pools together."""
    groups = known_pools()
    parts = {
        "all pools": _all_pools(),
        "those on which nothing was chosen": untouched_pools(),
        **{group: list(pools.values()) for group, pools in groups.items() if pools},
    }
    yield from (
        "",
        "Lead of the design score over validation accuracy at the same epoch, in Spearman over all "
        "/ over the better half, mean over pools with its 95 % interval:",
    )
    yield from table(
        ("pools", *(f"{e} epochs" for e in LEAD_EPOCHS)),
        (
            [f"{title}, {len(pools)}", *(_lead_cell(pools, e) for e in LEAD_EPOCHS)]
            for title, pools in parts.items()
        ),
    )


def _lead_cell(pools: Sequence[Figures], epochs: str) -> str:
    leads = [_mean_lead(pools, epochs, which) for which in ("", TOP_HALF)]
    return " / ".join(f"{mean:+.3f} ± {half:.3f}" for mean, half in leads)


def _all_pools() -> list[Figures]:
    return [pool for pools in known_pools().values() for pool in pools.values()]


def _conclusion() -> Iterator[str]:
    everything, untouched = _all_pools(), untouched_pools()
    yield from (
        "",
        "So against validation accuracy at the same epoch, over all architectures, the design "
        f"score is {verdicts(everything)} over all pools, and {verdicts(untouched)} over those "
        f"on which nothing was chosen ({_verdicts_by_group()}). Among the better half of the "
        f"architectures, where the choice is made, it is {verdicts(everything, TOP_HALF)} over all "
        f"pools, and {verdicts(untouched, TOP_HALF)} over those on which nothing was chosen. Forms "
        "of the score that were tried: adherence to the law alone, the nearest-class-mean accuracy "
        "averaged over all layers, over the later two thirds (which it became), and of the last "
        "block. "
        f"{_best_untrained()} (The first MNIST pool and the digits pool of perceptrons had been "
        "seen with an earlier form of the score; the other draw, the CNNs and the ResNets had "
        "not.)",
        "",
    )


def _best_untrained() -> str:
    """Return a sentence on the best figure that is read from networks before any training."""
    pools = [pool for pool in untouched_pools() if "2" in pool["design_score"]]

    def mean(name: str) -> float:
        return fmean(pool[name]["2"]["all"] for pool in pools if name in pool)

    best = max(UNTRAINED, key=mean)
    return (
        f"Of what is known before any training {CRITERIA[best]} tells most, {mean(best):.2f} in "
        f"the mean, against {mean('validation_accuracy'):.2f} for validation accuracy after two "
        "epochs, and costs next to nothing."
    )


def _published() -> Iterator[str]:
    """Yield what others published for scores of untrained networks, beside our pools."""
    tasks = read_result("zero_cost_published.json")["tasks"]
    known_as = {label: name for name, label in CRITERIA.items()}
    groups = {group: list(pools.values()) for group, pools in known_pools().items() if pools}
    networks = next(iter(tasks.values()))["networks"]
    yield (
        "**What do others find for scores of untrained networks?** Spearman with the accuracy "
        f"after training, over the {networks} networks of NAS-Bench-201 for which NASLib publishes "
        "them (`python -m benchmarks.run published`), and beside it the means over our pools:"
    )
    yield from table(
        ("score", *TASKS.values(), *(f"our {group}" for group in groups)),
        (
            [
                label,
                *(f"{tasks[task]['spearman'][name]['all']:.2f}" for task in TASKS),
                *(_mean_of(known_as.get(label), pools) for pools in groups.values()),
            ]
            for name, label in PUBLISHED.items()
        ),
    )
    yield from (
        "",
        "So what ranks the networks of one cell-based space, where size decides, need not rank "
        "those of another in which depth, width, normalisation and learning rate vary freely: "
        "measure such a score on the space in hand before relying on it.",
        "",
    )


def _mean_of(name: str | None, pools: Sequence[Figures]) -> str:
    """Return the mean of a criterion over pools; a dash if none has it."""
    values = [pool[name]["10"]["all"] for pool in pools if name in pool]
    return f"{fmean(values):.2f}" if values else "-"
