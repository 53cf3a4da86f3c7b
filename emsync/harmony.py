"""The key of a piece and its chord symbols, as other programs show them.

    key = find_key(score)                   # KeySignature(0.0, 9, is_minor=True)
    chord_symbols(score)                    # Marker(0.0, "Am"), Marker(2.1, "F/A"), ...

The key is that whose profile fits the durations of the twelve pitch classes best (Krumhansl and Kessler 1982; the
algorithm of Krumhansl and Schmuckler). `find_keys` looks for changes as well: the likeliest sequence of keys, bar by
bar, as in Temperley, Music and Probability (2007), chapter 6, where a change costs so much that only one that lasts is
found. Chords are named half bar by half bar.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.controls import PROFILES, key_of
from emsync.piece import chord_name
from emsync.score import KeySignature, Marker, Score

Floats = npt.NDArray[np.float64]

#: What a change of key costs, in nats; a bar wholly in a distant key gains some 3.
_CHANGE: Final = 10.0
#: A written key holds for at least this many bars.
_LASTING_BARS: Final = 8
#: And its profile correlates better with them by so much than the neighbour's.
_CLEARLY: Final = 0.1

# Temperley 2007, table 6.1 (after the Kostka and Payne corpus): in which share of short segments each degree is heard.
_HEARD_MAJOR: Final = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_HEARD_MINOR: Final = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)
_HEARD: Final = np.array([np.roll(share, tonic) for share in (_HEARD_MAJOR, _HEARD_MINOR) for tonic in range(12)])
#: A pitch class that sounds for this share of a bar is heard in it; a shorter one counts in part.
_HEARD_SHARE: Final = 0.25

#: A pitch class belongs to a chord if it sounds for this share of the time.
_SHARE: Final = 0.34


def _melodic(score: Score) -> npt.NDArray[np.bool_]:
    drums = np.array([instrument.is_drum for instrument in score.instruments], dtype=bool)
    return ~drums[score.instrument] if len(score) else np.zeros(0, dtype=bool)


def _fits(weights: Floats) -> Floats:
    """(24,) The correlation of pitch-class weights (12,) with every key, major ones first; 0 if they are all alike."""
    apart = weights - weights.mean()
    length = float(np.linalg.norm(apart))
    return np.asarray(PROFILES @ (apart / length)) if length > 0 else np.zeros(24)


def find_key(score: Score) -> KeySignature | None:
    """The key that fits the whole piece best, from 0 s on; None without pitched notes."""
    notes = _melodic(score)
    if not notes.any():
        return None
    lengths = (score.end_s - score.start_s)[notes]
    return _key_at(0.0, np.bincount(score.pitch[notes] % 12, weights=lengths, minlength=12).astype(np.float64))


def _key_at(time_s: float, weights: Floats) -> KeySignature | None:
    """The key that fits pitch-class weights (12,) best; None where they are all alike."""
    if np.ptp(weights) == 0:
        return None
    is_minor, tonic = divmod(int(key_of(weights)), 12)
    return KeySignature(time_s, tonic, bool(is_minor))


def find_keys(score: Score) -> tuple[KeySignature, ...]:
    """The keys of a piece, each from the bar line where it begins; the first from 0 s on. Empty without pitched notes.

    A new key must hold for `_LASTING_BARS` bars, must fit them clearly better than the old one, and must have another
    signature: between a major key and its relative minor nothing is written. Keys a fifth apart may be taken for one.
    """
    whole = find_key(score)
    starts_s = score.bars.start_s[score.bars.start_s < score.duration_s]
    if whole is None or len(starts_s) < 2 * _LASTING_BARS:
        return () if whole is None else (whole,)
    held = _held_by_bar(score, np.append(starts_s, score.duration_s))
    spans = _spans(_likeliest(held))
    keys: list[KeySignature] = []
    for begin, end in _settled(spans, held):
        key = _key_at(float(starts_s[begin]) if begin else 0.0, held[begin:end].sum(axis=0))
        if key is not None and (not keys or signature(key) != signature(keys[-1])):
            keys.append(key)
    return tuple(keys) if len(keys) > 1 else (whole,)


def signature(key: KeySignature) -> int:
    """How many sharps a key has, from -5 to 6; flats count below zero."""
    sharps = (7 * (key.tonic - 9 * key.is_minor)) % 12
    return sharps - 12 if sharps > 6 else sharps


def _held_by_bar(score: Score, edges_s: Floats) -> Floats:
    """(bars, 12) How long each pitch class sounds within each bar, in seconds; notes of one class add up."""
    notes = _melodic(score)
    start_s, end_s, classes = score.start_s[notes], score.end_s[notes], score.pitch[notes] % 12
    until = np.zeros((len(edges_s), 12))  # seconds before each edge
    for pitch_class in range(12):
        mine = classes == pitch_class
        for times_s, sign in ((start_s[mine], 1.0), (end_s[mine], -1.0)):
            times_s = np.sort(times_s)
            before = np.searchsorted(times_s, edges_s)
            until[:, pitch_class] += sign * (before * edges_s - np.append(0.0, np.cumsum(times_s))[before])
    return np.diff(until, axis=0).clip(0)


def _likeliest(held: Floats) -> npt.NDArray[np.int64]:
    """(bars,) The likeliest key of each bar, 0 to 23, where every change costs `_CHANGE` (Viterbi's algorithm)."""
    total = held.max(axis=1, keepdims=True)
    sounding = np.divide(held, _HEARD_SHARE * total, out=np.zeros_like(held), where=total > 0).clip(0, 1)
    bars = (sounding @ np.log(_HEARD).T + (1 - sounding) @ np.log(1 - _HEARD).T) * (total > 0)  # (bars, 24)
    best = bars[0]
    came_from = np.zeros(bars.shape, dtype=np.int64)
    for i in range(1, len(bars)):
        top = int(np.argmax(best))
        moves = best[top] - _CHANGE > best
        came_from[i] = np.where(moves, top, np.arange(24))
        best = np.where(moves, best[top] - _CHANGE, best) + bars[i]
    path = np.empty(len(bars), dtype=np.int64)
    path[-1] = np.argmax(best)
    for i in range(len(bars) - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path


def _spans(path: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of one key: first bar, and the bar after the last."""
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    return list(pairwise(edges))


def _settled(spans: list[tuple[int, int]], held: Floats) -> list[tuple[int, int]]:
    """The same spans without those that are too short, or whose key fits hardly better than the one before."""
    spans = list(spans)
    while len(spans) > 1:
        fits = [_fits(held[begin:end].sum(axis=0)) for begin, end in spans]
        keys = [int(np.argmax(fit)) for fit in fits]
        short = [min(end - begin, _LASTING_BARS) for begin, end in spans]
        clear = [
            min(fits[i][keys[i]] - fits[i][keys[i - 1]], fits[i - 1][keys[i - 1]] - fits[i - 1][keys[i]])
            for i in range(1, len(spans))
        ]
        if min(short) < _LASTING_BARS:
            weak = max(int(np.argmin(short)), 1)
        elif min(clear) < _CLEARLY:
            weak = int(np.argmin(clear)) + 1
        else:
            break
        spans[weak - 1 : weak + 1] = [(spans[weak - 1][0], spans[weak][1])]
    return spans


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
