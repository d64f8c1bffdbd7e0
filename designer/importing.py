"""Import what a user named as `package.module:attribute`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from designer.errors import first_line


def load_attribute(module: str, attribute: str, error: type[Exception]) -> Any:
    """``attribute`` of an importable ``module``, looked for in the working folder, too.

    Raises:
        error: where there is no such module or attribute, or importing it raises anything.
    """
    here = str(Path.cwd())
    if here not in sys.path:  # stays there, so that worker processes find the same names
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as cause:  # the module is the user's and may do anything
        raise error(
            f"Expected package.module:name that can be imported, but '{module}:{attribute}' "
            f"raised {type(cause).__name__}: {first_line(cause)}."
        ) from cause
