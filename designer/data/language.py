"""Labels of language models: which token each logit is about, and whether data are language at all.

Everywhere in Designer the logits at a token are compared with the label at the same place.  Causal
models of Hugging Face take ``labels`` equal to ``input_ids`` and shift them inside, so that the
logits at a token are compared with the *next* label.  For these models such labels are shifted
here, which gives the loss of ``model(labels=...)``; labels that already are the next tokens, and
the labels of all other models, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from designer.data.batches import LABELS, UNLABELLED, Batches, LabelledData
from designer.data.dataset import LabelledTensors
from designer.probing.calling import Inputs, token_mask, unwrap

CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")
"""The ends of the names of causal language models in transformers."""

LANGUAGE = re.compile(r"(ForCausalLM|LMHeadModel|ForMaskedLM|ForConditionalGeneration)$")
"""The ends of the names of all its language models."""

MASKED = re.compile(r"ForMaskedLM$")
"""The end of the names of its masked language models."""

MOST_TAGS = 100
"""With more classes than this, labels of tokens are taken for tokens themselves."""

TOKENS = "input_ids"
"""Name of the tokens among inputs by name."""


def is_causal(model: nn.Module) -> bool:
    """True for a causal language model of transformers, which shifts its labels inside."""
    return _is_named(model, CAUSAL)


def is_masked(model: nn.Module) -> bool:
    """True for a masked language model of transformers."""
    return _is_named(model, MASKED)


def is_language(model: nn.Module, data: Batches) -> bool:
    """True if a model predicts tokens: their cross-entropy and perplexity say how well it does.

    Every token must have a label, and either the model must be a language model of transformers,
    or the labels must be the next tokens of the inputs, or there must be more classes than
    ``MOST_TAGS``.

    Args:
        model: any module.
        data: its data.
    """
    if not data.tokens:
        return False
    if data.num_classes > MOST_TAGS or _is_named(model, LANGUAGE):
        return True
    inputs, labels = next(data.pairs())
    tokens = _tokens_of(inputs, labels)
    return tokens is not None and _agree(tokens[:, 1:], labels[:, :-1])


def data_for(model: nn.Module, data: LabelledData) -> LabelledData:
    """Return data whose label at a token is what the logits there are about.

    Args:
        model: any module; only those of ``is_causal`` take other labels than that.
        data: in any form that ``designer.profile`` takes.
    """
    if not is_causal(model):
        return data
    if isinstance(data, LabelledTensors | Mapping) or _is_pair(data):
        return cast("LabelledData", _shifted(data))
    return cast("LabelledData", _ShiftedBatches(data)) if isinstance(data, Iterable) else data


def next_tokens(tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return for every token the one that follows it, or ``UNLABELLED`` where none does.

    Args:
        tokens: (n, tokens) tokens, or labels of which some are ``UNLABELLED``.
        mask: (n, tokens), true for tokens and false for padding; None without any.
    """
    known = tokens if mask is None else tokens.masked_fill(~mask.to(tokens.device), UNLABELLED)
    return torch.cat([known[:, 1:], known.new_full((len(known), 1), UNLABELLED)], dim=1)


@dataclass(frozen=True, eq=False)
class _ShiftedBatches:
    """Batches whose labels are shifted while they are iterated."""

    batches: Iterable[object]

    def __iter__(self) -> Iterator[object]:
        return map(_shifted, self.batches)


def _shifted(batch: object) -> object:
    """Return a pair with shifted labels; anything whose labels are not its tokens as it is."""
    inputs, labels = _parts(batch)
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.is_floating_point():
        return batch
    tokens = _tokens_of(inputs, labels)
    if tokens is None or not _agree(tokens, labels):
        return batch
    pair = inputs, next_tokens(labels, token_mask(inputs))
    return LabelledTensors(*pair) if isinstance(batch, LabelledTensors) else pair


def _parts(batch: Any) -> tuple[Any, Any]:
    """Return inputs and labels of a batch; None and None if it is none."""
    if isinstance(batch, LabelledTensors):
        return batch.inputs, batch.labels
    if isinstance(batch, Mapping):
        name = next((name for name in LABELS if name in batch), None)
        return {k: v for k, v in batch.items() if k != name}, None if name is None else batch[name]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    return None, None


def _tokens_of(inputs: Inputs, labels: Tensor) -> Tensor | None:
    """Return the tokens (n, tokens) among inputs, if there is one for every label."""
    tokens = inputs.get(TOKENS) if isinstance(inputs, Mapping) else inputs
    if not isinstance(tokens, Tensor) or tokens.is_floating_point():
        return None
    return tokens.to(labels.device) if tokens.shape == labels.shape else None


def _agree(tokens: Tensor, labels: Tensor) -> bool:
    """True if labels are tokens wherever there is a label, and there is one."""
    labelled = labels != UNLABELLED
    return bool(labelled.any()) and torch.equal(tokens[labelled], labels[labelled])


def _is_pair(data: object) -> bool:
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Tensor)


def _is_named(model: nn.Module, pattern: re.Pattern[str]) -> bool:
    """True if the class of a model, or one that it comes from, has such a name in transformers."""
    return any(
        pattern.search(kind.__name__) and kind.__module__.startswith("transformers.")
        for kind in type(unwrap(model)).__mro__
    )
