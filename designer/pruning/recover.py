"""Recover: a short training of what is left, which keeps its best epoch."""

from __future__ import annotations

import copy
import math
from contextlib import suppress

from torch import Tensor, nn
from torch.nn import functional

from designer.analysis.passes import PassProgress
from designer.data.dataset import LabelledTensors
from designer.errors import TrialFailed
from designer.pruning.evaluation import kind_of, logits_of
from designer.pruning.options import RecoveryOptions
from designer.pruning.quality import quality_of
from designer.pruning.splits import Splits
from designer.pruning.training_output import giving_logits
from designer.training.trainer import Schedule, train

SOFT = 0.5
"""Weight of the original network's outputs in soft targets (Hinton et al., "Distilling the
knowledge in a neural network", 2015; at temperature 1)."""


class _Enough(Exception):
    """No better epoch is to be expected."""


class _BestEpoch:
    """Keeps the best state so far, by validation accuracy and then by loss.

    For a language model loss alone decides.
    """

    def __init__(self, model: nn.Module, splits: Splits, patience: int) -> None:
        self._splits, self._patience = splits, patience
        self._score = (-math.inf, 0.0)
        self._state: dict[str, Tensor] = {}
        self._epoch = 0
        self.epochs = 0
        """Epochs that were run."""
        self.look(0, model)

    def look(self, epoch: int, model: nn.Module) -> None:
        """Judge the state after an epoch, and keep it if it is the best.

        Raises:
            _Enough: after ``patience`` epochs without a better one.
        """
        self.epochs = epoch
        quality = quality_of(model, self._splits.validation, language=self._splits.language)
        loss, score = quality.loss, quality.score
        # the state before training always counts; logits of nan have an argmax, too, so a finite
        # loss is asked for besides the accuracy
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
    splits: Splits,
    recovery: RecoveryOptions,
    teacher: nn.Module | None = None,
    progress: PassProgress | None = None,
) -> int:
    """Train a model in place, leave it as its best epoch was, and return the epochs that were run.

    Args:
        model: in float32, on the device of the data. Its present state counts as epoch 0. Where all
            that is left is frozen, there is nothing to train.
        splits: the model is trained on the training data and judged on the validation data.
        recovery: for how long, and how.
        teacher: gives half of the targets, if ``recovery`` asks for soft targets.
        progress: called after every epoch.
    """
    best = _BestEpoch(model, splits, recovery.patience)
    if not recovery.epochs or not any(p.requires_grad for p in model.parameters()):
        return 0

    def after(epoch: int, trained: nn.Module) -> None:
        if progress is not None:
            progress("recovery", epoch, recovery.epochs)
        best.look(epoch, trained)

    # if training diverges, the best epoch is still kept
    with giving_logits(model, splits.train), suppress(_Enough, TrialFailed):
        train(
            model,
            _targets(splits.train, teacher if recovery.soft_targets else None),
            epochs=recovery.epochs,
            learning_rate=recovery.learning_rate,
            seed=recovery.seed,
            schedule=Schedule.STEP,
            batch_size=recovery.batch_size,
            output_kind=kind_of(model, splits.train),
            on_epoch=after,
        )
    best.restore(model)
    model.zero_grad(set_to_none=True)
    return best.epochs


def _targets(data: LabelledTensors, teacher: nn.Module | None) -> LabelledTensors:
    """Return the data with labels, or with probabilities (n, ..., K) that are half a teacher's."""
    if teacher is None:
        return data
    soft = logits_of(teacher, data).softmax(1)
    hard = functional.one_hot(data.targets, soft.shape[1]).to(soft)
    targets = soft.new_zeros(*data.labels.shape, soft.shape[1])
    targets[data.labels >= 0] = SOFT * soft + (1 - SOFT) * hard
    return LabelledTensors(data.inputs, targets)
