"""Small networks of the kinds that people have, wired in the ways in which they wire them.

Vectors are (n, 6), images (n, 3, 8, 8), sequences (n, 5, 8), tokens (n, 5) out of 11; each network
tells 3 classes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

torch.set_num_threads(1)  # small tensors gain nothing from more, and a busy machine loses much

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(7, 6, generator=GENERATOR)
IMAGES = torch.randn(7, 3, 8, 8, generator=GENERATOR)
SEQUENCES = torch.randn(7, 5, 8, generator=GENERATOR)
TOKENS = torch.randint(0, 11, (7, 5), generator=GENERATOR)


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class Wired(nn.Module):
    """Parts by name, and a function of them and the inputs that is the forward pass."""

    def __init__(self, wiring: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self._wiring = wiring
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args: Any, **named: Any) -> Any:
        return self._wiring(self, *args, **named)


@cache
def _class(kind: str) -> type[Wired]:
    return type(kind, (Wired,), {})


def wired(kind: str, wiring: Callable[..., Any], **parts: nn.Module) -> Wired:
    """A module whose class is called ``kind``."""
    return _class(kind)(wiring, **parts)


def head(width: int = 6) -> nn.Linear:
    return nn.Linear(width, 3)


def linear(inputs: int = 6, outputs: int = 6) -> nn.Linear:
    return nn.Linear(inputs, outputs)


def dense(inputs: int = 6, outputs: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())


def conv(inputs: int = 4, outputs: int = 4, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def norm(channels: int = 4) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


def chain(parts: Any, x: Tensor) -> Tensor:
    for part in parts:
        x = part(x)
    return x


# --- perceptrons ---


def row(*, inplace: bool = False) -> nn.Sequential:
    """Layers one after the other, without norm."""
    relus = nn.ReLU(inplace), nn.ReLU(inplace)
    return nn.Sequential(linear(), relus[0], linear(), relus[1], head())


def normed_row() -> nn.Sequential:
    def layer() -> list[nn.Module]:
        return [linear(), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2)]

    return nn.Sequential(nn.Flatten(), *layer(), *layer(), head())


def listed() -> nn.Module:
    """Blocks in an ``nn.ModuleList``."""
    blocks = [nn.Sequential(linear(), nn.BatchNorm1d(6), nn.ReLU()) for _ in range(3)]
    return wired(
        "Listed", lambda m, x: m.head(chain(m.layers, x)), layers=nn.ModuleList(blocks), head=head()
    )


def functional() -> nn.Module:
    """Activations that are no modules."""
    return wired(
        "Functional",
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))),
        a=linear(),
        b=linear(),
        c=head(),
    )


def one_activation() -> nn.Module:
    """The same activation module everywhere."""
    return wired(
        "OneActivation",
        lambda m, x: m.c(m.act(m.b(m.act(m.a(x))))),
        a=linear(),
        b=linear(),
        c=head(),
        act=nn.ReLU(),
    )


def parallel() -> nn.Module:
    """Two layers side by side: only what they give together can be looked at."""
    return wired(
        "Parallel", lambda m, x: m.c(m.a(x).relu() + m.b(x)), a=linear(), b=linear(), c=head()
    )


def thrice() -> nn.Module:
    """One block that runs three times; a dict with logits that do not come first."""

    def wiring(m: Any, x: Tensor) -> dict[str, Tensor]:
        x = chain([m.block] * 3, m.stem(x))
        return {"hidden": x, "logits": m.head(x)}

    return wired("Thrice", wiring, stem=linear(), block=dense(), head=head())


def tied_modules() -> nn.Module:
    """The same module by two names, of which each runs once."""
    block = dense()
    return wired(
        "Tied", lambda m, x: m.head(m.second(m.first(x))), first=block, second=block, head=head()
    )


def twice() -> nn.Sequential:
    """One block that runs twice with another between, by two names."""
    block = dense()
    return nn.Sequential(block, dense(), block, head())


def tied_weights() -> nn.Sequential:
    """Two layers that share a parameter."""
    model = row()
    model[2].weight = model[0].weight
    return model


def two_inputs() -> nn.Module:
    """Called with (a, b), or with a= and b=."""
    return wired(
        "TwoInputs",
        lambda m, a, b: m.head(m.second(m.first(torch.cat([a, b], dim=1)))),
        first=dense(12),
        second=dense(),
        head=head(),
    )


def listed_inputs() -> nn.Module:
    """The same with blocks in an ``nn.ModuleList``."""
    return wired(
        "ListedInputs",
        lambda m, a, b: m.head(chain(m.blocks, torch.cat([a, b], dim=1))),
        blocks=nn.ModuleList([dense(12), dense(), dense()]),
        head=head(),
    )


def open_sums() -> nn.Module:
    """Residual branches whose sums are outside of any module; a dict with more than logits."""

    def wiring(m: Any, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(m.stem(x))
        for block in m.blocks:
            x = x + block(x)
        return {"hidden": x, "logits": m.head(x)}

    blocks = [nn.Sequential(linear(), nn.ReLU(), linear()) for _ in range(3)]
    return wired("OpenSums", wiring, stem=linear(), blocks=nn.ModuleList(blocks), head=head())


def open_activations() -> nn.Module:
    """Blocks that end in a norm; the activation behind them, one for all, is outside of them."""
    return wired(
        "OpenActivations",
        lambda m, x: m.head(m.act(m.two(m.act(m.one(x))))),
        one=nn.Sequential(linear(), nn.BatchNorm1d(6)),
        two=nn.Sequential(linear(), nn.BatchNorm1d(6)),
        act=nn.ReLU(),
        head=head(),
    )


def overwriting() -> nn.Module:
    """Each block begins with an activation that overwrites what the block before gave."""
    return wired(
        "Overwriting",
        lambda m, x: m.head(chain(m.blocks, m.stem(x))),
        stem=linear(),
        blocks=nn.ModuleList([nn.Sequential(nn.ReLU(inplace=True), linear()) for _ in range(3)]),
        head=head(),
    )


def counting() -> nn.Module:
    """Changes one buffer, replaces another and draws a random number, whatever its mode."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        m.calls += 1
        m.mean = x.mean(0)
        torch.rand(())
        logits: Tensor = m.head(chain(m.blocks, x))
        return logits

    blocks = nn.ModuleList([dense() for _ in range(3)])
    model = wired("Counting", wiring, blocks=blocks, head=head())
    model.register_buffer("calls", torch.zeros(()))
    model.register_buffer("mean", torch.zeros(6), persistent=False)
    return model


