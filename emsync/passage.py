"""Figures of a short passage of events: what a critic of takes reads (`critic`).

    figures = figures_of(ids, velocities, begin)    # of events `begin` to the end, in a piece from its first event on

They are computed from the events, not from a score, because a piece that is being composed has no score yet. Training a
critic and choosing among takes call the same function.

Conventions: the passage begins with a BAR; one at its very end is where it stops. Places are in sixteenths since the
BAR before. A figure that has nothing to count is NaN. Values are of pitched notes where drums are not named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: How many bars back a bar is compared with.
LAGS: Final = (1, 2, 4)
#: So many events before a passage are read for the bars before it.
BEFORE: Final = 2000
#: An onset or end this near to a sixteenth is on it.
_ON_GRID: Final = 0.12
_KICK, _SNARE, _HATS = (35, 36), (38, 40), (42, 44, 46)
_SCALE: Final = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], dtype=bool)
_SCALES: Final = np.stack([np.roll(_SCALE, tonic) for tonic in range(12)])  # (tonics, pitch classes)
_PITCHED: Final = tuple(family for family in range(len(v.FAMILIES)) if family != v.DRUMS)

#: The names of the figures, in their order.
NAMES: Final = (
    *(f"density {family}" for family in v.FAMILIES),
    *(f"bars with {family}" for family in v.FAMILIES),
    *(f"length {v.FAMILIES[family]}" for family in _PITCHED),
    *(f"height {v.FAMILIES[family]}" for family in _PITCHED),
    "length spread", "longest", "polyphony", "voices", "onset gap", "silence", "rests",
    "pitch entropy", "pitch classes", "in scale", "chromatic", "rough", "doubled",
    "steps", "same note", "leaps", "turns",
    "onsets off grid", "ends off grid", "on beats", "off beats", "between", "rhythm entropy",
    "kick on beats", "snare on beats", "hats", "drum kinds",
    "bass on downbeat", "bass below",
    "velocity", "velocity spread", "velocity change",
    *(f"like {lag} before" for lag in LAGS), *(f"rhythm like {lag} before" for lag in LAGS), "new bars",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Notes:
    """Notes (N,) in order of onset, and bars (B,): the passage's own, and before them those it is compared with."""

    family: IntArray
    pitch: IntArray
    start: FloatArray  # sixteenths from the first bar on
    end: FloatArray
    velocity: FloatArray
    bar: IntArray
    place: FloatArray  # sixteenths since the bar
    n_bars: int
    first_bar: int  # of the passage
    seconds: float  # of the passage
    sixteenths: float

    @classmethod
    def of(cls, ids: IntArray, velocities: IntArray, begin: int) -> _Notes:
        ids = np.asarray(ids, dtype=np.int64)
        kind, step = v.KIND[ids], np.cumsum(v.SHIFT_STEPS[ids]).astype(np.float64)
        bars = np.flatnonzero(kind == v.K_BAR)
        bars = bars if len(bars) else np.array([0])
        edges = step[bars]
        sixteenths = np.maximum(2.0 * v.VALUE[ids[bars]], 1.0)  # of each bar
        lengths = np.append(np.diff(edges), 0.0)
        inner = lengths[:-1] / sixteenths[:-1]
        usual = float(np.median(inner[inner > 0])) if (inner > 0).any() else 15.0
        # A bar that is cut short, or did not end yet, is in the tempo of the others.
        per_sixteenth = np.where(lengths > 0, lengths / sixteenths, usual)
        per_sixteenth[-1] = usual
        at = np.concatenate([[0.0], np.cumsum(np.where(lengths > 0, sixteenths, 0.0)[:-1])])

        def place_of(moment: FloatArray, bar: IntArray) -> FloatArray:
            return np.maximum(moment - edges[bar], 0.0) / per_sixteenth[bar]

        events = np.flatnonzero((kind == v.K_ON) | (kind == v.K_OFF))
        key = np.where(kind[events] == v.K_ON, ids[events], v.PARTNER[ids[events]])
        order = np.lexsort((events, key))
        events, key = events[order], key[order]
        follows = np.append(key[1:] == key[:-1], False)
        until = np.where(follows, step[np.append(events[1:], 0)], step[-1])
        on = kind[events] == v.K_ON
        events, until = events[on], until[on]
        order = np.argsort(events, kind="stable")
        events, until = events[order], until[order]
        bar = np.maximum(np.searchsorted(bars, events, side="right") - 1, 0)
        bar_end = np.maximum(np.searchsorted(edges, until, side="right") - 1, 0)
        place = place_of(step[events], bar)
        # A BAR at the very end is where the passage stops.
        n_bars = len(bars) - int(len(bars) > 1 and bars[-1] == len(ids) - 1)
        own = bars[:n_bars] >= begin
        first_bar = int(np.argmax(own)) if own.any() else n_bars - 1
        seconds = max(float(step[-1] - step[begin]) * v.STEP_S, 1e-3)
        total = float(at[-1] + place_of(step[-1:], np.array([len(bars) - 1]))[0] - at[first_bar])
        return cls(
            v.FAMILY[ids[events]].astype(np.int64), v.VALUE[ids[events]].astype(np.int64), at[bar] + place,
            at[bar_end] + place_of(until, bar_end), np.asarray(velocities)[events].astype(np.float64), bar, place,
            n_bars, first_bar, seconds, max(total, 1.0),
        )  # fmt: skip

    def select(self, where: BoolArray) -> _Notes:
        return _Notes(
            self.family[where], self.pitch[where], self.start[where], self.end[where], self.velocity[where],
            self.bar[where], self.place[where], self.n_bars, self.first_bar, self.seconds, self.sixteenths,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pitch)


