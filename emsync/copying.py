"""Suffix matching within one piece: which events followed the last time its latest events were played.

Music repeats itself, and a small language model needs many steps to learn to copy. So the copy is computed: at each
event, find the longest match of the latest events in the piece's own past, and what followed it there. This is the
history model of PPM (Cleary and Witten 1984) within one piece. The matches have two uses:

- `lanes_of_song` and `Past.lanes` give the copy lanes of the model (`conditions.LANES`),
- `mixture.Mixture` mixes the followers with the model's own distribution.

`matches_of_song` computes a whole song at once, for training. `Past` computes one event at a time, for composing. Both
give the same result, and neither looks at any event behind the one it is computed for.

Conventions: a match of length L ends at event t when the L events up to t equal the L events up to an earlier event j.
Its follower is event j + 1. Matches are looked for at the lengths `LENGTHS` only, and the longest one counts. Of a
match, the latest `VISITS` earlier places are kept, the most recent first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

IntArray = npt.NDArray[np.integer]

#: Match lengths in events, increasing.
LENGTHS: Final = (3, 4, 6, 8, 12, 16, 32)
#: How many earlier places of a match are kept.
VISITS: Final = 12
#: Weight of a visit, relative to the visit after it.
DECAY: Final = 0.6
#: Marks a follower that does not exist.
NONE: Final = -1

#: The strength of a match, one number from 0 to `N_STRENGTHS` - 1: 0 without a match, else
#: 1 + AGREEMENTS * (index into `LENGTHS`) + agreement. Agreement: 0 after one visit; 1 if the latest two visits were
#: followed by different events; 2 if by the same; 3 if the latest three were.
AGREEMENTS: Final = 4
N_STRENGTHS: Final = 1 + AGREEMENTS * len(LENGTHS)

#: The copy lanes: the id of the follower (`vocabulary.PAD` without a match), and the strength of the match.
N_VALUES: Final = 2
UNKNOWN: Final = (float("nan"), float("nan"))

_VISIT_WEIGHTS: Final = DECAY ** np.arange(VISITS)


@dataclass(frozen=True, eq=False)
class Matches:
    """The longest match at every event of a song.

    length: (T,), 0 without a match, else 1 + the index into `LENGTHS`.
    followers: (T, K), ids that followed it, the most recent visit first; `NONE` where there were fewer visits.
    """

    length: npt.NDArray[np.int8]
    followers: npt.NDArray[np.int16]

    def probability(self, targets: IntArray) -> npt.NDArray[np.float64]:
        """Probability of targets (T,) among the followers, recent visits weighing more; 0 without a match."""
        weights = np.where(self.followers != NONE, DECAY ** np.arange(self.followers.shape[1]), 0.0)
        hits = (weights * (self.followers == np.asarray(targets)[:, None])).sum(axis=1)
        return hits / np.maximum(weights.sum(axis=1), 1e-12)

    def strength(self) -> npt.NDArray[np.int8]:
        """(T,), 0 to `N_STRENGTHS` - 1. Needs at least three visits a match."""
        first, second, third = self.followers[:, :3].T
        agreement = (second != NONE).astype(np.int8)
        agreement += (second != NONE) & (second == first)
        agreement += (agreement == 2) & (third == first)
        return np.where(self.length > 0, 1 + AGREEMENTS * (self.length - 1) + agreement, 0).astype(np.int8)


def matches_of_song(ids: IntArray, *, visits: int = VISITS) -> Matches:
    """The matches of a whole song from its first event on: ids (T,), non-negative.

    Windows are ranked by prefix doubling (as suffix arrays are built), so that equal ranks mean equal windows, exactly:
    the rank of a window is that of its two halves. Takes O(T log T) for each length.
    """
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    n = len(ids)
    before = np.full((len(LENGTHS), n), NONE, dtype=np.int32)  # the latest earlier event with the same window
    ranks: dict[int, IntArray] = {1: ids}

    def ranked(length: int) -> IntArray:
        """Ranks (T - length + 1,) of the windows of a length; entry i is the window that begins at event i."""
        if length not in ranks:
            half = 1 << (length - 1).bit_length() - 1  # two windows of this length cover the whole one
            part, count = ranked(half), n - length + 1
            ranks[length], before_of[length] = _rank(part[:count], part[length - half : length - half + count])
        return ranks[length]

    before_of: dict[int, npt.NDArray[np.int64]] = {}
    length_index = np.zeros(n, dtype=np.int8)
    for row, length in enumerate(LENGTHS):
        if n < length:
            break
        ranked(length)
        found = before_of[length]
        has = found >= 0
        if not has.any():
            break
        before[row, length - 1 :] = np.where(has, found + length - 1, NONE)
        length_index[length - 1 :][has] = row + 1
    followers = np.full((n, visits), NONE, dtype=np.int16)
    at = np.flatnonzero(length_index)
    rows, place = length_index[at].astype(np.int64) - 1, at.astype(np.int64)
    for k in range(visits):
        place = before[rows, place].astype(np.int64)
        alive = place >= 0
        at, rows, place = at[alive], rows[alive], place[alive]
        if not len(at):
            break
        followers[at, k] = ids[place + 1]
    return Matches(length_index, followers)


def _rank(first: IntArray, second: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ranks of pairs (N,): equal for equal pairs; and of each pair, the latest earlier entry that equals it, or -1."""
    n = len(first)
    key = first * (int(second.max()) + 1) + second
    bits = max(n - 1, 1).bit_length()
    if int(key.max()).bit_length() + bits < 63:  # sorting key and place in one number is several times faster
        packed = np.sort((key << bits) | np.arange(n))
        order, key = packed & ((1 << bits) - 1), packed >> bits
    else:
        order = np.argsort(key, kind="stable")
        key = key[order]
    same = np.empty(n, dtype=bool)
    same[0] = False
    np.equal(key[1:], key[:-1], out=same[1:])
    ranks, before = np.empty(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    ranks[order] = np.cumsum(~same) - 1
    before[order[1:]] = np.where(same[1:], order[:-1], -1)
    return ranks, before


def lanes_of_song(ids: IntArray) -> npt.NDArray[np.float32]:
    """The copy lanes (T, 2) of a song's events from its first one on: ids (T,)."""
    matches = matches_of_song(ids, visits=3)
    follower = np.where(matches.length > 0, matches.followers[:, 0], v.PAD)
    return np.stack([follower, matches.strength()], axis=1).astype(np.float32)


class Past:
    """The same, event by event, for a piece that is being composed. `append` takes O(lengths + visits).

    A copy (`copy.deepcopy`) shares the events so far, which are not written again, and so takes no longer for a long
    piece. Once a piece went on from one of several copies, `join` takes its events in; the others are of no use then.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._packed = bytearray()  # of the latest events, two bytes each, so that a window is a slice
        self._last: tuple[dict[bytes, int], ...] = tuple({} for _ in LENGTHS)
        self._before: tuple[list[int], ...] = tuple([] for _ in LENGTHS)
        self._shared: Past | None = None  # the events before those of this copy
        self._first = 0  # how many these are
        self.length = 0
        self.followers: list[int] = []

    def __deepcopy__(self, memo: dict[int, object]) -> Past:
        new = Past()
        new._shared = self.join()
        new._first = len(new._shared._ids)
        new._packed = self._packed[-2 * LENGTHS[-1] :]
        new.length, new.followers = self.length, list(self.followers)
        return new

    def join(self) -> Past:
        """Put the events of this copy behind the shared ones: what all further copies share."""
        shared = self._shared
        if shared is None:
            return self
        assert len(shared._ids) == self._first, "another copy was joined"
        shared._ids += self._ids
        for row in range(len(LENGTHS)):
            shared._last[row].update(self._last[row])
            shared._before[row].extend(self._before[row])
            self._last[row].clear()
            self._before[row].clear()
        self._ids, self._first = [], len(shared._ids)
        return shared

    def append(self, event: int) -> None:
        """Take the next event; `length` and `followers` (most recent visit first, at most `VISITS`) are of it."""
        place = self._first + len(self._ids)
        self._ids.append(event)
        self._packed += event.to_bytes(2, "little")
        shared = self._shared
        self.length = 0
        for row, length in enumerate(LENGTHS):
            earlier = NONE
            if place + 1 >= length:
                window = bytes(self._packed[-2 * length :])
                found = self._last[row].get(window)
                if found is None:
                    found = NONE if shared is None else shared._last[row].get(window, NONE)
                earlier = found
                self._last[row][window] = place
            self._before[row].append(earlier)
            if earlier != NONE:
                self.length = row + 1
        self.followers = []
        if self.length:
            row = self.length - 1
            earlier = self._before[row][-1]
            while earlier != NONE and len(self.followers) < VISITS:
                self.followers.append(self._at(earlier + 1))
                earlier = self._earlier(row, earlier)

    def _at(self, place: int) -> int:
        if place >= self._first:
            return self._ids[place - self._first]
        assert self._shared is not None
        return self._shared._ids[place]

    def _earlier(self, row: int, place: int) -> int:
        if place >= self._first:
            return self._before[row][place - self._first]
        assert self._shared is not None
        return self._shared._before[row][place]

    @property
    def strength(self) -> int:
        """The strength of the latest event's match, as in `Matches.strength`."""
        if not self.length:
            return 0
        seen = self.followers[:3]
        agreement = int(len(seen) > 1) + int(len(seen) > 1 and seen[1] == seen[0])
        agreement += int(agreement == 2 and len(seen) > 2 and seen[2] == seen[0])
        return 1 + AGREEMENTS * (self.length - 1) + agreement

    @property
    def lanes(self) -> tuple[float, float]:
        """The copy lanes of the latest event, as in `lanes_of_song`."""
        return float(self.followers[0] if self.followers else v.PAD), float(self.strength)

    def distribution(self) -> npt.NDArray[np.float64]:
        """Probability of every id (SIZE,) among the followers; all 0 without a match."""
        out = np.zeros(v.SIZE)
        weights = _VISIT_WEIGHTS[: len(self.followers)]
        np.add.at(out, self.followers, weights / max(weights.sum(), 1e-12))
        return out
