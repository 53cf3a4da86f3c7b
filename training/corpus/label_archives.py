"""Mood curves for archives that are there already: everything else in them stays as it is.

Songs are labelled some hundred at a time, by worker processes, and each finished part is kept in `OUT/.work`, so that
an interrupted run goes on where it stopped. The result does not depend on the parts or the number of workers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from emsync.errors import CorpusError, InputError
from emsync.files import atomic_path
from emsync.training.corpus.archive import Archive, is_archive, read_archive, song_count, write_archive
from emsync.training.corpus.report import Labelled
from emsync.training.corpus.work_folder import give_up, open_output, publish, work_through
from emsync.training.mood.curves import Labels, Moods, fingerprint, label_songs, mood_arrays

SONGS_PER_PART: Final = 200


def archives_among(paths: Sequence[str]) -> list[str]:
    """The paths, if they are all archives; none, if none is. Raises `InputError` where they are mixed."""
    found = {path: path.lower().endswith(".npz") and is_archive(path) for path in paths}
    archive = next((path for path, is_one in found.items() if is_one), None)
    other = next((path for path, is_one in found.items() if not is_one), None)
    if archive is None:
        return []
    if other is not None:
        raise InputError(f"{archive} is an archive of songs and {other} is not; give either archives or song files")
    return list(paths)


def label_archives(
    paths: Sequence[str], output: Path, *, workers: int, overwrite: bool, resume: bool, progress: bool
) -> Labelled:
    """Write the archives into `output` under their own names, each song with its mood curve, and a report.

    Curves that an archive has are kept. Raises `InputError` for archives of one name, or such as lie in `output`
    already, `CorpusError` for what cannot be read, and `OutputError` where `output` cannot be written.
    """
    names: dict[str, str] = {}
    for path in paths:
        name = Path(path).name
        if name in names:
            raise InputError(f"{names[name]} and {path} have one name, and would be written to one file; rename one")
        if Path(path).resolve().parent == output.resolve():
            raise InputError(f"{path} lies in the folder to write into already; give -o another folder")
        names[name] = path
    counts = {path: song_count(path) for path in paths}
    work = open_output(output, names, overwrite=overwrite, resume=resume)
    plans = [_Plan.of(path, counts[path], work) for path in paths]
    parts = [part for plan in plans for part in plan.parts]
    waiting = [part for part in parts if not Path(part.cache).is_file()]
    done = sum(part.last - part.first for part in parts) - sum(part.last - part.first for part in waiting)
    try:
        work_through(_label, waiting, workers, progress, "labelling", "song", lambda part: part.last - part.first, done)
        work_through(_write, plans, workers, progress, "writing", "archive", lambda plan: 1)
    except CorpusError:
        if not any(Path(part.cache).is_file() for part in parts):
            give_up(output)
        raise
    finally:
        _archive.cache_clear()
    report = Labelled(sum(counts.values()), kept_moods([plan.target for plan in plans]), tuple(sorted(names)))
    publish(output, report.archives, report.to_json())
    return report


def kept_moods(paths: Sequence[str]) -> Moods:
    """How moods are distributed over the songs of archives that have them."""

    def rows(path: str) -> Labels:
        with np.load(path, allow_pickle=False) as kept:
            return np.stack([kept["mood_valence"], kept["mood_arousal"]], axis=1)

    return Moods.of(rows(path) for path in paths)


@dataclass(frozen=True)
class _Part:
    """Songs first to last (not included) of an archive as it was when `stamp` was taken, and where labels are kept."""

    path: str
    stamp: str
    first: int
    last: int
    cache: str


@dataclass(frozen=True)
class _Plan:
    """An archive to write, and its parts in order."""

    path: str
    stamp: str
    target: str
    parts: tuple[_Part, ...]

    @classmethod
    def of(cls, path: str, n_songs: int, work: Path) -> _Plan:
        stat = os.stat(path)
        text = f"{fingerprint()} {os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}"
        stamp = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        parts = tuple(
            _Part(path, stamp, first, min(first + SONGS_PER_PART, n_songs), str(work / f"moods-{stamp}-{first}.npz"))
            for first in range(0, n_songs, SONGS_PER_PART)
        )
        return cls(path, stamp, str(work / Path(path).name), parts)


@lru_cache(maxsize=1)
def _archive(path: str, stamp: str) -> Archive:
    """The archive at `path`, kept while a process works through its parts."""
    return read_archive(path)


def _label(part: _Part) -> None:
    arrays = _archive(part.path, part.stamp).arrays
    curves: list[Labels] = []
    for song in range(part.first, part.last):
        try:
            curves += label_songs(arrays, song, song + 1)
        except InputError as error:
            raise CorpusError(f"{part.path}: song {song}: {error}") from error
    with atomic_path(part.cache) as temporary:
        np.savez(temporary, allow_pickle=False, **mood_arrays(curves))


def _write(plan: _Plan) -> None:
    curves: list[Labels] = []
    for part in plan.parts:
        with np.load(part.cache, allow_pickle=False) as kept:
            rows = np.stack([kept["mood_valence"], kept["mood_arousal"]], axis=1)
            curves += np.split(rows, kept["mood_offset"][1:-1])
    archive = _archive(plan.path, plan.stamp)
    write_archive(plan.target, Archive({**archive.arrays, **mood_arrays(curves)}))
