"""Figures of the code's structure, read from the source itself.

Run ``python -m tests.structure`` to print them; ``tests/test_imports.py`` and
``tests/test_structure.py`` keep them as they should be.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.support.paths import ROOT

ROOMS = (
    "redaction",
    "interrupts",
    "errors",
    "choices",
    "importing",
    "folders",
    "results",
    "measures",
    "probing",
    "data",
    "training",
    "models",
    "analysis",
    "integrations",
    "search",
    "pruning",
    "report",
    "cli",
)
"""The rooms of ``designer``, lowest first: a room may import those before it, never those after."""

PACKAGES = ("designer", "search_spaces", "benchmarks", "tests", "docs")

MAX_FILE_LINES = 500
MAX_BODY_LINES = 40
MAX_PRIVATE_PARAMETERS = 8

VAGUE_NAMES = frozenset({"one", "found", "seen", "said", "made", "given"})
"""Names of locals that say nothing about what they hold."""

MID_SENTENCE = re.compile(r"[a-z]|(Of|That|By|So|And|But|Or|As|With|In|On|For|From|To|Where) ")
"""How a docstring begins that continues a name instead of being a sentence."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """A definition in a file, shown as ``path:line name``."""

    path: Path
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.name}"


def files_of(*packages: str) -> list[Path]:
    """All Python files of the packages, sorted."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, also inside functions."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path: Path) -> str:
    """The dotted name that a file is imported under."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of ``designer`` that a module belongs to; empty for the package itself."""
    return (*module.split("."), "", "")[1]


def circles(package: str) -> list[str]:
    """Files of a package that import each other in a circle; one circle at most is listed."""
    paths = {module_of(path): path for path in files_of(package)}
    graph = {
        module: {other for other in imports_of(path) if other in paths and other != module}
        for module, path in paths.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def long_files() -> list[str]:
    """Files of more than ``MAX_FILE_LINES`` lines."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files_of(*PACKAGES)}
    return [
        f"{path.relative_to(ROOT)} ({lines})"
        for path, lines in lengths.items()
        if lines > MAX_FILE_LINES
    ]


def functions_of(path: Path) -> Iterator[Function]:
    """All functions and methods in a file, also nested ones."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the end."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    first = function.body[1 if documented else 0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def long_bodies() -> list[Place]:
    """Functions whose body has more than ``MAX_BODY_LINES`` lines."""
    return [
        Place(path, function.lineno, f"{function.name} ({body_lines(function)})")
        for path in files_of(*PACKAGES)
        for function in functions_of(path)
        if body_lines(function) > MAX_BODY_LINES
    ]


def parameters_of(function: Function) -> list[str]:
    """Names of all parameters but ``self`` and ``cls``."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in named if argument.arg not in {"self", "cls"}]


def crowded_functions() -> list[Place]:
    """Private functions with more than ``MAX_PRIVATE_PARAMETERS`` parameters."""
    return [
        Place(path, function.lineno, f"{function.name} ({len(parameters_of(function))})")
        for path in files_of("designer", "search_spaces", "benchmarks")
        for function in functions_of(path)
        if function.name.startswith("_")
        and not function.name.startswith("__")
        and not is_command(function)
        and len(parameters_of(function)) > MAX_PRIVATE_PARAMETERS
    ]


def is_command(function: Function) -> bool:
    """True for a function that the command line exposes: each parameter is an option."""
    return any("app." in ast.unparse(decorator) for decorator in function.decorator_list)


def documentable(path: Path) -> Iterator[tuple[ast.AST, str, str | None]]:
    """Modules, classes and functions of a file with their names and docstrings."""
    tree = tree_of(path)
    yield tree, "module", ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node, node.name, ast.get_docstring(node)


def undocumented() -> list[Place]:
    """Public modules, classes and module-level functions without a docstring."""
    return [
        Place(path, getattr(node, "lineno", 1), name)
        for path in files_of("designer", "search_spaces")
        for node, name, text in public_definitions(path)
        if not text
    ]


def public_definitions(path: Path) -> Iterator[tuple[ast.AST, str, str | None]]:
    """The module, its public classes and functions, with their docstrings."""
    tree = tree_of(path)
    yield tree, "module", ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node, node.name, ast.get_docstring(node)


def fragments() -> list[Place]:
    """Docstrings that begin in the middle of a sentence."""
    return [
        Place(path, getattr(node, "lineno", 1), f"{name}: {text.splitlines()[0]}")
        for path in files_of(*PACKAGES)
        for node, name, text in documentable(path)
        if text and MID_SENTENCE.match(text)
    ]


def vague_locals() -> list[Place]:
    """Locals and parameters with a name that says nothing."""
    return [
        Place(path, node.lineno, name)
        for path in files_of(*PACKAGES)
        for node, name in bindings_of(path)
        if name in VAGUE_NAMES
    ]


def bindings_of(path: Path) -> Iterator[tuple[ast.Name | ast.arg, str]]:
    """Every variable that is assigned and every parameter in a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id


def figures() -> dict[str, list[str]]:
    """Everything that should be empty, by what it is called, with the places."""
    return {
        f"files over {MAX_FILE_LINES} lines": long_files(),
        f"bodies over {MAX_BODY_LINES} lines": [str(place) for place in long_bodies()],
        "circles": [circle for package in PACKAGES for circle in circles(package)],
        f"private functions with over {MAX_PRIVATE_PARAMETERS} parameters": [
            str(place) for place in crowded_functions()
        ],
        "public names without a docstring": [str(place) for place in undocumented()],
        "docstrings that begin mid-sentence": [str(place) for place in fragments()],
        f"locals named {', '.join(sorted(VAGUE_NAMES))}": [str(place) for place in vague_locals()],
    }


def main() -> None:
    """Print the figures, and where each place is."""
    print(f"rooms: {len(ROOMS)}")
    for title, places in figures().items():
        print(f"{title}: {len(places)}")
        for place in places:
            print(f"    {place}")


if __name__ == "__main__":
    main()
