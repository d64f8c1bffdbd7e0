"""The classifier that takes the class whose mean is nearest.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
m_k     mean of class k in the training data                        (K, p)
======  ==========================================================  ========

    argmin_k ||x - m_k||^2 = argmax_k (x'm_k - ||m_k||^2 / 2)

Both are measured from the origin of the class directions, which keeps digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.class_directions import ClassDirections
from designer.measures.precision import flattened, power_of_two, projected


def nearest_class(directions: ClassDirections, features: Tensor) -> Tensor:
    """Return the class (n,) whose training mean is nearest in Euclidean distance.

    Args:
        directions: class means of the training data. A class without samples is never nearest.
        features: (n, ...).
    """
    means = directions.means
    unit = power_of_two(float(means.abs().max()))  # so that squares stay in range
    means = means * unit
    offsets = torch.where(directions.weights > 0, means.square().sum(1) / 2, torch.inf)
    products = projected(flattened(features), means.T, directions.origin).T * unit
    return (products - offsets).argmax(1)
