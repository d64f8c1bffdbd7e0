"""A pruned model of Hugging Face goes back to where it came from: its own library loads it."""

from __future__ import annotations

import copy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import designer
from designer.cli.app import OK
from designer.errors import ModelError
from designer.models.loading import load, load_model
from designer.models.pretrained import is_pretrained, pretrained_files, remade
from designer.models.surgery import PassThrough, Removal, remove
from designer.probing.calling import Inputs, call_model, first_tensor
from designer.pruning.removable import removable_blocks
from tests.support.command import Command
from tests.support.texts import CLASSES, VOCABULARY, text_loaders, text_net, texts

transformers: Any = import_module("transformers")  # most of its functions have no types

LAYERS = 3
WORDS = {"vocab_size": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {"num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 16}

BERT = transformers.BertConfig(num_hidden_layers=LAYERS, **WORDS, **SIZES)
CONFIGS: dict[str, tuple[Any, list[int]]] = {
    "bert": (BERT, [1]),
    "gpt2": (transformers.GPT2Config(n_embd=16, n_layer=LAYERS, n_head=2, **WORDS), [0, 2]),
    "modernbert": (
        transformers.ModernBertConfig(
            num_hidden_layers=LAYERS, cls_token_id=1, sep_token_id=2, **WORDS, **SIZES
        ),
        [1],
    ),
    "t5": (
        transformers.T5Config(
            d_model=16, d_kv=8, d_ff=16, num_layers=2, num_decoder_layers=LAYERS, num_heads=2,
            decoder_start_token_id=0, **WORDS,
        ),
        [1, -1],
    ),
}  # fmt: skip
"""A configuration, and which of the blocks that can go are removed."""


def tokens() -> Tensor:
    return torch.randint(3, 30, (4, 7), generator=torch.Generator().manual_seed(0))


def inputs_of(kind: str) -> Inputs:
    more = {"decoder_input_ids": tokens()} if kind == "t5" else {}
    return {"input_ids": tokens(), **more}


def output(model: nn.Module, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        tensor = first_tensor(call_model(model.eval(), inputs))
    assert tensor is not None
    return tensor


def pruned(model: nn.Module, inputs: Inputs, which: list[int]) -> tuple[nn.Module, list[Removal]]:
    """Return a copy without some of the blocks that can go, and what was removed."""
    blocks = [block for block in removable_blocks(model, inputs) if block.can_go]
    removals = [removal for i in which for removal in blocks[i].removals]
    smaller = copy.deepcopy(model)
    remove(smaller, removals)
    return smaller, removals


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_save_pretrained_keeps_gives_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    config, which = CONFIGS[kind]
    model = transformers.AutoModel.from_config(config).eval()
    inputs = inputs_of(kind)
    smaller, removals = pruned(model, inputs, which)
    anew: Any = remade(smaller, removals, inputs)
    assert not any(isinstance(module, PassThrough) for module in anew.modules())
    for name, content in pretrained_files(anew, None).items():
        (tmp_path / name).write_bytes(content)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(output(again, inputs), output(smaller, inputs))
    assert not torch.equal(output(again, inputs), output(model, inputs))
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in model.parameters())


def test_the_configuration_of_the_whole_model_stays_as_it_was() -> None:
    model = transformers.AutoModel.from_config(BERT).eval()
    smaller, removals = pruned(model, inputs_of("bert"), [0])
    anew: Any = remade(smaller, removals, inputs_of("bert"))
    assert anew.config.num_hidden_layers == LAYERS - 1
    assert model.config.num_hidden_layers == LAYERS


def test_layers_that_go_one_time_after_the_other_are_counted_together() -> None:
    model = transformers.AutoModel.from_config(BERT).eval()
    once, _ = pruned(model, inputs_of("bert"), [0])
    twice, removals = pruned(once, inputs_of("bert"), [0])
    anew: Any = remade(twice, removals, inputs_of("bert"))
    assert anew.config.num_hidden_layers == LAYERS - 2


def test_parts_of_layers_are_in_no_configuration() -> None:
    model = transformers.AutoModel.from_config(BERT).eval()
    smaller = copy.deepcopy(model)
    removals = [Removal("encoder.layer.0.attention.output.dropout", removal.way)
                for removal in removable_blocks(model, inputs_of("bert"))[0].removals]  # fmt: skip
    remove(smaller, removals)
    with pytest.raises(ModelError, match="whole layers of a list"):
        remade(smaller, removals, inputs_of("bert"))


def test_only_models_of_transformers_have_a_configuration() -> None:
    assert is_pretrained(transformers.AutoModel.from_config(BERT))
    assert not is_pretrained(nn.Linear(2, 2))


# --- folders of save_pretrained ---


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of ``save_pretrained`` with a classifier, and a file of a tokenizer."""
    folder = tmp_path / "saved"
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(BERT).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def test_a_folder_is_loaded_with_its_head_and_its_weights(saved: Path) -> None:
    loaded = load_model(f"hf:{saved}")
    whole = transformers.BertForSequenceClassification.from_pretrained(saved)
    assert torch.equal(output(loaded.model, inputs_of("bert")), output(whole, inputs_of("bert")))
    assert not torch.equal(
        output(loaded.again(1), inputs_of("bert")), output(whole, inputs_of("bert"))
    )
    more: Any = load_model(f"hf:{saved}", arguments={"num_labels": 5}).model
    assert more.config.num_labels == 5


def test_files_of_the_tokenizer_come_along(saved: Path) -> None:
    model = load_model(f"hf:{saved}").model
    assert {"tokenizer.json", "config.json"} <= set(pretrained_files(model, saved))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "with architectures in its config.json"),
        ('{"architectures": ["os"]}', "got 'os', which is not in it"),
        ('{"architectures": [["x"]]}', "which is not in it"),
        ("[", "with architectures in its config.json"),
    ],
)
def test_a_folder_that_names_no_model_is_refused(saved: Path, content: str, message: str) -> None:
    (saved / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{saved}")


# --- the command line ---


def trained_bert() -> Any:
    """Return a small BERT that has learnt the classes of the texts."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        num_hidden_layers=LAYERS, num_labels=CLASSES, vocab_size=VOCABULARY, pad_token_id=0, **SIZES
    )
    model = transformers.BertForSequenceClassification(config)
    optimizer, data = torch.optim.AdamW(model.parameters(), 5e-3), texts(400, 0)
    for _ in range(6):
        for rows in torch.split(torch.randperm(400), 25):
            optimizer.zero_grad()
            model(**{name: tensor[rows] for name, tensor in data.items()}).loss.backward()
            optimizer.step()
    return model.eval()


def test_prune_writes_a_folder_that_from_pretrained_reads(command: Command, folder: Path) -> None:
    whole = trained_bert()
    whole.save_pretrained(folder / "bert")
    (folder / "bert" / "tokenizer.json").write_text("{}", encoding="utf-8")
    data = "tests.support.texts:text_loaders"
    options = ["--remove", "1", "--epochs", "0", "--no-baselines", "--out", "small"]
    outcome = command("prune", "hf:bert", "--data", data, *options)
    assert outcome.code == OK, outcome.err
    assert "hf/" in outcome.err
    kind = transformers.BertForSequenceClassification
    again, inputs = kind.from_pretrained(folder / "small" / "hf"), texts(20, 3)
    del inputs["labels"]
    assert again.config.num_hidden_layers == LAYERS - 1
    smaller: Any = load(folder / "small").model
    assert torch.equal(output(again, inputs), output(smaller, inputs))
    assert (folder / "small" / "hf" / "tokenizer.json").is_file()
    left = sum(p.numel() for p in smaller.bert.encoder.parameters())
    before = sum(p.numel() for p in whole.bert.encoder.parameters())
    assert left * LAYERS == before * (LAYERS - 1)


def test_a_pruning_result_saves_itself(tmp_path: Path) -> None:
    model, (inputs, labels) = trained_bert(), texts_pair()
    result = designer.prune(model, ((inputs, labels), (inputs, labels)), remove=1, epochs=0)
    result.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(output(again, inputs), output(result.model, inputs))
    assert model.config.num_hidden_layers == LAYERS


def test_other_models_are_not_saved_for_a_library() -> None:
    result = designer.prune(text_net(), (text_loaders()["train"], texts_pair()), remove=1, epochs=0)
    with pytest.raises(ModelError, match="Expected a model of transformers"):
        result.save_pretrained("nowhere")


def texts_pair() -> tuple[dict[str, Tensor], Tensor]:
    """Return held-out texts and their labels."""
    data = texts(100, 1)
    return data, data.pop("labels")
