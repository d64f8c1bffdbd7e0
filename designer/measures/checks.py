"""Checks of features and of what they are measured against, with one clear error each."""

from __future__ import annotations

import torch
from torch import Tensor

from designer.errors import InvalidInputError

MOST_CLASSES = 1_000_000
"""Labels of this or more are taken for a mistake: memory grows with the number of classes."""


def check_features(features: Tensor, labels: Tensor) -> None:
    """Check that features (n, ...) and class labels (n,) fit together.

    Raises:
        InvalidInputError: on wrong shapes or dtypes, no samples, or negative labels.
    """
    _check_samples(features, labels, "labels")
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InvalidInputError(
            f"Expected `labels` of shape (n,) and an integer dtype, got shape "
            f"{tuple(labels.shape)} and {labels.dtype}."
        )
    _check_lengths(features, labels, "label")
    if int(labels.min()) < 0:
        raise InvalidInputError(f"Expected `labels` from 0 on, got {int(labels.min())}.")
    check_class_count(int(labels.max()) + 1)


def check_class_count(num_classes: int) -> None:
    """Check that there are not more classes than any data have.

    Raises:
        InvalidInputError: if there are more than ``MOST_CLASSES``.
    """
    if num_classes > MOST_CLASSES:
        raise InvalidInputError(
            f"Expected labels below {MOST_CLASSES:,}, got {num_classes - 1:,}; number the classes "
            f"from 0 on."
        )


def check_targets(features: Tensor, targets: Tensor, num_classes: int | None) -> None:
    """Check that features (n, ...) and targets fit together.

    Args:
        features: (n, ...) features.
        targets: (n,) class labels, or (n,) or (n, q) real numbers.
        num_classes: K; None for real targets.

    Raises:
        InvalidInputError: on wrong shapes or dtypes, no samples, labels out of range, or targets
            that are not finite.
    """
    _check_samples(features, targets, "targets")
    check_kind(targets, num_classes)
    _check_lengths(features, targets, "target")


def check_kind(targets: Tensor, num_classes: int | None) -> None:
    """Check targets alone, as ``check_targets`` does.

    Raises:
        InvalidInputError: as ``check_targets``.
    """
    if num_classes is None:
        _check_real(targets)
    else:
        _check_classes(targets, num_classes)


def _check_samples(features: Tensor, targets: Tensor, name: str) -> None:
    if not isinstance(features, Tensor) or not isinstance(targets, Tensor):
        raise InvalidInputError(
            f"Expected `features` and `{name}` as torch tensors, got "
            f"{type(features).__name__} and {type(targets).__name__}; use torch.as_tensor."
        )
    if features.ndim < 2 or not features.is_floating_point():
        raise InvalidInputError(
            f"Expected `features` of shape (n, ...) and a floating dtype, got shape "
            f"{tuple(features.shape)} and {features.dtype}."
        )
    if features.is_meta or targets.is_meta:
        raise InvalidInputError(
            f"Expected `features` and `{name}` that hold numbers, got tensors on the meta device."
        )
    if features.numel() == 0:
        raise InvalidInputError(
            f"Expected at least one sample and one feature, got shape {tuple(features.shape)}."
        )


def _check_lengths(features: Tensor, targets: Tensor, name: str) -> None:
    if len(features) != len(targets):
        raise InvalidInputError(
            f"Expected one {name} per sample, got {len(features)} samples and "
            f"{len(targets)} {name}s."
        )


def _check_real(targets: Tensor) -> None:
    if not targets.is_floating_point():
        raise InvalidInputError(
            f"Expected `targets` of a floating dtype, got {targets.dtype}; give `num_classes` "
            f"if they are class labels."
        )
    if targets.ndim not in (1, 2) or targets.numel() == 0:
        raise InvalidInputError(
            f"Expected `targets` of shape (n,) or (n, q), got shape {tuple(targets.shape)}."
        )
    if not bool(torch.isfinite(targets).all()):
        raise InvalidInputError(
            "Expected finite `targets`, got NaN or infinity; leave out samples without a target."
        )


def _check_classes(targets: Tensor, num_classes: int) -> None:
    if targets.is_floating_point():
        raise InvalidInputError(
            f"Expected `targets` of an integer dtype for {num_classes} classes, got "
            f"{targets.dtype}; leave out `num_classes` if they are real numbers."
        )
    if targets.ndim != 1 or targets.dtype == torch.bool or targets.numel() == 0:
        raise InvalidInputError(
            f"Expected `targets` of shape (n,) and an integer dtype, got shape "
            f"{tuple(targets.shape)} and {targets.dtype}."
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        raise InvalidInputError(
            f"Expected labels from 0 to {num_classes - 1}, got {low if low < 0 else high}."
        )
