"""Load weights: what fits, what does not, and what is never run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from designer.errors import ModelError
from designer.models.weights import load_weights
from tests.support.helpers import DEVICES, small_mlp
from tests.support.trained import same_state, state_of

State = dict[str, Any]


class Tied(nn.Module):
    """Two layers of one weight, as an embedding and its head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


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
    """Return weights of the same architecture that differ in every float tensor."""
    return state_of(small_mlp(seed=1)) | {"0.1.running_mean": torch.arange(7.0)}


def refusal(model: nn.Module, path: Path) -> str:
    """Return the one line with which weights are refused; the model is as it was."""
    before = state_of(model)
    with pytest.raises(ModelError) as refused:
        load_weights(model, path)
    assert same_state(model, before)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
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
            assert same_state(model, other)
            path.unlink()

    def test_the_older_form_of_torch(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        torch.save(other, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
        load_weights(model, tmp_path / "w.pt")
        assert same_state(model, other)

    @pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
    def test_checkpoints(self, key: str, model: nn.Module, other: State, tmp_path: Path) -> None:
        checkpoint = {"epoch": 3, key: other, "optimizer": {"state": {}, "param_groups": []}}
        load_weights(model, write(tmp_path / "w.pt", checkpoint))
        assert same_state(model, other)

    @pytest.mark.parametrize(
        "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
    )
    def test_prefixes_of_wrappers(
        self, prefix: str, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        load_weights(model, write(tmp_path / "w.pt", wrapped(other, prefix)))
        assert same_state(model, other)

    def test_a_part_that_was_compiled(self, model: nn.Module, other: State, tmp_path: Path) -> None:
        stored = {re.sub("^0[.]", "0._orig_mod.", name): value for name, value in other.items()}
        assert stored.keys() != other.keys()
        load_weights(model, write(tmp_path / "w.pt", stored))
        assert same_state(model, other)

    def test_plain_weights_for_a_wrapped_model(
        self, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        parallel = nn.DataParallel(model)
        load_weights(parallel, write(tmp_path / "w.pt", other))
        assert same_state(model, other)

    def test_a_part_of_the_model_that_is_called_module(self, tmp_path: Path) -> None:
        class Holder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module, self.weight = nn.Linear(2, 2, bias=False), nn.Parameter(torch.ones(2))

        stored = {"module.weight": torch.full((2, 2), 3.0), "weight": torch.full((2,), 4.0)}
        holder = Holder()
        for weights in (stored, wrapped(stored, "_orig_mod.")):
            holder = Holder()
            load_weights(holder, write(tmp_path / "w.pt", weights))
            assert same_state(holder, stored)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_another_precision_is_converted(
        self, dtype: torch.dtype, model: nn.Module, other: State, tmp_path: Path
    ) -> None:
        stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in other.items()}
        load_weights(model, write(tmp_path / "w.pt", stored))
        assert same_state(model, {k: v.to(other[k].dtype) for k, v in stored.items()})

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
                assert same_state(tied, state_of(stored))
                assert tied.second.weight is tied.first.weight

    def test_tied_weights_stored_nowhere_are_missing(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt", {"first.bias": torch.ones(4)})
        assert "got 2 missing ('first.weight', 'second.weight')" in refusal(Tied(), path)

    def test_a_model_without_weights(self, tmp_path: Path) -> None:
        flatten = nn.Flatten()
        load_weights(flatten, write(tmp_path / "empty.pt", {}))
        assert flatten.state_dict() == {}
        path = write(tmp_path / "w.pt", {"weight": torch.zeros(1)})
        assert "got 1 unexpected ('weight');" in refusal(flatten, path)

    def test_shapes_that_the_model_has_yet_to_learn(self, tmp_path: Path) -> None:
        lazy = nn.LazyLinear(2)
        stored = state_of(nn.Linear(3, 2))
        load_weights(lazy, write(tmp_path / "w.pt", stored))
        assert same_state(lazy, stored)

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
    """An object that pickles as a call that would write a file."""

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


@pytest.mark.parametrize("device", DEVICES)
def test_the_model_stays_on_its_device(
    device: str, model: nn.Module, other: State, tmp_path: Path
) -> None:
    load_weights(model.to(device), write(tmp_path / "w.pt", other))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {device}
    assert same_state(model.cpu(), other)
