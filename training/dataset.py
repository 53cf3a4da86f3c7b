"""Tokenized corpora on disk.

A *dataset folder* holds `ids.bin` (uint16), `velocities.bin` (uint8), `offsets.npy` (int64, S + 1) and `dataset.json`
(vocabulary hash, counts, sources): every song's events end to end, memory-mapped when read; and the songs' mood curves,
`mood.npy` (int8, seconds x 2) with `mood_offsets.npy` (int64, S + 1): the archive's, or read from the notes.
`crops` draws training batches from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import CorpusError
from emsync.files import read_json
from emsync.folders import atomic_folder, check_replaceable
from emsync.tokenizer.events import times_steps
from emsync.training.corpus.archive import Archive, read_archive
from emsync.training.corpus.archive_events import SongEvents, tokenize
from emsync.training.mood.curves import FULL, label_songs, mood_arrays, notes_of_song
from emsync.workers import worker_begins

SONGS_PER_CHUNK = 400
#: dataset.json has 1 kB.
_MAX_JSON_BYTES: Final = 1 << 20

FloatArray = npt.NDArray[np.float64]


def find_archives(inputs: Sequence[str | os.PathLike[str]], pattern: str = "train-*.npz") -> list[Path]:
    """Archives named directly, and those of folders: `train-*.npz` there, or else every .npz but valid.npz."""
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            here = sorted(path.glob(pattern)) or sorted(p for p in path.glob("*.npz") if p.name != "valid.npz")
            if not here:
                raise CorpusError(f"{path} has no .npz archive; make some with emsync prepare")
            found += here
        elif path.exists():
            found.append(path)
        else:
            raise CorpusError(f"{path} does not exist; give a folder of archives made by emsync prepare")
    return found


_worker_archive: dict[str, np.ndarray] = {}


def _tokenize_chunk(
    first: int, last: int, snap_tempo: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[npt.NDArray[np.int8]]]:
    events = tokenize(_worker_archive, first, last, snap_tempo=snap_tempo)
    return events.ids, events.velocities, np.diff(events.offsets), _moods(_worker_archive, events, first, last)


def _moods(arrays: dict[str, np.ndarray], events: SongEvents, first: int, last: int) -> list[npt.NDArray[np.int8]]:
    """Mood curves of songs first to last, without the seconds of the silent bars that their events leave out."""
    archive, out = Archive(arrays), []
    for i, labels in enumerate(label_songs(arrays, first, last)):
        ids = events.ids[events.offsets[i] : events.offsets[i + 1]].astype(np.int64)
        sounding = np.flatnonzero(v.KIND[ids] == v.K_ON)
        if len(labels) and len(sounding):
            begins_s = float(notes_of_song(archive[first + i]).start_s.min())
            silent_s = begins_s - times_steps(ids[: sounding[0] + 1])[-1] * v.STEP_S
            labels = labels[min(max(round(silent_s), 0), len(labels) - 1) :]
        out.append(labels)
    return out


def build(
    archives: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    snap_tempo: bool = True,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Tokenize archives into a dataset folder, chunk by chunk, with NumPy alone; nothing is left behind on failure.

    Songs without a mood curve are given one (`mood.curves`), which takes most of the time.

    `progress` is called with (songs done, songs in this archive). Raises `CorpusError` for what is not an archive, and
    `OutputError` where the folder cannot be written or holds something else.
    """
    folder = Path(folder)
    paths = [Path(p) for p in archives]
    if not paths:
        raise CorpusError("there is no archive to tokenize; give at least one .npz made by emsync prepare")
    check_replaceable(folder, "dataset.json", "a tokenized corpus")
    workers = min(workers or os.cpu_count() or 1, 16)
    try:
        with atomic_folder(folder) as partial:
            made = _Writer(partial)
            for path in paths:
                arrays = read_archive(path).arrays
                _worker_archive.clear()
                _worker_archive.update(arrays)  # forked workers inherit it; nothing is pickled on the way in
                made.add(arrays, snap_tempo=snap_tempo, workers=workers, progress=progress)
            made.finish(paths, snap_tempo=snap_tempo)
    finally:
        _worker_archive.clear()
    return Dataset.open(folder)


class _Writer:
    """A dataset folder that is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lengths: list[np.ndarray] = []
        self.moods: list[npt.NDArray[np.int8]] = []
        self.n_notes = 0

    def add(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        snap_tempo: bool,
        workers: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Append the songs of an archive, tokenized in chunks by the workers."""
        self.n_notes += len(arrays["family"])
        n_songs = len(arrays["note_offset"]) - 1
        chunks = [(a, min(a + SONGS_PER_CHUNK, n_songs)) for a in range(0, n_songs, SONGS_PER_CHUNK)]
        ids_path, velocities_path = self.folder / "ids.bin", self.folder / "velocities.bin"
        with ids_path.open("ab") as ids_file, velocities_path.open("ab") as velocities_file, _pool(workers) as pool:
            jobs = [pool.submit(_tokenize_chunk, a, b, snap_tempo) for a, b in chunks] if pool else None
            for i, (a, b) in enumerate(chunks):
                ids, velocities, length, labels = jobs[i].result() if jobs else _tokenize_chunk(a, b, snap_tempo)
                ids_file.write(ids.tobytes())
                velocities_file.write(velocities.tobytes())
                self.lengths.append(length)
                self.moods += labels
                if progress:
                    progress(b, n_songs)

    def finish(self, paths: Sequence[Path], *, snap_tempo: bool) -> None:
        """Write what belongs to all songs. Raises `CorpusError` if there is no song."""
        if not self.lengths:
            raise CorpusError(f"{paths[0]} holds no songs; prepare a larger corpus")
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self.lengths))]).astype(np.int64)
        np.save(self.folder / "offsets.npy", offsets)
        mood, mood_offsets = _joined(self.moods)
        np.save(self.folder / "mood.npy", mood)
        np.save(self.folder / "mood_offsets.npy", mood_offsets)
        about = {
            "vocabulary": v.HASH, "snap_tempo": snap_tempo, "songs": len(offsets) - 1, "events": int(offsets[-1]),
            "notes": self.n_notes, "sources": [path.name for path in paths],
        }  # fmt: skip
        (self.folder / "dataset.json").write_text(json.dumps(about, indent=1))


