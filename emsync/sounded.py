"""How long each pitch class has sounded of late in a piece that is being composed.

Keys are judged by it: its correlation with a key's profile says how well it fits (`emsync.controls.PROFILES`).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.controls import PROFILES

FloatArray = npt.NDArray[np.float64]

#: (SIZE,) Which events begin a pitched note; and the pitch class of each event, -1 without one.
PITCHED_ONS: Final = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
CLASS: Final = np.where(v.VALUE >= 0, v.VALUE % 12, -1)
#: Less than so many seconds of notes say nothing.
LEAST_S: Final = 0.5
#: By how much the correlation with a requested key is to lead the others.
MARGIN: Final = 0.2


class Sounded:
    """What sounded, forgotten exponentially. Drums do not count.

    Args:
        memory_s: The time constant.

    Attributes:
        seconds: (12,) for each pitch class, the latest ones most.

    """

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._sounding: FloatArray = np.zeros(12)  # how many notes of each pitch class sound
        self.seconds: FloatArray = np.zeros(12)

    def accept(self, event: int) -> None:
        """Take the next event."""
        kind = v.KIND[event]
        if kind == v.K_TIMESHIFT:
            left = math.exp(-int(v.VALUE[event]) * v.STEP_S / self._memory_s)
            self.seconds = self.seconds * left + self._memory_s * (1 - left) * self._sounding
        elif kind in (v.K_ON, v.K_OFF) and v.FAMILY[event] != v.DRUMS:
            self._sounding[v.VALUE[event] % 12] += 1 if kind == v.K_ON else -1

    def forget(self) -> None:
        """Begin anew; what sounds now goes on."""
        self.seconds = np.zeros(12)

    def fits(self) -> FloatArray | None:
        """(24,) Its correlation with the profile of every key; None where too little has sounded."""
        centred = self.seconds - self.seconds.mean()
        length = float(np.linalg.norm(centred))
        if self.seconds.sum() < LEAST_S:
            return None
        return PROFILES @ centred / length if length else np.zeros(len(PROFILES))


def towards(fits: FloatArray, key: int, *, gain: float, most: float) -> FloatArray:
    """(12,) What each pitch class gains so that a key is heard.

    Args:
        fits: (24,) how well what sounded fits every key: correlations.
        key: 0 to 23.
        gain: What is added for a lead over the other keys that is 1 too small, times how much a pitch class tells the
            key from the best of them.
        most: At most this is added.

    """
    rival = int(np.where(np.arange(len(fits)) == key, -np.inf, fits).argmax())
    lacking = max(MARGIN - (fits[key] - fits[rival]), 0.0)
    return np.asarray(np.clip(gain * lacking * (PROFILES[key] - PROFILES[rival]), -most, most))
