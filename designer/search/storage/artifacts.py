"""Files that belong to trials, in Optuna's artifact store: a folder, or S3 by its address."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

import optuna
from optuna.artifacts import (
    Boto3ArtifactStore,
    FileSystemArtifactStore,
    download_artifact,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from designer.errors import InvalidInputError, RunFolderError, StorageError
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
        return FileSystemArtifactStore(Path(address))
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
        path.write_bytes(content)
        return upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=owner, mimetype=mimetype
        )


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
            if isinstance(self._store, FileSystemArtifactStore):
                Path(self._address).mkdir(parents=True, exist_ok=True)
            upload(self._store, trial, name, content)
        except OSError as error:
            raise StorageError(
                f"Cannot write to '{self._address}': {error.strerror or error}. Mend that and run "
                f"the same command again: it continues."
            ) from error

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
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            try:
                download_artifact(
                    artifact_store=self._store, file_path=str(path), artifact_id=artifact_id
                )
            except optuna.artifacts.exceptions.ArtifactNotFound as error:
                raise RunFolderError(
                    f"'{name}' is gone from '{self._address}'; choose another --out to start anew."
                ) from error
            return path.read_bytes()
