"""What says, before anything is removed, how much each block of a network is needed.

Every value is oriented so that a larger one means a block that is needed more.

====================  ===========================================================================
criterion             value of a block
====================  ===========================================================================
training step         by how much the block lowers log D on training data
held-out step         the same on held-out data, cross-fitted
Block Influence       1 - mean cosine of what the block receives and gives (Men et al., 2024)
separation            contribution: rise of log D at the end without the block
cross-entropy         contribution: rise of the cross-entropy without the block
accuracy              contribution: loss of accuracy without the block
gate gradient         |dL/dg| of a gate g = 1 on what the block adds to what flows past it, or on
                      its output if nothing does (after Molchanov et al., "Importance estimation
                      for neural network pruning", CVPR 2019)
signed gate gradient  -dL/dg, the rise of L to first order if the gate closes
parameter norm        Euclidean norm of all its parameters
saturation            mean over its linear layers and convolutions of the layer saturation of Shenk
                      et al. ("Delve", 2021): the share of directions that hold 99 % of the variance
====================  ===========================================================================
"""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.claim import Figures
from benchmarks.claims.contribution_networks import PLAIN, NetworkTask, Subject, subject_of, tested
from benchmarks.claims.small_networks import counting
from benchmarks.statistics import rounded
from designer import contributions, profile
from designer.analysis.advice import layer_reports
from designer.data.dataset import LabelledTensors
from designer.models.surgery import Way
from designer.probing.calling import first_tensor, submodules
from designer.pruning.criteria import block_influence
from designer.pruning.removable import Removable
from designer.results.contribution import BlockContribution
from designer.results.measured import SeparationProfile

RULERS = ("separation", "cross-entropy", "accuracy")
"""The three ways to measure a contribution."""

Values = dict[str, list[float | None]]
"""A value per block that can go, in running order, by criterion; None where there is none."""

DECIMALS = 8

BATCH = 256

BRANCHES = {"ResNet": "residual", "ResNet-20": "bn2", "ResNet-56": "bn2"}
"""The last module of a block's branch, before it is added to what flows past it inside the block,
in families where there is a single branch."""


@dataclass(frozen=True)
class CriteriaJob:
    """A network to measure with all criteria."""

    task: NetworkTask
    kind: str = "criteria"
    """Tells these jobs from others on the same network."""


def criteria_of(job: CriteriaJob) -> Figures:
    """Return the value of every block that can go by every criterion, and what each took.

    What it took is in seconds, and in passes of whole networks over as many samples as there are
    to train on.
    """
    subject = subject_of(job.task)
    values: Values = {}
    seconds, passes, missing = {}, {}, {}
    for name, measure in MEASURES.items():
        started = time.perf_counter()
        with counting() as counted:
            try:
                measured = measure(subject)
            except Unmeasurable as reason:
                missing[name] = str(reason)
                continue
        seconds[name] = round(time.perf_counter() - started, 1)
        passes[name] = round(counted[0] / len(subject.splits.train), 2)
        values |= {
            key: [None if value is None else rounded(value, DECIMALS) for value in column]
            for key, column in measured.items()
        }
    return {
        **job.task.names,
        "blocks": [block.name for block in subject.pool],
        "whole": tested(subject.model, subject.splits),
        "values": values,
        "seconds": seconds,
        "passes": passes,
        "missing": missing,
    }


class Unmeasurable(Exception):
    """A criterion does not exist for a network; the message says why."""


# --- by the product ---


def steps(subject: Subject) -> Values:
    """Return the steps of log D on training and on held-out data."""
    layers = layer_reports([profile_of(subject.task)])
    return {
        "training step": _of_pool(subject, [layer.step for layer in layers]),
        "held-out step": _of_pool(subject, [layer.step_heldout for layer in layers]),
    }


@lru_cache(maxsize=1)
def profile_of(task: NetworkTask) -> SeparationProfile:
    """Return what is measured of the separation in a network; the latest one is kept."""
    subject = subject_of(task)
    splits = subject.splits
    return profile(subject.model, splits.train, splits.validation, permutations=0)


def influences(subject: Subject) -> Values:
    """Return the Block Influence on held-out data."""
    values = block_influence(subject.model, subject.splits.validation)
    return {"Block Influence": _of_pool(subject, values)}


def contribution(subject: Subject) -> Values:
    """Return the contributions by three rulers, on the product's default samples."""
    splits = subject.splits
    blocks = contributions(subject.model, splits.train, splits.validation)
    effects = [_effects(block) for block in blocks]
    return {ruler: _of_pool(subject, [by_ruler[ruler] for by_ruler in effects]) for ruler in RULERS}


def _effects(block: BlockContribution) -> dict[str, float | None]:
    """Return by ruler how much a block is needed."""
    if block.contribution is None:
        return dict.fromkeys(RULERS)
    measured = block.contribution
    effects = (measured.separation, measured.cross_entropy, measured.accuracy)
    signs = (1, 1, -1)  # what falls is the accuracy
    return {
        ruler: None if effect is None else sign * effect.value
        for ruler, effect, sign in zip(RULERS, effects, signs, strict=True)
    }


def _of_pool(subject: Subject, values: Sequence[float | None]) -> list[float | None]:
    """Return the values of the blocks that can go, from those of all blocks."""
    return [value for block, value in zip(subject.removables, values, strict=True) if block.can_go]


