"""Five families of instruments, and the reduction of any Score to them.

Conventions
- A family is an index into `vocabulary.FAMILIES`: 0 drums, 1 piano, 2 guitar, 3 bass, 4 strings, as in the archives.
- A score whose instruments are named like families has them already. Elsewhere each General MIDI group of eight
  programs belongs to the family that plays most like it. The seventeen tracks of the Lakh Pianoroll Dataset are these
  sixteen groups and drums, so they use the same table. (The dataset's own version of five tracks is coarser: there
  organ, chromatic percussion and ethnic instruments are strings.)
- Notes are *equal* if they have the same family and pitch. A note ends where an equal one begins, on the 8 ms grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.palettes import PALETTES, STANDARD
from emsync.score import Instrument, Score
from emsync.vocabulary import BASS, DRUMS, FAMILIES, GUITAR, PIANO, PITCH_RANGE, STEP_S, STRINGS

#: General MIDI's sixteen groups of eight programs and their families; None is an effect, which is dropped.
GROUPS: Final[tuple[tuple[str, int | None], ...]] = (
    ("Piano", PIANO),  # programs 0-7, and so on by eight
    ("Chromatic Percussion", PIANO),
    ("Organ", PIANO),
    ("Guitar", GUITAR),
    ("Bass", BASS),
    ("Strings", STRINGS),
    ("Ensemble", STRINGS),
    ("Brass", STRINGS),
    ("Reed", STRINGS),
    ("Pipe", STRINGS),
    ("Synth Lead", STRINGS),
    ("Synth Pad", STRINGS),
    ("Synth Effects", None),
    ("Ethnic", GUITAR),
    ("Percussive", None),
    ("Sound Effects", None),
)
PROGRAMS_PER_GROUP: Final = 8

FAMILY_NAMES: Final = tuple(name.capitalize() for name in FAMILIES)


def instruments_of(programs: Sequence[int]) -> tuple[Instrument, ...]:
    """The five instruments, in the order of the families, with these programs (5,)."""
    return tuple(
        Instrument(name, program, family == DRUMS)
        for family, (name, program) in enumerate(zip(FAMILY_NAMES, programs, strict=True))
    )


#: The program of each family in the standard palette, and its instruments.
FAMILY_PROGRAMS: Final = PALETTES[STANDARD]
FAMILY_INSTRUMENTS: Final = instruments_of(FAMILY_PROGRAMS)

IntArray = npt.NDArray[np.integer]
_LOW = np.array([low for low, _ in PITCH_RANGE])
_HIGH = np.array([high for _, high in PITCH_RANGE])


def family_of(program: int, is_drum: bool) -> int | None:
    """The family of a General MIDI program (0 to 127); None for an effect, which is dropped."""
    if is_drum:
        return DRUMS
    if not 0 <= program < len(GROUPS) * PROGRAMS_PER_GROUP:
        raise InputError(f"program {program} is outside 0 to 127; are the programs counted from 1?")
    return GROUPS[program // PROGRAMS_PER_GROUP][1]


def families_of(instruments: Sequence[Instrument]) -> list[int | None]:
    """The family of each instrument: by name if they are named like families, as in our own files; else by program.

    A palette may give a family any program (`emsync.palettes`), such as a harp for the guitar.
    """
    names = [each.name for each in instruments]
    if len(set(names)) == len(names) and set(names) <= set(FAMILY_NAMES):
        found = [FAMILY_NAMES.index(name) for name in names]
        if all(each.is_drum == (family == DRUMS) for each, family in zip(instruments, found, strict=True)):
            return list(found)
    return [family_of(each.program, each.is_drum) for each in instruments]


@dataclass(frozen=True)
class Reduction:
    """A Score of the five families, and how many notes the reduction changed.

    - dropped_effects: notes of effects.
    - dropped_out_of_range: drums without a General MIDI sound (outside 27 to 87).
    - folded: melodic notes moved by octaves into 21 to 108.
    - duplicates: notes merged with an equal one that began at the same time.
    - cut: notes that end early because an equal one begins.
    """

    score: Score
    dropped_effects: int
    dropped_out_of_range: int
    folded: int
    duplicates: int
    cut: int

    @property
    def dropped(self) -> int:
        """Notes that were removed."""
        return self.dropped_effects + self.dropped_out_of_range


@dataclass(frozen=True, eq=False)
class Resolution:
    """Notes without duplicates or overlaps.

    - index (M,): which notes were kept, ordered by group, then onset.
    - end, velocity (M,): their new ends and velocities.
    - duplicates: how many notes were merged into others.
    - cut (M,): which notes end early.
    """

    index: npt.NDArray[np.int64]
    end: npt.NDArray[np.number]
    velocity: npt.NDArray[np.integer]
    duplicates: int
    cut: npt.NDArray[np.bool_]


def resolve(
    group: IntArray,
    onset: IntArray,
    start: npt.NDArray[np.number],
    end: npt.NDArray[np.number],
    velocity: IntArray,
    lets_ring: npt.NDArray[np.bool_],
) -> Resolution:
    """Make sure that no note begins while an equal one sounds; all arrays have shape (N,).

    - group: equal notes have the same number (one for each song, family and pitch).
    - onset: integers. Notes of a group with the same onset become one note, with the latest end, the greatest velocity
      and the start of the longest.
    - start, end: in any unit. A note ends where the next one of its group starts. If it was to sound longer than that
      one, the next one gets its end, so that no sound is lost.
    - lets_ring: notes whose ends are not changed (drums).
    """
    order = np.lexsort((start, -end, onset, group))
    group, onset, start, end, ring = group[order], onset[order], start[order], end[order], lets_ring[order]
    if not len(order):
        return Resolution(order, end, velocity[order], 0, np.zeros(0, dtype=np.bool_))
    first = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (onset[1:] != onset[:-1])))
    loudest = np.maximum.reduceat(velocity[order], first)
    kept = order[first]
    group, start, end, ring = group[first], start[first], end[first], ring[first]

    # The latest end so far in each group. Running over ranks, which are exact, not over times with an offset.
    distinct, rank = np.unique(end, return_inverse=True)
    number = np.cumsum(np.append(False, group[1:] != group[:-1])).astype(np.int64)
    latest = distinct[np.maximum.accumulate(number * len(distinct) + rank) - number * len(distinct)]
    latest = np.where(ring, end, latest)
    followed = np.append(group[1:] == group[:-1], False) & ~ring
    settled = np.where(followed, np.minimum(latest, np.append(start[1:], end[-1])), latest)
    return Resolution(kept, settled, loudest, len(order) - len(first), settled < end)


def fold(family: IntArray, pitch: IntArray) -> npt.NDArray[np.int64]:
    """Pitches, moved by octaves into the range of their family; drums are not moved. All arrays have shape (N,)."""
    pitch = np.asarray(pitch, dtype=np.int64)
    low, high = _LOW[family], _HIGH[family]
    up = -(-np.maximum(low - pitch, 0) // 12)
    down = -(-np.maximum(pitch - high, 0) // 12)
    return np.where(np.asarray(family) == DRUMS, pitch, pitch + 12 * (up - down)).astype(np.int64)


def has_sound(family: IntArray, pitch: IntArray) -> npt.NDArray[np.bool_]:
    """False for drum pitches without a General MIDI sound; all arrays have shape (N,)."""
    pitch = np.asarray(pitch)
    drums = np.asarray(family) == DRUMS
    return np.asarray(~drums | ((pitch >= _LOW[DRUMS]) & (pitch <= _HIGH[DRUMS])), dtype=np.bool_)


def reduce(score: Score, *, grid_s: float = STEP_S) -> Reduction:
    """Reduce any Score to the five families; tempo, bars, markers and keys stay.

    - grid_s: notes that begin in the same step of this many seconds begin together.

    In the result `score.instrument` is the family, and no note begins while an equal one sounds. Ends of drums are not
    changed. Reducing a second time changes nothing. Raises `InputError` for a grid that is not over 0 s.
    """
    if not grid_s > 0:
        raise InputError(f"a grid of {grid_s} s has no steps; give a length over 0 s")
    table = families_of(score.instruments)
    family = np.array([-1 if each is None else each for each in table] or [-1], dtype=np.int64)[score.instrument]
    played = family >= 0
    sounds = has_sound(np.maximum(family, 0), score.pitch)
    keep = np.flatnonzero(played & sounds)

    family = family[keep]
    written = score.pitch[keep].astype(np.int64)
    pitch = fold(family, written)
    start_s, end_s = score.start_s[keep], score.end_s[keep]
    onset = np.rint(start_s / grid_s).astype(np.int64)
    drums = family == DRUMS
    notes = resolve(family * 128 + pitch, onset, start_s, end_s, score.velocity[keep].astype(np.int64), drums)
    at = notes.index
    return Reduction(
        Score(
            FAMILY_INSTRUMENTS,
            family[at],
            pitch[at],
            notes.velocity,
            start_s[at],
            notes.end.astype(np.float64),
            score.tempo,
            score.bars,
            markers=score.markers,
            keys=score.keys,
            duration_s=score.duration_s,
        ),
        dropped_effects=int((~played).sum()),
        dropped_out_of_range=int((played & ~sounds).sum()),
        folded=int((pitch != written).sum()),
        duplicates=notes.duplicates,
        cut=int(notes.cut.sum()),
    )
