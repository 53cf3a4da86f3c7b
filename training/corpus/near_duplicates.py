"""Near-duplicates: different files of one song, in other keys, at other tempi, with tracks added or left out.

Method
- A song's *shingles*: in each melodic family, the highest pitch at each sixteenth gives a line; each run of
  `SHINGLE_LENGTH` steps of that line, as (interval in semitones, distance in sixteenths), is one shingle. Intervals do
  not change under transposition, nor sixteenths with the tempo, nor the set of shingles when a piece is shifted in
  time.
- A song's *signature*: MinHash (Broder 1997), `SIGNATURE_SIZE` least hashes of its shingles. The share of equal entries
  estimates the Jaccard similarity of two songs' shingles.
- Candidates come from locality-sensitive hashing (Indyk & Motwani 1998): songs that agree in a whole band of their
  signatures. Candidates at least as similar as the threshold are joined, and what is joined is one group (union-find).

Songs with few shingles (drums alone, a few held notes) are never near-duplicates: there is too little to compare.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.training.corpus.archive import Song
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER
from emsync.vocabulary import DRUMS, FAMILIES

SHINGLE_LENGTH: Final = 4
SIGNATURE_SIZE: Final = 126
BANDS: Final = 42
#: Estimated Jaccard similarity from which two songs are one (docs/corpus.md has the measurement).
THRESHOLD: Final = 0.3
#: Fewer different shingles cannot distinguish songs.
MIN_SHINGLES: Final = 32
#: In a band's bucket of more songs than this, each is compared with its neighbours and the first only.
_LARGE_BUCKET: Final = 64
_MAX_SIXTEENTHS: Final = 63  # longer rests count as this
_SIXTEENTH = STEPS_PER_QUARTER // 4

# Odd multipliers and offsets of the MinHash functions: fixed, so that signatures can be kept and compared across runs.
_RANDOM = np.random.Generator(np.random.PCG64(20_240_214))
_MULTIPLIER = _RANDOM.integers(0, 2**63, SIGNATURE_SIZE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSET = _RANDOM.integers(0, 2**63, SIGNATURE_SIZE, dtype=np.uint64)


def shingles(song: Song) -> npt.NDArray[np.uint64]:
    """The song's different shingles, hashed, in order: (S,)."""
    parts = [np.zeros(0, dtype=np.uint64)]
    for family in range(len(FAMILIES)):
        if family == DRUMS:
            continue
        mine = song.family == family
        at = (song.start_step[mine] + _SIXTEENTH // 2) // _SIXTEENTH
        pitch = song.pitch[mine].astype(np.int64)
        top = np.lexsort((-pitch, at))
        at, pitch = at[top], pitch[top]
        first = np.append(True, at[1:] != at[:-1])[: len(at)]
        at, pitch = at[first], pitch[first]
        # (interval, distance) as one number; 256 intervals are more than there are.
        symbol = ((np.diff(pitch) + 128) * (_MAX_SIXTEENTHS + 1) + np.minimum(np.diff(at), _MAX_SIXTEENTHS)).astype(
            np.uint64
        )
        count = len(symbol) - SHINGLE_LENGTH + 1
        if count <= 0:
            continue
        code = np.zeros(count, dtype=np.uint64)
        for place in range(SHINGLE_LENGTH):
            code = _mix(code + symbol[place : place + count] + np.uint64(1))
        parts.append(code)
    return np.unique(np.concatenate(parts))


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood 2014). Wraps around by intent."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)), dtype=np.uint64)


def signature(hashed: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """MinHash signature (SIGNATURE_SIZE,) of a set of shingles (S,); all zeros for an empty set."""
    if not len(hashed):
        return np.zeros(SIGNATURE_SIZE, dtype=np.uint32)
    values = hashed[:, None] * _MULTIPLIER[None, :] + _OFFSET[None, :]  # (S, SIGNATURE_SIZE), modulo 2^64
    return (values.min(0) >> np.uint64(32)).astype(np.uint32)


def similarity(a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity, 0..1, of signatures (..., SIGNATURE_SIZE) -> (...)."""
    return np.asarray((a == b).mean(-1), dtype=np.float64)


def groups(
    signatures: npt.NDArray[np.uint32], n_shingles: npt.NDArray[np.integer], *, threshold: float = THRESHOLD
) -> npt.NDArray[np.int64]:
    """Group of each song: the index of the first song of its group, (N,).

    signatures: (N, SIGNATURE_SIZE). n_shingles: (N,), how many shingles each was made from.
    threshold: in (0, 1]; of pairs as similar as 0.3 the bands find two thirds, of 0.4 94 %, of 0.5 99.6 %.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"a similarity threshold of {threshold} joins all or none; give one over 0 and up to 1")
    parent = np.arange(len(signatures), dtype=np.int64)
    usable = np.flatnonzero(np.asarray(n_shingles) >= MIN_SHINGLES)
    left, right = _candidates(signatures[usable], usable)
    for begin in range(0, len(left), 1 << 16):
        i, j = left[begin : begin + (1 << 16)], right[begin : begin + (1 << 16)]
        close = similarity(signatures[i], signatures[j]) >= threshold
        for a, b in zip(i[close].tolist(), j[close].tolist(), strict=True):
            first, second = _root(parent, a), _root(parent, b)
            parent[max(first, second)] = min(first, second)
    return np.array([_root(parent, index) for index in range(len(parent))], dtype=np.int64)


def _root(parent: npt.NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index


def _candidates(
    rows: npt.NDArray[np.uint32], numbers: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of songs, by their `numbers`, that share a band of their signature; each pair once."""
    n = len(rows)
    codes = [np.zeros(0, dtype=np.int64)]
    width = SIGNATURE_SIZE // BANDS
    for band in range(BANDS if n else 0):
        part = np.ascontiguousarray(rows[:, band * width : (band + 1) * width])
        key = part.view(np.dtype((np.void, part.dtype.itemsize * width))).ravel()
        order = np.argsort(key, kind="stable")
        key = key[order]
        begin = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        size = np.diff(np.append(begin, n))
        for where, count in zip(begin[size > 1].tolist(), size[size > 1].tolist(), strict=True):
            members = np.sort(order[where : where + count])
            if count <= _LARGE_BUCKET:
                a, b = np.triu_indices(count, 1)
            else:
                later = np.arange(1, count)
                a, b = np.concatenate([later - 1, np.zeros_like(later)]), np.concatenate([later, later])
            codes.append(members[a] * n + members[b])
    code = np.unique(np.concatenate(codes))
    return numbers[code // max(n, 1)], numbers[code % max(n, 1)]
