"""Records to and from JSON, and the published schema of ``report.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from designer.errors import RunFolderError
from designer.folders import REPORT_FILE
from designer.results.analysis import ANALYSIS_SCHEMA, AnalysisResult
from designer.results.comparison import COMPARISON_SCHEMA, ComparisonReport
from designer.results.measured import SeparationProfile
from designer.results.pruning import PRUNING_SCHEMA, PruningReport
from designer.results.search import REPORT_SCHEMA, SearchResult

Report = SearchResult | AnalysisResult | PruningReport | ComparisonReport
"""Whatever a command reports."""


_PROFILE = TypeAdapter(SeparationProfile)


_RESULT = TypeAdapter(SearchResult)


_ANALYSIS = TypeAdapter(AnalysisResult)


_PRUNING = TypeAdapter(PruningReport)


_COMPARISON = TypeAdapter(ComparisonReport)


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    REPORT_SCHEMA: _RESULT,
    ANALYSIS_SCHEMA: _ANALYSIS,
    PRUNING_SCHEMA: _PRUNING,
    COMPARISON_SCHEMA: _COMPARISON,
}


def profile_to_json(profile: SeparationProfile) -> bytes:
    """A profile for ``profile_from_json``, in JSON that keeps nan and infinity as such."""
    return json.dumps(_PROFILE.dump_python(profile)).encode()


def profile_from_json(content: bytes) -> SeparationProfile:
    """The profile that ``profile_to_json`` wrote."""
    return _PROFILE.validate_python(json.loads(content))


def report_to_json(report: Report) -> str:
    """The text of ``report.json``: strict JSON, indented, with null for what does not exist."""
    return _strict_json(_ADAPTERS[report.schema].dump_python(report, mode="json"))


def read_result(folder: Path) -> SearchResult:
    """The result that a run wrote into its folder.

    Raises:
        RunFolderError: where there is none, or it is of another schema or damaged.
    """
    found = _read(folder, (REPORT_SCHEMA,))
    assert isinstance(found, SearchResult)  # noqa: S101 - that is what the schema says
    return found


def read_report(source: Path) -> Report:
    """The report of a search, an analysis, a pruning or a comparison.

    Args:
        source: the folder that it was written into, or the file itself.

    Raises:
        RunFolderError: where there is none, or it is of another schema or damaged.
    """
    return _read(source, tuple(_ADAPTERS))


def check_free(folder: Path, schema: str) -> None:
    """See that a report of a kind may be written to a folder: there is none of another kind.

    Raises:
        RunFolderError: where there is one.
    """
    path = folder / REPORT_FILE
    if path.exists() and _schema_of(_json(path)) != schema:
        raise RunFolderError(
            f"Expected a folder that is free or holds a report of the same kind, but '{path}' is "
            f"something else; choose another --out."
        )


def _read(source: Path, schemas: tuple[str, ...]) -> Report:
    path = source if source.is_file() and source.suffix == ".json" else source / REPORT_FILE
    content = _json(path)
    found = _schema_of(content)
    if found not in schemas:
        raise RunFolderError(f"Expected schema {' or '.join(schemas)} in '{path}', got {found}.")
    try:
        report: Report = _ADAPTERS[found].validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"Expected '{path}' to keep to {found}, but {where}: {first['msg']}."
        ) from error
    return report


def _schema_of(content: Any) -> str:
    found = content.get("schema") if isinstance(content, dict) else None
    return str(found)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"Expected a run folder with {REPORT_FILE}, found none in '{path.parent}'; "
            f"run `designer search --out {path.parent}` first."
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Expected JSON in '{path}', but reading it failed: {error}."
        ) from error


def _strict_json(values: Any) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``report.json``, version 1."""
    schema = _RESULT.json_schema()
    schema["properties"]["schema"] = {"const": REPORT_SCHEMA, "type": "string"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": REPORT_SCHEMA,
        **schema,
        "description": "Written by `designer search`. Additions are allowed, renames are not.",
    }
