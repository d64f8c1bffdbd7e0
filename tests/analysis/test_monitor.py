"""``LawMonitor``: a row per call, as the profile says, to a file and to TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

from designer import LawMonitor, design_score, profile
from designer.errors import InvalidInputError
from designer.probing.untouched import python_random_states
from tests.support.helpers import labelled, small_mlp

TRAIN, HELDOUT = labelled(60), labelled(45, seed=1)


class SequentialDrawing(SequentialSampler):
    """Samples in order, and draws a number from a generator of its own as it begins."""

    def __init__(self, data: TensorDataset, generator: torch.Generator) -> None:
        super().__init__(data)
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        torch.rand(1, generator=self.generator)
        return super().__iter__()


class Writer:
    """Keeps what a ``SummaryWriter`` would write."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int | None], float] = {}
        self.flushed = False

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        self.scalars[tag, global_step] = scalar_value

    def flush(self) -> None:
        self.flushed = True


def test_a_row_is_what_the_profile_says() -> None:
    model = small_mlp()
    row = LawMonitor(model, TRAIN, HELDOUT)(7)
    expected = profile(model, TRAIN, HELDOUT, permutations=1, resamples=0)
    assert row.epoch == 7
    assert row.blocks == ("input", "0", "1")
    assert row.separation == tuple(expected.values)
    assert row.separation_heldout == tuple(expected.values_heldout)
    assert row.law.uniformity == expected.law.uniformity
    assert row.design_score == design_score(expected).value
    assert row.accuracy == expected.accuracy
    assert row.accuracy_heldout == expected.accuracy_heldout


def test_the_model_is_left_as_it_was_and_rows_follow_its_training() -> None:
    model = small_mlp().train()
    monitor = LawMonitor(model, TRAIN, HELDOUT)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        monitor()
        assert model.training
        loss = torch.nn.functional.cross_entropy(model(TRAIN.inputs), TRAIN.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert [row.epoch for row in monitor.rows] == [0, 1, 2]
    assert len({row.separation[-1] for row in monitor.rows}) == 3
    assert len({row.separation[0] for row in monitor.rows}) == 1  # the input does not change


@pytest.mark.parametrize("epoch", [np.int64(3), torch.tensor(3)])
def test_epochs_are_integers_of_any_type(epoch: Any, tmp_path: Path) -> None:
    file = tmp_path / "law.jsonl"
    row = LawMonitor(small_mlp(), TRAIN, HELDOUT, file=file)(epoch)
    assert row.epoch == 3
    assert json.loads(file.read_text())["epoch"] == 3


def test_an_epoch_that_is_no_integer_leaves_no_row() -> None:
    monitor = LawMonitor(small_mlp(), TRAIN, HELDOUT)
    with pytest.raises(InvalidInputError, match=r"an integer, got float 1\.5"):
        monitor(1.5)  # type: ignore[arg-type]
    assert not monitor.rows


def test_another_training_knows_nothing_of_the_one_before() -> None:
    model = small_mlp()
    monitor, fresh = (LawMonitor(model, TRAIN, HELDOUT) for _ in range(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for epoch in (0, 1, 2, 0, 1):
        loss = torch.nn.functional.cross_entropy(model(TRAIN.inputs), TRAIN.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        monitor(epoch)
        if len(monitor.rows) > 3:
            fresh(epoch)
    assert monitor.rows[3:] == fresh.rows
    assert monitor.rows[2].accuracy_heldout != monitor.rows[0].accuracy_heldout


def test_generators_of_loaders_are_left_as_they_were() -> None:
    data = TensorDataset(TRAIN.inputs, TRAIN.labels)
    own, sampled = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    loaders = [
        DataLoader(data, batch_size=20, generator=own),
        DataLoader(data, sampler=SequentialDrawing(data, sampled), batch_size=20),
    ]
    before = own.get_state(), sampled.get_state()
    LawMonitor(small_mlp(), *loaders)()
    assert torch.equal(own.get_state(), before[0])
    assert torch.equal(sampled.get_state(), before[1])


def test_random_states_are_left_as_they_were_by_loaders_that_draw_from_them() -> None:
    loader = DataLoader(TensorDataset(TRAIN.inputs, TRAIN.labels), batch_size=20)
    monitor = LawMonitor(small_mlp(), loader, loader)
    before = torch.get_rng_state(), python_random_states()
    monitor()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert python_random_states() == before[1]


def test_rows_are_added_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "law.jsonl"
    monitor = LawMonitor(small_mlp(), TRAIN, HELDOUT, file=file)
    monitor(1)
    LawMonitor(small_mlp(), TRAIN, HELDOUT, file=file)(2)  # as after a restart
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[0]["blocks"] == ["input", "0", "1"]
    assert rows[0]["separation"] == list(monitor.rows[0].separation)
    assert rows[0]["law"]["status"] == "too few layers"


def test_what_does_not_exist_is_null(tmp_path: Path) -> None:
    model = small_mlp()
    torch.nn.init.constant_(model[1][1].weight, 0)  # type: ignore[index]
    row = LawMonitor(model, TRAIN, file=tmp_path / "law.jsonl")(0)
    assert row.separation[2] is None
    assert row.separation_heldout is None
    assert row.design_score is None
    assert json.loads((tmp_path / "law.jsonl").read_text())["separation"][2] is None


def test_scalars_go_to_tensorboard() -> None:
    writer = Writer()
    with LawMonitor(small_mlp(), TRAIN, HELDOUT, tensorboard=writer) as monitor:
        row = monitor(3)
    assert writer.flushed
    assert writer.scalars["law/uniformity", 3] == row.law.uniformity
    assert writer.scalars["law/design_score", 3] == row.design_score
    assert writer.scalars["separation/1", 3] == row.separation[2]
    assert row.separation_heldout is not None
    assert writer.scalars["separation_heldout/input", 3] == row.separation_heldout[0]
    assert all(np.isfinite(value) for value in writer.scalars.values())


def test_a_folder_for_tensorboard_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing: Any = None
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", missing)
    with pytest.raises(InvalidInputError, match=r"Expected TensorBoard .*pip install tensorboard"):
        LawMonitor(small_mlp(), TRAIN, tensorboard=tmp_path)


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInputError, match=r"Expected a file .* cannot be written"):
        LawMonitor(small_mlp(), TRAIN, file=tmp_path / "taken" / "law.jsonl")
    with pytest.raises(InvalidInputError, match=r"Expected a file .* cannot be written"):
        LawMonitor(small_mlp(), TRAIN, file=tmp_path)
