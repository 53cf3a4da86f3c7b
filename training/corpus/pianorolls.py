"""Lakh Pianoroll Dataset files, as pypianoroll writes them, to songs.

pypianoroll keeps each track as a matrix (time step, pitch) in compressed sparse columns: `pianoroll_0_csc_data` the
velocities, `_csc_indices` their time steps, `_csc_indptr` (129,) where each pitch's begin, `_csc_shape`; and
info.json with the tracks' programs and the resolution (called beat_resolution before version 1). LPD is written by
version 0.3.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.tokenizer.families import GROUPS, PROGRAMS_PER_GROUP
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER
from emsync.training.corpus.npz import DAMAGE, one_line, open_npz
from emsync.training.corpus.songs import MISSING_TRACKS, UNREADABLE_PIANOROLL, Converted, Refused, Timeline, build_song

#: Velocity of the notes of a pianoroll without velocities, as EMSYNC's published code has it; the paper gives none.
BINARY_VELOCITY: Final = 80
#: A pianoroll takes less, packed and unpacked; more is damage or a zip bomb.
MAX_PIANOROLL_BYTES: Final = 64 * 2**20
MAX_UNPACKED_BYTES: Final = 512 * 2**20
#: What a damaged file can provoke, in what reads it here as well.
_DAMAGE = (*DAMAGE, IndexError, TypeError)
_TRACK_PARTS = ("data", "indices", "indptr", "shape")


def read_pianoroll(
    path: str | os.PathLike[str], *, song_id: str = "", source: str = "", min_notes: int = 0
) -> Converted:
    """A Lakh Pianoroll Dataset file, of five or of seventeen tracks, to a song.

    In a column, a run of steps is a note; where the velocity rises, another note begins (a merged track took the louder
    of two). A note that begins one step after an equal one ended is legato: pypianoroll clears the step before each
    onset to keep repeated notes apart, so that step is given back.
    Raises `Refused`: a file that is damaged or no pianoroll, lacks tracks, or cannot be used (see `build_song`).
    """
    file = Path(path)
    try:
        return _read_pianoroll(file, song_id, source, min_notes)
    except Refused:
        raise
    except _DAMAGE as error:
        raise Refused(
            UNREADABLE_PIANOROLL, f"{file.name} cannot be read as a pianoroll ({one_line(error)}); was it cut off?"
        ) from error


def _read_pianoroll(file: Path, song_id: str, source: str, min_notes: int) -> Converted:
    with open(file, "rb") as stream, open_npz(stream, MAX_UNPACKED_BYTES) as loaded:
        if "info.json" not in loaded:
            raise Refused(
                UNREADABLE_PIANOROLL, f"{file.name} has no info.json; give files of the Lakh Pianoroll Dataset"
            )
        info = json.loads(loaded["info.json"])
        resolution = info.get("resolution", info.get("beat_resolution")) if isinstance(info, dict) else None
        if not isinstance(resolution, int) or not 1 <= resolution <= 10_000:
            raise Refused(
                UNREADABLE_PIANOROLL, f"{file.name} gives {resolution} as its steps a quarter; it must be 1 to 10000"
            )
        tracks = _tracks(file, info, loaded.names)
        parts = [_runs(*(loaded[f"pianoroll_{number}_csc_{part}"] for part in _TRACK_PARTS)) for number, _ in tracks]
        family = np.concatenate([np.full(len(part[0]), kind) for part, (_, kind) in zip(parts, tracks, strict=True)])
        pitch, start, end, velocity = (np.concatenate(column) for column in zip(*parts, strict=True))
        tempo = np.asarray(loaded["tempo"], dtype=np.float64).ravel() if "tempo" in loaded else np.zeros(0)
        downbeat = np.flatnonzero(loaded["downbeat"]) if "downbeat" in loaded else np.zeros(0, dtype=np.int64)

    def steps(at: np.ndarray) -> npt.NDArray[np.int64]:
        return np.rint(at.astype(np.int64) * (STEPS_PER_QUARTER / resolution)).astype(np.int64)

    tempo = np.where(np.isfinite(tempo) & (tempo > 0), np.round(tempo, 2), 0)
    change = np.flatnonzero((np.diff(tempo, prepend=0) != 0) & (tempo > 0))
    bar, num, den = _meters(downbeat, resolution)
    timeline = Timeline(steps(change), tempo[change], steps(bar), num, den)
    return build_song(
        family, pitch, steps(start), steps(end), velocity, timeline, song_id=song_id, source=source, min_notes=min_notes
    )


def _tracks(file: Path, info: dict[str, Any], arrays: frozenset[str]) -> list[tuple[int, int]]:
    """(number, family) of every track, family -1 for effects; refuses what is not five or seventeen whole tracks."""
    numbers = sorted(
        {int(key) for key in info if key.isdigit()}
        | {int(name.split("_")[1]) for name in arrays if name.startswith("pianoroll_")}
    )
    groups: dict[int, int] = {}  # number -> group of eight; -1 for drums
    for number in numbers:
        entry = info.get(str(number))
        absent = [part for part in _TRACK_PARTS if f"pianoroll_{number}_csc_{part}" not in arrays]
        if not isinstance(entry, dict) or absent:
            what = "info.json" if not isinstance(entry, dict) else "arrays"
            raise Refused(MISSING_TRACKS, f"{file.name} has no {what} for track {number}; fetch the file again")
        program = entry["program"]
        if not isinstance(program, int) or not 0 <= program < len(GROUPS) * PROGRAMS_PER_GROUP:
            raise Refused(
                UNREADABLE_PIANOROLL, f"{file.name} gives track {number} the program {program}; it must be 0 to 127"
            )
        groups[number] = -1 if entry["is_drum"] else program // PROGRAMS_PER_GROUP
    families = {number: _family(group) for number, group in groups.items()}
    wanted: dict[int, str]
    if len(numbers) > len(v.FAMILIES):
        wanted = {-1: "Drums", **{number: name for number, (name, _) in enumerate(GROUPS)}}
        missing = [name for group, name in wanted.items() if group not in groups.values()]
    else:
        wanted = {number: name.capitalize() for number, name in enumerate(v.FAMILIES)}
        missing = [name for family, name in wanted.items() if family not in families.values()]
    if missing:
        raise Refused(
            MISSING_TRACKS,
            f"{file.name} has {len(numbers)} tracks and lacks {', '.join(missing)}; "
            "give files of the five- or 17-track dataset",
        )
    if len(numbers) != len(wanted):
        raise Refused(
            UNREADABLE_PIANOROLL,
            f"{file.name} has {len(numbers)} tracks, not 5 or 17; give files of the five- or 17-track dataset",
        )
    return sorted(families.items())


def _family(group: int) -> int:
    """The family of a group of eight programs, -1 for drums; -1 where it is an effect."""
    family = v.DRUMS if group < 0 else GROUPS[group][1]
    return -1 if family is None else family


def _runs(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, ...]:
    """One track's sparse columns to notes: pitch, start, end (in the file's steps) and velocity, each (N,)."""
    if len(shape) != 2 or int(shape[1]) != 128 or len(indptr) != 129:
        raise ValueError(f"a track of shape {tuple(int(each) for each in shape)}, not (steps, 128)")
    columns = np.diff(indptr)
    if int(indptr[0]) != 0 or (columns < 0).any() or int(indptr[-1]) != len(indices) or len(indices) != len(data):
        raise ValueError("a track whose columns do not fit its entries")
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= int(shape[0])):
        raise ValueError(f"a track with entries outside its {int(shape[0])} steps")
    pitch = np.repeat(np.arange(128), columns)
    step = indices.astype(np.int64)
    if data.dtype == np.bool_:
        velocity = np.where(data, BINARY_VELOCITY, 0)
    else:
        whole = data if data.dtype.kind in "ui" else np.rint(np.nan_to_num(data.astype(np.float64)))
        velocity = whole.clip(0, 127).astype(np.int64)
    # Almost every file has its columns in order and no zeros; sorting would take longer than all the rest.
    if len(step) and (np.diff(pitch * int(shape[0]) + step) <= 0).any():
        order = np.lexsort((step, pitch))
        pitch, step, velocity = pitch[order], step[order], velocity[order]
    if not velocity.all():
        sounds = velocity > 0
        pitch, step, velocity = pitch[sounds], step[sounds], velocity[sounds]
    joined = (pitch[1:] == pitch[:-1]) & (step[1:] == step[:-1] + 1)
    first = np.flatnonzero(np.append(True, ~joined | (velocity[1:] > velocity[:-1]))[: len(step)])
    last = np.append(first[1:], len(step))[: len(first)] - 1
    end = step[last] + 1
    following = np.append(step[first[1:]], -1)[: len(first)]
    same = np.append(pitch[first[1:]] == pitch[first[:-1]], False)[: len(first)]
    end = np.where(same & (following == end + 1), following, end)
    return pitch[first], step[first], end, velocity[first]


def _meters(downbeat: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Meters from downbeats (D,): where the length of bars changes, its start, numerator and denominator.

    Bars whose length is not a whole number of eighths are ignored; the last bar's length is not known.
    """
    length = np.diff(downbeat)
    eighths = 2 * length // resolution
    whole = (2 * length % resolution == 0) & (eighths > 0) & (eighths <= 64)
    at, eighths = downbeat[:-1][whole], eighths[whole]
    new = np.flatnonzero(np.diff(eighths, prepend=0) != 0)
    at, eighths = at[new], eighths[new]
    even = eighths % 2 == 0
    return at, np.where(even, eighths // 2, eighths), np.where(even, 4, 8)
