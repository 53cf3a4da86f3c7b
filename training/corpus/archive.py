"""Pianoroll archives: many songs end to end in one NumPy `.npz` file (docs/corpus.md has the table of arrays).

Conventions
- A step is 1/24 of a quarter note. Starts and lengths of notes, tempo changes and meters are in steps.
- A song's notes stand in the order (family, start, pitch); `start_delta` counts from the note before in the same
  song and family, or from step 0.
- Velocities have 16 levels: 4, 12, ... 124. Drums are hits: they last 3 steps, or less where the same drum strikes
  again.
- Songs begin at 120 quarter notes a minute in 4/4, until their tempo and meter say otherwise. What files say is kept
  as it is; absurd values are clipped when they are used (`song_score`).
- The file is an ordinary zip of arrays with LZMA inside; `np.load` reads it. Equal songs give equal bytes.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import CorpusError
from emsync.files import atomic_path
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus.archive_events import DEFAULT_QPM, QPM_RANGE, STEPS_PER_QUARTER
from emsync.training.corpus.npz import DAMAGE, member_names, one_line, open_npz
from emsync.vocabulary import FAMILIES, PITCH_RANGE

DRUM_STEPS: Final = 3
MAX_DURATION_STEPS: Final = 384
MAX_GAP_STEPS: Final = int(np.iinfo(np.uint16).max)
#: A song with at least this many families is in the pool "more", else in "fewer".
MORE_FAMILIES: Final = 3
POOLS: Final = ("fewer", "more")
#: Meters a song can be written in: numerators up to this, denominators a power of two up to that.
MAX_NUMERATOR: Final = 64
MAX_DENOMINATOR: Final = 32

#: The arrays of an archive and their types; "U" stands for text of any length.
SCHEMA: Final[Mapping[str, str]] = {
    "family": "u1",
    "pitch": "u1",
    "start_delta": "u2",
    "duration": "u2",
    "velocity": "u1",
    "note_offset": "i8",
    "song_id": "U",
    "source": "U",
    "pool": "U",
    "tempo_offset": "i8",
    "tempo_step": "i4",
    "tempo_qpm": "f4",
    "meter_offset": "i8",
    "meter_step": "i4",
    "meter_num": "u1",
    "meter_den": "u1",
}
#: Arrays an archive may have besides, all or none: one mood value a second (`mood.curves`).
MOOD_SCHEMA: Final[Mapping[str, str]] = {"mood_offset": "i8", "mood_valence": "i1", "mood_arousal": "i1"}
IntArray = npt.NDArray[np.integer]
_NOTE_ARRAYS = ("family", "pitch", "start_delta", "duration", "velocity")
_RAGGED = {
    "tempo": ("tempo_step", "tempo_qpm"),
    "meter": ("meter_step", "meter_num", "meter_den"),
    "note": _NOTE_ARRAYS,
}
_MOOD = {"mood": ("mood_valence", "mood_arousal")}
_LOW, _HIGH = np.array(PITCH_RANGE).T


#: An archive of 6,000 songs has 170 MB.
MAX_UNPACKED_BYTES: Final = 4 << 30


def _array(value: npt.ArrayLike, kind: str, name: str, path: str = "a song") -> np.ndarray:
    """`value` as a read-only row of type `kind`; refuses what does not fit."""
    array = np.asarray(value)
    target = np.dtype(kind)
    if array.ndim != 1:
        raise CorpusError(
            f"{path}: {name} has {array.ndim} dimensions where a row is needed; was it written by another program?"
        )
    if kind == "U":
        if array.dtype.kind not in "US" and len(array):
            raise CorpusError(f"{path}: {name} holds {array.dtype}, not text; was it written by another program?")
        result = array.astype(np.str_)
    else:
        if len(array) and (array.dtype.kind not in "uif" or (target.kind != "f" and array.dtype.kind == "f")):
            raise CorpusError(f"{path}: {name} holds {array.dtype}, not {target}; was it written by another program?")
        if target.kind != "f" and array.dtype != target and len(array):
            limits = np.iinfo(target)
            low, high = int(array.min()), int(array.max())
            if low < limits.min or high > limits.max:
                raise CorpusError(f"{path}: {name} reaches from {low} to {high}, outside {limits.min} to {limits.max}")
        result = np.array(array, dtype=target)
    result.flags.writeable = False
    return result


@dataclass(frozen=True, eq=False)
class Song:
    """One song in steps of 1/24 quarter note; arrays are brought to their types, made read-only and checked.

    family, pitch, start_step, duration_step, velocity: (N,), in the order (family, start, pitch).
    tempo_step, tempo_qpm: (T,). meter_step, meter_num, meter_den: (M,). Both in the order of steps; may be empty.
    song_id: md5 of the file it came from; source: where that file lay; pool: "more" or "fewer" families, by count when
    left empty.
    """

    family: IntArray
    pitch: IntArray
    start_step: IntArray
    duration_step: IntArray
    velocity: IntArray
    tempo_step: IntArray
    tempo_qpm: npt.NDArray[np.floating]
    meter_step: IntArray
    meter_num: IntArray
    meter_den: IntArray
    song_id: str = ""
    source: str = ""
    pool: str = ""

    def __post_init__(self) -> None:
        kinds = {**SCHEMA, "start_step": "i8", "duration_step": "u2"}
        for field in fields(self)[:10]:
            object.__setattr__(self, field.name, _array(getattr(self, field.name), kinds[field.name], field.name))
        if not self.pool:
            object.__setattr__(self, "pool", POOLS[self.n_families >= MORE_FAMILIES])
        if (
            len({len(self.family), len(self.pitch), len(self.start_step), len(self.duration_step), len(self.velocity)})
            != 1
        ):
            raise CorpusError("a song's notes need as many families as pitches, starts, durations and velocities")
        if len(self.start_step) and self.start_step.min() < 0:
            raise CorpusError(f"a note begins at step {self.start_step.min()}, before the song; shift the song")
        order = (self.family.astype(np.int64) << 48) | (self.start_step << 7) | self.pitch
        if not (np.diff(order) > 0).all():
            raise CorpusError(
                "a song's notes must be in the order (family, start, pitch), none twice; use songs.build_song"
            )
        archive = _pack([self])
        _check(archive, "a song")

    def __len__(self) -> int:
        return len(self.family)

    @property
    def n_families(self) -> int:
        return len(np.unique(self.family))

    @property
    def end_step(self) -> int:
        """Where the last sound ends."""
        return int((self.start_step + self.duration_step).max(initial=0))


@dataclass(frozen=True, eq=False)
class Archive:
    """Songs end to end; `archive[i]` is a `Song`, `len(archive)` their number, iterating gives them all.

    `arrays` holds the arrays of `SCHEMA` by name, which is what `archive_events.tokenize` reads, and those of
    `MOOD_SCHEMA` where songs have mood curves.
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["note_offset"]) - 1

    def __getitem__(self, index: int) -> Song:
        if not -len(self) <= index < len(self):
            raise IndexError(f"song {index} of an archive of {len(self)}")
        index %= len(self)
        a = self.arrays
        note, tempo, meter = (
            slice(int(a[f"{kind}_offset"][index]), int(a[f"{kind}_offset"][index + 1]))
            for kind in ("note", "tempo", "meter")
        )
        family = a["family"][note]
        return Song(
            family,
            a["pitch"][note],
            starts(family, a["start_delta"][note]),
            a["duration"][note],
            a["velocity"][note],
            a["tempo_step"][tempo],
            a["tempo_qpm"][tempo],
            a["meter_step"][meter],
            a["meter_num"][meter],
            a["meter_den"][meter],
            str(a["song_id"][index]),
            str(a["source"][index]),
            str(a["pool"][index]),
        )

    @property
    def has_mood(self) -> bool:
        return "mood_offset" in self.arrays

    def mood(self, index: int) -> npt.NDArray[np.int8]:
        """Valence and arousal of song `index`, (seconds, 2) int8 (`mood.curves`); only where `has_mood`."""
        a = self.arrays
        here = slice(int(a["mood_offset"][index]), int(a["mood_offset"][index + 1]))
        return np.stack([a["mood_valence"][here], a["mood_arousal"][here]], axis=1)

    def __iter__(self) -> Iterator[Song]:
        return (self[index] for index in range(len(self)))


