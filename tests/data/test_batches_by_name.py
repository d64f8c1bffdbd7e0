"""Batches by name, as Hugging Face's collators give them, with padding and missing labels."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor

from designer.choices import Reduction
from designer.data.batches import batches_of
from designer.data.gathering import gathered
from designer.data.sampling import stratified_sample
from designer.errors import InvalidInputError
from designer.measures.features import Reducer
from designer.probing.calling import first_tensor, floating_inputs, token_mask

IDS = torch.arange(1, 25).view(4, 6)
MASK = torch.arange(6) < torch.tensor([[6], [4], [2], [5]])
LABELS = torch.tensor([0, 1, -100, 1])
BY_TOKEN = (IDS % 3).masked_fill(torch.arange(6) == 1, -100)


def by_name(labels: Tensor, mask: Tensor = MASK, **others: Tensor) -> dict[str, Tensor]:
    """Return a batch by name."""
    return {"input_ids": IDS, "attention_mask": mask.long(), **others, "labels": labels}


@pytest.mark.parametrize(
    "data",
    [
        by_name(LABELS),
        [by_name(LABELS)],
        [UserDict(by_name(LABELS))],
        ({"input_ids": IDS, "attention_mask": MASK.long()}, LABELS),
    ],
    ids=["whole", "batches", "another mapping", "pair"],
)
def test_samples_without_a_label_are_left_out(data: Any) -> None:
    batches = batches_of(data)
    assert batches.targets.tolist() == [0, 1, 1]
    assert batches.num_classes == 2
    assert batches.chance == pytest.approx(2 / 3)
    ((inputs, targets, rows, mask),) = batches.with_masks()
    assert isinstance(inputs, dict)
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert torch.equal(inputs["input_ids"], IDS[[0, 1, 3]])
    assert targets.tolist() == [0, 1, 1]
    assert rows == slice(0, 3)
    assert mask is not None
    assert torch.equal(mask, MASK[[0, 1, 3]])


def test_tokens_without_a_label_and_padding_are_no_rows() -> None:
    batches = batches_of([by_name(BY_TOKEN), by_name(BY_TOKEN * 0 - 100), by_name(BY_TOKEN)])
    kept = MASK & (BY_TOKEN >= 0)
    assert torch.equal(batches.targets, BY_TOKEN[kept].repeat(2))
    assert [targets.tolist() for _, targets, _ in batches] == 2 * [BY_TOKEN[kept].tolist()]
    assert all(torch.equal(mask, kept) for *_, mask in batches.with_masks() if mask is not None)
    chosen = batches.sample_mask(0.5, seed=0)
    first = batches.counts[0].tolist()
    by_sample = torch.split(chosen, first + first)
    assert all(len(set(rows.tolist())) == 1 for rows in by_sample)
    assert 0 < int(chosen.sum()) < len(batches)
    assert len(stratified_sample(batches, 8, seed=0)) == len(batches)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("name", ["attention_mask", "src_key_padding_mask"])
def test_masks_of_any_dtype(dtype: torch.dtype, name: str) -> None:
    values = MASK if name == "attention_mask" else ~MASK
    inputs = {"embedded": torch.ones(4, 6, 3), name: values.to(dtype)}
    mask = token_mask(inputs)
    assert mask is not None
    assert torch.equal(mask, MASK)
    assert len(floating_inputs(inputs)) == 1
    assert token_mask({name: torch.full_like(values, name == "attention_mask")}) is None


@pytest.mark.parametrize("reduction", list(Reduction))
def test_features_do_not_depend_on_padding(reduction: Reduction) -> None:
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    broken = x.masked_fill(~MASK.unsqueeze(2), torch.nan)
    reducer = Reducer(reduction, dimension=5)
    features = reducer(broken, MASK)
    assert torch.equal(features, reducer(x, MASK))
    if reduction is Reduction.POOL:
        means = [x[i, : int(n)].mean(0) for i, n in enumerate(MASK.sum(1))]
        assert torch.allclose(features, torch.stack(means))
    rows = Reducer(reduction, dimension=5, tokens=True)(broken, MASK)
    assert len(rows) == int(MASK.sum())
    assert bool(rows.isfinite().all())


def test_batches_of_other_lengths_are_padded_together() -> None:
    short = {name: tensor[:, :4] for name, tensor in by_name(BY_TOKEN).items()}
    data = gathered([by_name(BY_TOKEN), short])
    assert data.inputs["input_ids"].shape == (8, 6)
    assert torch.equal(data.inputs["attention_mask"][4:, :4], MASK[:, :4].long())
    assert not data.inputs["attention_mask"][4:, 4:].any()
    assert torch.equal(data.labels[:4], BY_TOKEN.masked_fill(~MASK, -100))
    assert set(data.labels[4:, 4:].flatten().tolist()) == {-100}
    with pytest.raises(InvalidInputError, match=r"input 1 of one shape .* pad sequences to one"):
        gathered([(IDS, LABELS), (IDS[:, :4], LABELS)])


def test_a_loss_is_not_taken_for_the_logits() -> None:
    logits = torch.ones(4, 2)
    assert first_tensor({"loss": torch.tensor(1.0), "prediction": logits}) is logits
    assert first_tensor((torch.tensor(1.0), logits)) is logits
    assert first_tensor(torch.tensor(1.0)) is None
