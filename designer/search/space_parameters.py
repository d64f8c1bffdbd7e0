"""Ask a space at random: can it propose and build networks, and from which ranges?"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from enum import StrEnum
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study

from designer.errors import SpaceError, first_line
from designer.search.candidates import as_stored, size_of
from designer.search.storage.opening import quiet_optuna
from search_spaces import Space

TRIES = 10
"""Random candidates of a space; it must be possible to build at least one of them."""

STORABLE = (str, int, float, bool, type(None))
"""Types of choices that every storage of a study gives back as they were."""

PROPOSALS = 200
"""Random proposals whose parameters are collected: enough to meet parameters that are rare."""


class ParameterKind(StrEnum):
    """Kind of values that a parameter takes."""

    INTEGER = "integer"
    REAL = "real"
    CHOICE = "choice"


@dataclass(frozen=True)
class Parameter:
    """A parameter that a space lets a trial choose."""

    name: str
    """Name that the space gives it."""
    kind: ParameterKind
    """Kind of its values."""
    choices: tuple[Any, ...] = ()
    """All values of a ``CHOICE``; empty otherwise."""
    low: float | None = None
    """The smallest value; None for a ``CHOICE``."""
    high: float | None = None
    """The largest value; None for a ``CHOICE``."""
    step: float | None = None
    """Distance between neighbouring values; None for a ``CHOICE`` and for values without steps."""
    log: bool = False
    """True if proposals are uniform in the logarithm."""

    @property
    def range(self) -> str:
        """The values in a few words, for example ``16 to 256, log scale``."""
        if self.kind is ParameterKind.CHOICE:
            return ", ".join(map(str, self.choices))
        step = "" if self.step in (None, 1) else f" in steps of {self.step}"
        return f"{self.low} to {self.high}{step}{', log scale' if self.log else ''}"


def try_out(space: Space[Any], input_shape: tuple[int, ...], num_classes: int) -> None:
    """Propose and build a candidate, so that a broken space fails before anything is written.

    Args:
        space: any search space.
        input_shape: shape of one input, channels first.
        num_classes: number of logits.

    Raises:
        SpaceError: if the space raises each of ``TRIES`` times, or builds something that does not
            map inputs to logits.
    """
    with _random_study(space, "propose and build networks") as study:
        for tries_left in reversed(range(TRIES)):
            try:
                trial = study.ask()
                with warnings.catch_warnings(category=UserWarning, action="ignore"):
                    spec = space.suggest(trial)  # Optuna warns of choices that are refused here
                _check_choices(space, trial.distributions)
                _check_spec(space, spec)
                size_of(space, spec, input_shape, num_classes)
                return
            except SpaceError:
                raise
            except Exception:  # a search also goes on if one candidate cannot be built
                if not tries_left:
                    raise


def _check_choices(space: Space[Any], ranges: Mapping[str, BaseDistribution]) -> None:
    """Raise ``SpaceError`` for choices that no storage gives back as they were."""
    for name, values in ranges.items():
        others = [v for v in getattr(values, "choices", ()) if not isinstance(v, STORABLE)]
        if others:
            raise SpaceError(
                f"Expected choices of '{name}' in space '{space.name}' that are text, numbers, "
                f"booleans or None, which every storage keeps, got {type(others[0]).__name__}; "
                f"choose among names, and look up what they stand for."
            )


def _check_spec(space: Space[Any], spec: Any) -> None:
    """Raise ``SpaceError`` unless a spec is a dataclass with a learning rate that can be stored."""
    if not hasattr(spec, "learning_rate"):
        raise SpaceError(
            f"Expected specs of space '{space.name}' with a learning_rate, which training needs, "
            f"got {type(spec).__name__} without one."
        )
    if not is_dataclass(spec) or isinstance(spec, type):
        raise SpaceError(
            f"Expected specs of space '{space.name}' that are dataclasses, which a study keeps as "
            f"JSON, got {type(spec).__name__}."
        )
    for name, value in asdict(spec).items():
        try:
            as_stored(value)
        except Exception as error:  # a third party's value may raise anything
            raise SpaceError(
                f"Expected field '{name}' in specs of space '{space.name}' to hold text, numbers, "
                f"booleans, None, or lists and dicts of these, which a study keeps as JSON, got "
                f"{type(value).__name__}: {first_line(error)}."
            ) from error


def parameters_of(space: Space[Any]) -> tuple[Parameter, ...]:
    """Return what a space lets a trial choose, in the order in which it asks.

    The space is asked ``PROPOSALS`` times, so a parameter that hardly any proposal has may be
    missing. Of a range that depends on other choices, the widest form is shown.

    Raises:
        SpaceError: if the space raises.
    """
    ranges: dict[str, BaseDistribution] = {}
    with _random_study(space, "propose networks") as study:
        for _ in range(PROPOSALS):
            trial = study.ask()
            space.suggest(trial)
            for name, distribution in trial.distributions.items():
                ranges[name] = _wider(ranges.get(name, distribution), distribution)
    return tuple(_parameter(name, distribution) for name, distribution in ranges.items())


@contextmanager
def _random_study(space: Space[Any], wanted: str) -> Iterator[Study]:
    """Yield a seeded study in memory; whatever the space raises becomes ``SpaceError``.

    Args:
        space: the space that is asked.
        wanted: what the space should do, in the words of the error.
    """
    with quiet_optuna():
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        try:
            yield study
        except SpaceError:
            raise
        except (Exception, SystemExit) as error:  # a third party's code may raise anything
            raise SpaceError(
                f"Expected space '{space.name}' to {wanted}, but it raised "
                f"{type(error).__name__}: {error}."
            ) from error


def _wider(first: Any, second: Any) -> BaseDistribution:
    """Return the range that holds both; Optuna itself refuses choices that change."""
    both: BaseDistribution = copy.copy(first)
    if not isinstance(both, CategoricalDistribution):
        vars(both).update(low=min(first.low, second.low), high=max(first.high, second.high))
    return both


def _parameter(name: str, values: Any) -> Parameter:
    if isinstance(values, CategoricalDistribution):
        return Parameter(name, ParameterKind.CHOICE, choices=tuple(values.choices))
    integer = isinstance(values, IntDistribution)
    return Parameter(
        name,
        ParameterKind.INTEGER if integer else ParameterKind.REAL,
        low=values.low,
        high=values.high,
        step=values.step,
        log=values.log,
    )
