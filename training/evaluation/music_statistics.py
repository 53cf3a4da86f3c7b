"""Statistics of one window of a score, and histograms of its texture.

Conventions
- A window is cut from a score at a bar, shifted to 0 s, its notes cut at its end, and passed through the tokenizer, so
  that composed and real music have the same form: five families, 8 ms, 16 velocities, tempo and bars as `decode`
  reads them. Notes that began before the window are left out, because the beginning of a piece has none.
- Musical places and lengths are sixteenths, rounded to the nearest, so that a composer's grid does not show in them;
  only the statistics of `TIMING` use the distance. Bars of a window are those entirely within it; after the last
  sound, bars continue like the last one.
- Drums count in notes a second, groove, empty bars and velocities; everything else is of pitched notes.
- A statistic without notes, or bars, is NaN. Tempo is not among the statistics: it is a setting of composing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.chords import chord_onsets
from emsync.errors import InputError
from emsync.profiles import CYMBALS, TOMS
from emsync.score import Score
from emsync.tokenizer.events import decode, encode
from emsync.vocabulary import DRUMS, FAMILIES, STEP_S

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WINDOW_S: Final = 30.0
#: How many bars back repetition is looked for.
LAGS: Final = (1, 4, 8)
#: A bar repeats another when they are at least so much alike.
REPEATED: Final = 0.8
#: The statistics by the name they have in JSON, and what they are called with their units.
STATISTICS: Final[Mapping[str, str]] = {
    "pitch_class_entropy": "pitch-class entropy, bits",
    "scale_consistency": "scale consistency",
    "groove_consistency": "groove consistency",
    "notes_per_s": "notes a second",
    **{f"notes_per_s_{family}": f"notes a second, {family}" for family in FAMILIES},
    "polyphony": "notes sounding at once",
    "voices_begun": "notes begun together",
    "note_quarters": "note length, quarters (median)",
    "note_quarters_mean": "note length, quarters (mean)",
    "onset_quarters": "time between onsets, quarters",
    "mean_pitch": "mean pitch, MIDI",
    "pitch_deviation": "deviation of pitch, semitones",
    "families": "families that play",
    **{f"bars_{family}": f"share of bars with {family}" for family in FAMILIES},
    **{f"repeated_{lag}": f"share of bars as {lag} before" for lag in LAGS},
    **{f"similarity_{lag}": f"similarity of bars {lag} apart" for lag in LAGS},
    "empty_bars": "share of empty bars",
    "drums_on_beat": "share of drums on a beat",
    "velocity": "mean velocity",
    "velocity_deviation": "deviation of velocity",
    "chords_per_minute": "long chords a minute",
    "on_sixteenths": "share of notes on a sixteenth",
    "ends_on_sixteenths": "share of notes that end on a sixteenth",
}
#: What says how a window was timed rather than what was played.
TIMING: Final = ("on_sixteenths", "ends_on_sixteenths")

_LENGTH_EDGES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 32])  # sixteenths, inclusive
_ONSET_EDGES = _LENGTH_EDGES[:-1]
_DRUM_KINDS: Final[Mapping[str, tuple[int, ...]]] = {
    "kick": (35, 36), "snare": (37, 38, 39, 40), "hi-hat": (42, 44, 46), "tom": TOMS, "cymbal": CYMBALS,
}  # fmt: skip
_LEAP = 12
_MOST_CLASSES, _MOST_VOICES = 7, 5
#: Histograms by name, and what their bins hold; each sums to 1, or to 0 where there is nothing to count.
TEXTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "family of notes": FAMILIES,
    "step of the top voice": tuple(f"{step:+d}" for step in range(-_LEAP, _LEAP + 1)),
    "interval class sounding": tuple(map(str, range(1, 7))),
    "pitch classes sounding": tuple(map(str, range(_MOST_CLASSES + 1))),
    "degree of the scale": tuple(map(str, range(12))),
    "octave": tuple(map(str, range(1, 9))),
    "notes begun together": tuple(map(str, range(1, _MOST_VOICES + 1))),
    "note length": tuple(f"up to {edge}/16" for edge in _LENGTH_EDGES) + ("longer",),
    "time between onsets": tuple(f"up to {edge}/16" for edge in _ONSET_EDGES) + ("longer",),
    "place in four beats": tuple(map(str, range(16))),
    "drum": (*_DRUM_KINDS, "other"),
}
_DRUM_KIND = np.full(128, len(_DRUM_KINDS), dtype=np.int64)
for _kind, _pitches in enumerate(_DRUM_KINDS.values()):
    _DRUM_KIND[list(_pitches)] = _kind
_SCALE = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
#: (12, 12): the pitch classes of the major scale on each tonic; natural minor scales are the same sets.
_SCALES = np.stack([np.roll(_SCALE, tonic) for tonic in range(12)])
_ROUNDING = 1e-6
#: A note read from the tokenizer's grid, in bars read from it, is at most so far from where it was meant.
_ON_TIME_S = 1.5 * STEP_S


# ---------------------------------------------------------------------------------------------------------------------
# Windows


def places_s(score: Score, length_s: float = WINDOW_S) -> Floats:
    """Where windows of a length may begin: at bars with enough music after them, or at 0 s; (0,) in a shorter score."""
    room_s = score.duration_s - length_s + _ROUNDING
    found_s = score.bars.start_s[score.bars.start_s <= room_s]
    return found_s if len(found_s) or room_s < 0 else np.zeros(1)


def window(score: Score, begin_s: float = 0.0, length_s: float = WINDOW_S) -> Score:
    """The window of a score that begins at `begin_s`, as a score of five families that lasts `length_s` (see above).

    Raises `InputError` for a length under one second or a beginning before 0 s.
    """
    if not (length_s >= 1 and begin_s >= 0):
        raise InputError(f"a window of {length_s:g} s from {begin_s:g} s cannot be cut; give 1 s or more, from 0 s on")
    notes = score.select((score.start_s >= begin_s - STEP_S / 2) & (score.start_s < begin_s + length_s - STEP_S))
    start_s = np.maximum(notes.start_s, begin_s)
    end_s = np.maximum(np.minimum(notes.end_s, begin_s + length_s), start_s + STEP_S / 2)
    shifted = Score(
        notes.instruments, notes.instrument, notes.pitch, notes.velocity, start_s, end_s, notes.tempo, notes.bars,
        duration_s=max(score.duration_s, begin_s + length_s),
    ).shifted(-begin_s)  # fmt: skip
    events = encode(shifted)
    read = decode(events.ids, events.velocities)
    read = read.select(read.start_s < length_s - _ROUNDING)
    return Score(
        read.instruments, read.instrument, read.pitch, read.velocity, read.start_s, np.minimum(read.end_s, length_s),
        read.tempo, read.bars, duration_s=length_s,
    )  # fmt: skip


def draw_window(score: Score, rng: np.random.Generator, length_s: float = WINDOW_S) -> Score | None:
    """A window that begins at a bar drawn evenly, or None from a score that is shorter."""
    begins_s = places_s(score, length_s)
    return window(score, float(rng.choice(begins_s)), length_s) if len(begins_s) else None


# ---------------------------------------------------------------------------------------------------------------------
# The grid of sixteenths that all are taken from


@dataclass(frozen=True, eq=False)
class _Grid:
    """Notes (N,) and bars (B,) of a window in sixteenths; a note's bar, and its place in it."""

    score: Score
    start: Ints
    end: Ints
    off_s: Floats  # how far each onset was from its sixteenth
    end_off_s: Floats
    bar: Ints
    place: Ints
    bar_length: Ints
    whole: Bools  # which bars are within the window
    length: int

    @classmethod
    def of(cls, score: Score) -> _Grid:
        if len(score.instruments) != len(FAMILIES):
            raise InputError(
                f"a score of {len(score.instruments)} instruments is not one of five families; cut a window of it first"
            )
        if not score.duration_s > 0:
            raise InputError("a score of 0 s has no statistics; give one that lasts")

        def sixteenths(times_s: npt.ArrayLike) -> Floats:
            return np.asarray(4 * score.tempo.quarters_at(times_s), dtype=np.float64)

        def nearest(places: npt.ArrayLike) -> Ints:
            return np.floor(np.asarray(places) + 0.5 + _ROUNDING).astype(np.int64)

        at, until = sixteenths(score.start_s), sixteenths(score.end_s)
        sixteenth_s = 15 / score.tempo.qpm_at(score.start_s)
        start, length = nearest(at), int(nearest(sixteenths(score.duration_s)))
        bars = np.unique(nearest(sixteenths(score.bars.start_s)))
        last = max(int(nearest(4 * score.bars.quarters[-1])), 1) if len(bars) else 16
        if not len(bars) or bars[0] > 0:
            bars = np.append(0, bars)
        bars = np.append(bars, np.arange(bars[-1] + last, length, last))
        bar_length = np.diff(bars, append=bars[-1] + last)
        bar = np.searchsorted(bars, start, side="right") - 1
        return cls(
            score, start, np.maximum(nearest(until), start + 1), np.abs(at - start) * sixteenth_s,
            np.abs(until - nearest(until)) * sixteenth_s, bar, start - bars[bar], bar_length,
            bars + bar_length <= length, length,
        )  # fmt: skip

    @property
    def pitched(self) -> Bools:
        return np.asarray(self.score.instrument != DRUMS)

    def table(self, columns: int, column: Ints, notes: Bools) -> Bools:
        """(whole bars, places in a bar, columns): where one of these notes begins."""
        width = int(self.bar_length[self.whole].max(initial=1))
        notes = notes & self.whole[self.bar] & (self.place < width)
        found = np.zeros((len(self.bar_length), width, columns), dtype=bool)
        found[self.bar[notes], self.place[notes], column[notes]] = True
        return np.asarray(found[self.whole])

    def classes(self) -> Bools:
        """(length, 12): which pitch classes sound in each sixteenth."""
        notes = self.pitched
        change = np.zeros((self.length + 1, 12), dtype=np.int64)
        for place, sign in ((self.start, 1), (self.end, -1)):
            np.add.at(change, (np.minimum(place[notes], self.length), self.score.pitch[notes] % 12), sign)
        return np.asarray(np.cumsum(change, axis=0)[:-1] > 0)


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else np.nan


