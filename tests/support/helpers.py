"""Data, models and profiles that several test files need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.measures.law import fit_law
from designer.results.measured import (
    Draws,
    FloatArray,
    LayerSeparation,
    Separation,
    SeparationProfile,
    SeparationStatus,
)

torch.set_num_threads(1)  # small tensors gain nothing from more, and a busy machine loses much

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])

CLASSES = 10


def gaussian_classes(
    n: int = 60,
    p: int = 5,
    classes: int = 3,
    *,
    spread: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Return features (n, p) around random class centres, and balanced labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, p, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, p, generator=generator, dtype=torch.float64)
    return (centres[labels] + spread * noise).to(dtype), labels


def labelled(n: int = 60, p: int = 5, classes: int = 3, *, seed: int = 0) -> LabelledTensors:
    """Return ``gaussian_classes`` as float32 training data."""
    return LabelledTensors(*gaussian_classes(n, p, classes, seed=seed, dtype=torch.float32))


def small_mlp(inputs: int = 5, width: int = 7, classes: int = 3, *, seed: int = 0) -> nn.Sequential:
    """Return two blocks with BatchNorm and a head, with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()),
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()),
            nn.Linear(width, classes),
        )


def trained_for_a_rare_class() -> tuple[nn.Module, LabelledTensors, LabelledTensors]:
    """Return a network trained with class weights, training data and held-out data.

    One sample in 20 is of class 1, and the network is right less often than one that always names
    class 0.
    """
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(2000) % 20 == 0).long()
    features = torch.randn(2000, 5, generator=generator) + labels[:, None]
    model = small_mlp(classes=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        optimizer.zero_grad()
        weights = torch.tensor([1.0, 19.0])
        loss = functional.cross_entropy(model(features[:1000]), labels[:1000], weights)
        torch.autograd.backward(loss)
        optimizer.step()
    parts = [LabelledTensors(features[i : i + 1000], labels[i : i + 1000]) for i in (0, 1000)]
    return model.eval(), parts[0], parts[1]


def values_of_steps(g: Sequence[float], first: float = 100.0) -> FloatArray:
    """Return D_0 .. D_L whose steps are ``g`` nats."""
    values: FloatArray = first * np.exp(-np.cumsum([0.0, *g]))
    return values


def draws_around(values: FloatArray, sd: float = 1e-3, *, count: int = 200, seed: int = 0) -> Draws:
    """Return bootstrap draws whose logarithms scatter by ``sd`` around those of ``values``."""
    noise = sd * np.random.default_rng(seed).normal(size=(count, len(values)))
    return tuple(map(tuple, (values * np.exp(noise)).tolist()))


def profile_of(
    values: Sequence[float] | FloatArray,
    heldout: Sequence[float] | FloatArray | None = None,
    *,
    nulls: Sequence[float] | FloatArray | None = None,
    widths: Sequence[int] | None = None,
    ranks: Sequence[int] | None = None,
    accuracies: Sequence[float] | None = None,
    chance: float = 0.1,
    resampled: Draws = (),
    resampled_heldout: Draws = (),
) -> SeparationProfile:
    """Return an invented profile of ``CLASSES`` classes; all sequences begin with the input."""
    taps = len(values)
    nulls = [float("nan")] * taps if nulls is None else nulls
    widths = [100] * taps if widths is None else widths
    ranks = [CLASSES - 1] * taps if ranks is None else ranks
    accuracies = [0.5] * taps if accuracies is None else accuracies
    layers = tuple(
        LayerSeparation(
            name="input" if i == 0 else f"block{i}",
            width=widths[i],
            train=_separation(float(values[i]), ranks[i]),
            heldout=None if heldout is None else _separation(float(heldout[i]), ranks[i]),
            null=float(nulls[i]),
            nearest_class_mean_accuracy=accuracies[i],
        )
        for i in range(taps)
    )
    return SeparationProfile(
        layers=layers,
        law=fit_law(np.asarray(values, dtype=np.float64)),
        law_heldout=None if heldout is None else fit_law(np.asarray(heldout, dtype=np.float64)),
        num_classes=CLASSES,
        chance=chance,
        accuracy_by_chance=chance,
        accuracy_by_chance_heldout=chance,
        samples=1000,
        samples_heldout=0 if heldout is None else 500,
        resampled=resampled,
        resampled_heldout=resampled_heldout,
    )


def _separation(value: float, rank: int) -> Separation:
    full = CLASSES - 1
    status = SeparationStatus.OK if rank == full else SeparationStatus.RANK_DEFICIENT
    return Separation(value=value, rank=rank, full_rank=full, status=status)
