"""Who imports whom: downward only, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import designer

ROOT = Path(__file__).parents[1]

LAYERS = {
    "errors": 0,
    "results": 0,
    "version": 0,
    "provenance": 0,
    "separation": 1,
    "law": 1,
    "features": 1,
    "images": 1,
    "residual": 1,
    "measures": 1,
    "blocks": 2,
    "probes": 2,
    "datasets": 2,
    "augmentation": 2,
    "devices": 2,
    "batches": 2,
    "spaces": 2,
    "surgery": 3,
    "size": 3,
    "weights": 3,
    "models": 3,
    "profile": 3,
    "material": 4,
    "monitor": 3,
    "trainer": 3,
    "stacked": 4,
    "criterion": 3,
    "advice": 3,
    "serialisation": 3,
    "analysis": 4,
    "comparison": 4,
    "search": 4,
    "pruning": 4,
    "report": 5,
    "dashboard": 5,
    "cli": 6,
}

MODULES = [
    path
    for path in sorted((ROOT / "designer").rglob("*.py"))
    if path.relative_to(ROOT / "designer") not in (Path("__init__.py"), Path("__main__.py"))
]
SPACES = sorted((ROOT / "search_spaces").rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            assert node.module is not None
            yield node.module
            # `from designer import cli` names a module, too
            if node.module == "designer":
                yield from (f"designer.{alias.name}" for alias in node.names)


def rooms_of(path: Path) -> set[str]:
    """Rooms of ``designer`` that a file imports from; empty for the package itself."""
    names = (name.split(".") for name in imports_of(path))
    return {(*parts, "")[1] for parts in names if parts[0] == "designer"}


def room_of(path: Path) -> str:
    """The room of ``designer`` that a file belongs to."""
    return path.relative_to(ROOT / "designer").parts[0].removesuffix(".py")


def named(path: Path) -> str:
    """Readable test id."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_downward_only(path: Path) -> None:
    room = room_of(path)
    assert room in LAYERS, f"{room} has no layer yet: add it to LAYERS and to the design"
    for other in rooms_of(path):
        assert other in LAYERS, f"{named(path)} imports designer.{other}, which has no layer"
        assert LAYERS[other] <= LAYERS[room], f"{named(path)} imports upward from {other}"


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) == "report"], ids=named)
def test_the_report_knows_results_alone(path: Path) -> None:
    assert rooms_of(path) <= {"errors", "results", "serialisation", "report"}
    assert not any(name.startswith(("torch", "optuna")) for name in imports_of(path))


@pytest.mark.parametrize("path", MODULES + SPACES, ids=named)
def test_nothing_imports_the_command_line(path: Path) -> None:
    assert room_of(path) == "cli" if "designer.cli" in imports_of(path) else True


@pytest.mark.parametrize("path", SPACES, ids=named)
def test_search_spaces_know_neither_designer_nor_optuna(path: Path) -> None:
    assert {name.split(".")[0] for name in imports_of(path)}.isdisjoint({"designer", "optuna"})


@pytest.mark.parametrize("room", ["errors", "results", "version"])
def test_the_ground_floor_needs_the_standard_library_and_numpy_alone(room: str) -> None:
    tops = {name.split(".")[0] for name in imports_of(ROOT / "designer" / f"{room}.py")}
    assert tops <= {"numpy", *sys.stdlib_module_names}


@pytest.mark.parametrize(("room", "other"), [("search", "pruning"), ("pruning", "search")])
def test_search_and_pruning_do_not_know_each_other(room: str, other: str) -> None:
    for path in (ROOT / "designer" / room).rglob("*.py"):
        assert other not in rooms_of(path)


def test_only_the_command_line_prints_or_exits() -> None:
    for path in MODULES:
        if room_of(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "exit", "sys.exit"}, named(path)


def test_all_is_what_the_package_exports() -> None:
    public = {
        name
        for name, value in vars(designer).items()
        if not name.startswith("_") and callable(value) and not isinstance(value, ModuleType)
    }
    assert public == set(designer.__all__)
    assert list(designer.__all__) == sorted(set(designer.__all__))


@pytest.mark.parametrize("name", designer.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    exported = getattr(designer, name)
    assert not isinstance(exported, ModuleType)
    assert exported.__doc__


def test_importing_the_package_does_not_import_the_command_line() -> None:
    script = "import designer, sys; print([m for m in sys.modules if m.startswith('designer')])"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = ast.literal_eval(run.stdout)
    assert "designer.separation" in loaded
    assert "designer.cli" not in loaded
