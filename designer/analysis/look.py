"""Look inside a network between two epochs of training, for a fraction of an epoch.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of a held-out sample behind one block              (p,)
m_k     mean of class k there, over a few training samples          (K, p)
c       mean of the m_k                                             (p,)
d_k     m_k - c                                                     (K, p)
W       weights that make d_k and c from the n training samples     (K + 1, n)
======  ==========================================================  ========

    argmin_k ||x - m_k||^2 = argmax_k (x'd_k - c'd_k - ||d_k||^2 / 2)

A look says behind every block how many held-out samples are nearest to the mean of their own class,
and how many the network itself classifies correctly.  That takes one matrix product for the means
and one for the held-out samples, in the precision that the features have; taking c away first keeps
the digits.  There is no null and there are no class directions, which need a second pass and a
singular value decomposition: ``profile`` measures those in the trained network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from designer.analysis.feature_choice import FeatureChoice
from designer.analysis.options import AnalysisOptions
from designer.choices import Reduction
from designer.data.batches import Batches, batches_of
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.sampling import stratified_sample
from designer.data.streamed import StreamedImages
from designer.probing.calling import Inputs
from designer.probing.probes import Probe, probing_again
from designer.results.measured import FloatArray

SHARE = 1 / 20
"""Training samples that the means are made from, and a third of the held-out samples, as a share of
all training samples, within bounds.

A look then passes a fifth as many samples as an epoch, without gradients.  What it costs is
measured by ``benchmarks/claims/looks.py``; how well it ranks networks beside a look at all samples
is not measured by any command yet."""

TRAINING_PER_CLASS, HELDOUT_PER_CLASS = (5, 15), (15, 30)
"""Bounds of the number of samples per class, which are those of all data on average."""

CLASSES = (10, 50)
"""Data with fewer or more classes are sampled as if they had so many."""


STREAMED_VALUES = 1 << 27
"""Values of the samples of a look, 512 MiB as float32, where the data themselves do not fit in
memory."""


@dataclass(frozen=True, eq=False)
class LookSamples:
    """The samples that all looks of a run share, so that networks are compared on equal terms."""

    train: LabelledTensors
    """A few training samples, for the class means."""
    heldout: LabelledTensors
    """Held-out samples of classes that are in ``train``."""

    @classmethod
    def of(cls, data: Dataset, seed: int) -> LookSamples:
        """Draw the samples, class by class: training samples, and validation samples.

        Args:
            data: the data set of the run.
            seed: seed of the draw.
        """
        classes = _within(CLASSES, data.num_classes)
        wanted = round(SHARE * len(data.train))
        few = _within([classes * bound for bound in TRAINING_PER_CLASS], wanted)
        heldout = _within([classes * bound for bound in HELDOUT_PER_CLASS], 3 * wanted)
        if isinstance(data.train, StreamedImages):
            most = STREAMED_VALUES // prod(data.input_shape)
            few, heldout = min(few, max(1, most // 3)), min(heldout, max(1, 2 * most // 3))
        return cls(_drawn(data.train, few, seed), _drawn(data.validation, heldout, seed))


@dataclass(frozen=True, eq=False)
class HeldoutAccuracies:
    """What a look measures, on the held-out samples."""

    blocks: FloatArray
    """(L,) nearest-class-mean accuracies behind the blocks; NaN where the features of the training
    samples are not all finite."""
    network: float
    """Accuracy of the network's own predictions; NaN if it gives no logits (n, K)."""


class Look:
    """Measures one network again and again while it trains.

    The first look finds the blocks, and later ones take them as they are.

    Args:
        model: any module with inputs (n, ...); every look leaves it exactly as it was.
        samples: on the device of the model.
        blocks: names of submodules. Blocks and features are by default those of ``profile``.
    """

    def __init__(
        self, model: nn.Module, samples: LookSamples, blocks: Sequence[str] | None = None
    ) -> None:
        options = AnalysisOptions()
        reduction = options.reduction_for(model)
        data = batches_of(_joined([samples.train, samples.heldout]))
        # As many labelings as in ``profile``, so that the same features are projected.
        labelings = 1 + options.permutations_for(data.outputs)
        self._choice = FeatureChoice(options, reduction, data, labelings)
        self._probe = Probe(model, blocks, entry=reduction is Reduction.POOL)
        self._heldout = len(samples.heldout)
        self._parts = list(_parts(data, samples.train.labels))

    def heldout_accuracies(self) -> HeldoutAccuracies:
        """Return the held-out accuracies behind the blocks and of the network, as of now.

        Raises:
            InvalidInputError: if the model has no blocks, or one does not run as in the first look.
            ModelError: if the model raises.
        """
        means: list[Tensor] = []
        hits: list[Tensor] = []
        with probing_again(self._probe) as probe:
            for part in self._parts:
                outputs = self._choice.reduce(probe.features(part.inputs))[1:]
                features = [_at_least_single(output) for output in outputs]
                means = part.added_to(means, features)
                if len(part.labels):  # training samples come first, so the means are complete
                    own = part.hits_of_network(probe.output)
                    hits.append(torch.cat([part.hits(means, features), own]))
        counts = np.array([part_hits.tolist() for part_hits in hits])
        *blocks, network = (counts.sum(0) / self._heldout).tolist()
        return HeldoutAccuracies(np.array(blocks), network)


