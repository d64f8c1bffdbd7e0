"""Models from callables and run folders, and weights: what fits, what does not, what never runs."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import designer
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import ModelError, RunFolderError
from designer.models.loaded import LoadedModel
from designer.models.loading import load_best, load_model
from designer.models.weights import load_weights
from designer.training.trainer import accuracy
from tests.support.helpers import small_mlp

HERE = "tests.models.test_loading"

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


class Tied(nn.Module):
    """Two layers of one weight, as an embedding and its head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


def state_of(model: nn.Module) -> State:
    """The model's state dict in memory of its own."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def wrapped(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def model() -> nn.Sequential:
    return small_mlp(seed=0)


@pytest.fixture
def other() -> State:
    """Weights of the same architecture, and different in every float tensor."""
    return state_of(small_mlp(seed=1)) | {"0.1.running_mean": torch.arange(7.0)}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "toy"
    data = load_dataset("tests.support.toy:blobs", train_size=60, seed=3)
    search_quickly(data, out)
    return out


def search_quickly(data: Dataset, out: Path) -> None:
    designer.search(
        "tests.support.toy:TinySpace",
        data,
        out=out,
        trials=2,
        epochs=2,
        confirm=1,
        confirm_seeds=1,
        confirm_epochs=2,
    )


def refusal(model: nn.Module, path: Path) -> str:
    """The one line with which weights are refused; the model is as it was."""
    before = state_of(model)
    with pytest.raises(ModelError) as refused:
        load_weights(model, path)
    assert same(state_of(model), before)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


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
        found = load_model(f"{HERE}:READY").model
        assert found is not READY
        assert all(map(torch.equal, found.state_dict().values(), READY.state_dict().values()))

    def test_the_seed_decides_the_weights(self) -> None:
        first, again, different = (
            load_model(f"{HERE}:make", seed=seed).model.state_dict() for seed in (1, 1, 2)
        )
        assert same(first, again)
        assert not torch.equal(first["0.weight"], different["0.weight"])

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
            assert same(state_of(first), state_of(nn.Linear(50, 2)))

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
        assert same(state_of(loaded.model), stored)

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
            ("runs/nowhere", "package.module:callable or a folder .*, got 'runs/nowhere'."),
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
        loaded = load_model(str(folder))
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
        loaded = load_model(tmp_path)
        again = load_dataset(**loaded.data_options)
        assert torch.equal(again.train.inputs, data.train.inputs)

    def test_a_run_folder_stands_for_its_best(self, searched: Path) -> None:
        run, best = load_model(str(searched)), load_model(str(searched / "best" / "1"))
        assert run.name == str(searched)
        assert same(state_of(run.model), state_of(best.model))

    def test_other_weights_can_be_put_in(self, searched: Path, tmp_path: Path) -> None:
        zeros = {k: v * 0 for k, v in state_of(load_model(searched).model).items()}
        save_file(zeros, tmp_path / "zeros")
        assert same(state_of(load_model(searched, tmp_path / "zeros").model), zeros)

    def test_older_folders_say_nothing_of_their_data(self, searched: Path, tmp_path: Path) -> None:
        def without(stored: State) -> State:
            return {k: v for k, v in stored.items() if not k.startswith("data_")}

        loaded = load_best(changed(searched, tmp_path / "1", without))
        assert (loaded.data_options, loaded.data_fingerprint) == ({}, "")

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
        damaged(changed(searched, tmp_path / "1", spoil))

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
        load_model(file.parent)

    def test_a_folder_of_anything_else(self, tmp_path: Path) -> None:
        assert "spec.json" in damaged(tmp_path)


def changed(run: Path, folder: Path, change: Callable[[State], Any]) -> Path:
    """A copy of a run's best model with another spec.json."""
    shutil.copytree(run / "best" / "1", folder)
    spec = folder / "spec.json"
    spec.write_text(json.dumps(change(json.loads(spec.read_text()))))
    return folder


