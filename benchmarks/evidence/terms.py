"""The words of the page of statements, each in a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

TERMS = {
    "D": "the spread within classes over that between them, after a layer: Tr(SS_w SS_b⁺); less is "
    "better",
    "block": "a layer, or a group of layers that repeats; the unit that is measured and removed",
    "law": "log D falls by the same step at every layer; Pearson r with depth is then near -1, and "
    "*uniformity* (1 for equal steps) at least 0.9",
    "step": "by how much a block lowers log D; *held-out*: on images that were not trained on",
    "contribution": "by how much the cross-entropy rises with a simple stand-in for the block",
    "Block Influence": "1 minus the cosine between what enters a block and what leaves it",
    "design score": "ranks networks after a short run, by how well held-out classes are apart in "
    "all layers, validation accuracy and the law",
    "wanted, missed": "what a figure should reach, and a line with one that does not",
    "ahead, level, behind": "the 95 % interval of the difference is above, around or below zero",
}


def opening(tally: Iterable[str]) -> Iterator[str]:
    """Yield what the tool does, which claims hold, and the words of the page."""
    yield from (
        "Designer looks inside classifiers: it ranks architectures after short training, says what "
        "is wrong with a network, tries what it advises, and removes blocks that are not needed. "
        "`python -m benchmarks.evidence` writes this page from `benchmarks/results/`; the commands "
        "below a claim measure it again. A claim holds in part where a line is missed.",
    )
    yield ""
    yield from tally
    yield from ("", "The words of this page:", "")
    yield from (f"- **{word}**: {meaning}" for word, meaning in TERMS.items())
