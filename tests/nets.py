"""Models that the tests name on the command line; ``MADE`` keeps the last one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MADE: list[nn.Module] = []


def _made(model: nn.Module) -> nn.Module:
    MADE[:] = [model]
    return model


def perceptron(outputs: int = 10) -> nn.Module:
    """For 8x8 images."""
    return _made(
        nn.Sequential(
            nn.Flatten(),
            nn.Sequential(nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU()),
            nn.Sequential(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU()),
            nn.Sequential(nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU()),
            nn.Linear(16, outputs),
        )
    )


def five_classes() -> nn.Module:
    """Too few for the digits."""
    return perceptron(5)


def wide() -> nn.Module:
    """For inputs of another shape."""
    return _made(nn.Sequential(nn.Flatten(), nn.Linear(65, 8), nn.ReLU(), nn.Linear(8, 10)))


def single() -> nn.Module:
    """A model without blocks."""
    return _made(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


class Raises(nn.Module):
    """Cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.block(x.flatten(1))
        raise ZeroDivisionError("broken on purpose\nwith details")


def raises() -> nn.Module:
    """A model that cannot run."""
    return _made(Raises())


class Tensorless(nn.Module):
    """Returns something else than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron()

    def forward(self, x: Tensor) -> str:
        self.body(x)
        return "nothing of use"


def tensorless() -> nn.Module:
    """A model that returns no tensor."""
    return _made(Tensorless())


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.marker, "w")


def weights() -> dict[str, Tensor]:
    """Of ``perceptron``."""
    torch.manual_seed(7)
    return perceptron().state_dict()
