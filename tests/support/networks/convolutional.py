"""Convolutional networks after published ones; see ``parts`` for their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from tests.support.networks.parts import conv, head, linear, norm, wired


def vgg() -> nn.Module:
    """A small VGG (Simonyan & Zisserman, ICLR 2015): two rows of layers."""

    def layer(inputs: int) -> list[nn.Module]:
        return [conv(inputs), norm(), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

    return wired(
        "Vgg",
        lambda m, x: m.classifier(torch.flatten(m.pool(m.features(x)), 1)),
        features=nn.Sequential(*layer(3), *layer(4)),
        pool=nn.AdaptiveAvgPool2d(1),
        classifier=nn.Sequential(linear(4), nn.ReLU(inplace=True), nn.Dropout(), head()),
    )


def lenet() -> nn.Module:
    """A LeNet with layers as attributes, and everything else as functions."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(m.conv1(x)), 2)
        x = F.adaptive_avg_pool2d(F.relu(m.conv2(x)), 2)
        x = F.relu(m.fc1(x.view(-1, 16)))
        return F.log_softmax(m.fc2(x), dim=1)

    return wired("LeNet", wiring, conv1=conv(3), conv2=conv(), fc1=linear(16), fc2=head())


def residual(inputs: int = 4, outputs: int = 4, stride: int = 1) -> nn.Module:
    """A basic block (He et al., CVPR 2016); one activation, in place, runs twice."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        out = m.bn2(m.conv2(m.relu(m.bn1(m.conv1(x)))))
        summed: Tensor = m.relu(out + m.downsample(x))
        return summed

    shortcut: nn.Module = nn.Sequential()
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(conv(inputs, outputs, stride, 1), norm(outputs))
    return wired(
        "Residual",
        wiring,
        conv1=conv(inputs, outputs, stride),
        bn1=norm(outputs),
        conv2=conv(outputs, outputs),
        bn2=norm(outputs),
        relu=nn.ReLU(inplace=True),
        downsample=shortcut,
    )


def preactivated(inputs: int = 4, outputs: int = 4, stride: int = 1) -> nn.Module:
    """Norm and activation first, a bare sum last (He et al., ECCV 2016)."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        out = F.relu(m.bn1(x))
        summed: Tensor = m.conv2(F.relu(m.bn2(m.conv1(out)))) + m.shortcut(out)
        return summed

    return wired(
        "Preactivated",
        wiring,
        bn1=norm(inputs),
        conv1=conv(inputs, outputs, stride),
        bn2=norm(outputs),
        conv2=conv(outputs, outputs),
        shortcut=conv(inputs, outputs, stride, 1),
    )


def residual_net(
    block: Callable[..., nn.Module] = residual, channels: int = 3, classes: int = 3
) -> nn.Module:
    """A residual network: stem, three stages, mean over positions, head."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.relu(m.bn1(m.conv1(x)))
        logits: Tensor = m.fc(m.layer3(m.layer2(m.layer1(x))).mean((2, 3)))
        return logits

    return wired(
        "ResidualNet",
        wiring,
        conv1=conv(channels),
        bn1=norm(),
        relu=nn.ReLU(inplace=True),
        layer1=nn.Sequential(block(), block()),
        layer2=nn.Sequential(block(4, 6, 2), block(6, 6)),
        layer3=nn.Sequential(block(6, 8, 2)),
        fc=nn.Linear(8, classes),
    )


def branches() -> nn.Module:
    """Residual branches whose sums lie outside of any module."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for block in m.blocks:
            x = x + block(x)
        logits: Tensor = m.head(x.mean((2, 3)))
        return logits

    blocks = [nn.Sequential(norm(), nn.ReLU(), conv()) for _ in range(3)]
    return wired("Branches", wiring, stem=conv(3), blocks=nn.ModuleList(blocks), head=head(4))


