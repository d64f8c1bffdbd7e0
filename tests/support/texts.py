"""A small network for text in the form of Hugging Face's, and texts whose class is one token."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict, UserDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, LENGTH, VOCABULARY = 3, 8, 20


class TextOutput(OrderedDict[str, Tensor]):
    """An output whose loss comes before the logits."""


class TextNet(nn.Module):
    """Embeds tokens, passes them through encoder layers, and classifies the mean of the tokens.

    Args:
        by_token: True to classify every token.
    """

    def __init__(self, *, by_token: bool = False) -> None:
        super().__init__()
        self.by_token = by_token
        self.embeddings = nn.Embedding(VOCABULARY, 16)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(3)
        )
        self.classifier = nn.Linear(16, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextOutput:
        """Return a loss without a meaning, and the logits."""
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=attention_mask == 0)
        if not self.by_token:
            weights = attention_mask.unsqueeze(2).to(x)
            x = (x * weights).sum(1) / weights.sum(1)
        return TextOutput(loss=torch.tensor(0.5), logits=self.classifier(x))


def texts(n: int, seed: int, *, by_token: bool = False) -> dict[str, Tensor]:
    """Return n padded texts by name; each holds one of the tokens 1 to 3, which is its class.

    Args:
        n: number of texts.
        seed: seed of the draw.
        by_token: True to label every token by its number, in three classes.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LENGTH + 1, (n, 1), generator=generator)
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    ids = torch.randint(4, VOCABULARY, (n, LENGTH), generator=generator)
    places = (torch.rand(n, generator=generator) * lengths[:, 0]).long()
    ids[torch.arange(n), places] = 1 + labels
    mask = torch.arange(LENGTH) < lengths
    ids = ids * mask
    return {
        "input_ids": ids,
        "attention_mask": mask.long(),
        "labels": (ids % CLASSES).masked_fill(~mask, -100) if by_token else labels,
    }


def text_batches(whole: Mapping[str, Tensor], size: int = 32) -> list[UserDict[str, Tensor]]:
    """Return texts in batches by name, each padded to the longest of its texts."""
    batches = []
    for start in range(0, len(whole["labels"]), size):
        part = {name: tensor[start : start + size] for name, tensor in whole.items()}
        longest = int(part["attention_mask"].sum(1).max())
        cut = {name: t[:, :longest] if t.ndim > 1 else t for name, t in part.items()}
        batches.append(UserDict(cut))
    return batches


@functools.cache
def trained_text_net(*, by_token: bool = False) -> TextNet:
    """Return a network that has learnt the classes of the texts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, data = TextNet(by_token=by_token), texts(400, 0, by_token=by_token)
        labels = data.pop("labels")
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(6):
            for rows in torch.split(torch.randperm(400), 25):
                logits = model(**{name: t[rows] for name, t in data.items()})["logits"]
                loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels[rows].flatten())
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model.eval()


def text_net() -> TextNet:
    """Return a copy of the trained network, as a callable of a user does."""
    return copy.deepcopy(trained_text_net())


def text_loaders() -> dict[str, Any]:
    """Return batches of training, held-out and test texts, as a callable of a user does."""
    train = texts(400, 0)
    train["labels"][::40] = -100
    return {
        "train": text_batches(train),
        "heldout": text_batches(texts(150, 1)),
        "test": text_batches(texts(100, 2)),
    }
