"""Rules 8 to 11, which `Recipe.finish` turns on: a beginning, a close, no drones and no endless drum rolls.

Their limits are what 95 of 100 real songs keep to (docs/decisions/0006-finishing.md).
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np

from emsync import vocabulary as v
from emsync.chords import MIN_PITCHES
from emsync.grammar.state import Mask, Rule, State
from emsync.grammar.tables import FAMILY, HELD_QUARTERS, KIND, MARGIN, ON, PARTNER, PITCHED_ON, SHIFT, VALUE, BoolArray

#: How long one pitch of a family may continue, even if it is struck again. Then it rests. In beats.
MAX_STAY_BEATS: Final = {v.PIANO: 32.0, v.GUITAR: 32.0, v.BASS: 20.0, v.STRINGS: 32.0}
STAY_GAP_BEATS, REST_BEATS = 0.55, 4.0
#: At most this many pitches of a family rest at a time.
MAX_RESTING: Final = 12
#: How long a kick, a snare or a tom may strike on every sixteenth, in beats.
MAX_ROLL_BEATS, ROLL_GAP_BEATS = 4.0, 0.3
ROLL_DRUMS: Final = frozenset((35, 36, 37, 38, 39, 40, 41, 43, 45, 47, 48, 50))
#: Pieces with at least this many beats before the last chord get one.
CLOSE_AFTER_BEATS: Final = 4.0
#: The key of the last chord is the most frequent pitch classes of this many beats. The bass joins it if it played in
#: the later half of them.
KEY_BEATS, KEY_CLASSES = 16.0, 7


class Beginning(Rule):
    """8. Something sounds within the first beat."""

    KINDS: ClassVar = (v.K_ON,)

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._begun = False

    def forbid(self, mask: Mask) -> None:
        state = self.state
        if self._begun or state.end_step - state.step <= MARGIN:
            return
        beat = int(state.beat_steps)
        mask.allowed[v.END] = False
        mask.until = min(mask.until, max(beat, state.step + 1))
        if state.step >= beat:
            mask.allowed[SHIFT] = False

    def accept(self, event: int) -> None:
        self._begun = True


class Close(Rule):
    """9. A last chord on the last downbeat that leaves two beats, or on a hit after it; nothing follows it."""

    KINDS: ClassVar = (v.K_ON, v.K_BAR, v.K_CHORD)

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._played: list[tuple[int, int]] = []  # (step, ON id) of all pitched notes

    def forbid(self, mask: Mask) -> None:
        state = self.state
        if not state.closed:
            return
        if not state.in_chord:
            mask.allowed[ON] = False
            mask.allowed[v.CHORD] = False
        mask.allowed &= state.tones

    def accept(self, event: int) -> None:
        kind = KIND[event]
        if kind == v.K_BAR:
            self._find_close(VALUE[event])
        elif kind == v.K_CHORD:
            if self.state.closes():
                self.state.closed, self.state.tones = True, self._key()
        elif FAMILY[event] != v.DRUMS:
            self._played.append((self.state.step, event))
            if self.state.closed:
                self._add_to_last_chord(event)

    def bass_plays(self) -> bool:
        """Whether the bass began a note in the last eight beats."""
        since = self.state.step - KEY_BEATS / 2 * self.state.beat_steps
        return any(step >= since and FAMILY[on] == v.BASS for step, on in reversed(self._played))

    def _find_close(self, half: int) -> None:
        """The last downbeat that leaves room for a chord if the bars go on like this; in long bars, a fourth beat."""
        state = self.state
        beats = half / 2 if half <= 12 else 4.0
        left = (state.end_step - state.step) / state.beat_steps
        bars = math.floor((left - HELD_QUARTERS) / beats + 1e-6)
        close = state.step + round(bars * beats * state.beat_steps)
        if bars >= 0 and close >= CLOSE_AFTER_BEATS * state.beat_steps:
            state.closing = close

    def _add_to_last_chord(self, on: int) -> None:
        """Hold the note to the end, and allow no semitone beside it."""
        near = np.isin((v.VALUE - VALUE[on]) % 12, (1, 11)) & PITCHED_ON
        self.state.tones &= ~near
        self.state.hold[on] = self.state.end_step

    def _key(self) -> BoolArray:
        """(vocabulary,) All events except ONs of pitch classes that were rare recently; all if too few were played."""
        since = self.state.step - KEY_BEATS * self.state.beat_steps
        count = np.bincount([VALUE[on] % 12 for step, on in self._played if step >= since], minlength=12)
        best = np.argsort(-count, kind="stable")[:KEY_CLASSES]
        best = best[count[best] > 0]
        if len(best) < MIN_PITCHES:
            return np.ones(v.SIZE, dtype=bool)
        return ~(PITCHED_ON & ~np.isin(v.VALUE % 12, best))


class Resting(Rule):
    """Notes that went on for too long rest for a while. The base of rules 10 and 11."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        #: When a pitch or a roll began, and when it was last there, by ON id.
        self._stay: dict[int, tuple[int, int]] = {}
        self._resting: dict[int, int] = {}  # until when, by ON id

    def _begun(self, on: int, gap_beats: float) -> int:
        """The step where the run of notes that an ON goes on with began."""
        step = self.state.step
        begun, last = self._stay.get(on, (step, step))
        if step - last > gap_beats * self.state.beat_steps:
            begun = step
        self._stay[on] = begun, step
        return begun

    def _rest(self, on: int, steps: float) -> None:
        self._resting[on] = self.state.step + int(steps)
        self.state.notes[on] = False

    def _wake(self) -> None:
        """Let the notes come again that have rested."""
        for on in [on for on, until in self._resting.items() if until <= self.state.step]:
            del self._resting[on]
            self.state.notes[on] = on not in self.state.since