def inverted_net() -> nn.Module:
    """A small MobileNetV2 (Sandler et al., CVPR 2018).

    Some of its blocks have no shortcut, and are rows of parts themselves.
    """

    def activated(*layers: nn.Module) -> nn.Sequential:
        return nn.Sequential(*layers, nn.ReLU6(inplace=True))

    def inverted(inputs: int, outputs: int, stride: int) -> nn.Module:
        depthwise = nn.Conv2d(8, 8, 3, stride, 1, groups=8)
        parts = nn.Sequential(
            activated(conv(inputs, 8, 1, 1), norm(8)),
            activated(depthwise, norm(8)),
            conv(8, outputs, 1, 1),
            norm(outputs),
        )
        adds = stride == 1 and inputs == outputs
        return wired("Inverted", lambda m, x: x + m.conv(x) if adds else m.conv(x), conv=parts)

    return wired(
        "InvertedNet",
        lambda m, x: m.classifier(m.features(x).mean((2, 3))),
        features=nn.Sequential(
            activated(conv(3), norm()), inverted(4, 4, 1), inverted(4, 6, 2), inverted(6, 6, 1)
        ),
        classifier=nn.Sequential(nn.Dropout(0.2), head(6)),
    )


def dense_net() -> nn.Module:
    """A small DenseNet (Huang et al., CVPR 2017) as in torchvision: each layer receives a list."""

    def layer(inputs: int) -> nn.Module:
        return wired(
            "DenseLayer",
            lambda m, maps: m.conv2(F.relu(m.norm2(m.conv1(F.relu(m.norm1(torch.cat(maps, 1))))))),
            norm1=norm(inputs),
            conv1=conv(inputs, 4, 1, 1),
            norm2=norm(),
            conv2=conv(4, 2),
        )

    def block() -> nn.Module:
        def wiring(m: Any, x: Tensor) -> Tensor:
            maps = [x]
            for part in m.children():
                maps.append(part(maps))
            return torch.cat(maps, dim=1)

        return wired("DenseBlock", wiring, layer1=layer(4), layer2=layer(6), layer3=layer(8))

    def transition() -> nn.Module:
        return nn.Sequential(norm(10), nn.ReLU(), conv(10, 4, 1, 1), nn.AvgPool2d(2))

    return wired(
        "DenseNet",
        lambda m, x: m.head(
            F.relu(m.norm(m.dense2(m.transition(m.dense1(m.stem(x)))))).mean((2, 3))
        ),
        stem=conv(3),
        dense1=block(),
        transition=transition(),
        dense2=block(),
        norm=norm(10),
        head=head(10),
    )


def concatenating() -> nn.Module:
    """A DenseNet whose layers hand on all that they received, beside what they add."""

    def layer(inputs: int) -> nn.Module:
        return wired(
            "Concatenating",
            lambda m, x: torch.cat([x, m.conv(F.relu(m.norm(x)))], dim=1),
            norm=norm(inputs),
            conv=conv(inputs, 2),
        )

    return wired(
        "ConcatenatingNet",
        lambda m, x: m.head(m.layers(m.stem(x)).mean((2, 3))),
        stem=conv(3),
        layers=nn.Sequential(layer(4), layer(6), layer(8)),
        head=head(10),
    )


def inception_net() -> nn.Module:
    """A small Inception network (Szegedy et al., CVPR 2015): blocks concatenate branches."""

    def block(inputs: int) -> nn.Module:
        return wired(
            "Inception",
            lambda m, x: torch.cat([m.one(x), m.three(x), m.pool(x)], dim=1),
            one=nn.Sequential(conv(inputs, 2, 1, 1), nn.ReLU()),
            three=nn.Sequential(conv(inputs, 2, 1, 1), nn.ReLU(), conv(2, 2), nn.ReLU()),
            pool=nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inputs, 2, 1, 1), nn.ReLU()),
        )

    return wired(
        "InceptionNet",
        lambda m, x: m.head(m.b(m.a(m.stem(x))).mean((2, 3))),
        stem=nn.Sequential(conv(3), nn.ReLU()),
        a=block(4),
        b=block(6),
        head=head(),
    )


