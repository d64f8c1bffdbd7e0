"""Pools: many architectures, each trained briefly, looked into, and trained for long.

A pool is a file of JSON lines, one trained network each: ``architecture``, ``seed``,
``parameters``, ``widths`` (of the hidden blocks), scores at initialisation (``ZERO_COST``),
``final`` with the accuracies after the long run, and ``short`` with what checkpoints of a short run
show, by epoch; per layer, input first.  Some pools also have ``flops``, the validation accuracy and
the training loss of each epoch, the ``device`` that trained, and the processor seconds of all this.
A file whose name ends in ``.gz`` is compressed.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designer.errors import InvalidInputError
from designer.results.measured import FloatArray

ZERO_COST = ("naswot", "synflow_log", "gradient_norm", "snip", "jacobian_covariance")

STORED = Path(__file__).parents[1] / "results" / "pools"
"""Where pools are kept, so that a new form of the score is tried without any training."""

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ShortRun:
    """What a checkpoint of one network shows; layers as (L + 1,), input first."""

    accuracies: FloatArray
    """(L + 1,) held-out nearest-class-mean accuracy."""
    values: FloatArray
    """(L + 1,) D on training data."""
    nulls: FloatArray
    """(L + 1,) D with permuted labels."""
    validation_accuracy: float
    summed_loss: float
    """Training loss in nats, added up over the epochs."""
    curve: FloatArray
    """(E,) validation accuracy after each epoch; (0,) if the pool lacks it."""
    losses: FloatArray
    """(E,) mean training loss of each epoch, in nats; (0,) if the pool lacks it."""
    seconds: dict[str, float]
    """Processor seconds of ``training`` and of ``looking`` inside; empty if the pool lacks them."""


@dataclass(frozen=True, eq=False)
class Network:
    """One architecture trained with one seed."""

    architecture: int
    seed: int
    widths: tuple[int, ...]
    parameters: int
    flops: float
    """FLOPs of a forward pass of one sample; nan if the pool lacks them."""
    zero_cost: dict[str, float]
    """Scores at initialisation, those that the pool has."""
    zero_cost_seconds: dict[str, float]
    """Processor seconds of each score; empty if the pool lacks them."""
    chance: float
    """Held-out accuracy of always naming the largest class."""
    final_accuracy: float
    """Accuracy on test data after the long run."""
    short: dict[int, ShortRun]
    """Checkpoints of the short run, by number of epochs."""
    device: str
    """Where it was trained, as PyTorch names it."""


def stored_pool(text: str) -> Path:
    """Return the path of a pool: a file, or the name of one that is kept in ``STORED``."""
    path = Path(text)
    return path if path.exists() or not (STORED / text).exists() else STORED / text


def read_pool(path: Path, chance: float) -> list[Network]:
    """Read the networks of a pool.

    Args:
        path: the file.
        chance: the chance of rows that do not have their own.

    Raises:
        InvalidInputError: if the file is missing or is no pool.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        lines = content.decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"Expected a pool in '{path}', but reading it failed: {error}."
        ) from error
    networks = [_network_of_line(path, i, line, chance) for i, line in enumerate(lines, start=1)]
    if not networks:
        raise InvalidInputError(f"Expected at least one network in '{path}', got none.")
    return networks


def write_pool(path: Path, rows: Iterable[Row]) -> None:
    """Write rows that ``read_pool`` reads."""
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode("utf-8")
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def network(row: Row, chance: float = float("nan")) -> Network:
    """Return the network that a row of a pool describes."""
    return Network(
        architecture=int(row["architecture"]),
        seed=int(row["seed"]),
        widths=tuple(row["widths"]),
        parameters=int(row["parameters"]),
        flops=float(row.get("flops", "nan")),
        zero_cost={name: _number(row[name]) for name in ZERO_COST if name in row},
        zero_cost_seconds=dict(row.get("zero_cost_seconds", {})),
        chance=float(row.get("chance", chance)),
        final_accuracy=float(row["final"]["test_accuracy"]),
        short={int(epochs): _short_run(checkpoint) for epochs, checkpoint in row["short"].items()},
        device=str(row.get("device", "cpu")),
    )


def _short_run(checkpoint: Row) -> ShortRun:
    return ShortRun(
        accuracies=_array(checkpoint["nearest_class_mean_accuracy"]),
        values=_array(checkpoint["separation_train"]),
        nulls=_array(checkpoint["separation_permuted_labels"]),
        validation_accuracy=float(checkpoint["validation_accuracy"]),
        summed_loss=float(checkpoint["summed_training_loss"]),
        curve=_array(checkpoint.get("validation_accuracies", [])),
        losses=_array(checkpoint.get("training_losses", [])),
        seconds=dict(checkpoint.get("seconds", {})),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _array(values: Sequence[float | None]) -> FloatArray:
    """Return an array in which None, JSON's null, is nan."""
    return np.array(values, dtype=np.float64)


def _network_of_line(path: Path, number: int, line: str, chance: float) -> Network:
    try:
        return network(json.loads(line), chance)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"Expected one network per line in '{path}' (see benchmarks/pools/pool.py), but line "
            f"{number} is not: {type(error).__name__} {error}."
        ) from error
