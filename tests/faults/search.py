"""A short search that is disturbed, and what must be true of its folder at every moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from designer.results.search import Recommendation
from designer.results.serialisation import read_result

SEARCH = (
    "search --space tests.support.toy:TinySpace --data tests.support.toy:blobs --confirm 2 "
    "--confirm-seeds 1 --confirm-epochs 20 --edits 0"
)


SAYS_FULL = ("disk is full", "No space left on device", "disk I/O error")
"""How a full disk shows; SQLite calls it an I/O error where a file of its own cannot grow."""


def arguments_of(out: Path, trials: int, epochs: int) -> list[str]:
    """Return the arguments of a search with one worker, which always recommends the same."""
    return [*SEARCH.split(), f"--trials={trials}", f"--epochs={epochs}", f"--out={out}"]


def recommended(out: Path) -> Sequence[Recommendation]:
    """Return what a search recommends, once every file in its folder is known to be whole.

    The numbers of trials are 0: a trial that is lost keeps its number, and another one repeats it.
    """
    check_whole(out)
    result = read_result(out)
    assert {path.name for path in (out / "best").iterdir()} == {
        str(rank) for rank in range(1, len(result.recommendations) + 1)
    }
    return [replace(recommendation, trial=0) for recommendation in result.recommendations]


def check_whole(out: Path) -> None:
    """Check that every file that is there can be read to its end."""
    for path in out.rglob("*.json"):
        if path.parent.name != "artifacts":
            json.loads(path.read_text(encoding="utf-8"))
    for path in out.rglob("*.safetensors"):
        assert load_file(path)
    for path in out.glob("report.html"):
        assert path.read_text(encoding="utf-8").endswith("</html>")


def check_one_line(stderr: str, folder: Path) -> None:
    """Check that a command said in its last line, and in no other, that the disk is full."""
    *before, last = stderr.splitlines()
    assert last.startswith("error: "), stderr
    assert any(words in last for words in SAYS_FULL), last
    assert "Free some space" in last, last
    assert str(folder) in last, last
    assert not [line for line in before if "rror" in line or "Traceback" in line], stderr
