"""Load a library that only some users have, or say how to install it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from designer.errors import InvalidInputError


def load_optional(names: Sequence[str], attribute: str, extra: str) -> Any:
    """Return an attribute of the first of several modules that is installed.

    Args:
        names: modules that offer the same; one that is loaded already comes before all others.
        attribute: name of the attribute.
        extra: the extra of this package that installs one of them.

    Raises:
        InvalidInputError: if none is installed.
    """
    loaded = [name for name in names if sys.modules.get(name) is not None]
    for name in [*loaded, *names]:
        if find_spec(name.partition(".")[0]) is not None:
            return getattr(import_module(name), attribute)
    raise InvalidInputError(
        f"Expected the package {' or '.join(names)}, but it is not installed; run: "
        f"pip install 'equisep-designer[{extra}]'."
    )
