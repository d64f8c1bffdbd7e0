"""Several processes on one PostgreSQL lose nothing, whatever is killed, stopped or cut off."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from designer.errors import InvalidInputError, RunFolderError, StorageError
from designer.search.search import search
from designer.search.storage.opening import open_address, quiet_optuna
from designer.search.study.keys import REJECTED, RETRY_OF, SPEC, WORKER
from designer.search.study.trials import FINISHED
from designer.search.workers import handshake
from designer.search.workers.join import work
from tests.support.postgres import PASSWORD, Server, free_port, postgres
from tests.support.processes import start_command

TRIALS, EDITS = 24, 4
SPACES = ["tests.support.toy:SlowSpace", "tests.support.toy:SlowerSpace"]
BLOBS = "tests.support.toy:blobs"

DEADLINE_SECONDS = 120.0
"""How long a test waits for what must happen."""


@dataclass
class Cluster:
    """A study and the processes that work on it."""

    server: Server
    folder: Path
    study: str
    processes: dict[str, ForkServerProcess] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def lead(self, name: str = "leader", **options: Any) -> None:
        defaults = {
            "space": SPACES[0],
            "data": BLOBS,
            "trials": TRIALS,
            "epochs": 1,
            "confirm": 2,
            "confirm-epochs": 30,  # far from chance, or nothing would be edited
            "confirm-seeds": 1,
            "edits": EDITS,
            "study": self.study,
            "heartbeat": 1,
            "out": self.out,
        }
        flags = [f"--{key}={value}" for key, value in (defaults | options).items()]
        self.start(name, ["search", *flags])

    def join(self, count: int = 3, **environment: str) -> None:
        for i in range(count):
            trusted = [f"--trust={name}" for name in (*SPACES, BLOBS)]
            arguments = ["worker", "--study", self.study, *trusted]
            self.start(f"worker{i}", arguments, **environment)

    def start(self, name: str, arguments: list[str], **environment: str) -> None:
        variables = {"DESIGNER_STORAGE": self.server.address, **environment}
        log = self.folder / f"{name}-{len(list(self.folder.glob('*.log')))}.log"
        self.processes[name] = start_command(arguments, log, variables)

    def ended(self, *names: str) -> list[int | None]:
        for name in names:
            self.processes[name].join(DEADLINE_SECONDS)
        return [self.processes[name].exitcode for name in names]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        os.kill(self.processes[name].pid or 0, number)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))

    def trials(self, phase: str = "") -> list[FrozenTrial]:
        with open_address(self.server.address) as storage:
            try:
                study = optuna.load_study(study_name=self.study + phase, storage=storage)
            except KeyError:
                return []
            return study.get_trials(deepcopy=False)

    def wait(self, until: Callable[[list[FrozenTrial]], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if result := until(self.trials()):
                return result
            time.sleep(0.05)
        raise AssertionError(f"It did not happen in time:\n{self.logs()}")

    def finished(self, count: int) -> Callable[[list[FrozenTrial]], bool]:
        return lambda trials: sum(t.state in FINISHED for t in trials) >= count


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield running


@pytest.fixture
def cluster(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(server, tmp_path, request.node.name)
    try:
        yield cluster
    finally:
        for process in cluster.processes.values():
            process.kill()
            process.join()


def check_complete(cluster: Cluster) -> dict[str, Any]:
    """Assert that all trials are finished, none twice, and that the report agrees; return it."""
    trials = cluster.trials()
    finished = [t for t in trials if t.state in FINISHED]
    assert len(finished) == TRIALS, cluster.logs()
    assert len({json.dumps(t.user_attrs[SPEC]) for t in finished}) == TRIALS
    edits = [t for t in cluster.trials("/edits") if t.state in FINISHED]
    assert len(edits) == EDITS, cluster.logs()
    assert len({json.dumps(t.user_attrs[SPEC]) for t in edits}) == EDITS
    assert {t.state for t in trials} <= {*FINISHED, TrialState.FAIL}
    for phase in ("/confirmation", "/edits"):
        states = {t.state for t in cluster.trials(phase)}
        assert states <= {TrialState.COMPLETE, TrialState.FAIL}
    report: dict[str, Any] = json.loads((cluster.out / "report.json").read_text())
    assert {row["number"]: row["score"] for row in report["trials"]} == {
        t.number: t.values[0] if t.state is TrialState.COMPLETE else None for t in finished
    }
    counts = report["study"]["trials"]
    assert counts["complete"] == [t.state for t in finished].count(TrialState.COMPLETE)
    assert counts["complete"] + counts["pruned"] == TRIALS
    assert report["study"]["trials"]["failed"] == 0
    assert report["study"]["trials"]["retried"] == sum(RETRY_OF in t.user_attrs for t in finished)
    assert report["recommendations"]
    assert sum(edit["runs"] for edit in report["tried"]) == EDITS
    assert PASSWORD not in cluster.logs()
    written = [p for p in cluster.out.rglob("*") if p.suffix in {".json", ".md", ".html"}]
    assert not any(PASSWORD in path.read_text() for path in written)
    return report


def stopped_at_work(cluster: Cluster, name: str) -> FrozenTrial:
    """Stop a process in the middle of a trial, and return that trial."""
    suffix = f":{cluster.processes[name].pid}"

    def trial_at_work(_: list[FrozenTrial]) -> FrozenTrial | None:
        cluster.kill(name, signal.SIGSTOP)
        trials = cluster.trials()  # read after the stop: now its trial stays as it is
        for trial in trials:
            ours = trial.user_attrs.get(WORKER, "").endswith(suffix)
            if ours and trial.state is TrialState.RUNNING and is_new(trial, trials):
                return trial
        cluster.kill(name, signal.SIGCONT)
        return None

    trial = cluster.wait(trial_at_work)
    assert isinstance(trial, FrozenTrial)
    return trial


def is_new(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Return True if no earlier trial is the same; else its worker is about to hand it back."""
    earlier = (t for t in trials[: trial.number] if REJECTED not in t.user_attrs)
    return trial.user_attrs[SPEC] not in [t.user_attrs.get(SPEC) for t in earlier]


