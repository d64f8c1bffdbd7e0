"""Stand-ins for libraries of models, with the functions of theirs that are used."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn

MEAN, STD, SIZE = (0.5, 0.25, 0.125), (0.2, 0.2, 0.4), 6


class TinyNet(nn.Module):
    """A classifier of images with two blocks, which says whether it is pretrained."""

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.stem = nn.Conv2d(in_chans, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2)))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, K)."""
        logits: Tensor = self.head(self.blocks(self.stem(x).mean((2, 3))))
        return logits


def install_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import timm`` give a library with one model, ``tiny_net``."""
    timm: Any = ModuleType("timm")
    config = {"mean": MEAN, "std": STD, "input_size": (3, SIZE, SIZE)}
    timm.is_model = lambda name: name == "tiny_net"
    timm.list_models = lambda: ["tiny_net", "huge_net"]
    timm.create_model = lambda _name, **arguments: TinyNet(**arguments)
    timm.get_pretrained_cfg = lambda _name: SimpleNamespace(to_dict=lambda: config)
    timm.data = SimpleNamespace(resolve_data_config=lambda pretrained_cfg: pretrained_cfg)
    monkeypatch.setitem(sys.modules, "timm", timm)


def install_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import torchvision`` give a library with one model, ``tiny_net``."""
    torchvision: Any = ModuleType("torchvision")
    torchvision.models = SimpleNamespace(
        list_models=lambda: ["tiny_net"],
        get_model=lambda _name, **arguments: TinyNet(**arguments),
    )
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
