"""Recovery: a short training of what is left, that keeps its best epoch."""

from __future__ import annotations

import copy
import math

from torch import Tensor, nn
from torch.nn import functional

from designer.analysis.passes import PassProgress
from designer.data.dataset import LabelledTensors
from designer.errors import TrialFailed
from designer.pruning.evaluation import logits_of
from designer.pruning.options import RecoveryOptions
from designer.pruning.splits import Splits
from designer.training.trainer import Schedule, train

SOFT = 0.5
"""Weight of the whole network's outputs in the targets, where they are asked for (Hinton et al.,
"Distilling the knowledge in a neural network", 2015; at temperature 1)."""


class _Enough(Exception):
    """No better epoch is to be expected."""


class _Best:
    """The best epoch so far, by validation accuracy and then by loss."""

    def __init__(self, model: nn.Module, parts: Splits, patience: int) -> None:
        self._parts, self._patience = parts, patience
        self._score = (-1.0, 0.0)
        self._state: dict[str, Tensor] = {}
        self._epoch = 0
        self.epochs = 0
        """That were run."""
        self.look(0, model)

    def look(self, epoch: int, model: nn.Module) -> None:
        """After an epoch; raises where it is enough."""
        self.epochs = epoch
        labels = self._parts.validation.labels
        logits = logits_of(model, self._parts.validation.inputs)
        right = float((logits.argmax(1) == labels).float().mean())
        loss = float(functional.cross_entropy(logits, labels))
        score = (right, -loss)
        if epoch == 0 or (math.isfinite(loss) and score > self._score):
            self._score, self._epoch = score, epoch
            self._state = copy.deepcopy(model.state_dict())
        elif epoch - self._epoch >= self._patience:
            raise _Enough

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self._state)
        model.eval()


def recover(
    model: nn.Module,
    parts: Splits,
    how: RecoveryOptions,
    teacher: nn.Module | None = None,
    progress: PassProgress | None = None,
) -> int:
    """Train a model in place and leave it as its best epoch was; how many epochs were run.

    Args:
        model: in float32, on the device of the data. Its present state counts as epoch 0.
        parts: trained on the training part, judged on the validation part.
        how: for how long, and how.
        teacher: whose outputs are half of the targets, if ``how`` asks for it.
        progress: called after every epoch.
    """
    best = _Best(model, parts, how.patience)
    if not how.epochs:
        return 0

    def after(epoch: int, trained: nn.Module) -> None:
        if progress is not None:
            progress("recovery", epoch, how.epochs)
        best.look(epoch, trained)

    try:
        train(
            model,
            _targets(parts.train, teacher if how.soft_targets else None),
            epochs=how.epochs,
            learning_rate=how.learning_rate,
            seed=how.seed,
            schedule=Schedule.STEP,
            batch_size=how.batch_size,
            on_epoch=after,
        )
    except _Enough:
        pass
    except TrialFailed:  # it diverged, which the best epoch did not
        model.zero_grad(set_to_none=True)
    best.restore(model)
    model.zero_grad(set_to_none=True)
    return best.epochs


def _targets(data: LabelledTensors, teacher: nn.Module | None) -> LabelledTensors:
    """Labels, or probabilities (n, K) half of which are a teacher's."""
    if teacher is None:
        return data
    soft = logits_of(teacher, data.inputs).softmax(1)
    hard = functional.one_hot(data.labels, soft.shape[1]).to(soft)
    return LabelledTensors(data.inputs, SOFT * soft + (1 - SOFT) * hard)
