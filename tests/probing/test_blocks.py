"""Find the blocks of models of many structures, and say why parts are blocks or not."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.errors import InvalidInputError, ModelError
from designer.probing.blocks import taps_named
from designer.probing.calling import Inputs, submodules, unwrap
from designer.probing.probes import block_candidates, probing
from designer.probing.tracing import trace_forward
from tests.support.networks import convolutional, perceptrons
from tests.support.networks.parts import (
    IMAGES,
    SEQUENCES,
    VECTORS,
    conv,
    dense,
    head,
    linear,
    seeded,
    wired,
)
from tests.support.networks.with_blocks import NETWORKS, STAGES, blocks_of

# --- which parts ---


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_found_in_running_order(name: str) -> None:
    make, inputs, expected = NETWORKS[name]
    assert blocks_of(seeded(make), inputs) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    make, inputs, expected = NETWORKS["open sums"]
    assert blocks_of(seeded(make).to(dtype), inputs) == expected


def test_blocks_within_a_graph_that_is_broken() -> None:
    # nothing flows from input to output that autograd could see: only the structure counts
    def wiring(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            x = block(x).detach()
        logits: Tensor = m.head(x)
        return logits

    blocks = nn.ModuleList([dense() for _ in range(2)])
    model = wired("Detached", wiring, blocks=blocks, head=head())
    assert blocks_of(model, VECTORS) == ["blocks.0", "blocks.1"]


# --- why and why not ---


def reasons(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """Return the reason of every candidate."""
    return {part.name: part.reason for part in block_candidates(model, inputs)}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_with_weights_is_a_candidate_with_a_reason(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    model = seeded(make)
    if not isinstance(model, nn.Sequential):
        model.add_module("unused", nn.Linear(2, 2))
    known = submodules(unwrap(model))
    layers = {
        module
        for part, module in known.items()
        if any(p.ndim >= 2 for p in module.parameters(recurse=False))
        and not isinstance(module, nn.Embedding)
        and not part.endswith("out_proj")  # it runs within the attention that holds it
    }
    explained = reasons(model, inputs)
    assert layers <= {known[label.partition("#")[0]] for label in explained}
    assert all(explained.values())


def test_the_example_in_the_description_of_the_algorithm() -> None:
    def block() -> nn.Module:
        return wired(
            "Block",
            lambda m, x: F.relu(x + m.conv2(F.relu(m.conv1(x)))),
            conv1=conv(),
            conv2=conv(),
        )

    model = wired(
        "Small",
        lambda m, x: m.fc(m.layers(m.conv1(x)).mean((2, 3))),
        conv1=conv(3),
        layers=nn.Sequential(block(), block()),
        fc=head(4),
    )
    assert blocks_of(model, IMAGES) == ["layers.0", "layers.1"]
    assert reasons(model, IMAGES) == {
        "conv1": "runs before the first block, whose step includes it",
        "layers": "holds blocks of its own",
        "layers.0": "a block",
        "layers.0.conv1": "inside block 'layers.0'",
        "layers.0.conv2": "inside block 'layers.0'",
        "layers.1": "a block",
        "layers.1.conv1": "inside block 'layers.1'",
        "layers.1.conv2": "inside block 'layers.1'",
        "fc": "a single layer outside of the blocks",
    }


def test_the_example_of_counting_paths() -> None:
    def wiring(m: Any, x: Tensor) -> Tensor:
        stem = m.stem(x)
        logits: Tensor = m.head(m.relu(m.conv(stem)) + stem)
        return logits

    model = wired("Shortcut", wiring, stem=linear(), conv=linear(), relu=nn.ReLU(), head=head())
    trace = trace_forward(model.eval(), VECTORS, flow=True)
    cuts = {call.name: trace.is_cut(call.node) for call in trace.calls}
    assert cuts == {"stem": True, "conv": False, "relu": False, "head": True}
    summed = trace.calls[-1].received_node
    assert trace.is_cut(summed)
    assert trace.merges_at(trace.calls[2].node, summed)
    assert not trace.merges_at(summed, trace.calls[2].node)


def test_reasons_in_a_residual_network() -> None:
    model = seeded(convolutional.residual_net)
    model.add_module("unused", nn.Linear(2, 2))
    reason_of = reasons(model, IMAGES)
    assert reason_of["conv1"] == "runs before the first block, whose step includes it"
    assert reason_of["layer1"] == "holds blocks of its own"
    assert reason_of["layer1.0"] == "a block"
    assert reason_of["layer2.0.downsample.0"] == "inside block 'layer2.0'"
    assert reason_of["fc"] == "a single layer outside of the blocks"
    assert reason_of["unused"] == "does not run"


def test_reasons_in_a_row_of_layers() -> None:
    reason_of = reasons(seeded(convolutional.vgg), IMAGES)
    assert reason_of["features"] == "a row of layers, each a block of its own"
    assert reason_of["features.0"] == "a block, seen behind 'features.2'"
    assert reason_of["classifier.3"] == "gives the model's output"


def test_reasons_where_something_flows_past() -> None:
    reason_of = reasons(seeded(perceptrons.u_shaped), VECTORS)
    assert reason_of["middle"] == "a block, seen as 'up' receives it"
    reason_of = reasons(seeded(perceptrons.open_sums), VECTORS)
    assert reason_of["blocks.0"] == "a block, seen as 'blocks.1' receives it"


def test_a_side_output_is_no_block() -> None:
    def wiring(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = m.blocks[1](m.blocks[0](x))
        side = m.side(x)
        return m.head(m.blocks[2](x)), side

    model = wired(
        "Side",
        wiring,
        blocks=nn.ModuleList([dense() for _ in range(3)]),
        side=nn.Sequential(linear(6, 4), nn.ReLU(), head(4)),
        head=head(),
    )
    assert blocks_of(model, VECTORS) == ["blocks.0", "blocks.1", "blocks.2"]
    reason = reasons(model, VECTORS)["side"]
    assert reason == "its output is not on the way from the input to the model's output"


@pytest.mark.parametrize("model", [head(), nn.Sequential(head()), nn.Identity()])
def test_a_model_without_blocks(model: nn.Module) -> None:
    assert not [part for part in block_candidates(model, VECTORS) if part.chosen]
    with (
        pytest.raises(InvalidInputError, match=r"found none in .*--blocks"),
        probing(model) as probe,
    ):
        probe.features(VECTORS)


# --- names ---


def matched(model: nn.Module, inputs: Tensor, *patterns: str) -> list[str]:
    trace = trace_forward(model.eval(), inputs, flow=False)
    return [tap.name for tap in taps_named(trace, model, patterns)]


def test_patterns_stand_for_parts_of_a_name() -> None:
    model, inputs = seeded(convolutional.residual_net), IMAGES
    assert matched(model, inputs, "layer1.*") == ["layer1.0", "layer1.1"]
    assert matched(model, inputs, "layer?.0") == ["layer1.0", "layer2.0", "layer3.0"]
    assert matched(model, inputs, "*.*.conv[12]")[:2] == ["layer1.0.conv1", "layer1.0.conv2"]
    assert matched(model, inputs, "*.*.conv1") == [f"{name}.conv1" for name in STAGES]


def test_a_whole_name_is_no_pattern() -> None:
    model = nn.Sequential(OrderedDict({name: linear() for name in ("s1", "s[1]", "s2", "s*")}))
    assert matched(model, VECTORS, "s1", "s[1]", "s2") == ["s1", "s[1]", "s2"]
    assert matched(model, VECTORS, "s*") == ["s*"]
    assert matched(model, VECTORS, "s[12]") == ["s1", "s2"]


def test_blocks_come_in_running_order_whatever_the_order_of_their_names() -> None:
    model, inputs = seeded(convolutional.lenet), IMAGES
    assert matched(model, inputs, "fc2", "conv2", "conv1") == ["conv1", "conv2", "fc2"]


def test_one_run_of_several_can_be_named() -> None:
    model, inputs = seeded(perceptrons.thrice), VECTORS
    assert matched(model, inputs, "block#2") == ["block#2"]
    assert matched(model, inputs, "block") == ["block#1", "block#2", "block#3"]


def test_names_that_are_not_there() -> None:
    model, inputs = seeded(convolutional.lenet), IMAGES
    with pytest.raises(InvalidInputError, match=r"got 'nowhere'.*'conv1', 'conv2', 'fc1', 'fc2'"):
        matched(model, inputs, "conv1", "nowhere")


def test_named_blocks_that_do_not_run_or_give_no_tensor() -> None:
    def wiring(m: Any, x: Tensor) -> Tensor:
        m.text(x)
        logits: Tensor = m.body(x)
        return logits

    text = wired("Text", lambda m, x: "nothing")
    net = wired("Net", wiring, idle=linear(), text=text, body=head())
    with pytest.raises(InvalidInputError, match=r"Expected block 'idle' to run"):
        matched(net, VECTORS, "idle")
    with pytest.raises(InvalidInputError, match=r"Expected block 'text' to give a tensor"):
        matched(net, VECTORS, "text")
    assert matched(net, VECTORS, "*") == ["body"]


def test_what_a_model_raises_keeps_its_cause() -> None:
    with pytest.raises(ModelError, match=r"shape \(n, 5, 8\), but it raised") as raised:
        blocks_of(seeded(convolutional.residual_net), SEQUENCES)
    assert isinstance(raised.value.__cause__, RuntimeError)
