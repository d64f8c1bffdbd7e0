"""Parameters and operations are counted by hand, whatever a network hands to its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.models.size import size_of_model
from tests.support.networks.parts import SEQUENCES, VECTORS, head, linear, wired


def with_token() -> nn.Module:
    """A network that hands a view of a parameter to a part, as class tokens are handed on."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(x + m.layer(m.token[0].expand(len(x), -1)))
        return logits

    model = wired("WithToken", wiring, layer=linear(), head=head())
    model.register_parameter("token", nn.Parameter(torch.ones(1, 6)))
    return model


@pytest.mark.parametrize("samples", [1, 3])
def test_a_view_of_a_parameter_that_is_handed_to_a_part(samples: int) -> None:
    model = with_token().requires_grad_()
    model.get_submodule("head").requires_grad_(requires_grad=False)
    size = size_of_model(model, VECTORS[:samples])
    assert size.parameters == 6 + (36 + 6) + (18 + 3)
    assert size.flops == 2 * samples * (36 + 18)
    required = [name for name, p in model.named_parameters() if p.requires_grad]
    assert required == ["token", "layer.weight", "layer.bias"]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind: Any, gates: int) -> None:
    model = wired("Last", lambda m, x: m.layers(x)[0], layers=kind(8, 6, 2, batch_first=True))
    per_step = gates * 6 * ((8 + 6) + (6 + 6))
    assert size_of_model(model.eval(), SEQUENCES).flops == 2 * SEQUENCES[..., 0].numel() * per_step


def test_what_a_model_raises_leaves_its_parameters_as_they_were() -> None:
    model = with_token()
    with pytest.raises(Exception, match="shape"):
        size_of_model(model, torch.ones(2, 5))
    assert all(p.requires_grad for p in model.parameters())
