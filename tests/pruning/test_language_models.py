"""Language models lose layers by their perplexity, and go back to where they came from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import designer
from designer.errors import InvalidInputError
from designer.pruning.prune import PruningResult
from designer.pruning.splits import splits_of
from designer.report.markdown import markdown_report
from designer.report.views.dispatch import view_of
from tests.support.language import BLOCKS, LAYERS, batch, own_loss, trained


def pruned(kind: str, **options: Any) -> PruningResult:
    parts = (batch(kind, 200, 1), batch(kind, 80, 2), batch(kind, 80, 3))
    return designer.prune(trained(kind), parts, epochs=options.pop("epochs", 1), **options)


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_smaller_model_is_judged_by_its_own_loss_and_reloaded_to_the_bit(
    kind: str, tmp_path: Path
) -> None:
    result = pruned(kind, remove=1)
    heldout, test = batch(kind, 80, 2), batch(kind, 80, 3)
    original, smaller = result.report.networks
    wholes = [math.exp(own_loss(trained(kind), part)) for part in (heldout, test)]
    lefts = [math.exp(own_loss(result.model, part)) for part in (heldout, test)]
    assert [original.validation_perplexity, original.test_perplexity] == pytest.approx(wholes, 1e-5)
    assert [smaller.validation_perplexity, smaller.test_perplexity] == pytest.approx(lefts, 1e-5)
    rise, bound = smaller.perplexity_rise, smaller.perplexity_rise_bound
    assert rise == pytest.approx(lefts[0] / wholes[0] - 1, abs=1e-5)
    assert rise is not None
    assert bound is not None
    assert bound > rise

    result.save_pretrained(tmp_path)
    library: Any = type(result.model)
    again = library.from_pretrained(tmp_path).eval()
    inputs = {name: heldout[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, result.model(**inputs).logits)
    assert len(again.get_submodule(BLOCKS[kind])) == LAYERS - 1


def test_max_drop_is_the_largest_rise_of_perplexity() -> None:
    lenient, strict = (pruned("llama", max_drop=rise) for rise in (0.99, 0.0))
    assert lenient.report.removed
    for trial in lenient.report.trials:
        bound = trial.perplexity_rise_bound
        assert trial.within is (bound is not None and bound <= 0.99)
    assert not strict.report.removed
    assert "validation perplexity may rise by more than 0 %" in strict.report.conclusion
    assert "perplexity rises by no more than" in strict.report.conclusion


def test_the_report_names_perplexity_wherever_it_decides() -> None:
    result = pruned("gpt2", remove=1, baselines=True, scratch_epochs=1)
    page = markdown_report(view_of(result.report))
    smaller = next(n for n in result.report.networks if n.name == "pruned")
    assert f"Validation perplexity is {smaller.validation_perplexity:.2f}" in page
    for row in ("| perplexity |", "| rise % |", "| test perplexity |"):
        assert row in page
    assert "is not as good (perplexity" in page
    assert result.report.model.perplexity_heldout == pytest.approx(
        math.exp(own_loss(trained("gpt2"), batch("gpt2", 80, 2))), 1e-5
    )


def test_recovery_keeps_the_epoch_of_the_least_loss() -> None:
    without, with_one = (pruned("gpt2", remove=1, epochs=epochs) for epochs in (0, 2))
    perplexities = [r.report.networks[1].validation_perplexity for r in (without, with_one)]
    assert None not in perplexities
    assert perplexities[1] <= perplexities[0]  # type: ignore[operator]


def test_accuracy_decides_if_separation_is_asked_for() -> None:
    parts = batch("gpt2", 900, 1), batch("gpt2", 80, 2)  # every token occurs in training
    result = designer.prune(trained("gpt2"), parts, remove=1, epochs=0, measure="separation")
    assert result.report.networks[1].validation_perplexity is None
    assert "Validation accuracy is" in result.report.conclusion


def test_the_measure_suits_the_model_unless_it_is_named() -> None:
    parts = (batch("gpt2", 20, 1), batch("gpt2", 20, 1))
    assert splits_of(parts, trained("gpt2")).language
    assert not splits_of(parts, trained("gpt2"), "separation").language
    with pytest.raises(InvalidInputError, match="Expected a measure among"):
        designer.prune(trained("gpt2"), parts, remove=1, measure="loss")