def gathering() -> nn.Module:
    """Every block receives all that those before it gave, put together outside of them."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        for unit in m.units:
            x = torch.cat([x, unit(x)], dim=1)
        logits: Tensor = m.head(x)
        return logits

    units = nn.ModuleList([dense(6 + 4 * i, 4) for i in range(3)])
    return wired("Gathering", wiring, units=units, head=head(18))


def forking() -> nn.Module:
    """Two ways side by side in each block, and nothing before the first."""

    def block() -> nn.Module:
        return wired(
            "Fork",
            lambda m, x: torch.cat([m.left(x), m.right(x)], dim=1),
            left=dense(6, 3),
            right=nn.Sequential(linear(6, 3), nn.Tanh()),
        )

    return wired(
        "Forking",
        lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([block() for _ in range(3)]),
        head=head(),
    )


def u_shaped() -> nn.Module:
    """What flows past its middle comes back behind it."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.down(x)
        logits: Tensor = m.head(m.up(torch.cat([x, m.middle(x)], dim=1)))
        return logits

    return wired(
        "UShaped",
        wiring,
        down=dense(),
        middle=nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 6), nn.ReLU()),
        up=dense(12),
        head=head(),
    )


def dropping(*, adds: bool = False) -> nn.Module:
    """Stochastic depth (Huang et al., ECCV 2016): each block is left out of every other batch in
    training; ``adds`` says whether it adds to its input."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            if not m.training or torch.rand(()) < 0.5:
                x = x + block(x) if adds else block(x)
        logits: Tensor = m.head(x)
        return logits

    return wired("Dropping", wiring, blocks=nn.ModuleList([dense() for _ in range(3)]), head=head())


# --- convolutional networks ---


def vgg() -> nn.Module:
    """Rows of layers in two parts, after Simonyan & Zisserman (ICLR 2015)."""

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
    """Layers as attributes, everything else as functions."""

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
    """Stem, three stages, mean over positions, head."""

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
    """After MobileNetV2 (Sandler et al., CVPR 2018): some blocks have no shortcut, and are
    themselves rows of parts."""

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
    """Layers add channels to all before them (Huang et al., CVPR 2017), as torchvision has it:
    each receives a list."""

    def layer(inputs: int) -> nn.Module:
        return wired(
            "DenseLayer",
            lambda m, seen: m.conv2(F.relu(m.norm2(m.conv1(F.relu(m.norm1(torch.cat(seen, 1))))))),
            norm1=norm(inputs),
            conv1=conv(inputs, 4, 1, 1),
            norm2=norm(),
            conv2=conv(4, 2),
        )

    def block() -> nn.Module:
        def wiring(m: Any, x: Tensor) -> Tensor:
            seen = [x]
            for part in m.children():
                seen.append(part(seen))
            return torch.cat(seen, dim=1)

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
    """The same, where each layer hands on all that it received."""

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
    """Branches side by side, concatenated (Szegedy et al., CVPR 2015)."""

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
    """Skips from the way down to the way up (Ronneberger et al., MICCAI 2015)."""

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


# --- sequences ---


def encoder(*, batch_first: bool = True, norm_first: bool = False) -> nn.TransformerEncoder:
    """What torch itself calls a transformer encoder."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, norm_first=norm_first)
    packs = batch_first and not norm_first
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=packs)


