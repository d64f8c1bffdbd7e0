"""An edit as a candidate: does its space allow it, and is it within the limits of size?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import TrialPruned
from optuna.trial import FixedTrial

from designer.search.candidates import spec_values
from designer.search.confirmation import Candidate
from designer.search.job import Job
from designer.search.study.claims import Rejected
from designer.search.study.proposals import check_limits, measure_size, reason_of
from search_spaces.edits import Edit

STEP_TOLERANCE = 1e-6
"""Share of a step that a number may lie beside it."""


def title_of(edit: Edit) -> str:
    """Return what an edit changes, with the name of the block."""
    if edit.block is None:
        return edit.kind
    return edit.kind.replace("this block", edit.block)


def edited(job: Job, parent: Candidate, edit: Edit) -> Candidate:
    """Return the candidate that an edit makes of another.

    Args:
        job: gives the space and the limits of size.
        parent: what is edited.
        edit: the change.

    Raises:
        Rejected: if the space refuses it, or it is larger than the options allow.
    """
    try:
        spec = job.space.suggest(GivenTrial(edit.params))
        size = measure_size(job, spec)
    except (Rejected, TrialPruned) as refusal:
        raise Rejected(str(refusal) or "its space turned it down") from refusal
    except Exception as error:  # a space may raise anything at what it cannot build
        raise Rejected(reason_of(error)) from error
    check_limits(job.options, size)
    edits = (*parent.edits, title_of(edit))
    return Candidate(parent.trial, dict(edit.params), spec_values(spec), size, edits)


class GivenTrial(FixedTrial):
    """A trial that suggests what it was given, and refuses values out of bounds."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(dict(params))
        self._given = params

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Return the given number, or raise ``Rejected`` if it is out of bounds."""
        self._check(name, low, high, step)
        return super().suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
    ) -> float:
        """Return the given number, or raise ``Rejected`` if it is out of bounds."""
        self._check(name, low, high, step)
        return super().suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return the given value, or raise ``Rejected`` if it is none of the choices."""
        if name in self._given and self._given[name] not in choices:
            raise Rejected(f"{name} {self._given[name]} is none of the space's choices")
        return super().suggest_categorical(name, choices)

    def _check(self, name: str, low: float, high: float, step: float | None) -> None:
        """Raise ``Rejected`` if a given number is out of bounds, or between two steps."""
        if name not in self._given:
            return
        value = self._given[name]
        if not low <= value <= high:
            raise Rejected(f"{name} {value:g} is outside of {low:g} to {high:g}")
        steps = 0.0 if step is None else (value - low) / step
        if abs(steps - round(steps)) > STEP_TOLERANCE:
            raise Rejected(f"{name} {value:g} is not {low:g} plus a multiple of {step:g}")
