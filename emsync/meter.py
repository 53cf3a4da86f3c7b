"""The position in the bar, the number of the bar, and the tempo, computed from a piece's own events.

TIMESHIFTs only say how far each event is from the one before, so a model would have to add them up to find the downbeat
of a bar. With these values as lanes it can put the snare on the second quarter, or repeat what it played four bars ago.
REMI (Huang and Yang 2020) writes positions as events; here they are lanes beside the events, and time stays in seconds.

Conventions
- Steps are those of 8 ms (`vocabulary.STEP_S`). Ticks are 24ths of a quarter note.
- The tempo of a bar is that of the bar before it, so the values depend on past events only. That of the first bar has
  to be given; otherwise its positions are NaN. If a piece is composed in a given tempo, it is given for every bar.
- The values of a moment are its position after the bar line (ticks, rounded), the number of the bar (from 0, modulo
  `BARS`), and the length of a sixteenth (steps, rounded). Values beyond the end of a table are clipped to its last one.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

TICKS: Final = 24
#: Sizes of the three tables: a bar is at most eight quarter notes long.
POSITIONS: Final = v.MAX_BAR_HALF_QUARTERS * TICKS // 2
BARS: Final = 8
SIXTEENTHS: Final = 64
N_VALUES: Final = 3

Values = tuple[float, float, float]
NOWHERE: Final[Values] = (math.nan, math.nan, math.nan)
_TICKS_A_SIXTEENTH: Final = TICKS // 4
_IS_BAR: Final = v.KIND == v.K_BAR


def of_events(
    ids: npt.NDArray[np.integer], steps: npt.NDArray[np.integer], first_sixteenth: float | None = None
) -> npt.NDArray[np.float32]:
    """The values (T, 3) of a song from its beginning.

    ids: (T,) its events. steps: (T,) the clock after each.
    first_sixteenth: the length of a sixteenth in the first bar, in steps; None if it is not given.
    """
    bars = np.flatnonzero(_IS_BAR[ids])
    values = np.full((len(ids), N_VALUES), np.nan, dtype=np.float32)
    if not len(bars):
        return values
    first = math.nan if first_sixteenth is None else _in_table(first_sixteenth)
    sixteenth = np.concatenate([[first], lengths(ids, steps)])
    at = np.searchsorted(bars, np.arange(len(ids)), side="right") - 1
    inside = at >= 0
    at = at[inside]
    position = np.rint((steps[inside] - steps[bars][at]) * _TICKS_A_SIXTEENTH / sixteenth[at])
    values[inside, 0] = np.minimum(position, POSITIONS - 1)
    values[inside, 1] = at % BARS
    values[inside, 2] = np.rint(sixteenth)[at]
    return values


def lengths(ids: npt.NDArray[np.integer], steps: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """The length of a sixteenth in every bar of a song but the last, in steps, clipped to 1 … `SIXTEENTHS` - 1."""
    bars = np.flatnonzero(_IS_BAR[ids])
    return (np.diff(steps[bars]) / (2.0 * v.VALUE[ids[bars[:-1]]])).clip(1, SIXTEENTHS - 1)


def _in_table(sixteenth: float) -> float:
    return float(min(max(sixteenth, 1), SIXTEENTHS - 1))


class Meter:
    """The same values, event by event, for a piece that is being composed.

    sixteenth: its length in steps if the tempo is given.
    """

    def __init__(self, sixteenth: float | None = None) -> None:
        self._given = sixteenth is not None
        self._sixteenth = math.nan if sixteenth is None else _in_table(sixteenth)
        self._count, self._step, self._halves = 0, 0, 1

    def begin(self, step: int, half_quarters: int) -> None:
        """A BAR of this many half quarter notes begins at this step."""
        if self._count and not self._given:
            self._sixteenth = _in_table((step - self._step) / (2.0 * self._halves))
        self._count, self._step, self._halves = self._count + 1, step, half_quarters

    def at(self, step: int) -> Values:
        """The values at a step of the latest bar."""
        if not self._count:
            return NOWHERE
        number = float((self._count - 1) % BARS)
        if math.isnan(self._sixteenth):
            return math.nan, number, math.nan
        position = round((step - self._step) * _TICKS_A_SIXTEENTH / self._sixteenth)
        return float(min(position, POSITIONS - 1)), number, float(round(self._sixteenth))