def classifying_encoder(*, batch_first: bool = True) -> nn.Module:
    """An encoder within a model within a model; tokens come first in it, unless ``batch_first``."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.model(x if batch_first else x.transpose(0, 1))
        logits: Tensor = m.head(x.mean(1 if batch_first else 0))
        return logits

    inner = wired("Inner", lambda m, x: m.encoder(x), encoder=encoder(batch_first=batch_first))
    return wired("Outer", wiring, model=inner, head=head(8))


def padding() -> Tensor:
    """The last token of every sequence is none."""
    return (torch.arange(5) == 4).expand(7, 5)


def padded_encoder() -> nn.Module:
    """An encoder between an embedding and a head, whose fused kernel packs unpadded tokens."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.encoder(m.embed(x), src_key_padding_mask=padding()[: len(x)])
        logits: Tensor = m.head(x.mean(1))
        return logits

    return wired("PaddedEncoder", wiring, embed=linear(8, 8), encoder=encoder(), head=head(8))


def attending(*, tuples: bool = False) -> nn.Module:
    """A transformer block with two residual branches, which may give a tuple."""

    def wiring(m: Any, x: Tensor) -> Tensor | tuple[Tensor, None]:
        h = m.norm1(x)
        x = x + m.attention(h, h, h, need_weights=False)[0]
        x = x + m.mlp(m.norm2(x))
        return (x, None) if tuples else x

    return wired(
        "Attending",
        wiring,
        norm1=nn.LayerNorm(8),
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
        norm2=nn.LayerNorm(8),
        mlp=nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
    )


def mixing() -> nn.Module:
    """A mixer block (Tolstikhin et al., NeurIPS 2021): its two branches are alike."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = x + m.tokens(m.norm1(x).transpose(1, 2)).transpose(1, 2)
        summed: Tensor = x + m.channels(m.norm2(x))
        return summed

    def mlp(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 7), nn.GELU(), nn.Linear(7, width))

    return wired(
        "Mixing",
        wiring,
        norm1=nn.LayerNorm(8),
        tokens=mlp(5),
        norm2=nn.LayerNorm(8),
        channels=mlp(8),
    )


def mixer() -> nn.Module:
    return wired(
        "Mixer",
        lambda m, x: m.head(m.norm(m.blocks(x)).mean(1)),
        blocks=nn.Sequential(mixing(), mixing()),
        norm=nn.LayerNorm(8),
        head=head(8),
    )


def language_model(*, frozen: bool = False, tied: bool = False) -> nn.Module:
    """Next-token logits (n, 5, 11); positions are added in place."""

    def wiring(m: Any, tokens: Tensor) -> Tensor:
        x = m.embedding(tokens)
        x += m.positions.weight
        logits: Tensor = m.head(m.norm(chain(m.blocks, x)))
        return logits

    embedding, last = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
    if frozen:
        embedding.weight.requires_grad = False
    if tied:
        last.weight = embedding.weight
    return wired(
        "LanguageModel",
        wiring,
        embedding=embedding,
        positions=nn.Embedding(5, 8),
        blocks=nn.ModuleList([attending() for _ in range(3)]),
        norm=nn.LayerNorm(8),
        head=last,
    )


def bert() -> nn.Module:
    """Called by names, with a mask; its layers give tuples, itself a dict."""

    def wiring(m: Any, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = m.encoder(m.embeddings(input_ids)) * attention_mask[:, :, None]
        return {"hidden": x, "logits": m.classifier(m.pooler(x[:, 0]).tanh())}

    def embed(m: Any, ids: Tensor) -> Tensor:
        embedded: Tensor = m.norm(m.words(ids) + m.positions(torch.arange(ids.shape[1])))
        return embedded

    def encode(m: Any, x: Tensor) -> Tensor:
        for layer in m.layers:
            x = layer(x)[0]
        return x

    return wired(
        "Bert",
        wiring,
        embeddings=wired(
            "Embeddings",
            embed,
            words=nn.Embedding(11, 8),
            positions=nn.Embedding(5, 8),
            norm=nn.LayerNorm(8),
        ),
        encoder=wired(
            "Encoder",
            encode,
            layers=nn.ModuleList([attending(tuples=True) for _ in range(2)]),
        ),
        pooler=linear(8, 8),
        classifier=head(8),
    )


def recurrent(cell: type[nn.LSTM | nn.GRU]) -> nn.Module:
    """Two recurrent layers, which give tuples."""
    return wired(
        "Recurrent",
        lambda m, x: m.head(m.second(m.first(x)[0])[0][:, -1]),
        first=cell(8, 6, batch_first=True),
        second=cell(6, 6, batch_first=True),
        head=head(),
    )


def recurrent_stack() -> nn.Module:
    """Recurrent layers in an ``nn.ModuleList``."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        for layer in m.layers:
            x, _ = layer(x)
        logits: Tensor = m.head(x[:, -1])
        return logits

    layers = [nn.GRU(8, 8, batch_first=True) for _ in range(3)]
    return wired("RecurrentStack", wiring, layers=nn.ModuleList(layers), head=head(8))