# --- by others ---


def gate_gradients(subject: Subject) -> Values:
    """Return |dL/dg| and -dL/dg per block, with L the cross-entropy of held-out data."""
    family = subject.task.family
    gradients = gradients_of_gates(
        subject.model,
        subject.pool,
        subject.splits.validation,
        branch=BRANCHES.get(family, ""),
        past=family not in PLAIN,
    )
    return {
        "gate gradient": [abs(gradient) for gradient in gradients],
        "signed gate gradient": [-gradient for gradient in gradients],
    }


def gradients_of_gates(
    model: nn.Module,
    blocks: Sequence[Removable],
    data: LabelledTensors,
    *,
    branch: str = "",
    past: bool = False,
) -> list[float]:
    """Return dL/dg for a gate g = 1 on each block.

    Args:
        model: in eval mode; left as it was.
        blocks: the blocks that get a gate.
        data: what the mean cross-entropy L is taken over.
        branch: name, within a block, of the module whose output the gate multiplies; empty for the
            output of the block itself.
        past: True if something flows past inside the blocks, so that without a named branch a
            closed gate leaves what the block received; False if it leaves zeros.  A block whose
            output is added to what flows past it gives zeros in any case.
    """
    modules = submodules(model)
    gates = [torch.ones((), device=data.device, requires_grad=True) for _ in blocks]
    handles = []
    for block, gate in zip(blocks, gates, strict=True):
        first, last = block.removals[0], block.removals[-1].block
        gated = f"{last}.{branch}" if branch else last
        received: list[Tensor] = []
        if past and not branch and first.way is not Way.ZERO:
            handles.append(modules[first.block].register_forward_pre_hook(_noting(received)))
        handles.append(modules[gated].register_forward_hook(_gated(gate, received)))
    sums = [0.0] * len(blocks)
    try:
        for inputs, labels in data.batches(BATCH):
            loss = functional.cross_entropy(model(inputs), labels, reduction="sum")
            gradients = torch.autograd.grad(loss, gates)
            sums = [total + float(g) for total, g in zip(sums, gradients, strict=True)]
    finally:
        for handle in handles:
            handle.remove()
    return [total / len(data) for total in sums]


def _noting(received: list[Tensor]) -> Callable[[nn.Module, tuple[object, ...]], None]:
    def note(_module: nn.Module, arguments: tuple[object, ...]) -> None:
        tensor = first_tensor(arguments)
        received[:] = [] if tensor is None else [tensor]

    return note


def _gated(gate: Tensor, received: list[Tensor]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def gated(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        closed = received[0] if received else torch.zeros_like(output)
        return closed + gate * (output - closed)

    return gated


def parameter_norms(subject: Subject) -> Values:
    """Return the Euclidean norm of all parameters of a block."""
    modules = submodules(subject.model)
    return {
        "parameter norm": [
            math.sqrt(
                sum(
                    float((parameter.detach() ** 2).sum())
                    for removal in block.removals
                    for parameter in modules[removal.block].parameters()
                )
            )
            for block in subject.pool
        ]
    }


def saturations(subject: Subject) -> Values:
    """Return the mean saturation of the layers of each block, as ``delve`` measures it.

    Raises:
        Unmeasurable: if ``delve`` is not installed, or does not fit the network.
    """
    if subject.task.family == "ViT":
        raise Unmeasurable("delve takes only the last of all tokens")
    try:
        layers = layer_saturations(subject.model, subject.splits.train)
    except ImportError as error:
        raise Unmeasurable("delve is not installed") from error
    return {"saturation": [_mean_within(block, layers) for block in subject.pool]}


def layer_saturations(model: nn.Module, data: LabelledTensors) -> dict[str, float]:
    """Return the saturation of every linear layer and convolution, by ``delve``.

    Raises:
        ImportError: if ``delve`` is not installed.
    """
    from delve import SaturationTracker
    from delve.metrics import compute_saturation

    logging.getLogger("delve.logger").setLevel(logging.WARNING)
    model = copy.deepcopy(model).eval()  # delve leaves attributes and hooks behind
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        tracker = SaturationTracker(folder, "csv", model, device=str(data.device))
        for inputs, _ in data.batches(BATCH):
            model(inputs)
        covariances = tracker.logs["eval-covariance-matrix"]
        return {
            name.replace("-", "."): float(compute_saturation(covariance.fix()))
            for name, covariance in covariances.items()
        }


def _mean_within(block: Removable, layers: dict[str, float]) -> float | None:
    """Return the mean value of the layers that go with a block; None if there are none."""
    values = [
        value
        for name, value in layers.items()
        if any(
            name == removal.block or name.startswith(f"{removal.block}.")
            for removal in block.removals
        )
    ]
    return sum(values) / len(values) if values else None


MEASURES: dict[str, Callable[[Subject], Values]] = {
    "steps": steps,
    "Block Influence": influences,
    "contribution": contribution,
    "gate gradient": gate_gradients,
    "parameter norm": parameter_norms,
    "saturation": saturations,
}
"""What is measured together, by a name; a measurement may give the values of several criteria."""

CRITERIA = (
    "training step",
    "held-out step",
    "Block Influence",
    *RULERS,
    "gate gradient",
    "signed gate gradient",
    "parameter norm",
    "saturation",
)
"""All criteria, in the order in which tables show them."""
