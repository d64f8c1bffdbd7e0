"""Edits of the recommended networks, tried one after another until nothing helps any more.

Every network that is recommended begins a line.  In every round the next edits of some lines are
trained with one seed, and those that are not hopeless with all the others.  An edit that is kept
takes the place of its network in the line and is edited next.  What is tried depends on earlier
outcomes alone, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from optuna.study import Study
from optuna.trial import FixedTrial

from designer.errors import first_line
from designer.interrupts import Stop
from designer.results.layers import ReportWarning
from designer.results.search import TriedEdit
from designer.search.confirmation import (
    Candidate,
    CandidateKey,
    ConfirmedCandidate,
    FinishedRuns,
    enqueue,
    runs_of,
)
from designer.search.edits.judgement import Judgement, is_hopeless, judge
from designer.search.edits.order import in_order
from designer.search.edits.proposing import edited, title_of
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts
from designer.search.study.claims import Rejected
from designer.search.study.records import TrialRecord, spec_key
from search_spaces.edits import Edit, EditableSpace

ROUNDS = 2
"""Number of times that runs are enqueued; the second trains what a killed worker left undone."""


@dataclass
class EditOutcome:
    """What came of all edits."""

    tried: list[TriedEdit] = field(default_factory=list)
    """Every edit in the order in which it was tried, also those that were refused."""
    kept: list[ConfirmedCandidate] = field(default_factory=list)
    """Networks that edits led to and that were kept."""
    replaced: set[CandidateKey] = field(default_factory=set)
    """Networks whose place an edit of them has taken."""
    warnings: list[ReportWarning] = field(default_factory=list)
    """Why nothing could be tried."""
    complete: bool = True
    """False if the run was stopped before everything was tried."""


@dataclass(eq=False)
class Line:
    """A recommended network and what edits have made of it."""

    current: ConfirmedCandidate
    """The network that is edited."""
    best: float
    """Highest mean accuracy in the line."""
    waiting: list[Edit]
    """Edits of ``current`` that were not tried yet, the most promising first."""
    failed: set[str] = field(default_factory=set)
    """Titles of edits that were not kept, which are tried last after the next one that is."""

    def take(self, network: ConfirmedCandidate, edits: Iterable[Edit]) -> None:
        """Go on with the network that an edit led to, and with what its space offers for it."""
        self.current = network
        self.best = max(self.best, network.validation_accuracy.mean)
        ordered = in_order(edits, network)
        self.waiting = sorted(ordered, key=lambda edit: title_of(edit) in self.failed)


@dataclass(eq=False)
class Attempt:
    """One edit that is tried."""

    line: Line
    """The line of the network that is edited."""
    edit: Edit
    """What is changed."""
    candidate: Candidate
    """The architecture that the edit leads to."""
    records: list[TrialRecord] = field(default_factory=list)
    """Runs that it was granted."""
    confirmed: ConfirmedCandidate | None = None
    """The network with its runs; None without a finished one."""
    reason: str = ""
    """Why it failed; empty if it did not."""
    judgement: Judgement | None = None
    """Whether it is kept; None before that is known."""


class EditTrials:
    """Tries edits of recommended networks.

    Args:
        job: space, data and the number of runs.
        study: study of the runs.
        artifacts: where profiles and weights are kept.
        run: trains what is enqueued, with all workers.
        stop: True once the run is asked to stop.
    """

    def __init__(
        self, job: Job, study: Study, artifacts: Artifacts, run: Callable[[], None], stop: Stop
    ) -> None:
        self._job, self._study, self._artifacts = job, study, artifacts
        self._run, self._stop = run, stop
        self._budget = job.options.edits
        self._known: set[str] = set()
        self._outcome = EditOutcome()

    def try_all(
        self,
        recommended: Sequence[ConfirmedCandidate],
        confirmed: Sequence[ConfirmedCandidate],
        at_once: int,
    ) -> EditOutcome:
        """Try edits until nothing helps, the runs are used up or the run is asked to stop.

        Args:
            recommended: networks to edit, in rank order.
            confirmed: all networks that were confirmed; none of them is tried again.
            at_once: number of edits that are trained at the same time.
        """
        if not self._budget or not recommended:
            return self._outcome
        self._known = {spec_key(candidate.spec) for candidate in confirmed}
        lines = [
            Line(c, c.validation_accuracy.mean, in_order(self._edits_of(c.candidate), c))
            for c in recommended
        ]
        while self._budget and (attempts := self._next(lines, at_once)):
            if self._stop() or not self._train(attempts):
                self._outcome.complete = False
                break
            self._decide(attempts)
            lines = [*lines[len(attempts) :], *lines[: len(attempts)]]
        return self._outcome

    def _edits_of(self, candidate: Candidate) -> list[Edit]:
        """Return what the space offers for a candidate; nothing if it offers nothing."""
        space = self._job.space
        if not isinstance(space, EditableSpace):
            self._warn(
                f"Nothing was tried on the recommended networks, because the space "
                f"'{space.name}' has no method `edits` that says how they can be changed."
            )
            return []
        try:
            spec = space.suggest(FixedTrial(dict(candidate.params)))
            return [_checked(edit) for edit in space.edits(spec)]
        except Exception as error:  # noqa: BLE001 - a third party's code may raise anything
            self._warn(
                f"The space '{space.name}' could not say how a network can be changed: "
                f"{type(error).__name__}: {first_line(error)}."
            )
            return []

    def _warn(self, message: str) -> None:
        warning = ReportWarning("no_edits", message)
        if warning not in self._outcome.warnings:
            self._outcome.warnings.append(warning)

    def _next(self, lines: Sequence[Line], at_once: int) -> list[Attempt]:
        """Return the next edits to try, at most one of each line in turn."""
        attempts: list[Attempt] = []
        most = min(at_once, self._budget)
        while len(attempts) < most:
            before = len(attempts)
            for line in lines:
                attempt = self._next_of(line) if len(attempts) < most else None
                attempts += [attempt] if attempt is not None else []
            if len(attempts) == before:
                break
        return attempts

    def _next_of(self, line: Line) -> Attempt | None:
        """Return the next edit of a line that is new and allowed; None if there is no more."""
        while line.waiting:
            edit = line.waiting.pop(0)
            try:
                candidate = edited(self._job, line.current.candidate, edit)
            except Rejected as refusal:
                self._outcome.tried.append(_refused(line.current, edit, str(refusal)))
                continue
            key = spec_key(candidate.spec)
            if key not in self._known:
                self._known.add(key)
                return Attempt(line, edit, candidate)
        return None

    def _train(self, attempts: Sequence[Attempt]) -> bool:
        """Train edits with one seed, and those that are not hopeless with the others.

        Returns:
            False if the run was stopped before that.
        """
        going_on = list(attempts)
        for first, last in ((0, 1), (1, None)):
            for attempt in going_on:
                records = self._runs_of(attempt)[first:last][: self._budget]
                self._budget -= len(records)
                attempt.records += records
            if not self._finish(going_on):
                return False
            going_on = [a for a in going_on if _deserves_more(a)]
        return True

    def _runs_of(self, attempt: Attempt) -> list[TrialRecord]:
        """Return the runs of an edit; seeds that its parent has come first, to compare with."""
        known = attempt.line.current.accuracy_by_seed
        records = runs_of(self._job, attempt.candidate)
        return sorted(records, key=lambda record: record.seed not in known)

    def _finish(self, attempts: Sequence[Attempt]) -> bool:
        """Do what is missing of the runs of edits; return False if the run was stopped first."""
        wanted = [(a.candidate, record) for a in attempts for record in a.records]
        for _ in range(ROUNDS):
            if not enqueue(self._study, wanted, self._artifacts):
                break
            if self._stop():
                return False
            self._run()
        if self._stop() and enqueue(self._study, wanted, self._artifacts):
            return False
        runs = FinishedRuns.of(self._study)
        for attempt in attempts:
            attempt.confirmed = runs.confirmed(attempt.candidate, attempt.records, self._artifacts)
            keys = [record.confirmation for record in attempt.records]
            attempt.reason = next((runs.failures[key] for key in keys if key in runs.failures), "")
        return True

    def _decide(self, attempts: Sequence[Attempt]) -> None:
        """Judge edits, and let the best of each line that is kept take its network's place."""
        for attempt in attempts:
            attempt.judgement = _judgement(attempt, self._job.options.confirm_seeds)
        for line in {id(a.line): a.line for a in attempts}.values():
            own = [a for a in attempts if a.line is line]
            best = max((a for a in own if _kept(a)), key=_merit, default=None)
            self._outcome.tried += [_row(a, is_best=a is best) for a in own]
            line.failed |= {title_of(a.edit) for a in own if a is not best}
            if best is not None and best.confirmed is not None:
                self._outcome.replaced.add(line.current.key)
                self._outcome.kept.append(best.confirmed)
                line.take(best.confirmed, self._edits_of(best.candidate))


