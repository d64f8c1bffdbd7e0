"""Separation fuzziness D = Tr(SS_w SS_b+) of one layer's features, without any p x p matrix.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
y       their labels, 0..K-1                                        (n,)
w_k     class weight n_k / n                                        (K,)
m_k     class mean; m is the mean of all samples                    (K, p)
SS_b    sum_k w_k (m_k - m)(m_k - m)', scatter between classes      (p, p)
SS_w    (1/n) sum_i (x_i - m_{y_i})(x_i - m_{y_i})', scatter        (p, p)
        within classes
M       rows sqrt(w_k) (m_k - m), so that SS_b = M'M                (K, p)
s, V    singular values and right singular vectors of M             (r,), (p, r)
z       whitened residuals diag(1/s) V' (x_i - m_{y_i})             (n, r)
======  ==========================================================  ========

    D = (1/n) sum_i ||z_i||^2        O(n p K) time, O(p K) memory

This equals the textbook form with SS_w and SS_b as p x p matrices, because SS_b+ =
V diag(1/s^2) V'.  Two passes over the features suffice: ``ClassSums`` takes the first,
``ClassDirections`` the second, in batches of any size and on any device, with sums in float64.

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.checks import check_features
from designer.measures.class_directions import ClassDirections
from designer.measures.class_sums import ClassSums
from designer.measures.nearest_class_mean import nearest_class
from designer.measures.permutations import permuted_labels
from designer.measures.precision import flattened
from designer.results.measured import Separation

BatchSource = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Returns, at each call, a new pass over batches (features (n_b, ...), labels (n_b,))."""


def separation_fuzziness(features: Tensor, labels: Tensor) -> Separation:
    """Return D = Tr(SS_w SS_b+) of features in memory.

    Args:
        features: (n, ...) tensor of any floating dtype on any device; flattened to (n, p).
        labels: (n,) integers from 0. A class without samples does not count.

    Returns:
        D with its rank and status. If D does not exist, its value is nan and its status says why.

    Raises:
        InvalidInputError: on wrong shapes or dtypes, no samples, or fewer than two classes.

    Reference: He & Su, PNAS 2023.
    """
    directions = class_directions(features, labels)
    return directions.separation(directions.whitened_residuals(features, labels))


def separation_fuzziness_of_stream(batches: BatchSource, num_classes: int) -> Separation:
    """Return D of features that come in batches, in two passes and O(p K) memory.

    Args:
        batches: called twice; the batches must be the same each time.
        num_classes: K; labels lie in 0..K-1.

    Returns:
        As ``separation_fuzziness``.

    Raises:
        InvalidInputError: as ``separation_fuzziness``, or if the passes differ in length.
    """
    sums = ClassSums(num_classes)
    for features, labels in batches():
        check_features(features, labels)
        sums.update(features, labels)
    directions = sums.directions()
    total, n = torch.zeros(directions.basis.shape[1], dtype=torch.float64), 0
    for features, labels in batches():
        total += directions.whitened_residuals(features, labels).square().sum(0).cpu()
        n += len(labels)
    if n != sums.samples:
        raise InvalidInputError(
            f"Expected the same batches in each pass, got {sums.samples} samples in the first "
            f"and {n} in the second; `batches` must start anew each time it is called."
        )
    return directions.separation_of_terms(total / n)


def cross_fitted_separation(
    features: Tensor, labels: Tensor, heldout_features: Tensor, heldout_labels: Tensor
) -> Separation:
    """Return D with means and directions from training data and scatter from held-out data.

    Features that separate only the samples they were fitted to have a large D here.

    Args:
        features: (n, ...) training features.
        labels: (n,) training labels.
        heldout_features: (m, ...) held-out features of the same width.
        heldout_labels: (m,) held-out labels, all among the training classes.

    Returns:
        As ``separation_fuzziness``.

    Raises:
        InvalidInputError: as ``separation_fuzziness``, or if a held-out class is unknown.
    """
    directions = class_directions(features, labels)
    check_heldout(directions, heldout_features, heldout_labels)
    return directions.separation(directions.whitened_residuals(heldout_features, heldout_labels))


def label_permutation_null(
    features: Tensor, labels: Tensor, permutations: int = 3, seed: int = 0
) -> float:
    """Return the mean D of the same features under permuted labels: what the width alone gives.

    Args:
        features: (n, ...), as in ``separation_fuzziness``.
        labels: (n,), as in ``separation_fuzziness``.
        permutations: number of shuffles, at least 1.
        seed: seed of the shuffles.

    Raises:
        InvalidInputError: as ``separation_fuzziness``.
    """
    check_features(features, labels)
    values = [
        separation_fuzziness(features, permuted).value
        for permuted in permuted_labels(labels, permutations, seed)
    ]
    return float(torch.tensor(values, dtype=torch.float64).mean())


def nearest_class_mean_accuracy(
    features: Tensor, labels: Tensor, heldout_features: Tensor, heldout_labels: Tensor
) -> float:
    """Return the held-out accuracy of taking the class whose training mean is nearest.

    Args:
        features: (n, ...) training features.
        labels: (n,) training labels.
        heldout_features: (m, ...) held-out features of the same width.
        heldout_labels: (m,) held-out labels, all among the training classes.

    Raises:
        InvalidInputError: as ``cross_fitted_separation``.
    """
    directions = class_directions(features, labels)
    check_heldout(directions, heldout_features, heldout_labels)
    predicted = nearest_class(directions, heldout_features)
    return float((predicted == heldout_labels.to(predicted.device)).double().mean())


def class_directions(features: Tensor, labels: Tensor) -> ClassDirections:
    """Return class means and whitened class directions of features (n, ...) with labels (n,).

    Raises:
        InvalidInputError: as ``separation_fuzziness``.
    """
    check_features(features, labels)
    sums = ClassSums(int(labels.max()) + 1)
    sums.update(features, labels)
    return sums.directions()


def check_heldout(directions: ClassDirections, features: Tensor, labels: Tensor) -> None:
    """Check that held-out data have the width and the classes of the training data.

    Raises:
        InvalidInputError: if they do not, or if features and labels do not fit together.
    """
    check_features(features, labels)
    width = directions.means.shape[1]
    if flattened(features).shape[1] != width:
        raise InvalidInputError(
            f"Expected held-out features of width {width} as in training, got shape "
            f"{tuple(features.shape)}."
        )
    known = set(torch.nonzero(directions.weights > 0).flatten().tolist())
    unknown = sorted(set(labels.tolist()) - known)
    if unknown:
        raise InvalidInputError(
            f"Expected held-out labels among the training classes, got class {unknown[0]}, too."
        )
