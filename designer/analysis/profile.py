"""Measure a model: the separation of the classes at its input and after every block.

Training data pass through the model twice (for class means, then for scatter), or once for the
prediction residual.  A part of them passes once more for the intervals, and held-out data once.
If all features together are few, those of the first pass are kept in memory and not computed again.
Memory depends on blocks, classes and features, not on the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from designer.analysis.data_parts import DataParts
from designer.analysis.feature_choice import FeatureChoice, suitable_reduction
from designer.analysis.options import AnalysisOptions
from designer.analysis.passes import INTERVAL_SAMPLES, Passes, PassProgress
from designer.choices import Reduction
from designer.data.batches import Batches, LabelledData
from designer.measures.intervals import resample
from designer.measures.law import fit_law
from designer.measures.permutations import permuted_labels
from designer.measures.rulers import PASSES, HeldoutRuler, Ruler, mean_null, ruler_of
from designer.probing.calling import unwrap
from designer.probing.probes import Probe, probing
from designer.probing.untouched import generators_kept, random_kept
from designer.results.measured import Draws, FloatArray, LayerSeparation, SeparationProfile


def profile(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None = None,
    blocks: Sequence[str] | None = None,
    *,
    measure: str | None = None,
    features: str | None = None,
    dimension: int | None = None,
    permutations: int | None = None,
    resamples: int = 200,
    batch_size: int | None = None,
    seed: int = 0,
    progress: PassProgress | None = None,
) -> SeparationProfile:
    """Measure separation at the input and after every block of a model.

    Args:
        model: any module; it is left exactly as it was, and so are the global random states.
        train: (inputs, labels), or batches of such pairs that come in the same order each time
            they are iterated, for example a ``DataLoader`` without shuffling. Inputs are a tensor
            (n, ...), or several as a tuple or a dict. Labels are integers (n,), or (n, tokens)
            where every token is a sample of its own; the residual also takes real targets (n,) or
            (n, q). Instead of a pair, data or a batch may be a dict of the inputs with ``labels``
            among them, as Hugging Face's collators give. Samples and tokens of label -100 are left
            out. So is padding, if the inputs are a dict with an ``attention_mask`` (n, tokens) that
            is 0 there, or one of torch's padding masks: it is in no mean, and 0 in flat features.
            Labels of causal models of transformers are their ``input_ids``, as the models
            themselves take them; for any other model, the label of a token is what the logits
            there are about, for example the next token.
        heldout: data of the same form that the model was not trained on. They give the
            cross-fitted D and the nearest-class-mean accuracy.
        blocks: names of submodules, in which ``*`` stands for one part between dots. By default
            those in the model's ``block_names``, else those that ``find_blocks`` finds.
        measure: ``separation``, or ``residual`` for more than about 100 classes, next tokens and
            real targets. By default the residual for language models, where every token has a
            label, and else separation.
        features: how outputs become feature vectors: ``flatten``, ``pool`` or ``project``. By
            default the model's ``block_features``, else ``flatten``, but ``project`` if flat
            features would not fit into memory, and ``pool`` if samples differ in shape. If
            features are pooled and there are layers before the first block, the first row is what
            that block receives, pooled as well, instead of the input.
        dimension: number of features to project to; implies ``project``.
        permutations: label permutations for the null of separation, 0 for none; by default 3, or
            1 for more than 100 classes. The null of the residual is exact and needs none.
        resamples: bootstrap resamples for intervals; 0 for none.
        batch_size: samples per forward pass for data in memory; by default up to 4,096, and fewer
            if samples are large.
        seed: seed of permutations, resamples and projections.
        progress: called after every batch.

    Returns:
        D per layer, its law, and what they are compared with. Values that do not exist are NaN.

    Raises:
        ModelError: if the model raises.
        InvalidInputError: if data or options are malformed, blocks are unknown, or batches change
            their order.
    """
    options = AnalysisOptions(
        measure=measure,
        features=features,
        dimension=dimension,
        permutations=permutations,
        resamples=resamples,
        batch_size=batch_size,
        seed=seed,
    )
    return profile_with_options(model, train, heldout, blocks, options, progress)


def profile_with_options(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None,
    blocks: Sequence[str] | None,
    options: AnalysisOptions,
    progress: PassProgress | None = None,
) -> SeparationProfile:
    """Measure a model as ``profile`` does, with options that are already checked.

    Args:
        model: any module; it is left exactly as it was, and so are the global random states.
        train: training data.
        heldout: held-out data, if there are any.
        blocks: names of submodules; None for those that the model names or that are found.
        options: how to measure.
        progress: called after every batch.

    Raises:
        ModelError: if the model raises.
        InvalidInputError: if data are malformed, blocks are unknown, or batches change their order.
    """
    # a DataLoader draws a seed for its workers, and its sampler an order, whenever it is iterated
    with random_kept(), generators_kept(train, heldout):
        return _profile(model, train, heldout, blocks, options, progress or _ignore)


def _profile(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None,
    blocks: Sequence[str] | None,
    options: AnalysisOptions,
    progress: PassProgress,
) -> SeparationProfile:
    parts = DataParts.of(model, train, heldout, options)
    data, heldout_data, options = parts.train, parts.heldout, parts.options
    permutations = options.permutations_for(data.outputs)
    labelings = [data.targets, *permuted_labels(data.targets, permutations, options.seed)]
    reduction = suitable_reduction(options, model, data, heldout_data)
    choice = FeatureChoice(options, reduction, data, len(labelings))
    with probing(model, blocks, entry=reduction is Reduction.POOL) as probe:
        passes = Passes(probe, choice, data.num_classes, progress)
        training = _measure_training(passes, data, labelings, options)
        held_out = _measure_heldout(passes, heldout_data, training.rulers, options)
        taps = _measured_taps(probe)
    return SeparationProfile(
        layers=tuple(_layers(taps, training.rulers, held_out.rulers, choice.positions)),
        law=fit_law(training.values),
        law_heldout=fit_law(held_out.values) if held_out.rulers else None,
        num_classes=data.num_classes,
        classes_present=data.classes_present,
        chance=(data if heldout_data is None else heldout_data).chance,
        chance_train=data.chance,
        samples=len(data),
        samples_heldout=0 if heldout_data is None else len(heldout_data),
        resampled=training.draws,
        resampled_heldout=held_out.draws,
        measure=str(options.measure),
        features=choice.description,
        accuracy=training.accuracy,
        accuracy_heldout=held_out.accuracy,
        accuracy_by_chance=training.accuracy_by_chance,
        accuracy_by_chance_heldout=held_out.accuracy_by_chance,
        loss=training.loss if parts.language else float("nan"),
        loss_heldout=held_out.loss if parts.language else float("nan"),
        notes=(*parts.notes, *choice.notes, *_notes(probe, reduction)),
        parameters=sum(parameter.numel() for parameter in unwrap(model).parameters()),
        embedding_parameters=probe.coverage.embeddings,
        coverage=probe.coverage.share,
        bypassed=probe.bypassed,
        unseen_block=probe.unseen_end,
        logits=passes.logits,
        blocks_named=probe.named,
    )


@dataclass(frozen=True)
class _MeasuredTap:
    """What is known of a tap apart from its features."""

    name: str
    """Path of the block in the model; ``input`` for the input."""
    kind: str = ""
    """Class of the block; empty for the input."""
    parameters: int | None = None
    """Parameters that no other part of the model uses; None for the input."""


@dataclass(frozen=True, eq=False)
class _TrainingSide:
    """What was measured on training data."""

    rulers: list[Ruler]
    """One per tap, the input first."""
    draws: Draws
    """(resamples, L + 1) bootstrap values; empty without resamples."""
    accuracy: float
    """Accuracy of the model's own predictions; NaN if it gives no logits."""
    accuracy_by_chance: float
    """Accuracy if they did not depend on the labels; NaN likewise."""
    loss: float = float("nan")
    """Their mean cross-entropy in nats where every token has a label; else NaN."""

    @property
    def values(self) -> FloatArray:
        """(L + 1,) the measure at every tap."""
        return _values(self.rulers)


