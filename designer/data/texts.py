"""Text as data for a language model: blocks of tokens, of which the later ones are held out.

Blocks do not overlap, and every label comes from its own block, so that nothing of the held-out
text is known from training.  The first blocks are training data, the ones behind them are for
validation, and the last ones for testing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from designer.data.batches import UNLABELLED
from designer.data.dataset import BatchedData, LabelledTensors
from designer.data.language import TOKENS, next_tokens
from designer.data.limits import check_data_size
from designer.data.options import DataOptions
from designer.data.sources import display_name
from designer.data.splitting import TEST_FRACTION, round_up
from designer.errors import DataError, InvalidInputError, first_line

CONTEXT = 128
"""Tokens in a block, unless the caller chooses another number or the model takes fewer."""

FEWEST_BLOCKS = 10
"""A text of fewer blocks is too short to learn from, to decide on and to test with."""

MASKED_SHARE = 0.15
"""Share of the tokens that a masked language model has to predict (Devlin et al., "BERT", 2019)."""

KEPT_SHARE, RANDOM_SHARE = 0.1, 0.1
"""Shares of these tokens that stay as they are, and that another token takes the place of."""

READ_AT_ONCE = 1 << 18
"""Characters that a tokenizer reads at a time; a piece ends at the end of a line."""


@dataclass(frozen=True)
class TextReader:
    """How a model reads text."""

    tokenize: Callable[[str], Sequence[int]]
    """Returns the tokens of a text, without special ones."""
    longest: int | None
    """The most tokens that the model takes at a time; None if unknown."""
    vocabulary: int
    """Number of tokens that the model knows."""
    mask: int | None = None
    """The token of a masked language model that stands for one to predict; None for a causal one,
    which predicts the next token."""
    first: tuple[int, ...] = ()
    """Tokens at the start of every block of a masked language model."""
    last: tuple[int, ...] = ()
    """Tokens at its end."""


def text_data(source: str, reader: TextReader, options: DataOptions) -> BatchedData:
    """Return a text in blocks of tokens: training, validation and test data.

    Args:
        source: name of a file with text in UTF-8.
        reader: how the model reads it.
        options: ``context_length`` is the number of tokens in a block, ``validation_fraction`` the
            share of the blocks, test blocks aside, that is held out, ``train_size`` the most
            training blocks, of which the latest are taken, and ``seed`` decides what is masked.

    Raises:
        DataError: if the file cannot be read, or the text is too short.
        InvalidInputError: if the context is longer than the model takes, or tokens are none of the
            model's.
    """
    context = _checked_context(options.context_length, reader)
    inner = context - len(reader.first) - len(reader.last)
    tokens = torch.tensor(_tokens_of(_read(source), reader), dtype=torch.int64)
    blocks = tokens[: len(tokens) // inner * inner].view(-1, inner)
    if len(blocks) < FEWEST_BLOCKS:
        raise DataError(
            f"Expected a text of at least {FEWEST_BLOCKS} blocks of {context} tokens, got "
            f"{len(tokens):,} tokens in '{source}'; give a longer text, or shorter blocks with "
            f"--context-length."
        )
    if int(blocks.max()) >= reader.vocabulary:
        raise InvalidInputError(
            f"Expected tokens below {reader.vocabulary}, as many as the model knows, got "
            f"{int(blocks.max())}: the tokenizer is that of another model."
        )
    framed = torch.cat([_repeated(reader.first, blocks), blocks, _repeated(reader.last, blocks)], 1)
    train, validation, test = (
        _labelled(part, reader, options.seed + number)
        for number, part in enumerate(_parts(framed, options))
    )
    asked = {"context_length": context, "validation_fraction": options.validation_fraction}
    more = {"train_size": options.train_size, "seed": options.seed}
    return BatchedData(display_name(source), train, validation, test, source, {**asked, **more})


def _checked_context(context: int | None, reader: TextReader) -> int:
    """Return the number of tokens in a block."""
    longest = reader.longest or CONTEXT
    if context is None:
        return min(CONTEXT, longest)
    if reader.longest is not None and context > longest:
        raise InvalidInputError(
            f"Expected a context of at most {longest} tokens, which is what the model takes, got "
            f"{context} (--context-length)."
        )
    return context


def _read(source: str) -> str:
    path = Path(source)
    if not path.is_file():
        raise DataError(f"Expected a file with text at '{source}', found none.")
    check_data_size(8 * path.stat().st_size, f"'{source}', as tokens,")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Expected text in UTF-8 in '{source}', but reading it failed: {first_line(error)}."
        ) from error


def _tokens_of(text: str, reader: TextReader) -> list[int]:
    """Return the tokens of a text, read piece by piece, since tokenizers are slow on long ones."""
    tokens: list[int] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start + READ_AT_ONCE) + 1 or len(text)
        tokens.extend(reader.tokenize(text[start:end]))
        start = end
    return tokens


def _repeated(tokens: tuple[int, ...], blocks: Tensor) -> Tensor:
    return blocks.new_tensor(tokens).expand(len(blocks), len(tokens))


def _parts(blocks: Tensor, options: DataOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Return training, validation and test blocks, in the order of the text."""
    test = round_up(TEST_FRACTION * len(blocks))
    rest = len(blocks) - test
    validation = min(max(1, round(options.validation_fraction * rest)), rest - 2)
    train = blocks[: rest - validation]
    if options.train_size is not None:
        train = train[-max(2, options.train_size) :]
    return train, blocks[rest - validation : rest], blocks[rest:]


def _labelled(blocks: Tensor, reader: TextReader, seed: int) -> LabelledTensors:
    """Return blocks with the tokens that are to be predicted from them."""
    if reader.mask is None:
        return LabelledTensors({TOKENS: blocks.contiguous()}, next_tokens(blocks))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(blocks.shape, generator=generator) < MASKED_SHARE
    chosen[:, : len(reader.first)] = False
    chosen[:, blocks.shape[1] - len(reader.last) :] = False
    fate = torch.rand(blocks.shape, generator=generator)
    other = torch.randint(reader.vocabulary, blocks.shape, generator=generator)
    masked = blocks.masked_fill(chosen & (fate >= KEPT_SHARE + RANDOM_SHARE), reader.mask)
    replaced = chosen & (fate < RANDOM_SHARE)
    inputs = torch.where(replaced, other, masked)
    return LabelledTensors({TOKENS: inputs}, blocks.masked_fill(~chosen, UNLABELLED))
