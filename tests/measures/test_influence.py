"""Influences of samples on log D are what leaving them out does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designer.measures.influence import ScatterCrossing
from designer.measures.separation import (
    class_directions,
)
from tests.support.helpers import gaussian_classes
from tests.support.measuring import (
    separation_value,
)


@pytest.mark.parametrize("p", [3, 12])
def test_influences_are_what_leaving_a_sample_out_does(p: int) -> None:
    x, y = gaussian_classes(2000, p, 4, seed=3)
    directions = class_directions(x, y)
    crossing = ScatterCrossing(directions)
    crossing.update(x, directions.whitened_residuals(x, y))
    influences = crossing.influence().on_log_separation(x, y)
    others = ~torch.eye(2000, dtype=torch.bool)[:50]
    left_out = np.log(
        [separation_value(x[rows], y[rows]) / separation_value(x, y) for rows in others]
    )
    assert influences.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(-1999 * left_out, influences[:50], rtol=0.03, atol=0.03)
