"""What the rules know in common about a piece: the clock, the sounding notes, the bars, and what is due."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.describe import chord_families
from emsync.errors import InputError
from emsync.grammar.tables import (
    BAR,
    BEAT_RANGE_STEPS,
    BEYOND,
    DEFAULT_BEAT_STEPS,
    FAMILY,
    KIND,
    LATER,
    MARGIN,
    MIN_NOTE_TICKS,
    OFF,
    ORDER,
    PARTNER,
    PLACE,
    TICKS,
    VALUE,
    BoolArray,
)  # fmt: skip
from emsync.likeness import family_biases
from emsync.recipe import Recipe


class State:
    """A piece up to now. Times are in steps of 8 ms.

    Attributes:
        recipe: The composing choices.
        end_step: Where the piece ends.
        given_beat_steps: The length of a quarter note if the tempo is given.
        given_bars: The bars in quarter notes, if they are given.
        on_grid: Whether notes keep to a grid, for which the tempo must be given.
        targets: The boundaries that still need a chord, increasing. They may be moved while they lie ahead.
        step: The clock.
        last: The latest event of this moment, -1 at its beginning.
        finished: Whether END came.
        bars: (step, length in half quarters) of every bar.
        beat_steps: The current length of a quarter note, from the last whole bar.
        chords: The steps of all CHORDs.
        in_chord: Whether CHORD came in this moment. landing: whether that CHORD was due.
        since: When each sounding note began, by ON id, in that order.
        hold: Until when sounding notes may not end, by ON id.
        chord_families: The families that may play chords.
        chord_ons: The sounding notes of chords, by ON id.
        count: How many notes sound, by family; drums are not counted.
        notes: (vocabulary,) What the sounding notes allow: ON of silent notes, OFF of those that may end.
        closing: Where the last chord belongs as far as is known (rule 9).
        closed: Whether the last chord came: nothing begins after it.
        lasting: The families whose notes may be as long as `tables.MAX_STRINGS_BEATS`.
        tones: (vocabulary,) What the last chord may consist of.

    """

    def __init__(
        self,
        recipe: Recipe,
        end_step: int,
        boundaries: npt.NDArray[np.number] | None,
        beat_steps: float | None,
        bars: Sequence[int] = (),
    ) -> None:
        if end_step < 1:
            raise InputError(f"a piece of {end_step * v.STEP_S:g} s is too short; give at least {v.STEP_S} s")
        low, high = BEAT_RANGE_STEPS
        if beat_steps is not None and not low <= beat_steps <= high:
            beats, slow, fast = (60 / (x * v.STEP_S) for x in (beat_steps, high, low))
            raise InputError(f"a tempo of {beats:g} is not between {slow:g} and {fast:g} quarter notes per minute")
        self.recipe, self.end_step, self.given_beat_steps = recipe, end_step, beat_steps
        self.given_bars = tuple(bars)
        self.chord_families = chord_families(family_biases(recipe.described, recipe.like))
        self.on_grid = recipe.on_grid and beat_steps is not None
        steps = np.array([] if boundaries is None else boundaries, dtype=np.int64)
        self.targets: list[int] = [int(s) for s in steps if s < end_step - MARGIN]
        self.step, self.last, self.finished = 0, -1, False
        self.bars: list[tuple[int, int]] = []
        self.beat_steps = DEFAULT_BEAT_STEPS if beat_steps is None else beat_steps
        #: The tempo is known from this many bars on: two bars that have ended, unless it is given.
        self._bars_for_tempo = 3 if beat_steps is None else 1
        self.chords: list[int] = []
        self.in_chord = self.landing = False
        self.since: dict[int, int] = {}
        self.hold: dict[int, int] = {}
        self.chord_ons: set[int] = set()
        self.count = dict.fromkeys(range(v.DRUMS + 1, len(v.FAMILIES)), 0)
        self.notes = np.ones(v.SIZE, dtype=bool)
        self.notes[OFF] = False
        self.notes[v.BAR_BASE + 1] = False  # no bars of half a quarter note
        if recipe.compass:
            self.notes[BEYOND] = False
        self.lasting = {v.STRINGS} if recipe.profiles else set()
        self._shortest = math.floor(MIN_NOTE_TICKS * self.beat_steps / TICKS)
        self.closing: int | None = None
        self.closed = False
        self.tones = np.ones(v.SIZE, dtype=bool)

    @property
    def knows_tempo(self) -> bool:
        """Whether the tempo is given, or known from the bars."""
        return len(self.bars) >= self._bars_for_tempo

    @property
    def at_end(self) -> bool:
        """Whether the clock has reached the end."""
        return self.step >= self.end_step

    def due(self) -> int | None:
        """The next step that still needs its chord: a boundary, or the close."""
        targets = self.targets if self.recipe.lands else []
        close = self.closing
        if close is None or close < self.step or self.closed or (targets and targets[-1] > close):
            return targets[0] if targets else None
        return min(targets[0], close) if targets else close

    def closes(self) -> bool:
        """Whether a chord that is due now is the last one."""
        if self.closing is None or self.closed or self.step < self.closing:
            return False
        return not self.recipe.lands or not self.targets or self.targets[-1] == self.step

    def next_bar(self) -> int | None:
        """The step where the next bar must begin at the latest; None while there is no tempo, and near the end."""
        if not self.knows_tempo:
            return None
        at, half = self.bars[-1]
        step = at + round(half / 2 * self.beat_steps)
        return step if self.end_step - step > MARGIN else None

    def bar_ids(self) -> slice:
        """Ids of the BARs that may come next, by their length: the given one, or any of a quarter note or more."""
        number = len(self.bars)
        if number < len(self.given_bars):
            bar = v.BAR_BASE + 2 * self.given_bars[number]
            return slice(bar, bar + 1)
        return slice(v.BAR_BASE + 2, BAR.stop)

    def since_bar(self) -> int:
        """How many steps have passed since the last bar began."""
        return self.step - self.bars[-1][0]

    # -----------------------------------------------------------------------------------------------------------------
    # Accepting events, before the rules do

    def accept(self, event: int) -> None:
        """Advance the clock, and keep the sounding notes up to date."""
        kind = KIND[event]
        if kind == v.K_TIMESHIFT:
            self._move(VALUE[event])
            return
        self.last = event
        if kind == v.K_ON and FAMILY[event] != v.DRUMS:
            self.since[event] = self.step
            self.notes[event] = False
            self.count[FAMILY[event]] += 1
            if self.on_grid:
                self.hold[event] = self.step + self._shortest
        elif kind == v.K_OFF:
            on = PARTNER[event]
            del self.since[on]
            self.hold.pop(on, None)
            self.chord_ons.discard(on)
            self.count[FAMILY[on]] -= 1
            self.notes[on], self.notes[event] = True, False
        elif kind == v.K_CHORD:
            self.in_chord, self.landing = True, self.step == self.due()
            self.chords.append(self.step)
        elif kind == v.K_END:
            self.finished = True

    def _move(self, steps: int) -> None:
        """Begin a new moment: notes that began before it may end, unless they are held."""
        before, self.step = self.step, self.step + steps
        self.last, self.in_chord = -1, False
        for on in [on for on, until in self.hold.items() if until <= self.step or self.at_end]:
            del self.hold[on]
            self.notes[PARTNER[on]] = True
        for on in reversed(self.since):  # the latest come first
            if self.since[on] < before:
                break
            if on not in self.hold:
                self.notes[PARTNER[on]] = True


class Mask:
    """Which events may come next; the rules change it one after another.

    Attributes:
        allowed: (vocabulary,) The events that no rule has forbidden yet.
        until: The latest step that a TIMESHIFT may go to.
        settled: Whether the other rules are no longer needed.

    """

    __slots__ = ("allowed", "settled", "until")

    def __init__(self, state: State) -> None:
        # Rule 2, and the order within a moment.
        self.allowed: BoolArray = LATER[state.last] & state.notes
        self.until = state.end_step
        self.settled = False

    def end_notes(self, last: int) -> None:
        """Allow nothing but OFFs whose place (`tables.ORDER`) is at most `last`."""
        self.allowed[: OFF.start] = False
        self.allowed[OFF] &= ORDER[OFF] <= last
        self.settled = True


def next_place(state: State) -> int:
    """The place (`tables.ORDER`) that events of this moment must come after, -1 at its beginning."""
    return PLACE[state.last] if state.last >= 0 else -1


class Rule:
    """A rule of the grammar, for one piece.

    forbid: takes events out of the mask.
    accept: takes note of an event, after `State.accept`.
    """

    #: The kinds of event (`vocabulary.K_ON`, ...) that `accept` wants to know of.
    KINDS: ClassVar[tuple[int, ...]] = ()

    def __init__(self, state: State) -> None:
        self.state = state

    def forbid(self, mask: Mask) -> None:
        """Forbid what this rule does not allow next."""

    def accept(self, event: int) -> None:
        """Take an event of one of `KINDS`."""
