"""Evidence for the diagnosis: planted defects that it names, and healthy networks."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.diagnosis import PLANTED, UNDER_TRAINED
from benchmarks.evidence.markdown import difference, reached, table
from benchmarks.result_files import is_measured, read_result

FILE = "diagnosis.json"

NAMED_SHARE, FALSE_ALARMS = 10 / 12, 0.02
"""Share of the networks with a defect in which it must be named, and of the blocks of healthy
networks that may be advised to change."""

NAMED = {
    "16 blocks": "too deep",
    "no normalisation": "no normalisation",
    "rate a hundredth": "learning rate too low",
}
"""Defects that must be named."""


def diagnosis() -> Iterator[str]:
    """Yield how often each planted defect is named, and how often a healthy network is faulted."""
    if not is_measured(FILE):
        return
    groups = all_groups()
    yield (
        "\n**Does the diagnosis name what is wrong?** Networks with one planted defect each, "
        "trained as a search confirms its candidates, one seed per network; the thresholds were "
        "chosen on other data. The twin is the same network without the defect, with the same "
        f"seed. Wanted: {', '.join(NAMED)} named in {NAMED_SHARE:.0%} "
        f"({reached(defects_are_named(groups))}), at most {FALSE_ALARMS:.0%} of the blocks of "
        f"healthy networks to change ({reached(false_alarms(groups) <= FALSE_ALARMS)}), no advice "
        f"on single blocks of under-trained networks ({reached(under_trained_blocks(groups) == 0)}"
        ") (`python -m benchmarks.run diagnosis`)."
    )
    columns = (
        "network",
        "data",
        "defect named",
        "another finding",
        "blocks to change",
        "idle blocks",
        "points of test accuracy that the twin has more",
    )
    rows = [
        _row(planted, name, group)
        for planted, by_data in read_result(FILE)["groups"].items()
        for name, group in by_data.items()
    ]
    yield from table(columns, rows, text_columns=2)
    yield ""


def all_groups() -> dict[str, Figures]:
    """Return the figures over all data, by what was planted."""
    return {planted: by["all"] for planted, by in read_result(FILE)["groups"].items()}


def defects_are_named(groups: dict[str, Figures]) -> bool:
    """Return True if each defect that must be named is named often enough."""
    return all(groups[name]["named"] >= NAMED_SHARE * groups[name]["networks"] for name in NAMED)


def false_alarms(groups: dict[str, Figures]) -> float:
    """Return the share of the blocks of healthy networks that are advised to change."""
    healthy = [group for name, group in groups.items() if not PLANTED[name].named_by]
    return sum(int(g["changes"]) for g in healthy) / sum(int(g["blocks"]) for g in healthy)


def under_trained_blocks(groups: dict[str, Figures]) -> int:
    """Return how many blocks of under-trained networks are advised to change."""
    return sum(int(groups[name]["changes"]) for name in UNDER_TRAINED)


def _row(planted: str, data: str, group: Figures) -> list[str]:
    gain = group["gain_of_twin"]
    return [
        planted,
        data,
        f"{group['named']} of {group['networks']}" if PLANTED[planted].named_by else "-",
        f"{group['other_findings']} of {group['networks']}",
        f"{group['changes']} of {group['blocks']}",
        str(group["idle"]),
        "-" if gain is None else difference(gain, 100, 1),
    ]
