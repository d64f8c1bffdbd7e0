"""Which parts of a model are its blocks, in models of many structures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.errors import InvalidInputError, ModelError
from designer.probing.blocks import taps_named
from designer.probing.calling import Inputs, arguments, tensors_of
from designer.probing.probes import block_candidates, probing
from designer.probing.tracing import trace_forward
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import (
    IMAGES,
    SEQUENCES,
    TOKENS,
    VECTORS,
    dense,
    head,
    linear,
    seeded,
    wired,
)

Make = Callable[[], nn.Module]

STAGES = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0"]

MASK = 1 - sequences.padding().long()


def numbered(name: str, count: int = 3) -> list[str]:
    """Names of the parts of a sequence."""
    return [f"{name}.{i}" for i in range(count)]


NETWORKS: dict[str, tuple[Make, Inputs, list[str]]] = {
    # rows of layers are cut behind each one's activation
    "row": (perceptrons.row, VECTORS, ["1", "3"]),
    "row in place": (lambda: perceptrons.row(inplace=True), VECTORS, ["1", "3"]),
    "normed row": (perceptrons.normed_row, VECTORS.view(7, 1, 2, 3), ["3", "7"]),
    "functional": (perceptrons.functional, VECTORS, ["a", "b"]),
    "one activation": (perceptrons.one_activation, VECTORS, ["a", "b"]),
    "tied weights": (perceptrons.tied_weights, VECTORS, ["1", "3"]),
    "vgg": (convolutional.vgg, IMAGES, ["features.2", "features.6", "classifier.1"]),
    "lenet": (convolutional.lenet, IMAGES, ["conv1", "conv2", "fc1"]),
    "lstm": (lambda: sequences.recurrent(nn.LSTM), SEQUENCES, ["first", "second"]),
    "gru": (lambda: sequences.recurrent(nn.GRU), SEQUENCES, ["first", "second"]),
    "recurrent stack": (sequences.recurrent_stack, SEQUENCES, numbered("layers")),
    # layers side by side have one place behind them all, called after the last
    "parallel": (perceptrons.parallel, VECTORS, ["b"]),
    # blocks
    "listed": (perceptrons.listed, VECTORS, numbered("layers")),
    "thrice": (perceptrons.thrice, VECTORS, ["block#1", "block#2", "block#3"]),
    "tied modules": (perceptrons.tied_modules, VECTORS, ["first", "second"]),
    "twice": (perceptrons.twice, VECTORS, ["0", "1", "2"]),
    "two inputs": (perceptrons.two_inputs, (VECTORS, VECTORS + 1), ["first", "second"]),
    "named inputs": (perceptrons.two_inputs, {"b": VECTORS + 1, "a": VECTORS}, ["first", "second"]),
    "listed inputs": (perceptrons.listed_inputs, (VECTORS, VECTORS + 1), numbered("blocks")),
    "listed named inputs": (
        perceptrons.listed_inputs,
        {"b": VECTORS + 1, "a": VECTORS},
        numbered("blocks"),
    ),
    "open activations": (perceptrons.open_activations, VECTORS, ["one", "two"]),
    "overwriting": (perceptrons.overwriting, VECTORS, numbered("blocks")),
    "counting": (perceptrons.counting, VECTORS, numbered("blocks")),
    "forking": (perceptrons.forking, VECTORS, numbered("blocks")),
    "dropping": (perceptrons.dropping, VECTORS, numbered("blocks")),
    # blocks that are flowed past
    "open sums": (perceptrons.open_sums, VECTORS, numbered("blocks")),
    "dropping sums": (lambda: perceptrons.dropping(adds=True), VECTORS, numbered("blocks")),
    "branches": (convolutional.branches, IMAGES, numbered("blocks")),
    "residual": (convolutional.residual_net, IMAGES, STAGES),
    "preactivated": (
        lambda: convolutional.residual_net(convolutional.preactivated),
        IMAGES,
        STAGES,
    ),
    "wrapped": (lambda: nn.DataParallel(convolutional.residual_net()), IMAGES, STAGES),
    "inverted": (convolutional.inverted_net, IMAGES, numbered("features", 4)),
    "dense": (convolutional.dense_net, IMAGES, ["dense1", "transition", "dense2"]),
    "concatenating": (convolutional.concatenating, IMAGES, numbered("layers")),
    "gathering": (perceptrons.gathering, VECTORS, numbered("units")),
    "inception": (convolutional.inception_net, IMAGES, ["stem", "a", "b"]),
    # what flows past the middle comes back on the way up
    "u-shaped": (perceptrons.u_shaped, VECTORS, ["down", "middle", "up"]),
    "u-net": (convolutional.u_net, IMAGES, ["down1", "up2", "up1"]),
    # transformers
    "encoder": (sequences.encoder, SEQUENCES, numbered("layers")),
    "norm first": (lambda: sequences.encoder(norm_first=True), SEQUENCES, numbered("layers")),
    "padded encoder": (sequences.padded_encoder, SEQUENCES, numbered("encoder.layers")),
    "classifying": (sequences.classifying_encoder, SEQUENCES, numbered("model.encoder.layers")),
    "sequence first": (
        lambda: sequences.classifying_encoder(batch_first=False),
        SEQUENCES,
        numbered("model.encoder.layers"),
    ),
    "mixer": (sequences.mixer, SEQUENCES, numbered("blocks", 2)),
    "tokens": (sequences.language_model, TOKENS, numbered("blocks")),
    "tied head": (lambda: sequences.language_model(tied=True), TOKENS, numbered("blocks")),
    "frozen embedding": (lambda: sequences.language_model(frozen=True), TOKENS, numbered("blocks")),
    "frozen": (
        lambda: sequences.language_model(tied=True).requires_grad_(requires_grad=False),
        TOKENS,
        numbered("blocks"),
    ),
    "bert": (
        sequences.bert,
        {"input_ids": TOKENS, "attention_mask": MASK},
        numbered("encoder.layers", 2),
    ),
    "bert, floating mask": (
        sequences.bert,
        {"input_ids": TOKENS, "attention_mask": MASK.float()},
        numbered("encoder.layers", 2),
    ),
}
"""Of each: how to make it, a batch of 7, and its blocks in running order."""


def disturbed(model: nn.Module) -> nn.Module:
    """The network in a state that is easily changed: mixed modes, gradients, a frozen weight, a
    hook of the user's own."""
    model.train()
    parts = list(model.children())
    parts[0].eval()
    parts[-1].register_forward_hook(lambda *_: None)
    first, *others = model.parameters()
    first.requires_grad = False
    for parameter in others:
        parameter.grad = torch.ones_like(parameter)
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that looking inside must not change, as comparable values."""
    modules, parameters = list(model.modules()), list(model.parameters())
    return {
        "modes": [m.training for m in modules],
        "hooks": [[*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks] for m in modules],
        "attributes": [sorted(vars(m)) for m in modules],
        "nested": [m.use_nested_tensor for m in modules if isinstance(m, nn.TransformerEncoder)],
        "buffers": [(name, id(b), b.tolist()) for name, b in model.named_buffers()],
        "parameters": [(id(p), p.requires_grad, p.tolist()) for p in parameters],
        "gradients": [
            None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in parameters
        ],
        "random": torch.get_rng_state().tolist(),
    }


def found(model: nn.Module, inputs: Inputs) -> list[str]:
    """Names of the blocks, which the probe and the list of candidates must agree on."""
    with probing(model) as probe:
        features = probe.features(inputs)
    names = list(probe.names)
    assert len(features) == len(names) + 1
    for seen in features:
        assert len(seen) == len(tensors_of(inputs)[0])
        assert seen.isfinite().all()
    chosen = [one.name for one in block_candidates(model, inputs) if one.chosen]
    assert len(chosen) == len(names)
    return names


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_found_in_running_order(name: str) -> None:
    make, inputs, expected = NETWORKS[name]
    assert found(seeded(make), inputs) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    make, inputs, expected = NETWORKS["open sums"]
    assert found(seeded(make).to(dtype), inputs) == expected


def test_a_compiled_model_and_compiled_parts() -> None:
    model: Any = disturbed(seeded(convolutional.residual_net))
    whole: Any = torch.compile(model, backend="eager")
    before = state_of(whole)
    assert found(whole, IMAGES) == STAGES
    assert state_of(whole) == before
    model.layer1 = torch.compile(model.layer1, backend="eager")
    model.layer2.compile(backend="eager")
    assert found(model, IMAGES) == STAGES


def test_blocks_within_a_graph_that_is_broken() -> None:
    # nothing flows from input to output that autograd could see: only the structure counts
    def wiring(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            x = block(x).detach()
        logits: Tensor = m.head(x)
        return logits

    blocks = nn.ModuleList([dense() for _ in range(2)])
    model = wired("Detached", wiring, blocks=blocks, head=head())
    assert found(model, VECTORS) == ["blocks.0", "blocks.1"]


# --- what is seen there ---


def of_all(parts: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What each gives of what the one before gave."""
    return list(accumulate(parts, lambda seen, part: part(seen), initial=x))[1:]


