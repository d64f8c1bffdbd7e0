"""Serve Optuna's dashboard on the storage of a run, with the run's report and charts in it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.study import Study

from designer.errors import InvalidInputError, RunFolderError
from designer.folders import ARTIFACTS_FOLDER, STORAGE_FILE
from designer.report.markdown import markdown_report
from designer.report.pictures import PictureFormat, pictures
from designer.report.views.search import search_view
from designer.results.search import SearchResult
from designer.results.serialisation import read_result, report_to_json
from designer.search.progress import Phase
from designer.search.storage.artifacts import upload
from designer.search.storage.opening import open_file, quiet_optuna

ATTACHED = "attached"
"""Attribute of the study that names the attached charts and the report that they belong to."""

SVG_TYPE = "image/svg+xml"

NO_MORE = b"""<svg xmlns="http://www.w3.org/2000/svg" width="320" height="40">\
<text x="8" y="25" font-family="sans-serif" font-size="13">No longer part of the report.</text>\
</svg>"""
"""Picture that replaces a chart which a newer report does not have."""


class _Server(ThreadingMixIn, WSGIServer):
    """A server that answers several requests at once, as browsers send them."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """A handler that does not log every request to stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        pass


@contextmanager
def dashboard(folder: Path, host: str = "127.0.0.1", port: int = 8080) -> Iterator[WSGIServer]:
    """Give a server of the dashboard of a run, with the charts of its report attached.

    The server listens inside the context; the caller starts it with ``serve_forever``.

    Args:
        folder: folder of the run.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.

    Raises:
        InvalidInputError: if optuna-dashboard is not installed, or the port is taken.
        RunFolderError: if the folder holds no run.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise InvalidInputError(
            "optuna-dashboard is not installed; install it with "
            "pip install 'equisep-designer[dashboard]'."
        ) from error
    result = read_result(folder)
    if not (folder / STORAGE_FILE).exists():
        raise RunFolderError(
            f"Expected the study of a search in '{folder / STORAGE_FILE}', found none; the "
            f"dashboard needs more than the report."
        )
    store = FileSystemArtifactStore(folder / ARTIFACTS_FOLDER)
    with quiet_optuna(), open_file(folder / STORAGE_FILE) as storage:
        attach(optuna.load_study(study_name=Phase.SEARCH, storage=storage), result, store)
        try:
            server = make_server(host, port, wsgi(storage, artifact_store=store), _Server, _Quiet)
        except OSError as error:
            raise InvalidInputError(
                f"Cannot listen on {host}:{port}: {error.strerror}; choose another --port."
            ) from error
        with server:
            yield server


def attach(study: Study, result: SearchResult, store: FileSystemArtifactStore) -> None:
    """Attach the report as a note and its charts as artifacts, over those of an older report.

    Charts that a newer report lacks are written over and never removed, because Optuna cannot list
    the artifacts of a study if one of them is missing.

    Args:
        study: study of the run's search; its attribute ``ATTACHED`` is set.
        result: report of the run.
        store: storage of the run's artifacts.
    """
    from optuna_dashboard import save_note

    digest = hashlib.sha256(report_to_json(result).encode()).hexdigest()
    known = study.user_attrs.get(ATTACHED, {})
    if known.get("digest") == digest:
        return
    view = search_view(result)
    charts = pictures(view, PictureFormat.SVG)
    attached: dict[str, str] = dict(known.get("artifacts", {}))
    for name, artifact in attached.items():
        store.write(artifact, io.BytesIO(charts.get(name, NO_MORE)))
    new = charts.keys() - attached.keys()
    attached |= {
        name: upload(store, study, name, charts[name], SVG_TYPE) for name in charts if name in new
    }
    save_note(study, markdown_report(view))
    study.set_user_attr(ATTACHED, {"digest": digest, "artifacts": attached})
