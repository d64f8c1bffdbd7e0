"""Which criterion tells the blocks that a network can lose, and what that costs.

    python -m benchmarks.run pruning --data NAME=SOURCE ... [--json FILE]
    python -m benchmarks.run pruning --best --data NAME=SOURCE ... [--json FILE]
    python -m benchmarks.run pruning --max-drop 0.01 --data NAME=SOURCE ... [--json FILE]

Networks of 10 blocks (the transformer of 6) are trained, and 2, 4 and 6 blocks are removed in the
order of each criterion, with the same recovery after each; beside them what greedy ablation
chooses, and networks of the same size from scratch.  What an order is worth by itself shows where
nothing is fitted that need not be, and one training follows, as other tools do it.  Costs are
counted in passes of the training data through the network, where a training step counts as three.
Recovery, orders and bounds are the product's defaults, and none was chosen on these data.
``--best`` measures the better of two orders, as the product finds it, beside these two and random
ones; that there is a choice was decided after the transformers' table had been seen.  With
``--max-drop`` the product decides by itself how many blocks go; that it tries far removals before
near ones was decided after a first run on these very data.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.claim import Figures
from benchmarks.command import (
    Parser,
    positive,
    say,
    wide_console,
)
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_interval, rounded
from designer.choices import Criterion
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.measures.ranks import spearman
from designer.pruning.baselines import from_scratch, greedy_order
from designer.pruning.cut import cut
from designer.pruning.evaluation import correct_mask
from designer.pruning.options import RecoveryOptions
from designer.pruning.propose import propose
from designer.pruning.prune import prune
from designer.pruning.recover import recover
from designer.pruning.removable import Removable, removable_blocks
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits, splits_of
from designer.training.trainer import Schedule, build_seeded, train
from search_spaces import MlpSpace, MlpSpec, ResnetSpace, ResnetSpec, VitSpace, VitSpec

TRAIN_SIZE, IMAGE_SIZE = 1000, 10
VALIDATION = {"criteria": 0.5, "max-drop": 0.6}
"""Share of the samples in use that is held out: as many as there are to train on, and more
where they shall bound a drop of a point."""

REMOVED = (2, 4, 6)
SEEDS = 3
DROP_SEEDS = 10

ORDERS = tuple(one for one in Criterion if one is not Criterion.BEST)
"""The criteria that give an order of blocks."""

TRAINING_STEP = 3
"""Forward passes that a training step is counted as."""


class ResidualMlp(nn.Module):
    """A perceptron whose blocks add to what flows past them."""

    def __init__(self, inputs: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())
            for _ in range(depth)
        )
        self.head = nn.Linear(width, classes)
        self.block_names = tuple(f"blocks.{i}" for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to logits."""
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x)
        return logits


@dataclass(frozen=True)
class Family:
    """How a network is made and trained."""

    build: Callable[[tuple[int, ...], int], nn.Module]
    epochs: int
    learning_rate: float
    greedy: tuple[int, ...] = (1, 5)
    """Epochs of recovery in each trial of greedy ablation; what is slow to train gets one."""


def _mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    return MlpSpace().build(MlpSpec((100,) * 10, "batch", "relu", 1e-3), shape, classes)


def _residual_mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    return ResidualMlp(math.prod(shape), 100, 10, classes)


def _resnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    return ResnetSpace().build(ResnetSpec("basic", (5, 5), (8, 16), 3e-3), shape, classes)


def _vit(shape: tuple[int, ...], classes: int) -> nn.Module:
    return VitSpace().build(VitSpec(2, 6, 32, 2, 2e-3), shape, classes)


FAMILIES = {
    "plain MLP": Family(_mlp, 60, 1e-3),
    "residual MLP": Family(_residual_mlp, 60, 1e-3),
    "ResNet": Family(_resnet, 20, 3e-3, greedy=(1,)),
    "ViT": Family(_vit, 40, 2e-3, greedy=(1,)),
}

ROOTS: tuple[type[nn.Module], ...] = (
    ResidualMlp,
    *(type(f.build((1, 8, 8), 2)) for f in FAMILIES.values()),
)


