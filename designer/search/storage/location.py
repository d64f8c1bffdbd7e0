"""The address of a storage."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from filelock import FileLock
from sqlalchemy.engine import URL

from designer.errors import InvalidInputError
from designer.folders import ARTIFACTS_FOLDER, CLAIM_LOCK, STORAGE_FILE
from designer.search.progress import Phase

POSTGRES, GRPC = "postgresql+psycopg", "grpc"


EXTRAS = {POSTGRES: ("psycopg", "postgres"), GRPC: ("grpc", "grpc")}
"""Schemes of addresses, the module that each needs, and the extra that brings it."""


EXAMPLES = "postgresql+psycopg://user@host/database or grpc://host:13000"


@dataclass(frozen=True)
class StudyLocation:
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
