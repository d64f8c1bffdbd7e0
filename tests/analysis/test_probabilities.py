"""Networks that end in a softmax or a sigmoid are measured as by their logits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import designer
from designer.analysis.contribution import contributions
from designer.analysis.scaling_check import compare_scalings
from designer.data.dataset import LabelledTensors
from designer.data.loading import load_dataset
from designer.errors import ModelError
from designer.measures.logits import OutputKind
from designer.pruning.evaluation import kind_of, logits_of, mean_loss
from designer.pruning.options import RecoveryOptions
from designer.pruning.quality import quality_of
from designer.pruning.recover import recover
from designer.pruning.splits import Splits
from tests.support.helpers import gaussian_classes
from tests.support.trained import state_of, train_briefly

Pair = tuple[Tensor, Tensor]


class Squeezed(nn.Module):
    """Gives (n,) of (n, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(1)


class Second(nn.Module):
    """Gives the probability (n,) of the second of two classes, at least a millionth."""

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([torch.zeros_like(x), x], 1).softmax(1)
        return both[:, 1].clamp(1e-6, 1 - 1e-6)


class WithZero(nn.Module):
    """Gives the logits (n, 2) of two classes of one logit (n, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x], 1)


def parts(classes: int) -> tuple[Pair, Pair]:
    x, y = gaussian_classes(400, 8, classes, seed=3)
    return (x[:200], y[:200]), (x[200:], y[200:])


def trained(outputs: int, train: Pair) -> nn.Sequential:
    """A trained network without anything behind its logits; one output is trained as two."""
    torch.manual_seed(0)
    layers = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]
    columns = max(2, outputs)
    model = nn.Sequential(*layers, nn.Linear(16, columns)).double()
    train_briefly(model, LabelledTensors(*train))
    if outputs == 1:
        two = model[-1]
        assert isinstance(two, nn.Linear)
        single = nn.Linear(16, 1).double()
        single.load_state_dict({key: (t[1] - t[0])[None] for key, t in two.state_dict().items()})
        model[-1] = single
    return model.eval()


def ending_in(model: nn.Sequential, *ends: nn.Module) -> nn.Sequential:
    return nn.Sequential(*copy.deepcopy(model), *ends).eval()


CLAMPED = "clamped probability"

ENDS: dict[str, tuple[int, tuple[nn.Module, ...]]] = {
    "softmax": (3, (nn.Softmax(1),)),
    "logarithm of softmax": (3, (nn.LogSoftmax(1),)),
    "sigmoid": (1, (nn.Sigmoid(),)),
    "sigmoid without axis": (1, (nn.Sigmoid(), Squeezed())),
    "logit without axis": (1, (Squeezed(),)),
    CLAMPED: (1, (Second(),)),
}


@pytest.mark.parametrize("kind", ENDS)
def test_contributions_and_accuracy_are_those_of_the_logits(kind: str) -> None:
    outputs, ends = ENDS[kind]
    train, heldout = parts(max(2, outputs))
    plain = trained(outputs, train)
    ending = ending_in(plain, *ends)
    records = [
        contributions(model, train, heldout=heldout, blocks=["1", "3"]) for model in (plain, ending)
    ]
    for pair in zip(*records, strict=True):
        expected, got = (record.contribution for record in pair)
        assert expected is not None
        assert got is not None
        assert expected.cross_entropy is not None
        assert got.cross_entropy is not None
        rise = pytest.approx(expected.cross_entropy.value, abs=1e-3 if kind == CLAMPED else 1e-9)
        assert got.cross_entropy.value == rise
        assert got.accuracy == expected.accuracy
    reports = [designer.analyze(m, train, heldout=heldout) for m in (plain, ending)]
    assert reports[0].model.accuracy_heldout == reports[1].model.accuracy_heldout
    assert reports[0].model.accuracy_heldout is not None
    assert reports[0].model.accuracy_heldout > 0.8


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_one_number_is_no_logit_of_more_than_two_classes(order: str) -> None:
    train, heldout = parts(3)
    model = ending_in(trained(1, parts(2)[0]), Squeezed())
    if order == "sorted":  # the first batches have two classes
        train, heldout = ((x[y.argsort(stable=True)], y.sort().values) for x, y in (train, heldout))
    for record in contributions(model, train, heldout=heldout, blocks=["1", "3"]):
        assert record.contribution is not None
        assert record.contribution.cross_entropy is None
    report = designer.analyze(model, train, heldout=heldout)
    assert report.model.accuracy_heldout is None


class WithEmbedding(nn.Module):
    """Gives what its last block gives, scaled, before its logits."""

    def __init__(self, body: nn.Sequential, *, as_dict: bool) -> None:
        super().__init__()
        self.blocks, self.head = body[:-1], body[-1]
        self.as_dict = as_dict

    def forward(self, x: Tensor) -> Any:
        h = self.blocks(x)
        embedding = nn.functional.normalize(h)
        if self.as_dict:
            return {"embedding": embedding, "prediction": self.head(h)}
        return embedding, self.head(h)


@pytest.mark.parametrize("as_dict", [True, False])
def test_logits_behind_an_embedding_are_found(*, as_dict: bool) -> None:
    train, heldout = parts(3)
    plain = trained(3, train)
    model = WithEmbedding(copy.deepcopy(plain), as_dict=as_dict)
    expected, report = (designer.analyze(m, train, heldout=heldout) for m in (plain, model))
    assert report.model.accuracy_heldout == expected.model.accuracy_heldout
    assert "other_head" not in {warning.code for warning in report.warnings}
    assert all(layer.contribution is not None for layer in report.layers)
    assert all(layer.contribution.cross_entropy for layer in report.layers if layer.contribution)


def test_classes_that_are_named_by_large_numbers_are_as_few_as_there_are() -> None:
    train, heldout = parts(3)
    ids = torch.tensor([207, 340, 800])
    model = trained(3, train)
    head, few = nn.Linear(16, 1000).double(), model[-1]
    assert isinstance(few, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()[ids] = few.weight
        head.bias.fill_(-99.0)[ids] = few.bias
    model[-1] = head
    named = [(x, ids[y]) for x, y in (train, heldout)]
    report = designer.analyze(model, named[0], heldout=named[1])
    assert report.model.accuracy_heldout is not None
    assert report.model.accuracy_heldout > 0.8
    assert not {"other_head", "many_classes"} & {warning.code for warning in report.warnings}


def test_a_scaling_is_checked_by_what_one_number_says(tmp_path: Path) -> None:
    train, _ = parts(2)
    file = tmp_path / "two.npz"
    np.savez(file, x_train=train[0].numpy(), y_train=train[1].numpy())
    data = load_dataset(str(file), scaling="none")
    plain = trained(1, train)
    used = compare_scalings(plain, data).used
    assert used > 0.8
    assert compare_scalings(ending_in(plain, nn.Sigmoid()), data).used == used


def test_pruning_judges_and_recovers_probabilities_as_their_logits() -> None:
    train, heldout = (LabelledTensors(*pair) for pair in parts(3))
    plain = trained(3, (train.inputs, train.labels))
    softmax = ending_in(plain, nn.Softmax(1))
    assert kind_of(softmax, train) is OutputKind.DISTRIBUTION
    assert kind_of(plain, train) is OutputKind.LOGITS
    losses = [mean_loss(model, heldout) for model in (plain, softmax)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    qualities = [quality_of(model, heldout) for model in (plain, softmax)]
    torch.testing.assert_close(qualities[0].losses, qualities[1].losses, rtol=1e-4, atol=1e-6)
    probabilities = [logits_of(model, heldout).softmax(1) for model in (plain, softmax)]
    torch.testing.assert_close(*probabilities, rtol=1e-4, atol=1e-6)

    for model in (plain, softmax):
        for layer in (model[0], model[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        recover(model, Splits("", train, train, None), RecoveryOptions(epochs=3, seed=0))
    for name, tensor in state_of(plain).items():
        torch.testing.assert_close(state_of(softmax)[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("end", [nn.Identity(), Squeezed()], ids=["column", "no axis"])
def test_one_logit_is_pruned_like_two(end: nn.Module) -> None:
    train, heldout = parts(2)
    single = ending_in(trained(1, train), end)
    pair = ending_in(trained(1, train), WithZero())
    data = (train, heldout, heldout)
    for options in ({"max_drop": 0.05}, {"remove": 1}):
        results = [designer.prune(model, data, epochs=2, **options) for model in (single, pair)]
        first, second = (result.report for result in results)
        assert first.removed == second.removed
        assert [n.test_accuracy for n in first.networks] == [
            n.test_accuracy for n in second.networks
        ]


def test_one_probability_is_not_pruned() -> None:
    train, heldout = parts(2)
    model = ending_in(trained(1, train), nn.Sigmoid())
    with pytest.raises(ModelError, match="prune the model without its sigmoid"):
        designer.prune(model, (train, heldout, heldout), remove=1)
