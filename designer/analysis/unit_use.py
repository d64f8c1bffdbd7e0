"""Which units of the blocks are dead, and whether far fewer of a wide layer would do.

A unit is dead if it gives nothing but zero on all training samples.  A hidden layer is far wider
than others if it has more than ``FAR_WIDER`` times the median number of units of all linear and
convolutional layers.  Whether so many are needed is tried: only some units are kept, the next layer
reads the others as what these tell of them, and held-out samples run through the network.  A
narrower layer with adapted weights behind it gives just that, but for the borders of padded maps.
As many units are kept as that median says, then twice as many, and so on up to half of all, until
the network loses at most ``FREE`` of its accuracy.

======  =================================================================  ======
symbol  meaning                                                            shape
======  =================================================================  ======
m, S    mean and covariance of the units over training samples             (p,), (p, p)
K       the k units that are kept: pivots of the Cholesky decomposition    (k,)
        of S, each the unit with the most variance that those before it
        do not explain
B       least-squares prediction of all units: S[:, K] S[K, K]^-1          (p, k)
x'      what the next layer reads: m + B (x[K] - m[K])                     (p,)
======  =================================================================  ======
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from designer.analysis.contribution import BATCH, SAMPLES, mean_effect
from designer.analysis.data_parts import DataParts
from designer.analysis.options import AnalysisOptions
from designer.data.batches import Batches, LabelledData
from designer.data.sampling import stratified_sample
from designer.errors import DesignerError
from designer.measures.logits import LogitReader
from designer.probing.calling import class_tensor, first_tensor, samples_at, submodules, unwrap
from designer.probing.hidden import (
    HiddenLayer,
    block_of,
    channel_axis,
    hidden_layers,
    units_of,
)
from designer.probing.probes import Probe, probing
from designer.probing.tracing import Tap, trace_forward
from designer.results.units import DeadUnits, NarrowerTrial, UnitUse

FAR_WIDER = 4
"""A layer is far wider than others if it has more than this many times their median width."""

FREE = 0.005
"""Accuracy that fewer units may cost: half a point."""

MOST_TRIALS = 8
"""At most so many layers are tried, the widest first."""

MOST_UNITS = 4096
"""Wider layers are not tried: their covariance would take more than 128 MiB."""

TRACED = 4
"""Samples in the pass that finds the layers."""


def unit_use(
    model: nn.Module,
    train: LabelledData,
    heldout: LabelledData | None,
    blocks: Sequence[str] | None,
    options: AnalysisOptions,
    *,
    samples: int = SAMPLES,
) -> UnitUse:
    """Return what is found of the units of a network; nothing where it cannot be measured.

    Args:
        model: any module; it is left exactly as it was.
        train: training data, in any form that ``designer.profile`` takes.
        heldout: data that the model was not trained on; without them nothing is tried.
        blocks: names of submodules; see ``designer.profile``.
        options: how the profile was measured.
        samples: how many samples of each part are used; 0 for none.
    """
    if not samples:
        return UnitUse()
    try:
        data = DataParts.of(model, train, heldout, options)
        sample = stratified_sample(data.train, samples, options.seed, BATCH)
        held = data.heldout and stratified_sample(data.heldout, samples, options.seed, BATCH)
        with probing(unwrap(model), blocks) as probe:
            return _Units(unwrap(model), probe, sample).use(held)
    except DesignerError:
        return UnitUse()


class _Units:
    """Passes samples through a network and looks at its units.

    Args:
        model: unwrapped, in eval mode.
        probe: finds the blocks, and runs the network.
        train: training samples.
    """

    def __init__(self, model: nn.Module, probe: Probe, train: Batches) -> None:
        self._probe, self._train = probe, train
        self._modules = submodules(model)
        inputs, _, _ = next(iter(train))
        few = probe.prepared(samples_at(inputs, slice(TRACED)))
        probe.features(few)  # finds the blocks, for which it runs these samples more than once
        self._taps = probe.taps
        self._reader = LogitReader(train.num_classes, sigmoid=probe.ends_in_sigmoid)
        self._layers = list(hidden_layers(trace_forward(model, few, flow=True), self._taps))

    def use(self, heldout: Batches | None) -> UnitUse:
        """Return dead units, and what trials of narrower layers lead to."""
        zeros = _Zeros(self._modules, self._taps)
        wide = self._far_wider() if heldout is not None else []
        spreads = [_Spread(self._modules[layer.reader]) for layer, _ in wide]
        with torch.no_grad(), zeros.hooked(), ExitStack() as hooks:
            for spread in spreads:
                hooks.enter_context(spread.observing())
            for inputs, _, _ in self._train:
                self._probe.features(inputs)
        trials = [] if heldout is None else list(self._trials(wide, spreads, heldout))
        return UnitUse(tuple(zeros.dead()), tuple(trials))

    def _trials(
        self, wide: Sequence[tuple[HiddenLayer, int]], spreads: Sequence[_Spread], heldout: Batches
    ) -> Iterator[NarrowerTrial]:
        """Yield what the network loses with fewer units; nothing where there is no accuracy."""
        whole: list[Tensor] = []
        for (layer, usual), spread in zip(wide, spreads, strict=True):
            if not spread.is_known:
                continue
            reader = self._modules[layer.reader]
            whole = whole or self._correct(heldout, reader, None)
            trial = None
            for kept in _doubled(usual, layer.units // 2):
                narrower = self._correct(heldout, reader, spread.predicted_from(kept))
                effect = mean_effect(whole, narrower)
                if effect is None:
                    return
                trial = NarrowerTrial(layer.block, layer.name, layer.units, usual, kept, effect)
                if effect.value >= -FREE:
                    break
            if trial is not None:
                yield trial

    def _far_wider(self) -> list[tuple[HiddenLayer, int]]:
        """Return the layers that are far wider than others, each with the usual width."""
        widths = [
            units
            for name, module in self._modules.items()
            for units in (units_of(module),)
            if units is not None and block_of(name, self._taps) is not None
        ]
        usual = round(median(widths)) if widths else 0
        wide = [layer for layer in self._layers if FAR_WIDER * usual < layer.units <= MOST_UNITS]
        wide.sort(key=lambda layer: -layer.units)
        return [(layer, usual) for layer in wide[:MOST_TRIALS]]

    def _correct(
        self, heldout: Batches, reader: nn.Module, change: Callable[[Tensor], Tensor] | None
    ) -> list[Tensor]:
        """Return 1 for each held-out sample that is classified correctly, batch by batch.

        Args:
            heldout: the samples.
            reader: the layer whose reading changes.
            change: gives what the layer reads; None for the network as it is.

        Returns:
            Nothing if the output is no logits for the labels.
        """
        correct = []
        with torch.no_grad(), _reading(reader, change):
            for inputs, targets, _, mask in heldout.with_masks():
                self._probe.features(inputs)
                output = class_tensor(self._probe.answer, self._train.num_classes)
                logits = self._reader(output, len(targets), mask, tokens=heldout.tokens)
                if logits is None:
                    return []
                correct.append((logits.argmax(1).cpu() == targets.cpu()).float())
        return correct


def _doubled(first: int, last: int) -> Iterator[int]:
    """Yield a number, twice that number, and so on up to ``last``."""
    while first <= last:
        yield first
        first *= 2


class _Zeros:
    """Notes which units of the parts of blocks have given anything but zero.

    Args:
        modules: all submodules by name.
        taps: at the blocks.
    """

    def __init__(self, modules: dict[str, nn.Module], taps: Sequence[Tap]) -> None:
        self._parts = {
            name: (module, block)
            for name, module in modules.items()
            for block in (block_of(name, taps),)
            if block is not None and next(module.children(), None) is None
        }
        self._alive: dict[str, Tensor] = {}
        self._axis = -1
        """Axis of the units, which the last linear or convolutional layer tells."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Look at what all parts give."""
        with ExitStack() as hooks:
            for name, (module, _) in self._parts.items():
                hooks.callback(module.register_forward_hook(self._looking_at(name)).remove)
            yield

    def _looking_at(self, name: str) -> Callable[[nn.Module, Any, object], None]:
        def look(module: nn.Module, _args: Any, output: object) -> None:
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                self._axis = channel_axis(module)
            tensor = first_tensor(output)
            if tensor is None or tensor.ndim < 2:
                return
            axis = 1 if tensor.ndim == 2 else self._axis
            alive = (tensor.movedim(axis, 0).flatten(1) != 0).any(1)
            known = self._alive.get(name)
            if known is None or len(known) == len(alive):
                self._alive[name] = alive if known is None else known | alive

        return look

    def dead(self) -> Iterator[DeadUnits]:
        """Yield for each block the part with the largest share of dead units, if there are any."""
        most: dict[str, DeadUnits] = {}
        for name, (_, block) in self._parts.items():
            if name in self._alive:
                alive = self._alive[name]
                record = DeadUnits(block, name, int((~alive).sum()), len(alive))
                if record.share > (most[block].share if block in most else 0):
                    most[block] = record
        yield from most.values()


