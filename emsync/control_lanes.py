"""Controls as the lanes of a model: how each is read off a control, and off a song that is trained on.

A lane is read off a `Control` at a time, in training and in composing alike. In training the controls are the song's
own, as `emsync.controls` measures them in its score. Conventions: times in seconds, events in steps of 8 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import controls
from emsync.control_curves import KINDS, REST, Control, ControlCurves
from emsync.errors import InputError
from emsync.tokenizer.events import decode
from emsync.vocabulary import STEP_S

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

#: So many dB are 1 as a lane; real songs differ by 4.5 dB, and their moments by 3.6 dB.
FULL_DB: Final = 20.0
#: The rhythm to come is that of so much later: of the next beat, at 120 beats a minute.
AHEAD_S: Final = 0.5
#: Held controls change on the grid of events, which their times are rounded to.
_HALF_STEP_S: Final = STEP_S / 2


@dataclass(frozen=True, eq=False)
class SongEvents:
    """A song that is trained on: ids, velocities (T,), and steps (T,), the clock after each event."""

    ids: IntArray
    velocities: IntArray
    steps: IntArray

    @cached_property
    def controls(self) -> ControlCurves:
        """The controls of its score; none if it has no notes."""
        try:
            return controls.of_score(decode(self.ids, self.velocities))
        except InputError:
            return ControlCurves({})


def held(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) The value that holds after the events at the times (T,)."""
    return control.at(times_s + _HALF_STEP_S)


def ahead(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) The value that will hold `AHEAD_S` later."""
    return held(control, times_s + AHEAD_S)


def next_note(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) Of a melody, the next pitch class that it comes to after the times (T,), which may be the same again.

    `REST` where none comes any more, NaN where a gap comes first.
    """
    points = np.flatnonzero(control.values != REST)  # NaN is none
    following = np.searchsorted(control.times_s[points], times_s + _HALF_STEP_S, side="right")
    return np.append(control.values[points], REST)[following]


def loudness(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) Intensity as a level in [-1, 1]: dB by `FULL_DB`."""
    return np.asarray(np.clip(control.at(times_s) / FULL_DB, -1.0, 1.0))


def busyness(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) Density as a level in [-1, 1]: by its logarithm, 0 for 9 notes a second."""
    return np.asarray(2 * np.log1p(control.at(times_s)) / np.log1p(KINDS["density"].high) - 1)


def change(control: Control, times_s: FloatArray) -> FloatArray:
    """(T,) Change as a level in [-1, 1]."""
    return 2 * control.at(times_s) - 1


def moved_class(values: npt.NDArray[np.floating], semitones: int) -> npt.NDArray[np.floating]:
    """Pitch classes moved by `semitones`; rests and gaps stay."""
    return np.where(values == REST, values, (values + semitones) % 12)


def moved_key(values: npt.NDArray[np.floating], semitones: int) -> npt.NDArray[np.floating]:
    """Keys, 0 to 23, moved by `semitones`; gaps stay."""
    return values // 12 * 12 + (values + semitones) % 12
