"""Where a study is kept: SQLite in the run folder, PostgreSQL, or a gRPC proxy in front of it."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, get_storage, run_grpc_proxy_server

from designer.errors import InvalidInputError, RunFolderError
from designer.folders import STORAGE_FILE
from designer.search.stopping import Stop, never
from designer.search.storage.database import Database
from designer.search.storage.location import GRPC, StudyLocation, checked_address, shown
from designer.search.storage.retrying import Patience, patient

PORT = 13000
"""Of a proxy that does not say."""


PROXY_THREADS = 16


TABLE_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts to make tables that others are making, too."""


BUSY_SECONDS = 60.0
"""How long a worker waits while others write."""


CONNECTING = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""So that a machine that vanishes is noticed; in seconds, the last in milliseconds."""


def open_storage(
    location: StudyLocation, stop: Stop = never
) -> AbstractContextManager[BaseStorage]:
    """Open the storage of a study; calls wait for it until ``stop``, and it closes on leaving.

    Raises:
        InvalidInputError: where its address cannot be used.
        StorageError: where it does not answer.
        RunFolderError: where its file cannot be opened as a study.
    """
    if location.storage is not None:
        return opened_address(location.storage, stop)
    return opened_file(location.folder / STORAGE_FILE, stop)


@contextmanager
def opened_address(
    address: str, stop: Stop = never, *, connections: int = 2
) -> Iterator[BaseStorage]:
    """A storage that several machines share, for so many threads at once; closed on leaving.

    Raises:
        InvalidInputError: on an address that cannot be used.
        StorageError: where it does not answer.
    """
    url = checked_address(address)
    patience = Patience(shown(address), stop)
    if url.drivername == GRPC:
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            proxy = GrpcStorageProxy(host=str(url.host), port=url.port or PORT)
        patience.asked(proxy.get_all_studies)
        try:
            yield patient(proxy, patience)
        finally:
            proxy.close()
        return
    storage = patience.asked(lambda: _postgres(address, connections))
    try:
        yield patient(get_storage(storage), patience)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _postgres(address: str, connections: int) -> Database:
    """With all tables; where several make them at the same moment, one of them succeeds."""
    # a connection that broke is noticed by who uses it, and that is waited for like all else
    options = {"pool_size": connections, "connect_args": CONNECTING}
    for pause in TABLE_PAUSES:
        try:
            return Database(address, engine_kwargs=options)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            time.sleep(pause)
    return Database(address, engine_kwargs=options)


@contextmanager
def opened_file(path: Path, stop: Stop = never) -> Iterator[BaseStorage]:
    """SQLite in the run folder, for several processes to write to; closed on leaving.

    Raises:
        RunFolderError: where the file cannot be opened as a study.
    """
    try:
        # the path goes to SQLite as it is, whatever characters a URL would give a meaning
        storage = Database(
            f"sqlite:///{path.name}", engine_kwargs={"creator": partial(_connect, path)}
        )
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise RunFolderError(
            f"Expected an Optuna study in '{path}', but opening it failed: "
            f"{str(error).splitlines()[0]}."
        ) from error
    try:
        yield patient(get_storage(storage), Patience(f"'{path}'", stop))
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    """With a write-ahead log: readers never wait, and a killed process loses nothing committed."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def serve_proxy(
    address: str, host: str, port: int, ready: Callable[[], None] = lambda: None
) -> None:
    """Stand between a database and hundreds of workers, until stopped.

    Args:
        address: of the database.
        host, port: to listen on.
        ready: called once the database answers.

    Raises:
        InvalidInputError: on an address that is no database, or a port that is taken.
    """
    if checked_address(address).drivername == GRPC:
        raise InvalidInputError(
            "Expected a database for the proxy to stand in front of, such as "
            "postgresql+psycopg://user@host/database, got another proxy."
        )
    pool = ThreadPoolExecutor(max_workers=PROXY_THREADS)
    with quiet_optuna(), opened_address(address, connections=PROXY_THREADS) as storage, pool:
        ready()
        try:
            with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
                run_grpc_proxy_server(storage, host=host, port=port, thread_pool=pool)
        except RuntimeError as error:
            raise InvalidInputError(
                f"Expected a free port, but {host}:{port} cannot be used; choose another --port."
            ) from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs every trial otherwise; what matters is in the report."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
