"""A reference piece: read from a MIDI file, used to prime the model, and protected from being copied.

    like = read("song.mid")
    Recipe(like=like)

A piece that is composed like another is *primed* with an excerpt of it: each window of the model begins with these
events, as if the piece had begun with them, in its tempo. `Originality` bounds how much of a family's line may be
that of the excerpt.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import meter, midi
from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, METER_LANES
from emsync.controls import key_of
from emsync.copying import lanes_of_song
from emsync.errors import InputError
from emsync.likeness import LEAST_SHARE, MOST_NOTES, Likeness
from emsync.score import Bars, Score
from emsync.tempo_map import TempoMap
from emsync.tokenizer import families
from emsync.tokenizer.events import encode, times_steps

#: An excerpt has about this many notes, in whole bars: more than the model reads, at any tempo.
EXCERPT_NOTES: Final = 400
#: No line of a family goes on like the reference for more notes than this: fewer than the 16 of a window that
#: `emsync evaluate --memorization` counts as copied.
LONGEST_RUN: Final = 10
#: Distances of more sixteenths count as this many, as `training.evaluation.copies` has it.
_MOST_SIXTEENTHS: Final = 63
#: What is added to the logits of notes that would make a run too long.
FORBIDDEN: Final = np.float32(-1e4)


def read(path: str | os.PathLike[str]) -> Likeness:
    """A reference from a MIDI file. Raises `MidiError` for no such file, `InputError` for one without enough music."""
    score = midi.read(path)
    reduced = families.reduce(score).score
    name, n = Path(path).name, len(reduced)
    starts_s = reduced.bars.start_s
    if n < 2 * LONGEST_RUN or len(starts_s) < 2:
        raise InputError(f"{path} has {n} notes in {len(starts_s)} bars; a reference needs {2 * LONGEST_RUN} in 2 bars")
    shares = np.bincount(reduced.instrument, minlength=len(v.FAMILIES)) / n
    quarters = reduced.tempo.quarters_at
    length_s = float(reduced.end_s.max() - reduced.start_s.min())
    pitched = reduced.instrument != v.DRUMS
    tonic = None
    if pitched.any():
        weights = np.bincount(
            reduced.pitch[pitched] % 12, weights=(reduced.end_s - reduced.start_s)[pitched], minlength=12
        )
        tonic = int(key_of(weights)) % 12 if np.ptp(weights) else None
    begin_q, end_q = quarters(np.array([reduced.start_s.min(), reduced.end_s.max()]))
    bars_q = np.append(quarters(starts_s), max(quarters(starts_s[-1:])[0] + reduced.bars.quarters[-1], end_q))
    first, last = _typical(reduced, bars_q)
    low_q, high_q = bars_q[first], bars_q[last]
    onset_q, off_q = quarters(reduced.start_s), quarters(reduced.end_s)
    inside = np.flatnonzero((onset_q >= low_q - 1e-6) & (onset_q < high_q - 1e-6))[:MOST_NOTES]
    ends_q = np.minimum(off_q[inside], high_q)
    return Likeness(
        name, float(np.clip(60 * (end_q - begin_q) / max(length_s, v.STEP_S), 1, 1000)), n / max(length_s, 1.0), tonic,
        _programs(score, shares), tuple(round(float(share), 4) for share in shares),
        reduced.instrument[inside].astype(np.int64), reduced.pitch[inside].astype(np.int64),
        reduced.velocity[inside].astype(np.int64), np.maximum(onset_q[inside] - low_q, 0.0),
        np.maximum(ends_q - onset_q[inside], 1e-3), bars_q[first : last + 1] - low_q,
    )  # fmt: skip


def _programs(score: Score, shares: npt.NDArray[np.float64]) -> tuple[int, ...]:
    """(5,) The program that plays most notes of each family; -1 for families that do not play."""
    count: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    played = np.bincount(score.instrument, minlength=len(score.instruments))
    for instrument, n in zip(score.instruments, played.tolist(), strict=True):
        family = families.family_of(instrument.program, instrument.is_drum)
        if family is not None and n:
            count[family][instrument.program] += n
    return tuple(
        max(count[family], key=lambda program: count[family][program]) if share >= LEAST_SHARE and count[family] else -1
        for family, share in enumerate(shares)
    )


def _typical(score: Score, bars_q: npt.NDArray[np.float64]) -> tuple[int, int]:
    """The first bar of the most typical excerpt, and the one behind it: as dense, and by the same families, as all."""
    onset_q = score.tempo.quarters_at(score.start_s)
    bar = np.clip(np.searchsorted(bars_q, onset_q + 1e-6, side="right") - 1, 0, len(bars_q) - 2)
    counts = np.zeros((len(bars_q), len(v.FAMILIES)))
    np.add.at(counts, (bar + 1, score.instrument), 1)
    total = counts.cumsum(axis=0)  # (B + 1, 5): notes before each bar line
    mean = total[-1] / (bars_q[-1] - bars_q[0])
    best, found = np.inf, (0, len(bars_q) - 1)
    for first in range(len(bars_q) - 1):
        last = int(np.searchsorted(total.sum(axis=1), total[first].sum() + EXCERPT_NOTES))
        if last >= len(bars_q):
            break
        rate = (total[last] - total[first]) / (bars_q[last] - bars_q[first])
        distance = float(np.abs(rate - mean).sum())
        if distance < best - 1e-9:
            best, found = distance, (first, last)
    return found


@dataclass(frozen=True, eq=False)
class Prime:
    """An excerpt as events that come before a piece: ids (T,), velocities (T,) and the lanes (T, N) after each."""

    ids: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.int64]
    lanes: npt.NDArray[np.float32]

    @classmethod
    def of(cls, like: Likeness, beat_steps: float | None, lanes: npt.NDArray[np.float32]) -> Prime:
        """The excerpt in a tempo with `beat_steps` for a quarter note; None is its own.

        lanes: (N,) those at the piece's beginning: the excerpt gets its mood, and a bar and copies of its own.
        """
        beat = 60 / like.tempo_qpm / v.STEP_S if beat_steps is None else beat_steps
        scale = beat * v.STEP_S
        bars_q = like.bar_quarters
        start_s = like.onset_quarters * scale
        lengths = np.diff(bars_q)
        score = Score(
            families.instruments_of([0] * len(v.FAMILIES)), like.family, like.pitch, like.velocity, start_s,
            np.maximum((like.onset_quarters + like.length_quarters) * scale, start_s + v.STEP_S),
            TempoMap.constant(60 / scale),
            Bars(bars_q[:-1] * scale, np.maximum(np.rint(2 * lengths), 1), [8] * len(lengths)),
        )  # fmt: skip
        events = encode(score)
        kinds = v.KIND[events.ids]
        inside = slice(int(np.flatnonzero(kinds == v.K_BAR)[0]), int(np.flatnonzero(events.ids == v.END)[0]))
        ids, velocities = events.ids[inside].astype(np.int64), events.velocities[inside].astype(np.int64)
        rows = np.repeat(np.asarray(lanes, dtype=np.float32)[None], len(ids), axis=0)
        rows[:, 0] = np.nan  # no cut is ahead
        rows[:, METER_LANES] = meter.of_events(ids, times_steps(ids), beat / 4)
        rows[:, COPY_LANES] = lanes_of_song(ids)
        return cls(ids, velocities, rows)

    @classmethod
    def none(cls, lanes: npt.NDArray[np.float32]) -> Prime:
        """Nothing; lanes: (N,) any."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(lanes)), np.float32))

    def latest(self, n: int, *, whole_bars: bool = True) -> Prime:
        """At most its last `n` events, from a bar on if there is one among them and `whole_bars` are asked for."""
        first = max(len(self.ids) - n, 0)
        bars = np.flatnonzero(v.KIND[self.ids[first:]] == v.K_BAR)
        first += int(bars[0]) if whole_bars and first and len(bars) else 0
        return Prime(self.ids[first:], self.velocities[first:], self.lanes[first:])


