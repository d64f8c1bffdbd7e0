"""The command line answers at once: no large library is loaded before a command runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "scipy", "optuna", "sklearn", "altair", "ray")

SCRIPT = f"""
import json, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
code = None
with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    try:
        {{statement}}
    except SystemExit as end:
        code = end.code
print(json.dumps([code and int(code), [name for name in {HEAVY} if name in sys.modules]]))
"""

COMMANDS = (
    "search", "worker", "storage-proxy", "analyze", "prune", "report", "compare", "dashboard",
    "spaces", "datasets",
)  # fmt: skip

WRONG_USE = (
    ["nothing"],
    ["search", "--trials", "many"],
    ["search", "--nothing"],
    ["search", "--objective", "nothing"],
    ["search", "--augment", "nothing"],
    ["search", "--engine", "nothing"],
    ["search", "--address", "auto"],
    ["search", "--engine", "ray", "--device", "cuda"],
    ["search", "--engine", "ray", "--gpus-per-worker", "1.5"],
    ["search", "--trials", "0"],
    ["search", "--study", "a"],
    ["worker"],
    ["worker", "--study", "a"],
    ["storage-proxy"],
    ["analyze"],
    ["analyze", "a:b", "--measure", "nothing"],
    ["analyze", "a:b", "--features", "nothing"],
    ["analyze", "a:b", "--heldout", "nothing"],
    ["prune"],
    ["prune", "a:b"],
    ["prune", "a:b", "--remove", "0"],
    ["prune", "a:b", "--remove", "1", "--criterion", "nothing"],
    ["prune", "a:b", "--remove", "1", "--epochs", "-1"],
    ["report"],
    ["report", "nowhere"],
    ["report", "--format", "nothing"],
    ["compare"],
    ["dashboard"],
    ["dashboard", "nowhere"],
)


def loaded_by(statement: str) -> tuple[int | None, list[str]]:
    """Run a statement in a fresh process; return its exit code and the large libraries loaded."""
    environment = {"PATH": "", "PYTHONSAFEPATH": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    code, heavy = json.loads(run.stdout)
    return code, heavy


def command(*arguments: str) -> str:
    """Return a statement that runs the command line with these arguments."""
    return f"from designer.cli.main import main; main({list(arguments)!r})"


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import designer") == (None, [])


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    assert loaded_by(command(option)) == (0, [])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(name: str) -> None:
    assert loaded_by(command(name, "--help")) == (0, [])


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_is_refused_before_anything_heavy_is_loaded(arguments: list[str]) -> None:
    assert loaded_by(command(*arguments)) == (2, [])


def test_a_public_name_is_loaded_when_it_is_used() -> None:
    assert loaded_by("import designer; designer.separation_fuzziness")[1] == ["torch"]


def test_a_room_does_not_hide_the_function_of_its_name() -> None:
    statement = "import designer, designer.search.progress; sys.exit(callable(designer.search))"
    assert loaded_by(statement)[0] == 1
