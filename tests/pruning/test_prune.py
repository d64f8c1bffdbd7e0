"""``designer.prune`` removes the blocks that it is asked to remove."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

import designer
from designer.choices import Criterion
from designer.errors import InvalidInputError, ModelError
from designer.models.surgery import PassThrough
from designer.pruning import removal_trials
from designer.pruning.criteria import BEST_OF
from designer.pruning.prune import PruningResult
from designer.pruning.splits import splits_of
from designer.training.trainer import correct_answers
from tests.pruning.blobs import (
    DEPTH,
    NAMES,
    QUICK,
    blob_again,
    figures,
    gone,
    size,
    timeless,
)
from tests.support.helpers import trained_for_a_rare_class
from tests.support.trained import (
    Triple,
    all_low,
    blob_net,
    same_state,
    state_of,
    train_briefly,
)


class TestWhatIsRemoved:
    def test_so_many_blocks(self, pruned: PruningResult, model: nn.Module, data: Triple) -> None:
        report = pruned.report
        first = sorted(
            (block for block in report.blocks if block.order), key=lambda block: block.order or 0
        )
        assert set(report.removed) == {block.name for block in first[:2]}
        assert [block.name for block in report.blocks if block.removed] == list(report.removed)
        assert gone(pruned.model) == list(report.removed)
        assert size(pruned.model) < size(model)
        assert pruned.model(data[0].inputs[:7]).shape == (7, 3)
        assert not pruned.model.training
        assert report.request == {"remove": 2}

    @pytest.mark.parametrize("names", [["blocks.3", "blocks.1"], ["blocks.0"], "blocks.4"])
    def test_named_blocks(self, model: nn.Module, data: Triple, names: list[str] | str) -> None:
        result = designer.prune(model, data, remove=names, epochs=0)
        wanted = sorted([names] if isinstance(names, str) else names)
        assert list(result.report.removed) == gone(result.model) == wanted

    def test_all_blocks(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, remove=DEPTH, **QUICK)
        assert gone(result.model) == NAMES
        assert size(result.model) == 6 * 3 + 3
        assert figures(result.report)["pruned"].law is None

    def test_as_much_as_accuracy_allows(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, max_drop=0.05, **QUICK)
        before, after = correct_answers(model, data[1]), correct_answers(result.model, data[1])
        now = figures(result.report)["pruned"]
        assert now.drop_bound is not None
        assert now.drop_bound <= 0.05
        assert now.drop == pytest.approx(float(before.float().mean() - after.float().mean()))
        counts = {len(trial.removed): trial for trial in result.report.trials if trial.recovered}
        assert len(result.report.removed) == max(k for k, trial in counts.items() if trial.within)
        assert result.report.request == {"max_drop": 0.05}
        assert not result.report.warnings

    def test_nothing_where_too_little_is_allowed(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, max_drop=0.0, baselines=True, **QUICK)
        assert result.report.removed == ()
        assert result.removals == ()
        assert [network.name for network in result.report.networks] == ["original"]
        assert result.report.conclusion.startswith("No block is removed")
        least = min(result.report.trials, key=lambda trial: trial.drop_bound)
        assert result.report.conclusion.endswith(
            f"is that of {', '.join(least.removed)}: accuracy drops by no more than "
            f"{100 * least.drop_bound:.1f} points, with 95 % confidence."
        )
        assert same_state(result.model, state_of(model))
        assert result.model is not model
        assert [warning.code for warning in result.report.warnings] == ["few_heldout_samples"]
        assert result.with_baselines() is result

    def test_as_much_as_a_size_asks_for(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, target_params=0.7, epochs=0)
        assert size(result.model) <= 0.7 * size(model)
        fewer = len(result.report.removed) - 1
        less = designer.prune(model, data, remove=fewer, epochs=0)
        assert size(less.model) > 0.7 * size(model)

    def test_no_size_that_cannot_be_reached(self, model: nn.Module, data: Triple) -> None:
        with pytest.raises(InvalidInputError, match="no fewer than 21 are left"):
            designer.prune(model, data, target_params=0.01)

    def test_no_units_where_no_blocks_are_left(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, remove=DEPTH, narrower=True, epochs=0)
        assert result.report.narrowed == {}
        assert gone(result.model) == NAMES

    def test_units_of_layers_that_do_little(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, data: Triple
    ) -> None:
        plain = designer.prune(model, data, remove=1, **QUICK)
        monkeypatch.setattr(removal_trials, "layer_reports", all_low)
        result = designer.prune(model, data, remove=1, narrower=True, **QUICK)
        assert result.report.removed == plain.report.removed
        assert result.report.narrowed
        for layer, (before, after) in result.report.narrowed.items():
            assert plain.model.get_submodule(layer).out_features == before
            assert result.model.get_submodule(layer).out_features == after < before
        assert size(result.model) < size(plain.model)
        assert figures(result.report)["pruned"].parameters == size(result.model)


@pytest.mark.parametrize(
    "criterion",
    ["contribution", "heldout", "train", "block-influence", "ablation", "last", "random"],
)
def test_every_criterion_prunes(model: nn.Module, data: Triple, criterion: str) -> None:
    result = designer.prune(model, data, remove=2, criterion=criterion, epochs=0, seed=4)
    ordered = sorted(result.report.blocks, key=lambda block: block.order or 0)
    assert {block.name for block in ordered[:2]} == set(result.report.removed)
    assert result.report.criterion == criterion
    if criterion == "last":
        assert result.report.removed == ("blocks.3", "blocks.4")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_best_follows_the_order_that_leaves_more(
    model: nn.Module, data: Triple, count: int
) -> None:
    def left(criterion: str) -> PruningResult:
        return designer.prune(model, data, remove=count, criterion=criterion, epochs=0)

    tried = {name: left(name) for name in BEST_OF}
    accuracies = {
        name: figures(run.report)["pruned"].validation_accuracy.value for name, run in tried.items()
    }
    best = left("best")
    followed = Criterion(best.report.criterion)
    assert accuracies[followed] == max(accuracies.values())
    assert best.report.removed == tried[followed].report.removed
    assert best.report.blocks == tried[followed].report.blocks


def test_the_seed_fixes_everything(model: nn.Module, data: Triple, pruned: PruningResult) -> None:
    again = designer.prune(
        model, data, remove=2, baselines=True, scratch_epochs=3, build=blob_again, **QUICK
    )
    assert same_state(again.model, state_of(pruned.model))
    assert again.removals == pruned.removals
    assert timeless(again.report) == timeless(pruned.report)


def test_soft_targets_make_another_network(
    model: nn.Module, data: Triple, pruned: PruningResult
) -> None:
    soft = designer.prune(model, data, remove=2, soft_targets=True, **QUICK)
    assert soft.report.removed == pruned.report.removed
    assert not same_state(soft.model, state_of(pruned.model))
    assert soft.report.settings["soft_targets"]


def test_a_destructive_rate_leaves_what_was_fitted(model: nn.Module, data: Triple) -> None:
    fitted = designer.prune(model, data, remove=1, epochs=0)
    result = designer.prune(model, data, remove=1, epochs=3, learning_rate=1e6)
    assert same_state(result.model, state_of(fitted.model))


class LooksAtItsFirst(nn.Module):
    """Needs any one of its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner: Any = blob_net(DEPTH)

    def forward(self, x: Tensor) -> Tensor:
        if all(isinstance(block, PassThrough) for block in self.inner.blocks):
            raise IndexError("no block is left")
        output: Tensor = self.inner(x)
        return output


