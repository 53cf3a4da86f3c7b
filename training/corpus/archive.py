"""Pianoroll archives: many songs end to end in one NumPy `.npz` file (docs/corpus.md has the table of arrays).

Conventions
- A step is 1/24 of a quarter note. Starts and lengths of notes, tempo changes and meters are in steps.
- A song's notes stand in the order (family, start, pitch); `start_delta` counts from the note before in the same
  song and family, or from step 0.
- Velocities have 16 levels: 4, 12, ... 124. Drums are hits: they last 3 steps, or less where the same drum strikes
  again.
- Songs begin at 120 quarter notes a minute in 4/4, until their tempo and meter say otherwise. What files say is kept
  as it is; absurd values are clipped when they are used (`song_to_score`).
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
from emsync.training.corpus.archive_schema import MOOD_SCHEMA, MORE_FAMILIES, POOLS, SCHEMA, as_row, check_arrays
from emsync.training.corpus.npz import DAMAGE, member_names, one_line, open_npz

IntArray = npt.NDArray[np.integer]

#: An archive of 6,000 songs has 170 MB.
MAX_UNPACKED_BYTES: Final = 4 << 30


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
            object.__setattr__(self, field.name, as_row(getattr(self, field.name), kinds[field.name], field.name))
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
        check_arrays(archive, "a song")

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
    check_arrays(archive, "the songs")
    return Archive(archive)


def _pack(songs: list[Song]) -> dict[str, np.ndarray]:
    def joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
        return as_row(np.concatenate([np.zeros(0, dtype=SCHEMA[name]), *parts]), SCHEMA[name], name)

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


def write_archive(path: str | os.PathLike[str], songs: Archive | Iterable[Song], *, overwrite: bool = True) -> Archive:
    """Write songs to `path` (`.npz`), all at once or not at all, and return them as an archive.

    Raises `OutputError` when the place cannot be written, `CorpusError` for arrays that do not belong together. Equal
    songs give equal bytes: no clock is written.
    """
    if isinstance(songs, Archive):
        archive = songs
        check_arrays(archive.arrays, str(path))
    else:
        archive = pack(songs)
    names = (*SCHEMA, *(MOOD_SCHEMA if archive.has_mood else ()))
    write_arrays(path, ((name, archive.arrays[name]) for name in names), overwrite=overwrite)
    return archive


def write_arrays(
    path: str | os.PathLike[str], arrays: Iterable[tuple[str, np.ndarray]], *, overwrite: bool = True
) -> None:
    """Write an archive's arrays, in their order and unchecked, one after the other. Raises `OutputError`."""
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA, allowZip64=True) as zipped,
    ):
        for name, array in arrays:
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, whatever the clock says
            entry.compress_type = zipfile.ZIP_LZMA
            with zipped.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip that lists every array of the schema; what they hold is not looked at."""
    names = member_names(path)
    return names is not None and names.issuperset(f"{name}.npy" for name in SCHEMA)


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """The archive at `path`, checked; arrays the schemas do not know are passed over.

    Raises `CorpusError` when the file is missing, cut off, no archive, or of another schema.
    """
    arrays = _read(Path(path))
    check_arrays(arrays, str(path))
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
                arrays[name] = as_row(loaded[name], wanted[name], name, str(file))
    except DAMAGE as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{file} cannot be read as an archive ({one_line(error)}); was it cut off?") from error
    return arrays
