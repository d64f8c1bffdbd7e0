"""Equal samples: keep them on one side of a split, and count those that stand on both.

A network that has memorised a training sample is right about every copy of it.  Copies among
held-out samples therefore make any network look better than it is, most of all one that memorises.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from designer.data.dataset import Array, LabelledTensors
from designer.data.streamed import StreamedImages
from designer.probing.calling import tensors_of, token_mask
from designer.results.layers import ReportWarning

LARGEST_LEAK = 0.05
"""Share of the validation or test samples that may stand in earlier parts of the data, too, before
no network is called good: accuracy may be too high by as much."""

ROWS_AT_ONCE = 4096
"""Samples that are held in a second copy at a time."""


@dataclass(frozen=True)
class Leak:
    """How many samples of a held-out part stand in the parts before it, too."""

    part: str
    """``validation``, ``test`` or ``held-out``."""
    earlier: str
    """The parts before it, in words."""
    samples: int
    """Samples that also stand there, at least 1."""
    total: int
    """All samples of the part."""

    @property
    def share(self) -> float:
        """Share of the part that also stands in the parts before it."""
        return self.samples / self.total

    @property
    def spoils(self) -> bool:
        """True if the share is above ``LARGEST_LEAK``."""
        return self.share > LARGEST_LEAK

    @property
    def finding(self) -> str:
        """The numbers, as a clause."""
        return (
            f"{self.samples:,} of {self.total:,} {self.part} samples ({100 * self.share:.1f} %) "
            f"also stand in the {self.earlier} data"
        )

    def warning(self) -> ReportWarning:
        """Return the warning about it."""
        return ReportWarning(
            f"leaked_{self.part.replace('-', '_')}",
            f"{self.finding}, so a network that memorises is right about them: remove the copies.",
        )


def leaks_of(
    train: LabelledTensors, validation: LabelledTensors, test: LabelledTensors | None
) -> tuple[Leak, ...]:
    """Return the leaks into validation and test data; empty without any.

    Samples are compared as a network gets them: resized, scaled and in float32.

    Args:
        train: training data.
        validation: data that decisions are made on.
        test: data that are only reported on; None without any.
    """
    known, held = set(_digests(train)), _digests(validation)
    tested = [] if test is None else _digests(test)
    return (
        *_leak("validation", "training", held, known),
        *_leak("test", "training or validation", tested, known.union(held)),
    )


def leaks_between(train: Sequence[Tensor], heldout: Sequence[Tensor]) -> tuple[Leak, ...]:
    """Return the leak from training into held-out data; empty without one.

    Args:
        train: tensors (n, ...), which together are the inputs.
        heldout: tensors (m, ...) that correspond to them.
    """
    return _leaks_from(sample_digests(train), sample_digests(heldout))


def leaks_between_images(train: StreamedImages, heldout: StreamedImages) -> tuple[Leak, ...]:
    """Return the leak from training into held-out images, by their pixels; empty without one."""
    return _leaks_from(train.digests, heldout.digests)


def sample_digests(inputs: Sequence[Array | Tensor], mask: Tensor | None = None) -> list[bytes]:
    """Return a digest for each of n samples; equal samples have equal digests.

    Args:
        inputs: one or several arrays or tensors (n, ...), which together are the inputs.
        mask: (n, tokens), true for the tokens that count; None if all do.
    """
    digests = []
    for start in range(0, len(inputs[0]), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        parts = [_plain(x[rows]) for x in inputs]
        kept = None if mask is None else mask[rows].cpu().numpy()
        for row in range(len(parts[0])):
            digest = hashlib.blake2b(digest_size=16)
            for part in parts:
                sample = part[row]
                if kept is not None and part.shape[:2] == kept.shape:
                    sample = sample[kept[row]]
                digest.update(sample.tobytes())
            digests.append(digest.digest())
    return digests


def _digests(data: LabelledTensors) -> list[bytes]:
    """Return a digest for each sample, which does not depend on how far it is padded."""
    if isinstance(data, StreamedImages):
        return data.digests
    return sample_digests(tensors_of(data.inputs), token_mask(data.inputs))


def equal_samples(x: Sequence[Array]) -> Array | None:
    """Return for each of n samples (n,) a number that equal samples share; None if all differ.

    Args:
        x: one or several arrays (n, ...), which together are the inputs.
    """
    return groups_of(sample_digests(x))


def groups_of(digests: Sequence[bytes]) -> Array | None:
    """Return for each digest (n,) a number that equal ones share; None if all differ."""
    numbers: dict[bytes, int] = {}
    groups = [numbers.setdefault(digest, len(numbers)) for digest in digests]
    return None if len(numbers) == len(groups) else np.array(groups)


def split_groups(
    y: Array, groups: Array, held_out: int, keep: int | None, seed: int
) -> tuple[Array, Array] | None:
    """Return the samples to keep and to hold out, so that no group is in both.

    Groups are held out in random order as long as they fit.  Both parts have the classes in the
    same proportions and the sizes that are asked for, as far as whole groups allow.

    Args:
        y: (n,) labels from 0 on.
        groups: (n,) number of the group of each sample.
        held_out: samples to hold out.
        keep: samples to keep; None for all that are not held out.
        seed: seed of the split.

    Returns:
        Positions of the samples that are kept and of those that are held out, in random order; None
        if no group can be held out without taking all samples of a class.
    """
    generator = np.random.default_rng(seed)
    held = np.isin(groups, _held_groups(y, groups, held_out, generator))
    if not held.any():
        return None
    rest = np.flatnonzero(~held)
    kept = rest if keep is None or keep >= len(rest) else _drawn(y, rest, keep, generator)
    return generator.permutation(kept), generator.permutation(np.flatnonzero(held))


def _held_groups(
    y: Array, groups: Array, held_out: int, generator: np.random.Generator
) -> list[int]:
    """Return the groups to hold out."""
    totals = np.bincount(y)
    room = proportional(totals, held_out, totals - 1)
    outside = totals.copy()
    # one huge group must not leave all others, which are worth more, to the part that is held out
    most = math.ceil(2 * held_out / len(y) * len(np.unique(groups)))
    labels = np.split(y[np.argsort(groups, kind="stable")], np.cumsum(np.bincount(groups))[:-1])
    waiting: list[int] = generator.permutation(len(labels)).tolist()
    held: list[int] = []
    for fits in (_fits, _improves):  # first what fits exactly, then what overshoots by little
        left = []
        for group in waiting:
            counts = np.bincount(labels[group], minlength=len(totals))
            if len(held) < most and fits(counts, room, outside):
                held.append(group)
                room, outside = room - counts, outside - counts
            else:
                left.append(group)
        waiting = left
    return held


def _fits(counts: Array, room: Array, outside: Array) -> bool:
    return bool((counts <= np.minimum(room, outside)).all())


def _improves(counts: Array, room: Array, outside: Array) -> bool:
    """True if holding out a group brings classes nearer to their sizes and uses up none of them."""
    nearer = np.abs(room - counts).sum() < np.abs(room).sum()
    return bool(nearer and (outside - counts >= np.minimum(outside, 1)).all())


def _drawn(y: Array, rest: Array, count: int, generator: np.random.Generator) -> Array:
    """Return ``count`` of the positions ``rest`` with the classes in the same proportions."""
    totals = np.bincount(y[rest])
    shares = proportional(totals, count, totals)
    drawn = [
        generator.permutation(rest[y[rest] == label])[:share]
        for label, share in enumerate(shares.tolist())
    ]
    return np.concatenate(drawn)


def proportional(counts: Array, total: int, most: Array) -> Array:
    """Return whole numbers (K,) that add up to ``total``, in proportion to ``counts``.

    The largest remainders are rounded up.  No class gets less than 1 or more than ``most``, if it
    has that many; then the sum may differ.
    """
    exact = counts * (total / counts.sum())
    shares = np.clip(np.floor(exact), np.minimum(1, most), most).astype(np.int64)
    for step in (1, -1):
        while step * (total - shares.sum()) > 0:
            possible = shares < most if step > 0 else shares > 1
            if not possible.any():
                break
            shares[np.where(possible, step * (exact - shares), -np.inf).argmax()] += step
    whole: Array = shares
    return whole


def _leaks_from(train: list[bytes], heldout: list[bytes]) -> tuple[Leak, ...]:
    return tuple(_leak("held-out", "training", heldout, set(train)))


def _leak(part: str, earlier: str, digests: list[bytes], known: set[bytes]) -> Iterator[Leak]:
    samples = sum(digest in known for digest in digests)
    if samples:
        yield Leak(part, earlier, samples, len(digests))


def _plain(x: Array | Tensor) -> Array:
    """Return values as an array in which equal numbers have equal bytes."""
    if isinstance(x, Tensor):
        dense = x.detach().to_dense().cpu()
        x = (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()
    plain: Array = np.ascontiguousarray(x + 0.0 if x.dtype.kind == "f" else x)  # -0.0 becomes 0.0
    return plain