def test_a_leader_and_three_workers_share_a_study(cluster: Cluster) -> None:
    cluster.join()  # the study does not exist yet
    cluster.lead()
    assert cluster.ended("leader", "worker0", "worker1", "worker2") == [0] * 4, cluster.logs()
    report = check_complete(cluster)
    assert report["study"]["trials"]["retried"] == 0
    assert len({t.user_attrs[WORKER] for t in cluster.trials()}) > 1


def test_the_trial_of_a_killed_worker_is_run_again(cluster: Cluster) -> None:
    cluster.lead(space=SPACES[1])
    cluster.join()
    lost = stopped_at_work(cluster, "worker1")
    cluster.kill("worker1")
    assert cluster.ended("leader", "worker0", "worker2") == [0] * 3, cluster.logs()
    report = check_complete(cluster)
    assert cluster.trials()[lost.number].user_attrs[REJECTED] == "Its worker was gone."
    again = [t for t in cluster.trials() if t.user_attrs.get(RETRY_OF) == lost.number]
    assert [t.params for t in again] == [lost.params]
    assert report["study"]["trials"]["retried"] == 1


def test_a_database_that_is_away_for_a_while_is_waited_for(cluster: Cluster) -> None:
    cluster.lead()
    cluster.join()
    cluster.wait(cluster.finished(5))
    cluster.server.stop()
    time.sleep(10)
    cluster.server.start()
    assert cluster.ended("leader", "worker0", "worker1", "worker2") == [0] * 4, cluster.logs()
    check_complete(cluster)
    assert "does not answer" in cluster.logs()
    assert "answers again" in cluster.logs()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # from connections that were cut
