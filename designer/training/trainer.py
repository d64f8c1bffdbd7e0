"""One short, seeded training run on tensors that stay where they are.

No ``DataLoader``: batches are index selections of resident tensors, which for small networks
is most of the speed.  Seeds cover the initial weights, the order of the batches, augmentation and
dropout, and leave torch's global generators as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from designer.choices import DEFAULT_BATCH_SIZE, Augmentation
from designer.data.augmentation import augmented, check_augmentable
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, TrialFailed

WEIGHT_DECAY = 5e-4
"""As in He & Su, PNAS 2023."""


CPU_MEMORY_EXHAUSTED = ("can't allocate memory", "not enough memory")
"""How torch's CPU allocator says so, on Linux and macOS, and on Windows."""


class Schedule(StrEnum):
    """How the learning rate goes over a run."""

    CONSTANT = "constant"
    """For short runs that are only compared with each other."""
    STEP = "step"
    """Divided by 10 at 1/3 and at 2/3 of the run, as in He & Su, PNAS 2023."""


@dataclass(frozen=True)
class TrainingHistory:
    """What a finished run leaves behind besides the trained model."""

    losses: tuple[float, ...]
    """Mean training loss of each epoch, in nats."""

    @property
    def summed_loss(self) -> float:
        """The losses added up, a learning-speed criterion (Ru et al., NeurIPS 2021)."""
        return sum(self.losses)

    def check(self, learning_rate: float) -> None:
        """Raise ``TrialFailed``, with the rate that it was trained at, on a loss that is not
        finite."""
        for epoch, loss in enumerate(self.losses, 1):
            if not math.isfinite(loss):
                raise TrialFailed(
                    f"The training loss became {loss} in epoch {epoch} at learning rate "
                    f"{learning_rate:g}."
                )


EpochCallback = Callable[[int, nn.Module], None]
"""Called after each epoch with its number from 1 on; may raise to end the run."""


MakeOptimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
"""Makes an optimizer for parameters at a learning rate."""


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """What networks are trained with, unless said otherwise."""
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True)


def build_seeded(build: Callable[[], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """A module whose initial weights depend on ``seed`` alone."""
    with _seeded(seed, device):
        return build().to(device)


def train(
    model: nn.Module,
    data: LabelledTensors,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    schedule: Schedule = Schedule.CONSTANT,
    batch_size: int = DEFAULT_BATCH_SIZE,
    augmentation: Augmentation = Augmentation.NONE,
    optimizer: MakeOptimizer = adam,
    on_epoch: EpochCallback | None = None,
) -> TrainingHistory:
    """Train a classifier in place with cross-entropy.

    Args:
        model: on the device of ``data``.
        data: the whole training set.
        epochs: passes over it; a last batch of fewer than two samples is left out.
        learning_rate: before the schedule.
        seed: of the batch order, of augmentation and of what the model draws, as dropout does.
        schedule: of the learning rate.
        batch_size: samples per step, at least 2.
        augmentation: of every training batch, anew in every epoch.
        optimizer: makes what takes the steps; Adam by default.
        on_epoch: called after each epoch.

    Raises:
        InvalidInputError: on batches or data of fewer than two samples, and on inputs that the
            augmentation is not made for.
        TrialFailed: on a loss that is not finite, or when memory runs out.
    """
    check_trainable(data, batch_size, augmentation)
    stepping = optimizer(model.parameters(), learning_rate)
    generator = torch.Generator().manual_seed(seed)
    vary = partial(augmented, kind=augmentation, generator=augmentation_generator(seed))
    losses: list[float] = []
    with memory_exhaustion_as_failure(), _seeded(seed, data.inputs.device):
        for epoch in range(1, epochs + 1):
            for group in stepping.param_groups:
                group["lr"] = learning_rate * decay_factor(schedule, epoch - 1, epochs)
            model.train()
            losses.append(_train_epoch(model, data, stepping, batch_size, generator, vary))
            TrainingHistory(tuple(losses)).check(learning_rate)
            if on_epoch is not None:
                on_epoch(epoch, model)
    return TrainingHistory(tuple(losses))


@torch.no_grad()
def accuracy(model: nn.Module, data: LabelledTensors, batch_size: int = 4096) -> float:
    """Share of ``data`` that the model, put into eval mode for it, classifies correctly."""
    with _evaluating(model):
        hits = sum(
            int((model(inputs).argmax(1) == labels).sum())
            for inputs, labels in data.batches(batch_size)
        )
    return hits / len(data)


@contextmanager
def memory_exhaustion_as_failure() -> Iterator[None]:
    """Turn running out of memory, on any device, into ``TrialFailed``."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TrialFailed("Memory ran out: the architecture is too large.") from error
    except RuntimeError as error:  # the CPU allocator has no exception class of its own
        if not any(words in str(error) for words in CPU_MEMORY_EXHAUSTED):
            raise
        raise TrialFailed("Memory ran out: the architecture is too large.") from error


@contextmanager
def single_threaded() -> Iterator[None]:
    """One compute thread, so that workers do not fight for cores and sums do not vary."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators of the CPU and of ``device``; on leaving they are as they were.

    Not with ``torch.manual_seed``, which would seed every other device for good.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for used in cuda:
            with torch.cuda.device(used):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; on leaving, every module has the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _train_epoch(
    model: nn.Module,
    data: LabelledTensors,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    generator: torch.Generator,
    vary: Callable[[Tensor], Tensor],
) -> float:
    """One pass over the data; the mean loss."""
    order = torch.randperm(len(data), generator=generator).to(data.labels.device)
    total = torch.zeros((), device=data.inputs.device)
    seen = 0
    for rows in torch.split(order, batch_size):
        if len(rows) < 2:  # BatchNorm cannot normalise a single sample
            continue
        loss = _step(model, vary(data.inputs[rows]), data.labels[rows], optimizer)
        total += loss * len(rows)
        seen += len(rows)
    return float(total) / max(seen, 1)


def _step(
    model: nn.Module, inputs: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer
) -> Tensor:
    loss = nn.functional.cross_entropy(model(inputs), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def check_trainable(data: LabelledTensors, batch_size: int, augmentation: Augmentation) -> None:
    """Raise ``InvalidInputError`` on batches or data of fewer than two samples, and on inputs that
    the augmentation is not made for."""
    if batch_size < 2:
        raise InvalidInputError(f"Expected a batch size of at least 2, got {batch_size}.")
    if len(data) < 2:
        raise InvalidInputError(f"Expected at least 2 training samples, got {len(data)}.")
    check_augmentable(augmentation, tuple(data.inputs.shape[1:]))


def augmentation_generator(seed: int) -> torch.Generator:
    """Random numbers for augmentation alone, so that the batch order knows nothing of it."""
    own = int(np.random.SeedSequence(seed % 2**64).generate_state(1)[0])
    return torch.Generator().manual_seed(own)


def decay_factor(schedule: Schedule, epochs_done: int, epochs: int) -> float:
    """What the learning rate is multiplied with after so many epochs of a run."""
    if schedule is Schedule.CONSTANT:
        return 1.0
    return float(0.1 ** int(3 * epochs_done / epochs))
