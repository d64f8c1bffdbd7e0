"""Separation fuzziness without p x p matrices, side by side with the textbook form.

    python -m benchmarks.run separation [--quick] [--json FILE]

The textbook form is that of the program published with He & Su (PNAS 2023): a loop over the
classes adds up the within- and between-class scatter (p, p), and the trace is taken of their
product with the pseudo-inverse.  Both take turns in one run, several calls at a time.  Before each
turn there is a pause, since the waiting threads of one linear algebra library slow the other down,
and one call that is not timed.  The time of a turn is the median of its calls, and a ratio is the
median over the rounds.  For p = 65,536, where the textbook form would need 34 GB for each of its
matrices, the time is compared with that of reading the features twice.  All of it is measured with
every thread that torch takes and again with one, because on small matrices the threads of NumPy may
cost more than they give.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, say, verdict, wide_console
from benchmarks.memory import highest_mib
from designer import separation_fuzziness
from designer.results.measured import FloatArray
from designer.training.trainer import single_threaded

SAMPLES, CLASSES, SEED = 1000, 10, 0

ROUNDS = {100: 15, 1_000: 9, 3_000: 3}
"""Rounds by width, for the comparison with the textbook form."""
ROUNDS_READING = 31

TIMES_FASTER = {100: 10, 1_000: 50, 3_000: 200}
"""Acceptance by width: the least speed over that of the textbook form."""

WIDE = 65_536
TIMES_READING = 4.0
"""Acceptance at that width: the longest time over that of reading the features twice."""
PEAK_MIB = 1024.0
"""Acceptance at that width: less memory than this beyond the features."""

PAUSE = 0.3
"""Seconds after which the threads of either library have gone to sleep."""
BLOCK = 0.1
"""Seconds that a block lasts at least."""
CALLS = 21
"""Least number of calls in a block of ours; one call of the textbook form may take seconds."""

MIB = 1 << 20


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--quick", action="store_true", help="few rounds")


def run(options: argparse.Namespace) -> Result:
    """Measure with every thread and again with one."""
    threads = torch.get_num_threads()
    figures = measure(quick=options.quick)
    with single_threaded(), threadpool_limits(1):
        one_thread = measure(quick=options.quick)
    figures = {**figures, "one_thread": one_thread}
    return Result(options, figures, seeds=[SEED], about={"threads": threads})


def show(result: Result) -> None:
    """Print both measurements."""
    show_with(result.figures, f"{result.about['threads']} threads")
    show_with(result.figures["one_thread"], "one thread")


def measure(*, quick: bool) -> Figures:
    """Return all figures, measured with as many threads as torch and NumPy take."""
    against = {str(p): against_textbook(p, 1 if quick else ROUNDS[p]) for p in TIMES_FASTER}
    return {
        "against_textbook": against,
        "wide": against_reading(WIDE, 5 if quick else ROUNDS_READING),
    }


def textbook(x: FloatArray, y: NDArray[np.int64]) -> float:
    """Return D of features x (n, p) with labels y (n,), through scatter matrices (p, p)."""
    n, p = x.shape
    mean = x.mean(axis=0)
    within, between = np.zeros((p, p)), np.zeros((p, p))
    for k in range(int(y.max()) + 1):
        members = x[y == k]
        class_mean = members.mean(axis=0)
        residuals = members - class_mean
        within += residuals.T @ residuals
        between += len(members) * np.outer(class_mean - mean, class_mean - mean)
    return float(np.trace((within / n) @ scipy.linalg.pinv(between / n)))


def features_and_labels(p: int) -> tuple[Tensor, Tensor]:
    """Return features (n, p) float32 as after a ReLU, one mean per class, and labels (n,)."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.arange(SAMPLES) % CLASSES
    features = torch.empty(SAMPLES, p).normal_(generator=generator)
    means = torch.empty(CLASSES, p).normal_(generator=generator).mul_(0.5)
    for k in range(CLASSES):  # in place and class by class, so that nothing else is ever large
        features[k::CLASSES] += means[k]
    return features.relu_(), labels


