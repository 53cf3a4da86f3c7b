"""Notes and scores to a `Song`, as archives keep it, and what that costs.

Conventions
- Everything is brought to steps of 1/24 quarter note and to the five families by one function, `build_song`, which
  counts what it had to leave out or alter (`Losses`).
- What cannot be used raises `Refused`, whose `reason` is one of a few, for counting, and whose text says more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import CorpusError
from emsync.score import Score
from emsync.tokenizer.families import family_of, fold, has_sound, resolve
from emsync.training.corpus.archive import Song, deltas
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER
from emsync.training.corpus.archive_schema import DRUM_STEPS, MAX_DURATION_STEPS, MAX_GAP_STEPS

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
    """Tempo changes and meters of a song, in steps; any order, any values (see `song_to_score.to_score`)."""

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
    """Any Score to a song, through its tempo map. `convert_score` also counts losses.

    Inverse of `song_to_score.to_score`.
    """
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
