"""The examples in ``docs/`` run as they stand."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import optuna

from tests.support.paths import ROOT

DOCS = ROOT / "docs"


def example(name: str) -> dict[str, Any]:
    """All that an example defines, without running its main."""
    return runpy.run_path(str(DOCS / name))


def test_the_design_score_in_an_objective_of_ones_own() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = example("own_objective.py")["main"](trials=3)
    assert len(study.trials) == 3
    assert 0 < study.best_value < 1
    assert all(-1 <= trial.user_attrs["adherence"] <= 1 for trial in study.trials)


def test_the_monitor_in_a_training_loop(tmp_path: Path) -> None:
    rows = example("training_loop.py")["main"](tmp_path / "law.jsonl", epochs=4)
    written = [json.loads(line) for line in (tmp_path / "law.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in written] == [1, 2, 3, 4]
    assert rows[-1].separation[-1] < rows[0].separation[-1]  # the network learns to separate
    assert rows[-1].design_score > rows[0].design_score
