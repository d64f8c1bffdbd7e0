"""Networks side by side: what is brought together, who is better at what, and how it is shown."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torch import nn

import designer
from designer.analysis.compare import compare
from designer.errors import InvalidInputError
from designer.report.figures.figure import TableView
from designer.report.html import html_report
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.comparison import comparison_view
from designer.results.analysis import AnalysisResult
from designer.results.comparison import ComparisonReport
from designer.results.layers import LayerReport, MeanSd
from designer.results.measured import Verdict
from designer.results.search import SearchResult
from designer.results.serialisation import read_report, report_to_json
from tests.support.command import Command
from tests.support.helpers import gaussian_classes
from tests.support.networks.parts import seeded
from tests.support.sample_reports import network, search_result, typical
from tests.support.toy import TRUSTED, tiny_run

pytestmark = pytest.mark.usefixtures("folder")


def saved(name: str, result: SearchResult) -> str:
    Path(name).mkdir()
    Path(name, "report.json").write_text(report_to_json(result), encoding="utf-8")
    return name


def with_accuracy(mean: float, sd: float = 0.004, **changes: Any) -> SearchResult:
    result = typical()
    first = replace(result.recommendations[0], validation_accuracy=MeanSd(mean, sd, 3), **changes)
    return replace(result, recommendations=(first,))


def on(data: str, mean: float) -> SearchResult:
    """Return a search on data of this name, with a split of its own."""
    result = with_accuracy(mean)
    assert result.study.dataset is not None
    split = replace(result.study.dataset, fingerprint="another")
    return replace(result, study=replace(result.study, data=data, dataset=split))


def analyzed(name: str, classes: int = 3, **options: Any) -> str:
    """Save the report on a network that was analyzed with data in memory; return its name."""
    x, y = gaussian_classes(60, 6, classes, seed=1)
    model = seeded(lambda: nn.Sequential(*dense_blocks(), nn.Linear(6, classes))).double()
    result = designer.analyze(model, (x, y), heldout=(x, y), **options)
    Path(name).mkdir()
    Path(name, "report.json").write_text(report_to_json(result), encoding="utf-8")
    return name


def judged_on(part: str, accuracy: float, name: str) -> str:
    """Save the report on a network that is this accurate on a part of the data; return its name."""
    result = read_report(Path(analyzed(name)))
    assert isinstance(result, AnalysisResult)
    data = replace(result.data, heldout_part=part)
    changed = replace(result, data=data, model=replace(result.model, accuracy_heldout=accuracy))
    Path(name, "report.json").write_text(report_to_json(changed), encoding="utf-8")
    return name


def lacking(name: str, index: int) -> str:
    """Save the report on a network with a small D that lacks a class direction behind a block."""
    result = read_report(Path(analyzed(name)))
    assert isinstance(result, AnalysisResult)
    layers = [
        replace(layer, rank=layer.full_rank - (i == index), separation_heldout=0.001)
        for i, layer in enumerate(result.layers)
    ]
    changed = replace(result, layers=tuple(layers))
    Path(name, "report.json").write_text(report_to_json(changed), encoding="utf-8")
    return name


def dense_blocks() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(3)]


def advantage(report: ComparisonReport, what: str) -> Any:
    return next(candidate for candidate in report.advantages if candidate.what == what)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a small search and return its folder."""
    return tiny_run(tmp_path_factory.mktemp("compare") / "run", epochs=3, confirm=2)


def test_d_and_the_residual_are_not_compared() -> None:
    report = compare([analyzed("a"), analyzed("b", measure="residual")])
    message = next(w.message for w in report.warnings if w.code == "other_measure")
    assert message.endswith("a by its separation, b by its residual. So D is not compared.")
    assert report.differences == ()
    for aspect in ("held-out separation at the end", "total reduction of D"):
        assert advantage(report, aspect).best == ""
    assert "log D minus" not in markdown_report(comparison_view(report))


def test_other_features_are_said() -> None:
    report = compare([analyzed("a"), analyzed("b", features="project", dimension=4)])
    assert "other_features" in {warning.code for warning in report.warnings}
    for aspect in ("held-out separation at the end", "total reduction of D"):
        assert advantage(report, aspect).best == ""
        assert advantage(report, aspect).reason.startswith("The networks were measured on diff")


