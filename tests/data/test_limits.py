"""A small file cannot fill the memory, and what is no file is not opened."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from designer.data.batches import batches_of
from designer.data.limits import DATA_LIMIT, LARGEST_IMAGE_SIZE
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError
from designer.measures.residual import PredictionSums
from designer.measures.separation import separation_fuzziness, separation_fuzziness_of_stream
from tests.support.datasets import X, Y, refused, write_classes

# --- sizes ---


def write_zeros(path: Path, rows: int) -> None:
    """Write an archive of rows of 8 KiB, which zeros make a thousandth of the size."""
    np.savez_compressed(path, x_train=np.zeros((rows, 1024)), y_train=np.arange(rows) % 2)


def test_an_archive_that_unpacks_to_more_than_is_allowed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zeros(here / "bomb.npz", 2048)
    assert (here / "bomb.npz").stat().st_size < 200_000
    monkeypatch.setenv(DATA_LIMIT, "0.01")
    refused("bomb.npz", r"'bomb.npz', unpacked, takes 0.0 GiB .* the 0.01 GiB that are allowed")
    monkeypatch.setenv(DATA_LIMIT, "0.02")
    assert load_dataset("bomb.npz").num_classes == 2


def test_arrays_that_are_not_read_do_not_count(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(here / "d.npz", x_train=X, y_train=Y, notes=np.zeros((2048, 1024)))
    monkeypatch.setenv(DATA_LIMIT, "0.01")
    assert load_dataset("d.npz").num_classes == 3


def test_a_header_that_promises_more_than_there_is(here: Path) -> None:
    with zipfile.ZipFile(here / "bad.npz", "w") as archive:
        with archive.open("x_train.npy", "w") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1000)}
            np.lib.format.write_array_header_1_0(file, header)
        with archive.open("y_train.npy", "w") as file:
            np.lib.format.write_array(file, Y)
    refused("bad.npz", "reading it failed")


@pytest.mark.parametrize("limit", ["0", "-1", "much", "nan"])
def test_a_limit_that_is_no_size(here: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(here / "d.npz", x_train=X, y_train=Y)
    monkeypatch.setenv(DATA_LIMIT, limit)
    refused("d.npz", f"positive number of GiB in {DATA_LIMIT}, got '{limit}'")


def test_images_that_take_more_than_is_allowed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(here / "d", (40, 50))
    monkeypatch.setenv(DATA_LIMIT, "0.00001")
    refused("d", "10 images of 50 x 40 pixels takes")


@pytest.mark.parametrize("size", [LARGEST_IMAGE_SIZE + 1, 10**9, 10**30])
def test_an_image_size_that_nobody_means(here: Path, size: int) -> None:
    write_classes(here / "d")
    refused("d", rf"at most {LARGEST_IMAGE_SIZE} pixels, got {size}", image_size=size)


def test_an_image_size_that_takes_more_than_is_allowed(here: Path) -> None:
    np.savez(here / "d.npz", x_train=np.zeros((3000, 4, 4)), y_train=np.arange(3000) % 3)
    refused("d.npz", "images of 1000 x 1000 pixels", image_size=1000)


def test_an_image_that_unpacks_to_very_many_pixels(here: Path) -> None:
    write_classes(here / "d")
    Image.new("1", (20_000, 20_000)).save(here / "d" / "dog" / "bomb.png")
    assert (here / "d" / "dog" / "bomb.png").stat().st_size < 100_000
    refused("d", "Expected images of at most .* pixels, .* got more in '.*bomb.png'")


# --- labels ---


@pytest.mark.parametrize("label", [10**6, 10**12, 2**62])
def test_labels_that_are_no_numbers_of_classes(label: int) -> None:
    x, y = torch.rand(6, 2), torch.tensor([0, 1, 0, 1, 0, label])
    for measure in (
        lambda: separation_fuzziness(x, y),
        lambda: separation_fuzziness_of_stream(lambda: [(x, y)], label + 1),
        lambda: PredictionSums(label + 1),
        lambda: batches_of((x, y)),
    ):
        with pytest.raises(InvalidInputError, match=rf"labels below 1,000,000, got {label:,};"):
            measure()


def test_labels_of_files_may_be_any_whole_numbers(here: Path) -> None:
    np.savez(here / "d.npz", x_train=X, y_train=np.array([-5, 10**12, 2**62])[Y])
    data = load_dataset("d.npz")
    assert data.class_names == ("-5", str(10**12), str(2**62))
    assert data.train.labels.max() == 2


# --- what is no regular file ---


def pipe(path: Path) -> None:
    """Make a named pipe, from which nothing can be read before somebody writes."""
    os.mkfifo(path)


def server(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    Path(path.name).rename(path)


def link_to_pipe(path: Path) -> None:
    """Make a link to a named pipe."""
    os.mkfifo("pipe")
    path.symlink_to(Path("pipe").absolute())


def link_to_device(path: Path) -> None:
    """Make a link to a device that never ends."""
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, server, link_to_pipe, link_to_device])
@pytest.mark.parametrize("part", ["", "train", "test"])
def test_what_is_no_regular_file_is_counted_and_not_opened(
    here: Path, part: str, make: Callable[[Path], None]
) -> None:
    for folder in ("train", "test") if part else ("",):
        write_classes(here / "d" / folder, seed=len(folder))
    make(here / "d" / part / "dog" / "odd.png")
    data = load_dataset("d")
    (warning,) = (w for w in data.warnings if w.code == "special_files")
    assert warning.message.startswith("1 of the names of images belong")
    assert "odd.png" in warning.message
    assert len(data.train) + len(data.validation) + len(data.test) == (20 if part else 10)


def test_a_class_of_pipes_alone_is_named(here: Path) -> None:
    write_classes(here / "d")
    (here / "d" / "pipes").mkdir()
    os.mkfifo(here / "d" / "pipes" / "a.png")
    refused("d", "in class folder 'd/pipes', found none")