# ---------------------------------------------------------------------------------------------------------------------
# Statistics


def statistics(score: Score) -> dict[str, float]:
    """Each of `STATISTICS` of a window (`window`), by name; NaN where there is nothing to measure.

    - Pitch-class entropy: -sum p log2 p of the twelve classes' shares of notes (Wu & Yang 2020, Section 4.1; muspy).
    - Scale consistency: the largest share of notes within one major or natural minor scale (Mogren 2016; muspy).
    - Groove consistency: 1 - the mean share of sixteenths in which a bar and the next differ in whether something
      begins (Wu & Yang 2020, GS, of neighbouring bars as in muspy).
    - Polyphony: seconds of notes over seconds in which something sounds (muspy's, of notes instead of steps).
    - Similarity of bars k apart: the (place, pitch class) pairs that both have over all of both (Jaccard), the mean of
      bars where there are any; repetition: the share of those bars where it is `REPEATED` or more.
    - Long chords as in the paper (Section III-B2, `emsync.chords`); beats are quarters from the bar line.
    """
    grid = _Grid.of(score)
    notes = grid.pitched
    family, pitch, duration_s = score.instrument, score.pitch, score.duration_s
    classes = np.bincount(pitch[notes] % 12, minlength=12)
    share = classes[classes > 0] / max(classes.sum(), 1)
    begun = np.unique(grid.start[notes])
    quarters = (grid.end - grid.start) / 4
    begins = grid.table(len(FAMILIES), family, np.ones(len(score), dtype=bool))
    plays: Bools = np.asarray(np.any(begins, axis=1))  # (whole bars, 5)
    n_bars, some = len(plays), len(share) > 0

    values = {
        "pitch_class_entropy": float(-(share * np.log2(share)).sum()) if some else np.nan,
        "scale_consistency": float((_SCALES @ classes).max() / classes.sum()) if some else np.nan,
        "groove_consistency": _groove(grid),
        "notes_per_s": len(score) / duration_s,
        "polyphony": _polyphony(score.select(notes)),
        "voices_begun": notes.sum() / len(begun) if some else np.nan,
        "note_quarters": float(np.median(quarters[notes])) if some else np.nan,
        "note_quarters_mean": _mean(quarters[notes]),
        "onset_quarters": _mean(np.diff(begun) / 4),
        "mean_pitch": _mean(pitch[notes]),
        "pitch_deviation": float(pitch[notes].std()) if some else np.nan,
        "families": float(len(np.unique(family))),
        "empty_bars": _mean(~plays.any(axis=1)),
        "drums_on_beat": _mean(grid.place[~notes] % 4 == 0),
        "velocity": _mean(score.velocity),
        "velocity_deviation": float(score.velocity.std()) if len(score) else np.nan,
        "chords_per_minute": 60 / duration_s * _chords(grid),
        "on_sixteenths": _mean(grid.off_s <= _ON_TIME_S),
        "ends_on_sixteenths": _mean(grid.end_off_s[notes] <= _ON_TIME_S),
    }
    for index, name in enumerate(FAMILIES):
        values[f"notes_per_s_{name}"] = (family == index).sum() / duration_s
        values[f"bars_{name}"] = _mean(plays[:, index])
    content = grid.table(12, pitch % 12, notes).reshape(n_bars, -1)
    for lag in LAGS:
        now, before = content[lag:], content[:-lag]
        either = (now | before).sum(axis=1)
        alike = (now & before).sum(axis=1)[either > 0] / either[either > 0]
        values[f"repeated_{lag}"], values[f"similarity_{lag}"] = _mean(alike >= REPEATED), _mean(alike)
    return {name: float(values[name]) for name in STATISTICS}


