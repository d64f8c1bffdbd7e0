"""The handshake: what a leader writes into a study so that workers elsewhere can take part."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.study import Study

from designer.data.dataset import Dataset
from designer.data.loading import load_with_options
from designer.data.options import DataOptions
from designer.data.sources import is_callable
from designer.errors import (
    DataError,
    InvalidInputError,
    RunFolderError,
    SpaceError,
    StorageError,
    first_line,
)
from designer.folders import write_text
from designer.importing import Trust
from designer.models.spaces import definition, find_space, is_foreign
from designer.results.provenance import VERSION
from designer.search.job import (
    SPACE_CODE,
    Job,
    check_same_study,
    code_of,
    same_code,
)
from designer.search.options import SearchOptions
from designer.search.storage.location import StudyLocation
from designer.search.study.keys import HANDSHAKE, IDENTITY, WANTED

DONE = "done"
"""Stage of a study in which nothing is left to do."""

MARK_FILE = "designer-study"
"""File in the folder of artifacts that says whose they are."""


def write_handshake(job: Job, study: Study) -> None:
    """Write down what workers need, or check that it is what was written before.

    Args:
        job: what the leader is asked for.
        study: the study of its search.

    Raises:
        RunFolderError: if the study belongs to another search.
        StorageError: if the folder of artifacts cannot be written to.
    """
    stored = study.user_attrs.get(IDENTITY)
    if stored is None and study.get_trials(deepcopy=False):
        raise RunFolderError(
            f"Expected {job.location.title} to be a study of designer, but it says nothing of data "
            f"or space; choose another {job.location.option}."
        )
    if stored is None:
        study.set_user_attr(IDENTITY, job.identity())
    else:
        check_same_study(stored, job.identity(), job.location)
    study.set_user_attr(WANTED, job.options.trials)
    if job.location.shared:
        study.set_user_attr(HANDSHAKE, _handshake(job, study.user_attrs.get(HANDSHAKE, {})))


def _handshake(job: Job, before: Mapping[str, Any]) -> dict[str, Any]:
    """Mark the folder of artifacts, and return what workers need."""
    mark = before.get("mark") or uuid.uuid4().hex
    _write_mark(job.location.artifacts, mark)
    return {
        "version": VERSION,
        "data": job.data.recipe,
        "artifacts": job.location.artifacts,
        "heartbeat": job.options.heartbeat,
        "mark": mark,
    }


log = logging.getLogger("designer")


def job_from_handshake(
    study: Study, location: StudyLocation, data: str | None, options: SearchOptions, trust: Trust
) -> Job:
    """Return the job of a worker that joins a study.

    Args:
        study: with the handshake of a leader.
        location: where it is.
        data: where the data are on this machine, if elsewhere than on the leader's.
        options: processes and devices that this worker brings; all others are the study's.
        trust: which names may be imported that the study says.

    Raises:
        InvalidInputError: if version, data, space or files here are not those of the study.
        TrustError: if the study names what may not be imported; nothing was imported.
    """
    handshake, identity = study.user_attrs[HANDSHAKE], study.user_attrs[IDENTITY]
    if handshake["version"] != VERSION:
        raise InvalidInputError(
            f"Expected a worker of version {handshake['version']}, which {location.title} was made "
            f"with, but this is version {VERSION}; install the same one."
        )
    recipe = {**handshake["data"], "source": data or handshake["data"].get("source")}
    trust = trust.for_names_in(f"The {location.title}").with_names(*([data] if data else []))
    _announce_imports(identity["space"], recipe["source"], trust, location)
    own = replace(options, trials=study.user_attrs[WANTED], heartbeat=handshake["heartbeat"])
    return Job(
        space=_load_space(identity, trust, location),
        space_source=identity["space"],
        data=_load_data(recipe, identity, trust, location),
        options=own.with_identity(identity),
        location=replace(location, files=find_artifacts(handshake, location)),
    )


def _announce_imports(
    space: str, source: str | None, trust: Trust, location: StudyLocation
) -> None:
    """Say what is about to be imported, once all of it is allowed."""
    names = [space] if is_foreign(space) else []
    names += [source] if source and is_callable(source) else []
    trust.check(names)
    if names:
        log.warning("Importing %s for %s.", " and ".join(names), location.title)


def _load_space(identity: Mapping[str, Any], trust: Trust, location: StudyLocation) -> Any:
    """Return the space of a study, or raise an error if it is another one here."""
    try:
        space = find_space(identity["space"], trust)
    except SpaceError as error:
        raise SpaceError(f"{error} It is the space of {location.title}.") from error
    same = same_code(identity.get(SPACE_CODE), code_of(space))
    if definition(space) != identity["space_definition"] or not same:
        raise SpaceError(
            f"Expected the space '{identity['space']}' to be as in {location.title}, but here it "
            f"is another one; install the same version of it."
        )
    return space


def _load_data(
    recipe: Mapping[str, Any],
    identity: Mapping[str, Any],
    trust: Trust,
    location: StudyLocation,
) -> Dataset:
    """Return the data of a study, or raise an error if they are others here."""
    options = dict(recipe)
    source = options.pop("source")
    if not source:
        raise DataError(
            f"Expected --data, for {location.title} does not say where its data "
            f"'{identity['data']}' come from."
        )
    try:
        data = load_with_options(source, DataOptions(**options), trust)
    except DataError as error:
        raise DataError(
            f"{error} These are the data of {location.title}; say with --data where they are here."
        ) from error
    if data.fingerprint != identity["data_fingerprint"]:
        raise DataError(
            f"Expected the data of {location.title}, with fingerprint "
            f"{identity['data_fingerprint'][:12]}, but '{source}' has "
            f"{data.fingerprint[:12]}; use the same data."
        )
    return data


def _write_mark(artifacts: str, mark: str) -> None:
    """Leave a mark in a folder of artifacts, by which workers know that they see the same one."""
    if "://" in artifacts:
        return
    try:
        write_text(Path(artifacts) / MARK_FILE, mark)
    except RunFolderError as error:
        raise StorageError(
            f"Cannot write to the artifacts in '{artifacts}': "
            f"{first_line(error.__cause__ or error)}; choose another --artifacts."
        ) from error


def find_artifacts(handshake: Mapping[str, Any], location: StudyLocation) -> str:
    """Return where the artifacts of a study are.

    Args:
        handshake: what the leader wrote into the study.
        location: where the study is.

    Raises:
        InvalidInputError: if this machine does not see the folder.
    """
    artifacts = str(handshake["artifacts"])
    if "://" in artifacts:
        return artifacts
    try:
        mark = (Path(artifacts) / MARK_FILE).read_text(encoding="utf-8")
    except OSError:
        mark = None
    if mark != handshake["mark"]:
        raise InvalidInputError(
            f"Expected the folder '{artifacts}' of {location.title} on this machine, too, but it "
            f"is not here; search with --artifacts in a folder that all machines share, or "
            f"--artifacts s3://BUCKET."
        )
    return artifacts
