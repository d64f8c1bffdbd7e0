"""What a study says of itself, so that workers on other machines can take part."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from optuna.study import Study

from designer.choices import Augmentation, Objective
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import DataError, InvalidInputError, RunFolderError, SpaceError, StorageError
from designer.models.spaces import find_space
from designer.results.provenance import VERSION
from designer.search.job import Job, check_same_study, definition
from designer.search.settings import Effort, StudySettings
from designer.search.storage.location import StudyLocation
from designer.search.study.trials import WANTED

IDENTITY, PLAN, STAGE = "identity", "plan", "stage"
"""Attributes of a study: its settings; how workers take part; the phase it is in."""


DONE = "done"
"""The stage of a study that nothing is left to do in."""


MARK_FILE = "designer-study"
"""Lies in the folder of artifacts, and says whose they are."""


def write_plan(job: Job, study: Study) -> None:
    """Write down what workers need, or check that it is what was written before.

    Raises:
        RunFolderError: where the study is another one.
        StorageError: where the folder of artifacts cannot be written to.
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
    study.set_user_attr(WANTED, job.effort.trials)
    if job.location.shared:
        study.set_user_attr(PLAN, _plan(job, study.user_attrs.get(PLAN, {})))


def _plan(job: Job, before: Mapping[str, Any]) -> dict[str, Any]:
    mark = before.get("mark") or uuid.uuid4().hex
    _mark(job.location.artifacts, mark)
    return {
        "version": VERSION,
        "data": job.data.recipe,
        "artifacts": job.location.artifacts,
        "heartbeat": job.effort.heartbeat,
        "mark": mark,
    }


def joined(study: Study, location: StudyLocation, data: str | None, effort: Effort) -> Job:
    """The job of a worker that joins a study.

    Args:
        study: that a leader has made.
        location: where it is.
        data: where the data lie on this machine, if elsewhere than on the leader's.
        effort: what this worker brings; the rest is the study's.

    Raises:
        InvalidInputError: where this worker's version, data, space or files are not the study's.
    """
    plan, identity = study.user_attrs[PLAN], study.user_attrs[IDENTITY]
    if plan["version"] != VERSION:
        raise InvalidInputError(
            f"Expected a worker of version {plan['version']}, which {location.title} was made with, "
            f"but this is version {VERSION}; install the same one."
        )
    return Job(
        space=_space(identity, location),
        space_source=identity["space"],
        data=_data(plan["data"], identity, data, location),
        settings=_settings(identity),
        effort=Effort(
            trials=study.user_attrs[WANTED],
            workers=effort.workers,
            devices=effort.devices,
            heartbeat=plan["heartbeat"],
        ),
        location=StudyLocation(
            location.folder, location.storage, location.study, _files(plan, location)
        ),
    )


def _space(identity: Mapping[str, Any], location: StudyLocation) -> Any:
    try:
        space = find_space(identity["space"])
    except SpaceError as error:
        raise SpaceError(f"{error} It is the space of {location.title}.") from error
    if definition(space) != identity["space_definition"]:
        raise SpaceError(
            f"Expected the space '{identity['space']}' to be as in {location.title}, but here it is "
            f"another one; install the same version of it."
        )
    return space


def _data(
    recipe: Mapping[str, Any],
    identity: Mapping[str, Any],
    source: str | None,
    location: StudyLocation,
) -> Dataset:
    given = {**recipe, "source": source} if source is not None else dict(recipe)
    if not given.get("source"):
        raise DataError(
            f"Expected --data, for {location.title} does not say where its data "
            f"'{identity['data']}' come from."
        )
    try:
        found = load_dataset(**given)
    except DataError as error:
        raise DataError(
            f"{error} These are the data of {location.title}; say with --data where they are here."
        ) from error
    if found.fingerprint != identity["data_fingerprint"]:
        raise DataError(
            f"Expected the data of {location.title}, with fingerprint "
            f"{identity['data_fingerprint'][:12]}, but '{given['source']}' has "
            f"{found.fingerprint[:12]}; use the same data."
        )
    return found


def _settings(identity: Mapping[str, Any]) -> StudySettings:
    given = {field.name: identity[field.name] for field in fields(StudySettings)}
    given["objective"] = Objective(given["objective"])
    given["augment"] = Augmentation(given["augment"])
    return StudySettings(**given)


def _mark(artifacts: str, mark: str) -> None:
    if "://" in artifacts:
        return
    try:
        Path(artifacts).mkdir(parents=True, exist_ok=True)
        (Path(artifacts) / MARK_FILE).write_text(mark, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"Expected a folder that can be written at '{artifacts}', but "
            f"{error.strerror or error}; choose another --artifacts."
        ) from error


def _files(plan: Mapping[str, Any], location: StudyLocation) -> str:
    artifacts = str(plan["artifacts"])
    if "://" in artifacts:
        return artifacts
    try:
        same = (Path(artifacts) / MARK_FILE).read_text(encoding="utf-8") == plan["mark"]
    except OSError:
        same = False
    if not same:
        raise InvalidInputError(
            f"Expected the folder '{artifacts}' of {location.title} on this machine, too, but it is "
            f"not here; search with --artifacts in a folder that all machines share, or "
            f"--artifacts s3://BUCKET."
        )
    return artifacts
