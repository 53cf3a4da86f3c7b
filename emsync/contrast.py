"""Makes music change where it is asked to, by biases on the model's logits.

    contrast = Contrast(curves["change"])
    contrast.steer(logits, grammar)             # before each event; changes the logits
    contrast.accept(event, grammar)             # after it

`controls.change` compares the second before a moment with the second after it: pitch classes, octaves, drums. When an
event is drawn, the second before is known. Each note has a likeness to it: the cosine between that second and the note
alone. Where more change is asked than on average, notes are less likely the more alike they are, and sounding notes
are likelier to end. Where less is asked, alike notes are likelier, and sounding notes are kept.

Conventions: steps of 8 ms (`vocabulary.STEP_S`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.control_curves import Control
from emsync.controls import CHANGE_S, DRUM_S
from emsync.grammar import Grammar

FloatArray = npt.NDArray[np.floating]

#: What a note that is all of the second before gains or loses where the curve differs from its mean by 1.
PULL: Final = 12.0
#: The columns of what sounds: twelve pitch classes, eleven octaves, and drums.
_COLUMNS: Final = 12 + 11 + 1
_DRUM_STEPS: Final = DRUM_S / v.STEP_S
_PITCHED: Final = np.isin(v.KIND, (v.K_ON, v.K_OFF)) & (v.FAMILY != v.DRUMS)
_DRUMS: Final = (v.KIND == v.K_ON) & (v.FAMILY == v.DRUMS)


def _sounds() -> npt.NDArray[np.float32]:
    """(SIZE, columns) What sounds while each note does; 0 for other events."""
    sounds = np.zeros((v.SIZE, _COLUMNS), dtype=np.float32)
    rows = np.flatnonzero(_PITCHED)
    sounds[rows, v.VALUE[rows] % 12] = 1.0
    sounds[rows, 12 + v.VALUE[rows] // 12] = 1.0
    sounds[_DRUMS, -1] = 1.0
    return sounds


_SOUNDS: Final = _sounds()
#: The same of length 1.
_PARTS: Final = _SOUNDS / np.maximum(np.linalg.norm(_SOUNDS, axis=1, keepdims=True), 1.0)
#: What becomes likelier when a note does: its beginning; and less likely: its end. (SIZE,)
_SIGN: Final = np.where(v.KIND == v.K_OFF, -1.0, 1.0).astype(np.float32)


class Contrast:
    """The control "change" of a piece that is being composed, in the time of its events."""

    def __init__(self, control: Control) -> None:
        self._control = control
        given = control.values[~np.isnan(control.values)]
        self._usual = float(given.mean()) if len(given) else 0.0
        self._open: dict[int, int] = {}  # by ON: when the note that sounds began, in steps
        self._past: deque[tuple[int, float, int]] = deque()  # of the last second: beginning, end, ON

    def accept(self, event: int, grammar: Grammar) -> None:
        """Take the event that came; the grammar has taken it already."""
        kind, step = int(v.KIND[event]), grammar.step
        if kind == v.K_ON and v.FAMILY[event] == v.DRUMS:
            self._past.append((step, step + _DRUM_STEPS, event))
        elif kind == v.K_ON:
            self._open[event] = step
        elif kind == v.K_OFF:
            on = int(v.PARTNER[event])
            if on in self._open:
                self._past.append((self._open.pop(on), step, on))

    def _before(self, step: int, sounding: Collection[int]) -> npt.NDArray[np.float32]:
        """(columns,) What sounded in the second before `step`, of length 1, or 0 where nothing did."""
        since = step - CHANGE_S / v.STEP_S
        self._open = {on: begun for on, begun in self._open.items() if on in sounding}
        while self._past and self._past[0][1] <= since:
            self._past.popleft()
        notes = [*self._past, *((begun, step, on) for on, begun in self._open.items())]
        total = np.zeros(_COLUMNS)
        for begun, end, on in notes:
            total += max(min(end, step) - max(begun, since), 0.0) * _SOUNDS[on]
        length = float(np.linalg.norm(total))
        return (total / length if length else total).astype(np.float32)

    def steer(self, out: FloatArray, grammar: Grammar) -> None:
        """Add to logits (SIZE,) what the control adds to them now; changes them."""
        asked = float(self._control.at(grammar.step * v.STEP_S))
        if np.isnan(asked):
            return
        pull = PULL * self._control.strength * (self._usual - asked)
        out += pull * _SIGN * (_PARTS @ self._before(grammar.step, grammar.sounding))
