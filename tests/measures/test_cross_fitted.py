"""Cross-fitted separation: means and directions from training data, scatter from held-out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designer.errors import InvalidInputError
from designer.measures.separation import (
    cross_fitted_separation,
    separation_fuzziness,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import gaussian_classes
from tests.support.oracles import (
    textbook_scatters,
)

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


@few
@given(seed=seeds, p=st.integers(2, 30))
def test_cross_fitted_equals_the_direct_formula(seed: int, p: int) -> None:
    x, y = gaussian_classes(120, p, 4, seed=seed)
    held, held_labels = x[70:], y[70:]
    _, between = textbook_scatters(x[:70].numpy(), y[:70].numpy())
    centres = np.stack([x[:70][y[:70] == k].numpy().mean(0) for k in range(4)])
    residuals = held.numpy() - centres[held_labels.numpy()]
    inverse = np.linalg.pinv(between, rcond=1e-10, hermitian=True)
    expected = np.einsum("ip,pq,iq->", residuals, inverse, residuals) / len(residuals)
    separation = cross_fitted_separation(x[:70], y[:70], held, held_labels)
    assert separation.value == pytest.approx(float(expected), rel=1e-6)


def test_cross_fitted_to_itself_is_the_ordinary_value() -> None:
    x, y = gaussian_classes()
    assert cross_fitted_separation(x, y, x, y) == separation_fuzziness(x, y)


def test_cross_fitted_takes_heldout_data_that_lack_a_class() -> None:
    x, y = gaussian_classes()
    assert cross_fitted_separation(x, y, x[y < 2], y[y < 2]).status is SeparationStatus.OK


@pytest.mark.parametrize("shift", [1, 7])
def test_cross_fitted_to_an_unknown_class(shift: int) -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected held-out labels .* got class"):
        cross_fitted_separation(x, y, x, y + shift)


def test_cross_fitted_to_features_of_another_width() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* 5.* got"):
        cross_fitted_separation(x, y, x[:, :4], y)
