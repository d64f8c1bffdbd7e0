"""Where a study is kept: SQLite in the run folder, PostgreSQL, or a gRPC proxy in front of it."""

from __future__ import annotations

import importlib.util
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    get_storage,
    run_grpc_proxy_server,
)
from sqlalchemy.engine import URL

from designer.errors import InvalidInputError, RunFolderError
from designer.search.database import Database
from designer.search.patience import Patience, patient
from designer.search.phases import Phase, Stop, never

STORAGE_FILE = "study.db"
ARTIFACTS_FOLDER = "artifacts"

CLAIM_LOCK = ".claim"
"""Held while a worker takes a trial: SQLite gives the same waiting trial to two at once."""

POSTGRES, GRPC = "postgresql+psycopg", "grpc"
EXTRAS = {POSTGRES: ("psycopg", "postgres"), GRPC: ("grpc", "grpc")}
"""Schemes of addresses, the module that each needs, and the extra that brings it."""

EXAMPLES = "postgresql+psycopg://user@host/database or grpc://host:13000"

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


@dataclass(frozen=True)
class Place:
    """Where everything that belongs to a study is."""

    folder: Path
    """The run folder: report, recommended models, and without ``storage`` all the rest."""
    storage: str | None = None
    """Address of a storage that several machines share."""
    study: str | None = None
    """Its name there."""
    files: str | None = None
    """Folder or ``s3://`` address of profiles and weights; by default in the run folder."""

    @property
    def shared(self) -> bool:
        """Whether workers that this process did not start may take part."""
        return self.storage is not None

    @property
    def shown(self) -> str:
        """Where the study is, without any password."""
        return shown(self.storage) if self.storage else f"'{self.folder / STORAGE_FILE}'"

    @property
    def title(self) -> str:
        """What is said to hold the study."""
        return f"study '{self.study}' in {self.shown}" if self.shared else f"'{self.folder}'"

    @property
    def option(self) -> str:
        """What chooses another one."""
        return "--study" if self.shared else "--out"

    @property
    def artifacts(self) -> str:
        """Where profiles and weights are."""
        return self.files or str((self.folder / ARTIFACTS_FOLDER).absolute())

    def name_of(self, phase: Phase) -> str:
        """Name of the study of a phase."""
        if self.study is None:
            return phase
        return self.study if phase is Phase.SEARCH else f"{self.study}/{phase}"

    def opened(self, stop: Stop = never) -> AbstractContextManager[BaseStorage]:
        """Its storage, waited for until ``stop``; closed on leaving."""
        if self.storage is not None:
            return opened_address(self.storage, stop)
        return opened_file(self.folder / STORAGE_FILE, stop)

    def claim_lock(self) -> AbstractContextManager[object]:
        """Held while a worker takes a trial, where the storage does not see to that."""
        return nullcontext() if self.shared else FileLock(self.folder / CLAIM_LOCK)


def shown(address: str) -> str:
    """An address without password and options."""
    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "the storage"
    return url.set(password=None, query={}).render_as_string()


def checked_address(address: str) -> URL:
    """The parts of an address.

    Raises:
        InvalidInputError: where it is none, or what it needs is not installed; the message does
            not repeat what may be a password.
    """
    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise InvalidInputError(
            f"Expected a storage such as {EXAMPLES}, got something that is no address."
        ) from error
    if url.drivername not in EXTRAS:
        hint = (
            "; a study for one machine needs no --storage, it is kept in the run folder"
            if url.drivername.startswith("sqlite")
            else ""
        )
        raise InvalidInputError(
            f"Expected a storage such as {EXAMPLES}, got one that begins with "
            f"'{url.drivername}://'{hint}."
        )
    module, extra = EXTRAS[url.drivername]
    if importlib.util.find_spec(module) is None:
        raise InvalidInputError(
            f"Expected the package {module} for {url.drivername}:// storages, but it is not "
            f"installed; run: pip install 'equisep-designer[{extra}]'."
        )
    if url.drivername == GRPC and not url.host:
        raise InvalidInputError(f"Expected grpc://HOST:PORT, got '{shown(address)}'.")
    return url


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
