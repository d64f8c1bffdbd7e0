"""Models are left as they were, whatever their mode, precision or wrapper."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import designer
from designer.errors import InvalidInputError
from tests.pruning.blobs import DEPTH, QUICK, figures
from tests.pruning.cutting import output_of
from tests.support.trained import (
    Triple,
    blob_net,
    blob_parts,
    same_state,
    state_of,
    train_briefly,
)


@pytest.mark.parametrize("options", [{"max_drop": 0.05}, {"remove": 9}], ids=["prunes", "raises"])
def test_the_model_is_left_exactly_as_it_was(data: Triple, options: dict[str, Any]) -> None:
    model = train_briefly(blob_net(DEPTH), data[0]).train()
    model.get_submodule("blocks.1").eval()
    frozen = next(model.parameters())
    frozen.requires_grad = False
    model(data[0].inputs[:9]).sum().backward()
    calls: list[Any] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    modes = {name: part.training for name, part in model.named_modules()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    state, parameters = state_of(model), list(model.parameters())
    random, hooks = torch.get_rng_state(), dict(model._forward_hooks)
    try:
        designer.prune(
            model, data, criterion="ablation", narrower=True, baselines=True, **options, **QUICK
        )
    except InvalidInputError:
        assert "remove" in options
    assert same_state(model, state)
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert not frozen.requires_grad
    for now, then in zip(model.parameters(), grads, strict=True):
        assert (now.grad is None) == (then is None)
        assert then is None or (now.grad is not None and torch.equal(now.grad, then))
    assert torch.equal(torch.get_rng_state(), random)
    assert dict(model._forward_hooks) == hooks
    assert all(not part._forward_pre_hooks for part in model.modules())
    handle.remove()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_stays(model: nn.Module, data: Triple, kind: torch.dtype) -> None:
    other = train_briefly(blob_net(DEPTH), data[0]).to(kind)
    result = designer.prune(other, data, remove=1, **QUICK)
    assert {p.dtype for p in result.model.parameters()} == {kind}
    assert {p.dtype for p in other.parameters()} == {kind}
    assert figures(result.report)["original"].validation_accuracy.value > 0.9


DATA = blob_parts(400)


OPTIONS: dict[str, Any] = {"remove": 1, "epochs": 0, "criterion": "last"}


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return train_briefly(blob_net(4), DATA[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(trained: nn.Module, dtype: torch.dtype) -> None:
    model = copy.deepcopy(trained).to(dtype)
    before = state_of(model)
    smaller = designer.prune(model, DATA, **OPTIONS).model
    assert same_state(model, before)
    assert {t.dtype for t in smaller.parameters()} == {dtype}
    wanted = designer.prune(trained, DATA, **OPTIONS).model
    inputs = DATA[1].inputs
    ours, theirs = output_of(smaller, inputs.to(dtype)), output_of(wanted, inputs)
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.97


def test_two_models_do_not_disturb_each_other(trained: nn.Module) -> None:
    other = train_briefly(blob_net(3, 8, seed=1), DATA[0])
    before = state_of(trained), state_of(other)
    first = designer.prune(trained, DATA, **OPTIONS).model
    kept = state_of(first)
    second = designer.prune(other, DATA, **OPTIONS).model
    assert same_state(trained, before[0])
    assert same_state(other, before[1])
    assert same_state(first, kept)
    assert same_state(designer.prune(trained, DATA, **OPTIONS).model, kept)
    assert len(state_of(second)) < len(before[1])


def test_a_wrapper_is_looked_into(trained: nn.Module) -> None:
    smaller = designer.prune(nn.DataParallel(trained), DATA, **OPTIONS).model
    wanted = designer.prune(trained, DATA, **OPTIONS).model
    assert type(smaller) is type(trained)
    assert same_state(smaller, state_of(wanted))