def _checked(edit: object) -> Edit:
    """Return what a space offers with plain numbers, or raise ``TypeError`` if it is no edit."""
    if not isinstance(edit, Edit):
        raise TypeError(f"expected edits as search_spaces.Edit, got {type(edit).__name__}")
    if not isinstance(edit.kind, str) or not isinstance(edit.block, str | None):
        raise TypeError(
            f"expected an edit whose kind is text and whose block is text or None, got "
            f"{edit.kind!r} and {edit.block!r}"
        )
    plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in edit.params.items()}
    return replace(edit, params=plain)


def _deserves_more(attempt: Attempt) -> bool:
    if attempt.confirmed is None or attempt.reason:
        return False
    return not is_hopeless(attempt.line.current, attempt.confirmed)


def _judgement(attempt: Attempt, seeds: int) -> Judgement:
    """Return whether an edit is kept, which takes this many runs unless it is hopeless."""
    if attempt.reason:
        return Judgement(kept=False, reason=f"a run failed: {attempt.reason.rstrip('.')}")
    if attempt.confirmed is None:
        return Judgement(kept=False, reason="no run of it came to its end")
    hopeless = is_hopeless(attempt.line.current, attempt.confirmed)
    if len(attempt.records) < seeds and not hopeless:
        return Judgement(kept=False, reason="the runs were used up before it could be judged")
    return judge(attempt.line.current, attempt.confirmed, attempt.line.best)


