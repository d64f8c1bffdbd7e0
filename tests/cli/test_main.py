"""The command line: where it prints what, which files it writes, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import designer.cli.main
from designer.cli.app import FAILED, INTERRUPTED, OK, WRONG_USE
from designer.data.limits import DATA_LIMIT
from designer.data.sources import SOURCES
from designer.results.provenance import VERSION
from designer.results.serialisation import read_result, report_schema
from search_spaces import available_spaces
from tests.support.command import Command, exit_code, refused
from tests.support.paths import FILES
from tests.support.toy import blobs

QUICK = ["--trials", "3", "--epochs", "2", "--confirm", "1", "--confirm-seeds", "1"]
TOY = ["--space", "tests.support.toy:TinySpace", "--data", "tests.support.toy:blobs", *QUICK]
FOLDER = Path("runs/tests.support.toy_blobs-tiny")

Saved = dict[str, Any]

pytestmark = pytest.mark.usefixtures("folder")


def save(**changes: Any) -> str:
    """Write ``blobs`` with changes to an .npz file; a change to None leaves the array out."""
    arrays = {k: v for k, v in {**blobs(), **changes}.items() if v is not None}
    np.savez("data.npz", **arrays)
    return "data.npz"


class TestSearch:
    def test_writes_and_shows_what_it_found(self, command: Command) -> None:
        first = command("search", *TOY)
        assert first.code == OK
        assert first.out.startswith("Design report: tests.support.toy:blobs, space tiny\n")
        assert "search: 3/3" in first.err
        assert "3 new trials, 3 in all." in first.err
        assert f"Written to {FOLDER}: " in first.err
        assert "search: " not in first.out
        assert "\x1b" not in first.out + first.err
        for name in ("report.json", "report.md", "report.html", "study.db", "best/1/spec.json"):
            assert (FOLDER / name).is_file()
        assert (FOLDER / "best/1/model.safetensors").is_file()
        assert len(read_result(FOLDER).trials) == 3

        again = command("search", *TOY, "--json")
        assert again.code == OK
        assert "No new trial: all 3 were there already." in again.err
        assert again.out == (FOLDER / "report.json").read_text(encoding="utf-8")
        Draft202012Validator(report_schema()).validate(json.loads(again.out))

        shown = {
            form: command("report", str(FOLDER), "--format", form)
            for form in ("terminal", "markdown", "json", "html", "svg")
        }
        assert {(outcome.code, outcome.err) for outcome in shown.values()} == {(OK, "")}
        assert shown["markdown"].out == (FOLDER / "report.md").read_text(encoding="utf-8")
        assert shown["json"].out == again.out
        assert shown["html"].out == (FOLDER / "report.html").read_text(encoding="utf-8")
        assert command("search", *TOY).out == first.out
        assert shown["svg"].out.startswith("<svg ")
        assert command("report", str(FOLDER)).out == first.out

        (FOLDER / "study.db").write_bytes(b"no database" * 100)
        damaged = command("search", *TOY)
        assert damaged.code == WRONG_USE
        assert damaged.out == ""
        assert re.fullmatch(r"error: .*damaged.*\n", damaged.err)

    def test_one_trial_is_one_trial(self, command: Command) -> None:
        options = ["--trials", "1", "--out", "here"]
        outcome = command("search", *TOY, *options)
        assert outcome.code == OK
        assert "1 new trial, 1 in all." in outcome.err
        assert Path("here/report.md").is_file()
        assert not Path("runs").exists()

        more = command("search", *TOY, "--trials", "2", "--out", "here")
        assert "1 new trial, 2 in all." in more.err

        other = command("search", *TOY, "--epochs", "3", "--out", "here")
        assert "epochs is '2', not '3'" in refused(other)

    def test_nothing_but_failures_fails(self, command: Command) -> None:
        outcome = command("search", *TOY, "--space", "tests.support.toy:BrokenSpace")
        assert outcome.code == FAILED
        assert "ValueError: cannot be trained" in outcome.out
        assert "Trials: 0 complete, 0 pruned, 4 failed" in outcome.out
        assert "No trial was finished." in outcome.err
        assert Path("runs/tests.support.toy_blobs-broken/report.json").is_file()

    def test_a_class_that_the_test_set_lacks_is_a_warning(self, command: Command) -> None:
        arrays = blobs()
        known = arrays["y_test"] != 2
        data = save(x_test=arrays["x_test"][known], y_test=arrays["y_test"][known])
        outcome = command("search", *TOY, "--data", data, "--trials", "1", "--out", "run")
        assert outcome.code == OK
        assert "Warning: The test set has no sample of class 2" in outcome.out

    def test_on_a_terminal_it_draws_bars(self) -> None:
        code, shown = on_a_terminal("search", *TOY, "--trials", "1")
        assert code == OK
        assert "━" in shown
        assert "1/1" in shown
        assert "1 new trial, 1 in all." in shown
        assert "\x1b[" in shown


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                shown.extend(part)
        except OSError:  # how Linux says that the other end was closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123
            patch.setattr(sys, "stderr", terminal)
            code = exit_code(*arguments)
    reader.join(timeout=10)
    os.close(ours)
    return code, shown.decode()


class TestReport:
    @pytest.fixture(autouse=True)
    def golden(self, folder: Path) -> None:
        text = (FILES / "golden_report.json").read_text(encoding="utf-8")
        (folder / "run").mkdir()
        Path("run/report.json").write_text(text, encoding="utf-8")

    @pytest.mark.parametrize(
        ("form", "start"),
        [
            ("terminal", b"Design report: digits"),
            ("markdown", b"# Design report: digits"),
            ("html", b"<!DOCTYPE html>"),
            ("json", b"{"),
            ("svg", b"<svg "),
            ("png", b"\x89PNG"),
        ],
    )
    def test_into_a_file(self, form: str, start: bytes, command: Command) -> None:
        done = command("report", "run", "--format", form, "--output", "new/shown.x")
        assert done == (OK, "", "Written to new/shown.x.\n")
        assert Path("new/shown.x").read_bytes().startswith(start)

    @pytest.mark.parametrize("form", ["svg", "png"])
    def test_every_chart_into_a_folder(self, form: str, command: Command) -> None:
        done = command("report", "run", "--format", form, "--output", "charts")
        assert done.code == OK
        names = {path.name for path in Path("charts").iterdir()}
        kinds = ("curve", "residuals", "shares", "architecture")
        wanted = {f"{kind}-{rank}.{form}" for kind in kinds for rank in (1, 2)}
        assert wanted < names
        assert {f"trials.{form}", f"agreement.{form}"} < names

    def test_the_file_itself(self, command: Command) -> None:
        shown = command("report", "run/report.json")
        assert shown.code == OK
        assert shown == command("report", "run")

    def test_nothing_to_draw(self, command: Command) -> None:
        written = json.loads(Path("run/report.json").read_text(encoding="utf-8"))
        written |= {
            "recommendations": [],
            "trials": [],
            "criterion": {},
            "tried": [],
            "confirmed": [],
        }
        Path("run/report.json").write_text(json.dumps(written), encoding="utf-8")
        outcome = command("report", "run", "--format", "svg")
        assert "has nothing to draw" in refused(outcome)

    def test_where_nothing_can_be_written(self, command: Command) -> None:
        Path("file").write_text("no folder")
        outcome = command("report", "run", "--format", "html", "--output", "file/a.html")
        assert "Cannot write to 'file'" in refused(outcome)

    def test_a_png_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = pty.openpty()
        with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdout", terminal)
            assert exit_code("report", "run", "--format", "png") == WRONG_USE
        os.close(ours)


class TestColour:
    def test_errors_are_red_on_a_terminal(self) -> None:
        code, shown = on_a_terminal("report", "nowhere")
        assert code == WRONG_USE
        assert shown.startswith("\x1b[1;31merror: ")

    def test_errors_are_plain_under_no_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        code, shown = on_a_terminal("report", "nowhere")
        assert code == WRONG_USE
        assert shown.startswith("error: ")
        assert "\x1b" not in shown

    def test_errors_are_plain_in_a_pipe(self, command: Command) -> None:
        assert "\x1b" not in refused(command("search", "--space", "\x1b[31mred"))


class TestLists:
    def test_spaces(self, command: Command) -> None:
        outcome = command("spaces", "--json")
        assert outcome.code == OK
        assert outcome.err == ""
        described = json.loads(outcome.out)
        assert list(described) == list(available_spaces())
        shown = command("spaces").out
        for name, text in described.items():
            assert text
            assert name in shown

    def test_datasets(self, command: Command) -> None:
        outcome = command("datasets", "--json")
        assert outcome.code == OK
        assert json.loads(outcome.out) == SOURCES
        shown = command("datasets")
        assert shown.code == OK
        assert all(name in shown.out for name in SOURCES)

    def test_schema(self, command: Command) -> None:
        outcome = command("report", "--schema")
        assert outcome.code == OK
        assert json.loads(outcome.out) == report_schema()

    def test_version(self, command: Command) -> None:
        assert command("--version") == (OK, f"{VERSION}\n", "")


class TestHelp:
    def test_is_shown_without_arguments(self, command: Command) -> None:
        bare = command()
        assert bare.code == OK
        assert bare.err == ""
        assert bare == command("--help") == command("--debug")
        for name in ("search", "report", "compare", "dashboard", "spaces", "datasets"):
            assert re.search(rf"^ +{name} ", bare.out, re.MULTILINE)

    @pytest.mark.parametrize(
        "name", ["search", "report", "compare", "dashboard", "spaces", "datasets"]
    )
    def test_shows_an_example(self, name: str, command: Command) -> None:
        outcome = command(name, "--help")
        assert outcome.code == OK
        assert outcome.err == ""
        assert f"Example: designer {name} " in outcome.out


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("seek", "'seek'"),
            ("search --colour blue", "--colour"),
            ("search extra", "(extra)"),
            ("search --data", "--data"),
            ("search --data nothing", "'nothing'"),
            ("search --data nothing:here", "'nothing:here'"),
            ("search --data tests.support.toy:rubbish", "ndarray"),
            ("search --data missing.npz", "found none"),
            ("search --space nothing", "'nothing'"),
            ("search --space tests.support.toy:Nothing", "Nothing"),
            ("search --objective best", "'best'"),
            ("search --device abacus", "'abacus'"),
            ("search --seed -1", "a seed from 0 to 2^31 - 1, got -1"),
            ("search --confirm 0", "confirm of at least 1, got 0"),
            ("search --batch-size 1", "a batch size of at least 2, got 1"),
            ("search --validation-fraction 1.5", "between 0 and 1, got 1.5"),
            ("search --train-size 100000", "got 100000"),
            ("report", "Expected a run folder"),
            ("report nowhere", "found none in 'nowhere'"),
            ("compare", "networks"),
            ("compare nowhere", "at least 2 networks"),
            ("compare nowhere elsewhere", "'nowhere'"),
            ("compare same same", "'same' twice"),
            ("dashboard nowhere", "found none in 'nowhere'"),
            ("report . --format doc", "'doc'"),
            ("report . --format json", "found none"),
        ],
    )
    def test_wrong_arguments(self, arguments: str, message: str, command: Command) -> None:
        assert message in refused(command(*arguments.split()))

    @pytest.mark.parametrize("option", ["--trials", "--epochs", "--workers"])
    @pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", ""])
    def test_wrong_counts(self, option: str, value: str, command: Command) -> None:
        line = refused(command("search", *TOY, option, value))
        assert re.search(rf"'{option}': .*valid integer|Expected .* got {value}\.$", line)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda x, y: {"x_train": None}, "x_train"),
            (lambda x, y: {"x_test": None}, "both or neither"),
            (lambda x, y: {"y_train": y[:-1]}, "180 samples and 179 labels"),
            (lambda x, y: {"y_train": np.zeros_like(y)}, "at least 2 classes"),
            (lambda x, y: {"y_train": np.where(np.arange(180) == 7, 9, y)}, "1 of class 9"),
            (lambda x, y: {"x_train": np.where(x > 2, np.nan, x)}, "NaN"),
            (lambda x, y: {"x_train": np.where(x > 2, -np.inf, x)}, "infinite"),
            (lambda x, y: {"x_train": x[:0], "y_train": y[:0]}, "at least one training sample"),
            (lambda x, y: {"y_train": y + 0.5}, "fractional"),
            (lambda x, y: {"y_test": np.full(60, 7)}, "class 7"),
        ],
    )
    def test_wrong_data(
        self, spoil: Callable[[Any, Any], Saved], message: str, command: Command
    ) -> None:
        arrays = blobs()
        data = save(**spoil(arrays["x_train"], arrays["y_train"]))
        assert message in refused(command("search", *TOY, "--data", data))

    def test_files_that_are_no_data(self, command: Command) -> None:
        Path("text.npz").write_text("no archive")
        assert "NumPy archive" in refused(command("search", *TOY, "--data", "text.npz"))

    def test_folders_that_cannot_be_written(self, command: Command) -> None:
        Path("file").write_text("no folder")
        for out in ("file", "file/below", "file/far/below"):
            assert f"'{out}'" in refused(command("search", *TOY, "--out", out))
        assert Path("file").read_text() == "no folder"

    def test_a_damaged_study(self, command: Command) -> None:
        Path("run").mkdir()
        Path("run/study.db").write_bytes(b"no database" * 100)
        assert "damaged" in refused(command("search", *TOY, "--out", "run"))
        assert [path.name for path in Path("run").iterdir()] == ["study.db"]

    def test_a_damaged_report(self, command: Command) -> None:
        for content in ("{", "[]", '{"schema": "designer.report/1"}', '{"schema": "other"}'):
            Path("report.json").write_text(content)
            assert "report.json" in refused(command("report", "."))

    def test_a_file_for_a_folder(self, command: Command) -> None:
        Path("file").write_text("no folder")
        assert "file/report.json" in refused(command("report", "file"))


def raising(error: BaseException) -> Callable[..., None]:
    """Return a function that takes anything and raises an error."""

    def raise_it(*_args: object, **_options: object) -> None:
        raise error

    return raise_it


class TestLimits:
    def test_data_that_take_too_much_memory(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(DATA_LIMIT, "8")  # the option sets it, and the test must not leave it
        save()
        limited = ["--data", "data.npz", "--max-data-gib", "0.000001"]
        line = refused(command("search", *limited, "--trials", "1"))
        assert "'data.npz', unpacked, takes 0.0 GiB of memory, more than the 1e-06 GiB" in line
        assert "--max-data-gib" in line
        assert command("search", *TOY, "--max-data-gib", "1").code == OK

    def test_memory_that_runs_out_is_one_line(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run_out(*_: object) -> None:
            raise MemoryError("Unable to allocate 7.28 TiB for an array")

        monkeypatch.setattr("designer.results.serialisation.read_report", run_out)
        outcome = command("report", "runs/a")
        assert outcome.code == FAILED
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: Memory ran out (Unable to allocate 7.28 TiB for an array);")


class TestEnds:
    def test_what_nobody_expected_is_one_line(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            import_module("designer.search.search"),
            "search_with",
            raising(RuntimeError("broken\nin two")),
        )
        outcome = command("search", *TOY)
        assert outcome.code == FAILED
        assert outcome.out == ""
        assert outcome.err == (
            "error: RuntimeError: broken in two (run again with --debug for the traceback)\n"
        )

    def test_debug_lets_it_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            import_module("designer.search.search"), "search_with", raising(RuntimeError("broken"))
        )
        with pytest.raises(RuntimeError, match="broken"):
            designer.cli.main.main(["search", "--debug"])
        with pytest.raises(RuntimeError, match="broken"):
            designer.cli.main.main(["--debug", "search"])

    def test_debug_lets_refusals_through(self) -> None:
        with pytest.raises(designer.errors.InvalidInputError, match="'nothing'"):
            designer.cli.main.main(["search", "--space", "nothing", "--debug"])

    def test_ctrl_c_at_once(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            import_module("designer.search.search"), "search_with", raising(KeyboardInterrupt())
        )
        outcome = command("search", *TOY)
        assert outcome.code == INTERRUPTED == 130
        assert outcome.out == ""
        assert outcome.err == "error: Stopped. The same command continues.\n"

    def test_a_reader_that_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "w", encoding="utf-8") as gone:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdout", gone)
            assert exit_code("report", "--schema") == FAILED

    def test_markdown_and_json_are_utf_8_whatever_the_terminal_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (FILES / "golden_report.json").read_text(encoding="utf-8")
        Path("report.json").write_text(text, encoding="utf-8")
        written = {}
        for form in ("json", "markdown", "terminal"):
            raw = io.BytesIO()
            file = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
            monkeypatch.setattr(sys, "stdout", file)
            assert exit_code("report", ".", "--format", form) == OK
            file.flush()
            written[form] = raw.getvalue()
        assert written["json"].decode() == text
        assert written["markdown"] == (FILES / "golden_report.md").read_bytes()
        assert "97.0 +/- 0.4" in written["terminal"].decode("ascii")


def test_what_a_space_prints_does_not_spoil_the_json(command: Command) -> None:
    options = [*TOY, "--space", "tests.support.toy:TiedSpace", "--trials", "2", "--epochs", "1"]
    for workers in ("1", "2"):
        out = f"workers-{workers}"
        done = command("search", *options, "--json", "--workers", workers, "--out", out)
        assert done.code == OK
        assert "building" in done.err
        assert json.loads(done.out)["schema"] == "designer.report/1"
