"""The command or the call that made a search, as its report shows it: never with a password."""

from __future__ import annotations

import shlex
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from designer.data.options import DataOptions
from designer.redaction import redact, redact_address
from designer.search.options import DEFAULT_DATA, DEFAULT_SPACE, SearchOptions


def without_passwords(command: str) -> str:
    """Return a command with ``***`` for every password inside an address, otherwise unchanged.

    Args:
        command: words as a POSIX shell reads them; text that no shell reads is one word.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quotation mark
        return redact(command)
    masked = [redact_address(word) for word in words]
    return command if masked == words else shlex.join(masked)


def search_call(space: object, data: Any, options: SearchOptions) -> str:
    """Return the call of ``designer.search`` with the arguments that differ from the defaults.

    Args:
        space: a name or a ``Space``, as the caller passed it.
        data: a source or a ``Dataset``, as the caller passed it.
        options: all other arguments.
    """
    arguments = {} if space == DEFAULT_SPACE else {"space": _shown(space)}
    if not isinstance(data, str):
        arguments["data"] = _data_call(data)
    elif data != DEFAULT_DATA:
        arguments["data"] = _shown(data)
    return _call("designer.search", arguments | _changed(options))


def _data_call(data: Any) -> str:
    """Return the call of ``designer.load_dataset`` that made a data set; its name if none did."""
    recipe = dict(data.recipe)
    source = recipe.pop("source", None)
    if source is None:
        return f"<data set {data.name!r}>"
    changed = _changed(DataOptions(**recipe))
    return _call("designer.load_dataset", {"source": _shown(source), **changed})


def _call(function: str, arguments: dict[str, str]) -> str:
    return f"{function}({', '.join(f'{name}={value}' for name, value in arguments.items())})"


def _changed(options: Any) -> dict[str, str]:
    """Return the fields of a dataclass that differ from their defaults, as Python source."""
    values = {
        field.name: (getattr(options, field.name), field.default) for field in fields(options)
    }
    return {name: _shown(value) for name, (value, default) in values.items() if value != default}


def _shown(value: object) -> str:
    """Return a value as Python source, without passwords."""
    plain = str(value) if isinstance(value, StrEnum | Path) else value
    return repr(redact_address(plain)) if isinstance(plain, str) else redact(repr(plain))
