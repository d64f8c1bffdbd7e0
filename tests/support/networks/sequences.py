"""Transformers and recurrent networks; see ``parts`` for their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.networks.parts import chain, head, linear, wired


def encoder(*, batch_first: bool = True, norm_first: bool = False) -> nn.TransformerEncoder:
    """Torch's own transformer encoder of three layers."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, norm_first=norm_first)
    packs = batch_first and not norm_first
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=packs)


def classifying_encoder(*, batch_first: bool = True) -> nn.Module:
    """An encoder within a model within a model, which may have tokens before samples in it."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.model(x if batch_first else x.transpose(0, 1))
        logits: Tensor = m.head(x.mean(1 if batch_first else 0))
        return logits

    inner = wired("Inner", lambda m, x: m.encoder(x), encoder=encoder(batch_first=batch_first))
    return wired("Outer", wiring, model=inner, head=head(8))


def padding() -> Tensor:
    """Return the mask (7, 5) that says that the last token of every sequence is padding."""
    return (torch.arange(5) == 4).expand(7, 5)


def padded_encoder() -> nn.Module:
    """An encoder between an embedding and a head; its fused kernel packs padded sequences."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.encoder(m.embed(x), src_key_padding_mask=padding()[: len(x)])
        logits: Tensor = m.head(x.mean(1))
        return logits

    return wired("PaddedEncoder", wiring, embed=linear(8, 8), encoder=encoder(), head=head(8))


def attending(*, tuples: bool = False) -> nn.Module:
    """A transformer block with two residual branches, which gives a tuple if asked to."""

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


def _adding(residual: Any, m: Any, x: Tensor) -> Tensor:
    """Put a layer and a norm behind a sum, as BERT's parts do that receive what flows past them."""
    normed: Tensor = m.norm(m.dense(x) + residual)
    return normed


def post_norm(width: int = 8) -> nn.Module:
    """A layer of BERT (Devlin et al., NAACL 2019).

    Each of its two sub-layers ends in a part that receives the hidden states and what flows past
    them, and gives the norm of their sum, through which everything passes.
    """

    def output(inputs: int) -> nn.Module:
        return wired(
            "Output",
            lambda m, x, residual: _adding(residual, m, x),
            dense=linear(inputs, width),
            norm=nn.LayerNorm(width),
        )

    attention = wired(
        "Attention",
        lambda m, x: m.output(m.inner(x), x),
        inner=wired("Inner", lambda m, x: m.heads(x, x, x)[0], heads=_heads(width)),
        output=output(width),
    )
    return wired(
        "PostNorm",
        lambda m, x: _through_feed_forward(m, m.attention(x)),
        attention=attention,
        intermediate=wired("Intermediate", lambda m, x: m.dense(x).relu(), dense=linear(width, 16)),
        output=output(16),
    )


def _heads(width: int) -> nn.Module:
    return nn.MultiheadAttention(width, 2, batch_first=True)


def _through_feed_forward(m: Any, x: Tensor) -> Tensor:
    summed: Tensor = m.output(m.intermediate(x), x)
    return summed


def adding_sub_layers(width: int = 8) -> nn.Module:
    """A layer whose two sub-layers add what they receive to what they give, as in BLOOM."""

    def feed_forward(m: Any, x: Tensor) -> Tensor:
        summed: Tensor = x + m.down(m.up(m.norm(x)).relu())
        return summed

    return wired(
        "AddingSubLayers",
        lambda m, x: m.feed_forward(m.attention(x)),
        attention=wired(
            "Attends",
            lambda m, x: x + m.out(m.inner(x, x, x)[0]),
            inner=_heads(width),
            out=linear(width, width),
        ),
        feed_forward=wired(
            "Feeds",
            feed_forward,
            norm=nn.LayerNorm(width),
            up=linear(width, 16),
            down=linear(16, width),
        ),
    )