@dataclass(frozen=True, eq=False)
class _HeldoutSide:
    """What was measured on held-out data; empty without held-out data."""

    rulers: list[HeldoutRuler] = field(default_factory=list)
    """One per tap, the input first."""
    draws: Draws = ()
    """(resamples, L + 1) bootstrap values; empty without resamples."""
    accuracy: float = float("nan")
    """Accuracy of the model's own predictions; NaN if it gives no logits."""
    accuracy_by_chance: float = float("nan")
    """Accuracy if they did not depend on the labels; NaN likewise."""
    loss: float = float("nan")
    """Their mean cross-entropy in nats where every token has a label; else NaN."""

    @property
    def values(self) -> FloatArray:
        """(L + 1,) the cross-fitted measure at every tap."""
        return _heldout_values(self.rulers)


def _measure_training(
    passes: Passes, data: Batches, labelings: list[Tensor], options: AnalysisOptions
) -> _TrainingSide:
    rulers = _rulers_after(passes, data, labelings, options)
    draws = _draws(passes, data, rulers, options)
    accuracies = passes.accuracy_of(data), passes.accuracy_by_chance_of(data)
    return _TrainingSide(rulers, draws, *accuracies, passes.loss_of(data))


def _rulers_after(
    passes: Passes, data: Batches, labelings: list[Tensor], options: AnalysisOptions
) -> list[Ruler]:
    """Return a ruler per tap, the input first, after all passes of the training data."""
    measure = options.measured
    classes = None if data.real_targets else data.num_classes
    crossing = options.resamples > 0
    rulers: list[Ruler] = []
    for pass_name in PASSES[measure]:
        for features in passes.all_rows(data, pass_name):
            rulers = rulers or [
                ruler_of(measure, classes, len(labelings), crossing=crossing) for _ in features.taps
            ]
            targets = [labels[features.rows] for labels in labelings]
            for ruler, tap in zip(rulers, features.taps, strict=True):
                ruler.add(tap, targets)
        for ruler in rulers:
            ruler.end_pass()
    return rulers


