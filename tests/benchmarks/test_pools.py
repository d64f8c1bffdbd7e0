"""Pools of trained networks: what is written is read, compressed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pools.pool import read_pool, write_pool
from designer.errors import InvalidInputError

ROW = {
    "architecture": 3,
    "seed": 1,
    "widths": [8, 4],
    "parameters": 100,
    "chance": 0.25,
    "final": {"test_accuracy": 0.9},
    "short": {
        "2": {
            "nearest_class_mean_accuracy": [0.5, 0.6, 0.7],
            "separation_train": [3.0, 2.0, None],
            "separation_permuted_labels": [3.0, 3.0, 3.0],
            "validation_accuracy": 0.8,
            "summed_training_loss": 3.5,
            "validation_accuracies": [0.7, 0.8],
            "training_losses": [2.0, 1.5],
        }
    },
}


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.jsonl.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_pool(tmp_path / name, [ROW, ROW])
    (network, _) = read_pool(tmp_path / name, chance=0.1)
    run = network.short[2]
    assert (network.architecture, network.chance, network.final_accuracy) == (3, 0.25, 0.9)
    assert run.curve.tolist() == [0.7, 0.8]
    assert run.losses.tolist() == [2.0, 1.5]
    assert run.values[:2].tolist() == [3.0, 2.0]


def test_equal_pools_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_pool(tmp_path / name, [ROW])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("content", [b"not compressed", b"\x1f\x8b\x08\x00"])
def test_a_file_that_is_not_compressed_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pool.gz").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"reading it failed"):
        read_pool(tmp_path / "pool.gz", chance=0.1)