def _kept(attempt: Attempt) -> bool:
    return attempt.judgement is not None and attempt.judgement.kept


def _merit(attempt: Attempt) -> tuple[float, int]:
    """Return what the best of several edits has most of: a sure gain, then few parameters."""
    gain = attempt.judgement.sure_gain if attempt.judgement else 0.0
    return gain, -(attempt.candidate.size.parameters or 0)


def _row(attempt: Attempt, *, is_best: bool) -> TriedEdit:
    """Return what the report says of an edit that was trained."""
    judgement = attempt.judgement or Judgement(kept=False, reason="not judged")
    reason = judgement.reason
    if judgement.kept and not is_best:
        reason = f"{reason}, but another edit of it is better"
    before = attempt.line.current
    size = attempt.candidate.size
    return TriedEdit(
        trial=before.candidate.trial.number,
        before=before.candidate.edits,
        edit=title_of(attempt.edit),
        kind=attempt.edit.kind,
        block=attempt.edit.block,
        parameters_before=before.parameters,
        parameters=size.parameters,
        flops=size.flops,
        accuracy=attempt.confirmed.validation_accuracy if attempt.confirmed else None,
        change=judgement.change,
        runs=len(attempt.records),
        kept=judgement.kept and is_best,
        reason=reason,
    )


def _refused(parent: ConfirmedCandidate, edit: Edit, why: str) -> TriedEdit:
    """Return what the report says of an edit that could not be trained."""
    return TriedEdit(
        trial=parent.candidate.trial.number,
        before=parent.candidate.edits,
        edit=title_of(edit),
        kind=edit.kind,
        block=edit.block,
        parameters_before=parent.parameters,
        reason=why.rstrip("."),
    )
