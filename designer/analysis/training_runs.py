"""What the record of the runs that trained a network tells of their rate and their length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from designer.results.diagnosis import Finding, FindingKind

STALLED = 0.8
"""The rate was too low if the loss at the end is at least this share of the loss after the first
third of the epochs.  Chosen to name networks that a higher rate makes more accurate by 2 points."""

STILL_FALLING = 2 / 3
"""The rate was too low only if, in the second half of the first third of the epochs, the loss falls
at least this much per epoch, compared with all of the third. Where labels are noisy, it comes to
rest far above 0 at any rate."""

LOSS_LEFT = 0.1
"""The loss is far from its end if more than this share of that of the first epoch is left: a
network that fits its data in the first third of the epochs stalls, too."""

MIN_EPOCHS = 9
"""With fewer epochs a third of them is too short to see a loss fall."""

SEED_SPREAD = 0.05
"""Seeds differ strongly if their held-out accuracies lie further apart than this."""

SPREAD_ERRORS = 4
"""Binomial standard errors that the seeds must lie apart besides, as few samples differ by
chance."""

RATE_FACTOR = 3
"""Factor by which a rate that was too low, or a training that was too short, is to be raised."""

DIVERGED = "The training loss became"
"""How the reason begins for which a run failed whose loss is not finite any more."""


@dataclass(frozen=True)
class TrainingRuns:
    """The runs that trained a network, one per seed, where there is a record of them."""

    losses: tuple[tuple[float, ...], ...] = ()
    """Mean training loss of every epoch, in nats, one entry per run; the rate goes down after the
    first third of the epochs."""
    accuracies: tuple[float, ...] = ()
    """Held-out accuracy of every run, 0..1."""
    failures: tuple[str, ...] = ()
    """Why further runs of the same network failed."""


SLOWER = "Train with a third of the learning rate."
"""What to do where the rate was too high."""


def trained_too_short(runs: TrainingRuns) -> Finding | None:
    """Return that the training was too short for the loss to come far."""
    losses = _mean_losses(runs)
    epochs = len(losses)
    if not 0 < epochs < MIN_EPOCHS:
        return None
    first, last = losses[0], losses[-1]
    if not last > LOSS_LEFT * first:
        return None
    return Finding(
        FindingKind.NOT_SOUND,
        f"It was trained for {epochs} {'epoch' if epochs == 1 else 'epochs'}, and the training "
        f"loss is still {100 * last / first:.0f} % of that of the first.",
        f"Train {RATE_FACTOR} times as long.",
    )


def rate_diverged(runs: TrainingRuns) -> Finding | None:
    """Return that the rate was too high for some of the runs."""
    diverged = sum(reason.startswith(DIVERGED) for reason in runs.failures)
    if not diverged:
        return None
    count = len(runs.accuracies) + len(runs.failures)
    return Finding(FindingKind.RATE_TOO_HIGH, f"Of {count} runs {diverged} diverged.", SLOWER)


def rate_too_low(runs: TrainingRuns) -> Finding | None:
    """Return that the rate was too low: its decay ended a training that had not come far.

    At a sufficient rate the loss falls steeply once the rate goes down, or has come to rest before.
    """
    losses = _mean_losses(runs)
    if len(losses) < MIN_EPOCHS:
        return None
    decay = len(losses) // 3 - 1
    first, third, last = losses[0], losses[decay], losses[-1]
    stalled = last >= STALLED * third and last > LOSS_LEFT * first
    if not (stalled and _pace(losses[: decay + 1]) >= STILL_FALLING):
        return None
    return Finding(
        FindingKind.RATE_TOO_LOW,
        "After the first third of the epochs, when the rate goes down, the training loss, which "
        f"was still falling, only falls from {third:.2f} to {last:.2f} nats, to "
        f"{100 * last / third:.0f} %; from {100 * STALLED:.0f} % on the training is not at its "
        "end.",
        f"Train with {RATE_FACTOR} times the learning rate.",
    )


def _mean_losses(runs: TrainingRuns) -> list[float]:
    """Return the mean loss over runs of every epoch that all of them have."""
    return [fmean(losses) for losses in zip(*runs.losses, strict=False)]


def _pace(losses: Sequence[float]) -> float:
    """Return the fall per epoch in the second half of losses over that in all of them.

    It is 1 where losses fall evenly, 0 where they have come to rest, and where they do not fall.
    """
    last = len(losses) - 1
    half = last // 2
    fall = losses[0] - losses[last]
    if fall <= 0:
        return 0.0
    return (losses[half] - losses[last]) / (last - half) / (fall / last)


def seeds_differ(runs: TrainingRuns, samples: int) -> Finding | None:
    """Return that seeds ended far apart, for which a rate that is too high is the likely reason.

    Args:
        runs: the runs that trained the network.
        samples: held-out samples; 0 if that is not known.
    """
    if len(runs.accuracies) < 2:
        return None
    mean = fmean(runs.accuracies)
    spread = max(runs.accuracies) - min(runs.accuracies)
    error = math.sqrt(mean * (1 - mean) / samples) if samples else math.inf
    bound = max(SEED_SPREAD, SPREAD_ERRORS * error)
    if not spread > bound:
        return None
    return Finding(
        FindingKind.RATE_TOO_HIGH,
        f"The held-out accuracies of {len(runs.accuracies)} seeds lie {100 * spread:.1f} points "
        f"apart, which is more than {100 * bound:.1f}.",
        SLOWER,
    )
