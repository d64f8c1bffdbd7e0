"""Look inside a network between two epochs of training, at next to no cost.

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

A look says behind every block how many held-out samples are nearest to the mean of their own class.
That takes one matrix product for the means and one for the held-out samples, in the precision that
the features have; taking c away first keeps the digits.  There is no null and there are no class
directions, which need a second pass and a singular value decomposition: ``profile`` measures those
in the trained network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from designer.analysis.feature_choice import FeatureChoice
from designer.analysis.options import AnalysisOptions
from designer.choices import Reduction
from designer.data.batches import Batches, batches_of
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.sampling import stratified_sample
from designer.probing.calling import Inputs
from designer.probing.probes import Probe, probing_again
from designer.results.measured import FloatArray

TRAINING_PER_CLASS, HELDOUT_PER_CLASS = 10, 20
"""Training samples that the class means are made from, and held-out samples that are classified.

With 10 classes a look ranks perceptrons after 1 to 8 epochs as one at all 1,000 training and 334
validation samples does (Spearman 0.979 to 0.993 over 40 networks, on MNIST and on digits)."""

FEWEST_CLASSES, MOST_CLASSES = 10, 50
"""Data with fewer or more classes are sampled as if they had so many."""


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
        classes = min(max(data.num_classes, FEWEST_CLASSES), MOST_CLASSES)
        return cls(
            _drawn(data.train, TRAINING_PER_CLASS * classes, seed),
            _drawn(data.validation, HELDOUT_PER_CLASS * classes, seed),
        )


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

    def heldout_accuracies(self) -> FloatArray:
        """Return the held-out nearest-class-mean accuracies (L,) behind the blocks, as of now.

        They are NaN where the features of the training samples are not all finite.

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
                    hits.append(part.hits(means, features))
        accuracies: FloatArray = torch.stack(hits).sum(0).cpu().double().numpy() / self._heldout
        return accuracies


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
    """(K,) infinite for a class without training samples, which is never nearest, else 0."""

    def added_to(self, means: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
        """Return d_k and c (K + 1, p) at every tap, with this part's share added."""
        trained = self.weights.shape[1]
        if not trained:
            return list(means)
        shares = [self.weights.to(x.dtype) @ x[:trained] for x in features]
        return [a + b for a, b in zip(means, shares, strict=True)] if means else shares

    def hits(self, means: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
        """Return how many held-out samples are classified correctly at every tap (L,), or NaN."""
        trained = self.weights.shape[1]
        pairs = [(x[trained:], m, m[:-1].T) for x, m in zip(features, means, strict=True)]
        products = torch.stack([rows @ offsets for rows, _, offsets in pairs])  # (L, h, K)
        own = torch.stack([m @ offsets for _, m, offsets in pairs])  # (L, K + 1, K)
        halves = own[:, -1] + own.diagonal(dim1=1, dim2=2) / 2
        nearest = (products - (halves + self.unused).unsqueeze(1)).argmax(2)
        hits = (nearest == self.labels).sum(1)
        return torch.where(halves.sum(1).isfinite(), hits, torch.nan)


def _parts(data: Batches, labels: Tensor) -> Iterator[_Part]:
    """Yield the batches of training samples with these labels (n,), and held-out ones behind."""
    counts = torch.bincount(labels, minlength=data.num_classes)
    shares = nn.functional.one_hot(labels, data.num_classes).T / counts.clamp(min=1).unsqueeze(1)
    centre = shares.mean(0, keepdim=True)
    weights = torch.cat([shares - centre, centre])
    unused = torch.where(counts > 0, 0.0, torch.inf)
    start = 0
    for inputs, targets in data.source:
        own = weights[:, start : start + len(targets)].contiguous()
        yield _Part(inputs, own, targets[own.shape[1] :], unused)
        start += len(targets)


def _at_least_single(features: Tensor) -> Tensor:
    """Return features in single precision if they are in half, else as they are."""
    return features if features.dtype == torch.float64 else features.float()


def _drawn(data: LabelledTensors, count: int, seed: int) -> LabelledTensors:
    """Return about ``count`` samples in which the classes have the shares of all data."""
    return _joined(stratified_sample(batches_of(data), count, seed).source)


def _joined(parts: Iterable[Iterable[Any]]) -> LabelledTensors:
    """Return pairs of inputs and labels as one."""
    inputs, labels = zip(*parts, strict=True)
    return LabelledTensors(torch.cat(inputs), torch.cat(labels))
