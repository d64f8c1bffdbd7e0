"""Evidence for what advice is worth, from the first network to the long-trained end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.advice import Arm
from benchmarks.evidence.markdown import LEVEL, difference, table, verdict
from benchmarks.evidence.statement import Page, Statement
from benchmarks.result_files import is_measured, read_result

FILE = "advice.json"

IN_WORDS = {
    Arm.ADVISED: "as the report advises",
    Arm.ELSEWHERE: "the same, but of other blocks",
    Arm.ANY: "any, in random order",
}


def advice() -> Iterator[str]:
    """Yield what edits led to in each order, on test data after long training."""
    if not is_measured(FILE):
        return
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
        f"smaller and at most half a point less accurate, or surely more accurate. Other blocks "
        f"were tried where advice on a block was, and where the edit of another one gives another "
        f"network; what advice is ahead by is over the networks of the other arm "
        f"(`python -m benchmarks.run advice`).",
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
        f"{row['size']:.0%}",
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
    return f"{LEVEL}, {'smaller' if high < 0 else 'larger'}"


def advice_statement() -> Iterator[Statement]:
    """Yield what advice is worth, if it was measured."""
    if not is_measured(FILE):
        return
    whole = read_result(FILE)["groups"]["all"]
    leads = {
        "no edits": whole["arms"][Arm.ADVISED],
        "the same edits of other blocks": whole["leads"][Arm.ELSEWHERE],
        "random edits": whole["leads"][Arm.ANY],
    }
    figures = [
        f"{difference(lead['points'], digits=1)} points at "
        f"{math.exp(lead['log_size']['mean']):.0%} of the size of {rival}"
        for rival, lead in leads.items()
    ]
    yield Statement(
        f"Tried advice is worth more than {', '.join(leads)}",
        f"{whole['networks']} random architectures, long-trained, test data: {'; '.join(figures)}",
        "; ".join(map(standing, leads.values())),
        "advice",
        Page.ADVICE,
    )