def figures_of(ids: npt.ArrayLike, velocities: npt.ArrayLike, begin: int = 0) -> FloatArray:
    """The figures (len(`NAMES`),) of a passage.

    Args:
        ids: (T,) the events of a piece, up to the passage's last one. The events before the passage count only where it
            is compared with the bars before it.
        velocities: (T,) velocity levels, 0 for events without.
        begin: The place of the passage's first event, a BAR.

    """
    first = max(begin - BEFORE, 0)
    every = _Notes.of(np.asarray(ids)[first:], np.asarray(velocities)[first:], begin - first)
    own = every.select(every.bar >= every.first_bar)
    notes = own.select(own.family != v.DRUMS)
    drums = own.select(own.family == v.DRUMS)
    found = [
        *_texture(own), *_lengths(notes), *_harmony(notes), *_melody(notes), *_rhythm(own, notes), *_drums(drums),
        *_bass(notes), *_loudness(own), *_repeats(every),
    ]  # fmt: skip
    assert len(found) == len(NAMES), f"{len(found)} figures of {len(NAMES)}"
    return np.array(found, dtype=np.float64)


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else np.nan


def _entropy(counts: npt.NDArray[np.integer]) -> float:
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(share * np.log2(share)).sum()) if len(share) else np.nan


def _texture(own: _Notes) -> list[float]:
    """For each family, its density and in how many bars it plays; for pitched ones, also note length and pitch."""
    families = range(len(v.FAMILIES))
    bars = max(own.n_bars - own.first_bar, 1)
    lengths = own.end - own.start
    out = [float(np.log1p((own.family == f).sum() / own.seconds)) for f in families]
    out += [len(np.unique(own.bar[own.family == f])) / bars for f in families]
    out += [_mean(np.log2(np.maximum(lengths[own.family == f], 0.25))) for f in _PITCHED]
    out += [_mean(own.pitch[own.family == f]) for f in _PITCHED]
    return out


def _lengths(notes: _Notes) -> list[float]:
    """How unlike the lengths are, the longest, and how many notes sound, begin together, and are how far apart."""
    if not len(notes):
        return [np.nan] * 5 + [1.0, 1.0]
    lengths = np.maximum(notes.end - notes.start, 0.25)
    begun, together = np.unique(np.rint(notes.start * 2), return_counts=True)
    gaps = np.diff(begun) / 2
    until = np.maximum.accumulate(notes.end)
    rests = np.maximum(notes.start[1:] - until[:-1], 0.0)
    silent = float(rests.sum()) / notes.sixteenths
    return [
        float(np.log2(lengths).std()), float(np.log2(lengths.max())), float(lengths.sum()) / notes.sixteenths,
        _mean(together), _mean(gaps), silent, float(rests.max(initial=0.0)) / 16,
    ]  # fmt: skip


