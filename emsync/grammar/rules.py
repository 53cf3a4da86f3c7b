"""Rules 3 to 6: chords on boundaries, the notes of chords, the lengths of notes and bars, and the end.

Rule 1 is in `Grammar.allowed`, rule 2 in `State` and `Mask`. The numbers are those of `emsync.grammar`.
"""

from __future__ import annotations

import math
from typing import ClassVar

from emsync import vocabulary as v
from emsync.chords import MIN_PITCHES
from emsync.conditions import SENSITIVITY_S
from emsync.grammar.finishing import Close
from emsync.grammar.grid import GridTable
from emsync.grammar.state import Mask, Rule, State, next_place
from emsync.grammar.tables import (
    BAR,
    BAR_TOLERANCE,
    BEAT_RANGE_STEPS,
    EARLY_END_S,
    FAMILY,
    FIRST_ON,
    HELD_QUARTERS,
    KIND,
    LATER,
    MARGIN,
    MAX_NOTE_BEATS,
    MAX_SOUNDING,
    MAX_STRINGS_BEATS,
    OFF,
    ON,
    ONS,
    PARTNER,
    PLACE,
    SHIFT,
    UNMARKED_QUARTERS,
    VALUE,
    BoolArray,
    only,
)  # fmt: skip


class Boundaries(Rule):
    """3. A CHORD comes on every boundary, and none uses up a boundary shortly before it."""

    KINDS: ClassVar = (v.K_CHORD,)

    def forbid(self, mask: Mask) -> None:
        state, due = self.state, self.state.due()
        if due is None:
            return
        if state.step >= due and not state.in_chord:
            mask.allowed[SHIFT] = False
            mask.allowed[ON] = False
            mask.allowed[v.END] = False
            if not mask.allowed[v.CHORD]:  # impossible: CHORD was asked for before anything could follow it
                raise AssertionError("a boundary was passed without its chord")
            mask.settled = True
            return
        mask.until = min(mask.until, max(due, state.step + 1))
        if state.step < due and (due - state.step) * v.STEP_S < SENSITIVITY_S:
            mask.allowed[v.CHORD] = False

    def accept(self, event: int) -> None:
        reach = SENSITIVITY_S / v.STEP_S
        self.state.targets = [t for t in self.state.targets if abs(t - self.state.step) >= reach]


class Chords(Rule):
    """4. At least three notes of one family that plays chords follow CHORD, and are held for two beats."""

    KINDS: ClassVar = (v.K_ON, v.K_CHORD)

    def __init__(self, state: State, close: Close | None) -> None:
        super().__init__(state)
        self._close = close
        self._notes = dict.fromkeys(state.chord_families, 0)  # of the latest chord, by family

    def forbid(self, mask: Mask) -> None:
        state = self.state
        if state.in_chord:
            if self.is_short:
                mask.allowed = self._wanted(mask.allowed)
        elif state.end_step - state.step < 2 * MARGIN or self._crowded():
            mask.allowed[v.CHORD] = False

    def accept(self, event: int) -> None:
        state = self.state
        if event == v.CHORD:
            self._notes = dict.fromkeys(state.chord_families, 0)
        elif state.in_chord and FAMILY[event] in self._notes:
            self.count(event)
            state.hold[event] = state.step + math.ceil(HELD_QUARTERS * state.beat_steps)
            state.chord_ons.add(event)

    @property
    def is_short(self) -> bool:
        """Whether the chord of this moment lacks notes."""
        return self.state.in_chord and max(self._notes.values()) < MIN_PITCHES

    def count(self, on: int) -> None:
        """Count a note for the chord of this moment, without holding it."""
        if FAMILY[on] in self._notes:
            self._notes[FAMILY[on]] += 1

    def _crowded(self) -> bool:
        """Whether no family has room for a chord that no boundary asks for."""
        count = self.state.count
        return all(count[family] + MIN_PITCHES > MAX_SOUNDING[family] for family in self.state.chord_families)

    def _wanted(self, allowed: BoolArray) -> BoolArray:
        """(vocabulary,) While the chord lacks notes: its notes, and what comes before them in the moment.

        A note is left out if too few pitches above it remain for the notes that must follow.
        """
        state = self.state
        keep: BoolArray = FIRST_ON & allowed
        bass = state.closed and not state.count[v.BASS] and keep[ONS[v.BASS]].any()
        if bass and self._close is not None and self._close.bass_plays():
            return keep
        for family in state.chord_families:
            lacking = MIN_PITCHES - self._notes[family]
            if not state.landing and state.count[family] + lacking > MAX_SOUNDING[family]:
                continue
            ids = ONS[family]
            free = LATER[state.last, ids] & state.notes[ids]
            for chosen in (free & state.tones[ids], free):  # in the key if possible
                above = chosen[::-1].cumsum()[::-1] - chosen
                keep[ids] = chosen & (above >= lacking - 1)
                if keep[ids].any():
                    break
        return keep


