"""Evidence for models that people have: those of torchvision, timm and transformers."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.zoo import failures
from benchmarks.evidence.markdown import table
from benchmarks.result_files import is_measured, read_result

FILE = "zoo.json"

RIGHT_SHARE = 0.95
"""Share of the architectures in which the blocks are to be right."""


def zoo() -> Iterator[str]:
    """Yield the totals of each library, and what did not work."""
    if not is_measured(FILE):
        return
    yield (
        "\n**Models that people have.** Architectures with random weights (`make zoo`). Right: all "
        "blocks that an expert would name are found; wrong: others, without a warning that the "
        "blocks hold little of the network or that part of the input flows past other parts that "
        "repeat. Analyzed: the report was made; contribution: blocks "
        "were left out in it. Untouched, copyable: the model afterwards. Can go: networks with a "
        "block that can be removed; of these, those that run without it, and that `torch.export` "
        "exports."
    )
    columns = ("library", "architectures", "right", "wrong", "analyzed", "contribution")
    yield from table(
        (*columns, "untouched", "copyable", "can go", "run", "exported", "seconds"),
        [_row(name, totals) for name, totals in totals_by_library().items()],
        text_columns=1,
    )
    yield "\nWhat did not work:\n"
    yield from (f"- {line}" for line in failures(read_result(FILE)["architectures"]))
    yield ""


def totals_by_library() -> dict[str, Figures]:
    """Return the totals of each library, and of all."""
    totals: dict[str, Figures] = read_result(FILE)["groups"]
    return totals


def _row(name: str, totals: Figures) -> list[str]:
    keys = ("architectures", "right", "wrong_without_warning", "analyzed", "with_contributions")
    more = ("untouched", "copyable", "removable", "running", "exported")
    return [name, *(str(totals[key]) for key in (*keys, *more)), f"{totals['seconds']:.0f}"]
