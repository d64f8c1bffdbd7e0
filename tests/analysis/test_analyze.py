"""Looking inside models of several kinds: right blocks, right order, right numbers, no trace."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer import AnalysisResult, analyze, load_dataset, separation_fuzziness
from designer.analysis.analyze import list_candidates
from designer.data.dataset import Dataset, LabelledTensors
from designer.errors import InvalidInputError, ModelError
from designer.measures.law import tunnel_entrance
from designer.measures.separation import cross_fitted_separation
from designer.report.markdown import markdown_report
from designer.report.views.analysis import analysis_view
from designer.results.diagnosis import FindingKind
from designer.results.measured import Verdict
from designer.training.trainer import accuracy, build_seeded, train
from tests.support.helpers import labelled, values_of_steps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", train_size=600)


class Residual(nn.Module):
    """A basic block (He et al., CVPR 2016); the same activation, in place, runs twice."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        summed: Tensor = self.relu(out + self.downsample(x))
        return summed


class ResidualNet(nn.Module):
    """Stem, three stages, mean over positions, head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Residual(8, 8, 1), Residual(8, 8, 1))
        self.layer2 = nn.Sequential(Residual(8, 16, 2), Residual(16, 16, 1))
        self.layer3 = nn.Sequential(Residual(16, 24, 2))
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Shared(nn.Module):
    """One block that runs three times, and a dict as output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 24)
        self.block = nn.Sequential(nn.Linear(24, 24), nn.Tanh())
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x.flatten(1))
        for _ in range(3):
            x = self.block(x)
        return {"hidden": x, "logits": self.head(x)}


def perceptron() -> nn.Module:
    """Layers one after the other, with normalisation and dropout."""
    widths = (64, 32, 32, 32)
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(3):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.BatchNorm1d(widths[i + 1]), nn.ReLU()]
        layers.append(nn.Dropout(0.1))
    return nn.Sequential(*layers, nn.Linear(32, 10))


