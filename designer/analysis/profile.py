"""Model and data to a ``SeparationProfile``: what separates the classes, block by block.

Training data pass through the model twice (class means, then scatter; once for the prediction
residual), a part of them once more for the intervals, and held-out data once.  Where all features
together are few, those of the first pass are kept in memory instead of computed again.  Memory
depends on blocks, classes and features, not on how many samples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from designer.choices import Measure, Reduction
from designer.data.batches import Batches, LabelledData, batches_of, check_heldout
from designer.errors import InvalidInputError
from designer.measures.features import Reducer, reduction_of
from designer.measures.intervals import resample
from designer.measures.law import fit_law
from designer.measures.rulers import (
    PASSES,
    HeldoutRuler,
    Ruler,
    bytes_needed,
    mean_null,
    measure_of,
    ruler_of,
)
from designer.measures.separation import permuted_labels
from designer.probing.calling import Inputs, floating_inputs, map_tensors, tensors_of, unwrap
from designer.probing.probes import Probe, probing
from designer.results.measured import Draws, FloatArray, LayerSeparation, SeparationProfile

KEEP_FEATURES = 1 << 26
"""Up to this many features in all (256 MiB as float32) are kept between the passes."""


MEMORY = 3 << 29
"""Bytes that the measuring may hold: 1.5 GiB; where flat features need more they are projected."""


DIMENSION = 2048
"""Features that are projected are projected to so many, unless memory asks for fewer."""


INTERVAL_SAMPLES, INTERVAL_SAMPLES_AGAIN = 8192, 256
"""Samples that the intervals are computed from: at the most, and at the least (or an eighth)
where the model has to run again for it."""


MANY_CLASSES = 100
"""With more classes one permutation gives the null as well as three do with few, and separation
is the wrong ruler."""


PassProgress = Callable[[str, int, int], None]
"""Called with what is being done, samples done and samples in all."""


def profile(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None = None,
    blocks: Sequence[str] | None = None,
    *,
    measure: str = "separation",
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
        model: any module; left exactly as it was.
        train: (inputs, labels), or batches of such pairs that come in the same order each time
            they are iterated, such as a ``DataLoader`` without shuffling. Inputs are a tensor
            (n, ...), or several as a tuple or a dict; labels (n,) are integers, (n, tokens) where
            every token is a sample of its own, or real targets (n,) or (n, q) for the residual.
        heldout: the same, of data that the model was not trained on; gives the cross-fitted D
            and the nearest-class-mean accuracy.
        blocks: names of submodules, in which ``*`` stands for a part between dots. By default
            those in the model's ``block_names``, else those that ``find_blocks`` finds.
        measure: ``separation``, or ``residual`` for more than about 100 classes, next tokens and
            real targets.
        features: how outputs become feature vectors: ``flatten``, ``pool`` or ``project``. By
            default as the model says in ``block_features``, else flat, or projected where flat
            features would not fit into memory. Where they are pooled and layers come before the
            first block, what that receives stands for the input, pooled like the rest.
        dimension: to project to; asks for ``project``.
        permutations: label permutations for the null of separation, 0 for none; by default 3, or
            1 for more than 100 classes. That of the residual is exact and needs none.
        resamples: bootstrap resamples for intervals; 0 for none.
        batch_size: samples per forward pass for data in memory; by default up to 4,096, and fewer
            where each is large.
        seed: of permutations, resamples and projections.
        progress: called after every batch.

    Raises:
        ModelError: where the model raises.
        InvalidInputError: on malformed data or options, unknown blocks, or batches that change
            order.
    """
    _check_counts(permutations=permutations or 0, resamples=resamples)
    ruler = measure_of(measure)
    data = batches_of(train, batch_size)
    held = None if heldout is None else batches_of(heldout, batch_size)
    if held is not None:
        check_heldout(held, data, allow_unseen=ruler is Measure.RESIDUAL)
    if permutations is None:
        permutations = 3 if data.outputs <= MANY_CLASSES else 1
    needed = permutations if ruler is Measure.SEPARATION else 0
    labelings = [data.targets, *permuted_labels(data.targets, needed, seed)]
    wanted = _wanted(model, features)
    choice = _Choice(ruler, data, len(labelings), wanted, dimension, seed)
    with probing(model, blocks, entry=wanted is Reduction.POOL) as probe:
        passes = _Passes(probe, choice, data.num_classes, progress or _ignore)
        rulers = _measured(passes, ruler, data, labelings, crossing=resamples > 0)
        draws = _draws(passes, data, rulers, resamples, seed)
        held_rulers = [] if held is None else _measured_heldout(passes, held, rulers, seed)
        draws_heldout = _draws_heldout(held_rulers, held, resamples, seed)
        notes = [*choice.notes, *_notes(probe, wanted)]
        names = [("input", ""), *((tap.name, tap.kind) for tap in probe.taps)]
    nulls = [one.nulls() for one in rulers]
    layers = tuple(
        LayerSeparation(
            name=name,
            width=one.width,
            train=one.train(),
            heldout=held_rulers[i].separation() if held_rulers else None,
            null=mean_null(nulls[i]),
            nearest_class_mean_accuracy=held_rulers[i].accuracy() if held_rulers else float("nan"),
            kind=kind,
            nulls=tuple(nulls[i]),
        )
        for i, ((name, kind), one) in enumerate(zip(names, rulers, strict=True))
    )
    return SeparationProfile(
        layers=layers,
        law=fit_law(_values(rulers)),
        law_heldout=fit_law(_values_heldout(held_rulers)) if held_rulers else None,
        num_classes=data.num_classes,
        chance=(held or data).chance,
        chance_train=data.chance,
        samples=len(data),
        samples_heldout=0 if held is None else len(held),
        resampled=draws,
        resampled_heldout=draws_heldout,
        measure=str(ruler),
        features=choice.described,
        accuracy=passes.accuracy_of(data),
        accuracy_heldout=float("nan") if held is None else passes.accuracy_of(held),
        notes=tuple(notes),
    )