def starts(family: np.ndarray, start_delta: np.ndarray) -> npt.NDArray[np.int64]:
    """Onsets (N,) in steps of one song: `start_delta` (N,) summed up within each family. Inverse of `deltas`."""
    total = np.cumsum(start_delta, dtype=np.int64)
    if not len(total):
        return total
    begins = np.append(True, family[1:] != family[:-1])
    before = (total - start_delta)[begins]
    return np.asarray(total - before[np.cumsum(begins) - 1], dtype=np.int64)


def deltas(family: np.ndarray, start_step: np.ndarray) -> npt.NDArray[np.int64]:
    """Distance (N,) of each onset (N,) to the one before in its family, or to step 0. Inverse of `starts`."""
    if not len(start_step):
        return np.zeros(0, dtype=np.int64)
    begins = np.append(True, family[1:] != family[:-1])
    return np.where(begins, start_step, np.diff(start_step, prepend=0)).astype(np.int64)


def pack(songs: Iterable[Song]) -> Archive:
    """Songs to an archive in memory, checked."""
    archive = _pack(list(songs))
    _check(archive, "the songs")
    return Archive(archive)


def _pack(songs: list[Song]) -> dict[str, np.ndarray]:
    def joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
        return _array(np.concatenate([np.zeros(0, dtype=SCHEMA[name]), *parts]), SCHEMA[name], name)

    def offsets(lengths: list[int]) -> np.ndarray:
        return np.cumsum([0, *lengths], dtype=np.int64)

    return {
        "family": joined("family", [s.family for s in songs]),
        "pitch": joined("pitch", [s.pitch for s in songs]),
        "start_delta": joined("start_delta", [deltas(s.family, s.start_step) for s in songs]),
        "duration": joined("duration", [s.duration_step for s in songs]),
        "velocity": joined("velocity", [s.velocity for s in songs]),
        "note_offset": offsets([len(s) for s in songs]),
        "song_id": np.array([s.song_id for s in songs], dtype=np.str_),
        "source": np.array([s.source for s in songs], dtype=np.str_),
        "pool": np.array([s.pool for s in songs], dtype=np.str_),
        "tempo_offset": offsets([len(s.tempo_step) for s in songs]),
        "tempo_step": joined("tempo_step", [s.tempo_step for s in songs]),
        "tempo_qpm": joined("tempo_qpm", [s.tempo_qpm for s in songs]),
        "meter_offset": offsets([len(s.meter_step) for s in songs]),
        "meter_step": joined("meter_step", [s.meter_step for s in songs]),
        "meter_num": joined("meter_num", [s.meter_num for s in songs]),
        "meter_den": joined("meter_den", [s.meter_den for s in songs]),
    }


