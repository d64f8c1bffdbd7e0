"""What a space proposes when it is asked at random: whether it can, and from which ranges."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study

from designer.errors import SpaceError
from designer.search.candidates import size_of
from designer.search.storage.opening import quiet_optuna
from search_spaces import Space

TRIES = 10
"""Candidates of a space, one of which must do."""


PROPOSALS = 200
"""Random proposals whose parameters are collected: so many show what only a few of them have."""


class ParameterKind(StrEnum):
    """What the values of a parameter are."""

    INTEGER = "integer"
    REAL = "real"
    CHOICE = "choice"


@dataclass(frozen=True)
class Parameter:
    """One thing that a space lets a trial choose."""

    name: str
    kind: ParameterKind
    choices: tuple[Any, ...] = ()
    """All values of a ``CHOICE``; empty otherwise."""
    low: float | None = None
    high: float | None = None
    """The smallest and the largest value; None for a ``CHOICE``."""
    step: float | None = None
    """Distance between neighbouring values; None where there is none."""
    log: bool = False
    """Whether proposals are uniform in the logarithm."""

    @property
    def range(self) -> str:
        """The values in a few words, such as ``16 to 256, log scale``."""
        if self.kind is ParameterKind.CHOICE:
            return ", ".join(map(str, self.choices))
        step = "" if self.step in (None, 1) else f" in steps of {self.step}"
        return f"{self.low} to {self.high}{step}{', log scale' if self.log else ''}"


def try_out(space: Space[Any], input_shape: tuple[int, ...], num_classes: int) -> None:
    """Propose and build a candidate, so that a space that cannot fails before anything runs.

    Raises:
        SpaceError: where it raises each of ``TRIES`` times, or builds what does not map inputs to
            logits.
    """
    with _random_study(space, "propose and build networks") as study:
        for left in reversed(range(TRIES)):
            try:
                size_of(space, space.suggest(study.ask()), input_shape, num_classes)
                return
            except SpaceError:
                raise
            except Exception:
                if not left:  # a search goes on where one candidate cannot be built
                    raise


def parameters_of(space: Space[Any]) -> tuple[Parameter, ...]:
    """What a space lets a trial choose, in the order in which it asks.

    Found by asking ``PROPOSALS`` times, so that a parameter that hardly any proposal has may
    be missing. A range that depends on other choices is shown as wide as it gets.

    Raises:
        SpaceError: where the space raises.
    """
    found: dict[str, BaseDistribution] = {}
    with _random_study(space, "propose networks") as study:
        for _ in range(PROPOSALS):
            trial = study.ask()
            space.suggest(trial)
            for name, distribution in trial.distributions.items():
                found[name] = _wider(found.get(name, distribution), distribution)
    return tuple(_parameter(name, distribution) for name, distribution in found.items())


@contextmanager
def _random_study(space: Space[Any], wanted: str) -> Iterator[Study]:
    """A study in memory, the same every time; what the space raises becomes ``SpaceError``."""
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


def _wider(one: Any, other: Any) -> BaseDistribution:
    """The range that holds both; Optuna itself sees to it that choices never change."""
    both: BaseDistribution = copy.copy(one)
    if not isinstance(both, CategoricalDistribution):
        vars(both).update(low=min(one.low, other.low), high=max(one.high, other.high))
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
