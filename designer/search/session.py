"""One run of the leader: it trains, confirms, tries edits, recommends and writes the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.study import Study
from safetensors.torch import load as load_tensors

from designer.errors import RunFolderError, SpaceError
from designer.folders import BEST_FOLDER, REPORT_FILE, WEIGHTS_FILE, write_text
from designer.interrupts import StopRequest
from designer.models.loaded import rebuild
from designer.results.layers import MeanSd, ReportWarning
from designer.results.search import REPORT_SCHEMA, ConfirmedRow, SearchResult
from designer.results.serialisation import read_result, report_to_json
from designer.search.confirmation import (
    Candidate,
    CandidateKey,
    ConfirmedCandidate,
    collect,
    enqueue,
    runs_of,
)
from designer.search.edits.outcomes import with_outcomes
from designer.search.edits.trials import EditOutcome, EditTrials
from designer.search.job import Job
from designer.search.progress import Phase, ProgressCallback
from designer.search.recommend import asks_for_small, chosen, recommend, roles_of, shortlist
from designer.search.recommended_models import replacing_best
from designer.search.storage.artifacts import Artifacts
from designer.search.storage.caching import CachingStorage
from designer.search.study.claims import TrialClaims
from designer.search.study.history import history_of
from designer.search.study.keys import STAGE, WANTED, WORKER
from designer.search.study.trials import last_rejection, trials_of
from designer.search.summary import agreements, doubt_about, study_summary, trial_rows, warnings
from designer.search.workers.handshake import DONE
from designer.search.workers.phases import is_used_up
from designer.search.workers.pool import PhaseRunner
from designer.search.workers.processes import phase_runner
from designer.training.trainer import accuracy

CONFIRMATION_ROUNDS = 2
"""Number of rounds; the second trains what a killed worker left undone in the first."""

EARLIER = "earlier_recommendations"
"""Code of the warning that recommendations are those of an earlier run."""

STOPPED = {"interrupted", "terminated"}
"""Codes of the warnings that a run was stopped."""


@dataclass(frozen=True)
class Trained:
    """All that was trained."""

    candidates: Sequence[Candidate]
    """What was to be confirmed."""
    confirmed: Sequence[ConfirmedCandidate]
    """What was confirmed."""
    edits: EditOutcome
    """What came of the edits of those that are recommended."""

    @property
    def networks(self) -> list[ConfirmedCandidate]:
        """What was confirmed, with the edits that were kept."""
        return [*self.confirmed, *self.edits.kept]

    @property
    def runs(self) -> int:
        """Number of confirmation runs."""
        return sum(len(candidate.runs) for candidate in self.confirmed)

    def missing(self, seeds: int) -> str:
        """Return what was not done if every candidate takes this many runs; empty if all was."""
        if self.runs < seeds * len(self.candidates):
            return "all of its best trials were confirmed"
        return "" if self.edits.complete else "all edits of its best networks were tried"


@dataclass(frozen=True)
class Session:
    """One run of the leader, with all that is open meanwhile."""

    job: Job
    storage: CachingStorage
    study: Study
    confirmation: Study
    edits: Study
    artifacts: Artifacts
    stop: StopRequest

    def train(self, progress: ProgressCallback) -> Trained:
        """Run all phases and return what was trained."""
        claims = TrialClaims(self.study, self.storage)
        later_claims = [TrialClaims(s, self.storage) for s in (self.confirmation, self.edits)]
        if not self.job.location.shared:  # on a shared storage others may be at work
            for each in (claims, *later_claims):
                each.release_running("The run that started it was killed.")
        for each in later_claims:
            each.drop_waiting()
        with phase_runner(self.job, self.storage) as runner:
            self.study.set_user_attr(STAGE, Phase.SEARCH)
            runner.run(Phase.SEARCH, self.stop, progress)
            candidates = shortlist(self.job, self.study)
            wanted = [(c, record) for c in candidates for record in runs_of(self.job, c)]
            for _ in range(CONFIRMATION_ROUNDS):
                if self.stop() or not enqueue(self.confirmation, wanted, self.artifacts):
                    break
                self.study.set_user_attr(STAGE, Phase.CONFIRMATION)
                runner.run(Phase.CONFIRMATION, self.stop, progress)
            confirmed = collect(self.job, self.confirmation, candidates, self.artifacts)
            edits = self._try_edits(confirmed, runner, progress)
        if not self.stop():
            claims.drop_waiting()
            self.study.set_user_attr(STAGE, DONE)
        return Trained(candidates, confirmed, edits)

    def _try_edits(
        self,
        confirmed: Sequence[ConfirmedCandidate],
        runner: PhaseRunner,
        progress: ProgressCallback,
    ) -> EditOutcome:
        """Try edits of the networks that would be recommended."""
        self.edits.set_user_attr(WANTED, self.job.options.edits)

        def run_enqueued() -> None:
            self.study.set_user_attr(STAGE, Phase.EDITS)
            runner.run(Phase.EDITS, self.stop, progress)

        at_once = self.job.options.worker_count
        if self.job.location.shared:  # others, which this process did not start, may take part
            signed = {trial.user_attrs.get(WORKER) for trial in trials_of(self.confirmation)}
            at_once = max(at_once, len(signed - {None}))
        trials = EditTrials(self.job, self.edits, self.artifacts, run_enqueued, self.stop)
        recommended = chosen(confirmed, self._roles_of(confirmed))
        if doubt_about(recommended, self.job) is not None:
            recommended = []
        return trials.try_all(recommended, confirmed, at_once)

    def _roles_of(
        self, networks: Sequence[ConfirmedCandidate]
    ) -> dict[CandidateKey, tuple[str, ...]]:
        return roles_of(networks, with_knee=asks_for_small(self.job.options))

    def report(self, trained: Trained, command: str) -> SearchResult:
        """Write the recommended models and the report.

        If the run was stopped before everything was confirmed and tried, better candidates may be
        among the rest. Then the recommendations of an earlier run stay if they rest on more.
        """
        folder = self.job.location.folder
        roles = self._roles_of(trained.networks)
        recommended = chosen(trained.networks, roles, trained.edits.replaced)
        result = replace(self._result(trained, recommended, roles), command=command)
        earlier = _before(folder)
        missing = trained.missing(self.job.options.confirm_seeds)
        stays = not recommended or (missing and earlier and _rests_on_more(earlier, trained))
        if earlier and self.stop() and stays:
            warning = ReportWarning(
                EARLIER,
                "The recommendations are those of an earlier run, because this run was stopped "
                f"before {missing or 'one of its networks was fit to be recommended'}.",
            )
            result = replace(
                result,
                recommendations=earlier.recommendations,
                warnings=(*result.warnings, warning),
            )
            models: AbstractContextManager[None] = nullcontext()
        else:
            models = replacing_best(self.job, recommended, self.artifacts)
        with models:  # the report and its models are replaced together, or neither is
            write_text(folder / REPORT_FILE, report_to_json(result))
        return result

    def _result(
        self,
        trained: Trained,
        recommended: Sequence[ConfirmedCandidate],
        roles: Mapping[CandidateKey, tuple[str, ...]],
    ) -> SearchResult:
        """Return the result without its command."""
        edits = trained.edits
        job = self.job
        test_accuracies = [
            _test_accuracy(job, candidate, self.artifacts) for candidate in recommended
        ]
        recommendations = recommend(
            recommended, roles, test_accuracies, doubt_about(recommended, job), edits.replaced
        )
        rows, history = trial_rows(self.study), history_of(self.study)
        return SearchResult(
            schema=REPORT_SCHEMA,
            study=study_summary(job, self.study, rows, (self.confirmation, self.edits)),
            recommendations=tuple(with_outcomes(r, edits.tried) for r in recommendations),
            criterion=agreements(rows),
            trials=rows,
            warnings=(
                *warnings(
                    job,
                    rows,
                    recommended,
                    recommendations,
                    self.stop.signal,
                    last_rejection(history) if is_used_up(history) else "",
                    self.confirmation,
                ),
                *edits.warnings,
            ),
            confirmed=tuple(map(_confirmed_row, trained.networks)),
            tried=tuple(edits.tried),
        )


def _confirmed_row(network: ConfirmedCandidate) -> ConfirmedRow:
    return ConfirmedRow(
        trial=network.candidate.trial.number,
        edits=network.candidate.edits,
        spec=network.spec,
        parameters=network.parameters,
        flops=network.candidate.size.flops,
        score=network.score,
        validation_accuracy=network.validation_accuracy,
    )


def _before(folder: Path) -> SearchResult | None:
    """Return the report of an earlier run that recommends models that are still there."""
    try:
        earlier = read_result(folder) if (folder / BEST_FOLDER).exists() else None
    except RunFolderError:  # it was killed while it wrote
        return None
    return earlier if earlier and earlier.recommendations else None


def _rests_on_more(earlier: SearchResult, trained: Trained) -> bool:
    """True if an earlier run came to its end, or confirmed with more runs than this one."""
    codes = {warning.code for warning in earlier.warnings}
    if EARLIER in codes or not STOPPED & codes:
        return True
    return sum(row.validation_accuracy.seeds for row in earlier.confirmed) > trained.runs


def _test_accuracy(job: Job, candidate: ConfirmedCandidate, artifacts: Artifacts) -> MeanSd:
    """Return the test accuracy over the confirmation seeds: the only look at the test set."""
    shape, classes = job.data.input_shape, job.data.num_classes
    model = rebuild(job.space, dict(candidate.candidate.params), shape, classes)
    accuracies = []
    for trained in candidate.runs:
        weights = load_tensors(artifacts.read(trained, WEIGHTS_FILE))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise SpaceError(
                f"Expected the space '{job.space.name}' to build the networks that were trained, "
                f"but it builds others; undo what was changed in it, or choose another "
                f"{job.location.option}."
            ) from error
        accuracies.append(accuracy(model, job.data.test))
    return MeanSd.of(accuracies)
