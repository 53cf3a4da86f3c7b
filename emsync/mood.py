"""Mood: valence and arousal over time, and how they map to Ekman's six basic emotions.

Conventions: valence and arousal in [-1, 1]; times in seconds; NaN where a level is not given. The map between
categories and the plane is the paper's (Section III-B4): Table I, one scale for both axes, a mixture of Gaussians.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.files import write_bytes

FloatArray = npt.NDArray[np.float64]
Metric = Literal["euclidean", "mahalanobis", "likelihood"]


@dataclass(frozen=True)
class Emotion:
    """A row of Table I: mean and standard deviation on both axes, as Russell and Mehrabian found them."""

    name: str
    valence: float
    valence_sd: float
    arousal: float
    arousal_sd: float


#: Table I of the paper.
EMOTIONS: Final = (
    Emotion("anger", -0.51, 0.20, 0.59, 0.29),
    Emotion("disgust", -0.60, 0.20, 0.35, 0.41),
    Emotion("fear", -0.64, 0.20, 0.60, 0.32),
    Emotion("joy", 0.76, 0.22, 0.48, 0.26),
    Emotion("sadness", -0.63, 0.23, -0.27, 0.34),
    Emotion("surprise", 0.40, 0.30, 0.67, 0.27),
)
EMOTION_NAMES: Final = tuple(emotion.name for emotion in EMOTIONS)
METRICS: Final[tuple[Metric, ...]] = ("euclidean", "mahalanobis", "likelihood")
#: The paper's mu_max: the largest |mean| of any category after scaling.
MU_MAX: Final = 0.8
#: Probabilities may miss a sum of one by this much, which is rounding to three digits.
SUM_TOLERANCE: Final = 0.01
#: A curve may outlast its video by this much, which is rounding to whole seconds.
OVERHANG_S: Final = 1.0


def emotion_index(name: str) -> int:
    """The row of `EMOTIONS` called `name`, in any case. Raises `InputError` naming the six."""
    wanted = name.strip().lower()
    if wanted not in EMOTION_NAMES:
        raise InputError(f"{name!r} is not one of the six emotions; give {', '.join(EMOTION_NAMES)}")
    return EMOTION_NAMES.index(wanted)


def plane(mu_max: float = MU_MAX) -> tuple[FloatArray, FloatArray]:
    """Means (6, 2) and standard deviations (6, 2) of the emotions, columns valence and arousal, scaled.

    One coefficient for all of them brings the largest |mean| to `mu_max` in (0, 1]: an axis scaled by itself would
    move sadness to an arousal it does not have (Section III-B4).
    """
    if not (math.isfinite(mu_max) and 0 < mu_max <= 1):
        raise InputError(f"mu_max {mu_max:g} is outside (0, 1]; {MU_MAX} is the paper's")
    means = np.array([[e.valence, e.arousal] for e in EMOTIONS])
    deviations = np.array([[e.valence_sd, e.arousal_sd] for e in EMOTIONS])
    scale = mu_max / np.abs(means).max()
    return means * scale, deviations * scale


def probabilities(given: Mapping[str, float] | npt.ArrayLike) -> FloatArray:
    """Probabilities over the six as (..., 6) in the order of `EMOTIONS`, from such an array or from names.

    Names left out have probability 0. Raises `InputError` for an unknown name, a number outside [0, 1], or a sum that
    is not one within 0.01; what is given back sums to one.
    """
    if isinstance(given, Mapping):
        values = np.zeros(len(EMOTIONS))
        for name, value in given.items():
            values[emotion_index(name)] = value
    else:
        values = np.asarray(given, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] != len(EMOTIONS):
        raise InputError(f"probabilities have the shape {values.shape}; give six, of {', '.join(EMOTION_NAMES)}")
    bad = values[~((values >= 0) & (values <= 1))]
    if len(bad):
        raise InputError(f"probability {bad[0]:g} is outside [0, 1]; give shares of one")
    sums = values.sum(axis=-1, keepdims=True)
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        worst = sums.flat[np.argmax(np.abs(sums - 1))]
        raise InputError(f"the emotions' probabilities sum to {worst:g}, not to one; divide them by their sum")
    return np.asarray(values / sums, dtype=np.float64)


def mixture_mean(given: Mapping[str, float] | npt.ArrayLike, *, mu_max: float = MU_MAX) -> FloatArray:
    """Valence and arousal (..., 2) in [-1, 1] of probabilities (..., 6): the mixture's mean (Section III-B4)."""
    return probabilities(given) @ plane(mu_max)[0]