def encoding_positions(width: int = 8) -> nn.Module:
    """A block with a small convolution for positions before each branch, as in DaViT.

    Everything passes through these convolutions, and hardly any of its weights are in them.
    """

    def positions(m: Any, x: Tensor) -> Tensor:
        summed: Tensor = x + m.conv(x.transpose(1, 2)).transpose(1, 2)
        return summed

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.positions1(x)
        x = x + m.attention(m.norm1(x))
        x = m.positions2(x)
        summed: Tensor = x + m.mlp(m.norm2(x))
        return summed

    def convolution() -> nn.Module:
        return wired(
            "Positions", positions, conv=nn.Conv1d(width, width, 3, padding=1, groups=width)
        )

    return wired(
        "EncodingPositions",
        wiring,
        positions1=convolution(),
        norm1=nn.LayerNorm(width),
        attention=wired("Inner", lambda m, x: m.heads(x, x, x)[0], heads=_heads(width)),
        positions2=convolution(),
        norm2=nn.LayerNorm(width),
        mlp=nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width)),
    )


def of_layers(layer: Callable[[], nn.Module], count: int = 3) -> nn.Module:
    """A classifier of tokens (n, 5) with layers in a list, which run in a part of their own."""
    return wired(
        "OfLayers",
        lambda m, tokens: m.head(m.encoder(m.embedding(tokens)).mean(1)),
        embedding=nn.Embedding(11, 8),
        encoder=wired(
            "Encoder",
            lambda m, x: chain(m.layers, x),
            layers=nn.ModuleList([layer() for _ in range(count)]),
        ),
        head=head(8),
    )


def biased() -> nn.Module:
    """A model of tokens whose layers all receive a bias that is computed once, as in T5.

    The bias comes from an embedding of relative positions, which says nothing of the tokens.
    """

    def layer() -> nn.Module:
        return wired(
            "Biased",
            lambda m, x, bias: (
                x + m.values((m.queries(x) @ x.transpose(1, 2) + bias).softmax(2) @ x)
            ),
            queries=linear(8, 8),
            values=linear(8, 8),
        )

    def wiring(m: Any, tokens: Tensor) -> Tensor:
        x = m.embedding(tokens)
        places = torch.arange(x.shape[1])
        bias = m.relative(4 + places - places[:, None])[..., 0]
        for part in m.layers:
            x = part(x, bias)
        logits: Tensor = m.head(x.mean(1))
        return logits

    return wired(
        "OfBiasedLayers",
        wiring,
        embedding=nn.Embedding(11, 8),
        relative=nn.Embedding(9, 1),
        layers=nn.ModuleList([layer() for _ in range(3)]),
        head=head(8),
    )


def graph_net() -> nn.Module:
    """A graph network (Kipf & Welling, ICLR 2017): every layer receives the adjacency matrix."""

    def layer() -> nn.Module:
        return wired(
            "Convolution",
            lambda m, x, adjacent: (adjacent @ m.linear(x)).relu(),
            linear=linear(8, 8),
        )

    def wiring(m: Any, x: Tensor, adjacent: Tensor) -> Tensor:
        for part in m.layers:
            x = part(x, adjacent)
        logits: Tensor = m.head(x.mean(1))
        return logits

    layers = nn.ModuleList([layer() for _ in range(3)])
    return wired("GraphNet", wiring, layers=layers, head=head(8))


def encoder_decoder() -> nn.Module:
    """A model of two sequences of tokens: every layer of the decoder looks at what was encoded."""

    def decoding() -> nn.Module:
        def wiring(m: Any, x: Tensor, encoded: Tensor) -> Tensor:
            x = x + m.looking(x, encoded, encoded)[0]
            summed: Tensor = x + m.mlp(x)
            return summed

        return wired("Decoding", wiring, looking=_heads(8), mlp=linear(8, 8))

    def wiring(m: Any, tokens: Tensor, decoded: Tensor) -> Tensor:
        encoded = chain(m.encoder, m.embedding(tokens))
        x = m.embedding(decoded)
        for part in m.decoder:
            x = part(x, encoded)
        logits: Tensor = m.head(x.mean(1))
        return logits

    return wired(
        "EncoderDecoder",
        wiring,
        embedding=nn.Embedding(11, 8),
        encoder=nn.ModuleList([attending() for _ in range(2)]),
        decoder=nn.ModuleList([decoding() for _ in range(2)]),
        head=head(8),
    )


