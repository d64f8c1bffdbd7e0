"""A search on Ray finishes exactly what it was asked for, whoever is killed meanwhile.

``make ray`` runs this file; ``make test`` does not, because each test starts a whole cluster.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import secrets
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import ray

from designer.errors import InvalidInputError, SpaceError
from designer.folders import STORAGE_FILE
from designer.results.serialisation import read_result
from designer.search.progress import Progress
from designer.search.study.keys import REJECTED, RETRY_OF
from designer.search.study.trials import FINISHED
from designer.search.workers import ray_pool
from designer.search.workers.ray_pool import RayPool
from tests.support.postgres import free_port
from tests.support.processes import start_command
from tests.support.ray_user import search_between_visits
from tests.support.searches import comparable, run, states, studies

ACTORS, TRIALS = 4, 40

DEADLINE_SECONDS = 300.0
"""How long a test waits for what must happen."""


class Cluster(NamedTuple):
    """A cluster that this process has started and is connected to."""

    address: str
    environment: dict[str, str]
    """What other processes need in theirs to join."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start Ray, with room for four workers."""
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        with mock.patch.dict(os.environ, token):  # commands inherit nothing of it
            context: Any = ray.init(
                address="local",
                num_cpus=ACTORS,
                include_dashboard=False,
                object_store_memory=100 * 2**20,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
                _system_config={"worker_niceness": 0, "enable_worker_prestart": False},
            )
        yield Cluster(context.address_info["gcs_address"], {"RAY_AUTH_MODE": "token", **token})
        ray.shutdown()


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[RayPool]:
    """Return the list of all pools that are made during a test."""
    made_so_far: list[RayPool] = []

    class Listed(RayPool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made_so_far.append(self)

    monkeypatch.setattr(ray_pool, "RayPool", Listed)
    return made_so_far


@pytest.fixture
def short_folder() -> Iterator[str]:
    """Return a folder for a cluster that is killed and cannot clear up; its sockets fit in."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


def slow_search(out: Path, **options: Any) -> Any:
    """Search on Ray for trials that can be caught in the middle."""
    arguments = {"engine": "ray", "epochs": 1, "confirm": 1, "confirm_seeds": 1} | options
    return run(out, "SlowSpace", **arguments)


def command(out: Path, trials: int, *more: str) -> list[str]:
    """Return the words of the same search as a command."""
    options = (
        f"--space tests.support.toy:SlowSpace --data tests.support.toy:blobs --trials {trials} "
        f"--epochs 1 --confirm 1 --confirm-seeds 1 --edits 0 --engine ray "
        f"--json --out {out}"
    )
    return ["search", *options.split(), *more]


def assert_all_finished(out: Path, trials: int = TRIALS) -> None:
    """Assert that exactly so many trials are finished, and that nothing is left over."""
    counts = read_result(out).study.trials
    assert (counts.complete + counts.pruned, counts.failed) == (trials, 0)
    assert sum(t.state in FINISHED for t in studies(out)[0].get_trials()) == trials
    assert not {"RUNNING", "WAITING"} & set(states(out))


def wait_for_trials(out: Path, count: int) -> None:
    """Wait until a search in another process has finished so many trials."""

    def under_way() -> bool:  # without Optuna, which would write
        query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        address = f"file:{out / STORAGE_FILE}?mode=ro"
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(address, uri=True)) as file,
        ):
            return bool(file.execute(query).fetchone()[0] >= count)
        return False

    wait_until(under_way)


def wait_until(happened: Callable[[], object]) -> None:
    """Wait for what must happen."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_worker_gives_the_report_of_a_search_without_ray(
    cluster: Cluster, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"trials": 5, "confirm": 1, "edits": 2}
    without = run(tmp_path / "a", "EditableSpace", **options)
    on_ray = run(tmp_path / "b", "EditableSpace", engine="ray", **options)
    assert comparable(on_ray) == comparable(without)