@dataclass(frozen=True, eq=False)
class _Part:
    """The inputs of one forward pass: s training samples, then h held-out samples."""

    inputs: Inputs
    """(s + h, ...)."""
    weights: Tensor
    """(K + 1, s) the columns of W for the training samples."""
    labels: Tensor
    """(h,) labels of the held-out samples."""
    unused: Tensor
    """(K + 1,) 0, but infinite for c and for a class without training samples: they are never
    nearest."""

    def added_to(self, means: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
        """Return d_k and c (K + 1, p) at every tap, with this part's share added."""
        trained = self.weights.shape[1]
        if not trained:
            return list(means)
        shares = [self.weights.to(x.dtype) @ x[:trained] for x in features]
        return [a + b for a, b in zip(means, shares, strict=True)] if means else shares

    def hits(self, means: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
        """Return how many held-out samples are classified correctly at every tap (L,), or NaN."""
        rows = [x[self.weights.shape[1] :] for x in features]
        products = torch.stack([m @ x.T for m, x in zip(means, rows, strict=True)])  # (L, K + 1, h)
        own = torch.stack([m @ m.T for m in means])  # (L, K + 1, K + 1)
        halves = own[:, -1] + own.diagonal(dim1=1, dim2=2) / 2
        nearest = (products - (halves + self.unused).unsqueeze(2)).max(1).indices
        hits = (nearest == self.labels).sum(1)
        return torch.where(halves.sum(1).isfinite(), hits, torch.nan)

    def hits_of_network(self, logits: Tensor) -> Tensor:
        """Return how many held-out samples the network classifies correctly (1,), or NaN."""
        samples, classes = self.weights.shape[1] + len(self.labels), len(self.weights) - 1
        if logits.ndim != 2 or logits.shape[0] != samples or logits.shape[1] < classes:
            return logits.new_full((1,), torch.nan)
        return (logits[-len(self.labels) :].argmax(1) == self.labels).sum().view(1)


def _parts(data: Batches, labels: Tensor) -> Iterator[_Part]:
    """Yield the batches of training samples with these labels (n,), and held-out ones behind."""
    counts = torch.bincount(labels, minlength=data.num_classes)
    shares = nn.functional.one_hot(labels, data.num_classes).T / counts.clamp(min=1).unsqueeze(1)
    centre = shares.mean(0, keepdim=True)
    weights = torch.cat([shares - centre, centre])
    unused = nn.functional.pad(torch.where(counts > 0, 0.0, torch.inf), (0, 1), value=torch.inf)
    start = 0
    for inputs, targets in data.pairs():
        own = weights[:, start : start + len(targets)].contiguous()
        yield _Part(inputs, own, targets[own.shape[1] :], unused)
        start += len(targets)


def _at_least_single(features: Tensor) -> Tensor:
    """Return features in single precision if they are in half, else as they are."""
    return features if features.dtype == torch.float64 else features.float()


def _within(bounds: Sequence[int], number: int) -> int:
    low, high = bounds
    return min(max(number, low), high)


def _drawn(data: LabelledTensors, count: int, seed: int) -> LabelledTensors:
    """Return about ``count`` samples in which the classes have the shares of all data."""
    return _joined(stratified_sample(batches_of(data), count, seed).pairs())


def _joined(parts: Iterable[Iterable[Any]]) -> LabelledTensors:
    """Return pairs of inputs and labels as one."""
    inputs, labels = zip(*parts, strict=True)
    return LabelledTensors(torch.cat(inputs), torch.cat(labels))