def embedding_part(*, rounds: bool = False) -> nn.Module:
    """A model whose tokens become vectors in a part with a layer; it may round them itself."""
    return wired(
        "EmbeddingPart",
        lambda m, x: m.head(chain(m.layers, m.embedding(x.long() if rounds else x)).mean(1)),
        embedding=wired(
            "Embedding",
            lambda m, tokens: m.out(m.words(tokens)),
            words=nn.Embedding(11, 6),
            out=linear(6, 8),
        ),
        layers=nn.ModuleList([attending() for _ in range(3)]),
        head=head(8),
    )


def rounding() -> nn.Module:
    """A model of tokens that come as floating numbers, as from a table."""
    return embedding_part(rounds=True)


def passing_tuples() -> nn.Module:
    """Stages that receive and give tokens and a class token in a tuple, as in PiT.

    Within a stage both are one sequence.
    """

    def stage(m: Any, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x = chain(m.blocks, torch.cat([state[1], state[0]], dim=1))
        return x[:, 1:], x[:, :1]

    def wiring(m: Any, x: Tensor) -> Tensor:
        state = m.stages((x, m.token(x.mean(1, keepdim=True))))
        logits: Tensor = m.head(state[1][:, 0])
        return logits

    def blocks(count: int) -> nn.Sequential:
        return nn.Sequential(*[attending() for _ in range(count)])

    return wired(
        "PassingTuples",
        wiring,
        token=linear(8, 8),
        stages=nn.Sequential(*[wired("Stage", stage, blocks=blocks(2)) for _ in range(2)]),
        head=head(8),
    )


def two_streams() -> nn.Module:
    """Blocks that receive and give two sequences in a list, each of which looks at the other."""

    def wiring(m: Any, streams: list[Tensor]) -> list[Tensor]:
        first, second = (part(x) for part, x in zip((m.first, m.second), streams, strict=True))
        return [first + second.mean(1, keepdim=True), second + first.mean(1, keepdim=True)]

    def block() -> nn.Module:
        return wired("Block", wiring, first=attending(), second=attending())

    return wired(
        "TwoStreams",
        lambda m, x: sum(m.head(s.mean(1)) for s in m.blocks([m.embed(x), x])),
        embed=linear(8, 8),
        blocks=nn.Sequential(*[block() for _ in range(3)]),
        head=head(8),
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
    """An MLP-Mixer of two blocks."""
    return wired(
        "Mixer",
        lambda m, x: m.head(m.norm(m.blocks(x)).mean(1)),
        blocks=nn.Sequential(mixing(), mixing()),
        norm=nn.LayerNorm(8),
        head=head(8),
    )


def language_model(*, frozen: bool = False, tied: bool = False) -> nn.Module:
    """A language model with next-token logits (n, 5, 11), which adds positions in place."""

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
    """A small BERT: called by names, with a mask; its layers give tuples, and it a dict."""

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


def recurrent_stack(
    cell: type[nn.GRU | nn.LSTM] = nn.GRU, *, last_state: bool = False
) -> nn.Module:
    """Recurrent layers in an ``nn.ModuleList`` behind a linear one.

    Args:
        cell: class of the layers.
        last_state: True if the head receives the last state of the last layer, not its outputs.
    """

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for layer in m.layers:
            x, state = layer(x)
        hidden = state[0] if cell is nn.LSTM else state
        logits: Tensor = m.head(hidden[-1] if last_state else x[:, -1])
        return logits

    layers = [cell(8, 8, batch_first=True) for _ in range(3)]
    parts = {"stem": linear(8, 8), "layers": nn.ModuleList(layers), "head": head(8)}
    return wired("RecurrentStack", wiring, **parts)


def recurrent_encoder() -> nn.Module:
    """Recurrent layers in a part of their own, behind an embedding; they give their states, too."""

    def encode(m: Any, tokens: Tensor) -> Tensor:
        x = m.words(tokens)
        x, _ = m.first(x)
        x, (_, _) = m.second(x)
        summed: Tensor = m.third(x)[0]
        return summed

    layers = {name: nn.LSTM(8, 8, batch_first=True) for name in ("first", "second", "third")}
    return wired(
        "RecurrentEncoder",
        lambda m, tokens: m.head(m.encoder(tokens).mean(1)),
        encoder=wired("Encoder", encode, words=nn.Embedding(11, 8), **layers),
        head=head(8),
    )
