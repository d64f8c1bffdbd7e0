"""Evidence for WeightWatcher's alpha as a predictor of the accuracy after long training."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.alpha import CRITERIA, LONG, SHORT
from benchmarks.evidence.markdown import table, with_interval
from benchmarks.result_files import is_measured, read_result

FILE = "alpha.json"


def alpha() -> Iterator[str]:
    """Yield how alpha ranks architectures, beside the design score."""
    if not is_measured(FILE):
        return
    yield (
        "\n**And WeightWatcher's alpha?** Spearman's correlation with the test accuracy after "
        f"{LONG} epochs, of minus the mean exponent of the power laws that it fits to the spectra "
        f"of all weights, after {SHORT} epochs and at the end, and of two figures of the short "
        "run; architectures drawn at random, one seed. Many layers have fewer than the 50 "
        "eigenvalues that its authors ask for (`python -m benchmarks.run alpha`)."
    )
    columns = ("networks", "data", *CRITERIA)
    yield from table(columns, map(_row, read_result(FILE)["groups"]), text_columns=2)
    yield ""


def _row(group: Figures) -> list[str]:
    correlations = [with_interval(group["spearman"][name]) for name in CRITERIA]
    return [f"{group['networks']} {group['space']}", group["data"], *correlations]