def test_searches_that_took_other_features_are_compared_by_accuracy_alone(run: Path) -> None:
    result = read_report(run)
    assert isinstance(result, SearchResult)
    assert {best.features for best in result.recommendations} == {"flatten"}
    pooled = tuple(replace(best, features="pool") for best in result.recommendations)
    saved("pooled", replace(result, recommendations=pooled))
    report = compare([run, "pooled"])
    assert [warning.code for warning in report.warnings] == ["other_features"]
    depends = "The networks were measured on different features"
    assert advantage(report, "total reduction of D").reason.startswith(depends)


def test_perplexity_decides_between_language_models_that_are_right_as_often() -> None:
    for name, perplexity in (("early", 1.8), ("late", 1.1)):
        result = read_report(Path(analyzed(name)))
        assert isinstance(result, AnalysisResult)
        model = replace(result.model, perplexity_heldout=perplexity)
        text = report_to_json(replace(result, model=model))
        Path(name, "report.json").write_text(text, encoding="utf-8")
    report = compare(["early", "late"])
    assert advantage(report, "held-out perplexity").best == "late"
    sentence = "late predicts held-out text best (lowest perplexity): 1.10."
    assert report.conclusion.startswith(sentence)


def test_a_network_that_lacks_class_directions_is_not_praised_for_its_small_d() -> None:
    report = compare(
        [analyzed("whole"), lacking("narrow", 2), analyzed("other"), lacking("mid", 1)]
    )
    messages = [w.message for w in report.warnings if w.code == "missing_directions"]
    assert [message.partition(",")[0] for message in messages] == [
        "narrow lacks class directions behind 2",
        "mid lacks class directions behind 1",
    ]
    separation = advantage(report, "held-out separation at the end")
    assert separation.values[1] is None
    assert separation.best == "mid"
    assert separation.reason.endswith(", of those where it is known.")
    assert advantage(report, "total reduction of D").values[1] is None
    assert [place.separation[1] is None for place in report.differences] == [
        False,
        False,
        False,
        True,
    ]
    assert report.differences[2].separation[3] is None


def test_data_in_memory_of_other_classes_are_other_data() -> None:
    report = compare([analyzed("a"), analyzed("b", classes=5)])
    assert "other_data" in {warning.code for warning in report.warnings}
    assert advantage(report, "held-out accuracy").best == ""
    same = compare([analyzed("c"), analyzed("d")])
    assert "other_data" not in {warning.code for warning in same.warnings}


class TestAccuracy:
    def test_the_best_is_named_where_intervals_do_not_overlap(self) -> None:
        report = compare([saved("a", with_accuracy(0.80)), saved("b", with_accuracy(0.97))])
        assert advantage(report, "held-out accuracy").best == "b"
        assert report.conclusion.startswith("b is the most accurate on held-out data (97.0 %)")

    def test_nobody_is_named_within_the_noise(self) -> None:
        report = compare([saved("a", with_accuracy(0.969)), saved("b", with_accuracy(0.97))])
        assert advantage(report, "held-out accuracy").best == ""
        assert "cannot be told from a" in report.conclusion

    def test_equal_ones_are_called_so(self) -> None:
        report = compare([saved("a", with_accuracy(0.9)), saved("b", with_accuracy(0.9))])
        assert report.conclusion.startswith("a and b are equally accurate on held-out data (90.0 %")

    def test_nobody_is_named_on_different_data(self) -> None:
        report = compare([saved("a", with_accuracy(0.80)), saved("b", on("mnist", 0.97))])
        assert report.conclusion.startswith(
            "Held-out accuracies are of different data: b 97.0 % on mnist, a 80.0 % on digits."
        )
        depends = ("held-out accuracy", "held-out separation at the end", "total reduction of D")
        assert [advantage(report, what).best for what in depends] == ["", "", ""]
        assert [warning.code for warning in report.warnings] == ["other_data"]

    @pytest.mark.parametrize(("part", "best"), [("validation", ""), ("test", "b")])
    def test_nobody_is_named_on_different_parts_of_the_data(self, part: str, best: str) -> None:
        report = compare([judged_on("test", 0.5, "a"), judged_on(part, 1.0, "b")])
        assert advantage(report, "held-out accuracy").best == best
        depends = "The held-out data are different parts, which"
        separation = advantage(report, "held-out separation at the end")
        assert separation.reason.startswith(depends) == (part == "validation")
        if not best:
            assert separation.best == ""
            assert report.conclusion.startswith(
                "Held-out accuracies are of different parts of the data: b 100.0 % on validation "
                "data, a 50.0 % on test data."
            )

    def test_other_splits_of_the_same_data_can_be_compared(self) -> None:
        report = compare([saved("a", with_accuracy(0.80)), saved("b", on("digits", 0.97))])
        assert advantage(report, "held-out accuracy").best == "b"
        assert [warning.code for warning in report.warnings] == ["other_data"]

    def test_nobody_is_named_where_one_tells_apart_fewer_classes(self) -> None:
        two = on("digits", 0.97)
        assert two.study.dataset is not None
        fewer = replace(two.study, dataset=replace(two.study.dataset, num_classes=2))
        report = compare([saved("a", with_accuracy(0.80)), saved("b", replace(two, study=fewer))])
        assert advantage(report, "held-out accuracy").best == ""

    def test_all_of_few_samples_right_is_no_certainty(self) -> None:
        def few(mean: float) -> SearchResult:
            result = with_accuracy(mean, sd=0.0)
            assert result.study.dataset is not None
            data = replace(result.study.dataset, validation=36)
            return replace(result, study=replace(result.study, dataset=data))

        report = compare([saved("a", few(1.0)), saved("b", few(32 / 36))])
        assert "cannot be told from b" in report.conclusion

    def test_seeds_that_disagree_widen_the_interval(self) -> None:
        report = compare([saved("a", with_accuracy(0.7, sd=0.2)), saved("b", with_accuracy(0.9))])
        assert advantage(report, "held-out accuracy").best == ""

    def test_the_interval_over_few_seeds_is_that_of_student(self) -> None:
        report = compare([saved("a", with_accuracy(0.7, sd=0.1)), saved("b", with_accuracy(0.9))])
        first = report.networks[0].accuracy
        assert first is not None
        half = 4.3027 * 0.1 / math.sqrt(3)  # the 97.5 % quantile at 2 degrees of freedom
        assert first.interval == pytest.approx((0.7 - half, 0.7 + half), abs=1e-4)


