"""Evidence for what D and looking inside cost."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.evidence.markdown import table
from benchmarks.result_files import read_result

WIDTHS = ("100", "1000", "3000")


def separation() -> Iterator[str]:
    """Yield how much faster D is than the textbook form."""
    result = read_result("separation.json")
    yield (
        "**What does D cost?** Times faster than the textbook form (NumPy and SciPy, p x p "
        "matrices) on 1,000 samples of 10 classes, and the time at p = 65,536 over that of reading "
        "the features twice (`python -m benchmarks.run separation`):"
    )
    threads = f"{result['meta']['threads']} threads"
    yield from table(
        ("", "p = 100", "1,000", "3,000", "65,536, over reading"),
        (
            [label, *(f"{ratio}x" for ratio in ratios(row)), f"{row['wide']['ratio']:.1f}x"]
            for label, row in ((threads, result), ("one thread", result["one_thread"]))
        ),
    )
    yield from (
        "",
        "On matrices as small as p = 100 much of the lead with several threads is what threads "
        "cost SciPy there; with one thread it is what the last row says.",
    )


def ratios(row: Figures) -> list[str]:
    """Return the speed over that of the textbook form at each width."""
    return [f"{row['against_textbook'][width]['ratio']:,.0f}" for width in WIDTHS]


def separation_figure() -> str:
    """Return how much faster D is than the textbook form, by number of features."""
    result = read_result("separation.json")
    wanted = " / ".join(str(row["acceptance"]) for row in result["against_textbook"].values())
    widths = " / ".join(f"{int(width):,}" for width in WIDTHS)
    return (
        f"D: {' / '.join(ratios(result))} times as fast as the textbook formula at {widths} "
        f"features ({wanted} wanted)"
    )


def separation_is_fast() -> bool:
    """Return if D is as much faster than the textbook form as wanted, and lean where it is wide."""
    result = read_result("separation.json")
    wide = result["wide"]
    narrow = [row["met"] for row in result["against_textbook"].values()]
    return all((*narrow, wide["met"], wide["peak_met"]))


def analysis() -> Iterator[str]:
    """Yield what an analysis costs in time and memory."""
    result = read_result("analysis.json")
    times = [f"{row['ratio']:.2f} with {k} classes" for k, row in result["time"].items()]
    memory = result["memory"]
    yield from (
        "",
        "**What does looking inside cost?** The time of `designer.analyze` for a ResNet-18 on "
        "32x32 images, with nulls and intervals, over that of two plain forward passes over the "
        f"same images: {', '.join(times)}. With {memory['classes']:,} classes and "
        f"{memory['images']:,} images a residual network of {memory['blocks']} blocks needs "
        f"{memory['peak_mib'] / 1024:.2f} GiB beyond the model and the images "
        "(`python -m benchmarks.run analysis`).",
    )


def looks() -> Iterator[str]:
    """Yield what a look between two epochs costs."""
    result = read_result("looks.json")
    rows = [(name, result[name]) for name in ("mlp", "cnn")]
    yield from (
        "",
        "**What does a look between two epochs cost?** A search compares its trials after every "
        "epoch by the held-out nearest-class-mean accuracy alone, on a few samples. Its processor "
        "time over that of the epoch before it, median over networks drawn at random from the "
        "space; the first look also finds the blocks, and a whole profile with one permutation is "
        "what a look was before (`python -m benchmarks.run looks`):",
    )
    columns = ("space", "images", "samples", "epoch", "look", "first look", "whole profile", "aim")
    yield from table(
        columns,
        (
            [
                f"`{name}`",
                f"{row['train']:,}",
                f"{row['looked_at'][0]} + {row['looked_at'][1]}",
                f"{row['epoch_ms']:,.0f} ms",
                f"{row['look']:.1%}",
                f"{row['first']:.0%}",
                f"{row['profile']:.0%}",
                f"at most {row['acceptance']:.0%}: {'met' if row['met'] else 'missed'}",
            ]
            for name, row in rows
        ),
    )
    yield from (
        "",
        "Samples are those that class means are made from, and those that are classified. In an "
        "epoch of a few milliseconds most of a look is what it takes to start, not the samples.",
    )
