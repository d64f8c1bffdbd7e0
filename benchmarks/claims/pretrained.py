"""Does the law hold in networks that others trained, block by block, before and after pruning?

    python -m benchmarks.run pretrained --models FOLDER --data CIFAR-10=FILE [--runs FILE]

The networks are ResNet-20 and ResNet-56 for CIFAR-10.  D is taken behind every block, on images
that the networks were trained on and on test images, with flat features and with pooled ones.  The
images of ``cifar10_subset.npz`` were JPEGs, which costs these networks about ten points, so each is
also measured after it was trained a little on them.  Then the product removes a third of the
blocks by its default criterion, and what is left is measured before and after the same training.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.claims.contribution_networks import LONG, train_with_sgd
from benchmarks.claims.pretrained_resnets import BLOCKS_PER_STAGE, cifar_splits, pretrained_resnet
from benchmarks.command import Parser, output_file, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import rounded
from designer import SeparationProfile, contributions, fit_law, profile, prune
from designer.analysis.advice import layer_reports, stage_laws
from designer.data.dataset import LabelledTensors
from designer.measures.law import tunnel_entrance
from designer.measures.ranks import spearman
from designer.pruning.splits import Splits
from designer.results.measured import FloatArray, LawFit

SHARE = 1 / 3
"""Share of all blocks that is removed."""

ENOUGH = 0.01
"""A block separates held-out data as well as the later ones if none is better by more than this
nearest-class-mean accuracy."""

FEATURES = ("flatten", "pool")
"""How feature maps become vectors: as they are, or as means over their pixels."""

SAMPLES, CONTRIBUTION_SAMPLES = 2000, 512
"""Training images on which D is measured, and images of either part for contributions."""

ALL = "all"
"""The law over all blocks, as opposed to one stage."""

AS_TRAINED, TRAINED_ON = "as others trained it", "trained on these images"
REMOVED, RECOVERED = "a third removed", "a third removed, trained on these images"
"""The states of a network."""

JUDGED = (AS_TRAINED, RECOVERED)
"""The states in which contributions are measured, too."""


@dataclass(frozen=True)
class PretrainedJob:
    """One network to measure, whole or with a third of its blocks removed."""

    network: str
    models: str
    """Folder of the weights."""
    source: str
    """File of the images."""
    removed: bool


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--models", required=True, help="folder of the pretrained ResNets")
    parser.add_argument("--data", required=True, metavar="NAME=SOURCE", help="the images")
    parser.add_argument("--network", action="append", choices=BLOCKS_PER_STAGE, help="only these")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Measure all networks in all states."""
    source = options.data.partition("=")[2]
    jobs = [
        PretrainedJob(network, options.models, source, removed)
        for network in options.network or BLOCKS_PER_STAGE
        for removed in (False, True)
    ]
    kept = KeptOutcomes(options.runs)
    outcomes = kept.measure(measured_states, jobs, "networks")
    rows = [row for outcome in outcomes for row in outcome["states"]]
    return Result(options, {"states": rows}, seeds=[0], earlier_seconds=kept.earlier_seconds)


def measured_states(job: PretrainedJob) -> Figures:
    """Return the figures of a network as it is, and after a short training."""
    splits = cifar_splits(Path(job.source))
    model: nn.Module = pretrained_resnet(job.network, Path(job.models))
    names = (AS_TRAINED, TRAINED_ON)
    gone: tuple[str, ...] = ()
    if job.removed:
        names = (REMOVED, RECOVERED)
        count = round(SHARE * 3 * BLOCKS_PER_STAGE[job.network])
        data = (splits.train, splits.validation)
        pruned = prune(model, data, remove=count, epochs=0)
        model, gone = pruned.model, tuple(removal.block for removal in pruned.removals)
    trained = copy.deepcopy(model)
    train_with_sgd(trained, splits.train, LONG.epochs, seed=0)
    rows = [
        {"network": job.network, "state": name, "removed": gone, **figures_of(state, name, splits)}
        for name, state in zip(names, (model, trained), strict=True)
    ]
    return {"states": rows}


