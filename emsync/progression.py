"""The chords of a piece that is being composed, one per bar, in loops of four.

    progression = Progression(rng)
    progression.begin_bar("A", is_minor=True, valence=-0.6)     # Chord(degree=0, is_minor=True)

A loop begins on the tonic, and each further chord is drawn by how often it follows the one before in real songs. Major
chords are more likely the higher valence is, and where too few or too many of them came, relatives take their places. A
loop is played twice; a section that returns begins with the loop that it was stated with.

Conventions: valence is in [-1, 1]. A chord's degree is its root in semitones above the tonic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chord:
    """A triad on a degree of the key."""

    degree: int
    is_minor: bool

    @property
    def tones(self) -> tuple[int, int, int]:
        """Its degrees: root, third and fifth."""
        return self.degree, (self.degree + (3 if self.is_minor else 4)) % 12, (self.degree + 7) % 12


#: The chords of major and of minor, and how often (rows sum to 1) each follows each, bar by bar. Counted in 1,054 of
#: the training songs in 4/4; each song has one vote.
CHORDS: Final = (
    tuple(Chord(degree, bool(minor)) for degree, minor in ((0, 0), (5, 0), (7, 0), (9, 1), (2, 1), (4, 1))),
    tuple(Chord(degree, bool(minor)) for degree, minor in ((0, 1), (8, 0), (3, 0), (5, 1), (10, 0), (7, 1), (7, 0))),
)
FOLLOWS: Final = (
    (
        (0.52, 0.21, 0.13, 0.07, 0.04, 0.02),
        (0.41, 0.28, 0.16, 0.06, 0.05, 0.03),
        (0.43, 0.15, 0.25, 0.11, 0.04, 0.03),
        (0.22, 0.23, 0.13, 0.25, 0.11, 0.06),
        (0.32, 0.12, 0.26, 0.09, 0.19, 0.03),
        (0.20, 0.25, 0.12, 0.14, 0.14, 0.16),
    ),
    (
        (0.60, 0.10, 0.06, 0.08, 0.08, 0.04, 0.03),
        (0.25, 0.28, 0.12, 0.07, 0.15, 0.07, 0.06),
        (0.30, 0.15, 0.26, 0.12, 0.09, 0.04, 0.04),
        (0.34, 0.09, 0.10, 0.26, 0.10, 0.04, 0.07),
        (0.39, 0.13, 0.13, 0.06, 0.18, 0.06, 0.04),
        (0.35, 0.15, 0.06, 0.07, 0.05, 0.29, 0.03),
        (0.47, 0.08, 0.05, 0.05, 0.03, 0.04, 0.28),
    ),
)
#: What takes each chord's place when the mode changes: the numbers of the other mode's chords.
OTHER: Final = ((0, 3, 5, 1, 3, 2), (0, 3, 5, 1, 2, 2, 2))
#: What takes each chord's place where it should be the other kind, major or minor: its relative, a third away, which
#: shares two of its tones. The dominant of minor has none within the key.
RELATIVE: Final = ((3, 4, 5, 0, 1, 2), (2, 3, 0, 1, 5, 4, 6))
#: What leads to the tonic, in major and in minor.
DOMINANT: Final = Chord(7, is_minor=False)
#: A chord is replaced once more than so many of the other kind are lacking; the count ends at `MOST_LACKING`.
LACKING: Final = 1.1
MOST_LACKING: Final = 3.0
#: The bars of a loop, and how often it is played.
LOOP_BARS: Final = 4
PASSES: Final = 2
#: A valence of 1 multiplies the odds of major chords by e to this, and one of -1 those of minor chords.
TILT: Final = 1.5


def draw_loop(rng: np.random.Generator, *, is_minor: bool, valence: float, moving: bool = False) -> tuple[int, ...]:
    """The numbers, in `CHORDS`, of a loop's chords; the last leads back to the first.

    moving: whether no chord may last for three bars, from one pass of the loop to the next included.
    """
    chords, follows = CHORDS[is_minor], np.array(FOLLOWS[is_minor])
    tilt = np.exp(TILT * valence * np.array([-1.0 if chord.is_minor else 1.0 for chord in chords]))
    loop = [0]
    while len(loop) < LOOP_BARS:
        odds = follows[loop[-1]] * tilt
        if moving and loop[-2:] == [loop[-1]] * 2:
            odds[loop[-1]] = 0.0
        if moving and len(loop) == LOOP_BARS - 1 and loop[0] in (loop[1], loop[-1]):
            odds[loop[0]] = 0.0
        if len(loop) == LOOP_BARS - 1:
            odds = odds * follows[:, 0]
            odds[0] *= len(set(loop)) > 1  # a loop has two chords at least
        loop.append(int(rng.choice(len(chords), p=odds / odds.sum())))
    return tuple(loop)


class Progression:
    """The chords of one piece, bar by bar.

    Args:
        rng: Draws its loops.
        moving: As of `draw_loop`.
        relatives: Whether chords are replaced by their relatives, so that as many are major as valence asks for.

    """

    def __init__(self, rng: np.random.Generator, *, moving: bool = False, relatives: bool = False) -> None:
        self._rng, self._moving, self._relatives = rng, moving, relatives
        self._lacking = 0.0  # how many major chords are lacking so far; below 0: minor ones
        self._stated: dict[str, tuple[int, ...]] = {}  # by section: its first loop
        self._loop: tuple[int, ...] = ()
        self._bar = 0
        self._is_minor = False

    def begin_bar(
        self, section: str, *, is_minor: bool, valence: float, begins: bool = False, leads_home: bool = False
    ) -> Chord:
        """The chord of the next bar.

        Args:
            section: The name of its section.
            is_minor: The mode there.
            valence: Of the mood there.
            begins: Whether the section begins with this bar.
            leads_home: Whether the piece ends with the next bar: then this is the dominant.

        """
        if self._loop and is_minor != self._is_minor:
            self._loop = tuple(OTHER[self._is_minor][chord] for chord in self._loop)
            self._stated = {
                name: tuple(OTHER[self._is_minor][chord] for chord in loop) for name, loop in self._stated.items()
            }
        self._is_minor = is_minor
        if begins and section in self._stated:
            self._loop, self._bar = self._stated[section], 0
        elif begins or not self._loop or self._bar == LOOP_BARS * PASSES:
            loop = draw_loop(self._rng, is_minor=is_minor, valence=valence, moving=self._moving)
            self._loop, self._bar = loop, 0
        self._stated.setdefault(section, self._loop)
        number = self._loop[self._bar % LOOP_BARS]
        self._bar += 1
        if leads_home:
            return DOMINANT
        return CHORDS[is_minor][self._replaced(number, valence) if self._relatives else number]

    def _replaced(self, number: int, valence: float) -> int:
        """A chord, or its relative where chords of the other kind are lacking.

        The share of major chords is to be (1 + valence) / 2. What is missing so far is carried on from bar to bar, as
        error diffusion does from pixel to pixel (Floyd and Steinberg 1976).
        """
        chords, share = CHORDS[self._is_minor], min(max((1 + valence) / 2, 0.0), 1.0)
        lacking = self._lacking + share
        if (lacking > LACKING) if chords[number].is_minor else (lacking < 1 - LACKING):
            number = RELATIVE[self._is_minor][number]
        self._lacking = min(max(lacking - (not chords[number].is_minor), -MOST_LACKING), MOST_LACKING)
        return number
