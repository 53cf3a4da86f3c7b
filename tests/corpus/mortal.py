"""A stand-in for the work on a corpus, in processes that are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def work(item: tuple[str, str]) -> None:
    """Note down in a folder that something was done; "once" is killed the first time, "always" each time."""
    folder, name = Path(item[0]), item[1]
    with (folder / "log").open("a") as log:
        log.write(f"{name} {os.getpid()}\n")
    if name == "wrong":
        raise ZeroDivisionError("a mistake")
    if name == "always" or (name == "once" and (folder / "log").read_text().split().count("once") == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / name).touch()
