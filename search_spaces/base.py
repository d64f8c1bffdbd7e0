"""Define what a search space is: Protocols, and nothing to inherit from.

A *space* proposes a *spec* (a frozen, hashable description of one architecture together with its
learning rate) from what a trial suggests, and builds the module that a spec describes. The module
names its own blocks, so a measurement knows where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import nn


class Trial(Protocol):
    """The part of an Optuna trial (``Trial``, ``FixedTrial``) that a space may use."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Choose a whole number from ``low`` to ``high``, both included."""
        ...

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
    ) -> float:
        """Choose a number from ``low`` to ``high``, both included."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several values."""
        ...


@runtime_checkable
class Spec(Protocol):
    """A frozen dataclass of plain values; two equal specs are the same candidate."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the candidate. It is part of the spec, since depth and rate interact."""
        ...


SpecT = TypeVar("SpecT", bound=Spec)


@runtime_checkable
class Space(Protocol[SpecT]):
    """A family of architectures."""

    @property
    def name(self) -> str:
        """Short name, as it is passed to ``--space``."""
        ...

    def suggest(self, trial: Trial) -> SpecT:
        """Propose one candidate, made only from what ``trial`` suggests.

        The same suggestions must give an equal spec, so that a spec can be rebuilt from the
        parameters that a study has stored.
        """
        ...

    def build(self, spec: SpecT, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """Build the untrained module of ``spec``.

        Args:
            spec: what ``suggest`` proposed.
            input_shape: shape of one sample.
            num_classes: number of logits.

        Returns:
            A module that takes a batch (n, *``input_shape``) and gives (n, ``num_classes``) logits.
            Its attribute ``block_names`` lists the submodules to look at, in the order in which
            they run and without the classifier head. Its optional attribute ``block_features``
            says how their outputs become features: ``flatten``, ``pool`` or ``project``. Its
            optional attribute ``cuda_graphs`` is True if its forward pass in training mode decides
            nothing in Python, by values of tensors or at random, so that a GPU may replay a step
            that was recorded; that is several times as fast for small networks. Initial weights
            come from torch's global generator, which the caller seeds. Building under
            ``torch.device("meta")`` must work.
        """
        ...
