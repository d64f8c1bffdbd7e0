"""Separation of streams: any batches give the same, and wrong ones are refused."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.separation import (
    separation_fuzziness_of_stream,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    separation_value,
)

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, cuts=st.sets(st.integers(1, 59), max_size=6))
def test_any_batch_split_gives_the_same(device: str, seed: int, cuts: set[int]) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(seed=seed))
    bounds = [0, *sorted(cuts), 60]
    batches = [(x[a:b], y[a:b]) for a, b in pairwise(bounds)]
    streamed = separation_fuzziness_of_stream(lambda: batches, num_classes=3)
    assert streamed.value == pytest.approx(separation_value(x, y), rel=1e-9)
    assert (streamed.rank, streamed.status) == (2, SeparationStatus.OK)


def test_stream_without_a_batch() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected at least one batch .* got none"):
        separation_fuzziness_of_stream(list, num_classes=3)


def test_stream_whose_width_changes() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected features of width 5 .* got 4"):
        separation_fuzziness_of_stream(lambda: [(x, y), (x[:, :4], y)], num_classes=3)


def test_stream_with_a_label_beyond_its_classes() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* got"):
        separation_fuzziness_of_stream(lambda: [(x, y)], num_classes=2)


def test_stream_that_can_be_read_only_once() -> None:
    x, y = gaussian_classes()
    once = iter([(x, y)])

    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        return once

    with pytest.raises(InvalidInputError, match=r"Expected"):
        separation_fuzziness_of_stream(batches, num_classes=3)


def test_features_with_a_gradient_are_measured_without() -> None:
    x, y = gaussian_classes()
    watched = x.clone().requires_grad_()
    assert separation_value(watched, y) == separation_value(x, y)
