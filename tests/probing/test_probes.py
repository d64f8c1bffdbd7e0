"""Probes see what blocks give, and leave the module as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer.errors import InvalidInputError, ModelError
from designer.probing.probes import Probe, probing, probing_again
from designer.probing.untouched import device_of
from tests.support.helpers import DEVICES, small_mlp

INPUTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


class Frail(nn.Module):
    """A model that runs one block and raises in the middle of the forward pass."""

    block_names = ("0", "1")

    def __init__(self) -> None:
        super().__init__()
        for i, block in enumerate(small_mlp()):
            self.add_module(str(i), block)

    def forward(self, x: Tensor) -> Tensor:
        self.get_submodule("0")(x)
        raise RuntimeError("broken in the middle")


class Noisy(nn.Module):
    """A model that draws from all global generators, also in eval mode."""

    block_names = ("block",)

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        shift = random.random() + np.random.rand()  # noqa: NPY002
        logits: Tensor = self.head(self.block(x) + torch.randn(4, device=x.device) + shift)
        return logits


class Gives(nn.Module):
    """A block that computes what it is told to."""

    def __init__(self, compute: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> object:
        return self.compute(x)


def with_history(model: nn.Module) -> nn.Module:
    """Put a model into a state that is easily disturbed, and return it.

    It has mixed modes, gradients, frozen weights and a hook of the user's own.
    """
    model.train()
    first, second = model.get_submodule("0"), model.get_submodule("1")
    first.eval()
    for parameter in first.parameters():
        parameter.requires_grad = False
    for parameter in second.parameters():
        parameter.grad = torch.ones_like(parameter)
    second.register_forward_hook(lambda *_: None)
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return all that looking inside must not change, as comparable values."""
    return {
        "modes": [m.training for m in model.modules()],
        "tensors": {k: v.tolist() for k, v in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "frozen": [p.requires_grad for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "random": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True)[1].tolist(),  # type: ignore[index]  # noqa: NPY002
        "grad_enabled": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_is_left_as_it_was(device: str) -> None:
    model = with_history(small_mlp().to(device))
    before = state_of(model)
    with probing(model) as probe:
        probe.features(INPUTS)
        assert not any(m.training for m in model.modules())
    assert state_of(model) == before


def test_a_model_that_raises_is_left_as_it_was() -> None:
    model = with_history(Frail())
    before = state_of(model)
    with (
        pytest.raises(ModelError, match="raised RuntimeError: broken in the middle"),
        probing(model) as probe,
    ):
        probe.features(INPUTS)
    assert state_of(model) == before


def test_a_model_is_left_as_it_was_where_the_caller_raises() -> None:
    model = with_history(small_mlp())
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt), probing(model):
        raise KeyboardInterrupt
    assert state_of(model) == before


def test_a_model_that_draws_random_numbers_leaves_the_generator_as_it_was() -> None:
    model = Noisy()
    before = state_of(model)
    with probing(model) as probe:
        probe.features(INPUTS)
    assert state_of(model) == before


class Moody(Noisy):
    """A model that draws random numbers in every other forward pass, from the third on."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return super().forward(x) if self.runs % 2 else x[:, :3] + self.block(x)[:, :3]


@pytest.mark.parametrize("make", [small_mlp, Noisy, Moody])
def test_a_probe_can_be_used_again_and_leaves_all_as_it_was(make: Callable[[], nn.Module]) -> None:
    model = make()
    before = state_of(model)
    probe, outputs = Probe(model), []
    for _ in range(4):
        with probing_again(probe):
            outputs.append(probe.features(INPUTS)[1])
            assert not any(m.training for m in model.modules())
        assert state_of(model) == before
        assert not len(probe.output)  # nothing of the batch is kept
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_a_probe_looks_for_the_blocks_once() -> None:
    model = small_mlp()
    runs: list[int] = []
    model.register_forward_hook(lambda _, inputs, __: runs.append(len(inputs[0])))
    probe = Probe(model)
    with probing_again(probe):
        probe.features(INPUTS)
    assert len(runs) > 1
    runs.clear()
    with probing_again(probe):
        probe.features(INPUTS[:4])
    assert runs == [4]
    assert probe.names == ("0", "1")


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_the_input_and_the_block_outputs_in_eval_mode(device: str) -> None:
    model = small_mlp().to(device)
    with probing(model) as probe:
        assert not probe.names  # nothing has run yet
        features = probe.features(INPUTS)
        assert [tap.name for tap in probe.taps] == ["0", "1"]
    model.eval()
    first = model[0](INPUTS.to(device))
    expected = [INPUTS.to(device), first, model[1](first)]
    for got, want in zip(features, expected, strict=True):
        assert torch.equal(got, want)
        assert not got.requires_grad
        assert got.device.type == device


def test_the_input_comes_flat_and_block_outputs_as_they_are() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with probing(model, ["0"]) as probe:
        assert [tuple(f.shape) for f in probe.features(torch.zeros(5, 1, 4, 4))] == [
            (5, 16),
            (5, 2, 2, 2),
        ]


def test_a_later_layer_that_works_in_place_does_not_change_what_was_seen() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    with probing(model, ["0", "1"]) as probe:
        _, linear, activated = probe.features(INPUTS)
    torch.testing.assert_close(linear, model[0](INPUTS).detach())
    torch.testing.assert_close(activated, linear.relu())


def test_a_first_layer_that_works_in_place_does_not_change_the_input_seen() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3))
    with probing(model, ["0"]) as probe:
        features = probe.features(INPUTS.clone())
    assert torch.equal(features[0], INPUTS)


def test_a_block_that_runs_twice_is_seen_each_time() -> None:
    shared = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    model = nn.Sequential(shared, nn.Linear(5, 5), shared, nn.Linear(5, 3))
    with probing(model, ["0"]) as probe:
        features = probe.features(INPUTS)
        assert probe.names == ("0",)
    first = shared(INPUTS)
    assert torch.equal(features[1], first)
    with probing(model, ["2"]) as probe:  # its other name, for its other run
        features = probe.features(INPUTS)
        assert probe.names == ("2",)
    assert torch.equal(features[1], shared(model[1](first)))


# --- names ---


@pytest.mark.parametrize(("blocks", "names"), [(None, ("block",)), (["head"], ("head",))])
def test_names_come_from_the_caller_then_from_the_model(
    blocks: list[str] | None, names: tuple[str, ...]
) -> None:
    with probing(Noisy(), blocks) as probe:
        probe.features(INPUTS)
        assert probe.names == names


def test_blocks_come_in_running_order_whatever_the_order_of_their_names() -> None:
    model = small_mlp()
    with probing(model, ["1", "0.2", "0.0"]) as probe:
        features = probe.features(INPUTS)
        assert probe.names == ("0.0", "0.2", "1")
    assert torch.equal(features[2], model.eval()[0](INPUTS))


def test_a_block_that_is_not_there() -> None:
    with (
        pytest.raises(InvalidInputError, match=r"Expected `blocks` .* got 'nowhere'.*'0', '1'"),
        probing(small_mlp(), ["0", "nowhere"]) as probe,
    ):
        probe.features(INPUTS)


@pytest.mark.parametrize("blocks", [None, []])
def test_a_model_without_blocks(blocks: list[str] | None) -> None:
    with (
        pytest.raises(InvalidInputError, match=r"Expected a model with blocks.*none in Linear"),
        probing(nn.Linear(5, 3), blocks) as probe,
    ):
        probe.features(INPUTS)


def test_a_block_that_never_runs() -> None:
    model = Noisy()
    model.add_module("idle", nn.Linear(5, 5))
    before = state_of(model)["modes"]
    with (
        pytest.raises(InvalidInputError, match=r"Expected block 'idle' to run"),
        probing(model, ["block", "idle"]) as probe,
    ):
        probe.features(INPUTS)
    assert state_of(model)["modes"] == before


def ones(_x: object) -> Tensor:
    return torch.ones(6, 3)


@pytest.mark.parametrize(
    "compute", [lambda x: (None, x * 2), lambda x: {"mask": x > 0, "more": [x * 2, x]}]
)
def test_a_block_that_gives_a_tuple_or_dict_is_seen_by_its_first_floating_tensor(
    compute: Callable[[Tensor], object],
) -> None:
    with probing(nn.Sequential(Gives(compute), Gives(ones)), ["0"]) as probe:
        features = probe.features(INPUTS)
    assert torch.equal(features[1], INPUTS * 2)


@pytest.mark.parametrize("compute", [lambda _: None, lambda _: "text", lambda x: (x.long(),)])
def test_a_block_that_gives_no_floating_tensor(compute: Callable[[Tensor], object]) -> None:
    model = nn.Sequential(Gives(compute), Gives(ones))
    with (
        pytest.raises(InvalidInputError, match=r"Expected block '0' to give a tensor, got none"),
        probing(model, ["0"]) as probe,
    ):
        probe.features(INPUTS)
    assert all(not m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("compute", [ones, lambda x: x.sum(0)])
def test_a_block_that_gives_no_row_per_sample(compute: Callable[[Tensor], object]) -> None:
    model = nn.Sequential(Gives(compute), Gives(ones))
    with (
        pytest.raises(InvalidInputError, match=r"block '0' to give a row for each of 5 samples"),
        probing(model, ["0"]) as probe,
    ):
        probe.features(INPUTS)


def test_a_first_block_that_receives_a_packed_sequence_is_named() -> None:
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.layer = nn.Embedding(9, 4), nn.LSTM(4, 6, num_layers=2)
            self.head = nn.Linear(6, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            lengths = (tokens != 0).sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embed(tokens), lengths, batch_first=True, enforce_sorted=False
            )
            logits: Tensor = self.head(self.layer(packed)[1][0][-1])
            return logits

    with (
        pytest.raises(InvalidInputError, match=r"what block 'layer' receives, such as a packed"),
        probing(Packing().eval()) as probe,
    ):
        probe.features(torch.tensor([[1, 2, 0], [3, 4, 5], [6, 0, 0]]))


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    assert device_of(nn.ReLU()) == torch.device("cpu")


class Caching(nn.Module):
    """A model that keeps what it computes from its parameters, in whatever it has at hand."""

    block_names = ("block",)

    def __init__(self, keep: Callable[[Any, Tensor], None]) -> None:
        super().__init__()
        self.keep = keep
        self.block, self.head = nn.Linear(5, 4), nn.Linear(4, 3)
        self.register_buffer("means", torch.zeros(4))
        self.attribute = torch.zeros(4)
        self.by_size: dict[int, Tensor] = {0: torch.zeros(1)}
        self.nested: tuple[list[Tensor], set[int]] = ([], {1})

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.block(x)
        self.keep(self, hidden)
        logits: Tensor = self.head(hidden)
        return logits


def _keep_in_nested(m: Any, x: Tensor) -> None:
    m.nested[0].append(x)
    m.nested[1].add(len(x))


KEEPS: dict[str, Callable[[Any, Tensor], None]] = {
    "attribute": lambda m, x: setattr(m, "attribute", x),
    "new attribute": lambda m, x: setattr(m, "another", x),
    "dict": lambda m, x: m.by_size.update({len(x): x}),
    "changed dict": lambda m, x: m.by_size.update({0: x}),
    "tuple of containers": _keep_in_nested,
    "tensor in place": lambda m, x: m.attribute.add_(x.mean(0)),
    "tensor in a dict in place": lambda m, x: m.by_size[0].add_(x.mean()),
    "buffer in place": lambda m, x: m.means.add_(x.mean(0)),
    "another buffer": lambda m, x: setattr(m, "means", x.mean(0)),
}


@pytest.mark.parametrize("blocks", [None, ["block"]])
@pytest.mark.parametrize("kept", KEEPS)
def test_what_a_model_keeps_while_it_runs_is_gone_and_the_model_can_be_copied(
    kept: str, blocks: list[str] | None
) -> None:
    model = Caching(KEEPS[kept])
    if blocks is None:
        model.block_names = None  # type: ignore[assignment]
    before = state_of_attributes(model)
    with probing(model, blocks) as probe:
        probe.features(INPUTS)
        copy.deepcopy(model)
    assert state_of_attributes(copy.deepcopy(model)) == before


def state_of_attributes(model: Caching) -> str:
    return repr(
        [model.attribute, model.by_size, model.nested, sorted(vars(model)), model.state_dict()]
    )
