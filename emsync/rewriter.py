"""A part of a piece that is recomposed, between events that stay and under others that stay.

    writer = Rewriter(conditions, recipe, rng, gap=gap)
    composer.write_all(decoder, [writer], recipe.mood_strength)
    writer.notes()

The model reads what stays before the part, and then predicts event after event. What is fixed within the part is
played when its time has come (`grammar.FixedGrammar`): the model's probability of everything that could only come later
goes to the fixed event that is due. So the model decides how much comes before it, and knows it from then on.

Conventions: steps of 8 ms in a time where every quarter note has the same whole number of steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.conditions import Conditions
from emsync.errors import InputError
from emsync.grammar import FixedGrammar
from emsync.grammar.tables import ORDER, PARTNER
from emsync.mixture import Mixture
from emsync.mood_feedback import MoodFeedback
from emsync.recipe import Recipe
from emsync.sections import Plan
from emsync.writer import FloatArray, Writer


@dataclass(frozen=True)
class Kept:
    """An event that stays: its step, its id, and the level + 1 of its velocity if it is an ON, else 0."""

    step: int
    event: int
    velocity: int = 0


@dataclass(frozen=True)
class Gap:
    """A part of a piece that is recomposed, and what stays before, in and after it.

    Attributes:
        beat_steps: The length of a quarter note, a multiple of 4.
        begin_step, end_step: Where the part is.
        kept: The events that stay, in order, from the first BAR on. TIMESHIFTs, START and END are left out.
        families: The families that are composed.
        boundaries: The steps of the part that want a chord, increasing.
        closes: Whether the piece ends with the part.

    """

    beat_steps: int
    begin_step: int
    end_step: int
    kept: tuple[Kept, ...]
    families: frozenset[int]
    boundaries: tuple[int, ...] = ()
    closes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.begin_step < self.end_step:
            raise InputError(
                f"a part from {self.begin_step * v.STEP_S:g} s to {self.end_step * v.STEP_S:g} s is empty; "
                "give an end behind its beginning"
            )

    @property
    def nominal_qpm(self) -> float:
        """The tempo that the part is composed in, in quarter notes a minute."""
        return 60 / (self.beat_steps * v.STEP_S)

    @property
    def before(self) -> Iterator[Kept]:
        """What stays before the part."""
        return (each for each in self.kept if each.step < self.begin_step)

    @property
    def within(self) -> Iterator[Kept]:
        """What stays in the part."""
        return (each for each in self.kept if self.begin_step <= each.step < self.end_step)

    def following(self, most: int) -> list[tuple[int, int]]:
        """(event, velocity) of the first events behind the part, TIMESHIFTs included; at most so many."""
        events: list[tuple[int, int]] = []
        step = self.end_step
        for each in self.kept:
            if each.step >= self.end_step and len(events) < most:
                events += [(shift, 0) for shift in shifts(each.step - step)] + [(each.event, each.velocity)]
                step = each.step
        return events[:most]


@dataclass(frozen=True)
class Written:
    """A note that was composed: family, pitch, velocity level (1 to 16), the steps of its onset and end, and whether it
    belongs to a chord. Drums end where they begin.
    """

    family: int
    pitch: int
    level: int
    on: int
    off: int
    in_chord: bool


def shifts(steps: int) -> list[int]:
    """The TIMESHIFTs that add up to a number of steps, the full ones first."""
    full, rest = divmod(max(steps, 0), v.MAX_SHIFT_STEPS)
    return [v.SHIFT_BASE + v.MAX_SHIFT_STEPS] * full + ([v.SHIFT_BASE + rest] if rest else [])


class Rewriter(Writer):
    """A part of a piece that is being composed.

    Args:
        conditions: Those of the whole piece, in the time of the gap.
        recipe: The composing choices. The tempo is that of the gap, and chords come exactly on the boundaries.
        rng: Draws the events.
        mixture: As of `Writer`.
        plan: The form of the whole piece, in the time of the gap.
        gap: What to compose.

    """

    grammar: FixedGrammar

    def __init__(
        self, conditions: Conditions, recipe: Recipe, rng: np.random.Generator, mixture: Mixture | None = None,
        plan: Plan | None = None, *, gap: Gap,
    ) -> None:  # fmt: skip
        self._gap = gap
        self._velocity: int | None = None  # that of the latest event, if it is fixed
        self._fixed = deque(each.velocity for each in gap.within)
        begun = recipe.count_in or len(gap.kept) > 0
        recipe = replace(recipe, tempo_qpm=gap.nominal_qpm, hits="exact", count_in=begun)
        super().__init__(conditions, recipe, rng, mixture, plan)
        families = {int(v.FAMILY[each.event]) for each in gap.kept if v.KIND[each.event] == v.K_ON} | gap.families
        self.count = v.MORE if len(families) >= 3 else v.FEWER
        self.prime = None  # the song's own notes come before the part
        self._feedback = MoodFeedback(0.0, 0.0)  # its moods are those of music that stays
        self._own = [False]  # of each event, whether it was composed here
        for each in gap.before:
            for shift in shifts(each.step - self.grammar.step):
                self.keep(shift)
            self.keep(each.event, each.velocity)
        for shift in shifts(gap.begin_step - self.grammar.step):
            self.keep(shift)

    def _new_grammar(
        self, end_step: int, boundaries: FloatArray, beat_steps: int | None, bars: tuple[int, ...]
    ) -> FixedGrammar:
        gap = self._gap
        assert beat_steps == gap.beat_steps, "the tempo of a gap is one that the grid can hold"
        fixed = [(each.step, each.event) for each in gap.kept if each.step >= gap.begin_step]
        return FixedGrammar(
            self.recipe, gap.end_step, fixed, boundaries=gap.boundaries,
            beat_steps=gap.beat_steps, families=gap.families, closes=gap.closes,
        )  # fmt: skip

    @property
    def share(self) -> float:
        """The share of the part that is written."""
        begin, end = self._gap.begin_step, self._gap.end_step
        return 1.0 if self.done else (self.grammar.step - begin) / (end - begin)

    def take(self, event: int) -> None:
        """Take the next event, which the grammar must allow; END ends the part, not the piece."""
        self._velocity = self._fixed.popleft() if self.grammar.is_fixed(event) else None
        self.grammar.accept(event)
        if event == v.END:
            self.done = True
        else:
            self._own.append(self._velocity is None)
            self._follow(event)

    def keep(self, event: int, velocity: int = 0) -> None:
        """Take an event that stays, before or after the part."""
        self.done = False
        self._own.append(False)
        self.grammar.keep(event)
        self._follow(event)
        self.velocities[-1] = velocity

    def write(self, logits: npt.NDArray[np.float32], state: FloatArray | None = None) -> None:
        """Sample the next event; nothing once the part has ended."""
        if not self.done:
            super().write(logits, state)

    def write_velocity(self, logits: npt.NDArray[np.float32]) -> None:
        """Sample the velocity of the latest event, unless it is fixed."""
        if self._velocity is not None:
            self.velocities[-1] = self._velocity
        elif not self.done:
            super().write_velocity(logits)

    def with_rng(self, rng: np.random.Generator) -> Rewriter:
        """The same from here on, with other draws."""
        import copy

        twin = copy.deepcopy(self, {id(self.rng): rng})
        twin.rng = rng
        return twin

    def notes(self) -> list[Written]:
        """The notes that were composed."""
        found: list[Written] = []
        sounding: dict[int, tuple[int, int, bool]] = {}
        step, chord_step = 0, -1
        for event, velocity, own in zip(self.ids, self.velocities, self._own, strict=True):
            kind = v.KIND[event]
            if kind == v.K_TIMESHIFT:
                step += int(v.VALUE[event])
            elif kind == v.K_CHORD:
                chord_step = step
            elif own and kind == v.K_ON:
                family = int(v.FAMILY[event])
                in_chord = step == chord_step and family in self.grammar.state.chord_families
                if family == v.DRUMS:
                    found.append(Written(family, int(v.VALUE[event]), velocity, step, step, False))
                else:
                    sounding[event] = (step, velocity, in_chord)
            elif own and kind == v.K_OFF:
                on, level, in_chord = sounding.pop(PARTNER[event])
                found.append(Written(int(v.FAMILY[event]), int(v.VALUE[event]), level, on, step, in_chord))
        assert not sounding, "a note of the part has no end"
        return found

    def _without_notes(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        left = super()._without_notes(allowed)
        due = self.grammar.due_event()
        if due is not None:
            left[due] = allowed[due]
        return left

    def _lean(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What is due gets the probability of all that could only come later."""
        due = self.grammar.due_event()
        if due is None:
            return logits
        later = logits[ORDER >= ORDER[due]].astype(np.float64)
        leaning = logits.copy()
        leaning[due] = np.log(np.exp(later - later.max()).sum()) + later.max()
        if due == v.CHORD:  # sampling makes chords rarer; this one is not sampled
            leaning[due] -= self._chord_bias
        return leaning
