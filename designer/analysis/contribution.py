"""What each block contributes: what the network loses on held-out data without it.

A step says what has become linearly visible behind a block.  It does not say what later blocks
need: a block with a small step may prepare what they do.  So here every block is left out, a
stand-in takes its place (see ``stand_ins``), everything behind it runs, and the results at the end
of the network are compared with those of the whole network:

==============  ============================================================================
quantity        difference between the network without the block and the whole one
==============  ============================================================================
separation      log D_L (or the log of the residual) behind the last block, in nats; class
                means and directions from training data, scatter from held-out data
cross-entropy   mean of -log p(label) over held-out samples, in nats
accuracy        share of held-out samples that are classified correctly
==============  ============================================================================

All differences are paired, sample by sample.  With d_i the difference of sample i, the value is
mean(d) and the interval mean(d) +- 1.96 sd(d) / sqrt(n).  For log D, d_i is the difference of the
influences of sample i on the two logarithms.  The interval of the accuracy is that of Bonett &
Price (2012): it has a width even if no sample of a few is classified otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.analysis.data_parts import DataParts
from designer.analysis.feature_choice import FeatureChoice, suitable_reduction
from designer.analysis.norm_statistics import NormStatistics
from designer.analysis.options import AnalysisOptions
from designer.analysis.passes import PassProgress
from designer.analysis.stand_ins import NoStandIn, StandIn, stand_in_of
from designer.choices import Measure
from designer.data.batches import Batches, LabelledData
from designer.data.sampling import stratified_sample
from designer.errors import DesignerError, InvalidInputError, ModelError
from designer.measures.features import check_token_rows
from designer.measures.logits import LogitReader
from designer.measures.proportions import NORMAL_95, paired_difference
from designer.measures.rulers import HeldoutRuler, Ruler, ruler_of
from designer.probing.calling import Inputs, class_tensor, tensors_of, token_mask, unwrap
from designer.probing.probes import Probe
from designer.probing.replay import Replayer, replaying
from designer.probing.spans import Span
from designer.results.contribution import BlockContribution, Contribution, Effect

SAMPLES = 1024
"""How many training samples, and how many held-out samples, are used."""

BATCH = 256
"""Samples per forward pass; the outputs of all parts are kept for one batch at a time."""


def contributions(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData,
    blocks: Sequence[str] | None = None,
    *,
    measure: str | None = None,
    features: str | None = None,
    dimension: int | None = None,
    samples: int = SAMPLES,
    linear: bool = False,
    renew_norms: bool = False,
    seed: int = 0,
    progress: PassProgress | None = None,
) -> tuple[BlockContribution, ...]:
    """Measure, for each block, what the network loses on held-out data without it.

    Args:
        model: any module; it is left exactly as it was, also if it raises.
        train: training data, in any form that ``designer.profile`` takes.
        heldout: data that the model was not trained on.
        blocks: names of submodules; see ``designer.profile``.
        measure: ``separation`` or ``residual``, which is measured behind the last block; by default
            as for ``designer.profile``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        dimension: number of features to project to.
        samples: how many training samples, and how many held-out samples, are used; the draw is
            stratified by class.
        linear: True to put a fitted linear map in the place of every block, even where something
            flows past it and it could be skipped.
        renew_norms: True to re-estimate the running statistics of norms in the network without each
            block, on the training samples. It shows what is lost for good, and takes half as long
            again.
        seed: seed of the draw and of projections.
        progress: called after every batch.

    Returns:
        One record per block, in running order. A block that has no possible stand-in gets no
        effects, but the reason.

    Raises:
        InvalidInputError: if data or options are malformed, there are fewer than two classes, or
            the model has no blocks.
        ModelError: if the model raises.
    """
    options = AnalysisOptions(
        measure=measure, features=features, dimension=dimension, permutations=0, seed=seed
    )
    if samples < 1:
        raise InvalidInputError(f"Expected at least 1 sample, got {samples}.")
    return measure_contributions(
        model,
        train,
        heldout,
        blocks,
        options,
        samples=samples,
        linear=linear,
        renew_norms=renew_norms,
        progress=progress,
    )


def measure_contributions(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData,
    blocks: Sequence[str] | None,
    options: AnalysisOptions,
    *,
    samples: int = SAMPLES,
    linear: bool = False,
    renew_norms: bool = False,
    progress: PassProgress | None = None,
) -> tuple[BlockContribution, ...]:
    """Measure contributions as ``contributions`` does, with options that are already checked."""
    data = DataParts.of(model, train, heldout, options)
    if data.heldout is None:
        raise InvalidInputError("Expected held-out data to measure contributions on, got none.")
    sampled = stratified_sample(data.train, samples, options.seed, BATCH)
    sampled_heldout = stratified_sample(data.heldout, samples, options.seed, BATCH)
    if data.language:
        classes = max(sampled.num_classes, sampled_heldout.num_classes)
        sampled = replace(sampled, least_classes=classes)
    _check_classes(sampled)
    reduction = suitable_reduction(data.options, model, data.train, data.heldout)
    choice = FeatureChoice(data.options, reduction, data.train, 1)
    first_inputs, _, _ = next(iter(sampled))
    with replaying(model, blocks, first_inputs) as (probe, replayer):
        omissions = [_Omission.of(span, linear=linear) for span in replayer.spans]
        classes = max(sampled.num_classes, sampled_heldout.num_classes)
        norms = NormStatistics(unwrap(model))
        ends = _Ends(probe, replayer, choice, omissions, norms, classes)
        ends.fit_stand_ins(sampled, progress or _ignore)
        if renew_norms:
            ends.estimate_norms(sampled, progress or _ignore)
        ends.measure_training(sampled, data.options.measured, progress or _ignore)
        ends.measure_heldout(sampled_heldout, progress or _ignore)
    return tuple(omission.result(ends.whole) for omission in omissions)


def _check_classes(data: Batches) -> None:
    if not data.real_targets and len(torch.unique(data.targets)) < 2:
        raise InvalidInputError(
            "Expected training samples of at least 2 classes, got one: there is nothing to tell "
            "apart."
        )


@dataclass(eq=False)
class _Tally:
    """What is measured at the end of one network, whole or without a block."""

    ruler: Ruler | None = None
    """Measures training data; None before the first batch."""
    heldout: HeldoutRuler | None = None
    """Measures held-out data; None before the end of the training data."""
    losses: list[Tensor] = field(default_factory=list)
    """Cross-entropies of the held-out samples, in nats, batch by batch."""
    correct: list[Tensor] = field(default_factory=list)
    """1 for each held-out sample that is classified correctly, else 0, batch by batch."""

    def end_training(self) -> None:
        if self.ruler is not None:
            self.ruler.end_pass()
            self.heldout = self.ruler.heldout()

    def add_heldout(self, features: Tensor, targets: Tensor, logits: Tensor | None) -> None:
        if self.heldout is not None:
            self.heldout.add(features, targets, torch.ones(len(targets), dtype=torch.bool))
        if logits is not None:
            labels = targets.to(logits.device)
            # half precision is too coarse for the differences between losses
            precise = logits if logits.dtype is torch.float64 else logits.float()
            losses = functional.cross_entropy(precise, labels, reduction="none")
            self.losses.append(losses)  # a copy to the processor would wait for the device
            self.correct.append((logits.argmax(1) == labels).float())


@dataclass(eq=False)
class _Omission:
    """One block that is left out."""

    span: Span
    """The block."""
    stand_in: StandIn | None
    """What takes its place; None if nothing can."""
    reason: str = ""
    """Why nothing can; empty otherwise."""
    tally: _Tally = field(default_factory=_Tally)
    """What is measured at the end of the network without the block."""

    @classmethod
    def of(cls, span: Span, *, linear: bool) -> _Omission:
        try:
            return cls(span, stand_in_of(span, linear=linear))
        except NoStandIn as error:
            return cls(span, None, str(error))

    def observe(self, replayer: Replayer, mask: Tensor | None) -> None:
        """Show the stand-in what the block received and gave in the latest whole pass."""
        if self.stand_in is None:
            return
        try:
            self.stand_in.observe(replayer, mask)
        except NoStandIn as error:
            self.give_up(str(error))

    def fit(self) -> None:
        """Fit the stand-in to what it was shown."""
        if self.stand_in is None:
            return
        try:
            self.stand_in.fit()
        except NoStandIn as error:
            self.give_up(str(error))

    def give_up(self, reason: str) -> None:
        """Drop the stand-in, so that the block is measured no further, and note the reason."""
        self.stand_in, self.reason = None, reason

    def result(self, whole: _Tally) -> BlockContribution:
        tap = self.span.tap
        if self.stand_in is None:
            return BlockContribution(tap.name, tap.kind, None, self.reason)
        contribution = Contribution(
            stand_in=str(self.stand_in.kind),
            separation=_separation_effect(whole, self.tally),
            cross_entropy=mean_effect(whole.losses, self.tally.losses),
            accuracy=_accuracy_effect(whole.correct, self.tally.correct),
        )
        return BlockContribution(tap.name, tap.kind, contribution)


class _Ends:
    """Passes samples through the network, whole and without each block, and measures its end.

    Args:
        probe: gives the blocks, and puts inputs on the right device.
        replayer: runs the network, whole or without a block.
        choice: how the output of the last block becomes features.
        omissions: one per block, in running order.
        norms: the statistics of the norms in each network, as far as they are re-estimated.
        num_classes: K; 0 for real targets.
    """

    def __init__(
        self,
        probe: Probe,
        replayer: Replayer,
        choice: FeatureChoice,
        omissions: Sequence[_Omission],
        norms: NormStatistics,
        num_classes: int,
    ) -> None:
        self._probe, self._replayer, self._choice = probe, replayer, choice
        self._omissions, self._norms = omissions, norms
        self._num_classes = num_classes
        self._reader = LogitReader(num_classes, sigmoid=probe.ends_in_sigmoid)
        self.whole = _Tally()

    def fit_stand_ins(self, train: Batches, progress: PassProgress) -> None:
        """Fit those stand-ins that are linear maps; the others need no pass."""
        fitted = [
            omission
            for omission in self._omissions
            if omission.stand_in and omission.stand_in.layer
        ]
        if not fitted:
            return
        for inputs, _, rows in train:
            self._replayer.first_pass(self._probe.prepared(inputs))
            for omission in fitted:
                omission.observe(self._replayer, token_mask(inputs))
            progress("stand-ins", rows.stop, len(train))
        for omission in fitted:
            omission.fit()

    def estimate_norms(self, train: Batches, progress: PassProgress) -> None:
        """Re-estimate the running statistics of norms in the network without each block."""
        if not self._norms:
            return
        for batch, _, rows in train:
            inputs = self._probe.prepared(batch)
            if len(tensors_of(inputs)[0]) < 2:  # a single sample has no variance
                continue
            self._replayer.first_pass(inputs)
            for place, omission in enumerate(self._omissions):
                if omission.stand_in is not None:
                    with self._norms.estimated(place):
                        self._output_without(place, omission, inputs)
            progress("statistics of norms", rows.stop, len(train))

    def measure_training(self, train: Batches, measure: Measure, progress: PassProgress) -> None:
        """Fit the class means, or the linear prediction, at the end of every network."""
        classes = None if train.real_targets else train.num_classes
        for inputs, targets, rows, mask in train.with_masks():
            for tally, features, _ in self._ends(inputs, targets, mask, tokens=train.tokens):
                ruler = tally.ruler or ruler_of(measure, classes, 1, crossing=False)
                tally.ruler = ruler
                ruler.add(features, [targets])
            progress("without each block, training data", rows.stop, len(train))
        for tally in (self.whole, *(omission.tally for omission in self._omissions)):
            tally.end_training()

    def measure_heldout(self, heldout: Batches, progress: PassProgress) -> None:
        """Measure held-out data at the end of every network."""
        for inputs, targets, rows, mask in heldout.with_masks():
            ends = self._ends(inputs, targets, mask, tokens=heldout.tokens)
            for tally, features, logits in ends:
                tally.add_heldout(features, targets, logits)
            progress("without each block, held-out data", rows.stop, len(heldout))

    def _ends(
        self, inputs: Inputs, targets: Tensor, mask: Tensor | None, *, tokens: bool
    ) -> Iterator[tuple[_Tally, Tensor, Tensor | None]]:
        """Yield tally, features (rows, p) and logits (rows, K) of every network, the whole first.

        Logits are None if the output does not fit the labels.
        """
        inputs = self._probe.prepared(inputs)
        output = self._replayer.first_pass(inputs)
        yield self.whole, *self._end(output, targets, mask, tokens=tokens)
        for place, omission in enumerate(self._omissions):
            if omission.stand_in is None:
                continue
            with self._norms.used(place):
                output = self._output_without(place, omission, inputs)
            if omission.stand_in is not None:
                yield omission.tally, *self._end(output, targets, mask, tokens=tokens)

    def _output_without(self, place: int, omission: _Omission, inputs: Inputs) -> object:
        """Return the output without a block; its omission gives up if the model raises."""
        if omission.stand_in is None:
            return None
        instead = omission.stand_in.replacement(self._replayer)
        try:
            output = self._replayer.pass_without(place, instead, inputs)
            self._last_rows()
        except DesignerError as error:
            omission.give_up(f"The model does not run without it: {error}")
            return None
        return output

    def _end(
        self, output: object, targets: Tensor, mask: Tensor | None, *, tokens: bool
    ) -> tuple[Tensor, Tensor | None]:
        last = self._last_rows()
        rows = last.movedim(self._probe.last_sample_axis, 0)
        tensor = class_tensor(output, self._num_classes)
        logits = self._reader(tensor, len(targets), mask, tokens=tokens)
        if logits is not None and tensor is not None and logits.shape == last.shape:
            logits = None if torch.equal(tensor, last) else logits
        features = self._choice.reduce([rows], mask)[0]
        check_token_rows(features, targets)
        return features, logits

    def _last_rows(self) -> Tensor:
        last = self._replayer.last_features
        if last is None:
            raise ModelError("Expected the last block to give a floating tensor, got none.")
        return last


def mean_effect(whole: Sequence[Tensor], without: Sequence[Tensor]) -> Effect | None:
    """Return the mean paired difference of values with its interval; None if there are none.

    Args:
        whole: values (n,) of the samples in one network, batch by batch.
        without: values of the same samples in the other.
    """
    if not whole or not without:
        return None
    after, before = (torch.cat(list(values)).cpu().double() for values in (without, whole))
    differences = after - before
    return _effect(float(differences.mean()), differences)


def _accuracy_effect(whole: Sequence[Tensor], without: Sequence[Tensor]) -> Effect | None:
    """Return the change of accuracy, with an interval that few samples make wide."""
    change = mean_effect(whole, without)
    if change is None:
        return None
    before, after = (torch.cat(list(values)).cpu().bool() for values in (whole, without))
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    centre, spread = paired_difference(gained, lost, len(before))
    low, high = centre - NORMAL_95 * spread, centre + NORMAL_95 * spread
    return Effect(change.value, (max(low, -1.0), min(high, 1.0)))


def _separation_effect(whole: _Tally, without: _Tally) -> Effect | None:
    """Return by how much log D rises; None if D has no logarithm in one of the networks."""
    if whole.heldout is None or without.heldout is None:
        return None
    before, after = (tally.separation().value for tally in (whole.heldout, without.heldout))
    if not (before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after)):
        return None
    influences = torch.from_numpy(without.heldout.influence() - whole.heldout.influence())
    return _effect(math.log(after) - math.log(before), influences.double())


def _effect(value: float, terms: Tensor) -> Effect:
    """Return a value with its interval, which comes from the spread of its terms (n,)."""
    n = len(terms)
    spread = float(terms.std()) / math.sqrt(n) if n > 1 else math.inf
    return Effect(value, (value - NORMAL_95 * spread, value + NORMAL_95 * spread))


def _ignore(_name: str, _done: int, _total: int) -> None:
    pass
