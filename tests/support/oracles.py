"""Slow textbook forms of what the measures compute: with p x p matrices, by numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from designer.results.measured import FloatArray


def textbook_scatters(x: FloatArray, y: Any) -> tuple[FloatArray, FloatArray]:
    """Return SS_w and SS_b (p, p) of features (n, p) with labels (n,), class by class."""
    n, p = x.shape
    mean = x.mean(axis=0)
    within, between = np.zeros((p, p)), np.zeros((p, p))
    for k in np.unique(y):
        members = x[y == k]
        centre = members.mean(axis=0)
        within += (members - centre).T @ (members - centre) / n
        between += len(members) / n * np.outer(centre - mean, centre - mean)
    return within, between


def textbook_separation(x: FloatArray, y: Any) -> float:
    """Return D = Tr(SS_w SS_b+) by the pseudo-inverse of the p x p matrix."""
    within, between = textbook_scatters(x, y)
    return float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)))


def least_squares_residual(x: Tensor, y: Tensor) -> float:
    """Return 1 - R^2 by numpy's least squares."""
    return weighted_residual(x, y, np.ones(len(x)))


def weighted_residual(x: Tensor, y: Tensor, weights: FloatArray) -> float:
    """Return 1 - R^2 by numpy's least squares of samples with weights (n,)."""
    features, targets = x.double().numpy(), y.double().numpy()
    features = features - features.mean(axis=0)
    root = np.sqrt(weights)[:, None]
    design = root * np.c_[np.ones(len(features)), features]
    coefficients: Any = np.linalg.lstsq(design, root * targets, rcond=None)[0]
    mean = np.average(targets, axis=0, weights=weights)
    errors = np.square(root * targets - design @ coefficients).sum()
    return float(errors / np.square(root * (targets - mean)).sum())
