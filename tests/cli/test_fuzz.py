"""Files and options that are spoilt at random end in a result or in one line, and run nothing.

``make test`` tries the same few hundred cases each time. ``make fuzz`` sets ``FUZZ_SECONDS`` and
goes on with other seeds. A failure prints the smallest case that hypothesis finds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType, ModuleType
from typing import Any

import pytest
import typer
from hypothesis import given, seed, settings
from hypothesis import strategies as st

import designer.cli.main
from designer.cli.app import FAILED, OK, WRONG_USE, app
from designer.results.serialisation import report_to_json
from tests.support.command import Outcome
from tests.support.imports import nothing_imported
from tests.support.model_folders import (
    DATA_FILE,
    pruning_content,
    spec_content,
    write_model,
    write_pruning,
)
from tests.support.mutations import (
    CODE,
    ODD_WORDS,
    mutated_bytes,
    mutated_json,
    mutated_safetensors,
    odd_npz,
)
from tests.support.sample_reports import typical

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0")) / 7
"""How long each of the tests goes on; 0 for a single round."""

EXAMPLES = 50
"""Cases of a round."""

HANG_SECONDS = 30
"""A command that takes so long hangs."""

MEMORY = 8 * 2**30
"""Bytes that a case may allocate. Address space alone is free: the engine that draws charts
reserves far more of it."""

CODE_MODULES = ["intruder", "http.server"]
"""Modules that nobody but a file names."""

ENDED: Counter[int] = Counter()
"""Number of commands of the current test by exit code."""

KEPT = Path("kept")
"""The files as they were written."""


class Hang(BaseException):
    """A command took too long; no code of the package handles it."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with models, data, a report, and a module that no command may import."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        patch.setattr(sys, "path", list(sys.path))
        Path("intruder.py").write_text("raise SystemError('it was imported')", encoding="utf-8")
        patch.setitem(sys.modules, "bystander", Bystander("bystander"))
        write_model(KEPT / "best")
        write_pruning(KEPT / "small")
        (KEPT / "report").mkdir()
        (KEPT / "report/report.json").write_text(report_to_json(typical()), encoding="utf-8")
        yield folder


@pytest.fixture(autouse=True)
def renewed(workplace: Path) -> None:
    """Give every test the files as they were written."""
    renew()


def renew() -> None:
    """Put all files back as they were written."""
    for folder in KEPT.iterdir():
        shutil.rmtree(folder.name, ignore_errors=True)
        shutil.copytree(folder, folder.name)


class Bystander(ModuleType):
    """A module that is there already, and notices that something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            raise SystemError("it was called")
        raise AttributeError(name)


def explore(check: Callable[[Random], None]) -> None:
    """Check cases, as many rounds as there is time for.

    Args:
        check: makes a case from random numbers, and checks it. Hypothesis chooses the seed of these
            numbers, so that all cases differ, where its own mutations would often repeat them.
    """
    start, rounds = time.monotonic(), 0
    ENDED.clear()
    while not rounds or time.monotonic() - start < SECONDS:
        options = settings(max_examples=EXAMPLES, deadline=None, database=None)
        numbers = st.integers(0, 2**32 - 1).map(Random)
        seed(rounds)(options(given(numbers)(check)))()
        rounds += 1
    counts = ", ".join(f"{count} with exit code {code}" for code, count in sorted(ENDED.items()))
    sys.stdout.write(f"\n{ENDED.total()} commands ended as they should: {counts}\n")


def run(*words: str) -> Outcome:
    """Run a command under watch; assert that it ends well, or in one line, and imports nothing."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with watched(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            designer.cli.main.main(words)
            code: Any = OK
        except SystemExit as ended:
            code = ended.code
    out.flush()
    outcome = Outcome(code, out.buffer.getvalue().decode(errors="replace"), err.getvalue())
    lines = [line for line in outcome.err.splitlines() if not line.startswith("Written to ")]
    assert code in (OK, FAILED, WRONG_USE), outcome
    assert len(lines) == (code != OK), outcome
    assert all(line.startswith("error: ") for line in lines), outcome
    assert "--debug" not in outcome.err, outcome
    assert "it was" not in outcome.err, outcome
    ENDED[code] += 1
    return outcome


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Limit time and memory, and check that nothing is imported that only a file names."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_in_use() + MEMORY, limits[1]))
        with nothing_imported(*CODE_MODULES), warnings.catch_warnings():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not Path("it-ran").exists()


