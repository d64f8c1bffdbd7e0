"""Spaces of networks on images keep the contract of every space, and rules of their own."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial
from torch import Tensor, nn

from designer import analyze, profile, separation_fuzziness
from designer.probing.probes import block_candidates
from search_spaces import (
    SPACES,
    CnnSpace,
    CnnSpec,
    ResnetSpace,
    ResnetSpec,
    Space,
    VitSpace,
    VitSpec,
    available_spaces,
)
from tests.support.contracts import SpaceContract

STAGED: dict[str, Any] = {
    "stages": 2,
    "depth_0": 2,
    "depth_1": 1,
    "width": 8,
    "growth": "doubling",
    "learning_rate": 1e-3,
}
CNN = {**STAGED, "normalisation": "batch"}
RESNET = {**STAGED, "block": "basic"}
VIT: dict[str, Any] = {"heads": 2, "patch": 2, "depth": 3, "width": 16, "learning_rate": 1e-3}

IMAGES = [(1, 8, 8), (3, 7, 5)]


class TestCnnSpace(SpaceContract):
    """The contract of every space, for plain convolutional networks."""

    def space(self) -> CnnSpace:
        return CnnSpace()

    def example_params(self) -> dict[str, Any]:
        return CNN

    def input_shapes(self) -> list[tuple[int, ...]]:
        return [*IMAGES, (1, 1, 1)]


class TestResnetSpace(SpaceContract):
    """The contract of every space, for residual networks of basic blocks."""

    def space(self) -> ResnetSpace:
        return ResnetSpace()

    def example_params(self) -> dict[str, Any]:
        return RESNET

    def input_shapes(self) -> list[tuple[int, ...]]:
        return [*IMAGES, (1, 1, 1)]


class TestBottlenecks(TestResnetSpace):
    """The contract of every space, for residual networks of bottleneck blocks."""

    def example_params(self) -> dict[str, Any]:
        return {**RESNET, "block": "bottleneck"}


class TestVitSpace(SpaceContract):
    """The contract of every space, for vision transformers."""

    def space(self) -> VitSpace:
        return VitSpace()

    def example_params(self) -> dict[str, Any]:
        return VIT

    def input_shapes(self) -> list[tuple[int, ...]]:
        return [*IMAGES, (1, 1, 1)]


def blocks_of(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return what each block gives, by name."""
    outputs: dict[str, Tensor] = {}
    names = tuple(model.block_names)  # type: ignore[arg-type]
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: outputs.__setitem__(name, output)
        )
        for name in names
    ]
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return outputs


