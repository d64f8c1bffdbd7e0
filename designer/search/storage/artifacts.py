"""Files that belong to trials, in Optuna's artifact store: a folder, or S3 by its address."""

from __future__ import annotations

import errno
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

from optuna.artifacts import (
    Boto3ArtifactStore,
    FileSystemArtifactStore,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from designer.errors import InvalidInputError, RunFolderError, StorageError
from designer.folders import check_writable, make_writable, write_bytes, writing_to
from designer.redaction import has_password, keep_secret, redact_address


class ArtifactStore(Protocol):
    """What Optuna expects of a store of artifacts."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact to be read; raise ``ArtifactNotFound`` if there is none."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact."""
        ...

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact."""
        ...


def open_store(address: str) -> ArtifactStore:
    """Return the store in a folder or at ``s3://BUCKET[/PREFIX]``.

    Raises:
        InvalidInputError: on another scheme, or if the package that it needs is not installed.
    """
    if "://" not in address:
        return FolderStore(Path(address))
    keep_secret(address)
    scheme, _, rest = address.partition("://")
    bucket_name, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket_name:
        raise InvalidInputError(
            f"Expected a folder or s3://BUCKET[/PREFIX] for artifacts, got "
            f"'{redact_address(address)}'."
        )
    if has_password(address) or "@" in bucket_name:
        raise InvalidInputError(
            f"Expected s3://BUCKET[/PREFIX] without a password for artifacts, got "
            f"'{redact_address(address)}'; boto3 reads keys from the environment or ~/.aws."
        )
    if importlib.util.find_spec("boto3") is None:
        raise InvalidInputError(
            "Expected the package boto3 for s3:// artifacts, but it is not installed; run: pip "
            "install 'equisep-designer[s3]'."
        )
    bucket = Boto3ArtifactStore(bucket_name)
    prefix = prefix.strip("/")
    return PrefixedStore(bucket, f"{prefix}/") if prefix else bucket


def check_store(address: str) -> None:
    """Check that artifacts can be kept at an address, without writing anything.

    Raises:
        InvalidInputError: as ``open_store``, or if a folder cannot be written to.
    """
    store = open_store(address)
    if isinstance(store, FolderStore):
        check_writable(store.folder, "--artifacts")


def make_store(address: str) -> None:
    """Make the folder of artifacts, if they are kept in one.

    Raises:
        RunFolderError, StorageError: if it cannot be written to.
    """
    store = open_store(address)
    if isinstance(store, FolderStore):
        make_writable(store.folder, "--artifacts")


def upload(
    store: ArtifactStore,
    owner: Study | Trial,
    name: str,
    content: bytes,
    mimetype: str | None = None,
) -> str:
    """Put a file into a store, and note it with its owner.

    Args:
        store: where to put it.
        owner: the study or trial that it belongs to.
        name: its file name.
        content: its bytes.
        mimetype: its type; None to guess it from the name.

    Returns:
        The id of the artifact.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        with writing_to(path.parent):
            path.write_bytes(content)
        return upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=owner, mimetype=mimetype
        )


class FolderStore(FileSystemArtifactStore):
    """Keep artifacts in a folder, each written as a whole.

    Args:
        folder: the folder, which must exist before anything is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """See ``ArtifactStore``."""
        if not self.folder.is_dir():  # it was there before: do not hide that it was removed
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        write_bytes(self.folder / artifact_id, content_body.read())


class PrefixedStore:
    """Put a prefix before every id, so that several studies can share one store.

    Args:
        store: the store that is shared.
        prefix: how the ids of this part begin.
    """

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """See ``ArtifactStore``."""
        return self._store.open_reader(self._prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """See ``ArtifactStore``."""
        self._store.write(self._prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """See ``ArtifactStore``."""
        self._store.remove(self._prefix + artifact_id)


class Artifacts:
    """Profiles and weights of trials.

    Args:
        address: folder or ``s3://BUCKET[/PREFIX]``.
        storage: where the trials are stored.

    Raises:
        InvalidInputError: as ``open_store``.
    """

    def __init__(self, address: str, storage: BaseStorage) -> None:
        self._address, self._storage = address, storage
        self._store = open_store(address)

    def keep(self, trial: Trial, name: str, content: bytes) -> None:
        """Store ``content`` under ``name`` with the trial.

        Raises:
            StorageError: if it cannot be written.
        """
        try:
            upload(self._store, trial, name, content)
        except StorageError:
            raise
        except OSError as error:
            # a storage that was moved or removed together with the artifacts says so itself
            self._storage.get_all_studies()
            raise StorageError(
                f"Cannot write to '{self._address}': {error.strerror or error}. Mend that and run "
                f"the same command again: it continues."
            ) from error
        except RunFolderError as error:
            raise StorageError(str(error)) from error

    def read(self, trial: FrozenTrial, name: str) -> bytes:
        """Return the content stored under ``name`` with the trial.

        Raises:
            RunFolderError: if it is missing.
        """
        for meta in get_all_artifact_meta(trial, storage=self._storage):
            if meta.filename == name:
                return self._download(meta.artifact_id, name)
        raise RunFolderError(
            f"'{self._address}' holds no '{name}' of trial {trial.number}; choose another --out to "
            f"start anew."
        )

    def _download(self, artifact_id: str, name: str) -> bytes:
        try:
            with self._store.open_reader(artifact_id) as content:
                return content.read()
        except ArtifactNotFound as error:
            raise RunFolderError(
                f"'{name}' is gone from '{self._address}'; choose another --out to start anew."
            ) from error
