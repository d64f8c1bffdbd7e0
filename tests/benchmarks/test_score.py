"""Forms of the score: what they combine, and how they are compared."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.claims.score import (
    FORMS,
    REFERENCE,
    Seen,
    best_form,
    compared,
    fit_of,
    learned,
)
from benchmarks.pools.pool import Network, ShortRun
from designer.measures.score import above_chance
from designer.results.measured import FloatArray

CHANCE = 0.1


def network(i: int, *, accuracy: float, final: float, h: float = 0.5) -> Network:
    def run(epochs: int) -> ShortRun:
        return ShortRun(
            accuracies=np.array([0.2, h, h, h]),
            values=np.exp(-np.arange(4.0)),
            nulls=np.ones(4),
            validation_accuracy=accuracy,
            summed_loss=float(epochs),
            curve=np.linspace(0.1, accuracy, epochs),
            losses=np.full(epochs, 1.0),
            seconds={},
        )

    return Network(
        architecture=i,
        seed=0,
        widths=(8, 8, 8),
        parameters=100 + i,
        flops=1.0,
        zero_cost={},
        zero_cost_seconds={},
        chance=CHANCE,
        final_accuracy=final,
        short={epochs: run(epochs) for epochs in (2, 5, 10)},
        device="cpu",
    )


def seen(h: FloatArray, v3: FloatArray, earlier: Seen | None = None) -> Seen:
    zeros = np.zeros(len(h))
    return Seen(h=h, u=zeros, v=v3, v3=v3, fit=zeros, earlier=earlier)


def test_parts_are_0_at_chance_and_1_at_the_best() -> None:
    assert above_chance(0.1, 0.1) == 0
    assert above_chance(1.0, 0.1) == 1
    run = network(0, accuracy=0.5, final=0.5).short[5]
    assert fit_of(run, chance=np.exp(-2)) == pytest.approx(0.5)  # lost 1 nat of 2
    assert fit_of(run, chance=np.exp(-1)) == pytest.approx(0)
    assert fit_of(run, chance=0.9) == -1


def test_a_form_that_follows_the_long_run_leads_by_what_the_rival_lacks() -> None:
    generator = np.random.default_rng(0)
    final = np.linspace(0.5, 0.9, 24)
    noise = generator.permutation(np.linspace(0.3, 0.8, 24))
    pool = [network(i, accuracy=noise[i], final=final[i], h=final[i]) for i in range(24)]
    figures = compared(pool)
    assert list(figures) == ["2", "5", "10"]
    row = figures["5"]["H A"]
    assert row["all"] == row["top_half"] == 1
    assert row["all_lead"] == pytest.approx(1 - figures["5"][REFERENCE]["all"], abs=2e-4)
    assert row["all_lead_interval"][0] > 0
    assert best_form(figures) == "H A"


def test_the_learned_form_follows_what_told_later_values_before() -> None:
    generator = np.random.default_rng(1)
    early_h, early_v3, late = generator.normal(size=(3, 200))
    # what is good now was told by an early H, and not at all by an early V3
    earlier = seen(h=early_h, v3=early_v3)
    now = Seen(early_h, np.zeros(200), late, early_h, np.zeros(200), earlier)
    told = Seen(now.h + late, now.u, now.v, now.v3, now.fit, earlier)
    form = learned(told)
    by_h, by_v3 = (abs(np.corrcoef(form, x)[0, 1]) for x in (told.h, late))
    assert by_h > 0.99
    assert by_v3 < by_h


def test_without_an_earlier_look_the_learned_form_is_the_plain_mean() -> None:
    h, v3 = np.array([0.1, 0.5]), np.array([0.3, 0.2])
    assert learned(seen(h, v3)) == pytest.approx([0.2, 0.35])


def test_every_form_gives_one_number_for_each_architecture() -> None:
    generator = np.random.default_rng(2)
    h, v3 = generator.uniform(size=(2, 30))
    for form in FORMS.values():
        assert form(seen(h, v3, seen(v3, h))).shape == (30,)
