"""Evidence for what advice is worth, from the first network to the long-trained end."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.one_candidate import Order
from benchmarks.evidence.markdown import AHEAD, BEHIND, LEVEL, difference, table, verdict
from benchmarks.evidence.statement import Page, Statement
from benchmarks.result_files import is_measured, read_result

FILE = "advice.json"

IN_WORDS = {
    Order.ADVISED: "as the report advises",
    Order.ELSEWHERE: "the same kinds, of other blocks",
    Order.ANY: "any, at random",
}

RIVALS = {Order.ELSEWHERE: "the same kinds of edits of other blocks", Order.ANY: "random edits"}


def advice() -> Iterator[str]:
    """Yield what edits led to in each order, on test data after long training."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    groups = result["groups"]
    runs = max(arm["runs"] for row in result["networks"] for arm in row["arms"].values())
    yield from (
        "",
        f"**Does advice pay, end to end?** {groups['all']['networks']} architectures drawn at "
        f"random from {len(groups) - 1} spaces, without planted defects, were diagnosed and edited "
        f"with at most {runs} training runs in each arm; the same rule decides on validation data "
        f"which edit is kept. Both ends were then trained for long with four fresh seeds; points "
        f"of test accuracy and sizes are over the untouched networks, with 95 % intervals over the "
        f"networks. Better is smaller and at most half a point less accurate, or surely more "
        f"accurate (`python -m benchmarks.run advice`).",
    )
    columns = (
        "space",
        "edits",
        "networks that changed",
        "better on test data",
        "kept of tried",
        "points",
        "size",
        "advice is ahead by points",
        "and in size by a factor",
    )
    rows = [
        _row(name, order, group) for name, group in groups.items() for order in map(Order, IN_WORDS)
    ]
    yield from table(columns, rows, text_columns=2)
    yield from ("", " ".join(_found(result)), "")


def _row(name: str, order: Order, group: Figures) -> list[str]:
    arm, lead = group["arms"][order], group["leads"].get(order)
    return [
        name,
        IN_WORDS[order],
        f"{arm['changed']} of {group['networks']}",
        str(arm["better"]),
        f"{arm['kept']} of {arm['tried']}",
        difference(arm["points"]),
        f"{arm['size']:.0%}",
        "" if lead is None else difference(lead["points"]),
        "" if lead is None else _factor(lead["log_size"]),
    ]


def _factor(log_size: Figures) -> str:
    """Return a mean factor and its interval, from logarithms."""
    low, high = map(math.exp, log_size["interval"])
    return f"{math.exp(log_size['mean']):.2f}: {low:.2f} to {high:.2f}"


def _found(result: Figures) -> Iterator[str]:
    """Yield how often the diagnosis found what."""
    counts: dict[str, int] = {}
    for row in result["networks"]:
        for kind in row["findings"]:
            counts[kind] = counts.get(kind, 0) + 1
    named = [f"{kind} {count}" for kind, count in sorted(counts.items(), key=lambda kv: -kv[1])]
    yield f"What the diagnosis found before: {', '.join(named) or 'nothing'}."


def standing(lead: Figures) -> str:
    """Return whether advice is ahead of a rival: in one respect surely, and behind in none."""
    points = verdict(lead["points"])
    low, high = lead["log_size"]["interval"]
    size = LEVEL if low <= 0 <= high else AHEAD if high < 0 else BEHIND
    both = {points, size} - {LEVEL}
    return " and ".join(sorted(both)) if both else LEVEL


def advice_statement() -> Iterator[Statement]:
    """Yield what advice is worth, if it was measured."""
    if not is_measured(FILE):
        return
    whole = read_result(FILE)["groups"]["all"]
    arms = [
        f"{words} {whole['arms'][order]['points']['mean']:+.1f} points at "
        f"{whole['arms'][order]['size']:.0%} of the size"
        for order, words in {Order.ADVISED: "advice", **RIVALS}.items()
    ]
    yield Statement(
        f"Advice is worth more than {' and '.join(RIVALS.values())}",
        f"{whole['networks']} random architectures, long-trained, on test data: {', '.join(arms)}",
        "; ".join(
            f"against {words}: {standing(whole['leads'][order])}" for order, words in RIVALS.items()
        ),
        "advice",
        Page.ADVICE,
    )