class NoDrones(Resting):
    """10. A pitch that was held, or struck again within half a beat, for `MAX_STAY_BEATS` rests for a bar."""

    KINDS: ClassVar = (v.K_TIMESHIFT, v.K_ON, v.K_OFF)

    def accept(self, event: int) -> None:
        kind = KIND[event]
        if kind == v.K_TIMESHIFT:
            self._wake()
        elif kind == v.K_OFF:
            self._end(PARTNER[event])
        elif FAMILY[event] != v.DRUMS:
            self._begun(event, STAY_GAP_BEATS)

    def _end(self, on: int) -> None:
        """Was the pitch there for too long?"""
        begun, _ = self._stay[on]
        self._stay[on] = begun, self.state.step
        family = FAMILY[on]
        crowd = sum(FAMILY[other] == family for other in self._resting) >= MAX_RESTING
        if self.state.step - begun >= MAX_STAY_BEATS[family] * self.state.beat_steps and not crowd:
            self._rest(on, REST_BEATS * self.state.beat_steps)


class NoEndlessRolls(Resting):
    """11. A kick, snare or tom that struck for a bar on every sixteenth keeps to eighths for as long."""

    KINDS: ClassVar = (v.K_TIMESHIFT, v.K_ON)

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._thin: dict[int, int] = {}  # drums that keep to eighths: until when, by ON id

    def accept(self, event: int) -> None:
        if KIND[event] == v.K_TIMESHIFT:
            self._wake()
        elif FAMILY[event] == v.DRUMS and VALUE[event] in ROLL_DRUMS:
            self._strike(event)

    def _strike(self, on: int) -> None:
        step, beat = self.state.step, self.state.beat_steps
        if step - self._begun(on, ROLL_GAP_BEATS) >= MAX_ROLL_BEATS * beat:
            self._thin[on] = step + round(MAX_ROLL_BEATS * beat)
        if step < self._thin.get(on, 0):
            self._rest(on, beat / 2)
