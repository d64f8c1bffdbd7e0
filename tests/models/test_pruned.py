"""Pruned models that are written and loaded give the same outputs to the bit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import designer
from designer.errors import ModelError, RunFolderError
from designer.importing import Trust
from designer.models.loaded import LoadedModel, build_from_origin
from designer.models.loading import load_model
from designer.models.surgery import Removal, Way, remove
from designer.pruning import removal_trials
from designer.pruning.prune import PruningResult
from search_spaces import MlpSpace, MlpSpec
from tests.support.trained import (
    Triple,
    all_low,
    blob_net,
    blob_parts,
    same_state,
    state_of,
    train_briefly,
)

DEPTH = 5
FACTORY = "tests.models.test_pruned:make"
FILES = ["model.json", "model.safetensors"]


def make() -> nn.Module:
    """Build the whole model, as a callable that users name as package.module:callable."""
    return MlpSpace().build(MlpSpec((10,) * DEPTH, "batch", "relu", 1e-2), (6,), 3)


@pytest.fixture(scope="module")
def data() -> Triple:
    return blob_parts(600)


@pytest.fixture(scope="module")
def model(data: Triple) -> nn.Module:
    return train_briefly(blob_net(DEPTH), data[0])


@pytest.fixture(scope="module")
def pruned(model: nn.Module, data: Triple) -> PruningResult:
    """Remove the first block, whose successor takes another width, and one in the middle."""
    return designer.prune(model, data, remove=["blocks.0", "blocks.3"], epochs=0)


def written(
    folder: Path, result: PruningResult, source: LoadedModel | nn.Module, kind: str = FACTORY
) -> Path:
    if isinstance(source, nn.Module):
        source = LoadedModel(source, origin={"factory": kind} if kind else {})
    designer.write_pruned(folder, result.model, source, result.removals)
    return folder


def same_outputs(first: nn.Module, second: nn.Module, data: Triple, **options: Any) -> bool:
    """True if two models give the same outputs on test data to the bit."""
    inputs = data[2].inputs.to(**options)
    with torch.no_grad():
        return torch.equal(first(inputs), second(inputs))


def test_the_same_outputs_to_the_bit(
    tmp_path: Path, model: nn.Module, pruned: PruningResult, data: Triple
) -> None:
    state = state_of(pruned.model)
    folder = written(tmp_path / "a" / "b", pruned, model)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    random = torch.get_rng_state()
    loaded = designer.load(folder, trust=FACTORY)
    assert torch.equal(torch.get_rng_state(), random)
    assert same_outputs(loaded.model, pruned.model, data)
    assert same_state(loaded.model, state)
    assert same_state(pruned.model, state)
    assert not loaded.model.training
    assert loaded.name == str(folder)
    assert loaded.removed == (pruned.removals,)
    assert same_outputs(load_model(folder, trust=FACTORY).model, pruned.model, data)


def test_a_folder_as_a_string(
    tmp_path: Path, model: nn.Module, pruned: PruningResult, data: Triple
) -> None:
    source = LoadedModel(model, origin={"factory": FACTORY})
    designer.write_pruned(str(tmp_path / "x"), pruned.model, source, pruned.removals)
    assert same_outputs(designer.load(str(tmp_path / "x"), trust=FACTORY).model, pruned.model, data)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_in_other_precisions(
    tmp_path: Path, model: nn.Module, data: Triple, kind: torch.dtype
) -> None:
    other = train_briefly(blob_net(DEPTH), data[0]).to(kind)
    result = designer.prune(other, data, remove=2, epochs=0)
    loaded = designer.load(written(tmp_path, result, other), trust=FACTORY)
    assert {p.dtype for p in loaded.model.parameters()} == {kind}
    assert same_outputs(loaded.model, result.model, data, dtype=kind)


def test_in_several_precisions(tmp_path: Path) -> None:
    mixed = blob_net(DEPTH).eval().bfloat16()
    for name, parameter in mixed.named_parameters():
        parameter.data = parameter.data.double() if "norm" in name else parameter.data
    mixed.register_buffer("positions", torch.rand(3), persistent=False)
    smaller, removals = copy.deepcopy(mixed), [Removal("blocks.1", Way.PASS)]
    remove(smaller, removals)
    designer.write_pruned(tmp_path, smaller, LoadedModel(mixed), removals)
    loaded = designer.load(tmp_path, mixed).model
    types = {name: p.dtype for name, p in loaded.named_parameters()}
    assert types == {name: p.dtype for name, p in smaller.named_parameters()}
    assert set(types.values()) == {torch.bfloat16, torch.float64}
    assert same_state(loaded, state_of(smaller))
    assert torch.equal(loaded.get_buffer("positions"), mixed.get_buffer("positions"))


def test_with_narrower_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Triple
) -> None:
    monkeypatch.setattr(removal_trials, "layer_reports", all_low)
    wide = train_briefly(blob_net(4, width=24), data[0])
    result = designer.prune(wide, data, remove=1, narrower=True, epochs=1)
    assert result.report.narrowed
    folder = written(tmp_path, result, wide, "")
    loaded = designer.load(folder, wide)
    assert same_outputs(loaded.model, result.model, data)
    again = designer.prune(loaded.model, data, remove=1, narrower=True, epochs=1)
    twice = written(tmp_path / "twice", again, loaded)
    assert same_outputs(designer.load(twice, wide).model, again.model, data)


def test_where_the_whole_model_is_made_compiled(
    tmp_path: Path, model: nn.Module, pruned: PruningResult, data: Triple
) -> None:
    folder = written(tmp_path, pruned, model, "tests.models.test_pruned:compiled")
    loaded = designer.load(folder, trust="tests.models.test_pruned:compiled")
    assert same_outputs(loaded.model, pruned.model, data)


def compiled() -> Any:
    """Return the whole model as a compiled one."""
    return torch.compile(blob_net(DEPTH), backend="eager")


def test_pruned_once_more(
    tmp_path: Path, model: nn.Module, pruned: PruningResult, data: Triple
) -> None:
    first = designer.load(written(tmp_path / "1", pruned, model), trust=FACTORY)
    again = designer.prune(first.model, data, remove=1, epochs=1)
    second = designer.load(written(tmp_path / "2", again, first), trust=FACTORY)
    assert same_outputs(second.model, again.model, data)
    assert second.removed == (pruned.removals, again.removals)
    assert again.report.networks[1].blocks == DEPTH - 3


def test_a_model_of_pythons_own(
    tmp_path: Path, model: nn.Module, pruned: PruningResult, data: Triple
) -> None:
    folder = written(tmp_path, pruned, model, "")
    with pytest.raises(ModelError, match="the folder does not say; pass it as `model`"):
        designer.load(folder, trust=FACTORY)
    state = state_of(model)
    assert same_outputs(designer.load(folder, model=model).model, pruned.model, data)
    assert same_outputs(designer.load(folder, model=make()).model, pruned.model, data)
    assert same_state(model, state)
    with pytest.raises(ModelError, match=r"'blocks\.3' to remove, found none"):
        designer.load(folder, model=blob_net(2))


def test_the_structure_with_other_weights(
    tmp_path: Path, model: nn.Module, pruned: PruningResult
) -> None:
    loaded = designer.load(written(tmp_path, pruned, model), trust=FACTORY)
    random = torch.get_rng_state()
    first, again = (loaded.again(1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), random)
    assert same_state(first, state_of(again))
    other = loaded.again(2).state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert first.state_dict()[name].shape == tensor.shape
        if "linear" in name:  # that of blocks.1 had to be resized
            assert not torch.equal(other[name], first.state_dict()[name])


def test_the_data_go_along(tmp_path: Path, model: nn.Module, pruned: PruningResult) -> None:
    dataset = designer.load_dataset("tests.support.toy:blobs")
    source = LoadedModel(model, origin={"factory": FACTORY})
    designer.write_pruned(tmp_path, pruned.model, source, pruned.removals, dataset)
    loaded = designer.load(tmp_path, trust=FACTORY)
    assert loaded.input_shape == (6,)
    assert loaded.class_names == dataset.class_names
    assert loaded.scaling == dataset.scaling
    assert loaded.data_options == dataset.recipe
    assert loaded.data_fingerprint == dataset.fingerprint


def test_what_the_source_knows_of_its_data_goes_along(
    tmp_path: Path, model: nn.Module, pruned: PruningResult
) -> None:
    dataset = designer.load_dataset("tests.support.toy:blobs")
    known: dict[str, Any] = {
        "input_shape": dataset.input_shape,
        "class_names": dataset.class_names,
        "scaling": dataset.scaling,
        "data_options": dataset.recipe,
        "data_fingerprint": dataset.fingerprint,
    }
    source = LoadedModel(model, origin={"factory": FACTORY}, **known)
    designer.write_pruned(tmp_path, pruned.model, source, pruned.removals)
    loaded = designer.load(tmp_path, trust=FACTORY)
    assert {name: getattr(loaded, name) for name in known} == known


# --- folders that will not do ---


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**stored, **values}), encoding="utf-8")

    return change


def without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        del stored[key]
        path.write_text(json.dumps(stored), encoding="utf-8")

    return change


def overwritten(name: str, text: str) -> Callable[[Path], None]:
    def overwrite(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return overwrite


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (overwritten("model.json", '{"origin": '), "Expecting value"),
    (overwritten("model.json", "[]"), "Expected schema designer.pruned/1 in"),
    (overwritten("model.json", ""), "Expecting value"),
    (without("schema"), "Expected schema designer.pruned/1 in"),
    (without("origin"), "its origin is wrong"),
    (without("removed"), "its removed is wrong"),
    (without("dtype"), "its dtype is wrong"),
    (changed(schema="designer.pruned/9"), "Expected schema designer.pruned/1 in"),
    (changed(dtype="load"), "no floating-point type of torch"),
    (changed(dtype="float31"), "no floating-point type of torch"),
    (changed(removed=[[{"block": "blocks.3", "way": "sideways"}]]), "its removed.0.0.way is wrong"),
    (changed(removed=[[{"block": "nowhere", "way": "pass"}]]), "'nowhere' to remove, found none"),
    (changed(removed=[]), "to fit the model"),
    (changed(known={"input_shape": 3}), "its known.input_shape is wrong"),
    (changed(origin={"factory": "tests.models.test_pruned:nothing"}), "nothing"),
    (changed(origin={"factory": "nowhere:nothing"}), "nowhere"),
    (changed(origin={"spec": {"space": "mlp"}}), "its origin.spec.input_shape is wrong"),
    (changed(origin=7), "its origin is wrong"),
    (truncated, "Expected model.json and model.safetensors of one pruned model"),
    (overwritten("model.safetensors", "no weights"), "SafetensorError"),
    (lambda folder: (folder / "model.safetensors").unlink(), "FileNotFoundError"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line(
    tmp_path: Path,
    model: nn.Module,
    pruned: PruningResult,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    damage(written(tmp_path, pruned, model))
    for load in (designer.load, load_model):
        with pytest.raises((RunFolderError, ModelError)) as raised:
            load(tmp_path, trust=True)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no spec.json or model.json in it"):
        load_model(tmp_path)
    with pytest.raises(RunFolderError, match=r"spec.json"):
        designer.load(tmp_path)


def test_what_cannot_be_written(tmp_path: Path, model: nn.Module, pruned: PruningResult) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match=r"^Cannot write to ") as e:
            written(place, pruned, model)
        assert "\n" not in str(e.value)


def test_an_origin_that_says_nothing() -> None:
    with pytest.raises(ModelError, match="how the whole model is made"):
        build_from_origin({}, Trust())
