"""The report in every form: golden files, awkward results, hostile names.

After a wanted change of wording or layout, write the golden files anew and read the diff::

    DESIGNER_WRITE_GOLDEN=1 python -m pytest tests/test_report.py
"""

from __future__ import annotations

import html
import io
import json
import math
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt
from rich.console import Console

from designer.errors import RunFolderError, one_line
from designer.report.figures.figure import TableView
from designer.report.html import html_report
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.page import NetworkView, figures_of
from designer.report.views.search import TRIALS_SHOWN, report_view
from designer.report.words import number, percent, spec_label
from designer.results.layers import InputReport, LawSummary, LayerReport, MeanSd, ReportWarning
from designer.results.measured import Interval, LawStatus, Verdict
from designer.results.search import (
    REPORT_SCHEMA,
    DataSummary,
    RankAgreement,
    Recommendation,
    SearchResult,
    StudySummary,
    TrialCounts,
    TrialRow,
)
from designer.results.serialisation import read_result, report_schema, report_to_json
from tests.support.paths import FILES

DATA = FILES

SENTENCES = {
    Verdict.OK: "keep",
    Verdict.LOW: "narrow: little on training and on held-out data for its width",
    Verdict.HIGH: "insert: a layer after this one, for it does 2.6 times its share",
    Verdict.NEGATIVE: "remove: D rises here, it undoes separation",
    Verdict.DEGENERATE: "widen: only 5 of 9 class directions are left",
    Verdict.UNCERTAIN: "measure again: a share from 0.31 to 2.40 does not settle it",
}
HOSTILE = (
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "a|b",
    "a\\|b",
    "`code`",
    "*bold* __too__ ~~gone~~ $x$",
    "![i](http://x.y/z.png)",
    "# heading",
    "- item",
    "1. one",
    "&amp;",
    "two\nlines",
    "\x1b[31mred\x1b[0m",
)


def layer(
    name: str, step: float | None, mean: float, verdict: Verdict, before: float
) -> LayerReport:
    share = None if step is None else step / mean
    return LayerReport(
        name=name,
        width=64,
        separation=None if step is None else before * math.exp(-step),
        separation_heldout=None if step is None else before * math.exp(-step) * 1.25,
        separation_null=1234.5,
        step=step,
        share=share,
        interval=None if share is None else (share - 0.25, share + 0.25),
        verdict=verdict,
        advice=SENTENCES[verdict],
    )


def network(rank: int, steps: dict[str, tuple[float | None, Verdict]]) -> Recommendation:
    """A recommendation whose blocks take these steps from D = 20."""
    known = [step for step, _ in steps.values() if step is not None]
    total, before, layers = sum(known), 20.0, []
    for name, (step, verdict) in steps.items():
        layers.append(layer(name, step, total / len(known) if known else 1, verdict, before))
        before = layers[-1].separation or before
    return Recommendation(
        rank=rank,
        spec={
            "widths": [64] * len(steps),
            "normalisation": "batch",
            "activation": "relu",
            "learning_rate": 0.001 * rank,
        },
        parameters=20_000 // rank,
        flops=40_000 // rank,
        learning_rate=0.001 * rank,
        score=0.9 / rank,
        validation_accuracy=MeanSd(0.98 - rank / 100, 0.004, 3),
        test_accuracy=MeanSd(0.97 - rank / 100, 0.005, 3),
        law=LawSummary(
            rho=0.61,
            half_life=1.4,
            r=-0.987,
            uniformity=0.91,
            total_reduction=total,
            status=LawStatus.HOLDS,
            reason="r is -0.987.",
        ),
        layers=tuple(layers),
        reason="Most accurate of the confirmed candidates on validation data.",
        roles=("most accurate",) if rank == 1 else (),
        input=InputReport(64, 20.0, 21.5, 1300.0, 0.85),
        trial=rank,
    )


