"""How well a network does on data: accuracy for classes, cross-entropy and perplexity for tokens.

======  ======================================================================  ======
symbol  meaning                                                                 shape
======  ======================================================================  ======
D       summed cross-entropy of the smaller network minus the original's        (m,)
        in each of m sequences, in nats
c       tokens of each sequence                                                 (m,)
N       all tokens                                                              scalar
======  ======================================================================  ======

Perplexity is exp(cross-entropy), so it rises by the factor exp(r) with r = sum(D) / N.  Tokens of a
sequence are not independent, sequences are taken to be: the standard error of the ratio r is
sqrt(m / (m - 1) * sum((D - r c)^2)) / N (Cochran, "Sampling techniques", 1977, chapter 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.measures.proportions import CONFIDENCE, Drop, drop_of
from designer.pruning.evaluation import EVALUATION_BATCH, scored_logits
from designer.results.measured import perplexity_of
from designer.training.trainer import evaluating


@dataclass(frozen=True, eq=False)
class Quality:
    """How well a network does on one part of the data."""

    correct: Tensor
    """(rows,) mask of the samples, or labelled tokens, that it classifies correctly."""
    losses: Tensor
    """(n,) summed cross-entropy of each sample or sequence, in nats."""
    counts: Tensor
    """(n,) 1 for a sample; for a sequence, how many of its tokens have a label."""
    language: bool
    """True if tokens are predicted, so that cross-entropy decides in place of accuracy."""

    @property
    def accuracy(self) -> float:
        """Share of the samples or tokens that are classified correctly."""
        return float(self.correct.float().mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self.losses.sum()) / int(self.counts.sum())

    @property
    def perplexity(self) -> float:
        """The perplexity of a language model; NaN for classes."""
        return perplexity_of(self.loss) if self.language else math.nan

    @property
    def score(self) -> tuple[float, float]:
        """What decides between networks, the larger the better: accuracy and then loss.

        For a language model loss alone decides; a loss that is no number is the worst.
        """
        loss = -self.loss if math.isfinite(self.loss) else -math.inf
        return (loss, 0.0) if self.language else (self.accuracy, loss)

    def drop_from(self, original: Quality) -> Drop:
        """Return by how much it is worse than the original, with the upper 95 % bound.

        Args:
            original: on the same data.

        Returns:
            The accuracy lost; for a language model the relative rise of perplexity, which is
            infinite where it is too large for a number.
        """
        if not self.language:
            return drop_of(original.correct, self.correct)
        return rise_of(original.losses, self.losses, self.counts)


def rise_of(original: Tensor, smaller: Tensor, counts: Tensor) -> Drop:
    """Return the relative rise of perplexity, with its upper 95 % bound.

    Args:
        original: (m,) summed cross-entropy of each sequence, in nats.
        smaller: (m,) the same for the smaller network.
        counts: (m,) tokens of each sequence.

    Returns:
        exp(r) - 1; the bound is infinite for a single sequence.
    """
    differences, tokens, m = (smaller - original).double(), counts.double(), len(counts)
    total = float(tokens.sum())
    ratio = float(differences.sum()) / total
    if not math.isfinite(ratio):
        return Drop(math.inf, math.inf)
    spread = math.inf
    if m > 1:
        squares = float((differences - ratio * tokens).square().sum())
        spread = math.sqrt(m / (m - 1) * squares) / total
    bound = ratio + float(ndtri(CONFIDENCE)) * spread
    return Drop(perplexity_of(ratio) - 1, perplexity_of(bound) - 1)


@torch.no_grad()
def quality_of(model: nn.Module, data: LabelledTensors, *, language: bool = False) -> Quality:
    """Return how well a network does; it runs in eval mode, and afterwards is as it was.

    Args:
        model: gives logits (n, K) or (n, tokens, K).
        data: at least one sample; left as they are.
        language: True if tokens are predicted.
    """
    with evaluating(model):
        batches = [_judged(*part) for part in scored_logits(model, data, EVALUATION_BATCH)]
    correct, losses, counts = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Quality(correct, losses, counts, language)


def _judged(logits: Tensor, targets: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is correct (rows,), and summed losses and counts (n,) of one batch."""
    correct = logits.argmax(1) == targets
    losses = functional.cross_entropy(logits, targets, reduction="none").double()
    if labels.ndim == 1:
        return correct, losses, torch.ones_like(targets)
    labelled = labels >= 0
    summed = losses.new_zeros(labels.shape).masked_scatter(labelled, losses).sum(1)
    return correct, summed, labelled.sum(1)
