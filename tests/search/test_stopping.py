"""A search that is killed, stopped or loses a worker goes on where it was."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from designer.folders import STORAGE_FILE
from designer.results.serialisation import read_result
from designer.search.study.keys import REJECTED, RETRY_OF
from tests.support.paths import ROOT
from tests.support.searches import contents, run, states, studies


@contextmanager
def started(out: Path, trials: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a search with two workers in a process of its own, and wait until it is under way."""
    process = subprocess.Popen(command(out, trials), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until_under_way(out)
        yield process
    finally:
        process.kill()
        process.wait()


def finish(out: Path, trials: int) -> int:
    """Run the command to its end and return its exit code."""
    return subprocess.run(
        command(out, trials), cwd=ROOT, capture_output=True, check=False
    ).returncode


def command(out: Path, trials: int) -> list[str]:
    options = (
        f"--data tests.support.toy:blobs --trials {trials} --epochs 25 --workers 2 --confirm 1 "
        f"--confirm-epochs 5 --edits 0 --json --out {out}"
    )
    return [sys.executable, "-m", "designer", "search", *options.split()]


def wait_until_under_way(out: Path) -> None:
    """Wait until three trials are complete and one runs; without Optuna, which would write."""
    for _ in range(1200):
        time.sleep(0.05)
        with suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(f"file:{out / STORAGE_FILE}?mode=ro", uri=True)
            counts = dict(connection.execute("SELECT state, count(*) FROM trials GROUP BY state"))
            connection.close()
            if counts.get("COMPLETE", 0) >= 3 and counts.get("RUNNING"):
                return
    raise AssertionError("the run did not get going")


def test_survives_kill_9(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 24) as process:
        process.kill()
        process.wait()
        done = {t.number: t.values for t in studies(out)[0].get_trials() if t.state.is_finished()}
    assert finish(out, 24) == 0
    after = {t.number: t.values for t in studies(out)[0].get_trials()}
    assert len(done) >= 3
    assert all(after[number] == values for number, values in done.items())
    counts = read_result(out).study.trials
    assert counts.complete + counts.pruned == 24
    assert "RUNNING" not in states(out)
    assert "WAITING" not in states(out)


def test_ctrl_c_stops_cleanly_and_the_same_command_continues(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 300) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    result = read_result(out)
    assert "interrupted" in [w.code for w in result.warnings]
    assert "RUNNING" not in states(out)
    done = len(result.trials)
    assert 3 <= done < 300
    assert finish(out, done) == 0
    assert len(read_result(out).trials) == done
    assert read_result(out).recommendations


def test_a_stop_keeps_what_was_recommended_before(tmp_path: Path) -> None:
    out = tmp_path / "a"
    first = run(out, trials=4)
    best = contents(out / "best")
    longer: dict[str, Any] = {"trials": 5, "confirm_epochs": 4}
    stopped = run(out, progress=lambda _: signal.raise_signal(signal.SIGINT), **longer)
    assert stopped.recommendations == first.recommendations == read_result(out).recommendations
    assert {"interrupted", "earlier_recommendations"} <= {w.code for w in stopped.warnings}
    assert contents(out / "best") == best
    assert not {"interrupted", "earlier_recommendations"} & {
        w.code for w in run(out, **longer).warnings
    }
    assert contents(out / "best") != best


def test_a_later_stop_recommends_from_what_was_confirmed_since(tmp_path: Path) -> None:
    def stop_in(phase: str) -> Callable[[Any], None]:
        def stop(progress: Any) -> None:
            if (str(progress.phase), progress.finished) == (phase, 1):
                signal.raise_signal(signal.SIGINT)

        return stop

    options: dict[str, Any] = {"space": "EditableSpace", "edits": 6, "epochs": 2}
    first = run(tmp_path / "a", progress=stop_in("confirmation"), **options)
    assert {r.validation_accuracy.seeds for r in first.recommendations} == {1}
    second = run(tmp_path / "a", progress=stop_in("edits"), **options)
    assert {r.validation_accuracy.seeds for r in second.recommendations} == {2}
    assert "earlier_recommendations" not in {w.code for w in second.warnings}
    message = next(w.message for w in second.warnings if w.code == "interrupted")
    assert message.startswith("The run was stopped after all 6 trials, before everything")


def test_a_killed_worker_is_replaced_and_its_trial_done_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 24) as process:
        workers = {
            t.user_attrs["worker"] for t in studies(out)[0].get_trials() if "worker" in t.user_attrs
        }
        os.kill(int(workers.pop().rpartition(":")[2]), signal.SIGKILL)
        assert process.wait(timeout=120) == 0
    result = read_result(out)
    assert result.study.trials.complete + result.study.trials.pruned == 24
    assert result.study.trials.failed == 0
    ended = [
        t for t in studies(out)[0].get_trials() if "signal 9" in t.user_attrs.get(REJECTED, "")
    ]
    again = [t for t in studies(out)[0].get_trials() if RETRY_OF in t.user_attrs]
    assert len(ended) == len(again) == result.study.trials.retried <= 1  # 0 between two trials
    assert [t.params for t in again] == [t.params for t in ended]
    assert "RUNNING" not in states(out)
