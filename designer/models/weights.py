"""Load weights from files into models that may be wrapped, compiled, tied or lazy.

Weights are data: nothing that a weights file contains is ever executed.
"""

from __future__ import annotations

import copy
import pickle
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from designer.errors import ModelError, first_line

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints keep the weights, beside epochs and optimisers."""


DATA_PARALLEL, COMPILED = "module", "_orig_mod"
"""Parts that ``DataParallel`` and ``torch.compile`` put into the names of what they wrap."""


EXTRA_STATE = "_extra_state"
"""End of the names of what a module stores besides tensors (``nn.Module.get_extra_state``)."""


SAFETENSORS_HEADER = 100_000_000
"""The most bytes that the format allows for the header of a safetensors file."""


SHOWN = 3
"""How many names a message lists before it only counts the rest."""


_quoted = Repr()
"""Quotes names of any length and content in one line."""


_quoted.maxstring = 100


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load weights into a model: all of them, or none if they do not fit.

    Args:
        model: keeps its device and its precision. Names may differ from those of the file by
            what ``DataParallel`` and ``torch.compile`` add; a tensor that several layers share
            may be stored once.
        path: a file of safetensors or of ``torch.save``, recognised by its content. It holds a
            state dict, or a checkpoint with one under ``STATE_DICT_KEYS``. Code in it is not
            executed.

    Raises:
        ModelError: if the file cannot be read as weights, or they do not fit the model. The model
            is then as it was, except that lazy modules keep the shapes that they have taken.
    """
    path = Path(path)
    own = model.state_dict()
    weights = _renamed(_state_dict(_read(path), path), own)
    clashes = {name: _clash(own[name], weights[name]) for name in own if name in weights}
    wrong = {name: clash for name, clash in clashes.items() if clash}
    fitting = {name: value for name, value in weights.items() if name not in wrong}
    with _all_or_none(model, own, path):
        missing, unexpected = model.load_state_dict(fitting, strict=False)
        known = wrong.keys() | _tied(own, fitting)
        complaints = [
            _counted("missing", [_quoted.repr(name) for name in missing if name not in known]),
            _counted("unexpected", [_quoted.repr(name) for name in unexpected]),
            _counted("different", [f"{_quoted.repr(name)} {how}" for name, how in wrong.items()]),
        ]
        if any(complaints):
            raise ModelError(
                f"Expected the weights in '{path}' to fit the model, got "
                f"{' and '.join(filter(None, complaints))}; give the weights of this very model."
            )


def _read(path: Path) -> Any:
    """Return the content of a weights file."""
    if path.is_dir():
        raise ModelError(f"Expected a file of weights at '{path}', found a folder.")
    if not path.is_file():
        raise ModelError(f"Expected a file of weights at '{path}', found none.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if _is_safetensors(head):
            return load_tensors(path.read_bytes())  # it would open no name that is not UTF-8
        if head.startswith((b"PK\x03\x04", b"\x80")):  # a zip archive, or a bare pickle
            return _read_torch(path)
    except ModelError:
        raise
    except Exception as error:  # the readers raise many kinds of errors on damaged files
        raise ModelError(
            f"Expected whole weights in '{path}', but reading them failed: {first_line(error)}; "
            f"copy or save the file again."
        ) from error
    raise ModelError(
        f"Expected weights in '{path}' as safetensors or torch.save writes them, but "
        f"{'it is neither' if head else 'the file is empty'}."
    )


def _is_safetensors(head: bytes) -> bool:
    """True if a file begins with the length of a header in bytes, then JSON."""
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # they are about other formats; errors are raised
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        # torch says in its message which name it refused to import
        named = re.search(r"GLOBAL ([\w.]+)|(TorchScript)", str(error))
        if named is None and isinstance(error, RuntimeError):
            raise
        code = f"code ({named[1] or named[2]})" if named else "what may be code"
        raise ModelError(
            f"Expected plain tensors in '{path}', but it holds {code}, which is never run: "
            f"nothing was executed; save the weights with safetensors or "
            f"torch.save(model.state_dict(), path)."
        ) from error


def _state_dict(content: Any, path: Path) -> Mapping[str, Any]:
    """Return the state dict that the content of a file is, or contains."""
    if _is_state_dict(content):
        return dict(content)
    if isinstance(content, Mapping):
        for key in STATE_DICT_KEYS:
            if _is_state_dict(content.get(key)):
                return dict(content[key])
    raise ModelError(
        f"Expected a state dict in '{path}', or a checkpoint with one under "
        f"{', '.join(STATE_DICT_KEYS)}, got {_kind(content)}; save the weights with "
        f"torch.save(model.state_dict(), path)."
    )


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and (isinstance(value, Tensor) or name.endswith(EXTRA_STATE))
        for name, value in content.items()
    )