class TestRespects:
    def test_fewest_parameters(self) -> None:
        report = compare(
            [saved("a", with_accuracy(0.9)), saved("b", with_accuracy(0.9, parameters=7))]
        )
        parameters = advantage(report, "parameters")
        assert parameters.best == "b"
        assert parameters.values == (20_000, 7)

    def test_nobody_is_praised_where_d_rises(self) -> None:
        law = replace(typical().recommendations[0].law, total_reduction=-0.2, uniformity=-0.1)
        worse = replace(law, total_reduction=-0.3, uniformity=-0.4)
        report = compare(
            [saved("a", with_accuracy(0.9, law=law)), saved("b", with_accuracy(0.9, law=worse))]
        )
        for what in ("total reduction of D", "uniformity of the law"):
            compared = advantage(report, what)
            assert compared.best == ""
            assert compared.reason == f"None of them is above zero in {what}."

    def test_equal_sizes_are_level(self) -> None:
        report = compare([saved("a", with_accuracy(0.9)), saved("b", with_accuracy(0.9))])
        parameters = advantage(report, "parameters")
        assert parameters.best == ""
        assert "a and b are level in parameters" in parameters.reason


class TestLayers:
    def test_differences_are_logarithms_of_ratios(self) -> None:
        a, b = typical(), typical()
        layers = tuple(halved(layer) for layer in b.recommendations[0].layers)
        b = replace(b, recommendations=(replace(b.recommendations[0], layers=layers),))
        report = compare([saved("a", a), saved("b", b)])
        assert report.aligned_by == "name"
        assert [difference.index for difference in report.differences] == list(range(6))
        assert not any(report.differences[0].separation)
        for difference in report.differences[1:]:
            assert difference.separation == pytest.approx((0, -math.log(2)))
            assert difference.separation_heldout == pytest.approx((0, 0))

    def test_a_network_without_some_blocks_is_brought_together_by_name(self) -> None:
        whole = typical()
        first = whole.recommendations[0]
        part = replace(first, layers=(first.layers[0], first.layers[3]))
        report = compare([saved("a", whole), saved("b", replace(whole, recommendations=(part,)))])
        pairs = [difference.layers for difference in report.differences]
        assert pairs[1:] == [
            ("blocks.0", "blocks.0"),
            ("blocks.1", None),
            ("blocks.2", None),
            ("blocks.3", "blocks.3"),
            ("blocks.4", None),
        ]
        assert report.differences[2].separation[1] is None

    def test_others_by_position(self) -> None:
        first = typical().recommendations[0]
        layers = tuple(
            replace(layer, name=f"other.{i}") for i, layer in enumerate(first.layers[:3])
        )
        other = search_result((replace(first, layers=layers),))
        report = compare([saved("a", typical()), saved("b", other)])
        assert report.aligned_by == "position"
        assert report.differences[3].layers == ("blocks.2", "other.2")
        assert report.differences[4].layers == ("blocks.3", None)