def encoder() -> nn.Module:
    """What torch itself calls a transformer encoder; tokens are rows of the image."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 3)


def outputs_by_hand(model: nn.Module, names: Sequence[str], inputs: Tensor) -> list[Tensor]:
    """What submodules gave, each time they ran, in a plain forward pass in eval mode."""
    outputs: list[Tensor] = []
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, output: outputs.append(output.detach().clone())
        )
        for name in names
    ]
    modes = [module.training for module in model.modules()]
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return [inputs, *outputs]


def assert_separation_by_hand(
    result: AnalysisResult,
    model: nn.Module,
    names: Sequence[str],
    data: LabelledTensors,
    heldout: LabelledTensors,
) -> None:
    """D on training and held-out data as computed from outputs taken by hand, to 1e-9."""
    features = outputs_by_hand(model, names, data.inputs)
    held = outputs_by_hand(model, names, heldout.inputs)
    assert len(result.layers) == len(features) - 1
    assert result.input is not None
    separations = [result.input.separation, *(layer.separation for layer in result.layers)]
    heldout_separations = [
        result.input.separation_heldout,
        *(layer.separation_heldout for layer in result.layers),
    ]
    for i, (x, x_held) in enumerate(zip(features, held, strict=True)):
        by_hand = separation_fuzziness(x, data.labels).value
        assert separations[i] == pytest.approx(by_hand, rel=1e-9)
        crossed = cross_fitted_separation(x, data.labels, x_held, heldout.labels).value
        assert heldout_separations[i] == pytest.approx(crossed, rel=1e-9)


def state_of(model: nn.Module) -> dict[str, object]:
    """All that looking inside must not change, as comparable values."""
    return {
        "modes": [m.training for m in model.modules()],
        "tensors": {k: v.tolist() for k, v in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "wanted": [p.requires_grad for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "random": torch.get_rng_state().tolist(),
    }


def test_a_perceptron_trained_on_digits(digits: Dataset) -> None:
    model = build_seeded(perceptron, 0, CPU)
    train(model, digits.train, epochs=15, learning_rate=3e-3, seed=0)
    before = state_of(model)
    result = analyze(model, digits.train, digits.test)
    assert state_of(model) == before
    names = ["3", "7", "11"]  # behind each activation; the head is left out
    assert [layer.name for layer in result.layers] == names
    assert_separation_by_hand(result, model, names, digits.train, digits.test)
    assert result.model.accuracy == accuracy(model, digits.train)
    assert result.model.accuracy_heldout == accuracy(model, digits.test)
    assert result.law.total_reduction == pytest.approx(
        np.log(result.input.separation) - np.log(result.layers[-1].separation)  # type: ignore[arg-type]
    )
    assert result.stages == ()
    assert "model_at_chance" not in {w.code for w in result.warnings}
    assert not result.diagnosis


def test_a_residual_net_trained_on_images(fashion: Dataset) -> None:
    model = build_seeded(ResidualNet, 0, CPU)
    train(model, fashion.train, epochs=3, learning_rate=3e-3, seed=0)
    before = state_of(model)
    result = analyze(model, fashion.train, fashion.test, batch_size=100)
    assert state_of(model) == before
    names = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0"]
    assert [layer.name for layer in result.layers] == names
    assert {layer.kind for layer in result.layers} == {"Residual"}
    assert_separation_by_hand(result, model, names, fashion.train, fashion.test)
    assert [stage.name for stage in result.stages] == ["layer1", "layer2", "layer3"]
    assert [stage.blocks for stage in result.stages] == [
        tuple(names[:2]),
        tuple(names[2:4]),
        tuple(names[4:]),
    ]
    reductions = [stage.law.total_reduction for stage in result.stages]
    assert sum(filter(None, reductions)) == pytest.approx(result.law.total_reduction)


@pytest.fixture(scope="module")
def fashion() -> Dataset:
    """Images with more structure than noise: digits, doubled in size."""
    return load_dataset("digits", train_size=300, image_size=12)


def test_torchs_own_transformer_encoder(digits: Dataset) -> None:
    model = build_seeded(encoder, 0, CPU)
    rows = LabelledTensors(digits.train.inputs[:, 0], digits.train.labels)
    held = LabelledTensors(digits.test.inputs[:, 0], digits.test.labels)
    before = state_of(model)
    result = analyze(model, rows, held)
    assert state_of(model) == before
    names = ["layers.0", "layers.1", "layers.2"]
    assert [layer.name for layer in result.layers] == names
    assert_separation_by_hand(result, model, names, rows, held)
    assert result.model.accuracy is None  # it gives no logits


def test_a_block_that_runs_three_times_and_a_dict(digits: Dataset) -> None:
    model = build_seeded(Shared, 0, CPU)
    before = state_of(model)
    result = analyze(model, digits.train, digits.test)
    assert state_of(model) == before
    assert [layer.name for layer in result.layers] == ["block#1", "block#2", "block#3"]
    assert_separation_by_hand(result, model, ["block"], digits.train, digits.test)
    assert result.model.accuracy == pytest.approx(
        float((model(digits.train.inputs)["logits"].argmax(1) == digits.train.labels).sum())
        / len(digits.train)
    )


# --- what it says ---


def test_an_untrained_model_is_called_so(digits: Dataset) -> None:
    result = analyze(build_seeded(perceptron, 0, CPU), digits.train, digits.test)
    (message,) = (w.message for w in result.warnings if w.code == "model_at_chance")
    assert "--weights" in message
    assert "as in its training (--scaling)" in message


def test_memorised_labels_are_called_so() -> None:
    noise = torch.randn(120, 30, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(120) % 3
    data = LabelledTensors(noise[:60], labels[:60])
    model = build_seeded(
        lambda: nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 3)), 0, CPU
    )
    train(model, data, epochs=200, learning_rate=1e-2, seed=0)
    result = analyze(model, data, (noise[60:], labels[60:]))
    assert result.model.accuracy == 1
    assert FindingKind.MEMORISING in {finding.kind for finding in result.diagnosis}


def test_heldout_samples_that_were_trained_on_are_counted() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    data = labelled(90)
    result = analyze(model, data, (data.inputs[:30], data.labels[:30]))
    (message,) = (w.message for w in result.warnings if w.code == "leaked_held_out")
    assert message.startswith("30 of 30 held-out samples (100.0 %) also stand in the training data")
    other = analyze(model, data, labelled(30, seed=1))
    assert "leaked_held_out" not in {w.code for w in other.warnings}


def test_without_heldout_data_there_is_no_tunnel_and_a_warning() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    result = analyze(model, labelled(90))
    assert result.tunnel is None
    assert result.law_heldout is None
    assert "no_heldout_data" in {w.code for w in result.warnings}


def rotation(seed: int) -> nn.Sequential:
    """A block that only rotates six features, so that it separates nothing."""
    linear = nn.Linear(6, 6, bias=False)
    noise = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.qr(noise)[0])
    return nn.Sequential(linear, nn.Identity())


def test_a_tunnel_is_found_where_blocks_only_rotate() -> None:
    data, heldout = labelled(300, 6, 4), labelled(100, 6, 4, seed=0)
    model = nn.Sequential(*(rotation(seed) for seed in range(4)), nn.Linear(6, 4))
    result = analyze(model, data, heldout)
    assert result.tunnel is not None
    assert result.tunnel.entrance == "input"
    assert result.tunnel.blocks == ("0", "1", "2", "3")
    assert "4 blocks" in result.tunnel.reason
    assert "the last 4 separate held-out data no further" in analysis_view(result).headline


@pytest.mark.parametrize(
    ("g", "entrance"),
    [
        ([1.0, 1.0, 1.0], 3),
        ([1.0, 1.0, 0.0], 2),
        ([1.0, 0.0, 0.0], 1),
        ([1.0, 0.0, 1.0], 3),
        ([1.0, -0.5, 0.3], 1),
        ([1.0, 0.01, 0.01], 1),
        ([0.0, 0.0, 0.0], 0),
        ([-1.0, -1.0], 0),
    ],
)
def test_the_tunnel_begins_where_nothing_improves_any_more(g: list[float], entrance: int) -> None:
    values = values_of_steps(g)
    assert tunnel_entrance(values, np.empty((0, len(values)))) == entrance
    assert tunnel_entrance(values, np.tile(values, (50, 1))) == entrance


def test_an_improvement_that_is_not_sure_is_none() -> None:
    values = values_of_steps([1.0, 0.1])
    noise = np.random.default_rng(0).normal(size=(200, 3))
    assert tunnel_entrance(values, values * np.exp(0.01 * noise)) == 2
    assert tunnel_entrance(values, values * np.exp(0.2 * noise)) == 1


def test_the_residual_serves_real_targets() -> None:
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    target = inputs[:, :2].relu().sum(1)
    model = build_seeded(
        lambda: nn.Sequential(
            nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 1)
        ),
        0,
        CPU,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = nn.functional.mse_loss(model(inputs[:150])[:, 0], target[:150])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    result = analyze(
        model, (inputs[:150], target[:150]), (inputs[150:], target[150:]), measure="residual"
    )
    assert result.measure == "residual"
    assert all(layer.step is not None and layer.step > 0 for layer in result.layers)
    assert result.model.accuracy is None
    assert Verdict.DEGENERATE not in {layer.verdict for layer in result.layers}
    assert "prediction residual" in markdown_report(analysis_view(result))


# --- what cannot be looked at ---


class Raises(nn.Module):
    """Cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.head(self.block(x))
        raise ValueError("broken on purpose\nwith details")


