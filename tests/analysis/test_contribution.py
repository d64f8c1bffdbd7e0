"""What held-out data lose without a block: by hand, on known answers and on hard structures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import designer
from designer.analysis.contribution import contributions
from designer.errors import InvalidInputError, ModelError
from designer.probing.calling import call_model, first_tensor, tensors_of
from designer.results.contribution import BlockContribution
from tests.support.helpers import gaussian_classes
from tests.support.networks.parts import seeded
from tests.support.networks.with_blocks import NETWORKS

Pair = tuple[Tensor, Tensor]


class Residual(nn.Module):
    """A block that gives x + scale * relu(linear(x))."""

    def __init__(self, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * functional.relu(self.linear(x))


def dense(width: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU())


def network(*blocks: nn.Module, width: int = 6, classes: int = 3) -> nn.Sequential:
    """Blocks in a row and a head, in float64 and eval mode, with weights that depend on a seed."""
    torch.manual_seed(0)
    model = nn.Sequential(*blocks, nn.Linear(width, classes)).double().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return model


def pairs(n: int = 90, width: int = 6) -> tuple[Pair, Pair]:
    """Training and held-out data of three classes, n samples each."""
    features, labels = gaussian_classes(2 * n, width, 3, seed=1)
    return (features[:n], labels[:n]), (features[n:], labels[n:])


def by_name(records: tuple[BlockContribution, ...]) -> dict[str, BlockContribution]:
    return {record.name: record for record in records}


def effects(record: BlockContribution) -> tuple[float, float, float]:
    """The three effects of a block; fails if one is missing."""
    assert record.contribution is not None, record.reason
    parts = record.contribution
    wanted = (parts.separation, parts.cross_entropy, parts.accuracy)
    values = [effect.value for effect in wanted if effect is not None]
    assert len(values) == 3
    return values[0], values[1], values[2]


class TestKnownAnswers:
    def test_a_branch_multiplied_by_zero_contributes_nothing(self) -> None:
        model = network(Residual(6), Residual(6, scale=0.0), Residual(6))
        train, heldout = pairs()
        second = by_name(contributions(model, train, heldout))["1"]
        assert second.contribution is not None
        assert second.contribution.stand_in == "what it receives"
        assert effects(second) == (0.0, 0.0, 0.0)
        assert not second.contribution.needed

    def test_an_identity_contributes_nothing(self) -> None:
        model = network(dense(), dense(), dense())
        layer = model.get_submodule("1.0")
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(6))
            layer.bias.zero_()
        train, heldout = pairs()
        record = by_name(contributions(model, train, heldout))["1"]
        assert record.contribution is not None
        assert record.contribution.stand_in == "a linear map"  # nothing flows past the block
        assert effects(record) == pytest.approx((0.0, 0.0, 0.0), abs=1e-7)

    def test_linear_layers_contribute_nothing_with_a_linear_stand_in(self) -> None:
        names = ["0", "1", "2"]
        model = network(nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 6))
        train, heldout = pairs()
        records = contributions(model, train, heldout, names, linear=True)
        for record in records:
            assert record.contribution is not None
            assert record.contribution.stand_in == "a linear map"
            assert effects(record) == pytest.approx((0, 0, 0), abs=1e-7)

    def test_a_block_that_the_classes_need_is_needed(self) -> None:
        """One class lies between the others, which no linear map can tell apart."""
        model = network(nn.Sequential(nn.Linear(2, 12), nn.ReLU()), dense(12), width=12)
        train, heldout = rings(1), rings(2)
        optimiser = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(300):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(train[0]), train[1])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        first, _ = contributions(model, train, heldout)
        assert first.contribution is not None
        assert first.contribution.needed
        assert first.contribution.cross_entropy is not None
        assert first.contribution.cross_entropy.value > 0.1


def rings(seed: int) -> Pair:
    """Three classes in the plane, each at a distance from the origin."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(900, generator=generator, dtype=torch.float64)
    labels = torch.arange(900) % 3
    radius = 1.0 + labels + 0.1 * torch.randn(900, generator=generator, dtype=torch.float64)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels


