"""Passes: how often the model runs, intervals from a part of the samples, accuracy and progress."""

from __future__ import annotations

import math
from collections import defaultdict
from importlib import import_module

import numpy as np
import pytest
from torch import nn

from designer import profile
from designer.data.batches import batches_of
from designer.errors import InvalidInputError
from designer.measures.intervals import intervals
from designer.probing.probes import TRACED_SAMPLES
from tests.support.helpers import small_mlp
from tests.support.profiled import (
    HELDOUT,
    TRAIN,
    assert_close,
    sample,
    sequences,
    spreads_of,
    tagger,
)


def test_features_that_are_not_kept_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_mlp()
    kept = profile(model, TRAIN, HELDOUT, batch_size=16)
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    assert_close(profile(model, TRAIN, HELDOUT, batch_size=16), kept)
    assert len(runs) > math.ceil(60 / 16) + math.ceil(40 / 16)


def test_small_features_are_kept_and_the_model_runs_once_per_batch() -> None:
    model, runs = small_mlp(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    profile(model, TRAIN, HELDOUT, batch_size=16)
    looked = 3  # at a few samples: to find the blocks, and which axis is that of samples
    assert len(runs) == looked + math.ceil(60 / 16) + math.ceil(40 / 16)


# --- intervals from a part of the samples ---


def test_intervals_from_a_part_run_the_model_again_for_that_part_alone(
    not_kept: None,
) -> None:
    model, batch_sizes = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: batch_sizes.append(len(args[0])))
    profile(model, sample(0, 4000), sample(1, 30), permutations=0, batch_size=40, seed=5)
    batches = batches_of(sample(0, 4000), 40)
    part = batches.sample_mask(500 / 4000, seed=5)  # an eighth
    chosen = [int(part[rows].sum()) for _, _, rows in batches]
    looked = [TRACED_SAMPLES, TRACED_SAMPLES, TRACED_SAMPLES - 1]
    assert batch_sizes == [*looked, *[40] * 200, *filter(None, chosen), 30]
    assert sum(chosen) == pytest.approx(500, rel=0.1)


def test_batches_without_a_sample_of_the_part_do_not_run_again(not_kept: None) -> None:
    model, batch_sizes = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: batch_sizes.append(len(args[0])))
    profile(model, sample(0, 1000), permutations=0, batch_size=2)
    part = batches_of(sample(0, 1000), 2).sample_mask(256 / 1000, seed=0)
    again = int(part.view(500, 2).any(1).sum())
    assert 150 < again < 300
    assert len(batch_sizes) == 3 + 2 * 500 + again


def test_without_resamples_nothing_runs_again(not_kept: None) -> None:
    model, batch_sizes = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: batch_sizes.append(len(args[0])))
    profile(model, sample(0, 4000), resamples=0, batch_size=40)
    assert len(batch_sizes) == 3 + 200


def test_intervals_from_a_part_are_as_wide_as_those_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_mlp()
    full = spreads_of(profile(model, sample(0, 4000), resamples=1000))
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    part = profile(model, sample(0, 4000), resamples=1000)
    np.testing.assert_allclose(spreads_of(part), full, rtol=0.15)
    centre = np.log(part.resampled).mean(axis=0)
    np.testing.assert_allclose(centre, np.log(part.values), atol=0.2 * full.min())


def test_intervals_from_a_part_cover(not_kept: None) -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 3))
    results = [
        profile(model, sample(seed, 1500), blocks=["0"], permutations=0) for seed in range(60)
    ]
    centre = np.exp(np.mean([np.log(result.values[0]) for result in results]))
    bounds = [intervals(np.array(result.resampled))[0] for result in results]
    assert 0.88 <= np.mean([low <= centre <= high for low, high in bounds]) < 1


def test_a_part_of_sequences_is_whole_sequences(not_kept: None) -> None:
    inputs, labels = sequences(400)
    again = profile(tagger(), (inputs, labels), batch_size=50, resamples=500)
    rows = profile(tagger(), (inputs.flatten(0, 1), labels.flatten()), resamples=500)
    np.testing.assert_allclose(again.values, rows.values, rtol=1e-9)
    np.testing.assert_allclose(spreads_of(again), spreads_of(rows), rtol=0.2)


# --- the model's own accuracy ---


@pytest.mark.parametrize("batch_size", [None, 7])
def test_accuracy_is_that_of_the_largest_logit(batch_size: int | None) -> None:
    model = small_mlp().eval()
    result = profile(model, TRAIN, HELDOUT, batch_size=batch_size)
    for reported, data in ((result.accuracy, TRAIN), (result.accuracy_heldout, HELDOUT)):
        assert reported == float((model(data.inputs).argmax(1) == data.labels).sum()) / len(data)


def test_one_logit_tells_two_classes_apart() -> None:
    model = small_mlp(classes=1).eval()
    labels = TRAIN.labels % 2
    result = profile(model, (TRAIN.inputs, labels))
    assert result.accuracy == float(((model(TRAIN.inputs)[:, 0] > 0) == labels).sum()) / 60
    with pytest.raises(InvalidInputError, match=r"Expected labels below 2, the number of classes"):
        profile(model, TRAIN)


def test_a_head_that_is_named_as_a_block_still_gives_the_accuracy() -> None:
    whole, named = profile(small_mlp(), TRAIN, HELDOUT), profile(small_mlp(), TRAIN, blocks=["2"])
    assert named.accuracy == whole.accuracy


def test_a_model_without_a_head_has_no_accuracy() -> None:
    headless = small_mlp()[:2]
    result = profile(headless, TRAIN, HELDOUT, blocks=["0", "1"])
    assert math.isnan(result.accuracy)
    assert math.isnan(result.accuracy_heldout)


def test_without_heldout_data_there_is_no_heldout_accuracy() -> None:
    result = profile(small_mlp(), TRAIN)
    assert result.accuracy >= 0
    assert math.isnan(result.accuracy_heldout)


def test_labels_that_the_model_has_no_output_for() -> None:
    with pytest.raises(InvalidInputError, match=r"^Expected labels below 2, .* got 2\.$"):
        profile(small_mlp(classes=2), TRAIN)


# --- progress ---


@pytest.mark.parametrize(
    ("measure", "passes"),
    [
        ("separation", ["class means", "scatter", "intervals", "held-out data"]),
        ("residual", ["linear prediction", "intervals", "held-out data"]),
    ],
)
def test_progress_rises_to_the_end_of_every_pass(
    measure: str, passes: list[str], not_kept: None
) -> None:
    progress = progress_of(measure)
    assert list(progress) == passes
    for what, steps in progress.items():
        total = 40 if what == "held-out data" else 60
        assert steps == [(min(done, total), total) for done in range(16, total + 16, 16)]


def test_what_is_kept_in_memory_passes_without_progress() -> None:
    assert list(progress_of("separation")) == ["class means", "held-out data"]


def progress_of(measure: str) -> dict[str, list[tuple[int, int]]]:
    """Return the samples done and in all after every batch, by the name of the pass."""
    steps_of: dict[str, list[tuple[int, int]]] = defaultdict(list)
    profile(
        small_mlp(),
        TRAIN,
        HELDOUT,
        measure=measure,
        batch_size=16,
        progress=lambda what, done, total: steps_of[what].append((done, total)),
    )
    return steps_of
