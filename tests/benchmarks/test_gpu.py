"""The claim about GPUs, in small on the CPU: its parts run, and one that fails spoils no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.claims import gpu, gpu_analysis, gpu_parity
from benchmarks.claims.gpu_parity import analysis_difference, relative
from benchmarks.gpu_timing import Setting, against
from benchmarks.run import main


def test_a_part_that_fails_leaves_its_error_and_the_others_their_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_torchvision(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(gpu_analysis, "import_module", no_torchvision)
    file = tmp_path / "gpu.json"
    parts = ("analysis", "separation", "contribution")
    quick = ["gpu", "--quick", "--device", "cpu", "--part", *parts]
    main([*quick, "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    analysis, separation = result["parts"]["analysis"], result["parts"]["separation"]
    assert "pip install torchvision" in analysis["error"]
    (row,) = separation["rows"].values()
    assert row["ratio"] > 0
    assert 0 < row["d"] < 1
    contribution = result["parts"]["contribution"]
    assert contribution["blocks"] == 9
    assert contribution["met"] == (contribution["ratio"] <= 15)
    assert result["card"]["device"] == "cpu"


def test_a_network_has_the_same_figures_on_the_same_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_parity, "NETWORKS", {"MLP": gpu_parity.NETWORKS["MLP"]})
    quick = Setting(torch.device("cpu"), quick=True)
    figures = gpu.outcome_of(gpu.PARTS["parity"], quick)
    assert figures["met"]
    for row in figures["rows"].values():
        assert row["float32"]["worst"] == 0
        assert 0 < row["bfloat16"]["d"] < 0.1


def test_every_way_of_training_is_timed() -> None:
    quick = Setting(torch.device("cpu"), quick=True)
    figures = gpu.outcome_of(gpu.PARTS["search"], quick)
    for row in figures["rows"].values():
        assert row["per_hour"].keys() == {"search", "by_hand", "alone", "stacked"}
        assert row["times_by_hand"]["by_hand"] == 1
        assert min(row["per_hour"].values()) > 0


def test_ratios_are_taken_pair_by_pair() -> None:
    figures = against([2.0, 9.0, 3.0], [1.0, 3.0, 3.0])
    assert (figures["seconds"], figures["plain_seconds"]) == (3, 3)
    assert (figures["ratio"], figures["ratio_range"]) == (2, [1, 3])


def test_missing_numbers_differ_only_from_numbers() -> None:
    nan = np.nan
    assert relative(np.array([1.0, nan]), np.array([1.1, nan])) == pytest.approx(0.1)
    assert relative(np.array([1.0, nan]), np.array([1.0, 2.0])) == np.inf


def test_small_numbers_of_an_analysis_are_compared_with_the_floor() -> None:
    expected = {"layers": [{"d": 2.0, "effect": 1e-5, "verdict": "idle"}]}
    measured = {"layers": [{"d": 2.002, "effect": 3e-5, "verdict": "works"}]}
    figures = analysis_difference(expected, measured)
    assert figures["analysis"] == pytest.approx(2e-3)
    assert figures["analysis_at"].startswith(".layers.0.effect")
    assert figures["texts"] == 1
    assert analysis_difference(expected, {"layers": []})["analysis"] == np.inf


def test_figures_hold_no_infinities() -> None:
    infinite = float("inf")
    assert gpu.without_infinities({"a": [infinite, 1.0, {"b": -infinite}]}) == {
        "a": [None, 1.0, {"b": None}]
    }
