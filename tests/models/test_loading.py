"""Load models from callables and from the folders that search and prune write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import designer
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import ModelError, RunFolderError
from designer.models.loaded import LoadedModel
from designer.models.loading import load_best, load_model
from designer.training.trainer import accuracy
from tests.support.toy import TinySpace
from tests.support.trained import same_state, state_of

HERE = "tests.models.test_loading"

SPACE = "tests.support.toy:TinySpace"

State = dict[str, Any]


# --- what the command line may name ---


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2))


class Net(nn.Module):
    """A model that is named by its class."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)


READY = nn.Linear(3, 2)

NUMBER = 5


def make_nothing() -> None:
    pass


def make_of(width: int) -> nn.Module:
    return nn.Linear(width, 2)


def fail() -> nn.Module:
    raise ValueError("no such width\nand more")


def leave() -> nn.Module:
    raise SystemExit(3)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "toy"
    data = load_dataset("tests.support.toy:blobs", train_size=60, seed=3)
    search_quickly(data, out)
    return out


def search_quickly(data: Dataset, out: Path) -> None:
    designer.search(
        SPACE,
        data,
        out=out,
        trials=2,
        epochs=2,
        confirm=1,
        confirm_seeds=1,
        confirm_epochs=2,
    )


class TestCallables:
    @pytest.mark.parametrize(("name", "kind"), [("make", nn.Sequential), ("Net", Net)])
    def test_a_function_or_class_makes_the_model(self, name: str, kind: type) -> None:
        loaded = load_model(f"{HERE}:{name}")
        assert type(loaded.model) is kind
        assert not any(module.training for module in loaded.model.modules())
        assert loaded.name == f"{HERE}:{name}"
        assert (loaded.spec, loaded.input_shape, loaded.class_names) == ({}, None, ())
        assert (loaded.scaling, loaded.data_options, loaded.data_fingerprint) == (None, {}, "")

    def test_a_module_is_copied_with_its_weights(self) -> None:
        model = load_model(f"{HERE}:READY").model
        assert model is not READY
        assert same_state(model, READY.state_dict())

    def test_the_seed_decides_the_weights(self) -> None:
        first, again, different = (
            load_model(f"{HERE}:make", seed=seed).model for seed in (1, 1, 2)
        )
        assert same_state(first, again.state_dict())
        assert not torch.equal(first.state_dict()["0.weight"], different.state_dict()["0.weight"])

    def test_the_working_folder_is_searched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = "import torch\nNET = torch.nn.Linear(50, 2)\n"
        (tmp_path / "a_net_of_mine.py").write_text(code)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        state = torch.random.get_rng_state()
        first = load_model("a_net_of_mine:NET", seed=4).model
        assert torch.equal(torch.random.get_rng_state(), state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            assert same_state(first, state_of(nn.Linear(50, 2)))

    def test_leaves_the_global_generator_as_it_was(self) -> None:
        state = torch.random.get_rng_state()
        load_model(f"{HERE}:make", seed=7)
        with pytest.raises(ModelError):
            load_model(f"{HERE}:fail")
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_weights_are_loaded(self, tmp_path: Path) -> None:
        stored = state_of(make())
        save_file(stored, tmp_path / "w.safetensors")
        loaded = load_model(f"{HERE}:make", tmp_path / "w.safetensors")
        assert same_state(loaded.model, stored)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (f"{HERE}:fail", f"'{HERE}:fail' raised ValueError: no such width."),
            (f"{HERE}:leave", f"'{HERE}:leave' raised SystemExit: 3."),
            (f"{HERE}:make_of", "raised TypeError: .*missing 1 required positional argument"),
            (f"{HERE}:make_nothing", "to return a torch.nn.Module, got NoneType."),
            (f"{HERE}:NUMBER", f"Expected '{HERE}:NUMBER' to be callable, got int."),
            (f"{HERE}:Nothing", f"'{HERE}:Nothing' raised AttributeError"),
            ("no_such_package:make", "raised ModuleNotFoundError: No module named"),
            ("runs/nowhere", "or as a folder that a search wrote.*, got 'runs/nowhere'."),
            ("", "got ''."),
        ],
    )
    def test_what_is_no_model_is_said_in_one_line(
        self, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ModelError, match=message) as refused:
            load_model(name)
        assert "\n" not in str(refused.value)


