"""Pruning on models as other people write them: what broke once must not break again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import designer
from designer.analysis.contribution import contributions
from designer.data.dataset import LabelledTensors
from designer.errors import DesignerError
from tests.support.helpers import gaussian_classes
from tests.support.trained import train_briefly

Pair = tuple[Tensor, Tensor]


def parts(n: int = 300) -> tuple[Pair, Pair]:
    """Training and held-out data of three classes."""
    x, y = gaussian_classes(2 * n, 6, 3, seed=1, dtype=torch.float32)
    return (x[:n], y[:n]), (x[n:], y[n:])


class Sums(nn.Module):
    """Residual blocks; subclasses say what happens to the input and to the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(4)
        )
        self.head = nn.Linear(6, 3)

    def enter(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x)
        return logits


class InPlace(Sums):
    def enter(self, x: Tensor) -> Tensor:
        return x.mul_(0.9)


class SharedActivation(Sums):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.act(x + block(x))
        logits: Tensor = self.head(x)
        return logits


class NormsByBatch(Sums):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def enter(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed


def trained(model: nn.Module, data: Pair) -> nn.Module:
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return train_briefly(model, LabelledTensors(*data))


def test_data_are_not_changed_by_a_model_that_works_in_place() -> None:
    train, heldout = parts()
    model = trained(InPlace(), (train[0].clone(), train[1]))
    before = train[0].clone(), heldout[0].clone()
    designer.prune(model, (train, heldout), remove=2, epochs=1)
    assert torch.equal(train[0], before[0])
    assert torch.equal(heldout[0], before[1])


@pytest.mark.parametrize("make", [SharedActivation, NormsByBatch])
def test_it_is_pruned_and_repaired(make: Callable[[], nn.Module]) -> None:
    train, heldout = parts()
    model = trained(make(), train)
    result = designer.prune(model, (train, heldout), remove=["blocks.0"], epochs=0)
    assert any(name.startswith("blocks") for name in result.report.fitted)
    assert result.report.removed == ("blocks.0",)


def test_frozen_parts_stay_frozen_and_as_they_were() -> None:
    train, heldout = parts()
    model: Any = nn.Sequential(nn.Linear(6, 6), trained(Sums(), train))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(6))
        model[0].bias.zero_()
    model[0].requires_grad_(requires_grad=False)
    result = designer.prune(
        model.eval(), (train, heldout), remove=1, epochs=2, criterion="contribution"
    )
    pruned: Any = result.model
    assert torch.equal(pruned[0].weight, model[0].weight)
    assert not pruned[0].weight.requires_grad
    assert pruned[1].head.weight.requires_grad


class Summing(nn.Module):
    """A block that puts its sum into the dict that it received, or into a new one."""

    def __init__(self, *, new: bool) -> None:
        super().__init__()
        self.layer, self.new = nn.Linear(6, 6), new

    def forward(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        result = dict(state) if self.new else state
        result["x"] = state["x"] + functional.relu(self.layer(state["x"]))
        return result


class OfDicts(nn.Module):
    def __init__(self, *, new: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Summing(new=new) for _ in range(4))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = {"x": x}
        for block in self.blocks:
            state = block(state)
        logits: Tensor = self.head(state["x"])
        return logits


@pytest.mark.parametrize("linear", [False, True])
def test_containers_that_are_changed_later_are_kept_as_they_were(*, linear: bool) -> None:
    train, heldout = parts()
    changing = trained(OfDicts(new=False), train)
    copying = OfDicts(new=True).eval()
    copying.load_state_dict(changing.state_dict())
    records = [contributions(net, train, heldout, linear=linear) for net in (changing, copying)]
    assert [r.contribution for r in records[0]] == [r.contribution for r in records[1]]


class Breaks(Sums):
    """The second block gives numbers that are not finite, and what follows hides that."""

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.blocks):
            branch = block(x)
            if place == 1:
                branch = torch.where(x > 100, torch.nan, branch) / 0.0
            x = x + branch.nan_to_num(0.0, 0.0, 0.0)
        logits: Tensor = self.head(x)
        return logits


def test_numbers_that_are_not_finite_are_said_in_a_sentence_or_passed_over() -> None:
    train, heldout = parts()
    model = trained(Breaks(), train)
    try:
        result = designer.prune(model, (train, heldout), remove=2, epochs=0)
    except DesignerError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right
    else:
        assert len(result.report.removed) == 2


def test_the_parts_of_torchs_own_encoder_layers_are_measured() -> None:
    """These layers use a fused kernel in eval mode, which runs none of their parts."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(6, 2, 12, 0.0, batch_first=True) for _ in range(3)
            )
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.unsqueeze(1) * torch.ones(1, 2, 1)
            for layer in self.layers:
                tokens = layer(tokens)
            logits: Tensor = self.head(tokens.mean(1))
            return logits

    train, heldout = parts()
    torch.manual_seed(0)
    model = train_briefly(Encoder(), LabelledTensors(*train))
    names = ["layers.0.linear2", "layers.1.linear2", "layers.2"]
    for record in contributions(model, train, heldout, names):
        assert record.contribution is not None, record.reason
        assert record.contribution.cross_entropy is not None
        assert record.contribution.cross_entropy.value != 0


def test_a_last_batch_of_one_sample_renews_no_norm() -> None:
    train, heldout = parts(257)
    model: Any = nn.Sequential(
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()),
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()),
        nn.Linear(6, 3),
    )
    torch.manual_seed(0)
    records = contributions(model.eval(), train, heldout, renew_norms=True)
    assert all(record.contribution is not None for record in records)


class Mixed(Sums):
    """The head stays in float64, the rest in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.blocks[0][0].weight.dtype)  # type: ignore[index]
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x.to(self.head.weight.dtype)).float()
        return logits


def test_what_is_left_of_a_frozen_model_without_its_only_trainable_block_is_not_trained() -> None:
    train, heldout = parts()
    model: Any = trained(Mixed(), train)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("blocks.1" in name)
    result = designer.prune(model, (train, heldout), remove=["blocks.1"], epochs=2)
    assert [network.epochs for network in result.report.networks] == [0, 0]


def test_a_model_of_several_precisions_keeps_them() -> None:
    train, heldout = parts()
    model: Any = trained(Mixed(), train)
    model.blocks.bfloat16()
    model.head.double()
    pruned: Any = designer.prune(model, (train, heldout), remove=1, epochs=1).model
    assert {p.dtype for p in pruned.blocks.parameters()} == {torch.bfloat16}
    assert pruned.head.weight.dtype is torch.float64
    assert pruned(heldout[0]).shape == (300, 3)
