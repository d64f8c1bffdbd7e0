"""Which form of the score ranks architectures best: what a short run shows, combined.

    python -m benchmarks.run score [--pools FOLDER] [--chosen-on POOL]

Every pool of the folder holds architectures that were trained briefly, looked into, and trained
for long (``criterion --pool-out`` writes it).  A form makes one number of what the short run of an
architecture shows; its merit is the Spearman correlation of that number with the test accuracy
after the long run, over all architectures and among the better half.  The form that is best on one
pool is chosen there, and judged on all others.

======  ========================================================================================
symbol  meaning, for one architecture after E epochs, each averaged over the seeds
======  ========================================================================================
H       held-out separation, as in the design score
U       adherence: how equal the steps of the blocks are
V       validation accuracy above chance c, (v - c) / (1 - c)
V3      the same, of the mean accuracy over the last three epochs
F       fit: 1 + mean training loss over the epochs / log c, at least -1
A       factor of the adherence, 1 - W (1 - U) / 2, with W as in the design score
======  ========================================================================================

A learned form is a ridge regression on the standardised H, U, V3 and F at an earlier checkpoint,
of the mean of H and V3 at this one, over the architectures of the pool themselves: what early
values said of later ones.  Its weights are applied to the values at this checkpoint.  It needs no
long run, so that a search could learn it from its own finished trials.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.stats import rankdata

from benchmarks.claim import Figures, Result
from benchmarks.claims.criterion import (
    averaged,
    better_half,
    short_accuracy,
    short_adherence,
    short_separation,
)
from benchmarks.command import Parser, wide_console
from benchmarks.pools.pool import STORED, Network, ShortRun, read_pool
from benchmarks.statistics import bootstrap, interval, mean_and_t_interval, rounded
from designer.errors import InvalidInputError
from designer.measures.ranks import spearman
from designer.measures.score import ADHERENCE_WEIGHT, above_chance
from designer.results.measured import FloatArray

REFERENCE, BEFORE, TODAY = "V", "H A", "(H + V3) A"
EPOCHS = (2, 5, 10, 20)
RIDGE = 1.0
"""Weight of the squared coefficients beside the sum of squared errors."""

POOLS = "pool_*.jsonl.gz"


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pool shows after some epochs, each (A,), and an earlier checkpoint."""

    h: FloatArray
    u: FloatArray
    v: FloatArray
    v3: FloatArray
    fit: FloatArray
    earlier: Seen | None = None

    @property
    def factor(self) -> FloatArray:
        """Factor of the adherence (A,)."""
        return 1 - ADHERENCE_WEIGHT * (1 - self.u) / 2

    @property
    def columns(self) -> FloatArray:
        """The values that a learned form combines, (A, 4), standardised."""
        return standardised(np.stack([self.h, self.u, self.v3, self.fit], axis=1))


def standardised(columns: FloatArray) -> FloatArray:
    """Return columns (A, ...) of mean 0 and standard deviation 1; a constant one becomes 0."""
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def ranks(values: FloatArray) -> FloatArray:
    """Return ranks (A,) of values (A,), scaled to 0..1."""
    return np.asarray((rankdata(values) - 1) / (len(values) - 1))


def learned(now: Seen) -> FloatArray:
    """Return the learned form (A,); without an earlier checkpoint the mean of H and V3."""
    goal = (now.h + now.v3) / 2
    if now.earlier is None:
        return goal
    x, y = now.earlier.columns, standardised(goal)
    penalty = RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    return np.asarray(now.columns @ weights, dtype=np.float64)


