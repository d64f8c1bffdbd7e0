"""How much of a network its blocks hold: counted by hand, shown everywhere, and warned about."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.analysis.warnings import coverage_warnings
from designer.data.dataset import LabelledTensors
from designer.report.markdown import markdown_report
from designer.report.views.analysis import analysis_view
from designer.report.views.pruning import pruning_view
from designer.results.serialisation import report_to_json
from tests.support.helpers import gaussian_classes
from tests.support.networks import sequences, staged
from tests.support.networks.parts import chain, dense, head, linear, seeded, wired
from tests.support.trained import train_briefly

Pair = tuple[Tensor, Tensor]


def parts(n: int = 90) -> tuple[Pair, Pair]:
    """Training and held-out data of three classes."""
    x, y = gaussian_classes(2 * n, 6, 3, seed=1, dtype=torch.float32)
    return (x[:n], y[:n]), (x[n:], y[n:])


def wide_stem(width: int = 6) -> nn.Module:
    """Three blocks of 42 parameters behind layers of width ``width``; the head has 21."""
    return wired(
        "WideStem",
        lambda m, x: m.head(chain(m.blocks, m.back(m.stem(x)))),
        stem=linear(6, width),
        back=linear(width, 6),
        blocks=nn.ModuleList([dense() for _ in range(3)]),
        head=head(),
    )


def share(width: int) -> float:
    return 3 * 42 / (3 * 42 + 21 + 7 * width + 6 * width + 6)


def analyzed(model: nn.Module, **options: Any) -> designer.AnalysisResult:
    train, heldout = parts()
    return designer.analyze(
        seeded(lambda: model).eval(), train, heldout, resamples=0, contribution_samples=0, **options
    )


@pytest.mark.parametrize(("width", "warned"), [(4, False), (6, True), (60, True)])
def test_the_share_is_counted_and_a_low_one_warned_about(width: int, *, warned: bool) -> None:
    result = analyzed(wide_stem(width))
    assert result.model.coverage == pytest.approx(share(width))
    assert (share(width) < 0.6) == warned
    percent = f"{100 * share(width):.0f} %"
    assert f"The blocks hold {percent} of the parameters." in markdown_report(analysis_view(result))
    messages = [w.message for w in result.warnings if w.code == "low_coverage"]
    assert len(messages) == warned
    assert all(percent in message and "--blocks" in message for message in messages)


def test_who_names_the_blocks_is_not_warned() -> None:
    result = analyzed(wide_stem(60), blocks=["blocks.0", "blocks.1"])
    assert result.model.coverage == pytest.approx(share(60) * 2 / 3)
    assert "low_coverage" not in {warning.code for warning in result.warnings}


def test_parts_that_are_flowed_past_are_warned_about_unless_blocks_are_named() -> None:
    x = torch.randn(90, 5, 8, generator=torch.Generator().manual_seed(0))
    model = seeded(staged.two_scales).eval()
    for blocks, warned in ((None, True), (["fine.*", "coarse.*"], False)):
        result = designer.analyze(
            model, (x, torch.arange(90) % 3), blocks=blocks, resamples=0, contribution_samples=0
        )
        messages = [w.message for w in result.warnings if w.code == "bypassed_parts"]
        assert len(messages) == warned
        assert all("coarse.*" in message for message in messages)


def test_embeddings_are_left_out_and_named() -> None:
    tokens = torch.randint(0, 11, (90, 5), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(90) % 3
    model = seeded(lambda: sequences.language_model(tied=True)).eval()
    result = designer.analyze(
        model, (tokens, labels[:, None].expand(90, 5)), resamples=0, contribution_samples=0
    )
    assert result.model.embedding_parameters == 11 * 8 + 5 * 8
    layers = result.model.parameters - result.model.embedding_parameters
    assert result.model.coverage == pytest.approx((layers - 16) / layers)  # but for the last norm
    assert "% of the parameters outside of embeddings." in markdown_report(analysis_view(result))


def test_shared_blocks_count_once() -> None:
    block = dense()
    model = wired(
        "Thrice", lambda m, x: m.head(m.block(m.block(m.block(x)))), block=block, head=head()
    )
    assert analyzed(model).model.coverage == pytest.approx(42 / (42 + 21))


def test_pruning_and_comparison_and_the_file_tell_it_too() -> None:
    train, heldout = parts(300)
    model = train_briefly(seeded(lambda: wide_stem(60)), LabelledTensors(*train))
    report = designer.prune(model, (train, heldout), remove=1, epochs=0).report
    assert report.model.coverage == pytest.approx(share(60))
    text = markdown_report(pruning_view(report))
    assert f"The blocks hold {100 * share(60):.0f} % of the parameters." in text
    assert "low_coverage" in {warning.code for warning in report.warnings}
    assert json.loads(report_to_json(report))["model"]["coverage"] == pytest.approx(share(60))


def test_pruning_warns_of_parts_that_are_flowed_past_too() -> None:
    x = torch.randn(600, 5, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(600) % 3
    x[:, :, 0] += 3 * y[:, None]
    train, heldout = (x[:300], y[:300]), (x[300:], y[300:])
    model = train_briefly(seeded(staged.two_scales), LabelledTensors(*train))
    report = designer.prune(model, (train, heldout), remove=1, epochs=0).report
    assert "bypassed_parts" in {warning.code for warning in report.warnings}


@pytest.mark.parametrize(("coverage", "count"), [(None, 0), (0.6, 0), (0.599, 1), (0.0, 1)])
def test_from_where_on_there_is_a_warning(coverage: float | None, count: int) -> None:
    assert len(list(coverage_warnings("the model", coverage))) == count
