"""Files that belong to trials, in Optuna's artifact store: a folder, or S3 by its address."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import optuna
from optuna.artifacts import (
    Boto3ArtifactStore,
    FileSystemArtifactStore,
    download_artifact,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.artifacts._protocol import ArtifactStore
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from designer.errors import InvalidInputError, RunFolderError, StorageError


def store_at(address: str) -> ArtifactStore:
    """A folder, or what lies at ``s3://BUCKET[/PREFIX]``.

    Raises:
        InvalidInputError: on another scheme, or where what it needs is not installed.
    """
    url = urlsplit(address)
    if "://" not in address:
        return FileSystemArtifactStore(Path(address))
    if url.scheme != "s3" or not url.netloc:
        raise InvalidInputError(
            f"Expected a folder or s3://BUCKET[/PREFIX] for artifacts, got '{address}'."
        )
    if importlib.util.find_spec("boto3") is None:
        raise InvalidInputError(
            "Expected the package boto3 for s3:// artifacts, but it is not installed; run: pip "
            "install 'equisep-designer[s3]'."
        )
    bucket = Boto3ArtifactStore(url.netloc)
    prefix = url.path.strip("/")
    return Prefixed(bucket, f"{prefix}/") if prefix else bucket


def uploaded(
    store: ArtifactStore,
    owner: Study | Trial,
    name: str,
    content: bytes,
    mimetype: str | None = None,
) -> str:
    """Put a file into a store; its name there."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        path.write_bytes(content)
        return upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=owner, mimetype=mimetype
        )


class Prefixed:
    """A part of a store: an ``ArtifactStore`` whose names begin alike."""

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
    """Profiles and weights of trials."""

    def __init__(self, address: str, storage: BaseStorage) -> None:
        self._address, self._storage = address, storage
        self._store = store_at(address)

    def _prepare(self) -> None:
        """Make the folder, where it is one."""
        if isinstance(self._store, FileSystemArtifactStore):
            try:
                Path(self._address).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _not_written(self._address, error) from error

    def keep(self, trial: Trial, name: str, content: bytes) -> None:
        """Store ``content`` under ``name`` with the trial.

        Raises:
            StorageError: where it cannot be written.
        """
        self._prepare()
        try:
            uploaded(self._store, trial, name, content)
        except OSError as error:
            raise _not_written(self._address, error) from error

    def read(self, trial: FrozenTrial, name: str) -> bytes:
        """The content stored under ``name`` with the trial.

        Raises:
            RunFolderError: where it is missing.
        """
        for meta in get_all_artifact_meta(trial, storage=self._storage):
            if meta.filename == name:
                return self._download(meta.artifact_id, name)
        raise RunFolderError(f"Expected '{name}' of trial {trial.number} in '{self._address}'.")

    def _download(self, artifact_id: str, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            try:
                download_artifact(
                    artifact_store=self._store, file_path=str(path), artifact_id=artifact_id
                )
            except optuna.artifacts.exceptions.ArtifactNotFound as error:
                raise RunFolderError(
                    f"Expected '{name}' in '{self._address}', but it is gone; "
                    f"choose another --out to start anew."
                ) from error
            return path.read_bytes()


def _not_written(address: str, error: OSError) -> StorageError:
    return StorageError(
        f"Expected to write to '{address}', but {error.strerror or error}; mend that and run the "
        f"same command again, it continues."
    )