FORMS: dict[str, Callable[[Seen], FloatArray]] = {
    BEFORE: lambda s: s.h * s.factor,
    REFERENCE: lambda s: s.v,
    "V3": lambda s: s.v3,
    "F": lambda s: s.fit,
    "(H + V) A": lambda s: (s.h + s.v) * s.factor,
    TODAY: lambda s: (np.maximum(s.h, 0) + s.v3) * s.factor,
    "(H + 2 V3) A": lambda s: (s.h + 2 * s.v3) * s.factor,
    "(H + V3 + F) A": lambda s: (s.h + s.v3 + s.fit) * s.factor,
    "(H + V3 + F/2) A": lambda s: (s.h + s.v3 + s.fit / 2) * s.factor,
    "sqrt(H V3) A": lambda s: np.sqrt(np.maximum(s.h, 0) * np.maximum(s.v3, 0)) * s.factor,
    "ranks of (H + V3) A and F": lambda s: ranks((s.h + s.v3) * s.factor) + ranks(s.fit),
    "ranks of H A, V3 and F": lambda s: ranks(s.h * s.factor) + ranks(s.v3) + ranks(s.fit),
    "learned": learned,
}
"""Forms by their name: ``TODAY`` is the design score, ``BEFORE`` what it was, and ``REFERENCE``
what all are compared with."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--pools", type=Path, default=STORED, help=f"folder with {POOLS}")
    parser.add_argument("--chosen-on", default="cnn_fashion", help="the pool to choose on")


def run(options: argparse.Namespace) -> Result:
    """Compare all forms on all pools."""
    files = sorted(options.pools.glob(POOLS))
    pools = {file.name.removeprefix("pool_").partition(".")[0]: file for file in files}
    if options.chosen_on not in pools:
        raise InvalidInputError(
            f"Expected a pool '{options.chosen_on}' to choose on in '{options.pools}', got "
            f"{', '.join(pools) or 'none'}."
        )
    networks = {name: read_pool(file, chance=float("nan")) for name, file in pools.items()}
    figures = {name: compared(pool) for name, pool in networks.items()}
    chosen = best_form(figures[options.chosen_on])
    return Result(
        options,
        {
            "pools": figures,
            "chosen": chosen,
            "chosen_on": options.chosen_on,
            "over_pools": over_pools(figures, options.chosen_on),
        },
        seeds=sorted({net.seed for pool in networks.values() for net in pool}),
    )


def seen_at(networks: Sequence[Network], epochs: int, earlier: Seen | None = None) -> Seen:
    """Return what a pool shows after some epochs; a value that is missing counts as the worst."""

    def of(value: Callable[[Network, ShortRun], float]) -> FloatArray:
        values = averaged(networks, lambda net: value(net, net.short[epochs]))
        known = values[np.isfinite(values)]
        return np.where(np.isfinite(values), values, known.min() if len(known) else 0.0)

    return Seen(
        h=of(short_separation),
        u=of(short_adherence),
        v=of(lambda net, run: above_chance(run.validation_accuracy, net.chance)),
        v3=of(short_accuracy),
        fit=of(lambda net, run: fit_of(run, net.chance)),
        earlier=earlier,
    )


def fit_of(run: ShortRun, chance: float) -> float:
    """Return F: 1 where nothing was lost in any epoch, 0 where about as much as by guessing."""
    return max(-1.0, 1 + float(run.losses.mean()) / float(np.log(chance)))


def compared(networks: Sequence[Network]) -> dict[str, Figures]:
    """Return for each number of epochs the agreement of each form with the long run."""
    final = averaged(networks, lambda net: net.final_accuracy)
    shown = [e for e in EPOCHS if all(e in net.short for net in networks)]
    figures, earlier = {}, None
    for epochs in shown:
        now = seen_at(networks, epochs, earlier)
        forms = {name: form(now) for name, form in FORMS.items()}
        figures[str(epochs)] = {name: agreement(forms, name, final) for name in forms}
        earlier = now
    return figures


def agreement(forms: Mapping[str, FloatArray], name: str, final: FloatArray) -> Figures:
    """Return Spearman of a form with the final accuracy, and its lead over the reference."""
    half = better_half(final)
    figures: Figures = {}
    for which, rows in (("all", np.arange(len(final))), ("top_half", half)):
        draws = rows[bootstrap(len(rows))]
        value, reference = (spearman(forms[f][rows], final[rows]) for f in (name, REFERENCE))
        leads = spearman(forms[name][draws], final[draws]) - spearman(
            forms[REFERENCE][draws], final[draws]
        )
        figures[which] = rounded(value)
        figures[f"{which}_lead"] = rounded(value - reference)
        figures[f"{which}_lead_interval"] = interval(leads)
    return figures


def best_form(pool: Mapping[str, Figures]) -> str:
    """Return the form with the highest mean Spearman at 5 and 10 epochs, over all and the half."""
    forms = [name for name in FORMS if name not in (REFERENCE, "V3", "F")]
    return max(
        forms,
        key=lambda name: sum(
            pool[epochs][name][which] for epochs in ("5", "10") for which in ("all", "top_half")
        ),
    )


def over_pools(figures: Mapping[str, Mapping[str, Figures]], without: str) -> Figures:
    """Return means over all pools but one, by number of epochs and form."""
    others = {name: pool for name, pool in figures.items() if name != without}
    shown = [e for e in map(str, EPOCHS) if all(e in pool for pool in others.values())]
    return {
        epochs: {
            name: {
                key: mean_and_t_interval(
                    np.array([pool[epochs][name][key] for pool in others.values()])
                )
                for key in ("all", "top_half", "all_lead", "top_half_lead")
            }
            | {"worst_lead": min(pool[epochs][name]["all_lead"] for pool in others.values())}
            for name in FORMS
        }
        for epochs in shown
    }


def show(result: Result) -> None:
    """Print the means over the pools on which nothing was chosen."""
    figures = result.figures
    for epochs, forms in figures["over_pools"].items():
        table = Table("form", "all", "lead", "worst lead", "better half", "lead", box=None)
        table.title = f"After {epochs} epochs, mean over the pools but {figures['chosen_on']}"
        for name, row in forms.items():
            table.add_row(
                name,
                f"{row['all']['mean']:.3f}",
                _lead(row["all_lead"]),
                f"{row['worst_lead']:+.3f}",
                f"{row['top_half']['mean']:.3f}",
                _lead(row["top_half_lead"]),
            )
        wide_console().print(table, "")
    wide_console().print(f"Best on {figures['chosen_on']}: {figures['chosen']}")


def _lead(row: Figures) -> str:
    low, high = row["interval"]
    return f"{row['mean']:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")
