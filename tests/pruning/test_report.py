"""The report on a pruning says what the networks are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.data.dataset import LabelledTensors
from designer.pruning.prune import PruningResult
from designer.report.figures.figure import TableView
from designer.report.markdown import markdown_report
from designer.report.views.pruning import pruning_view
from designer.report.words import MISSING
from designer.results.serialisation import report_to_json
from designer.training.trainer import correct_answers
from tests.pruning.blobs import (
    NAMES,
    figures,
    operations,
    size,
)
from tests.support.trained import (
    Triple,
    train_briefly,
)


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
                    float(correct_answers(network, part).float().mean())
                )
                assert share.interval[0] < share.value <= share.interval[1]
                assert share.samples == len(part)
            law = designer.profile(network, data[0], permutations=0).law
            assert told.law is not None
            assert told.law.rho == pytest.approx(law.rho, rel=1e-4)

    def test_validation_samples_that_were_trained_on_are_counted(
        self, model: nn.Module, data: Triple
    ) -> None:
        train, validation, _ = data
        some = LabelledTensors(
            torch.cat([train.inputs[:20], validation.inputs[20:]]),
            torch.cat([train.labels[:20], validation.labels[20:]]),
        )
        result = designer.prune(model, (train, some), remove=1, epochs=0, baselines=False)
        (message,) = (w.message for w in result.report.warnings if w.code == "leaked_validation")
        assert message.startswith(f"20 of {len(some)} validation samples")
        assert "accuracy there says little about new data" in result.report.conclusion

    @pytest.mark.parametrize("spoiled", [True, False])
    def test_validation_accuracy_clearly_above_test_accuracy_is_said(
        self, model: nn.Module, data: Triple, spoiled: bool
    ) -> None:
        train, validation, test = data
        wrong = (test.labels + (torch.arange(len(test)) % 4 == 0)) % 3
        parts = (train, validation, replace(test, labels=wrong) if spoiled else test)
        report = designer.prune(model, parts, remove=1, epochs=0, baselines=False).report
        messages = [w.message for w in report.warnings if w.code == "validation_known"]
        assert len(messages) == spoiled
        assert all("probably trained on the validation data" in text for text in messages)

    def test_is_strict_json(self, pruned: PruningResult) -> None:
        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        for report in (pruned.report, replace(pruned.report, networks=())):
            told = json.loads(report_to_json(report), parse_constant=refuse)
            assert told["schema"] == "designer.pruning/1"
            assert told["removed"] == list(report.removed)
            assert [block["name"] for block in told["blocks"]] == NAMES

    def test_tables_are_what_the_json_says(self, pruned: PruningResult) -> None:
        told = json.loads(report_to_json(pruned.report))
        view = pruning_view(pruned.report)
        tables = {
            section.title: section for section in view.sections if isinstance(section, TableView)
        }
        side = tables["Side by side"]
        assert side.columns[1:] == tuple(network["name"] for network in told["networks"])
        rows = {row[0]: row[1:] for row in side.rows}
        for i, network in enumerate(told["networks"]):
            assert rows["blocks"][i] == str(network["blocks"])
            assert rows["parameters"][i] == str(network["parameters"])
            assert rows["operations"][i] == f"{network['flops']:,}"
            accuracy = f"{100 * network['validation_accuracy']['value']:.1f}"
            assert rows["validation %"][i].startswith(accuracy)
            if i:
                assert rows["time"][i] == f"{network['latency']:.2f}"
                assert float(rows["points lost"][i]) == pytest.approx(
                    100 * network["drop"], abs=0.051
                )
                bound = pytest.approx(100 * network["drop_bound"], abs=0.051)
                assert float(rows["95 % bound"][i]) == bound
        blocks = tables["Block by block"].rows
        assert [row[0] for row in blocks] == NAMES
        assert [row[1] for row in blocks] == [str(block["order"]) for block in told["blocks"]]
        assert [row[-1] == "yes" for row in blocks] == [
            block["removed"] for block in told["blocks"]
        ]
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
        result = designer.prune(
            train_briefly(wide, data[0], 6), data, blocks=["0", "1", "2"], remove=1, epochs=0
        )
        report = replace(
            result.report,
            blocks=tuple(
                replace(block, order=None, reason="it\nmust") if block.name == "2" else block
                for block in result.report.blocks
            ),
        )
        text = markdown_report(pruning_view(report))
        assert "| 2 | must stay: it must |" in text

    def test_shows_what_ordered_the_blocks(self, pruned: PruningResult) -> None:
        for criterion, title in (("block-influence", "influence"), ("ablation", "loss")):
            view = pruning_view(replace(pruned.report, criterion=criterion))
            tables = [table for table in view.sections if isinstance(table, TableView)]
            table = next(table for table in tables if table.title == "Block by block")
            assert table.columns[2] == title
            values = [block.value for block in pruned.report.blocks]
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
        large = tuple(
            replace(network, parameters=value, flops=value) for network in pruned.report.networks
        )
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
        assert [warning.code for warning in warnings] == ["few_heldout_samples"]
        assert warnings[0].message.startswith("With 60 validation samples a drop of less than 3.8 ")
        enough = designer.prune(model, (data[0], few), max_drop=0.04, epochs=0)
        assert not enough.report.warnings
        assert figures(enough.report)["original"].test_accuracy is None
