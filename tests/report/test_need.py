"""What a report says of contributions: sentences, columns, the chart, and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from designer import AnalysisResult, analyze
from designer.report.charts.dispatch import chart_of
from designer.report.charts.palette import LIGHT
from designer.report.figures.need import NeedFigure
from designer.report.html import html_report
from designer.report.views.analysis import analysis_view
from designer.report.views.network import layer_views, need_sentence
from designer.report.views.page import figures_of
from designer.report.views.search import search_view
from designer.results.analysis import Tunnel
from designer.results.layers import LayerReport
from designer.results.measured import Verdict
from designer.results.serialisation import read_report, report_to_json
from designer.training.trainer import train
from tests.report.rendered import markdown, markdown_tables
from tests.support.helpers import labelled, small_mlp
from tests.support.sample_reports import SENTENCES, contributing, contribution, typical

NEED_COLUMNS = ["contribution", "95 % of it", "points"]


def blocks() -> tuple[LayerReport, ...]:
    """The blocks of the first network: needed, idle, needed, prepares, not clear."""
    return contributing().recommendations[0].layers


@pytest.fixture(scope="module")
def analysed() -> AnalysisResult:
    model: nn.Module = small_mlp()
    data = labelled(120)
    train(model, data, epochs=20, learning_rate=1e-2, seed=0)
    return analyze(model, data, labelled(90, seed=0))


# --- sentences ---


def test_which_blocks_are_needed_idle_and_not_clear() -> None:
    assert need_sentence(blocks()) == (
        "Left out one at a time, 3 of 5 blocks are needed, most of all blocks.3: without it "
        "cross-entropy rises by 1.60 nats and accuracy falls by 21.0 points. Idle: blocks.1. Not "
        "clear: blocks.4."
    )


def test_a_single_needed_block_is_named() -> None:
    first, second = contributing().recommendations[1].layers
    assert need_sentence([first, second]).startswith(
        "Left out one at a time, 1 of 2 blocks is needed, blocks.0: without it"
    )
    assert need_sentence([first, second]).endswith(
        "The contribution of blocks.1 is not known. The block gives no floating tensor."
    )


def test_no_block_is_needed() -> None:
    assert need_sentence([blocks()[1]]) == (
        "Left out one at a time, no block is surely needed. Idle: blocks.1."
    )


def test_why_nothing_was_measured() -> None:
    layers = contributing().recommendations[2].layers
    assert need_sentence(layers) == "The contribution is not known. It was not asked for."
    assert need_sentence(typical().recommendations[0].layers) == ""


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        (0, ""),
        (1, "; the last one separates held-out data no further"),
        (2, "; the last 2 separate held-out data no further, but 1 of them is needed"),
        (4, "; the last 4 separate held-out data no further, but 2 of them are needed"),
    ],
)
def test_the_headline_names_needed_blocks_of_the_tunnel(
    analysed: AnalysisResult, beyond: int, words: str
) -> None:
    names = tuple(layer.name for layer in blocks()[5 - beyond :])
    tunnel = Tunnel("blocks.0", names, "")
    narrow = replace(blocks()[0], advice=SENTENCES[Verdict.DEGENERATE])
    result = replace(analysed, layers=(narrow, *blocks()[1:]), tunnel=tunnel)
    headline = analysis_view(result).headline
    assert headline.endswith(
        f" over 5 blocks; 3 are needed and 1 idle; 1 block needs a change{words}."
    )


def test_a_tunnel_that_is_needed_as_a_whole(analysed: AnalysisResult) -> None:
    layers = (*blocks()[:2], blocks()[3])
    tunnel = Tunnel("blocks.1", ("blocks.3",), "")
    headline = analysis_view(replace(analysed, layers=layers, tunnel=tunnel)).headline
    assert headline.endswith("the last one separates held-out data no further, but it is needed.")


# --- columns ---


def test_columns_only_where_anything_was_measured() -> None:
    with_them, without = markdown(contributing()), markdown(typical())
    headers = [table[0] for table in markdown_tables(with_them)]
    assert sum(set(NEED_COLUMNS) <= set(header) for header in headers) == 2
    assert not any("contribution" in table[0] for table in markdown_tables(without))
    rows = {row[0]: row for table in markdown_tables(with_them) for row in table}
    assert rows["blocks.3"][9:13] == ["1.60", "1.40 to 1.80", "-21.0", "prepares"]


def test_a_block_that_was_not_tried_has_dashes_beside_those_that_were() -> None:
    tried, untried = list(layer_views(None, contributing().recommendations[1].layers))
    assert (tried.contribution, tried.accuracy_change) == ("0.90", "-12.0")
    assert (untried.contribution, untried.contribution_interval) == ("-", "-")
    (alone,) = layer_views(None, [typical().recommendations[0].layers[0]])
    assert (alone.contribution, alone.accuracy_change) == ("", "")


# --- chart ---


def need_figures() -> list[NeedFigure]:
    figures = figures_of(search_view(contributing()))
    return [figure for figure in figures if isinstance(figure, NeedFigure)]


def test_one_figure_for_each_network_with_contributions() -> None:
    first, second = need_figures()
    assert [row.layer for row in first.rows] == [f"blocks.{i}" for i in range(5)]
    assert [row.rise for row in first.rows] == [0.4, 0.0, 0.6, 1.6, 0.05]
    assert (first.rows[3].rise_low, first.rows[3].rise_high) == pytest.approx((1.4, 1.8))
    assert [row.rise for row in second.rows] == [0.9, None]
    assert "3 of 5 blocks are needed, 1 idle; 1 show little" in first.caption
    assert not any(isinstance(f, NeedFigure) for f in figures_of(search_view(typical())))


def test_without_logits_the_bars_show_the_separation() -> None:
    layer = blocks()[0]
    measured = contribution(0.4, -5.0)
    bare = replace(layer, contribution=replace(measured, cross_entropy=None, accuracy=None))
    result = contributing()
    network = replace(result.recommendations[0], layers=(bare,))
    view = search_view(replace(result, recommendations=(network,)))
    (figure,) = (figure for figure in figures_of(view) if isinstance(figure, NeedFigure))
    assert figure.quantity == "log D at the end"
    assert figure.rows[0].rise == pytest.approx(0.2)


def scales_of(chart: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the horizontal scales of all layers of a chart."""
    inner = [scale for layer in chart.get("layer", []) for scale in scales_of(layer)]
    x = chart.get("encoding", {}).get("x", {})
    return [*inner, *([x["scale"]] if "scale" in x else [])]


