"""Which family plays how much: each piece has an arrangement, as real songs have.

The model alone lets the bass play in one bar of seven, where most real songs have it in every bar, and gives the
strings twice their share (docs/decisions/0036-arrangements.md). So each piece draws an arrangement: what share of its
notes each family has, and how many notes a second there are. While a family has less than its share, its notes become
likelier, and those of the others less likely, so that there are as many notes as before. While there are fewer notes
than the arrangement has, all notes become likelier (docs/decisions/0052-a-hundred-arrangements.md).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.likeness import Likeness
from emsync.recipe import Recipe

FloatArray = npt.NDArray[np.float64]
#: A hundred arrangements; `benchmarks/arrangements.py` fits them.
FITTED: Final = Path(__file__).with_name("arrangements.json")
#: Before: shares of notes (drums, piano, guitar, bass, strings), and how often they are found where arousal is -0.7, 0
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
#: How many notes there are is measured with this time constant, which leaves room for phrases.
PACE_MEMORY_S: Final = 6.0
#: What all notes gain, and TIMESHIFTs of a beat or longer lose, where there are half as many as there should be.
PACE: Final = 1.0
#: The most octaves that count, and for how many seconds the right number of notes counts as played before the first.
MOST_PACE: Final = 1.5
PRIOR_S: Final = 1.0
#: A piece may have fewer notes than it should, for seconds, down to this share, and more, up to that.
LEAST_PACE: Final = 0.6
MOST_PACE_FOR_S: Final = 1.5
#: Songs with more notes a second are faster: the mean logarithm (base 2) of their tempo, for one note a second and by
#: how much more for twice as many, and its deviation.
OCTAVE: Final = 5.945
OCTAVES_A_DOUBLING: Final = 0.211
OCTAVES_APART: Final = 0.39


@dataclass(frozen=True, eq=False)
class Drawn:
    """shares: (families,) of the notes. notes_per_s: how many there are, all families together; None: any number."""

    shares: FloatArray
    notes_per_s: float | None = None


def drawn(
    arousal: float | None, rng: np.random.Generator, *, fitted: bool = True, tempo_qpm: float | None = None
) -> Drawn:
    """An arrangement, as often as it is found.

    Args:
        arousal: In [-1, 1]; None or NaN: any. Only the ten `ARRANGEMENTS` are drawn by it.
        rng: Draws it.
        fitted: Whether to draw one of the hundred of `FITTED`, rather than one of the ten.
        tempo_qpm: The tempo, for one of the hundred as often as songs of this tempo have it; None: of any tempo.

    """
    if fitted:
        rows, chances = _fitted()
        if tempo_qpm is not None:
            octaves = OCTAVE + OCTAVES_A_DOUBLING * np.log2([row.notes_per_s or 1.0 for row in rows])
            chances = chances * np.exp(-0.5 * np.square((math.log2(tempo_qpm) - octaves) / OCTAVES_APART))
    else:
        at = 0.0 if arousal is None or math.isnan(arousal) else arousal
        rows = tuple(Drawn(np.array(row)) for row, _ in ARRANGEMENTS)
        chances = np.array([np.interp(at, _AROUSALS, odds) for _, odds in ARRANGEMENTS])
    return rows[rng.choice(len(rows), p=chances / chances.sum())]


def of_piece(
    recipe: Recipe, arousal: float | None, like: Likeness | None, leading: int | None, rng: np.random.Generator,
    tempo_qpm: float | None = None,
) -> Arrangement:  # fmt: skip
    """The arrangement of a piece: that of the music that it should be like, or one that is drawn.

    - leading: the family that plays a theme; it has the largest share, whatever was drawn.
    - tempo_qpm: the tempo, if there is one.
    """
    if like is None:
        by_tempo = tempo_qpm if recipe.song_tempi else None
        found = drawn(arousal, rng.spawn(1)[0], fitted=recipe.pace > 0, tempo_qpm=by_tempo)
    else:
        found = Drawn(np.array(like.shares))
    shares = found.shares.copy()
    if leading is not None:
        shares[leading] = shares.max()
    return Arrangement(recipe.balance, shares, found.notes_per_s, recipe.pace, recipe.left_out)


@lru_cache(maxsize=1)
def _fitted() -> tuple[tuple[Drawn, ...], FloatArray]:
    """The fitted arrangements, and which share of songs has each."""
    rows = json.loads(FITTED.read_text(encoding="utf-8"))["arrangements"]
    found = tuple(Drawn(np.array(row["shares"]), row["notes_per_s"]) for row in rows)
    return found, np.array([row["share_of_songs"] for row in rows])


class Arrangement:
    """What share of the notes each family has had lately, and what share it should have.

    Attributes:
        shares: (families,) what it should have, summing to 1; 0 for a family that is left out.
        notes_per_s: How many notes it should have; None: any number.

    """

    def __init__(
        self, strength: float, shares: FloatArray, notes_per_s: float | None = None, pace: float = 1.0,
        left_out: float = MOST,
    ) -> None:  # fmt: skip
        """What a piece has.

        Args:
            strength: How strongly families keep to their shares, above 0.
            shares: (families,) not negative; small ones leave a family out.
            notes_per_s: How many notes there should be; None: any number.
            pace: How strongly the piece keeps to that.
            left_out: What notes of a family that is left out lose.

        """
        self.notes_per_s = notes_per_s if pace else None
        self._pace, self._begun = pace, 0.0
        self._first: int | None = None  # the step from which on notes are counted: later than 0 in a part
        shares = np.where(shares < LEAST_SHARE * shares.sum(), 0.0, shares)
        self.shares: FloatArray = shares / shares.sum()
        self._strength, self._left_out = strength, left_out
        self._counts = np.zeros(len(v.FAMILIES))
        self._step = 0

    @property
    def least(self) -> float:
        """The notes a second that there should be for a few seconds at least; infinite if none are given."""
        return math.inf if self.notes_per_s is None else LEAST_PACE * self.notes_per_s

    @property
    def most(self) -> float:
        """The notes a second that there may be for a few seconds, if that is more than other music may have."""
        return 0.0 if self.notes_per_s is None else MOST_PACE_FOR_S * self.notes_per_s

    def strike(self, family: int, step: int) -> None:
        """A note of a family begins at `step`."""
        self._forget(step)
        self._counts[family] += 1
        self._begun += 1

    def pace(self, step: int) -> float:
        """What to add to the logits of all notes at `step`, and to take from TIMESHIFTs of a beat or longer."""
        if self.notes_per_s is None:
            return 0.0
        self._forget(step)
        young_s = (step - (self._first or 0)) * v.STEP_S
        memory_s = PACE_MEMORY_S * (1 - math.exp(-young_s / PACE_MEMORY_S))
        expected, prior = self.notes_per_s * memory_s, self.notes_per_s * PRIOR_S
        octaves = math.log2((expected + prior) / (self._begun + prior))
        return self._pace * PACE * max(-MOST_PACE, min(MOST_PACE, octaves))

    def biases(self, step: int) -> npt.NDArray[np.float32]:
        """(families,) What to add to the logits of each family's notes at `step`."""
        self._forget(step)
        expected = self.shares * (self._counts.sum() + PRIOR_NOTES)
        found = self._counts + self.shares * PRIOR_NOTES
        ratio = np.divide(expected, found, out=np.zeros_like(found), where=expected > 0)
        with np.errstate(divide="ignore"):  # a family that is left out
            biases = np.clip(self._strength * np.log(ratio), -MOST, MOST)
        return np.where(self.shares > 0, biases, -self._left_out).astype(np.float32)

    def _forget(self, step: int) -> None:
        self._first = step if self._first is None else self._first
        if step > self._step:
            self._counts *= math.exp((self._step - step) * v.STEP_S / MEMORY_S)
            self._begun *= math.exp((self._step - step) * v.STEP_S / PACE_MEMORY_S)
            self._step = step
