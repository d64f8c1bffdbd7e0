"""The report in every form: golden files, and what it says of a search.

After a wanted change of wording or layout, write the golden files anew and read the diff::

    DESIGNER_WRITE_GOLDEN=1 python -m pytest tests/report/test_report.py
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from designer.report.views.search import search_view
from designer.results.ranges import Interval
from designer.results.search import RankAgreement, SearchResult
from designer.results.serialisation import report_to_json
from tests.report.rendered import (
    markdown,
    markdown_tables,
    networks_of,
    table_of,
    terminal,
)
from tests.support.paths import FILES
from tests.support.sample_reports import (
    COMMAND,
    SAMPLES,
    chance,
    contributing,
    named,
    numberless,
    search_result,
    single_trial,
    trial_row,
    typical,
)

COUNTS = {
    "typical": "6 complete, 1 pruned, 1 failed",
    "contributing": "6 complete, 1 pruned, 1 failed",
    "empty": "0 complete, 0 pruned, 0 failed",
    "single_trial": "1 complete, 0 pruned, 0 failed",
    "all_failed": "0 complete, 0 pruned, 4 failed",
    "many_trials": "167 complete, 333 pruned, 0 failed",
}

BEST_TRIALS: dict[str, list[str]] = {
    "typical": ["5", "4", "3", "2", "1"],
    "empty": [],
    "single_trial": ["0"],
    "all_failed": [],
    "numberless": ["0"],
    "many_trials": ["498", "495", "492", "489", "486"],
}


class TestGolden:
    @pytest.mark.parametrize(
        ("name", "render"),
        [
            ("golden_terminal_80.txt", lambda: terminal(contributing(), 80)),
            ("golden_terminal_120.txt", lambda: terminal(contributing(), 120)),
            ("golden_report.md", lambda: markdown(contributing())),
            ("golden_report.json", lambda: report_to_json(contributing())),
        ],
    )
    def test_equals_the_file(self, name: str, render: Callable[[], str]) -> None:
        file = FILES / name
        if os.environ.get("DESIGNER_WRITE_GOLDEN") == "1":
            file.write_text(render(), encoding="utf-8")
        assert render() == file.read_text(encoding="utf-8")


class TestContent:
    @pytest.mark.parametrize(("name", "counts"), COUNTS.items())
    def test_counts_of_trials(self, name: str, counts: str) -> None:
        result = SAMPLES[name]()
        up_to = "" if " 0 pruned" in counts else "up to "  # a pruned trial has fewer
        fact = f"Trials: {counts}, with {up_to}10 epochs each"
        assert fact in " ".join(terminal(result).split())
        assert fact in markdown(result)

    @pytest.mark.parametrize(("name", "numbers"), BEST_TRIALS.items())
    def test_shows_the_best_trials(self, name: str, numbers: list[str]) -> None:
        assert [row[0] for row in table_of(SAMPLES[name](), "trial").rows] == numbers

    def test_best_trials_are_complete_and_in_order_of_their_score(self) -> None:
        scores = (0.2, None, 0.9, 0.5, 0.7, 0.1, 0.6, 0.8)
        rows = [replace(trial_row(i), score=score) for i, score in enumerate(scores)]
        rows[7] = replace(rows[7], state="pruned")
        table = table_of(search_result(trials=tuple(rows)), "trial")
        assert [row[0] for row in table.rows] == ["2", "4", "6", "3", "0"]
        assert [row[3] for row in table.rows] == ["0.900", "0.700", "0.600", "0.500", "0.200"]
        assert table.title == "Best 5 of 8 trials by design score"

    def test_trials_without_a_score_come_last(self) -> None:
        rows = (replace(trial_row(0), score=None), replace(trial_row(1), score=-0.3))
        table = table_of(search_result(trials=rows), "trial")
        assert [row[0] for row in table.rows] == ["1", "0"]
        assert [row[3] for row in table.rows] == ["-0.300", "-"]

    @pytest.mark.parametrize("result", [typical(), single_trial()], ids=["typical", "single"])
    def test_shown_steps_sum_to_the_total_reduction(self, result: SearchResult) -> None:
        written = json.loads(report_to_json(result))
        details = networks_of(result)
        for network, detail in zip(written["recommendations"], details, strict=True):
            steps = [float(row.step) for row in detail.layers if row.step not in {"", "-"}]
            total = network["law"]["total_reduction"]
            assert sum(steps) == pytest.approx(total, abs=0.005 * len(steps))
            assert f"total reduction {total:.2f} nats" in detail.law
            shares = [float(row.share) for row in detail.layers if row.share not in {"", "-"}]
            assert sum(shares) == pytest.approx(len(shares), abs=0.005 * len(shares))

    def test_tables_show_what_the_json_holds(self) -> None:
        written = json.loads(report_to_json(typical()))
        shown = markdown_tables(markdown(typical()))[0][1:]
        for network, row in zip(written["recommendations"], shown, strict=True):
            assert int(row[0]) == network["rank"]
            assert int(row[2].replace(",", "")) == network["parameters"]
            accuracy = network["validation_accuracy"]
            assert row[3] == f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['sd']:.1f}"
            assert float(row[5]) == pytest.approx(network["score"], abs=5e-4)

    @pytest.mark.parametrize("name", ["empty", "all_failed", "many_trials"])
    def test_states_that_nothing_is_recommended(self, name: str) -> None:
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

    def test_an_unmeasured_number_is_a_dash(self) -> None:
        text = terminal(numberless())
        assert not re.search(r"\b(nan|inf|None)\b", text)
        head, row = (
            next(line.split() for line in text.splitlines() if line.startswith(start))
            for start in ("block ", "blocks.0")
        )
        names = ("D", "held-out", "null", "step", "share", "95")
        assert row.count("-") == sum(name in head for name in names)


@pytest.mark.parametrize("interval", [(math.nan, 1.0), (0.0, math.inf)])
def test_an_interval_without_an_end_is_no_interval(interval: Interval) -> None:
    result = search_result(trials=(trial_row(0),))
    spoilt = replace(result, criterion={"depth": RankAgreement(0.1, 9, interval)})
    assert table_of(spoilt, "criterion").rows == (("depth", "0.10", "-", "9"),)


def test_the_command_is_shown_as_it_was_stored() -> None:
    assert search_view(typical()).command == COMMAND
    assert f"To repeat this run: {COMMAND}" in terminal(typical())
    assert ["command", COMMAND] in markdown_tables(markdown(typical()))[-1]
    assert search_view(named("two\nlines")).command == "designer search --data two lines"


def test_a_report_without_a_command_shows_none() -> None:
    result = replace(typical(), command="")
    assert "To repeat this run" not in terminal(result)
    assert "command" not in [row[0] for row in markdown_tables(markdown(result))[-1]]
