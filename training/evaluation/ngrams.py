"""N-gram models of events: the baselines that a trained model has to beat.

Conventions
- A song is `FEWER|MORE START ... END`. Its first event is given, as it is to the model; every other one is predicted
  from the `order - 1` events before it in the song, with PAD for those before the song's beginning.
- An n-gram is one integer, 10 bits an event, the predicted one lowest; so counting is sorting.
- Every smoothing here has one form, p(w | h) = seen(h, w) + rest(h) p(w | h without its oldest event), where an unseen
  history has seen = 0 and rest = 1, and below the unigram every event has 1 / SIZE. So probabilities over the
  vocabulary sum to 1, and none is 0.
- Formulas: Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import CorpusError, InputError
from emsync.training.dataset import Dataset

IntArray = npt.NDArray[np.integer]
Keys = npt.NDArray[np.uint32]

MAX_ORDER: Final = 3
SMOOTHINGS: Final = ("add-one", "witten-bell", "kneser-ney")
_BITS = 10
if v.SIZE > 1 << _BITS:  # a larger vocabulary needs wider keys
    raise AssertionError(f"{v.SIZE} events do not fit {_BITS} bits")


@dataclass(frozen=True, eq=False)
class Level:
    """One order of a model. keys (K,) sorted n-grams and their seen(h, w); histories (H,) sorted and their rest(h)."""

    keys: Keys
    seen: npt.NDArray[np.float64]
    histories: Keys
    rest: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NGrams:
    """A smoothed n-gram model; `levels` from the lowest order to the highest. Made by `fit`."""

    order: int
    smoothing: str
    levels: tuple[Level, ...]

    def probabilities(self, histories: IntArray, ids: IntArray) -> npt.NDArray[np.float64]:
        """p(ids | histories): histories (N, order - 1), oldest event first, and ids (N,) -> (N,) in (0, 1].

        Raises `InputError` where the shapes or the ids do not fit.
        """
        histories, ids = np.asarray(histories), np.asarray(ids)
        if ids.ndim != 1 or histories.shape != (len(ids), self.order - 1):
            raise InputError(
                f"histories {histories.shape} do not fit ids {ids.shape}; give {self.order - 1} events before each id"
            )
        words = np.column_stack([histories, ids])
        if words.size and not (words.min() >= 0 and words.max() < v.SIZE):
            raise InputError(
                f"an id lies outside the vocabulary of 0 to {v.SIZE - 1}; were the events made by another vocabulary?"
            )
        keys = np.zeros(len(ids), dtype=np.uint32)
        for column in words.T:
            keys = (keys << np.uint32(_BITS)) | column.astype(np.uint32)
        return self._of_keys(keys)

    def _of_keys(self, keys: Keys) -> npt.NDArray[np.float64]:
        p = np.full(len(keys), 1 / v.SIZE)
        lowest = self.order - len(self.levels) + 1
        for order, level in enumerate(self.levels, start=lowest):
            here = keys & _mask(order)
            p = (
                _look_up(level.keys, level.seen, here, 0.0)
                + _look_up(level.histories, level.rest, here >> np.uint32(_BITS), 1.0) * p
            )
        return p

    def bits(
        self, data: Dataset, songs: Sequence[int] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Every predicted event of songs (None: all), and its cost in bits: ids (N,), bits (N,)."""
        keys = _ngrams(data, songs, self.order)
        return (keys & _mask(1)).astype(np.int64), -np.log2(self._of_keys(keys))


