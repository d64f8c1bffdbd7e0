"""Folders of models as search and prune write them, made by hand, to be spoilt by tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from designer.data.loading import load_dataset
from designer.folders import PRUNED_FILE, SPEC_FILE, WEIGHTS_FILE
from tests.support.toy import write_blobs
from tests.support.trained import blob_net

Content = dict[str, Any]
"""The content of a JSON file."""

DATA_FILE = "blobs.npz"
"""Data of the models, in the working folder."""

DEPTH, WIDTH = 3, 16


def spec_content() -> Content:
    """Return the content of a ``spec.json`` of a perceptron for the data in ``DATA_FILE``."""
    data = load_dataset(DATA_FILE)
    shared = {"depth": DEPTH, "normalisation": "batch", "activation": "relu"}
    return {
        "schema": "designer.model/1",
        "space": "mlp",
        "params": {**shared, "shape": "constant", "width": WIDTH, "learning_rate": 0.01},
        "spec": {"widths": [WIDTH] * DEPTH, "learning_rate": 0.01},
        "input_shape": list(data.input_shape),
        "class_names": list(data.class_names),
        "scaling": data.scaling,
        "data": data.name,
        "data_options": data.recipe,
        "data_fingerprint": data.fingerprint,
        "seed": 0,
        "epochs": 1,
    }


def pruning_content() -> Content:
    """Return the content of a ``model.json`` of the same perceptron without a block."""
    spec = spec_content()
    known = ("input_shape", "class_names", "scaling", "data_options", "data_fingerprint")
    return {
        "schema": "designer.pruned/1",
        "origin": {"spec": spec},
        "removed": [[{"block": "blocks.1", "way": "pass"}]],
        "dtype": "float32",
        "known": {name: spec[name] for name in known},
    }


def write_model(folder: Path) -> Content:
    """Write the folder of a recommended model, and its data; return its ``spec.json``."""
    write_blobs(Path(DATA_FILE))
    content = spec_content()
    write_content(folder / SPEC_FILE, content)
    save_file(blob_net(DEPTH, WIDTH).state_dict(), folder / WEIGHTS_FILE)
    return content


def write_pruning(folder: Path) -> Content:
    """Write the folder of a pruned model, and its data; return its ``model.json``."""
    write_blobs(Path(DATA_FILE))
    content = pruning_content()
    write_content(folder / PRUNED_FILE, content)
    state = blob_net(DEPTH, WIDTH).state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith("blocks.1.")}
    save_file(kept, folder / WEIGHTS_FILE)
    return content


def write_content(path: Path, content: object) -> None:
    """Write a JSON file, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def changed(content: Any, place: tuple[Any, ...], value: object) -> Any:
    """Return a copy of JSON content with another value at one place."""
    if not place:
        return value
    copied = dict(content) if isinstance(content, dict) else list(content)
    copied[place[0]] = changed(copied[place[0]], place[1:], value)
    return copied