def _check(arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Raise `CorpusError` unless the arrays, already of their types, say what the schema says."""
    n_songs = len(arrays["note_offset"]) - 1
    for name in ("song_id", "source", "pool"):
        if len(arrays[name]) != n_songs:
            raise CorpusError(
                f"{path}: {n_songs} songs but {len(arrays[name])} entries of {name}; was the archive cut off?"
            )
    ragged = {**_RAGGED, **(_MOOD if "mood_offset" in arrays else {})}
    for kind, names in ragged.items():
        offset = arrays[f"{kind}_offset"]
        lengths = {len(arrays[name]) for name in names}
        if (
            len(offset) != n_songs + 1
            or n_songs < 0
            or offset[0] != 0
            or (np.diff(offset) < 0).any()
            or lengths != {int(offset[-1])}
        ):
            raise CorpusError(
                f"{path}: {kind}_offset does not divide {kind}s of lengths {sorted(lengths)} among {n_songs} songs"
            )
    family, pitch = arrays["family"], arrays["pitch"]
    if len(family):
        if family.max() >= len(FAMILIES):
            raise CorpusError(
                f"{path}: family {family.max()} is over {len(FAMILIES) - 1}; was it written by another program?"
            )
        off = (pitch < _LOW.astype(np.uint8)[family]) | (pitch > _HIGH.astype(np.uint8)[family])
        if off.any():
            at = int(np.argmax(off))
            name, (low, high) = FAMILIES[family[at]], PITCH_RANGE[family[at]]
            raise CorpusError(
                f"{path}: pitch {pitch[at]} of {name} is outside {low} to {high}; build songs with songs.build_song"
            )
        for name, array, low, high in (
            ("duration", arrays["duration"], 1, MAX_DURATION_STEPS),
            ("velocity", arrays["velocity"], 1, 127),
        ):
            if array.min() < low or array.max() > high:
                worst = array.min() if array.min() < low else array.max()
                raise CorpusError(
                    f"{path}: {name} {worst} is outside {low} to {high}; build songs with songs.build_song"
                )
        song = np.repeat(np.arange(n_songs), np.diff(arrays["note_offset"]))
        group = song * len(FAMILIES) + family
        same = group[1:] == group[:-1]
        unsorted = same & (arrays["start_delta"][1:] == 0) & (pitch[1:] <= pitch[:-1])
        if (np.diff(group) < 0).any() or unsorted.any():
            raise CorpusError(
                f"{path}: notes are not in the order (family, start, pitch); was it written by another program?"
            )
    for kind in ("tempo", "meter"):
        step = arrays[f"{kind}_step"]
        if len(step) and step.min() < 0:
            raise CorpusError(f"{path}: a {kind} stands at step {step.min()}, before its song begins")


def write_archive(path: str | os.PathLike[str], songs: Archive | Iterable[Song], *, overwrite: bool = True) -> Archive:
    """Write songs to `path` (`.npz`), all at once or not at all, and return them as an archive.

    Raises `OutputError` when the place cannot be written, `CorpusError` for arrays that do not belong together. Equal
    songs give equal bytes: no clock is written.
    """
    if isinstance(songs, Archive):
        archive = songs
        _check(archive.arrays, str(path))
    else:
        archive = pack(songs)
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA, allowZip64=True) as zipped,
    ):
        for name in (*SCHEMA, *(MOOD_SCHEMA if archive.has_mood else ())):
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, whatever the clock says
            entry.compress_type = zipfile.ZIP_LZMA
            with zipped.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(archive.arrays[name]), allow_pickle=False)
    return archive


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip that lists every array of the schema; what they hold is not looked at."""
    names = member_names(path)
    return names is not None and names.issuperset(f"{name}.npy" for name in SCHEMA)


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """The archive at `path`, checked; arrays the schemas do not know are passed over.

    Raises `CorpusError` when the file is missing, cut off, no archive, or of another schema.
    """
    arrays = _read(Path(path))
    _check(arrays, str(path))
    return Archive(arrays)


def song_count(path: str | os.PathLike[str]) -> int:
    """How many songs the archive at `path` holds, reading little of it. Raises `CorpusError` as `read_archive` does."""
    return max(len(_read(Path(path), only=("note_offset",))["note_offset"]) - 1, 0)


def _read(file: Path, *, only: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """An archive's arrays, brought to their types; or only some, though all must be there."""
    if not file.is_file():
        raise CorpusError(f"{file} is not a file; give an archive that `emsync prepare` wrote")
    arrays: dict[str, np.ndarray] = {}
    try:
        with open(file, "rb") as stream, open_npz(stream, MAX_UNPACKED_BYTES) as loaded:
            # Mood curves may be missing, but not in part.
            wanted = {**SCHEMA, **(MOOD_SCHEMA if any(name in loaded for name in MOOD_SCHEMA) else {})}
            missing = [name for name in wanted if name not in loaded]
            if missing:
                raise CorpusError(f"{file} lacks {', '.join(missing)}; give an archive that `emsync prepare` wrote")
            for name in only or wanted:
                arrays[name] = _array(loaded[name], wanted[name], name, str(file))
    except DAMAGE as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{file} cannot be read as an archive ({one_line(error)}); was it cut off?") from error
    return arrays


def tempo_map(song: Song) -> TempoMap:
    """The song's tempo in seconds: 120 until the first change, values clipped to 20..400, of equal steps the last."""
    step = np.append(0, song.tempo_step).astype(np.int64)
    qpm = np.append(DEFAULT_QPM, np.nan_to_num(song.tempo_qpm.astype(np.float64), nan=DEFAULT_QPM)).clip(*QPM_RANGE)
    order = np.argsort(step, kind="stable")
    step, qpm = step[order], qpm[order]
    last = np.append(step[1:] != step[:-1], True)
    step, qpm = step[last], qpm[last]
    changes = np.append(True, qpm[1:] != qpm[:-1])
    step, qpm = step[changes], qpm[changes]
    times_s = np.append(0.0, np.cumsum(np.diff(step) * 60 / (qpm[:-1] * STEPS_PER_QUARTER)))
    return TempoMap(times_s, qpm)


def bar_table(song: Song) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bars up to the last sound: start step, numerator, denominator, each (B,), B >= 1.

    A meter no bar can have (zero, or a denominator that is no power of two) is passed over. A meter that begins in
    mid-bar ends the bar there; that bar is written with the length it has.
    """
    num, den = song.meter_num.astype(np.int64), song.meter_den.astype(np.int64)
    sane = (num > 0) & (num <= MAX_NUMERATOR) & (den > 0) & (den <= MAX_DENOMINATOR) & (den & (den - 1) == 0)
    step = np.append(0, song.meter_step[sane]).astype(np.int64)
    num, den = np.append(4, num[sane]), np.append(4, den[sane])
    order = np.argsort(step, kind="stable")
    step, num, den = step[order], num[order], den[order]
    end = max(song.end_step, 1)
    last = np.append(step[1:] != step[:-1], True) & (step < end)
    step, num, den = step[last], num[last], den[last]
    length = 4 * STEPS_PER_QUARTER * num // den  # whole: denominators divide 32, and 32 divides 96
    until = np.append(step[1:], end)
    count = -(-(until - step) // length)
    index = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    start = step[index] + within * length[index]
    final = index == len(count) - 1
    actual = np.where(final, length[index], np.minimum(length[index], until[index] - start))
    cut = actual < length[index]
    thirty_seconds = 4 * STEPS_PER_QUARTER // MAX_DENOMINATOR
    shared = np.gcd(np.maximum(actual // thirty_seconds, 1), MAX_DENOMINATOR)
    writable = cut & (actual % thirty_seconds == 0)
    numerator = np.where(writable, actual // thirty_seconds // shared, num[index])
    denominator = np.where(writable, MAX_DENOMINATOR // shared, den[index])
    return start, numerator, denominator


def to_score(song: Song) -> Score:
    """A song in seconds, on the five family instruments, through its tempo map. Inverse of `songs.score_to_song`."""
    tempo = tempo_map(song)

    def seconds(step: np.ndarray) -> npt.NDArray[np.float64]:
        return np.asarray(tempo.seconds_at(step / STEPS_PER_QUARTER), dtype=np.float64)

    bar_step, numerator, denominator = bar_table(song)
    return Score(
        FAMILY_INSTRUMENTS,
        song.family.astype(np.int64),
        song.pitch.astype(np.int64),
        song.velocity.astype(np.int64),
        seconds(song.start_step),
        seconds(song.start_step + song.duration_step),
        tempo,
        Bars(seconds(bar_step), numerator, denominator),
    )


def song_score(archive: Archive, index: int) -> Score:
    """Song `index` of an archive in seconds (see `to_score`)."""
    return to_score(archive[index])
