"""Dead units and layers that are wider than they need to be, on networks with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer import analyze
from designer.analysis.diagnosis import diagnose
from designer.analysis.options import AnalysisOptions
from designer.analysis.unit_use import unit_use
from designer.data.dataset import LabelledTensors
from designer.probing.hidden import hidden_layers
from designer.probing.probes import taps_of
from designer.probing.tracing import trace_forward
from designer.results.contribution import Effect
from designer.results.diagnosis import FindingKind
from designer.results.units import DeadUnits, NarrowerTrial, UnitUse
from tests.analysis.test_diagnosis import profile_with

WIDTH, FEATURES = 8, 6
OPTIONS = AnalysisOptions(permutations=0)


def data_of(n: int, seed: int, shape: tuple[int, ...] = (FEATURES,)) -> LabelledTensors:
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    return LabelledTensors(inputs, (inputs.flatten(1).sum(1) > 0).long())


TRAIN, HELDOUT = data_of(300, 0), data_of(200, 1)


class Chain(nn.Module):
    """Blocks in a row, and a head."""

    def __init__(self, *blocks: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.blocks, self.head = nn.Sequential(*blocks), head
        self.block_names = tuple(f"blocks.{i}" for i in range(len(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(x))
        return logits


def dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())


def linear(model: nn.Module, block: int) -> nn.Linear:
    """Return the layer of a dense block."""
    layer = model.get_submodule(f"blocks.{block}.0")
    assert isinstance(layer, nn.Linear)
    return layer


def network(*widths: int, seed: int = 0) -> Chain:
    """Return a chain of dense blocks of these widths, with random weights."""
    torch.manual_seed(seed)
    sides = zip((FEATURES, *widths), widths, strict=False)
    return Chain(*(dense(i, o) for i, o in sides), head=nn.Linear(widths[-1], 2))


def use_of(model: nn.Module, heldout: LabelledTensors | None = HELDOUT) -> UnitUse:
    return unit_use(model.eval(), TRAIN, heldout, None, OPTIONS)


def kill(layer: nn.Module, units: int) -> None:
    """Let the first units of a layer give nothing positive, and all others only that."""
    with torch.no_grad():
        layer.get_parameter("bias").fill_(10)
        layer.get_parameter("weight")[:units] = 0
        layer.get_parameter("bias")[:units] = -1


def copy_units(layer: nn.Module, kept: int) -> None:
    """Let every unit of a layer be twice another one, of which there are only ``kept``."""
    with torch.no_grad():
        for name in ("weight", "bias"):
            values = layer.get_parameter(name)
            for unit in range(kept, len(values)):
                values[unit] = 2 * values[unit % kept]


@pytest.mark.parametrize("dead", [1, 5, WIDTH])
def test_dead_units_are_counted(dead: int) -> None:
    model = network(WIDTH, WIDTH, WIDTH)
    kill(linear(model, 1), dead)
    records = {record.block: record for record in use_of(model).dead}
    assert records["blocks.1"] == DeadUnits("blocks.1", "blocks.1.1", dead, WIDTH)


def test_a_unit_that_is_ever_alive_is_not_dead() -> None:
    model = network(WIDTH, WIDTH)
    highest = float(TRAIN.inputs[:, 0].max())
    with torch.no_grad():
        linear(model, 0).weight.zero_()
        linear(model, 0).weight[:, 0] = 1
        linear(model, 0).bias.fill_(-highest - 0.1)
        linear(model, 0).bias[0] = 0.1 - highest  # on a single sample
    assert use_of(model).dead[0] == DeadUnits("blocks.0", "blocks.0.1", WIDTH - 1, WIDTH)


def test_channels_that_are_zero_everywhere_are_dead() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(2, WIDTH, 3, padding=1), nn.ReLU())
    kill(block[0], 3)
    model = Chain(
        block, nn.Conv2d(WIDTH, WIDTH, 3), head=nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    )
    data = data_of(50, 2, (2, 5, 5))
    use = unit_use(model.eval(), data, data, None, OPTIONS)
    assert use.dead == (DeadUnits("blocks.0", "blocks.0.1", 3, WIDTH),)


def test_units_that_copy_others_are_not_needed() -> None:
    model = network(4, 40, 4, 4, 4)
    copy_units(linear(model, 1), 4)
    (trial,) = use_of(model).narrower
    assert (trial.block, trial.layer) == ("blocks.1", "blocks.1.0")
    assert (trial.units, trial.usual, trial.kept) == (40, 4, 4)
    assert trial.accuracy == Effect(0.0, (0.0, 0.0))


def test_what_is_kept_predicts_as_least_squares_does() -> None:
    model = network(FEATURES, 40, 4, 4, seed=1).eval()
    (trial,) = use_of(model).narrower
    assert 5 <= trial.kept <= 20
    with torch.no_grad():
        whole = model(HELDOUT.inputs).argmax(1)
        read, held = (model.blocks[:2](part.inputs).double().numpy() for part in (TRAIN, HELDOUT))
        kept = pivots(read, trial.kept)
        design = np.c_[read[:, kept], np.ones(len(read))]
        weights = np.linalg.lstsq(design, read, rcond=None)[0]
        predicted = np.c_[held[:, kept], np.ones(len(held))] @ weights
        narrower = model.head(model.blocks[2:](torch.from_numpy(predicted).float())).argmax(1)
    right = [(logits == HELDOUT.labels).double().mean().item() for logits in (whole, narrower)]
    assert trial.accuracy.value == pytest.approx(right[1] - right[0], abs=1e-9)


def pivots(read: np.ndarray, count: int) -> list[int]:
    """Return the units that one after the other leave the largest variance unexplained."""
    kept: list[int] = []
    left = read - read.mean(0)
    for _ in range(count):
        kept.append(int(np.argmax((left**2).sum(0))))
        direction = left[:, kept[-1]] / np.linalg.norm(left[:, kept[-1]])
        left = left - np.outer(direction, direction @ left)
    return kept


def test_fewer_units_vary_than_are_to_be_kept() -> None:
    model = network(4, 40, 4, 4, 4)
    kill(linear(model, 1), 38)
    (trial,) = use_of(model).narrower
    assert trial.accuracy == Effect(0.0, (0.0, 0.0))


def test_nothing_is_tried_without_held_out_data() -> None:
    assert use_of(network(4, 40, 4, 4, 4), None).narrower == ()


def test_layers_as_wide_as_others_are_not_tried() -> None:
    assert use_of(network(8, 32, 8, 8)).narrower == ()


def test_the_model_is_left_as_it_was() -> None:
    model = network(4, 40, 4, 4, 4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    unit_use(model, TRAIN, HELDOUT, None, OPTIONS)
    assert model.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_that_gives_other_things_than_logits_is_not_tried() -> None:
    model = network(4, 40, 4, 4, 4)
    model.head = nn.Identity()
    labels = HELDOUT.labels + 5 * (HELDOUT.inputs[:, 0] > 2)  # more classes than outputs
    assert use_of(model, LabelledTensors(HELDOUT.inputs, labels)).narrower == ()


# --- which layers are hidden ---


class Residual(nn.Module):
    """Adds a branch of two layers to what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 9), nn.Linear(9, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(self.first(x).relu())
        return y


class Gated(nn.Module):
    """Multiplies what two layers give, so that neither can be narrowed alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(FEATURES, 9), nn.Linear(FEATURES, 9)
        self.out = nn.Linear(9, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.gate(x).sigmoid() * self.value(x))
        return y


class TwoReaders(nn.Module):
    """Lets two layers read what one gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, 9)
        self.left, self.right = nn.Linear(9, FEATURES), nn.Linear(9, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        y: Tensor = self.left(hidden) + self.right(hidden)
        return y


def hidden_in(model: nn.Module, shape: Sequence[int] = (FEATURES,)) -> list[tuple[str, str, int]]:
    few = torch.randn(3, *shape)
    trace = trace_forward(model.eval(), few, flow=True)
    layers = hidden_layers(trace, taps_of(model, few, None)[1])
    return [(layer.name, layer.reader, layer.units) for layer in layers]


def test_in_a_chain_every_layer_is_hidden() -> None:
    assert hidden_in(network(7, 8, 9)) == [
        ("blocks.0.0", "blocks.1.0", 7),
        ("blocks.1.0", "blocks.2.0", 8),
        ("blocks.2.0", "head", 9),
    ]


def test_in_a_residual_block_only_the_branch_is_hidden() -> None:
    model = Chain(Residual(), Residual(), head=nn.Linear(FEATURES, 2))
    assert hidden_in(model) == [(f"blocks.{i}.first", f"blocks.{i}.second", 9) for i in range(2)]


@pytest.mark.parametrize("block", [Gated, TwoReaders])
def test_what_several_parts_use_is_not_hidden(block: type[nn.Module]) -> None:
    readers = {reader for _, reader, _ in hidden_in(Chain(block(), block(), head=dense(6, 2)))}
    assert not any(reader.startswith("blocks.") for reader in readers)


def test_flattened_channels_are_not_units() -> None:
    block = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    other = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True))
    model = Chain(block, other, head=nn.Sequential(nn.Flatten(), nn.Linear(125, 2)))
    assert hidden_in(model, (2, 5, 5)) == [("blocks.0.0", "blocks.1.0", 4)]


