"""Models of many structures, small and untrained, for the tests of what looks inside them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def flat_row() -> nn.Module:
    """Layers, normalisation, activation and dropout in one Sequential."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 20),
        nn.ReLU(),
        nn.Linear(20, 20),
        nn.BatchNorm1d(20),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(20, 10),
    )


class Functional(nn.Module):
    """Activations, pooling and reshaping that are no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 2)
        self.fc1, self.fc2 = nn.Linear(8, 20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.adaptive_avg_pool2d(functional.relu(self.conv2(x)), 1).flatten(1)
        logits: Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


class Vgg(nn.Module):
    """Two rows of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 2), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(8, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.features(x)), 1))
        return logits


class BasicBlock(nn.Module):
    """He et al., CVPR 2016; one activation, in place, runs twice."""

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
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        summed: Tensor = self.relu(out + self.downsample(x))
        return summed


class ResidualNet(nn.Module):
    """Stem, three stages, mean over positions, head."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16, 1))
        self.layer3 = nn.Sequential(BasicBlock(16, 24, 2))
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class OpenSums(nn.Module):
    """Residual branches whose sums are outside of any module; a dict with more than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(12, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(3)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = functional.relu(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        return {"hidden": x, "logits": self.head(x)}


class OpenActivations(nn.Module):
    """Blocks whose activation, one for all, is outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12))
        self.two = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12))
        self.activation = nn.ReLU()
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.activation(self.two(self.activation(self.one(x)))))
        return logits


class Dense(nn.Module):
    """Every layer receives all that the layers before it gave (Huang et al., CVPR 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            nn.Sequential(nn.Linear(12 + 8 * i, 8), nn.ReLU()) for i in range(3)
        )
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = torch.cat([x, unit(x)], dim=1)
        logits: Tensor = self.head(x)
        return logits


class Branches(nn.Module):
    """Two ways side by side in each block (Szegedy et al., CVPR 2015)."""

    class Block(nn.Module):
        """Their outputs are put together."""

        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(12, 6), nn.ReLU())
            self.right = nn.Sequential(nn.Linear(12, 6), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self.Block() for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class Skipping(nn.Module):
    """A U-shaped network: what flows past its middle comes back behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(12, 12), nn.ReLU())
        self.middle = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12), nn.ReLU())
        self.up = nn.Sequential(nn.Linear(24, 12), nn.ReLU())
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        logits: Tensor = self.head(self.up(torch.cat([x, self.middle(x)], dim=1)))
        return logits


class Shared(nn.Module):
    """One block that runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(12, 16)
        self.block = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        for _ in range(3):
            x = self.block(x)
        return {"hidden": x, "logits": self.head(x)}


def tied() -> nn.Module:
    """The same block under two names."""
    block = nn.Sequential(nn.Linear(12, 12), nn.Tanh())
    other = nn.Sequential(nn.Linear(12, 12), nn.Tanh())
    return nn.Sequential(block, other, block, nn.Linear(12, 3))


class Encoder(nn.Module):
    """torch's own encoder between an embedding of positions and a head."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=batch_first)
        self.embed = nn.Linear(12, 16)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=batch_first)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.batch_first:
            padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
            padding[:, -1] = True
            x = self.encoder(x, src_key_padding_mask=padding)
        else:
            x = self.encoder(x.transpose(0, 1)).transpose(0, 1)
        logits: Tensor = self.head(x.mean(1))
        return logits


class CharacterModel(nn.Module):
    """Tokens in, tied head, layers that return tuples."""

    class Layer(nn.Module):
        """Attention and a perceptron, each flowed past."""

        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            h = self.norm1(x)
            x = x + self.attention(h, h, h, need_weights=False)[0]
            return x + self.mlp(self.norm2(x)), None

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(20, 16), nn.Embedding(50, 16)
        self.layers = nn.ModuleList(self.Layer() for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)[0]
        logits: Tensor = self.head(self.norm(x))
        return logits


def frozen() -> nn.Module:
    """The same with nothing to train."""
    return CharacterModel().requires_grad_(requires_grad=False)


class TwoInputs(nn.Module):
    """Named inputs that meet in the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(n, 8), nn.ReLU()) for n in (16, 8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        x = torch.cat([left, right], dim=1)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class Recurrent(nn.Module):
    """Layers that return a sequence and a state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.GRU(12, 12, batch_first=True) for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        logits: Tensor = self.head(x[:, -1])
        return logits


class Stochastic(nn.Module):
    """Blocks that are sometimes skipped in training (Huang et al., ECCV 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(12, 12), nn.ReLU()) for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if not self.training or float(torch.rand(())) < 0.5:
                x = x + block(x)
        logits: Tensor = self.head(x)
        return logits


IMAGES, ROWS, VECTORS = (3, 8, 8), (7, 12), (12,)

Zoo = dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]]

STAGES = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0"]

ZOO: Zoo = {
    "flat row": (flat_row, IMAGES, ["2", "5"]),
    "functional": (Functional, IMAGES, ["conv1", "conv2", "fc1"]),
    "vgg": (Vgg, IMAGES, ["features.1", "features.4", "classifier.1"]),
    "residual": (ResidualNet, IMAGES, STAGES),
    "parallel": (lambda: nn.DataParallel(ResidualNet()), IMAGES, STAGES),
    "open sums": (OpenSums, VECTORS, ["blocks.0", "blocks.1", "blocks.2"]),
    "open activations": (OpenActivations, VECTORS, ["one", "two"]),
    "dense": (Dense, VECTORS, ["units.0", "units.1", "units.2"]),
    "branches": (Branches, VECTORS, ["blocks.0", "blocks.1", "blocks.2"]),
    "skipping": (Skipping, VECTORS, ["down", "middle", "up"]),
    "shared": (Shared, VECTORS, ["block#1", "block#2", "block#3"]),
    "tied": (tied, VECTORS, ["0", "1", "2"]),
    "encoder": (lambda: Encoder(batch_first=True), ROWS, [f"encoder.layers.{i}" for i in range(3)]),
    "sequence first": (
        lambda: Encoder(batch_first=False),
        ROWS,
        [f"encoder.layers.{i}" for i in range(3)],
    ),
    "recurrent": (Recurrent, ROWS, ["layers.0", "layers.1", "layers.2"]),
    "stochastic": (Stochastic, VECTORS, ["blocks.0", "blocks.1", "blocks.2"]),
}
"""Of each: how to make it, the shape of one input, and its blocks."""


def inputs_of(shape: tuple[int, ...], n: int = 9) -> Tensor:
    """Noise."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """A model with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()
