"""``designer.prune``: smaller models, honest reports, and a model that is left as it was."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import designer
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError
from designer.models.surgery import PassThrough
from designer.pruning import removal_trials
from designer.pruning import report as pruning_report
from designer.pruning.baselines import from_scratch
from designer.pruning.evaluation import correct_mask
from designer.pruning.prune import PruningResult
from designer.report.figures.figure import TableView
from designer.report.markdown import markdown_report
from designer.report.views.pruning import pruning_view
from designer.report.words import MISSING
from designer.results.pruning import NetworkFigures, PruningReport
from designer.results.serialisation import report_to_json
from tests.support.trained import (
    Triple,
    all_low,
    blob_net,
    blob_parts,
    same_state,
    state_of,
    train_briefly,
)

DEPTH = 5
NAMES = [f"blocks.{i}" for i in range(DEPTH)]
QUICK: dict[str, Any] = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 32}


@pytest.fixture(scope="module")
def data() -> Triple:
    return blob_parts()


@pytest.fixture(scope="module")
def model(data: Triple) -> nn.Module:
    return train_briefly(blob_net(DEPTH), data[0])


@pytest.fixture(scope="module")
def pruned(model: nn.Module, data: Triple) -> PruningResult:
    """Two blocks removed, with baselines."""
    return designer.prune(
        model, data, remove=2, baselines=True, scratch_epochs=3, build=blob_again, **QUICK
    )


def blob_again(seed: int) -> nn.Module:
    return blob_net(DEPTH, seed=seed)


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def operations(model: nn.Module, inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs[:1])
    return int(counter.get_total_flops())


def gone(model: nn.Module) -> list[str]:
    return [name for name, part in model.named_modules() if isinstance(part, PassThrough)]


def figures(report: PruningReport) -> dict[str, NetworkFigures]:
    return {one.name: one for one in report.networks}


class TestWhatIsRemoved:
    def test_so_many_blocks(self, pruned: PruningResult, model: nn.Module, data: Triple) -> None:
        report = pruned.report
        first = sorted((one for one in report.blocks if one.order), key=lambda one: one.order or 0)
        assert set(report.removed) == {one.name for one in first[:2]}
        assert [one.name for one in report.blocks if one.removed] == list(report.removed)
        assert gone(pruned.model) == list(report.removed)
        assert size(pruned.model) < size(model)
        assert pruned.model(data[0].inputs[:7]).shape == (7, 3)
        assert not pruned.model.training
        assert report.request == {"remove": 2}

    @pytest.mark.parametrize("names", [["blocks.3", "blocks.1"], ["blocks.0"], "blocks.4"])
    def test_named_blocks(self, model: nn.Module, data: Triple, names: list[str] | str) -> None:
        found = designer.prune(model, data, remove=names, epochs=0)
        wanted = sorted([names] if isinstance(names, str) else names)
        assert list(found.report.removed) == gone(found.model) == wanted

    def test_all_blocks(self, model: nn.Module, data: Triple) -> None:
        found = designer.prune(model, data, remove=DEPTH, **QUICK)
        assert gone(found.model) == NAMES
        assert size(found.model) == 6 * 3 + 3
        assert figures(found.report)["pruned"].law is None

    def test_as_much_as_accuracy_allows(self, model: nn.Module, data: Triple) -> None:
        found = designer.prune(model, data, max_drop=0.05, **QUICK)
        before, after = correct_mask(model, data[1]), correct_mask(found.model, data[1])
        now = figures(found.report)["pruned"]
        assert now.drop_bound is not None
        assert now.drop_bound <= 0.05
        assert now.drop == pytest.approx(float(before.float().mean() - after.float().mean()))
        counts = {len(one.removed): one for one in found.report.trials if one.recovered}
        assert len(found.report.removed) == max(k for k, one in counts.items() if one.within)
        assert found.report.request == {"max_drop": 0.05}
        assert not found.report.warnings

    def test_nothing_where_too_little_is_allowed(self, model: nn.Module, data: Triple) -> None:
        found = designer.prune(model, data, max_drop=0.0, baselines=True, **QUICK)
        assert found.report.removed == ()
        assert found.removals == ()
        assert [one.name for one in found.report.networks] == ["original"]
        assert found.report.conclusion.startswith("No block is removed")
        least = min(found.report.trials, key=lambda one: one.drop_bound)
        assert found.report.conclusion.endswith(
            f"without {', '.join(least.removed)} it drops by no more than "
            f"{100 * least.drop_bound:.1f} points, with 95 % confidence."
        )
        assert same_state(found.model, state_of(model))
        assert found.model is not model
        assert [warning.code for warning in found.report.warnings] == ["few_heldout_samples"]
        assert found.with_baselines() is found

    def test_as_much_as_a_size_asks_for(self, model: nn.Module, data: Triple) -> None:
        found = designer.prune(model, data, target_params=0.7, epochs=0)
        assert size(found.model) <= 0.7 * size(model)
        fewer = len(found.report.removed) - 1
        less = designer.prune(model, data, remove=fewer, epochs=0)
        assert size(less.model) > 0.7 * size(model)

    def test_no_size_that_cannot_be_reached(self, model: nn.Module, data: Triple) -> None:
        with pytest.raises(InvalidInputError, match="no fewer than 21 are left"):
            designer.prune(model, data, target_params=0.01)

    def test_no_units_where_no_blocks_are_left(self, model: nn.Module, data: Triple) -> None:
        found = designer.prune(model, data, remove=DEPTH, narrower=True, epochs=0)
        assert found.report.narrowed == {}
        assert gone(found.model) == NAMES

    def test_units_of_layers_that_do_little(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, data: Triple
    ) -> None:
        plain = designer.prune(model, data, remove=1, **QUICK)
        monkeypatch.setattr(removal_trials, "layer_reports", all_low)
        found = designer.prune(model, data, remove=1, narrower=True, **QUICK)
        assert found.report.removed == plain.report.removed
        assert found.report.narrowed
        for layer, (before, after) in found.report.narrowed.items():
            assert plain.model.get_submodule(layer).out_features == before
            assert found.model.get_submodule(layer).out_features == after < before
        assert size(found.model) < size(plain.model)
        assert figures(found.report)["pruned"].parameters == size(found.model)


@pytest.mark.parametrize(
    "criterion", ["heldout", "train", "block-influence", "ablation", "last", "random"]
)
def test_every_criterion_prunes(model: nn.Module, data: Triple, criterion: str) -> None:
    found = designer.prune(model, data, remove=2, criterion=criterion, epochs=0, seed=4)
    ordered = sorted(found.report.blocks, key=lambda one: one.order or 0)
    assert {one.name for one in ordered[:2]} == set(found.report.removed)
    assert found.report.criterion == criterion
    if criterion == "last":
        assert found.report.removed == ("blocks.3", "blocks.4")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_best_follows_the_order_that_leaves_more(
    model: nn.Module, data: Triple, count: int
) -> None:
    def left(criterion: str) -> PruningResult:
        return designer.prune(model, data, remove=count, criterion=criterion, epochs=0)

    both = {name: left(name) for name in ("heldout", "block-influence")}
    accuracies = {
        name: figures(one.report)["pruned"].validation_accuracy.value for name, one in both.items()
    }
    best = left("best")
    followed = best.report.criterion
    assert accuracies[followed] == max(accuracies.values())
    assert best.report.removed == both[followed].report.removed
    assert best.report.blocks == both[followed].report.blocks


def test_the_seed_fixes_everything(model: nn.Module, data: Triple, pruned: PruningResult) -> None:
    again = designer.prune(
        model, data, remove=2, baselines=True, scratch_epochs=3, build=blob_again, **QUICK
    )
    assert same_state(again.model, state_of(pruned.model))
    assert again.removals == pruned.removals
    assert timeless(again.report) == timeless(pruned.report)


def timeless(report: PruningReport) -> PruningReport:
    """A report without what a clock says."""
    return replace(report, networks=tuple(replace(one, latency=None) for one in report.networks))


@pytest.mark.parametrize("options", [{"max_drop": 0.05}, {"remove": 9}], ids=["prunes", "raises"])
def test_the_model_is_left_exactly_as_it_was(data: Triple, options: dict[str, Any]) -> None:
    model = train_briefly(blob_net(DEPTH), data[0]).train()
    model.get_submodule("blocks.1").eval()
    frozen = next(model.parameters())
    frozen.requires_grad = False
    model(data[0].inputs[:9]).sum().backward()
    calls: list[Any] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    modes = {name: part.training for name, part in model.named_modules()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    state, parameters = state_of(model), list(model.parameters())
    random, hooks = torch.get_rng_state(), dict(model._forward_hooks)
    try:
        designer.prune(
            model, data, criterion="ablation", narrower=True, baselines=True, **options, **QUICK
        )
    except InvalidInputError:
        assert "remove" in options
    assert same_state(model, state)
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert not frozen.requires_grad
    for now, then in zip(model.parameters(), grads, strict=True):
        assert (now.grad is None) == (then is None)
        assert then is None or (now.grad is not None and torch.equal(now.grad, then))
    assert torch.equal(torch.get_rng_state(), random)
    assert dict(model._forward_hooks) == hooks
    assert all(not part._forward_pre_hooks for part in model.modules())
    handle.remove()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_stays(model: nn.Module, data: Triple, kind: torch.dtype) -> None:
    other = train_briefly(blob_net(DEPTH), data[0]).to(kind)
    found = designer.prune(other, data, remove=1, **QUICK)
    assert {p.dtype for p in found.model.parameters()} == {kind}
    assert {p.dtype for p in other.parameters()} == {kind}
    assert figures(found.report)["original"].validation_accuracy.value > 0.9


def test_soft_targets_make_another_network(
    model: nn.Module, data: Triple, pruned: PruningResult
) -> None:
    soft = designer.prune(model, data, remove=2, soft_targets=True, **QUICK)
    assert soft.report.removed == pruned.report.removed
    assert not same_state(soft.model, state_of(pruned.model))
    assert soft.report.settings["soft_targets"]


def test_a_destructive_rate_leaves_what_was_fitted(model: nn.Module, data: Triple) -> None:
    fitted = designer.prune(model, data, remove=1, epochs=0)
    found = designer.prune(model, data, remove=1, epochs=3, learning_rate=1e6)
    assert same_state(found.model, state_of(fitted.model))


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
        made: list[nn.Module] = []
        taken = from_scratch

        def kept(*arguments: Any) -> nn.Module:
            made.append(taken(*arguments))
            return made[-1]

        monkeypatch.setattr(pruning_report, "from_scratch", kept)
        for seed in (1, 1, 2):
            found = designer.prune(
                model, data, remove=["blocks.0"], epochs=0, baselines=True, scratch_epochs=0,
                build=build, seed=seed,
            )  # fmt: skip
        first, again, other = made
        assert same_state(first, state_of(again))
        assert first.state_dict().keys() == found.model.state_dict().keys()
        for name, weight in first.named_parameters():
            assert weight.shape == found.model.get_parameter(name).shape
            if "linear" in name:
                assert not torch.equal(weight, found.model.get_parameter(name))
                assert not torch.equal(weight, other.get_parameter(name))

    def test_greedy_removes_as_many(self, pruned: PruningResult) -> None:
        greedy = figures(pruned.report)["greedy ablation"]
        assert len(greedy.removed) == 2
        assert greedy.blocks == DEPTH - 2
        assert greedy.epochs >= DEPTH + (DEPTH - 1)  # each that is left, with an epoch

    def test_can_come_later(self, model: nn.Module, data: Triple, pruned: PruningResult) -> None:
        plain = designer.prune(model, data, remove=2, scratch_epochs=3, build=blob_again, **QUICK)
        assert [one.name for one in plain.report.networks] == ["original", "pruned"]
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

    def test_that_are_better_are_said_to_be(self, data: Triple) -> None:
        poor = train_briefly(blob_net(DEPTH), data[0], epochs=2)
        options: dict[str, Any] = {**QUICK, "epochs": 0, "baselines": True}
        found = designer.prune(poor, data, remove=1, scratch_epochs=12, **options)
        assert "trained from scratch for 12 epochs, is better" in found.report.conclusion

    def test_start_anew_where_the_weights_come_with_the_model(
        self, model: nn.Module, data: Triple
    ) -> None:
        def loads(_seed: int) -> nn.Module:
            return copy.deepcopy(model)

        options: dict[str, Any] = {"remove": 1, "baselines": True, "scratch_epochs": 0, **QUICK}
        found = designer.prune(model, data, build=loads, **options)
        assert "is not as good" in found.report.conclusion


class LooksAtItsFirst(nn.Module):
    """A forward pass that needs one block, whichever."""

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
    found = designer.prune(model, data, max_drop=0.9, baselines=True, scratch_epochs=1, **QUICK)
    assert 1 <= len(found.report.removed) < DEPTH
    with pytest.raises(ModelError, match="go together"):
        designer.prune(model, data, remove=DEPTH, **QUICK)


class TestReport:
    def test_figures_are_those_of_the_networks(
        self, pruned: PruningResult, model: nn.Module, data: Triple
    ) -> None:
        for name, network in (("original", model), ("pruned", pruned.model)):
            told = figures(pruned.report)[name]
            assert told.parameters == size(network)
            assert told.flops == operations(network, data[0].inputs)
            assert told.test_accuracy is not None
            for part, share in ((data[1], told.validation_accuracy), (data[2], told.test_accuracy)):
                assert share.value == pytest.approx(
                    float(correct_mask(network, part).float().mean())
                )
                assert share.interval[0] < share.value <= share.interval[1]
                assert share.samples == len(part)
            law = designer.profile(network, data[0], permutations=0).law
            assert told.law is not None
            assert told.law.rho == pytest.approx(law.rho, rel=1e-4)

    def test_is_strict_json(self, pruned: PruningResult) -> None:
        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        for report in (pruned.report, replace(pruned.report, networks=())):
            told = json.loads(report_to_json(report), parse_constant=refuse)
            assert told["schema"] == "designer.pruning/1"
            assert told["removed"] == list(report.removed)
            assert [one["name"] for one in told["blocks"]] == NAMES

    def test_tables_are_what_the_json_says(self, pruned: PruningResult) -> None:
        told = json.loads(report_to_json(pruned.report))
        view = pruning_view(pruned.report)
        tables = {one.title: one for one in view.sections if isinstance(one, TableView)}
        side = tables["Side by side"]
        assert side.columns[1:] == tuple(one["name"] for one in told["networks"])
        rows = {row[0]: row[1:] for row in side.rows}
        for i, one in enumerate(told["networks"]):
            assert rows["blocks"][i] == str(one["blocks"])
            assert rows["parameters"][i] == str(one["parameters"])
            assert rows["operations"][i] == f"{one['flops']:,}"
            accuracy = f"{100 * one['validation_accuracy']['value']:.1f}"
            assert rows["validation %"][i].startswith(accuracy)
            if i:
                assert rows["time"][i] == f"{one['latency']:.2f}"
                assert float(rows["points lost"][i]) == pytest.approx(100 * one["drop"], abs=0.051)
                bound = pytest.approx(100 * one["drop_bound"], abs=0.051)
                assert float(rows["95 % bound"][i]) == bound
        blocks = tables["Block by block"].rows
        assert [row[0] for row in blocks] == NAMES
        assert [row[1] for row in blocks] == [str(one["order"]) for one in told["blocks"]]
        assert [row[-1] == "yes" for row in blocks] == [one["removed"] for one in told["blocks"]]
        ways = tables["How blocks are removed, or why they must stay"].rows
        assert sorted(name for row in ways for name in row[0].split(", ")) == NAMES
        assert all(row[1].startswith("can go: ") for row in ways)
        assert len(tables["Removals that were tried"].rows) == len(told["trials"]) == 1

    def test_says_why_blocks_stay(self, data: Triple) -> None:
        class Wide(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([x, -x], dim=1).relu()

        wide = nn.Sequential(
            nn.Sequential(nn.Linear(6, 9), nn.ReLU()),
            nn.Sequential(nn.Linear(9, 9), nn.ReLU()),
            nn.Sequential(nn.Linear(9, 9), Wide()),
            nn.Softmax(dim=1),
            nn.Linear(18, 3),
        )
        found = designer.prune(
            train_briefly(wide, data[0], 6), data, blocks=["0", "1", "2"], remove=1, epochs=0
        )
        report = replace(
            found.report,
            blocks=tuple(
                replace(one, order=None, reason="it\nmust") if one.name == "2" else one
                for one in found.report.blocks
            ),
        )
        text = markdown_report(pruning_view(report))
        assert "| 2 | must stay: it must |" in text

    def test_shows_what_ordered_the_blocks(self, pruned: PruningResult) -> None:
        for criterion, title in (("block-influence", "influence"), ("ablation", "loss")):
            view = pruning_view(replace(pruned.report, criterion=criterion))
            tables = [one for one in view.sections if isinstance(one, TableView)]
            table = next(one for one in tables if one.title == "Block by block")
            assert table.columns[2] == title
            values = [one.value for one in pruned.report.blocks]
            assert [row[2] for row in table.rows] == [
                MISSING if value is None else f"{value:.3f}" for value in values
            ]
            assert any(value is not None for value in values)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (0, "0"), (12_768, "12,768"), (999_999, "999,999"), (1_000_000, "1M"),
            (25_557_032, "25.6M"), (999_900_000, "1G"), (8_178_892_800, "8.18G"),
        ],
    )  # fmt: skip
    def test_shortens_large_numbers(self, pruned: PruningResult, value: int, shown: str) -> None:
        large = tuple(replace(one, parameters=value, flops=value) for one in pruned.report.networks)
        table = pruning_view(replace(pruned.report, networks=large)).sections[0]
        assert isinstance(table, TableView)
        rows = {row[0]: row for row in table.rows}
        assert rows["parameters"][1] == rows["operations"][1] == shown

    def test_text_from_outside_stays_on_its_line(self, pruned: PruningResult) -> None:
        nasty = replace(pruned.report.model, name="a\nb\x1b[31m")
        view = pruning_view(replace(pruned.report, model=nasty))
        assert "\n" not in view.title
        assert "\x1b" not in view.title

    def test_warns_of_few_samples(self, model: nn.Module, data: Triple) -> None:
        few = LabelledTensors(data[1].inputs[:60], data[1].labels[:60])
        warnings = designer.prune(model, (data[0], few), max_drop=0.02, epochs=0).report.warnings
        assert [one.code for one in warnings] == ["few_heldout_samples"]
        assert warnings[0].message.startswith("With 60 validation samples a drop of less than 3.8 ")
        enough = designer.prune(model, (data[0], few), max_drop=0.04, epochs=0)
        assert not enough.report.warnings
        assert figures(enough.report)["original"].test_accuracy is None


def wrong(**options: Any) -> Callable[[nn.Module, Triple], object]:
    return lambda model, data: designer.prune(model, data, **options)


def with_data(*parts: Any) -> Callable[[nn.Module, Triple], object]:
    return lambda model, _: designer.prune(model, parts, remove=1)


X, Y = torch.zeros(8, 6), torch.arange(8) % 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "said"),
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
            (wrong(remove=1, criterion="magic"), "among best, heldout, train, .*, got 'magic'"),
            (wrong(remove=1, epochs=-1), "at least 0 epochs, got -1"),
            (wrong(remove=1, scratch_epochs=-1), "at least 0 epochs, got -1"),
            (wrong(remove=1, learning_rate=0), "positive learning rate, got 0"),
            (wrong(remove=1, learning_rate=float("inf")), "positive learning rate, got inf"),
            (wrong(remove=1, batch_size=1), "batch size of at least 2, got 1"),
            (with_data((X, Y)), "held-out part to decide on, .*, got tuple of 1"),
            (with_data((X, Y), (X[:0], Y[:0])), "held-out data to decide on, got no sample"),
            (with_data((X[:0], Y[:0]), (X, Y)), "training data, got no sample"),
            (with_data((X, Y), (X, Y + 1)), "among the training classes, got class 3, too"),
            (with_data((X, Y - 1), (X, Y - 1)), "labels from 0 on, got -1"),
            (with_data((X, Y), (X, Y.float())), r"labels \(n,\) as torch tensors"),
            (with_data((X, Y), (X, Y[:3])), r"labels \(n,\) as torch tensors"),
            (with_data([(X, Y)], [(X, Y)]), r"labels \(n,\) as torch tensors, got list of 1"),
            (lambda m, d: designer.prune(m, iter(d), remove=1), "got tuple_iterator"),
            (lambda m, d: designer.prune(m, "nowhere", remove=1), "nowhere"),
        ],
    )  # fmt: skip
    def test_of_arguments_and_data(
        self, model: nn.Module, data: Triple, call: Callable[..., object], said: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=said) as raised:
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
                return {"logits": super().forward(x)}

        for model, said in (
            (Raises(), "ZeroDivisionError: on purpose"),
            (Says(6, 3), "gives logits .* got dict"),
        ):
            with pytest.raises(InvalidInputError, match=said) as raised:
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
