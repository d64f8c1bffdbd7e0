"""Parts of large files, each of which is opened as a file of its own."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, cast


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some bytes of a file."""

    file: str
    """Path of the file."""
    name: str
    """What the part is called in the file."""
    offset: int
    """Bytes of the file before the part."""
    size: int
    """Bytes of the part."""

    def __str__(self) -> str:
        return f"{self.file}/{self.name}"

    def opened(self) -> BinaryIO:
        """Open the part, to be read, without the rest of the file.

        Raises:
            OSError: if the file cannot be opened.
        """
        whole = open(self.file, "rb")  # noqa: SIM115, PTH123 - the part closes it
        return cast("BinaryIO", io.BufferedReader(_Part(whole, self.offset, self.size)))


class _Part(io.RawIOBase):
    """A part of a file, as a file; it closes the whole file with itself."""

    def __init__(self, whole: io.BufferedReader, offset: int, size: int) -> None:
        super().__init__()
        self._whole, self._offset, self._size, self._at = whole, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._size - self._at))
        self._whole.seek(self._offset + self._at)
        got = self._whole.readinto(memoryview(buffer)[:count])
        self._at += got
        return got

    def close(self) -> None:
        self._whole.close()
        super().close()
