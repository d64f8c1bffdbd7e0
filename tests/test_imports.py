"""Rooms import downward only, and every public name resolves."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import designer
from tests.structure import (
    PACKAGES,
    ROOMS,
    circles,
    files_of,
    imports_of,
    module_of,
    room_of,
    tree_of,
)
from tests.support.paths import ROOT

FACES = {ROOT / "designer" / "__init__.py", ROOT / "designer" / "__main__.py"}
MODULES = [path for path in files_of("designer") if path not in FACES]
SPACES = files_of("search_spaces")

TYPED = {
    alias.name: node.module
    for node in ast.walk(tree_of(ROOT / "designer" / "__init__.py"))
    if isinstance(node, ast.ImportFrom) and node.module is not None
    for alias in node.names
}
"""The module from which type checkers take each public name."""


def named(path: Path) -> str:
    """Return a path relative to the checkout, as the id of a test."""
    return str(path.relative_to(ROOT))


def rooms_imported_by(path: Path) -> set[str]:
    """Return the rooms of ``designer`` that a file imports from."""
    rooms = {room_of(name) for name in imports_of(path) if name.startswith("designer.")}
    return rooms & {room_of(module_of(module)) for module in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_downward_only(path: Path) -> None:
    room = room_of(module_of(path))
    assert room in ROOMS, (
        f"{room} is not among the rooms yet: add it to ROOMS in tests/structure.py"
    )
    higher = rooms_imported_by(path) - set(ROOMS[: ROOMS.index(room) + 1])
    assert not higher, f"{named(path)} imports upward from {', '.join(sorted(higher))}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    assert circles(package) == []


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(module_of(p)) == "report"], ids=named
)
def test_the_report_knows_results_alone(path: Path) -> None:
    assert rooms_imported_by(path) <= {"errors", "results", "report"}
    assert not any(name.startswith(("torch", "optuna")) for name in imports_of(path))


@pytest.mark.parametrize("path", SPACES, ids=named)
def test_search_spaces_know_neither_designer_nor_optuna(path: Path) -> None:
    assert {name.split(".")[0] for name in imports_of(path)}.isdisjoint({"designer", "optuna"})


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in MODULES
        if room_of(module_of(p)) in {"errors", "choices", "folders", "importing", "results"}
    ],
    ids=named,
)
def test_the_ground_floor_loads_no_torch_and_no_optuna(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(path)}
    assert tops <= {"designer", "numpy", "pydantic", "safetensors", *sys.stdlib_module_names}


@pytest.mark.parametrize(("room", "other"), [("search", "pruning"), ("pruning", "search")])
def test_search_and_pruning_do_not_know_each_other(room: str, other: str) -> None:
    paths = files_of(f"designer/{room}")
    assert paths
    for path in paths:
        assert other not in rooms_imported_by(path), named(path)


def test_only_the_command_line_prints_or_exits() -> None:
    for path in MODULES:
        if room_of(module_of(path)) == "cli":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "exit", "sys.exit"}, named(path)


def test_the_public_names_are_those_that_the_package_finds() -> None:
    assert list(designer.__all__) == sorted(set(designer.__all__))
    assert set(designer.__all__) <= set(dir(designer))
    with pytest.raises(AttributeError, match="module 'designer' has no attribute 'nothing'"):
        designer.nothing  # noqa: B018 - the look-up is what is tested


@pytest.mark.parametrize("name", designer.__all__)
def test_every_public_name_is_what_type_checkers_see(name: str) -> None:
    value = getattr(designer, name)
    assert not isinstance(value, ModuleType)
    assert value is getattr(import_module(TYPED[name]), name)


def test_importing_the_package_does_not_import_the_command_line() -> None:
    script = "import designer, sys; print([m for m in sys.modules if m.startswith('designer')])"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = ast.literal_eval(run.stdout)
    assert "designer.cli" not in loaded
