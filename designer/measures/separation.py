"""Separation fuzziness D = Tr(SS_w SS_b+) of one layer's features, without any p x p matrix.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
y       their labels, 0 .. K-1                                      (n,)
w_k     class weight n_k / n                                        (K,)
m_k     class mean; m is the mean of all samples                    (K, p)
M       rows sqrt(w_k) (m_k - m), so that SS_b = M'M                (K, p)
s, V    singular values and right singular vectors of M             (r,), (p, r)
z       whitened residuals diag(1/s) V' (x_i - m_{y_i})             (n, r)
======  ==========================================================  ========

    D = (1/n) sum_i ||z_i||^2        O(n p K) time, O(p K) memory

This equals the textbook form with SS_w and SS_b as p x p matrices, because SS_b+ =
V diag(1/s^2) V'.  Two passes over the features suffice: ``ClassSums`` takes the first,
``ClassDirections`` the second, in batches of any size and on any device.  Sums are kept in
float64, and the rank is decided on the singular values of M, since those of SS_b are their
squares and lose the weaker half of the class directions.

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.results.measured import Separation, SeparationStatus

CHUNK_ELEMENTS = 1 << 20
"""Features are widened to float64 this many at a time, so that a chunk stays in cache."""


SINGLE = float(torch.finfo(torch.float32).eps)
"""Rounding of single precision, relative."""


WIDE = 4096
"""From this width on, float32 features are projected in float32 where that is exact enough."""


Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives a fresh pass over (features, labels) batches each time it is called."""


class ClassSums:
    """First pass: class sums of the features, in float64.

    Under several labelings at once, where the others are permutations of the first.
    """

    def __init__(self, num_classes: int, labelings: int = 1) -> None:
        self.num_classes = num_classes
        self._labelings = labelings
        self._sums: Tensor | None = None
        self._counts = torch.zeros(num_classes, dtype=torch.float64)
        self._epsilon = 0.0

    def update(self, features: Tensor, *labelings: Tensor) -> None:
        """Add a batch: ``features`` (n, ...) of any dtype, labels (n,) in 0 .. K-1 for each."""
        features = flattened(features)
        if self._sums is None:
            shape = (self._labelings, self.num_classes, features.shape[1])
            self._sums = torch.zeros(shape, dtype=torch.float64, device=features.device)
        if features.shape[1] != self._sums.shape[2]:
            raise InvalidInputError(
                f"Expected features of width {self._sums.shape[2]} as in the first batch, "
                f"got {features.shape[1]}."
            )
        counts = torch.bincount(labelings[0].cpu(), minlength=self.num_classes)
        if len(counts) > self.num_classes:
            raise InvalidInputError(
                f"Expected labels below {self.num_classes}, got {len(counts) - 1}."
            )
        self._counts += counts
        placed = [labels.to(features.device).long() for labels in labelings]
        for rows, wide in float64_chunks(features):
            for sums, labels in zip(self._sums, placed, strict=True):
                sums.index_add_(0, labels[rows], wide)
        self._epsilon = max(self._epsilon, _epsilon(features.dtype))

    @property
    def samples(self) -> int:
        """How many were added."""
        return int(self._counts.sum())

    def directions(self) -> ClassDirections:
        """Class means and whitened class directions under the first labeling."""
        sums, counts = self._all()
        return ClassDirections(sums[0], counts, self._epsilon)

    def permuted(self) -> PermutedScatter:
        """What takes the second pass under all labelings but the first."""
        sums, counts = self._all()
        return PermutedScatter(sums[1:], counts, self._epsilon)

    def _all(self) -> tuple[Tensor, Tensor]:
        if self._sums is None:
            raise InvalidInputError("Expected at least one batch of features, got none.")
        return self._sums, self._counts.to(self._sums.device)


