"""Evidence for GPUs: the same figures as on a processor, and how fast they are there."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table
from benchmarks.evidence.scaling import TRIALS_PER_HOUR
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


def is_same() -> bool:
    """Return if figures are as near to those of a processor as wanted."""
    return worst_parity() <= float(read_result(FILE)["parts"]["parity"]["acceptance"])


def rates_figure() -> str:
    """Return how many times the trials per hour of a loop by hand a search does."""
    rows = search_part()["rows"]
    return ", ".join(
        f"{row['times_by_hand']['search']:.1f} times ({name})" for name, row in rows.items()
    )


def is_fast() -> bool:
    """Return if the rate of trials is as wanted in every space."""
    rows = search_part()["rows"].values()
    return all(row["times_by_hand"]["search"] >= TRIALS_PER_HOUR for row in rows)


def analysis_figure() -> str:
    """Return the time of an analysis over that of two forward passes, by network."""
    part = read_result(FILE)["parts"]["analysis"]
    ratios = ", ".join(
        f"{name.replace(',', ' in')} {row['ratio']:.1f}" for name, row in part["rows"].items()
    )
    return f"{ratios} (at most {part['acceptance']} wanted)"


def analysis_is_cheap() -> bool:
    """Return if the time of an analysis is as wanted for every network."""
    part = read_result(FILE)["parts"]["analysis"]
    return all(row["ratio"] <= part["acceptance"] for row in part["rows"].values())