def figures_of(model: nn.Module, state: str, splits: Splits) -> Figures:
    """Return the law with flat and with pooled features, and what every block contributes."""
    assert splits.test is not None
    train = LabelledTensors(splits.train.inputs[:SAMPLES], splits.train.labels[:SAMPLES])
    profiles = {
        features: profile(model, train, splits.test, features=features, permutations=0)
        for features in FEATURES
    }
    flat = profiles[FEATURES[0]]
    return {
        "accuracy": rounded(flat.accuracy),
        "accuracy_heldout": rounded(flat.accuracy_heldout),
        "blocks": [layer.name for layer in flat.layers[1:]],
        "law": {features: laws_of(measured) for features, measured in profiles.items()},
        "contribution": contribution_of(model, splits, profiles) if state in JUDGED else None,
    }


def laws_of(measured: SeparationProfile) -> Figures:
    """Return the law over all blocks and within each stage, and where the tunnel begins."""
    names = [layer.name for layer in measured.layers]
    spans = {ALL: (0, len(names) - 1)}
    for stage in stage_laws([measured]):
        spans[stage.name] = (names.index(stage.blocks[0]) - 1, names.index(stage.blocks[-1]))
    accuracies = [layer.nearest_class_mean_accuracy for layer in measured.layers]
    draws = np.array(measured.resampled_heldout)
    return {
        "train": {name: _law(measured.values[a : b + 1]) for name, (a, b) in spans.items()},
        "heldout": {
            name: _law(measured.values_heldout[a : b + 1]) for name, (a, b) in spans.items()
        },
        "separation": [rounded(value) for value in measured.values],
        "separation_heldout": [rounded(value) for value in measured.values_heldout],
        "nearest_class_mean_accuracy": [rounded(value) for value in accuracies],
        "tunnel_by_accuracy": no_better_behind(accuracies),
        "tunnel_by_separation": tunnel_entrance(measured.values_heldout, draws),
    }


def no_better_behind(accuracies: Sequence[float]) -> int:
    """Return the first tap, input first, behind which no accuracy is higher by over ``ENOUGH``."""
    best = np.maximum.accumulate(np.array(accuracies)[::-1])[::-1]
    return int(np.argmax(np.array(accuracies) >= best - ENOUGH))


def _law(values: FloatArray) -> Figures:
    fit: LawFit = fit_law(values)
    return {
        "r": rounded(fit.r),
        "uniformity": rounded(fit.uniformity),
        "rho": rounded(fit.rho),
        "total_reduction": rounded(fit.total_reduction),
        "status": str(fit.status),
    }


def contribution_of(
    model: nn.Module, splits: Splits, profiles: dict[str, SeparationProfile]
) -> Figures:
    """Return what the network loses without each block, beside the steps of log D."""
    assert splits.test is not None
    blocks = contributions(model, splits.train, splits.test, samples=CONTRIBUTION_SAMPLES)
    measured = [block.contribution for block in blocks]
    effects = [None if block is None else block.cross_entropy for block in measured]
    losses = [None if block is None else block.accuracy for block in measured]
    steps = {
        features: [layer.step_heldout for layer in layer_reports([inside])]
        for features, inside in profiles.items()
    }
    return {
        "cross_entropy": [None if effect is None else rounded(effect.value) for effect in effects],
        "needed": [None if effect is None else effect.is_positive for effect in effects],
        "accuracy": [None if loss is None else rounded(loss.value) for loss in losses],
        "spearman_with_steps": {
            features: _agreement(
                column, [None if effect is None else effect.value for effect in effects]
            )
            for features, column in steps.items()
        },
    }


def _agreement(steps: Sequence[float | None], effects: Sequence[float | None]) -> float | None:
    pairs = [
        (step, effect)
        for step, effect in zip(steps, effects, strict=True)
        if step is not None and effect is not None
    ]
    x, y = np.array(pairs, dtype=np.float64).T
    return rounded(float(spearman(x, y)))


def show(result: Result) -> None:
    """Print the law over all blocks, the tunnel and how many blocks are needed."""
    table = Table("network", "state", "accuracy", "features", "r, train", "r, held-out", "tunnel")
    for row in result.figures["states"]:
        for features, laws in row["law"].items():
            table.add_row(
                row["network"],
                row["state"],
                f"{100 * row['accuracy_heldout']:.1f}",
                features,
                f"{laws['train'][ALL]['r']:.3f}",
                f"{laws['heldout'][ALL]['r']:.3f}",
                f"{laws['tunnel_by_accuracy']} of {len(row['blocks'])}",
            )
    wide_console().print(table)
