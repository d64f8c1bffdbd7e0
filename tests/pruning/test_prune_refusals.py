"""What ``designer.prune`` refuses, and what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError
from tests.pruning.blobs import (
    DEPTH,
)
from tests.support.trained import (
    Triple,
    blob_net,
    train_briefly,
)


def wrong(**options: Any) -> Callable[[nn.Module, Triple], object]:
    return lambda model, data: designer.prune(model, data, **options)


def with_data(*parts: Any) -> Callable[[nn.Module, Triple], object]:
    return lambda model, _: designer.prune(model, parts, remove=1)


X, Y = torch.zeros(8, 6), torch.arange(8) % 3

GAP = torch.where(torch.arange(48).view(8, 6) == 20, torch.nan, X)


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (wrong(), "got none of them"),
            (wrong(remove=1, max_drop=0.1), "got remove and max_drop"),
            (wrong(remove=1, max_drop=0.1, target_params=0.5), "got remove and max_drop and"),
            (wrong(remove=0), "at least 1 block to remove, got 0"),
            (wrong(remove=-2), "at least 1 block to remove, got -2"),
            (wrong(remove=[]), r"at least 1 block to remove, got \(\)"),
            (wrong(remove=6), "at most 5 blocks to remove, since 5 of 5 can go, got 6"),
            (wrong(remove=["blocks.9"]), "blocks among blocks.0, .*, got 'blocks.9'"),
            (wrong(remove=1, blocks=["nowhere"]), "'nowhere'"),
            (wrong(max_drop=2), "from 0 to 1, such as 0.01, got 2"),
            (wrong(max_drop=-0.1), "got -0.1"),
            (wrong(max_drop=float("nan")), "got nan"),
            (wrong(target_params=0), "between 0 and 1, got 0"),
            (wrong(target_params=1), "between 0 and 1, got 1"),
            (wrong(remove=1, criterion="magic"), "among best, contribution, .*, got 'magic'"),
            (wrong(remove=1, epochs=-1), "at least 0 epochs, got -1"),
            (wrong(remove=1, scratch_epochs=-1), "at least 0 epochs, got -1"),
            (wrong(remove=1, learning_rate=0), "positive learning rate, got 0"),
            (wrong(remove=1, learning_rate=float("inf")), "positive learning rate, got inf"),
            (wrong(remove=1, batch_size=1), "batch size of at least 2, got 1"),
            (with_data((X, Y)), "held-out part to decide on, .*, got tuple of 1"),
            (with_data((X, Y), (X[:0], Y[:0])), "held-out data to decide on, got no sample"),
            (with_data((X[:0], Y[:0]), (X, Y)), "training data, got no sample"),
            (with_data((X, Y), (X, Y + 1)), "among the training classes, got class 3, too"),
            (with_data((X, Y), (X, Y), (X, Y + 1)), "test labels among the training classes"),
            (with_data((X / 0, Y), (X, Y)), "NaN in 8 of 8 training samples"),
            (with_data((X, Y), (GAP, Y)), "NaN in 1 of 8 held-out samples"),
            (with_data((X, Y - 1), (X, Y - 1)), "labels from 0 on, got -1"),
            (with_data((X, Y), (X, Y.float())), r"of an integer dtype, got real targets"),
            (with_data((X, Y), (X, Y[:3])), "one label per sample, got"),
            (with_data([(X, X)], [(X, Y)]), "got real targets of shape"),
            (lambda m, d: designer.prune(m, iter(d), remove=1), "got tuple_iterator"),
            (lambda m, d: designer.prune(m, "nowhere", remove=1), "nowhere"),
        ],
    )  # fmt: skip
    def test_of_arguments_and_data(
        self, model: nn.Module, data: Triple, call: Callable[..., object], message: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=message) as raised:
            call(model, data)
        assert "\n" not in str(raised.value)

    def test_of_more_classes_than_the_model_has(self, model: nn.Module, data: Triple) -> None:
        labels = data[0].labels.clone()
        labels[0] = 3
        four = LabelledTensors(data[0].inputs, labels)
        with pytest.raises(ModelError, match=r"logits \(n, 4\), got \(2, 3\)"):
            designer.prune(model, (four, data[1]), remove=1)

    def test_of_a_model_at_chance(self, data: Triple) -> None:
        with pytest.raises(InvalidInputError, match=r"no better than chance .* train it first"):
            designer.prune(train_briefly(blob_net(DEPTH), data[0], epochs=0), data, remove=1)

    def test_of_models_that_are_no_classifiers(self, data: Triple) -> None:
        class Raises(nn.Module):
            def forward(self, _: Tensor) -> Tensor:
                raise ZeroDivisionError("on purpose\nat length")

        class Says(nn.Linear):
            def forward(self, x: Tensor) -> Any:
                return {"classes": super().forward(x).argmax(1)}

        for model, message in (
            (Raises(), "ZeroDivisionError: on purpose"),
            (Says(6, 3), "gives logits .* got dict"),
        ):
            with pytest.raises(InvalidInputError, match=message) as raised:
                designer.prune(model.eval(), data, remove=1)
            assert "\n" not in str(raised.value)

    def test_of_models_without_blocks(self, data: Triple) -> None:
        model = train_briefly(nn.Sequential(nn.Linear(6, 3)), data[0])
        with pytest.raises(InvalidInputError, match="found none in Sequential"):
            designer.prune(model, data, remove=1)

    def test_of_models_that_cannot_be_copied(self, data: Triple) -> None:
        model = blob_net(DEPTH)
        model.lock = threading.Lock()  # type: ignore[assignment]
        with pytest.raises(ModelError, match="can be copied, but copying Mlp raised TypeError"):
            designer.prune(model, data, remove=1)

    def test_of_models_whose_blocks_must_stay(self, data: Triple) -> None:
        layer = nn.Linear(6, 6)
        twice = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 3))
        with pytest.raises(
            ModelError, match="blocks that can be removed, found none: '0': it "
        ) as e:
            designer.prune(train_briefly(twice, data[0]), data, remove=1, blocks=["0"])
        assert "\n" not in str(e.value)
