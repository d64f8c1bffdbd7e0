"""The claim ``paper`` keeps the networks that it trained, and its verdicts follow from figures."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.claims.paper import SEEDS, summary
from benchmarks.claims.paper_figures import (
    FIGURES,
    IN_TURN,
    QUICK_SEEDS,
    RATES,
    Recipe,
    frozen_is_worse,
    quick,
)
from benchmarks.claims.paper_networks import (
    PILOT_SEED,
    TrainedNetworks,
    build,
    data_of,
    key_of,
    pilot,
    trained,
    tune,
)
from benchmarks.evidence.law import enough_depths

TINY = Recipe(widths=(16, 16, 16), data="digits", epochs=2, learning_rate=1e-3)


def group(**means: float) -> dict[str, Any]:
    return {name: {"mean": value} for name, value in means.items()}


def test_a_run_is_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.jsonl"
    row = trained({}, TINY)
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.setattr("benchmarks.processes.ProcessPoolExecutor", None)  # nothing trains again
    networks = TrainedNetworks(path, {})
    networks.train([TINY, TINY])
    assert networks[TINY]["values"] == row["values"]
    assert len(row["values"]) == 4
    assert networks.seconds == round(row["seconds"], 1)


def test_the_rate_is_the_one_whose_pilot_is_right_most_often(tmp_path: Path) -> None:
    recipe = replace(TINY, learning_rate=0.0, epochs=50)
    path = tmp_path / "runs.jsonl"
    best = RATES["adam"][2]
    rows = [
        {"run": asdict(pilot(recipe, rate)), "validation_accuracy": 0.9 if rate == best else 0.8}
        for rate in RATES["adam"]
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert tune([recipe], TrainedNetworks(path, {}))[recipe] == replace(recipe, learning_rate=best)


def test_pilots_have_a_seed_that_no_figure_has() -> None:
    assert PILOT_SEED not in (*SEEDS, *QUICK_SEEDS)


def test_every_condition_of_the_quick_form_is_on_the_bundled_digits() -> None:
    for figure in FIGURES.values():
        smaller = quick(figure)
        assert len(smaller.recipes) == len(figure.recipes)
        assert all(
            recipe.data == "digits" and recipe.epochs < 100 for recipe in smaller.recipes.values()
        )


@pytest.mark.parametrize(("half", "fixed"), [("first", [0, 1]), ("last", [2, 3]), ("", [])])
def test_half_of_the_blocks_are_frozen(half: str, fixed: list[int]) -> None:
    recipe = replace(TINY, widths=(16,) * 4, frozen=half)
    model = build(recipe, data_of("digits", recipe))
    blocks = list(model.get_submodule("blocks").children())
    frozen = [
        i for i, block in enumerate(blocks) if not any(p.requires_grad for p in block.parameters())
    ]
    assert frozen == fixed


def test_halves_that_are_trained_in_turn_are_frozen_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(TINY, widths=(16,) * 3, frozen=IN_TURN)
    phases = []

    def noted(model: torch.nn.Module, _data: object, *, epochs: int, **_other: object) -> None:
        blocks = [*model.get_submodule("blocks").children(), model.get_submodule("head")]
        trained_now = [all(p.requires_grad for p in block.parameters()) for block in blocks]
        phases.append((epochs, trained_now))

    monkeypatch.setattr("benchmarks.claims.paper_networks.train", noted)
    trained({}, recipe)
    assert phases == [(3, [True, True, False, False]), (2, [False, False, True, True])]


def test_the_rate_of_the_lowest_loss_may_be_wanted(tmp_path: Path) -> None:
    recipe = replace(TINY, learning_rate=0.0, epochs=50, rates=(0.1, 0.01), lowest_loss=True)
    figures = {0.1: {"validation_accuracy": 0.9, "training_loss": 0.2},
               0.01: {"validation_accuracy": 0.8, "training_loss": 0.1}}  # fmt: skip
    rows = [{"run": asdict(pilot(recipe, rate)), **row} for rate, row in figures.items()]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert tune([recipe], TrainedNetworks(path, {}))[recipe].learning_rate == 0.01


def test_deep_enough_is_where_log_d_falls_nearly_as_far_as_it_can() -> None:
    falls = {"MNIST, 2 layers": 3.0, "MNIST, 6 layers": 6.7, "MNIST, 17 layers": 6.9,
             "digits, 2 layers": 5.0, "digits, 6 layers": 4.0}  # fmt: skip
    conditions = {name: group(total_reduction=fall) for name, fall in falls.items()}
    assert dict(enough_depths(conditions)) == {"MNIST": 6, "digits": 2}


def test_imbalanced_data_have_a_fifth_of_the_later_classes() -> None:
    whole, unequal = (
        torch.bincount(data_of("digits", replace(TINY, imbalanced=imbalanced)).train.labels)
        for imbalanced in (False, True)
    )
    assert torch.equal(unequal[:5], whole[:5])
    assert torch.equal(unequal[5:], whole[5:] // 5)


def test_a_run_ends_at_its_loss() -> None:
    row = trained({}, replace(TINY, epochs=100, until_loss=1.0))
    assert row["epochs"] < 100
    assert row["training_loss"] <= 1.0


def test_a_network_that_diverges_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    good = trained({}, TINY)
    bad = {
        "run": asdict(replace(TINY, seed=1)), "values": None, "inner": None, "seconds": 0.1,
        "train_accuracy": None, "validation_accuracy": None, "test_accuracy": None,
    }  # fmt: skip
    path.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n", encoding="utf-8")
    figure = replace(FIGURES["linear"], recipes={"tiny": TINY})
    conditions = summary(figure, {TINY: TINY}, (0, 1), TrainedNetworks(path, {}))["conditions"]
    assert conditions["tiny"]["failed"] == 1
    assert conditions["tiny"]["rho"]["n"] == 1
    assert conditions["tiny"]["test_accuracy"]["mean"] == good["test_accuracy"]


def test_frozen_networks_must_be_worse_in_both_respects() -> None:
    standard = group(uniformity=0.9, test_accuracy=0.8)
    assert frozen_is_worse({"a": standard, "b": group(uniformity=0.5, test_accuracy=0.7)})
    assert not frozen_is_worse({"a": standard, "b": group(uniformity=0.5, test_accuracy=0.81)})
    assert not frozen_is_worse({"a": standard, "b": group(uniformity=0.95, test_accuracy=0.7)})


def test_keys_do_not_depend_on_where_a_run_comes_from() -> None:
    assert key_of(asdict(TINY)) == key_of(json.loads(json.dumps(asdict(TINY))))