class ClassDirections:
    """Class means, and the class directions scaled so that the between-class scatter is one.

    Attributes:
        means: (K, p) float64, zero for a class without samples.
        weights: (K,) float64, n_k / n.
        singular_values: (r,) float64 of M, those above the tolerance, descending.
        basis: (p, r) float64, V diag(1/s).
        full_rank: K - 1 for the classes present.
        status, reason: as in ``Separation``, as far as the means alone can tell.
    """

    def __init__(self, sums: Tensor, counts: Tensor, epsilon: float) -> None:
        whitened = _whitened(sums, counts, epsilon)
        self.weights, self.full_rank = whitened.weights, whitened.full_rank
        rank = int(whitened.rank)
        self.means = whitened.means
        self.singular_values = whitened.singular_values[:rank]
        self.basis = whitened.basis[:, :rank]
        self._rounding = float(whitened.rounding)
        self._projected_means = self.means @ self.basis
        if math.isfinite(self._rounding):
            self.status, self.reason = _rank_status(rank, self.full_rank)
        else:
            self.status = SeparationStatus.NON_FINITE
            self.reason = "The features contain NaN or infinity."

    @property
    def centred_means(self) -> Tensor:
        """(K, p) float64, m_k - m."""
        return self.means - self.weights @ self.means

    def whitened_residuals(self, features: Tensor, labels: Tensor) -> Tensor:
        """Second pass: z (n, r) float64 for features (n, ...) and their labels (n,)."""
        flat = flattened(features)
        offsets = self._projected_means.T.index_select(1, labels.to(flat.device).long())
        return _residuals(flat, self.basis, offsets).T

    def nearest_class(self, features: Tensor) -> Tensor:
        """(n,) the class whose mean is nearest in Euclidean distance, for features (n, ...)."""
        features = flattened(features)
        offsets = self.means.square().sum(1) / 2
        offsets = torch.where(self.weights > 0, offsets, torch.inf)
        return (projected(features, self.means.T).T - offsets).argmax(1)

    def separation(self, z: Tensor) -> Separation:
        """D from the whitened residuals z (n, r) of all samples."""
        return self.separation_of_terms(z.square().mean(0))

    def separation_of_terms(self, terms: Tensor) -> Separation:
        """D from its terms (r,): the mean square of each column of z."""
        if self.status in (SeparationStatus.NON_FINITE, SeparationStatus.NO_SIGNAL):
            return self._without_value()
        value = float(terms.sum())
        status, reason = self._status_of(value)
        return Separation(
            value={
                SeparationStatus.NON_FINITE: float("nan"),
                SeparationStatus.COLLAPSED: 0.0,
            }.get(status, value),
            rank=self.basis.shape[1],
            full_rank=self.full_rank,
            status=status,
            reason=reason,
            terms=tuple(terms.tolist()),
        )

    def _status_of(self, value: float) -> tuple[SeparationStatus, str]:
        if not math.isfinite(value):
            return SeparationStatus.NON_FINITE, "The features contain NaN or infinity."
        if value <= self._rounding:
            return (
                SeparationStatus.COLLAPSED,
                "There is no scatter within the classes beyond rounding, so D means nothing.",
            )
        return self.status, self.reason

    def _without_value(self) -> Separation:
        return Separation(
            float("nan"), self.basis.shape[1], self.full_rank, self.status, self.reason
        )