class _Spread:
    """Mean and covariance of what a layer reads.

    Args:
        reader: the layer.
    """

    def __init__(self, reader: nn.Module) -> None:
        self._reader, self._axis = reader, channel_axis(reader)
        self._count = 0
        self._sum: Tensor = torch.zeros(0)
        self._products: Tensor = torch.zeros(0)

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Add all that the layer reads."""
        handle = self._reader.register_forward_pre_hook(self._add)
        try:
            yield
        finally:
            handle.remove()

    @property
    def is_known(self) -> bool:
        """True if it has seen anything, and only finite numbers."""
        return self._count > 0 and bool(torch.isfinite(self._products).all())

    def _add(self, _reader: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not args:  # called by keyword
            return
        x = args[0].movedim(self._axis, -1).flatten(0, -2).double().cpu()
        if not self._count:
            self._sum, self._products = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        self._count += len(x)
        self._sum += x.sum(0)
        self._products += x.T @ x

    def predicted_from(self, kept: int) -> Callable[[Tensor], Tensor]:
        """Return what gives all units as the best linear prediction from so many of them."""
        mean = self._sum / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        pivots = _pivots(covariance, kept)
        weights = covariance[:, pivots] @ torch.linalg.pinv(
            covariance[pivots][:, pivots], hermitian=True
        )
        offset = mean - weights @ mean[pivots]

        def predict(x: Tensor) -> Tensor:
            rows = x.movedim(self._axis, -1)
            y: Tensor = rows[..., pivots.to(x.device)] @ weights.T.to(rows) + offset.to(rows)
            return y.movedim(-1, self._axis)

        return predict


def _pivots(covariance: Tensor, count: int) -> Tensor:
    """Return the places (k,) of up to ``count`` units that together tell most of all others."""
    left = covariance.diagonal().clone()
    tiny = 1e-10 * float(left.max())
    factor = covariance.new_zeros(len(left), count)
    pivots: list[int] = []
    for i in range(count):
        pivot = int(left.argmax())
        if float(left[pivot]) <= tiny:
            break
        column = covariance[:, pivot] - factor[:, :i] @ factor[pivot, :i]
        factor[:, i] = column / math.sqrt(float(left[pivot]))
        left = left - factor[:, i] ** 2
        left[pivot] = -math.inf
        pivots.append(pivot)
    return torch.tensor(pivots, dtype=torch.long)


@contextmanager
def _reading(reader: nn.Module, change: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Change what a layer reads; None to leave it as it is."""
    if change is None:
        yield
        return
    handle = reader.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()
