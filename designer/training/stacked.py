"""Train several small networks of one architecture at once, with one step for all of them.

A small network leaves a GPU idle: its step is many launches and little arithmetic. Stacked, each
weight of all networks is one tensor, and each layer of all networks one batched product. Each
network becomes what ``designer.training.trainer.train`` makes of it alone, within the rounding of
floats.

A search stacks the seeds of a confirmation, on CUDA devices only. The gain is measured by
``python -m benchmarks.run gpu --part search`` (``benchmarks/results/gpu_search.json``): 16 seeds at
once are more than four times as fast as one by one, and still faster than one by one from CUDA
graphs. On one thread of a processor there is little to gain
(``benchmarks/results/scaling_stacked.json``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.dropout import _DropoutNd

from designer.choices import DEFAULT_BATCH_SIZE, Augmentation
from designer.data.augmentation import augmented
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.training.trainer import (
    Schedule,
    TrainingHistory,
    adam,
    augmentation_generator,
    check_trainable,
    decay_factor,
    memory_exhaustion_as_failure,
)

TRIED_SAMPLES = 4
"""Number of samples in the step that tries out whether networks can be stacked."""


StackedCallback = Callable[[int], None]
"""Called after each epoch with its number from 1 on; the models then have their weights."""


Tensors = dict[str, Tensor]
"""Parameters or buffers of m networks by name, each (m, ...)."""


def can_be_stacked(models: Sequence[nn.Module], inputs: Tensor) -> bool:
    """Return True if ``train_stacked`` can train the models on inputs (n, ...).

    They must be of one architecture, and ``torch.func.vmap`` must be able to run it in training
    mode. That excludes modules that draw random numbers, such as dropout, and modules whose code
    depends on the values of the data. One step on copies of the models tries it out.
    """
    dropouts = [m for m in models[0].modules() if isinstance(m, _DropoutNd) and m.p]
    if dropouts or len({_architecture(model) for model in models}) > 1:
        return False
    few = inputs[:TRIED_SAMPLES].expand(len(models), *inputs[:TRIED_SAMPLES].shape)
    labels = torch.zeros(few.shape[:2], dtype=torch.long, device=few.device)
    try:
        _Stack(copy.deepcopy(list(models)), torch.zeros(len(models), device=few.device)).step(
            few, labels, 1.0
        )
    except Exception:  # noqa: BLE001 - a user's model may raise anything
        return False
    return True


def train_stacked(
    models: Sequence[nn.Module],
    data: LabelledTensors,
    *,
    epochs: int,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    schedule: Schedule = Schedule.CONSTANT,
    batch_size: int = DEFAULT_BATCH_SIZE,
    augmentation: Augmentation = Augmentation.NONE,
    on_epoch: StackedCallback | None = None,
) -> list[TrainingHistory]:
    """Train m classifiers of one architecture in place with cross-entropy and Adam.

    Args:
        models: m models on the device of ``data``.
        data: the whole training set.
        epochs: passes over it; a last batch of fewer than two samples is left out.
        learning_rates: one for each model, the rate of its first epoch.
        seeds: one for each model; it decides the order of the model's batches and augmentation.
        schedule: how the learning rates change over the run.
        batch_size: samples per step and model, at least 2.
        augmentation: applied to every training batch, with new random numbers in every epoch.
        on_epoch: called after each epoch.

    Returns:
        A history for each model. Losses of a model that diverged are not finite; the others are
        trained to the end.

    Raises:
        InvalidInputError: on models that cannot be stacked, on batches or data of fewer than two
            samples, and on inputs that the augmentation is not made for.
        TrialFailed: if memory runs out.
    """
    check_trainable(data, batch_size, augmentation)
    if not can_be_stacked(models, data.inputs):
        raise InvalidInputError(
            "Expected models of one architecture without dropout; train these one by one."
        )
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    generators = [augmentation_generator(seed) for seed in seeds]
    losses: list[Tensor] = []
    with memory_exhaustion_as_failure():
        stack = _Stack(models, torch.tensor(learning_rates, device=data.inputs.device))
        for epoch in range(1, epochs + 1):
            total, samples = torch.zeros(len(models), device=data.inputs.device), 0
            order = torch.stack([torch.randperm(len(data), generator=g) for g in orders])
            for rows in torch.split(order.to(data.labels.device), batch_size, dim=1):
                if rows.shape[1] < 2:  # BatchNorm cannot normalise a single sample
                    continue
                inputs = _augmented(data.inputs[rows], augmentation, generators)
                factor = decay_factor(schedule, epoch - 1, epochs)
                total += stack.step(inputs, data.labels[rows], factor) * rows.shape[1]
                samples += rows.shape[1]
            losses.append(total / max(samples, 1))
            if on_epoch is not None:
                stack.unstack()
                on_epoch(epoch)
        stack.unstack()
    return [TrainingHistory(tuple(own)) for own in zip(*map(Tensor.tolist, losses), strict=True)]


class _Stack:
    """The weights of all models, the step that trains them, and the way back."""

    def __init__(self, models: Sequence[nn.Module], rates: Tensor) -> None:
        self._models, self._rates = models, rates
        for model in models:
            model.train()
        self._parameters, self._buffers = stack_module_state(list(models))
        self._optimizer = adam(self._parameters.values(), 1.0)

    def step(self, inputs: Tensor, labels: Tensor, factor: float) -> Tensor:
        """Take one step on (m, n, ...) inputs and (m, n) labels; return the (m,) losses before it.

        The learning rate of each model is multiplied with ``factor``.
        """
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that is stacked everywhere
            losses: Tensor = vmap(self._loss)(self._parameters, self._buffers, inputs, labels)
        self._optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        before = [p.detach().clone() for p in self._parameters.values()]
        self._optimizer.step()
        # Adam was told a rate of 1, and its step is proportional to the rate. Each model has a rate
        # of its own, so each goes only that fraction of the step
        with torch.no_grad():
            for new, old in zip(self._parameters.values(), before, strict=True):
                rates = (factor * self._rates).view(-1, *[1] * (new.dim() - 1))
                new.copy_(torch.lerp(old, new, rates.expand_as(new)))
        return losses.detach()

    def unstack(self) -> None:
        """Copy into every model the weights and buffers that are its own."""
        stacked = {**self._parameters, **self._buffers}
        with torch.no_grad():
            for i, model in enumerate(self._models):
                for name, own in (*model.named_parameters(), *model.named_buffers()):
                    own.copy_(stacked[name][i])

    def _loss(
        self, parameters: Tensors, buffers: Tensors, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        logits = functional_call(self._models[0], (parameters, buffers), (inputs,))
        return nn.functional.cross_entropy(logits, labels)


def _augmented(
    inputs: Tensor, augmentation: Augmentation, generators: Sequence[torch.Generator]
) -> Tensor:
    """Augment (m, n, ...) inputs, those of each model with its own random numbers."""
    if augmentation is Augmentation.NONE:
        return inputs
    pairs = zip(inputs, generators, strict=True)
    return torch.stack([augmented(own, kind=augmentation, generator=g) for own, g in pairs])


def _architecture(model: nn.Module) -> tuple[str, ...]:
    """Return a description that is equal for models that differ only in their numbers."""
    tensors = [f"{n} {tuple(t.shape)} {t.dtype} {t.device}" for n, t in model.state_dict().items()]
    return (repr(model), *tensors)
