"""Evidence for convolutions that see nothing new: whether networks do as well without them."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.receptive_field import FREE, LEAST, SHORTENED, UNFLAGGED, is_right
from benchmarks.evidence.markdown import difference, percent, table
from benchmarks.result_files import is_measured, read_result

FILE = "receptive_field.json"


def receptive_field() -> Iterator[str]:
    """Yield what networks lose without the convolutions that a rule flags."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    seeds = len(result["meta"]["seeds"])
    yield from (
        "",
        "**Are convolutions surplus if what they receive sees the whole image already?** Plain "
        "CNNs of one width, trained from scratch as they are, without the blocks that a rule "
        "flags, and without as many blocks from the front; points of test accuracy, paired, with "
        f"95 % intervals over networks and {seeds} seeds. One rule flags what sees nothing new at "
        "the centre of the image, as `rfa_toolbox` does, the other what sees nothing new anywhere. "
        f"A rule is right if the networks lose at most {100 * FREE:.1f} points without what it "
        f"flags, with the interval above {100 * LEAST:.0f} "
        "(`python -m benchmarks.run receptive_field`).",
    )
    columns = (
        "data",
        "nothing new",
        "pixels",
        "networks with flagged blocks",
        "blocks flagged",
        "whole",
        UNFLAGGED,
        SHORTENED,
    )
    yield from table(columns, [_row(g) for g in result["groups"] if g["flagged"]], text_columns=2)
    yield from ("", *_peers(result), "")


def _row(group: Figures) -> list[str]:
    return [
        group["data"],
        group["rule"],
        str(group["image_size"] or ""),
        f"{group['flagged']} of {group['networks']}",
        f"{group['flagged_blocks']} of {group['blocks']}",
        percent(group["whole"]),
        *(_change(group["change"][name]) for name in (UNFLAGGED, SHORTENED)),
    ]


def _change(change: Figures) -> str:
    if change["interval"][0] is None:
        return f"{100 * change['mean']:+.1f}"
    return difference(change, 100, 1)


def _peers(result: Figures) -> Iterator[str]:
    """Yield how many receptive fields are those of ``rfa_toolbox``."""
    for name, peer in result["peers"].items():
        if "reason" not in peer:
            ours, theirs = peer["convolutions"]
            yield (
                f"In {name} {peer['equal']} of {ours} largest receptive fields equal those of "
                f"`rfa_toolbox`, which has {theirs}."
            )


def figure() -> str:
    """Return what networks lose without what each rule flags."""
    changes = [f"{group['rule']} {_change(group['change'][UNFLAGGED])}" for group in _over_all()]
    return (
        "change of test accuracy, in points, without convolutions that see nothing new of the "
        f"image {'; '.join(changes)}"
    )


def is_shown() -> bool:
    """Return whether networks are shown to do as well without what one of the rules flags."""
    return any(is_right(group["change"][UNFLAGGED]) for group in _over_all())


def _over_all() -> list[Figures]:
    groups = read_result(FILE)["groups"]
    return [group for group in groups if group["data"] == "all" and group["flagged"]]
