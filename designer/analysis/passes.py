"""Passes of data through a probed model: features at every tap, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from designer.analysis.feature_choice import FeatureChoice
from designer.data.batches import Batches
from designer.errors import InvalidInputError
from designer.measures.features import check_token_rows, token_rows
from designer.measures.logits import LogitReader
from designer.measures.proportions import accuracy_by_chance
from designer.probing.calling import Inputs, class_tensor, floating_inputs, samples_at, tensors_of
from designer.probing.probes import Probe

KEEP_FEATURES = 1 << 26
"""Largest number of values, over all taps and samples, that are kept between passes: 256 MiB as
float32."""


INTERVAL_SAMPLES = 8192
"""Largest number of samples that intervals are computed from."""


INTERVAL_SAMPLES_AGAIN = 256
"""Number of samples that intervals are computed from if the model has to run again for them, or an
eighth of all samples, whichever is more."""


PassProgress = Callable[[str, int, int], None]
"""Called with the name of the pass, the number of samples done, and the number of all samples."""


@dataclass(frozen=True, eq=False)
class TapFeatures:
    """Features of one batch at every tap, and the targets of its rows."""

    taps: list[Tensor]
    """(rows, p) features at each tap, the input first."""
    targets: Tensor
    """(rows,) or (rows, q) targets."""
    rows: slice
    """Position of the batch in the data."""

    def __post_init__(self) -> None:
        """Check that there is a row for every target."""
        for tap in self.taps:
            check_token_rows(tap, self.targets)

    def at(self, mask: Tensor) -> TapFeatures:
        """Return the features and targets of the rows under the mask (rows,)."""
        taps = [tap[mask.to(tap.device)] for tap in self.taps]
        return TapFeatures(taps, self.targets[mask], self.rows)


class Passes:
    """Runs data through a model, and keeps the features in memory if they are few.

    Args:
        probe: the model with its taps.
        choice: how outputs become features.
        num_classes: K; 0 for real targets.
        progress: called after every batch that the model has run on.
    """

    def __init__(
        self, probe: Probe, choice: FeatureChoice, num_classes: int, progress: PassProgress
    ) -> None:
        self._probe = probe
        self._choice = choice
        self._num_classes = num_classes
        self._progress = progress
        self._kept: dict[Batches, list[TapFeatures]] = {}
        self._predicted: dict[Batches, Tensor | None] = {}
        self._losses: dict[Batches, float] = {}
        self._reader: LogitReader | None = None
        self.logits: int | None = None
        """Number of logits that the model gives; None if it gives none, or did not run yet."""

    def all_rows(self, data: Batches, name: str) -> Iterator[TapFeatures]:
        """Yield the features of all batches; from memory after the first pass, if they are few.

        Args:
            data: training or held-out data.
            name: name of the pass, for progress.
        """
        if data in self._kept:
            yield from self._kept[data]
            return
        predicted, loss, kept = list[Tensor](), 0.0, list[TapFeatures]()
        for inputs, targets, rows, mask in data.with_masks():
            features = TapFeatures(self._features(inputs, mask), targets, rows)
            logits = self._logits(features, mask, tokens=data.tokens)
            predicted += [] if logits is None else [logits.argmax(1).cpu()]
            loss += _summed_loss(logits if data.tokens else None, targets)
            if len(data) * sum(tap.shape[1] for tap in features.taps) <= KEEP_FEATURES:
                kept.append(features)
            yield features
            self._progress(name, rows.stop, len(data))
        classes = torch.cat(predicted) if predicted else torch.empty(0)
        self._predicted[data] = classes if len(classes) == len(data) else None
        self._losses[data] = loss
        if kept:
            self._kept[data] = kept

    def some_rows(self, data: Batches, mask: Tensor, name: str) -> Iterator[TapFeatures]:
        """Yield the features of the rows under a mask, batch by batch.

        Args:
            data: training or held-out data.
            mask: (rows,) true for all rows of a sample, or for none of them.
            name: name of the pass, for progress.
        """
        if data in self._kept:
            yield from (features.at(mask[features.rows]) for features in self._kept[data])
            return
        for inputs, targets, rows, counting in data.with_masks():
            chosen = mask[rows]
            samples = _samples_of(chosen, len(tensors_of(inputs)[0]), counting, tokens=data.tokens)
            if bool(samples.any()):
                part = samples_at(inputs, samples)
                of_part = None if counting is None else counting[samples.to(counting.device)]
                yield TapFeatures(self._features(part, of_part), targets[chosen], rows)
            self._progress(name, rows.stop, len(data))

    def interval_share(self, data: Batches) -> float:
        """Return the share of the samples that intervals are computed from.

        It is smaller where features were not kept, because the model has to run again.
        """
        runs_again = data not in self._kept
        wanted = max(INTERVAL_SAMPLES_AGAIN, len(data) // 8) if runs_again else len(data)
        return min(wanted, INTERVAL_SAMPLES) / len(data)

    def accuracy_of(self, data: Batches) -> float:
        """Return the accuracy of the model's own predictions; NaN if it gives no logits."""
        predicted = self._predicted[data]
        if predicted is None:
            return float("nan")
        return int((predicted == data.targets).sum()) / len(data)

    def accuracy_by_chance_of(self, data: Batches) -> float:
        """Return the accuracy if these predictions did not depend on the labels; NaN likewise."""
        predicted = self._predicted[data]
        return float("nan") if predicted is None else accuracy_by_chance(predicted, data.targets)

    def loss_of(self, data: Batches) -> float:
        """Return the mean cross-entropy of the model's own predictions of tokens, in nats.

        It is NaN if not every token has a label, or the model gives no logits.
        """
        return self._losses[data] / len(data)

    def _features(self, inputs: Inputs, mask: Tensor | None) -> list[Tensor]:
        outputs = self._probe.features(inputs)
        values = floating_inputs(inputs)
        if self._choice.tokens and not self._probe.enters and len(values) == 1:
            # The probe flattens the input, but here every token needs a row of its own.
            outputs[0] = outputs[0].view_as(values[0])
        return self._choice.reduce(outputs, mask)

    def _logits(self, features: TapFeatures, mask: Tensor | None, *, tokens: bool) -> Tensor | None:
        """Return the logits (rows, K) that the model gives for the features' targets, or None."""
        output = class_tensor(self._probe.answer, self._num_classes)
        if output is None:
            return None
        rows = token_rows(output, mask) if tokens and output.ndim == 3 else output
        # An output that is the last block's is no logits, unless the caller named that block and it
        # has one output per class.
        is_a_block = _equal(rows, features.taps[-1]) and not (
            self._probe.named and rows.shape[-1] == self._num_classes
        )
        if is_a_block:
            return None
        if self._reader is None:
            sigmoid = self._probe.ends_in_sigmoid
            self._reader = LogitReader(self._num_classes, sigmoid=sigmoid, all_classes=False)
        logits = self._reader(rows, len(features.targets), None, tokens=False)
        if logits is None:
            return None
        if int(features.targets.max()) >= logits.shape[1]:
            raise InvalidInputError(
                f"Expected labels below {logits.shape[1]}, the number of classes that the model "
                f"tells apart, got {int(features.targets.max())}."
            )
        self.logits = logits.shape[1]
        return logits


def _summed_loss(logits: Tensor | None, targets: Tensor) -> float:
    """Return the summed cross-entropy in nats; NaN without logits."""
    if logits is None:
        return float("nan")
    precise = logits if logits.dtype is torch.float64 else logits.float()
    labels = targets.to(logits.device)
    return float(functional.cross_entropy(precise, labels, reduction="none").double().sum())


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _samples_of(chosen: Tensor, samples: int, mask: Tensor | None, *, tokens: bool) -> Tensor:
    """Return a mask (samples,) of the samples whose rows are chosen.

    Args:
        chosen: (rows,) mask, true for all rows of a sample or for none.
        samples: number of samples.
        mask: (samples, tokens), true for the tokens that are rows; None if all are.
        tokens: whether rows are tokens; else they are samples.
    """
    if not tokens or mask is None:
        return chosen.view(samples, -1)[:, 0]
    by_token = torch.zeros_like(mask)
    by_token[mask] = chosen
    return by_token.any(1)
