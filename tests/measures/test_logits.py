"""Outputs of classifiers that end in a softmax, in a sigmoid or in neither, read as logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from designer.measures.logits import LogitReader, OutputKind, as_logits, output_kind

ROWS = 20
LABELS = torch.arange(ROWS) % 2


def scores(columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(ROWS, columns, generator=generator)).to(dtype)


def loss(logits: Tensor | None) -> Tensor:
    assert logits is not None
    return functional.cross_entropy(logits, LABELS, reduction="none")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("columns", [2, 10, 1000])
def test_probabilities_are_known_in_every_precision(dtype: torch.dtype, columns: int) -> None:
    logits = scores(columns, dtype)
    assert output_kind(logits) is OutputKind.LOGITS
    assert output_kind(logits.softmax(1)) is OutputKind.DISTRIBUTION
    assert output_kind(logits.sigmoid()) is OutputKind.PROBABILITIES
    assert as_logits(logits, OutputKind.LOGITS) is logits


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(torch.full((20, 3), 1.5), id="beyond 1"),
        pytest.param(torch.full((20, 3), -0.1), id="below 0"),
        pytest.param(torch.zeros(20, 3), id="nothing but zeros"),
        pytest.param(torch.rand(20, 1) * torch.tensor([0.0, 0.9]), id="a column of zeros"),
        pytest.param(torch.full((5, 3), 0.5), id="too few to be sure"),
        pytest.param(torch.empty(0, 3), id="no rows"),
    ],
)
def test_other_numbers_are_logits(rows: Tensor) -> None:
    assert output_kind(rows) is OutputKind.LOGITS


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_cross_entropy_is_that_of_the_logits_before_the_softmax(floor: float) -> None:
    logits = scores(3)
    assert output_kind(logits.softmax(1) + floor) is OutputKind.DISTRIBUTION
    read = as_logits(logits.softmax(1) + floor, OutputKind.DISTRIBUTION)
    torch.testing.assert_close(loss(read), loss(logits), rtol=1e-9, atol=1e4 * floor + 1e-9)


def test_classes_by_themselves_have_the_logits_before_their_sigmoids() -> None:
    logits = scores(3)
    read = as_logits(logits.sigmoid(), OutputKind.PROBABILITIES)
    torch.testing.assert_close(read, logits)


@pytest.mark.parametrize("kind", [OutputKind.DISTRIBUTION, OutputKind.PROBABILITIES])
def test_probabilities_of_zero_and_one_have_finite_logits(kind: OutputKind) -> None:
    assert as_logits(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), kind).isfinite().all()


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_one_number_tells_two_classes_apart(*, flat: bool, known: bool) -> None:
    logit = scores(1)
    expected = functional.binary_cross_entropy_with_logits(logit[:, 0], LABELS.double())
    for output, sigmoid in ((logit, False), (logit.sigmoid(), known)):
        shaped = output.squeeze(1) if flat else output
        logits = LogitReader(2, sigmoid=sigmoid)(shaped, ROWS, None, tokens=False)
        torch.testing.assert_close(loss(logits).mean(), expected)
        assert logits is not None
        assert torch.equal(logits.argmax(1) == 1, logit[:, 0] > 0)


def test_the_first_batch_decides_for_all() -> None:
    read = LogitReader(2)
    assert read(scores(1), ROWS, None, tokens=False) is not None
    later = read(scores(1).sigmoid(), ROWS, None, tokens=False)
    assert later is not None
    assert torch.equal(later[:, 1:], scores(1).sigmoid())


def test_what_does_not_fit_the_classes_is_no_logits() -> None:
    two = scores(2)
    assert LogitReader(3)(two, ROWS, None, tokens=False) is None
    assert LogitReader(3, all_classes=False)(two, ROWS, None, tokens=False) is two
    assert LogitReader(0)(two, ROWS, None, tokens=False) is None
    for output in (None, two[:3], two.view(10, 2, 2)):
        assert LogitReader(2)(output, ROWS, None, tokens=False) is None
    assert LogitReader(5, all_classes=False)(two[:, 0], ROWS, None, tokens=False) is None


def test_tokens_are_rows() -> None:
    logits, mask = scores(3).view(4, 5, 3), torch.ones(4, 5, dtype=torch.bool)
    mask[0, 2:] = False
    read = LogitReader(3)(logits, 17, mask, tokens=True)
    assert read is not None
    assert torch.equal(read, logits[mask])