def trial_row(number: int, state: str = "complete") -> TrialRow:
    complete = state == "complete"
    return TrialRow(
        number=number,
        state=state,
        spec={"widths": [64, 32], "normalisation": "none", "learning_rate": 0.003},
        parameters=6000 + number if complete else None,
        flops=12_000 if complete else None,
        learning_rate=0.003,
        score=0.5 + number / 1000 if complete else None,
        heldout_separation=0.6 if complete else None,
        adherence=0.9 if complete else None,
        validation_accuracy=0.7 + number / 10_000 if complete else None,
        train_accuracy=0.99 if complete else None,
        training_loss=3.2 if complete else None,
        law=None,
        epochs=10,
        seconds=1.5,
        reason="" if complete else "The loss became nan in epoch 1.",
    )


def search_result(
    recommendations: tuple[Recommendation, ...] = (),
    trials: tuple[TrialRow, ...] = (),
    warnings: tuple[ReportWarning, ...] = (),
) -> SearchResult:
    states = [row.state for row in trials]
    return SearchResult(
        schema=REPORT_SCHEMA,
        study=StudySummary(
            space="mlp",
            data="digits",
            seed=0,
            trials=TrialCounts(*(states.count(s) for s in ("complete", "pruned", "failed"))),
            epochs=10,
            objective="design",
            seconds=123.4,
            dataset=DataSummary("digits", "abc", (1, 8, 8), 10, 1077, 360, 360, 0.103),
            confirmation={"candidates": 5, "epochs": 30, "seeds": 3},
            score_explanation="The design score says how well the blocks separate.",
            settings={"data_source": "digits", "space": "mlp", "trials": 8, "batch_size": 64},
            versions={"python": "3.12.1", "equisep-designer": "0.1.0"},
        ),
        recommendations=recommendations,
        criterion={
            "design_score": RankAgreement(0.71, len(trials), (0.42, 0.88)),
            "depth": RankAgreement(None, len(trials), None),
        },
        trials=trials,
        warnings=warnings,
    )


def typical() -> SearchResult:
    first = network(
        1,
        {
            "blocks.0": (0.8, Verdict.OK),
            "blocks.1": (0.2, Verdict.LOW),
            "blocks.2": (2.1, Verdict.HIGH),
            "blocks.3": (-0.3, Verdict.NEGATIVE),
            "blocks.4": (1.2, Verdict.UNCERTAIN),
        },
    )
    second = network(2, {"blocks.0": (1.0, Verdict.OK), "blocks.1": (1.1, Verdict.OK)})
    third = network(
        3,
        {
            "blocks.0": (0.9, Verdict.OK),
            "blocks.1": (None, Verdict.DEGENERATE),
            "blocks.2": (0.9, Verdict.OK),
        },
    )
    rows = (*map(trial_row, range(6)), trial_row(6, "pruned"), trial_row(7, "failed"))
    warning = ReportWarning("failed_trials", "1 trial failed; the last reason: its loss diverged.")
    return search_result((first, second, third), rows, (warning,))


def single_trial() -> SearchResult:
    only = network(1, {"blocks.0": (1.0, Verdict.OK), "blocks.1": (1.2, Verdict.OK)})
    only = replace(
        only, validation_accuracy=MeanSd(0.9, None, 1), test_accuracy=MeanSd(0.88, None, 1)
    )
    return search_result((only,), (trial_row(0),))


def numberless() -> SearchResult:
    """Nothing could be measured; some of it is None, some nan."""
    nan = math.nan
    spoilt = LayerReport(
        "blocks.0", 8, nan, None, nan, nan, None, (nan, nan), Verdict.DEGENERATE, "widen: it"
    )
    one = replace(
        network(1, {"blocks.0": (None, Verdict.DEGENERATE)}),
        score=nan,
        validation_accuracy=MeanSd(nan, None, 1),
        test_accuracy=None,
        law=LawSummary(nan, None, nan, None, nan, LawStatus.DEGENERATE),
        layers=(spoilt,),
        input=InputReport(8, nan, None, None, None),
    )
    row = replace(trial_row(0), score=nan, validation_accuracy=nan)
    result = search_result((one,), (row,))
    return replace(result, criterion={"depth": RankAgreement(nan, 0, (nan, nan))})