def by_hand(
    model: nn.Sequential, place: int, train: Pair, heldout: Pair
) -> tuple[float, float, float]:
    """The three effects of a block, with the textbook form of D.

    A residual block is skipped; a least-squares map takes the place of one that nothing flows past.
    """
    whole = list(model)
    stand_in = nn.Identity() if isinstance(model[place], Residual) else None
    without = [
        *whole[:place],
        stand_in or least_squares(model, place, train[0]),
        *whole[place + 1 :],
    ]

    def run(parts: list[nn.Module], x: Tensor) -> tuple[Tensor, Tensor]:
        for part in parts[:-1]:
            x = part(x)
        return x, parts[-1](x)

    def figures(parts: list[nn.Module]) -> tuple[float, Tensor, Tensor]:
        known, _ = run(parts, train[0])
        unseen, logits = run(parts, heldout[0])
        fuzziness = textbook_crossed(known, train[1], unseen, heldout[1])
        losses = functional.cross_entropy(logits, heldout[1], reduction="none")
        return math.log(fuzziness), losses, (logits.argmax(1) == heldout[1]).double()

    with torch.no_grad():
        before, after = figures(whole), figures(without)
    return (
        after[0] - before[0],
        float((after[1] - before[1]).mean()),
        float((after[2] - before[2]).mean()),
    )


