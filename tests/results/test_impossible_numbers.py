"""Reports that were damaged or made up end in one line, whatever they hold."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from designer.analysis.compare import compare
from designer.errors import DesignerError, RunFolderError
from designer.folders import DEEPEST_JSON, LARGEST_JSON, read_json
from designer.report.html import html_report
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.dispatch import view_of
from designer.results.serialisation import read_report, report_schema, report_to_json
from tests.support.paths import FILES

GOLDEN = FILES / "golden_report.json"

Path_ = tuple[str | int, ...]


def golden() -> Any:
    """Return the values of a report of a search."""
    return json.loads(GOLDEN.read_text())


def paths_of(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every value inside; of lists only into the first element."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, inner in inside:
        if isinstance(inner, dict | list):
            yield from paths_of(inner, (*path, key))
        else:
            yield (*path, key)


def changed(path: Path_, value: Any) -> Any:
    """Return the golden report with another value at a path."""
    report = copy.deepcopy(golden())
    holder = report
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return report


def written(folder: Path, report: Any) -> Path:
    """Write a report into a folder, and return the folder."""
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def shown_or_refused(folder: Path) -> str:
    """Show a report in every form of text; return the line that refuses it, or nothing."""
    try:
        report = read_report(folder)
        view = view_of(report)
        markdown_report(view)
        print_report(view, Console(file=io.StringIO(), width=100))
        report_to_json(report)
    except DesignerError as error:
        return str(error)
    return ""


BEST: Path_ = ("recommendations", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*BEST, "validation_accuracy", "seeds"), 0),
        ((*BEST, "validation_accuracy", "mean"), 7),
        ((*BEST, "validation_accuracy", "mean"), -5),
        ((*BEST, "validation_accuracy", "mean"), float("nan")),
        ((*BEST, "validation_accuracy", "sd"), 1e308),
        ((*BEST, "parameters"), -1),
        pytest.param((*BEST, "parameters"), 10**400, id="huge"),
        ((*BEST, "rank"), 0),
        ((*BEST, "score"), 2),
        ((*BEST, "law", "rho"), -0.5),
        ((*BEST, "law", "uniformity"), 1.5),
        ((*BEST, "layers", 0, "width"), 0),
        ((*BEST, "layers", 0, "separation"), float("inf")),
        ((*BEST, "layers", 0, "interval"), [1e308, 1e308]),
        (("study", "seconds"), -1),
        (("study", "epochs"), -1),
        (("study", "trials", "complete"), -3),
        (("trials", 0, "validation_accuracy"), 1.01),
        (("trials", 0, "training_loss"), 1e308),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(
    path: Path_, value: Any, tmp_path: Path
) -> None:
    report = changed(path, value)
    with pytest.raises(RunFolderError, match="is damaged") as error:
        read_report(written(tmp_path, report))
    assert "\n" not in str(error.value)
    assert ".".join(map(str, path)) in str(error.value)
    if value == value and abs(value if isinstance(value, int | float) else 0) != float("inf"):
        assert not Draft202012Validator(report_schema()).is_valid(report)
    with pytest.raises(DesignerError, match="is damaged"):
        compare([str(tmp_path), str(FILES)])


@pytest.mark.parametrize(
    "value", [-5, 1e308, float("nan"), None, "", [], {}, pytest.param(10**400, id="huge")]
)
def test_no_value_anywhere_ends_in_an_error_of_python(value: Any, tmp_path: Path) -> None:
    outcomes = [
        shown_or_refused(written(tmp_path, changed(path, value))) for path in paths_of(golden())
    ]
    assert all("\n" not in outcome and len(outcome) < 500 for outcome in outcomes)
    assert any(outcomes)


@pytest.mark.parametrize("number", [1e-320, 1e-100, 0.0, 1e100])
def test_the_ends_of_the_ranges_are_shown(number: float, tmp_path: Path) -> None:
    report = golden()
    for network in report["recommendations"]:
        network["law"]["rho"] = network["input"]["separation"] = number
        for layer in network["layers"]:
            layer["separation"] = number
    folder = written(tmp_path, report)
    assert shown_or_refused(folder) == ""
    html_report(view_of(read_report(folder)))


def test_a_curve_with_a_value_missing_is_refused(tmp_path: Path) -> None:
    report = golden()
    report["trials"][0]["curve"] = {"blocks": ["input", "a"], "separation": [1.0]}
    with pytest.raises(RunFolderError, match="2 blocks have 1 values of D"):
        read_report(written(tmp_path, report))


@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("depth", [DEEPEST_JSON + 1, 500, 10_000, 1_000_000])
@pytest.mark.parametrize("where", ["top", "spec"])
def test_deep_nesting_is_one_line(brackets: str, depth: int, where: str, tmp_path: Path) -> None:
    opening = "[" if brackets == "[]" else '{"a":'
    nested = opening * depth + "1" + brackets[1] * depth
    text = nested
    if where == "spec":
        text = json.dumps(changed((*BEST, "spec", "deep"), "HERE")).replace('"HERE"', nested)
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(RunFolderError, match=f"nested deeper than {DEEPEST_JSON} levels"):
        read_report(tmp_path)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "report.json").open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(RunFolderError, match="256 MiB, more than"):
        read_report(tmp_path)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(RunFolderError, match="it is no regular file"):
        read_report(tmp_path)


def test_depth_counts_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * DEEPEST_JSON + "]" * DEEPEST_JSON)
    assert read_json(path)
    path.write_text("[" * (DEEPEST_JSON + 1) + "]" * (DEEPEST_JSON + 1))
    with pytest.raises(ValueError, match="nested deeper"):
        read_json(path)
