"""The README's code runs as it stands there, with stand-ins for the reader's own model and data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import designer
from tests.support.command import Command
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

SHORTER = {"--trials 20 --epochs 10": "--trials 8 --epochs 4 --confirm 1 --confirm-seeds 1"}
"""Searches are as short as the test allows."""

TRAINING_STEPS = 40

SERVERS = {"worker", "dashboard"}
"""Commands that need a server or are one; tests/search and tests/cli run them."""

NETS = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x):
        return x + self.inside(x)

def resnet():
    blocks = [Block() for _ in range(6)]
    pooled = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *blocks, *pooled)
"""


def commands() -> list[str]:
    """Return the ``designer`` commands that the README shows, without comments."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.split("  #")[0].rstrip() for line in lines if line.startswith("designer ")]


def test_the_readme_shows_every_command_for_users() -> None:
    assert {line.split()[1] for line in commands()} >= {
        "search", "report", "analyze", "prune", "compare", "dashboard", "worker",
    }  # fmt: skip


def test_the_commands_run(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    prepare_model_and_data(folder)
    for shown in commands():
        if shown.split()[1] in SERVERS:
            continue
        line = shown
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        outcome = command(*shlex.split(line)[1:])
        assert outcome.code == 0, f"{line}\n{outcome.err}"
        if line.startswith("designer search"):
            shutil.copytree("runs/a", "runs/b")  # a second run, which `compare` is shown with


def prepare_model_and_data(folder: Path) -> None:
    """Write the model, the weights and the images that the README takes for granted."""
    (folder / "mynets.py").write_text(NETS, encoding="utf-8")
    import mynets  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = rng.random((240, 8, 8)) + labels[:, None, None] * (np.arange(8) < 4)
    np.savez(folder / "cifar.npz", x_train=images, y_train=labels)
    train = designer.load_dataset("cifar.npz", scaling="none").train
    torch.manual_seed(0)
    model = mynets.resnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(TRAINING_STEPS):
        loss = nn.functional.cross_entropy(model(train.inputs), train.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save_file(model.state_dict(), folder / "resnet.safetensors")


def test_the_python_example_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick: dict[str, Any] = {"trials": 1, "epochs": 1, "confirm": 1, "confirm_seeds": 1, "edits": 0}
    designer.search("mlp", "digits", out="runs/a", **quick)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "widths" in capsys.readouterr().out


def test_every_link_of_the_readme_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
