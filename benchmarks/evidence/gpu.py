"""Evidence for GPUs: the same figures as on a processor, and how fast they are there."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table
from benchmarks.evidence.scaling import TRIALS_PER_HOUR
from benchmarks.evidence.statement import Page, Statement, holds
from benchmarks.result_files import is_measured, read_result

FILE, SEARCH_FILE = "gpu.json", "gpu_search.json"
"""All parts, and the part of the search alone, measured after its networks got CUDA graphs."""

QUANTITIES = {
    "d": "D",
    "d_heldout": "D, held-out",
    "separation": "contribution, separation",
    "cross_entropy": "contribution, cross-entropy",
    "accuracy": "contribution, accuracy",
    "analysis": "all numbers of a report",
}
"""What is compared with the processor, by its name in the result file."""

WAYS = {
    "by_hand": "Optuna loop",
    "search": "designer search",
    "alone": "its trainer, step by step",
    "graphs": "its trainer, CUDA graphs",
    "stacked": "its trainer, 16 seeds in one step",
}
"""How trials are trained, by its name in the result file."""


def gpu_statement() -> Iterator[Statement]:
    """Yield what a GPU changes."""
    if is_measured(FILE):
        same, fast, cheap = verdicts()
        yield Statement(
            "On a GPU results match the CPU's, a search does 1.5 times the trials of an Optuna "
            "loop, and `analyze` costs 1.3 times two forward passes",
            figure(),
            f"{holds(same)}; {holds(fast)}; {holds(cheap)}",
            "gpu",
            Page.COSTS,
        )


def gpu() -> Iterator[str]:
    """Yield the tables of all parts."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    card, parts = result["card"], result["parts"]
    yield (
        f"\n**What a GPU changes** ({card['name']}, torch {card['torch']}; `python -m "
        "benchmarks.run gpu`). Largest relative difference from the processor; effects of blocks "
        "relative to the largest effect, numbers of a report below 0.01 to 0.01. At most "
        f"{parts['parity']['acceptance']:g} is wanted in float32."
    )
    yield from table(
        ("network", "precision", *QUANTITIES.values()),
        [
            [name, precision, *(f"{row[key]:.1e}" for key in QUANTITIES)]
            for name, rows in parts["parity"]["rows"].items()
            for precision, row in rows.items()
            if isinstance(row, dict)
        ],
        text_columns=2,
    )
    yield from _analysis(parts["analysis"])
    yield from _separation(parts["separation"])
    yield from _search()
    yield ""


def _analysis(part: Figures) -> Iterator[str]:
    yield (
        f"\nSeconds of `analyze` over {part['images']:,} images of {part['pixels']} pixels on "
        f"the card, beside two plain forward passes; at most {part['acceptance']} times is "
        "wanted."
    )
    yield from table(
        ("network", "blocks", "analyze", "two passes", "ratio", "GiB on the card at most"),
        [
            [
                name,
                str(row["blocks"]),
                f"{row['seconds']:.2f}",
                f"{row['plain_seconds']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['peak_gib']:.1f}",
            ]
            for name, row in part["rows"].items()
        ],
        text_columns=1,
    )


def _separation(part: Figures) -> Iterator[str]:
    yield "\nMilliseconds of D beside reading the features twice."
    yield from table(
        ("features", "samples", "D", "reading twice", "ratio"),
        [
            [
                f"{int(width):,}",
                f"{row['samples']:,}",
                f"{1000 * row['seconds']:.1f}",
                f"{1000 * row['plain_seconds']:.1f}",
                f"{row['ratio']:.0f}",
            ]
            for width, row in part["rows"].items()
        ],
        text_columns=0,
    )


def _search() -> Iterator[str]:
    """Yield the trials per hour of all ways."""
    part = search_part()
    yield (
        f"\nTrials per hour, {part['epochs']} epochs each, everything measured in a search "
        "(`python -m benchmarks.run gpu --part search`)."
    )
    yield from table(
        ("space", *WAYS.values(), "search over loop"),
        [
            [
                name,
                *(f"{row['per_hour'][way]:,}" for way in WAYS),
                f"{row['times_by_hand']['search']:.1f}",
            ]
            for name, row in part["rows"].items()
        ],
        text_columns=1,
    )


def search_part() -> Figures:
    """Return the figures of the search as it is."""
    part: Figures = read_result(SEARCH_FILE)["parts"]["search"]
    return part


def worst_parity() -> float:
    """Return the largest relative difference from the processor in float32."""
    rows = read_result(FILE)["parts"]["parity"]["rows"]
    return max(float(row["float32"]["worst"]) for row in rows.values())


def figure() -> str:
    """Return the figures that decide, in words."""
    analysis = read_result(FILE)["parts"]["analysis"]["rows"]
    times = {name: row["times_by_hand"]["search"] for name, row in search_part()["rows"].items()}
    return (
        f"largest relative difference {worst_parity():.0e} in float32; times the trials per hour: "
        f"{', '.join(f'{name} {ratio:.1f}' for name, ratio in times.items())}; times two forward "
        "passes: " + ", ".join(f"{name} {row['ratio']:.1f}" for name, row in analysis.items())
    )


def verdicts() -> tuple[bool, bool, bool]:
    """Return if parity, the rate of trials and the time of an analysis are as wanted."""
    parts = read_result(FILE)["parts"]
    rates = [row["times_by_hand"]["search"] for row in search_part()["rows"].values()]
    ratios = [row["ratio"] for row in parts["analysis"]["rows"].values()]
    return (
        worst_parity() <= parts["parity"]["acceptance"],
        min(rates) >= TRIALS_PER_HOUR,
        max(ratios) <= parts["analysis"]["acceptance"],
    )
