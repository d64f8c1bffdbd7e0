"""The benchmark of contributions: orders, agreements and leads against closed forms."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from benchmarks.claims.contribution_criteria import gradients_of_gates
from benchmarks.claims.contribution_effects import agreement, chance
from benchmarks.claims.contribution_networks import NetworkTask, RemovalJob, train_with_sgd
from benchmarks.claims.contribution_orders import counts_of, least_first, random_orders
from benchmarks.claims.contribution_removals import RECOVERED, REMOVED, lead
from benchmarks.claims.pretrained_resnets import (
    HELDOUT,
    MEAN,
    SD,
    TRAIN,
    BasicBlock,
    CifarResnet,
    cifar_splits,
    pretrained_resnet,
)
from benchmarks.claims.small_networks import ResidualMlp
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.processes import PROCESSES
from benchmarks.run import main
from benchmarks.statistics import difference_and_t_interval, mean_and_t_interval
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.pruning.removable import removable_blocks

# --- pretrained networks ---


@pytest.mark.parametrize(("blocks", "parameters"), [(3, 269_722), (9, 853_018)])
def test_resnets_have_as_many_parameters_as_published(blocks: int, parameters: int) -> None:
    # He et al., CVPR 2016, table 6: 0.27 and 0.85 million
    assert sum(p.numel() for p in CifarResnet(blocks).parameters()) == parameters


def test_a_block_that_halves_the_image_hands_on_every_second_pixel() -> None:
    block = BasicBlock(2, 4, 2).eval()
    for norm in (block.bn1, block.bn2):
        nn.init.zeros_(norm.weight)
    x = torch.rand(1, 2, 4, 4)
    y = block(x)
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2])
    assert not y[:, [0, 3]].any()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="resnet20_cifar10"):
        pretrained_resnet("ResNet-20", tmp_path)


def test_choices_and_fits_never_use_test_images(tmp_path: Path) -> None:
    n = TRAIN + HELDOUT + 5
    images = (np.arange(n, dtype=np.uint32)[:, None, None, None] >> np.array([0, 8, 16])) & 255
    file = tmp_path / "images.npz"
    labels = np.arange(n) % 10
    test = np.full((3, 1, 1, 3), 255, np.uint8)
    np.savez(
        file,
        x_train=images.astype(np.uint8),
        y_train=labels[:, None],
        x_test=test,
        y_test=np.array([1, 2, 3]),
    )
    splits = cifar_splits(file)
    assert splits.test is not None
    assert splits.test.labels.tolist() == [1, 2, 3]
    expected = [(1 - mean) / sd for mean, sd in zip(MEAN, SD, strict=True)]
    assert splits.test.inputs[0].flatten().tolist() == pytest.approx(expected)
    train, heldout = (_numbers(part) for part in (splits.train, splits.validation))
    assert (len(train), len(heldout)) == (TRAIN, HELDOUT)
    assert not train & heldout
    assert train | heldout <= set(range(n))


def _numbers(part: LabelledTensors) -> set[int]:
    """Return the numbers that are written into the bytes of images."""
    mean, sd = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SD))
    pixels = ((part.inputs * sd + mean) * 255).round().long().flatten(1)
    numbers = (pixels * torch.tensor([1, 256, 65536])).sum(1)
    assert torch.equal(numbers % 10, part.labels)
    return set(numbers.tolist())


def test_the_seed_decides_a_recovery() -> None:
    data = LabelledTensors(torch.randn(40, 3, 4, 4), torch.arange(40) % 2)

    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(48, 2)
        model = nn.Sequential(nn.Flatten(), layer)
        train_with_sgd(model, data, 2, seed)
        assert not model.training
        return layer.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# --- criteria ---


def test_the_gradient_of_a_gate_is_what_a_small_change_of_the_branch_does() -> None:
    torch.manual_seed(0)
    model = ResidualMlp(6, 8, 3, 2).double().eval()
    data = LabelledTensors(torch.randn(50, 6).double(), torch.arange(50) % 2)
    blocks = removable_blocks(model, data.inputs[:5])
    gradients = gradients_of_gates(model, blocks, data, past=True)
    for i, gradient in enumerate(gradients):
        losses = [_loss_with_branch_times(model, i, 1 + e, data) for e in (1e-5, -1e-5)]
        assert gradient == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def _loss_with_branch_times(
    model: ResidualMlp, i: int, factor: float, data: LabelledTensors
) -> float:
    handle = model.blocks[i].register_forward_hook(lambda _module, _inputs, y: factor * y)
    loss = functional.cross_entropy(model(data.inputs), data.labels)
    handle.remove()
    return float(loss.detach())


def test_a_closed_gate_hands_on_what_flows_past_a_block() -> None:
    torch.manual_seed(0)
    model = CifarResnet(2, classes=3).double().eval()
    data = LabelledTensors(torch.randn(6, 3, 8, 8).double(), torch.arange(6) % 3)
    block = next(b for b in removable_blocks(model, data.inputs[:2]) if b.name == "layer1.1")
    (gradient,) = gradients_of_gates(model, [block], data, past=True)
    losses = []
    for factor in (1 + 1e-5, 1 - 1e-5):
        handle = model.layer1[1].register_forward_hook(
            lambda _module, inputs, y, factor=factor: inputs[0] + factor * (y - inputs[0])
        )
        losses.append(float(functional.cross_entropy(model(data.inputs), data.labels).detach()))
        handle.remove()
    assert gradient == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def test_a_gate_on_a_branch_multiplies_it() -> None:
    torch.manual_seed(0)
    model = CifarResnet(2, classes=3).double().eval()
    data = LabelledTensors(torch.randn(6, 3, 8, 8).double(), torch.arange(6) % 3)
    block = next(b for b in removable_blocks(model, data.inputs[:2]) if b.name == "layer1.1")
    (gradient,) = gradients_of_gates(model, [block], data, branch="bn2", past=True)
    norm = model.get_submodule("layer1.1.bn2")
    losses = []
    for factor in (1 + 1e-5, 1 - 1e-5):
        handle = norm.register_forward_hook(lambda _module, _inputs, y, factor=factor: factor * y)
        losses.append(float(functional.cross_entropy(model(data.inputs), data.labels).detach()))
        handle.remove()
    assert gradient == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def test_a_block_without_a_value_counts_as_needed_most() -> None:
    assert agreement([0.1, None, 0.2], [1.0, 3.0, 2.0])["mean"] == 1
    assert agreement([0.1, None, 0.2], [3.0, 1.0, 2.0])["mean"] == -1
    assert least_first(["a", "b", "c", "d"], [0.2, None, 0.1, 0.2]) == ["c", "d", "a", "b"]


def test_chance_shrinks_with_the_number_of_networks() -> None:
    assert chance([2]) == [-1, 1]
    alone, together = chance([10]), chance([10] * 9)
    assert alone[1] is not None
    assert together[1] is not None
    # Spearman's correlation of random orders of n has a variance of 1 / (n - 1)
    assert alone[1] == pytest.approx(1.96 / 3, abs=0.05)
    assert together[1] == pytest.approx(1.96 / 9, abs=0.02)


def test_random_orders_are_the_same_every_time() -> None:
    names = [f"block {i}" for i in range(8)]
    orders = random_orders(names, 10)
    assert all(sorted(order) == names for order in orders)
    assert len({tuple(order) for order in orders}) == 10
    assert orders == random_orders(names, 10)


@pytest.mark.parametrize(
    ("blocks", "counts"), [(25, (2, 4, 8, 12)), (10, (3, 5)), (7, (2, 4)), (2, (1,))]
)
def test_a_third_and_a_half_of_small_networks_go(blocks: int, counts: tuple[int, ...]) -> None:
    assert counts_of(blocks) == counts


# --- leads and their intervals ---


def test_recoveries_of_a_single_network_are_paired_by_seed() -> None:
    ours = {REMOVED: 0.5, RECOVERED: [0.80, 0.82, 0.84, 0.83, 0.81]}
    other = {REMOVED: 0.3, RECOVERED: [0.78, 0.81, 0.80, 0.80, 0.80]}
    measured = lead([[ours]], [[other]], RECOVERED)
    pairs = np.array([ours[RECOVERED], other[RECOVERED]])
    expected = stats.ttest_rel(*pairs).confidence_interval()
    assert measured["mean"] == pytest.approx(0.022)
    assert measured["interval"] == pytest.approx(list(expected), abs=1e-4)
    assert lead([[ours]], [[other]], REMOVED) == {"mean": 0.2, "interval": [None, None]}
    once = lead([[ours]], [[{RECOVERED: [0.78]}]], RECOVERED)
    assert once == {"mean": 0.02, "interval": [None, None]}


def test_random_choices_are_no_pairs() -> None:
    ours, drawn = np.array([0.83, 0.84, 0.82]), np.array([0.80, 0.83, 0.79, 0.85])
    measured = lead(
        [[{RECOVERED: list(ours)}]], [[{RECOVERED: [value]} for value in drawn]], RECOVERED
    )
    expected = stats.ttest_ind(ours, drawn, equal_var=False).confidence_interval()
    assert measured["interval"] == pytest.approx(list(expected), abs=1e-4)


def test_networks_are_paired_with_the_mean_of_their_choices() -> None:
    ours = [[{RECOVERED: [0.9]}], [{RECOVERED: [0.7]}]]
    other = [[{RECOVERED: [0.8]}, {RECOVERED: [0.9]}], [{RECOVERED: [0.5]}, {RECOVERED: [0.6]}]]
    assert lead(ours, other, RECOVERED)["mean"] == pytest.approx(0.1)


def test_intervals_of_a_few_values() -> None:
    values = np.array([0.1, 0.4, 0.3])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert mean_and_t_interval(values, 6)["interval"] == pytest.approx(list(expected), abs=1e-5)
    assert mean_and_t_interval(values[:1]) == {"mean": 0.1, "interval": [None, None]}
    single = difference_and_t_interval(np.array([0.5]), values, 6)
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    middle = 0.5 - values.mean()
    assert single["interval"] == pytest.approx([middle - half, middle + half], abs=1e-5)
    assert difference_and_t_interval(values[:1], values[1:2])["interval"] == [None, None]


# --- jobs and options ---


@dataclass(frozen=True)
class Squaring:
    """A job for ``squared``."""

    number: int
    file: str


def squared(job: Squaring) -> dict[str, int]:
    with Path(job.file).open("a", encoding="utf-8") as file:
        file.write(f"{job.number}\n")
    return {"square": job.number**2}


def test_a_run_that_was_stopped_goes_on_and_its_time_counts(tmp_path: Path) -> None:
    kept, log = tmp_path / "runs.jsonl", tmp_path / "log"
    jobs = [Squaring(i, str(log)) for i in (2, 3, 2)]
    first = KeptOutcomes(kept)
    assert first.measure(squared, jobs, "squares") == [{"square": 4}, {"square": 9}, {"square": 4}]
    assert first.earlier_seconds == 0
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert all(row["seconds"] >= 0 for row in rows)
    timed = [{**row, "seconds": 10.0} for row in rows]
    kept.write_text("".join(f"{json.dumps(row)}\n" for row in timed), encoding="utf-8")
    second = KeptOutcomes(kept)
    again = [Squaring(i, str(log)) for i in (2, 2, 4)]
    assert second.measure(squared, again, "squares")[-1] == {"square": 16}
    assert sorted(log.read_text(encoding="utf-8").split()) == ["2", "3", "4"]
    assert second.earlier_seconds == 10.0 / PROCESSES  # what is not asked for does not count


def test_jobs_survive_a_file() -> None:
    job = RemovalJob(NetworkTask("a", "b", "CNN", 0), ("x", "y"), fit=True, seeds=(0, 1))
    kept = KeptOutcomes(None)
    kept._outcomes[json.dumps(json.loads(json.dumps(_fields(job))), sort_keys=True)] = {"done": 1}
    assert kept.measure(squared, [job], "none") == [{"done": 1}]


def _fields(job: RemovalJob) -> dict[str, object]:
    return {**vars(job), "task": vars(job.task)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--family", "ResNet-20"], "a pretrained network needs --models"),
        (["--seeds", "3"], "--seeds needs --removals"),
        (["--choices", "3"], "--choices needs --removals"),
        (["--order", "last"], "--order needs --removals"),
        (["--family", "LSTM"], "invalid choice"),
    ],
)
def test_options_without_an_effect_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["contribution", "--data", "digits=digits", *arguments])
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err
