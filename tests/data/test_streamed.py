"""Folders of images that are decoded batch by batch: the same figures, in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from designer.analysis.analyze import analyze
from designer.analysis.look import LookSamples
from designer.choices import Augmentation
from designer.data.dataset import Array, Dataset
from designer.data.decoding import in_decoding_processes
from designer.data.duplicates import leaks_of
from designer.data.images import ImageFiles
from designer.data.limits import DECODING_WORKERS, STREAMED_ABOVE
from designer.data.loading import load_dataset
from designer.data.streamed import VALUES_AT_ONCE, StreamedImages
from designer.errors import DataError
from designer.pruning.splits import splits_of
from designer.search.search import search
from designer.training.trainer import accuracy, build_seeded, train
from tests.support.datasets import refused, same_data, write_classes, write_image

CPU = torch.device("cpu")

ENDLESS = """
import torch
from designer.data.loading import load_dataset
from designer.interrupts import Stopped, stop_on_signals

data = load_dataset("d")
with stop_on_signals(defer=False):
    try:
        while True:
            for batch in data.train.drawn(torch.arange(len(data.train)), 2):
                print("batch", flush=True)
    except Stopped:
        print("stopped", flush=True)
"""
"""A program that decodes images until it is stopped."""


@pytest.fixture
def load(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """Write 60 images of 3 classes; return what loads them streamed, or in memory."""
    write_classes(here / "d", (32, 32, 3), n=20, classes=("a", "b", "c"))
    generator = np.random.default_rng(0)
    for label, mean in zip("abc", (60, 90, 120), strict=True):  # so that there is a lot to learn
        for path in sorted((here / "d" / label).iterdir()):
            noise = generator.normal(mean, 40, (32, 32, 3)).clip(0, 255)
            write_image(path, noise.astype(np.uint8))

    def loaded(*, streamed: bool, workers: int = 0, **options: object) -> Dataset:
        monkeypatch.setenv(STREAMED_ABOVE, "1e-6" if streamed else "1")
        monkeypatch.setenv(DECODING_WORKERS, str(workers))
        data = load_dataset("d", **options)  # type: ignore[arg-type]
        assert isinstance(data.train, StreamedImages) is streamed
        return data

    return loaded


def network() -> nn.Module:
    """Return a small convolutional network with fixed weights."""
    return build_seeded(
        lambda: nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU()),
            nn.Sequential(nn.Conv2d(6, 6, 3, 2), nn.ReLU()),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1)),
            nn.Linear(6, 3),
        ),
        0,
        CPU,
    )


def fitted(data: Dataset) -> tuple[nn.Module, tuple[float, ...]]:
    """Return the network after two epochs on some data, and its losses."""
    model = network()
    history = train(
        model,
        data.train,
        epochs=2,
        learning_rate=1e-2,
        seed=3,
        batch_size=16,
        augmentation=Augmentation.FLIP,
    )
    return model, history.losses


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaling": "none", "seed": 4},
        {"scaling": "imagenet", "train_size": 30},
        {"image_size": 9, "shuffle_labels": True},
    ],
)
def test_streamed_images_are_split_and_scaled_as_in_memory(
    load: Callable[..., Dataset], options: dict[str, object]
) -> None:
    here, streamed = load(streamed=False, **options), load(streamed=True, **options)
    assert same_data(here, streamed.in_memory())
    assert (here.class_names, here.chance, here.input_shape) == (
        streamed.class_names,
        streamed.chance,
        streamed.input_shape,
    )
    assert streamed.scaling["mean"] == pytest.approx(here.scaling["mean"], rel=1e-12)
    assert streamed.fingerprint == load(streamed=True, **options).fingerprint != here.fingerprint


def test_streamed_images_take_hardly_any_memory(load: Callable[..., Dataset]) -> None:
    streamed, whole = load(streamed=True).train, load(streamed=False).train
    assert whole.nbytes == len(whole) * (4 * 3 * 32 * 32 + 8)
    assert streamed.nbytes < whole.nbytes / 100


def test_copies_stay_on_one_side_and_leaks_are_counted(
    here: Path, load: Callable[..., Dataset]
) -> None:
    for number in range(8):
        (here / "d" / "a" / f"copy{number}.png").write_bytes((here / "d/a/0.png").read_bytes())
    assert same_data(load(streamed=False), load(streamed=True).in_memory())
    together = load(streamed=True)
    assert leaks_of(together.train, together.validation, together.test) == ()
    split = [load(streamed=streamed, split_duplicates=True) for streamed in (False, True)]
    leaks = [leaks_of(data.train, data.validation, data.test) for data in split]
    assert leaks[0] == leaks[1] != ()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_processes_gives_what_memory_gives(
    load: Callable[..., Dataset], workers: int
) -> None:
    here, streamed = load(streamed=False), load(streamed=True, workers=workers)
    model, losses = fitted(here)
    assert fitted(streamed)[1] == losses
    assert accuracy(model, streamed.test) == accuracy(model, here.test)
    results = [analyze(model, data.train, data.test, batch_size=7) for data in (here, streamed)]
    assert [layer.separation for layer in results[0].layers] == pytest.approx(
        [layer.separation for layer in results[1].layers], rel=1e-6
    )
    assert [w.code for w in results[0].warnings] == [w.code for w in results[1].warnings]
    looks = [LookSamples.of(data, 0) for data in (here, streamed)]
    assert torch.allclose(looks[0].train.inputs, looks[1].train.inputs)
    assert torch.equal(looks[0].heldout.labels, looks[1].heldout.labels)


def test_pruning_takes_the_images_into_memory(load: Callable[..., Dataset]) -> None:
    splits = splits_of(load(streamed=True))
    assert torch.equal(splits.train.inputs, load(streamed=True).train.in_memory().inputs)


def test_few_images_are_decoded_at_once(
    load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    decode = ImageFiles.pixels

    def counted(files: ImageFiles, rows: Sequence[int]) -> Array:
        at_once.append(len(rows))
        return decode(files, rows)

    data = load(streamed=True)
    monkeypatch.setattr(ImageFiles, "pixels", counted)
    monkeypatch.setattr("designer.data.streamed.VALUES_AT_ONCE", 4 * 3 * 32 * 32)
    assert VALUES_AT_ONCE < 1 << 20
    batches = data.train.drawn(torch.arange(len(data.train)), 10)
    assert len(next(batches)) == 10
    assert at_once == [4, 4, 2]  # the next batch waits until it is asked for
    assert sum(len(batch) for batch in batches) == len(data.train) - 10
    assert max(at_once) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_one_line(here: Path, load: Callable[..., Dataset], workers: int) -> None:
    data = load(streamed=True, workers=workers)
    (here / "d" / "b" / "7.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"^Expected '.*7\.png' to be an image.*remove it\.$"):
        data.in_memory()
    assert not multiprocessing.active_children()
    refused("d", "7.png")


def test_images_of_other_sizes_are_refused(here: Path, load: Callable[..., Dataset]) -> None:
    write_image(here / "d" / "c" / "other.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"32 x 32 pixels .* 9 x 8 .*other\.png.*--image-size"):
        load(streamed=True, workers=2)


def test_processes_end_when_an_iteration_is_broken_off(load: Callable[..., Dataset]) -> None:
    batches = load(streamed=True, workers=2).train.drawn(torch.arange(40), 4)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_a_number_of_processes_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DECODING_WORKERS, "-1")
    with pytest.raises(DataError, match=f"whole number from 0 on in {DECODING_WORKERS}"):
        next(in_decoding_processes(len, [[1], [2]]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_processes_too(
    here: Path, load: Callable[..., Dataset], number: signal.Signals
) -> None:
    assert len(load(streamed=True).train)
    ends = 100
    environment = {**os.environ, DECODING_WORKERS: "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, number)  # as a terminal does, to all processes at once
    output, _ = process.communicate(timeout=60)
    assert output.endswith("stopped\n")
    while is_alive(process.pid) and (ends := ends - 1):
        time.sleep(0.1)
    assert not is_alive(process.pid)


def is_alive(group: int) -> bool:
    """True if a group of processes has any left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_search_gives_what_it_gives_in_memory(here: Path, load: Callable[..., Dataset]) -> None:
    trials = [
        search(
            "cnn",
            load(streamed=streamed),
            trials=2,
            epochs=2,
            confirm=1,
            confirm_seeds=1,
            edits=0,
            out=here / str(streamed),
        ).trials
        for streamed in (False, True)
    ]
    in_memory, decoded = ([(t.score, t.validation_accuracy) for t in each] for each in trials)
    assert in_memory == decoded