class LongChords(Rule):
    """4. No long chord without CHORD: of three notes of a family that begin together, one ends before two beats."""

    KINDS: ClassVar = (v.K_TIMESHIFT, v.K_ON, v.K_OFF)

    def __init__(self, state: State, grid: GridTable) -> None:
        super().__init__(state)
        self._grid = grid
        self._together: dict[int, set[int]] = {}  # the ONs of this moment, by family
        self._chords: list[tuple[int, set[int]]] = []  # three or more: (until when, which of them still sound)

    def forbid(self, mask: Mask) -> None:
        if not self._chords:
            return
        last = self._last_place()
        if last is not None:
            mask.end_notes(last)
        else:
            mask.until = min(mask.until, *(until for until, _ in self._chords))

    def accept(self, event: int) -> None:
        kind = KIND[event]
        if kind == v.K_TIMESHIFT:
            self._together.clear()
        elif kind == v.K_OFF:
            self._end(PARTNER[event])
        elif FAMILY[event] in v.CHORD_FAMILIES and not self.state.in_chord:
            self._begin(event, FAMILY[event])

    def _last_place(self) -> int | None:
        """The place of the last OFF that may come while one of them must still end now; None if none must."""
        places = []
        for until, notes in self._chords:
            if until <= self.state.step:
                after = next_place(self.state)
                later = sorted(place for on in notes if (place := PLACE[PARTNER[on]]) > after)
                places.append(later[len(later) - (len(notes) - MIN_PITCHES + 1)])
        return min(places, default=None)

    def _begin(self, on: int, family: int) -> None:
        notes = self._together.setdefault(family, set())
        notes.add(on)
        if len(notes) != MIN_PITCHES:
            return
        until = self.state.step + math.floor(UNMARKED_QUARTERS * self.state.beat_steps)
        bar = self.state.bars[-1][0]
        while self.state.on_grid and not self._grid.onsets[until - bar]:  # what begins on a triplet ends on one
            until -= 1
        self._chords.append((until, notes))

    def _end(self, on: int) -> None:
        for until, notes in self._chords:
            if on in notes:
                notes.discard(on)
                if len(notes) < MIN_PITCHES:
                    self._chords.remove((until, notes))
                return


class Polyphony(Rule):
    """4. No family plays more than `MAX_SOUNDING` notes, so that pitches are left for chords."""

    def forbid(self, mask: Mask) -> None:
        for family, count in self.state.count.items():
            if count >= MAX_SOUNDING[family]:
                mask.allowed[ONS[family]] = False


class NoteLengths(Rule):
    """5. A note ends after at most `MAX_NOTE_BEATS` beats (strings: `MAX_STRINGS_BEATS`), and at the end of the piece.

    So do the notes of a chord on a boundary in a family that plays too many (rule 4), and all notes before the last
    chord (rule 9).
    """

    def forbid(self, mask: Mask) -> None:
        state = self.state
        if not state.since:
            return
        place = self._overdue()
        if place is not None:
            mask.end_notes(place)
            return
        if not state.closed:
            longest = min(int(begun + self._longest(on)) for on, begun in state.since.items())
            mask.until = min(mask.until, max(longest, state.step + 1))
            return
        for on in state.since:
            # Notes that do not belong to the last chord make way for it.
            mask.until = min(mask.until, state.hold.get(on, state.step + 1))

    def _longest(self, on: int) -> float:
        """How long a note may be, in steps."""
        beats = MAX_STRINGS_BEATS if FAMILY[on] in self.state.lasting else MAX_NOTE_BEATS
        return beats * self.state.beat_steps

    def _overdue(self) -> int | None:
        """The place of the first OFF that has to come now; None if none has to."""
        state = self.state
        step, since = state.step, state.since
        if state.at_end:
            return min(PLACE[PARTNER[on]] for on in since)
        clear = state.closed or (state.closes() and step == state.due())
        ended = [on for on, begun in since.items() if begun <= step - (0 if clear else self._longest(on))]
        crowded = [family for family, count in state.count.items() if count > MAX_SOUNDING[family]]
        if not (crowded or ended):
            return None
        after = next_place(state)  # an OFF whose place in this moment has passed must wait for the next
        return min(
            (
                place for on, begun in since.items()
                if (on in ended or (on in state.chord_ons and FAMILY[on] in crowded))
                and begun < step and on not in state.hold and (place := PLACE[PARTNER[on]]) > after
            ),
            default=None,
        )  # fmt: skip