def test_no_error_of_a_restarting_database_reaches_a_worker(server: Server) -> None:
    escaped: list[Exception] = []
    ended = threading.Event()

    def ask_and_tell() -> None:
        with quiet_optuna(), open_address(server.address) as storage:
            study = optuna.create_study(storage=storage, study_name="busy", load_if_exists=True)
            while not ended.is_set() and not escaped:
                try:
                    study.tell(study.ask(), 1.0, skip_if_finished=True)
                except (optuna.exceptions.OptunaError, StorageError) as error:
                    escaped.append(error)

    threads = [threading.Thread(target=ask_and_tell) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(1)
        server.stop()
        server.start()
    time.sleep(1)
    ended.set()
    for thread in threads:
        thread.join()
    gc.collect()
    assert escaped == []


def test_a_killed_leader_is_replaced_by_the_same_command(cluster: Cluster) -> None:
    cluster.lead()
    cluster.join()
    cluster.wait(cluster.finished(5))
    cluster.kill("leader")
    cluster.ended("leader")
    cluster.lead("second")
    assert cluster.ended("second", "worker0", "worker1", "worker2") == [0] * 4, cluster.logs()
    check_complete(cluster)


def test_sigterm_to_all_hands_their_trials_back(cluster: Cluster) -> None:
    names = ["leader", "worker0", "worker1", "worker2"]
    cluster.lead()
    cluster.join()
    cluster.wait(cluster.finished(5))
    for name in names:
        cluster.kill(name, signal.SIGTERM)
    assert cluster.ended(*names) == [0] * 4, cluster.logs()
    states = [t.state for t in cluster.trials()]
    assert TrialState.RUNNING not in states
    assert sum(state in FINISHED for state in states) < TRIALS
    cluster.lead("again")
    cluster.join()
    assert cluster.ended("again", "worker0", "worker1", "worker2") == [0] * 4, cluster.logs()
    assert check_complete(cluster)["study"]["trials"]["retried"] == 0


def test_a_proxy_stands_between(cluster: Cluster) -> None:
    port = free_port()
    address = f"grpc://127.0.0.1:{port}"
    cluster.start("proxy", ["storage-proxy", "--host", "127.0.0.1", "--port", str(port)])
    cluster.join(2, DESIGNER_STORAGE=address)
    cluster.lead(trials=12)
    assert cluster.ended("leader", "worker0", "worker1") == [0] * 3, cluster.logs()
    finished = [t for t in cluster.trials() if t.state in FINISHED]
    assert len(finished) == 12


def test_two_leaders_are_one_too_many(cluster: Cluster) -> None:
    cluster.lead()
    cluster.wait(cluster.finished(1))
    cluster.lead("second", out=cluster.folder / "other")
    assert cluster.ended("second") == [2]
    assert "Join it with `designer worker`" in cluster.logs()


def refused(cluster: Cluster, **options: Any) -> str:
    """Return the message to a worker that may not join."""
    with pytest.raises(InvalidInputError) as caught:
        work(cluster.server.address, cluster.study, wait=0.0, **{"trust": True, **options})
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def test_a_worker_must_have_the_version_data_space_and_files_of_the_study(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "but there is none; start `designer search" in refused(cluster)
    options: dict[str, Any] = {"trials": 1, "epochs": 1, "confirm": 1, "confirm_seeds": 1}
    options |= {"storage": cluster.server.address, "study": cluster.study, "out": cluster.out}
    search("tests.support.toy:TinySpace", "tests.support.toy:blobs", **options)
    assert "use the same data" in refused(cluster, data="digits")
    assert "say with --data where they are here" in refused(cluster, data=str(tmp_path / "x.npz"))
    with monkeypatch.context() as patch:
        patch.setattr(handshake, "VERSION", "9.9")
        assert "Expected a worker of version 0.1.0" in refused(cluster)
        assert "this is version 9.9" in refused(cluster)
    (cluster.out / "artifacts").rename(cluster.out / "elsewhere")
    assert "in a folder that all machines share" in refused(cluster)
    with pytest.raises(RunFolderError, match=r"its space is 'tests\.support\.toy:TinySpace', not"):
        search("mlp", "tests.support.toy:blobs", **options)


def test_a_worker_imports_only_what_its_user_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    space = "tests.support.toy:TinySpace"
    options: dict[str, Any] = {"trials": 1, "epochs": 1, "confirm": 1, "confirm_seeds": 1}
    options |= {"storage": cluster.server.address, "study": cluster.study, "out": cluster.out}
    search(space, BLOBS, **options)  # the leader's own workers need no word
    monkeypatch.setitem(sys.modules, "tests.support.toy", None)  # an import would fail otherwise
    both = refused(cluster, trust=())
    assert f"The study '{cluster.study}' in postgresql" in both
    assert f"wants to import '{space}' and '{BLOBS}'" in both
    assert f"add --trust {space} --trust {BLOBS}" in both
    assert f"wants to import '{BLOBS}'," in refused(cluster, trust=[space])
    assert f"wants to import '{space}'," in refused(cluster, trust=[], data=BLOBS)
    assert f"wants to import '{space}'," in refused(cluster, trust=[], data="digits")
    assert "Importing" not in caplog.text
    monkeypatch.undo()
    work(cluster.server.address, cluster.study, trust=[space], data=BLOBS)
    assert f"Importing {space} and {BLOBS} for study '{cluster.study}'" in caplog.text
