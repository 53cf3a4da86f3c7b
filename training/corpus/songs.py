"""One file to one `Song`: MIDI files, and Lakh Pianoroll Dataset files as pypianoroll writes them.

Conventions
- Everything is brought to steps of 1/24 quarter note and to the five families by one function, `build_song`, which
  counts what it had to leave out or alter (`Losses`).
- What cannot be used raises `Refused`, whose `reason` is one of a few, for counting, and whose text says more.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync import vocabulary as v
from emsync.errors import CorpusError, InputError
from emsync.files import read_limited
from emsync.score import Score
from emsync.tokenizer.families import GROUPS, PROGRAMS_PER_GROUP, family_of, fold, has_sound, resolve
from emsync.training.corpus.archive import DRUM_STEPS, MAX_DURATION_STEPS, MAX_GAP_STEPS, Song, deltas
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER
from emsync.training.corpus.npz import DAMAGE, one_line, open_npz

MIDI_SUFFIXES: Final = (".mid", ".midi", ".kar", ".rmi")
PIANOROLL_SUFFIX: Final = ".npz"
SUFFIXES: Final = (*MIDI_SUFFIXES, PIANOROLL_SUFFIX)
#: Fewer notes are a jingle, a test or a leftover.
MIN_NOTES: Final = 32
#: Velocity of the notes of a pianoroll without velocities: the paper's.
BINARY_VELOCITY: Final = 80
#: A pianoroll takes less, packed and unpacked; more is damage or a zip bomb.
MAX_PIANOROLL_BYTES: Final = 64 * 2**20
MAX_UNPACKED_BYTES: Final = 512 * 2**20
#: Beyond this many steps (two days at 120) times are damage, not music.
MAX_STEP: Final = 2**23

UNREADABLE_MIDI: Final = "unreadable MIDI"
UNREADABLE_PIANOROLL: Final = "unreadable pianoroll"
MISSING_TRACKS: Final = "missing tracks"
TOO_SHORT: Final = "too short"
TOO_LONG_A_SILENCE: Final = "too long a silence"
TOO_LONG: Final = "too long"


class Refused(CorpusError):
    """A file that no song could be made of: `reason` is one of a few, the text says more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Losses:
    """What bringing songs to the archives' form cost, in notes.

    effects: notes of effect programs, left out. out_of_range: drums without a General MIDI sound, left out.
    folded: melodic notes moved by octaves. duplicates: equal notes that begin together, made one. cut: notes that end
    because an equal one begins. shortened: notes over 384 steps (16 quarter notes).
    """

    effects: int = 0
    out_of_range: int = 0
    folded: int = 0
    duplicates: int = 0
    cut: int = 0
    shortened: int = 0

    def __add__(self, other: Losses) -> Losses:
        return Losses(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Timeline:
    """Tempo changes and meters of a song, in steps; any order, any values (see `archive.to_score`)."""

    tempo_step: npt.NDArray[np.int64]
    tempo_qpm: npt.NDArray[np.float64]
    meter_step: npt.NDArray[np.int64]
    meter_num: npt.NDArray[np.int64]
    meter_den: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Converted:
    """A song, what it cost to make, and what was wrong with its file."""

    song: Song
    losses: Losses
    warnings: tuple[str, ...] = ()


def build_song(
    family: npt.NDArray[np.integer],
    pitch: npt.NDArray[np.integer],
    start_step: npt.NDArray[np.integer],
    stop_step: npt.NDArray[np.integer],
    velocity: npt.NDArray[np.integer],
    timeline: Timeline,
    *,
    song_id: str = "",
    source: str = "",
    min_notes: int = 0,
) -> Converted:
    """Notes in any order, any pitch, overlapping or not, to a `Song`; all note arrays (N,).

    family: 0..4, or -1 for an effect. velocity: 0..127.
    Raises `Refused` when fewer than `min_notes` are left, or when a silence or the song is too long for an archive.
    """
    family, pitch = np.asarray(family, dtype=np.int64), np.asarray(pitch, dtype=np.int64)
    played = family >= 0
    sounds = has_sound(family, pitch)
    keep = np.flatnonzero(played & sounds)
    family, written = family[keep], pitch[keep]
    pitch = fold(family, written)
    start = np.asarray(start_step, dtype=np.int64)[keep]
    drums = family == v.DRUMS
    end = np.where(drums, start + DRUM_STEPS, np.maximum(np.asarray(stop_step, dtype=np.int64)[keep], start + 1))
    notes = resolve(
        family * 128 + pitch, start, start, end, np.asarray(velocity)[keep], np.zeros(len(keep), dtype=np.bool_)
    )
    at = notes.index
    family, pitch, start = family[at], pitch[at], start[at]
    length = notes.end.astype(np.int64) - start
    if len(at) < max(min_notes, 1):
        raise Refused(
            TOO_SHORT, f"{len(at)} usable notes are fewer than {max(min_notes, 1)}; leave it out, or lower --min-notes"
        )
    if int(start.max()) > MAX_STEP:
        quarters, limit = int(start.max()) // STEPS_PER_QUARTER, MAX_STEP // STEPS_PER_QUARTER
        raise Refused(TOO_LONG, f"a note begins {quarters} quarters into it, past {limit}; cut it")

    order = np.lexsort((pitch, start, family))
    gap = int(deltas(family[order], start[order]).max())
    if gap > MAX_GAP_STEPS:
        quarters, limit = gap // STEPS_PER_QUARTER, MAX_GAP_STEPS // STEPS_PER_QUARTER
        raise Refused(
            TOO_LONG_A_SILENCE, f"one family is silent for {quarters} quarters, over {limit}; cut the silence"
        )
    end_step = int((start + np.minimum(length, MAX_DURATION_STEPS)).max())
    tempo = np.flatnonzero(timeline.tempo_step < end_step)
    tempo = tempo[np.argsort(timeline.tempo_step[tempo], kind="stable")]
    fits = (timeline.meter_num <= 255) & (timeline.meter_den <= 255)
    meter = np.flatnonzero((timeline.meter_step < end_step) & fits)
    meter = meter[np.argsort(timeline.meter_step[meter], kind="stable")]
    song = Song(
        family[order],
        pitch[order],
        start[order],
        np.minimum(length, MAX_DURATION_STEPS)[order],
        v.velocity_value(v.velocity_level(notes.velocity))[order],
        timeline.tempo_step[tempo],
        timeline.tempo_qpm[tempo].astype(np.float32),
        timeline.meter_step[meter],
        timeline.meter_num[meter],
        timeline.meter_den[meter],
        song_id,
        source,
    )
    losses = Losses(
        effects=int((~played).sum()),
        out_of_range=int((played & ~sounds).sum()),
        folded=int((pitch != written[at]).sum()),
        duplicates=notes.duplicates,
        cut=int((notes.cut & (family != v.DRUMS)).sum()),
        shortened=int((length > MAX_DURATION_STEPS).sum()),
    )
    return Converted(song, losses)


def score_to_song(score: Score, *, song_id: str = "", source: str = "") -> Song:
    """Any Score to a song, through its tempo map. Inverse of `archive.to_score`; `convert_score` also counts losses."""
    return convert_score(score, song_id=song_id, source=source).song


def convert_score(score: Score, *, song_id: str = "", source: str = "", min_notes: int = 0) -> Converted:
    """Any Score to a song in steps. Notes are quantised to 1/24 quarter note, none shorter than one step.

    Raises `Refused` as `build_song` does.
    """
    table = [family_of(each.program, each.is_drum) for each in score.instruments]
    family = np.array([-1 if each is None else each for each in table] or [-1], dtype=np.int64)[score.instrument]

    def steps(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        quarters = np.asarray(score.tempo.quarters_at(times_s), dtype=np.float64)
        return np.rint((quarters * STEPS_PER_QUARTER).clip(0, 2 * MAX_STEP)).astype(np.int64)

    bars = score.bars
    num, den = np.asarray(bars.numerator, dtype=np.int64), np.asarray(bars.denominator, dtype=np.int64)
    bar_step = steps(np.asarray(bars.start_s, dtype=np.float64))
    # A bar that is cut short shows in the next one's meter, which is written again where that bar begins.
    whole = np.rint(4 * STEPS_PER_QUARTER * num / den).astype(np.int64)
    cut = np.abs(np.diff(bar_step) - whole[:-1]) > 1
    new = np.flatnonzero(np.append(True, (num[1:] != num[:-1]) | (den[1:] != den[:-1]) | cut)[: len(num)])
    timeline = Timeline(
        steps(score.tempo.times_s),
        np.asarray(score.tempo.qpm, dtype=np.float64),
        bar_step[new],
        num[new],
        den[new],
    )
    return build_song(
        family,
        score.pitch,
        steps(score.start_s),
        steps(score.end_s),
        score.velocity,
        timeline,
        song_id=song_id,
        source=source,
        min_notes=min_notes,
    )


# Lakh Pianoroll Dataset files.
#
# pypianoroll keeps each track as a matrix (time step, pitch) in compressed sparse columns: `pianoroll_0_csc_data` the
# velocities, `_csc_indices` their time steps, `_csc_indptr` (129,) where each pitch's begin, `_csc_shape`; and
# info.json with the tracks' programs and the resolution (called beat_resolution before version 1). LPD is written by
# version 0.3.

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

    Bars that are no whole number of eighths long say nothing; the last bar's length is not known.
    """
    length = np.diff(downbeat)
    eighths = 2 * length // resolution
    whole = (2 * length % resolution == 0) & (eighths > 0) & (eighths <= 64)
    at, eighths = downbeat[:-1][whole], eighths[whole]
    new = np.flatnonzero(np.diff(eighths, prepend=0) != 0)
    at, eighths = at[new], eighths[new]
    even = eighths % 2 == 0
    return at, np.where(even, eighths // 2, eighths), np.where(even, 4, 8)


def read_song(path: str | os.PathLike[str], *, source: str = "", min_notes: int = MIN_NOTES) -> Converted:
    """Any file a corpus is built of, to a song; `song_id` is the md5 of its bytes.

    Raises `Refused`, with the reason.
    """
    file = Path(path)
    is_pianoroll = file.suffix.lower() == PIANOROLL_SUFFIX
    try:
        what, limit = ("pianoroll", MAX_PIANOROLL_BYTES) if is_pianoroll else ("MIDI file", midi.MAX_BYTES)
        data = read_limited(file, limit, what)
        song_id = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if is_pianoroll:
            return read_pianoroll(file, song_id=song_id, source=source, min_notes=min_notes)
        score = midi.from_bytes(data, name=file.name)
    except InputError as error:
        if isinstance(error, Refused):
            raise
        reason = UNREADABLE_PIANOROLL if is_pianoroll else UNREADABLE_MIDI
        # The file's name is enough: reports should be the same wherever the files lie.
        raise Refused(reason, " ".join(str(error).replace(str(file), file.name).split())) from error
    converted = convert_score(score, song_id=song_id, source=source, min_notes=min_notes)
    return replace(converted, warnings=score.warnings)