class PermutedScatter:
    """Second pass under B permuted labelings at once: one product projects for all of them.

    D as ``ClassDirections`` gives it, but for its status.
    """

    def __init__(self, sums: Tensor, counts: Tensor, epsilon: float) -> None:
        whitened = _whitened(sums, counts, epsilon)
        self._rounding, self._rank = whitened.rounding, whitened.rank
        basis = whitened.basis[..., : int(self._rank.max())]
        self._projected_means = (whitened.means @ basis).mT  # (B, r, K)
        self._basis = basis.movedim(1, 0).flatten(1)  # (p, B r)
        self._squares = torch.zeros_like(whitened.rounding)
        self._n = 0

    def update(self, features: Tensor, *labelings: Tensor) -> None:
        """Add a batch: features (n, ...), labels (n,) for each labeling."""
        flat = flattened(features)
        labels = torch.stack(labelings).to(flat.device).long().unsqueeze(1)
        size = (-1, self._projected_means.shape[1], -1)
        offsets = self._projected_means.gather(2, labels.expand(size))  # (B, r, n)
        z = _residuals(flat, self._basis, offsets.flatten(0, 1))
        self._squares += z.view_as(offsets).square_().sum((1, 2))
        self._n += len(flat)

    def values(self) -> list[float]:
        """(B,) D of all that was added."""
        values = self._squares / self._n
        values = torch.where(values <= self._rounding, 0.0, values)
        defined = (self._rank > 0) & self._rounding.isfinite()
        found: list[float] = torch.where(defined, values, torch.nan).tolist()
        return found


def separation_fuzziness(features: Tensor, labels: Tensor) -> Separation:
    """D = Tr(SS_w SS_b+) of features in memory.

    Args:
        features: (n, ...) tensor of any floating dtype on any device; flattened to (n, p).
        labels: (n,) integers from 0. A class that has no samples does not enter.

    Returns:
        ``Separation``; where D does not exist its value is nan and its status says why.

    Raises:
        InvalidInputError: on wrong shapes or dtypes, no samples, or fewer than two classes.

    Reference: He & Su, PNAS 2023, equation 1.
    """
    directions = class_directions(features, labels)
    return directions.separation(directions.whitened_residuals(features, labels))


def class_directions(features: Tensor, labels: Tensor) -> ClassDirections:
    """Class means and whitened class directions of features (n, ...) with labels (n,)."""
    check_features(features, labels)
    sums = ClassSums(int(labels.max()) + 1)
    sums.update(features, labels)
    return sums.directions()


def separation_fuzziness_of_stream(batches: Batches, num_classes: int) -> Separation:
    """D of features that come in batches, in two passes and O(p K) memory.

    Args:
        batches: called twice; each time gives the same (features (n_b, ...), labels (n_b,)).
        num_classes: K; labels lie in 0 .. K-1.

    Raises:
        InvalidInputError: as ``separation_fuzziness``.
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
    """D with means and directions from one set and the scatter from another.

    Features that separate only the samples they were fitted to score badly here.  Shapes as
    in ``separation_fuzziness``, for either set.

    Raises:
        InvalidInputError: as ``separation_fuzziness``, or where a held-out class is unknown.
    """
    directions = class_directions(features, labels)
    check_heldout(directions, heldout_features, heldout_labels)
    return directions.separation(directions.whitened_residuals(heldout_features, heldout_labels))


def label_permutation_null(
    features: Tensor, labels: Tensor, permutations: int = 3, seed: int = 0
) -> float:
    """Mean D of the same features under permuted labels: what the width alone gives.

    For isotropic features it is about (n - K)(K - 1) / (p - K).  Shapes and errors as in
    ``separation_fuzziness``.
    """
    check_features(features, labels)
    drawn = permuted_labels(labels, permutations, seed)
    values = [separation_fuzziness(features, permuted).value for permuted in drawn]
    return float(torch.tensor(values, dtype=torch.float64).mean())


def permuted_labels(labels: Tensor, permutations: int, seed: int) -> list[Tensor]:
    """``permutations`` seeded shuffles of labels (n,); the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return [
        labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
        for _ in range(permutations)
    ]


def nearest_class_mean_accuracy(
    features: Tensor, labels: Tensor, heldout_features: Tensor, heldout_labels: Tensor
) -> float:
    """Accuracy on the held-out set of assigning each sample to the nearest training class mean.

    Euclidean distance on the flattened features; shapes and errors as in
    ``cross_fitted_separation``.
    """
    directions = class_directions(features, labels)
    check_heldout(directions, heldout_features, heldout_labels)
    predicted = directions.nearest_class(heldout_features)
    return float((predicted == heldout_labels.to(predicted.device)).double().mean())


