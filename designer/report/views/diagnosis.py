"""Sentences on what is wrong with a network as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.results.diagnosis import Finding


def diagnosis_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield one line for each finding: what is wrong, the evidence, and what to do."""
    for finding in findings:
        kind = finding.kind[0].upper() + finding.kind[1:]
        outcome = f"Tried: {finding.outcome}." if finding.tried else "Not tried."
        yield f"{kind}: {finding.evidence} {finding.advice} {outcome}"


def diagnosis_in_short(findings: Sequence[Finding]) -> str:
    """Return all that is wrong in one sentence with a space behind it; nothing if nothing is."""
    kinds = "; ".join(finding.kind for finding in findings)
    return f"Diagnosis: {kinds}. " if kinds else ""
