"""What tests of `emsync compose` share: what a run said and left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Said:
    """What a run printed, and what is in the folder afterwards."""

    code: int
    out: str
    err: str
    files: list[str]


Run = Callable[..., Said]


def refused(said: Said, sentence: str, *, left: list[str] | None = None) -> None:
    """Exit code 2, one line on standard error that holds the sentence, nothing on standard output, nothing written."""
    assert said.code == 2, said
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("emsync: error: ")
    assert sentence in said.err
    assert said.out == ""
    assert said.files == (left or [])


def mood_line(said: Said) -> str:
    """What was said of the mood: one line, or nothing."""
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if "Mood" in line] or [""]
    return line


def recorded(song: str = "song.mid") -> Any:
    return json.loads(Path(f"{song}.json").read_text())["mood"]