def deep() -> SearchResult:
    """64 layers with the widest figures that one meets."""
    steps: dict[str, tuple[float | None, Verdict]] = {
        f"blocks.{i}": (12.34 if i % 2 else -11.34, tuple(Verdict)[i % 6]) for i in range(64)
    }
    one = network(1, steps)
    wide = tuple(
        replace(each, width=16_384, interval=(-12.5, 123.5), separation=345.67)
        for each in one.layers
    )
    return search_result((replace(one, layers=wide, parameters=123_456_789),), (trial_row(0),))


def chance() -> SearchResult:
    reason = "Not recommended: its validation accuracy of 0.101 is at chance (0.103)."
    one = replace(network(1, {"blocks.0": (0.1, Verdict.LOW)}), roles=(), reason=reason)
    return search_result((one,), (trial_row(0),))


def named(name: str) -> SearchResult:
    """``typical`` with ``name`` wherever a name from outside may stand."""
    result = typical()
    first = result.recommendations[0]
    blocks = (replace(first.layers[0], name=name), *first.layers[1:])
    spoilt = replace(
        first, layers=(replace(blocks[0], verdict=Verdict.LOW, advice="narrow: it"), *blocks[1:])
    )
    spoilt = replace(spoilt, spec={**first.spec, "activation": name})
    return replace(
        result,
        study=replace(
            result.study,
            data=name,
            space=name,
            settings={**result.study.settings, "data_source": name},
        ),
        recommendations=(spoilt,),
        criterion={name: RankAgreement(0.5, 9, (0.1, 0.9))},
        trials=(replace(trial_row(0), spec={"activation": name}),),
        warnings=(ReportWarning("failed_trials", name),),
    )


SAMPLES: dict[str, Callable[[], SearchResult]] = {
    "typical": typical,
    "empty": search_result,
    "single_trial": single_trial,
    "all_failed": lambda: search_result(trials=tuple(trial_row(i, "failed") for i in range(4))),
    "numberless": numberless,
    "deep": deep,
    "many_trials": lambda: search_result(
        trials=tuple(trial_row(i, "pruned" if i % 3 else "complete") for i in range(500))
    ),
    "chance": chance,
}
every_sample = pytest.mark.parametrize("result", [make() for make in SAMPLES.values()], ids=SAMPLES)


def terminal(result: SearchResult, width: int = 120, **options: Any) -> str:
    file = io.StringIO()
    print_report(report_view(result), Console(file=file, width=width, **options))
    return file.getvalue()


def markdown(result: SearchResult) -> str:
    return markdown_report(report_view(result))


def squeezed(text: str) -> str:
    """Without white space, so that line breaks do not matter."""
    return "".join(text.split())


