"""Separation fuzziness without p x p matrices, side by side with the textbook form.

    python -m benchmarks.bench_separation [--quick] [--json FILE]

The textbook form is that of the program published with He & Su (PNAS 2023): a loop over the
classes adds up the within- and between-class scatter (p, p), and the trace is taken of their
product with the pseudo-inverse.  Both take turns in one run.  A block of either is preceded by
a pause, since the waiting threads of one linear algebra library slow the other down, and by one
call that is not timed; its time is the median of its calls, and a ratio is the median over the
rounds.  For p = 65,536, where the textbook form would need 34 GB for each of its matrices, the
yardstick is reading the features twice.  All of it is measured with every thread that torch takes
and again with one, for on small matrices the threads of NumPy may cost it more than they give.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks.command import Parser, output_file, run_and_exit, say, wide_console
from benchmarks.memory import highest_mib
from benchmarks.result_files import meta_of, write_result
from designer import separation_fuzziness
from designer.results.measured import FloatArray
from designer.training.trainer import single_threaded

SAMPLES, CLASSES, SEED = 1000, 10, 0

ROUNDS = {100: 15, 1_000: 9, 3_000: 3}
"""By width, for the comparison with the textbook form."""
ROUNDS_READING = 31

TIMES_FASTER = {100: 10, 1_000: 50, 3_000: 200}
"""Width to the acceptance: at least so many times the speed of the textbook form."""

WIDE = 65_536
TIMES_READING = 4.0
"""Acceptance at that width: at most so many times the time of reading the features twice."""
PEAK_MIB = 1024.0
"""Acceptance at that width: less memory than this beyond the features."""

PAUSE = 0.3
"""Seconds after which the threads of either library have gone to sleep."""
BLOCK = 0.1
"""Seconds that a block lasts at least."""
CALLS = 21
"""Calls that a block of ours has at least; one call of the textbook form may take seconds."""

MIB = 1 << 20

Figures = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the result file where asked to."""
    parser = Parser("bench_separation", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--json", type=output_file, help="result file to write")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    threads = torch.get_num_threads()
    figures = measure(quick=given.quick)
    with single_threaded(), threadpool_limits(1):
        one_thread = measure(quick=given.quick)
    show(figures, f"{threads} threads")
    show(one_thread, "one thread")
    if given.json:
        seconds = time.perf_counter() - started
        meta = meta_of("bench_separation", arguments, seeds=[SEED], seconds=seconds)
        write_result(
            given.json, {**figures, "one_thread": one_thread}, {**meta, "threads": threads}
        )


def measure(*, quick: bool) -> Figures:
    """All figures, with as many threads as there are."""
    against = {str(p): against_textbook(p, 1 if quick else ROUNDS[p]) for p in TIMES_FASTER}
    return {
        "against_textbook": against,
        "wide": against_reading(WIDE, 5 if quick else ROUNDS_READING),
    }


def textbook(x: FloatArray, y: NDArray[np.int64]) -> float:
    """D of features x (n, p) with labels y (n,), through scatter matrices (p, p)."""
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
    """Features (n, p) float32 as after a ReLU, around one random mean per class."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.arange(SAMPLES) % CLASSES
    features = torch.empty(SAMPLES, p).normal_(generator=generator)
    means = torch.empty(CLASSES, p).normal_(generator=generator).mul_(0.5)
    for k in range(CLASSES):  # in place and class by class, so that nothing else is ever large
        features[k::CLASSES] += means[k]
    return features.relu_(), labels


def against_textbook(p: int, rounds: int) -> Figures:
    """Times, ratio and difference in value at width p."""
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
    """Median seconds of at least so many calls, after a pause and one that is not timed."""
    time.sleep(PAUSE)
    call()
    taken: list[float] = []
    while len(taken) < calls or sum(taken) < BLOCK:
        taken.append(_seconds(call))
    return statistics.median(taken)


def against_reading(p: int, rounds: int) -> Figures:
    """Time over that of reading the features twice, and memory, at width p."""
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
    """How much higher the memory of this process has ever been once D of them is known.

    Meant for a new process, whose highest use so far is having made the features.
    """
    features, labels = features_and_labels(p)
    before = highest_mib()
    separation_fuzziness(features, labels)
    return highest_mib() - before


def show(figures: Figures, threads: str) -> None:
    """Both comparisons, and what they mean."""
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
            f"at least {row['acceptance']}x: {_verdict(row['met'])}",
        )
    console.print(table)
    table = Table(f"p = {wide['p']:,}", "measured", "acceptance")
    table.add_row(
        "time over reading the features twice",
        f"{wide['ours_ms']:.0f} / {wide['reading_twice_ms']:.0f} ms = {wide['ratio']:.2f}x "
        f"({_range(wide)})",
        f"at most {wide['acceptance']:.0f}x: {_verdict(wide['met'])}",
    )
    table.add_row(
        "peak memory beyond the features",
        f"{wide['peak_mib_beyond_features']:.0f} MiB (features: {wide['features_mib']:.0f} MiB)",
        f"under {wide['peak_acceptance']:,.0f} MiB: {_verdict(wide['peak_met'])}",
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


def _verdict(met: bool) -> str:
    return "[green]met[/]" if met else "[bold red]MISSED[/]"


def _seconds(call: Callable[[], float]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _in_a_new_process(function: Callable[[int], float], argument: int) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, argument).result()


if __name__ == "__main__":
    run_and_exit(main)
