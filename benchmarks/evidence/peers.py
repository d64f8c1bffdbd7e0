"""Evidence for which tool names a layer that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.claim import Figures
from benchmarks.claims.peer_tools import DESIGNER, TOOLS
from benchmarks.claims.peers import FREE
from benchmarks.evidence.markdown import table
from benchmarks.result_files import is_measured, read_result

FILE = "peers.json"

ALL = "all"


def peers() -> Iterator[str]:
    """Yield recall, right advice, false alarms and seconds of all tools."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    seeds = len(result["meta"]["seeds"])
    yield from (
        "",
        "**Which tool names the layer that does nothing?** Networks of four families with one "
        f"planted defect each ({seeds} seeds), shown to `designer analyze`, to the layer "
        "saturation of `delve` and to the receptive field analysis of `rfa_toolbox`, which need "
        "no labels, and the last one no data either (`python -m benchmarks.run peers`). How the "
        "output of each is read was fixed before; but that ours looks at dead units and tries "
        "narrower layers was decided after a first run on three of these seeds had shown that it "
        "missed both, with thresholds from other data. We flag a block that the report advises to "
        "change or that a finding names; `delve` one whose saturation is below half of the mean, "
        "in a tail up to the last block as its authors have it, or anywhere; `rfa_toolbox` one "
        'whose convolutions it predicts to be unproductive. Low saturation reads "remove" or '
        '"narrow", whichever is right.',
        "",
        "The defect is named, in brackets with the right advice:",
    )
    yield from _recall_tables(result["groups"])
    yield from (
        "",
        "False alarms: flagged blocks of healthy networks, and others than the planted one; in "
        "brackets those without which the network as it is loses more than "
        f"{100 * FREE:.0f} point of test accuracy. A tool is only asked where it applies.",
    )
    yield from table(("networks", *TOOLS, "seconds"), list(_alarm_rows(result)))
    yield from ("", *losses(result), "")


def _recall_tables(groups: Sequence[Figures]) -> Iterator[str]:
    """Yield how many defects each tool names, over all families and by family."""
    rows = {
        family: [
            [group["defect"], family, str(group["networks"]), *_each(group, _named)]
            for group in groups
            if group["family"] == family
        ]
        for family in dict.fromkeys(group["family"] for group in groups)
    }
    whole = rows.pop(ALL)
    yield from table(("defect", "networks", *TOOLS), [[row[0], *row[2:]] for row in whole])
    yield from ("", "The same by family:")
    by_family = [row for members in rows.values() for row in members]
    yield from table(("defect", "family", "networks", *TOOLS), by_family, text_columns=2)


def _alarm_rows(result: Figures) -> Iterator[list[str]]:
    for group in result["healthy"]:
        yield [f"healthy, {group['family']}", *_each(group, _alarms), _seconds(group)]
    for group in result["groups"]:
        if group["family"] == ALL:
            yield [group["defect"], *_each(group, _alarms), _seconds(group)]


def _each(group: Figures, cell: Callable[[Figures], str]) -> Iterator[str]:
    for tool in TOOLS:
        figures = group["tools"][tool]
        yield cell(figures) if figures["asked"] else "-"


def _named(figures: Figures) -> str:
    return f"{figures['named']} ({figures['right']})"


def _alarms(figures: Figures) -> str:
    return f"{figures['false_alarms']} ({figures['costly_alarms']}) of {figures['other_blocks']}"


def _seconds(group: Figures) -> str:
    seconds = [group["tools"][tool]["seconds"] for tool in TOOLS]
    return " / ".join("-" if value is None else f"{value:.1f}" for value in seconds)


def figures() -> tuple[str, str]:
    """Return how many planted defects each tool names, and what it says of healthy blocks."""
    result = read_result(FILE)
    whole = [group for group in result["groups"] if group["family"] == ALL]
    networks = sum(group["networks"] for group in whole)
    named = [f"{_short(tool)} {sum(g['tools'][tool]['named'] for g in whole)}" for tool in TOOLS]
    alarms = []
    for tool in TOOLS:
        healthy = _healthy(result)["tools"][tool]
        costly = healthy["costly_alarms"] / max(healthy["other_blocks"], 1)
        alarms.append(f"{_short(tool)} {_rate(healthy):.0%} / {costly:.0%}")
    return (
        f"defects of single layers or of the size that are named, of {networks}: "
        f"{', '.join(named)}",
        "share of the blocks of healthy networks that are called unneeded (least wanted) / and "
        f"cost accuracy when removed: {', '.join(alarms)}",
    )


def _short(tool: str) -> str:
    """Return the name of a tool without a comma."""
    name, _, where = tool.partition(", ")
    return f"{name} ({where})" if where else name


def losses(result: Figures) -> Iterator[str]:
    """Yield in which defects another tool names more, and which flags fewer healthy blocks."""
    ahead, quieter = _ahead(result), _quieter(result)
    yield (
        f"Another tool names more of a defect: {', '.join(ahead)}."
        if ahead
        else "No other tool names more of any defect."
    )
    yield (
        f"On healthy networks these flag less: {', '.join(quieter)}."
        if quieter
        else "On healthy networks no other tool flags less."
    )


def _ahead(result: Figures) -> list[str]:
    return [
        f"{tool} ({group['defect']}, {figures['named']} against {ours['named']})"
        for group in result["groups"]
        if group["family"] == ALL
        for ours in [group["tools"][DESIGNER]]
        for tool, figures in group["tools"].items()
        if figures["named"] > ours["named"]
    ]


def _quieter(result: Figures) -> list[str]:
    healthy = _healthy(result)
    ours = healthy["tools"][DESIGNER]
    return [
        f"{tool} ({_alarms(figures)} against {_alarms(ours)})"
        for tool, figures in healthy["tools"].items()
        if figures["asked"] and _rate(figures) < _rate(ours)
    ]


def _healthy(result: Figures) -> Figures:
    return next(group for group in result["healthy"] if group["family"] == ALL)


def _rate(figures: Figures) -> float:
    return float(figures["false_alarms"] / max(figures["other_blocks"], 1))


def names_most() -> bool:
    """Return True if no other tool names more of any defect."""
    return not _ahead(read_result(FILE))


def is_quietest() -> bool:
    """Return True if no other tool flags less of healthy networks."""
    return not _quieter(read_result(FILE))