def test_fewer_go_where_all_cannot_go_together(data: Triple) -> None:
    model = train_briefly(LooksAtItsFirst(), data[0])
    result = designer.prune(model, data, max_drop=0.9, baselines=True, scratch_epochs=1, **QUICK)
    assert 1 <= len(result.report.removed) < DEPTH
    with pytest.raises(ModelError, match="go together"):
        designer.prune(model, data, remove=DEPTH, **QUICK)


class TestRecoveryAfterEveryFew:
    def test_removals_go_step_by_step(self, model: nn.Module, data: Triple) -> None:
        result = designer.prune(model, data, remove=3, recover_every=1, epochs=2)
        assert gone(result.model) == list(result.report.removed)
        assert len(result.report.removed) == 3
        assert len(result.removals) == 3
        pruned = figures(result.report)["pruned"]
        assert pruned.epochs > 2 * 2  # two starts of one recovery take no more than this
        assert pruned.validation_accuracy.value == pytest.approx(
            float(correct_answers(result.model, splits_of(data).validation).float().mean())
        )

    def test_as_many_at_a_time_as_go_is_one_recovery(self, model: nn.Module, data: Triple) -> None:
        once = designer.prune(model, data, remove=2, **QUICK)
        together = designer.prune(model, data, remove=2, recover_every=2, **QUICK)
        assert same_state(together.model, state_of(once.model))

    def test_at_least_one(self, model: nn.Module, data: Triple) -> None:
        with pytest.raises(InvalidInputError, match="at least 1 removal between two"):
            designer.prune(model, data, remove=2, recover_every=0)


def test_a_network_trained_for_a_rare_class_is_pruned() -> None:
    model, train, heldout = trained_for_a_rare_class()
    result = designer.prune(model, (train, heldout), remove=1, criterion="contribution", epochs=0)
    assert len(result.removals) == 1
