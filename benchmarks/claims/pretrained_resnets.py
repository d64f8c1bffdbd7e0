"""The ResNets of He et al. (CVPR 2016) for CIFAR-10, with weights that others trained.

The weights and their names are those of akamaster/pytorch_resnet_cifar10: ``conv1``, ``bn1``,
``layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}`` and ``linear``.  The widths are 16, 32 and 64.  The first
blocks of the stages 2 and 3 halve the image; what flows past them is every second pixel, and zeros
in the channels that are new.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import Array, LabelledTensors
from designer.errors import InvalidInputError
from designer.pruning.splits import Splits

BLOCKS_PER_STAGE = {"ResNet-20": 3, "ResNet-56": 9}
"""Blocks in each of the three stages, by the name of the network."""

WIDTHS = (16, 32, 64)

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The networks take (x / 255 - mean) / sd, per channel."""

TRAIN, ALL, HELDOUT = 4000, 8000, 2000
"""Images of the training part that layers are fitted and trained on, and that choices are made
with; the two share no image."""


class BasicBlock(nn.Module):
    """Computes ``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self._stride, self._padding = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, outputs, ...); stride 2 halves the image."""
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self._stride > 1:
            shortcut = x[:, :, :: self._stride, :: self._stride]
            x = functional.pad(shortcut, (0, 0, 0, 0, self._padding, self._padding))
        return functional.relu(residual + x)


class CifarResnet(nn.Module):
    """A convolution, three stages of blocks, average pooling and a linear head."""

    def __init__(self, blocks_per_stage: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        before, *later = WIDTHS
        self.layer1 = _stage(before, before, blocks_per_stage, 1)
        self.layer2 = _stage(before, later[0], blocks_per_stage, 2)
        self.layer3 = _stage(later[0], later[1], blocks_per_stage, 2)
        self.linear = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 3, height, width) to logits (n, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, depth: int, stride: int) -> nn.Sequential:
    rest = (BasicBlock(outputs, outputs, 1) for _ in range(depth - 1))
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def pretrained_resnet(name: str, folder: Path) -> CifarResnet:
    """Return a network of ``BLOCKS_PER_STAGE`` with its weights, in eval mode.

    Args:
        name: the name of the network, such as ``ResNet-56``.
        folder: where ``resnet56_cifar10.safetensors`` and the like are.

    Raises:
        InvalidInputError: if there are no such weights.
    """
    path = folder / f"{name.lower().replace('-', '')}_cifar10.safetensors"
    if not path.is_file():
        raise InvalidInputError(f"Expected the weights of {name} in '{path}', got no such file.")
    model = CifarResnet(BLOCKS_PER_STAGE[name])
    model.load_state_dict(load_file(path))
    return model.eval()


def cifar_splits(source: Path, images: int = TRAIN, seed: int = 0) -> Splits:
    """Return training, held-out and test images, scaled as the networks take them.

    Training and held-out images are drawn from the training part of the file, and the test images
    are its whole test part.

    Args:
        source: an archive with ``x_train``, ``y_train``, ``x_test`` and ``y_test``; images are
            (n, height, width, 3) of bytes.
        images: how many to train on.
        seed: seed of the draw.
    """
    with np.load(source) as arrays:
        drawn, labels = arrays["x_train"], arrays["y_train"].ravel()
        test = _scaled(arrays["x_test"], arrays["y_test"].ravel())
    order = np.random.default_rng(seed).permutation(len(labels))
    train, heldout = order[:images], order[images : images + HELDOUT]
    return Splits(
        "CIFAR-10",
        _scaled(drawn[train], labels[train]),
        _scaled(drawn[heldout], labels[heldout]),
        test,
    )


def _scaled(images: Array, labels: Array) -> LabelledTensors:
    mean, sd = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SD))
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / sd
    return LabelledTensors(inputs.contiguous(), torch.from_numpy(labels.astype(np.int64)))
