"""What a block gives as feature vectors: shapes, values, and what a projection keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from designer import load_dataset
from designer.choices import Reduction
from designer.errors import InvalidInputError
from designer.measures.features import Reducer, pooled, projection, reduction_of
from designer.measures.separation import (
    class_directions,
    cross_fitted_separation,
    separation_fuzziness,
)
from tests.support.helpers import DEVICES, gaussian_classes

FLATTEN, POOL = Reducer(Reduction.FLATTEN), Reducer(Reduction.POOL)

SHAPES = [(7,), (5, 7), (3, 4, 5), (3, 2, 4, 5)]
"""Shapes of one sample of a layer, a sequence, a map and a volume."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- flat ---


@pytest.mark.parametrize("shape", SHAPES)
def test_flat_features_are_all_numbers_of_a_sample(shape: tuple[int, ...]) -> None:
    output = noise(6, *shape)
    assert torch.equal(FLATTEN(output), output.reshape(6, -1))


# --- pooled ---


def test_pooled_maps_are_means_over_their_positions() -> None:
    output = noise(6, 3, 4, 5)
    features = POOL(output)
    assert features.shape == (6, 3)
    assert float(features[2, 1]) == pytest.approx(float(output[2, 1].sum()) / 20, rel=1e-5)
    assert POOL(noise(6, 3, 2, 4, 5)).shape == (6, 3)


def test_pooled_sequences_are_means_over_their_tokens() -> None:
    output = noise(6, 5, 7)
    features = POOL(output)
    assert features.shape == (6, 7)
    assert float(features[2, 1]) == pytest.approx(float(output[2, :, 1].sum()) / 5, rel=1e-5)


def test_pooling_leaves_vectors_as_they_are() -> None:
    output = noise(6, 7)
    assert torch.equal(POOL(output), output)
    assert torch.equal(pooled(output), output)


def test_where_things_are_is_lost_by_pooling_alone() -> None:
    output = noise(6, 3, 4, 4)
    moved = output.roll((1, 2), (2, 3))
    torch.testing.assert_close(POOL(moved), POOL(output))
    for other in (FLATTEN, Reducer(Reduction.PROJECT, 8)):
        assert not torch.allclose(other(moved), other(output), atol=0.1)


# --- projected ---


@pytest.mark.parametrize("seed", [0, 1])
def test_a_projection_is_the_product_with_one_matrix(seed: int) -> None:
    reducer = Reducer(Reduction.PROJECT, 16, seed)
    output = noise(6, 3, 10, 10)
    matrix = projection(300, 16, seed).to_dense()
    torch.testing.assert_close(reducer(output), output.flatten(1) @ matrix.T)
    torch.testing.assert_close(reducer(output[2:4]), reducer(output)[2:4])