def markdown_tables(text: str) -> list[list[list[str]]]:
    """The text of each cell as a Markdown reader shows it: tables, rows, cells."""
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    return [
        [
            [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", rendered, re.DOTALL)
    ]


class TestGolden:
    @pytest.mark.parametrize(
        ("name", "render"),
        [
            ("golden_terminal_80.txt", lambda: terminal(typical(), 80)),
            ("golden_terminal_120.txt", lambda: terminal(typical(), 120)),
            ("golden_report.md", lambda: markdown(typical())),
            ("golden_report.json", lambda: report_to_json(typical())),
        ],
    )
    def test_is_what_the_file_says(self, name: str, render: Callable[[], str]) -> None:
        file = DATA / name
        if os.environ.get("DESIGNER_WRITE_GOLDEN") == "1":
            file.write_text(render(), encoding="utf-8")
        assert render() == file.read_text(encoding="utf-8")


class TestTerminal:
    @every_sample
    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_keeps_within_the_console(self, result: SearchResult, width: int) -> None:
        lines = terminal(result, width).splitlines()
        assert lines
        assert max(map(len, lines)) <= width

    @every_sample
    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_cuts_nothing_off(self, result: SearchResult, width: int) -> None:
        assert "…" not in terminal(result, width)

    @pytest.mark.parametrize("width", [80, 100, 120])
    @pytest.mark.parametrize("result", [typical(), deep()], ids=["typical", "deep"])
    def test_every_layer_has_its_line(self, result: SearchResult, width: int) -> None:
        shown = terminal(result, width)
        flat = squeezed(shown)
        for one in result.recommendations:
            for layer in one.layers:
                first_word = layer.advice.partition(":")[0]
                line = rf"^{re.escape(layer.name)} .* {layer.verdict}( +{first_word})? *$"
                assert re.search(line, shown, re.MULTILINE)
                if layer.advice != "keep":
                    said = rf"{re.escape(layer.name)}[^()]* \({layer.verdict}\): "
                    assert re.search(squeezed(said) + re.escape(squeezed(layer.advice)), flat)

    @pytest.mark.parametrize("width", [80, 120])
    def test_without_unicode_is_ascii(self, width: int) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
        print_report(report_view(named("größe"[:3])), Console(file=file, width=width))
        file.flush()
        shown = raw.getvalue().decode("ascii")
        assert "###" in shown
        assert "> blocks.1 (low)" in shown
        assert "+/-" in shown
        assert max(map(len, shown.splitlines())) <= width

    @every_sample
    def test_a_pipe_gets_no_escape_codes(self, result: SearchResult) -> None:
        assert "\x1b" not in terminal(result)

    def test_a_terminal_gets_colour(self) -> None:
        shown = terminal(typical(), force_terminal=True, color_system="standard", no_color=False)
        assert "\x1b[33mlow" in shown

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_are_plain_text(self, name: str) -> None:
        shown = terminal(named(name), 400)
        assert "\x1b" not in shown
        plain = one_line(name)
        assert f"Design report: {plain}, space {plain}" in shown
        assert f"→ {plain} (low): narrow: it" in shown
        assert f"Warning: {plain}" in shown
        assert re.search(rf"^{re.escape(plain)} +64 ", shown, re.MULTILINE)

    def test_long_names_are_folded_not_cut(self) -> None:
        name = "encoder.layers.11.attention.output.dense.with.a.long.tail" * 2
        lines = terminal(named(name), 80).splitlines()
        assert max(map(len, lines)) <= 80
        assert name in squeezed("".join(lines))

    def test_bars_grow_with_log_separation(self) -> None:
        rows = terminal(single_trial()).splitlines()
        layers = [row for row in rows if row.startswith(("input", "blocks"))]
        assert [row.count("█") for row in layers] == sorted(
            (row.count("█") for row in layers), reverse=True
        )
        assert layers[0].count("█") == 14


class TestMarkdown:
    @pytest.mark.parametrize("result", [typical(), deep()], ids=["typical", "deep"])
    def test_every_layer_has_its_row(self, result: SearchResult) -> None:
        text = markdown(result)
        rows = [row for table in markdown_tables(text) for row in table]
        for one in result.recommendations:
            for layer in one.layers:
                ends = [layer.verdict, layer.advice.partition(":")[0]]
                assert any(row[0] == layer.name and row[-2:] == ends for row in rows)
                if layer.advice != "keep":
                    said = rf"^- .*\b{re.escape(layer.name)}\b[^()]* \({layer.verdict}\): "
                    assert re.search(said + re.escape(layer.advice), text, re.MULTILINE)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_are_plain_text(self, name: str) -> None:
        text = markdown(named(name))
        plain = one_line(name)
        rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
        shown = html.unescape(re.sub(r"<[^>]*>", "", rendered))
        assert f"Design report: {plain}, space {plain}" in shown
        assert f"\n{plain} (low): narrow: it" in shown
        assert f"Warning: {plain}" in shown
        for tag in ("<script", "<code", "<em", "<s>", "<img", "<a "):
            assert tag not in rendered
        assert rendered.count("<h1") == 1
        assert rendered.count("<ul>") == 2  # facts and advice
        assert "<ol" not in rendered

    @pytest.mark.parametrize("name", HOSTILE)
    def test_tables_keep_their_columns(self, name: str) -> None:
        text = markdown(named(name))
        tables = markdown_tables(text)
        assert len(tables) == 5
        for table in tables:
            assert len({len(row) for row in table}) == 1
        assert one_line(name) in [row[0] for row in tables[1]]
        for line in text.splitlines():
            if line.startswith("|"):
                cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1
                assert cells in {len(table[0]) for table in tables}

    @every_sample
    def test_is_all_a_reader_needs(self, result: SearchResult) -> None:
        text = markdown(result)
        assert text.startswith("# Design report: digits, space mlp\n")
        assert text.endswith(".\n")
        assert not re.search(r"\b(nan|inf|None)\b", text)


def networks_of(result: SearchResult) -> list[NetworkView]:
    """The recommendations in detail."""
    return [one for one in report_view(result).sections if isinstance(one, NetworkView)]


def table_of(result: SearchResult, first_column: str) -> TableView:
    """The table whose first column is called so."""
    tables = [one for one in report_view(result).sections if isinstance(one, TableView)]
    return next(one for one in tables if one.columns[0] == first_column)


class TestContent:
    @every_sample
    def test_counts_are_those_of_the_trials(self, result: SearchResult) -> None:
        counts = result.study.trials
        said = (
            f"{counts.complete} trials complete, {counts.pruned} pruned, {counts.failed} failed, "
        )
        assert said in terminal(result)
        assert said in markdown(result)
        assert counts.complete + counts.pruned + counts.failed == len(result.trials)

    @every_sample
    def test_shows_the_best_trials(self, result: SearchResult) -> None:
        best = sorted(
            (row for row in result.trials if row.state == "complete"),
            key=lambda row: -(row.score or 0),
        )[:TRIALS_SHOWN]
        view = table_of(result, "trial")
        assert [row[0] for row in view.rows] == [str(row.number) for row in best]
        assert f"of {len(result.trials)} trials" in view.title

    @pytest.mark.parametrize("result", [typical(), single_trial()], ids=["typical", "single"])
    def test_shown_steps_sum_to_the_total_reduction(self, result: SearchResult) -> None:
        written = json.loads(report_to_json(result))
        details = networks_of(result)
        for one, detail in zip(written["recommendations"], details, strict=True):
            steps = [float(row.step) for row in detail.layers if row.step not in {"", "-"}]
            total = one["law"]["total_reduction"]
            assert sum(steps) == pytest.approx(total, abs=0.005 * len(steps))
            assert f"total reduction {total:.2f} nats" in detail.law
            shares = [float(row.share) for row in detail.layers if row.share not in {"", "-"}]
            assert sum(shares) == pytest.approx(len(shares), abs=0.005 * len(shares))

    def test_tables_show_what_the_json_holds(self) -> None:
        written = json.loads(report_to_json(typical()))
        shown = markdown_tables(markdown(typical()))[0][1:]
        for one, row in zip(written["recommendations"], shown, strict=True):
            assert int(row[0]) == one["rank"]
            assert int(row[2].replace(",", "")) == one["parameters"]
            accuracy = one["validation_accuracy"]
            assert row[3] == f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['sd']:.1f}"
            assert float(row[5]) == pytest.approx(one["score"], abs=5e-4)

    @pytest.mark.parametrize("name", ["empty", "all_failed", "many_trials"])
    def test_says_so_where_nothing_is_recommended(self, name: str) -> None:
        result = SAMPLES[name]()
        for text in (terminal(result), markdown(result)):
            assert "No architecture is recommended yet." in text
            assert "Recommendations" not in text

    def test_candidates_at_chance_are_not_called_recommended(self) -> None:
        for text in (terminal(chance()), markdown(chance())):
            assert "Candidates, none of them recommended" in text
            assert "Not recommended: its validation accuracy" in text
            assert "Recommended:" not in text

    def test_a_single_seed_has_no_spread(self) -> None:
        assert "±" not in terminal(single_trial())
        assert "90.0" in terminal(single_trial())

    def test_what_was_not_measured_is_a_dash(self) -> None:
        text = terminal(numberless())
        assert not re.search(r"\b(nan|inf|None)\b", text)
        head, row = (
            next(line.split() for line in text.splitlines() if line.startswith(start))
            for start in ("block ", "blocks.0")
        )
        names = ("D", "held-out", "null", "step", "share", "95")
        assert row.count("-") == sum(name in head for name in names)


class TestJson:
    def test_schema_is_valid_and_names_itself(self) -> None:
        schema = report_schema()
        Draft202012Validator.check_schema(schema)
        assert schema["properties"]["schema"]["const"] == "designer.report/1"

    @pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"numberless"}))
    def test_keeps_to_the_schema_and_comes_back(self, name: str, tmp_path: Path) -> None:
        result = SAMPLES[name]()
        text = report_to_json(result)
        Draft202012Validator(report_schema()).validate(json.loads(text))
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
        assert read_result(tmp_path) == result
        assert report_to_json(read_result(tmp_path)) == text

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_come_back_as_they_were(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_text(report_to_json(named(name)), encoding="utf-8")
        assert read_result(tmp_path) == named(name)

    def test_not_a_number_is_refused_rather_than_written(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            report_to_json(numberless())

    @pytest.mark.parametrize(
        ("spoil", "path"),
        [
            (lambda r: r.pop("trials"), "trials"),
            (lambda r: r["study"].update(seed="zero"), "study.seed"),
            (lambda r: r["study"]["trials"].pop("failed"), "study.trials.failed"),
            (lambda r: r["recommendations"][0].update(layers=7), "recommendations.0.layers"),
            (
                lambda r: r["recommendations"][0]["layers"][1].update(verdict="fine"),
                "recommendations.0.layers.1.verdict",
            ),
        ],
    )
    def test_wrong_types_are_named(
        self, spoil: Callable[[dict[str, Any]], object], path: str, tmp_path: Path
    ) -> None:
        values = json.loads(report_to_json(typical()))
        spoil(values)
        assert not Draft202012Validator(report_schema()).is_valid(values)
        (tmp_path / "report.json").write_text(json.dumps(values))
        with pytest.raises(RunFolderError, match=rf"{re.escape(path)}: "):
            read_result(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "Expected a run folder with report.json, found none"),
            ("", "Expected JSON in"),
            ("{", "Expected JSON in"),
            ("[]", "Expected schema designer.report/1 .* got None"),
            ('"text"', "Expected schema designer.report/1 .* got None"),
            ("{}", "Expected schema designer.report/1 .* got None"),
            ('{"schema": "designer.report/2"}', "got designer.report/2"),
            ('{"schema": ["designer.report/1"]}', "Expected schema designer.report/1"),
        ],
    )
    def test_what_is_no_report_is_refused(
        self, content: str | None, message: str, tmp_path: Path
    ) -> None:
        if content is not None:
            (tmp_path / "report.json").write_text(content)
        with pytest.raises(RunFolderError, match=message):
            read_result(tmp_path)

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_bytes(b"\xff\xfe{")
        with pytest.raises(RunFolderError, match="Expected JSON in"):
            read_result(tmp_path)

    def test_additions_are_allowed(self, tmp_path: Path) -> None:
        values = {**json.loads(report_to_json(typical())), "novelty": 1}
        Draft202012Validator(report_schema()).validate(values)
        (tmp_path / "report.json").write_text(json.dumps(values))
        assert read_result(tmp_path) == typical()


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({}, ""),
        ({"widths": [64]}, "64"),
        ({"widths": [64, 64]}, "64-64"),
        ({"widths": (64, 64, 64, 32)}, "3x64-32"),
        ({"widths": [8, 16, 8]}, "8-16-8"),
        ({"widths": []}, ""),
        ({"widths": 7}, "widths 7"),
        ({"normalisation": "none"}, "no normalisation"),
        ({"normalisation": "batch", "activation": "relu"}, "batch, relu"),
        ({"learning_rate": 0.001}, "lr 0.001"),
        ({"learning_rate": 1.23456789e-05}, "lr 1.23457e-05"),
        ({"depth": 3, "skip": True, "dropout": None}, "depth 3, skip True, dropout None"),
    ],
)
def test_spec_label(spec: dict[str, Any], label: str) -> None:
    assert spec_label(spec) == label


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "-"),
        (math.nan, 2, "-"),
        (math.inf, 2, "-"),
        (-math.inf, 2, "-"),
        (0.0, 2, "0.00"),
        (1.005, 1, "1.0"),
        (-2.5, 2, "-2.50"),
        (0.01, 2, "0.01"),
        (0.0099, 2, "0.0099"),
        (-0.0001, 2, "-0.0001"),
        (0.00009, 2, "9.0e-05"),
        (99_999.0, 2, "99999.00"),
        (1e5, 2, "1.0e+05"),
        (0.123456, 3, "0.123"),
        (7, 0, "7"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (MeanSd(math.nan, None, 1), "-"),
        (MeanSd(0.98765, None, 1), "98.8"),
        (MeanSd(0.98765, 0.00123, 3), "98.8 ± 0.1"),
        (MeanSd(1.0, 0.0, 3), "100.0 ± 0.0"),
        (MeanSd(0.0, None, 1), "0.0"),
    ],
)
def test_percent(value: MeanSd | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a  b\n\tc ", "a b c"),
        ("\x1b[31m\x07", r"\x1b[31m\x07"),
        ("größe 数 →", "größe 数 →"),
        ("\u202e\udcff", r"\u202e\udcff"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize("interval", [(math.nan, 1.0), (0.0, math.inf)])
def test_an_interval_without_an_end_is_no_interval(interval: Interval) -> None:
    result = search_result(trials=(trial_row(0),))
    spoilt = replace(result, criterion={"depth": RankAgreement(0.1, 9, interval)})
    assert table_of(spoilt, "criterion").rows == (("depth", "0.10", "-", "9"),)


def test_a_report_of_the_previous_version_opens(tmp_path: Path) -> None:
    """Every number that it has is shown; what it lacks is left out."""
    old = (DATA / "report_0.1.0.json").read_text(encoding="utf-8")
    (tmp_path / "report.json").write_text(old, encoding="utf-8")
    result = read_result(tmp_path)
    Draft202012Validator(report_schema()).validate(json.loads(old))
    now = typical()
    assert result.recommendations == now.recommendations
    assert result.trials == now.trials
    view = report_view(result)
    assert view.command == ""
    assert [f.name for f in figures_of(view)] == [f.name for f in figures_of(report_view(now))]
    page = html_report(view)
    assert view.headline in page
    assert "20,000" in page
    assert "97.0 ± 0.4" in page


def test_the_command_makes_the_search_again() -> None:
    said = report_view(typical()).command
    assert said == (
        "designer search --data digits --space mlp --trials 8 --epochs 10 --seed 0 --batch-size 64"
    )
    assert shlex.split(report_view(named("a b'c")).command)[3] == "a b'c"
