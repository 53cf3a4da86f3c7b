"""The tempo, the beat of every cut and the bar lines, found together before a note is composed.

    plan = plan_tempo(cuts_s, duration_s, center_qpm=104.0)
    plan.hit_beats                       # the beat of each cut; -1 where the tempo may not bend so far
    plan.to_nominal(cuts_s)              # from film time to the time that music is composed in; back: to_film

As programs for spotting do, but for all cuts at once: in each of many tempi, a dynamic program finds the beats for the
cuts between which the tempo bends least (`emsync.tempo_search`, docs/decisions/0018-tempo-for-the-film.md).

Conventions
- A beat is a quarter note, numbered from 0 at 0 s. Times are seconds from the film's first frame (`_s`).
- Music is composed in *nominal* time, where each beat is the same whole number of steps; beat n is the film's beat n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.columns import FloatArray, IntArray
from emsync.errors import InputError
from emsync.recipe import Recipe
from emsync.tempo_map import Bars, TempoMap
from emsync.tempo_ramps import BAR_BEATS, Limits, curve
from emsync.tempo_search import Path, Search, promising
from emsync.vocabulary import STEP_S

#: Hits keep this distance in nominal time: a CHORD meets every boundary less than this away (the paper's Algorithm 1).
APART_S: Final = 1.0
#: Tempi are tried this far apart (as a share). The most promising are searched in full: `_FIRST` of them, and on to
#: `_IN_FULL` while cuts are missed in each; fewer for long lists of cuts, which come out alike in every tempo.
_TEMPO_STEP, _FIRST, _IN_FULL, _CUTS_IN_FULL = 0.004, 5, 24, 800
#: A tempo that is off by this share from the one to stay near costs as much as bending all bars by 1.5 %.
_FAR: Final = 0.12


@dataclass(frozen=True, eq=False)
class TempoPlan:
    """A tempo for a film.

    Attributes:
        mean_qpm: The tempo that is bent, in quarter notes per minute.
        beat_steps: The length of a beat of nominal time, in steps of 8 ms.
        beats_s: (N + 1,) When each beat comes, the first at 0 s, the last not before the end.
        hit_beats: (B,) The beat of each cut, -1 for a cut that the tempo cannot meet.
        bar_beats: How many beats each bar has; all beats but the last are in a bar.

    """

    mean_qpm: float
    beat_steps: int
    beats_s: FloatArray
    hit_beats: IntArray
    bar_beats: tuple[int, ...]

    @property
    def met(self) -> npt.NDArray[np.bool_]:
        """(B,) Which cuts are met."""
        return self.hit_beats >= 0

    @property
    def nominal_qpm(self) -> float:
        """The tempo that the music is composed in."""
        return 60 / (self.beat_steps * STEP_S)

    @property
    def hits_nominal_s(self) -> FloatArray:
        """(M,) The cuts that are met, in nominal time."""
        return np.asarray(self.hit_beats[self.met] * (self.beat_steps * STEP_S))

    def to_nominal(self, film_s: npt.ArrayLike) -> FloatArray:
        """Film time to nominal time, any shape. Inverse of `to_film`."""
        return _interpolated(film_s, self.beats_s, self._nominal_s)

    def to_film(self, nominal_s: npt.ArrayLike) -> FloatArray:
        """Nominal time to film time, any shape. Inverse of `to_nominal`."""
        return _interpolated(nominal_s, self._nominal_s, self.beats_s)

    @cached_property
    def _nominal_s(self) -> FloatArray:
        return np.asarray(np.arange(len(self.beats_s)) * (self.beat_steps * STEP_S))

    @cached_property
    def tempo(self) -> TempoMap:
        """The tempo, which changes at beats."""
        qpm = 60 / np.diff(self.beats_s)
        keep = np.append(True, np.abs(np.diff(qpm)) > 1e-9 * qpm[1:])
        return TempoMap(self.beats_s[:-1][keep], qpm[keep])

    @cached_property
    def bars(self) -> Bars:
        """The bars."""
        starts = np.concatenate([[0], np.cumsum(self.bar_beats)[:-1]]).astype(np.int64)
        return Bars(self.beats_s[starts], self.bar_beats, [4] * len(self.bar_beats))

    @cached_property
    def bend(self) -> FloatArray:
        """(bars,) How far the tempo of each bar is from the mean: 0.02 for two percent faster."""
        edges = np.concatenate([[0], np.cumsum(self.bar_beats)])
        edges = edges[edges < len(self.beats_s)]
        return np.asarray(np.diff(edges) * 60 / np.diff(self.beats_s[edges]) / self.mean_qpm - 1)

    @property
    def median_bend(self) -> float:
        """How far the tempo of a bar is from the mean: the median over all bars."""
        return float(np.median(np.abs(self.bend)))

    @property
    def largest_bend(self) -> float:
        """How far the tempo of a bar is from the mean: the maximum over all bars."""
        return float(np.abs(self.bend).max())

    @property
    def largest_jump(self) -> float:
        """The largest relative difference between the tempi of two neighbouring bars."""
        tempi = 1 + self.bend
        return float(np.abs(tempi[1:] / tempi[:-1] - 1).max(initial=0.0))


def _interpolated(times_s: npt.ArrayLike, from_s: FloatArray, to_s: FloatArray) -> FloatArray:
    """Times by the piecewise linear function that takes `from_s` to `to_s`; past both ends it goes straight on."""
    times = np.asarray(times_s, dtype=np.float64)
    slopes = np.diff(to_s) / np.diff(from_s)
    early, late = np.minimum(times - from_s[0], 0.0), np.maximum(times - from_s[-1], 0.0)
    return np.asarray(np.interp(times, from_s, to_s) + early * slopes[0] + late * slopes[-1])


def plan_for(
    recipe: Recipe,
    cuts_s: npt.ArrayLike,
    duration_s: float,
    arousal: float | None = None,
    strength: npt.ArrayLike | None = None,
    valence: float | None = None,
) -> TempoPlan | None:
    """The plan that a recipe asks for; None if it asks for none.

    - cuts_s: (B,) the cuts to meet.
    - arousal, valence: the piece's means in [-1, 1], which move the range of tempi.
    - strength: as for `plan_tempo`.
    """
    drawn = recipe.tempo(arousal, valence)
    if not recipe.plans or drawn is None:
        return None
    return plan_tempo(
        cuts_s, duration_s, tempo_qpm=recipe.tempo_qpm, center_qpm=drawn,
        range_qpm=recipe.tempo_range(arousal, valence), max_bend=recipe.max_bend,
        metre_changes=recipe.metre_changes, strength=strength,
    )  # fmt: skip


def plan_tempo(
    cuts_s: npt.ArrayLike,
    duration_s: float,
    *,
    tempo_qpm: float | None = None,
    center_qpm: float = 108.0,
    range_qpm: tuple[float, float] = (84.0, 132.0),
    max_bend: float = 3.0,
    metre_changes: bool = False,
    strength: npt.ArrayLike | None = None,
) -> TempoPlan:
    """Find the tempo that bends least while every cut is met by a beat, strong ones by a downbeat if possible.

    Args:
        cuts_s: (B,) The cuts to meet, increasing, between 0 and the end.
        duration_s: The film's length.
        tempo_qpm: The mean tempo, if it is given.
        center_qpm: Else the tempo to stay near, within `range_qpm`.
        range_qpm: The slowest and the fastest tempo that may be chosen.
        max_bend: How far the tempi of neighbouring bars may differ, in percent; twice that in all.
        metre_changes: Whether bars of 2/4 and 3/4 may stand before a cut, so that it falls on a downbeat.
        strength: (B,) How much each cut wants a downbeat, and to be met at all, from 0 to 1. None: 1 for all.

    Raises:
        InputError: The cuts are not increasing, or not within the film; strengths out of range.

    """
    cuts = np.asarray(cuts_s, dtype=np.float64)
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"a film of {duration_s} s cannot be scored; its length must be more than 0 s")
    if cuts.ndim != 1 or not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        raise InputError("the cuts are not one row of increasing times in seconds; sort them, and leave out doubles")
    if len(cuts) and not 0 < cuts[0] <= cuts[-1] < duration_s:
        raise InputError(f"cuts from {cuts[0]:g} s to {cuts[-1]:g} s are not all within a film of {duration_s:g} s")
    strong = np.ones(len(cuts)) if strength is None else np.asarray(strength, dtype=np.float64)
    if strong.shape != cuts.shape or not ((strong >= 0) & (strong <= 1)).all():
        raise InputError(f"{strong.size} strengths for {cuts.size} cuts; give each a number from 0 to 1")
    limits = Limits.of(max_bend)
    if tempo_qpm is not None or not len(cuts):
        tempi = [center_qpm if tempo_qpm is None else tempo_qpm]
    else:
        low, high = range_qpm
        low, high = min(low, center_qpm), max(high, center_qpm)
        down, up = (int(abs(math.log(edge / center_qpm)) / _TEMPO_STEP) for edge in (low, high))
        tried = center_qpm * np.exp(_TEMPO_STEP * np.arange(-down, up + 1))
        count = max(1, min(_IN_FULL, _CUTS_IN_FULL // len(cuts)))
        tempi = promising(cuts, tried, _far(tried, center_qpm), limits, count)
    bars = max(1.0, duration_s * center_qpm / 60 / BAR_BEATS)
    found: list[tuple[float, Path, Search]] = []
    for tried_already, qpm in enumerate(tempi):
        if tried_already >= _FIRST and any(len(path.beats) == len(cuts) for _, path, _ in found):
            break
        search = Search(
            cuts, strong, 60 / qpm, limits, apart=math.ceil(APART_S / (beat_of(qpm) * STEP_S) - 1e-9), end_s=duration_s,
            metre_changes=metre_changes,
        )  # fmt: skip
        path = search.run()
        price = path.cost / bars + float(_far(np.array(qpm), center_qpm))
        found.append((price, path, search))
    _, path, search = min(found, key=lambda one: one[0])
    return _planned(search.refined(path), search, cuts, duration_s)


def _far(qpm: FloatArray, center_qpm: float) -> FloatArray:
    """The cost per bar of a tempo that differs from the one to stay near."""
    return np.asarray(np.square(np.log(qpm / center_qpm) / _FAR))


def _planned(path: Path, search: Search, cuts: FloatArray, duration_s: float) -> TempoPlan:
    """The plan of a path: its beats in seconds, and its bars."""
    beat_s, nodes_s = search.beat_s, np.concatenate([[0.0], cuts])
    beats_s: list[FloatArray] = [np.zeros(1)]
    bars, hit_beats = _BarLines(), np.full(len(cuts), -1, dtype=np.int64)
    for k, count in enumerate(path.beats):
        begin_s, end_s = nodes_s[path.nodes[k]], nodes_s[path.nodes[k + 1]]
        total = (end_s - begin_s) / beat_s - count
        e = curve(path.stretches[k], path.stretches[k + 1], count, total, search.limits)
        passed_s = begin_s + beat_s * np.cumsum(1 + (e[1:] + e[:-1]) / 2)
        passed_s[-1] = end_s
        beats_s.append(passed_s)
        bars.add(count, begin_bar=path.resets[k])
        hit_beats[path.nodes[k + 1] - 1] = bars.total
    last_s, slow = float(beats_s[-1][-1]), 1 + path.stretches[-1]
    count = max(1, math.ceil((duration_s - last_s) / (beat_s * slow) - 1e-9))
    count += -(bars.open + count) % BAR_BEATS
    beats_s.append(np.asarray(last_s + beat_s * slow * np.arange(1, count + 1)))
    bars.add(count)
    return TempoPlan(60 / beat_s, beat_of(60 / beat_s), np.concatenate(beats_s), hit_beats, tuple(bars.beats))


class _BarLines:
    """Bars of four beats, one after the other; one or two shorter ones before a cut that asks for a bar line.

    beats: how many each bar has. open: how many have passed in the bar that has begun. total: how many in all.
    """

    def __init__(self) -> None:
        self.beats: list[int] = []
        self.open = self.total = 0

    def add(self, count: int, *, begin_bar: bool = False) -> None:
        """Let beats pass; begin_bar: shorten bars so that a bar line comes after them."""
        self.total += count
        self.open += count
        while self.open >= 2 * BAR_BEATS or (self.open >= BAR_BEATS and not (begin_bar and self.open == BAR_BEATS + 1)):
            self.beats.append(BAR_BEATS)
            self.open -= BAR_BEATS
        if begin_bar and self.open:
            self.beats += [BAR_BEATS - 1, self.open - BAR_BEATS + 1] if self.open > BAR_BEATS else [self.open]
            self.open = 0


def beat_of(tempo_qpm: float) -> int:
    """The length of a quarter note in steps, for the tempo nearest to `tempo_qpm` whose sixteenth is whole steps.

    Songs are moved to the same tempi in training (docs/decisions/0001-tempo-snapping.md).
    """
    if not (math.isfinite(tempo_qpm) and tempo_qpm > 0):
        raise InputError(f"a tempo of {tempo_qpm} is not above 0; give quarter notes per minute, such as 120")
    return 4 * max(1, round(60 / (tempo_qpm * 4 * STEP_S)))
