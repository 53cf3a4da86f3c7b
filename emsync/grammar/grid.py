"""Rule 7: with a given tempo, notes begin on a grid, and may end between."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.grammar.state import Mask, Rule, State
from emsync.grammar.tables import (
    BAR,
    MARGIN,
    ON,
    SHIFT,
    SIXTEENTHS,
    TICKS,
    TRIPLETS,
    UNMARKED_QUARTERS,
    BoolArray,
)  # fmt: skip

_NONE: Final = np.zeros(0, dtype=np.intp)


class GridTable:
    """Which steps after a bar line are on the grid, as far as time can go in a bar.

    sixteenths, ticks: (steps,) the steps on sixteenths and on ticks. onsets: where notes may begin.
    """

    def __init__(self, beat_steps: float, *, triplets: bool) -> None:
        self.sixteenths = parts_of(beat_steps, SIXTEENTHS)
        self.ticks = parts_of(beat_steps, TICKS)
        self.onsets = self.sixteenths | parts_of(beat_steps, TRIPLETS) if triplets else self.sixteenths


def parts_of(beat_steps: float, parts: int) -> BoolArray:
    """(steps,) Which whole steps are on one of `parts` parts of a beat, to half a step.

    The table covers the longest bar, what the last bar may be longer (`State.next_bar`), and a TIMESHIFT or an
    unmarked chord after that.
    """
    part = beat_steps / parts
    behind = max(v.MAX_SHIFT_STEPS, math.ceil(UNMARKED_QUARTERS * beat_steps))
    longest = math.ceil(v.MAX_BAR_HALF_QUARTERS / 2 * beat_steps) + MARGIN + 1 + behind
    place = np.arange(longest + 1) / part
    return np.asarray(np.abs(place - np.rint(place)) * part <= 0.5 + 1e-9)


class OnGrid(Rule):
    """7. Time goes to where notes may begin; with loose ends also to any tick where a note may end."""

    def __init__(self, state: State, table: GridTable) -> None:
        super().__init__(state)
        self._table = table

    def forbid(self, mask: Mask) -> None:
        state = self.state
        first = state.since_bar() + 1
        kept = self._table.onsets[first : first + v.MAX_SHIFT_STEPS].copy()
        if state.recipe.loose_ends and state.since:
            # While all notes are held, this many TIMESHIFTs are too short to reach one that may end.
            held = min(state.hold.values()) - state.step - 1 if len(state.hold) == len(state.since) else 0
            kept[held:] |= self._table.ticks[first : first + v.MAX_SHIFT_STEPS][held:]
        kept &= mask.allowed[SHIFT]
        ahead = min(mask.until - state.step, v.MAX_SHIFT_STEPS)
        if not kept.any() and mask.allowed[v.SHIFT_BASE + ahead]:
            kept[ahead - 1] = True  # if nothing is left, the one to what comes next
        if kept.any():
            mask.allowed[SHIFT] = kept

    def off_grid(self) -> npt.NDArray[np.intp]:
        """Ids of the TIMESHIFTs that leave the sixteenths, allowed or not; none before the first bar."""
        state = self.state
        if not state.bars or not (state.recipe.loose_ends or state.recipe.grid == "triplets"):
            return _NONE
        first = state.since_bar() + 1
        off = ~self._table.sixteenths[first : first + v.MAX_SHIFT_STEPS]
        due = state.due()
        if due is not None and 0 < due - state.step <= len(off):
            off[due - state.step - 1] = False
        return SHIFT.start + off.nonzero()[0]

    def sixteenths(self) -> float:
        """How many sixteenths have passed since the bar line; NaN between sixteenths, or before the first bar."""
        state = self.state
        if not state.bars or not self._table.sixteenths[state.since_bar()]:
            return math.nan
        return round(state.since_bar() * SIXTEENTHS / state.beat_steps)


class LooseEnds(Rule):
    """7. In a moment off the grid, only OFFs come, one or more."""

    KINDS: ClassVar = (v.K_TIMESHIFT,)

    def __init__(self, state: State, table: GridTable) -> None:
        super().__init__(state)
        self._table = table
        self._only_ends = False  # whether this moment is off the grid

    def forbid(self, mask: Mask) -> None:
        if not self._only_ends:
            return
        mask.allowed[BAR] = False
        mask.allowed[v.CHORD] = False
        mask.allowed[ON] = False
        if self.state.last < 0:  # without an OFF there is no reason for the moment
            mask.allowed[SHIFT] = False
            mask.allowed[v.END] = False
            mask.settled = True

    def accept(self, event: int) -> None:
        state = self.state
        self._only_ends = (
            len(state.hold) < len(state.since)
            and state.step not in (state.due(), state.next_bar())
            and not state.at_end
            and not self._table.onsets[state.since_bar()]
        )
