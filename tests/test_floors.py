"""The house has floors: imports only ever point down, and there are no circles (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: From the ground up. Modules of one floor do not import one another, but those of a floor named as a folder may.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("emsync.errors", "emsync.vocabulary", "emsync.midi_format", "emsync.midi_text"),
    ("emsync.files", "emsync.folders", "emsync.soundfonts", "emsync.chords", "emsync.recipe"),
    ("emsync.columns", "emsync.table", "emsync.emotions", "emsync.film_clock", "emsync.stills"),
    ("emsync.loudness",),
    ("emsync.tempo_fit",),
    ("emsync.tempo_map",),
    ("emsync.score", "emsync.film", "emsync.mood", "emsync.metre", "emsync.copying"),
    ("emsync.midi_clock", "emsync.midi_track"),
    ("emsync.midi_chunks", "emsync.midi_channels"),
    ("emsync.midi_read", "emsync.midi_write"),
    ("emsync.midi", "emsync.plot", "emsync.cut_detector", "emsync.cutlist", "emsync.vision"),
    ("emsync.video", "emsync.conditions", "emsync.demo_film", "emsync.interop"),
    ("emsync.affect_clip", "emsync.affect_vlm"),
    ("emsync.affect",),
    ("emsync.mood_source",),
    ("emsync.tokenizer",),
    ("emsync.model", "emsync.grammar", "emsync.hits", "emsync.sampling", "emsync.repetition"),
    ("emsync.writer",),
    ("emsync.checkpoint",),
    ("emsync.weight_parts",),
    ("emsync.decoder",),
    ("emsync.composer", "emsync.export", "emsync.finish"),
    ("emsync.record",),
    ("emsync.training", "emsync.soundtrack"),
    ("emsync.cli",),
)
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in (
        ("emsync", "emsync"),
        ("emsync/grammar", "emsync.grammar"),
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
    assert name in FLOOR, f"{module} stands on no floor; add it to docs/architecture.md and to this test"
    return FLOOR[name]


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of the project that a file imports anywhere, also within functions, but not only for type checkers."""
    out: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
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