def trace_ratio(features: Tensor, labels: Tensor) -> float:
    """Tr SS_w / Tr SS_b, D's cheaper cousin that weighs all directions alike.

    Shapes and errors as in ``separation_fuzziness``; nan where the class means coincide.
    """
    directions = class_directions(features, labels)
    flat = flattened(features)
    within = sum(
        float((wide - directions.means[labels[rows]]).square().sum())
        for rows, wide in float64_chunks(flat)
    )
    between = float(directions.singular_values.square().sum())
    return within / len(flat) / between if between > 0 else float("nan")


def check_features(features: Tensor, labels: Tensor) -> None:
    """Raise ``InvalidInputError`` unless features (n, ...) and labels (n,) fit together."""
    if not isinstance(features, Tensor) or not isinstance(labels, Tensor):
        raise InvalidInputError(
            f"Expected `features` and `labels` as torch tensors, got "
            f"{type(features).__name__} and {type(labels).__name__}; use torch.as_tensor."
        )
    if features.ndim < 2 or not features.is_floating_point():
        raise InvalidInputError(
            f"Expected `features` of shape (n, ...) and a floating dtype, got shape "
            f"{tuple(features.shape)} and {features.dtype}."
        )
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InvalidInputError(
            f"Expected `labels` of shape (n,) and an integer dtype, got shape "
            f"{tuple(labels.shape)} and {labels.dtype}."
        )
    if len(features) != len(labels):
        raise InvalidInputError(
            f"Expected one label per sample, got {len(features)} samples and {len(labels)} labels."
        )
    if len(labels) == 0 or features.numel() == 0:
        raise InvalidInputError(
            f"Expected at least one sample and one feature, got shape {tuple(features.shape)}."
        )
    if int(labels.min()) < 0:
        raise InvalidInputError(f"Expected `labels` from 0 on, got {int(labels.min())}.")


def check_heldout(directions: ClassDirections, features: Tensor, labels: Tensor) -> None:
    """Raise ``InvalidInputError`` unless held-out data have the width and classes of training."""
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


def _rank_status(rank: int, full_rank: int) -> tuple[SeparationStatus, str]:
    if rank == 0:
        return (
            SeparationStatus.NO_SIGNAL,
            "All class means coincide, so there is no between-class scatter to divide by.",
        )
    if rank < full_rank:
        return (
            SeparationStatus.RANK_DEFICIENT,
            f"Only {rank} of {full_rank} class directions are left.",
        )
    return SeparationStatus.OK, ""


@dataclass(frozen=True)
class _Whitened:
    """Class means and directions, any number of them at once."""

    weights: Tensor
    """(K,)"""
    full_rank: int
    """Classes present, less one."""
    means: Tensor
    """(..., K, p), zero for a class without samples."""
    singular_values: Tensor
    """(..., K) of M, descending."""
    rank: Tensor
    """(...) how many of them count."""
    basis: Tensor
    """(..., p, K) V diag(1/s), zero beyond the rank."""
    rounding: Tensor
    """(...) a D that is no larger is rounding; nan where the features are not finite."""


