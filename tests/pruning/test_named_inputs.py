"""Networks that take their inputs by name, with padding, from batches of their users' loops."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.cli.app import OK
from designer.data.dataset import BatchedData
from designer.errors import DataError
from designer.pruning.splits import splits_of
from tests.support.command import Command
from tests.support.texts import text_batches, text_loaders, texts, trained_text_net

LAYERS = ["layers.0", "layers.1", "layers.2"]
QUICK: dict[str, Any] = {"epochs": 1}


def size_of(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def logits(model: nn.Module, data: dict[str, Tensor]) -> Tensor:
    """Return what a model gives for texts."""
    with torch.no_grad():
        output: Tensor = model(data["input_ids"], data["attention_mask"])["logits"]
    return output


def test_a_whole_layer_goes_with_batches_by_name() -> None:
    model, loaders = trained_text_net(), text_loaders()
    before = copy.deepcopy(model.state_dict())
    data = BatchedData("loaders", **loaders)
    result = designer.prune(model, data, remove=1, criterion="contribution", **QUICK)
    assert size_of(model) - size_of(result.model) == size_of(model.layers[0])
    assert set(result.report.removed) < set(LAYERS)
    used = result.report.data
    assert (used.name, used.train, used.heldout) == ("loaders", 390, 150)
    held = texts(100, 2)
    correct = logits(result.model, held).argmax(1) == held["labels"]
    (pruned,) = [n for n in result.report.networks if n.name == "pruned"]
    assert pruned.test_accuracy is not None
    assert pruned.test_accuracy.value == pytest.approx(float(correct.float().mean()))
    assert pruned.test_accuracy.value > 0.9
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_every_form_of_the_same_texts_gives_the_same_network() -> None:
    train, held = texts(200, 0), texts(100, 1)
    pairs = [({k: v for k, v in d.items() if k != "labels"}, d["labels"]) for d in (train, held)]
    forms: list[Any] = [(train, held), tuple(pairs), (text_batches(train), text_batches(held))]
    model = trained_text_net()
    results = [designer.prune(model, data, remove=1, criterion="last", **QUICK) for data in forms]
    first, *others = (logits(result.model, held) for result in results)
    assert all(torch.allclose(first, other, atol=1e-5) for other in others)


def test_tokens_with_labels_of_their_own() -> None:
    model = trained_text_net(by_token=True)
    train, held = texts(200, 0, by_token=True), texts(100, 1, by_token=True)
    result = designer.prune(model, (train, held), remove=1, soft_targets=True, **QUICK)
    assert size_of(model) - size_of(result.model) == size_of(model.layers[0])
    labels = held["labels"]
    right = (logits(result.model, held).argmax(2) == labels)[labels >= 0]
    (pruned,) = [n for n in result.report.networks if n.name == "pruned"]
    assert pruned.validation_accuracy.value == pytest.approx(float(right.float().mean()))
    assert pruned.validation_accuracy.samples == int((labels >= 0).sum())


def test_padding_changes_no_measurement() -> None:
    model = trained_text_net()
    train, held = texts(120, 0), texts(60, 1)

    def padded(data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the same texts with three tokens more, which the mask leaves out."""
        more = {name: nn.functional.pad(data[name], (0, 3)) for name in data if name != "labels"}
        more["input_ids"][:, -3:] = 1
        return {**more, "labels": data["labels"]}

    a, b = (
        designer.analyze(model, *parts, features="pool", permutations=0, resamples=0)
        for parts in ((train, held), (padded(train), padded(held)))
    )
    assert [layer.name for layer in a.layers] == LAYERS
    for first, second in zip(a.layers, b.layers, strict=True):
        assert first.separation == pytest.approx(second.separation, rel=1e-4)
        assert first.contribution is not None
        assert second.contribution is not None
        assert first.contribution.cross_entropy is not None
        assert second.contribution.cross_entropy is not None
        assert first.contribution.cross_entropy.value == pytest.approx(
            second.contribution.cross_entropy.value, abs=1e-4
        )
    assert splits_of((train, padded(train))).leaks[0].samples == 120


def test_batches_without_a_held_out_part_are_refused() -> None:
    with pytest.raises(DataError, match=r"^Expected held-out batches .* return heldout, too\.$"):
        splits_of(BatchedData("loaders", [texts(20, 0)]))


@pytest.mark.usefixtures("folder")
def test_on_the_command_line(command: Command) -> None:
    net, loaders = ("tests.support.texts:text_net", "tests.support.texts:text_loaders")
    trusted = ["--trust", net, "--trust", loaders]
    few = ["--contribution-samples", "50"]
    done = command("prune", net, "--data", loaders, "--remove", "1", "--criterion", "last",
                   "--epochs", "1", "--no-baselines", "--out", "small")  # fmt: skip
    assert done.code == OK, done.err
    assert Path("small/model.safetensors").stat().st_size < 4 * size_of(trained_text_net())
    analyzed = command("analyze", net, "--data", loaders, *few, "--out", "whole")
    assert analyzed.code == OK, analyzed.err
    compared = command("compare", "whole", "small", *trusted, "--format", "json")
    assert compared.code == OK, compared.err
    networks = json.loads(compared.out)["networks"]
    assert [len(network["layers"]) for network in networks] == [3, 2]
    assert networks[1]["flops"] > 0
