"""Evidence for what ``designer prune --max-drop`` keeps of what it promises."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table
from benchmarks.result_files import is_measured, read_result

FILE = "max_drop.json"


def max_drop() -> Iterator[str]:
    """Yield in how many networks the bound holds, and how much went."""
    if not is_measured(FILE):
        return
    yield (
        "\n**Does `--max-drop 0.01` hold?** In how many networks the test accuracy drops by no "
        "more than a point, in how many at least a third of the blocks went, and the means "
        "(`python -m benchmarks.run max_drop`). `designer prune` decides by itself, with its "
        "defaults, on validation data."
    )
    columns = ("network", "data", "within a point", "a third gone", "blocks gone")
    yield from table(
        (*columns, "parameters left", "test drop", "largest", "trained trials"),
        map(_row, groups()),
        text_columns=2,
    )
    yield ""


def groups() -> list[Figures]:
    """Return the figures by family and data set."""
    measured: list[Figures] = read_result(FILE)["groups"]
    return measured


def _row(group: Figures) -> list[str]:
    n = group["networks"]
    return [
        group["family"],
        group["data"],
        f"{group['within']} of {n}",
        f"{group['a_third_removed']} of {n}",
        f"{group['removed']:.1f} of {group['blocks']}",
        f"{group['parameters_left']:.0%}",
        f"{100 * group['test_drop']['mean']:+.2f}",
        f"{100 * group['largest_test_drop']:+.2f}",
        f"{group['trials_trained']:.1f}",
    ]
