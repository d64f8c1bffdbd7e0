"""Train a classifier in one short, seeded run, and measure its accuracy.

Batches of data in memory come from no ``DataLoader``: they are index selections of tensors that
stay on the device, which for small networks is most of the speed. Images that are too large for
the memory are decoded batch by batch, in the same order. Seeds decide the initial weights, the
order of the batches, augmentation and dropout; torch's global generators are left as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from designer.choices import DEFAULT_BATCH_SIZE, Augmentation
from designer.data.augmentation import augmented, check_augmentable
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError, TrialFailed, memory_ran_out
from designer.measures.logits import OutputKind, as_logits, with_two_columns
from designer.probing.calling import (
    Inputs,
    check_rows,
    cloned,
    first_tensor,
    run_model,
)
from designer.training.graphs import GraphedStep, check_graphable, set_learning_rate

WEIGHT_DECAY = 5e-4
"""Weight decay of the default optimizer, as in He & Su, PNAS 2023."""


EVALUATION_BATCH = 4096
"""Number of samples in a forward pass that only counts correct answers."""


class Schedule(StrEnum):
    """How the learning rate changes over a run."""

    CONSTANT = "constant"
    """The rate stays the same: for short runs that are only compared with each other."""
    STEP = "step"
    """The rate is divided by 10 at 1/3 and at 2/3 of the run, as in He & Su, PNAS 2023."""


@dataclass(frozen=True)
class TrainingHistory:
    """What a run leaves behind besides the trained model."""

    losses: tuple[float, ...]
    """Mean training loss of each epoch, in nats."""

    @property
    def summed_loss(self) -> float:
        """Sum of the losses in nats, a measure of learning speed (Ru et al., NeurIPS 2021)."""
        return sum(self.losses)

    def check(self, learning_rate: float) -> None:
        """Check that all losses are finite.

        Args:
            learning_rate: the rate of the run, for the message.

        Raises:
            TrialFailed: if one is not.
        """
        for epoch, loss in enumerate(self.losses, 1):
            if not math.isfinite(loss):
                raise TrialFailed(
                    f"The training loss became {loss} in epoch {epoch} at learning rate "
                    f"{learning_rate:g}."
                )


EpochCallback = Callable[[int, nn.Module], None]
"""Called after each epoch with its number from 1 on; may raise to end the run."""


MakeOptimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
"""Makes an optimizer from parameters and a learning rate."""


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Return the default optimizer: fused Adam with weight decay ``WEIGHT_DECAY``."""
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True)