def _whitened(sums: Tensor, counts: Tensor, epsilon: float) -> _Whitened:
    """From class sums (..., K, p) and counts (K,) of features with that rounding.

    Raises:
        InvalidInputError: where fewer than two classes have samples.
    """
    present = int(torch.count_nonzero(counts))
    if present < 2:
        raise InvalidInputError(
            f"Expected samples of at least 2 classes, got {present}: there is no "
            f"between-class scatter to measure against."
        )
    full_rank = present - 1
    weights = counts / counts.sum()
    means = sums / counts.clamp(min=1).unsqueeze(1)
    size = (torch.linalg.vector_norm(means, dim=-1).square() @ weights).sqrt()
    if not bool(size.isfinite().all()):
        none = torch.zeros_like(size, dtype=torch.long)
        empty = means.mT[..., :0]
        return _Whitened(weights, full_rank, means, empty[..., 0, :], none, empty, size * torch.nan)
    centred = means - (weights @ means).unsqueeze(-2)
    weighted = centred.mul_(weights.sqrt().unsqueeze(1))
    # QR first: the SVD of the tall (p, K) matrix gives the same at a greater cost.
    q, upper = torch.linalg.qr(weighted.mT)
    u, s, _ = torch.linalg.svd(upper, full_matrices=False)
    kept = s > (_errors(epsilon) * size).unsqueeze(-1)
    kept[..., full_rank:] = False
    inverse = torch.where(kept, s.reciprocal(), 0.0)
    # half precision only rounds, each number by itself, and no direction gathers that
    spread = means.abs().amax((-2, -1)) if epsilon > SINGLE else size
    rounding = (_errors(epsilon) * spread).square() * inverse.square().sum(-1)
    basis = q @ (u * inverse.unsqueeze(-2))
    return _Whitened(weights, full_rank, means, s, kept.sum(-1), basis, rounding)


def _residuals(features: Tensor, basis: Tensor, offsets: Tensor) -> Tensor:
    """(r, n) basis' x - offset in float64: features (n, p), basis (p, r), offsets (r, n)."""
    if features.dtype == torch.float32 and features.shape[1] >= WIDE:
        quick = _float32_residuals(features, basis, offsets)
        if quick is not None:
            return quick
    return projected(features, basis).sub_(offsets)


def _float32_residuals(features: Tensor, basis: Tensor, offsets: Tensor) -> Tensor | None:
    """The same by one float32 product, or None where its rounding would show in D.

    The columns are padded to a multiple of 16, for which BLAS has a faster kernel.
    """
    rank = basis.shape[1]
    padded = torch.nn.functional.pad(basis.float(), (0, -rank % 16))
    z = (features @ padded)[:, :rank].double().T - offsets
    some = features[:: max(1, len(features) // 64)]  # all would cost as much as the product
    magnitude = float(torch.linalg.vector_norm(some)) / math.sqrt(some.numel())
    products = magnitude * torch.linalg.vector_norm(basis, dim=0)
    rounding = 4 * _epsilon(torch.float32) * (products + 1)
    return z if bool((rounding.square() < 1e-7 * z.square().mean(1)).all()) else None


def flattened(features: Tensor) -> Tensor:
    flat = features.reshape(len(features), -1)
    # float64 does not exist on Apple's GPUs
    return flat.cpu() if flat.device.type == "mps" else flat


def float64_chunks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of features (n, p) in float64, a cached chunk at a time; a chunk is overwritten
    by the next, since fresh memory for each would cost more than the sums themselves."""
    step = max(1, CHUNK_ELEMENTS // features.shape[1])
    if features.dtype == torch.float64 or step >= len(features):
        yield slice(None), features.double()
        return
    chunk = torch.empty(step, features.shape[1], dtype=torch.float64, device=features.device)
    for start in range(0, len(features), step):
        rows = slice(start, min(start + step, len(features)))
        yield rows, chunk[: rows.stop - start].copy_(features[rows])


def projected(features: Tensor, onto: Tensor) -> Tensor:
    """onto' features' (r, n) in float64, for features (n, p) and onto (p, r): BLAS is twice
    as fast on the short and wide product as on its transpose."""
    transposed = onto.T.contiguous()
    parts = [transposed @ wide.T for _, wide in float64_chunks(features)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _errors(epsilon: float) -> float:
    """Relative error of features of a precision: those of matrix products add up, but in half
    precision, which is added up in single precision and then rounded."""
    return 0.5 * epsilon if epsilon > SINGLE else 10 * epsilon


def _epsilon(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).eps)
