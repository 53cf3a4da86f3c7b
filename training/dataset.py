"""Tokenized corpora on disk, and the crops that training draws from them.

A *dataset folder* holds `ids.bin` (uint16), `velocities.bin` (uint8), `offsets.npy` (int64, S + 1) and `dataset.json`
(vocabulary hash, counts, sources): every song's events end to end, memory-mapped when read; and the songs' mood curves,
`mood.npy` (int8, seconds x 2) with `mood_offsets.npy` (int64, S + 1): the archive's, or read from the notes.

A batch is drawn as a function of (seed, step, place in the batch) alone, so that a resumed run, or one of several
processes, draws what it would have drawn.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emsync import metre
from emsync import vocabulary as v
from emsync.checkpoint import check_replaceable
from emsync.conditions import COPY_LANES, MAX_OFFSET_S, MAX_TO_END_S, METRE_LANES, N_LANES, Conditions
from emsync.copying import lanes_of_song
from emsync.errors import CorpusError, InputError, OutputError
from emsync.tokenizer.events import times_steps
from emsync.training.corpus.archive import Archive, read_archive
from emsync.training.corpus.archive_events import SongEvents, tokenize
from emsync.training.mood.curves import FULL, label_songs, mood_arrays
from emsync.training.mood.features import Notes

SONGS_PER_CHUNK = 400

FloatArray = npt.NDArray[np.float64]

_SLOTS = np.array([v.VALENCE_SLOT, v.AROUSAL_SLOT], dtype=np.int64)
PREFIX = len(_SLOTS) + 1  # mood positions and the instrument count


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
            begins_s = float(Notes.of_song(archive[first + i]).start_s.min())
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

    `progress` is called with (songs done, songs in this archive). Raises `CorpusError` for what is no archive, and
    `OutputError` where the folder cannot be written or holds something else.
    """
    folder = Path(folder)
    paths = [Path(p) for p in archives]
    if not paths:
        raise CorpusError("there is no archive to tokenize; give at least one .npz made by emsync prepare")
    check_replaceable(folder, "dataset.json", "a tokenized corpus")
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    lengths: list[np.ndarray] = []
    moods: list[npt.NDArray[np.int8]] = []
    n_notes = 0
    workers = min(workers or os.cpu_count() or 1, 16)
    try:
        partial.mkdir(parents=True)
        with (partial / "ids.bin").open("wb") as ids_file, (partial / "velocities.bin").open("wb") as velocities_file:
            for path in paths:
                arrays = read_archive(path).arrays
                n_notes += len(arrays["family"])
                _worker_archive.clear()
                _worker_archive.update(arrays)  # forked workers inherit it; nothing is pickled on the way in
                n_songs = len(arrays["note_offset"]) - 1
                starts = list(range(0, n_songs, SONGS_PER_CHUNK))
                chunks = [(a, min(a + SONGS_PER_CHUNK, n_songs)) for a in starts]
                with _pool(workers) as pool:
                    jobs = [pool.submit(_tokenize_chunk, a, b, snap_tempo) for a, b in chunks] if pool else None
                    for i, (a, b) in enumerate(chunks):
                        ids, velocities, length, labels = (
                            jobs[i].result() if jobs else _tokenize_chunk(a, b, snap_tempo)
                        )
                        ids_file.write(ids.tobytes())
                        velocities_file.write(velocities.tobytes())
                        lengths.append(length)
                        moods += labels
                        if progress:
                            progress(b, n_songs)
        if not lengths:
            raise CorpusError(f"{paths[0]} holds no songs; prepare a larger corpus")
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        np.save(partial / "offsets.npy", offsets)
        mood, mood_offsets = _joined(moods)
        np.save(partial / "mood.npy", mood)
        np.save(partial / "mood_offsets.npy", mood_offsets)
        about = {
            "vocabulary": v.HASH, "snap_tempo": snap_tempo, "songs": len(offsets) - 1, "events": int(offsets[-1]),
            "notes": n_notes, "sources": [p.name for p in paths],
        }  # fmt: skip
        (partial / "dataset.json").write_text(json.dumps(about, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{folder} cannot be written ({reason}); free some space or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _worker_archive.clear()
    return Dataset.open(folder)


class _pool:
    """A pool of forked workers, or none where one worker is enough or forking is not to be had."""

    def __init__(self, workers: int) -> None:
        self.pool: ProcessPoolExecutor | None = None
        if workers > 1 and hasattr(os, "fork"):
            import multiprocessing

            self.pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))

    def __enter__(self) -> ProcessPoolExecutor | None:
        return self.pool

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def _joined(curves: Sequence[npt.NDArray[np.int8]]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Songs' mood curves end to end (seconds, 2), and where each begins (S + 1,)."""
    arrays = mood_arrays(curves)
    return np.stack([arrays["mood_valence"], arrays["mood_arousal"]], axis=1), arrays["mood_offset"]


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
        """Raises `CorpusError` where the folder is no dataset, is cut off, or speaks another vocabulary."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "dataset.json").read_text())
            offsets = np.load(folder / "offsets.npy")
            ids = np.memmap(folder / "ids.bin", dtype=np.uint16, mode="r")
            velocities = np.memmap(folder / "velocities.bin", dtype=np.uint8, mode="r")
            mood = np.load(folder / "mood.npy")
            mood_offsets = np.load(folder / "mood_offsets.npy")
        except (OSError, ValueError) as error:
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


@dataclass(frozen=True)
class CropConfig:
    """How crops are drawn. Shares are probabilities; what is left over starts anywhere."""

    context: int = 1024
    at_bar: float = 0.5
    """Share of crops that begin at a bar (of those not bound otherwise)."""
    at_start: float = 0.1
    """Share that begin where the song begins."""
    at_end: float = 0.1
    """Share that end with END."""
    near_chord: float = 0.35
    """Share drawn around a CHORD, from the songs that have one."""
    fill: float = 0.75
    """Of the crops that would run past the song's end, the share moved back to be full."""
    transpose: int = 3
    """Largest transposition, in semitones, either way."""
    drop_chord: float = 0.2
    """Share of CHORD events left out."""
    drop_boundaries: float = 0.1
    """Share of crops that are told no boundaries."""
    sparse_boundaries: float = 0.3
    """Share of crops told only of boundaries four seconds apart, as in film."""
    drop_end: float = 0.15
    """Share of crops that are not told when the piece ends."""
    late_end: float = 0.3
    """Share of crops that are told of the end only in the last seconds before it, as in composing."""
    drop_metre: float = 0.1
    """Share that is not told where in the bar it is."""
    drop_tempo: float = 0.3
    """Of the others, the share not told the tempo of the song's first bar."""
    drop_copy: float = 0.1
    """Share of crops without copy lanes, as where copying is barred in composing."""
    drop_mood: float = 0.15
    """Share that is told no mood at all: what guidance is measured against."""
    drop_piece_mood: float = 0.25
    """Of the others, the share not told the whole song's mood."""
    drop_mood_lanes: float = 0.25
    """Likewise, the share not told the mood at each moment."""
    drop_axis: float = 0.1
    """Share not told valence, and share not told arousal."""

    def __post_init__(self) -> None:
        if type(self.context) is not int or self.context < 16:
            raise InputError(f"a context of {self.context} is too short; give a whole number of at least 16")
        for name in (
            "at_bar",
            "at_start",
            "at_end",
            "near_chord",
            "fill",
            "drop_chord",
            "drop_boundaries",
            "sparse_boundaries",
            "drop_end",
            "late_end",
            "drop_metre",
            "drop_tempo",
            "drop_copy",
            "drop_mood",
            "drop_piece_mood",
            "drop_mood_lanes",
            "drop_axis",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; a share lies between 0 and 1")
        if type(self.transpose) is not int or not 0 <= self.transpose <= 12:
            raise InputError(f"transpose is {self.transpose}; give 0 to 12 whole semitones")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step of training eats; position t predicts `targets[:, t]`, weighed by `weights[:, t]` (0: not counted).

    ids, targets (B, T) int64; heard (B, T) int64, the velocity of the event before; velocities (B, T) int64, the
    event's own, 0 where it has none; lanes (B, T, N) float32; mood (B, 2) float32; weights (B, T) float32.
    """

    ids: npt.NDArray[np.int64]
    heard: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.int64]
    lanes: npt.NDArray[np.float32]
    mood: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


class Crops:
    """Draws batches from a dataset; see `CropConfig`."""

    def __init__(self, data: Dataset, config: CropConfig, *, seed: int, augment: bool = True) -> None:
        if not len(data):
            raise CorpusError("the corpus holds no songs; prepare a larger one")
        self.data, self.config, self.seed, self.augment = data, config, seed, augment
        self._chords = _chord_places(data)

    def batch(self, step: int, size: int, *, rank: int = 0, chord_weight: float = 10.0) -> Batch:
        """The batch of one step, for one of several processes."""
        rows = [self.crop(np.random.default_rng([self.seed, step, rank, i])) for i in range(size)]
        return collate(rows, self.config.context, chord_weight=chord_weight)

    def _place(self, rng: np.random.Generator, length: int) -> tuple[int, int]:
        """A song and the event its crop begins at."""
        c = self.config
        kind = rng.random()
        if kind < c.near_chord and len(self._chords):
            at = int(self._chords[rng.integers(len(self._chords))])
            song = int(np.searchsorted(self.data.offsets, at, side="right")) - 1
            first, last = int(self.data.offsets[song]), int(self.data.offsets[song + 1])
            return song, max(at - first - int(rng.integers(16, max(17, length - 32))), 0)
        at = int(rng.integers(len(self.data.ids)))
        song = int(np.searchsorted(self.data.offsets, at, side="right")) - 1
        first, last = int(self.data.offsets[song]), int(self.data.offsets[song + 1])
        if len(self._chords):
            kind -= c.near_chord
        if kind < c.at_start:
            return song, 0
        if kind < c.at_start + c.at_end:
            return song, max(last - first - length, 0)
        return song, at - first

    def crop(self, rng: np.random.Generator) -> Row:
        c = self.config
        length = c.context - PREFIX + 1  # one more than is heard: the last one is only a target
        song, begin = self._place(rng, length)
        if rng.random() < c.fill:
            begin = min(begin, max(int(self.data.offsets[song + 1] - self.data.offsets[song]) - length, 0))
        ids, velocities = self.data.song(song)
        count, ids, velocities = ids[0], ids[1:], velocities[1:]  # the instrument count is the prefix's
        begin = max(begin - 1, 0)
        if begin and rng.random() < c.at_bar:
            bars = np.flatnonzero(v.KIND[ids[max(begin - 400, 0) : begin + 1]] == v.K_BAR)
            if len(bars):
                begin = max(begin - 400, 0) + int(bars[-1])
        steps = times_steps(ids)
        chord = ids == v.CHORD
        boundaries_s = np.unique(steps[chord]) * v.STEP_S
        length_s = max(float(steps[-1]), 1.0) * v.STEP_S
        end_s: float | None = length_s
        end_heard_s = MAX_TO_END_S
        told: npt.NDArray[np.float64] | None = boundaries_s
        if self.augment:
            if rng.random() < c.drop_boundaries:
                told = None
            elif rng.random() < c.sparse_boundaries:
                told = _thinned(boundaries_s, rng)
            if rng.random() < c.drop_end:
                end_s = None
            elif rng.random() < c.late_end:
                end_heard_s = float(rng.uniform(0.0, MAX_TO_END_S))
            keep = ~(chord & (rng.random(len(ids)) < c.drop_chord))
            keep[:begin] = True
        else:
            keep = np.ones(len(ids), dtype=bool)
        # Chords shortly before the crop may have met boundaries within it, so the clock starts somewhat earlier.
        early = max(begin - 256, 0)
        window = np.arange(early, min(begin + length + 64, len(ids)))[keep[early : begin + length + 64]]
        window = window[: np.searchsorted(window, begin) + length]
        mood = self._mood(rng, song, length_s)
        conditions = Conditions(boundaries_s=told, end_s=end_s, end_known_s=end_heard_s, **mood)
        lanes = conditions.at(steps[window] * v.STEP_S, ids[window] == v.CHORD)
        if not (self.augment and rng.random() < c.drop_metre):
            told_tempo = not self.augment or rng.random() >= c.drop_tempo
            lanes[:, METRE_LANES] = song_metre(ids, steps, told_tempo)[window]
        inside = window >= begin
        seen = np.flatnonzero(keep[: window[-1] + 1])  # the model's past: the whole song, but for events left out
        copies = lanes_of_song(ids[seen])[np.searchsorted(seen, window[inside])]
        ids, velocities, lanes = ids[window[inside]], velocities[window[inside]], lanes[inside]
        if self.augment and c.transpose:
            semitones = int(rng.integers(-c.transpose, c.transpose + 1))
            moved = transpose(ids, semitones)
            if moved is not ids:
                ids, copies = moved, transpose_copies(copies, semitones)
        if not (self.augment and rng.random() < c.drop_copy):
            lanes[:, COPY_LANES] = copies
        return Row(
            np.concatenate([_SLOTS, [count], ids]),
            np.concatenate([np.zeros(PREFIX, dtype=np.uint8), velocities]),
            np.concatenate([np.repeat(lanes[:1], PREFIX, axis=0), lanes]),
            conditions.mood,
        )

    def _mood(self, rng: np.random.Generator, song: int, length_s: float) -> dict[str, Any]:
        """The song's mood as `Conditions` takes it, parts of it left out at random."""
        c = self.config
        times_s, levels = self.data.song_mood(song, length_s)
        draws = rng.random(5) if self.augment else np.ones(5)
        if not len(levels) or draws[0] < c.drop_mood:
            return {}
        told: dict[str, Any] = {}
        for k, axis in enumerate(("valence", "arousal")):
            if draws[1 + k] < c.drop_axis:
                continue
            if draws[3] >= c.drop_piece_mood:
                told[f"piece_{axis}"] = float(levels[:, k].mean())
            if draws[4] >= c.drop_mood_lanes:
                told[axis] = (times_s, levels[:, k])
        return told


@dataclass(frozen=True, eq=False)
class Row:
    """One crop, prefix and all: ids, velocities (T,), lanes (T, N), mood (2,)."""

    ids: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.uint8]
    lanes: npt.NDArray[np.float32]
    mood: npt.NDArray[np.float32]


def collate(rows: Sequence[Row], context: int, *, chord_weight: float = 10.0) -> Batch:
    """Rows of at most context + 1 events, padded, to a batch of exactly `context` positions."""
    n = len(rows)
    ids = np.full((n, context + 1), v.PAD, dtype=np.int64)
    velocities = np.zeros((n, context + 1), dtype=np.int64)
    lanes = np.full((n, context, N_LANES), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        t = min(len(row.ids), context + 1)
        ids[i, :t], velocities[i, :t] = row.ids[:t], row.velocities[:t]
        lanes[i, : min(t, context)] = row.lanes[: min(t, context)]
    targets = ids[:, 1:].copy()
    weights = np.where(targets == v.CHORD, np.float32(chord_weight), np.float32(1))
    weights[targets == v.PAD] = 0
    weights[:, : PREFIX - 1] = 0  # the prefix is given, not predicted
    targets[:, : PREFIX - 1] = v.PAD
    heard = np.pad(velocities[:, : context - 1], ((0, 0), (1, 0)))
    mood = np.stack([row.mood for row in rows])
    return Batch(ids[:, :context], heard, velocities[:, :context], lanes, mood, targets, weights.astype(np.float32))


def transpose(ids: npt.NDArray[np.int64], semitones: int) -> npt.NDArray[np.int64]:
    """All pitched events (drums stay) moved by `semitones`; unmoved, every one, if any would leave the range."""
    pitched = v.FAMILY[ids] > v.DRUMS
    moved = v.VALUE[ids[pitched]] + semitones
    low, high = v.PITCH_RANGE[v.PIANO]
    if not len(moved) or moved.min() < low or moved.max() > high:
        return ids
    out = ids.copy()
    out[pitched] += semitones
    return out


def transpose_copies(copies: npt.NDArray[np.float32], semitones: int) -> npt.NDArray[np.float32]:
    """Copy lanes (T, 2) of a song as those of the song moved by `semitones`.

    Which events match does not change; the followers move. One that would leave the range was never heard in that key:
    its lanes become NaN.
    """
    follower = copies[:, 0].astype(np.int64)
    pitched = v.FAMILY[follower] > v.DRUMS
    low, high = v.PITCH_RANGE[v.PIANO]
    moved = v.VALUE[follower] + semitones
    out = copies.copy()
    out[pitched, 0] += semitones
    out[pitched & ((moved < low) | (moved > high))] = np.nan
    return out


def song_metre(
    ids: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], told_tempo: bool = True
) -> npt.NDArray[np.float32]:
    """The values (T, 3) of `metre.of_events` of a whole song, the tempo of its first bar given or not."""
    known = metre.lengths(ids, steps)
    return metre.of_events(ids, steps, float(known[0]) if told_tempo and len(known) else None)


def _thinned(boundaries_s: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Boundaries at least as far apart as a film's: greedily, with a gap drawn between four and eight seconds."""
    gap = rng.uniform(MAX_OFFSET_S / 2, MAX_OFFSET_S)
    kept: list[float] = []
    for time in boundaries_s:
        if not kept or time - kept[-1] >= gap:
            kept.append(float(time))
    return np.array(kept)


def _chord_places(data: Dataset, block: int = 1 << 24) -> npt.NDArray[np.int64]:
    """Where in the dataset CHORD stands."""
    parts = [np.flatnonzero(data.ids[a : a + block] == v.CHORD) + a for a in range(0, len(data.ids), block)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
