"""Separation of features in any dtype: the digits that there are, and no others."""

from __future__ import annotations

import pytest
import torch

from designer.measures.precision import WIDE
from designer.measures.separation import (
    separation_fuzziness,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    separation_value,
)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)]
)
def test_narrower_dtypes_agree_with_float64(device: str, dtype: torch.dtype, rel: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(200, 30, 4))
    assert separation_value(x.to(dtype), y) == pytest.approx(separation_value(x, y), rel=rel)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_what_rounding_leaves(dtype: torch.dtype) -> None:
    # far from the origin, where a tolerance of some roundings of the mean would lose everything
    x, y = gaussian_classes(400, 40, 5, spread=0.05)
    features = (x + 3).to(dtype)
    separation = separation_fuzziness(features, y)
    assert (separation.rank, separation.status) == (4, SeparationStatus.OK)
    assert separation.value == pytest.approx(separation_value(features.double(), y), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_alone_is_no_scatter_in_half_precision(dtype: torch.dtype) -> None:
    centres = torch.randn(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(90) % 3
    tiny = 1e-5 * torch.randn(90, 20, generator=torch.Generator().manual_seed(1))
    separation = separation_fuzziness((centres[y] + tiny).to(dtype), y)
    assert separation.status is SeparationStatus.COLLAPSED


def test_float32_keeps_weak_class_directions() -> None:
    # singular values of M differ by 1e4, those of SS_b by 1e8: beyond float32
    x, y = gaussian_classes(90, 4, 3, spread=0)
    rotation, _ = torch.linalg.qr(x[:3].T - x[:3].T.mean(1, keepdim=True))
    centres = torch.tensor([[1.0, 0.0], [-0.5, 1e-4], [-0.5, -1e-4]], dtype=torch.float64)
    noise = 1e-5 * torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    features = centres[y] @ rotation[:, :2].T + noise
    separation = separation_fuzziness(features.float(), y)
    assert (separation.rank, separation.status) == (2, SeparationStatus.OK)
    assert separation.value == pytest.approx(separation_value(features, y), rel=1e-2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("p", [WIDE, WIDE + 5])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_wide_float32_agrees_with_float64(device: str, p: int, offset: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(300, p, 4))
    features = (x + offset).float()
    assert separation_value(features, y) == pytest.approx(
        separation_value(features.double(), y), rel=1e-4
    )


@pytest.mark.parametrize("device", DEVICES)
def test_wide_float32_is_exact_where_a_big_offset_would_swamp_it(device: str) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(300, WIDE, 4))
    features = (x + 1e4).float()
    assert separation_value(features, y) == pytest.approx(
        separation_value(features.double(), y), rel=1e-9
    )


def test_wide_float32_is_exact_where_samples_vary_much_across_the_class_directions() -> None:
    # each sample has an offset of its own that averages out within its class
    x, y = gaussian_classes(400, WIDE, 4)
    sign = torch.where((torch.arange(400) // 4) % 2 == 0, 1.0, -1.0)
    features = (x - x.mean(1, keepdim=True) + 1e4 * sign[:, None]).float()
    assert separation_value(features, y) == pytest.approx(
        separation_value(features.double(), y), rel=1e-4
    )


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_around_a_measurement_rounds_nothing(device: str) -> None:
    x, y = (t.to(device) for t in gaussian_classes(64, WIDE, 3, dtype=torch.float32))
    with torch.autocast(device, torch.bfloat16):
        inside = separation_value(x, y)
    assert inside == separation_value(x, y)