def memory_in_use() -> int:
    """Return the bytes that this process has allocated."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    return pages * resource.getpagesize()


LOOKS = [["analyze"], ["prune", "--remove", "nowhere"], ["compare", "best"]]
"""Commands that load a model, its data, and do not train."""


def look(folder: str, command: list[str], *more: str) -> Outcome:
    """Run a command on the folder of a model."""
    options = ["--list-blocks", "--out", "seen"] if command[0] == "analyze" else []
    return run(command[0], folder, *command[1:], *options, *more)


def test_reports(workplace: Path) -> None:
    content = json.loads(report_to_json(typical()))

    def check(rng: Random) -> None:
        Path("report/report.json").write_text(mutated_json(rng, content), encoding="utf-8")
        if rng.random() < 0.2:
            run("compare", "report", "best", "--format", "json")
        else:
            form = rng.choice(["terminal", "markdown", "html", "json"])
            run("report", "report", "--format", form)

    explore(check)


def test_specs(workplace: Path) -> None:
    def check(rng: Random) -> None:
        Path("best/spec.json").write_text(mutated_json(rng, spec_content()), encoding="utf-8")
        look("best", rng.choice(LOOKS[:2]))

    explore(check)


def test_prunings(workplace: Path) -> None:
    def check(rng: Random) -> None:
        text = mutated_json(rng, pruning_content())
        Path("small/model.json").write_text(text, encoding="utf-8")
        look("small", rng.choice(LOOKS))

    explore(check)


def test_weights(workplace: Path) -> None:
    path = Path("best/model.safetensors")
    whole = path.read_bytes()

    def check(rng: Random) -> None:
        content = mutated_safetensors(rng, whole)
        if rng.random() < 0.5:
            path.write_bytes(content)
            look("best", LOOKS[0])
        else:
            Path("alone").write_bytes(content)
            look("small", LOOKS[0], "--weights", "alone")

    explore(check)


def test_arrays(workplace: Path) -> None:
    whole = Path(DATA_FILE).read_bytes()

    def check(rng: Random) -> None:
        Path("odd.npz").write_bytes(odd_npz(rng, whole))
        if rng.random() < 0.5:
            look("best", LOOKS[0], "--data", "odd.npz")
        else:
            run("search", "--data", "odd.npz", "--space", "mlp", "--out", "/proc/nowhere")

    explore(check)


def test_any_bytes(workplace: Path) -> None:
    files = [Path("best/spec.json"), Path("small/model.json"), Path("small/model.safetensors")]
    contents = {path: path.read_bytes() for path in files}

    def check(rng: Random) -> None:
        path = rng.choice(files)
        path.write_bytes(mutated_bytes(rng, contents[path]))
        look(path.parts[0], LOOKS[0])
        path.write_bytes(contents[path])

    explore(check)


STARTS = {
    "analyze": ["best", "--list-blocks"],
    "prune": ["small", "--data", "nowhere.npz", "--remove", "1"],
    "compare": ["best", "nowhere"],
    "search": ["--data", "nowhere.npz"],
    "worker": ["--study", "a", "--storage", "sqlite:///a"],
    "report": ["report"],
    "spaces": [],
    "datasets": [],
}
"""Arguments with which each command ends soon, whatever options it is given."""


def test_options(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(workplace)  # a name that is typed may be looked for there
    group: Any = typer.main.get_command(app)

    def check(rng: Random) -> None:
        name = rng.choice(sorted(STARTS))
        words = [name]
        for _ in range(rng.randint(1, 3)):
            parameter = rng.choice(group.commands[name].params)
            option = parameter.opts[0] if rng.random() < 0.95 else "--nothing"
            if option.startswith("--"):
                odd = CODE if option == "--trust" else ODD_WORDS
                words += (
                    [option] if getattr(parameter, "is_flag", False) else [option, rng.choice(odd)]
                )
        run(*words, *STARTS[name])  # the last of two values counts
        renew()  # an option may have named any of the files as the one to write

    explore(check)
