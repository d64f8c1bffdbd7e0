"""Text becomes blocks of tokens whose later parts are held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from designer.data import texts
from designer.data.dataset import BatchedData, LabelledTensors
from designer.data.options import DataOptions
from designer.data.texts import TextReader, text_data
from designer.errors import DataError, InvalidInputError

MASK = 255
READER = TextReader(lambda text: list(text.encode()), longest=64, vocabulary=256)
MASKED = replace(READER, mask=MASK, first=(1,), last=(2,))


def written(folder: Path, text: str, name: str = "text.txt") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def numbered(count: int) -> str:
    """Return a text whose bytes say where they are."""
    return "".join(chr(33 + i % 90) for i in range(count))


def parts_of(data: BatchedData) -> list[LabelledTensors]:
    return [cast("LabelledTensors", part) for part in (data.train, data.heldout, data.test)]


def tokens_of(part: LabelledTensors) -> Tensor:
    return cast("Tensor", part.inputs["input_ids"])


def test_blocks_follow_each_other_and_no_token_is_in_two_parts(tmp_path: Path) -> None:
    text = numbered(503)
    data = text_data(written(tmp_path, text), READER, DataOptions(context_length=10))
    blocks = torch.cat([tokens_of(part) for part in parts_of(data)])
    assert blocks.flatten().tolist() == list(text.encode())[:500]
    assert [len(part) for part in parts_of(data)] == [30, 10, 10]
    assert data.name == "text"


def test_the_label_of_a_token_is_the_next_one_of_its_own_block(tmp_path: Path) -> None:
    data = text_data(written(tmp_path, numbered(500)), READER, DataOptions(context_length=10))
    for part in parts_of(data):
        assert torch.equal(part.labels[:, :-1], tokens_of(part)[:, 1:])
        assert part.labels[:, -1].tolist() == [-100] * len(part)


def test_fewer_training_blocks_are_those_next_to_what_is_held_out(tmp_path: Path) -> None:
    options = DataOptions(context_length=10, train_size=4, validation_fraction=0.5)
    whole, few = (
        parts_of(text_data(written(tmp_path, numbered(500)), READER, o))
        for o in (replace(options, train_size=None), options)
    )
    assert torch.equal(tokens_of(few[0]), tokens_of(whole[0])[-4:])
    assert torch.equal(tokens_of(few[1]), tokens_of(whole[1]))
    assert len(few[1]) == len(whole[0]) == 20


def test_blocks_are_as_long_as_the_model_takes_but_no_longer_than_needed(tmp_path: Path) -> None:
    source = written(tmp_path, numbered(5000))
    lengths = [
        tokens_of(parts_of(text_data(source, replace(READER, longest=longest), DataOptions()))[0])
        for longest in (64, 2048, None)
    ]
    assert [blocks.shape[1] for blocks in lengths] == [64, texts.CONTEXT, texts.CONTEXT]


def test_masked_models_predict_a_share_of_the_tokens_between_special_ones(tmp_path: Path) -> None:
    source = written(tmp_path, numbered(40_000))
    train = parts_of(text_data(source, MASKED, DataOptions(context_length=20)))[0]
    tokens, labelled = tokens_of(train), train.labels >= 0
    assert tokens[:, 0].tolist() == [1] * len(train)
    assert tokens[:, -1].tolist() == [2] * len(train)
    assert not labelled[:, [0, -1]].any()
    inner = labelled[:, 1:-1]
    assert float(inner.float().mean()) == pytest.approx(texts.MASKED_SHARE, abs=0.01)
    assert float((tokens == MASK)[labelled].float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((tokens == train.labels)[labelled].float().mean()) == pytest.approx(0.1, abs=0.03)
    whole = torch.where(labelled, train.labels, tokens)[:, 1:-1].flatten()
    assert whole.tolist() == list(numbered(len(whole)).encode())


def test_masks_depend_on_the_seed_alone(tmp_path: Path) -> None:
    source = written(tmp_path, numbered(4000))
    first, again, other = (
        parts_of(text_data(source, MASKED, DataOptions(seed=seed)))[0].labels for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_long_text_is_read_in_pieces_that_end_with_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "READ_AT_ONCE", 7)
    pieces: list[str] = []

    def tokenize(text: str) -> list[int]:
        pieces.append(text)
        return list(text.encode())

    text = "one line\nand another\n" * 20 + "the last"
    reader = replace(READER, tokenize=tokenize)
    data = text_data(written(tmp_path, text), reader, DataOptions(context_length=4))
    assert "".join(pieces) == text
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert len(pieces) > 20
    assert int(tokens_of(parts_of(data)[0])[0, 0]) == ord("o")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("short", {}, "Expected a text of at least 10 blocks of 64 tokens, got 5 tokens"),
        (numbered(900), {"context_length": 65}, "Expected a context of at most 64 tokens.*got 65"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    tmp_path: Path, text: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises((DataError, InvalidInputError), match=message) as caught:
        text_data(written(tmp_path, text), READER, DataOptions(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_tokens_of_another_model_are_refused(tmp_path: Path) -> None:
    reader = replace(READER, vocabulary=40)
    with pytest.raises(InvalidInputError, match="Expected tokens below 40, as many"):
        text_data(written(tmp_path, numbered(900)), reader, DataOptions())


def test_files_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xd8" * 900)
    with pytest.raises(DataError, match="Expected text in UTF-8"):
        text_data(str(tmp_path / "bytes.txt"), READER, DataOptions())
    with pytest.raises(DataError, match="Expected a file with text"):
        text_data(str(tmp_path / "none.txt"), READER, DataOptions())


def test_a_context_has_at_least_two_tokens() -> None:
    with pytest.raises(DataError, match="Expected a context of at least 2 tokens, got 1"):
        DataOptions(context_length=1)
