"""Records to and from JSON, and the published schema of ``report.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from designer.errors import RunFolderError
from designer.results import (
    REPORT_SCHEMA,
    AnalysisResult,
    PruningReport,
    SearchResult,
    SeparationProfile,
)

REPORT_FILE = "report.json"

_PROFILE = TypeAdapter(SeparationProfile)
_RESULT = TypeAdapter(SearchResult)
_ANALYSIS = TypeAdapter(AnalysisResult)
_PRUNING = TypeAdapter(PruningReport)


def profile_to_json(profile: SeparationProfile) -> bytes:
    """A profile for ``profile_from_json``, in JSON that keeps nan and infinity as such."""
    return json.dumps(_PROFILE.dump_python(profile)).encode()


def profile_from_json(content: bytes) -> SeparationProfile:
    """The profile that ``profile_to_json`` wrote."""
    return _PROFILE.validate_python(json.loads(content))


def result_to_json(result: SearchResult) -> str:
    """The text of ``report.json``: strict JSON, indented, with null for what does not exist."""
    return _strict_json(_RESULT.dump_python(result, mode="json"))


def analysis_to_json(result: AnalysisResult) -> str:
    """An analysis in the same way."""
    return _strict_json(_ANALYSIS.dump_python(result, mode="json"))


def pruning_to_json(report: PruningReport) -> str:
    """A report on pruning in the same way."""
    return _strict_json(_PRUNING.dump_python(report, mode="json"))


def read_result(folder: Path) -> SearchResult:
    """The result that a run wrote into its folder.

    Raises:
        RunFolderError: where there is none, or it is of another schema or damaged.
    """
    path = folder / REPORT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"Expected a run folder with {REPORT_FILE}, found none in '{folder}'; "
            f"run `designer search --out {folder}` first."
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Expected JSON in '{path}', but reading it failed: {error}."
        ) from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != REPORT_SCHEMA:
        raise RunFolderError(f"Expected schema {REPORT_SCHEMA} in '{path}', got {found}.")
    try:
        return _RESULT.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"Expected '{path}' to keep to {REPORT_SCHEMA}, but {where}: {first['msg']}."
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