def _draws(passes: Passes, data: Batches, rulers: list[Ruler], options: AnalysisOptions) -> Draws:
    """Return (resamples, L + 1) bootstrap values on training data."""
    if not options.resamples:
        return ()
    mask = data.sample_mask(passes.interval_share(data), options.seed)
    influences = [
        np.stack(
            [
                ruler.influence(tap, features.targets)
                for ruler, tap in zip(rulers, features.taps, strict=True)
            ]
        )
        for features in passes.some_rows(data, mask, "intervals")
        if len(features.targets)
    ]
    joined = np.concatenate(influences, axis=1)
    return resample(_values(rulers), joined, options.resamples, options.seed, samples=len(data))


def _measure_heldout(
    passes: Passes, data: Batches | None, rulers: list[Ruler], options: AnalysisOptions
) -> _HeldoutSide:
    """Measure held-out data with what was fitted to training data."""
    if data is None:
        return _HeldoutSide()
    heldout_rulers = [ruler.heldout() for ruler in rulers]
    kept = data.sample_mask(min(1.0, INTERVAL_SAMPLES / len(data)), options.seed)
    for features in passes.all_rows(data, "held-out data"):
        for ruler, tap in zip(heldout_rulers, features.taps, strict=True):
            ruler.add(tap, features.targets, kept[features.rows])
    draws = _heldout_draws(heldout_rulers, len(data), options)
    accuracies = passes.accuracy_of(data), passes.accuracy_by_chance_of(data)
    return _HeldoutSide(heldout_rulers, draws, *accuracies, passes.loss_of(data))


def _heldout_draws(rulers: list[HeldoutRuler], samples: int, options: AnalysisOptions) -> Draws:
    """Return (resamples, L + 1) bootstrap values on held-out data."""
    if not options.resamples:
        return ()
    influences = np.stack([ruler.influence() for ruler in rulers])
    values = _heldout_values(rulers)
    return resample(values, influences, options.resamples, options.seed, samples=samples)


def _values(rulers: list[Ruler]) -> FloatArray:
    return np.array([ruler.train().value for ruler in rulers])


def _heldout_values(rulers: list[HeldoutRuler]) -> FloatArray:
    return np.array([ruler.separation().value for ruler in rulers])


def _layers(
    taps: Sequence[_MeasuredTap],
    rulers: list[Ruler],
    heldout_rulers: list[HeldoutRuler],
    positions: Sequence[int],
) -> Iterator[LayerSeparation]:
    """Yield what was measured at every tap."""
    for i, (tap, ruler) in enumerate(zip(taps, rulers, strict=True)):
        heldout = heldout_rulers[i] if heldout_rulers else None
        nulls = tuple(ruler.nulls())
        yield LayerSeparation(
            name=tap.name,
            width=ruler.width,
            train=ruler.train(),
            heldout=None if heldout is None else heldout.separation(),
            null=mean_null(nulls),
            nearest_class_mean_accuracy=float("nan") if heldout is None else heldout.accuracy(),
            kind=tap.kind,
            nulls=nulls,
            parameters=tap.parameters,
            positions=positions[i],
        )


def _measured_taps(probe: Probe) -> list[_MeasuredTap]:
    sized = zip(probe.taps, probe.parameters, strict=True)
    return [_MeasuredTap("input"), *(_MeasuredTap(tap.name, tap.kind, n) for tap, n in sized)]


def _notes(probe: Probe, reduction: Reduction | None) -> Iterator[str]:
    if reduction is Reduction.POOL and probe.enters:
        yield (
            f"Features are pooled, so the first row is what '{probe.taps[0].name}' receives, "
            f"pooled like the rest, and not the input itself."
        )


def _ignore(_name: str, _done: int, _total: int) -> None:
    pass
