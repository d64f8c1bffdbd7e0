"""What a classifier gives, read as logits, whether it ends in a softmax, a sigmoid or neither."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from designer.measures.features import token_rows

SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may be from 1, for example because each has a least value."""

CERTAIN_ROWS = 16
"""Rows that must lie within 0..1 before numbers that have another sum are taken for probabilities;
a few logits may lie there by chance."""


class OutputKind(Enum):
    """What the numbers are that a classifier gives."""

    LOGITS = "logits"
    DISTRIBUTION = "distribution"
    """Probabilities of all classes, which have the sum 1, as a softmax gives."""
    PROBABILITIES = "probabilities"
    """A probability for each class by itself, or for the second of two, as a sigmoid gives."""


def output_kind(rows: Tensor) -> OutputKind:
    """Return what the numbers (rows, columns) of a classifier are.

    They are probabilities if all lie within 0..1 and no column is 0 throughout.
    """
    kind = OutputKind.LOGITS
    if not rows.numel() or not bool(_within_unit_interval(rows[:1])):  # the first row tells mostly
        return kind
    if not bool(_within_unit_interval(rows)) or not bool(rows.any(0).all()):
        return kind
    wide = torch.float64 if rows.device.type == "cpu" else torch.float32
    differences = (rows.sum(1, dtype=wide) - 1).abs()
    if rows.shape[1] > 1 and bool((differences <= SUM_TOLERANCE + _eps(rows)).all()):
        kind = OutputKind.DISTRIBUTION
    elif len(rows) >= CERTAIN_ROWS:
        kind = OutputKind.PROBABILITIES
    return kind


def as_logits(rows: Tensor, kind: OutputKind) -> Tensor:
    """Return logits (rows, K), K at least 2, of what a classifier gives.

    Cross-entropy takes the softmax of logits. Taken of probabilities themselves it would see a
    network that is never sure, so they become the logits that a softmax or a sigmoid makes them of.

    Args:
        rows: (rows, columns); one column is that of the second of two classes.
        kind: what the numbers are.
    """
    if kind is OutputKind.DISTRIBUTION:
        return _logarithm(rows)
    if kind is OutputKind.PROBABILITIES:
        # what rounds to 1 is nearer to it than half a step
        rows = _logarithm(rows) - _logarithm((1 - rows).clamp_min(_eps(rows) / 2))
    return with_two_columns(rows)


def with_two_columns(logits: Tensor) -> Tensor:
    """Return logits (rows, 2) of one per row, (rows,) or (rows, 1); others are handed back."""
    logits = logits.unsqueeze(1) if logits.ndim == 1 else logits
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


class LogitReader:
    """Reads all outputs of one classifier, and of it without a part, as logits.

    The first batch decides what they are, so that no batch is read otherwise than another.

    Args:
        num_classes: K; 0 for real targets, for which there are no logits.
        sigmoid: True if the model is known to end in a sigmoid.
        all_classes: False to read outputs also if they lack some of the classes.
    """

    def __init__(
        self, num_classes: int, *, sigmoid: bool = False, all_classes: bool = True
    ) -> None:
        self._num_classes = num_classes
        self._least = num_classes if all_classes else 0
        self._kind = OutputKind.PROBABILITIES if sigmoid else None

    def __call__(
        self, output: Tensor | None, samples: int, mask: Tensor | None, *, tokens: bool
    ) -> Tensor | None:
        """Return an output as logits (rows, K), or None if it cannot be that.

        Args:
            output: what the model gives; None if that is no tensor. One number per sample, (n,) or
                (n, 1), tells two classes apart.
            samples: number of rows.
            mask: (n, tokens), true for the tokens that are rows; None if all are.
            tokens: whether rows are tokens; else they are samples.
        """
        if output is None or not self._num_classes:
            return None
        rows = token_rows(output, mask) if tokens and output.ndim == 3 else output
        if rows.ndim == 1 and self._num_classes <= 2:
            rows = rows.unsqueeze(1)
        if rows.ndim != 2 or len(rows) != samples or max(2, rows.shape[1]) < self._least:
            return None
        if self._kind is None:
            self._kind = output_kind(rows)
        return as_logits(rows, self._kind)


def _within_unit_interval(rows: Tensor) -> Tensor:
    return ((rows >= 0) & (rows <= 1)).all()


def _logarithm(probabilities: Tensor) -> Tensor:
    """Return logarithms in float32 or better, finite also where a probability is 0."""
    precise = probabilities if probabilities.dtype is torch.float64 else probabilities.float()
    return precise.clamp_min(torch.finfo(precise.dtype).tiny).log()


def _eps(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps
