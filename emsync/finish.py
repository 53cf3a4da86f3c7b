"""Dynamics after composing: loudness follows arousal, flat playing gets a pulse, and chords on cuts are accented.

Only velocities change. No note is added, moved or removed, so hits stay where they are. The other finishing rules (how
a piece begins and ends, no drones) belong to the grammar (`emsync.grammar`, rules 8 to 11). The numbers are explained
in docs/decisions/0006-finishing.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.expression import LOUDNESS
from emsync.hits import measure
from emsync.mood_feedback import heard_arousal
from emsync.score import Score

FloatArray = npt.NDArray[np.float64]

#: A chord on a cut is louder by ACCENT (velocity) than the notes within AROUND_S seconds of it. EMSYNC's published
#: code has 120 against 80, twice that, in music that otherwise has a single loudness; the paper gives no numbers.
ACCENT, AROUND_S = 20.0, 4.0
#: If the notes around such a chord are louder than this (velocity), the whole piece is turned down to make room.
LOUD: Final = 104.0
#: If velocities vary less than this (standard deviation; four of five real songs vary more), they get a pulse: this is
#: added on the first beat of a bar, on its other beats, and between beats.
FLAT: Final = 6.0
PULSE: Final = (8.0, 2.0, -4.0)
#: The notes of a chord share an onset to within this (s); a note this near to a beat (quarter notes) is on it.
TOGETHER_S, ON_BEAT = 2e-3, 0.06


def finish(
    score: Score, boundaries_s: npt.ArrayLike, *, arousal: Callable[[FloatArray], FloatArray] | None = None,
    by: float = LOUDNESS, late: bool = True, feedback: float = 0.0,
) -> Score:  # fmt: skip
    """The score with its dynamics shaped. Velocities stay in 1 … 127, and everything else is unchanged.

    If the dynamics are varied and accented already, only the mood changes them.

    score: of the five families.
    boundaries_s: (B,) the cuts that chords were composed for. The notes that begin with the chord nearest to each,
        within a second, are accented (`hits.measure`).
    arousal: a function from times in seconds (N,) to arousal in [-1, 1] (N,), NaN where there is none. None: no mood.
    by: what an arousal of 1 adds to every velocity, and one of -1 takes away (`expression.loudness`).
    late: whether chords count that are held to the end, but not for two beats (`hits.sounding_chords`).
    feedback: how strongly loudness makes up for what the notes lack of the arousal (`mood_feedback.heard_arousal`).
    Raises `InputError` for an arousal of another shape or range, or a score of other instruments.
    """
    if not len(score):
        return score
    loud = score.velocity.astype(np.float64)
    if loud.std() < FLAT:
        loud = loud + _pulse(score)
    chords_s = sorted({h.chord_s for h in measure(score, boundaries_s, to_end=late) if h.chord_s is not None})
    share = np.zeros(len(score)) if arousal is None else _sampled(arousal, score.start_s)
    finished = _shaped(score, loud + by * share, chords_s)
    if arousal is None or not feedback:
        return finished
    share = np.nan_to_num(heard_arousal(finished, arousal, feedback)(score.start_s))
    return _shaped(score, loud + by * share, chords_s)


def unfinished(
    start_s: FloatArray, velocity: npt.NDArray[np.integer], chords_s: npt.ArrayLike,
    arousal: Callable[[FloatArray], FloatArray] | None = None, by: float = LOUDNESS,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Velocities (N,) about as they were before `finish`: without the mood's share, and without accents on cuts.

    start_s, velocity: (N,) the notes. chords_s: (C,) the onsets of the chords that were accented. arousal: as of
    `finish`. What the pulse added, and what made room for accents, stays.
    """
    loud = velocity.astype(np.float64)
    for at in np.asarray(chords_s, dtype=np.float64).tolist():
        loud[np.abs(start_s - at) <= TOGETHER_S] -= ACCENT
    if arousal is not None:
        loud -= by * _sampled(arousal, start_s)
    return np.clip(np.rint(loud), 1, 127).astype(np.int64)


def loudened(
    start_s: FloatArray, velocity: npt.NDArray[np.integer], arousal: Callable[[FloatArray], FloatArray],
    by: float = LOUDNESS,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Velocities (N,) with the mood's share, as `finish` adds it; the arguments are those of `unfinished`."""
    return np.clip(np.rint(velocity + by * _sampled(arousal, start_s)), 1, 127).astype(np.int64)


def _shaped(score: Score, loud: FloatArray, chords_s: list[float]) -> Score:
    """The score with these velocities (N,), and accents on the notes of these chords."""
    return replace(score, velocity=np.clip(np.rint(_accented(score, loud, chords_s)), 1, 127).astype(np.int64))


def _accented(score: Score, loud: FloatArray, chords_s: list[float]) -> FloatArray:
    """Velocities (N,) where the notes of these chords are on average at least `ACCENT` above the notes around them."""
    start_s = score.start_s  # increasing
    chords = [slice(*np.searchsorted(start_s, (at - TOGETHER_S, at + TOGETHER_S))) for at in chords_s]
    plain = np.ones(len(score), dtype=bool)
    for chord in chords:
        plain[chord] = False
    lifts = []
    for at, chord in zip(chords_s, chords, strict=True):
        near = slice(*np.searchsorted(start_s, (at - AROUND_S, at + AROUND_S)))
        around = loud[near][plain[near]]
        if len(around):
            lifts.append((chord, float(around.mean()), float(loud[chord].mean())))
    room = min(1.0, LOUD / max((level for _, level, _ in lifts), default=LOUD))
    lifted = loud * room
    for struck, level, own in lifts:
        lifted[struck] += max(0.0, (level - own) * room + ACCENT)
    return lifted


def _pulse(score: Score) -> FloatArray:
    """(N,) What each note's position in its bar adds to its velocity."""
    quarters = score.tempo.quarters_at(score.start_s)
    first, beat, between = PULSE
    bars = score.tempo.quarters_at(score.bars.start_s) if len(score.bars.start_s) else np.zeros(1)
    begun = bars[np.maximum(np.searchsorted(bars, quarters + ON_BEAT) - 1, 0)]
    place = quarters - begun
    on_beat = np.abs(place - np.rint(place)) < ON_BEAT
    return np.where(on_beat, np.where(np.abs(place) < ON_BEAT, first, beat), between)


def _sampled(arousal: Callable[[FloatArray], FloatArray], times_s: FloatArray) -> FloatArray:
    """(N,) Arousal at these times, in [-1, 1], and 0 where there is none."""
    values = np.asarray(arousal(times_s), dtype=np.float64)
    if values.shape != times_s.shape:
        raise InputError(f"arousal at {len(times_s)} times has shape {values.shape}; give one value for each")
    worst = float(np.nanmax(np.abs(values), initial=0.0))
    if worst > 1:
        raise InputError(f"an arousal of magnitude {worst:g} is outside [-1, 1]; scale it to that range")
    return np.nan_to_num(values)
