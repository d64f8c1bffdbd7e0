"""Every error that the package raises on purpose.

::

    DesignerError
    ├── InvalidInputError (ValueError)      wrong use: the caller can correct it
    │   ├── DataError                       the data set is not what it must be
    │   ├── ModelError                      the model or its weights cannot be used
    │   ├── SpaceError                      the search space is unknown or breaks its contract
    │   ├── RunFolderError                  the run folder cannot be used as asked
    │   └── TrustError                      a file names code that nobody has allowed
    ├── StorageError (OSError)              a disk or storage is full, damaged or gone
    └── TrialFailed (RuntimeError)          one training run failed; the search goes on

The command line turns ``InvalidInputError`` into one line and exit code 2, every
other ``DesignerError`` into one line and exit code 1.  Messages say what was
expected, what came, and what to do; passwords in addresses that they repeat are hidden.
"""

from __future__ import annotations

from designer.redaction import redact


class DesignerError(Exception):
    """The base of all errors that the package raises on purpose.

    Args:
        message: what is wrong and what to do; passwords in addresses are hidden.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


class InvalidInputError(DesignerError, ValueError):
    """An argument or a file is not what it must be."""


class DataError(InvalidInputError):
    """The data set is missing, malformed or unfit for classification."""


class ModelError(InvalidInputError):
    """The model or its weights cannot be used."""


class SpaceError(InvalidInputError):
    """The search space is unknown or breaks its contract."""


class RunFolderError(InvalidInputError):
    """The run folder is missing, locked, damaged, not writable, or holds something else."""


class TrustError(InvalidInputError):
    """A file or a study names code that the user has not allowed; nothing was imported."""


class StorageError(DesignerError, OSError):
    """A disk or the storage of a study is full, damaged, gone or does not answer.

    Nothing that was stored before is lost unless the message says so.
    """


class TrialFailed(DesignerError, RuntimeError):
    """One training run failed: it diverged, its loss was not finite, or memory ran out."""


MEMORY_EXHAUSTED = ("can't allocate memory", "not enough memory")
"""What torch says when memory runs out on the CPU, where it has no class of error for that."""


def memory_ran_out(error: BaseException) -> bool:
    """Return True if an error of Python, NumPy or torch says that there is no more memory."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in MEMORY_EXHAUSTED)


def first_line(error: BaseException) -> str:
    """Return the first line of an error without a full stop; its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def shortened(text: str, length: int = 60) -> str:
    """Return a text, cut to a number of characters if it is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def one_line(text: str) -> str:
    """Return a text without line breaks, its control characters (colours, bells) made visible."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in joined)


def as_utf8(text: str) -> str:
    """Return a text in which bytes that are no UTF-8, as names of files may have, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
