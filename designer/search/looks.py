"""Look at a candidate between epochs, and stop its trial if it falls behind.

After every epoch but the last a trial is compared with the complete trials: it is pruned if its
best look so far is below the median of theirs after the same number of epochs (Golovin et al.,
"Google Vizier", KDD 2017).  This is the rule of Optuna's ``MedianPruner``, which would write every
look to the storage and read it back.  In a run folder that can take as long as an epoch of a small
network, so the looks of a trial are kept with what else it measured, in one write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import optuna
from optuna.study import Study
from optuna.trial import Trial
from torch import nn

from designer.analysis.look import Look
from designer.analysis.profile import profile
from designer.choices import Objective
from designer.measures.score import above_chance, combine, design_score, heldout_separation
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.study.history import history_of
from designer.search.study.keys import RECORD
from designer.search.study.looks_table import LooksTable
from designer.search.study.records import TrialRecord
from designer.search.study.sampler import STARTUP_TRIALS
from designer.training.trainer import accuracy

LOOKED_AT = {
    Objective.DESIGN: "held-out separation and accuracy",
    Objective.ACCURACY: "validation accuracy",
    Objective.LAW: "adherence",
}
"""What a look measures for each objective that prunes."""


class Looks:
    """Looks at one candidate while it trains.

    Args:
        job: data and options.
        study: study of the search.
        trial: the trial that trains the candidate.

    Attributes:
        scores: what was seen so far, one number for each of ``looking_epochs``.
    """

    def __init__(self, job: Job, study: Study, trial: Trial) -> None:
        self._job, self._study, self._trial = job, study, trial
        self._epochs = looking_epochs(job.options)
        self._score: Callable[[], float] | None = None
        self.scores: tuple[float, ...] = ()

    def after(self, epoch: int, model: nn.Module) -> None:
        """Look at the model if it is time to.

        Args:
            epoch: epochs trained so far.
            model: the same model each time.

        Raises:
            TrialPruned: if it falls behind; its score and its epochs are then stored.
        """
        if epoch not in self._epochs:
            return
        if self._score is None:
            self._score = intermediate_score(self._job, model)
        score = self._score()
        self.scores = (*self.scores, score)
        if falls_behind(self.scores, history_of(self._study).looks, self._fewest_complete()):
            self._trial.report(score, epoch)  # the sampler ranks pruned trials by it
            size = TrialRecord.read(self._trial).measurements
            record = replace(size, epochs=epoch, looks=self.scores)
            self._trial.set_user_attr(RECORD, record.stored())
            raise optuna.TrialPruned(
                f"After {epoch} {'epoch' if epoch == 1 else 'epochs'} its "
                f"{LOOKED_AT[self._job.options.objective]} of {score:.3f} was below the median."
            )

    def _fewest_complete(self) -> int:
        """Return how many trials complete before any is pruned: enough to confirm from."""
        return max(STARTUP_TRIALS, self._job.options.confirm)


def looking_epochs(options: SearchOptions) -> frozenset[int]:
    """Return the epochs after which a trial is compared; empty without pruning.

    They are all but the last.  The adherence needs a whole profile, which takes longer than an
    epoch of a small network, so with the objective ``law`` it is half of the epochs alone.
    """
    if not options.prune or options.objective is Objective.PARETO:
        return frozenset()
    if options.objective is Objective.LAW:
        return frozenset({options.epochs // 2} - {0, options.epochs})
    return frozenset(range(1, options.epochs))


def falls_behind(scores: Sequence[float], others: LooksTable, fewest: int) -> bool:
    """Return True if the best of the scores is below the median of the others' latest.

    Args:
        scores: the looks at a candidate so far, at least one.
        others: the looks at all complete candidates.
        fewest: number of complete candidates from which on candidates are compared.
    """
    if others.trials < fewest:
        return False
    median = others.median(len(scores))
    return median is not None and max(scores) < median


def intermediate_score(job: Job, model: nn.Module) -> Callable[[], float]:
    """Return a function that gives the value to compare of a model as it is now.

    With the objective ``design`` that is the mean of H and V, the design score without adherence,
    and with V after this epoch alone.  The adherence would
    need D and its null, so a second pass and a decomposition for each, at many times the cost of a
    look; it can change the score by 5 % at the most, and early in training, when the first layers
    lead everywhere, it says little.

    Args:
        job: a single objective, and the data.
        model: the model in training.

    Returns:
        A function for that mean, validation accuracy or adherence; 0 where it does not exist.
    """
    measure = {
        Objective.DESIGN: _separation_and_accuracy,
        Objective.ACCURACY: _validation_accuracy,
        Objective.LAW: _adherence,
    }[job.options.objective](job, model)

    def score() -> float:
        value = measure()
        return value if math.isfinite(value) else 0.0

    return score


def _separation_and_accuracy(job: Job, model: nn.Module) -> Callable[[], float]:
    samples = job.look_samples
    look, chance = Look(model, samples), samples.heldout.chance

    def measure() -> float:
        accuracies = look.heldout_accuracies()
        h = heldout_separation(accuracies.blocks, chance)
        return combine(h, above_chance(accuracies.network, chance), adherence=1.0)

    return measure


def _validation_accuracy(job: Job, model: nn.Module) -> Callable[[], float]:
    return lambda: accuracy(model, job.data.validation)


def _adherence(job: Job, model: nn.Module) -> Callable[[], float]:
    train, validation = job.data.train, job.data.validation
    return lambda: (
        design_score(profile(model, train, validation, permutations=1, resamples=0)).adherence
    )
