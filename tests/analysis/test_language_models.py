"""Language models are measured by their own loss, and by the residual behind every layer."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from designer import analyze, contributions, profile
from designer.data.language import next_tokens
from designer.measures.residual import prediction_residual
from designer.report.markdown import markdown_report
from designer.report.views.dispatch import view_of
from designer.results.measured import perplexity_of
from tests.support.language import BLOCKS, LAYERS, PlainCausal, batch, own_loss, sentences, trained

KINDS = tuple(BLOCKS)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_perplexity_are_those_of_the_model_itself(kind: str) -> None:
    model, train, heldout = trained(kind), batch(kind, 200, 1), batch(kind, 80, 2)
    measured = profile(model, train, heldout, resamples=0)
    assert [layer.name for layer in measured.layers[1:]] == [
        f"{BLOCKS[kind]}.{i}" for i in range(LAYERS)
    ]
    assert measured.measure == "residual"
    assert measured.loss == pytest.approx(own_loss(model, train), abs=1e-5)
    assert measured.loss_heldout == pytest.approx(own_loss(model, heldout), abs=1e-5)
    assert perplexity_of(measured.loss) == pytest.approx(math.exp(measured.loss))


def test_batches_give_the_same_as_data_in_memory() -> None:
    model, data = trained("gpt2"), batch("gpt2", 90, 1)
    batches = [{k: v[i : i + 40] for k, v in data.items()} for i in range(0, 90, 40)]
    whole, parts = (profile(model, form, resamples=0) for form in (data, batches))
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.values == pytest.approx(whole.values, abs=1e-6)


def test_the_residual_is_that_of_the_next_token_from_every_place_with_one() -> None:
    model, ids = trained("llama"), sentences(150, 3)
    measured = profile(model, {"input_ids": ids, "labels": ids}, resamples=0)
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    by_hand = prediction_residual(
        states[1][:, :-1].flatten(0, 1), ids[:, 1:].flatten(), num_classes=int(ids.max()) + 1
    )
    assert measured.values[1] == pytest.approx(by_hand.value, rel=1e-5)
    assert measured.samples == 150 * (ids.shape[1] - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_contribution_is_the_rise_of_the_models_own_loss(kind: str) -> None:
    model, train, heldout = trained(kind), batch(kind, 100, 1), batch(kind, 60, 2)
    rise = contributions(model, train, heldout)[1].contribution
    without = copy.deepcopy(model)
    del without.get_submodule(BLOCKS[kind])[1]
    assert rise is not None
    assert rise.cross_entropy is not None
    wanted = own_loss(without, heldout) - own_loss(model, heldout)
    assert rise.cross_entropy.value == pytest.approx(wanted, abs=1e-4)


def test_held_out_text_may_hold_tokens_that_training_lacks() -> None:
    known, new = sentences(60, 1).clamp(max=100), torch.full((9, 10), 119)
    train, heldout = ({"input_ids": ids, "labels": ids} for ids in (known, new))
    model = trained("gpt2")
    measured = profile(model, train, heldout, resamples=0)
    assert measured.loss_heldout == pytest.approx(own_loss(model, heldout), abs=1e-5)
    assert len(contributions(model, train, heldout)) == LAYERS


def test_plain_modules_take_the_next_tokens_as_labels() -> None:
    torch.manual_seed(0)
    model, ids = PlainCausal().eval(), sentences(50, 0) % 30
    measured = profile(model, (ids, next_tokens(ids)), resamples=0)
    with torch.no_grad():
        logits = model(ids)
    by_hand = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert measured.measure == "residual"
    assert measured.loss == pytest.approx(float(by_hand), abs=1e-5)


def test_separation_and_accuracy_are_there_if_they_are_asked_for() -> None:
    model, data = trained("gpt2"), batch("gpt2", 300, 1)
    measured = profile(model, data, measure="separation", permutations=0, resamples=0)
    assert measured.measure == "separation"
    assert math.isnan(measured.loss)
    assert 0 < measured.accuracy < 1


def test_every_report_shows_the_perplexity_and_why_the_residual_was_measured() -> None:
    model, train, heldout = trained("gpt2"), batch("gpt2", 200, 1), batch("gpt2", 80, 2)
    result = analyze(model, train, heldout, resamples=0, contribution_samples=0)
    assert result.model.perplexity_heldout == pytest.approx(
        math.exp(own_loss(model, heldout)), 1e-4
    )
    shown = f"{result.model.perplexity_heldout:.2f} on held-out data"
    page = markdown_report(view_of(result))
    assert shown in page
    assert sum("in the place of D" in warning.message for warning in result.warnings) == 1
    tiles = {tile.label: tile.value for tile in view_of(result).tiles}
    assert tiles["held-out perplexity"] == f"{result.model.perplexity_heldout:.2f}"


@pytest.mark.parametrize(("loss", "perplexity"), [(0.0, 1.0), (math.log(7), 7.0), (1e4, math.inf)])
def test_perplexity_is_exp_of_the_loss(loss: float, perplexity: float) -> None:
    assert perplexity_of(loss) == pytest.approx(perplexity)


def test_an_unknown_loss_has_no_perplexity() -> None:
    assert math.isnan(perplexity_of(math.nan))
