"""Files are written as a whole, and a folder that cannot be written to gives one clear error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors import SafetensorError

from designer.errors import RunFolderError, StorageError
from designer.folders import (
    check_writable,
    make_writable,
    replacing,
    replacing_folder,
    write_all,
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_the_old_file_stays_where_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise error

    with pytest.raises((KeyboardInterrupt, StorageError)):
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
        (PermissionError(13, "Permission denied"), "Permission denied"),
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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device. Free some space and run"),
        (OSError(errno.EDQUOT, "full"), "Disk quota exceeded. Free some space and run"),
        (OSError(errno.EFBIG, "large"), "File too large. Raise the limit and run"),
        (OSError(errno.EIO, "broken"), "Input/output error. Mend the disk and run"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "No space left on device. Free some space and run",
        ),
    ],
)
def test_a_disk_that_is_full_or_broken_needs_no_other_folder(
    tmp_path: Path, error: Exception, message: str
) -> None:
    with pytest.raises(StorageError) as raised, writing_to(tmp_path):
        raise error
    assert str(raised.value) == (
        f"Cannot write to '{tmp_path}': {message} the same command again; what was there is kept."
    )


def test_a_file_is_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    flushed = []

    def fsync(descriptor: int) -> None:
        content = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append((content, path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(path, "new")
    (content, before), folder = flushed
    assert (content.parent, before) == (tmp_path, "old")
    assert folder == (tmp_path, "new")


def test_a_disk_that_refuses_at_the_last_moment_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say only when asked that what they took does not fit."""
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        write_text(path, "old")
    asked = []

    def refuse(descriptor: int) -> None:
        asked.append(descriptor)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        write_all(dict.fromkeys(paths, b"new"))
    assert asked
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert sorted(tmp_path.iterdir()) == paths


def test_of_several_files_all_are_replaced_or_none(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    write_all(dict.fromkeys(paths, b"old"))
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError):
        write_all({**dict.fromkeys(paths, b"new"), tmp_path / "file" / "d": b"new"})
    assert [path.read_bytes() for path in paths] == [b"old"] * 3
    write_all(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"new"] * 3
    assert len(list(tmp_path.iterdir())) == 4


def fill(folder: Path, content: str) -> None:
    """Replace what a folder holds."""
    with replacing_folder(folder) as new:
        write_text(new / "1" / "model", content)


def test_a_folder_is_replaced_with_everything_in_it(tmp_path: Path) -> None:
    best = tmp_path / "best"
    fill(best, "old")
    write_text(best / "2" / "model", "old")
    with replacing_folder(best) as new:
        write_text(new / "1" / "model", "new")
        assert (best / "1" / "model").read_text() == "old"
    assert [path.read_text() for path in best.rglob("model")] == ["new"]
    assert list(tmp_path.iterdir()) == [best]
    with replacing_folder(best):
        pass
    assert list(tmp_path.iterdir()) == []


def test_copies_beside_a_folder_stay_when_it_is_replaced(tmp_path: Path) -> None:
    copies = [tmp_path / "best.old", tmp_path / "best.new"]
    for copy in copies:
        write_text(copy / "1" / "model", "mine")
    fill(tmp_path / "best", "old")
    fill(tmp_path / "best", "new")
    assert [(copy / "1" / "model").read_text() for copy in copies] == ["mine", "mine"]
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "best", *copies])


def test_a_link_to_a_folder_is_followed_whenever_that_is_replaced(tmp_path: Path) -> None:
    best, elsewhere = tmp_path / "run" / "best", tmp_path / "elsewhere" / "models"
    write_text(elsewhere / "1" / "model", "old")
    best.parent.mkdir()
    best.symlink_to(elsewhere)
    for content in ("new", "newer"):
        fill(best, content)
        assert best.is_symlink()
        assert (elsewhere / "1" / "model").read_text() == content
    assert list(best.parent.iterdir()) == [best]
    assert list(elsewhere.parent.iterdir()) == [elsewhere]


def test_a_file_in_the_place_of_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.write_text("a file", encoding="utf-8")
    fill(best, "new")
    assert (best / "1" / "model").read_text() == "new"
    assert list(tmp_path.iterdir()) == [best]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_the_old_folder_stays_where_writing_fails(tmp_path: Path, error: BaseException) -> None:
    best = tmp_path / "best"
    fill(best, "old")

    def write() -> None:
        with replacing_folder(best) as new:
            write_text(new / "1" / "model", "ne")
            raise error

    with pytest.raises((KeyboardInterrupt, StorageError)):
        write()
    assert (best / "1" / "model").read_text() == "old"
    assert list(tmp_path.iterdir()) == [best]


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_process_that_is_killed_between_two_names_loses_no_folder(
    tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = tmp_path / "best"
    fill(best, "old")
    with monkeypatch.context() as patch:
        rename, count = Path.rename, iter(range(9))

        def rename_until_killed(path: Path, target: Path) -> Path:
            if next(count) == killed_after:
                raise SystemExit
            return rename(path, target)

        patch.setattr(Path, "rename", rename_until_killed)
        patch.setattr("designer.folders._tidy_up", lambda *_: None)  # a killed process does not
        with suppress(SystemExit):
            fill(best, "new")
    with pytest.raises(KeyError), replacing_folder(best):
        raise KeyError
    assert (best / "1" / "model").read_text() == ("old" if killed_after == 1 else "new")
    assert list(tmp_path.iterdir()) == [best]


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for check in (check_writable, make_writable):
        with pytest.raises(RunFolderError, match=r"File name too long; choose another --out\.$"):
            check(tmp_path / ("x" * 300))
    write_text(tmp_path / ("x" * 255), "as long as it may be")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing_to(tmp_path):
        raise KeyError("x")
