"""Tests that every search space must pass, for those who write one.

A search space is whatever has ``name``, ``suggest`` and ``build`` (``search_spaces.base``). To test
yours, subclass ``SpaceContract`` in a test file and say three things about it; pytest then runs all
tests below on it::

    from tests.support.contracts import SpaceContract

    class TestMySpace(SpaceContract):
        def space(self) -> MySpace:
            return MySpace()

        def example_params(self) -> dict[str, Any]:
            return {"depth": 3, "width": 32, "learning_rate": 1e-3}

        def input_shapes(self) -> list[tuple[int, ...]]:
            return [(1, 8, 8), (3, 7, 5)]

- The name of the class must begin with ``Test``, or pytest will not run it.
- ``example_params`` holds one value for every parameter that ``suggest`` asks a trial for; keep
  the architecture small. Values must lie in their ranges.
- ``input_shapes`` are shapes of one sample. Give every kind of input that the space takes, such as
  flat vectors and images, and the smallest one.

What the tests ask for: specs are frozen, hashable, plain enough for JSON and pickle, and equal for
equal parameters; modules give (n, classes) logits, name their blocks in the order in which they
run, treat samples alone in eval mode, can be built on the meta device, take their weights from
torch's generator, and can be trained; edits, if the space offers any, name blocks that are there
and lead to other specs. Each test says in its name what is wrong if it fails. What is
particular to your space, such as bounds of its widths, needs tests of your own.
"""

from __future__ import annotations

import json
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, is_dataclass
from typing import Any

import optuna
import pytest
import torch
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial
from torch import Tensor, nn

from search_spaces import Edit, EditableSpace, Space, Spec

CLASSES = 4
RANDOM_TRIALS = 15