def sums(parts: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """The same where each adds to what it receives."""
    return list(accumulate(parts, lambda seen, part: seen + part(seen), initial=x))[1:]


def of_tokens(m: Any, x: Tensor) -> list[Tensor]:
    """What the first block of a model of tokens receives, and what each gives."""
    return [x, *of_all(m.blocks, x)]


def stem_of(m: Any, x: Tensor) -> Tensor:
    activated: Tensor = m.relu(m.bn1(m.conv1(x)))
    return activated


def of_residual_net(m: Any, x: Tensor) -> list[Tensor]:
    return [x.flatten(1), *of_all([*m.layer1, *m.layer2, *m.layer3], stem_of(m, x))]


def of_lenet(m: Any, x: Tensor) -> list[Tensor]:
    first = F.max_pool2d(m.conv1(x).relu(), 2)
    second = F.adaptive_avg_pool2d(m.conv2(first).relu(), 2).flatten(1)
    return [x.flatten(1), first, second, m.fc1(second).relu()]


def of_u_net(m: Any, x: Tensor) -> list[Tensor]:
    first = m.down1(x)
    second = m.down2(F.max_pool2d(first, 2))
    middle = F.interpolate(m.middle(F.max_pool2d(second, 2)), scale_factor=2)
    up = F.interpolate(m.up2(torch.cat([middle, second], dim=1)), scale_factor=2)
    joined = torch.cat([up, first], dim=1)
    return [x.flatten(1), first, joined, m.up1(joined)]


def of_u_shaped(m: Any, x: Tensor) -> list[Tensor]:
    down = m.down(x)
    joined = torch.cat([down, m.middle(down)], dim=1)
    return [x, down, joined, m.up(joined)]


def of_gathering(m: Any, x: Tensor) -> list[Tensor]:
    seen = [x]
    for unit in m.units:
        seen.append(torch.cat([seen[-1], unit(seen[-1])], dim=1))
    return seen


def of_dense_net(m: Any, x: Tensor) -> list[Tensor]:
    return [x.flatten(1), *of_all([m.dense1, m.transition, m.dense2], m.stem(x))]


def of_open_activations(m: Any, x: Tensor) -> list[Tensor]:
    first = m.one(x).relu()
    return [x, first, m.two(first).relu()]


def of_overwriting(m: Any, x: Tensor) -> list[Tensor]:
    seen = [m.stem(x)]
    for _, layer in m.blocks:
        seen.append(layer(seen[-1].relu()))
    return [x, *seen[1:]]


def of_padded_encoder(m: Any, x: Tensor) -> list[Tensor]:
    seen = [m.embed(x)]
    for layer in m.encoder.layers:
        seen.append(layer(seen[-1], src_key_padding_mask=sequences.padding()))
    return [x.flatten(1), *seen[1:]]


def of_sequence_first(m: Any, x: Tensor) -> list[Tensor]:
    seen = of_all(m.model.encoder.layers, x.transpose(0, 1))
    return [x.flatten(1), *(t.transpose(0, 1) for t in seen)]


def of_two_inputs(m: Any, a: Tensor, b: Tensor) -> list[Tensor]:
    both = torch.cat([a, b], dim=1)
    return [both, *of_all([m.first, m.second], both)]


def of_named_inputs(m: Any, b: Tensor, a: Tensor) -> list[Tensor]:
    return [torch.cat([b, a], dim=1), *of_two_inputs(m, a, b)[1:]]


def of_language_model(m: Any, tokens: Tensor) -> list[Tensor]:
    return of_tokens(m, m.embedding(tokens) + m.positions.weight)


def of_bert(m: Any, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
    seen = [m.embeddings(input_ids)]
    for layer in m.encoder.layers:
        seen.append(layer(seen[-1])[0])
    return seen


BY_HAND: dict[str, Callable[..., list[Tensor]]] = {
    "row in place": lambda m, x: [x, m[0](x).relu(), m[2](m[0](x).relu()).relu()],
    "one activation": lambda m, x: [x, m.a(x).relu(), m.b(m.a(x).relu()).relu()],
    "lenet": of_lenet,
    "parallel": lambda m, x: [x, m.a(x).relu() + m.b(x)],
    "thrice": lambda m, x: [x, *of_all([m.block] * 3, m.stem(x))],
    "tied modules": lambda m, x: [x, *of_all([m.first, m.first], x)],
    "twice": lambda m, x: [x, *of_all([m[0], m[1], m[0]], x)],
    "two inputs": of_two_inputs,
    "named inputs": of_named_inputs,
    "open activations": of_open_activations,
    "overwriting": of_overwriting,
    "counting": lambda m, x: [x, *of_all(m.blocks, x)],
    "open sums": lambda m, x: [x, *sums(m.blocks, m.stem(x).relu())],
    "dropping sums": lambda m, x: [x, *sums(m.blocks, x)],
    "residual": of_residual_net,
    "preactivated": of_residual_net,
    "wrapped": lambda m, x: of_residual_net(m.module, x),
    "inverted": lambda m, x: [x.flatten(1), *of_all(m.features, x)],
    "dense": of_dense_net,
    "gathering": of_gathering,
    "u-shaped": of_u_shaped,
    "u-net": of_u_net,
    "encoder": lambda m, x: [x.flatten(1), *of_all(m.layers, x)],
    "padded encoder": of_padded_encoder,
    "sequence first": of_sequence_first,
    "tied head": of_language_model,
    "frozen": of_language_model,
    "bert": of_bert,
    "bert, floating mask": of_bert,
    "lstm": lambda m, x: [x.flatten(1), m.first(x)[0], m.second(m.first(x)[0])[0]],
}
"""Input and what the blocks of some of the networks give, from the network and a batch."""


def unfused(model: nn.Module) -> nn.Module:
    """The network with something to run behind each transformer layer, which makes it run its
    parts one by one, as a probe does."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("name", BY_HAND)
def test_each_block_is_seen_where_it_ends_and_the_model_stays_as_it_was(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    model = disturbed(seeded(make))
    given = [t.clone() for t in tensors_of(inputs)]
    before = state_of(model)
    with probing(model) as probe:
        features = probe.features(inputs)
    block_candidates(model, inputs)
    assert state_of(model) == before
    assert all(torch.equal(t, was) for t, was in zip(tensors_of(inputs), given, strict=True))
    args, named = arguments(inputs)
    with torch.no_grad():
        expected = BY_HAND[name](unfused(model.eval()), *args, **named)
    assert [t.shape for t in features] == [t.shape for t in expected]
    for seen, wanted in zip(features, expected, strict=True):
        assert torch.equal(seen, wanted)


# --- why and why not ---


def reasons(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """What is said of every candidate."""
    return {one.name: one.reason for one in block_candidates(model, inputs)}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_with_weights_is_a_candidate_with_a_reason(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    model = seeded(make)
    if not isinstance(model, nn.Sequential):
        model.add_module("unused", nn.Linear(2, 2))
    assert all(reasons(model, inputs).values())


def test_reasons_in_a_residual_network() -> None:
    model = seeded(convolutional.residual_net)
    model.add_module("unused", nn.Linear(2, 2))
    said = reasons(model, IMAGES)
    assert said["conv1"] == "runs before the first block, whose step includes it"
    assert said["layer1"] == "holds blocks of its own"
    assert said["layer1.0"] == "a block"
    assert said["layer2.0.downsample.0"] == "inside block 'layer2.0'"
    assert said["fc"] == "a single layer outside of the blocks"
    assert said["unused"] == "does not run"


def test_reasons_in_a_row_of_layers() -> None:
    said = reasons(seeded(convolutional.vgg), IMAGES)
    assert said["features"] == "a row of layers, each a block of its own"
    assert said["features.0"] == "a block, seen behind 'features.2'"
    assert said["classifier.3"] == "gives the model's output"


def test_reasons_where_something_flows_past() -> None:
    said = reasons(seeded(perceptrons.u_shaped), VECTORS)
    assert said["middle"] == "a block, seen as 'up' receives it"
    said = reasons(seeded(perceptrons.open_sums), VECTORS)
    assert said["blocks.0"] == "a block, seen as 'blocks.1' receives it"


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
    assert found(model, VECTORS) == ["blocks.0", "blocks.1", "blocks.2"]
    reason = reasons(model, VECTORS)["side"]
    assert reason == "its output is not on the way from the input to the model's output"


@pytest.mark.parametrize("model", [head(), nn.Sequential(head()), nn.Identity()])
def test_a_model_without_blocks(model: nn.Module) -> None:
    assert not [one for one in block_candidates(model, VECTORS) if one.chosen]
    with (
        pytest.raises(InvalidInputError, match=r"found none in .*--blocks"),
        probing(model) as probe,
    ):
        probe.features(VECTORS)


# --- names ---


def matched(model: nn.Module, inputs: Tensor, *patterns: str) -> list[str]:
    seen = trace_forward(model.eval(), inputs, flow=False)
    return [tap.name for tap in taps_named(seen, model, patterns)]


def test_patterns_stand_for_parts_of_a_name() -> None:
    model, inputs = seeded(convolutional.residual_net), IMAGES
    assert matched(model, inputs, "layer1.*") == ["layer1.0", "layer1.1"]
    assert matched(model, inputs, "layer?.0") == ["layer1.0", "layer2.0", "layer3.0"]
    assert matched(model, inputs, "*.*.conv[12]")[:2] == ["layer1.0.conv1", "layer1.0.conv2"]
    assert matched(model, inputs, "*.*.conv1") == [f"{name}.conv1" for name in STAGES]


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
        found(seeded(convolutional.residual_net), SEQUENCES)
    assert isinstance(raised.value.__cause__, RuntimeError)
