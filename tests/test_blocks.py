"""Which parts of a model are its blocks, in models of many structures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from designer.blocks import Inputs, matching, trace
from designer.errors import InvalidInputError, ModelError
from designer.probes import candidates_of, probing
from tests.zoo import (
    IMAGES,
    ROWS,
    VECTORS,
    ZOO,
    CharacterModel,
    Functional,
    OpenSums,
    ResidualNet,
    Shared,
    TwoInputs,
    Vgg,
    frozen,
    inputs_of,
    made,
)


def found(model: nn.Module, inputs: Inputs) -> list[str]:
    """Names of the blocks, which the probe and the list of candidates must agree on."""
    with probing(model) as probe:
        probe.features(inputs)
    names = list(probe.names)
    chosen = [one.name for one in candidates_of(model, inputs) if one.chosen]
    assert len(chosen) == len(names)
    return names


@pytest.mark.parametrize("name", ZOO)
def test_blocks_are_found_in_running_order(name: str) -> None:
    make, shape, expected = ZOO[name]
    assert found(made(make), inputs_of(shape)) == expected


@pytest.mark.parametrize("make", [CharacterModel, frozen])
def test_tokens_begin_at_their_embedding(make: type[CharacterModel]) -> None:
    tokens = torch.arange(45).view(5, 9) % 20
    assert found(made(make), tokens) == ["layers.0", "layers.1", "layers.2"]


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_several_inputs(form: str) -> None:
    left, right = inputs_of((8,)), inputs_of((8,)) + 1
    inputs: Inputs = (left, right) if form == "tuple" else {"right": right, "left": left}
    assert found(made(TwoInputs), inputs) == ["blocks.0", "blocks.1", "blocks.2"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    make, shape, expected = ZOO["open sums"]
    assert found(made(make).to(dtype), inputs_of(shape)) == expected


def test_a_compiled_model_and_compiled_parts() -> None:
    model = made(ResidualNet)
    expected = ZOO["residual"][2]
    whole = torch.compile(model, backend="eager")
    assert found(whole, inputs_of(IMAGES)) == expected  # type: ignore[arg-type]
    model.layer1 = torch.compile(model.layer1, backend="eager")
    assert found(model, inputs_of(IMAGES)) == expected


def test_blocks_within_a_graph_that_is_broken() -> None:
    # nothing flows from input to output that autograd could see: only the structure counts

    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(12, 12), nn.ReLU()) for _ in range(2)
            )
            self.head = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x).detach()
            logits: Tensor = self.head(x)
            return logits

    assert found(Detached(), inputs_of(VECTORS)) == ["blocks.0", "blocks.1"]


# --- why and why not ---


def reasons(model: nn.Module, inputs: Tensor) -> dict[str, str]:
    """What is said of every candidate."""
    return {one.name: one.reason for one in candidates_of(model, inputs)}


def test_every_part_with_weights_is_a_candidate_with_a_reason() -> None:
    for make, shape, _ in ZOO.values():
        model = made(make)
        model.add_module("unused", nn.Linear(2, 2)) if not isinstance(model, nn.Sequential) else 0
        said = reasons(model, inputs_of(shape))
        assert all(said.values())


def test_reasons_in_a_residual_network() -> None:
    model = made(ResidualNet)
    model.add_module("unused", nn.Linear(2, 2))
    said = reasons(model, inputs_of(IMAGES))
    assert said["conv1"] == "runs before the first block, whose step holds its share"
    assert said["layer1"] == "holds blocks of its own"
    assert said["layer1.0"] == "a block"
    assert said["layer2.0.downsample.0"] == "inside block 'layer2.0'"
    assert said["fc"] == "a single layer outside of the blocks"
    assert said["unused"] == "does not run"


def test_reasons_in_a_row_of_layers() -> None:
    said = reasons(made(Vgg), inputs_of(IMAGES))
    assert said["features"] == "a row of layers, each a block of its own"
    assert said["features.0"] == "a block, seen behind 'features.1'"
    assert said["classifier.3"] == "gives the model's output"


def test_reasons_where_something_flows_past() -> None:
    make, shape, _ = ZOO["skipping"]
    assert reasons(made(make), inputs_of(shape))["middle"] == "a block, seen as 'up' receives it"
    said = reasons(made(OpenSums), inputs_of(VECTORS))
    assert said["blocks.0"] == "a block, seen as 'blocks.1' receives it"


def test_a_side_output_is_no_block() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(12, 12), nn.ReLU()) for _ in range(3)
            )
            self.side = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
            self.head = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.blocks[1](self.blocks[0](x))
            side = self.side(x)
            return self.head(self.blocks[2](x)), side

    model = Side()
    assert found(model, inputs_of(VECTORS)) == ["blocks.0", "blocks.1", "blocks.2"]
    reason = reasons(model, inputs_of(VECTORS))["side"]
    assert reason == "what it gives does not lead from the input to the output"


@pytest.mark.parametrize(
    "model", [nn.Linear(12, 3), nn.Sequential(nn.Linear(12, 3)), nn.Identity()]
)
def test_a_model_without_blocks(model: nn.Module) -> None:
    assert not [one for one in candidates_of(model, inputs_of(VECTORS)) if one.chosen]
    with (
        pytest.raises(InvalidInputError, match=r"found none in .*--blocks"),
        probing(model) as probe,
    ):
        probe.features(inputs_of(VECTORS))


# --- names ---


def matched(model: nn.Module, inputs: Tensor, *patterns: str) -> list[str]:
    seen = trace(model.eval(), inputs, flow=False)
    return [tap.name for tap in matching(seen, model, patterns)]


def test_patterns_stand_for_parts_of_a_name() -> None:
    model, inputs = made(ResidualNet), inputs_of(IMAGES)
    assert matched(model, inputs, "layer1.*") == ["layer1.0", "layer1.1"]
    assert matched(model, inputs, "layer?.0") == ["layer1.0", "layer2.0", "layer3.0"]
    assert matched(model, inputs, "*.*.conv[12]")[:2] == ["layer1.0.conv1", "layer1.0.conv2"]
    assert matched(model, inputs, "*.*.conv1") == [f"{name}.conv1" for name in ZOO["residual"][2]]


def test_blocks_come_in_running_order_whatever_the_order_of_their_names() -> None:
    model, inputs = made(Functional), inputs_of(IMAGES)
    assert matched(model, inputs, "fc2", "conv2", "conv1") == ["conv1", "conv2", "fc2"]


def test_one_run_of_several_can_be_named() -> None:
    model, inputs = made(Shared), inputs_of(VECTORS)
    assert matched(model, inputs, "block#2") == ["block#2"]
    assert matched(model, inputs, "block") == ["block#1", "block#2", "block#3"]


def test_names_that_are_not_there() -> None:
    model, inputs = made(Functional), inputs_of(IMAGES)
    with pytest.raises(InvalidInputError, match=r"got 'nowhere'.*'conv1', 'conv2', 'fc1', 'fc2'"):
        matched(model, inputs, "conv1", "nowhere")


def test_named_blocks_that_do_not_run_or_give_no_tensor() -> None:
    class Gives(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "nothing"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.text, self.body = nn.Linear(3, 3), Gives(), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.text(x)
            logits: Tensor = self.body(x)
            return logits

    with pytest.raises(InvalidInputError, match=r"Expected block 'idle' to run"):
        matched(Net(), inputs_of(VECTORS), "idle")
    with pytest.raises(InvalidInputError, match=r"Expected block 'text' to give a tensor"):
        matched(Net(), inputs_of(VECTORS), "text")
    assert matched(Net(), inputs_of(VECTORS), "*") == ["body"]


def test_what_a_model_raises_keeps_its_cause() -> None:
    with pytest.raises(ModelError, match=r"shape \(n, 7, 12\), but it raised") as raised:
        found(made(ResidualNet), inputs_of(ROWS))
    assert isinstance(raised.value.__cause__, RuntimeError)