def test_a_model_that_raises_is_one_sentence_and_no_hooks() -> None:
    model = Raises()
    before = state_of(model)
    with pytest.raises(ModelError, match=r"Expected Raises .*\(n, 5\).* broken on purpose\.$"):
        analyze(model, labelled(30))
    assert state_of(model) == before
    with pytest.raises(ModelError, match="broken on purpose"):
        list_candidates(model, labelled(30))
    assert state_of(model) == before


def test_inputs_of_another_shape_are_named() -> None:
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(ModelError, match=r"inputs of shape \(n, 5\).*RuntimeError"):
        analyze(model, labelled(30))


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="found none in Linear"):
        analyze(nn.Linear(5, 3), labelled(30))


def test_labels_outside_of_the_models_classes_are_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(InvalidInputError, match=r"Expected labels below 2, .* got 2"):
        analyze(model, labelled(30, classes=3))


# --- what cannot be judged ---


class Spoils(nn.Module):
    """Turns some of what it receives into something else."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.linear, self.value = nn.Linear(5, 6), value

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x).relu()
        return torch.cat([y[:, :5], torch.full_like(y[:, 5:], self.value)], dim=1)


def test_nan_is_said_to_be_nan() -> None:
    blocks = [nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2)]
    model = nn.Sequential(Spoils(float("nan")), *blocks, nn.Linear(6, 3))
    result = analyze(model, labelled(60), labelled(30, seed=1))
    (message,) = (w.message for w in result.warnings if w.code == "non_finite")
    assert message.startswith("On training data the features contain NaN or infinity from '0' on")
    assert all(layer.verdict is Verdict.DEGENERATE for layer in result.layers)
    assert all("NaN" in layer.advice for layer in result.layers)
    assert all(layer.nearest_class_mean_accuracy is None for layer in result.layers)


def tanh_net(*dims: int) -> nn.Sequential:
    """Blocks between these widths, and a head."""
    *hidden, (last, classes) = pairwise(dims)
    blocks = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in hidden]
    return nn.Sequential(*blocks, nn.Linear(last, classes))


def test_one_sample_per_class_has_no_scatter() -> None:
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    data, model = LabelledTensors(inputs, torch.arange(4)), tanh_net(5, 5, 5, 4)
    layers = analyze(model, data).layers
    assert all("no scatter within the classes" in layer.advice for layer in layers)


def test_a_block_that_does_nothing_is_idle() -> None:
    idle = nn.Linear(6, 6).requires_grad_(requires_grad=False)
    idle.weight.copy_(torch.eye(6))
    idle.bias.zero_()
    data, heldout = labelled(300, 6, 4), labelled(300, 6, 4, seed=0)
    first, second, head = build_seeded(lambda: tanh_net(6, 6, 6, 4), 0, CPU).children()
    model = nn.Sequential(first, idle, second, head)
    train(model, data, epochs=150, learning_rate=1e-2, seed=0)
    result = analyze(model, data, heldout, ["0", "1", "2"])
    assert not result.diagnosis
    block, names = result.layers[1], ["0", "1", "2"]
    assert block.verdict is Verdict.IDLE
    assert block.advice == (
        "remove: with a linear map in its place cross-entropy changes by 0.00 (0.00 to 0.00) nats "
        "and accuracy by 0.0 (-0.9 to 0.9) points; removing it would save at most 42 parameters "
        f"({4200 / 154:.1f} %)"
    )
    assert (block.parameters, result.model.parameters) == (42, 154)
    by_steps = analyze(model, data, heldout, names, contribution_samples=0).layers[1]
    assert by_steps.verdict in {Verdict.LOW, Verdict.UNCERTAIN}
    assert (by_steps.contribution, by_steps.contribution_reason) == (None, "It was not asked for.")
    few = analyze(model, data, heldout.at(slice(40)), names)
    assert few.layers[1].verdict is not Verdict.IDLE  # some samples in a hundred may need it
    assert not any("1" in w.message for w in result.warnings if w.code == "non_monotone")
    assert "-0.00 to" not in markdown_report(analysis_view(result))


def test_chance_on_training_data_is_that_of_training_data() -> None:
    data = labelled(120, 6, 3)
    model = nn.Sequential(
        *(
            nn.Sequential(nn.Linear(6, 9), nn.ReLU())
            if i == 0
            else nn.Sequential(nn.Linear(9, 9), nn.ReLU())
            for i in range(2)
        ),
        nn.Linear(9, 3),
    )
    train(model, data, epochs=60, learning_rate=1e-2, seed=0)
    first_class = data.labels == 0  # held out is a single class, of which chance is 1
    lopsided = LabelledTensors(data.inputs[first_class], data.labels[first_class])
    codes = {w.code for w in analyze(model, data, lopsided).warnings}
    assert "model_at_chance" not in codes


def test_pooling_is_blamed_for_directions_that_it_hides(digits: Dataset) -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(384, 10),
    )
    pooled = analyze(model, digits.train, features="pool").layers[-1]
    assert (pooled.rank, pooled.full_rank) == (6, 9)
    assert pooled.advice.startswith("measure again: pooled")


def test_equal_pieces_of_advice_are_said_once() -> None:
    model = nn.Sequential(*(rotation(seed) for seed in range(6)), nn.Linear(6, 4))
    lines = markdown_report(analysis_view(analyze(model, labelled(300, 6, 4)))).splitlines()
    assert sum("0, 1, 2, 3, 4, 5" in line for line in lines) <= 1
    assert (
        len([line for line in lines if line.startswith("- Measure ") and " again: " in line]) == 1
    )
