"""The manner of a style: its pieces as references, one of which each new piece is composed like.

    like = drawn(Style.read("my-style").examples, seed=7, mood=(-0.4, 0.2))

What a style's weights learn from a few pieces is hardly heard: the tempo, the families, and how many notes there are
say more about a manner (docs/styles.md). So a style keeps them, piece by piece, each with its mood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.likeness import Likeness

#: A style keeps at most so many pieces.
MOST_EXAMPLES: Final = 24
#: A piece whose mood is this far from the film's, in the plane of valence and arousal, is drawn 0.6 times as often.
MOOD_SPREAD: Final = 0.4
#: The rows of an example's notes.
_ROWS: Final = ("family", "pitch", "velocity", "onset_quarters", "length_quarters")
_DECIMALS: Final = 4
_FIGURES: Final = ("name", "tempo_qpm", "density", "tonic", "programs", "shares")


@dataclass(frozen=True)
class Example:
    """One of a style's pieces.

    Attributes:
        like: What a new piece is composed like.
        valence, arousal: The piece's mean mood, in [-1, 1].

    """

    like: Likeness
    valence: float
    arousal: float

    def __post_init__(self) -> None:
        if not (abs(self.valence) <= 1 and abs(self.arousal) <= 1):
            raise InputError(f"a mood of {self.valence:g}, {self.arousal:g} is not within -1 and 1")

    def figures(self) -> dict[str, Any]:
        """All but the notes, as plain values for JSON."""
        whole = self.like.to_dict()
        mood = {"valence": round(self.valence, _DECIMALS), "arousal": round(self.arousal, _DECIMALS)}
        return {name: whole[name] for name in _FIGURES} | mood

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """The notes of its excerpt (5, N) and its bar lines (B,)."""
        whole = self.like.to_dict()
        return {"notes": np.array([whole[name] for name in _ROWS], np.float32),
                "bars": np.array(whole["bar_quarters"], np.float32)}  # fmt: skip

    @classmethod
    def read(cls, figures: Mapping[str, Any], notes: npt.NDArray[np.float32], bars: npt.NDArray[np.float32]) -> Example:
        """The inverse of `figures` and `arrays`. Raises `InputError`, KeyError, TypeError or ValueError."""
        rows = dict(zip(_ROWS, np.round(notes.astype(np.float64), _DECIMALS), strict=True))
        like = Likeness.from_dict({**figures, **rows, "bar_quarters": np.round(bars.astype(np.float64), _DECIMALS)})
        return cls(like, float(figures["valence"]), float(figures["arousal"]))


def drawn(examples: Sequence[Example], seed: int, mood: tuple[float, float] | None = None) -> Likeness | None:
    """The piece to compose like, drawn with the seed; the nearer its mood is to the film's, the likelier.

    Args:
        examples: The pieces of a style.
        seed: The piece's seed.
        mood: The film's mean valence and arousal, in [-1, 1]; NaN or None where it is not known.

    Returns None if there are no examples.

    """
    if not examples:
        return None
    apart = np.zeros(len(examples))
    for axis, level in zip(("valence", "arousal"), mood or (), strict=False):
        if not math.isnan(level):
            apart += (np.array([getattr(each, axis) for each in examples]) - level) ** 2
    weights = np.exp(-(apart - apart.min()) / (2 * MOOD_SPREAD**2))
    rng = np.random.default_rng([seed, 3])
    return examples[int(rng.choice(len(examples), p=weights / weights.sum()))].like
