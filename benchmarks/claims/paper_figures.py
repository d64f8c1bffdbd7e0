"""The figures of He & Su (PNAS 2023): the networks of each, and when they agree with the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from benchmarks.claim import Figures

WIDTH = 100

EPOCHS, SHORTER = 600, 200
"""Epochs of the paper, and epochs where many networks are compared."""

QUICK_SHARE, QUICK_SEEDS, QUICK_EPOCHS = 10, (0, 1), 20
"""What ``--quick`` divides epochs by, its seeds, and the fewest epochs."""

QUICK_WIDEST = 200
"""The greatest width in ``--quick``."""

RATES = {
    "adam": (1e-2, 3e-3, 1e-3, 3e-4),
    "momentum": (1e-1, 3e-2, 1e-2, 3e-3),
    "sgd": (3e-1, 1e-1, 3e-2, 1e-2),
}
"""Learning rates that are tried, by optimiser."""

FOLLOWS = -0.95
"""Pearson's r of log D up to which a network is said to follow the law, as the paper judges."""

THEIR_RATES = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
"""Learning rates of Adam that the paper's own program tries for depths and for frozen halves."""

DATA = ("digits", "MNIST", "Fashion-MNIST")
DEPTHS = (2, 4, 6, 8, 12, 16, 20)
THEIR_DATA, THEIR_DEPTHS = ("MNIST", "Fashion-MNIST", "CIFAR-10"), (2, 4, 6, 8, 10, 13, 17)
IN_TURN = "in turn"
LOOKS = (1, 3, 10, 30, 100, 300)
TAPERED = (200, 150, 120, 90, 70, 50, 40, 30)


@dataclass(frozen=True)
class Recipe:
    """What one network is and how it is trained."""

    kind: str = "mlp"
    """``mlp``, ``linear``, ``vgg`` or ``resnet``."""
    widths: tuple[int, ...] = (WIDTH,) * 8
    """Widths of the blocks, or channels of the stages."""
    data: str = "Fashion-MNIST"
    seed: int = 0
    epochs: int = EPOCHS
    optimizer: str = "adam"
    learning_rate: float = 0.0
    """The learning rate; 0 to be tuned."""
    normalisation: str = "batch"
    frozen: str = ""
    """Which half of the blocks keeps its initial weights: ``first``, ``last`` or none; or
    ``IN_TURN``: the first half is trained, then it is frozen and the rest is trained."""
    rates: tuple[float, ...] = ()
    """Learning rates to try; none for those of the optimiser."""
    lowest_loss: bool = False
    """True to take the rate that brings the training loss lowest, not the accuracy highest."""
    shuffled: bool = False
    """True for labels without meaning."""
    imbalanced: bool = False
    """True if half of the classes have a fifth of the images."""
    until_loss: float = 0.0
    """Training loss in nats at which to stop; 0 for never."""
    looks: tuple[int, ...] = ()
    """Epochs after which to look inside, besides the last."""


Groups = Mapping[str, Figures]
"""Means and standard deviations of each condition, by its name."""


@dataclass(frozen=True)
class Figure:
    """One claim of the paper."""

    says: str
    """The claim in a sentence."""
    recipes: Mapping[str, Recipe]
    """The networks, by condition."""
    agrees: Callable[[Groups], bool]
    """True if the conditions came out as the paper says."""


# --- verdicts ---


def follows(group: Figures) -> bool:
    """True if networks follow the law, judged as the paper does."""
    return bool(group["r"]["mean"] is not None and group["r"]["mean"] <= FOLLOWS)


def uniformity(group: Figures) -> float:
    """Return the mean uniformity over the seeds, -1 if no seed has one."""
    value = group["uniformity"]["mean"]
    return -1.0 if value is None else float(value)


def all_follow(groups: Groups) -> bool:
    """True if every condition follows the law."""
    return all(follows(group) for group in groups.values())


def none_follows(groups: Groups) -> bool:
    """True if no condition follows the law."""
    return not any(follows(group) for group in groups.values())


def depth_matters(groups: Groups) -> bool:
    """True if on every data set the steps are most equal at some depth between the extremes."""
    by_data: dict[str, list[float]] = {}
    for name, group in groups.items():
        by_data.setdefault(name.partition(", ")[0], []).append(uniformity(group))
    return all(0 < int(np.argmax(values)) < len(values) - 1 for values in by_data.values())


def narrow_breaks(groups: Groups) -> bool:
    """True if the narrowest follows least and the widest gains little over the middle."""
    narrow, middle, wide = (uniformity(group) for group in groups.values())
    return narrow < middle and wide - middle < middle - narrow


def frozen_is_worse(groups: Groups) -> bool:
    """True if frozen networks follow less and are less accurate at the same loss."""
    standard, *frozen = groups.values()
    return all(
        uniformity(group) < uniformity(standard)
        and group["test_accuracy"]["mean"] < standard["test_accuracy"]["mean"]
        for group in frozen
    )


def blocks_not_layers(groups: Groups) -> bool:
    """True if the blocks follow the law better than all layers do."""
    return all(
        follows(group) and uniformity(group) > group["inner_uniformity"]["mean"]
        for group in groups.values()
    )


