"""What a classifier gives, read as logits, whether it ends in a softmax, a sigmoid or neither."""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.features import token_rows

SUM_TOLERANCE = 1e-5
"""How far the sum of probabilities may be from 1, beside the rounding of their precision."""


def as_logits(output: Tensor) -> Tensor:
    """Return logits (rows, K) of what a classifier gives: of probabilities, their logarithms.

    Cross-entropy takes the softmax of logits, which gives probabilities back from their logarithms.
    Taken of the probabilities themselves it would see a network that is never sure.

    Args:
        output: (rows, K) logits, or probabilities, which are known by not being negative and having
            a sum of 1 in every row.
    """
    return log_probabilities(output) if are_probabilities(output) else output


def are_probabilities(output: Tensor) -> bool:
    """Return whether all rows of (rows, K) are distributions over at least two classes."""
    if output.ndim != 2 or not len(output) or output.shape[1] < 2:
        return False
    # most outputs are no probabilities, and the first row tells
    return _are_distributions(output[:1]) and _are_distributions(output)


def _are_distributions(rows: Tensor) -> bool:
    tolerance = SUM_TOLERANCE + torch.finfo(rows.dtype).eps
    sums = rows.sum(1, dtype=torch.float64 if rows.device.type == "cpu" else torch.float32)
    return bool((rows >= 0).all()) and bool(((sums - 1).abs() <= tolerance).all())


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return the logarithms of probabilities, finite also where one is 0."""
    precise = probabilities if probabilities.dtype is torch.float64 else probabilities.float()
    return precise.clamp_min(torch.finfo(precise.dtype).tiny).log()


def with_two_columns(logits: Tensor) -> Tensor:
    """Return logits (rows, 2) of one per row, (rows,) or (rows, 1); others are handed back."""
    logits = logits.unsqueeze(1) if logits.ndim == 1 else logits
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def logits_for(
    targets: Tensor,
    output: Tensor | None,
    mask: Tensor | None,
    *,
    tokens: bool,
    sigmoid: bool = False,
) -> Tensor | None:
    """Return an output as logits (rows, K), or None if it cannot be that for these targets.

    One number per sample, (n,) or (n, 1), tells two classes apart.

    Args:
        targets: (rows,) labels, also such that are not below K; or real targets, for which there
            are no logits.
        output: what the model gives; None if that is no tensor.
        mask: (n, tokens), true for the tokens that are rows; None if all are.
        tokens: whether rows are tokens; else they are samples.
        sigmoid: True if the model ends in a sigmoid, so that one number is a probability.
    """
    if output is None or targets.is_floating_point():
        return None
    logits = token_rows(output, mask) if tokens and output.ndim == 3 else output
    if logits.ndim == 1 and int(targets.max()) < 2:
        logits = logits.unsqueeze(1)
    if logits.ndim != 2 or len(logits) != len(targets):
        return None
    if logits.shape[1] > 1:
        return as_logits(logits)
    if sigmoid:
        # what rounds to 1 is nearer to it than half a step
        other = (1 - logits).clamp_min(torch.finfo(logits.dtype).eps / 2)
        return log_probabilities(torch.cat([other, logits], dim=1))
    return with_two_columns(logits)


def if_classes_fit(logits: Tensor | None, targets: Tensor) -> Tensor | None:
    """Return logits (rows, K); None if there are none, or if a label is not below K."""
    return None if logits is None or int(targets.max()) >= logits.shape[1] else logits