class SpaceContract(ABC):
    """All tests of a search space; see the module's docstring for how to use it."""

    @abstractmethod
    def space(self) -> Space[Any]:
        """Return the space under test."""

    @abstractmethod
    def example_params(self) -> dict[str, Any]:
        """Return parameters as a study stores them, of a small architecture of the space."""

    @abstractmethod
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Return small shapes of one sample, of every kind that the space takes."""

    # --- specs ---

    def example(self) -> Any:
        """Return the spec of ``example_params``."""
        return self.space().suggest(FixedTrial(self.example_params()))

    def random_specs(self) -> list[Any]:
        """Return specs from random trials, the same every time."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        return [self.space().suggest(study.ask()) for _ in range(RANDOM_TRIALS)]

    def test_keeps_the_protocol(self) -> None:
        assert isinstance(self.space(), Space)
        assert self.space().name
        assert self.space().__doc__

    def test_gives_frozen_hashable_specs(self) -> None:
        for spec in [self.example(), *self.random_specs()]:
            assert is_dataclass(type(spec))
            assert isinstance(spec, Spec)
            assert isinstance(hash(spec), int)
            assert spec.learning_rate > 0
            with pytest.raises(FrozenInstanceError):
                setattr(spec, "learning_rate", 0.0)  # noqa: B010

    def test_gives_equal_specs_for_equal_parameters(self) -> None:
        assert self.example() == self.example()
        study = optuna.create_study(sampler=RandomSampler(seed=1))
        for _ in range(RANDOM_TRIALS):
            trial = study.ask()
            spec = self.space().suggest(trial)
            again = self.space().suggest(FixedTrial(trial.params))
            assert again == spec
            assert hash(again) == hash(spec)

    def test_gives_different_specs(self) -> None:
        assert len(set(self.random_specs())) > RANDOM_TRIALS / 2

    def test_gives_specs_that_json_can_hold(self) -> None:
        for spec in [self.example(), *self.random_specs()]:
            text = json.dumps(asdict(spec), allow_nan=False)
            assert json.loads(text)["learning_rate"] == spec.learning_rate

    def test_edits_name_their_blocks_and_lead_to_other_specs(self) -> None:
        space = self.space()
        if not isinstance(space, EditableSpace):
            return  # a space need not offer edits
        for spec in [self.example(), *self.random_specs()]:
            edits = list(space.edits(spec))
            assert len({(edit.kind, edit.block) for edit in edits}) == len(edits)
            names: Any = space.build(spec, self.input_shapes()[0], CLASSES).block_names
            assert {edit.block for edit in edits} - {None} <= set(names)
            json.dumps([dict(edit.params) for edit in edits], allow_nan=False)
            reached = [self._edited(edit) for edit in edits]
            assert {type(other) for other in reached} <= {type(spec), type(None)}
            assert any(other not in {None, spec} for other in reached)

    def _edited(self, edit: Edit) -> Any:
        """Return the spec that an edit leads to; None if the space refuses it."""
        with warnings.catch_warnings():  # of values that are out of bounds
            warnings.simplefilter("ignore")
            try:
                return self.space().suggest(FixedTrial(dict(edit.params)))
            except (ValueError, optuna.TrialPruned):
                return None

    def test_goes_to_worker_processes(self) -> None:
        there = pickle.loads(pickle.dumps(self.space()))
        assert there.suggest(FixedTrial(self.example_params())) == self.example()
        assert pickle.loads(pickle.dumps(self.example())) == self.example()

    # --- modules ---

    def build(self, spec: Any, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
        """Build the module of a spec with seeded weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.space().build(spec, shape, CLASSES)

    def inputs(self, shape: tuple[int, ...], n: int = 8) -> Tensor:
        """Return a batch of noise, the same every time."""
        return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))

    def test_builds_modules_that_give_logits(self) -> None:
        for shape in self.input_shapes():
            for spec in [self.example(), *self.random_specs()[:5]]:
                model = self.build(spec, shape)
                for mode in (True, False):
                    with torch.no_grad():
                        logits = model.train(mode)(self.inputs(shape))
                    assert tuple(logits.shape) == (8, CLASSES)
                    assert bool(logits.isfinite().all())

    def test_names_its_blocks_in_the_order_in_which_they_run(self) -> None:
        for shape in self.input_shapes():
            for spec in [self.example(), *self.random_specs()[:5]]:
                model = self.build(spec, shape).eval()
                names = list(model.block_names)  # type: ignore[arg-type]
                ran: list[str] = []
                for name in names:
                    model.get_submodule(name).register_forward_hook(_note(name, ran))
                with torch.no_grad():
                    model(self.inputs(shape))
                assert names
                assert ran == names

    def test_blocks_give_tensors_and_leave_the_head_out(self) -> None:
        for shape in self.input_shapes():
            model = self.build(self.example(), shape).eval()
            outputs: list[Tensor] = []
            for name in model.block_names:  # type: ignore[union-attr]
                model.get_submodule(name).register_forward_hook(_collect(outputs))
            with torch.no_grad():
                logits = model(self.inputs(shape))
            assert all(isinstance(out, Tensor) and len(out) == 8 for out in outputs)
            assert outputs[-1].shape != logits.shape or not torch.equal(outputs[-1], logits)

    def test_says_how_to_look_at_its_blocks_if_it_says_anything(self) -> None:
        for shape in self.input_shapes():
            how = getattr(self.build(self.example(), shape), "block_features", "flatten")
            assert how in {"flatten", "pool", "project"}

    def test_one_sample_does_not_depend_on_the_others_in_eval_mode(self) -> None:
        for shape in self.input_shapes():
            model, inputs = self.build(self.example(), shape).eval(), self.inputs(shape)
            with torch.no_grad():
                torch.testing.assert_close(model(inputs)[:2], model(inputs[:2]))

    def test_builds_without_memory_on_the_meta_device(self) -> None:
        for shape in self.input_shapes():
            for spec in [self.example(), *self.random_specs()]:
                with torch.device("meta"):
                    model = self.space().build(spec, shape, CLASSES).eval()
                    inputs = torch.empty(1, *shape)
                assert all(p.is_meta for p in model.parameters())
                assert tuple(model(inputs).shape) == (1, CLASSES)

    def test_initial_weights_come_from_torchs_generator_alone(self) -> None:
        shape = self.input_shapes()[0]
        first, again, other = (self.build(self.example(), shape, seed=seed) for seed in (1, 1, 2))
        assert _weights(first) == _weights(again)
        assert _weights(first) != _weights(other)

    def test_does_not_share_weights_between_modules(self) -> None:
        shape = self.input_shapes()[0]
        first, other = self.build(self.example(), shape), self.build(self.example(), shape)
        owned = {p.data_ptr() for p in first.parameters()}
        assert owned.isdisjoint(p.data_ptr() for p in other.parameters())

    def test_every_parameter_gets_a_finite_gradient(self) -> None:
        labels = torch.arange(8) % CLASSES
        for shape in self.input_shapes():
            for spec in [self.example(), *self.random_specs()[:5]]:
                model = self.build(spec, shape).train()
                _loss(model, self.inputs(shape), labels).backward()  # type: ignore[no-untyped-call]
                for name, parameter in model.named_parameters():
                    assert parameter.grad is not None, name
                    assert bool(parameter.grad.isfinite().all()), name

    def test_one_training_step_lowers_the_loss(self) -> None:
        labels = torch.arange(8) % CLASSES
        for shape in self.input_shapes():
            model, inputs = self.build(self.example(), shape).train(), self.inputs(shape)
            before = _loss(model, inputs, labels)
            before.backward()  # type: ignore[no-untyped-call]
            torch.optim.SGD(model.parameters(), lr=1e-4).step()
            assert bool(_loss(model, inputs, labels) < before)


def _note(name: str, ran: list[str]) -> Callable[..., None]:
    """Return a hook that notes that the block of that name ran."""
    return lambda *_: ran.append(name)


def _collect(outputs: list[Tensor]) -> Callable[..., None]:
    """Return a hook that keeps what its block gave."""
    return lambda _module, _inputs, output: outputs.append(output)


def _loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), labels)


def _weights(model: nn.Module) -> list[list[float]]:
    return [p.flatten().tolist() for p in model.parameters()]
