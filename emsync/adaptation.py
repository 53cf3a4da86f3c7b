"""A model's output layer that learns from the piece as it goes.

Dynamic evaluation (Krause et al. 2018) of the output layer alone. After every event, a correction D (vocabulary, width)
of the output matrix takes one step down the gradient of the event's negative log probability:

    p = softmax(logits + D u)
    G += (onehot(event) - p)^2
    D += RATE * (onehot(event) - p) u^T / sqrt(G)

u is the hidden state behind the logits, scaled to length 1. G (vocabulary,) begins with `FIRST` and gives each event id
a step size of its own (Adagrad). No gradient goes through the network, so ONNX Runtime's hidden states are enough.
Composing and evaluating call the same functions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

FloatArray = npt.NDArray[np.floating]
Float32 = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.integer]

#: Chosen on songs that no figure is about (docs/decisions/0028).
RATE: Final = 1.0
FIRST: Final = 4.0
#: Ids with a smaller error than this are left as they are; nearly all have one.
_LEAST_ERROR: Final = 1e-3


class Adaptation:
    """The correction of one piece. `adjust` and `learn` take turns."""

    def __init__(self) -> None:
        self._matrix: Float32 = np.empty((0, 0), dtype=np.float32)  # D; made when the width is known
        self._squares: Float32 = np.full(v.SIZE, FIRST, dtype=np.float32)  # G
        self._unit: Float32 | None = None  # u of the next event
        self._p: Float32 = np.empty(0, dtype=np.float32)  # its probabilities

    def adjust(self, logits: FloatArray, state: FloatArray) -> Float32:
        """Logits (SIZE,) of the next event, with what was learned from the piece.

        Args:
            logits: (SIZE,) the model's.
            state: (width,) the hidden state behind them.

        """
        if self._matrix.shape[1] != len(state):
            self._matrix = np.zeros((v.SIZE, len(state)), dtype=np.float32)
        row: Float32 = np.asarray(state, dtype=np.float32)
        unit: Float32 = row / np.float32(max(float(np.sqrt(row @ row)), 1e-12))
        adjusted: Float32 = np.asarray(logits, dtype=np.float32) + self._matrix @ unit
        self._unit = unit
        p = np.exp(adjusted - adjusted.max())
        self._p = p / p.sum()
        return adjusted

    def learn(self, event: int) -> None:
        """Learn from the event that came. Without an `adjust` before it, there is nothing to learn from."""
        if self._unit is None:
            return
        error = -self._p
        error[event] += 1
        rows = np.flatnonzero(np.abs(error) > _LEAST_ERROR)
        self._squares[rows] += error[rows] ** 2
        step = RATE * error[rows] / np.sqrt(self._squares[rows])
        self._matrix[rows] += step[:, None] * self._unit
        self._unit = None

    def score(self, logits: FloatArray, states: FloatArray, ids: IntArray) -> npt.NDArray[np.float64]:
        """The probability (N,) that each event had, learning from one after the other.

        Args:
            logits: (N, SIZE) the model's.
            states: (N, width) behind them.
            ids: (N,) the events.

        """
        out = np.zeros(len(ids))
        for t, event in enumerate(ids.tolist()):
            self.adjust(logits[t], states[t])
            out[t] = self._p[event]
            self.learn(event)
        return out
