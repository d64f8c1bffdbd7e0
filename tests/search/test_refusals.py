"""A search refuses wrong options, broken spaces and foreign files before it writes anything."""

from __future__ import annotations

import re
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

import designer
from designer.errors import InvalidInputError, RunFolderError, SpaceError
from tests.support.searches import contents, run
from tests.support.toy import write_blobs


def test_a_space_that_breaks_its_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"logits of shape \(n, 3\), got \(1, 4\)"):
        run(tmp_path / "a", "WrongOutputSpace")
    with pytest.raises(SpaceError, match="got probabilities: leave the softmax out"):
        run(tmp_path / "a", "SoftmaxSpace")
    with pytest.raises(SpaceError, match="`suggest`"):
        run(tmp_path / "b", "NoSpace")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("TupleSpace", "choices of 'widths' in space 'tuples' that are text, numbers, .*got tuple"),
        ("NoRateSpace", "specs of space 'no rate' with a learning_rate, .*, got str without one"),
    ],
)
def test_what_no_trial_could_be_trained_with_is_refused(
    space: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpaceError, match=message):
        run(tmp_path / "a", space)
    assert not (tmp_path / "a").exists()


OWN_SPACE = """
from tests.support.toy import TinySpace
from search_spaces import MlpSpace, MlpSpec

class Own(TinySpace):
    name = "own"
    def suggest(self, trial):
        return MlpSpec((8,) * trial.suggest_int("depth", 2, 5), "batch", "relu", 3e-3)
"""


def test_a_space_whose_code_has_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def search() -> None:
        sys.modules.pop("own_space", None)
        invalidate_caches()
        options: dict[str, Any] = {"trials": 2, "epochs": 1, "confirm": 1, "confirm_seeds": 1}
        data, out = "tests.support.toy:blobs", tmp_path / "run"
        designer.search("own_space:Own", data, out=out, edits=0, **options)

    file = tmp_path / "own_space.py"
    file.write_text(OWN_SPACE)
    search()
    file.write_text(f"# a comment\n{OWN_SPACE}")
    search()
    file.write_text(OWN_SPACE.replace('"relu"', '"tanh"'))
    with pytest.raises(RunFolderError, match="The class of the space 'own_space:Own' has changed"):
        search()


def test_a_space_that_cannot_build_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpaceError):
        run(tmp_path / "a", "WrongOutputSpace", workers=2)
    assert not (tmp_path / "a").exists()


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "report.json").read_text()
    other = write_blobs(tmp_path / "other.npz", seed=1)
    for change, named in (
        ({"epochs": 4}, "epochs is '3', not '4'"),
        ({"objective": "law"}, "objective is 'design', not 'law'"),
        ({"seed": 1}, "is"),
        ({"space": "DivergingSpace"}, "space is 'tests.support.toy:TinySpace'"),
    ):
        with pytest.raises(RunFolderError, match=named):
            run(tmp_path, **change)
    with pytest.raises(RunFolderError, match="data is"):
        designer.search("tests.support.toy:TinySpace", str(other), out=tmp_path, epochs=3)
    assert (tmp_path / "report.json").read_text() == before


def test_changed_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    file = write_blobs(tmp_path / "data.npz")
    out = tmp_path / "run"
    designer.search(
        "tests.support.toy:TinySpace", str(file), trials=1, epochs=1, confirm=1, out=out
    )
    write_blobs(file, seed=5)
    with pytest.raises(RunFolderError, match="data fingerprint"):
        designer.search(
            "tests.support.toy:TinySpace", str(file), trials=1, epochs=1, confirm=1, out=out
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 0},
        {"epochs": 0},
        {"workers": 0},
        {"confirm": 0},
        {"confirm_epochs": 0},
        {"confirm_seeds": 0},
        {"max_params": 0},
        {"max_flops": -1},
        {"batch_size": 1},
        {"seed": -1},
        {"objective": "best"},
        {"device": "abacus"},
    ],
)
def test_wrong_options_write_nothing(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Expected"):
        run(tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["best", "best/important.txt", "best/1/model.json", "report.json"])
def test_files_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(RunFolderError, match=re.escape(path.name)):
        run(tmp_path / "a", trials=2)
    assert contents(tmp_path / "a") == {name: b'{"mine": 1}'}
