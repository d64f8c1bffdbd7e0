"""What the claim about the diagnosis plants and counts."""

from __future__ import annotations

import pytest

from benchmarks.claim import Figures
from benchmarks.claims.diagnosis import PLANTED, UNDER_TRAINED, DiagnosisTask, diagnosed, summary_of


def row(planted: str, *findings: str, changes: int = 0, twin: float | None = None) -> Figures:
    return {
        "data": "digits",
        "planted": planted,
        "findings": list(findings),
        "blocks": 4,
        "changes": changes,
        "idle": 1,
        "test_accuracy": 0.9,
        "test_accuracy_of_twin": twin,
    }


def test_a_defect_counts_as_named_by_its_own_finding_only() -> None:
    rows = [
        row("16 blocks", "OVER_DEEP", twin=0.92),
        row("16 blocks", "MEMORISING", twin=0.96),
        row("16 blocks", "OVER_DEEP", "MEMORISING", changes=2, twin=0.9),
    ]
    for of in ("digits", "all"):
        group = summary_of(rows)["16 blocks"][of]
        assert (group["named"], group["other_findings"], group["networks"]) == (2, 2, 3)
        assert (group["changes"], group["blocks"], group["idle"]) == (2, 12, 3)
        assert group["gain_of_twin"]["mean"] == pytest.approx(0.08 / 3, abs=1e-4)


def test_every_finding_on_a_healthy_network_is_another_one() -> None:
    group = summary_of([row("healthy", "TOO_NARROW"), row("healthy")])["healthy"]["all"]
    assert (group["named"], group["other_findings"]) == (0, 1)
    assert group["gain_of_twin"] is None


def test_only_healthy_networks_have_no_twin() -> None:
    for planted in PLANTED.values():
        for seed in range(4):
            network, twin = planted.draw(seed)
            assert (twin is None) == (not planted.named_by)
            assert network != twin
    assert set(UNDER_TRAINED) <= set(PLANTED)


def test_a_planted_bottleneck_is_named_and_costs_accuracy() -> None:
    outcome = diagnosed(DiagnosisTask("digits", "digits", "a block of 4 to 6 units", seed=0))
    assert "TOO_NARROW" in outcome["findings"]
    assert outcome["test_accuracy"] < outcome["test_accuracy_of_twin"]
