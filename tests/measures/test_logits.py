"""Outputs of classifiers that end in a softmax, in a sigmoid or in neither, read as logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from designer.measures.logits import are_probabilities, as_logits, if_classes_fit, logits_for

LABELS = torch.tensor([0, 1, 1, 0])


def scores(columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(4, columns, generator=generator)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("columns", [2, 10, 1000])
def test_probabilities_are_known_in_every_precision(dtype: torch.dtype, columns: int) -> None:
    logits = scores(columns, dtype)
    assert are_probabilities(logits.softmax(1))
    assert not are_probabilities(logits)
    assert as_logits(logits) is logits


def test_cross_entropy_is_that_of_the_logits_before_the_softmax() -> None:
    logits = scores(3, torch.float64)
    expected = functional.cross_entropy(logits, LABELS, reduction="none")
    read = as_logits(logits.softmax(1))
    torch.testing.assert_close(functional.cross_entropy(read, LABELS, reduction="none"), expected)


def test_a_probability_of_zero_has_a_finite_logit() -> None:
    assert as_logits(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).isfinite().all()


@pytest.mark.parametrize(
    "output",
    [
        torch.tensor([[0.2, 0.8], [0.2, 0.7]]),
        torch.tensor([[1.2, -0.2], [0.5, 0.5]]),
        torch.tensor([[1.0], [1.0]]),
        torch.empty(0, 3),
        torch.full((2, 2, 2), 0.5),
    ],
)
def test_what_is_no_distribution_in_every_row_are_logits(output: Tensor) -> None:
    assert not are_probabilities(output)
    assert as_logits(output) is output


@pytest.mark.parametrize("flat", [True, False])
def test_one_number_tells_two_classes_apart(flat: bool) -> None:
    logit = scores(1, torch.float64)
    expected = functional.binary_cross_entropy_with_logits(logit[:, 0], LABELS.double())
    for output, sigmoid in ((logit, False), (logit.sigmoid(), True)):
        shaped = output.squeeze(1) if flat else output
        logits = logits_for(LABELS, shaped, None, tokens=False, sigmoid=sigmoid)
        assert logits is not None
        assert logits.shape == (4, 2)
        torch.testing.assert_close(functional.cross_entropy(logits, LABELS), expected)
        assert torch.equal(logits.argmax(1) == 1, logit[:, 0] > 0)


def test_what_does_not_fit_the_labels_is_no_logits() -> None:
    two, beyond = scores(2), LABELS + 1
    assert logits_for(beyond, two, None, tokens=False) is two
    assert if_classes_fit(two, beyond) is None
    assert if_classes_fit(two, LABELS) is two
    assert if_classes_fit(None, LABELS) is None
    for output in (None, scores(2)[:3], two[:, 0].abs(), scores(4).view(4, 2, 2)):
        assert logits_for(beyond, output, None, tokens=False) is None
    assert logits_for(LABELS.double(), two, None, tokens=False) is None
