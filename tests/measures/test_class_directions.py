"""Features without a separation fuzziness, or with fewer class directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designer.measures.precision import WIDE
from designer.measures.separation import (
    cross_fitted_separation,
    separation_fuzziness,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    assert_no_value,
    separation_value,
)
from tests.support.oracles import (
    textbook_separation,
)


def test_rank_deficient_class_means() -> None:
    x, y = gaussian_classes(80, 6, 4, spread=0.1)
    centres = torch.arange(4.0, dtype=torch.float64)[y][:, None] * torch.ones(6)
    noise = x - torch.stack([x[y == k].mean(0) for k in range(4)])[y]
    separation = separation_fuzziness(centres + noise, y)
    assert (separation.rank, separation.full_rank) == (1, 3)
    assert separation.status is SeparationStatus.RANK_DEFICIENT
    assert separation.value == pytest.approx(
        textbook_separation((centres + noise).numpy(), y.numpy()), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [2, 50, WIDE])
def test_features_without_scatter_within_the_classes(p: int, dtype: torch.dtype) -> None:
    x, y = gaussian_classes(60, p, 3, spread=0, dtype=dtype)
    separation = separation_fuzziness(x, y)
    assert separation.status is SeparationStatus.COLLAPSED
    assert separation.value == 0.0
    assert separation.reason


def test_integers_without_scatter_within_the_classes() -> None:
    y = torch.arange(30) % 3
    separation = separation_fuzziness(torch.eye(3)[y], y)
    assert (separation.value, separation.status) == (0.0, SeparationStatus.COLLAPSED)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_have_no_signal(constant: float, dtype: torch.dtype) -> None:
    y = torch.arange(31) % 3
    assert_no_value(
        separation_fuzziness(torch.full((31, 4), constant, dtype=dtype), y),
        SeparationStatus.NO_SIGNAL,
    )


def test_coinciding_class_means_have_no_signal() -> None:
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, 1.0], [-3.0, -1.0]])
    separation = separation_fuzziness(x, torch.tensor([0, 0, 1, 1]))
    assert_no_value(separation, SeparationStatus.NO_SIGNAL)
    assert separation.rank == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("p", [5, WIDE])
def test_non_finite_features(device: str, bad: float, p: int) -> None:
    x, y = gaussian_classes(p=p, dtype=torch.float32)
    x[7, 3] = bad
    separation = separation_fuzziness(x.to(device), y.to(device))
    assert_no_value(separation, SeparationStatus.NON_FINITE)
    assert "NaN or infinity" in separation.reason


def test_non_finite_heldout_features() -> None:
    x, y = gaussian_classes()
    held = x.clone()
    held[0, 0] = float("nan")
    separation = cross_fitted_separation(x, y, held, y)
    assert_no_value(separation, SeparationStatus.NON_FINITE)


def test_an_empty_class_does_not_enter() -> None:
    x, y = gaussian_classes()
    gap = torch.where(y == 2, 5, y)
    assert separation_fuzziness(x, gap).value == pytest.approx(separation_value(x, y), rel=1e-9)
    assert separation_fuzziness(x, gap).full_rank == 2


def test_a_class_with_one_sample_adds_no_scatter_within() -> None:
    x, y = gaussian_classes(61)
    y[60] = 3
    separation = separation_fuzziness(x, y)
    assert separation.value == pytest.approx(textbook_separation(x.numpy(), y.numpy()), rel=1e-7)
    assert separation.full_rank == 3


def test_fewer_features_than_class_directions() -> None:
    x, y = gaussian_classes(100, 2, 5)
    separation = separation_fuzziness(x, y)
    assert (separation.rank, separation.full_rank) == (2, 4)
    assert separation.status is SeparationStatus.RANK_DEFICIENT
    assert np.isfinite(separation.value)
