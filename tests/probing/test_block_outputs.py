"""Each block is seen where it ends, and looking leaves the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.probing.calling import arguments, tensors_of
from designer.probing.probes import block_candidates, probing
from tests.support.networks import convolutional, sequences
from tests.support.networks.parts import IMAGES, seeded
from tests.support.networks.with_blocks import NETWORKS, STAGES, blocks_of


def disturbed(model: nn.Module) -> nn.Module:
    """Put a network into a state that is easily changed, and return it.

    It has mixed modes, gradients, a frozen weight and a hook of the user's own.
    """
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
    """Return all that looking inside must not change, as comparable values."""
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


def test_a_compiled_model_and_compiled_parts() -> None:
    model: Any = disturbed(seeded(convolutional.residual_net))
    whole: Any = torch.compile(model, backend="eager")
    before = state_of(whole)
    assert blocks_of(whole, IMAGES) == STAGES
    assert state_of(whole) == before
    model.layer1 = torch.compile(model.layer1, backend="eager")
    model.layer2.compile(backend="eager")
    assert blocks_of(model, IMAGES) == STAGES


def of_all(parts: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return what each part gives when it receives what the one before gave."""
    return list(accumulate(parts, lambda h, part: part(h), initial=x))[1:]


def sums(parts: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return what each part gives when it adds to what it receives."""
    return list(accumulate(parts, lambda h, part: h + part(h), initial=x))[1:]


def of_tokens(m: Any, x: Tensor) -> list[Tensor]:
    """Return what the first block of a model of tokens receives, and what each gives."""
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
    features = [x]
    for unit in m.units:
        features.append(torch.cat([features[-1], unit(features[-1])], dim=1))
    return features


def of_dense_net(m: Any, x: Tensor) -> list[Tensor]:
    return [x.flatten(1), *of_all([m.dense1, m.transition, m.dense2], m.stem(x))]


def of_open_activations(m: Any, x: Tensor) -> list[Tensor]:
    first = m.one(x).relu()
    return [x, first, m.two(first).relu()]


def of_overwriting(m: Any, x: Tensor) -> list[Tensor]:
    features = [m.stem(x)]
    for _, layer in m.blocks:
        features.append(layer(features[-1].relu()))
    return [x, *features[1:]]


def of_padded_encoder(m: Any, x: Tensor) -> list[Tensor]:
    features = [m.embed(x)]
    for layer in m.encoder.layers:
        features.append(layer(features[-1], src_key_padding_mask=sequences.padding()))
    return [x.flatten(1), *features[1:]]


def of_sequence_first(m: Any, x: Tensor) -> list[Tensor]:
    features = of_all(m.model.encoder.layers, x.transpose(0, 1))
    return [x.flatten(1), *(t.transpose(0, 1) for t in features)]


def of_two_inputs(m: Any, a: Tensor, b: Tensor) -> list[Tensor]:
    both = torch.cat([a, b], dim=1)
    return [both, *of_all([m.first, m.second], both)]


def of_named_inputs(m: Any, b: Tensor, a: Tensor) -> list[Tensor]:
    return [torch.cat([b, a], dim=1), *of_two_inputs(m, a, b)[1:]]


def of_language_model(m: Any, tokens: Tensor) -> list[Tensor]:
    return of_tokens(m, m.embedding(tokens) + m.positions.weight)


def of_bert(m: Any, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
    features = [m.embeddings(input_ids)]
    for layer in m.encoder.layers:
        features.append(layer(features[-1])[0])
    return features


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
"""By name of a network: the input and what the blocks give, from the network and a batch."""


def unfused(model: nn.Module) -> nn.Module:
    """Hook each transformer layer, so that it runs its parts one by one as under a probe."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("name", BY_HAND)
def test_each_block_is_seen_where_it_ends_and_the_model_stays_as_it_was(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    model = disturbed(seeded(make))
    originals = [t.clone() for t in tensors_of(inputs)]
    before = state_of(model)
    with probing(model) as probe:
        features = probe.features(inputs)
    block_candidates(model, inputs)
    assert state_of(model) == before
    assert all(torch.equal(t, old) for t, old in zip(tensors_of(inputs), originals, strict=True))
    args, named = arguments(inputs)
    with torch.no_grad():
        expected = BY_HAND[name](unfused(model.eval()), *args, **named)
    assert [t.shape for t in features] == [t.shape for t in expected]
    for actual, wanted in zip(features, expected, strict=True):
        assert torch.equal(actual, wanted)