def build_seeded(build: Callable[[], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """Build a module whose initial weights depend on ``seed`` alone.

    Args:
        build: makes the module on the CPU; it may draw from torch's global generators, which are
            left as they were.
        seed: decides the initial weights.
        device: where the module goes.
    """
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
    cuda_graphs: bool = False,
    output_kind: OutputKind = OutputKind.LOGITS,
    on_epoch: EpochCallback | None = None,
) -> TrainingHistory:
    """Train a classifier in place with cross-entropy.

    Args:
        model: on the device of ``data``.
        data: the whole training set.
        epochs: passes over it; a last batch of fewer than two samples is left out.
        learning_rate: rate of the first epoch.
        seed: decides the batch order, augmentation and what the model draws, such as dropout.
        schedule: how the learning rate changes over the run.
        batch_size: samples per step, at least 2.
        augmentation: applied to every training batch, with new random numbers in every epoch.
        optimizer: makes the optimizer; Adam by default.
        cuda_graphs: True to replay the step from a CUDA graph; see ``designer.training.graphs``.
            The model must not decide anything on the values of tensors.
        output_kind: what numbers the model gives.
        on_epoch: called after each epoch.

    Returns:
        The mean loss of each epoch.

    Raises:
        InvalidInputError: on batches or data of fewer than two samples, on inputs that the
            augmentation is not made for, and if there can be no CUDA graph.
        TrialFailed: if a loss is not finite, or memory runs out.
    """
    check_trainable(data, batch_size, augmentation)
    stepper = optimizer(model.parameters(), learning_rate)
    step: Callable[[Any, Tensor], Tensor] = partial(_step, model, stepper, kind=output_kind)
    if cuda_graphs:
        check_graphable(data)
        step = GraphedStep(step, stepper, data.device)
    generator = torch.Generator().manual_seed(seed)
    vary = _variation(augmentation, seed)
    losses: list[float] = []
    with memory_exhaustion_as_failure(), _seeded(seed, data.device):
        for epoch in range(1, epochs + 1):
            set_learning_rate(stepper, learning_rate * decay_factor(schedule, epoch - 1, epochs))
            model.train()
            losses.append(_train_epoch(step, data, batch_size, generator, vary))
            TrainingHistory(tuple(losses)).check(learning_rate)
            if on_epoch is not None:
                on_epoch(epoch, model)
    return TrainingHistory(tuple(losses))


def accuracy(model: nn.Module, data: LabelledTensors, batch_size: int = EVALUATION_BATCH) -> float:
    """Return the share of samples that a model classifies correctly; see ``correct_answers``."""
    return int(correct_answers(model, data, batch_size).sum()) / len(data)


@torch.no_grad()
def correct_answers(
    model: nn.Module, data: LabelledTensors, batch_size: int = EVALUATION_BATCH
) -> Tensor:
    """Return, for each sample or labelled token, whether a model classifies it correctly.

    Args:
        model: gives logits (n, K); on the device of ``data``. It runs in eval mode, and afterwards
            every submodule is in the mode that it had.
        data: n samples; left as they are, also by a first layer that works in place.
        batch_size: samples per forward pass.

    Returns:
        (n,) mask, or one of all labelled tokens, on the device of ``data``.
    """
    with evaluating(model):
        masks = []
        for inputs, labels in data.batches(batch_size):
            logits, targets = scored_rows(run_model(model, cloned(inputs)), labels)
            masks.append(logits.argmax(1) == targets)
    return torch.cat(masks)


def scored_rows(output: object, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (rows, K) and their targets: of all samples, or of the tokens with a label.

    Args:
        output: what a model gives: logits (n, K) or (n, tokens, K), alone or among other things.
            One logit per sample, (n,) or (n, 1), is that of the second of two classes.
        labels: (n,) classes, or (n, tokens), where a negative one stands for no label; or
            probabilities with one more axis, which are 0 where there is no label.

    Raises:
        ModelError: if the model does not give one row per sample.
    """
    logits = first_tensor(output)
    if logits is None:
        raise ModelError("Expected the model to give a floating tensor, got none.")
    check_rows(logits, len(labels))
    if logits.ndim != 3:
        return with_two_columns(logits), labels
    labelled = labels.sum(2) > 0 if labels.is_floating_point() else labels >= 0
    return logits[labelled], labels[labelled]


@contextmanager
def memory_exhaustion_as_failure() -> Iterator[None]:
    """Raise ``TrialFailed`` in place of any error that says that memory ran out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory_ran_out(error):
            raise
        raise TrialFailed("Memory ran out: the architecture is too large.") from error


@contextmanager
def single_threaded() -> Iterator[None]:
    """Compute on one thread, so that workers do not compete for cores and sums do not vary."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators of the CPU and of ``device``; restore them on leaving.

    ``torch.manual_seed`` will not do, since it would seed every other device for good.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for gpu in cuda:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode; on leaving, every submodule has the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _variation(augmentation: Augmentation, seed: int) -> Callable[[Any], Any]:
    """Return what changes the inputs of a batch at random."""
    if augmentation is Augmentation.NONE:
        return lambda inputs: inputs
    return partial(augmented, kind=augmentation, generator=augmentation_generator(seed))


def _train_epoch(
    step: Callable[[Any, Tensor], Tensor],
    data: LabelledTensors,
    batch_size: int,
    generator: torch.Generator,
    vary: Callable[[Any], Any],
) -> float:
    """Train for one pass over the data and return the mean loss."""
    order = torch.randperm(len(data), generator=generator).to(data.labels.device)
    total = torch.zeros((), device=data.device)
    samples = 0
    for batch in data.drawn(order, batch_size):
        if len(batch) < 2:  # BatchNorm cannot normalise a single sample
            continue
        loss = step(vary(batch.inputs), batch.labels)
        total += loss * len(batch)
        samples += len(batch)
    return float(total) / max(samples, 1)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Inputs,
    labels: Tensor,
    *,
    kind: OutputKind,
) -> Tensor:
    output, targets = scored_rows(run_model(model, inputs), labels)
    loss = nn.functional.cross_entropy(as_logits(output, kind), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def check_trainable(data: LabelledTensors, batch_size: int, augmentation: Augmentation) -> None:
    """Check that a model can be trained on the data.

    Raises:
        InvalidInputError: on batches or data of fewer than two samples, since BatchNorm cannot
            normalise a single one, and on inputs that the augmentation is not made for.
    """
    if batch_size < 2:
        raise InvalidInputError(f"Expected a batch size of at least 2, got {batch_size}.")
    if len(data) < 2:
        raise InvalidInputError(f"Expected at least 2 training samples, got {len(data)}.")
    if augmentation is not Augmentation.NONE:
        check_augmentable(augmentation, data.input_shape)


def augmentation_generator(seed: int) -> torch.Generator:
    """Return a generator for augmentation alone, so that augmenting keeps the batch order."""
    own = int(np.random.SeedSequence(seed % 2**64).generate_state(1)[0])
    return torch.Generator().manual_seed(own)


def decay_factor(schedule: Schedule, epochs_done: int, epochs: int) -> float:
    """Return what the learning rate is multiplied with after ``epochs_done`` of ``epochs``."""
    if schedule is Schedule.CONSTANT:
        return 1.0
    return float(0.1 ** int(3 * epochs_done / epochs))
