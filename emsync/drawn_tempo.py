"""The tempo that a piece draws, if none is given: from a range that moves with the mood, or as in songs.

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

#: With a mood, a tempo is drawn from this range. About half of all real songs are in it.
DRAWN_QPM: Final = (84.0, 132.0)
#: Without one, tempi are drawn as in songs: quantiles of 4,673 training songs (`benchmarks/arrangements.py`).
SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
SONG_QPM: Final = (70.0, 96.0, 120.0, 140.0, 184.0)
#: And may be moved to cuts by this factor either way.
NEAR: Final = 1.25
#: Whatever the mood, a tempo is between these.
SLOWEST_QPM: Final = 45.0
FASTEST_QPM: Final = 240.0


def tempo(recipe: Recipe, arousal: float | None = None, valence: float | None = None) -> float | None:
    """The tempo to compose in; None leaves it to the model.

    Without a given tempo, one is drawn with the seed, unless `grid` is "free": with a mood from `tempo_range`, without
    one as in songs (`Recipe.song_tempi`).
    """
    if recipe.tempo_qpm is not None or not recipe.on_grid:
        return recipe.tempo_qpm
    if _as_in_songs(recipe, arousal, valence):
        return _song_tempo(recipe.seed)
    return float(_rng(recipe.seed).uniform(*tempo_range(recipe, arousal, valence)))


def tempo_range(recipe: Recipe, arousal: float | None = None, valence: float | None = None) -> tuple[float, float]:
    """The slowest and the fastest tempo that a piece may have.

    A described tempo, or that of the music to be like, takes precedence. With a mood it is `DRAWN_QPM`, moved by
    arousal and valence (`Recipe.arousal_qpm`, `Recipe.valence_qpm`). Without one it is what is near the drawn tempo.
    """
    asked = _asked(recipe)
    if asked is not None:
        return asked
    if _as_in_songs(recipe, arousal, valence):
        drawn = _song_tempo(recipe.seed)
        return drawn / NEAR, drawn * NEAR
    shift = 0.0
    if recipe.mood_strength:
        for level, by in ((arousal, recipe.arousal_qpm), (valence, recipe.valence_qpm)):
            shift += 0.0 if level is None or math.isnan(level) else by * level
    return max(DRAWN_QPM[0] + shift, SLOWEST_QPM), DRAWN_QPM[1] + shift


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1])


def _song_tempo(seed: int) -> float:
    """A tempo as songs have them."""
    return float(np.interp(_rng(seed).uniform(SHARES[0], SHARES[-1]), SHARES, SONG_QPM))


def _asked(recipe: Recipe) -> tuple[float, float] | None:
    return recipe.described.tempo_qpm or (None if recipe.like is None else recipe.like.tempo_range)


def _as_in_songs(recipe: Recipe, *mood: float | None) -> bool:
    """Whether a tempo is drawn as in songs: where neither a mood nor anything else says what it should be like."""
    given = recipe.mood_strength and any(level is not None and not math.isnan(level) for level in mood)
    return recipe.song_tempi and not given and _asked(recipe) is None
