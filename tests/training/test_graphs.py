"""CUDA graphs: the same run as step by step where there is CUDA, and a refusal where there is not.

What a graph replays is simulated here, so that the order of steps is tested without a GPU, too.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.training import graphs, trainer
from designer.training.graphs import WARM_UP_STEPS, GraphedStep, make_capturable, set_learning_rate
from designer.training.trainer import Schedule, train
from tests.support.helpers import DEVICES, gaussian_classes

N, BATCH = 70, 16
"""Four full batches and a smaller one."""


class Replayed(GraphedStep):
    """A step on tensors of its own that is taken again at every replay, as a graph does."""

    def __init__(self, step: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        make_capturable(optimizer, device)
        self._step, self._optimizer, self._device = step, optimizer, device
        self._shape, self._warmed_up, self._graph = None, 0, None
        self._loss = torch.empty(0)
        self.replays = 0
        replayed.append(self)

    def _step_aside(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self._step(inputs, labels)

    def _recorded(self, inputs: Tensor, labels: Tensor) -> Any:
        self._inputs, self._labels = torch.empty_like(inputs), torch.empty_like(labels)
        return self

    def replay(self) -> None:
        """Take the step on what the tensors hold now."""
        self.replays += 1
        self._loss = self._step(self._inputs, self._labels)


replayed: list[Replayed] = []


def data_on(device: str) -> LabelledTensors:
    inputs, labels = gaussian_classes(N, 8, 3, dtype=torch.float32)
    return LabelledTensors(inputs, labels).to(torch.device(device))


def run(device: str, *, cuda_graphs: bool) -> tuple[tuple[float, ...], Tensor]:
    """Return the losses and the final state of a network with norms and dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(16, 3),
    ).to(device)
    history = train(
        model,
        data_on(device),
        epochs=6,
        learning_rate=1e-2,
        seed=0,
        schedule=Schedule.STEP,
        batch_size=BATCH,
        cuda_graphs=cuda_graphs,
    )
    state = torch.cat([tensor.double().flatten() for tensor in model.state_dict().values()])
    return history.losses, state


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_is_the_same_from_a_graph_or_refused(device: str) -> None:
    losses, state = run(device, cuda_graphs=False)
    if device == "cpu":
        with pytest.raises(InvalidInputError, match="CUDA device"):
            run(device, cuda_graphs=True)
        return
    graph_losses, graph_state = run(device, cuda_graphs=True)
    assert graph_losses == pytest.approx(losses, rel=1e-4)
    assert torch.allclose(graph_state, state, rtol=1e-3, atol=1e-5)


def test_replayed_steps_and_eager_ones_make_up_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses, state = run("cpu", cuda_graphs=False)
    monkeypatch.setattr(trainer, "GraphedStep", Replayed)
    replayed.clear()
    graph_losses, graph_state = run("cpu", cuda_graphs=True)
    assert replayed[0].replays == 6 * (N // BATCH) - WARM_UP_STEPS
    assert graph_losses == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(graph_state, state, rtol=1e-4, atol=1e-6)


def test_the_rate_changes_where_the_optimizer_keeps_it() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([weight], lr=0.5)
    make_capturable(optimizer, torch.device("cpu"))
    (group,) = optimizer.param_groups
    rate = group["lr"]
    set_learning_rate(optimizer, 0.25)
    assert group["lr"] is rate
    assert float(rate) == 0.25
    assert group["capturable"]


def test_an_optimizer_that_cannot_be_captured_is_refused() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    with pytest.raises(InvalidInputError, match="SGD"):
        make_capturable(optimizer, torch.device("cpu"))


@pytest.mark.parametrize(
    "data",
    [
        LabelledTensors({"a": torch.zeros(4, 2)}, torch.zeros(4, dtype=torch.long)),
        LabelledTensors(torch.zeros(4, 2), torch.zeros(4, 2, dtype=torch.long)),
    ],
)
def test_data_whose_step_depends_on_values_are_refused(data: LabelledTensors) -> None:
    with pytest.raises(InvalidInputError, match="single input"):
        graphs.check_graphable(data)
