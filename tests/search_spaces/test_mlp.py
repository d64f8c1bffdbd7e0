"""The space of perceptrons keeps the contract of every space, and rules of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial
from torch import nn

from search_spaces import SPACES, Mlp, MlpSpace, MlpSpec, available_spaces
from search_spaces.mlp import ACTIVATIONS, NORMALISATIONS
from tests.support.contracts import SpaceContract

PARAMS: dict[str, Any] = {
    "depth": 3,
    "shape": "constant",
    "width": 32,
    "normalisation": "batch",
    "activation": "relu",
    "learning_rate": 1e-3,
}


def suggested(space: MlpSpace | None = None, **params: Any) -> MlpSpec:
    """Return the spec for ``PARAMS``, some of them changed."""
    return (space or MlpSpace()).suggest(FixedTrial({**PARAMS, **params}))


class TestMlpSpace(SpaceContract):
    """The contract of every space."""

    def space(self) -> MlpSpace:
        return MlpSpace()

    def example_params(self) -> dict[str, Any]:
        return PARAMS

    def input_shapes(self) -> list[tuple[int, ...]]:
        return [(1, 6, 6), (3, 4, 4), (12,)]


def test_it_is_built_in() -> None:
    assert SPACES["mlp"] is MlpSpace
    assert isinstance(available_spaces()["mlp"](), MlpSpace)


# --- widths ---


def test_constant_widths() -> None:
    assert suggested(depth=4, width=48).widths == (48,) * 4


def test_tapered_widths_fall_geometrically() -> None:
    spec = suggested(shape="tapered", depth=3, width=256, last_width=64)
    assert spec.widths == (256, 128, 64)


def test_tapered_widths_may_rise() -> None:
    assert suggested(shape="tapered", depth=3, width=16, last_width=256).widths == (16, 64, 256)


def test_tapered_to_its_own_width_equals_constant() -> None:
    assert suggested(shape="tapered", last_width=32) == suggested(shape="constant")


def test_free_widths_are_one_choice_per_layer() -> None:
    spec = suggested(shape="free", depth=3, width_0=16, width_1=200, width_2=64)
    assert spec.widths == (16, 200, 64)
    assert spec.depth == 3


@pytest.mark.parametrize(("asked", "rounded"), [(16, 16), (33, 32), (37, 40), (255, 256)])
def test_widths_are_rounded_to_the_step(asked: int, rounded: int) -> None:
    assert suggested(width=asked).widths == (rounded,) * 3


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    low=st.integers(8, 40),
    more=st.integers(0, 200),
    step=st.sampled_from([1, 8, 16]),
    depth=st.integers(1, 6),
)
def test_everything_stays_within_its_bounds(
    seed: int, low: int, more: int, step: int, depth: int
) -> None:
    space = MlpSpace(
        min_depth=depth,
        max_depth=depth + 2,
        min_width=low,
        max_width=low + more,
        width_step=step,
        normalisations=("layer",),
        activations=("tanh", "gelu"),
    )
    spec = space.suggest(optuna.create_study(sampler=RandomSampler(seed=seed)).ask())
    assert depth <= spec.depth <= depth + 2
    assert all(low <= width <= low + more for width in spec.widths)
    assert spec.normalisation == "layer"
    assert spec.activation in {"tanh", "gelu"}
    assert space.min_learning_rate <= spec.learning_rate <= space.max_learning_rate


@pytest.mark.parametrize("rate", [2e-3, 4e-4, 7e-3])
def test_a_learning_rate_that_is_given_is_kept_within_its_bounds(rate: float) -> None:
    space = MlpSpace(min_learning_rate=rate, max_learning_rate=rate)
    assert suggested(space, learning_rate=rate).learning_rate == pytest.approx(rate, rel=0.01)


def test_nearly_equal_learning_rates_are_one_candidate() -> None:
    assert suggested(learning_rate=1.00e-3) == suggested(learning_rate=1.05e-3)
    assert suggested(learning_rate=1.00e-3) != suggested(learning_rate=2.00e-3)


# --- modules ---


def built(spec: MlpSpec, shape: tuple[int, ...] = (12,), classes: int = 4) -> Mlp:
    """Build the module of ``spec``."""
    return MlpSpace().build(spec, shape, classes)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("widths", [(16,), (32, 16, 24)])
def test_number_of_parameters(normalisation: str, widths: tuple[int, ...]) -> None:
    dims = (12, *widths)
    per_unit = {"batch": 2, "layer": 3, "none": 1}[normalisation]  # scale and shift, bias
    expected = sum(a * b + per_unit * b for a, b in pairwise(dims)) + (widths[-1] + 1) * 4
    model = built(MlpSpec(widths, normalisation, "relu", 1e-3), (3, 2, 2))
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("normalisation", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)]
)
def test_every_block_is_normalised(normalisation: str, kind: type[nn.Module]) -> None:
    model = built(MlpSpec((8, 8), normalisation, "relu", 1e-3))
    assert sum(isinstance(m, kind) for m in model.modules()) == 2


def test_no_normalisation() -> None:
    model = built(MlpSpec((8, 8), "none", "relu", 1e-3))
    assert not any(isinstance(m, nn.BatchNorm1d | nn.LayerNorm) for m in model.modules())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_blocks_end_in_their_activation(activation: str) -> None:
    model = built(MlpSpec((8, 8), "layer", activation, 1e-3)).eval()
    block = model.get_submodule(model.block_names[0])
    assert isinstance(block, nn.Sequential)
    x = torch.randn(5, 12)
    expected = {
        "relu": torch.relu,
        "gelu": nn.functional.gelu,
        "tanh": torch.tanh,
    }[activation](block[:-1](x))
    torch.testing.assert_close(block(x), expected)


def test_images_are_flattened() -> None:
    model = built(MlpSpec((8,), "batch", "relu", 1e-3), (3, 2, 2)).eval()
    x = torch.randn(5, 3, 2, 2)
    torch.testing.assert_close(model(x), model(x.flatten(1)))


def test_one_block_per_width() -> None:
    assert built(MlpSpec((8, 16, 8), "batch", "relu", 1e-3)).block_names == (
        "blocks.0",
        "blocks.1",
        "blocks.2",
    )