def test_a_layer_that_runs_twice_is_not_hidden() -> None:
    shared = dense(FEATURES, FEATURES)
    assert hidden_in(Chain(shared, shared, head=nn.Linear(FEATURES, 2))) == []


# --- what the diagnosis says ---


def trial(value: float) -> NarrowerTrial:
    return NarrowerTrial("b1", "b1.0", 400, 50, 100, Effect(value, (value - 0.01, value + 0.01)))


@pytest.mark.parametrize(("dead", "named"), [(49, False), (50, True), (100, True)])
def test_dead_units_are_named_from_half_on(dead: int, named: bool) -> None:
    units = UnitUse(dead=(DeadUnits("b1", "b1.act", dead, 100),))
    findings = diagnose([profile_with()], units=units)
    assert [f.kind for f in findings] == [FindingKind.DEAD_UNITS] * named
    assert not named or f"'b1' ({dead} of 100 in 'b1.act')" in findings[0].evidence


@pytest.mark.parametrize(("value", "named"), [(-0.006, False), (-0.004, True), (0.01, True)])
def test_a_layer_is_too_wide_if_fewer_units_cost_nothing(value: float, named: bool) -> None:
    findings = diagnose([profile_with()], units=UnitUse(narrower=(trial(value),)))
    assert [f.kind for f in findings] == [FindingKind.TOO_WIDE] * named
    if named:
        assert findings[0].tried
        assert "with 100 units in 'b1.0'" in findings[0].outcome
        assert f"{100 * value:+.1f} points" in findings[0].outcome


def test_a_report_names_a_layer_that_was_tried_with_fewer_units() -> None:
    model = network(4, 40, 4, 4, 4)
    copy_units(linear(model, 1), 4)
    inputs = torch.cat([TRAIN.inputs, HELDOUT.inputs])
    with torch.no_grad():
        model.get_parameter("head.bias").sub_(model(inputs).median(0).values)
        labels = model(inputs).diff().flatten().gt(0).long()  # so that it is always right
    data = LabelledTensors(inputs, labels)
    result = analyze(model, data.at(slice(300)), data.at(slice(300, 500)))
    (finding,) = (f for f in result.diagnosis if f.kind is FindingKind.TOO_WIDE)
    assert "'blocks.1' (40 units in 'blocks.1.0')" in finding.evidence
