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
from emsync.files import atomic_path, write_bytes
from emsync.training.corpus.archive import Archive, is_archive, read_archive, song_count, write_archive
from emsync.training.corpus.npz import member_names
from emsync.training.corpus.report import MOST_EXAMPLES, Examples, Labelled
from emsync.training.corpus.work_folder import give_up, open_output, publish, work_through
from emsync.training.mood.curves import Labels, Moods, fingerprint, label_songs, mood_arrays

SONGS_PER_PART: Final = 200


def archives_among(paths: Sequence[str]) -> list[str]:
    """The paths, if they are all archives; none, if none is. Damaged .npz files beside archives count as archives.

    Raises `InputError` if archives and song files are mixed.
    """
    archives = [path for path in paths if path.lower().endswith(".npz") and is_archive(path)]
    if not archives:
        return []
    for path in paths:
        if path not in archives and not (path.lower().endswith(".npz") and member_names(path) is None):
            raise InputError(
                f"{archives[0]} is an archive of songs and {path} is not; give either archives or song files"
            )
    return list(paths)


def label_archives(
    paths: Sequence[str], output: Path, *, workers: int, overwrite: bool, resume: bool, progress: bool
) -> Labelled:
    """Write the archives into `output` under their own names, each song with its mood curve, and a report.

    Curves that an archive has are kept. Damaged archives are counted in the report and passed over. Raises `InputError`
    for archives of one name, or that are in `output` already, `CorpusError` if no archive can be read, and
    `OutputError` where `output` cannot be written.
    """
    names: dict[str, str] = {}
    for path in paths:
        name = Path(path).name
        if name in names:
            raise InputError(f"{names[name]} and {path} have one name, and would be written to one file; rename one")
        if Path(path).resolve().parent == output.resolve():
            raise InputError(f"{path} lies in the folder to write into already; give -o another folder")
        names[name] = path
    counts: dict[str, int] = {}
    refused: list[tuple[str, str]] = []
    for path in paths:
        try:
            counts[path] = song_count(path)
        except CorpusError as error:
            refused.append((path, str(error)))
    if not counts:
        raise CorpusError(refused[0][1])
    names = {Path(path).name: path for path in counts}
    work = open_output(output, names, overwrite=overwrite, resume=resume)
    plans = [_Plan.of(path, counts[path], work) for path in counts]
    parts = [part for plan in plans for part in plan.parts]
    waiting = [part for part in parts if not Path(part.cache).is_file()]
    for part in waiting:
        Path(part.refusal).unlink(missing_ok=True)  # of an earlier run
    done = sum(part.last - part.first for part in parts) - sum(part.last - part.first for part in waiting)
    try:
        work_through(_label, waiting, workers, progress, "labelling", "song", lambda part: part.last - part.first, done)
        refused += [(plan.path, text) for plan in plans if (text := plan.refused()) is not None]
        plans = [plan for plan in plans if plan.refused() is None]
        if not plans:
            if not any(Path(part.cache).is_file() for part in parts):
                give_up(output)
            raise CorpusError(refused[0][1])
        work_through(_write, plans, workers, progress, "writing", "archive", lambda plan: 1)
    finally:
        _archive.cache_clear()
    report = Labelled(
        sum(counts[plan.path] for plan in plans),
        kept_moods([plan.target for plan in plans]),
        tuple(sorted(Path(plan.path).name for plan in plans)),
        Examples(len(refused), tuple(refused[:MOST_EXAMPLES])),
    )
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

    @property
    def refusal(self) -> str:
        """Where it is written down that the archive is damaged."""
        return self.cache + ".refused"


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

    def refused(self) -> str | None:
        """What is wrong with the archive, if it is damaged."""
        found = [Path(part.refusal) for part in self.parts if Path(part.refusal).is_file()]
        return found[0].read_text(encoding="utf-8") if found else None


@lru_cache(maxsize=1)
def _archive(path: str, stamp: str) -> Archive:
    """The archive at `path`, kept while a process works through its parts."""
    return read_archive(path)


def _label(part: _Part) -> None:
    curves: list[Labels] = []
    try:
        arrays = _archive(part.path, part.stamp).arrays
        for song in range(part.first, part.last):
            try:
                curves += label_songs(arrays, song, song + 1)
            except InputError as error:
                raise CorpusError(f"{part.path}: song {song}: {error}") from error
    except CorpusError as error:
        write_bytes(part.refusal, str(error).encode("utf-8", "surrogateescape"))
        return
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
