"""The tempo that a piece draws, if none is given: from a range that moves with the mood.

Of all musical cues, tempo says most about arousal, and fast music is also happier (Gabrielsson and Lindström, in Juslin
and Sloboda, Handbook of Music and Emotion, 2010).

Conventions: tempi are in quarter notes per minute; valence and arousal are the piece's means, in [-1, 1], and None or
NaN where they are not given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from emsync.recipe import Recipe

#: A tempo is drawn from this range. About half of all real songs are in it.
DRAWN_QPM: Final = (84.0, 132.0)
#: Whatever the mood, a tempo is between these.
SLOWEST_QPM: Final = 45.0
FASTEST_QPM: Final = 240.0


def tempo(recipe: Recipe, arousal: float | None = None, valence: float | None = None) -> float | None:
    """The tempo to compose in; None leaves it to the model.

    Without a given tempo, one is drawn with the seed from `tempo_range`, unless `grid` is "free".
    """
    if recipe.tempo_qpm is not None or not recipe.on_grid:
        return recipe.tempo_qpm
    return float(np.random.default_rng([recipe.seed, 1]).uniform(*tempo_range(recipe, arousal, valence)))


def tempo_range(recipe: Recipe, arousal: float | None = None, valence: float | None = None) -> tuple[float, float]:
    """The slowest and the fastest tempo that may be drawn.

    A described tempo, or that of the music to be like, takes precedence. Else it is `DRAWN_QPM`, moved by arousal and
    valence (`Recipe.arousal_qpm`, `Recipe.valence_qpm`), unless the mood strength is 0.
    """
    asked = recipe.described.tempo_qpm or (None if recipe.like is None else recipe.like.tempo_range)
    if asked is not None:
        return asked
    shift = 0.0
    if recipe.mood_strength:
        for level, by in ((arousal, recipe.arousal_qpm), (valence, recipe.valence_qpm)):
            shift += 0.0 if level is None or math.isnan(level) else by * level
    return max(DRAWN_QPM[0] + shift, SLOWEST_QPM), min(DRAWN_QPM[1] + shift, FASTEST_QPM)
