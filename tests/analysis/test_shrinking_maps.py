"""Maps that shrink before training, flat and pooled."""

from __future__ import annotations

import torch
from torch import nn

from designer import analyze, load_dataset
from designer.results.diagnosis import FindingKind
from designer.training.trainer import build_seeded

CPU = torch.device("cpu")


def test_an_untrained_network_of_shrinking_maps_is_not_told_to_widen() -> None:
    def stage(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    data = load_dataset("digits", train_size=400)
    model = build_seeded(
        lambda: nn.Sequential(
            stage(1, 8), stage(8, 8), stage(8, 8), nn.Flatten(), nn.Linear(8, 10)
        ),
        0,
        CPU,
    )
    result = analyze(model, data.train, data.validation, ["0", "1", "2"], contribution_samples=0)
    assert result.layers[-1].rank < result.layers[-1].full_rank
    assert "model_at_chance" in {w.code for w in result.warnings}
    assert FindingKind.TOO_NARROW not in {finding.kind for finding in result.diagnosis}
    assert not any("widen" in layer.advice for layer in result.layers)
    pooled = analyze(
        model,
        data.train,
        data.validation,
        ["0", "1", "2"],
        features="pool",
        contribution_samples=0,
    )
    assert "so take flat ones" in pooled.layers[0].advice
    assert "so take flat ones" in pooled.layers[1].advice