def test_a_projection_is_seeded() -> None:
    before = torch.get_rng_state()
    first, same, other = (Reducer(Reduction.PROJECT, 16, seed)(noise(6, 300)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_widths_have_projections_of_their_own() -> None:
    reducer = Reducer(Reduction.PROJECT, 16, 3)
    for width in (300, 40, 300):
        matrix = projection(width, 16, 3).to_dense()
        output = noise(6, width)
        torch.testing.assert_close(reducer(output), output @ matrix.T)


@pytest.mark.parametrize("width", [16, 15])
def test_features_that_are_few_enough_are_not_projected(width: int) -> None:
    output = noise(6, width)
    assert torch.equal(Reducer(Reduction.PROJECT, 16)(output), output)


@pytest.mark.parametrize(("width", "dimension"), [(400, 200), (2500, 200), (20_000, 50)])
def test_a_projection_is_sparse_and_of_random_signs(width: int, dimension: int) -> None:
    matrix = projection(width, dimension, 0)
    assert matrix.layout is torch.sparse_csr
    assert matrix.dtype == torch.float32
    assert matrix.shape == (dimension, width)
    signs = matrix.values()
    assert len(signs) == pytest.approx(dimension * width**0.5, rel=0.05)
    torch.testing.assert_close(signs.abs(), torch.full_like(signs, (width**0.5 / dimension) ** 0.5))
    assert float((signs > 0).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_projection_keeps_squared_lengths_on_average() -> None:
    x = noise(1, 400).double()
    squares = torch.stack(
        [
            (x @ projection(400, 20, seed).to_dense().double().T).square().sum()
            for seed in range(300)
        ]
    )
    error = float(squares.std()) / 300**0.5
    assert float(squares.mean()) == pytest.approx(float(x.square().sum()), abs=3 * error)
    assert error < 0.03 * float(x.square().sum())


@pytest.mark.parametrize("device", DEVICES)
def test_a_projection_keeps_distances(device: str) -> None:
    x = noise(40, 20_000).to(device)
    distances = torch.pdist(Reducer(Reduction.PROJECT, 2000)(x))
    assert distances.device.type == device
    ratios = distances / torch.pdist(x)
    assert float(ratios.mean()) == pytest.approx(1, abs=0.01)
    assert float((ratios - 1).abs().max()) < 5 / (2 * 2000) ** 0.5


def test_separation_of_few_classes_survives_a_projection() -> None:
    images = load_dataset("digits", train_size=800, image_size=48)
    reducer = Reducer(Reduction.PROJECT, 2048)
    train, held = images.train.inputs.flatten(1), images.test.inputs.flatten(1)
    labels, held_labels = images.train.labels, images.test.labels
    flat = separation_fuzziness(train, labels).value
    assert separation_fuzziness(reducer(train), labels).value == pytest.approx(flat, rel=0.05)
    crossed = cross_fitted_separation(train, labels, held, held_labels).value
    projected = cross_fitted_separation(reducer(train), labels, reducer(held), held_labels).value
    assert projected == pytest.approx(crossed, rel=0.05)


@pytest.mark.parametrize("directions", [20, 1000])
def test_what_a_projection_adds_to_separation(directions: int) -> None:
    # little where the scatter lies in few directions, much where it fills all of them
    x, y = gaussian_classes(3000, directions, 4)
    x = torch.nn.functional.pad(x, (0, 1000 - directions)).float()
    x = x @ torch.linalg.qr(noise(1000, 1000))[0]
    projected = separation_fuzziness(Reducer(Reduction.PROJECT, 200)(x), y).value
    flat = separation_fuzziness(x, y).value
    inverse = float(class_directions(x, y).singular_values.pow(-2).sum())
    centres = class_directions(x, y).means[y]
    within = float((x - centres).square().sum()) / len(x)
    assert projected == pytest.approx(flat + within * inverse / 200, rel=0.1)
    assert projected / flat == pytest.approx(1 + directions / 200, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_any_precision_are_projected_in_float32(dtype: torch.dtype) -> None:
    output = noise(6, 300).to(dtype)
    features = Reducer(Reduction.PROJECT, 16)(output)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, Reducer(Reduction.PROJECT, 16)(output.float()))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    output = noise(6, 300)
    output[2, 7] = bad
    for reducer in (FLATTEN, POOL, Reducer(Reduction.PROJECT, 100)):
        assert reducer(output).isfinite().all(1).tolist() == [i != 2 for i in range(6)]


# --- tokens ---


@pytest.mark.parametrize("reduction", Reduction)
def test_tokens_are_samples_of_their_own(reduction: Reduction) -> None:
    output = noise(6, 5, 7)
    features = Reducer(reduction, 100, tokens=True)(output)
    assert torch.equal(features, output.reshape(30, 7))


def test_tokens_are_projected_one_by_one() -> None:
    output = noise(6, 5, 70)
    features = Reducer(Reduction.PROJECT, 16, tokens=True)(output)
    alone = Reducer(Reduction.PROJECT, 16)(output[3])
    assert features.shape == (30, 16)
    torch.testing.assert_close(features[15:20], alone)


def test_blocks_that_give_no_tokens_are_refused() -> None:
    with pytest.raises(
        InvalidInputError,
        match=r"^Expected blocks to give \(n, tokens, features\) .* got shape \(6, 7\); name other",
    ):
        Reducer(Reduction.FLATTEN, tokens=True)(noise(6, 7))


# --- widths and names ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", Reduction)
@pytest.mark.parametrize("dimension", [1, 6, 10_000])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_width_is_known_beforehand(
    shape: tuple[int, ...], reduction: Reduction, dimension: int, tokens: bool
) -> None:
    if tokens and len(shape) == 1:
        shape = (4, *shape)
    reducer = Reducer(reduction, dimension, tokens=tokens)
    assert reducer.width((6, *shape)) == reducer(noise(6, *shape)).shape[1]


@pytest.mark.parametrize("reduction", Reduction)
def test_reductions_have_names(reduction: Reduction) -> None:
    assert reduction_of(str(reduction)) is reduction


@pytest.mark.parametrize("name", ["max", "", "Flatten"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(
        InvalidInputError,
        match=rf"^Expected `features` among flatten, pool, project, got '{name}'\.$",
    ):
        reduction_of(name)


def test_a_projection_has_the_share_and_the_size_of_numbers_that_it_should() -> None:
    matrix = projection(400, 300, seed=1).to_dense()
    n, share = matrix.numel(), 1 / 20
    nonzero = matrix != 0
    assert int(nonzero.sum()) == pytest.approx(n * share, abs=4 * (n * share) ** 0.5)
    assert int((matrix > 0).sum()) == pytest.approx(n * share / 2, abs=4 * (n * share / 2) ** 0.5)
    assert sorted(set(matrix[nonzero].abs().tolist())) == pytest.approx([(20 / 300) ** 0.5])
    rows = nonzero.sum(1).double()  # binomial: as many in each row, with the variance of 400 draws
    assert float(rows.var()) == pytest.approx(400 * share * (1 - share), rel=0.35)
    columns = nonzero.sum(0).double()
    assert float(columns.var()) == pytest.approx(300 * share * (1 - share), rel=0.35)


def test_a_projection_of_a_single_feature_keeps_it() -> None:
    assert projection(1, 4, seed=0).to_dense().abs().flatten().tolist() == [0.5] * 4
