"""The grammar of a part of a piece that is recomposed, between events that stay and under others that stay.

    grammar = FixedGrammar(recipe, end_step, fixed, beat_steps=64, families={v.PIANO}, closes=False)
    for event in before: grammar.keep(event)         # what comes before the part
    while not grammar.finished:
        event = choose(grammar.allowed())            # `grammar.due_event()` is among them, or must wait
        grammar.accept(event)

*Fixed* events are what stays: bars, the chords and notes of other tracks, and the ends of notes that began before the
part. They are played as they are, and no rule ends them. All else follows the rules of `emsync.grammar`, except that:
- No TIMESHIFT passes a fixed event. At its time come the events that the order puts before it, then the fixed event.
- BAR and END are never chosen: bars are fixed, and the part ends where it ends, with all of its own notes.
- Only some families are composed. A note of the part ends where a fixed note of the same pitch and family begins.
- A chord leaves out pitches that a fixed note strikes before the chord has been held, if it can.
- A boundary wants a chord only where piano or guitar is composed. A fixed chord meets it only if it is on it.
- Nothing is left out shortly before the end, and there is no last chord (rule 9), unless the piece ends there, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from itertools import takewhile
from typing import Final

import numpy as np

from emsync import vocabulary as v
from emsync.conditions import SENSITIVITY_S
from emsync.grammar.finishing import Close, NoDrones, NoEndlessRolls
from emsync.grammar.grammar import Grammar
from emsync.grammar.grid import GridTable, LooseEnds, OnGrid
from emsync.grammar.rules import Bars, Boundaries, Chords, Ending, LongChords, NoteLengths, Polyphony, TimeLimit
from emsync.grammar.state import Mask, Rule, State
from emsync.grammar.tables import (
    BAR,
    FAMILY,
    HELD_QUARTERS,
    KIND,
    ON,
    ONS,
    ORDER,
    PARTNER,
    PLACE,
    SHIFT,
    BoolArray,
    only,
)
from emsync.recipe import Recipe

#: A fixed chord this near to a boundary, in steps, is on it.
_ON_IT: Final = 4
_REACH: Final = SENSITIVITY_S / v.STEP_S


class FixedGrammar(Grammar):
    """The rules of a part that is recomposed (see the module). Its clock is that of the whole piece.

    Args:
        recipe: As of `Grammar`.
        end_step: Where the part ends, in steps.
        fixed: (step, event) of the fixed events from the part's beginning on, in their order. Those behind its end say
            which pitches a chord should leave out.
        boundaries: The steps of the part where a CHORD must come, increasing.
        beat_steps: The length of a quarter note in steps, 25 to 187.5.
        families: The families that are composed.
        closes: Whether the piece ends with the part.

    """

    def __init__(
        self, recipe: Recipe, end_step: int, fixed: Iterable[tuple[int, int]], *,
        boundaries: Iterable[int] = (), beat_steps: float, families: Collection[int], closes: bool,
    ) -> None:  # fmt: skip
        state = self.state = State(recipe, end_step, None, beat_steps)
        chordal = any(family in state.chord_families for family in families)
        state.targets = [step for step in boundaries if step < end_step] if chordal else []
        state.notes[BAR] = False
        for family in range(len(v.FAMILIES)):
            if family not in families:
                state.notes[ONS[family]] = False
        table = GridTable(state.beat_steps, triplets=recipe.grid == "triplets")
        fixed = list(fixed)
        self._alone = not any(KIND[event] == v.K_ON for _, event in fixed)
        self._close = Close(state) if closes and chordal and recipe.finishes else None
        self._fixed = _Fixed(state, fixed, chordal, families)
        self._chords, self._bars = Chords(state, self._close), Bars(state)
        long_chords = LongChords(state, table)
        loose_ends = [LooseEnds(state, table)] if state.on_grid and recipe.loose_ends else []
        rests: list[Rule] = [NoDrones(state), NoEndlessRolls(state)] if recipe.finishes else []
        finishing = rests if self._close is None else [self._close, *rests]
        self._grid = OnGrid(state, table) if state.on_grid else None
        self._ends = (NoteLengths(state), long_chords)
        last = [TimeLimit(state), *([] if self._grid is None else [self._grid]), self._chords]
        self._rules = (
            *([Ending(state)] if closes else []), *loose_ends, Polyphony(state), *finishing, self._fixed, *last,
        )  # fmt: skip
        in_order: list[Rule] = [Boundaries(state), self._chords, long_chords, *loose_ends, *finishing]
        self._takers = [[rule.accept for rule in in_order if kind in rule.KINDS] for kind in range(len(v.KINDS))]

    @property
    def sounding(self) -> list[int]:
        """Ids of the ONs that have not ended: those of the part in their order, and fixed ones."""
        return [*self.state.since, *self._fixed.sounding]

    @property
    def ends(self) -> bool:
        """As of `Grammar`: not beside other notes, which say what the last chord is."""
        return self._alone and super().ends

    @property
    def leads_home(self) -> bool:
        """As of `Grammar`."""
        return self._alone and super().leads_home

    def due_event(self) -> int | None:
        """What has to come in this moment before time goes on, or what comes after it; None if nothing has to."""
        return self._fixed.due()

    def is_fixed(self, event: int) -> bool:
        """Whether the next event, if it is this one, is a fixed one."""
        return self._fixed.next_is(event)

    def allowed(self) -> BoolArray:
        """(vocabulary,) True for every event that may come next; never all False."""
        state = self.state
        if state.finished:
            return only(v.PAD)
        if state.at_end:
            own = [PARTNER[on] for on in state.since]
            return only(min(own, key=PLACE.__getitem__) if own else v.END)
        due = self.due_event()
        if not state.bars:  # rule 1; the first bar is fixed
            assert due is not None, "a part begins before the first bar"
            return only(due)
        mask = Mask(state)
        for rule in self._ends:  # each of them: an OFF that one asks for must not pass those that another does
            rule.forbid(mask)
        for rule in self._rules:
            if mask.settled:
                break
            rule.forbid(mask)
        allowed = mask.allowed
        allowed[v.END] = False
        allowed[list(self._fixed.sounding)] = False
        if due is not None:
            return self._up_to(due, allowed, settled=mask.settled)
        ahead = min(self._fixed.ahead(), v.MAX_SHIFT_STEPS)
        moves = not mask.settled and allowed[SHIFT].any() and ahead <= mask.until - state.step
        if moves or not allowed.any():  # to what is fixed from anywhere; and on where the rules allow nothing
            allowed[v.SHIFT_BASE + ahead] = True
        return allowed

    def _up_to(self, due: int, allowed: BoolArray, *, settled: bool) -> BoolArray:
        """What may come before an event that is due, and that one itself, unless something must come before it."""
        before = allowed & (PLACE[due] > ORDER) & (ORDER > -1)
        waits = settled and before.any()
        if self._chords.is_short and before[ON].any():
            # A chord that lacks notes gets them while its families can still play.
            waits = waits or not (allowed[ON] & (PLACE[due] < ORDER[ON])).any()
        before[due] = not waits
        return before

    def accept(self, event: int) -> None:
        """Take one event, which `allowed()` must have allowed."""
        state = self.state
        if self._fixed.next_is(event):
            self._fixed.pop()
            self.keep(event)
        else:
            if event == v.CHORD and not state.closed:
                state.tones = self._fixed.free_until(state.step + math.ceil(HELD_QUARTERS * state.beat_steps))
            super().accept(event)

    def keep(self, event: int) -> None:
        """Take one event that stays as it is, whatever `allowed()` says."""
        state, kind = self.state, KIND[event]
        if kind == v.K_TIMESHIFT:
            super().accept(event)
            return
        state.last = event
        if kind == v.K_ON:
            if FAMILY[event] != v.DRUMS:
                self._fixed.begin(event)
            if self._close is not None and not state.closed:
                self._close.accept(event)
            if state.in_chord:
                self._chords.count(event)
        elif kind == v.K_OFF:
            self._fixed.end(PARTNER[event])
        elif kind == v.K_BAR:
            self._bars.accept(event)
            if self._close is not None:
                self._close.accept(event)
        elif kind == v.K_CHORD:
            self._keep_chord()

    def _keep_chord(self) -> None:
        state = self.state
        state.in_chord, state.landing = True, state.step == state.due()
        state.chords.append(state.step)
        if self._close is not None:
            self._close.accept(v.CHORD)
        state.targets = [step for step in state.targets if abs(step - state.step) > _ON_IT]
        self._chords.accept(v.CHORD)


class _Fixed(Rule):
    """No TIMESHIFT passes what is fixed, or a boundary; and no CHORD comes shortly before a boundary.

    sounding: the fixed notes that sound, by ON id.
    """

    def __init__(
        self, state: State, fixed: Iterable[tuple[int, int]], chordal: bool, families: Collection[int]
    ) -> None:
        super().__init__(state)
        self.sounding: set[int] = set()
        self._left = deque(fixed)
        self._chordal, self._families = chordal, frozenset(families)

    def forbid(self, mask: Mask) -> None:
        state = self.state
        mask.until = min(mask.until, state.step + self.ahead())
        due = state.due()
        if not self._chordal or (due is not None and 0 < due - state.step < _REACH):
            mask.allowed[v.CHORD] = False

    def ahead(self) -> int:
        """How many steps it is to the next fixed event, boundary or end; at least 1."""
        state, due = self.state, self.state.due()
        steps = [state.end_step, *([] if due is None else [due]), *(step for step, _ in (*self._left,)[:1])]
        return max(min(steps) - state.step, 1)

    def next_is(self, event: int) -> bool:
        """Whether an event is the next fixed one, and due now."""
        return bool(self._left) and self._left[0] == (self.state.step, event)

    def pop(self) -> None:
        """The next fixed event came."""
        self._left.popleft()

    def due(self) -> int | None:
        """The first that has to come in this moment: a fixed event, a boundary's CHORD, or an OFF that makes room."""
        state = self.state
        found = []
        for step, event in self._left:
            if step > state.step:
                break
            if event in state.since:
                found.append(PARTNER[event])
            found.append(event)
        chord = state.due()
        if chord is not None and chord <= state.step and not state.in_chord:
            found.append(v.CHORD)
        return min(found, key=PLACE.__getitem__, default=None)

    def free_until(self, step: int) -> BoolArray:
        """(vocabulary,) False for the ONs of fixed notes that begin before a step."""
        free = np.ones(v.SIZE, dtype=bool)
        for _, event in takewhile(lambda each: each[0] < step, self._left):
            free[event] = KIND[event] != v.K_ON
        return free

    def begin(self, on: int) -> None:
        """A fixed note begins."""
        if on not in self.sounding:
            self.sounding.add(on)
            self.state.notes[on] = False
            self.state.count[FAMILY[on]] += 1

    def end(self, on: int) -> None:
        """A fixed note ends."""
        if on in self.sounding:
            self.sounding.remove(on)
            self.state.notes[on] = FAMILY[on] in self._families
            self.state.count[FAMILY[on]] -= 1
