"""Bars and tempo: where bars start, and how fast quarter notes pass.

Conventions
- Times are seconds from the beginning (`*_s`, float64), musical lengths quarter notes (`*_quarters`), tempo quarter
  notes a minute (`*_qpm`).
- Values are checked when they are made and never change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import tempo_fit
from emsync.columns import ByValue, FloatArray, IntArray, floats, integers
from emsync.errors import InputError
from emsync.tempo_fit import DEFAULT_QPM as DEFAULT_QPM

MAX_QPM: Final = 100_000.0
#: Meters: the largest numerator a MIDI file can hold, and the denominators a notation program can show.
MAX_NUMERATOR: Final = 255
DENOMINATORS: Final = (1, 2, 4, 8, 16, 32, 64)
#: More bars than this come from a damaged meter or tempo.
MAX_BARS: Final = 1_000_000
_LATEST_BAR_S = 2e5


@dataclass(frozen=True, eq=False)
class Bars(ByValue):
    """Bars, one entry each; all arrays have shape (B,).

    - start_s: where it starts, in seconds; >= 0, strictly increasing.
    - numerator: 1 to 255. denominator: 1, 2, 4, ... or 64.

    Music before the first bar has no bars.
    """

    start_s: FloatArray
    numerator: IntArray
    denominator: IntArray

    def __init__(self, start_s: npt.ArrayLike, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> None:
        start = floats("bar start_s", start_s, "seconds")
        above = integers("bar numerator", numerator, 1, MAX_NUMERATOR, "split longer bars")
        below = integers("bar denominator", denominator, 1, DENOMINATORS[-1], "use a power of two")
        if not len(start) == len(above) == len(below):
            raise InputError(
                f"bars have {len(start)} starts, {len(above)} numerators and {len(below)} denominators; give each one"
            )
        odd = np.flatnonzero(~np.isin(below, DENOMINATORS))
        if len(odd):
            raise InputError(
                f"bar denominator {below[odd[0]]} is not a power of two; a meter ends in 1, 2, 4 ... or 64"
            )
        if len(start) and start[0] < 0:
            raise InputError(f"the first bar starts at {start[0]:g} s, before the beginning; shift the score")
        late = np.flatnonzero(np.diff(start) <= 0)
        if len(late):
            i = late[0]
            raise InputError(f"bar {i + 1} at {start[i + 1]:g} s does not come after bar {i} at {start[i]:g} s; sort")
        object.__setattr__(self, "start_s", start)
        object.__setattr__(self, "numerator", above)
        object.__setattr__(self, "denominator", below)

    @classmethod
    def from_meters(
        cls,
        places: Sequence[float] | FloatArray,
        meters: Sequence[tuple[int, int]],
        end: float,
        to_seconds: Callable[[FloatArray], FloatArray],
        *,
        per_quarter: float = 1.0,
        name: str = "the music",
    ) -> Bars:
        """Bars from meter changes: bar after bar in each meter, until the next change or the end.

        - places (M,): where the meter changes, increasing, the first 0, in any unit with `per_quarter` to a quarter
          note. end: where the music ends, in the same unit.
        - meters: M pairs (numerator, denominator).
        - to_seconds: converts places to seconds.

        A change inside a bar begins a new bar. Raises `InputError`, beginning with `name`, for over a million bars.
        """
        begins = np.asarray(places, dtype=np.float64)
        stops = np.append(begins[1:], max(end, begins[-1]))
        lengths = [4.0 * per_quarter * above / below for above, below in meters]
        counts = [
            max(math.ceil((stop - begin) / length - 1e-6), 1)
            for begin, stop, length in zip(begins, stops, lengths, strict=True)
        ]
        if sum(counts) > MAX_BARS:
            raise InputError(f"{name} has {sum(counts)} bars, over {MAX_BARS}; mend its meter or its tempo")
        starts = [begin + length * np.arange(n) for begin, length, n in zip(begins, lengths, counts, strict=True)]
        above, below = np.repeat(np.array(list(meters)), counts, axis=0).T
        start_s = to_seconds(np.concatenate(starts))
        distinct = np.append(True, np.diff(start_s) > 0)
        return cls(start_s[distinct], above[distinct], below[distinct])

    def __len__(self) -> int:
        return len(self.start_s)

    @cached_property
    def quarters(self) -> FloatArray:
        """The written length of each bar in quarter notes, shape (B,)."""
        return 4.0 * self.numerator / self.denominator


@dataclass(frozen=True, eq=False)
class TempoMap(ByValue):
    """A piecewise constant tempo: from `times_s[i]` on it is `qpm[i]`.

    - times_s (M,): seconds, strictly increasing, the first 0; M >= 1.
    - qpm (M,): quarter notes a minute, over 0 and up to 100,000.

    Quarter note 0 is at 0 s. The first tempo also holds before 0 s, and the last one never ends.
    """

    times_s: FloatArray
    qpm: FloatArray

    def __init__(self, times_s: npt.ArrayLike, qpm: npt.ArrayLike) -> None:
        times = floats("tempo times_s", times_s, "seconds")
        tempi = floats("tempo qpm", qpm, "quarter notes a minute")
        if len(times) != len(tempi) or not len(times):
            raise InputError(f"a tempo map has {len(times)} times and {len(tempi)} tempi; give one or more of each")
        if times[0] != 0:
            raise InputError(f"the first tempo stands at {times[0]:g} s; a tempo map begins at 0 s")
        late = np.flatnonzero(np.diff(times) <= 0)
        if len(late):
            i = late[0]
            raise InputError(f"tempo {i + 1} at {times[i + 1]:g} s does not come after {times[i]:g} s; sort them")
        bad = np.flatnonzero((tempi <= 0) | (tempi > MAX_QPM))
        if len(bad):
            raise InputError(
                f"tempo {bad[0]} is {tempi[bad[0]]:g} quarter notes a minute, not over 0 and up to {MAX_QPM:g}; clip it"
            )
        object.__setattr__(self, "times_s", times)
        object.__setattr__(self, "qpm", tempi)

    def __len__(self) -> int:
        return len(self.times_s)

    @classmethod
    def constant(cls, qpm: float) -> TempoMap:
        """One tempo throughout."""
        return cls([0.0], [qpm])

    @cached_property
    def quarters(self) -> FloatArray:
        """Where the tempo changes, in quarter notes, shape (M,)."""
        return np.concatenate([[0.0], np.cumsum(np.diff(self.times_s) * self.qpm[:-1] / 60.0)])

    def quarters_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """Seconds to quarter notes, any shape. Inverse of `seconds_at`."""
        times = np.asarray(times_s, dtype=np.float64)
        i = np.maximum(np.searchsorted(self.times_s, times, side="right") - 1, 0)
        return np.asarray(self.quarters[i] + (times - self.times_s[i]) * self.qpm[i] / 60.0)

    def seconds_at(self, quarters: npt.ArrayLike) -> FloatArray:
        """Quarter notes to seconds, any shape. Inverse of `quarters_at`."""
        places = np.asarray(quarters, dtype=np.float64)
        i = np.maximum(np.searchsorted(self.quarters, places, side="right") - 1, 0)
        return np.asarray(self.times_s[i] + (places - self.quarters[i]) * 60.0 / self.qpm[i])

    def qpm_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """The tempo in force at each time, any shape."""
        i = np.searchsorted(self.times_s, np.asarray(times_s, dtype=np.float64), side="right") - 1
        return np.asarray(self.qpm[np.maximum(i, 0)])

    @classmethod
    def from_bars(
        cls, bars: Bars, *, tolerance_s: float = 0.004, duration_s: float | None = None
    ) -> tuple[TempoMap, Bars]:
        """The tempo map that bars imply, and the bars moved onto exactly that map.

        - tolerance_s: how far a bar may move, in seconds (> 0).
        - duration_s: where the music ends; only a lone bar needs it.

        Tempo changes are at bar starts only, and there are as few as the tolerance allows. Tempi are round numbers
        where the tolerance allows that, too. In the result bar 0 starts at 0 s and bar i exactly at
        `tempo.seconds_at(sum of the quarter notes before it)`.

        Bars may get other lengths, so that the tempo stays musical:
        - If the first bar starts after 0 s, bars are added in front of it. The first of them is as long as the tempo
          asks: a whole number of eighths, or of the longest shorter note that fits.
        - A bar whose own tempo is outside 20 to 400, or more than 12 % off the tempo around it, gets the nearest
          length in eighths (or in shorter notes, where eighths are too coarse). It is split into bars of its old
          length where that is over 8 quarter notes. If three bars in a row agree on a new tempo within 3 %, that is a
          tempo change instead.
        - A bar too short for that (less than three quarters of a 64th) is joined to its neighbour.
        - The last bar keeps the tempo before it. A lone bar takes its tempo from `duration_s` if that gives 40 to
          240, else 120.

        Raises `InputError`: no bars, a tolerance that is not a positive number, a bar after 200,000 s.
        """
        if not (math.isfinite(tolerance_s) and tolerance_s > 0):
            raise InputError(f"a tolerance of {tolerance_s} s allows no tempo map; give more than 0 s")
        if not len(bars):
            raise InputError("no bars were given, so there is no tempo to find; use TempoMap.constant instead")
        if bars.start_s[-1] > _LATEST_BAR_S:
            raise InputError(
                f"the last bar is at {bars.start_s[-1]:g} s, past {_LATEST_BAR_S:g} s; were they given in milliseconds?"
            )
        meters = list(zip(bars.numerator.tolist(), bars.denominator.tolist(), strict=True))
        typical_qpm = tempo_fit.typical_qpm(bars.start_s, meters, duration_s)
        starts_s, labels = tempo_fit.relabel(bars.start_s, meters, tolerance_s, typical_qpm)
        places = np.concatenate([[0.0], np.cumsum(tempo_fit.lengths_quarters(labels[:-1]))])
        changes, qpm = tempo_fit.fewest_tempi(places, starts_s, tolerance_s, typical_qpm)
        lengths_s = np.diff(places[changes]) * 60.0 / qpm[:-1]
        tempo = cls(np.concatenate([[0.0], np.cumsum(lengths_s)]), qpm)
        return tempo, Bars(tempo.seconds_at(places), [above for above, _ in labels], [below for _, below in labels])