def against_textbook(p: int, rounds: int) -> Figures:
    """Compare time and value with those of the textbook form at width p."""
    say(f"p = {p:,}: {rounds} rounds of ours and the textbook form")
    features, labels = features_and_labels(p)
    x, y = features.double().numpy(), labels.numpy()

    def ours() -> float:
        return separation_fuzziness(features, labels).value

    pairs = [(block(ours, CALLS), block(lambda: textbook(x, y), 1)) for _ in range(rounds)]
    expected = textbook(x, y)
    bar = TIMES_FASTER[p]
    ratios = [theirs / mine for mine, theirs in pairs]
    return {
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs), 4),
        "textbook_ms": round(1e3 * statistics.median(theirs for _, theirs in pairs), 4),
        "ratio": round(statistics.median(ratios), 1),
        "ratio_range": [round(min(ratios), 1), round(max(ratios), 1)],
        "relative_difference": abs(ours() / expected - 1),
        "acceptance": bar,
        "met": statistics.median(ratios) >= bar,
    }


def block(call: Callable[[], float], calls: int) -> float:
    """Return the median seconds of at least ``calls`` calls, after a pause and a first call."""
    time.sleep(PAUSE)
    call()
    taken: list[float] = []
    while len(taken) < calls or sum(taken) < BLOCK:
        taken.append(_seconds(call))
    return statistics.median(taken)


def against_reading(p: int, rounds: int) -> Figures:
    """Compare the time with that of reading the features twice, and measure memory, at width p."""
    say(f"p = {p:,}: {rounds} rounds of ours and reading the features twice")
    features, labels = features_and_labels(p)

    def ours() -> float:
        return separation_fuzziness(features, labels).value

    def reading() -> float:
        return float(features.sum()) + float(features.sum())

    ours(), reading()
    pairs = [(_seconds(ours), _seconds(reading)) for _ in range(rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    ratio, peak = statistics.median(ratios), _in_a_new_process(peak_mib_beyond_features, p)
    return {
        "p": p,
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs), 2),
        "reading_twice_ms": round(1e3 * statistics.median(theirs for _, theirs in pairs), 2),
        "ratio": round(ratio, 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "acceptance": TIMES_READING,
        "met": ratio <= TIMES_READING,
        "features_mib": SAMPLES * p * 4 / MIB,
        "peak_mib_beyond_features": round(peak, 1),
        "peak_acceptance": PEAK_MIB,
        "peak_met": peak < PEAK_MIB,
    }


def peak_mib_beyond_features(p: int) -> float:
    """Return the peak of this process beyond the features, once D is computed.

    The process must be new: nothing before may have used more memory than making the features.
    """
    features, labels = features_and_labels(p)
    before = highest_mib()
    separation_fuzziness(features, labels)
    return highest_mib() - before


def show_with(figures: Figures, threads: str) -> None:
    """Print both comparisons and what they mean."""
    against, wide = figures["against_textbook"], figures["wide"]
    console = wide_console()
    table = Table("p", "ours", "textbook", "ratio", "relative difference", "acceptance")
    table.title = f"Separation fuzziness, n = {SAMPLES:,}, K = {CLASSES}, {threads}"
    for p, row in against.items():
        table.add_row(
            f"{int(p):,}",
            f"{row['ours_ms']:.3g} ms",
            f"{row['textbook_ms']:,.4g} ms",
            f"{row['ratio']:,.0f}x ({_range(row)})",
            f"{row['relative_difference']:.0e}",
            f"at least {row['acceptance']}x: {verdict(row['met'])}",
        )
    console.print(table)
    table = Table(f"p = {wide['p']:,}", "measured", "acceptance")
    table.add_row(
        "time over reading the features twice",
        f"{wide['ours_ms']:.0f} / {wide['reading_twice_ms']:.0f} ms = {wide['ratio']:.2f}x "
        f"({_range(wide)})",
        f"at most {wide['acceptance']:.0f}x: {verdict(wide['met'])}",
    )
    table.add_row(
        "peak memory beyond the features",
        f"{wide['peak_mib_beyond_features']:.0f} MiB (features: {wide['features_mib']:.0f} MiB)",
        f"under {wide['peak_acceptance']:,.0f} MiB: {verdict(wide['peak_met'])}",
    )
    console.print(table)
    ratios = [f"{row['ratio']:,.0f}" for row in against.values()]
    met = [*(row["met"] for row in against.values()), wide["met"], wide["peak_met"]]
    console.print(
        f"With {threads}, the value of the textbook form at {', '.join(ratios[:-1])} and "
        f"{ratios[-1]} times its speed, and p = {wide['p']:,} at {wide['ratio']:.1f} times the "
        f"time of reading the features twice: {sum(met)} of {len(met)} acceptances are met.\n",
        highlight=False,
    )


def _range(row: Figures) -> str:
    return "{:,.4g} to {:,.4g}".format(*row["ratio_range"])


def _seconds(call: Callable[[], float]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _in_a_new_process(function: Callable[[int], float], argument: int) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, argument).result()
