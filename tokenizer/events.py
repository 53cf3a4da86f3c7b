"""Encode Scores as events and decode them, vectorised over any number of songs.

Conventions
- A *step* is 8 ms (`vocabulary.STEP_S`). Times are rounded to steps, not the shifts between them, so nothing drifts.
- At one moment the order is OFF, BAR, CHORD, ON (drums, bass, guitar, piano, strings; then by pitch). If a note begins
  and ends in the same step, its OFF comes after its ON.
- A sequence is `FEWER|MORE START BAR_n ... END`.
- Velocities are a second array: `velocity[i]` is level + 1 (1 to 16) if `ids[i]` is an ON, else 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.chords import chord_onsets
from emsync.errors import InputError
from emsync.score import DEFAULT_QPM, Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS, reduce

IntArray = npt.NDArray[np.integer]

#: The length of a decoded drum hit, which has no OFF, and of a note that begins and ends in one step.
DRUM_LENGTH_S = 0.08
SHORTEST_NOTE_S = 1e-6
#: The velocity of notes without one, and of those of a labelled chord: 80 and 120, as in EMSYNC's published code (the
#: paper says only that they are louder, Section III-B2).
DEFAULT_VELOCITY, CHORD_VELOCITY = 80, 120
#: Songs with at least this many families are MORE_INSTRUMENTS (paper, Section III-B1).
MORE_FAMILIES = 3

# A key packs song, step, rank, order, pitch and velocity into one integer, most significant first. Sorting the keys
# puts all events of all songs in order, and the event can be read back from its key.
_VEL_BITS, _PITCH_BITS, _ORDER_BITS, _RANK_BITS, _STEP_BITS = 5, 7, 3, 3, 24
_PITCH_AT = _VEL_BITS
_ORDER_AT = _PITCH_AT + _PITCH_BITS
_RANK_AT = _ORDER_AT + _ORDER_BITS
_STEP_AT = _RANK_AT + _RANK_BITS
_SONG_AT = _STEP_AT + _STEP_BITS
_R_HEAD, _R_OFF, _R_BAR, _R_CHORD, _R_ON, _R_LATE_OFF, _R_END = range(7)
MAX_STEPS = 1 << _STEP_BITS
_ORDER_OF_FAMILY = np.argsort(v.ON_ORDER).astype(np.int64)  # family -> place among the ONs of a moment


def _event_of_key() -> npt.NDArray[np.uint16]:
    """The event for each combination of rank, order and pitch (or bar length): (8192,), PAD for unused ones."""
    table = np.full((1 << _RANK_BITS, 1 << _ORDER_BITS, 1 << _PITCH_BITS), v.PAD, dtype=np.uint16)
    table[_R_HEAD, 0, 0], table[_R_CHORD, 0, 0], table[_R_END, 0, 0] = v.START, v.CHORD, v.END
    lengths = np.arange(1, v.MAX_BAR_HALF_QUARTERS + 1)
    table[_R_BAR, 0, lengths] = v.BAR_BASE + lengths
    for order, family in enumerate(v.ON_ORDER):
        pitches = np.arange(v.PITCH_RANGE[family][0], v.PITCH_RANGE[family][1] + 1)
        table[_R_ON, order, pitches] = v.ON_BASE[family] + pitches
        if family != v.DRUMS:
            table[[[_R_OFF], [_R_LATE_OFF]], order, pitches] = v.OFF_BASE[family] + pitches
    return table.reshape(-1)


_EVENT_OF_KEY = _event_of_key()


@dataclass(frozen=True, eq=False)
class Events:
    """Event ids (T,) int32 and velocities (T,) uint8: level + 1 at an ON, 0 elsewhere."""

    ids: npt.NDArray[np.int32]
    velocities: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.ids.shape != self.velocities.shape:
            raise InputError(
                f"ids of shape {self.ids.shape} and velocities of shape {self.velocities.shape} do not fit; "
                "give two rows of one length"
            )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes of many songs on the 8 ms grid, in any order; songs are counted from 0. All arrays have shape (N,)."""

    song: IntArray
    family: IntArray
    pitch: IntArray
    level: IntArray
    on: IntArray
    off: IntArray


