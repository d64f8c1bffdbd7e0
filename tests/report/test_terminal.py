"""The report in a terminal: how wide it is, what it shows and which characters it uses."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from designer.errors import one_line
from designer.report.terminal import print_report
from designer.report.views.search import search_view
from designer.results.search import SearchResult
from tests.report.rendered import every_sample, squeezed, terminal
from tests.support.sample_reports import HOSTILE, deep, named, single_trial, typical


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
        for network in result.recommendations:
            for layer in network.layers:
                first_word = layer.advice.partition(":")[0]
                line = rf"^{re.escape(layer.name)} .* {layer.verdict}( +{first_word})? *$"
                assert re.search(line, shown, re.MULTILINE)
                if layer.advice != "keep":
                    reason = re.escape(squeezed(layer.advice.partition(": ")[2]))
                    blocks = squeezed(rf"{re.escape(layer.name)}[^()]* \({layer.verdict}\)")
                    assert re.search(rf"{blocks}(again)?: ?{reason}\.", flat)

    @pytest.mark.parametrize("width", [80, 120])
    def test_without_unicode_is_ascii(self, width: int) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
        print_report(search_view(named("größe"[:3])), Console(file=file, width=width))
        file.flush()
        shown = raw.getvalue().decode("ascii")
        assert "###" in shown
        assert "> Narrow blocks.1 (low): the step" in shown
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
        assert f"→ Narrow {plain} (low): it" in shown
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
