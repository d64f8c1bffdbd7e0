"""Batches: the same from every form of data, and one sentence for data that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from designer.data.batches import (
    Batch,
    Batches,
    LabelledData,
    batches_of,
    check_heldout,
)
from designer.data.dataset import (
    BATCH_VALUES,
    LARGEST_BATCH,
    SMALLEST_BATCH,
    LabelledTensors,
)
from designer.errors import InvalidInputError
from designer.probing.calling import Inputs, tensors_of
from tests.support.helpers import gaussian_classes, labelled

X, Y = gaussian_classes(50, 4, dtype=torch.float32)
TOKENS = torch.arange(50 * 6).view(50, 6) % 5
REAL = X[:, :2] ** 2


class Numbered:
    """A sequence of batches without ``__iter__``."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Batch:
        if number >= len(self):
            raise IndexError(number)
        return X[10 * number : 10 * number + 10], Y[10 * number : 10 * number + 10]


class Changing:
    """Batches that differ from one iteration to the next."""

    def __init__(self, *iterations: list[Batch]) -> None:
        self._iterations = iter(iterations)

    def __iter__(self) -> Iterator[Batch]:
        return iter(next(self._iterations))


def in_batches(inputs: Tensor, labels: Tensor, size: int = 16) -> list[Batch]:
    """Return (inputs, labels) in pairs of ``size`` samples each."""
    return list(zip(torch.split(inputs, size), torch.split(labels, size), strict=True))


def joined(batches: Batches) -> tuple[list[Tensor], Tensor]:
    """Return every tensor of the inputs and all targets, from one iteration."""
    passed = list(batches)
    inputs = zip(*(tensors_of(inputs) for inputs, _, _ in passed), strict=True)
    return [torch.cat(parts) for parts in inputs], torch.cat([targets for _, targets, _ in passed])


def sizes(batches: Batches) -> list[int]:
    """Return the number of samples in each batch."""
    return [len(tensors_of(inputs)[0]) for inputs, _, _ in batches]


# --- forms of data ---


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        LabelledTensors(X, Y),
        in_batches(X, Y),
        tuple(in_batches(X, Y)),
        (in_batches(X, Y, 25)[0], in_batches(X, Y, 25)[1]),
        [list(batch) for batch in in_batches(X, Y)],
        DataLoader(TensorDataset(X, Y), batch_size=16),
        DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=False),
        Numbered(),
    ],
    ids=[
        "pair",
        "labelled",
        "list",
        "tuple",
        "two batches",
        "lists",
        "loader",
        "unshuffled",
        "sequence",
    ],
)
def test_every_form_of_data_gives_the_same_samples_each_time(data: LabelledData) -> None:
    batches = batches_of(data)
    assert len(batches) == 50
    assert torch.equal(batches.targets, Y)
    for _ in range(2):
        (inputs,), targets = joined(batches)
        assert torch.equal(inputs, X)
        assert torch.equal(targets, Y)


@pytest.mark.parametrize(
    "inputs",
    [(X, TOKENS), [X, TOKENS], {"x": X, "tokens": TOKENS}],
    ids=["tuple", "list", "dict"],
)
@pytest.mark.parametrize("size", [None, 16])
def test_several_inputs_are_cut_together(inputs: Inputs, size: int | None) -> None:
    batches = batches_of((inputs, Y), size)
    (x, tokens), targets = joined(batches)
    assert torch.equal(x, X)
    assert torch.equal(tokens, TOKENS)
    assert torch.equal(targets, Y)
    assert sizes(batches) == ([50] if size is None else [16, 16, 16, 2])
    if isinstance(inputs, dict):
        assert all(list(part) == ["x", "tokens"] for part, _, _ in batches)


def test_rows_say_where_a_batch_lies() -> None:
    batches = batches_of((X, Y), 16)
    assert [rows for _, _, rows in batches] == [
        slice(0, 16),
        slice(16, 32),
        slice(32, 48),
        slice(48, 50),
    ]
    assert all(torch.equal(batches.targets[rows], targets) for _, targets, rows in batches)


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_a_batch_size_that_is_asked_for(size: int) -> None:
    lengths = sizes(batches_of((X, Y), size))
    assert sum(lengths) == 50
    assert set(lengths[:-1]) <= {size}
    assert lengths[-1] <= size


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one(size: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"batch size of at least 1, got {size}"):
        batches_of((X, Y), size)


