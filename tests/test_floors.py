"""The house has floors: imports only ever point down, and there are no circles (docs/architecture.md)."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def floors() -> tuple[tuple[str, ...], ...]:
    """The floors of docs/architecture.md, from the ground up. Modules of one floor do not import one another."""
    block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None, "docs/architecture.md has no list of floors"
    lines = [line.partition("#")[0].split() for line in block.group(1).splitlines()]
    return tuple(tuple(f"emsync.{name}" for name in line) for line in lines)


FLOOR = {name: i for i, floor in enumerate(floors()) for name in floor}


@functools.cache
def modules() -> dict[str, Path]:
    found = {}
    for folder, package in (
        ("emsync", "emsync"),
        ("emsync/cutfiles", "emsync.cutfiles"),
        ("emsync/grammar", "emsync.grammar"),
        ("emsync/music_mood", "emsync.music_mood"),
        *((name, f"emsync.{name}") for name in ("tokenizer", "training", "cli")),
    ):
        own = (ROOT / folder).rglob("*.py") if folder != "emsync" else (ROOT / folder).glob("*.py")
        for path in own:
            if path.stem not in ("__init__", "__main__"):
                place = path.relative_to(ROOT / folder).with_suffix("").parts
                found[".".join((package, *place))] = path
    return found


def floor(module: str) -> int:
    parts = module.split(".")
    name = ".".join(parts[:2])
    assert name in FLOOR, f"{module} stands on no floor; add it to docs/architecture.md"
    return FLOOR[name]


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of the project that a file imports anywhere, also within functions, but not only for type checkers."""
    out: set[str] = set()
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    hidden = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in nodes:
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            out |= {f"{node.module}.{alias.name}" for alias in node.names} & known or {node.module}
    return {name for name in out if name.startswith("emsync.")}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_point_down(name: str) -> None:
    here = modules()
    for other in sorted(imported(here[name], set(here)) - {name}):
        same_folder = other.split(".")[:2] == name.split(".")[:2] and len(name.split(".")) > 2
        assert same_folder or floor(other) < floor(name), f"{name} imports {other}, which is not below it"


def test_the_page_names_what_exists() -> None:
    """No floor lists a module that is gone, and none lists one twice."""
    listed = [name for floor in floors() for name in floor]
    assert len(set(listed)) == len(listed)
    packages = {".".join(name.split(".")[:2]) for name in modules()} | {"emsync.soundfonts"}
    assert set(listed) == packages


# --- sizes ------------------------------------------------------------------------------------------------------------

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80


def too_long(text: str) -> list[str]:
    """What of a file's text is over the limits; a function is counted from its `def`, without its decorators."""
    lines = text.count("\n")
    found = [f"{lines} lines"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            found += [f"{node.name}: {length} lines"] if length > MAX_FUNCTION_LINES else []
    return found


def test_files_and_functions_stay_short() -> None:
    faults = {name: too_long(path.read_text(encoding="utf-8")) for name, path in modules().items()}
    assert {name: found for name, found in faults.items() if found} == {}


def test_what_is_too_long_is_found() -> None:
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    short = f"@a\n@b\ndef f():\n{body[:-10]}"
    assert too_long(short) == []
    assert too_long(f"class C:\n  def f():\n{body}") == ["f: 81 lines"]
    assert too_long("\n" * 401) == ["401 lines"]


def documented() -> list[tuple[str, str]]:
    """(module, name) of every name that a bullet of the page begins with, or puts in backticks with its arguments."""
    found = []
    for section in re.split(r"(?m)^### ", PAGE)[1:]:
        homes = re.findall(r"`(emsync[\w.]*)`", section.splitlines()[0])
        for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\(|`| ->)", section.partition("\n")[2]):
            if name.split(".")[0] in {home.rpartition(".")[2] for home in homes} and "." in name:
                name = name.partition(".")[2]
            found.append((homes[0] if len(homes) == 1 else " ".join(homes), name))
    return found


@pytest.mark.parametrize(("homes", "name"), documented())
def test_every_name_of_the_page_exists(homes: str, name: str) -> None:
    """As a name of its module, of a class in it, or of a module inside it."""
    if name.startswith("emsync."):
        importlib.import_module(name)
        return
    for home in homes.split():
        module = importlib.import_module(home)
        places = [module, *(thing for thing in vars(module).values() if isinstance(thing, type))]
        first, _, rest = name.partition(".")
        for place in places:
            fields = getattr(place, "__annotations__", {})
            if rest and hasattr(place, first):
                inside = getattr(place, first)
                if hasattr(inside, rest) or rest in getattr(inside, "__annotations__", {}):
                    return
            elif hasattr(place, first) or first in fields:
                return
        try:
            inner = importlib.import_module(f"{home}.{first}")
        except ImportError:
            continue
        if not rest or hasattr(inner, rest):
            return
    raise AssertionError(f"docs/architecture.md names {name}, which {homes} does not have")