@torch.no_grad()
def least_squares(model: nn.Sequential, place: int, x: Tensor) -> nn.Module:
    """The linear map from what a block receives to what it gives, by the textbook."""
    received = model[:place](x)
    design = torch.cat([received, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    solution = torch.linalg.lstsq(design, model[place](received)).solution
    layer = nn.Linear(received.shape[1], solution.shape[1]).double()
    layer.weight.copy_(solution[:-1].T)
    layer.bias.copy_(solution[-1])
    return layer


def textbook_crossed(x: Tensor, y: Tensor, unseen: Tensor, labels: Tensor) -> float:
    """Tr(SS_w SS_b+) with means from the first data and scatter from the second."""
    classes = int(y.max()) + 1
    means = torch.stack([x[y == k].mean(0) for k in range(classes)])
    weights = torch.bincount(y).double() / len(y)
    centred = means - weights @ means
    between = (centred.T * weights) @ centred
    residuals = unseen - means[labels]
    within = residuals.T @ residuals / len(unseen)
    return float(torch.trace(within @ torch.linalg.pinv(between, rtol=1e-10)))


class TestByHand:
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_effects_are_what_the_definitions_say(self, place: int) -> None:
        model = network(dense(), Residual(6), dense())
        train, heldout = pairs()
        record = by_name(contributions(model, train, heldout))[str(place)]
        # a linear map is fitted with a ridge penalty of 1e-9
        exact = 1e-9 if place == 1 else 1e-6
        assert effects(record) == pytest.approx(by_hand(model, place, train, heldout), abs=exact)

    def test_intervals_are_those_of_paired_differences(self) -> None:
        model = network(dense(), Residual(6))
        train, (x, y) = pairs()
        record = by_name(contributions(model, train, (x, y)))["1"]
        assert record.contribution is not None
        with torch.no_grad():
            losses = [
                functional.cross_entropy(logits, y, reduction="none")
                for logits in (model(x), model[2](model[0](x)))
            ]
        difference = losses[1] - losses[0]
        half = 1.96 * float(difference.std()) / math.sqrt(len(y))
        effect = record.contribution.cross_entropy
        assert effect is not None
        assert effect.interval == pytest.approx(
            (float(difference.mean()) - half, float(difference.mean()) + half), rel=1e-6
        )

    def test_the_residual_is_measured_where_it_is_asked_for(self) -> None:
        model = network(dense(), dense())
        train, heldout = pairs()
        records = contributions(model, train, heldout, measure="residual")
        separation = contributions(model, train, heldout)
        for record, other in zip(records, separation, strict=True):
            assert effects(record)[1:] == effects(other)[1:]
            assert effects(record)[0] != effects(other)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_hard_structures_are_measured_and_left_alone(name: str) -> None:
    make, inputs, expected = NETWORKS[name]
    model = seeded(make).eval()
    before = copy.deepcopy(model.state_dict())
    owned = {key: set(vars(module)) for key, module in model.named_modules()}
    output = first_tensor(call_model(model, inputs))
    n = len(tensors_of(inputs)[0])
    labels = torch.arange(n) % 2
    records = contributions(model, (inputs, labels), (inputs, labels))
    assert [record.name for record in records] == list(expected)
    assert all((record.contribution is None) == bool(record.reason) for record in records)
    assert {key: set(vars(module)) for key, module in model.named_modules()} == owned
    after = model.state_dict()
    if name != "counting":  # it counts its runs, also those of this test
        assert all(torch.equal(before[key], after[key]) for key in before)
    again = first_tensor(call_model(model, inputs))
    assert output is not None
    assert again is not None
    assert torch.equal(output, again)
    assert not any(module._forward_hooks for module in model.modules())


class Breaking(nn.Module):
    """Three residual blocks; the last refuses what the second receives."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Residual(6), Residual(6), Residual(6)])
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.blocks[0](x)
        second = self.blocks[1](first)
        if second is first:
            raise ValueError("they must differ")
        output: Tensor = self.head(self.blocks[2](second))
        return output


class TestBlocksWithoutContribution:
    def test_a_block_without_stand_in_says_why_and_the_others_are_measured(self) -> None:
        class Unfolding(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.third = dense(), dense()
                self.second = nn.Conv1d(1, 3, 2, padding=1)

            def forward(self, x: Tensor) -> Tensor:
                tokens: Tensor = self.second(self.first(x).unsqueeze(1))
                output: Tensor = self.third(tokens.sum(1)[:, :6])
                return output

        model = nn.Sequential(Unfolding(), nn.Linear(6, 3))
        x, y = gaussian_classes(60, 6, 3, dtype=torch.float32)
        names = ["0.first", "0.second", "0.third"]
        records = by_name(contributions(model, (x, y), (x, y), names))
        assert records["0.second"].contribution is None
        assert "takes (n, 1, 6) and gives (n, 3, 7)" in records["0.second"].reason
        assert records["0.first"].contribution is not None
        assert records["0.third"].contribution is not None

    def test_a_model_that_does_not_run_without_a_block(self) -> None:
        x, y = gaussian_classes(60, 6, 3, dtype=torch.float32)
        records = by_name(contributions(Breaking().eval(), (x, y), (x, y)))
        assert records["blocks.1"].contribution is None
        assert "they must differ" in records["blocks.1"].reason
        assert records["blocks.2"].contribution is not None

    def test_a_model_without_logits_has_a_separation_alone(self) -> None:
        model = nn.Sequential(dense(), dense(), dense())
        x, y = gaussian_classes(60, 6, 3, dtype=torch.float32)
        for record in contributions(model.eval(), (x, y), (x, y)):
            assert record.contribution is not None
            assert record.contribution.cross_entropy is None
            assert record.contribution.accuracy is None
            assert record.contribution.separation is not None


class TestUntouched:
    def test_also_if_the_model_raises(self) -> None:
        class Raising(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second, self.head = dense(), dense(), nn.Linear(6, 3)
                self.fail = False

            def forward(self, x: Tensor) -> Tensor:
                if self.fail and len(x) > 5:
                    raise ValueError("out of order")
                output: Tensor = self.head(self.second(self.first(x)))
                return output

        model = Raising().eval()
        x, y = gaussian_classes(60, 6, 3, dtype=torch.float32)
        model.fail = True
        owned = {key: set(vars(module)) for key, module in model.named_modules()}
        with pytest.raises(ModelError, match="out of order"):
            contributions(model, (x, y), (x, y))
        assert {key: set(vars(module)) for key, module in model.named_modules()} == owned

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_in_other_precisions(self, dtype: torch.dtype) -> None:
        model = network(dense(), dense()).to(dtype)
        train, heldout = pairs()
        for record in contributions(model, train, heldout):
            assert record.contribution is not None
            assert record.contribution.cross_entropy is not None
            assert math.isfinite(record.contribution.cross_entropy.value)

    def test_compiled(self) -> None:
        model = network(dense(), dense())
        train, heldout = pairs()
        wrapped: Any = torch.compile(model, backend="eager")
        assert contributions(wrapped, train, heldout) == contributions(model, train, heldout)

    def test_batches_give_what_data_in_memory_give(self) -> None:
        model = network(dense(), dense())
        (x, y), heldout = pairs()
        batches = [(x[i : i + 20], y[i : i + 20]) for i in range(0, 90, 20)]
        assert contributions(model, batches, heldout) == contributions(model, (x, y), heldout)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, y: (x, torch.zeros_like(y)), "at least 2 classes"),
            (lambda x, y: (x, y[:3]), "label"),
        ],
    )
    def test_of_training_data(self, change: Callable[[Tensor, Tensor], Pair], message: str) -> None:
        model = network(dense(), dense())
        train, heldout = pairs()
        with pytest.raises(InvalidInputError, match=message):
            contributions(model, change(*train), (heldout[0], torch.zeros_like(heldout[1])))

    def test_of_no_samples(self) -> None:
        model = network(dense(), dense())
        train, heldout = pairs()
        with pytest.raises(InvalidInputError, match="at least 1 sample"):
            contributions(model, train, heldout, samples=0)


def test_it_is_public() -> None:
    assert designer.contributions is contributions


class TestRenewedNorms:
    def test_statistics_are_those_of_the_network_without_the_block(self) -> None:
        """A block that scales its input tenfold is no loss once the norm behind has adapted."""

        class Scaling(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(6, 6)

            def forward(self, x: Tensor) -> Tensor:
                output: Tensor = 10 * x + 0 * self.linear(x)
                return output

        model = nn.Sequential(
            Residual(6), Scaling(), nn.Sequential(nn.BatchNorm1d(6), Residual(6)), nn.Linear(6, 3)
        ).double()
        train, heldout = pairs()
        model.train()
        norm = model[2][0]  # type: ignore[index]
        norm.momentum = None
        model(train[0])
        model.eval()
        names = ["0", "1", "2"]
        before = copy.deepcopy(model.state_dict())
        plain = by_name(contributions(model, train, heldout, names))["1"]
        renewed = by_name(contributions(model, train, heldout, names, renew_norms=True))["1"]
        assert abs(effects(plain)[1]) > 0.01
        assert effects(renewed) == pytest.approx((0, 0, 0), abs=1e-3)
        after = model.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert norm.momentum is None
        assert not norm.training

    def test_nothing_changes_without_norms(self) -> None:
        model = network(dense(), Residual(6))
        train, heldout = pairs()
        assert contributions(model, train, heldout, renew_norms=True) == contributions(
            model, train, heldout
        )

    @pytest.mark.parametrize("name", NETWORKS)
    def test_hard_structures_are_left_alone(self, name: str) -> None:
        make, inputs, _ = NETWORKS[name]
        model = seeded(make).eval()
        before = copy.deepcopy(model.state_dict())
        labels = torch.arange(len(tensors_of(inputs)[0])) % 2
        contributions(model, (inputs, labels), (inputs, labels), renew_norms=True)
        after = model.state_dict()
        if name != "counting":
            assert all(torch.equal(before[key], after[key]) for key in before)


class OfMaps(nn.Module):
    """Blocks that mix channels, which lie in the last axis of maps or of tokens."""

    def __init__(self, *, maps: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(dense() for _ in range(3))
        self.head, self.maps = nn.Linear(6, 3), maps

    def forward(self, x: Tensor) -> Tensor:
        rows = x.unsqueeze(1) * torch.arange(1, 5, dtype=x.dtype).view(1, 4, 1)
        x = rows.view(-1, 2, 2, 6) if self.maps else rows
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.flatten(1, -2).mean(1))
        return logits


def test_maps_with_their_channels_last_are_measured_as_tokens_are() -> None:
    train, heldout = pairs()
    torch.manual_seed(0)
    tokens = OfMaps(maps=False).double().eval()
    maps = OfMaps(maps=True).double().eval()
    maps.load_state_dict(tokens.state_dict())
    records = [contributions(model, train, heldout) for model in (tokens, maps)]
    for first, second in zip(*records, strict=True):
        assert second.contribution is not None
        assert second.contribution.stand_in == "a linear map"
        assert effects(first)[1:] == pytest.approx(effects(second)[1:], abs=1e-6)


def test_a_convolution_over_positions_has_a_linear_map_over_its_channels() -> None:
    model: Any = nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 1),
        nn.Conv1d(4, 4, 1),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    train, heldout = pairs()
    for record in contributions(model.double().eval(), train, heldout, ["1", "2"]):
        assert record.contribution is not None
        assert record.contribution.stand_in == "a linear map"
        assert effects(record)[1:] == pytest.approx((0.0, 0.0), abs=1e-6)


@pytest.mark.parametrize("name", ["parts of patches", "handed through"])
def test_several_tensors_that_a_block_receives_stand_in_for_those_that_it_gives(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    data = inputs, torch.arange(7) % 2
    for record in contributions(seeded(make).eval(), data, data):
        assert record.contribution is not None, record.reason
        assert record.contribution.stand_in == "what it receives"
