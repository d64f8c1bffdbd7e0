"""Receptive fields from sizes alone: equal to what gradients reach, and silent where not exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.claims.convolution_fields import ConvolutionField, convolution_fields
from benchmarks.claims.pretrained_resnets import CifarResnet
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec


def by_name(model: nn.Module, shape: tuple[int, ...]) -> dict[str, ConvolutionField]:
    return {field.name: field for field in convolution_fields(model, torch.zeros(2, *shape))}


def reached(model: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return height and width of the pixels that a feature at the centre depends on."""
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)  # positive, so that nothing cancels or is cut off
    outputs: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    model.double().eval()(image)
    handle.remove()
    output = outputs[0]
    (gradient,) = torch.autograd.grad(
        output[0, 0, output.shape[2] // 2, output.shape[3] // 2], image
    )
    rows, columns = torch.nonzero(gradient[0].sum(0), as_tuple=True)
    return float(rows.max() - rows.min()) + 1, float(columns.max() - columns.min()) + 1


class Odd(nn.Module):
    """Strides, dilation, uneven kernels, two kinds of pooling and paths of different length."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, (3, 5), padding=(1, 2))
        self.strided = nn.Conv2d(2, 2, 3, stride=(2, 1), padding=1)
        self.dilated = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
        self.beside = nn.Conv2d(2, 2, 1)
        self.last = nn.Conv2d(4, 2, 3)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.strided(functional.relu(self.first(x))))
        x = torch.cat([self.dilated(x), self.beside(x)], dim=1)
        x = functional.avg_pool2d(x, (3, 2), stride=2)
        logits: Tensor = self.head(self.last(x)[:, :, ::2].mean((2, 3)))
        return logits


@pytest.mark.parametrize("name", ["first", "strided", "dilated", "beside", "last"])
def test_the_largest_field_is_what_gradients_reach(name: str) -> None:
    shape = (1, 48, 48)
    assert by_name(Odd(), shape)[name].gives.largest == reached(Odd(), name, shape)


@pytest.mark.parametrize("name", ["layer2.1.conv1", "layer3.2.conv2"])
def test_a_resnet_sees_what_gradients_reach(name: str) -> None:
    shape = (3, 97, 97)
    field = by_name(CifarResnet(3), shape)[name]
    assert field.gives.largest == reached(CifarResnet(3), name, shape)
    assert field.gives.smallest <= field.gives.largest


def test_shortcuts_keep_small_fields() -> None:
    fields = by_name(CifarResnet(3), (3, 32, 32))
    assert len(fields) == 19
    assert fields["layer3.2.conv2"].gives.largest == (81.0, 81.0)
    assert fields["layer3.2.conv1"].received.smallest == (3.0, 3.0)
    assert not any(field.nothing_new_at_centre for field in fields.values())


def test_a_plain_network_outgrows_its_images() -> None:
    model = CnnSpace().build(CnnSpec((3, 4), (4, 4), "batch", 1e-3), (1, 10, 10), 10)
    fields = by_name(model, (1, 10, 10))
    sizes = [field.received.smallest[0] for field in fields.values()]
    assert sizes == [1, 3, 5, 8, 12, 16, 20]
    assert [f.nothing_new_at_centre for f in fields.values()] == [size >= 10 for size in sizes]
    assert [f.nothing_new_anywhere for f in fields.values()] == [size >= 19 for size in sizes]
    larger = by_name(model, (1, 28, 28))
    assert not any(field.nothing_new_at_centre for field in larger.values())


@pytest.mark.parametrize(
    "between",
    [
        nn.GroupNorm(1, 4),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(2),
        nn.ConvTranspose2d(4, 4, 2, stride=2),
    ],
)
def test_what_is_not_exact_is_left_out(between: nn.Module) -> None:
    convolutions = [nn.Conv2d(1, 4, 3), between, nn.Conv2d(4, 4, 1)]
    model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert list(by_name(model, (1, 8, 8))) == ["0"]


def test_convolutions_of_one_pixel_widen_nothing() -> None:
    layers = [nn.Conv2d(1, 4, 9, padding=4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)]
    fields = by_name(nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 2)), (1, 8, 8))
    assert [field.nothing_new_at_centre for field in fields.values()] == [False, False, True]


def test_other_networks_have_none_and_nothing_is_changed() -> None:
    perceptron = MlpSpace().build(MlpSpec((8,), "batch", "relu", 1e-3), (1, 8, 8), 3)
    assert by_name(perceptron, (1, 8, 8)) == {}
    model = CifarResnet(3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert by_name(model, (3, 16, 16))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
