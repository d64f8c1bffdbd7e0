"""Transformers and recurrent networks; see ``parts`` for their inputs."""

from __future__ import annotations

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


def recurrent_stack() -> nn.Module:
    """Recurrent layers in an ``nn.ModuleList``."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        for layer in m.layers:
            x, _ = layer(x)
        logits: Tensor = m.head(x[:, -1])
        return logits

    layers = [nn.GRU(8, 8, batch_first=True) for _ in range(3)]
    return wired("RecurrentStack", wiring, layers=nn.ModuleList(layers), head=head(8))
