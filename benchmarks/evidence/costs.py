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