def _kind(content: Any) -> str:
    """Say in words what a file holds."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a dict of {_shortened([_quoted.repr(name) for name in content])}"


def _renamed(weights: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return weights under the model's names, whichever of the two was wrapped.

    Names are compared in two ways: without what compiling adds, and also without what wrapping
    adds. The way that gives more of the model's names is taken.
    """
    ways = [_renamed_by(plain, weights, own) for plain in (_uncompiled, _unwrapped)]
    whole = [renamed for renamed in ways if len(renamed) == len(weights)]  # no two names became one
    return max(whole, key=lambda renamed: len(renamed.keys() & own.keys()), default=weights)


def _renamed_by(
    plain: Callable[[str], str], weights: Mapping[str, Any], own: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Rename weights whose names equal a name of the model once both went through ``plain``."""
    by_plain_name = {plain(name): name for name in own}
    return {
        name if name in own else by_plain_name.get(plain(name), name): value
        for name, value in weights.items()
    }


def _uncompiled(name: str) -> str:
    """Return a name without what compiling the model or parts of it adds."""
    return ".".join(part for part in name.split(".") if part != COMPILED)


def _unwrapped(name: str) -> str:
    """Return a name without what compiling and wrapping the whole model add."""
    parts = _uncompiled(name).split(".")
    while len(parts) > 1 and parts[0] == DATA_PARALLEL:
        parts = parts[1:]
    return ".".join(parts)


def _clash(own: Any, value: Any) -> str:
    """Say how a stored tensor differs from the model's in shape or kind of number; "" if not."""
    if not (_is_settled(own) and isinstance(value, Tensor)):
        return ""
    if own.shape == value.shape and _number(own.dtype) == _number(value.dtype):
        return ""
    return f"{_form(value)} instead of {_form(own)}"


def _is_settled(value: Any) -> bool:
    """True for a tensor whose shape is known; a lazy layer does not know its own yet."""
    return isinstance(value, Tensor) and not is_lazy(value)


def _number(dtype: torch.dtype) -> type[bool | int | float | complex]:
    """Return the kind of number; precision may differ between a file and a model, kind may not."""
    if dtype.is_complex:
        return complex
    if dtype.is_floating_point:
        return float
    return bool if dtype == torch.bool else int


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _tied(own: Mapping[str, Any], loaded: Mapping[str, Any]) -> set[str]:
    """Return names of tensors that were loaded under another name, since layers share them."""
    memory = {
        name: (value.data_ptr() or id(value), value.shape, value.stride())
        for name, value in own.items()
        if _is_settled(value)
    }
    reached = {where for name, where in memory.items() if name in loaded}
    return {name for name, where in memory.items() if where in reached}


@contextmanager
def _all_or_none(model: nn.Module, own: Mapping[str, Any], path: Path) -> Iterator[None]:
    """Restore the model's tensors if anything is raised."""
    before = copy.deepcopy({name: value for name, value in own.items() if _is_settled(value)})
    try:
        yield
    except Exception as error:
        model.load_state_dict(before, strict=False)
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"Expected the weights in '{path}' to fit the model, but loading them raised "
            f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"
        ) from error


def _counted(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({_shortened(names)})" if names else ""


def _shortened(names: list[str]) -> str:
    """List the first names and count the rest."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