class Originality:
    """Keeps each family's line from going on like a reference, note for note, in any key, for more than `LONGEST_RUN`.

    Lines are compared as `training.evaluation.copies` does: by the interval and the distance in sixteenths from each
    note to the next, those of a moment from below. Drums are free.
    """

    def __init__(self, like: Likeness, longest: int = LONGEST_RUN) -> None:
        self._longest = longest
        self._following: dict[tuple[tuple[int, int], ...], set[tuple[int, int]]] = defaultdict(set)
        for family in range(1, len(v.FAMILIES)):
            own = like.family == family
            place = np.rint(4 * like.onset_quarters[own]).astype(np.int64)
            keys = np.unique(place * 128 + like.pitch[own])
            steps = list(zip(np.diff(keys % 128).tolist(), np.diff(keys // 128).tolist(), strict=True))
            steps = [(interval, min(distance, _MOST_SIXTEENTHS)) for interval, distance in steps]
            for i in range(len(steps) - longest + 1):
                self._following[tuple(steps[i : i + longest - 1])].add(steps[i + longest - 1])
        self._lines: dict[int, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=longest - 1))
        self._last: dict[int, tuple[int, int]] = {}  # by family: the latest note's sixteenth and pitch

    def _step(self, family: int, pitch: int, sixteenth: int) -> tuple[int, int]:
        last = self._last[family]
        return pitch - last[1], min(sixteenth - last[0], _MOST_SIXTEENTHS)

    def strike(self, on: int, step: int, beat_steps: float) -> None:
        """A note begins at `step`, in a tempo with `beat_steps` for a quarter note."""
        family, pitch, sixteenth = int(v.FAMILY[on]), int(v.VALUE[on]), round(4 * step / beat_steps)
        if family == v.DRUMS:
            return
        if family in self._last:
            self._lines[family].append(self._step(family, pitch, sixteenth))
        self._last[family] = sixteenth, pitch

    def forbid(self, logits: npt.NDArray[np.float32], step: int, beat_steps: float) -> npt.NDArray[np.float32]:
        """Logits (vocabulary,) without the notes that would go on like the reference for too long."""
        sixteenth, out = round(4 * step / beat_steps), logits
        for family, (at, pitch) in self._last.items():
            distance = min(sixteenth - at, _MOST_SIXTEENTHS)
            for interval, apart in self._following.get(tuple(self._lines[family]), ()):
                low, high = v.PITCH_RANGE[family]
                if apart == distance and low <= pitch + interval <= high:
                    if out is logits:
                        out = logits.copy()
                    out[int(v.ON_BASE[family]) + pitch + interval] += FORBIDDEN
        return out