def assemble(
    notes: Notes,
    bar_song: IntArray,
    bar_step: IntArray,
    bar_half_quarters: IntArray,
    chord_song: IntArray,
    chord_step: IntArray,
    n_songs: int,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Notes, bars and chords of many songs to events.

    Returns ids (T,), velocities (T,) and offsets (n_songs + 1,): song i is `ids[offsets[i]:offsets[i + 1]]`.
    Notes must not overlap within one song, family and pitch (see `families.reduce`).
    """
    on, off = notes.on.astype(np.int64), notes.off.astype(np.int64)
    if len(on) and (on.min() < 0 or max(on.max(), off.max()) >= MAX_STEPS - 1):
        raise InputError(f"notes must lie between 0 s and {MAX_STEPS * v.STEP_S:.0f} s; cut the piece into parts")

    pitched = np.flatnonzero(notes.family != v.DRUMS)
    head = np.arange(n_songs, dtype=np.int64) << _SONG_AT
    # END has the very last step, so that it is sorted after everything; it takes no time itself (see `gap`).
    tail = head + ((MAX_STEPS - 1) << _STEP_AT) + (_R_END << _RANK_AT)
    on_key = notes.song.astype(np.int64) << _SONG_AT
    on_key += _ORDER_OF_FAMILY[notes.family] << _ORDER_AT
    on_key += notes.pitch.astype(np.int64) << _PITCH_AT
    off_key, off, on_again = on_key[pitched], off[pitched], on[pitched]
    off_key += off << _STEP_AT
    off_key += np.where(off == on_again, _R_LATE_OFF << _RANK_AT, _R_OFF << _RANK_AT)
    on_key += on << _STEP_AT
    on_key += notes.level.astype(np.int64) + (1 + (_R_ON << _RANK_AT))
    bar_key = (bar_song.astype(np.int64) << _SONG_AT) + (bar_step.astype(np.int64) << _STEP_AT)
    bar_key += (bar_half_quarters.astype(np.int64) << _PITCH_AT) + (_R_BAR << _RANK_AT)
    chord_key = (chord_song.astype(np.int64) << _SONG_AT) + (chord_step.astype(np.int64) << _STEP_AT)
    chord_key += _R_CHORD << _RANK_AT
    keys = np.concatenate([head, on_key, off_key, bar_key, chord_key, tail])
    keys.sort()

    event = _EVENT_OF_KEY[(keys >> _PITCH_AT) & (len(_EVENT_OF_KEY) - 1)]
    if not event.all():
        raise InputError("a pitch is outside its family's range (`vocabulary.PITCH_RANGE`); fold or drop such notes")
    level = (keys & ((1 << _VEL_BITS) - 1)).astype(np.uint8)  # 0 where the event is no ON
    heads = np.flatnonzero(event == v.START)

    # Before each event come the TIMESHIFTs that lead from the one before it: full ones, then the rest.
    gap = np.diff(keys >> _STEP_AT, prepend=0)
    gap[heads] = 0  # a song begins at 0
    gap[heads - 1] = 0  # its END, which is the event before the next song's head, takes no time
    moved = np.flatnonzero(gap)
    gap = gap[moved]
    n_shifts = (gap + (v.MAX_SHIFT_STEPS - 1)) // v.MAX_SHIFT_STEPS
    width = np.ones(len(keys), dtype=np.int64)
    width[moved] += n_shifts
    width[heads] += 1  # room for FEWER or MORE before START
    place = np.cumsum(width) - 1  # the index of the event itself
    total = int(place[-1]) + 1 if len(place) else 0
    ids = np.full(total, v.SHIFT_BASE + v.MAX_SHIFT_STEPS, dtype=np.uint16)
    velocities = np.zeros(total, dtype=np.uint8)
    ids[place[moved] - 1] = v.SHIFT_BASE + gap - (n_shifts - 1) * v.MAX_SHIFT_STEPS
    ids[place] = event
    velocities[place] = level
    present = np.zeros((n_songs, len(v.FAMILIES)), dtype=bool)
    present[notes.song, notes.family] = True
    first = place[heads] - 1
    ids[first] = np.where(present.sum(1) >= MORE_FAMILIES, v.MORE, v.FEWER)
    return ids, velocities, np.append(first, total)


def encode(score: Score) -> Events:
    """Encode one Score as events. Inverse of `decode`, up to rounding and `families.reduce`.

    - Notes: the Score is first reduced to the five families. Onsets and ends survive within 4 ms, velocities within
      their level of 8; drums lose their length.
    - Bars: written up to the last sound, at the nearest step, with their length to the nearest eighth. A bar cut short
      by the next one has its true length; one longer than eight quarter notes is split into equal parts. Music before
      the first bar comes before the first BAR.
    - Left out: names, programs, markers, keys, silence at the end, the tempo within bars, and the spelling of the meter
      (6/8 becomes 3/4).

    Raises `InputError` when a note ends after `MAX_STEPS` steps (37 hours).
    """
    if score.end_s.max(initial=0.0) >= (MAX_STEPS - 2) * v.STEP_S:
        raise InputError(
            f"a note ends at {score.end_s.max():g} s, past {MAX_STEPS * v.STEP_S:.0f} s; were the times given in "
            "milliseconds? Else cut the piece into parts"
        )
    score = reduce(score).score
    on = np.rint(score.start_s / v.STEP_S).astype(np.int64)
    off = np.maximum(np.rint(score.end_s / v.STEP_S).astype(np.int64), on)
    zeros = np.zeros(len(score), dtype=np.int64)
    notes = Notes(zeros, score.instrument, score.pitch, v.velocity_level(score.velocity), on, off)
    # On the grid a chord may be a step shorter; it must still count as one when read back.
    length_quarters = score.tempo.quarters_at(score.end_s + 1.01 * v.STEP_S) - score.tempo.quarters_at(score.start_s)
    first = chord_onsets(zeros, score.instrument, on, score.pitch, length_quarters)
    last_sound = int(np.where(score.instrument == v.DRUMS, on, off).max(initial=0))
    bar_step, half_quarters = bars_to_steps(score, int(on.max(initial=0)), last_sound)
    none = np.zeros(len(bar_step), dtype=np.int64)
    chord_step = np.unique(on[first])
    ids, velocities, _ = assemble(
        notes, none, bar_step, half_quarters, np.zeros(len(chord_step), dtype=np.int64), chord_step, 1
    )
    return Events(ids.astype(np.int32), velocities)


def bars_to_steps(
    score: Score, last_onset: int, last_sound: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bars in which a note begins or sounds: their steps, and their lengths in eighths (1 to 16)."""
    start_q = score.tempo.quarters_at(score.bars.start_s)
    room = np.append(np.diff(start_q), np.inf)  # up to the next bar
    quarters = np.minimum(score.bars.quarters, room)
    parts = np.ceil(quarters / (v.MAX_BAR_HALF_QUARTERS / 2) - 1e-9).astype(np.int64).clip(1)
    index = np.repeat(np.arange(len(parts)), parts)
    within = np.arange(len(index)) - np.repeat(np.cumsum(parts) - parts, parts)
    length = (quarters / parts)[index]
    # Bars keep the exact start that the Score has; only the parts of split bars need the tempo map.
    start_s = np.where(within == 0, score.bars.start_s[index], score.tempo.seconds_at(start_q[index] + within * length))
    soon = start_s <= (last_sound + 1) * v.STEP_S
    step = np.rint(start_s[soon] / v.STEP_S).astype(np.int64)
    half = np.rint(length[soon] * 2).astype(np.int64).clip(1, v.MAX_BAR_HALF_QUARTERS)
    is_used = (step <= last_onset) | (step < last_sound)
    step, unique = np.unique(step[is_used], return_index=True)  # two bars in one step are one
    return step, half[is_used][unique]


def times_steps(ids: IntArray) -> npt.NDArray[np.int64]:
    """The time after each event, in steps: (T,) -> (T,)."""
    return np.cumsum(v.SHIFT_STEPS[ids], dtype=np.int64)


def decode(ids: npt.ArrayLike, velocities: npt.ArrayLike | None = None) -> Score:
    """Decode events to a Score of five instruments, with the bars and the tempo map that they imply.

    - ids (T,): any sequence of ids of the vocabulary.
    - velocities (T,): level + 1 at an ON. Notes without one (0 or None) get 80, or 120 in a chord.

    A note ends at its OFF, where the same note begins again, at END or at the end of the sequence, so a note without an
    OFF is not lost. An OFF without its ON, PAD and START are ignored. Bars are within 4 ms of their events
    (`TempoMap.from_bars`); without BAR events it is 4/4 at 120.

    Raises `InputError` for ids outside the vocabulary, velocities that do not fit, or more than 37 hours.
    """
    ids = _whole("event ids", ids, v.SIZE - 1, "was this made with another vocabulary?")
    level = np.zeros(len(ids), dtype=np.int64)
    if velocities is not None:
        level = _whole("velocities", velocities, v.VELOCITY_LEVELS, "give the level from 0 to 15, plus one, at an ON")
        if len(level) != len(ids):
            raise InputError(f"there are {len(ids)} event ids and {len(level)} velocities; give one velocity an event")
    step = times_steps(ids)
    last = int(step[-1]) if len(step) else 0
    if last >= MAX_STEPS:
        raise InputError(f"the events last {last * v.STEP_S:g} s, past {MAX_STEPS * v.STEP_S:.0f} s; cut them in parts")
    kind, family, value = v.KIND[ids], v.FAMILY[ids].astype(np.int64), v.VALUE[ids].astype(np.int64)
    # For each (family, pitch): a note lasts from its ON to the next event of that pitch, ON or OFF.
    note = np.flatnonzero((kind == v.K_ON) | (kind == v.K_OFF))
    key = (family[note] * 128 + value[note]).astype(np.int16)
    order = np.argsort(key, kind="stable")
    row, key = note[order], key[order]
    ends = np.full(len(row), last)
    same = np.flatnonzero(key[1:] == key[:-1])
    ends[same] = step[row[same + 1]]
    is_on = kind[row] == v.K_ON
    at, ends = row[is_on], ends[is_on]
    closing = np.flatnonzero(kind == v.K_END)
    ends = np.minimum(ends, np.append(step[closing], last)[np.searchsorted(closing, at)])
    start_s, end_s = step[at] * v.STEP_S, ends * v.STEP_S
    drums = family[at] == v.DRUMS
    end_s = np.where(drums, start_s + DRUM_LENGTH_S, np.maximum(end_s, start_s + SHORTEST_NOTE_S))
    level = level[at]
    fallback = np.where(_in_chord(kind, step)[at], CHORD_VELOCITY, DEFAULT_VELOCITY)
    velocity = np.where(level > 0, v.velocity_value(np.maximum(level, 1) - 1), fallback)

    is_bar = kind == v.K_BAR
    bar_steps, first = np.unique(step[is_bar], return_index=True)
    half = value[is_bar][first]
    duration_s = max(last * v.STEP_S, float(end_s.max(initial=0.0)))
    if len(bar_steps):
        even = half % 2 == 0
        bars = Bars(bar_steps * v.STEP_S, np.where(even, half // 2, half), np.where(even, 4, 8))
        # Half a step: a steady song then keeps one tempo, since no bar was rounded by more.
        tempo, bars = TempoMap.from_bars(bars, tolerance_s=v.STEP_S / 2, duration_s=duration_s)
    else:
        tempo = TempoMap.constant(DEFAULT_QPM)
        start = np.arange(0.0, max(duration_s, 1e-3), 2.0)
        bars = Bars(start, np.full(len(start), 4), np.full(len(start), 4))
    pitch = value[at]
    return Score(FAMILY_INSTRUMENTS, family[at], pitch, velocity, start_s, end_s, tempo, bars, duration_s=duration_s)


def _whole(name: str, values: npt.ArrayLike, high: int, remedy: str) -> npt.NDArray[np.int64]:
    """One row (T,) of whole numbers from 0 to `high`."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} must be one row of numbers, not rows of several lengths; give one song") from error
    if array.ndim != 1:
        raise InputError(f"{name} must be one row of numbers, not an array of shape {array.shape}; give one song")
    if not len(array):
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be whole numbers from 0 to {high}, not {array.dtype}; {remedy}")
    bad = np.flatnonzero((array < 0) | (array > high))
    if len(bad):
        raise InputError(f"{name}[{bad[0]}] is {array[bad[0]]}, outside 0 to {high}; {remedy}")
    return array.astype(np.int64)


def _in_chord(kind: IntArray, step: IntArray) -> npt.NDArray[np.bool_]:
    """True for the events between a CHORD and the next TIMESHIFT (paper, Section III-B2)."""
    after = np.maximum.accumulate(np.where(kind == v.K_CHORD, np.arange(len(kind)), -1)) if len(kind) else kind
    return np.asarray((after >= 0) & (step[np.maximum(after, 0)] == step), dtype=np.bool_)
