"""Evidence for the law in networks that others trained, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.claim import Figures
from benchmarks.claims.pretrained import ALL, AS_TRAINED, ENOUGH, FEATURES, JUDGED
from benchmarks.evidence.markdown import percent, table
from benchmarks.result_files import is_measured, read_result
from designer.results.measured import LawStatus

FILE = "pretrained.json"

IN_WORDS = dict(zip(FEATURES, ("flat", "pooled"), strict=True))

LAST_STAGE = "layer3"

TOO_FEW = "-"
"""Stands for a stage of too few blocks."""


def pretrained() -> Iterator[str]:
    """Yield how well the law holds in pretrained ResNets, over all blocks and per stage."""
    if not is_measured(FILE):
        return
    rows = states()
    yield from (
        "",
        "**Does the law hold in networks that others trained?** ResNet-20 and ResNet-56 for "
        "CIFAR-10, D behind every block, on images that they were trained on and on test images, "
        "with feature maps taken flat and as means over their pixels. The images were JPEGs here, "
        "which costs these networks about ten points, so they are also measured after two epochs "
        "over 4,000 of them. Then the product removes a third of the blocks by its default "
        "criterion and repairs the rest, which is measured before and after the same two epochs "
        "(`python -m benchmarks.run pretrained`).",
    )
    for what, words in (
        ("r", "Pearson r of log D with depth, training / test images (-1 where the law holds):"),
        ("uniformity", "Uniformity of the steps, training / test images (1 where it holds):"),
    ):
        yield from ("", words)
        yield from _law_table(rows, what)
    yield from ("", *_tunnel(rows), "", *_contribution(rows), "")


def states() -> list[Figures]:
    """Return the figures of every network in every state."""
    rows: list[Figures] = read_result(FILE)["states"]
    return rows


def figure() -> str:
    """Return the range of r and of the uniformity, over networks and kinds of features."""
    laws = [*_laws("train"), *_laws("heldout")]
    last = [law for part in ("train", "heldout") for law in _laws(part, LAST_STAGE)]
    return (
        f"uniformity {_range(laws, 'uniformity')}, within the last stage "
        f"{_range(last, 'uniformity')}; Pearson r {_range(laws, 'r')}"
    )


def follows() -> bool:
    """Return True if the law holds in all networks, on training and on test images."""
    laws = [*_laws("train"), *_laws("heldout")]
    return all(law["status"] == LawStatus.HOLDS for law in laws)


def _laws(part: str, stage: str = ALL) -> list[Figures]:
    """Return the law in a part of each network as others trained it, by kind of features."""
    rows = [row for row in states() if row["state"] == AS_TRAINED]
    return [row["law"][features][part][stage] for row in rows for features in FEATURES]


def _range(laws: Sequence[Figures], key: str) -> str:
    values = [law[key] for law in laws]
    return f"{min(values):.2f} to {max(values):.2f}"


def _law_table(rows: Sequence[Figures], what: str) -> Iterator[str]:
    stages = list(rows[0]["law"][FEATURES[0]]["train"])
    columns = ("network", "state", "features", "test accuracy", *stages)
    yield from table(
        columns,
        [
            [
                row["network"],
                row["state"],
                IN_WORDS[features],
                percent(row["accuracy_heldout"]),
                *(_cell(laws, stage, what) for stage in stages),
            ]
            for row in rows
            for features, laws in row["law"].items()
        ],
        text_columns=3,
    )


def _cell(laws: Figures, stage: str, what: str) -> str:
    fits = [laws[part].get(stage) for part in ("train", "heldout")]
    if any(fit is None or fit["status"] == LawStatus.TOO_FEW_LAYERS for fit in fits):
        return TOO_FEW
    return " / ".join(f"{fit[what]:.2f}" for fit in fits if fit is not None)


def _tunnel(rows: Sequence[Figures]) -> Iterator[str]:
    """Yield from which block on nothing is gained on test images."""
    yield (
        "The tunnel begins at the block behind which the nearest-class-mean accuracy on test "
        f"images rises by no more than {100 * ENOUGH:.0f} point, or D falls no further:"
    )
    yield from table(
        ("network", "state", "features", "blocks", "by accuracy", "by D", "accuracy there", "best"),
        [
            [
                row["network"],
                row["state"],
                IN_WORDS[features],
                str(len(row["blocks"])),
                str(laws["tunnel_by_accuracy"]),
                str(laws["tunnel_by_separation"]),
                percent(laws["nearest_class_mean_accuracy"][laws["tunnel_by_accuracy"]]),
                percent(max(laws["nearest_class_mean_accuracy"])),
            ]
            for row in rows
            for features, laws in row["law"].items()
        ],
        text_columns=3,
    )


def _contribution(rows: Sequence[Figures]) -> Iterator[str]:
    """Yield what contribution says beside the law."""
    yield (
        "What contribution says beside it, on test images: blocks without which the cross-entropy "
        "surely rises, also behind the entrance of the tunnel (flat, by accuracy), and how a "
        "block's held-out step agrees with the rise (Spearman):"
    )
    judged = [row for row in rows if row["state"] in JUDGED and row["contribution"]]
    yield from table(
        ("network", "state", "needed", "needed in the tunnel", "flat steps", "pooled steps"),
        [[row["network"], row["state"], *_needed(row), *_agreements(row)] for row in judged],
        text_columns=2,
    )


def _needed(row: Figures) -> Iterator[str]:
    needed = row["contribution"]["needed"]
    beyond = needed[row["law"][FEATURES[0]]["tunnel_by_accuracy"] :]
    for flags in (needed, beyond):
        yield f"{sum(map(bool, flags))} of {len(flags)}" if flags else "no tunnel"


def _agreements(row: Figures) -> Iterator[str]:
    for features in FEATURES:
        agreement = row["contribution"]["spearman_with_steps"][features]
        yield "-" if agreement is None else f"{agreement:.2f}"
