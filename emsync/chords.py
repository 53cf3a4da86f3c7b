"""Long chords, which are the boundaries of the music.

A chord is three or more pitches of one family (piano or guitar) with the same onset, each at least two beats long
(paper, Section III-B2); a beat is a quarter note.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emsync.vocabulary import CHORD_FAMILIES

MIN_PITCHES = 3
MIN_QUARTERS = 2.0

IntArray = npt.NDArray[np.integer]


def chord_onsets(
    song: IntArray,
    family: IntArray,
    onset: IntArray,
    pitch: IntArray,
    length_quarters: npt.NDArray[np.floating] | IntArray,
    *,
    families: tuple[int, ...] = CHORD_FAMILIES,
) -> npt.NDArray[np.int64]:
    """Find the long chords: one index each, of the chord's first note.

    - song, family, onset, pitch (N,): notes in any order; `onset` in whole steps of a grid.
    - length_quarters (N,): note lengths in quarter notes.
    - families: the families whose chords count.

    Two families that strike a chord together give two indices with the same onset.
    """
    long = np.isin(family, families) & (np.asarray(length_quarters) >= MIN_QUARTERS)
    index = np.flatnonzero(long)
    if not len(index):
        return index.astype(np.int64)
    order = np.lexsort((pitch[index], onset[index], family[index], song[index]))
    index = index[order]
    s, f, o, p = song[index], family[index], onset[index], pitch[index]
    new_group = np.append(True, (s[1:] != s[:-1]) | (f[1:] != f[:-1]) | (o[1:] != o[:-1]))
    new_pitch = new_group | np.append(True, p[1:] != p[:-1])
    first = np.flatnonzero(new_group)
    pitches = np.add.reduceat(new_pitch.astype(np.int64), first)
    return index[first[pitches >= MIN_PITCHES]].astype(np.int64)
