"""The law with the prediction residual: a small character-level transformer.

    python -m benchmarks.run residual [--steps N] [--depth L] [--json FILE]

He & Su, "A law of next-token prediction in large language models" (2024), measure for each layer
of a language model 1 - R^2 of the least-squares fit from its features to the next token, and find
that it falls by about the same factor per layer.  Here a causal transformer learns to predict the
next character of text that every Python brings along, the documentation strings of its standard
library; the residual is shown before and after training, on training and on held-out text.
"""

from __future__ import annotations

import argparse
import ast
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor, nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, positive, say, wide_console
from designer import SeparationProfile, profile

CONTEXT, WIDTH, HEADS, BATCH = 64, 64, 4, 32
RARE = 200
"""Characters that occur less often count as one and the same."""
CHARACTERS = 1_000_000
HELDOUT = 0.1
MEASURED = 256
"""Sequences of either part on which the residual is measured."""
LEARNING_RATE = 2e-3
SEEDS = (0, 1, 2)


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--steps", type=positive, default=1200, help="training steps")
    parser.add_argument("--depth", type=positive, default=6, help="transformer layers")


def run(options: argparse.Namespace) -> Result:
    """Train and measure with every seed."""
    corpus = encoded(text())
    characters = len(corpus.train) + len(corpus.heldout)
    say(f"{characters:,} characters, {corpus.vocabulary} different ones")
    runs = [trained_run(corpus, options.depth, options.steps, seed) for seed in SEEDS]
    figures = {"characters": characters, "vocabulary": corpus.vocabulary, "runs": runs}
    return Result(options, figures, SEEDS, about={"python": sys.version.split()[0]})


@dataclass(frozen=True, eq=False)
class Corpus:
    """Text as numbers, one for each character."""

    train: Tensor
    """(n,) characters to train on."""
    heldout: Tensor
    """(m,) characters that follow them."""
    vocabulary: int
    """Number of different characters; the last one stands for all rare ones."""


def text() -> str:
    """Return documentation strings of the standard library, in the order of its files."""
    collected: list[str] = []
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("[a-z]*/*.py")):
        if "site-packages" not in path.parts and "test" not in path.parts:
            collected.extend(docstrings(path))
            if sum(map(len, collected)) > CHARACTERS:
                break
    return "\n".join(collected)[:CHARACTERS]


def docstrings(path: Path) -> Iterator[str]:
    """Yield the documentation strings of a module and of everything in it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # test data of the library's own
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            docstring := ast.get_docstring(node)
        ):
            yield docstring


def encoded(characters: str) -> Corpus:
    """Return a text as numbers, cut into a training and a held-out part."""
    counts = {c: characters.count(c) for c in sorted(set(characters))}
    common = [c for c, count in counts.items() if count >= RARE]
    index = {c: i for i, c in enumerate(common)}
    codes = torch.tensor([index.get(c, len(common)) for c in characters])
    cut = int(len(codes) * (1 - HELDOUT))
    return Corpus(codes[:cut], codes[cut:], len(common) + 1)


class CharacterModel(nn.Module):
    """A transformer: token and position embedding, causal pre-norm layers, a linear head."""

    def __init__(self, vocabulary: int, depth: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH,
                HEADS,
                2 * WIDTH,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, vocabulary)
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, CONTEXT, vocabulary) of the next characters."""
        x = self.tokens(tokens) + self.positions.weight
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        logits: Tensor = self.head(self.norm(x))
        return logits


def trained_run(corpus: Corpus, depth: int, steps: int, seed: int) -> Figures:
    """Train one network and measure it before and after."""
    torch.manual_seed(seed)
    model = CharacterModel(corpus.vocabulary, depth)
    parts = [windows(part, MEASURED, seed=100 + seed) for part in (corpus.train, corpus.heldout)]
    before = residuals(model, parts)
    started = time.perf_counter()
    loss = learn(model, corpus.train, steps, seed)
    return {
        "steps": steps,
        "depth": depth,
        "final_loss": round(loss, 4),
        "training_seconds": round(time.perf_counter() - started, 1),
        "before": before,
        "after": residuals(model, parts),
    }


def learn(model: nn.Module, characters: Tensor, steps: int, seed: int) -> float:
    """Train with Adam and a one-cycle rate; return the mean loss of the last tenth in nats."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    losses = []
    for step in range(steps):
        inputs, targets = windows(characters, BATCH, seed=seed * steps + step)
        loss = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % max(1, steps // 5) == 0:
            say(f"seed {seed}: step {step + 1}/{steps}, loss {losses[-1]:.3f}")
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def windows(characters: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (count, CONTEXT) characters from random places, and those that follow each."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(characters) - CONTEXT, (count, 1), generator=generator)
    rows = starts + torch.arange(CONTEXT + 1)
    return characters[rows[:, :-1]], characters[rows[:, 1:]]


def residuals(model: nn.Module, parts: Sequence[tuple[Tensor, Tensor]]) -> Figures:
    """Return the residual of every layer and the law, on training and held-out text."""
    layers = profile(model, parts[0], parts[1], measure="residual", batch_size=64)
    return {
        "layers": [layer.name for layer in layers.layers],
        "train": _rounded(layers.values.tolist()),
        "heldout": _rounded(layers.values_heldout.tolist()),
        "accuracy_heldout": round(layers.accuracy_heldout, 4),
        "law": heldout_law(layers),
    }


def heldout_law(layers: SeparationProfile) -> Figures:
    """Return the law on held-out text."""
    fit = layers.law_heldout
    assert fit is not None
    return {
        "rho": round(fit.rho, 4),
        "r": round(fit.r, 4),
        "uniformity": round(fit.uniformity, 4),
        "total_reduction": round(fit.total_reduction, 4),
        "status": str(fit.status),
    }


def show(result: Result) -> None:
    """Print every run."""
    for seed, figures in zip(result.seeds, result.figures["runs"], strict=True):
        show_run(figures, seed)


def show_run(figures: Figures, seed: int) -> None:
    """Print the residual of one run, layer by layer."""
    before, after = figures["before"], figures["after"]
    table = Table("block", "before training", "train", "held-out")
    table.title = f"1 - R^2, seed {seed}, loss {figures['final_loss']:.3f} nats"
    for i, name in enumerate(after["layers"]):
        row = (before["heldout"][i], after["train"][i], after["heldout"][i])
        table.add_row(name, *(f"{value:.4f}" for value in row))
    console = wide_console()
    console.print(table)
    fit = after["law"]
    console.print(
        f"Held-out: rho {fit['rho']:.3f}, r {fit['r']:.3f}, uniformity "
        f"{fit['uniformity']:.2f}; {100 * after['accuracy_heldout']:.1f} % of the next "
        f"characters are right.",
        highlight=False,
    )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 5) for value in values]