@dataclass(frozen=True)
class Task:
    """One network on one data set."""

    data: str
    source: str
    family: str
    seed: int
    max_drop: float | None = None
    train_size: int = TRAIN_SIZE
    image_size: int = IMAGE_SIZE


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the result file where asked to."""
    parser = Parser("bench_pruning", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these")
    parser.add_argument("--seeds", type=positive, help="networks of each kind")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--best", action="store_true", help="the better of two orders")
    mode.add_argument("--max-drop", type=float, help="let the product decide how many go")
    parser.add_argument("--train-size", type=positive, default=TRAIN_SIZE, help="samples in use")
    parser.add_argument("--image-size", type=positive, default=IMAGE_SIZE, help="in pixels")
    parser.add_argument("--json", type=output_file, help="result file to write")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    decides = given.max_drop is not None
    seeds = range(given.seeds or (DROP_SEEDS if decides else SEEDS))
    tasks = [
        Task(name, source, family, seed, given.max_drop, given.train_size, given.image_size)
        for name, _, source in (one.partition("=") for one in given.data)
        for family in given.family or FAMILIES
        for seed in seeds
    ]
    measure, summed, show = compare, compared, show_compared
    if decides:
        measure, summed, show = decide, decided, show_decided
    elif given.best:
        measure, summed, show = choose, chosen, show_chosen
    figures = summed(list(in_processes(measure, tasks, "networks")))
    show(figures)
    if given.json:
        seconds = time.perf_counter() - started
        meta = meta_of("bench_pruning", arguments, seeds=list(seeds), seconds=seconds)
        write_result(given.json, figures, meta)


def trained(task: Task, validation: float) -> tuple[nn.Module, Dataset, RecoveryOptions]:
    """The whole network."""
    family = FAMILIES[task.family]
    data = load_dataset(
        task.source,
        train_size=None if task.source == "digits" else task.train_size,
        image_size=None if task.source == "digits" else task.image_size,
        validation_fraction=validation,
        seed=task.seed,
    )
    model = build(task.family, data, task.seed)
    train(
        model,
        data.train,
        epochs=family.epochs,
        learning_rate=family.learning_rate,
        seed=task.seed,
        schedule=Schedule.STEP,
    )
    return model.eval(), data, RecoveryOptions(learning_rate=family.learning_rate, seed=task.seed)


def build(family: str, data: Dataset, seed: int) -> nn.Module:
    """Untrained, with the weights of a seed."""
    make = FAMILIES[family].build
    return build_seeded(lambda: make(data.input_shape, data.num_classes), seed, torch.device("cpu"))


# --- which criterion ---


def compare(task: Task) -> Figures:
    """Every criterion, greedy ablation and from scratch on one network."""
    model, data, how = trained(task, VALIDATION["criteria"])
    parts = splits_of(data)
    trials = RemovalTrials(model, parts, how, None, _ignore)
    with counting() as passes:
        found = removable_blocks(model, parts.train.inputs[:5])
    pool = [one for one in found if one.can_go]
    singles = [_test_accuracy(trials.recovered([one]), parts) for one in pool]
    orders: dict[str, tuple[list[Removable], float]] = {}
    agreement: dict[str, float] = {}
    for criterion in ORDERS:
        with counting() as passes:
            proposal = propose(
                model, found, parts, criterion, blocks=None, seed=task.seed, progress=_ignore
            )
        orders[str(criterion)] = (list(proposal.order), passes[0] / len(parts.train))
        places = {one.name: -i for i, one in enumerate(proposal.order)}
        ranks = np.array([places[one.name] for one in pool])
        agreement[str(criterion)] = float(spearman(ranks, np.array(singles)))
    count = min(max(REMOVED), len(pool))
    for epochs in FAMILIES[task.family].greedy:
        name = f"greedy, {epochs} {'epoch' if epochs == 1 else 'epochs'}"
        with counting() as passes:
            order, _ = greedy_order(model, pool, count, parts, replace(how, epochs=epochs), _ignore)
        orders[name] = (order, passes[0] / len(parts.train))
    removed = {
        str(k): _with_removed(k, orders, model, data, parts, how, trials, task)
        for k in REMOVED
        if k <= len(pool) - 1
    }
    return {
        "data": task.data,
        "family": task.family,
        "seed": task.seed,
        "blocks": len(found),
        "removable": len(pool),
        "whole": float(correct_mask(model, data.test).float().mean()),
        "spearman": {name: rounded(value) for name, value in agreement.items()},
        "to_decide": {name: round(cost, 1) for name, (_, cost) in orders.items()},
        "removed": removed,
    }


def _with_removed(
    k: int,
    orders: dict[str, tuple[list[Removable], float]],
    model: nn.Module,
    data: Dataset,
    parts: Splits,
    how: RecoveryOptions,
    trials: RemovalTrials,
    task: Task,
) -> Figures:
    """Test accuracy with k blocks removed, and what each took in all."""
    known: dict[frozenset[str], tuple[float, float, float]] = {}
    accuracy, unfitted, in_all = {}, {}, {}
    for name, (order, cost) in orders.items():
        chosen = frozenset(one.name for one in order[:k])
        if chosen not in known:
            with counting() as passes:
                candidate = trials.recovered(order[:k])
            known[chosen] = (
                _test_accuracy(candidate, parts),
                _unfitted(model, order[:k], data, parts, how),
                passes[0] / len(parts.train),
            )
        accuracy[name], unfitted[name], recovery = known[chosen]
        in_all[name] = round(cost + recovery, 1)
    made = cut(model, orders["heldout"][0][:k], parts.train)
    family = FAMILIES[task.family]
    scratch = from_scratch(
        made.model,
        made.removals,
        parts,
        how,
        family.epochs,
        lambda seed: build(task.family, data, seed),
        _ignore,
    )
    accuracy["from scratch"] = float(correct_mask(scratch, data.test).float().mean())
    return {"accuracy": accuracy, "unfitted": unfitted, "in_all": in_all}


def _unfitted(
    model: nn.Module,
    blocks: Sequence[Removable],
    data: Dataset,
    parts: Splits,
    how: RecoveryOptions,
) -> float:
    """Test accuracy where nothing is fitted that need not be, and one training follows."""
    smaller = cut(model, blocks, parts.train, fit=False).model
    recover(smaller, parts, how)
    return float(correct_mask(smaller, data.test).float().mean())


def _test_accuracy(candidate: PrunedCandidate, parts: Splits) -> float:
    if parts.test is None:
        raise ValueError("the benchmark's data have test sets")
    return float(correct_mask(candidate.cut.model, parts.test).float().mean())


@contextmanager
def counting() -> Iterator[list[float]]:
    """Samples that pass through whole networks, a training step counted as three."""
    passes = [0.0]

    def count(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, ROOTS) and inputs:
            steps = module.training and torch.is_grad_enabled()
            passes[0] += len(inputs[0]) * (TRAINING_STEP if steps else 1)

    handle = register_module_forward_pre_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def compared(rows: Sequence[Figures]) -> Figures:
    """Means over the seeds, and over the data sets, of each family."""
    return _by_family(rows, _group)


def _by_family(rows: Sequence[Figures], summed: Callable[[Sequence[Figures]], Figures]) -> Figures:
    """A summary of each family on each data set and on all of them."""
    groups: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for row in rows:
        groups[row["family"], row["data"]].append(row)
        groups[row["family"], "all"].append(row)
    return {
        "groups": [
            {"family": family, "data": data, **summed(some)}
            for (family, data), some in groups.items()
        ],
        "rows": list(rows),
    }


def _group(rows: Sequence[Figures]) -> Figures:
    names = list(rows[0]["to_decide"])
    counts = [k for k in map(str, REMOVED) if all(k in row["removed"] for row in rows)]
    return {
        "networks": len(rows),
        "whole": rounded(np.mean([row["whole"] for row in rows])),
        "spearman": {
            name: rounded(np.nanmean([row["spearman"][name] for row in rows])) for name in ORDERS
        },
        "to_decide": {n: round(_mean(row["to_decide"][n] for row in rows), 1) for n in names},
        "removed": {
            k: {
                "accuracy": {
                    name: rounded(_mean(row["removed"][k]["accuracy"][name] for row in rows))
                    for name in (*names, "from scratch")
                },
                "unfitted": {
                    name: rounded(_mean(row["removed"][k]["unfitted"][name] for row in rows))
                    for name in names
                },
                "in_all": {
                    name: round(_mean(row["removed"][k]["in_all"][name] for row in rows), 1)
                    for name in names
                },
                "heldout_minus": {
                    name: _lead([row["removed"][k]["accuracy"] for row in rows], name)
                    for name in (*names, "from scratch")
                    if name != "heldout"
                },
                "unfitted_minus": {
                    name: _lead([row["removed"][k]["unfitted"] for row in rows], name)
                    for name in names
                    if name != "heldout"
                },
            }
            for k in counts
        },
    }


def _lead(accuracies: Sequence[dict[str, float]], name: str) -> Figures:
    """What the order by held-out steps is ahead of another."""
    return mean_and_interval(np.array([one["heldout"] - one[name] for one in accuracies]))


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def show_compared(figures: Figures) -> None:
    """A table per family."""
    for group in figures["groups"]:
        counts = list(group["removed"])
        titles = [f"{k} removed" for k in counts] + [f"{k}, not fitted" for k in counts]
        table = Table("order", "Spearman", "to decide", "in all", *titles)
        table.title = (
            f"{group['family']}, {group['data']}: {group['networks']} networks, whole "
            f"{100 * group['whole']:.1f} %"
        )
        for name in (*group["to_decide"], "from scratch"):
            agreement = group["spearman"].get(name)
            decide_cost = group["to_decide"].get(name)
            in_all = group["removed"][counts[-1]]["in_all"].get(name) if counts else None
            table.add_row(
                name,
                "" if agreement is None else f"{agreement:.2f}",
                "" if decide_cost is None else f"{decide_cost:.0f}",
                "" if in_all is None else f"{in_all:.0f}",
                *(f"{100 * group['removed'][k]['accuracy'][name]:.1f}" for k in counts),
                *(
                    f"{100 * group['removed'][k]['unfitted'][name]:.1f}"
                    for k in counts
                    if name in group["removed"][k]["unfitted"]
                ),
            )
        wide_console().print(table)


# --- the better of two orders ---


TWO = (Criterion.HELDOUT, Criterion.BLOCK_INFLUENCE)


def choose(task: Task) -> Figures:
    """Two orders, the better one, and a random one on one network."""
    model, data, how = trained(task, VALIDATION["criteria"])
    parts = splits_of(data)
    trials = RemovalTrials(model, parts, how, None, _ignore)
    found = removable_blocks(model, parts.train.inputs[:5])
    orders: dict[str, Sequence[Removable]] = {}
    with counting() as passes:
        for criterion in (*TWO, Criterion.RANDOM):
            proposal = propose(
                model, found, parts, criterion, blocks=None, seed=task.seed, progress=_ignore
            )
            orders[str(criterion)] = proposal.order
    known: dict[frozenset[str], float] = {}
    removed = {}
    for k in (k for k in REMOVED if k < len(orders["random"])):
        sets = {name: list(order[:k]) for name, order in orders.items()}
        with counting() as comparing:
            sets["best"] = trials.best_of([sets[name] for name in TWO])
        accuracy = {}
        for name, blocks in sets.items():
            key = frozenset(one.name for one in blocks)
            if key not in known:
                known[key] = _test_accuracy(trials.recovered(blocks), parts)
            accuracy[name] = known[key]
        cost = (passes[0] + comparing[0]) / len(parts.train)
        removed[str(k)] = {"accuracy": accuracy, "to_decide": round(cost, 1)}
    whole = float(correct_mask(model, data.test).float().mean())
    named = {"data": task.data, "family": task.family, "seed": task.seed}
    return {**named, "whole": whole, "removed": removed}


def chosen(rows: Sequence[Figures]) -> Figures:
    """Means over the seeds, and over the data sets, of each family."""
    return _by_family(rows, _chosen_group)


def _chosen_group(rows: Sequence[Figures]) -> Figures:
    removed = {}
    for k in rows[0]["removed"]:
        accuracies = [row["removed"][k]["accuracy"] for row in rows]
        names = list(accuracies[0])
        removed[k] = {
            "accuracy": {name: rounded(_mean(one[name] for one in accuracies)) for name in names},
            "best_minus": {
                name: mean_and_interval(np.array([one["best"] - one[name] for one in accuracies]))
                for name in names
                if name != "best"
            },
            "to_decide": round(_mean(row["removed"][k]["to_decide"] for row in rows), 1),
        }
    whole = rounded(np.mean([row["whole"] for row in rows]))
    return {"networks": len(rows), "whole": whole, "removed": removed}


def show_chosen(figures: Figures) -> None:
    """A row per family and data set."""
    names = (*TWO, "random", "best")
    counts = list(map(str, REMOVED))
    table = Table("network", "data", *(f"{k} removed" for k in counts))
    table.title = " / ".join(names)
    for group in figures["groups"]:
        removed = [group["removed"].get(k, {}).get("accuracy", {}) for k in counts]
        cells = [" / ".join(f"{100 * one[n]:.1f}" for n in names if n in one) for one in removed]
        table.add_row(group["family"], group["data"], *cells)
    wide_console().print(table)


# --- how many ---


def decide(task: Task) -> Figures:
    """What ``prune(max_drop=...)`` does with one network."""
    model, data, how = trained(task, VALIDATION["max-drop"])
    started = time.perf_counter()
    result = prune(
        model,
        data,
        max_drop=task.max_drop,
        learning_rate=how.learning_rate,
        build=lambda seed: build(task.family, data, seed),
        seed=task.seed,
    )
    networks = {one.name: one for one in result.report.networks}
    whole, left = networks["original"], networks.get("pruned", networks["original"])
    if whole.test_accuracy is None or left.test_accuracy is None:
        raise ValueError("the benchmark's data have test sets")
    say(f"{task.family} on {task.data}, seed {task.seed}: {result.report.conclusion}")
    return {
        "data": task.data,
        "family": task.family,
        "seed": task.seed,
        "blocks": whole.blocks,
        "removed": len(result.report.removed),
        "parameters_left": round(left.parameters / whole.parameters, 3),
        "test_whole": whole.test_accuracy.value,
        "test_pruned": left.test_accuracy.value,
        "test_samples": whole.test_accuracy.samples,
        "validation_drop_bound": left.drop_bound,
        "trials_trained": sum(one.recovered for one in result.report.trials),
        "trials_fitted": sum(not one.recovered for one in result.report.trials),
        "seconds": round(time.perf_counter() - started, 1),
    }


def decided(rows: Sequence[Figures]) -> Figures:
    """Per family and data set: how often the bound held on test data, and how much went."""
    groups: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for row in rows:
        groups[row["family"], row["data"]].append(row)
    return {"groups": [_decided_group(*key, some) for key, some in groups.items()], "rows": rows}


def _decided_group(family: str, data: str, rows: Sequence[Figures]) -> Figures:
    drops = [row["test_whole"] - row["test_pruned"] for row in rows]
    shares = [row["removed"] / row["blocks"] for row in rows]
    return {
        "family": family,
        "data": data,
        "networks": len(rows),
        "within": sum(drop <= 0.01 for drop in drops),
        "a_third_removed": sum(share >= 1 / 3 for share in shares),
        "removed": rounded(np.mean([row["removed"] for row in rows])),
        "blocks": rows[0]["blocks"],
        "parameters_left": rounded(np.mean([row["parameters_left"] for row in rows])),
        "test_drop": mean_and_interval(np.array(drops)),
        "largest_test_drop": rounded(max(drops)),
        "trials_trained": rounded(np.mean([row["trials_trained"] for row in rows])),
    }


def show_decided(figures: Figures) -> None:
    """A row per family and data set."""
    table = Table("network", "data", "within", "a third", "removed", "test drop", "largest")
    for group in figures["groups"]:
        table.add_row(
            group["family"],
            group["data"],
            f"{group['within']} of {group['networks']}",
            f"{group['a_third_removed']} of {group['networks']}",
            f"{group['removed']:.1f} of {group['blocks']}",
            f"{100 * group['test_drop']['mean']:+.2f}",
            f"{100 * group['largest_test_drop']:+.2f}",
        )
    wide_console().print(table)


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass
