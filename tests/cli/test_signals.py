"""Ctrl-C and SIGTERM end every command at every moment with one line and the documented code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import designer
from designer.interrupts import Stopped, stop_on_signals
from designer.results.serialisation import read_report, read_result
from tests.support.command import Command, exit_code
from tests.support.paths import ROOT
from tests.support.toy import TRUSTED

TOY = "--space tests.support.toy:TinySpace --data tests.support.toy:blobs --edits 0"
QUICK = "--trials 2 --epochs 1 --confirm 1 --confirm-seeds 1 --confirm-epochs 6"
SEARCH = f"search {TOY} {QUICK} --out run"
WHOLE_REPORT = {"report.json", "report.md", "report.html"}

both_signals = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"]
)

SEND_WHEN_IMPORTED = """
class SendWhenImported:
    def find_spec(self, imported, path=None, target=None):
        if imported == moment:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, SendWhenImported())
"""

SEND_AT_EXIT = """
import atexit
atexit.register(os.kill, os.getpid(), number)
"""

SEND_WHILE_PYTHON_ENDS = """
class SendWhenDeleted:
    def __del__(self, kill=os.kill, process=os.getpid(), number=number):
        kill(process, number)
last = SendWhenDeleted()
"""


def in_its_own_process(
    folder: Path, prepare: str, moment: str, number: int, arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that gets a signal.

    Args:
        folder: the working folder.
        prepare: Python that makes the process send itself the signal ``number`` at ``moment``.
        moment: passed to ``prepare``.
        number: the signal.
        arguments: of the command.
    """
    script = f"""
import os, sys
moment, number, sys.argv[1:] = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
{prepare}
from designer.cli.main import main
main()
"""
    return subprocess.run(
        [sys.executable, "-c", script, moment, str(int(number)), *arguments.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@both_signals
@pytest.mark.parametrize("moment", ["typer", "rich.console", "designer.cli.search", "torch"])
def test_while_importing(moment: str, number: int, tmp_path: Path) -> None:
    run = in_its_own_process(tmp_path, SEND_WHEN_IMPORTED, moment, number, SEARCH)
    assert (run.returncode, run.stdout, run.stderr) == (128 + number, "", "error: Stopped.\n")
    assert list(tmp_path.iterdir()) == []


@both_signals
@pytest.mark.parametrize("prepare", [SEND_AT_EXIT, SEND_WHILE_PYTHON_ENDS])
def test_while_the_process_ends(prepare: str, number: int, tmp_path: Path) -> None:
    run = in_its_own_process(tmp_path, prepare, "", number, "--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{designer.__version__}\n", "")


# --- in this process, whose handlers a command sets and restores ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished searches, ``a`` and ``b``."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        arguments = f"search {TOY} {QUICK} --seed {seed} --out {folder / name}"
        assert exit_code(*arguments.split()) == 0
    return folder


@pytest.fixture(autouse=True)
def handlers_are_restored(request: pytest.FixtureRequest) -> Any:
    """Check that a command leaves the handlers as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


Signal = Callable[[str, int], None]


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Signal:
    """Return what sends a signal as soon as a function, named as module:function, is called."""

    def prepare(moment: str, number: int) -> None:
        module, _, name = moment.partition(":")
        home = import_module(module)
        original = getattr(home, name)

        def patched(*arguments: Any, **options: Any) -> Any:
            signal.raise_signal(number)
            return original(*arguments, **options)

        monkeypatch.setattr(home, name, patched)

    return prepare


def names_in(folder: str) -> set[str]:
    """Return the names in a folder but those of locks."""
    return {path.name for path in Path(folder).glob("[!.]*")}


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("designer.search.recommended_models:replacing_folder", signal.SIGINT),
        ("designer.search.session:report_to_json", signal.SIGTERM),
        ("designer.report.html:html_report", signal.SIGINT),
        ("designer.report.html:html_report", signal.SIGTERM),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_search_that_writes_its_reports_writes_them_all(
    moment: str, number: int, command: Command, send: Signal
) -> None:
    send(moment, number)
    done = command(*SEARCH.split())
    assert done.code == (130 if number == signal.SIGINT else 0)
    assert done.err.splitlines()[-1] == (
        "error: Stopped; what was finished is kept. The same command continues."
    )
    assert names_in("run") == {*WHOLE_REPORT, "study.db", "artifacts", "best"}
    assert len(read_result(Path("run")).trials) == 2
    assert designer.load("run/best/1", trust=True).spec


@both_signals
@pytest.mark.usefixtures("folder")
def test_a_search_that_loads_its_data_writes_nothing(
    number: int, command: Command, send: Signal
) -> None:
    send("designer.search.search:load_with_options", number)
    done = command(*SEARCH.split())
    assert (done.code, done.out) == (128 + number, "")
    assert done.err == "error: Stopped. The same command continues.\n"
    assert names_in(".") == set()


@both_signals
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "moment"),
    [
        ("analyze a/best/1", "designer.analysis.analyze:analyze"),
        ("analyze a/best/1", "designer.analysis.data_for_model:data_for_model"),
        ("prune a/best/1 --remove 1", "designer.pruning.prune:prune_with"),
        ("prune a/best/1 --remove 1", "designer.models.loading:load_model"),
        ("compare a b --format html --output out", "designer.analysis.compare:compare"),
        ("report a --format html --output out", "designer.results.serialisation:read_report"),
        ("report a --format html --output out", "designer.report.html:html_report"),
    ],
)
def test_a_command_that_is_not_done_writes_nothing(
    arguments: str, moment: str, number: int, runs: Path, command: Command, send: Signal
) -> None:
    for name in "ab":
        shutil.copytree(runs / name, name)
    send(moment, number)
    trusted = [] if arguments.startswith("report") else TRUSTED
    done = command(*arguments.split(), *trusted)
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.splitlines()[-1] == "error: Stopped."
    assert names_in(".") == {"a", "b"}


@both_signals
@pytest.mark.usefixtures("folder")
def test_an_analysis_that_writes_its_report_writes_all_of_it(
    number: int, runs: Path, command: Command, send: Signal
) -> None:
    send("designer.report.html:html_report", number)
    arguments = "--contribution-samples 0 --out run"
    done = command("analyze", str(runs / "a/best/1"), *arguments.split(), *TRUSTED)
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.splitlines()[-1] == "error: Stopped; the report is in run."
    assert names_in("run") == WHOLE_REPORT
    assert read_report(Path("run"))


@both_signals
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("baselines", ["--baselines", "--no-baselines"])
def test_a_pruning_that_writes_its_model_writes_all_of_it(
    baselines: str, number: int, runs: Path, command: Command, send: Signal
) -> None:
    send("designer.models.pruned:save_model", number)
    arguments = "--remove 1 --epochs 1 --scratch-epochs 1 --out small"
    done = command("prune", str(runs / "a/best/1"), *arguments.split(), baselines, *TRUSTED)
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.splitlines()[-1].startswith("error: Stopped; the smaller model is in small")
    assert names_in("small") == {*WHOLE_REPORT, "model.json", "model.safetensors"}
    assert designer.load("small", trust=True).removed


@both_signals
@pytest.mark.usefixtures("folder")
def test_a_comparison_that_writes_its_report_writes_it(
    number: int, runs: Path, command: Command, send: Signal
) -> None:
    for name in "ab":
        shutil.copytree(runs / name, name)
    send("designer.report.html:html_report", number)
    done = command("compare", "a", "b", "--format", "html", "--output", "all.html")
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.splitlines()[-1] == "error: Stopped; the report is in all.html."
    assert Path("all.html").read_text(encoding="utf-8").endswith("</html>")


@both_signals
@pytest.mark.usefixtures("folder")
def test_a_list_that_nobody_waits_for(number: int, command: Command, send: Signal) -> None:
    send("designer.models.spaces:listed_spaces", number)
    assert command("spaces") == (128 + number, "", "error: Stopped.\n")


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not() -> None:
    def twice(first: int, second: int) -> int | None:
        with stop_on_signals() as stop:
            signal.raise_signal(first)
            assert stop()
            signal.raise_signal(second)
        return stop.signal

    assert twice(signal.SIGTERM, signal.SIGTERM) == signal.SIGTERM
    assert twice(signal.SIGINT, signal.SIGTERM) == signal.SIGINT
    for first in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(Stopped):
            twice(first, signal.SIGINT)
