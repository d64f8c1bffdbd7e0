"""What came of the advice of a report, where the advice was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from designer.results.diagnosis import Finding
from designer.results.layers import LayerReport
from designer.results.search import Recommendation, TriedEdit
from designer.search.edits.order import OF_BLOCKS, REMEDIES, advised_edit


def with_outcomes(recommendation: Recommendation, tried: Iterable[TriedEdit]) -> Recommendation:
    """Return a recommendation whose findings and advice say what came of trying them.

    Args:
        recommendation: what a search recommends.
        tried: all edits that were tried.
    """
    key = recommendation.trial, recommendation.edits
    own = [edit for edit in tried if (edit.trial, edit.before) == key]
    return replace(
        recommendation,
        diagnosis=tuple(_finding(finding, own) for finding in recommendation.diagnosis),
        layers=tuple(_layer(layer, own) for layer in recommendation.layers),
    )


def _finding(finding: Finding, tried: Sequence[TriedEdit]) -> Finding:
    remedies = REMEDIES[finding.kind]
    outcomes = [
        f"{edit.edit}, {in_words(edit)}"
        for edit in tried
        if edit.kind in remedies and not (edit.kind in OF_BLOCKS and edit.block is None)
    ]
    return replace(finding, tried=bool(outcomes), outcome="; ".join(outcomes))


def _layer(layer: LayerReport, tried: Sequence[TriedEdit]) -> LayerReport:
    advised = advised_edit(layer)
    outcomes = [
        in_words(edit) for edit in tried if (edit.kind, edit.block) == (advised, layer.name)
    ]
    return replace(layer, outcome=outcomes[0]) if outcomes else layer


def in_words(edit: TriedEdit) -> str:
    """Return what came of an edit, without a capital letter and a full stop."""
    change = edit.change
    if change is None:
        return f"not possible ({edit.reason})" if not edit.runs else edit.reason
    interval = ""
    if change.interval is not None:
        low, high = (f"{100 * bound:+.1f}" for bound in change.interval)
        interval = f" ({low} to {high})"
    kept = "kept" if edit.kept else "not kept"
    return f"accuracy {100 * change.mean:+.1f} points{interval}, {kept}"
