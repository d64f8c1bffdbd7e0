"""What a claim's program offers, and the list of claims.

A claim is a module of ``benchmarks.claims`` that has the three functions of ``Claim``; the runner,
``benchmarks.run``, does everything else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast

from benchmarks.command import Parser

Figures = dict[str, Any]

CLAIMS = {
    "paper": "what He & Su say of the law, figure by figure",
    "pretrained": "the law in networks that others trained, before and after pruning",
    "separation": "how much faster D is than the textbook form",
    "criterion": "which figure of a short run predicts the accuracy after long training",
    "alpha": "whether WeightWatcher's alpha predicts the accuracy after long training",
    "score": "which form of the score ranks architectures best",
    "published": "what scores of untrained networks are worth in a published table",
    "search": "why the sampler and the pruner are what they are",
    "bounded_history": "whether a sampler that learns from a part of the history proposes as well",
    "payoff": "whether the search pays, beside what Optuna offers",
    "edits": "whether edits that a search tries pay, and what to try first",
    "advice": "whether what a report advises pays, beside random edits and none",
    "diagnosis": "whether the diagnosis names planted defects, and is silent on healthy networks",
    "peers": "which tool names the layers that do nothing: ours, delve or rfa_toolbox",
    "receptive_field": "whether convolutions that see nothing new can go",
    "looks": "what a look between two epochs costs",
    "analysis": "what looking inside costs, in time and in memory",
    "contribution": "which criterion says what every block is needed for, and which can go",
    "zoo": "whether models of torchvision, timm and transformers can be looked into and pruned",
    "language": "which layers of a language model can go: ours or what others publish",
    "max_drop": "whether pruning with --max-drop keeps what it promises",
    "scaling": "how a search scales over cores, workers and trials",
    "streaming": "whether images that are larger than the memory can be analyzed and trained on",
    "gpu": "whether a GPU gives the same figures, and how fast everything is there",
    "residual": "the law with the prediction residual, in a character-level transformer",
}
"""The question that each claim answers, by the name of its module."""


@dataclass(frozen=True)
class Result:
    """What one run of a claim measured."""

    options: argparse.Namespace
    """The options of the run."""
    figures: Figures
    """What goes into the result file, as JSON takes it."""
    seeds: Sequence[int]
    """All seeds that were used."""
    about: Figures = field(default_factory=dict)
    """What is recorded beside command, versions and machine, as JSON takes it."""
    earlier_seconds: float = 0.0
    """Wall time of earlier runs, whose outcomes were kept and used again, in seconds."""


class Claim(Protocol):
    """The functions of a claim's module."""

    __doc__: str | None

    def configure(self, parser: Parser) -> None:
        """Add the claim's own options."""

    def run(self, options: argparse.Namespace) -> Result:
        """Measure."""

    def show(self, result: Result) -> None:
        """Print the figures and what they mean."""


def claim_named(name: str) -> Claim:
    """Return the module of a claim, loaded when it is first used."""
    return cast("Claim", import_module(f"benchmarks.claims.{name}"))
