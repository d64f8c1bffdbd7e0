"""Parts that a reader may take for blocks are named if part of the input flows past them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.analysis.warnings import bypass_warnings
from designer.probing.calling import Inputs
from designer.probing.probes import probing
from designer.results.measured import BypassedParts
from tests.support.networks import staged
from tests.support.networks.parts import IMAGES, SEQUENCES, VECTORS, seeded
from tests.support.networks.with_blocks import NETWORKS, blocks_of

BYPASSED = {"crossing", "handed through"}
"""Networks in which there are such parts."""


def bypassed(model: nn.Module, inputs: Inputs, names: list[str] | None = None) -> object:
    """Return the parts of a model that are no blocks because part of the input flows past them."""
    with probing(model, names) as probe:
        probe.features(inputs)
    return probe.bypassed


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - BYPASSED))
def test_other_networks_have_none(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    assert bypassed(seeded(make), inputs) is None


class MatrixHead(nn.Module):
    """A row of layers whose logits the network itself makes with a matrix, as for tied weights."""

    def __init__(self, *, residual: bool, head: bool = False) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(6, 6)) if residual else nn.Linear(6, 6) for _ in range(3)]
        self.layers = nn.ModuleList(layers)
        self.matrix = nn.Linear(6, 4)
        self.residual, self.head = residual, head

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x) if self.residual else layer(x).relu()
        return self.matrix(x) if self.head else x @ self.matrix.weight.T


def unseen_end(model: nn.Module, inputs: Inputs) -> str | None:
    with probing(model) as probe:
        probe.features(inputs)
    return probe.unseen_end


@pytest.mark.parametrize("residual", [False, True])
def test_a_last_part_that_no_module_follows_is_named(*, residual: bool) -> None:
    model, inputs = MatrixHead(residual=residual).eval(), torch.randn(60, 6)
    assert unseen_end(model, inputs) == "layers.2"
    report = designer.analyze(model, (inputs, torch.arange(60) % 4), resamples=0)
    assert any("'layers.2' is like the blocks" in warning.message for warning in report.warnings)
    assert unseen_end(MatrixHead(residual=residual, head=True), inputs) is None


def test_pruning_names_it_too() -> None:
    model = seeded(lambda: MatrixHead(residual=True)).eval()
    inputs = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
    labels = model(inputs).argmax(1)
    train, heldout = (inputs[:60], labels[:60]), (inputs[60:], labels[60:])
    report = designer.prune(model, (train, heldout), remove=1, epochs=0).report
    (warning,) = [w for w in report.warnings if w.code == "unseen_block"]
    assert "'layers.2'" in warning.message


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_other_networks_have_no_unseen_end(name: str) -> None:
    make, inputs, _ = NETWORKS[name]
    assert unseen_end(seeded(make), inputs) is None


def test_blocks_of_stages_that_some_channels_flow_past() -> None:
    parts = BypassedParts("Residual", 4, within_blocks=True, patterns=("stages.*.blocks.*",))
    model = seeded(staged.crossing)
    assert bypassed(model, IMAGES) == parts
    [warning] = bypass_warnings(parts)
    assert warning.code == "bypassed_parts"
    assert warning.message == (
        "Part of the input flows past 4 parts of class Residual within the blocks, so each "
        "block is judged as a whole: to judge each part, name them with --blocks "
        '"stages.*.blocks.*".'
    )


def test_the_names_in_the_warning_name_the_parts_and_end_it() -> None:
    model = seeded(staged.crossing)
    with probing(model, ["stages.*.blocks.*"]) as probe:
        probe.features(IMAGES)
    assert list(probe.names) == [f"stages.{i}.blocks.{j}" for i in range(2) for j in range(2)]
    assert probe.bypassed is None


def test_stages_that_hold_most_weights_themselves_are_blocks() -> None:
    # a stage has 576 weights in its blocks, 64 or 576 in its other convolutions; more lie elsewhere
    assert bypassed(seeded(lambda: staged.crossing(1)), IMAGES) is not None
    assert bypassed(seeded(lambda: staged.crossing(3)), IMAGES) is None


def test_blocks_beside_others_of_their_class() -> None:
    parts = BypassedParts("Block", 2, within_blocks=False, patterns=("coarse.*",))
    assert bypassed(seeded(staged.two_scales), SEQUENCES) == parts
    [warning] = bypass_warnings(parts)
    assert 'flows past 2 parts of class Block, such as "coarse.*"' in warning.message
    assert "--blocks" in warning.message
    assert not list(bypass_warnings(None))


def test_what_is_handed_through_a_block_is_not_looked_at() -> None:
    model = seeded(staged.two_scales)
    with probing(model) as probe:
        features = probe.features(SEQUENCES)
    assert [tuple(rows.shape) for rows in features[-2:]] == [(7, 3, 8)] * 2
    assert not torch.equal(*features[-2:])


def test_the_tensor_with_a_row_for_each_sample_is_looked_at() -> None:
    model = seeded(staged.parts_of_patches)
    with probing(model, entry=True) as probe:
        features = probe.features(IMAGES)
    assert probe.enters
    assert [tuple(rows.shape) for rows in features] == [(7, 4, 8)] * 4


def test_branches_that_all_receive_the_same_are_no_blocks_each() -> None:
    # they have one place behind them all, called after the last
    assert blocks_of(seeded(staged.asked_at_once), VECTORS) == ["stem", "branches.1"]
