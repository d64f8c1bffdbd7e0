"""The seeded sampler of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.search.study.history import History, history_of
from designer.search.study.records import TrialRecord
from designer.search.study.remembered import KnownTrials, remembered
from designer.search.study.trials import is_rejected

TIRED_AFTER = 5
"""After this many rejected proposals in a row, proposals are random."""


SHRINKING_AFTER = 50
"""After this many rejected proposals in a row, those that were too large teach to propose smaller
ones: within tight limits of size hardly anything is found at random."""

STARTUP_TRIALS = 10
"""Trials proposed at random before the sampler learns, and completed before any is pruned."""


class SeededSampler(BaseSampler):
    """TPE whose every proposal depends only on the seed, the number of trials and the history.

    A search that was stopped and continued proposes what it would have proposed uninterrupted.
    If TPE keeps proposing known specs, proposals are random until one is new, or, where many were
    too large, ever smaller. Of a long history TPE sees a part (see ``remembered``), so that a
    proposal does not take ever longer.

    Args:
        seed: seed of the study.
        stream: another stream gives other proposals from the same seed.
        history: the trials before the one that is sampled; by default those of the study that asks.
    """

    def __init__(self, seed: int, stream: int = 0, history: History | None = None) -> None:
        self._seed, self._stream, self._history = seed, stream, history
        self._inner: BaseSampler = RandomSampler(seed=seed)
        self._seen: Study | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the inner sampler for this trial; see ``BaseSampler``."""
        history = history_of(study) if self._history is None else self._history
        # Lost trials are not counted, so that the seed stays and they are proposed again.
        before = history.lasting - (self._history is None)  # without the one that is sampled
        source = [self._seed, before, *([self._stream] if self._stream else [])]
        seed = int(np.random.SeedSequence(source).generate_state(1)[0])
        rejected = history.rejected_in_a_row
        too_large = _too_large(history, rejected) if rejected >= SHRINKING_AFTER else []
        if too_large:
            self._inner = TPESampler(seed=seed, n_startup_trials=0)
            self._seen = _study_of(too_large, [StudyDirection.MINIMIZE])
            return
        if rejected >= TIRED_AFTER:
            self._inner = RandomSampler(seed=seed)
        else:
            self._inner = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        part = remembered(history)
        self._seen = study if part is history else _study_of(part, study.directions)
        self._inner.before_trial(self._seen, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(self._seen or study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(self._seen or study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._inner.sample_independent(
            self._seen or study, trial, param_name, param_distribution
        )

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


def _too_large(history: History, latest: int) -> list[FrozenTrial]:
    """Return those of the latest proposals that were built and rejected, with size as their goal.

    It is the product of parameters and FLOPs, since either of them may be limited.
    """
    built = []
    for trial in history[len(history) - latest :]:
        size = TrialRecord.read(trial).measurements
        if is_rejected(trial) and size.parameters and size.flops:
            built.append(
                create_trial(
                    value=float(size.parameters * size.flops),
                    params=trial.params,
                    distributions=trial.distributions,
                )
            )
    return built


def _study_of(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> Study:
    """Return a study in memory that has these trials."""
    return optuna.create_study(storage=KnownTrials(trials), directions=list(directions))