def mixture_sample(
    given: Mapping[str, float] | npt.ArrayLike, generator: np.random.Generator, *, mu_max: float = MU_MAX
) -> FloatArray:
    """Valence and arousal (..., 2) drawn from the mixture: an emotion by its probability, then its Gaussian.

    A draw beyond the plane is brought to its edge.
    """
    shares = probabilities(given)
    means, deviations = plane(mu_max)
    reached = np.cumsum(shares, axis=-1) > generator.random(shares.shape[:-1] + (1,))
    # Where rounding leaves the total below the draw, the likeliest emotion is taken.
    chosen = np.where(reached.any(axis=-1), reached.argmax(axis=-1), shares.argmax(axis=-1))
    return np.asarray(np.clip(generator.normal(means[chosen], deviations[chosen]), -1.0, 1.0))


def emotion_point(name: str, *, mu_max: float = MU_MAX) -> tuple[float, float]:
    """Valence and arousal of one emotion's scaled mean."""
    valence, arousal = plane(mu_max)[0][emotion_index(name)]
    return float(valence), float(arousal)


def scores(
    valence: npt.ArrayLike, arousal: npt.ArrayLike, *, metric: Metric = "likelihood", mu_max: float = MU_MAX
) -> FloatArray:
    """How well each emotion fits each point: (..., 6), larger is better.

    The Euclidean or Mahalanobis distance, negative, or the logarithm of the Gaussian's likelihood.
    """
    if metric not in METRICS:
        raise InputError(f"{metric!r} is no way to compare; give {', '.join(METRICS)}")
    means, deviations = plane(mu_max)
    points = np.stack(np.broadcast_arrays(np.asarray(valence, float), np.asarray(arousal, float)), axis=-1)
    off = points[..., None, :] - means  # (..., 6, 2)
    if metric == "euclidean":
        return np.asarray(-np.sqrt((off**2).sum(axis=-1)))
    squared = ((off / deviations) ** 2).sum(axis=-1)
    if metric == "mahalanobis":
        return np.asarray(-np.sqrt(squared))
    return np.asarray(-squared / 2 - np.log(2 * np.pi * deviations.prod(axis=-1)))


def nearest_emotion(valence: float, arousal: float, *, metric: Metric = "likelihood", mu_max: float = MU_MAX) -> str:
    """The name of the emotion that fits a point best: the inverse of `emotion_point`."""
    for name, value in (("valence", valence), ("arousal", arousal)):
        if not -1 <= value <= 1:
            raise InputError(f"{name} {value:g} is outside [-1, 1]; scale it to that range")
    return EMOTION_NAMES[int(scores(valence, arousal, metric=metric, mu_max=mu_max).argmax())]


