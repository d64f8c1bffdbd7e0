"""Language models of Hugging Face with text from a file, on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from designer.cli.app import OK
from tests.support.command import Command, refused
from tests.support.language import (
    BLOCKS,
    LENGTH,
    own_loss,
    save,
    sentences,
    trained,
    transformers,
    words,
)

TEXT = ["--data", "text.txt", "--context-length", str(LENGTH)]
BRIEFLY = ["--epochs", "0", "--no-baselines", "--out", "small"]


@pytest.fixture
def text(folder: Path) -> torch.Tensor:
    """The tokens of a text in the working folder; the models are in folders of their kind."""
    ids = sentences(500, 7)
    (folder / "text.txt").write_text(words(ids), encoding="utf-8")
    return ids


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_analyze_reads_text_and_holds_out_what_comes_later(
    command: Command, folder: Path, text: torch.Tensor, kind: str
) -> None:
    save(kind, folder / kind)
    outcome = command("analyze", f"hf:{kind}", *TEXT, "--contribution-samples", "40", "--json")
    assert outcome.code == OK, outcome.err
    report = json.loads(outcome.out)
    assert report["measure"] == "residual"
    assert [layer["name"] for layer in report["layers"]] == [
        f"{BLOCKS[kind]}.{i}" for i in range(3)
    ]
    assert all(layer["contribution"] for layer in report["layers"])
    if kind == "gpt2":
        heldout = {"input_ids": text[300:400], "labels": text[300:400]}
        perplexity = math.exp(own_loss(trained(kind), heldout))
        assert report["model"]["perplexity_heldout"] == pytest.approx(perplexity, 1e-5)
    for name in ("report.md", "report.html"):
        page = (folder / "analyses" / f"hf-{kind}" / name).read_text(encoding="utf-8")
        assert "perplexity" in page


def test_prune_reads_text_and_the_smaller_model_remembers_it(
    command: Command, folder: Path, text: torch.Tensor
) -> None:
    save("gpt2", folder / "gpt2")
    outcome = command("prune", "hf:gpt2", *TEXT, "--remove", "1", *BRIEFLY, "--json")
    assert outcome.code == OK, outcome.err
    original, smaller = json.loads(outcome.out)["networks"]
    again = transformers.GPT2LMHeadModel.from_pretrained(folder / "small" / "hf").eval()
    test = {"input_ids": text[400:], "labels": text[400:]}
    for network, model in ((original, trained("gpt2")), (smaller, again)):
        assert network["test_perplexity"] == pytest.approx(math.exp(own_loss(model, test)), 1e-5)
    reread = command("analyze", "small", "--contribution-samples", "0", "--json")
    assert reread.code == OK, reread.err
    perplexity = json.loads(reread.out)["model"]["perplexity_heldout"]
    assert perplexity == pytest.approx(smaller["validation_perplexity"], 1e-5)
    assert (folder / "small" / "hf" / "tokenizer.json").is_file()


def test_a_folder_without_a_tokenizer_is_refused(
    command: Command, folder: Path, text: torch.Tensor
) -> None:
    save("gpt2", folder / "gpt2", tokenizer=False)
    assert "Expected a tokenizer in 'gpt2'" in refused(command("analyze", "hf:gpt2", *TEXT))
    assert "Expected a tokenizer in 'gpt2'" in refused(
        command("prune", "hf:gpt2", *TEXT, "--remove", "1")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--data", "short.txt"],
            "Expected a text of at least 10 blocks of 32 tokens, got 3 tokens",
        ),
        (["--data", "text.txt", "--context-length", "33"], "at most 32 tokens, which is what"),
        (["--data", "none.txt"], "Expected a file with text at 'none.txt', found none."),
        (["--data", "text.txt", "--scaling", "standard"], "Expected no scaling for the text"),
        (["--data", "digits", "--context-length", "8"], "Expected text, a file that ends in .txt"),
    ],
)
def test_text_that_does_not_fit_is_one_clear_line(
    command: Command, folder: Path, text: torch.Tensor, options: list[str], message: str
) -> None:
    save("gpt2", folder / "gpt2")
    (folder / "short.txt").write_text("w3 w4 w5", encoding="utf-8")
    assert message in refused(command("analyze", "hf:gpt2", *options))


def test_other_models_read_no_text(command: Command, folder: Path, text: torch.Tensor) -> None:
    model = "tests.support.texts:text_net"
    line = refused(command("analyze", model, "--data", "text.txt"))
    assert "Expected a causal or masked language model of hf:FOLDER" in line
    line = refused(command("search", "--data", "text.txt", "--trials", "1", "--out", "run"))
    assert "only a language model of hf:FOLDER can read" in line


def test_masked_models_need_a_mask_token(
    command: Command, folder: Path, text: torch.Tensor
) -> None:
    save("bert", folder / "bert")
    for name in ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        path = folder / "bert" / name
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("mask_token", None)
            path.write_text(json.dumps(content), encoding="utf-8")
    line = refused(command("analyze", "hf:bert", *TEXT))
    assert "Expected a tokenizer with a mask token in 'bert'" in line