def damaged(folder: Path) -> str:
    """What is said of a folder that holds no model."""
    for load in (load_best, load_model):
        with pytest.raises(RunFolderError, match=r"^Expected .* model") as refused:
            load(folder)
    message = str(refused.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


class TestFittingWeights:
    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w"])
    def test_files_of_both_kinds_under_any_name(
        self, name: str, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        path = tmp_path / name
        for save in (save_file, torch.save):
            load_weights(model, write(path, state_of(small_mlp(seed=2))))
            save(other, path)
            load_weights(model, path)
            assert same(state_of(model), other)
            path.unlink()

    def test_the_older_form_of_torch(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        torch.save(other, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
        load_weights(model, tmp_path / "w.pt")
        assert same(state_of(model), other)

    @pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
    def test_checkpoints(self, key: str, model: nn.Module, other: State, tmp_path: Path) -> None:
        checkpoint = {"epoch": 3, key: other, "optimizer": {"state": {}, "param_groups": []}}
        load_weights(model, write(tmp_path / "w.pt", checkpoint))
        assert same(state_of(model), other)

    @pytest.mark.parametrize(
        "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
    )
    def test_prefixes_of_wrappers(
        self, prefix: str, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        load_weights(model, write(tmp_path / "w.pt", wrapped(other, prefix)))
        assert same(state_of(model), other)

    def test_a_part_that_was_compiled(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        stored = {re.sub("^0[.]", "0._orig_mod.", name): value for name, value in other.items()}
        assert stored.keys() != other.keys()
        load_weights(model, write(tmp_path / "w.pt", stored))
        assert same(state_of(model), other)

    def test_plain_weights_for_a_wrapped_model(
        self, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        parallel = nn.DataParallel(model)
        load_weights(parallel, write(tmp_path / "w.pt", other))
        assert same(state_of(model), other)

    def test_a_part_of_the_model_that_is_called_module(self, tmp_path: Path) -> None:
        class Holder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module, self.weight = nn.Linear(2, 2, bias=False), nn.Parameter(torch.ones(2))

        stored = {"module.weight": torch.full((2, 2), 3.0), "weight": torch.full((2,), 4.0)}
        holder = Holder()
        for given in (stored, wrapped(stored, "_orig_mod.")):
            holder = Holder()
            load_weights(holder, write(tmp_path / "w.pt", given))
            assert same(state_of(holder), stored)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_another_precision_is_converted(
        self, dtype: torch.dtype, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in other.items()}
        load_weights(model, write(tmp_path / "w.pt", stored))
        assert same(state_of(model), {k: v.to(other[k].dtype) for k, v in stored.items()})

    def test_values_that_are_not_finite_are_weights_too(self, tmp_path: Path) -> None:
        layer = nn.Linear(1, 1, bias=False)
        load_weights(layer, write(tmp_path / "w.pt", {"weight": torch.tensor([[torch.nan]])}))
        assert layer.weight.isnan().all()

    def test_tied_weights_stored_once(self, tmp_path: Path) -> None:
        stored = Tied()
        save_model(stored, str(tmp_path / "w.safetensors"))
        for left_out in ("first.weight", "second.weight"):
            once = {k: v for k, v in state_of(stored).items() if k != left_out}
            for path in (tmp_path / "w.safetensors", write(tmp_path / "w.pt", once)):
                tied = Tied()
                load_weights(tied, path)
                assert same(state_of(tied), state_of(stored))
                assert tied.second.weight is tied.first.weight

    def test_tied_weights_stored_nowhere_are_missing(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt", {"first.bias": torch.ones(4)})
        assert "got 2 missing ('first.weight', 'second.weight')" in refusal(Tied(), path)

    def test_a_model_without_weights(self, tmp_path: Path) -> None:
        load_weights(nn.Flatten(), write(tmp_path / "w.pt", {}))

    def test_shapes_that_the_model_has_yet_to_learn(self, tmp_path: Path) -> None:
        lazy = nn.LazyLinear(2)
        stored = state_of(nn.Linear(3, 2))
        load_weights(lazy, write(tmp_path / "w.pt", stored))
        assert same(state_of(lazy), stored)

    def test_what_a_module_stores_besides_tensors(self, tmp_path: Path) -> None:
        model = Counting(0)
        load_weights(model, write(tmp_path / "w.pt", Counting(5).state_dict()))
        assert model.count == 5

    def test_names_that_the_module_itself_brings_up_to_date(self, tmp_path: Path) -> None:
        model = nn.Linear(2, 2, bias=False)
        model.register_load_state_dict_pre_hook(update_names)  # type: ignore[no-untyped-call]
        load_weights(model, write(tmp_path / "w.pt", {"kernel": torch.ones(2, 2)}))
        assert torch.equal(model.weight, torch.ones(2, 2))
        assert "size mismatch for weight" in refusal(
            model, write(tmp_path / "w.pt", {"kernel": torch.ones(3, 2)})
        )


class Counting(nn.Module):
    """A module with a state that is no tensor."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.count = count

    def get_extra_state(self) -> int:
        return self.count

    def set_extra_state(self, state: Any) -> None:
        self.count = int(state)


def update_names(_module: nn.Module, state: State, *_: object) -> None:
    if "kernel" in state:
        state["weight"] = state.pop("kernel")


class TestWeightsThatDoNotFit:
    def test_names_the_first_and_counts_the_rest(self, model: nn.Module, tmp_path: Path) -> None:
        stored = state_of(model)
        missing = [stored.pop(name) for name in list(stored)[:5]]
        stored |= {f"extra.{i}": value for i, value in enumerate(missing)}
        stored["2.weight"] = torch.zeros(3, 9)
        stored["2.bias"] = torch.zeros(3, dtype=torch.int64)
        message = refusal(model, write(tmp_path / "w.pt", stored))
        assert "5 missing ('0.0.weight', '0.0.bias', '0.1.weight' and 2 more)" in message
        assert "5 unexpected ('extra.0', 'extra.1', 'extra.2' and 2 more)" in message
        assert "'2.weight' float32 (3, 9) instead of float32 (3, 7)" in message
        assert "'2.bias' int64 (3,) instead of float32 (3,)" in message

    def test_each_alone(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        save_file({k: v for k, v in other.items() if k != "2.bias"}, path)
        assert "got 1 missing ('2.bias');" in refusal(model, path)
        save_file(other | {"3.bias": torch.zeros(3)}, path)
        assert "got 1 unexpected ('3.bias');" in refusal(model, path)
        save_file(other | {"2.bias": torch.zeros(4)}, path)
        assert "got 1 different ('2.bias' float32 (4,) instead of" in refusal(model, path)

    def test_names_that_would_become_one_are_kept(self, tmp_path: Path) -> None:
        stored = {"weight": torch.zeros(2, 2), "module.weight": torch.ones(2, 2)}
        path = write(tmp_path / "w.pt", stored)
        assert "1 unexpected ('module.weight')" in refusal(nn.Linear(2, 2, bias=False), path)

    def test_a_name_is_one_line_whatever_it_holds(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt", {"a\nb" + 5000 * "c": torch.zeros(1)})
        message = refusal(nn.Flatten(), path)
        assert r"a\nb" in message
        assert len(message) < 500

    @pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.bool])
    def test_numbers_of_another_kind(
        self, dtype: torch.dtype, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "w.pt", other | {"2.bias": torch.ones(3, dtype=dtype)})
        assert "'2.bias' " + str(dtype).removeprefix("torch.") in refusal(model, path)

    def test_what_cannot_be_copied(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt", other | {"2.bias": torch.empty(3, device="meta")})
        assert "loading them raised" in refusal(model, path)

    def test_what_the_module_itself_refuses(self, tmp_path: Path) -> None:
        state = Counting(0).state_dict() | {"scale": torch.zeros(2), "_extra_state": "many"}
        model = Counting(1)
        with pytest.raises(ModelError, match="ValueError: invalid literal"):
            load_weights(model, write(tmp_path / "w.pt", state))
        assert torch.equal(model.scale, torch.ones(2))
        assert model.count == 1


class Marker:
    """Pickles as a call that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


class TestCodeIsNeverRun:
    @pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.bin"])
    @pytest.mark.parametrize("form", ["zip", "older", "pickle 2", "pickle 5"])
    def test_not_from_any_kind_of_pickle(
        self, name: str, form: str, model: nn.Module, tmp_path: Path
    ) -> None:
        path, marker = tmp_path / name, tmp_path / "marker"
        content = {"state_dict": {"weight": torch.zeros(2)}, "more": Marker(marker)}
        if form.startswith("pickle"):
            path.write_bytes(pickle.dumps(Marker(marker), protocol=int(form[-1])))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
        message = refusal(model, path)
        assert not marker.exists()
        assert "code" in message
        assert "which is never run: nothing was executed; save the weights with" in message
        if form == "pickle 2":
            pickle.loads(path.read_bytes())  # the file would have done it
            assert marker.exists()

    def test_a_whole_pickled_model(self, model: nn.Module, tmp_path: Path) -> None:
        message = refusal(model, write(tmp_path / "w.pt", model))
        assert "it holds code (torch.nn.modules.container.Sequential), which is never" in message
        assert "torch.save(model.state_dict(), path)" in message

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_torchscript_archive(self, tmp_path: Path) -> None:
        layer = nn.Linear(2, 2)
        traced = torch.jit.trace(layer, torch.zeros(1, 2))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(tmp_path / "w.pt"))
        assert "it holds code (TorchScript)" in refusal(layer, tmp_path / "w.pt")


class TestFilesThatAreNoWeights:
    def test_none_there(self, model: nn.Module, tmp_path: Path) -> None:
        assert refusal(model, tmp_path / "w.pt").endswith("found none.")

    def test_a_folder(self, model: nn.Module, tmp_path: Path) -> None:
        assert refusal(model, tmp_path).endswith("found a folder.")

    @pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
    def test_neither_format(self, name: str, model: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_bytes(b"")
        assert refusal(model, path).endswith("but the file is empty.")
        for content in (b"{", b"hello, I hold no weights", b"<html></html>", b"\x00" * 100):
            path.write_bytes(content)
            assert refusal(model, path).endswith("writes them, but it is neither.")

    @pytest.mark.parametrize("form", ["safetensors", "zip", "older"])
    def test_truncated(self, form: str, model: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "w"
        if form == "safetensors":
            save_file(state_of(model), path)
        else:
            torch.save(state_of(model), path, _use_new_zipfile_serialization=form == "zip")
        content = path.read_bytes()
        for size in (9, 20, len(content) // 4, len(content) // 2, len(content) - 5):
            path.write_bytes(content[:size])
            assert "Expected whole weights" in refusal(model, path)

    def test_an_archive_of_something_else(self, model: nn.Module, tmp_path: Path) -> None:
        np.savez(tmp_path / "w.npz", x=np.zeros(3))
        assert "reading them failed" in refusal(model, tmp_path / "w.npz")

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            ([torch.zeros(2)], "a list"),
            (torch.zeros(2), "a Tensor"),
            (None, "a NoneType"),
            ({"epoch": 3, "net": {}}, "a dict of 'epoch', 'net'"),
            ({"state_dict": 3}, "a dict of 'state_dict'"),
            ({0: torch.zeros(2)}, "a dict of 0"),
            ({"a": 1, "b": 2, "c": 3, "d": 4}, "a dict of 'a', 'b', 'c' and 1 more"),
        ],
    )
    def test_no_state_dict(self, content: Any, kind: str, model: nn.Module, tmp_path: Path) -> None:
        message = refusal(model, write(tmp_path / "w.pt", content))
        assert f"under state_dict, model_state_dict, model, got {kind};" in message


def test_the_device_of_the_weights_is_the_models(model: nn.Module, tmp_path: Path) -> None:
    load_weights(model, write(tmp_path / "w.pt", state_of(model)))
    tensors: list[Tensor] = list(model.state_dict().values())
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_a_loaded_model_needs_a_model_alone() -> None:
    assert LoadedModel(READY).class_names == ()
