"""The grammar of one piece: its rules say what may come next, and learn what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.grammar.finishing import Beginning, Close, NoDrones, NoEndlessRolls
from emsync.grammar.grid import GridTable, LooseEnds, OnGrid
from emsync.grammar.rules import (
    Bars,
    Boundaries,
    Chords,
    Ending,
    LongChords,
    NoteLengths,
    Polyphony,
    TimeLimit,
)  # fmt: skip
from emsync.grammar.state import Mask, Rule, State
from emsync.grammar.tables import KIND, ONS, BoolArray, only
from emsync.recipe import Recipe

_NONE: Final = np.zeros(0, dtype=np.intp)


class Grammar:
    """The rules of one piece that is being composed (see `emsync.grammar`).

    `allowed()` says what may come next, `accept(event)` takes what came.

    Args:
        recipe: `hits` other than "free" puts a chord on each boundary; `grid`, `loose_ends` and `finish` turn rules on.
        end_step: Where the piece ends, in steps.
        boundaries: (B,) Steps where CHORD must come, increasing.
        beat_steps: The length of a quarter note in steps, 25 to 187.5, if the tempo is given.
        bars: The bars in quarter notes, if they are given, and the tempo too; after the last the model goes on alone.

    Raises:
        InputError: The end or the tempo is out of range.

    """

    def __init__(
        self,
        recipe: Recipe,
        end_step: int,
        boundaries: npt.NDArray[np.number] | None = None,
        *,
        beat_steps: float | None = None,
        bars: Sequence[int] = (),
    ) -> None:
        state = self.state = State(recipe, end_step, boundaries, beat_steps, bars)
        table = GridTable(state.beat_steps, triplets=recipe.grid == "triplets")
        close = Close(state) if recipe.finishes else None
        chords, bar_lines, boundary = Chords(state, close), Bars(state), Boundaries(state)
        long_chords, lengths, ending = LongChords(state, table), NoteLengths(state), Ending(state)
        loose_ends = [LooseEnds(state, table)] if state.on_grid and recipe.loose_ends else []
        self._grid = OnGrid(state, table) if state.on_grid else None
        finishing = [] if close is None else [Beginning(state), close, NoDrones(state), NoEndlessRolls(state)]
        #: The rules that may ask for OFFs before anything else.
        self._ends: tuple[Rule, ...] = (lengths, long_chords)
        # `Boundaries` may settle the matter once the others have had their say. The last three go by what is left.
        last = [TimeLimit(state), *([] if self._grid is None else [self._grid]), chords]
        self._rules: tuple[Rule, ...] = (
            ending, *loose_ends, bar_lines, Polyphony(state), *finishing, boundary, *last,
        )  # fmt: skip
        # By their numbers, since some go by what others have noted: rule 9 by the tempo (6) and the boundaries (3).
        in_order: list[Rule] = [boundary, chords, long_chords, bar_lines, *loose_ends, *finishing]
        self._takers: list[list[Callable[[int], None]]] = [
            [rule.accept for rule in in_order if kind in rule.KINDS] for kind in range(len(v.KINDS))
        ]

    # -----------------------------------------------------------------------------------------------------------------
    # What may come, and what came

    def allowed(self) -> BoolArray:
        """(vocabulary,) True for every event that may come next; never all False before END."""
        state = self.state
        if state.finished:
            return only(v.PAD)
        if not state.bars:  # rule 1
            return only(state.bar_ids())
        mask = Mask(state)
        for rule in self._ends:
            rule.forbid(mask)
        for rule in self._rules:
            if mask.settled:
                break
            rule.forbid(mask)
        return mask.allowed

    def accept(self, event: int) -> None:
        """Take one event, which `allowed()` must have allowed."""
        self.state.accept(event)
        for take in self._takers[KIND[event]]:
            take(event)

    def off_grid(self) -> npt.NDArray[np.intp]:
        """Ids of the TIMESHIFTs, allowed or not, that leave the sixteenths, for an OFF or a triplet (rule 7)."""
        return _NONE if self._grid is None else self._grid.off_grid()

    def open_up(self, family: int) -> None:
        """Let a family play all pitches (`Recipe.compass`), since it plays something given; before its first note.

        Its notes last no longer than those of others, so that what is given finds room.
        """
        self.state.notes[ONS[family]] = True
        self.state.lasting -= {family}

    def check(self) -> None:
        """Raise `AssertionError` if the piece could not end here (for tests)."""
        assert not self.state.since, "notes are still sounding"

    # -----------------------------------------------------------------------------------------------------------------
    # The state of the piece

    @property
    def step(self) -> int:
        """The clock, in steps."""
        return self.state.step

    @property
    def end_step(self) -> int:
        """Where the piece ends."""
        return self.state.end_step

    @property
    def finished(self) -> bool:
        """Whether END came."""
        return self.state.finished

    @property
    def closed(self) -> bool:
        """Whether the last chord came (rule 9)."""
        return self.state.closed

    @property
    def ends(self) -> bool:
        """Whether the last chord is being struck, or was, and nothing but the piece itself says which it is."""
        return self.state.closed

    @property
    def leads_home(self) -> bool:
        """Whether the last chord belongs to the next bar line, and nothing but the piece itself says which it is."""
        state = self.state
        closing, following = state.closing, state.next_bar()
        if closing is None or following is None or (state.recipe.lands and state.targets[-1:] > [closing]):
            return False
        return abs(closing - following) < state.beat_steps / 2

    @property
    def targets(self) -> list[int]:
        """The steps that still need a CHORD, increasing. They may be replaced while they lie ahead."""
        return self.state.targets

    @targets.setter
    def targets(self, steps: list[int]) -> None:
        self.state.targets = steps

    @property
    def bars(self) -> list[tuple[int, int]]:
        """The step of each BAR, and its length in half quarter notes."""
        return self.state.bars

    @property
    def chords(self) -> list[int]:
        """The step of each CHORD."""
        return self.state.chords

    @property
    def beat_steps(self) -> float:
        """The current length of a quarter note, in steps."""
        return self.state.beat_steps

    @property
    def knows_tempo(self) -> bool:
        """Whether the tempo is given, or known from the bars."""
        return self.state.knows_tempo

    @property
    def on_grid(self) -> bool:
        """Whether notes keep to a grid."""
        return self.state.on_grid

    @property
    def sixteenths(self) -> float:
        """How many sixteenths have passed since the bar line; NaN between them, without a grid, and before a bar."""
        return math.nan if self._grid is None else self._grid.sixteenths()

    @property
    def sounding(self) -> list[int]:
        """Ids of the ONs that have not ended, in the order in which they began."""
        return list(self.state.since)

    @property
    def chord_notes(self) -> list[int] | None:
        """Ids of the ONs that have begun together with the CHORD of this moment; None if none came."""
        state = self.state
        return [on for on, begun in state.since.items() if begun == state.step] if state.in_chord else None

    def due(self) -> int | None:
        """The next step that still needs its chord: a boundary, or the close."""
        return self.state.due()

    def next_bar(self) -> int | None:
        """The step where the next bar must begin at the latest; None while there is no tempo, and near the end."""
        return self.state.next_bar()
