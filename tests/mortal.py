"""Stand-ins for scoring a film, in processes that are killed: no film is watched and no model loaded."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from emsync.batch import Scored, Task
from emsync.errors import ModelError


def begin(*_: object) -> None:
    """Instead of loading a model."""


def begin_badly(*_: object) -> None:
    """As for a folder without a model."""
    raise ModelError("there is no model; give another")


def score(task: Task, again: bool, **_: Any) -> Scored:
    """Write down who scores the film, then the song; on the way the process of some films is killed.

    The film's name says when: "once" the first time, "late" the first time after the song is written, "always" each
    time.
    """
    with (task.song.parent / "log").open("a") as log:
        log.write(f"{task.film.stem} {os.getpid()} {again}\n")
    name = task.film.stem
    if name.startswith("always") or (name.startswith("once") and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    assert task.again if again else not task.song.exists()
    task.song.write_text("music")
    if name.startswith("late") and not again:
        os.kill(os.getpid(), signal.SIGKILL)
    return Scored(str(task.film), str(task.song), "scored", duration_s=1.0)


def begun(out: Path) -> list[tuple[str, str, bool]]:
    """The films that were begun, in their order: name, process, whether again."""
    rows = [line.split() for line in (out / "log").read_text().splitlines()]
    return [(name, process, again == "True") for name, process, again in rows]
