"""Every source that `--data` takes, and one sentence for every source that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from torch.utils.data import TensorDataset

from designer.data.dataset import Array, BatchedData
from designer.data.loading import load_dataset, load_source
from designer.errors import DataError
from tests.support.datasets import (
    BATCHES,
    Source,
    X,
    Y,
    refused,
    refused_source,
    write_classes,
)


def test_digits() -> None:
    data = load_dataset("digits")
    assert (data.name, data.input_shape, data.num_classes) == ("digits", (1, 8, 8), 10)
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    assert data.class_names == tuple("0123456789")
    assert data.train.inputs.dtype is torch.float32
    assert data.train.labels.dtype is torch.int64
    assert data.warnings == ()


@pytest.mark.parametrize("with_test", [True, False])
def test_npz(here: Path, with_test: bool) -> None:
    arrays = {"x_train": X, "y_train": Y}
    if with_test:
        arrays |= {"x_test": X[:9], "y_test": Y[:9]}
    np.savez(here / "mine.npz", **arrays)  # type: ignore[arg-type]
    data = load_dataset("mine.npz")
    assert data.name == "mine"
    assert data.input_shape == (4,)
    assert len(data.test) == (9 if with_test else 12)
    assert len(data.train) + len(data.validation) == (60 if with_test else 48)


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor, np.ndarray.tolist])
def test_callable_that_returns_a_pair(source: Source, wrap: Callable[[Array], Any]) -> None:
    data = load_dataset(source(wrap(X), wrap(Y)))
    assert (data.name, data.input_shape, data.num_classes) == ("made_up:data", (4,), 3)


def test_callable_that_returns_four_or_a_dict(source: Source) -> None:
    four = load_dataset(source(X, Y, X[:9], Y[:9]))
    named = load_dataset(source({"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]}))
    assert four.fingerprint == named.fingerprint
    assert len(four.test) == 9


def test_callable_in_the_working_folder(here: Path) -> None:
    (here / "my_data.py").write_text(
        "import numpy as np\ndef load():\n    return np.eye(30), np.arange(30) % 3\n"
    )
    assert load_dataset("my_data:load").input_shape == (30,)


@pytest.mark.parametrize(("name", "asked"), [("iris", ("iris", "active")), ("iris@2", ("iris", 2))])
def test_openml(name: str, asked: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(name: str, *, version: Any, **_: Any) -> SimpleNamespace:
        calls.append((name, version))
        return SimpleNamespace(data=X, target=np.array(["a", "b", "c"], dtype=object)[Y])

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    data = load_dataset(f"openml:{name}")
    assert calls == [asked]
    assert (data.name, data.class_names) == (f"openml:{name}", ("a", "b", "c"))


@pytest.mark.parametrize("name", ["", "@2", "iris@two", "iris@"])
def test_openml_by_a_malformed_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", _no_network)
    with pytest.raises(DataError):
        load_dataset(f"openml:{name}")


def test_openml_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", _no_network)
    with pytest.raises(DataError, match=r"'iris' from OpenML \(no network\); check the name"):
        load_dataset("openml:iris")


def _no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")


@pytest.mark.parametrize("path", ["animals", "animals/", "./animals", "x/../animals"])
def test_a_folder_is_named_by_the_last_part_of_its_path(here: Path, path: str) -> None:
    (here / "x").mkdir()
    write_classes(here / "animals")
    assert load_dataset(path).name == "animals"
    assert load_source(path).name == "animals"


def test_the_working_folder_has_its_name(here: Path) -> None:
    write_classes(here)
    assert load_dataset(".").name == here.name


# --- batches ---


class Again:
    """Batches that can be iterated any number of times, without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(BATCHES)


def test_anything_that_can_be_iterated_again_will_do(source: Source) -> None:
    batched = load_source(source({"train": Again()}))
    assert isinstance(batched, BatchedData)
    assert list(batched.train) == list(batched.train) == BATCHES


