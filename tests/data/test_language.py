"""Labels of language models: which token each logit is about."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from designer.data.batches import UNLABELLED, batches_of
from designer.data.dataset import (
    LOGIT_VALUES,
    TOKEN_ROWS,
    LabelledTensors,
    sequences_at_once,
)
from designer.data.language import data_for, is_causal, is_language, is_masked, next_tokens
from tests.support.language import PlainCausal, batch, untrained

TOKENS = torch.tensor([[4, 5, 6], [7, 8, 9]])


def labels_of(data: object) -> Tensor:
    return batches_of(cast("Any", data)).targets


def test_the_next_token_is_the_label_and_the_last_one_has_none() -> None:
    assert next_tokens(TOKENS).tolist() == [[5, 6, UNLABELLED], [8, 9, UNLABELLED]]


def test_padding_is_no_next_token() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    assert next_tokens(TOKENS, mask).tolist() == [[5, UNLABELLED, UNLABELLED], [8, 9, UNLABELLED]]


FORMS: dict[str, Any] = {
    "a pair": (TOKENS, TOKENS),
    "tensors": LabelledTensors(TOKENS, TOKENS),
    "a dict": {"input_ids": TOKENS, "labels": TOKENS},
    "batches": [{"input_ids": TOKENS[:1], "labels": TOKENS[:1]}, (TOKENS[1:], TOKENS[1:])],
    "collated": [UserDict(input_ids=TOKENS, labels=TOKENS)],
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_causal_models_of_transformers_are_shifted_in_any_form(form: str) -> None:
    shifted = data_for(untrained("gpt2"), FORMS[form])
    assert labels_of(shifted).tolist() == [5, 6, 8, 9]
    assert labels_of(data_for(untrained("gpt2"), shifted)).tolist() == [5, 6, 8, 9]


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_other_models_stay_as_they_are(form: str) -> None:
    for model in (untrained("bert"), PlainCausal(), nn.Identity()):
        assert labels_of(data_for(model, FORMS[form])).tolist() == [4, 5, 6, 7, 8, 9]


def test_labels_that_are_not_the_tokens_stay_as_they_are() -> None:
    tags = (TOKENS, torch.tensor([[0, 1, 0], [1, 0, 1]]))
    assert labels_of(data_for(untrained("gpt2"), tags)).tolist() == [0, 1, 0, 1, 0, 1]


def test_labels_that_leave_out_a_prompt_are_shifted_with_it() -> None:
    labels = torch.tensor([[UNLABELLED, 5, 6], [UNLABELLED, UNLABELLED, 9]])
    data = data_for(untrained("llama"), {"input_ids": TOKENS, "labels": labels})
    assert labels_of(data).tolist() == [5, 6, 9]


def test_batches_are_shifted_each_time_that_they_are_iterated() -> None:
    data = cast("Iterable[Any]", data_for(untrained("gpt2"), FORMS["batches"]))
    first, second = ([labels.tolist() for _, labels in data] for _ in range(2))
    assert first == second == [[[5, 6, UNLABELLED]], [[8, 9, UNLABELLED]]]


def test_models_are_told_by_their_class_in_transformers() -> None:
    class GPT2LMHeadModel(nn.Module):
        """A class of the user's with a name that is known."""

    assert [is_causal(untrained(kind)) for kind in ("gpt2", "llama", "bert")] == [True, True, False]
    assert [is_masked(untrained(kind)) for kind in ("gpt2", "bert")] == [False, True]
    assert not is_causal(GPT2LMHeadModel())


def test_language_is_told_by_the_model_the_labels_or_their_number() -> None:
    few = (TOKENS, torch.tensor([[0, 1, 0], [1, 0, 1]]))
    following = (TOKENS, next_tokens(TOKENS))
    many = (TOKENS, TOKENS + 200)
    samples = (TOKENS, torch.tensor([0, 500]))
    plain = nn.Identity()
    judged = [is_language(plain, batches_of(data)) for data in (few, following, many, samples)]
    assert judged == [False, True, True, False]
    assert is_language(untrained("bert"), batches_of(batch("bert", 4, 0)))


def test_logits_of_a_batch_of_tokens_stay_small() -> None:
    labels = torch.zeros(50, 128).long()
    assert sequences_at_once(labels) == TOKEN_ROWS // 128
    labels[0, 0] = 50_256
    size = sequences_at_once(labels)
    assert size == LOGIT_VALUES // 50_257 // 128
    parts = LabelledTensors(labels, labels).batches(1000)
    assert {len(part) for part in parts} == {size, 50 % (size or 1)} - {0}
    assert sequences_at_once(torch.zeros(50).long()) is None
    assert sequences_at_once(torch.zeros(5, 128)) is None
