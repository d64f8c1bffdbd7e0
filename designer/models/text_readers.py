"""How a language model of Hugging Face reads text: its tokenizer, and how much it takes."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from designer.data.language import is_causal, is_masked
from designer.data.texts import TextReader
from designer.errors import ModelError, first_line
from designer.models.loaded import LoadedModel

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
)
"""Files by which a folder shows that it holds a tokenizer."""

LONGEST = 1_000_000
"""A tokenizer that says that it takes more tokens than this does not know."""


def text_reader(model: LoadedModel) -> TextReader:
    """Return how a model reads text.

    Args:
        model: a causal or masked language model of ``hf:FOLDER``, or one that was pruned from it.

    Raises:
        ModelError: if it is another model, or the folder holds no tokenizer for it.
    """
    prefix, _, name = str(model.origin.get("factory", "")).partition(":")
    causal, masked = is_causal(model.model), is_masked(model.model)
    if prefix != "hf" or not (causal or masked):
        raise ModelError(
            f"Expected a causal or masked language model of hf:FOLDER to read text, got "
            f"{type(model.model).__name__} of '{model.name}'; give other data."
        )
    tokenizer = _tokenizer(Path(name))
    longest = _longest(model.model, tokenizer)
    config: Any = model.model.config
    reader = partial(
        TextReader,
        partial(_tokens, tokenizer),
        longest,
        config.get_text_config().vocab_size,
    )
    if causal:
        return reader()
    if tokenizer.mask_token_id is None:
        raise ModelError(
            f"Expected a tokenizer with a mask token in '{name}' for "
            f"{type(model.model).__name__}, got one without."
        )
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return reader(
        tokenizer.mask_token_id,
        () if first is None else (first,),
        () if last is None else (last,),
    )


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tokens


def _tokenizer(folder: Path) -> Any:
    """Return the tokenizer in a folder; code in the folder is never run."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"Expected a tokenizer in '{folder}' to read text with, found none; save it there "
            f"with its save_pretrained."
        )
    transformers: Any = import_module("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # files of many kinds, read by many libraries
        raise ModelError(
            f"Expected a tokenizer in '{folder}', but reading it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def _longest(model: nn.Module, tokenizer: Any) -> int | None:
    """Return the most tokens that a model takes, as it or its tokenizer says; None if none does."""
    config: Any = model.config
    known = (
        getattr(config.get_text_config(), "max_position_embeddings", None),
        tokenizer.model_max_length,
    )
    numbers = [int(number) for number in known if isinstance(number, int | float)]
    return min((number for number in numbers if 0 < number <= LONGEST), default=None)
