"""Running statistics of norms, one set for each network that is derived from a model.

Without one of its blocks, a network's BatchNorm layers receive other features than those that their
running statistics describe.  Here each such network has statistics of its own, which are estimated
from training data and put in place for as long as that network runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor, int]]
"""Running mean, running variance and the number of batches they come from, per norm."""


class NormStatistics:
    """Keeps statistics of a model's norms by the network that they belong to.

    Args:
        model: in eval mode; its own statistics are in place whenever no context is open.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms: list[Any] = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
        ]
        self._states: dict[Hashable, State] = {}

    def __bool__(self) -> bool:
        return bool(self._norms)

    @contextmanager
    def estimated(self, network: Hashable) -> Iterator[None]:
        """Let the norms of a network add what they receive to its statistics.

        Within the context the norms normalise by the batch. Each batch counts the same; norms that
        do not run keep the statistics of the model.
        """
        with self._in_place(self._states.get(network)) as before:
            modes = [(norm.training, norm.momentum) for norm in self._norms]
            for norm in self._norms:
                norm.train()
                norm.momentum = None  # the mean of all batches
            try:
                yield
            finally:
                for norm, (training, momentum) in zip(self._norms, modes, strict=True):
                    norm.training, norm.momentum = training, momentum
                self._states[network] = self._current(before)

    @contextmanager
    def used(self, network: Hashable) -> Iterator[None]:
        """Put the statistics of a network in place; those of the model if it has none."""
        if network not in self._states:
            yield
            return
        with self._in_place(self._states[network]):
            yield

    def _current(self, before: State) -> State:
        """Return copies of what is in place; the model's own where nothing was estimated."""
        return [
            _state_of(norm) if int(norm.num_batches_tracked) else (mean, variance, 0)
            for norm, (mean, variance, _) in zip(self._norms, before, strict=True)
        ]

    @contextmanager
    def _in_place(self, state: State | None) -> Iterator[State]:
        """Put statistics in place, fresh ones for None, and the model's own back on leaving."""
        own = [_state_of(norm) for norm in self._norms]
        self._load(state or [(mean, variance, 0) for mean, variance, _ in own])
        try:
            yield own
        finally:
            self._load(own)

    @torch.no_grad()
    def _load(self, state: State) -> None:
        for norm, (mean, variance, batches) in zip(self._norms, state, strict=True):
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.num_batches_tracked.fill_(batches)


def _state_of(norm: Any) -> tuple[Tensor, Tensor, int]:
    return norm.running_mean.clone(), norm.running_var.clone(), int(norm.num_batches_tracked)
