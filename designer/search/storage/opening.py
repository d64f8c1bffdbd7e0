"""Open the storage of a study: SQLite in the run folder, PostgreSQL, or a gRPC proxy before it."""

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
from optuna.storages import GrpcStorageProxy, RDBStorage, run_grpc_proxy_server

from designer.errors import InvalidInputError, RunFolderError, first_line
from designer.folders import STORAGE_FILE, not_writable
from designer.interrupts import Stop, never
from designer.redaction import redact_address
from designer.search.storage.caching import CachingStorage
from designer.search.storage.database import DatabaseStorage
from designer.search.storage.location import GRPC, StudyLocation, parse_address
from designer.search.storage.retrying import RetryingStorage, RetryPolicy, check_space
from designer.search.storage.watching import WatchedFile, WatchedStorage

DEFAULT_PROXY_PORT = 13000
"""Port of a proxy whose address names none."""

PROXY_THREADS = 16
"""Threads of a proxy, each with a connection to the database."""

WORKER_CONNECTIONS = 2
"""Connections of a worker: its trials and its heartbeat."""

TABLE_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts to make tables that other processes are making at the same moment."""

BUSY_SECONDS = 60.0
"""How long a worker waits for SQLite while other processes write."""

CONNECTION_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Options of libpq that notice a machine which vanished; seconds, the last in milliseconds."""


def open_storage(
    location: StudyLocation, stop: Stop = never, *, create: bool = True
) -> AbstractContextManager[CachingStorage]:
    """Open the storage of a study, and close it on leaving.

    Args:
        location: where the study is kept.
        stop: while the storage is unreachable, calls wait for it until this is true.
        create: True to make its file where it does not exist.

    Raises:
        InvalidInputError: if its address cannot be used.
        StorageError: if it does not answer.
        RunFolderError: if its file cannot be opened as a study.
    """
    if location.storage is not None:
        return open_address(location.storage, stop)
    return open_file(location.folder / STORAGE_FILE, stop, create=create)


@contextmanager
def open_address(
    address: str, stop: Stop = never, *, connections: int = WORKER_CONNECTIONS
) -> Iterator[CachingStorage]:
    """Open a storage that several machines share, and close it on leaving.

    Args:
        address: of a database, or of a proxy in front of one.
        stop: while the storage is unreachable, calls wait for it until this is true.
        connections: to keep open to a database, one per thread.

    Raises:
        InvalidInputError: if the address cannot be used.
        StorageError: if it does not answer.
    """
    url = parse_address(address)
    policy = RetryPolicy(redact_address(address), stop)
    if url.drivername == GRPC:
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            proxy = GrpcStorageProxy(host=str(url.host), port=url.port or DEFAULT_PROXY_PORT)
        policy.call(proxy.get_all_studies)
        try:
            yield CachingStorage(RetryingStorage(proxy, policy))
        finally:
            proxy.close()
        return
    database = policy.call(_open_postgres, address, connections)
    try:
        yield CachingStorage(RetryingStorage(database, policy))
    finally:
        database.close()


def _open_postgres(address: str, connections: int) -> DatabaseStorage:
    """Open a database, and make its tables unless another process has just done so."""
    # SQLAlchemy need not test connections before use: one that broke is retried like all others.
    options = {"pool_size": connections, "connect_args": CONNECTION_OPTIONS}
    for pause in TABLE_PAUSES:
        try:
            return DatabaseStorage(RDBStorage(address, engine_kwargs=options))
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            time.sleep(pause)
    return DatabaseStorage(RDBStorage(address, engine_kwargs=options))


@contextmanager
def open_file(path: Path, stop: Stop = never, *, create: bool = True) -> Iterator[CachingStorage]:
    """Open a SQLite file that several processes may write to, and close it on leaving.

    Args:
        path: the file.
        stop: while the file is locked, calls wait for it until this is true.
        create: True to make the file where it does not exist.

    Raises:
        RunFolderError: if the file cannot be opened as a study.
        StorageError: if it is moved, removed or damaged before the context is left.
    """
    try:
        if create:
            path.touch()
        file = WatchedFile(path)
    except OSError as error:
        raise not_writable(path.parent, error) from error
    try:
        # SQLite gets the path itself: in a URL, some characters would have another meaning.
        options = {"creator": partial(_connect, path)}
        database = DatabaseStorage(RDBStorage(f"sqlite:///{path.name}", engine_kwargs=options))
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        check_space(f"'{path}'", error)
        raise RunFolderError(
            f"Expected an Optuna study in '{path}', but opening it failed: {first_line(error)}."
        ) from error
    try:
        watched = WatchedStorage(database, file)
        yield CachingStorage(RetryingStorage(watched, RetryPolicy(f"'{path}'", stop)))
        file.check()
        file.check_content()
    finally:
        database.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Connect with a write-ahead log: readers never wait, and kills lose nothing committed."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # it exists, or was removed and must not come back
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def serve_proxy(
    address: str, host: str, port: int, ready: Callable[[], None] = lambda: None
) -> None:
    """Stand between a database and hundreds of workers until the process is stopped.

    Args:
        address: of the database.
        host: name or number to listen on.
        port: to listen on.
        ready: called once the database answers.

    Raises:
        InvalidInputError: if the address is no database, or the port is taken.
        StorageError: if the database does not answer.
    """
    if parse_address(address).drivername == GRPC:
        raise InvalidInputError(
            "Expected a database for the proxy to stand in front of, such as "
            "postgresql+psycopg://user@host/database, got another proxy."
        )
    pool = ThreadPoolExecutor(max_workers=PROXY_THREADS)
    with quiet_optuna(), open_address(address, connections=PROXY_THREADS) as storage, pool:
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
    """Keep Optuna from logging every trial: what matters is in the report."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
