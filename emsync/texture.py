"""Biases towards textures as in real songs: fewer notes struck again, fewer between eighths, fewer dissonances.

A model that repeats what it has just played strikes the same pitches again twice as often as real songs do, drifts off
the beat, and keeps too many pitches sounding. The constants are about the differences of log odds between real songs
and pieces composed without these biases (docs/decisions/0041-textures.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import profiles
from emsync import vocabulary as v
from emsync.profiles import PITCHED

#: What a note loses if its family struck the same pitch when it last struck anything, by family. Drums may repeat.
AGAIN: Final = {v.PIANO: 0.8, v.GUITAR: 0.5, v.BASS: 0.35, v.STRINGS: 0.8}
#: What a pitch loses while another sounds a semitone away, or a whole tone, in whatever octave.
CLASH: Final = (0.6, 0.3)
#: How much of what pitched notes lose together they get back together: with nothing the music thins out, and with all
#: of it the notes that were struck again give way to dissonances.
KEPT: Final = 0.5
#: What all notes lose on the second and fourth sixteenths of a beat, and gain on eighths.
ODD: Final = 0.5
EIGHTH: Final = 0.15
#: What the end of a note loses within this many sixteenths, and gains for every beat beyond these.
SHORT, SHORT_SIXTEENTHS = 0.4, 1.5
LONG, LONG_BEATS = 1.5, 2.0
_ONS: Final = v.KIND == v.K_ON
_CLASS: Final = v.VALUE[PITCHED] % 12


class Texture:
    """Remembers what each family struck last, and adds the biases, times a strength.

    Args:
        strength: Of the biases of this module.
        profiled: Of those of `profiles`.

    """

    def __init__(self, strength: float, profiled: float = 0.0) -> None:
        self._strength, self._profiled = strength, profiled
        self._struck: dict[int, tuple[int, list[int]]] = {}  # by family: when it struck last, and which ONs
        self._before: dict[int, list[int]] = {}  # by family: the ONs of the moment before that one
        self._even = profiles.Evenness()

    def strike(self, on: int, step: int) -> None:
        """A note begins at `step`."""
        family = int(v.FAMILY[on])
        if family not in AGAIN:
            return
        self._even.strike(int(v.VALUE[on]))
        last, struck = self._struck.get(family, (-1, []))
        if last == step:
            struck.append(on)
        else:
            self._before[family], self._struck[family] = struck, (step, [on])

    def lean(
        self,
        logits: npt.NDArray[np.float32],
        allowed: npt.NDArray[np.bool_],
        since: Mapping[int, int],
        step: int,
        beat_steps: float,
        sixteenths: float,
    ) -> npt.NDArray[np.float32]:
        """Logits (vocabulary,) with the biases; a copy, unless both strengths are 0.

        Args:
            logits: (vocabulary,) the model's.
            allowed: (vocabulary,) which events may come.
            since: The step at which each sounding note began, by its ON.
            step: The clock.
            beat_steps: A quarter note in steps.
            sixteenths: How many sixteenths have passed since the bar line; NaN between sixteenths.

        """
        if not (self._strength or self._profiled):
            return logits
        bias = np.zeros(v.SIZE, dtype=np.float32)
        for family, before in self._last_chords(step):
            bias[before] -= AGAIN[family]
        bias[PITCHED] -= _clashes(since)[_CLASS]
        for on, begun in since.items():
            beats = (step - begun) / beat_steps
            if beats > LONG_BEATS:
                bias[v.PARTNER[on]] += LONG * (beats - LONG_BEATS)
            elif 4 * beats < SHORT_SIXTEENTHS:
                bias[v.PARTNER[on]] -= SHORT
        leaning = logits + np.float32(self._strength) * bias
        if self._profiled:
            leaning += np.float32(self._profiled) * self._of_profiles(since, step, beat_steps)
        notes = allowed & PITCHED
        if notes.any():
            lost = np.logaddexp.reduce(logits[notes]) - np.logaddexp.reduce(leaning[notes])
            leaning[PITCHED] += np.float32(KEPT) * lost
        if sixteenths % 2 == 1:
            leaning[_ONS] -= self._strength * ODD
        elif sixteenths % 2 == 0:
            leaning[_ONS] += self._strength * EIGHTH
        if self._profiled and not math.isnan(sixteenths):
            leaning += np.float32(self._profiled) * profiles.at_place(int(sixteenths))
        return leaning

    def _last_chords(self, step: int) -> Iterator[tuple[int, list[int]]]:
        """Each family that has played, and the ONs of its latest moment before `step`."""
        for family, (last, struck) in self._struck.items():
            yield family, self._before[family] if last == step else struck

    def _of_profiles(self, since: Mapping[int, int], step: int, beat_steps: float) -> npt.NDArray[np.float32]:
        """(vocabulary,) What steps of melodies and ends of notes gain."""
        bias = np.zeros(v.SIZE, dtype=np.float32)
        for family, before in self._last_chords(step):
            if before and family in profiles.STEPPING:
                near, gain = profiles.after(max(before))
                bias[near] += gain
        for on, begun in since.items():
            bias[v.PARTNER[on]] += profiles.at_end(int(v.FAMILY[on]), (step - begun) / beat_steps)
        bias[PITCHED] += self._even.bias()[_CLASS]
        return bias


def _clashes(sounding: Mapping[int, int]) -> npt.NDArray[np.float32]:
    """(12,) What each pitch class loses to the sounding ONs (`CLASH`), which are pitched: drums do not sound on."""
    lost = np.zeros(12, dtype=np.float32)
    for on in sounding:
        for semitones, loss in enumerate(CLASH, start=1):
            for near in (v.VALUE[on] - semitones, v.VALUE[on] + semitones):
                lost[near % 12] = max(lost[near % 12], loss)
    return lost
