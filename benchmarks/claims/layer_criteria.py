"""Criteria that say which layers of a transformer go first, ours and those that others publish.

======================  ===========================================================================
name                    which layers go
======================  ===========================================================================
contribution            ours, as ``designer prune --criterion contribution`` takes them: the layer
                        without which held-out cross-entropy rises least, measured again each time
block influence         the layers of the least 1 - cosine of what a token's vector is before and
                        behind the layer, mean over tokens (Men et al., "ShortGPT", 2024).  It is
                        ``bi_score`` of short-transformers 1.0.0, and the importance that
                        ``analyze_layer_importance`` of OptiPFair 0.4.2 gives for one batch without
                        padding
angular distance        consecutive layers: those between whose ends the angle of the last token's
                        vector is least (Gromov et al., "The unreasonable ineffectiveness of the
                        deeper layers", 2024; ``angular_distance_last_token`` of
                        short-transformers).  An encoder has no last token to tell from others, so
                        there it is the mean over tokens (``angular_distance_all_tokens``)
last                    the last layers, which is what ``prune_model_depth`` of OptiPFair removes
                        unless it is told which
random                  layers drawn at random
======================  ===========================================================================

short-transformers downloads data and works on models with ``model.layers`` alone, and OptiPFair
brings its own removal, so both criteria are written here anew from their sources on PyPI.  One line
of the former is not followed: its ``get_best_pruning_start`` looks up distances over one layer more
than it removes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.probing.calling import first_tensor, run_model, token_mask
from designer.pruning.contribution_order import order_by_contribution
from designer.pruning.removable import FEW, Removable, removable_blocks
from designer.pruning.splits import Splits

OURS, INFLUENCE, ANGLE, LAST = "contribution", "block influence", "angular distance", "last"
"""Names of criteria."""

RANDOM_DRAWS = 3
"""How often layers are drawn at random."""

RANDOM = tuple(f"random {draw}" for draw in range(1, RANDOM_DRAWS + 1))
CRITERIA = (OURS, INFLUENCE, ANGLE, LAST, *RANDOM)
"""All criteria, in the order of the tables."""


BATCH = 64


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a criterion looks at."""

    model: nn.Module
    """In eval mode; left as it is."""
    splits: Splits
    """The data; criteria look at training and validation data only."""
    layers: Sequence[Removable]
    """The transformer's layers in running order; all can go."""
    causal: bool
    """True if the last token knows all others."""
    seed: int
    """Seed of what is drawn."""

    @classmethod
    def of(cls, model: nn.Module, splits: Splits, *, causal: bool, seed: int) -> Evidence:
        """Return the evidence on all layers that can go."""
        blocks = removable_blocks(model, splits.train.at(slice(FEW)).inputs)
        return cls(model, splits, [block for block in blocks if block.can_go], causal, seed)


def choices(
    evidence: Evidence, counts: Sequence[int], *, repaired: bool = False
) -> dict[str, dict[int, list[Removable]]]:
    """Return by criterion and number of layers which of them go.

    Args:
        evidence: on all layers.
        counts: how many go.
        repaired: True if what is left will be repaired by least squares, which ours reckons with.
    """
    similarities = Similarities.of(evidence, counts)
    layers = len(evidence.layers)
    orders = {
        OURS: contribution_order(evidence, max(counts), repaired=repaired),
        INFLUENCE: np.argsort(similarities.influences, kind="stable").tolist(),
        LAST: list(range(layers))[::-1],
    }
    for draw, name in enumerate(RANDOM):
        generator = np.random.default_rng([evidence.seed, draw])
        orders[name] = generator.permutation(layers).tolist()
    chosen: dict[str, dict[int, list[Removable]]] = {}
    for name in CRITERIA:
        for count in counts:
            places = similarities.closest(count) if name == ANGLE else orders[name][:count]
            in_order = [evidence.layers[place] for place in sorted(places)]
            chosen.setdefault(name, {})[count] = in_order
    return chosen


def contribution_order(evidence: Evidence, count: int, *, repaired: bool) -> list[int]:
    """Return places of layers, the least missed first, as the product orders them."""
    layers = list(evidence.layers)
    if not repaired:  # then nothing behind a layer is fitted, and it is left out as it is
        layers = [replace(layer, fits=()) for layer in layers]
    result = order_by_contribution(
        evidence.model,
        layers,
        evidence.splits,
        [layer.name for layer in layers],
        seed=evidence.seed,
        count=count,
        progress=lambda *_: None,
    )
    return list(result.order)


@dataclass(frozen=True, eq=False)
class Similarities:
    """How much the layers change the vectors of tokens."""

    influences: list[float]
    """1 - cosine over each layer, mean over tokens."""
    angles: dict[int, list[float]]
    """By number of consecutive layers, for each place where they may begin: the mean angle over
    them, as a share of a half turn."""

    @classmethod
    @torch.no_grad()
    def of(cls, evidence: Evidence, counts: Sequence[int]) -> Similarities:
        """Measure them on validation data."""
        influences: list[list[Tensor]] = []
        angles: dict[int, list[list[Tensor]]] = {count: [] for count in counts}
        modules = [evidence.model.get_submodule(layer.name) for layer in evidence.layers]
        with states_of(modules) as states:
            for inputs, _ in evidence.splits.validation.batches(BATCH):
                states.clear()
                run_model(evidence.model, inputs)
                mask = token_mask(inputs)
                rows = [_by_token(state, mask) for state in states]
                influences.append([1 - _cosine(a, b) for a, b in pairwise(rows)])
                ends = [state[:, -1] for state in states] if evidence.causal else rows
                for count, batches in angles.items():
                    pairs = zip(ends, ends[count:], strict=False)
                    batches.append([_cosine(a, b).clamp(-1, 1).acos() / math.pi for a, b in pairs])
        return cls(_means(influences), {count: _means(parts) for count, parts in angles.items()})

    def closest(self, count: int) -> list[int]:
        """Return the places of the consecutive layers over which the angle is least."""
        start = int(np.argmin(self.angles[count]))
        return list(range(start, start + count))


@contextmanager
def states_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Yield a list to which a forward pass adds what comes before the first layer and behind each.

    Each is (n, tokens, p).
    """
    states: list[Tensor] = []

    def receive(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(_tensor(args[0] if args else named["hidden_states"]))

    def give(_: nn.Module, __: Any, output: Any) -> None:
        states.append(_tensor(output))

    handles = [module.register_forward_hook(give) for module in modules]
    handles.append(modules[0].register_forward_pre_hook(receive, with_kwargs=True))
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _tensor(value: Any) -> Tensor:
    tensor = first_tensor(value)
    assert tensor is not None
    return tensor


def _by_token(state: Tensor, mask: Tensor | None) -> Tensor:
    return state.flatten(0, 1) if mask is None else state[mask]


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a, b, dim=-1, eps=1e-6)


def _means(batches: Sequence[Sequence[Tensor]]) -> list[float]:
    """Return the mean over all rows of all batches, place by place."""
    return [float(torch.cat(parts).mean()) for parts in zip(*batches, strict=True)]