def u_net() -> nn.Module:
    """A small U-Net (Ronneberger et al., MICCAI 2015): skips lead from the way down to that up."""

    def double(inputs: int) -> nn.Module:
        return nn.Sequential(conv(inputs), nn.ReLU(), conv(), nn.ReLU())

    def wiring(m: Any, x: Tensor) -> Tensor:
        a = m.down1(x)
        b = m.down2(F.max_pool2d(a, 2))
        x = m.middle(F.max_pool2d(b, 2))
        x = m.up2(torch.cat([F.interpolate(x, scale_factor=2), b], dim=1))
        x = m.up1(torch.cat([F.interpolate(x, scale_factor=2), a], dim=1))
        logits: Tensor = m.head(x.mean((2, 3)))
        return logits

    return wired(
        "UNet",
        wiring,
        down1=double(3),
        down2=double(4),
        middle=double(4),
        up2=double(8),
        up1=double(8),
        head=head(4),
    )


def aggregating_net() -> nn.Module:
    """A small VoVNet (Lee et al., CVPR 2019 workshops): each block joins what its layers gave."""

    def layer(inputs: int, outputs: int, size: int = 3) -> nn.Module:
        return wired(
            "Layer",
            lambda m, x: m.norm(m.conv(x)).relu(),
            conv=conv(inputs, outputs, size=size),
            norm=norm(outputs),
        )

    def wiring(m: Any, x: Tensor) -> Tensor:
        outputs = [x]
        for part in m.middle:
            outputs.append(part(outputs[-1]))
        joined: Tensor = m.joining(torch.cat(outputs, dim=1))
        return joined

    def block() -> nn.Module:
        middle = nn.ModuleList([layer(4, 4), layer(4, 4)])
        return wired("Aggregating", wiring, middle=middle, joining=layer(12, 4, 1))

    def stage(count: int) -> nn.Module:
        blocks = nn.Sequential(*[block() for _ in range(count)])
        return wired("Stage", lambda m, x: m.blocks(x), blocks=blocks)

    return wired(
        "AggregatingNet",
        lambda m, x: m.fc(m.stages(m.stem(x).relu()).mean((2, 3))),
        stem=conv(3),
        stages=nn.Sequential(stage(1), stage(2)),
        fc=head(4),
    )


def numbered_layers_net() -> nn.Module:
    """Blocks with layers called ``conv1`` to ``conv3``, through two of which everything passes."""

    def layer(inputs: int, size: int = 3) -> nn.Module:
        return nn.Sequential(conv(inputs, 4, size=size), norm(4), nn.ReLU())

    def wiring(m: Any, x: Tensor) -> Tensor:
        first = m.conv1(x)
        joined: Tensor = m.conv3(torch.cat([first, m.conv2(first)], dim=1))
        return joined

    def block() -> nn.Module:
        return wired("Numbered", wiring, conv1=layer(4), conv2=layer(4), conv3=layer(8, 1))

    return wired(
        "NumberedLayersNet",
        lambda m, x: m.fc(m.blocks(m.stem(x).relu()).mean((2, 3))),
        stem=conv(3),
        blocks=nn.Sequential(*[block() for _ in range(3)]),
        fc=head(4),
    )


def numbered_blocks_net() -> nn.Module:
    """Stages with blocks called ``block1`` and ``block2``, which have no list of their own."""

    def stage() -> nn.Module:
        return wired(
            "Stage", lambda m, x: m.block2(m.block1(x)), block1=residual(), block2=residual()
        )

    return wired(
        "NumberedBlocksNet",
        lambda m, x: m.fc(m.stage2(m.stage1(m.stem(x).relu())).mean((2, 3))),
        stem=conv(3),
        stage1=stage(),
        stage2=stage(),
        fc=head(4),
    )