def _groove(grid: _Grid) -> float:
    onsets = grid.table(1, np.zeros(len(grid.start), dtype=np.int64), np.ones(len(grid.start), dtype=bool))[:, :, 0]
    length = grid.bar_length[grid.whole]
    differ = (onsets[1:] != onsets[:-1]).sum(axis=1)
    return 1 - _mean(differ / np.maximum(length[1:], length[:-1])) if onsets.any() else np.nan


def _polyphony(notes: Score) -> float:
    if not len(notes):
        return np.nan
    until = np.maximum.accumulate(notes.end_s)
    heard_s = np.maximum(until - np.maximum(notes.start_s, np.append(0.0, until[:-1])), 0).sum()
    return float((notes.end_s - notes.start_s).sum() / heard_s)


def _chords(grid: _Grid) -> int:
    song = np.zeros(len(grid.start), dtype=np.int64)
    quarters = (grid.end - grid.start) / 4
    first = chord_onsets(song, grid.score.instrument, grid.start, grid.score.pitch, quarters)
    return len(np.unique(grid.start[first]))


def textures(score: Score) -> dict[str, Floats]:
    """Each of `TEXTURES` of a window: name -> shares (bins,)."""
    grid = _Grid.of(score)
    notes = grid.pitched
    pitch = score.pitch[notes]
    classes = grid.classes()
    per_class = np.bincount(pitch % 12, minlength=12)
    tonic = int(np.argmax(_SCALES @ per_class))
    begun, together = np.unique(grid.start[notes], return_counts=True)
    length = (grid.end - grid.start)[notes]
    pairs = [float((classes & np.roll(classes, k, axis=1)).sum()) / (2 if k == 6 else 1) for k in range(1, 7)]
    found: dict[str, npt.ArrayLike] = {
        "family of notes": _bins(score.instrument, len(FAMILIES)),
        "step of the top voice": _bins(np.clip(_steps(grid), -_LEAP, _LEAP) + _LEAP, 2 * _LEAP + 1),
        "interval class sounding": pairs,
        "pitch classes sounding": _bins(np.minimum(classes.sum(axis=1), _MOST_CLASSES), _MOST_CLASSES + 1),
        "degree of the scale": np.roll(per_class, -tonic),
        "octave": _bins(np.clip(pitch // 12 - 1, 0, 7), 8),
        "notes begun together": _bins(np.minimum(together, _MOST_VOICES) - 1, _MOST_VOICES),
        "note length": _bins(np.searchsorted(_LENGTH_EDGES, length), len(_LENGTH_EDGES) + 1),
        "time between onsets": _bins(np.searchsorted(_ONSET_EDGES, np.diff(begun)), len(_ONSET_EDGES) + 1),
        "place in four beats": _bins(grid.place % 16, 16),
        "drum": _bins(_DRUM_KIND[score.pitch[~notes]], len(_DRUM_KINDS) + 1),
    }
    counts = {name: np.asarray(found[name], dtype=np.float64) for name in TEXTURES}
    return {name: count / max(float(count.sum()), 1.0) for name, count in counts.items()}


def _bins(values: npt.NDArray[np.integer], n: int) -> Ints:
    return np.bincount(values, minlength=n)


def _steps(grid: _Grid) -> Ints:
    """How the highest note moves from one onset to the next, in semitones, for all pitched families."""
    notes = grid.pitched
    family, start, pitch = grid.score.instrument[notes], grid.start[notes], grid.score.pitch[notes]
    order = np.lexsort((pitch, start, family))
    family, start, pitch = family[order], start[order], pitch[order]
    moves = (family[1:] != family[:-1]) | (start[1:] != start[:-1])
    top = np.flatnonzero(np.append(moves, True)[: len(order)])
    return np.asarray(np.diff(pitch[top])[np.diff(family[top]) == 0], dtype=np.int64)
