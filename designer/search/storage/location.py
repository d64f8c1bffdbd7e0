"""The location of a study, and the addresses of storages that machines share."""

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
from designer.redaction import keep_secret, redact_address
from designer.search.progress import Phase

POSTGRES, GRPC = "postgresql+psycopg", "grpc"
"""Schemes of the addresses that a study may have."""

EXTRAS = {POSTGRES: ("psycopg", "postgres"), GRPC: ("grpc", "grpc")}
"""The module that each scheme needs, and the extra of this package that brings it."""

EXAMPLES = "postgresql+psycopg://user@host/database or grpc://host:13000"


@dataclass(frozen=True)
class StudyLocation:
    """The places of everything that belongs to a study."""

    folder: Path
    """The run folder: report, recommended models, and without ``storage`` all the rest."""
    storage: str | None = None
    """Address of a storage that several machines share; None for SQLite in the run folder."""
    study: str | None = None
    """Name of the study in ``storage``."""
    files: str | None = None
    """Folder or ``s3://`` address of profiles and weights; None for the run folder."""

    @property
    def shared(self) -> bool:
        """True if workers that this process did not start may take part."""
        return self.storage is not None

    @property
    def shown(self) -> str:
        """The storage as messages name it, without any password."""
        return redact_address(self.storage) if self.storage else f"'{self.folder / STORAGE_FILE}'"

    @property
    def title(self) -> str:
        """The study and where it is, as messages name it."""
        return f"study '{self.study}' in {self.shown}" if self.shared else f"'{self.folder}'"

    @property
    def option(self) -> str:
        """The option of the command line that chooses another study."""
        return "--study" if self.shared else "--out"

    @property
    def artifacts(self) -> str:
        """Folder or ``s3://`` address of profiles and weights."""
        return self.files or str((self.folder / ARTIFACTS_FOLDER).absolute())

    def name_of(self, phase: Phase) -> str:
        """Return the name that the study of a phase has in the storage."""
        if self.study is None:
            return phase
        return self.study if phase is Phase.SEARCH else f"{self.study}/{phase}"

    def claim_lock(self) -> AbstractContextManager[object]:
        """Return a lock to hold while a waiting trial is taken.

        SQLite would give the same trial to two workers; shared databases lock the row themselves.
        """
        return nullcontext() if self.shared else FileLock(self.folder / CLAIM_LOCK)


def parse_address(address: str) -> URL:
    """Return the parts of the address of a shared storage.

    Raises:
        InvalidInputError: if it cannot be used, or a package for it is not installed; the message
            does not repeat what may be a password.
    """
    keep_secret(address)
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
    if "@" in (url.host or ""):  # libraries would take a part of the password for the host
        raise InvalidInputError(
            "Expected one @ in the address of a storage, got several; write %40 for each @ in its "
            "user and password."
        )
    if url.drivername == GRPC and not url.host:
        raise InvalidInputError(f"Expected grpc://HOST:PORT, got '{redact_address(address)}'.")
    return url
