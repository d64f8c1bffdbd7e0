"""The classifier that takes the class whose mean is nearest.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
m_k     mean of class k in the training data                        (K, p)
======  ==========================================================  ========

    argmin_k ||x - m_k||^2 = argmax_k (x'm_k - ||m_k||^2 / 2)
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.class_directions import ClassDirections
from designer.measures.precision import flattened, projected


def nearest_class(directions: ClassDirections, features: Tensor) -> Tensor:
    """Return the class (n,) whose training mean is nearest in Euclidean distance.

    Args:
        directions: class means of the training data. A class without samples is never nearest.
        features: (n, ...).
    """
    features = flattened(features)
    offsets = directions.means.square().sum(1) / 2
    offsets = torch.where(directions.weights > 0, offsets, torch.inf)
    return (projected(features, directions.means.T).T - offsets).argmax(1)
