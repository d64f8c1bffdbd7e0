"""Evidence for what edits are worth that a search tries."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.edits import ADVISED, ARMS, RANDOM
from benchmarks.evidence.markdown import difference, reached, table
from benchmarks.result_files import is_measured, read_result

FILE = "edits.json"

GOOD_SHARE, RUNS_SHARE = 0.8, 0.67
"""Share of networks that kept edits must improve, and of the runs of random order that the advised
order may take."""

ORDERS = {ADVISED: "as the report advises", RANDOM: "random"}


def edits() -> Iterator[str]:
    """Yield what edits led to on test data, and how many runs each order took."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    whole = result["groups"]["all"]
    level = whole["runs_until_level"]["ratio"]
    runs = max(network["arms"][ADVISED]["runs"] for network in result["networks"])
    share = better_share(whole)
    yield from (
        "",
        f"**Do edits pay?** {whole['networks']} networks that short searches recommended were "
        f"edited as `designer search` does it, with up to {runs} training runs each, chosen on "
        f"validation data. On test data and with fresh seeds the network at the end was better "
        f"than the one at the start (smaller and at most half a point less accurate, or more "
        f"accurate by the whole interval) in {share:.0%} of those that changed (wanted: "
        f"{GOOD_SHARE:.0%}; {reached(share >= GOOD_SHARE)}). To become as small as the end of the "
        f"arm that came less far, the advised order took {level:.0%} of the runs of random order "
        f"(wanted: at most two thirds; {reached(level <= RUNS_SHARE)}) "
        f"(`python -m benchmarks.run edits`).",
    )
    columns = (
        "data",
        "order",
        "networks that changed",
        "better on test data",
        "size at the end",
        "points of test accuracy",
        "runs until level",
    )
    rows = [_row(name, arm, group) for name, group in result["groups"].items() for arm in ARMS]
    yield from table(columns, rows, text_columns=2)
    yield ""


def _row(name: str, arm: str, group: Figures) -> list[str]:
    own = group["arms"][arm]
    change = own["test_change"]
    return [
        name,
        ORDERS[arm],
        f"{own['changed']} of {group['networks']}",
        str(own["better"]),
        f"{own['size']:.0%}",
        "-" if change is None else difference(change, 100),
        f"{group['runs_until_level'][arm]:.1f}",
    ]


def better_share(group: Figures) -> float:
    """Return the share of the networks that the advised order changed for the better."""
    advised = group["arms"][ADVISED]
    return float(advised["better"] / max(advised["changed"], 1))
