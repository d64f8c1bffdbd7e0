"""What is no module in Python is refused in one sentence, by every way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import designer
from designer.errors import ModelError

INPUTS, LABELS = torch.randn(60, 8), torch.arange(60) % 3


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def exported() -> Any:
    return torch.export.export(perceptron(), (INPUTS,))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (exported, "got an exported program, whose layers are gone"),
        (lambda: exported().module(), "got an exported program, whose layers are gone"),
        (lambda: "resnet18", r"Expected a torch\.nn\.Module, got str\."),
        (lambda: nn.Linear, r"Expected a torch\.nn\.Module, got the class Linear\."),
        (lambda: None, r"Expected a torch\.nn\.Module, got NoneType\."),
    ],
)
def test_what_is_no_module_in_python_is_refused(make: Callable[[], Any], told: str) -> None:
    model = make()
    with pytest.raises(ModelError, match=told):
        designer.analyze(model, (INPUTS, LABELS))
    with pytest.raises(ModelError, match=told):
        designer.prune(model, ((INPUTS, LABELS), (INPUTS, LABELS)), remove=1)


def test_a_module_that_was_traced_by_fx_is_still_python() -> None:
    traced = torch.fx.symbolic_trace(perceptron())
    assert len(designer.analyze(traced, (INPUTS, LABELS)).layers) == 2
