"""The folder in which a corpus is made: opened, used by many processes, and published all at once.

Unfinished work is in `OUT/.work`. Finished archives are renamed into place at the end, the report last.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from emsync.errors import CorpusError, OutputError
from emsync.files import atomic_path, write_bytes
from emsync.workers import Lost, Processes, finished, interrupts_held

REPORT: Final = "report.json"
VALID: Final = "valid.npz"
WORK: Final = ".work"
#: A file of the work folder that exists while archives are put in place.
_PUBLISHING: Final = "publishing"

T = TypeVar("T")


def open_output(output: Path, archives: Iterable[str], *, overwrite: bool, resume: bool) -> Path:
    """Make the output folder and its work folder, unless archives of these names are there already.

    Archives of a process that was killed while it put them in place may be replaced.
    """
    if not overwrite and not (output / WORK / _PUBLISHING).is_file():
        for name in (REPORT, *archives):
            if (output / name).exists():
                raise OutputError(
                    f"{output / name} exists already; give --overwrite to replace the corpus, or another folder"
                )
    work = output / WORK
    try:
        if not resume and work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        with atomic_path(work / "writable"):
            pass
        (work / "writable").unlink()
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{output} cannot be written to ({error.strerror or error}); choose another folder"
        ) from error
    return work


def give_up(output: Path) -> None:
    """Remove the work, and the folders made for it if they are empty."""
    shutil.rmtree(output / WORK, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: it was there before
        output.rmdir()


def publish(output: Path, archives: Sequence[str], report: str) -> None:
    """Rename the finished archives into place and write the report (JSON); then drop the work.

    If this is interrupted there is no report, and the same command continues.
    """
    work = output / WORK
    write_bytes(work / _PUBLISHING, b"")
    (output / REPORT).unlink(missing_ok=True)
    for old in [*output.glob("train-*.npz"), output / VALID]:
        if old.name not in archives:
            old.unlink(missing_ok=True)
    for name in archives:
        os.replace(work / name, output / name)
    write_bytes(output / REPORT, report.encode())
    shutil.rmtree(work, ignore_errors=True)


def survives(target: Callable[..., object], *arguments: object) -> bool:
    """Whether a separate process returns from `target(*arguments)`."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    with interrupts_held():
        process.start()
    process.join()
    return process.exitcode == 0


def work_through(
    work: Callable[[T], object],
    items: Sequence[T],
    workers: int,
    progress: bool,
    title: str,
    unit: str,
    size: Callable[[T], int],
    done: int = 0,
    lost: Callable[[T], object] | None = None,
) -> None:
    """Do `work` for every item, here or in worker processes, under a progress bar of `size` units an item.

    An item whose worker was killed is done again by a fresh one. If that is killed, too, `lost` is called with the item
    once the others are done; without `lost`, `CorpusError` is raised. Raises what `work` raises.
    """
    from tqdm import tqdm

    total = done + sum(size(item) for item in items)
    with tqdm(total=total, initial=done, desc=title, unit=unit, disable=not progress) as bar:
        if workers == 1 or len(items) < 2:
            for item in items:
                work(item)
                bar.update(size(item))
            return
        left: list[T] = []
        with Processes[T, Exception | None](partial(_do, work), _begin) as crew:
            for item, result in finished(items, crew, min(workers, len(items))):
                if isinstance(result, Lost):
                    left.append(item)
                elif result is not None:
                    raise result
                else:
                    bar.update(size(item))
        for item in left:
            if lost is None:
                raise CorpusError(
                    f"a worker process was killed twice while {title}; if memory was short, give fewer --workers "
                    "(the same command goes on where this one stopped)"
                )
            lost(item)
            bar.update(size(item))


def _begin() -> None:
    """Workers need nothing beforehand."""


def _do(work: Callable[[T], object], item: T, again: bool) -> Exception | None:
    """Work in another process; what it raises is sent back, with where it came from."""
    try:
        work(item)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error
    return None
