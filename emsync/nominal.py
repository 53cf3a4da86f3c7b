"""A MIDI file in the time that music is composed in, and back.

    time = NominalTime.of(song, begin_q, end_q)
    kept = kept_events(song, stays, time)        # what stays, as the model's events
    time.tick(step)                              # where a composed event goes in the file

In nominal time every quarter note of the file has the same whole number of steps, whatever its tempo map says: bars and
beats stay what they are, and a sixteenth of the file is a sixteenth of the model's. The tempo is the mean one of the
part that is composed. What stays is rounded to steps only for the model to read; the file keeps its ticks.

Conventions: `_q` are quarter notes from the file's beginning, steps are those of 8 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.columns import FloatArray, IntArray
from emsync.grammar.tables import PLACE, TICKS
from emsync.midi_edit import BoolArray, Part, Song
from emsync.rewriter import Kept
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tempo_plan import beat_of
from emsync.tokenizer.events import bars_to_steps, encode
from emsync.tokenizer.families import family_of, has_sound

#: The shortest and the longest quarter note of nominal time, in steps: 234 and 46 quarter notes a minute, which the
#: recipe allows. Files may be slower or faster; they are composed in the nearest of these.
SHORTEST_BEAT, LONGEST_BEAT = 32, 164
#: A place in a bar this near to a 24th of a quarter note, in steps, is on it.
_ON_TICK: Final = 0.5 + 1e-9


@dataclass(frozen=True, eq=False)
class NominalTime:
    """The steps of a file.

    Attributes:
        song: The file.
        beat_steps: The length of a quarter note, a multiple of 4.
        bars_q: (M,) Where its bars begin, increasing.

    """

    song: Song
    beat_steps: int
    bars_q: FloatArray

    @classmethod
    def of(cls, song: Song, begin_q: float, end_q: float) -> NominalTime:
        """The time for a part of a file: its quarter notes are as long as those of the part are on average."""
        length_s = float(np.diff(song.seconds_at([begin_q, end_q]))[0])
        beat_steps = beat_of(60 * (end_q - begin_q) / max(length_s, v.STEP_S))
        bars_q = song.quarters_at_s(song.score.bars.start_s)
        return cls(song, min(max(beat_steps, SHORTEST_BEAT), LONGEST_BEAT), bars_q)

    def step(self, quarters: float) -> int:
        """Quarter notes to the nearest step."""
        return round(quarters * self.beat_steps)

    def nominal_s(self, times_s: npt.ArrayLike) -> FloatArray:
        """Seconds of the file to seconds of nominal time, any shape."""
        return np.asarray(self.song.quarters_at_s(times_s) * (self.beat_steps * v.STEP_S))

    def quarters(self, step: int) -> float:
        """A step in quarter notes. Where it is a 24th of a quarter note in its bar, to within rounding, it is exactly
        that.
        """
        at = step / self.beat_steps
        bar_q = float(self.bars_q[max(int(np.searchsorted(self.bars_q, at + 1e-6, side="right")) - 1, 0)])
        ticks = (at - bar_q) * TICKS
        on_tick = abs(round(ticks) - ticks) * self.beat_steps / TICKS <= _ON_TICK
        return bar_q + round(ticks) / TICKS if on_tick else at

    def tick(self, step: int) -> int:
        """A step in ticks of the file."""
        return round(float(self.song.ticks_at(self.quarters(step))))


def family_of_part(part: Part) -> int | None:
    """The family of a part; None for effects, which the model does not play."""
    return family_of(part.program, part.is_drum)


def families_of_notes(song: Song) -> IntArray:
    """(N,) The family of each note; -1 for what the model does not play: effects, and drums without a sound."""
    kinds, which = np.unique(song.program << 1 | song.drum, return_inverse=True)
    table = [family_of(int(kind) >> 1, bool(kind & 1)) for kind in kinds]
    family = np.array([-1 if each is None else each for each in table], dtype=np.int64)[which]
    return np.where(has_sound(np.maximum(family, 0), song.pitch), family, -1)


def kept_events(
    song: Song, stays: BoolArray, time: NominalTime, context_velocity: IntArray | None = None
) -> tuple[Kept, ...]:
    """The bars of a file and those of its notes (N,) that stay, as events in nominal time.

    context_velocity: (N,) the velocities that the model reads, if not those of the file.
    """
    kinds, which = np.unique(song.program << 1 | song.drum, return_inverse=True)
    scale = time.beat_steps * v.STEP_S
    start_s = song.quarters(song.on[stays]) * scale
    # No note may end in the step where it begins.
    end_s = np.maximum(song.quarters(song.off[stays]) * scale, start_s + v.STEP_S)
    bars = song.score.bars
    loud = song.velocity if context_velocity is None else context_velocity
    score = Score(
        tuple(Instrument("", int(kind) >> 1, bool(kind & 1)) for kind in kinds), which[stays],
        song.pitch[stays], loud[stays], start_s, end_s, TempoMap.constant(60 / scale),
        Bars(time.bars_q * scale, bars.numerator, bars.denominator),
    )  # fmt: skip
    # Parts of a last bar that is too long for one BAR count, too, though nothing that stays may sound in them.
    end = time.step(float(song.quarters(song.end))) - 1
    last = max(time.step(float(time.bars_q[-1])), round(score.duration_s / v.STEP_S), end)
    steps, halves = bars_to_steps(score, last, last)
    kept = [Kept(step, v.BAR_BASE + half) for step, half in zip(steps.tolist(), halves.tolist(), strict=True)]
    events = encode(score)
    step = 0
    for event, velocity in zip(events.ids.tolist(), events.velocities.tolist(), strict=True):
        step += int(v.SHIFT_STEPS[event])
        if v.KIND[event] in (v.K_ON, v.K_OFF, v.K_CHORD):
            kept.append(Kept(step, event, velocity))
    kept.sort(key=lambda each: (each.step, PLACE[each.event]))
    return tuple(kept)
