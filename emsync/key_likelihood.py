"""How likely pitches are in a key, and over a chord, as counted in real songs.

Conventions: degrees are as in `emsync.keys`; a table's first row is of major, its second of minor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.keys import Key
from emsync.progression import Chord

FloatArray = npt.NDArray[np.floating]

#: How often notes have each degree, in major and in minor: those of the bass, and those of the other pitched families.
#: Counted in 1,712 of the training songs, whose key fits with a correlation of 0.75 or more; each song has one vote.
BASS_SHARES: Final = (
    (0.283, 0.007, 0.095, 0.016, 0.071, 0.142, 0.010, 0.204, 0.013, 0.097, 0.036, 0.026),
    (0.337, 0.017, 0.043, 0.111, 0.011, 0.105, 0.009, 0.125, 0.094, 0.017, 0.115, 0.018),
)
SHARES: Final = (
    (0.232, 0.008, 0.108, 0.016, 0.119, 0.113, 0.012, 0.193, 0.013, 0.103, 0.029, 0.054),
    (0.258, 0.015, 0.073, 0.143, 0.014, 0.107, 0.012, 0.160, 0.074, 0.021, 0.101, 0.021),
)
#: How often notes are each number of semitones above the root of a bar's chord, major and minor; in the same songs.
BASS_ABOVE_ROOT: Final = (
    (0.572, 0.007, 0.042, 0.005, 0.069, 0.029, 0.007, 0.184, 0.003, 0.038, 0.025, 0.017),
    (0.538, 0.011, 0.029, 0.120, 0.004, 0.056, 0.007, 0.127, 0.026, 0.011, 0.062, 0.009),
)
ABOVE_ROOT: Final = (
    (0.316, 0.006, 0.063, 0.006, 0.182, 0.042, 0.013, 0.249, 0.008, 0.047, 0.035, 0.033),
    (0.312, 0.011, 0.057, 0.190, 0.007, 0.062, 0.011, 0.213, 0.025, 0.024, 0.076, 0.012),
)
#: How many of these songs have each tonic, from C to B.
TONICS: Final = (273, 57, 228, 80, 229, 146, 46, 221, 54, 191, 91, 93)
#: The share of these songs that is in minor.
MINOR_SHARE: Final = 0.34

#: The pitched families, and the pitches (MIDI) that each of them may have.
FAMILIES: Final = tuple(f for f in range(len(v.FAMILIES)) if f != v.DRUMS)
PITCHES: Final = np.arange(v.PITCH_RANGE[v.PIANO][0], v.PITCH_RANGE[v.PIANO][1] + 1)


def likelihood(key: Key, chord: Chord | None) -> FloatArray:
    """How likely pitches are in a key, and over a chord.

    Args:
        key: The key.
        chord: The bar's chord; None: any.

    Returns:
        Log P(pitch class | key, chord) of every pitch, (FAMILIES, PITCHES), up to a constant.

    """
    degree = np.arange(12)
    rows = []
    for family in FAMILIES:
        shares = np.array((BASS_SHARES if family == v.BASS else SHARES)[key.is_minor])
        if chord is not None:
            above = (degree - chord.degree) % 12
            here = np.array((BASS_ABOVE_ROOT if family == v.BASS else ABOVE_ROOT)[chord.is_minor])[above]
            of_chord = np.isin(degree, chord.tones)
            if family != v.BASS:  # each tone alike: the third tells the mode, and real chords have it
                here = np.where(of_chord, here[of_chord].max(), here)
            shares = here * np.where(of_chord, 1.0, np.minimum(12 * shares, 1.0))
        rows.append(shares[(PITCHES - key.tonic) % 12])
    return np.log(np.array(rows))


@lru_cache(maxsize=24)
def in_key(number: int) -> FloatArray:
    """`likelihood` of a key, 0 to 23, without a chord; read-only."""
    bias = likelihood(Key.of_number(number), None)
    bias.setflags(write=False)
    return bias