def shapes_of(model: nn.Module, *shape: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of what each block gives for one sample, by name."""
    return {n: tuple(t.shape[1:]) for n, t in blocks_of(model, torch.zeros(2, *shape)).items()}


@pytest.mark.parametrize("name", ["cnn", "resnet", "vit"])
def test_they_are_built_in(name: str) -> None:
    space = available_spaces()[name]()
    assert SPACES[name] is type(space)
    assert space.name == name


@pytest.mark.parametrize("space", [CnnSpace(), ResnetSpace(), VitSpace()])
def test_only_images_will_do(space: Space[Any]) -> None:
    spec = space.suggest(optuna.create_study(sampler=RandomSampler(seed=0)).ask())
    with pytest.raises(ValueError, match=r"Expected images .*got inputs of shape \(12,\)"):
        space.build(spec, (12,), 3)


@pytest.mark.parametrize("space", [CnnSpace(), ResnetSpace(), VitSpace()])
def test_blocks_that_are_named_are_those_that_would_be_found(space: Space[Any]) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=2))
    for _ in range(4):
        model = space.build(space.suggest(study.ask()), (1, 8, 8), 3)
        detected = [c.name for c in block_candidates(model, torch.randn(5, 1, 8, 8)) if c.chosen]
        named = list(model.block_names)  # type: ignore[arg-type]
        assert detected in (named, named[1:])  # a stem may be called a block or not


# --- stages ---


def test_a_plain_network_halves_its_maps_between_stages() -> None:
    model = CnnSpace().build(CnnSpec((2, 1), (8, 16), "batch", 1e-3), (3, 8, 8), 4)
    assert shapes_of(model, 3, 8, 8) == {
        "stages.0.0": (8, 8, 8),
        "stages.0.1": (8, 8, 8),
        "stages.1.0": (16, 4, 4),
    }


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_a_residual_network_halves_its_maps_between_stages(kind: str) -> None:
    model = ResnetSpace().build(ResnetSpec(kind, (1, 2), (8, 16), 1e-3), (3, 8, 8), 4)
    stem = 8 if kind == "basic" else 2
    assert shapes_of(model, 3, 8, 8) == {
        "stem": (stem, 8, 8),
        "stages.0.0": (8, 8, 8),
        "stages.1.0": (16, 4, 4),
        "stages.1.1": (16, 4, 4),
    }


def test_widths_double_or_stay() -> None:
    study = {**CNN, "stages": 3, "depth_2": 1, "width": 12}
    assert CnnSpace().suggest(FixedTrial(study)).widths == (12, 24, 48)
    assert CnnSpace().suggest(FixedTrial({**study, "growth": "constant"})).widths == (12, 12, 12)


def test_a_residual_block_adds_its_input() -> None:
    model = ResnetSpace().build(ResnetSpec("basic", (2,), (8,), 1e-3), (1, 6, 6), 3)
    block = model.get_submodule("stages.0.1")
    for parameter in block.get_submodule("residual").parameters():
        nn.init.zeros_(parameter)
    outputs = blocks_of(model, torch.randn(4, 1, 6, 6))
    # an activation does not change what another activation gave
    assert torch.equal(outputs["stages.0.1"], outputs["stages.0.0"])


def test_convolutions_that_are_not_normalised_have_a_bias() -> None:
    plain = CnnSpace().build(CnnSpec((1,), (8,), "none", 1e-3), (1, 6, 6), 3)
    assert plain.get_submodule("stages.0.0.conv").bias is not None
    normalised = CnnSpace().build(CnnSpec((1,), (8,), "batch", 1e-3), (1, 6, 6), 3)
    assert normalised.get_submodule("stages.0.0.conv").bias is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    low=st.integers(1, 20),
    more=st.integers(8, 40),
    step=st.sampled_from([1, 4, 8]),
    depth=st.integers(1, 3),
)
def test_everything_stays_within_its_bounds(
    seed: int, low: int, more: int, step: int, depth: int
) -> None:
    bounds: dict[str, Any] = {
        "min_depth": depth,
        "max_depth": depth + 1,
        "min_width": low,
        "max_width": low + more,
        "width_step": step,
    }
    trial = optuna.create_study(sampler=RandomSampler(seed=seed)).ask
    for staged in (CnnSpace(**bounds), ResnetSpace(**bounds)):
        spec = staged.suggest(trial())
        assert 2 <= len(spec.depths) == len(spec.widths) <= 3
        assert all(depth <= blocks <= depth + 1 for blocks in spec.depths)
        assert low <= spec.widths[0] <= low + more
        assert spec.widths[0] % step == 0
    vit = VitSpace(**bounds).suggest(trial())
    assert depth <= vit.depth <= depth + 1
    assert low <= vit.width <= low + more
    assert vit.width % vit.heads == 0


# --- transformers ---


def test_a_transformer_gives_a_token_per_patch() -> None:
    model = VitSpace().build(VitSpec(4, 2, 16, 2, 1e-3), (3, 8, 8), 4)
    assert shapes_of(model, 3, 8, 8) == {"blocks.0": (4, 16), "blocks.1": (4, 16)}


def test_images_that_patches_do_not_divide_are_padded() -> None:
    model = VitSpace().build(VitSpec(4, 2, 16, 2, 1e-3), (1, 5, 9), 4)
    assert shapes_of(model, 1, 5, 9)["blocks.0"] == (2 * 3, 16)


def test_a_transformer_knows_where_its_patches_are() -> None:
    model = VitSpace().build(VitSpec(2, 2, 16, 2, 1e-3), (1, 4, 4), 4).eval()
    nn.init.normal_(model.get_parameter("positions"))
    images = torch.randn(3, 1, 4, 4)
    with torch.no_grad():
        assert not torch.allclose(model(images), model(images.flip(3).roll(1, 3)))
        nn.init.zeros_(model.get_parameter("positions"))
        swapped = torch.cat([images[..., 2:], images[..., :2]], dim=3)
        torch.testing.assert_close(model(images), model(swapped))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="Expected heads that divide the width, got width 10"):
        VitSpec(2, 2, 10, 4, 1e-3)


def test_tokens_are_pooled_for_the_probe() -> None:
    model = VitSpace().build(VitSpec(4, 2, 16, 2, 1e-3), (1, 8, 8), 3)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 1, 8, 8)
    measured = profile(model, (inputs, labels), permutations=0, resamples=0)
    assert measured.features == "pool"
    assert [layer.width for layer in measured.layers] == [16, 16, 16]
    received = model.patches(inputs).flatten(2).transpose(1, 2) + model.positions
    by_hand = separation_fuzziness(received.mean(1).detach(), labels).value
    assert measured.values[0] == pytest.approx(by_hand, rel=1e-6)
    (note,) = measured.notes
    assert "what 'blocks.0' receives" in note


# --- the law, stage by stage ---


def test_the_law_is_fitted_per_stage() -> None:
    model = ResnetSpace().build(ResnetSpec("basic", (2, 2), (8, 16), 1e-3), (1, 8, 8), 3)
    data = torch.randn(90, 1, 8, 8), torch.arange(90) % 3
    result = analyze(model, data, data)
    assert [stage.blocks for stage in result.stages] == [
        ("stem",),
        ("stages.0.0", "stages.0.1"),
        ("stages.1.0", "stages.1.1"),
    ]
