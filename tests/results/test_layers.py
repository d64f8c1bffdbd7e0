"""Records of layers: mean and spread over seeds, curves that survive JSON."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict

import pytest

from designer.results.layers import Curve, MeanSd
from tests.support.helpers import profile_of


@pytest.mark.parametrize("values", [[0.5, 0.75], [0.9, 0.8, 0.85, 0.1], [1.0, 1.0, 1.0]])
def test_mean_and_sd_are_those_of_the_sample(values: list[float]) -> None:
    spread = MeanSd.of(values)
    assert spread.mean == pytest.approx(statistics.mean(values))
    assert spread.sd == pytest.approx(statistics.stdev(values))
    assert spread.seeds == len(values)


def test_one_seed_has_no_sd() -> None:
    assert MeanSd.of([0.5]) == MeanSd(0.5, None, 1)


def test_a_curve_has_four_digits_and_none_where_d_does_not_exist() -> None:
    curve = Curve.of(profile_of([123.456789, math.nan, 1.0]), epoch=3)
    assert curve == Curve(("input", "block1", "block2"), (123.5, None, 1.0), (), 3)


def test_a_curve_survives_json() -> None:
    curve = Curve.of(profile_of([4.0, 2.0], [5.0, 3.0]))
    assert curve.separation_heldout == (5.0, 3.0)
    assert Curve.read(json.loads(json.dumps(asdict(curve)))) == curve
