"""What others published on removing layers of the ResNet-56 for CIFAR-10.

Only figures that stand in a stored copy of the named source are given; where the copy ends before
the paper's table, the table says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.claim import Figures
from benchmarks.claims.contribution_orders import OURS
from benchmarks.evidence.markdown import table

NOT_FOUND = "not found"

RESNET = "ResNet-56"

LEAST_FEWER = 0.25
"""Share of the operations from which on a removal stands beside the published ones."""


@dataclass(frozen=True)
class Publication:
    """What a source says of the network."""

    method: str
    address: str
    fewer_flops: str = NOT_FOUND
    accuracy: str = NOT_FOUND
    remark: str = ""


PUBLICATIONS = (
    Publication(
        "Chen & Zhao, TPAMI 2018",
        "https://www-users.cse.umn.edu/~qzhao/pruning.html",
        remark="the copy gives the method, no figures of this network",
    ),
    Publication(
        "Xu et al., 2020",
        "https://www.catalyzex.com/paper/arxiv:2011.14356",
        remark="the abstract has ResNet-110 only: 65.5 % fewer operations, a loss of 0.13 points",
    ),
    Publication(
        "SR-init, Tang et al., 2023",
        "https://ar5iv.labs.arxiv.org/html/2303.07677",
        accuracy="a drop of -0.56 points",
        remark="63.98 % fewer parameters; the abstract does not give operations",
    ),
    Publication(
        "block pruning, Wu et al., 2023",
        "https://www.sciencestack.ai/paper/2312.16904",
        remark="the abstract has no figures",
    ),
)


def published(groups: Sequence[Figures]) -> Iterator[str]:
    """Yield a table of the publications, and of contribution with about as many blocks gone."""
    yield from (
        "",
        "**Published layer pruning of ResNet-56 on CIFAR-10.** The rows cannot be compared one "
        "to one: ours recovers for only two epochs over 4,000 images, these were JPEGs, and the "
        "change is that compared with the whole network after the same training; the published "
        "figures come from the full data and from trainings of their authors. `not found` means "
        "that no copy of the source that was at hand has the figure.",
    )
    rows = [[p.method, p.remark, p.fewer_flops, p.accuracy, f"<{p.address}>"] for p in PUBLICATIONS]
    ours = [row for group in groups if group["family"] == RESNET for row in _ours(group)]
    yield from table(
        ("method", "remark", "fewer operations", "change of accuracy", "source"),
        [*rows, *ours],
        text_columns=2,
    )


def _ours(group: Figures) -> Iterator[list[str]]:
    for k, removed in group["removed"].items():
        if 1 - removed["flops"] < LEAST_FEWER:
            continue
        change = removed["minus_whole"]
        low, high = (None if b is None else 100 * b for b in change["interval"])
        interval = "" if low is None else f" ({low:+.1f} to {high:+.1f})"
        yield [
            OURS,
            f"{k} of {group['blocks']} blocks gone",
            f"{1 - removed['flops']:.0%}",
            f"{100 * change['mean']:+.1f} points{interval}",
            "this page",
        ]