class TestFolders:
    def test_a_recommended_model_remembers_its_data(self, searched: Path) -> None:
        folder = searched / "best" / "1"
        loaded = load_model(str(folder), trust=SPACE)
        assert loaded.name == str(folder)
        assert not loaded.model.training
        assert loaded.input_shape == (6,)
        assert loaded.class_names == ("0", "1", "2")
        assert loaded.spec["widths"]
        data = load_dataset(**loaded.data_options)
        assert len(data.train) == 60
        assert data.options["seed"] == 3
        assert data.fingerprint == loaded.data_fingerprint
        assert data.scaling == loaded.scaling
        reported = json.loads((searched / "report.json").read_text())["recommendations"][0]
        assert accuracy(loaded.model, data.test) == reported["test_accuracy"]["mean"]

    def test_a_given_scaling_is_remembered(self, tmp_path: Path) -> None:
        scaling = {"mean": [0.0] * 6, "scale": [2.0] * 6}
        data = load_dataset("tests.support.toy:blobs", scaling=scaling)
        search_quickly(data, tmp_path)
        loaded = load_model(tmp_path, trust=[SPACE])
        again = load_dataset(**loaded.data_options)
        assert torch.equal(again.train.inputs, data.train.inputs)

    def test_a_run_folder_stands_for_its_best(self, searched: Path) -> None:
        run, best = (load_model(f, trust=SPACE) for f in (str(searched), searched / "best" / "1"))
        assert run.name == str(searched)
        assert same_state(run.model, state_of(best.model))

    def test_other_weights_can_be_put_in(self, searched: Path, tmp_path: Path) -> None:
        trained = load_model(searched, trust=SPACE).model
        zeros = {k: v * 0 for k, v in state_of(trained).items()}
        save_file(zeros, tmp_path / "zeros")
        assert same_state(load_model(searched, tmp_path / "zeros", trust=SPACE).model, zeros)

    def test_older_folders_say_nothing_of_their_data(self, searched: Path, tmp_path: Path) -> None:
        def without(stored: State) -> State:
            return {k: v for k, v in stored.items() if not k.startswith("data_")}

        loaded = load_best(changed(searched, tmp_path / "1", without), trust=True)
        assert (loaded.data_options, loaded.data_fingerprint) == ({}, "")

    def test_another_space_of_the_same_name_is_refused(
        self, searched: Path, tmp_path: Path
    ) -> None:
        wide = {"space_definition": "Tiny(wide=True)"}
        folder = changed(searched, tmp_path / "1", lambda stored: stored | wide)
        with pytest.raises(RunFolderError, match=r"the space Tiny\(wide=True\), which the model"):
            load_best(folder, trust=True)
        assert load_best(folder, TinySpace()).spec["widths"]
        older = changed(
            searched, tmp_path / "2", lambda stored: {k: stored[k] for k in stored if k not in wide}
        )
        assert load_best(older, trust=True).spec["widths"]

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda stored: [],
            lambda stored: stored | {"space": "no_such_space"},
            lambda stored: stored | {"space": "tests.support.toy:NoSpace"},
            lambda stored: stored | {"space": 5},
            lambda stored: stored | {"params": {}},
            lambda stored: stored | {"params": [1]},
            lambda stored: stored | {"input_shape": [7]},
            lambda stored: stored | {"input_shape": 6},
            lambda stored: stored | {"class_names": ["one"]},
            *[
                lambda stored, name=name: {k: v for k, v in stored.items() if k != name}
                for name in ("space", "params", "spec", "input_shape", "class_names", "scaling")
            ],
        ],
    )
    def test_a_damaged_spec(
        self, spoil: Callable[[State], Any], searched: Path, tmp_path: Path
    ) -> None:
        assert "spec.json" in damaged(changed(searched, tmp_path / "1", spoil))

    @pytest.mark.parametrize("name", ["spec.json", "model.safetensors"])
    def test_damaged_files(self, name: str, searched: Path, tmp_path: Path) -> None:
        file = changed(searched, tmp_path / "1", lambda stored: stored) / name
        content = file.read_bytes()
        for spoilt in (content[: len(content) // 2], b"", b"\xff\xfe", None):
            file.unlink()
            if spoilt is not None:
                file.write_bytes(spoilt)
            assert damaged(file.parent)
            file.write_bytes(content)
        load_model(file.parent, trust=SPACE)

    def test_a_folder_of_anything_else(self, tmp_path: Path) -> None:
        assert "spec.json" in damaged(tmp_path)


def changed(run: Path, folder: Path, change: Callable[[State], Any]) -> Path:
    """Copy a run's best model, with another spec.json."""
    shutil.copytree(run / "best" / "1", folder)
    spec = folder / "spec.json"
    spec.write_text(json.dumps(change(json.loads(spec.read_text()))))
    return folder


def damaged(folder: Path) -> str:
    """Return the one line with which a folder is refused that holds no model."""
    for load in (load_best, load_model):
        with pytest.raises(RunFolderError, match=r"^Expected .*model") as refused:
            load(folder, trust=True)
    message = str(refused.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_a_loaded_model_needs_a_model_alone() -> None:
    assert LoadedModel(READY).class_names == ()
