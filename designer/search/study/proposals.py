"""Draw up the next trial outside the storage, which then takes it in one write.

Optuna writes every parameter of a trial as soon as a space asks for it. With many workers on one
database those writes are what everybody waits for. So a draft in memory asks the sampler, which
sees all trials of the study, and only the finished proposal is stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from designer.errors import SpaceError, TrialFailed
from designer.search.candidates import size_of, spec_values
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.study.claims import Rejected, check_new
from designer.search.study.history import History
from designer.search.study.keys import WORKER
from designer.search.study.records import Measurements, TrialRecord
from designer.search.study.remembered import KnownTrials
from designer.search.study.sampler import SeededSampler
from search_spaces import Spec


def propose(job: Job, history: History, worker: str) -> FrozenTrial:
    """Return a trial to store: one to run, or one that has already ended, with the reason.

    Args:
        job: gives the space and the limits of size.
        history: all trials of the study.
        worker: name of the process that will run it.

    Raises:
        SpaceError: if the space breaks its contract.
    """
    draft = draft_trial(job.options, history, worker)
    state = TrialState.RUNNING
    record = TrialRecord(worker=worker)
    try:
        spec = job.space.suggest(draft)
        _check_ranges(draft, history)
        # The size is measured last: building a network takes longer than comparing specs.
        record = replace(record, spec=spec_values(spec))
        check_new(history, record.spec)
        record = replace(record, record=measure_size(job, spec))
        check_limits(job.options, record.measurements)
    except SpaceError:
        raise
    except (Rejected, optuna.TrialPruned) as reason:
        why = str(reason) or "its space turned it down"
        state, record = TrialState.FAIL, replace(record, rejected=why)
    except Exception as error:  # noqa: BLE001 - one bad architecture must not end the run
        state, record = TrialState.FAIL, replace(record, reason=reason_of(error))
    return create_trial(
        state=state,
        params=draft.params,
        distributions=draft.distributions,
        user_attrs={**draft.user_attrs, **record.attributes()},
    )


def draft_trial(options: SearchOptions, history: History, worker: str) -> Trial:
    """Return a trial in memory whose sampler knows all trials of the study.

    While other workers are under way each worker draws from a stream of its own, so that two that
    read the study at the same moment do not propose the same. A worker that is alone draws from a
    stream that does not depend on its name, so the result depends on seed and history only.
    """
    others = any(trial.user_attrs.get(WORKER) != worker for trial in history.running)
    stream = zlib.crc32(worker.encode()) if others else 0
    drafts = KnownTrials(history)
    study = optuna.create_study(
        storage=drafts,
        directions=options.objective.directions,
        sampler=SeededSampler(options.seed, stream, history),
    )
    # ``Study.ask`` would take a trial that waits in the real study instead of making one.
    study_id = drafts.get_study_id_from_name(study.study_name)
    return Trial(study, drafts.create_new_trial(study_id))


def reason_of(error: Exception) -> str:
    """Return why a trial failed; errors of others begin with the name of their class."""
    kind = "" if isinstance(error, TrialFailed) else f"{type(error).__name__}: "
    return f"{kind}{error}"


def measure_size(job: Job, spec: Spec) -> Measurements:
    """Return what is known of a candidate before it is trained: its parameters and FLOPs.

    Raises:
        SpaceError: if the space builds something that does not map inputs to logits.
    """
    size = size_of(job.space, spec, job.data.input_shape, job.data.num_classes)
    return Measurements(parameters=size.parameters, flops=size.flops)


def _check_ranges(draft: Trial, trials: Sequence[FrozenTrial]) -> None:
    """Raise ``ValueError`` if a parameter is of another kind than it was before."""
    for name, distribution in draft.distributions.items():
        before = (t.distributions[name] for t in reversed(trials) if name in t.distributions)
        check_distribution_compatibility(next(before, distribution), distribution)


def check_limits(options: SearchOptions, size: Measurements) -> None:
    """Raise ``Rejected`` if a candidate is larger than the options allow."""
    limits = (
        (options.max_params, size.parameters, "parameters"),
        (options.max_flops, size.flops, "FLOPs"),
    )
    for limit, value, name in limits:
        if limit is not None and value is not None and value > limit:
            raise Rejected(f"{value:,} {name}, over the limit of {limit:,}")
