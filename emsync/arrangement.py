"""Which family plays how much: each piece has an arrangement, as real songs have.

The model alone lets the bass play in one bar of seven, where most real songs have it in every bar, and gives the
strings twice their share (docs/decisions/0036-arrangements.md). So each piece draws an arrangement: what share of its
notes each family has. While a family has less than its share, its notes become likelier, and those of the others
less likely, so that there are as many notes as before.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

FloatArray = npt.NDArray[np.float64]
#: Shares of notes (drums, piano, guitar, bass, strings), and how often they are found where arousal is -0.7, 0
#: and 0.7: ten clusters of 3,494 stretches of 16 s of 1,500 training songs (k-means of the square roots).
ARRANGEMENTS: Final = (
    ((0.33, 0.22, 0.20, 0.09, 0.16), (0.214, 0.214, 0.175)),
    ((0.40, 0.29, 0.00, 0.10, 0.21), (0.213, 0.175, 0.147)),
    ((0.34, 0.01, 0.38, 0.10, 0.17), (0.112, 0.137, 0.123)),
    ((0.30, 0.24, 0.34, 0.11, 0.01), (0.055, 0.130, 0.147)),
    ((0.35, 0.01, 0.48, 0.15, 0.01), (0.062, 0.099, 0.146)),
    ((0.41, 0.43, 0.02, 0.13, 0.01), (0.064, 0.066, 0.098)),
    ((0.53, 0.01, 0.02, 0.15, 0.29), (0.096, 0.068, 0.053)),
    ((0.15, 0.10, 0.01, 0.03, 0.71), (0.044, 0.038, 0.050)),
    ((0.02, 0.60, 0.05, 0.11, 0.22), (0.077, 0.035, 0.029)),
    ((0.01, 0.06, 0.64, 0.09, 0.20), (0.064, 0.039, 0.032)),
)
#: The arousals that the odds are of.
_AROUSALS: Final = (-0.7, 0.0, 0.7)
#: Notes are forgotten with this time constant.
MEMORY_S: Final = 3.0
#: As many notes count as played to measure before the first one.
PRIOR_NOTES: Final = 8.0
#: A family with a smaller share than this is left out, as far as the model and the grammar can do without it.
LEAST_SHARE: Final = 0.025
#: The largest bias, in nats.
MOST: Final = 4.0


def drawn(arousal: float | None, rng: np.random.Generator) -> FloatArray:
    """(families,) One of the `ARRANGEMENTS`, as often as it is found at this arousal, in [-1, 1]; None or NaN: any."""
    at = 0.0 if arousal is None or math.isnan(arousal) else arousal
    chances = np.array([np.interp(at, _AROUSALS, odds) for _, odds in ARRANGEMENTS])
    return np.array(ARRANGEMENTS[rng.choice(len(chances), p=chances / chances.sum())][0])


class Arrangement:
    """What share of the notes each family has had lately, and what share it should have.

    Attributes:
        shares: (families,) what it should have, summing to 1; 0 for a family that is left out.

    """

    def __init__(self, strength: float, shares: FloatArray) -> None:
        """`strength` is above 0; `shares` (families,) are not negative, and small ones leave a family out."""
        shares = np.where(shares < LEAST_SHARE * shares.sum(), 0.0, shares)
        self.shares: FloatArray = shares / shares.sum()
        self._strength = strength
        self._counts = np.zeros(len(v.FAMILIES))
        self._step = 0

    def strike(self, family: int, step: int) -> None:
        """A note of a family begins at `step`."""
        self._forget(step)
        self._counts[family] += 1

    def biases(self, step: int) -> npt.NDArray[np.float32]:
        """(families,) What to add to the logits of each family's notes at `step`."""
        self._forget(step)
        expected = self.shares * (self._counts.sum() + PRIOR_NOTES)
        found = self._counts + self.shares * PRIOR_NOTES
        ratio = np.divide(expected, found, out=np.zeros_like(found), where=expected > 0)
        with np.errstate(divide="ignore"):  # a family that is left out
            return np.clip(self._strength * np.log(ratio), -MOST, MOST).astype(np.float32)

    def _forget(self, step: int) -> None:
        if step > self._step:
            self._counts *= math.exp((self._step - step) * v.STEP_S / MEMORY_S)
            self._step = step
