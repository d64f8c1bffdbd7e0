"""Draw a few samples from data of any form, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from designer.data.batches import Batches, Pair, batches_of
from designer.data.dataset import sequences_at_once
from designer.data.gathering import joined
from designer.data.streamed import StreamedBatches
from designer.probing.calling import samples_at, tensors_of


def stratified_sample(data: Batches, count: int, seed: int, size: int | None = None) -> Batches:
    """Return a random part of the data in which the classes have the same shares as in all data.

    Samples with a label each are drawn class by class; sequences with a label per token, and real
    targets, are drawn at random.

    Args:
        data: any data; left as they are.
        count: the number of samples, give or take a rounding per class; all if there are fewer.
        seed: seed of the draw.
        size: samples per batch; by default a size that suits the samples. Samples of different
            shapes stay in the batches that they came in.
    """
    mask = _sample_mask(data, count, seed)
    if isinstance(data.source, StreamedBatches):  # only what is chosen is decoded
        part = data.source.data.part(mask)
        fitting = part.batches(size or len(part)).size
        return batches_of(part, fitting)
    parts = list(_chosen(data, mask))
    first = [(t.shape[1:], t.dtype) for t in tensors_of(parts[0][0])]
    if all([(t.shape[1:], t.dtype) for t in tensors_of(inputs)] == first for inputs, _ in parts):
        whole = joined(parts)
        most = sequences_at_once(whole[1])
        return batches_of(whole, size if most is None else min(size or most, most))
    return batches_of(parts)


def _sample_mask(data: Batches, count: int, seed: int) -> Tensor:
    """Return a mask (samples,) that chooses about ``count`` of them."""
    generator = torch.Generator().manual_seed(seed)
    samples = sum(shape[0] for shape in data.shapes)
    share = min(1.0, count / samples)
    order = torch.rand(samples, generator=generator)
    if data.tokens or data.real_targets:
        return order <= order.kthvalue(max(1, round(share * samples))).values
    mask = torch.zeros(samples, dtype=torch.bool)
    for label in torch.unique(data.targets):
        of_class = (data.targets == label).nonzero().flatten()
        kept = order[of_class].argsort()[: max(1, round(share * len(of_class)))]
        mask[of_class[kept]] = True
    return mask


def _chosen(data: Batches, mask: Tensor) -> Iterator[Pair]:
    """Yield what a mask (samples,) chooses of each batch; leave out batches without any."""
    start = 0
    for inputs, labels in data.pairs():
        rows = mask[start : start + len(labels)]
        start += len(labels)
        if bool(rows.any()):
            yield samples_at(inputs, rows), labels[rows.to(labels.device)]
