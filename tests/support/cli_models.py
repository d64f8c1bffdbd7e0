"""Models that the tests name on the command line; ``MADE`` keeps the last one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import designer
from tests.support.trained import blob_net

MADE: list[nn.Module] = []
"""The model that was built last."""


def _noted(model: nn.Module) -> nn.Module:
    """Keep a model in ``MADE`` and return it."""
    MADE[:] = [model]
    return model


def perceptron(outputs: int = 10) -> nn.Module:
    """Build a perceptron for 8x8 images."""
    return _noted(
        nn.Sequential(
            nn.Flatten(),
            nn.Sequential(nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU()),
            nn.Sequential(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU()),
            nn.Sequential(nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU()),
            nn.Linear(16, outputs),
        )
    )


def six_features() -> nn.Module:
    """Build a perceptron of five blocks for the blobs of ``tests.support.toy``."""
    return _noted(blob_net())


def five_classes() -> nn.Module:
    """Build a model with too few classes for the digits."""
    return perceptron(5)


def wide() -> nn.Module:
    """Build a model for inputs of another shape."""
    return _noted(nn.Sequential(nn.Flatten(), nn.Linear(65, 8), nn.ReLU(), nn.Linear(8, 10)))


def single() -> nn.Module:
    """Build a model without blocks."""
    return _noted(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


class Raises(nn.Module):
    """A model that raises in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.block(x.flatten(1))
        raise ZeroDivisionError("broken on purpose\nwith details")


def raises() -> nn.Module:
    """Build a model that raises in its forward pass."""
    return _noted(Raises())


class Tensorless(nn.Module):
    """A model that returns something else than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron()

    def forward(self, x: Tensor) -> str:
        self.body(x)
        return "nothing of use"


def tensorless() -> nn.Module:
    """Build a model that returns no tensor."""
    return _noted(Tensorless())


class Leaves(Raises):
    """A model that ends the program when it runs."""

    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit(0)


def leaves() -> nn.Module:
    """Build a model that ends the program when it runs."""
    return _noted(Leaves())


def scripted() -> nn.Module:
    """Build a model that is no longer Python."""
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.script(perceptron())


def talkative() -> nn.Module:
    """Build a model, and print while doing so."""
    sys.stdout.write("hello from the model\n")
    return perceptron()


def misnamed() -> nn.Module:
    """Build a model whose block names are no names."""
    model = perceptron()
    model.block_names = 7  # type: ignore[assignment]
    return model


class Sine(nn.Module):
    """An activation that depends on the scale of its input more than any other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(6 * x) + 1


def unscaled() -> nn.Module:
    """Build a model that is right about raw digits and wrong about scaled ones."""
    data = designer.load_dataset("digits", train_size=300, scaling="none")
    layers, head = [nn.Linear(64, 64) for _ in range(2)], nn.Linear(64, 10)
    blocks = [nn.Sequential(layers[0], Sine()), nn.Sequential(layers[1], nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *blocks, head)
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.eye(64))
            layer.bias.zero_()
        features = model[:-1](data.train.inputs)
        means = torch.stack([features[data.train.labels == k].mean(0) for k in range(10)])
        head.weight.copy_(means)
        head.bias.copy_(-means.square().sum(1) / 2)
    return _noted(model)


def _broken_off() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one batch, then fail."""
    yield torch.zeros(3, 1, 8, 8), torch.arange(3)
    raise OSError("the disk is gone")


class Breaking:
    """Batches that can be iterated anew, and break off each time."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return _broken_off()


def breaking() -> dict[str, object]:
    """Return training data that break off."""
    return {"train": Breaking()}


def batches() -> dict[str, object]:
    """Return the digits as batches."""
    data = designer.load_dataset("digits", train_size=300)
    return {"train": data.train.batches(64), "heldout": data.test.batches(64)}


class Code:
    """Pickles as a call that writes a file."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.marker, "w")


def weights() -> dict[str, Tensor]:
    """Return weights of ``perceptron``."""
    torch.manual_seed(7)
    return perceptron().state_dict()
