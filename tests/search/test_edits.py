"""Edits of recommended networks: which are tried, in what order, and which are kept."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import designer
from designer.errors import InvalidInputError
from designer.folders import STORAGE_FILE
from designer.measures.intervals import t_interval
from designer.results.diagnosis import Finding, FindingKind
from designer.results.layers import LayerReport, PairedChange
from designer.results.measured import Verdict
from designer.results.search import TriedEdit
from designer.results.serialisation import read_result
from designer.search.confirmation import CandidateKey, ConfirmedCandidate
from designer.search.edits.judgement import HOPELESS, TOLERANCE, is_hopeless, judge
from designer.search.edits.order import REMEDIES, USUAL, in_order
from designer.search.edits.outcomes import with_outcomes
from designer.search.edits.proposing import title_of
from designer.search.study.records import TrialRecord
from designer.search.workers import worker
from search_spaces import Edit, EditKind, MlpSpace, MlpSpec
from tests.support.command import exit_code
from tests.support.paths import ROOT
from tests.support.sample_reports import OVER_DEEP, network
from tests.support.searches import comparable, confirmed, contents, run

# --- what is kept ---


def test_t_interval_is_students() -> None:
    # 12.706 is the 97.5 % quantile of Student's t with one degree of freedom
    interval = t_interval([1.0, 3.0])
    assert interval is not None
    assert interval == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert t_interval([1.0]) is None


def test_what_is_surely_more_accurate_is_kept_whatever_its_size() -> None:
    before, after = confirmed([0.80, 0.81, 0.79]), confirmed([0.90, 0.91, 0.89], 9000)
    judgement = judge(before, after, best=0.8)
    assert judgement.kept
    assert judgement.change is not None
    assert judgement.change.mean == pytest.approx(0.1)
    assert judgement.change.interval == pytest.approx((0.1, 0.1))
    assert judgement.change.runs == 3


def test_the_interval_of_a_change_leads_to_accuracies_from_0_to_1() -> None:
    wild = judge(confirmed([0.9, 0.5]), confirmed([0.5, 0.6], 9000), best=0.7).change
    assert wild is not None
    assert wild.interval == pytest.approx((-0.7, 0.3))
    perfect = judge(confirmed([0.7, 0.7, 0.7]), confirmed([1.0, 1.0, 1.0], 9000), best=0.7)
    assert perfect.kept
    assert perfect.change is not None
    assert perfect.change.interval == pytest.approx((0.3, 0.3))


def test_two_seeds_that_gain_the_same_prove_nothing() -> None:
    change = PairedChange(0.01, (0.01, 0.01), 2)
    assert not change.surely_positive
    assert replace(change, runs=3).surely_positive


def test_a_change_is_paired_by_seed() -> None:
    before, after = confirmed([0.5, 0.7, 0.9]), confirmed([0.6, 0.8, 1.0], 9000)
    assert judge(before, after, best=0.7).kept  # the seeds differ by far more than the change
    assert not judge(before, confirmed([0.9, 0.6, 0.9], 9000), best=0.7).kept


@pytest.mark.parametrize(("lost", "kept"), [(0.0, True), (0.004, True), (0.006, False)])
def test_what_is_smaller_may_lose_half_a_point_against_the_best(lost: float, *, kept: bool) -> None:
    best, before = 0.9, confirmed([0.89, 0.89, 0.89])
    after = confirmed([best - lost + d for d in (-0.02, 0.0, 0.02)], 500)
    assert judge(before, after, best).kept is kept
    assert TOLERANCE == 0.005


def test_what_was_given_up_after_its_first_run_is_not_kept_beside_a_worse_mean() -> None:
    before, after = confirmed([0.95, 0.90, 0.91]), confirmed([0.93], 500)
    judgement = judge(before, after, best=before.validation_accuracy.mean)
    assert not judgement.kept
    assert judgement.reason == "2.0 points less accurate in 1 run, and given up"


def test_what_is_as_large_must_be_surely_more_accurate() -> None:
    before, after = confirmed([0.80, 0.80, 0.80]), confirmed([0.81, 0.80, 0.83])
    judgement = judge(before, after, best=0.8)
    assert not judgement.kept
    assert "not surely more accurate" in judgement.reason


@pytest.mark.parametrize(
    ("first_run", "parameters", "hopeless"),
    [
        (0.80 - HOPELESS - 0.001, 500, True),
        (0.80 - HOPELESS + 0.001, 500, False),
        (0.80, 1000, True),  # with this run the interval cannot lie above zero
        (0.801, 1000, False),
    ],
)
def test_the_first_run_may_end_an_edit(
    first_run: float, parameters: int, *, hopeless: bool
) -> None:
    before = confirmed([0.80, 0.95, 0.95])
    assert is_hopeless(before, confirmed([first_run], parameters)) is hopeless


def test_a_network_without_a_common_seed_is_not_judged() -> None:
    nobody = replace(confirmed([0.9]), runs=(), profiles=())
    assert not is_hopeless(confirmed([0.9]), nobody)  # a further run may have a seed in common
    judgement = judge(confirmed([0.9]), nobody, best=0.9)
    assert not judgement.kept
    assert judgement.reason == "no seed in common with the network before it"


# --- what is tried first ---


class Reported(ConfirmedCandidate):
    """A candidate with layers and a diagnosis that were not measured."""

    layers: tuple[LayerReport, ...] = ()
    diagnosis: tuple[Finding, ...] = ()


def reported(
    layers: dict[str, tuple[int, Verdict]], findings: Sequence[FindingKind] = ()
) -> ConfirmedCandidate:
    """Return a candidate with blocks of these widths and verdicts, and with these findings."""
    source = network(1, {name: (1.0, verdict) for name, (_, verdict) in layers.items()})
    blocks = tuple(
        replace(
            layer,
            width=layers[layer.name][0],
            advice="keep" if layer.verdict is Verdict.OK else layer.advice,
        )
        for layer in source.layers
    )
    candidate = Reported(confirmed([0.9]).candidate, (), ())
    vars(candidate).update(
        layers=blocks, diagnosis=tuple(Finding(kind, "", "") for kind in findings)
    )
    return candidate


def order(candidate: ConfirmedCandidate) -> list[tuple[str, str | None]]:
    spec = MlpSpec((64, 32, 64), "none", "relu", 1e-3)
    return [(edit.kind, edit.block) for edit in in_order(MlpSpace().edits(spec), candidate)]


SOUND = {
    "blocks.0": (64, Verdict.OK),
    "blocks.1": (32, Verdict.OK),
    "blocks.2": (64, Verdict.OK),
}


def test_a_sound_network_gets_the_usual_edits_and_those_of_its_extreme_blocks() -> None:
    assert order(reported(SOUND)) == [
        *((kind, None) for kind in USUAL),
        (EditKind.NARROW_BLOCK, "blocks.0"),
        (EditKind.REMOVE_BLOCK, "blocks.1"),
        (EditKind.WIDEN_BLOCK, "blocks.1"),
    ]


@pytest.mark.parametrize("finding", [k for k in FindingKind if k is not FindingKind.TOO_NARROW])
def test_remedies_come_first_and_nothing_twice(finding: FindingKind) -> None:
    wishes = order(reported(SOUND, [finding]))
    remedies = REMEDIES[finding]
    assert [kind for kind, _ in wishes[: len(remedies)]] == list(remedies)
    assert len(set(wishes)) == len(wishes)


def test_blocks_without_directions_are_widened_or_removed_before_all_others() -> None:
    layers = {**SOUND, "blocks.2": (64, Verdict.DEGENERATE)}
    assert order(reported(layers, [FindingKind.TOO_NARROW]))[:3] == [
        (EditKind.WIDEN_BLOCK, "blocks.2"),
        (EditKind.REMOVE_BLOCK, "blocks.2"),
        (EditKind.DOUBLE_WIDTH, None),
    ]


def test_idle_blocks_are_removed_before_the_usual_edits() -> None:
    layers = {**SOUND, "blocks.0": (64, Verdict.IDLE)}
    assert order(reported(layers))[0] == (EditKind.REMOVE_BLOCK, "blocks.0")


def test_what_only_the_space_knows_comes_last() -> None:
    own = Edit("other weather", {})
    edits = [own, Edit(EditKind.HALF_DEPTH, {}), Edit(EditKind.NARROW_BLOCK, {}, "blocks.1")]
    assert in_order(edits, reported(SOUND)) == [edits[1], own]


def test_the_title_of_an_edit_names_its_block() -> None:
    assert title_of(Edit(EditKind.HALF_DEPTH, {})) == "half the blocks"
    assert title_of(Edit(EditKind.REMOVE_BLOCK, {}, "blocks.3")) == "without blocks.3"


# --- what came of advice ---


def tried(**changes: Any) -> TriedEdit:
    """Return an edit of the network of trial 5, which lost two points."""
    usual = TriedEdit(
        trial=5,
        before=(),
        edit="half the blocks",
        kind=EditKind.HALF_DEPTH,
        block=None,
        parameters_before=1000,
        parameters=600,
        change=PairedChange(-0.02, (-0.03, -0.01), 3),
        runs=3,
        reason="2.0 points below the best before it",
    )
    return replace(usual, **changes)


def test_findings_and_advice_say_what_came_of_them() -> None:
    plain = network(1, {"blocks.0": (1.0, Verdict.OK), "blocks.1": (1.0, Verdict.IDLE)})
    before = replace(plain, trial=5, diagnosis=(OVER_DEEP,))
    removed = tried(
        edit="without blocks.1",
        kind=EditKind.REMOVE_BLOCK,
        block="blocks.1",
        change=PairedChange(0.004, None, 1),
        kept=True,
    )
    after = with_outcomes(before, [tried(), removed, tried(trial=6), tried(before=("x",))])
    (finding,) = after.diagnosis
    assert finding.tried
    assert finding.outcome == "half the blocks, accuracy -2.0 points (-3.0 to -1.0), not kept"
    assert [layer.outcome for layer in after.layers] == ["", "accuracy +0.4 points, kept"]
    untouched = with_outcomes(before, [tried(trial=6), replace(removed, block="blocks.0")])
    assert untouched == before


def test_what_was_not_possible_is_said_to_be() -> None:
    before = replace(network(1, {"blocks.0": (1.0, Verdict.OK)}), trial=5, diagnosis=(OVER_DEEP,))
    refused = tried(change=None, runs=0, reason="depth 1 is outside of 2 to 12")
    (finding,) = with_outcomes(before, [refused]).diagnosis
    assert finding.outcome == "half the blocks, not possible (depth 1 is outside of 2 to 12)"


# --- a search with edits ---


def edit_runs(out: Path) -> list[optuna.trial.FrozenTrial]:
    """Return the finished and failed runs of edits in a run folder."""
    study = optuna.load_study(study_name="edits", storage=f"sqlite:///{out / STORAGE_FILE}")
    return [t for t in study.get_trials() if t.state.name in {"COMPLETE", "FAIL"}]


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("edited") / "run"
    run(out, "EditableSpace", edits=7, epochs=2)
    return out


def test_as_many_runs_are_made_as_are_asked_for(edited: Path) -> None:
    result = read_result(edited)
    assert sum(edit.runs for edit in result.tried) == len(edit_runs(edited)) == 7
    assert "no_edits" not in {warning.code for warning in result.warnings}


def test_edits_are_new_candidates_trained_as_their_parents_were(edited: Path) -> None:
    storage = f"sqlite:///{edited / STORAGE_FILE}"
    runs = optuna.load_study(study_name="confirmation", storage=storage).get_trials()
    known = {json.dumps(TrialRecord.read(run).spec, sort_keys=True) for run in runs}
    records = [TrialRecord.read(trial) for trial in edit_runs(edited)]
    specs = {(r.confirms, r.edits): json.dumps(r.spec, sort_keys=True) for r in records}
    assert len(set(specs.values())) == len(specs)
    assert not known & set(specs.values())
    assert {record.seed for record in records} <= {1, 2}
    assert {record.epochs for record in records} == {6}


def test_edits_that_the_space_refuses_are_listed_with_the_reason(edited: Path) -> None:
    refused = [edit for edit in read_result(edited).tried if not edit.runs]
    assert refused
    assert all(edit.change is None and edit.reason for edit in refused)
    reasons = {edit.reason for edit in refused}
    assert reasons & {"depth 2 is outside of 3 to 4", "depth 5 is outside of 3 to 4"}


def test_kept_edits_lead_from_one_network_to_the_next(edited: Path) -> None:
    result = read_result(edited)
    reached: set[CandidateKey] = {(edit.trial, ()) for edit in result.tried}
    for edit in result.tried:
        assert (edit.trial, edit.before) in reached
        if edit.kept:
            reached.add((edit.trial, (*edit.before, edit.edit)))
    assert {(r.trial, r.edits) for r in result.recommendations if r.edits} <= reached


def test_the_same_seed_tries_the_same_and_a_finished_run_is_not_repeated(
    edited: Path, tmp_path: Path
) -> None:
    again = run(tmp_path / "again", "EditableSpace", edits=7, epochs=2)
    assert comparable(again) == comparable(read_result(edited))
    runs = edit_runs(tmp_path / "again")
    continued = run(tmp_path / "again", "EditableSpace", edits=7, epochs=2)
    assert comparable(continued) == comparable(again)
    assert edit_runs(tmp_path / "again") == runs


def test_more_runs_go_on_from_fewer(edited: Path, tmp_path: Path) -> None:
    run(tmp_path / "a", "EditableSpace", edits=3, epochs=2)
    assert len(edit_runs(tmp_path / "a")) == 3
    longer = run(tmp_path / "a", "EditableSpace", edits=7, epochs=2)
    assert comparable(longer) == comparable(read_result(edited))


def test_recommended_models_are_the_edited_ones(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "EditableSpace", edits=20, epochs=8)
    edits = [r for r in result.recommendations if r.edits]
    assert edits, result.tried  # on blobs a narrower network is as accurate
    for recommendation in edits:
        loaded = designer.load_best(tmp_path / "a" / "best" / str(recommendation.rank), trust=True)
        assert sum(p.numel() for p in loaded.model.parameters()) == recommendation.parameters
        assert loaded.spec == recommendation.spec
        assert ", ".join(recommendation.edits) in recommendation.reason


def test_nothing_is_tried_with_zero_runs(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "EditableSpace", edits=0)
    assert result.tried == ()
    assert edit_runs(tmp_path / "a") == []


def test_fewer_than_zero_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInputError, match="Expected edits of at least 0, got -1"):
        designer.search(edits=-1)
    assert exit_code("search", "--edits", "-1") == 2
    assert "Expected edits of at least 0, got -1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("TinySpace", "the space 'tiny' has no method `edits`"),
        ("StubbornSpace", "RuntimeError: no edits today."),
        ("NoEditsSpace", "TypeError: expected edits as search_spaces.Edit, got str."),
    ],
)
def test_a_space_without_edits_works_and_says_so(space: str, message: str, tmp_path: Path) -> None:
    result = run(tmp_path / "a", space, edits=4, confirm=1)
    assert result.recommendations
    assert result.tried == ()
    (warning,) = (w for w in result.warnings if w.code == "no_edits")
    assert (
        message.replace("3", str(len(result.recommendations[0].spec["widths"]))) in warning.message
    )


def test_an_edit_that_diverges_is_a_row_with_its_reason(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "DivergingEditsSpace", edits=6, trials=8)
    diverged = [edit for edit in result.tried if edit.edit == EditKind.ONE_BLOCK_FEWER]
    assert diverged
    assert all("The training loss became" in edit.reason for edit in diverged)
    assert all(not edit.kept and edit.runs == 1 and edit.change is None for edit in diverged)


def test_edits_of_one_title_are_trained_one_by_one(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "SameTitleSpace", edits=8, confirm=1, confirm_seeds=1, trials=3)
    trained = [edit for edit in result.tried if edit.runs]
    assert len(trained) > 1
    records = [TrialRecord.read(run) for run in edit_runs(tmp_path / "a")]
    assert len({json.dumps(record.spec) for record in records}) == len(records) == len(trained)


def test_a_search_that_another_process_goes_on_with_tries_the_same(
    edited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_amid_confirmation(progress: Any) -> None:
        if progress.phase == "confirmation" and progress.finished == 2:
            signal.raise_signal(signal.SIGINT)

    run(tmp_path / "a", "EditableSpace", edits=7, epochs=2, progress=stop_amid_confirmation)
    monkeypatch.setattr(worker, "worker_name", lambda process: f"another:{process}")
    continued = run(tmp_path / "a", "EditableSpace", edits=7, epochs=2)
    assert comparable(continued) == comparable(read_result(edited))


def test_workers_take_no_more_edits_than_there_are_runs(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "EditableSpace", edits=1, epochs=2, workers=2)
    assert sum(edit.runs for edit in result.tried) == 1
    assert "no run of it came to its end" not in {edit.reason for edit in result.tried}


def test_an_edit_that_breaks_a_limit_is_a_row_with_its_reason(tmp_path: Path) -> None:
    limit = 8 * 16 + 3 * 16 * 18  # fewer than four blocks of 24 have
    result = run(tmp_path / "a", "EditableSpace", edits=6, max_params=limit)
    largest = max(r.parameters for r in result.recommendations)
    assert largest <= limit
    assert all((edit.parameters or 0) <= limit for edit in result.tried)
    assert "1,043 parameters, over the limit of 992" in [edit.reason for edit in result.tried]


def test_two_workers_that_are_killed_amid_edits_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = (
        f"--data tests.support.toy:blobs --space tests.support.toy:SlowSpace --trials 4 "
        f"--epochs 1 --workers 2 --confirm 2 --confirm-epochs 9 --confirm-seeds 2 --edits 9 "
        f"--json --out {out}"
    )
    command = [sys.executable, "-m", "designer", "search", *options.split()]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not _some_edits_are_done(out):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {t.number: t.values for t in edit_runs(out) if t.values}
    assert 0 < len(done) < 9
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    after = {t.number: t.values for t in edit_runs(out) if t.values}
    assert len(after) == 9
    assert after.items() >= done.items()
    assert sum(edit.runs for edit in read_result(out).tried) == 9


def _some_edits_are_done(out: Path) -> bool:
    """Return True once two edits are complete; without Optuna, which would write."""
    query = (
        "SELECT count(*) FROM trials JOIN studies USING (study_id) "
        "WHERE study_name = 'edits' AND state = 'COMPLETE'"
    )
    with suppress(sqlite3.OperationalError):  # it is not there yet, or is being written
        connection = sqlite3.connect(f"file:{out / STORAGE_FILE}?mode=ro", uri=True)
        with closing(connection):
            return bool(connection.execute(query).fetchone()[0] >= 2)
    return False


def test_a_stop_amid_edits_keeps_what_was_recommended(tmp_path: Path) -> None:
    out = tmp_path / "a"
    first = run(out, "EditableSpace", edits=3, epochs=2)
    best = contents(out / "best")

    def stop_amid_edits(progress: Any) -> None:
        if progress.phase == "edits" and progress.finished >= 4:
            signal.raise_signal(signal.SIGINT)

    stopped = run(out, "EditableSpace", edits=12, epochs=2, progress=stop_amid_edits)
    earlier = [w.message for w in stopped.warnings if w.code == "earlier_recommendations"]
    assert earlier[0].endswith("before all edits of its best networks were tried.")
    assert stopped.recommendations == first.recommendations
    assert contents(out / "best") == best
    assert "interrupted" in {warning.code for warning in stopped.warnings}
    unstopped = run(tmp_path / "b", "EditableSpace", edits=12, epochs=2)
    assert comparable(run(out, "EditableSpace", edits=12, epochs=2)) == comparable(unstopped)