def test_trials_of_killed_actors_are_done_again(
    cluster: Cluster, tmp_path: Path, pools: list[RayPool]
) -> None:
    kills: list[Callable[[Any], None]] = [
        lambda worker: ray.kill(worker.actor),
        lambda worker: os.kill(ray.get(worker.placed), signal.SIGKILL),
    ]

    def kill_some(progress: Progress) -> None:
        if kills and progress.finished >= 30 - 10 * len(kills):
            kills.pop(0)(pools[0]._handles[0])

    # One worker more than there is room for: it must not keep the search from ending.
    result = slow_search(tmp_path, trials=TRIALS, workers=ACTORS + 1, progress=kill_some)
    assert not kills
    assert_all_finished(tmp_path)
    trials = studies(tmp_path)[0].get_trials()
    ended = [t for t in trials if "process died" in t.user_attrs.get(REJECTED, "")]
    again = [t for t in trials if RETRY_OF in t.user_attrs]
    assert len(ended) == len(again) == result.study.trials.retried <= 2
    assert [t.params for t in again] == [t.params for t in ended]


def test_a_killed_driver_is_replaced_by_the_same_command(cluster: Cluster, tmp_path: Path) -> None:
    words = command(tmp_path / "run", TRIALS, "--workers", "2", "--address", cluster.address)
    process = start_command(words, tmp_path / "log", cluster.environment)
    wait_for_trials(tmp_path / "run", 4)
    process.kill()
    process.join()
    again = start_command(words, tmp_path / "log", cluster.environment)
    again.join(DEADLINE_SECONDS)
    assert again.exitcode == 0, (tmp_path / "log").read_text()
    assert_all_finished(tmp_path / "run")


def test_ctrl_c_stops_and_any_engine_continues(cluster: Cluster, tmp_path: Path) -> None:
    sent: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.finished >= 3 and not sent:
            sent.append(progress.finished)
            signal.raise_signal(signal.SIGINT)

    stopped = slow_search(tmp_path, trials=60, progress=interrupt)
    assert "interrupted" in [w.code for w in stopped.warnings]
    assert "RUNNING" not in states(tmp_path)
    done = len(stopped.trials)
    assert 3 <= done < 60
    slow_search(tmp_path, trials=done + 2, engine="processes")
    assert_all_finished(tmp_path, done + 2)


def test_an_error_in_an_actor_is_raised_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="not on this machine"):
        run(tmp_path, "AbsentSpace", engine="ray")


def test_clusters_of_their_own_begin_together_and_end_with_their_commands(
    cluster: Cluster, tmp_path: Path, short_folder: str
) -> None:
    user = multiprocessing.get_context("forkserver").Process(
        target=search_between_visits, args=(*cluster, tmp_path / "user")
    )
    user.start()
    words, log = command(tmp_path / "run", 2), tmp_path / "log"
    process = start_command(words, log, {"TMPDIR": short_folder})
    wait_until(lambda: len(children_of(process.pid or 0)) >= 2)
    parts = children_of(process.pid or 0)
    process.kill()
    process.join()

    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("of another cluster")
    other, other_log = tmp_path / "other", tmp_path / "other_log"
    both = [
        start_command(words, log, {"HOME": str(tmp_path)}),
        start_command(command(other, 2), other_log, {"HOME": os.devnull}),  # nobody writes there
    ]
    for begun in (*both, user):
        begun.join(DEADLINE_SECONDS)
    assert [begun.exitcode for begun in both] == [0, 0], log.read_text() + other_log.read_text()
    assert user.exitcode == 0
    assert_all_finished(tmp_path / "run", 2)
    assert_all_finished(other, 2)
    assert token.read_text() == "of another cluster"
    wait_until(lambda: not any(map(is_alive, parts)))


def test_an_address_at_which_nobody_listens_is_refused(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(InvalidInputError, match=f"Ray cluster at '{nobody}'"):
        run(tmp_path / "run", engine="ray", address=nobody)
    assert not (tmp_path / "run").exists()


def test_without_ray_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'equisep-designer\[ray\]'"):
        run(tmp_path / "run", engine="ray")
    assert not (tmp_path / "run").exists()


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started, in all its threads."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in tasks for child in path.read_text().split()]


def is_alive(process: int) -> bool:
    """Return True if a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
