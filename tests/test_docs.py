"""The documentation names commands and options that exist, its examples run, and its generated pages are complete."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from emsync import midi
from emsync.cli.main import COMMANDS, main
from emsync.score import Instrument, Score
from emsync.tempo_map import Bars, TempoMap

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
#: An optional part of a command, as in `[--window 30]`, and a comment behind one.
NOISE = re.compile(r"[\[\]]|\s#.*$")
PROGRAM = re.compile(r"^(?:PYTHONUNBUFFERED=1 )?(?:timeout -s INT \d+ )?(?:python3? -m )?emsync (.*)$")


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `emsync ...` in a page's blocks of code, joined where a line ends with a backslash."""
    text = re.sub(r"\\\n\s*", "", text)
    blocks = re.findall(r"^```sh\n(.*?)^```|^    ([^\n]*)$", text, re.DOTALL | re.MULTILINE)
    for line in "\n".join(fenced or indented for fenced, indented in blocks).splitlines():
        found = PROGRAM.match(line.strip())
        if found:
            yield shlex.split(NOISE.sub("", found.group(1)))


def test_commands_are_found_in_blocks() -> None:
    text = "emsync writes\n\n    emsync train x --out y  # why\n"
    text += "    timeout -s INT 5 python3 -m emsync export a \\\n     -o b\n"
    assert list(commands(text)) == [["train", "x", "--out", "y"], ["export", "a", "-o", "b"]]
    assert list(commands("```sh\nemsync demo [-o x]\n```\nemsync writes\n")) == [["demo", "-o", "x"]]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "cli.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_exist(page: Path) -> None:
    table = {entry.name: entry for entry in COMMANDS}
    for name, *arguments in commands(page.read_text(encoding="utf-8")):
        if name.startswith("-"):
            continue
        assert name in table, f"{page.name}: there is no command emsync {name}"
        options = {flag for p in table[name].load().params if isinstance(p, click.Option) for flag in p.opts}
        options |= {flag for p in table[name].load().params for flag in p.secondary_opts}
        used = {each.partition("=")[0] for each in arguments if re.match(r"--?[a-z]", each)}
        assert used <= options | {"--help"}, f"{page.name}: emsync {name} has no {used - options}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    made = {"api/index.md", "decisions/index.md"}  # by docs/hooks.py
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and target not in made:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_a_long_note_spans_the_tempo_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Score(
        (Instrument("Piano", 0),), instrument=[0, 0], pitch=[60, 64], velocity=[80, 80], start_s=[0, 3], end_s=[1, 5],
        tempo=TempoMap([0.0, 2.0], [120.0, 125.0]), bars=Bars([0.0], [4], [4]),
    )  # fmt: skip
    midi.write(score, tmp_path / "film.mid")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs/how-to/daw.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^emsync (deliver .*--tempo-span)$", guide, re.MULTILINE)
    assert main(line.split()) == 0
    found = midi.read(tmp_path / "film-live.mid")
    spans = found.end_s - found.start_s
    longest = int(np.argmax(spans))
    assert found.instruments[found.instrument[longest]].name == "Tempo span"
    assert found.start_s[longest] == 0
    assert found.end_s[longest] == pytest.approx(5, abs=0.01)
    np.testing.assert_allclose(found.tempo.qpm, [120, 125], rtol=1e-4)


@pytest.fixture
def hooks() -> ModuleType:
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages(hooks: ModuleType) -> None:
    pages = hooks.pages()
    assert "::: emsync.soundtrack" in pages["api/emsync.soundtrack.md"]
    assert "[`emsync.score`](emsync.score.md): " in pages["api/index.md"]
    assert all(path.name in pages["decisions/index.md"] for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert "](docs/" not in pages["contributing.md"]
    nav = hooks._filled([{"Reference": [{"Python API": []}]}], {"Python API": ["x.md"]})
    assert nav == [{"Reference": [{"Python API": ["x.md"]}]}]
