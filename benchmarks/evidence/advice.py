"""Evidence for what advice is worth, from the first network to the long-trained end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.advice import Arm
from benchmarks.evidence.markdown import AHEAD, BEHIND, LEVEL, difference, table, verdict
from benchmarks.result_files import read_result

FILE = "advice.json"

SMALLER = "smaller"

IN_WORDS = {
    Arm.ADVISED: "as the report advises",
    Arm.ELSEWHERE: "the same, but of other blocks",
    Arm.ANY: "any, in random order",
}


def advice() -> Iterator[str]:
    """Yield what edits led to in each order, on test data after long training."""
    result = read_result(FILE)
    groups = result["groups"]
    redrawn = sum(row["redrawn"] for row in result["networks"])
    yield from (
        "",
        f"**Does advice pay, end to end?** {groups['all']['networks']} architectures of at most a "
        f"million operations, drawn at random from {len(groups) - 1} spaces, without planted "
        f"defects ({redrawn} others did not learn and were drawn again; Fashion-MNIST, 1,000 "
        f"training images of 12 x 12). Each was diagnosed and edited with at most "
        f"{result['edits']} training runs in each arm; the same rule decides on validation data "
        f"which edit is kept. Both ends were then trained for long with four fresh seeds: points "
        f"of test accuracy and sizes are beside the untouched network, with 95 % intervals over "
        f"the networks. Better is "
        f"smaller and at most half a point less accurate, or surely more accurate; what advice is "
        f"ahead by is over the networks of the other arm (`python -m benchmarks.run advice`). "
        f"{_of_one_block(result)}",
    )
    columns = (
        "space",
        "edits",
        "networks that changed",
        "better on test data",
        "training runs",
        "kept of tried",
        "points",
        "size",
        "advice ahead by points",
        "its size beside the other's",
    )
    rows = [
        _row(name, arm, group)
        for name, group in groups.items()
        for arm in IN_WORDS
        if arm in group["arms"]
    ]
    yield from table(columns, rows, text_columns=2)
    yield from ("", f"Findings in the untouched networks: {_findings(result)}.", "")


def _of_one_block(result: Figures) -> str:
    """Return how often advice was of one block, so that it could be tried with another one."""
    arms = [row["arms"] for row in result["networks"]]
    tried = [edit for own in arms for edit in own[Arm.ADVISED]["tried"]]
    of_block = sum(edit["block"] is not None for edit in tried)
    moved = sum(Arm.ELSEWHERE in own for own in arms)
    measured = Arm.ELSEWHERE in result["groups"]["all"]["arms"]
    return (
        f"Of {len(tried)} tried edits {of_block} were of one block. The same edit of another block "
        f"gives another network in {moved} of {len(arms)} architectures"
        f"{'' if measured else ', so that advice is not compared with the same edits elsewhere'}."
    )


def _row(name: str, arm: Arm, group: Figures) -> list[str]:
    row, lead = group["arms"][arm], group["leads"].get(arm)
    return [
        name,
        IN_WORDS[arm],
        f"{row['changed']} of {row['networks']}",
        str(row["better"]),
        f"{row['runs']:.1f}",
        f"{row['kept']} of {row['tried']}",
        difference(row["points"]),
        f"{math.exp(row['log_size']['mean']):.0%}",
        "" if lead is None else difference(lead["points"]),
        "" if lead is None else _factor(lead["log_size"]),
    ]


def _factor(log_size: Figures) -> str:
    """Return a mean factor and its interval, from logarithms."""
    low, high = map(math.exp, log_size["interval"])
    return f"{math.exp(log_size['mean']):.2f}: {low:.2f} to {high:.2f}"


def _findings(result: Figures) -> str:
    """Return in how many networks the diagnosis found what, the most frequent first."""
    counts = Counter(kind for row in result["networks"] for kind in row["findings"])
    return ", ".join(f"{kind} {count}" for kind, count in counts.most_common()) or "none"


def standing(lead: Figures) -> str:
    """Return how advice stands beside a rival: in accuracy, and where that is level in size."""
    points = verdict(lead["points"])
    low, high = lead["log_size"]["interval"]
    if points != LEVEL or low <= 0 <= high:
        return points
    return f"{LEVEL}, {SMALLER if high < 0 else 'larger'}"


def rivals() -> dict[str, Figures]:
    """Return what edits as advised are beside each rival, in accuracy and in size."""
    whole = read_result(FILE)["groups"]["all"]
    names = {Arm.ELSEWHERE: "ones with other blocks edited", Arm.ANY: "randomly edited ones"}
    beside = {names[Arm(arm)]: lead for arm, lead in whole["leads"].items()}
    return {"unedited ones": whole["arms"][Arm.ADVISED], **beside}


def losses() -> Iterator[str]:
    """Yield how advice stands beside random edits in each family where it is surely behind."""
    for name, group in read_result(FILE)["groups"].items():
        points = group["leads"][Arm.ANY]["points"]
        if verdict(points) == BEHIND:
            yield f"in `{name}` {difference(points, digits=1)} points ({BEHIND})"


def figure() -> str:
    """Return as a figure of a claim how advice stands beside its rivals."""
    result = read_result(FILE)
    beside = (
        f"beside {rival} {difference(lead['points'], digits=1)} points at "
        f"{math.exp(lead['log_size']['mean']):.0%} of their size ({standing(lead)})"
        for rival, lead in rivals().items()
    )
    return (
        f"{result['groups']['all']['networks']} random networks of four families, edited as "
        f"advised with at most {result['edits']} training runs, test accuracy "
        f"{'; '.join([*beside, *losses()])}"
    )


def is_worth_more() -> bool:
    """True if advice is more accurate than every rival, or smaller and level."""
    return all(standing(lead) in (AHEAD, f"{LEVEL}, {SMALLER}") for lead in rivals().values())
