"""The claim about images that are larger than memory, with a small folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from benchmarks.claim import Result
from benchmarks.claims.streaming import make_folder, measured, show, watched
from benchmarks.result_files import read_result
from designer.data.limits import STREAMED_ABOVE

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


def test_a_folder_is_measured(tmp_path: Path) -> None:
    environment = dict(os.environ)
    make_folder(tmp_path, 60, 32)
    figures = measured(str(tmp_path), {STREAMED_ABOVE: "1e-6"})
    assert dict(os.environ) == environment
    for part in (figures["analysis"], figures["training"]):
        assert part["peak_gib"] > 0.1
        assert part["images_per_second"] > 0
    assert figures["training"]["loss"] > 0


def test_the_limit_is_said_to_be_met_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    figures = read_result("streaming.json")
    show(Result(argparse.Namespace(), {**figures, "met": False}, seeds=[]))
    assert "MISSED" in capsys.readouterr().out
