"""A search refuses wrong options, broken spaces and foreign files before it writes anything."""

from __future__ import annotations

import re
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
    with pytest.raises(SpaceError, match="`suggest`"):
        run(tmp_path / "b", "NoSpace")


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


@pytest.mark.parametrize("name", ["best/important.txt", "best/1/model.json", "report.json"])
def test_files_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(RunFolderError, match=re.escape(path.name)):
        run(tmp_path / "a", trials=2)
    assert contents(tmp_path / "a") == {name: b'{"mine": 1}'}
