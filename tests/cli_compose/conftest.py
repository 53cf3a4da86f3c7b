"""Runs of `emsync compose` in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsync.cli.main import main
from tests.cli_compose.runs import Run, Said


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Run `emsync compose --model TINY --quiet ...` in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def go(*arguments: str | Path, with_model: bool = True) -> Said:
        given = ["--model", model] if with_model else []
        code = main(["compose", *map(str, [*given, "--quiet", *arguments])])
        said = capsys.readouterr()
        return Said(code, said.out, said.err, sorted(str(p.relative_to(folder)) for p in folder.rglob("*")))

    return go
