"""What to try next, drawn up apart from the storage, which then takes it in one write."""

from __future__ import annotations

import zlib
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from designer.errors import SpaceError, TrialFailed
from designer.search.candidates import size_of, spec_values
from designer.search.job import Job
from designer.search.settings import StudySettings
from designer.search.study.claims import Rejected, check_new
from designer.search.study.sampler import SeededSampler
from designer.search.study.trials import REASON, RECORD, REJECTED, SPEC, WORKER, Trials, running
from search_spaces import Spec


def propose(job: Job, trials: Trials, worker: str) -> FrozenTrial:
    """A trial for the storage to take: to be run, or ended already, where it says why.

    Args:
        job: whose space is asked, within its limits.
        trials: all that the study has.
        worker: who will run it.

    Raises:
        SpaceError: where the space breaks its contract.
    """
    draft = drafted(job.settings, trials, worker)
    state = TrialState.RUNNING
    said: dict[str, Any] = {WORKER: worker}
    try:
        spec = job.space.suggest(draft)
        _check_ranges(draft, trials)
        said[SPEC] = spec_values(spec)
        check_new(trials, said[SPEC])
        said |= described(job, spec)
        _check_limits(job.settings, said[RECORD])
    except SpaceError:
        raise
    except (Rejected, optuna.TrialPruned) as reason:
        state, said[REJECTED] = TrialState.FAIL, str(reason) or "its space turned it down"
    except Exception as error:  # noqa: BLE001 - one bad architecture must not end the run
        state, said[REASON] = TrialState.FAIL, reason_of(error)
    return create_trial(
        state=state,
        params=draft.params,
        distributions=draft.distributions,
        user_attrs={**draft.user_attrs, **said},
    )


def drafted(settings: StudySettings, trials: Trials, worker: str) -> Trial:
    """A trial that asks the sampler, knows all others, and is in no study of theirs.

    Where other workers are under way each draws from a stream of its own, so that two that
    look at the same moment do not propose the same.
    """
    others = any(trial.user_attrs.get(WORKER) != worker for trial in running(trials))
    stream = zlib.crc32(worker.encode()) if others else 0
    drafts = _Drafts(trials)
    study = optuna.create_study(
        storage=drafts,
        directions=settings.objective.directions,
        sampler=SeededSampler(settings.seed, stream),
    )
    return Trial(study, drafts.create_new_trial(study._study_id))  # ask() takes one that waits


def reason_of(error: Exception) -> str:
    """Why a trial failed; errors that are not ours with their kind."""
    named = "" if isinstance(error, TrialFailed) else f"{type(error).__name__}: "
    return f"{named}{error}"


def described(job: Job, spec: Spec) -> dict[str, Any]:
    """What a trial says of itself before it is trained: its spec, and its size.

    Raises:
        SpaceError: where the space builds something that does not map inputs to logits.
    """
    size = size_of(job.space, spec, job.data.input_shape, job.data.num_classes)
    sizes = {"parameters": size.parameters, "flops": size.flops}
    return {SPEC: spec_values(spec), RECORD: sizes}


def _check_ranges(draft: Trial, trials: Trials) -> None:
    """Raise ``ValueError`` where a parameter is of another kind than it was before."""
    for name, distribution in draft.distributions.items():
        before = (t.distributions[name] for t in reversed(trials) if name in t.distributions)
        check_distribution_compatibility(next(before, distribution), distribution)


def _check_limits(settings: StudySettings, sizes: Mapping[str, int]) -> None:
    limits = (
        (settings.max_params, sizes["parameters"], "parameters"),
        (settings.max_flops, sizes["flops"], "FLOPs"),
    )
    for limit, value, name in limits:
        if limit is not None and value > limit:
            raise Rejected(f"{value:,} {name}, over the limit of {limit:,}")


class _Drafts(InMemoryStorage):
    """Knows the trials of another storage, and keeps its own to itself."""

    def __init__(self, known: Trials) -> None:
        super().__init__()
        self._known = known

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """See ``BaseStorage``; what is known is never changed and so never copied."""
        known = [t for t in self._known if states is None or t.state in states]
        return [*known, *super().get_all_trials(study_id, deepcopy, states)]
