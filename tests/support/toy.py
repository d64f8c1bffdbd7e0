"""Small spaces and data sets for tests of the search; importable by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from torch import nn

from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import SpaceError
from designer.search.search import search
from search_spaces import Edit, EditKind, Mlp, MlpSpace, MlpSpec, Trial


def blobs(n: int = 240, classes: int = 3, features: int = 6, seed: int = 0) -> dict[str, Any]:
    """Return well separated Gaussian classes as x_train, y_train, x_test, y_test."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, features)) * 2
    y = np.arange(n) % classes
    x = centres[y] + generator.normal(size=(n, features))
    cut = 3 * n // 4
    return {"x_train": x[:cut], "y_train": y[:cut], "x_test": x[cut:], "y_test": y[cut:]}


def copies(points: int = 80, times: int = 6) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return random points with random labels, each several times: a memory game."""
    generator = np.random.default_rng(0)
    order = generator.permutation(points * times) % points
    return generator.normal(size=(points, 6))[order], generator.permutation(points)[order] % 2


def write_blobs(path: Path, **options: Any) -> Path:
    """Write ``blobs`` as an .npz file and return its path."""
    np.savez(path, **blobs(**options))
    return path


def toy_data() -> Dataset:
    """Return ``blobs``, split and scaled."""
    return load_dataset("tests.support.toy:blobs")


def rubbish() -> NDArray[np.float64]:
    """Return something that is no data set."""
    return np.zeros(3)


UNLUCKY_SEED = 2
"""A search with seed 0 uses it for its second confirmation run."""


@dataclass(frozen=True)
class TinySpace:
    """A space of twelve candidates: two depths, three widths, two learning rates."""

    name: ClassVar[str] = "tiny"

    def suggest(self, trial: Trial) -> MlpSpec:
        """Return one of the twelve specs."""
        depth = trial.suggest_int("depth", 3, 4)
        width = trial.suggest_categorical("width", (8, 16, 24))
        rate = trial.suggest_categorical("learning_rate", (3e-3, 1e-2))
        return MlpSpec((width,) * depth, "batch", "relu", rate)

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron."""
        return MlpSpace().build(spec, input_shape, num_classes)


