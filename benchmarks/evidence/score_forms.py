"""Evidence for the form of the design score, beside other forms."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.score import BEFORE, FORMS, REFERENCE, TODAY
from benchmarks.evidence.markdown import table
from benchmarks.result_files import is_measured, read_result

FILE = "score.json"

SHOWN_EPOCHS = ("5", "10")

LABELS = {
    TODAY: "**today: (H + V3) A**",
    BEFORE: "before: H A",
    REFERENCE: "validation accuracy V",
    "V3": "V over three epochs",
    "F": "summed training loss F",
}


def score_forms() -> Iterator[str]:
    """Yield how each form ranks, as means over the pools on which none was chosen."""
    if not is_measured(FILE):
        return
    result = read_result(FILE)
    pools = [name for name in result["pools"] if name != result["chosen_on"]]
    yield (
        f"\n**Which form of the score ranks best?** Spearman with the accuracy after long "
        f"training, over all architectures and among the better half of them, and the lead over "
        f"validation accuracy, as means over {len(pools)} pools ({', '.join(pools)}), with 95 % "
        f"intervals over pools; worst: the smallest lead of any pool, over all architectures. H is "
        f"held-out separation, V validation accuracy, V3 the same over the last three epochs, F "
        f"the summed training loss, A the factor of the adherence; ranks are added where a form "
        f"says so, and *learned* weights are fitted to how earlier values predicted later ones "
        f"(`python -m benchmarks.run score`, from the raw rows in `benchmarks/results/pools`). On "
        f"{result['chosen_on']}, which is not in these means, {result['chosen']} is best; a form "
        f"of ranks needs all trials of a search at once, so the score of a trial cannot have it."
    )
    for epochs in SHOWN_EPOCHS:
        forms = result["over_pools"][epochs]
        yield from table(
            (f"after {epochs} epochs", "all", "lead", "worst", "better half", "lead"),
            [_row(name, forms[name]) for name in FORMS],
        )
        yield ""


def _row(name: str, form: Figures) -> list[str]:
    return [
        LABELS.get(name, name),
        f"{form['all']['mean']:.3f}",
        _lead(form["all_lead"]),
        f"{form['worst_lead']:+.3f}",
        f"{form['top_half']['mean']:.3f}",
        _lead(form["top_half_lead"]),
    ]


def _lead(lead: Figures) -> str:
    low, high = lead["interval"]
    return f"{lead['mean']:+.3f} ({low:+.3f} to {high:+.3f})" if low is not None else "-"