@pytest.mark.parametrize("load", [load_dataset, load_source])
@pytest.mark.parametrize("returned", [(X, Y), {"train": BATCHES}])
def test_a_callable_is_called_once(
    load: Callable[[str], Any], returned: Any, source: Source
) -> None:
    calls = []

    def data() -> Any:
        calls.append(returned)
        return returned

    name = source(returned)
    sys.modules["made_up"].data = data  # type: ignore[attr-defined]
    with suppress(DataError):
        load(name)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["train", "heldout"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (pair for pair in BATCHES), "iterable more than once, got generator; return a"),
        (lambda: iter(BATCHES), "iterable more than once, got list_iterator; return a"),
        (lambda: zip([1], [2], strict=True), "iterable more than once, got zip; return a"),
        (lambda: X, "as batches .* got ndarray; return a list .* x_train and y_train"),
        (lambda: torch.ones(3), "as batches .* got Tensor"),
        (lambda: BATCHES[0], "as batches .* got tuple"),
        (list, "as batches .* got list"),
        (lambda: [torch.ones(3), torch.ones(3)], "as batches .* got list"),
        (lambda: {"x": 1}, "as batches .* got dict"),
        (lambda: "rubbish", "as batches .* got str"),
        (lambda: 7, "as batches .* got int"),
        (lambda: TensorDataset(torch.ones(3)), "as batches .* got TensorDataset"),
    ],
)
def test_what_are_no_batches(
    source: Source, make: Callable[[], Any], message: str, name: str
) -> None:
    refused_source(source({"train": BATCHES, name: make()}), f"Expected {name} in .*{message}")


def test_batches_of_other_names_are_refused(source: Source) -> None:
    refused_source(source({"train": BATCHES, "valid": BATCHES}), "found valid, too")
    refused_source(source({"train": None}), "Expected train in 'made_up:data' as batches")
    refused_source(source({"heldout": BATCHES}), "x_train and y_train .* found heldout")


# --- sources that cannot be used ---


@pytest.mark.parametrize("name", ["mnist", "", "digits.csv", "some/folder"])
def test_an_unknown_source_names_the_known_ones(name: str) -> None:
    known = "digits, FILE.npz, FILE.txt, FOLDER, openml:"
    refused(name, f"Expected data as one of {known}.* got '{name}'")


def test_a_path_that_cannot_be_looked_at_is_no_folder() -> None:
    refused("x" * 5000, "Expected data as one of digits")
    refused("x" * 5000 + ":data", "Expected package.module:name")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:load", "No module named 'no_such_module'"),
        ("made_up:nothing", "made_up:nothing"),
        ("made_up:", "made_up:"),
        (":load", ":load"),
        ("made_up:constant", "callable, got int"),
        ("made_up:raises", "raised KeyError: 'gone'"),
        ("made_up:loaders", r'or \{"train": loader, "heldout": loader\}, got tuple'),
    ],
)
def test_a_callable_that_cannot_be_used(name: str, message: str, source: Source) -> None:
    source(X, Y)
    module: Any = sys.modules["made_up"]
    module.constant = 3
    module.loaders = lambda: (BATCHES, BATCHES, BATCHES)
    module.raises = lambda: dict[str, int]()["gone"]
    refused(name, message)


@pytest.mark.parametrize("text", ["def (:\n", "raise RuntimeError('on import')\n"])
def test_a_module_that_cannot_be_imported(
    here: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "broken_module.py").write_text(text)
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)
    refused("broken_module:load", "broken_module:load")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not an archive")


def _cut_short(path: Path) -> None:
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(path.read_bytes()[:1000])


def _damaged(path: Path) -> None:
    np.savez_compressed(path, x_train=np.zeros((600, 30)), y_train=np.arange(600) % 3)
    content = bytearray(path.read_bytes())
    content[60:140] = bytes(b ^ 0x55 for b in content[60:140])
    path.write_bytes(content)


def _single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def _folder(path: Path) -> None:
    path.mkdir()


def _missing(path: Path) -> None:
    assert not path.exists()


def _pickled(path: Path) -> None:
    np.savez(path, x_train=X, y_train=np.array(["a", 1, None] * 20, dtype=object))


def _without_x_train(path: Path) -> None:
    np.savez(path, x=X, y=Y)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_missing, "Expected a .npz file at 'bad.npz', found none"),
        (_folder, "Expected a .npz file at 'bad.npz', found none"),
        (_empty, "to be a NumPy archive"),
        (_text, "to be a NumPy archive"),
        (_cut_short, "to be a NumPy archive"),
        (_damaged, "to be a NumPy archive"),
        (_single_array, "Expected .* archive"),
        (_pickled, "to be a NumPy archive of plain arrays"),
        (_without_x_train, "Expected arrays x_train and y_train in 'bad.npz', found x, y"),
    ],
)
def test_files_that_cannot_be_used(here: Path, write: Callable[[Path], None], message: str) -> None:
    write(here / "bad.npz")
    refused("bad.npz", message)