class Ending(Rule):
    """5. Nothing passes the end, where END comes; nothing begins just before it, and END does not come too early."""

    def forbid(self, mask: Mask) -> None:
        state = self.state
        if state.at_end:
            mask.allowed = only(v.END)
            mask.settled = True
            return
        left = state.end_step - state.step
        if left <= MARGIN:
            mask.allowed[ON] = False
            mask.allowed[BAR] = False
            mask.allowed[v.CHORD] = False
        if state.since or state.due() is not None or left * v.STEP_S > EARLY_END_S:
            mask.allowed[v.END] = False


class Bars(Rule):
    """6. Bars keep near the running tempo; once it is known, none is missed."""

    KINDS: ClassVar = (v.K_BAR,)

    def forbid(self, mask: Mask) -> None:
        next_bar = self.state.next_bar()
        if self.state.step == next_bar:
            bars = self.state.bar_ids()
            mask.allowed[: bars.start] = False
            mask.allowed[bars.stop : OFF.start] = False
            mask.settled = True
            return
        if next_bar is not None:
            mask.until = min(mask.until, next_bar)
        if not self._may_begin():
            mask.allowed[BAR] = False

    def accept(self, event: int) -> None:
        """The bar that ends here gives the tempo, unless it was missed or cut short by a hit."""
        state = self.state
        if state.bars:
            half = state.bars[-1][1]
            beat = state.since_bar() / (half / 2)
            first = not state.knows_tempo and BEAT_RANGE_STEPS[0] <= beat <= BEAT_RANGE_STEPS[1]
            if first or (state.given_beat_steps is None and self._near_tempo(beat)):
                state.beat_steps = beat
        state.bars.append((state.step, VALUE[event]))

    def _may_begin(self) -> bool:
        state = self.state
        if len(state.bars) < len(state.given_bars):
            return False
        half, passed = state.bars[-1][1], state.since_bar()
        beat = passed / (half / 2)
        if state.given_beat_steps is not None:  # bars come where the tempo puts them (`next_bar`), and on hits
            fits = False
        elif beat <= BEAT_RANGE_STEPS[1] and not state.knows_tempo:
            fits = beat >= BEAT_RANGE_STEPS[0]
        elif self._near_tempo(beat):
            fits = True
        else:  # if the bar was missed, another may begin on any later beat
            beats = passed / state.beat_steps
            fits = beats > half / 2 and abs(beats - round(beats)) <= BAR_TOLERANCE
        # Once there is a tempo, a hit may begin a bar wherever it falls.
        hit = state.recipe.lands and state.step in state.targets[:1]
        return fits or (state.knows_tempo and hit and passed >= state.beat_steps / 2)

    def _near_tempo(self, beat: float) -> bool:
        """Whether a quarter note of this length, in steps, keeps near the running tempo and within all tempi."""
        in_range = BEAT_RANGE_STEPS[0] <= beat <= BEAT_RANGE_STEPS[1]
        return in_range and abs(beat / self.state.beat_steps - 1) <= BAR_TOLERANCE


class TimeLimit(Rule):
    """No TIMESHIFT goes past what another rule waits for (`Mask.until`)."""

    def forbid(self, mask: Mask) -> None:
        ahead = mask.until - self.state.step
        if ahead < v.MAX_SHIFT_STEPS:
            mask.allowed[v.SHIFT_BASE + ahead + 1 : SHIFT.stop] = False