def _harmony(notes: _Notes) -> list[float]:
    """Pitch classes: their entropy and number, the best scale's share, chromatic and rough neighbours, doublings."""
    if not len(notes):
        return [np.nan] * 6
    classes = np.bincount(notes.pitch % 12, minlength=12)
    # Which pitch classes sound at each eighth.
    first = float(notes.start.min())
    slots = int(max((notes.end.max() - first) // 2, 0)) + 1
    a = np.clip(((notes.start - first) // 2).astype(int), 0, slots - 1)
    b = np.clip(np.ceil((notes.end - first) / 2).astype(int), a + 1, slots)
    change = np.zeros((slots + 1, 12))
    np.add.at(change, (a, notes.pitch % 12), 1)
    np.add.at(change, (b, notes.pitch % 12), -1)
    count = np.cumsum(change, axis=0)[:-1]
    sounds = count > 0.5
    some = sounds.any(axis=1)
    pairs = np.array([(sounds & np.roll(sounds, k, axis=1)).sum() / (2 if k == 6 else 1) for k in range(1, 7)])
    return [
        _entropy(classes), _mean(sounds.sum(axis=1)[some]), float((_SCALES @ classes).max() / classes.sum()),
        float((classes > 0).sum()), float(pairs[0] + pairs[5]) / max(float(pairs.sum()), 1.0),
        float(count.sum()) / max(float(sounds.sum()), 1.0),
    ]  # fmt: skip


def _melody(notes: _Notes) -> list[float]:
    """How the top voice of each family moves: its steps, repeated notes, leaps and turns."""
    order = np.lexsort((notes.pitch, np.rint(notes.start * 2), notes.family))
    family, start, pitch = notes.family[order], np.rint(notes.start[order] * 2), notes.pitch[order]
    top = np.append((family[1:] != family[:-1]) | (start[1:] != start[:-1]), True)[: len(order)]
    family, pitch = family[top], pitch[top]
    moves = np.diff(pitch)[np.diff(family) == 0]
    if not len(moves):
        return [np.nan] * 4
    size = np.abs(moves)
    turns = np.sign(moves[1:]) * np.sign(moves[:-1]) < 0
    return [_mean(np.minimum(size, 12)), _mean(size == 0), _mean(size > 7), _mean(turns)]


def _rhythm(own: _Notes, notes: _Notes) -> list[float]:
    """Onsets and ends off the sixteenths, and where in the beat notes begin."""
    off = np.abs(own.start - np.rint(own.start))
    ends = np.abs(notes.end - np.rint(notes.end))
    place = np.rint(own.place).astype(int)
    return [
        _mean(off > _ON_GRID), _mean(ends > _ON_GRID), _mean(place % 4 == 0), _mean(place % 4 == 2),
        _mean(place % 2 == 1), _entropy(np.bincount(place % 16, minlength=16)),
    ]  # fmt: skip


def _drums(drums: _Notes) -> list[float]:
    place = np.rint(drums.place).astype(int)
    kick, snare = np.isin(drums.pitch, _KICK), np.isin(drums.pitch, _SNARE)
    return [
        _mean(place[kick] % 8 == 0), _mean(place[snare] % 8 == 4), _mean(np.isin(drums.pitch, _HATS)),
        float(len(np.unique(drums.pitch))) if len(drums) else np.nan,
    ]  # fmt: skip


def _bass(notes: _Notes) -> list[float]:
    """Whether the bass plays where bars begin, and whether it is the lowest."""
    bass = notes.family == v.BASS
    if not bass.any() or bass.all():
        return [np.nan, np.nan]
    downbeats = len(np.unique(notes.bar[bass & (np.rint(notes.place) == 0)]))
    return [
        downbeats / max(notes.n_bars - notes.first_bar, 1),
        _mean(notes.pitch[~bass] > np.median(notes.pitch[bass])),
    ]  # fmt: skip


def _loudness(own: _Notes) -> list[float]:
    """Velocity levels: the mean, their spread, and how they change from one note of a family to its next."""
    if not len(own):
        return [np.nan] * 3
    order = np.lexsort((own.start, own.family))
    level, family = own.velocity[order], own.family[order]
    change = np.abs(np.diff(level))[np.diff(family) == 0]
    return [_mean(level), float(level.std()), _mean(change)]


def _repeats(every: _Notes) -> list[float]:
    """How bars resemble those some bars before them, by notes and by rhythm; and the share without a twin before."""
    place = np.minimum(np.rint(every.place).astype(int), 31)
    bars: list[frozenset[tuple[int, int, int]]] = []
    rhythms: list[frozenset[tuple[int, int]]] = []
    order = np.argsort(every.bar, kind="stable")
    cuts = np.searchsorted(every.bar[order], np.arange(every.n_bars + 1))
    rows = np.stack([place, every.family, every.pitch], axis=1)[order].tolist()
    for i in range(every.n_bars):
        bar = rows[cuts[i] : cuts[i + 1]]
        bars.append(frozenset((p, f, n) for p, f, n in bar))
        rhythms.append(frozenset((p, f) for p, f, _ in bar))

    def alike(kept: list[frozenset], lag: int) -> float:  # type: ignore[type-arg]
        pairs = [(kept[i], kept[i - lag]) for i in range(max(every.first_bar, lag), every.n_bars)]
        return _mean([len(a & b) / len(a | b) for a, b in pairs if a or b])

    new = [bars[i] not in bars[:i] for i in range(every.first_bar, every.n_bars) if bars[i]]
    return [*(alike(bars, lag) for lag in LAGS), *(alike(rhythms, lag) for lag in LAGS), _mean(new)]
