"""The package as rooms in an order: an import points down, never up and never round in a circle.

A room is a folder or a module directly under ``ovperc/``. Imports inside functions count like those at the top of a
file; imports for type annotations alone (``if TYPE_CHECKING``) do not.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ovperc"
ROOMS_BOTTOM_UP = (
    "core", "registry", "io", "viz", "tiling", "weights", "backbones", "affinity", "readout", "refine", "text", "data",
    "tasks", "training", "evaluation", "runtime", "export", "cli", "__main__",
)  # fmt: skip
MAX_LINES = 350
PLACE = re.compile(r"ovperc(\.\w+)+:\w+")
# mmengine imports the parts of a registry at the first look-up.
NAMES_ITS_PARTS = {"ovperc.registry"}


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; ``ovperc`` itself is the public face, above all rooms."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below ``node``, without the bodies of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            children: list[ast.AST] = list(child.orelse)
            yield from children
        else:
            children = [child]
            yield child
        for inner in children:
            yield from runtime_nodes(inner)


@functools.cache
def imports_of(name: str) -> frozenset[str]:
    """Modules of the package that a module imports."""
    found = set()
    for node in runtime_nodes(tree_of(modules()[name])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: write the import from the top, `from ovperc...`"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found.update(submodules or {node.module})
    return frozenset(found & modules().keys() - {name})


def room_of(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_its_place_in_the_order() -> None:
    found = {room_of(name) for name in modules() if name != "ovperc"}
    assert found == set(ROOMS_BOTTOM_UP), "a new room needs a place in ROOMS_BOTTOM_UP and in CONTRIBUTING.md"


@pytest.mark.parametrize("room", ROOMS_BOTTOM_UP)
def test_imports_point_down(room: str) -> None:
    allowed = {*ROOMS_BOTTOM_UP[: ROOMS_BOTTOM_UP.index(room) + 1]}
    upward = [
        f"{name} imports {other}"
        for name in modules()
        if name != "ovperc" and room_of(name) == room
        for other in imports_of(name)
        if other != "ovperc" and room_of(other) not in allowed
    ]
    assert not upward, "\n".join(upward)


def test_no_circle_of_modules() -> None:
    graph = {name: imports_of(name) - {"ovperc"} for name in modules() if name != "ovperc"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_modules_stay_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}, f"over {MAX_LINES} lines"


def test_code_is_reached_by_imports_and_not_by_strings() -> None:
    places = [
        f"{name} line {node.lineno}: {node.value!r}"
        for name, path in modules().items()
        if name not in NAMES_ITS_PARTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PLACE.fullmatch(node.value)
    ]
    assert not places, "import the object instead, inside a function where it is heavy:\n" + "\n".join(places)