def test_both_halves_of_the_chart_hold_all_their_intervals_and_zero() -> None:
    figure = need_figures()[0]
    with_steps = replace(
        figure, rows=tuple(replace(r, step=0.5, step_low=-0.2, step_high=0.9) for r in figure.rows)
    )
    scales = scales_of(chart_of(with_steps, LIGHT).to_dict())
    left = [s["domain"] for s in scales if s["range"][0] == 0]
    right = [s["domain"] for s in scales if s["range"][0] != 0]
    assert left == [left[0]] * 3
    assert right == [right[0]] * 3
    assert left[0][0] < -0.2
    assert left[0][1] > 0.9
    assert right[0][0] < -0.15  # of the block that is not clear
    assert right[0][1] > 1.8


def test_every_verdict_of_the_page_has_its_sign() -> None:
    page = html_report(search_view(contributing()))
    assert "✚ prepares" in page
    assert "□ idle" in page


# --- JSON ---


def test_json_holds_the_contribution_of_every_layer(analysed: AnalysisResult) -> None:
    layers = json.loads(report_to_json(analysed))["layers"]
    for layer in layers:
        assert set(layer["contribution"]) == {
            "stand_in",
            "separation",
            "cross_entropy",
            "accuracy",
        }
        assert set(layer["contribution"]["cross_entropy"]) == {"value", "interval"}
        assert layer["contribution_reason"] == ""
        assert layer["parameters"] > 0


def test_json_has_null_and_a_reason_where_nothing_was_measured() -> None:
    model, data = small_mlp(), labelled(60)
    layers = json.loads(report_to_json(analyze(model, data)))["layers"]
    assert [layer["contribution"] for layer in layers] == [None, None]
    assert {layer["contribution_reason"] for layer in layers} == {"There are no held-out data."}


def test_an_analysis_of_an_earlier_version_opens(analysed: AnalysisResult, tmp_path: Path) -> None:
    stored = json.loads(report_to_json(analysed))
    for layer in stored["layers"]:
        for addition in ("contribution", "contribution_reason", "parameters"):
            del layer[addition]
        layer["verdict"], layer["advice"] = "negative", "remove: D rises here"
    (tmp_path / "report.json").write_text(json.dumps(stored))
    result = read_report(tmp_path)
    assert isinstance(result, AnalysisResult)
    assert all(layer.contribution is None for layer in result.layers)
    assert all(layer.verdict is Verdict.NEGATIVE for layer in result.layers)
    view = analysis_view(result)
    assert "needed" not in view.headline
    assert not any(isinstance(figure, NeedFigure) for figure in figures_of(view))
