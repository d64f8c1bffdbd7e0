"""A network from scratch and greedy ablation, beside what pruning leaves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import designer
from designer.pruning import report as pruning_report
from designer.pruning.baselines import from_scratch
from designer.pruning.prune import PruningResult
from tests.pruning.blobs import (
    DEPTH,
    QUICK,
    blob_again,
    figures,
    timeless,
)
from tests.support.trained import (
    Triple,
    blob_net,
    same_state,
    state_of,
    train_briefly,
)


class TestBaselines:
    def test_from_scratch_has_the_same_structure(
        self, pruned: PruningResult, model: nn.Module
    ) -> None:
        ours, theirs = (figures(pruned.report)[name] for name in ("pruned", "from scratch"))
        assert (ours.parameters, ours.flops, ours.blocks) == (
            theirs.parameters,
            theirs.flops,
            theirs.blocks,
        )
        assert theirs.removed == ours.removed
        assert theirs.epochs == 3
        assert theirs.validation_accuracy.value > 0.5

    @pytest.mark.parametrize("build", [None, blob_again])
    def test_from_scratch_has_other_weights(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, data: Triple, build: Any
    ) -> None:
        scratches: list[nn.Module] = []
        train_from_scratch = from_scratch

        def kept(*arguments: Any) -> nn.Module:
            scratches.append(train_from_scratch(*arguments))
            return scratches[-1]

        monkeypatch.setattr(pruning_report, "from_scratch", kept)
        for seed in (1, 1, 2):
            result = designer.prune(
                model, data, remove=["blocks.0"], epochs=0, baselines=True, scratch_epochs=0,
                build=build, seed=seed,
            )  # fmt: skip
        first, again, other = scratches
        assert same_state(first, state_of(again))
        assert first.state_dict().keys() == result.model.state_dict().keys()
        for name, weight in first.named_parameters():
            assert weight.shape == result.model.get_parameter(name).shape
            if "linear" in name:
                assert not torch.equal(weight, result.model.get_parameter(name))
                assert not torch.equal(weight, other.get_parameter(name))

    def test_greedy_removes_as_many(self, pruned: PruningResult) -> None:
        greedy = figures(pruned.report)["greedy ablation"]
        assert len(greedy.removed) == 2
        assert greedy.blocks == DEPTH - 2
        assert greedy.epochs >= DEPTH + (DEPTH - 1)  # each that is left, with an epoch

    def test_can_come_later(self, model: nn.Module, data: Triple, pruned: PruningResult) -> None:
        plain = designer.prune(model, data, remove=2, scratch_epochs=3, build=blob_again, **QUICK)
        assert [network.name for network in plain.report.networks] == ["original", "pruned"]
        told: set[str] = set()
        later = plain.with_baselines(lambda what, *_: told.add(what))
        assert told == {"from scratch", "greedy ablation", "recovery"}
        assert timeless(later.report) == timeless(pruned.report)
        assert later.model is plain.model
        assert later.with_baselines() is later

    def test_that_are_as_good_are_said_to_be(self, model: nn.Module, data: Triple) -> None:
        options: dict[str, Any] = {"remove": 1, "baselines": True, **QUICK}
        long = designer.prune(model, data, scratch_epochs=12, **options)
        assert "is as good within the noise" in long.report.conclusion
        none = designer.prune(model, data, scratch_epochs=0, **options)
        assert "trained from scratch for 0 epochs, is not as good" in none.report.conclusion

    def test_what_is_frozen_is_trained_from_scratch(self, data: Triple) -> None:
        frozen = train_briefly(blob_net(DEPTH), data[0])
        for name, parameter in frozen.named_parameters():
            parameter.requires_grad_(name.startswith("head"))
        options: dict[str, Any] = {"remove": 1, "baselines": True, **QUICK, "epochs": 0}
        result = designer.prune(frozen, data, scratch_epochs=12, **options)
        scratch = figures(result.report)["from scratch"]
        assert scratch.validation_accuracy.value > 0.9

    def test_that_are_better_are_said_to_be(self, data: Triple) -> None:
        poor = train_briefly(blob_net(DEPTH), data[0], epochs=2)
        options: dict[str, Any] = {**QUICK, "epochs": 0, "baselines": True}
        result = designer.prune(poor, data, remove=1, scratch_epochs=12, **options)
        assert "trained from scratch for 12 epochs, is better" in result.report.conclusion

    def test_start_anew_where_the_weights_come_with_the_model(
        self, model: nn.Module, data: Triple
    ) -> None:
        def loads(_seed: int) -> nn.Module:
            return copy.deepcopy(model)

        options: dict[str, Any] = {"remove": 1, "baselines": True, "scratch_epochs": 0, **QUICK}
        result = designer.prune(model, data, build=loads, **options)
        assert "is not as good" in result.report.conclusion