class _Choice:
    """Decides, on the first batch, how outputs become features."""

    def __init__(
        self,
        measure: Measure,
        data: Batches,
        labelings: int,
        wanted: Reduction | None,
        dimension: int | None,
        seed: int,
    ) -> None:
        if dimension is not None and dimension < 1:
            raise InvalidInputError(f"Expected a dimension of at least 1, got {dimension}.")
        if dimension is not None and wanted is None:
            wanted = Reduction.PROJECT
        if dimension is not None and wanted is not Reduction.PROJECT:
            raise InvalidInputError(
                f"Expected a dimension only together with features '{Reduction.PROJECT}', got "
                f"{dimension} with '{wanted}'."
            )
        self._wanted, self._dimension, self._seed = wanted, dimension, seed
        self.tokens = data.tokens
        self._needed = partial(_needed, measure, data.outputs, labelings)
        self._reducer: Reducer | None = None
        self.notes: list[str] = []

    @property
    def described(self) -> str:
        """Such as ``flatten`` or ``project 2048``; empty before the first batch."""
        made = self._reducer
        return "" if made is None else f"{made.reduction} {made.dimension or ''}".strip()

    def reduced(self, outputs: list[Tensor]) -> list[Tensor]:
        """(rows, p) features of outputs (n, ...)."""
        if self._reducer is None:
            self._reducer = self._decided([tuple(output.shape) for output in outputs])
        return [self._reducer(output) for output in outputs]

    def _decided(self, shapes: list[tuple[int, ...]]) -> Reducer:
        flat = self._made(Reduction.FLATTEN)
        if self._wanted is None and self._needed(flat, shapes) > MEMORY:
            projected = self._projected(shapes)
            self.notes.append(
                f"Flat features would need {self._needed(flat, shapes) / 2**30:.1f} GiB to "
                f"measure, so seeded random projections of them to {projected.dimension} "
                f"dimensions were measured; --features chooses otherwise."
            )
            return projected
        if self._wanted is Reduction.PROJECT:
            return self._projected(shapes)
        return flat if self._wanted is None else self._made(self._wanted)

    def _projected(self, shapes: list[tuple[int, ...]]) -> Reducer:
        """To the dimension asked for, or the default, halved until it fits."""
        reducer = self._made(Reduction.PROJECT, self._dimension or DIMENSION)
        if self._dimension is not None:
            return reducer
        while reducer.dimension > 1 and self._needed(reducer, shapes) > MEMORY:
            reducer = self._made(Reduction.PROJECT, reducer.dimension // 2)
        return reducer

    def _made(self, reduction: Reduction, dimension: int = 0) -> Reducer:
        return Reducer(reduction, dimension, self._seed, self.tokens)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Features (rows, p) at every tap, and the targets of these rows."""

    taps: list[Tensor]
    targets: Tensor
    rows: slice
    """Where they are in the data."""

    def only(self, mask: Tensor) -> _Seen:
        """Of the rows under the mask (rows,)."""
        taps = [tap[mask.to(tap.device)] for tap in self.taps]
        return _Seen(taps, self.targets[mask], self.rows)


class _Passes:
    """Passes of data through the model."""

    def __init__(self, probe: Probe, choice: _Choice, classes: int, progress: PassProgress) -> None:
        self._probe = probe
        self._classes = classes
        self._choice = choice
        self._progress = progress
        self._kept: dict[Batches, list[_Seen]] = {}
        self._correct: dict[Batches, float] = {}

    def over(self, data: Batches, what: str) -> Iterator[_Seen]:
        """All of the data; from memory the second time, where that is little."""
        if data in self._kept:
            yield from self._kept[data]
            return
        correct, kept = 0.0, list[_Seen]()
        for inputs, targets, rows in data:
            seen = _Seen(self._features(inputs), targets, rows)
            correct += self._hits(seen, tokens=data.tokens)
            if len(data) * sum(tap.shape[1] for tap in seen.taps) <= KEEP_FEATURES:
                kept.append(seen)
            yield seen
            self._progress(what, rows.stop, len(data))
        self._correct[data] = correct
        if kept:
            self._kept[data] = kept

    def some(self, data: Batches, mask: Tensor, what: str) -> Iterator[_Seen]:
        """The rows under the mask (rows,), which are all or none of a sample's."""
        if data in self._kept:
            yield from (seen.only(mask[seen.rows]) for seen in self._kept[data])
            return
        for inputs, targets, rows in data:
            chosen = mask[rows]
            samples = chosen.view(len(tensors_of(inputs)[0]), -1)[:, 0]
            if bool(samples.any()):
                part = map_tensors(inputs, partial(_only, mask=samples))
                yield _Seen(self._features(part), targets[chosen], rows)
            self._progress(what, rows.stop, len(data))

    def interval_share(self, data: Batches) -> float:
        """Share of the data that the intervals are computed from: enough, but where the model
        has to run again for it, not much."""
        again = data not in self._kept
        wanted = max(INTERVAL_SAMPLES_AGAIN, len(data) // 8) if again else len(data)
        return min(wanted, INTERVAL_SAMPLES) / len(data)

    def accuracy_of(self, data: Batches) -> float:
        """Of the model's own predictions; nan where it gives no logits."""
        return self._correct[data] / len(data)

    def _features(self, inputs: Inputs) -> list[Tensor]:
        outputs = self._probe.features(inputs)
        given = floating_inputs(inputs)
        if self._choice.tokens and not self._probe.enters and len(given) == 1:
            outputs[0] = outputs[0].view_as(given[0])  # a row for every token, as in blocks
        return self._choice.reduced(outputs)

    def _hits(self, seen: _Seen, *, tokens: bool) -> float:
        """Rows that the model classifies correctly; nan where its output is no logits."""
        logits = self._probe.output
        logits = logits.flatten(0, 1) if tokens and logits.ndim == 3 else logits
        headless = _same(logits, seen.taps[-1]) and not (
            self._probe.named and logits.shape[-1] == self._classes
        )
        if seen.targets.is_floating_point() or logits.ndim != 2 or headless:
            return float("nan")
        if len(logits) != len(seen.targets):
            return float("nan")
        if logits.shape[1] == 1:  # one logit for two classes
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        if int(seen.targets.max()) >= logits.shape[1]:
            raise InvalidInputError(
                f"Expected labels below {logits.shape[1]}, the number of classes that the model "
                f"tells apart, got {int(seen.targets.max())}."
            )
        return float((logits.argmax(1).cpu() == seen.targets).sum())


def _measured(
    passes: _Passes, measure: Measure, data: Batches, labelings: list[Tensor], *, crossing: bool
) -> list[Ruler]:
    """A ruler per tap, input first, that the training data have passed by."""
    classes = None if data.real_targets else data.num_classes
    rulers: list[Ruler] = []
    for what in PASSES[measure]:
        for seen in passes.over(data, what):
            rulers = rulers or [
                ruler_of(measure, classes, len(labelings), crossing=crossing) for _ in seen.taps
            ]
            targets = [labels[seen.rows] for labels in labelings]
            for one, tap in zip(rulers, seen.taps, strict=True):
                one.add(tap, targets)
        for one in rulers:
            one.end_pass()
    return rulers


def _measured_heldout(
    passes: _Passes, data: Batches, rulers: list[Ruler], seed: int
) -> list[HeldoutRuler]:
    """The same for held-out data, with all that was fitted to training data."""
    held = [one.heldout() for one in rulers]
    kept = data.sample_mask(min(1.0, INTERVAL_SAMPLES / len(data)), seed)
    for seen in passes.over(data, "held-out data"):
        for one, tap in zip(held, seen.taps, strict=True):
            one.add(tap, seen.targets, kept[seen.rows])
    return held


def _draws(passes: _Passes, data: Batches, rulers: list[Ruler], resamples: int, seed: int) -> Draws:
    """(resamples, L + 1) bootstrap values on training data."""
    if not resamples:
        return ()
    mask = data.sample_mask(passes.interval_share(data), seed)
    influences = [
        [one.influence(tap, seen.targets) for one, tap in zip(rulers, seen.taps, strict=True)]
        for seen in passes.some(data, mask, "intervals")
        if len(seen.targets)
    ]
    joined = np.concatenate([np.stack(batch) for batch in influences], axis=1)
    return resample(_values(rulers), joined, resamples, seed, samples=len(data))


def _draws_heldout(
    held: list[HeldoutRuler], data: Batches | None, resamples: int, seed: int
) -> Draws:
    """(resamples, L + 1) bootstrap values on held-out data."""
    if data is None or not resamples:
        return ()
    influences = np.stack([one.influence() for one in held])
    return resample(_values_heldout(held), influences, resamples, seed, samples=len(data))


def _values(rulers: list[Ruler]) -> FloatArray:
    return np.array([one.train().value for one in rulers])


def _values_heldout(held: list[HeldoutRuler]) -> FloatArray:
    return np.array([one.separation().value for one in held])


def _wanted(model: nn.Module, features: str | None) -> Reduction | None:
    """The reduction asked for, by the caller or by the model."""
    name = features or getattr(unwrap(model), "block_features", None)
    return None if name is None else reduction_of(name)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise InvalidInputError(f"Expected `{name}` of at least 0, got {count}.")


def _notes(probe: Probe, wanted: Reduction | None) -> Iterator[str]:
    if wanted is Reduction.POOL and probe.enters:
        yield (
            f"Features are pooled, so the first row is what '{probe.taps[0].name}' receives, "
            f"pooled like the rest, and not the input itself."
        )


def _needed(
    measure: Measure, outputs: int, labelings: int, reducer: Reducer, shapes: list[tuple[int, ...]]
) -> int:
    """Bytes to measure outputs of such shapes."""
    return bytes_needed(measure, [reducer.width(shape) for shape in shapes], outputs, labelings)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _only(tensor: Tensor, mask: Tensor) -> Tensor:
    return tensor[mask.to(tensor.device)]


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass
