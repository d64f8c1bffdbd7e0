"""Rulers: batch by batch the same as all at once, and no more memory than foretold."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from designer.choices import Measure
from designer.errors import InvalidInputError
from designer.measures.permutations import permuted_labels
from designer.measures.residual import cross_fitted_residual, prediction_residual
from designer.measures.rulers import (
    PASSES,
    HeldoutRuler,
    Ruler,
    bytes_needed,
    mean_null,
    measure_of,
    ruler_of,
)
from designer.measures.separation import (
    class_directions,
    cross_fitted_separation,
    nearest_class_mean_accuracy,
    separation_fuzziness,
)
from tests.support.helpers import gaussian_classes

X, Y = gaussian_classes(100, 6, 4)
TRAIN, HELD = slice(0, 70), slice(70, 100)
REAL = X[:, :2].abs()


def measured(
    measure: Measure,
    features: Tensor,
    labelings: list[Tensor],
    classes: int | None,
    *,
    crossing: bool = True,
    size: int = 16,
) -> Ruler:
    """A ruler that features (n, p) have passed by, ``size`` at a time."""
    ruler = ruler_of(measure, classes, len(labelings), crossing=crossing)
    for _ in PASSES[measure]:
        for rows in torch.split(torch.arange(len(features)), size):
            ruler.add(features[rows], [labels[rows] for labels in labelings])
        ruler.end_pass()
    return ruler


def held_out(ruler: Ruler, features: Tensor, targets: Tensor, kept: Tensor) -> HeldoutRuler:
    """Its counterpart for features (n, p), seven at a time."""
    held = ruler.heldout()
    for rows in torch.split(torch.arange(len(features)), 7):
        held.add(features[rows], targets[rows], kept[rows])
    return held


def test_separation_in_batches() -> None:
    permuted = permuted_labels(Y[TRAIN], 2, seed=3)
    ruler = measured(Measure.SEPARATION, X[TRAIN], [Y[TRAIN], *permuted], 4)
    expected = separation_fuzziness(X[TRAIN], Y[TRAIN])
    assert ruler.width == 6
    assert ruler.train().value == pytest.approx(expected.value, rel=1e-9)
    assert ruler.train().terms == pytest.approx(expected.terms, rel=1e-9)
    nulls = [separation_fuzziness(X[TRAIN], labels).value for labels in permuted]
    assert ruler.nulls() == pytest.approx(nulls, rel=1e-9)
    assert ruler.influence(X[TRAIN], Y[TRAIN]).mean() == pytest.approx(0, abs=1e-9)


def test_heldout_separation_in_batches() -> None:
    ruler = measured(Measure.SEPARATION, X[TRAIN], [Y[TRAIN]], 4, crossing=False)
    kept = torch.arange(30) % 3 > 0
    held = held_out(ruler, X[HELD], Y[HELD], kept)
    every = X[TRAIN], Y[TRAIN], X[HELD], Y[HELD]
    assert held.separation().value == pytest.approx(cross_fitted_separation(*every).value, rel=1e-9)
    assert held.accuracy() == pytest.approx(nearest_class_mean_accuracy(*every))
    z = class_directions(X[TRAIN], Y[TRAIN]).whitened_residuals(X[HELD], Y[HELD])
    squares = z.square().sum(1)
    np.testing.assert_allclose(held.influence(), (squares / squares.mean() - 1)[kept], rtol=1e-9)


@pytest.mark.parametrize("classes", [4, None])
def test_the_residual_in_batches(classes: int | None) -> None:
    targets = REAL if classes is None else Y
    ruler = measured(Measure.RESIDUAL, X[TRAIN], [targets[TRAIN]], classes)
    expected = prediction_residual(X[TRAIN], targets[TRAIN], classes)
    assert ruler.width == 6
    assert ruler.train().value == pytest.approx(expected.value, rel=1e-9)
    assert ruler.nulls() == pytest.approx([1 - 6 / 69])
    assert ruler.influence(X[TRAIN], targets[TRAIN]).mean() == pytest.approx(0, abs=1e-9)
    kept = torch.arange(30) % 3 > 0
    held = held_out(ruler, X[HELD], targets[HELD], kept)
    crossed = cross_fitted_residual(X[TRAIN], targets[TRAIN], X[HELD], targets[HELD], classes)
    assert held.separation().value == pytest.approx(crossed.value, rel=1e-9)
    assert math.isnan(held.accuracy())
    assert held.influence().shape == (20,)
    every = held_out(ruler, X[HELD], targets[HELD], torch.ones(30, dtype=torch.bool))
    assert every.influence().mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(held.influence(), every.influence()[kept.numpy()])


def test_influences_must_be_asked_for_beforehand() -> None:
    ruler = measured(Measure.SEPARATION, X, [Y], 4, crossing=False)
    with pytest.raises(InvalidInputError, match="Expected a ruler made with `crossing=True`"):
        ruler.influence(X, Y)


def test_separation_has_no_real_targets() -> None:
    with pytest.raises(
        InvalidInputError,
        match=r"^Expected class labels for separation, got real targets; measure the residual\.$",
    ):
        ruler_of(Measure.SEPARATION, None, 1, crossing=True)


@pytest.mark.parametrize("crossing", [True, False])
@pytest.mark.parametrize("labelings", [1, 4])
def test_separation_holds_no_more_memory_than_foretold(labelings: int, crossing: bool) -> None:
    x, y = gaussian_classes(300, 1000, 30)
    permuted = permuted_labels(y, labelings - 1, 0)
    ruler = measured(Measure.SEPARATION, x, [y, *permuted], 30, crossing=crossing)
    foretold = bytes_needed(Measure.SEPARATION, [1000], 30, labelings)
    assert foretold / 4 < held_by(ruler) <= foretold


@pytest.mark.parametrize("classes", [40, None])
def test_the_residual_holds_no_more_memory_than_foretold(classes: int | None) -> None:
    x, y = gaussian_classes(500, 300, 40)
    targets = x[:, :40] if classes is None else y
    ruler = measured(Measure.RESIDUAL, x, [targets], classes)
    foretold = bytes_needed(Measure.RESIDUAL, [300], 40, 1)
    assert foretold / 4 < held_by(ruler) <= foretold


def test_memory_of_several_taps() -> None:
    for measure in Measure:
        narrow, wide = (bytes_needed(measure, [width], 10, 2) for width in (300, 500))
        both = bytes_needed(measure, [300, 500], 10, 2)
        assert wide < both <= narrow + wide
        assert bytes_needed(measure, [], 10, 2) == 0


@pytest.mark.parametrize("measure", Measure)
def test_measures_have_names(measure: Measure) -> None:
    assert measure_of(str(measure)) is measure


def test_an_unknown_measure() -> None:
    with pytest.raises(
        InvalidInputError, match=r"^Expected a measure among separation, residual, got 'loss'\.$"
    ):
        measure_of("loss")


def test_the_null_is_the_mean_over_permutations() -> None:
    assert mean_null([1.0, 3.0]) == 2
    assert math.isnan(mean_null([]))


def held_by(value: object) -> int:
    """Bytes of all tensors that an object holds."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors_in(value)}
    return sum(storage.nbytes() for storage in storages.values())


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in an object, in what it holds, and so on."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif type(value).__module__.startswith("designer."):
        yield from tensors_in(list(getattr(value, "__dict__", {}).values()))
