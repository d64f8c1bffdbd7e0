"""How outputs become features: as asked, as the model says, or such that they fit into memory."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from designer import profile
from designer.choices import Measure
from designer.errors import InvalidInputError
from designer.measures.rulers import bytes_needed
from designer.measures.separation import (
    cross_fitted_separation,
    separation_fuzziness,
)
from tests.support.profiled import (
    assert_same,
    conv_net,
    images,
    maps_by_hand,
    only_for,
    reduced,
)


def test_a_dimension_needs_a_projection() -> None:
    with pytest.raises(InvalidInputError, match="dimension only together with features 'project'"):
        profile(conv_net(), images(20), features="pool", dimension=3)


@pytest.mark.parametrize("features", ["flatten", "pool", "project"])
def test_maps_are_reduced_as_by_hand(features: str) -> None:
    model = conv_net()
    train, held = images(80), images(40, seed=1)
    result = profile(
        model, train, held, features=features, dimension=only_for(features, 20), seed=2, resamples=0
    )
    assert [layer.name for layer in result.layers] == ["input", "0", "1"]
    assert result.features == ("project 20" if features == "project" else features)
    assert result.notes == ()
    by_hand, by_hand_held = (
        [reduced(output, features, 20, 2) for output in maps_by_hand(model, inputs)]
        for inputs, _ in (train, held)
    )
    for layer, x, x_held in zip(result.layers, by_hand, by_hand_held, strict=True):
        assert layer.width == x.shape[1]
        direct = separation_fuzziness(x, train[1]).value
        assert layer.train.value == pytest.approx(direct, rel=1e-4)
        assert layer.heldout is not None
        crossed = cross_fitted_separation(x, train[1], x_held, held[1]).value
        assert layer.heldout.value == pytest.approx(crossed, rel=1e-4)


def test_pooled_features_begin_at_what_the_first_block_receives() -> None:
    model, data = conv_net(), images(80)
    whole = profile(model, data, features="pool", resamples=0)
    result = profile(model, data, blocks=["1"], features="pool", resamples=0)
    assert [layer.width for layer in result.layers] == [4, 6]
    np.testing.assert_allclose(result.values, whole.values[1:])
    assert "the first row is what '1' receives" in result.notes[0]


def test_a_model_says_how_its_features_are_best_taken() -> None:
    model, data = conv_net(), images(80)
    model.block_features = "pool"  # type: ignore[assignment]
    pooled = profile(model, data)
    assert_same(pooled, profile(conv_net(), data, features="pool"))
    assert pooled.features == "pool"
    assert_same(profile(model, data, features="flatten"), profile(conv_net(), data))
    assert profile(model, data, features="flatten").features == "flatten"


@pytest.mark.parametrize("measure", list(Measure))
def test_features_that_do_not_fit_into_memory_are_projected(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = conv_net(), images(80)
    limit_memory(monkeypatch, bytes_needed(measure, [64, 144, 96], 3, 4) - 1)
    result = profile(model, data, measure=measure, permutations=3)
    assert result.features == "project 128"
    assert [layer.width for layer in result.layers] == [64, 128, 96]
    (note,) = result.notes
    assert "seeded random projections of them to 128 dimensions were measured" in note
    expected = profile(model, data, measure=measure, features="project", dimension=128)
    np.testing.assert_allclose(result.values, expected.values)


@pytest.mark.parametrize("dimension", [64, 16, 1])
def test_the_dimension_is_halved_until_it_fits(
    dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = [min(width, dimension) for width in (64, 144, 96)]
    limit_memory(monkeypatch, bytes_needed(Measure.SEPARATION, widths, 3, 4))
    for features in (None, "project"):
        result = profile(conv_net(), images(80), features=features)
        assert result.features == f"project {dimension}"
        assert [layer.width for layer in result.layers] == widths
        assert len(result.notes) == (features is None)


def test_one_dimension_is_left_where_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0)
    assert profile(conv_net(), images(80)).features == "project 1"


def test_what_was_asked_for_is_done_whatever_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = profile(conv_net(), images(80))
    limit_memory(monkeypatch, 1)
    flat = profile(conv_net(), images(80), features="flatten")
    assert (flat.features, flat.notes) == ("flatten", ())
    assert_same(flat, expected)
    assert profile(conv_net(), images(80), features="pool").features == "pool"
    assert profile(conv_net(), images(80), dimension=100).features == "project 100"
    model = conv_net()
    model.block_features = "flatten"  # type: ignore[assignment]
    assert profile(model, images(80)).features == "flatten"


def test_projections_follow_the_seed() -> None:
    first, same, other = (
        profile(conv_net(), images(80), features="project", dimension=9, seed=seed).values
        for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).all()


def limit_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let the measuring hold ``limit`` bytes."""
    monkeypatch.setattr(import_module("designer.analysis.feature_choice"), "MEMORY", limit)
