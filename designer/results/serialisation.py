"""Convert records to JSON and back; publish the schema of ``report.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from designer.errors import RunFolderError, as_utf8, first_line, shortened
from designer.folders import REPORT_FILE, read_json
from designer.results.analysis import ANALYSIS_SCHEMA, AnalysisResult
from designer.results.comparison import COMPARISON_SCHEMA, ComparisonReport
from designer.results.contribution import BlockContribution
from designer.results.layers import LawRow
from designer.results.measured import SeparationProfile
from designer.results.pruning import PRUNING_SCHEMA, PruningReport
from designer.results.search import REPORT_SCHEMA, SearchResult

Report = SearchResult | AnalysisResult | PruningReport | ComparisonReport
"""The report of any command."""

TRIALS = "trials"
"""The field of a search's report that is written with one element a line."""

_PROFILE = TypeAdapter(SeparationProfile)
_CONTRIBUTIONS = TypeAdapter(tuple[BlockContribution, ...])
_LAW_ROWS = TypeAdapter(list[LawRow])
_SEARCH = TypeAdapter(SearchResult)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    REPORT_SCHEMA: _SEARCH,
    ANALYSIS_SCHEMA: TypeAdapter(AnalysisResult),
    PRUNING_SCHEMA: TypeAdapter(PruningReport),
    COMPARISON_SCHEMA: TypeAdapter(ComparisonReport),
}


def profile_to_json(profile: SeparationProfile) -> bytes:
    """Return a profile as JSON that keeps nan and infinity, for ``profile_from_json``."""
    return json.dumps(_PROFILE.dump_python(profile)).encode()


def profile_from_json(content: bytes) -> SeparationProfile:
    """Return the profile that ``profile_to_json`` wrote.

    Raises:
        ValueError: if the content is no JSON, or no profile.
    """
    return _PROFILE.validate_python(json.loads(content))


def contributions_to_json(contributions: Sequence[BlockContribution]) -> bytes:
    """Return contributions as JSON, for ``contributions_from_json``."""
    return json.dumps(_CONTRIBUTIONS.dump_python(tuple(contributions))).encode()


def contributions_from_json(content: bytes) -> tuple[BlockContribution, ...]:
    """Return the contributions that ``contributions_to_json`` wrote.

    Raises:
        ValueError: if the content is no JSON, or no contributions.
    """
    return _CONTRIBUTIONS.validate_python(json.loads(content))


def law_rows_to_json(rows: Sequence[LawRow]) -> bytes:
    """Return rows of the law as JSON, for ``law_rows_from_json``."""
    return _LAW_ROWS.dump_json(list(rows))


def law_rows_from_json(content: bytes) -> list[LawRow]:
    """Return the rows that ``law_rows_to_json`` wrote.

    Raises:
        ValueError: if the content is no JSON, or no rows.
    """
    return _LAW_ROWS.validate_json(content)


def report_to_json(report: Report) -> str:
    """Return the text of ``report.json``: strict, indented JSON with null for missing values.

    Trials of a search take a line each: there may be a hundred thousand.
    """
    values: dict[str, Any] = _ADAPTERS[report.schema].dump_python(report, mode="json")
    parts = [
        f"  {_strict_json(name)}: {_by_line(value) if name == TRIALS else _indented(value)}"
        for name, value in values.items()
    ]
    return as_utf8("{\n" + ",\n".join(parts) + "\n}\n")


def read_result(folder: Path) -> SearchResult:
    """Read the result that a search wrote into its folder.

    Raises:
        RunFolderError: if there is none, or it has another schema or is damaged.
    """
    result = _read(folder, (REPORT_SCHEMA,))
    assert isinstance(result, SearchResult)  # noqa: S101 - the schema guarantees it
    return result


def read_report(source: Path) -> Report:
    """Read the report of a search, an analysis, a pruning or a comparison.

    Args:
        source: the folder that it was written into, or the file itself.

    Raises:
        RunFolderError: if there is none, or it has another schema or is damaged.
    """
    return _read(source, tuple(_ADAPTERS))


def check_free(folder: Path, schema: str) -> None:
    """Check that a folder holds no report of another kind, which would be overwritten.

    Args:
        folder: the folder to write to.
        schema: the kind of report to write.

    Raises:
        RunFolderError: if there is a report of another kind.
    """
    path = folder / REPORT_FILE
    if path.exists() and _schema_of(_json(path)) != schema:
        raise RunFolderError(
            f"'{path}' is no report of the same kind and would be overwritten; choose another "
            f"--out."
        )


def _read(source: Path, schemas: tuple[str, ...]) -> Report:
    path = source if source.is_file() and source.suffix == ".json" else source / REPORT_FILE
    content = _json(path)
    schema = _schema_of(content)
    if schema not in schemas:
        raise RunFolderError(
            f"Expected schema {' or '.join(schemas)} in '{path}', got {shortened(schema)}."
        )
    try:
        report: Report = _ADAPTERS[schema].validate_python(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"'{path}' is damaged: {schema} does not allow its {where}: {first['msg']}."
        ) from error
    return report


def _schema_of(content: Any) -> str:
    schema = content.get("schema") if isinstance(content, dict) else None
    return str(schema)


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise RunFolderError(
            f"Expected a run folder with {REPORT_FILE}, as `designer search --out` writes it, "
            f"found none in '{path.parent}'."
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Expected JSON in '{path}', but reading it failed: {first_line(error)}."
        ) from error


def _strict_json(values: Any, indent: int | None = None) -> str:
    return json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False)


def _indented(values: Any) -> str:
    """Return JSON that is indented below a name; texts in it hold no line breaks."""
    return _strict_json(values, indent=2).replace("\n", "\n  ")


def _by_line(rows: Sequence[Any]) -> str:
    """Return a list as JSON with one element a line."""
    lines = ",\n".join(f"    {_strict_json(row)}" for row in rows)
    return f"[\n{lines}\n  ]" if rows else "[]"


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the ``report.json`` of a search, version 1."""
    schema = _SEARCH.json_schema()
    schema["properties"]["schema"] = {"const": REPORT_SCHEMA, "type": "string"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": REPORT_SCHEMA,
        **schema,
        "description": "Written by `designer search`. Additions are allowed, renames are not.",
    }