@dataclass(frozen=True)
class EditableSpace(TinySpace):
    """The same twelve candidates, whose every choice may be edited, also to what is not allowed."""

    name: ClassVar[str] = "editable"

    def edits(self, spec: MlpSpec) -> Iterator[Edit]:
        """Return edits of depth, width and learning rate, and one that only this space knows."""
        params = {"depth": spec.depth, "width": spec.widths[0], "learning_rate": spec.learning_rate}
        yield Edit(EditKind.ONE_BLOCK_FEWER, {**params, "depth": spec.depth - 1})
        yield Edit(EditKind.ONE_BLOCK_MORE, {**params, "depth": spec.depth + 1})
        yield Edit(EditKind.HALF_WIDTH, {**params, "width": spec.widths[0] // 2})
        yield Edit(EditKind.LOWER_RATE, {**params, "learning_rate": 3e-3})
        yield Edit(EditKind.HIGHER_RATE, {**params, "learning_rate": 1e-2})
        yield Edit("the middle width", {**params, "width": 16})


@dataclass(frozen=True)
class StubbornSpace(TinySpace):
    """A space that raises when it is asked for edits."""

    name: ClassVar[str] = "stubborn"

    def edits(self, spec: MlpSpec) -> Iterator[Edit]:
        """Raise an error."""
        raise RuntimeError("no edits today\nand so on")


@dataclass(frozen=True)
class SameTitleSpace(EditableSpace):
    """The same twelve candidates, with edits of one title that give different widths."""

    name: ClassVar[str] = "same title"

    def edits(self, spec: MlpSpec) -> Iterator[Edit]:
        """Yield an edit to each width."""
        params = {"depth": spec.depth, "learning_rate": spec.learning_rate}
        for width in (8, 16, 24):
            yield Edit("another width", {**params, "width": width})


@dataclass(frozen=True)
class RateSpec:
    """A spec whose learning rate is computed."""

    depth: int
    exponent: int

    @property
    def learning_rate(self) -> float:
        """Ten to the power of the exponent; below 0 for an exponent of 0, which is no rate."""
        return 10.0**self.exponent if self.exponent else -1.0


@dataclass(frozen=True)
class ComputedRateSpace:
    """A space whose specs compute their learning rates, with edits made of NumPy's numbers."""

    name: ClassVar[str] = "computed rate"

    def suggest(self, trial: Trial) -> RateSpec:
        """Return a depth and a rate, of which one is wrong."""
        depth = trial.suggest_int("depth", 3, 4)
        return RateSpec(depth, trial.suggest_int("exponent", -3, 0))

    def build(self, spec: RateSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron."""
        full = MlpSpec((8,) * spec.depth, "batch", "relu", spec.learning_rate)
        return MlpSpace().build(full, input_shape, num_classes)

    def edits(self, spec: RateSpec) -> Iterator[Edit]:
        """Yield edits whose numbers are those of NumPy."""
        for depth in np.arange(3, 5):
            yield Edit(EditKind.ONE_BLOCK_MORE, {"depth": depth, "exponent": spec.exponent})


@dataclass(frozen=True)
class NoEditsSpace(TinySpace):
    """A space that offers text for edits."""

    name: ClassVar[str] = "no edits"

    def edits(self, spec: MlpSpec) -> Iterator[Any]:
        """Yield text."""
        yield "half the width"


@dataclass(frozen=True)
class TupleSpace(TinySpace):
    """A space whose choices are tuples, which no storage gives back as they were."""

    name: ClassVar[str] = "tuples"

    def suggest(self, trial: Trial) -> MlpSpec:
        """Return a perceptron of chosen widths."""
        widths = trial.suggest_categorical("widths", ((8, 8), (16, 16)))
        return MlpSpec(widths, "batch", "relu", 3e-3)


@dataclass(frozen=True)
class NoRateSpace(TinySpace):
    """A space whose specs have no learning rate."""

    name: ClassVar[str] = "no rate"

    def suggest(self, trial: Trial) -> Any:
        """Return text for a spec."""
        return f"depth {trial.suggest_int('depth', 3, 4)}"


@dataclass(frozen=True)
class DivergingEditsSpace(EditableSpace):
    """A space in which every candidate of depth 3 gives a loss that is not finite."""

    name: ClassVar[str] = "diverging-edits"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron, with a NaN in its bias if it has three blocks."""
        model = super().build(spec, input_shape, num_classes)
        if spec.depth == 3:
            nn.init.constant_(model.head.bias, float("nan"))
        return model


@dataclass(frozen=True)
class DivergingSpace(TinySpace):
    """A space in which every candidate of width 8 gives a loss that is not finite."""

    name: ClassVar[str] = "diverging"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron, with a NaN in its bias if it is 8 wide."""
        model = super().build(spec, input_shape, num_classes)
        if spec.widths[0] == 8:
            nn.init.constant_(model.head.bias, float("nan"))
        return model


@dataclass(frozen=True)
class UnluckySpace(TinySpace):
    """A space in which every candidate gives a loss that is not finite at ``UNLUCKY_SEED``."""

    name: ClassVar[str] = "unlucky"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron, with a NaN in its bias if the seed is the unlucky one."""
        model = super().build(spec, input_shape, num_classes)
        if torch.initial_seed() == UNLUCKY_SEED:
            nn.init.constant_(model.head.bias, float("nan"))
        return model


@dataclass(frozen=True)
class BrokenSpace(TinySpace):
    """A space that builds nothing that can be trained."""

    name: ClassVar[str] = "broken"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron whose forward pass raises in training."""
        model = super().build(spec, input_shape, num_classes)
        model.head.register_forward_pre_hook(_raise_in_training)
        return model


class AbsentSpace(TinySpace):
    """A space that other processes do not have."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _absent_space, (os.getpid(),)


def _absent_space(home: int) -> AbsentSpace:
    if os.getpid() != home:
        raise SpaceError("not on this machine")
    return AbsentSpace()


@dataclass(frozen=True)
class PickySpace(TinySpace):
    """A space that cannot build candidates as wide as the first that is proposed at random."""

    name: ClassVar[str] = "picky"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron, or raise."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        if spec.widths[0] == self.suggest(study.ask()).widths[0]:
            raise ValueError("not that wide")
        return super().build(spec, input_shape, num_classes)


@dataclass(frozen=True)
class TiedSpace(TinySpace):
    """A space whose candidates of equal widths share weights in two layers; building prints."""

    name: ClassVar[str] = "tied"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron with tied weights."""
        print("building", spec)  # noqa: T201 - spaces of users print, too
        model = super().build(spec, input_shape, num_classes)
        linears: list[Any] = [block.linear for block in model.blocks]
        first, second = linears[-2:]
        if first.weight.shape == second.weight.shape:
            second.weight = first.weight
        return model


@dataclass(frozen=True)
class WrongOutputSpace(TinySpace):
    """A space whose modules have one class too many."""

    name: ClassVar[str] = "wrong_output"

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron for one more class."""
        return super().build(spec, input_shape, num_classes + 1)


@dataclass(frozen=True)
class SoftmaxSpace(TinySpace):
    """A space whose modules give probabilities."""

    name: ClassVar[str] = "softmax"

    def build(  # type: ignore[override]
        self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int
    ) -> nn.Sequential:
        """Return a perceptron with a softmax behind it."""
        return nn.Sequential(super().build(spec, input_shape, num_classes), nn.Softmax(1))


class PlainSpace:
    """A space that is no dataclass, as the Protocol allows."""

    name = "plain"

    def suggest(self, trial: Trial) -> MlpSpec:
        """Return one of the twelve specs."""
        return TinySpace().suggest(trial)

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron."""
        return TinySpace().build(spec, input_shape, num_classes)


def imbalanced() -> dict[str, Any]:
    """Return two classes that are easily told apart; one sample in ten is of the rarer one."""
    generator = np.random.default_rng(0)
    y = (np.arange(600) % 10 == 0).astype(int)
    return {"x_train": generator.normal(size=(600, 4)) + 6 * y[:, None], "y_train": y}


class NoSpace:
    """A class that neither suggests nor builds."""


def _raise_in_training(module: nn.Module, _inputs: tuple[torch.Tensor, ...]) -> None:
    if module.training:
        raise ValueError("cannot be trained")


@dataclass(frozen=True)
class SlowSpace(TinySpace):
    """A space of hundreds of tiny candidates whose building takes time but keeps no core busy."""

    pause: float = 0.06
    """Time in seconds that building takes."""

    name: ClassVar[str] = "slow"

    def suggest(self, trial: Trial) -> MlpSpec:
        """Return one of hundreds of specs."""
        widths = tuple(trial.suggest_int(f"width{i}", 8, 16) for i in range(3))
        return MlpSpec(widths, "batch", "relu", 1e-2)

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Return a perceptron after ``pause`` seconds."""
        time.sleep(self.pause)
        return super().build(spec, input_shape, num_classes)

    def edits(self, spec: MlpSpec) -> Iterator[Edit]:
        """Return edits that give one of the three blocks each width that it may have."""
        for i, width in product(range(3), range(8, 17)):
            widths = {f"width{j}": w for j, w in enumerate(spec.widths)}
            yield Edit(f"width {i} is {width}", {**widths, f"width{i}": width})


@dataclass(frozen=True)
class SlowerSpace(SlowSpace):
    """A space like ``SlowSpace``, so slow that a trial can be caught in the middle."""

    pause: float = 0.5


def tiny_run(out: Path, **changes: Any) -> Path:
    """Run a short search and return its folder."""
    quick = {"trials": 2, "epochs": 2, "confirm": 1, "confirm_seeds": 1} | changes
    search(f"{__name__}:TinySpace", f"{__name__}:blobs", out=out, **quick)
    return out


TRUSTED = ["--trust", f"{__name__}:TinySpace", "--trust", f"{__name__}:blobs"]
"""Options of a command that allow it what the folders of ``tiny_run`` name."""
