"""What the README shows in Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import designer
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    designer.search("mlp", "digits", trials=1, epochs=1, confirm=1, confirm_seeds=1, out="runs/a")
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "widths" in capsys.readouterr().out


def test_every_command_of_the_readme_exists() -> None:
    commands = set(re.findall(r"^designer (\w+)", README, re.MULTILINE))
    assert commands == {
        "search", "report", "analyze", "prune", "compare", "dashboard", "worker",
    }  # fmt: skip
