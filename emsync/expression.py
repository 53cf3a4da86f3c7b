"""Articulation and loudness follow arousal: shorter and louder notes in excited music, longer and softer ones in calm.

These are among the best established cues of emotion in music (Gabrielsson and Lindstrom, "The role of structure in the
musical expression of emotions", and Juslin and Lindstrom, "Musical expression of emotions", both 2010). The model has
learned them only weakly: its past weighs more than its mood lanes. docs/decisions/0044-expression.md measures them.
Tempo (`Recipe.tempo`), density (`repetition.Density`), and for valence mode, harmony and register (`tonality`) follow
the mood elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

#: What the end of a sounding note gains for an arousal of 1, and loses for -1.
ARTICULATION: Final = 2.0
#: What an arousal of 1 adds to every velocity: without expression, and for each unit of it.
LOUDNESS, LOUDER = 16.0, 10.0


def lean(
    logits: npt.NDArray[np.float32], strength: float, sounding: Iterable[int], arousal: float
) -> npt.NDArray[np.float32]:
    """Logits (vocabulary,) with the ends of sounding notes likelier or less likely; a copy, where anything changes.

    Args:
        logits: (vocabulary,) the model's.
        strength: `Recipe.expression`.
        sounding: The ONs of the notes that sound.
        arousal: In [-1, 1]; NaN where it is not given.

    """
    if not strength or math.isnan(arousal):
        return logits
    ends = [v.PARTNER[on] for on in sounding]
    if not ends:
        return logits
    out = logits.copy()
    out[ends] += np.float32(strength * ARTICULATION * arousal)
    return out


def loudness(strength: float) -> float:
    """What an arousal of 1 adds to every velocity, and one of -1 takes away."""
    return LOUDNESS + LOUDER * strength
