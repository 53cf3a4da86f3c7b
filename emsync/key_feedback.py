"""A requested key that is heard: where a piece's pitch classes fit another key better, notes lean away from that one.

A bias against foreign pitches does not make a key: A minor, C major and G major share nearly all of theirs, and which
one is heard depends on how long each pitch class sounds. So the piece is measured while it is composed, as it will be
judged: by the correlation of what sounded with the profiles of Krumhansl and Kessler (`emsync.controls`). Where the
requested key does not lead the others by `sounded.MARGIN`, every pitch class gains by how much it tells that key from
the best of them, which is the gradient of that lead up to a constant.

Conventions: keys as in `emsync.controls`, 0 to 23.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.control_curves import Control
from emsync.grammar import Grammar
from emsync.sounded import CLASS, PITCHED_ONS, Sounded, towards

#: What sounded is forgotten with this time constant. The judge hears four seconds to either side.
MEMORY_S: Final = 4.0
#: What is added for a lead that is 1 too small, times how much a pitch class tells the two keys apart; and at most.
GAIN: Final = 40.0
MOST: Final = 5.0


class KeyFeedback:
    """The control "key" of a piece that is being composed, in the time of its events."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._key = -1  # the one that was requested last, if any
        self._sounded = Sounded(MEMORY_S)

    def accept(self, event: int) -> None:
        """Take the next event."""
        self._sounded.accept(event)

    def steer(self, out: npt.NDArray[np.floating], grammar: Grammar) -> None:
        """Add to logits (SIZE,) what makes the requested key heard; changes them."""
        now = float(self._control.at(grammar.step * v.STEP_S))
        if np.isnan(now):
            return
        if self._key not in (-1, int(now)):  # another key was requested until now
            self._sounded.forget()
        self._key = int(now)
        fits = self._sounded.fits()
        if fits is not None:
            gains = towards(fits, self._key, gain=GAIN, most=MOST)
            out += np.where(PITCHED_ONS, self._control.strength * gains[CLASS], 0.0)
