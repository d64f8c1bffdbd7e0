"""The claim about images that are larger than memory, with a small folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from benchmarks.claims.streaming import make_folder, run, show, watched

CHILD_AND_OWN = """
import os, time
held = bytearray(os.urandom(1 << 20)) * 200
if os.fork() == 0:
    own = bytearray(os.urandom(1 << 20)) * 100
    time.sleep(2)
    os._exit(0)
os.wait()
print("done")
"""


def test_no_two_images_are_equal(tmp_path: Path) -> None:
    make_folder(tmp_path, 60, 32)
    files = list(tmp_path.rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == len(files) == 60


def test_memory_is_that_of_all_processes_and_shared_pages_count_once() -> None:
    figures, printed = watched(["-c", CHILD_AND_OWN], {})
    assert printed == "done\n"
    assert 300 / 1024 < figures["peak_gib"] < 400 / 1024  # 500 MiB if shared pages counted twice


def test_both_folders_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    environment = dict(os.environ)
    result = run(argparse.Namespace(images=60, size=32))
    assert dict(os.environ) == environment
    for name in ("streamed", "in_memory"):
        row = result.figures[name]
        assert row["images"] == 60
        assert all(row[p]["peak_gib"] > 0.1 for p in ("analysis", "training"))
        assert all(row[p]["images_per_second"] > 0 for p in ("analysis", "training"))
    # The weights and the order of the batches are the same, and so are the images.
    losses = [result.figures[name]["training"]["loss"] for name in ("streamed", "in_memory")]
    assert losses[0] == losses[1]
    show(result)
    assert "met" in capsys.readouterr().out