def halved(layer: LayerReport) -> LayerReport:
    return replace(layer, separation=None if layer.separation is None else layer.separation / 2)


class TestSources:
    def test_of_every_kind(self, run: Path, command: Command) -> None:
        assert command("analyze", str(run / "best/1"), *TRUSTED, "--out", "seen").code == 0
        options = ["--remove", "1", "--epochs", "1", "--no-baselines", "--out", "small"]
        assert command("prune", str(run), *TRUSTED, *options).code == 0
        sources = [str(run), "seen/report.json", "small", str(run / "best/2")]
        done = command("compare", *sources, *TRUSTED, "--format", "json")
        assert done.code == 0, done.err
        comparison = json.loads(done.out)
        assert [network["name"] for network in comparison["networks"]] == sources
        assert comparison["warnings"] == []
        kept, analyzed, small, _ = comparison["networks"]
        assert kept["parameters"] == analyzed["parameters"] > small["parameters"]
        assert kept["flops"] > small["flops"]
        assert len(small["layers"]) == len(analyzed["layers"]) - 1
        assert comparison["command"].startswith("designer compare ")
        Path("both.json").write_text(done.out, encoding="utf-8")
        assert report_to_json(read_report(Path("both.json"))) == done.out
        assert command("report", "both.json", "--format", "html").out.startswith("<!DOCTYPE html>")

    def test_other_data_are_a_warning(self) -> None:
        other = typical()
        dataset = other.study.dataset
        assert dataset is not None
        study = replace(other.study, dataset=replace(dataset, fingerprint="xyz"))
        report = compare([saved("a", typical()), saved("b", replace(other, study=study))])
        assert [warning.code for warning in report.warnings] == ["other_data"]

    def test_a_search_that_recommends_nothing(self) -> None:
        with pytest.raises(InvalidInputError, match="more --trials"):
            compare([saved("a", search_result()), saved("b", typical())])

    def test_a_pruning_report_alone(self, command: Command, run: Path) -> None:
        options = ["--remove", "1", "--epochs", "1", "--no-baselines", "--out", "small"]
        assert command("prune", str(run), *TRUSTED, *options).code == 0
        with pytest.raises(InvalidInputError, match="name the folder"):
            compare(["small/report.json", str(run)])


class TestShown:
    @pytest.fixture
    def report(self) -> ComparisonReport:
        short = search_result((network(1, {"blocks.0": (1.0, Verdict.OK)}),))
        return compare([saved("a", typical()), saved("<b>|c", short)])

    def test_in_80_columns(self, report: ComparisonReport) -> None:
        file = io.StringIO()
        print_report(comparison_view(report), Console(file=file, width=80))
        shown = file.getvalue()
        assert max(map(len, shown.splitlines())) <= 80
        assert re.search(r"log D a +█[▁-█]{4}▁  \(D 20\.00 to 0\.37\)", shown)
        assert "Which network is better in which aspect" in shown

    @pytest.mark.parametrize("names", ["abcd", ["a" * 50, "b" * 50]])
    def test_many_networks_and_long_names_leave_the_names_of_rows(self, names: list[str]) -> None:
        file = io.StringIO()
        report = compare([saved(name, typical()) for name in names])
        print_report(comparison_view(report), Console(file=file, width=80))
        lines = [line.rstrip() for line in file.getvalue().splitlines()]
        assert max(map(len, lines)) <= 80
        row = next(line for line in lines if line.startswith("parameters "))
        assert row.split() == ["parameters", *["20,000"] * len(names)]
        assert any(re.match("uniformity of the.*not clear$", line) for line in lines)

    def test_names_are_text(self, report: ComparisonReport) -> None:
        assert r"&lt;b&gt;\|c" in markdown_report(comparison_view(report))
        page = html_report(comparison_view(report))
        assert "&lt;b&gt;|c" in page
        assert "<b>" not in page.replace("<body>", "")

    def test_differences_have_their_row(self, report: ComparisonReport) -> None:
        sections = comparison_view(report).sections
        tables = [
            section for section in sections if isinstance(section, TableView) and section.figures
        ]
        assert [section.figures[0].name for section in tables] == ["curves", "differences"]
        assert len(tables[1].rows) == len(report.differences) == 6