@dataclass(frozen=True, eq=False)
class MoodCurve:
    """Valence and arousal over time: times_s (T,) increasing, from 0 s or later; levels (T,) in [-1, 1] or NaN.

    Between its points a curve goes straight, before the first and after the last it stays. NaN is not given, and
    neither is what lies between a NaN and its neighbours.
    """

    times_s: FloatArray
    valence: FloatArray
    arousal: FloatArray

    def __post_init__(self) -> None:
        for name in ("times_s", "valence", "arousal"):
            row = np.array(getattr(self, name), dtype=np.float64)
            row.setflags(write=False)
            object.__setattr__(self, name, row)
        shapes = (self.times_s.shape, self.valence.shape, self.arousal.shape)
        if len(set(shapes)) != 1 or self.times_s.ndim != 1:
            raise InputError(
                f"a mood curve's times, valence and arousal have the shapes {shapes}; give rows of one length"
            )
        if not len(self.times_s):
            raise InputError("a mood curve has no points; give at least one")
        if not np.isfinite(self.times_s).all() or self.times_s[0] < 0:
            raise InputError("a mood curve's times must be seconds from 0 on; shift the curve, and leave no time out")
        back = np.flatnonzero(np.diff(self.times_s) <= 0)
        if len(back):
            before, after = self.times_s[back[0] : back[0] + 2]
            raise InputError(f"a mood curve's times go from {before:g} s to {after:g} s; give them increasing")
        for name in ("valence", "arousal"):
            row = getattr(self, name)
            bad = np.flatnonzero(np.abs(row) > 1)
            if len(bad):
                raise InputError(
                    f"{name} {row[bad[0]]:g} at {self.times_s[bad[0]]:g} s is outside [-1, 1]; scale it to that range"
                )

    def __len__(self) -> int:
        return len(self.times_s)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MoodCurve):
            return NotImplemented
        names = ("times_s", "valence", "arousal")
        return all(np.array_equal(getattr(self, n), getattr(other, n), equal_nan=True) for n in names)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def constant(cls, valence: float | None = None, arousal: float | None = None) -> MoodCurve:
        """One mood throughout; None is not given."""
        return cls(*(np.array([math.nan if x is None else float(x)]) for x in (0.0, valence, arousal)))

    @classmethod
    def of_emotion(cls, name: str, *, mu_max: float = MU_MAX) -> MoodCurve:
        """One emotion throughout."""
        return cls.constant(*emotion_point(name, mu_max=mu_max))

    @property
    def conditions(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """`Conditions(**curve.conditions)`: the levels of which anything is given, as (times_s, values)."""
        levels = {"valence": self.valence, "arousal": self.arousal}
        return {name: (self.times_s, level) for name, level in levels.items() if not np.isnan(level).all()}

    @property
    def mean(self) -> tuple[float, float]:
        """Valence and arousal averaged over the given time, NaN where nothing is given."""
        return self._mean(self.valence), self._mean(self.arousal)

    def _mean(self, level: FloatArray) -> float:
        pairs = (level[1:] + level[:-1]) / 2
        lengths_s = np.diff(self.times_s)
        given = ~np.isnan(pairs)
        if given.any():
            return float((pairs * lengths_s)[given].sum() / lengths_s[given].sum())
        points = level[~np.isnan(level)]
        return float(points.mean()) if len(points) else math.nan

    def at(self, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Valence and arousal at each time, any shape."""
        times = np.asarray(times_s, dtype=np.float64)
        # A NaN beside a point must not spoil the point itself, as np.interp would have it.
        return tuple(_sample(times, self.times_s, level) for level in (self.valence, self.arousal))  # type: ignore[return-value]

    def resampled(self, times_s: npt.ArrayLike) -> MoodCurve:
        """The curve with points at `times_s` (T,)."""
        return MoodCurve(np.asarray(times_s, dtype=np.float64), *self.at(times_s))

    def filled(self) -> MoodCurve:
        """Gaps bridged by straight lines, ends held; a level that is given nowhere stays so."""
        levels = []
        for level in (self.valence, self.arousal):
            given = ~np.isnan(level)
            levels.append(np.interp(self.times_s, self.times_s[given], level[given]) if given.any() else level)
        return MoodCurve(self.times_s, *levels)

    def smoothed(self, width_s: float) -> MoodCurve:
        """Averaged over its neighbours by a Gaussian of standard deviation `width_s` > 0; gaps stay, and weigh nothing.

        Points count by the time they stand for, so an uneven curve is not pulled to where its points are dense.
        """
        if not (math.isfinite(width_s) and width_s > 0):
            raise InputError(f"a smoothing width of {width_s:g} s cannot be used; give more than 0 s")
        times = self.times_s
        if len(times) == 1:
            return self
        edges = np.concatenate([times[:1], (times[1:] + times[:-1]) / 2, times[-1:]])
        lengths_s = np.diff(edges)
        levels = []
        for level in (self.valence, self.arousal):
            given = ~np.isnan(level)
            result = np.full(len(times), math.nan)
            heard, weight, at = level[given], lengths_s[given], times[given]
            places = np.flatnonzero(given)
            low = np.searchsorted(at, at - 4 * width_s)
            high = np.searchsorted(at, at + 4 * width_s, side="right")
            for i, first, last in zip(range(len(at)), low, high, strict=True):
                share = weight[first:last] * np.exp(-0.5 * ((at[first:last] - at[i]) / width_s) ** 2)
                result[places[i]] = (share * heard[first:last]).sum() / share.sum()
            levels.append(np.clip(result, -1.0, 1.0))
        return MoodCurve(times, *levels)

    def shifted(self, seconds: float) -> MoodCurve:
        """Everything `seconds` later."""
        return MoodCurve(self.times_s + seconds, self.valence, self.arousal)

    def joined(self, other: MoodCurve, at_s: float, *, fade_s: float = 0.0) -> MoodCurve:
        """The curve until `at_s` > 0, then `other`, both in the same seconds; between them a straight fade.

        Without `fade_s` the step takes a millisecond, since a curve has one value at one time.
        """
        half = max(fade_s, 1e-3) / 2
        if not (math.isfinite(at_s) and math.isfinite(fade_s) and fade_s >= 0 and at_s - half >= 0):
            raise InputError(f"curves cannot be joined at {at_s:g} s with a fade of {fade_s:g} s; join later")
        before, after = self.times_s < at_s - half, other.times_s > at_s + half
        ends = np.array([at_s - half, at_s + half])
        mine, theirs = self.at(ends[:1]), other.at(ends[1:])
        levels = [
            np.concatenate([a[before], m, t, b[after]])
            for a, m, t, b in zip(
                (self.valence, self.arousal), mine, theirs, (other.valence, other.arousal), strict=True
            )
        ]
        return MoodCurve(np.concatenate([self.times_s[before], ends, other.times_s[after]]), *levels)

    def check_fits(self, duration_s: float) -> MoodCurve:
        """The curve itself, if it ends within `duration_s` (and a second for rounding); else `InputError`."""
        last_s = float(self.times_s[-1])
        if last_s > duration_s + OVERHANG_S:
            raise InputError(
                f"the mood curve reaches {last_s:g} s, past the video's end ({duration_s:g} s); cut it, "
                "or give its times in seconds"
            )
        return self

    def as_json(self) -> dict[str, list[float | None]]:
        """Plain lists of numbers, None where not given."""
        rows = {"times_s": self.times_s, "valence": self.valence, "arousal": self.arousal}
        return {name: [None if math.isnan(x) else float(x) for x in row] for name, row in rows.items()}

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Write JSON that `read_curve` reads. Raises `OutputError` when the place cannot be written."""
        write_bytes(path, (json.dumps(self.as_json()) + "\n").encode(), overwrite=overwrite)


def _sample(times: FloatArray, points_s: FloatArray, level: FloatArray) -> FloatArray:
    right = np.clip(np.searchsorted(points_s, times, side="left"), 0, len(points_s) - 1)
    exact = (points_s[right] == times) | (times <= points_s[0]) | (times >= points_s[-1])
    return np.asarray(np.where(exact, level[right], np.interp(times, points_s, level)))


#: What a column of a CSV file, or a list of a JSON file, may be called.
_COLUMNS: Final = {
    "times_s": ("times_s", "time_s", "time", "times", "seconds", "t"),
    "valence": ("valence", "v"),
    "arousal": ("arousal", "a"),
}


def read_curve(path: str | os.PathLike[str]) -> MoodCurve:
    """A curve from CSV (header `time_s,valence,arousal`, one of the levels may be missing) or JSON (lists by name).

    Raises `InputError` naming the file: unreadable, no such columns, a cell that is no number, a gap (a level given at
    some times only), fewer than two points, and all that `MoodCurve` refuses.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a CSV or JSON file") from error
    try:
        columns = _json_columns(text) if file.suffix.lower() == ".json" else _csv_columns(text)
        return _curve(columns)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _csv_columns(text: str) -> dict[str, Sequence[Any]]:
    try:
        rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"this is no CSV ({error}); give a header time_s,valence,arousal") from error
    if not rows:
        raise InputError("the file is empty; give a header time_s,valence,arousal and two rows or more")
    head = [cell.strip().lower() for cell in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise InputError(f"row {number} has {len(row)} cells, the header {len(head)}; give each row all of them")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(head)}


def _json_columns(text: str) -> dict[str, Sequence[Any]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"this is no JSON ({error}); write lists times_s, valence, arousal") from error
    if not isinstance(content, dict):
        raise InputError("the JSON is no table; write lists times_s, valence, arousal")
    if isinstance(content.get("mood"), dict):
        content = content["mood"]  # as emsync analyze writes it, whose own times_s are those of other curves
    # What else there is is passed over.
    return {name.strip().lower(): row for name, row in content.items() if isinstance(row, list)}


def _curve(columns: Mapping[str, Sequence[Any]]) -> MoodCurve:
    found = {name: next((columns[n] for n in names if n in columns), None) for name, names in _COLUMNS.items()}
    if found["times_s"] is None or (found["valence"] is None and found["arousal"] is None):
        raise InputError(f"columns are {', '.join(columns) or 'none'}; give time_s and valence or arousal or both")
    times = _numbers("time_s", found["times_s"])
    if np.isnan(times).any():
        raise InputError(f"time {int(np.isnan(times).argmax()) + 1} is missing; give each point its seconds")
    if len(times) < 2:
        raise InputError(f"a curve of {len(times)} points is no curve; give two, or --valence and --arousal instead")
    levels = []
    for name in ("valence", "arousal"):
        given = found[name]
        row = np.full(len(times), math.nan) if given is None else _numbers(name, given)
        if len(row) != len(times):
            raise InputError(f"{name} has {len(row)} values for {len(times)} times; give one each")
        gaps = np.isnan(row)
        if gaps.any() and not gaps.all():
            raise InputError(
                f"{name} has a gap at {times[gaps.argmax()]:g} s; fill it in, or leave that point out altogether"
            )
        levels.append(row)
    return MoodCurve(times, *levels)


def _numbers(name: str, cells: Sequence[Any]) -> FloatArray:
    values = []
    for number, cell in enumerate(cells, start=1):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            values.append(math.nan)
            continue
        try:
            value = math.inf if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError):
            value = math.inf
        if math.isinf(value):
            raise InputError(f"{name} {cell!r} of point {number} is no number; write it like 0.25")
        values.append(value)
    return np.array(values, dtype=np.float64)
