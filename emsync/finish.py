"""Dynamics that musicians hear: mood moves the loudness, flat playing gets a pulse, chords on cuts are accented.

Only velocities change: no note is added, moved or dropped, so that hits stay where they are. How a piece begins and
ends, and that nothing drones on, is the grammar's affair (`grammar`, rules 8 to 11), while it is composed.
docs/decisions/0006-finishing.md says where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.hits import measure
from emsync.score import Score

FloatArray = npt.NDArray[np.float64]

#: A chord on a cut stands out from what is played within so many seconds of it by so much velocity. The paper's 120
#: against 80 (Section III-B2) is twice that, over music that is otherwise all of one loudness.
ACCENT, AROUND_S = 20.0, 4.0
#: Room for it: where what is around such a chord is louder than this (velocity), the whole piece is turned down.
LOUD: Final = 104.0
#: What an arousal of 1 adds to every velocity, and one of -1 takes away: two of the sixteen levels.
AROUSAL_VELOCITY: Final = 16.0
#: Velocities that vary less than those of four real songs in five (standard deviation) get a pulse: so much on the
#: first beat of a bar, on its other beats, and between them.
FLAT: Final = 6.0
PULSE: Final = (8.0, 2.0, -4.0)
#: A chord's notes share an onset to within this; a note this near a beat (quarters) is on it.
TOGETHER_S, ON_BEAT = 2e-3, 0.06


def finish(
    score: Score, boundaries_s: npt.ArrayLike, *, arousal: Callable[[FloatArray], FloatArray] | None = None
) -> Score:
    """The score of five families with its dynamics shaped; all but the velocities, which stay in 1..127, as it was.

    boundaries_s: (B,) the cuts that chords were composed for; what begins with the chord nearest to each, within a
    second, is accented (`hits.measure`). arousal: times in seconds (N,) to arousal in [-1, 1] (N,), NaN where there is
    none; None: no mood. A piece that has all this already is left alone but for the mood. Raises `InputError` for an
    arousal of another shape or range, or a score of other instruments.
    """
    if not len(score):
        return score
    loud = score.velocity.astype(np.float64)
    if loud.std() < FLAT:
        loud = loud + _pulse(score)
    if arousal is not None:
        loud = loud + AROUSAL_VELOCITY * _sampled(arousal, score.start_s)
    loud = _accented(score, loud, sorted({h.chord_s for h in measure(score, boundaries_s) if h.chord_s is not None}))
    return replace(score, velocity=np.clip(np.rint(loud), 1, 127).astype(np.int64))


def _accented(score: Score, loud: FloatArray, chords_s: list[float]) -> FloatArray:
    """Velocities (N,) with all that begins with these chords at least `ACCENT` above what is around, on average."""
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
    """What each note's place in its bar adds to its velocity, (N,)."""
    quarters = score.tempo.quarters_at(score.start_s)
    first, beat, between = PULSE
    bars = score.tempo.quarters_at(score.bars.start_s) if len(score.bars.start_s) else np.zeros(1)
    begun = bars[np.maximum(np.searchsorted(bars, quarters + ON_BEAT) - 1, 0)]
    place = quarters - begun
    on_beat = np.abs(place - np.rint(place)) < ON_BEAT
    return np.where(on_beat, np.where(np.abs(place) < ON_BEAT, first, beat), between)


def _sampled(arousal: Callable[[FloatArray], FloatArray], times_s: FloatArray) -> FloatArray:
    """Arousal at these times, (N,) in [-1, 1], 0 where there is none."""
    values = np.asarray(arousal(times_s), dtype=np.float64)
    if values.shape != times_s.shape:
        raise InputError(f"arousal at {len(times_s)} times has shape {values.shape}; give one value for each")
    worst = float(np.nanmax(np.abs(values), initial=0.0))
    if worst > 1:
        raise InputError(f"an arousal of magnitude {worst:g} is outside [-1, 1]; scale it to that range")
    return np.nan_to_num(values)