def test_a_batch_size_does_not_cut_what_are_batches_already() -> None:
    assert sizes(batches_of(in_batches(X, Y, 16), 3)) == [16, 16, 16, 2]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3,), LARGEST_BATCH),
        ((BATCH_VALUES // 100,), 100),
        ((3, 2, BATCH_VALUES // 600), 100),
        ((BATCH_VALUES // 2,), SMALLEST_BATCH),
        ((4 * BATCH_VALUES,), SMALLEST_BATCH),
    ],
)
def test_large_samples_come_in_small_batches(shape: tuple[int, ...], expected: int) -> None:
    inputs = torch.zeros(1).expand(9000, *shape)  # no memory
    lengths = sizes(batches_of((inputs, torch.arange(9000) % 2)))
    assert lengths[0] == pytest.approx(expected, abs=1)
    assert sum(lengths) == 9000


def test_all_inputs_count_for_the_size_of_a_batch() -> None:
    large = torch.zeros(1).expand(2000, BATCH_VALUES // 200)
    labels = torch.arange(2000) % 2
    assert sizes(batches_of((large, labels)))[0] == pytest.approx(200, abs=1)
    assert sizes(batches_of(((large, large), labels)))[0] == pytest.approx(100, abs=1)


# --- targets ---


def test_classes() -> None:
    batches = batches_of((X, torch.tensor([0] * 30 + [3] * 20)))
    assert (batches.num_classes, batches.outputs) == (4, 4)
    assert batches.chance == pytest.approx(30 / 50)
    assert not batches.real_targets
    assert not batches.tokens


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.int64]
)
def test_labels_of_any_integer_dtype(dtype: torch.dtype) -> None:
    batches = batches_of((X, Y.to(dtype)), 16)
    assert torch.equal(batches.targets, Y)
    assert torch.equal(joined(batches)[1], Y)
    assert (batches.num_classes, batches.chance) == (3, 17 / 50)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_label_for_every_token(in_memory: bool) -> None:
    batches = batches_of((X, TOKENS) if in_memory else in_batches(X, TOKENS), 16)
    assert batches.tokens
    assert len(batches) == 300
    assert torch.equal(batches.targets, TOKENS.flatten())
    assert batches.num_classes == 5
    assert sizes(batches) == [16, 16, 16, 2]
    assert [rows.stop - rows.start for _, _, rows in batches] == [96, 96, 96, 12]
    assert torch.equal(joined(batches)[1], TOKENS.flatten())


def test_batches_of_sequences_of_different_lengths() -> None:
    batches = batches_of([(X[:10], TOKENS[:10]), (X[10:20], TOKENS[10:20, :2])])
    assert len(batches) == 10 * 6 + 10 * 2
    assert torch.equal(joined(batches)[1], batches.targets)


@pytest.mark.parametrize(("targets", "outputs"), [(X[:, 0], 1), (X[:, :1], 1), (REAL, 2)])
def test_real_targets(targets: Tensor, outputs: int) -> None:
    batches = batches_of((X, targets), 16)
    assert batches.real_targets
    assert not batches.tokens
    assert (len(batches), batches.num_classes, batches.outputs) == (50, 0, outputs)
    assert batches.chance != batches.chance  # nan
    assert torch.equal(joined(batches)[1], targets)


# --- a random share ---


def test_a_share_takes_or_leaves_whole_samples() -> None:
    batches = batches_of((X, TOKENS), 16)
    mask = batches.sample_mask(0.5, seed=0)
    of_samples = mask.view(50, 6)
    assert bool((of_samples == of_samples[:, :1]).all())
    assert 10 < int(of_samples[:, 0].sum()) < 40
    assert bool(batches.sample_mask(1.0, seed=0).all())


def test_a_share_is_drawn_by_its_seed_alone() -> None:
    before = torch.get_rng_state()
    large = labelled(4000)
    masks = [batches_of(large, size).sample_mask(0.25, seed=3) for size in (4000, 100)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(masks[0], batches_of(large, 4000).sample_mask(0.25, seed=3))
    assert not torch.equal(masks[0], batches_of(large, 4000).sample_mask(0.25, seed=4))
    for mask in masks:
        assert float(mask.double().mean()) == pytest.approx(0.25, abs=0.03)


# --- data that cannot be used ---


def test_a_generator_that_runs_but_once() -> None:
    batches = batches_of(batch for batch in in_batches(X, Y))
    with pytest.raises(
        InvalidInputError,
        match=r"^Expected data that can be iterated more than once, got 50 samples the first time "
        r"and 0 the second; pass \(inputs, labels\), a list of batches or a DataLoader\.$",
    ):
        list(batches)


def test_a_generator_that_has_run() -> None:
    generator = (batch for batch in in_batches(X, Y))
    list(generator)
    with pytest.raises(InvalidInputError, match=r"more than once, got no batch; pass \(inputs"):
        batches_of(generator)


def test_a_loader_that_shuffles() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True)
    with pytest.raises(
        InvalidInputError,
        match=r"^Expected batches in the same order each time they are iterated, got other labels "
        r"the second time; use a DataLoader with shuffle=False\.$",
    ):
        list(batches_of(loader))


@pytest.mark.parametrize(
    "second",
    [in_batches(X[:40], Y[:40]), in_batches(X, Y)[:2], in_batches(X.repeat(2, 1), Y.repeat(2))],
    ids=["shorter batch", "fewer batches", "more batches"],
)
def test_another_number_of_samples_the_second_time(second: list[Batch]) -> None:
    batches = batches_of(Changing(in_batches(X, Y), second))
    with pytest.raises(InvalidInputError, match=r"^Expected (batches in the same|data that can)"):
        list(batches)


MALFORMED: dict[str, tuple[Any, str]] = {
    "nothing": (None, r"data that can be iterated, got NoneType; pass \(inputs, labels\)"),
    "number": (5, "data that can be iterated, got int"),
    "no batches": ([], "got no batch"),
    "inputs alone": (X, "batches of such pairs, got a batch of Tensor"),
    "list of a pair": ([X, Y], "batches of such pairs, got a batch of Tensor"),
    "dict": ({"x": X, "y": Y}, "labels under the name labels in a batch by name, got x, y"),
    "batches of three": ([(X, Y, Y)], "batches of such pairs, got a batch of tuple"),
    "batches of dicts": ([{"x": X, "y": Y}], "name labels in a batch by name, got x, y"),
    "single samples": (TensorDataset(X, Y), "many samples, got a single one; .* DataLoader"),
    "single numbers": ([(X[0], 1), (X[1], 0)], "many samples, got a single one; .* DataLoader"),
    "array of labels": ((X, Y.numpy()), "labels as a torch tensor, got ndarray; use torch.as_"),
    "list of labels": ((X, Y.tolist()), "labels as a torch tensor, got list; use torch.as_tensor"),
    "lists in batches": ([(X, Y.tolist())], "labels as a torch tensor, got list; use torch.as_"),
    "names of classes": ((X, ["cat"] * 50), "got list; number the classes from 0 on, and use"),
    "names in batches": ([(X, ("cat",) * 50)], "got tuple; number the classes from 0 on, and use"),
    "array of names": ((X, np.array(["cat"] * 50)), "got ndarray; number the classes from 0 on"),
    "array of inputs": (
        (X.numpy(), Y),
        "tuple or dict of tensors, got ndarray; use torch.as_tensor",
    ),
    "no inputs": (((), Y), "tuple or dict of tensors, got tuple"),
    "array among inputs": (((X, X.numpy()), Y), r"tensors of shape \(n, ...\), got ndarray"),
    "nested inputs": (({"x": {"y": X}}, Y), r"tensors of shape \(n, ...\), got dict"),
    "a number as inputs": ((torch.tensor(1.0), Y), "got a tensor without axes"),
    "too few labels": ((X, Y[:30]), "one label per sample, got 50 samples and 30 labels"),
    "too few of one input": (((X, X[:9]), Y), "one label per sample, got 9 samples and 50 labels"),
    "too few of one name": (({"x": X[:9], "y": X}, Y), "got 9 samples and 50 labels"),
    "a single label": ((X, Y[0]), "labels of many samples, got a single one"),
    "labels of positions": ((X, Y.view(50, 1, 1)), r"got shape \(50, 1, 1\) and torch.int64"),
    "true or false": ((X, Y > 0), r"integer dtype, .* got shape \(50,\) and torch.bool"),
    "complex": ((X, X[:, 0] + 1j), "torch.complex64"),
    "below zero": ((X, Y - 1), "labels from 0 on, got -1"),
    "negative tokens": ((X, TOKENS - 101), "labels from 0 on, got -101"),
    "no labels at all": ((X, 0 * Y - 100), "samples with labels, got none but -100"),
    "nan": ((X, REAL.log() * torch.nan), "finite targets, got NaN or infinity"),
    "infinite": ((X, X[:, 0] / 0), "finite targets, got NaN or infinity"),
    "no samples": ((X[:0], Y[:0]), "at least one sample in every batch, got none"),
    "an empty batch": ([(X, Y), (X[:0], Y[:0])], "at least one sample in every batch, got none"),
    "no tokens": ((X, TOKENS[:, :0]), "at least one sample in every batch, got none"),
    "then tokens": ([(X, Y), (X, TOKENS)], r"Expected labels \(n,\) in every batch, got labels"),
    "tokens first": (
        [(X, TOKENS), (X, Y)],
        r"Expected labels \(n, tokens\) in every batch, got labels \(n,\), too",
    ),
    "classes and reals": ([(X, Y), (X, Y.float())], r"got real targets \(n,\), too"),
    "tokens and reals": ([(X, TOKENS), (X, REAL)], r"got real targets \(n, 2\), too"),
    "more targets later": (
        [(X, REAL), (X, X)],
        r"Expected real targets \(n, 2\) in every batch, got real targets \(n, 4\), too",
    ),
}


@pytest.mark.parametrize(("data", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_data_are_one_sentence(data: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^Expected [^\n]*\.$") as raised:
        batches_of(data)
    raised.match(message)


# --- held-out data beside those of training ---


def test_heldout_labels_are_among_those_of_training() -> None:
    train = batches_of((X, torch.tensor([0, 1, 3, 4, 6] * 10)))
    check_heldout(batches_of((X[:2], torch.tensor([6, 0]))), train)
    with pytest.raises(InvalidInputError, match=r"among the training classes, got class 2, too"):
        check_heldout(batches_of((X[:3], torch.tensor([5, 2, 1]))), train)


def test_unseen_labels_below_the_highest_one_may_pass() -> None:
    train = batches_of((X, torch.tensor([0, 1, 3, 4, 6] * 10)))
    check_heldout(batches_of((X[:3], torch.tensor([5, 2, 1]))), train, allow_unseen=True)
    with pytest.raises(InvalidInputError, match=r"among the training classes, got class 7, too"):
        check_heldout(batches_of((X[:3], torch.tensor([9, 7, 2]))), train, allow_unseen=True)


@pytest.mark.parametrize("targets", [Y, TOKENS, X[:, 0], REAL])
@pytest.mark.parametrize("unseen", [True, False])
def test_heldout_targets_of_the_same_kind_pass(targets: Tensor, unseen: bool) -> None:
    check_heldout(batches_of((X, targets.flip(0))), batches_of((X, targets)), allow_unseen=unseen)


def test_real_heldout_targets_may_be_of_another_precision() -> None:
    check_heldout(batches_of((X, REAL.double())), batches_of((X, REAL)))


@pytest.mark.parametrize(
    ("targets", "heldout", "message"),
    [
        (Y, X[:, 0], r"with labels \(n,\) .* got real targets \(n,\)"),
        (X[:, 0], Y, r"with real targets \(n,\) .* got labels \(n,\)"),
        (REAL, X, r"with real targets \(n, 2\) .* got real targets \(n, 4\)"),
        (REAL, X[:, 0], r"with real targets \(n, 2\) .* got real targets \(n,\)"),
        (Y, TOKENS, r"with labels \(n,\) .* got labels \(n, tokens\)"),
        (TOKENS, Y, r"with labels \(n, tokens\) .* got labels \(n,\)"),
    ],
)
@pytest.mark.parametrize("unseen", [True, False])
def test_heldout_targets_of_another_kind(
    targets: Tensor, heldout: Tensor, message: str, unseen: bool
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^Expected held-out data {message}\.$"):
        check_heldout(batches_of((X, heldout)), batches_of((X, targets)), allow_unseen=unseen)


def test_no_class_of_bytes_counts_as_unlabelled() -> None:
    labels = torch.arange(200).to(torch.uint8)  # as bytes, 156 is what -100 becomes
    (batch,) = batches_of((torch.randn(200, 3), labels)).pairs()
    assert len(batch[1]) == 200
