"""``designer dashboard``: it serves Optuna's dashboard with the charts of the run attached."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna_dashboard import get_note

from designer.cli.dashboard import attach, dashboard
from designer.errors import InvalidInputError, RunFolderError
from designer.report.markdown import markdown_report
from designer.report.views.search import search_view
from designer.results.serialisation import read_result
from designer.search.progress import Phase
from designer.search.storage.opening import open_file
from tests.support.command import Command, refused
from tests.support.toy import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("dashboard") / "run")


def fetch(port: int, path: str) -> bytes:
    """Return the body of a page on this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


def test_answers_with_the_charts_of_the_run(run: Path) -> None:
    with dashboard(run, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_port
            assert b"<html" in fetch(port, "/dashboard/").lower()
            studies = json.loads(fetch(port, "/api/studies"))["study_summaries"]
            search = next(study for study in studies if study["study_name"] == Phase.SEARCH)
            shown = json.loads(fetch(port, f"/api/studies/{search['study_id']}?after=0"))
            charts = {chart["filename"]: chart["artifact_id"] for chart in shown["artifacts"]}
            assert {"curve-1.svg", "shares-1.svg", "trials.svg"} <= charts.keys()
            path = f"/artifacts/{search['study_id']}/{charts['curve-1.svg']}"
            assert fetch(port, path).startswith(b"<svg ")
            assert shown["note"]["body"] == markdown_report(search_view(read_result(run)))
        finally:
            server.shutdown()
            thread.join()


def test_charts_of_an_older_report_are_replaced(run: Path) -> None:
    result = read_result(run)
    store = FileSystemArtifactStore(run / "artifacts")
    with open_file(run / "study.db") as storage:
        study = optuna.load_study(study_name=Phase.SEARCH, storage=storage)
        attach(study, result, store)
        before = artifacts(study)
        attach(study, replace(result, recommendations=()), store)
        assert artifacts(study) == before
        contents = {name: content(store, key) for name, key in before.items()}
        assert b"No longer part of the report" in contents["curve-1.svg"]
        assert b"No longer" not in contents["trials.svg"]
        attach(study, result, store)
        assert b"No longer" not in content(store, before["curve-1.svg"])
        assert get_note(study).startswith("# Design report")


def artifacts(study: optuna.Study) -> dict[str, str]:
    """Return the id of every file that is attached to a study, by file name."""
    return {file.filename: file.artifact_id for file in get_all_artifact_meta(study)}


def content(store: FileSystemArtifactStore, artifact: str) -> bytes:
    """Return what a file that is attached to a study holds."""
    with store.open_reader(artifact) as file:
        return file.read()


def test_without_the_extra(run: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    monkeypatch.chdir(run.parent)
    assert "pip install 'equisep-designer[dashboard]'" in refused(command("dashboard", "run"))


def test_a_report_without_its_study(run: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes((run / "report.json").read_bytes())
    with pytest.raises(RunFolderError, match=r"study\.db"), dashboard(tmp_path, port=0):
        pass


def test_a_port_that_is_taken(run: Path) -> None:
    with dashboard(run, port=0) as server:
        port = server.server_port
        with pytest.raises(InvalidInputError, match="--port"), dashboard(run, port=port):
            pass
