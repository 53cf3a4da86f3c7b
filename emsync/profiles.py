"""Where in a bar notes of real songs begin, how long they last, and how far melodies step, as biases for the logits.

The tables are about the differences of log odds between real songs and pieces composed without them
(docs/decisions/0062-profiles.md). `texture.Texture` adds them.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

Float32 = npt.NDArray[np.float32]

#: What notes gain on each sixteenth of a bar of four beats: drums on the backbeat, and all fewer between the eighths of
#: its second half.
DRUM_PLACES: Final = (
    0.2, 0.9, 0.0, 0.05, 0.5, -0.5, -0.1, 0.3, 0.25, -0.55, -0.25, -0.4, 0.3, -0.4, -0.75, -0.65,
)  # fmt: skip
PITCHED_PLACES: Final = (
    0.35, 0.6, -0.15, 0.3, 0.15, -0.3, 0.05, 0.3, 0.25, -0.45, -0.15, 0.1, -0.15, -0.2, -0.5, -0.45,
)  # fmt: skip
#: General MIDI's notes of drums that are no kick, snare or hi-hat.
TOMS, CYMBALS = (41, 43, 45, 47, 48, 50), (49, 51, 52, 53, 55, 57, 59)
PERCUSSION: Final = (54, 56, 58, *range(60, 82))
#: What they gain: without it toms are played twice as often as in songs, and congas, shakers and the like too seldom.
DRUM_KINDS: Final = ((TOMS, -0.35), (CYMBALS, 0.1), (PERCUSSION, 0.35))
#: A pitch class with more than this share of the latest notes loses `DOMINANT` times the logarithm of how much more;
#: a note's weight falls by `FADING` with every later one.
SHARE, DOMINANT, FADING = 0.2, 1.0, 0.99
#: What the end of a note gains up to each of these lengths, in sixteenths: in songs more last a quarter or a half.
ENDS: Final = ((1.3, 0.0), (2.05, -0.1), (3.05, -0.5), (4.05, 0.8), (8.05, 0.8), (12.05, -0.3))
#: What it gains for every beat beyond `LONG_BEATS`, besides what `texture.LONG` gives, except in strings.
LONG, LONG_BEATS = 1.5, 2.0
#: What a note gains so many semitones from the highest one that its family struck last.
STEPS: Final = {
    -12: 0.2, -7: -0.3, -6: -0.6, -5: -0.3, -4: -0.35, -3: -0.15, -1: 0.45,
    12: 0.2, 7: -0.25, 6: -0.4, 5: -0.15, 4: -0.4, 3: -0.1, 1: 0.45,
}  # fmt: skip
#: Families whose melodies step so; a bass leaps.
STEPPING: Final = (v.PIANO, v.GUITAR, v.STRINGS)

_ONS: Final = v.KIND == v.K_ON
_DRUMS: Final = _ONS & (v.FAMILY == v.DRUMS)
PITCHED: Final = _ONS & ~_DRUMS


def _of_kinds() -> Float32:
    bias = np.zeros(v.SIZE, dtype=np.float32)
    for notes, gain in DRUM_KINDS:
        bias[v.ON_BASE[v.DRUMS] + np.array(notes)] = gain
    return bias


_KINDS: Final = _of_kinds()


class Evenness:
    """The shares of the pitch classes among the latest notes, and what the dominant ones lose."""

    def __init__(self) -> None:
        self._weights = np.full(12, 1.0)

    def strike(self, pitch: int) -> None:
        """A pitched note begins."""
        self._weights *= FADING
        self._weights[pitch % 12] += 1.0

    def bias(self) -> Float32:
        """(12,) What each pitch class loses, at most 0."""
        return (-DOMINANT * np.log(np.maximum(self._weights / self._weights.sum() / SHARE, 1.0))).astype(np.float32)


@cache
def at_place(place: int) -> Float32:
    """(vocabulary,) What notes gain on a sixteenth of the bar, from 0; after four beats the table begins anew."""
    bias = _KINDS.copy()
    bias[_DRUMS] += DRUM_PLACES[place % len(DRUM_PLACES)]
    bias[PITCHED] = PITCHED_PLACES[place % len(PITCHED_PLACES)]
    bias.setflags(write=False)
    return bias


def at_end(family: int, beats: float) -> float:
    """What the end of a note gains that has sounded for some beats."""
    gain = next((gain for sixteenths, gain in ENDS if 4 * beats <= sixteenths), 0.0)
    return gain if family == v.STRINGS else gain + LONG * max(0.0, beats - LONG_BEATS)


@cache
def after(top: int) -> tuple[npt.NDArray[np.int64], Float32]:
    """The ONs around the highest one of a chord, and what each of them gains."""
    found = {
        top + step: gain for step, gain in STEPS.items()
        if 0 <= top + step < v.SIZE and _ONS[top + step] and v.FAMILY[top + step] == v.FAMILY[top]
    }  # fmt: skip
    return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float32)