def emerges(groups: Groups) -> bool:
    """True if networks do not follow the law at first and do in the end."""
    return all(
        follows(group) and next(iter(group["emergence"].values()))["r"] > FOLLOWS
        for group in groups.values()
    )


# --- figures ---


def deep(depth: int, width: int = WIDTH, **other: Any) -> Recipe:
    """Return a perceptron of constant width."""
    return Recipe(widths=(width,) * depth, **other)


def by_depth(data: Iterable[str], depths: Iterable[int], **other: Any) -> dict[str, Recipe]:
    """Return perceptrons of constant width on each data set, by data and depth."""
    return {
        f"{name}, {depth} layers": deep(depth, data=name, **other)
        for name, depth in product(data, depths)
    }


FIGURES: dict[str, Figure] = {
    "optimisers": Figure(
        "The law holds for SGD, momentum and Adam, at 4, 8 and 20 layers.",
        {
            f"{optimizer}, {depth} layers": deep(depth, optimizer=optimizer)
            for optimizer in RATES
            for depth in (4, 8, 20)
        },
        all_follow,
    ),
    "emergence": Figure(
        "At first D does not fall from layer to layer; the law emerges during training.",
        {f"{depth} layers": deep(depth, looks=LOOKS) for depth in (4, 8, 20)},
        emerges,
    ),
    "depth": Figure(
        "Too shallow or too deep a network follows the law less; harder data want more depth.",
        by_depth(DATA, DEPTHS, epochs=SHORTER),
        depth_matters,
    ),
    "width": Figure(
        "Very narrow networks break the law; very wide ones gain little.",
        {f"width {w}": deep(8, w, epochs=SHORTER // 2) for w in (20, 100, 1000)},
        narrow_breaks,
    ),
    "shapes": Figure(
        "The law holds for widths that grow, shrink or alternate.",
        {
            "narrow to wide": Recipe(widths=TAPERED[::-1], epochs=SHORTER),
            "wide to narrow": Recipe(widths=TAPERED, epochs=SHORTER),
            "mixed": Recipe(widths=(150, 50) * 4, epochs=SHORTER),
        },
        all_follow,
    ),
    "frozen": Figure(
        "At equal training loss networks with a frozen half follow the law less and generalise "
        "less.",
        {
            name: Recipe(frozen=half, until_loss=0.05, epochs=SHORTER)
            for name, half in (("standard", ""), ("first half", "first"), ("last half", "last"))
        },
        frozen_is_worse,
    ),
    "depth (their program)": Figure(
        "The same with 600 epochs, on the three data sets of the paper.",
        by_depth(THEIR_DATA, THEIR_DEPTHS, rates=THEIR_RATES),
        depth_matters,
    ),
    "frozen (their program)": Figure(
        "Networks whose halves are trained in turn follow the law less and generalise less.",
        {
            name: deep(19, data="CIFAR-10", rates=THEIR_RATES, frozen=frozen, lowest_loss=True)
            for name, frozen in (("standard", ""), (IN_TURN, IN_TURN))
        },
        frozen_is_worse,
    ),
    "imbalance": Figure(
        "The law holds where half of the classes have a fifth of the images.",
        {"500 and 100 per class": Recipe(data="MNIST", imbalanced=True, epochs=SHORTER)},
        all_follow,
    ),
    "residual": Figure(
        "In residual networks the law holds from block to block, not from layer to layer.",
        {"ResNet of 8 blocks": Recipe("resnet", (8, 16), data="MNIST", epochs=40)},
        blocks_not_layers,
    ),
    "convolutions": Figure(
        "The law holds in plain convolutional networks.",
        {"VGG-like, 6 layers": Recipe("vgg", (16, 32), data="MNIST", epochs=60)},
        all_follow,
    ),
    "no normalisation": Figure(
        "Without normalisation deep networks do not follow the law.",
        {f"{d} layers": deep(d, normalisation="none", epochs=SHORTER) for d in (8, 20)},
        none_follows,
    ),
    "linear": Figure(
        "Networks without activation functions do not follow the law.",
        {"8 linear layers": Recipe("linear", epochs=SHORTER)},
        none_follows,
    ),
    "shuffled": Figure(
        "(A later re-implementation:) the law also holds for labels without meaning.",
        {"8 layers": Recipe(shuffled=True)},
        all_follow,
    ),
}


def quick(figure: Figure) -> Figure:
    """Return a figure on the bundled digits, with fewer epochs and no very wide networks."""

    def smaller(recipe: Recipe) -> Recipe:
        epochs = max(recipe.epochs // QUICK_SHARE, QUICK_EPOCHS)
        looks = tuple(look for look in recipe.looks if look < epochs)
        widths = tuple(min(width, QUICK_WIDEST) for width in recipe.widths)
        return replace(recipe, data="digits", epochs=epochs, looks=looks, widths=widths)

    def condition(name: str, recipe: Recipe) -> str:
        return f"width {QUICK_WIDEST}" if max(recipe.widths) > QUICK_WIDEST else name

    recipes = {condition(name, recipe): smaller(recipe) for name, recipe in figure.recipes.items()}
    return replace(figure, recipes=recipes)
