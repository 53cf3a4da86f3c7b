"""A piece hears itself: where its music misses the mood that was requested, it asks for more, or for less.

The labeller, which training learned moods from, reads the piece so far, bar by bar. What it lacks of the requested mood
is added up and put on top of the request: integral feedback, as in any control loop. Tempo, instruments and loops of
chords move a piece away from its mood for good; this brings it back. The judge of `emsync evaluate` is another one.
docs/decisions/0047-feedback.md has the measurements.

Conventions: valence and arousal in [-1, 1]; times in seconds of the piece.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.conditions import MOOD_LANES
from emsync.expression import loudness
from emsync.music_mood.features import WINDOW_S
from emsync.music_mood.regressor import labeller, readings_of
from emsync.music_mood.scale import scale
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.tokenizer.events import decode

FloatArray = npt.NDArray[np.floating]
#: Times, or levels at times.
Levels = npt.NDArray[np.float64]
#: What is added to the request for each second in which the music misses it by 1: valence and arousal.
GAINS: Final = (0.4, 0.45)
#: A valence keeps its sign, and at least this much: modes are not changed by feedback.
LEAST_VALENCE: Final = 0.02
#: At most this is added.
MOST: Final = 1.0
#: For an arousal that is missed by 1 a finished piece is as loud as for so much more, and as for so much at most.
LOUDER: Final = 3.0
LOUDEST: Final = 0.9
#: A piece is heard from this time on; of so many of its latest seconds, the mood of the last few counts.
FIRST_S: Final = 3.0
HEARD_S: Final = 32.0
COUNTED_S: Final = 6
#: A bar counts as at most this long, and a mood is read in so many notes or more.
LONGEST_BAR_S: Final = 3.0
LEAST_NOTES: Final = 8


class MoodFeedback:
    """How far a piece has missed its mood so far, and what to request instead.

    Args:
        strength: `Recipe.mood_feedback`; 0 for none.
        loudness: What an arousal of 1 adds to all velocities when the piece is finished.
        reaches: `Recipe.feedback_reach`.
        crosses: Whether `beyond` also says how far a valence would have the other sign (`Recipe.relative_chords`).

    Attributes:
        beyond: How far the latest corrected valence would be beyond what it is: beyond -1 or 1, or beyond 0 where it
            keeps its sign; in [-2, 2].

    """

    def __init__(self, strength: float, loudness: float, *, reaches: bool = True, crosses: bool = True) -> None:
        self._gains, self._loudness, self._reaches = strength * np.array(GAINS), loudness, reaches
        self._crosses = crosses
        self._added, self.beyond = np.zeros(2), 0.0
        self._heard_s = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> MoodFeedback:
        """The feedback of a piece with this recipe."""
        louder = loudness(recipe.expression) if recipe.finishes else 0.0
        return cls(recipe.mood_feedback, louder, reaches=recipe.feedback_reach, crosses=recipe.relative_chords)

    def hear(
        self, ids: Sequence[int], velocities: Sequence[int], steps: Sequence[int],
        requested: Callable[[FloatArray], FloatArray],
    ) -> None:  # fmt: skip
        """A bar begins: compare the music so far with what was requested.

        Args:
            ids: The piece's events so far.
            velocities: Their velocity levels, 0 for events without.
            steps: The clock after each.
            requested: Times (T,) in seconds to valence and arousal (T, 2), NaN where not given.

        """
        now_s = steps[-1] * v.STEP_S
        passed_s, self._heard_s = min(now_s - self._heard_s, LONGEST_BAR_S), now_s
        if now_s < FIRST_S or not self._gains.any() or np.isnan(requested(np.array([now_s]))).all():
            return
        first = bisect_left(steps, (now_s - HEARD_S) / v.STEP_S)
        while first and v.KIND[ids[first]] != v.K_BAR:
            first -= 1
        begin_s = steps[first] * v.STEP_S if first else 0.0
        score = decode(np.array(ids[first:]), np.array(velocities[first:]))
        last = math.floor(now_s - begin_s)
        if len(score) < LEAST_NOTES or last < 1:
            return
        arousal = np.nan_to_num(requested(score.start_s + begin_s)[:, 1])
        velocity = np.clip(np.rint(score.velocity + self._loudness * arousal), 1, 127).astype(np.int64)
        read = scale().apply(readings_of(replace(score, velocity=velocity), labeller()))[:last][-COUNTED_S:]
        asked = requested(begin_s + last - len(read) + np.arange(len(read)) + 0.5)
        known = ~np.isnan(asked)
        missed = np.where(known, asked - read, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        self._added = np.clip(self._added + self._gains * missed * passed_s, -MOST, MOST)

    def corrected(self, lanes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lanes (N_LANES,) with the moods to request instead; a copy, where anything changes."""
        self.beyond = 0.0
        if not self._added.any():
            return lanes
        wanted = lanes[MOOD_LANES] + self._added
        valence, arousal = np.clip(wanted, -1.0, 1.0)
        within = valence
        if lanes[MOOD_LANES[0]] >= 0:
            valence = max(valence, LEAST_VALENCE)
        else:
            valence = min(valence, -LEAST_VALENCE)
        if self._reaches and not math.isnan(valence):
            self.beyond = float(wanted[0] - (valence if self._crosses else within))
        out = lanes.copy()
        out[MOOD_LANES] = valence, arousal
        return out


def heard_arousal(score: Score, requested: Callable[[Levels], Levels], strength: float) -> Callable[[Levels], Levels]:
    """The arousal that a piece's loudness should follow, so that it makes up for what its notes lack of the request.

    Args:
        score: The piece, as loud as it would be otherwise.
        requested: Times (T,) in seconds to the arousal requested (T,), NaN where there is none.
        strength: `Recipe.mood_feedback`.

    Returns:
        Times (T,) to arousal (T,), within `LOUDEST` of what is requested.

    """
    if len(score) < LEAST_NOTES or not strength:
        return requested
    read = scale().apply(readings_of(score, labeller()))[:, 1]
    read = read[: max(len(read) - WINDOW_S // 2, 1)]  # in the rest a last chord that fades would be heard as calm
    at = np.arange(len(read), dtype=np.float64) + 0.5
    missed = np.nan_to_num(requested(at) - read)
    added = np.clip(strength * LOUDER * missed, -LOUDEST, LOUDEST)

    def arousal(times_s: Levels) -> Levels:
        return np.asarray(requested(times_s) + np.interp(times_s, at, added), dtype=np.float64)

    return arousal
