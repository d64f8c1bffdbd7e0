"""Tiny language models of transformers, and texts that they learn in a second."""

from __future__ import annotations

import copy
import functools
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

transformers: Any = import_module("transformers")  # most of its functions have no types

VOCABULARY, LENGTH, LAYERS, MASK = 120, 10, 3, 2
NOISE, MASKED_SHARE = 0.15, 0.3

WORDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
NO_HIDDEN_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

BLOCKS = {
    "gpt2": "transformer.h",
    "llama": "model.layers",
    "bert": "bert.encoder.layer",
}
"""Where the layers of a model are."""

CAUSAL = ("gpt2", "llama")


def untrained(kind: str) -> Any:
    """Return a language model with the weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            sizes = {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 32}
            config = transformers.GPT2Config(**sizes, **NO_DROPOUT, **WORDS)
            return transformers.GPT2LMHeadModel(config).eval()
        if kind == "llama":
            config = transformers.LlamaConfig(num_key_value_heads=1, **SIZES, **WORDS)
            return transformers.LlamaForCausalLM(config).eval()
        config = transformers.BertConfig(
            max_position_embeddings=32, **NO_HIDDEN_DROPOUT, **SIZES, **WORDS
        )
        return transformers.BertForMaskedLM(config).eval()


def sentences(n: int, seed: int) -> Tensor:
    """Return n texts (n, LENGTH): one token again and again, of which some are replaced."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randint(3, VOCABULARY, (n, 1), generator=generator).expand(n, LENGTH)
    other = torch.randint(3, VOCABULARY, (n, LENGTH), generator=generator)
    return torch.where(torch.rand(n, LENGTH, generator=generator) < NOISE, other, whole)


def batch(kind: str, n: int, seed: int) -> dict[str, Tensor]:
    """Return texts as Hugging Face's collators give them: causal labels are the tokens themselves.

    The texts are padded, and every other one is shorter by two tokens.
    """
    ids = sentences(n, seed)
    mask = torch.ones_like(ids)
    mask[::2, -2:] = 0
    ids = ids * mask
    labels = ids.masked_fill(mask == 0, -100)
    if kind not in CAUSAL:
        generator = torch.Generator().manual_seed(1000 + seed)
        masked = (torch.rand(ids.shape, generator=generator) < MASKED_SHARE) & (mask == 1)
        labels = labels.masked_fill(~masked, -100)
        ids = ids.masked_fill(masked, MASK)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@functools.cache
def _trained(kind: str) -> Any:
    model = untrained(kind)
    data = batch(kind, 600, 99)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(80 if kind in CAUSAL else 160):
        rows = torch.randint(600, (64,), generator=generator)
        loss = model(**{name: tensor[rows] for name, tensor in data.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def trained(kind: str) -> Any:
    """Return a copy of a language model that has learnt the texts."""
    return copy.deepcopy(_trained(kind))


@torch.no_grad()
def own_loss(model: Any, data: dict[str, Tensor]) -> float:
    """Return the loss that a model of transformers computes by itself, in nats."""
    return float(model(**data).loss)


class PlainCausal(nn.Module):
    """A causal transformer without any library: logits (n, time, vocabulary)."""

    def __init__(self, vocabulary: int = 30) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, 16)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(16, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        logits: Tensor = self.head(x)
        return logits


def words(ids: Tensor) -> str:
    """Return texts (n, tokens) as words that the tokenizer of ``save`` reads, one text a line."""
    return "\n".join(" ".join(f"w{token}" for token in row) for row in ids.tolist())


def save(kind: str, folder: Path, *, tokenizer: bool = True) -> None:
    """Save a trained model as its library does, with a tokenizer that has a word per token."""
    trained(kind).save_pretrained(folder)
    if not tokenizer:
        return
    tokenizers: Any = import_module("tokenizers")
    vocabulary = {f"w{token}": token for token in range(VOCABULARY)}
    whole = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
    whole.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {} if kind in CAUSAL else {"mask_token": f"w{MASK}"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="w0", **special)
    fast.save_pretrained(folder)
