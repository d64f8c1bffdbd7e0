"""A trial that proposes what it is given, if the space allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from reprlib import Repr
from typing import Any

from optuna.trial import FixedTrial

STEP_TOLERANCE = 1e-6
"""Share of a step that a number may lie beside it."""

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 40


class NotAllowed(Exception):
    """A parameter that a space does not propose; the message says why."""


class GivenTrial(FixedTrial):
    """A trial that proposes given parameters, and refuses those that a space does not allow.

    Optuna's own only warns about them, but a file may ask for a trillion layers, and an edit for
    a width that the space does not have.

    Args:
        params: the parameters by name.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(dict(params))
        self._given = params

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Return the given number, or raise ``NotAllowed`` if it is out of bounds."""
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
        """Return the given number, or raise ``NotAllowed`` if it is out of bounds."""
        self._check(name, low, high, step)
        return super().suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return the given value, or raise ``NotAllowed`` if it is none of the choices."""
        if name in self._given and self._given[name] not in choices:
            raise NotAllowed(f"{name} {self._shown(name)} is none of the space's choices")
        return super().suggest_categorical(name, choices)

    def _check(self, name: str, low: float, high: float, step: float | None) -> None:
        """Raise ``NotAllowed`` if a given number is out of bounds, or between two steps."""
        if name not in self._given:
            return
        if not isinstance(self._given[name], Real):
            raise NotAllowed(f"{name} {self._shown(name)} is no number")
        value = float(self._given[name])
        if not low <= value <= high:
            raise NotAllowed(f"{name} {self._shown(name)} is outside of {low:g} to {high:g}")
        steps = 0.0 if step is None else (value - low) / step
        if abs(steps - round(steps)) > STEP_TOLERANCE:
            raise NotAllowed(
                f"{name} {self._shown(name)} is not {low:g} plus a multiple of {step:g}"
            )

    def _shown(self, name: str) -> str:
        value = self._given[name]
        return f"{value:g}" if isinstance(value, float) else _short.repr(value)
