"""What a search was asked for, and whether it is the same as a stored study's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from designer.choices import Augmentation, Scaling
from designer.data.dataset import Dataset
from designer.errors import RunFolderError
from designer.search.settings import Effort, StudySettings
from designer.search.storage.location import StudyLocation
from search_spaces import Space

ADDED_LATER = {"augment": str(Augmentation.NONE), "data_scaling": str(Scaling.STANDARD)}
"""Settings that older studies did not store, and what they ran with."""


OUTSIDE_IDENTITY = {"source", "seed"}
"""Options of data that do not tell studies apart: where they lie, and the seed of the split, which
the fingerprint covers."""


@dataclass(frozen=True, eq=False)
class Job:
    """All that a worker needs."""

    space: Space[Any]
    space_source: str
    """What ``--space`` said, so that a stored model finds its space again."""
    data: Dataset
    settings: StudySettings
    effort: Effort
    location: StudyLocation

    def identity(self) -> dict[str, Any]:
        """Settings, space and data as stored with the study, as JSON values."""
        return {
            **asdict(self.settings),
            "objective": str(self.settings.objective),
            "augment": str(self.settings.augment),
            "space": self.space_source,
            "space_definition": definition(self.space),
            "data": self.data.name,
            **{f"data_{k}": v for k, v in self.data.options.items() if k not in OUTSIDE_IDENTITY},
            "data_fingerprint": self.data.fingerprint,
        }


def definition(space: Space[Any]) -> str:
    """Its repr where it has one of its own; the default one changes with every process."""
    kind = type(space)
    if kind.__repr__ is object.__repr__:
        return f"{kind.__module__}:{kind.__qualname__}"
    return repr(space)


def check_same_study(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], location: StudyLocation
) -> None:
    """Raise ``RunFolderError`` that names the first difference between two identities."""
    stored = {**ADDED_LATER, **stored}
    for name in ("data", "space", *wanted):
        if stored.get(name) != wanted[name]:
            raise RunFolderError(
                f"Expected {location.title} to hold this study, but its {name.replace('_', ' ')} is "
                f"{_shown(stored.get(name))}, not {_shown(wanted[name])}; "
                f"choose another {location.option} or repeat the command that made it."
            )


def _shown(value: Any) -> str:
    text = str(value)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