def fit(data: Dataset, order: int, smoothing: str = "kneser-ney", songs: Sequence[int] | None = None) -> NGrams:
    """An n-gram model of order 1 to 3 of songs (None: all).

    smoothing: "kneser-ney" (interpolated and modified: three discounts an order), "witten-bell" (interpolated) or
    "add-one" (Laplace; uses the highest order only). Needs about 20 bytes of memory an event.
    Raises `InputError` for another order or smoothing, `CorpusError` where there is nothing to count.
    """
    if order not in range(1, MAX_ORDER + 1):
        raise InputError(f"n-grams of order {order!r} are not to be had; give 1 to {MAX_ORDER}")
    if smoothing not in SMOOTHINGS:
        raise InputError(f"{smoothing!r} is no smoothing of n-grams; choose one of {', '.join(SMOOTHINGS)}")
    keys, counts = np.unique(_ngrams(data, songs, order), return_counts=True)
    if not len(keys):
        raise CorpusError("the corpus holds no events to count; prepare a larger one")
    make = {"add-one": _add_one, "witten-bell": _witten_bell, "kneser-ney": _kneser_ney}[smoothing]
    levels = [make(keys, counts)]
    if smoothing != "add-one":
        for lower in range(order - 1, 0, -1):
            shorter = keys & _mask(lower)
            if smoothing == "kneser-ney":  # how many different events it was seen after
                keys, counts = np.unique(shorter, return_counts=True)
            else:  # how often it was seen
                keys, place = np.unique(shorter, return_inverse=True)
                counts = np.bincount(place, weights=counts).astype(np.int64)
            levels.append(make(keys, counts))
    return NGrams(order, smoothing, tuple(reversed(levels)))


def discounts(counts: IntArray) -> npt.NDArray[np.float64]:
    """Modified Kneser-Ney's discounts of n-grams seen once, twice, and three times or more: counts (K,) -> (3,).

    D_k = k - (k + 1) Y n_{k+1} / n_k with Y = n_1 / (n_1 + 2 n_2), n_k being how many n-grams were seen k times. Where
    one of them has no value, or one outside (0, k], as in small or in dense counts, they are 0.5, 1, 1.5.
    """
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    if min(n1, n2, n3) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if n4 > 0 and (found > 0).all() and (found <= [1, 2, 3]).all():
            return found
    return np.array([0.5, 1.0, 1.5])


def _kneser_ney(keys: Keys, counts: IntArray) -> Level:
    discount = discounts(counts)[np.minimum(counts, 3) - 1]  # (K,)
    histories, begins = _histories(keys)
    total = np.add.reduceat(counts, begins)
    rest = np.add.reduceat(discount, begins) / total
    return Level(keys, (counts - discount) / _spread(total, begins, len(keys)), histories, rest)


def _witten_bell(keys: Keys, counts: IntArray) -> Level:
    histories, begins = _histories(keys)
    kinds = np.diff(begins, append=len(keys))
    total = np.add.reduceat(counts, begins) + kinds
    return Level(keys, counts / _spread(total, begins, len(keys)), histories, kinds / total)


def _add_one(keys: Keys, counts: IntArray) -> Level:
    histories, begins = _histories(keys)
    total = np.add.reduceat(counts, begins) + v.SIZE
    return Level(keys, counts / _spread(total, begins, len(keys)), histories, v.SIZE / total)


def _histories(keys: Keys) -> tuple[Keys, npt.NDArray[np.int64]]:
    """The different histories of sorted keys, and where each begins."""
    every = keys >> np.uint32(_BITS)
    begins = np.flatnonzero(np.append(True, every[1:] != every[:-1]))
    return every[begins], begins


def _spread(values: IntArray, begins: IntArray, n: int) -> IntArray:
    """A value for each history (H,) to one for each of its n keys."""
    return np.repeat(values, np.diff(begins, append=n))


def _mask(order: int) -> np.uint32:
    return np.uint32((1 << (_BITS * order)) - 1)


def _look_up(keys: Keys, values: npt.NDArray[np.float64], wanted: Keys, otherwise: float) -> npt.NDArray[np.float64]:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], otherwise)


def _ngrams(data: Dataset, songs: Sequence[int] | None, order: int) -> Keys:
    """The n-grams of songs, one for each predicted event: (N,)."""
    chosen = range(len(data)) if songs is None else songs
    parts = []
    for song in chosen:
        ids = np.asarray(data.ids[data.offsets[song] : data.offsets[song + 1]], dtype=np.uint32)
        # The first event is given; a trigram needs one more before it.
        ids = np.concatenate([np.full(max(order - 2, 0), v.PAD, dtype=np.uint32), ids])
        n = len(ids) - max(order - 1, 1)
        keys = np.zeros(max(n, 0), dtype=np.uint32)
        for back in range(order - 1, -1, -1):
            last = len(ids) - back
            keys = (keys << np.uint32(_BITS)) | ids[last - len(keys) : last]
        parts.append(keys)
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)
