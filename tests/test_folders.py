"""Files are written as a whole, and a folder that cannot be written to gives one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from designer.errors import RunFolderError
from designer.folders import (
    check_writable,
    make_writable,
    replacing,
    write_bytes,
    write_text,
    writing_to,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file, to be used where a folder is expected."""
    path = tmp_path / "file"
    path.write_text("", encoding="utf-8")
    return path


def test_text_and_bytes_are_written_into_folders_that_do_not_exist(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "text", "é\n")
    write_bytes(tmp_path / "b" / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "b" / "bytes").read_bytes() == b"\x00\xff"


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old, and longer")
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space")])
def test_the_old_file_stays_where_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise error

    with pytest.raises((KeyboardInterrupt, RunFolderError)):
        write()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    write_text(target, "old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


def test_pipes_are_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reading, 100) == b"text"
    os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.write_text("", encoding="utf-8")
    write_text(whole, "")
    assert whole.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("below", ["", "below", "below/it"])
@pytest.mark.parametrize("check", [check_writable, make_writable])
def test_a_file_is_no_folder(file: Path, check: Callable[[Path], None], below: str) -> None:
    folder = file / below
    with pytest.raises(
        RunFolderError, match=r"^Cannot write to '[^\n]+ another --out\.$"
    ) as raised:
        check(folder)
    assert f"'{folder}'" in str(raised.value)


def test_checking_makes_no_folder_and_making_does(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    check_writable(folder)
    assert not folder.exists()
    make_writable(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("gone\nat line 2"), "gone"),
        (SafetensorError("bad tensor."), "bad tensor"),
    ],
)
def test_every_failure_to_write_says_what_to_do(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    with pytest.raises(RunFolderError) as raised, writing_to(tmp_path):
        raise error
    assert str(raised.value) == f"Cannot write to '{tmp_path}': {reason}; choose another --out."
    assert raised.value.__cause__ is error


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing_to(tmp_path):
        raise KeyError("x")