class _pool:
    """A pool of forked workers, or none if one worker is enough or forking is not available."""

    def __init__(self, workers: int) -> None:
        self.pool: ProcessPoolExecutor | None = None
        if workers > 1 and hasattr(os, "fork"):
            import multiprocessing

            self.pool = ProcessPoolExecutor(
                workers, mp_context=multiprocessing.get_context("fork"), initializer=worker_begins
            )

    def __enter__(self) -> ProcessPoolExecutor | None:
        return self.pool

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def _joined(curves: Sequence[npt.NDArray[np.int8]]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Songs' mood curves end to end (seconds, 2), and where each begins (S + 1,)."""
    arrays = mood_arrays(curves)
    return np.stack([arrays["mood_valence"], arrays["mood_arousal"]], axis=1), arrays["mood_offset"]


def _row(path: Path) -> np.ndarray:
    """The array of an .npy file. Its header's claims are checked against the file's size before memory is allocated."""
    return np.array(np.load(path, mmap_mode="r"))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A tokenized corpus, memory-mapped: song i is `ids[offsets[i]:offsets[i + 1]]`; its mood likewise."""

    ids: npt.NDArray[np.uint16]
    velocities: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    mood: npt.NDArray[np.int8]
    mood_offsets: npt.NDArray[np.int64]
    about: dict[str, object]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Dataset:
        """Raises `CorpusError` if the folder is not a dataset, is incomplete, or has another vocabulary."""
        folder = Path(folder)
        try:
            about = read_json(
                folder / "dataset.json", _MAX_JSON_BYTES, "tokenized corpus", "tokenize it again", CorpusError
            )
            offsets = _row(folder / "offsets.npy")
            ids = np.memmap(folder / "ids.bin", dtype=np.uint16, mode="r")
            velocities = np.memmap(folder / "velocities.bin", dtype=np.uint8, mode="r")
            mood, mood_offsets = _row(folder / "mood.npy"), _row(folder / "mood_offsets.npy")
        except (OSError, ValueError, EOFError) as error:
            raise CorpusError(f"{folder} is not a tokenized corpus ({error}); tokenize the archives again") from error
        vocabulary = about.get("vocabulary") if isinstance(about, dict) else None
        if vocabulary != v.HASH:
            raise CorpusError(
                f"{folder} was tokenized with vocabulary {vocabulary}, this is {v.HASH}; tokenize the archives again"
            )
        if offsets.ndim != 1 or not len(offsets):
            raise CorpusError(f"{folder} has no list of songs in offsets.npy; tokenize the archives again")
        if not len(ids) == len(velocities) == offsets[-1]:
            raise CorpusError(f"{folder} is cut off: {len(ids)} events of {offsets[-1]}; tokenize the archives again")
        if mood_offsets.shape != offsets.shape or mood.shape != (mood_offsets[-1], 2):
            raise CorpusError(f"{folder} has no mood curve for each of its songs; tokenize the archives again")
        return cls(ids, velocities, offsets, mood, mood_offsets, about)

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], *, snap_tempo: bool = True) -> Dataset:
        """An archive's arrays, tokenized in memory."""
        n_songs = len(arrays["note_offset"]) - 1
        parts = [
            tokenize(arrays, a, a + SONGS_PER_CHUNK, snap_tempo=snap_tempo) for a in range(0, n_songs, SONGS_PER_CHUNK)
        ]
        if not parts:
            raise CorpusError("the archive holds no songs; prepare a larger one")
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(p.offsets) for p in parts]))])
        ids, velocities = (np.concatenate([getattr(p, name) for p in parts]) for name in ("ids", "velocities"))
        moods: list[npt.NDArray[np.int8]] = []
        for i, part in enumerate(parts):
            moods += _moods(arrays, part, i * SONGS_PER_CHUNK, min((i + 1) * SONGS_PER_CHUNK, n_songs))
        mood = _joined(moods)
        return cls(ids, velocities, offsets, *mood, {"vocabulary": v.HASH, "snap_tempo": snap_tempo})

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def song(self, i: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Ids and velocities of song i, both (T,)."""
        where = slice(self.offsets[i], self.offsets[i + 1])
        return self.ids[where].astype(np.int64), np.asarray(self.velocities[where])

    def song_mood(self, i: int, end_s: float) -> tuple[FloatArray, FloatArray]:
        """Song i's curve: times (n,) in seconds, stretched so that it ends at `end_s`; valence and arousal (n, 2).

        Snapped tempi make events a little longer or shorter than the song the curve was read from.
        """
        kept = self.mood[self.mood_offsets[i] : self.mood_offsets[i + 1]]
        levels = np.clip(kept.astype(np.float64) / FULL, -1.0, 1.0)
        step_s = np.float64(end_s / max(len(levels), 1))
        return (np.arange(len(levels), dtype=np.float64) + np.float64(0.5)) * step_s, levels
