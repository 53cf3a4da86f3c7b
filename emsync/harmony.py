"""The key of a piece and its chord symbols, as other programs show them.

    key = find_key(score)                   # KeySignature(0.0, 9, is_minor=True)
    chord_symbols(score)                    # Marker(0.0, "Am"), Marker(2.1, "F/A"), ...

The key is that whose profile fits the durations of the twelve pitch classes best (Krumhansl and Kessler 1982; the
algorithm of Krumhansl and Schmuckler). Chords are named half bar by half bar.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.controls import key_of
from emsync.piece import chord_name
from emsync.score import KeySignature, Marker, Score

#: A pitch class belongs to a chord if it sounds for this share of the time.
_SHARE: Final = 0.34


def _melodic(score: Score) -> npt.NDArray[np.bool_]:
    drums = np.array([instrument.is_drum for instrument in score.instruments], dtype=bool)
    return ~drums[score.instrument] if len(score) else np.zeros(0, dtype=bool)


def find_key(score: Score) -> KeySignature | None:
    """The key that fits the whole piece best, from 0 s on; None without pitched notes."""
    notes = _melodic(score)
    if not notes.any():
        return None
    lengths = (score.end_s - score.start_s)[notes]
    weights = np.bincount(score.pitch[notes] % 12, weights=lengths, minlength=12)
    if np.ptp(weights) == 0:
        return None
    is_minor, tonic = divmod(int(key_of(weights)), 12)
    return KeySignature(0.0, tonic, bool(is_minor))


def half_bars(score: Score) -> npt.NDArray[np.float64]:
    """Where bars and their halves begin, in seconds; whole bars where they have three beats. Ends with the piece."""
    starts = score.bars.start_s[score.bars.start_s < score.duration_s]
    edges: list[float] = []
    for i, start_s in enumerate(starts.tolist()):
        edges.append(start_s)
        end_s = starts[i + 1] if i + 1 < len(starts) else score.duration_s
        if score.bars.numerator[i] % 2 == 0 and score.bars.numerator[i] != 6:
            first, last = score.tempo.quarters_at(np.array([start_s, end_s])).tolist()
            edges.append(float(score.tempo.seconds_at((first + last) / 2)))
    return np.array([*edges, score.duration_s])


def chord_symbols(score: Score) -> tuple[Marker, ...]:
    """Chord symbols, each where it begins: of every half bar in which the pitched notes have a common name.

    A half bar is named by the pitch classes that sound for a third of it or more, over its lowest note. A symbol is
    written where it changes.
    """
    notes = _melodic(score)
    start_s, end_s, pitch = score.start_s[notes], score.end_s[notes], score.pitch[notes]
    found: list[Marker] = []
    edges = half_bars(score)
    for begin_s, until_s in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if until_s - begin_s <= 0:
            continue
        held_s = np.clip(np.minimum(end_s, until_s) - np.maximum(start_s, begin_s), 0, None)
        share = np.minimum(np.bincount(pitch % 12, weights=held_s, minlength=12) / (until_s - begin_s), 1.0)
        members = np.flatnonzero(share >= _SHARE)
        sounding = (held_s > 0) & np.isin(pitch % 12, members)
        if len(members) < 3 or not sounding.any():
            continue
        low = int(pitch[sounding].min())
        name = chord_name(members + 12 * (low // 12 + 1), low)
        if name and (not found or found[-1].text != name):
            found.append(Marker(begin_s, name))
    return tuple(found)
