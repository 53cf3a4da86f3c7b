"""Mood: valence and arousal over time, and their files.

    curve = read_curve("mood.csv")          # time_s,valence,arousal
    curve.at([0.0, 12.5])

Valence and arousal lie in [-1, 1], times are in seconds, NaN means "not given". `emsync.emotions` relates both levels
to the six basic emotions; its names can be imported from here as well.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.emotions import EMOTION_NAMES as EMOTION_NAMES
from emsync.emotions import EMOTIONS as EMOTIONS
from emsync.emotions import METRICS as METRICS
from emsync.emotions import MU_MAX, emotion_point
from emsync.emotions import Metric as Metric
from emsync.emotions import mixture_mean as mixture_mean
from emsync.emotions import nearest_emotion as nearest_emotion
from emsync.emotions import plane as plane
from emsync.emotions import probabilities as probabilities
from emsync.emotions import scores as scores
from emsync.errors import InputError, printable
from emsync.files import write_bytes
from emsync.table import Table, number, read_json, read_table, read_text, seconds, shown

FloatArray = npt.NDArray[np.float64]

#: A curve may end this much after its video, for times rounded to whole seconds.
OVERHANG_S: Final = 1.0


@dataclass(frozen=True, eq=False)
class MoodCurve:
    """Valence and arousal over time.

    - times_s: (T,), increasing, from 0 s on.
    - valence, arousal: (T,), in [-1, 1], NaN where not given.

    Values between two points are interpolated linearly. Before the first point and after the last the value is held.
    Between a NaN and its neighbours nothing is given.
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
        """Arguments of `Conditions`: (times_s, values) of each level that is given somewhere."""
        levels = {"valence": self.valence, "arousal": self.arousal}
        return {name: (self.times_s, level) for name, level in levels.items() if not np.isnan(level).all()}

    @property
    def mean(self) -> tuple[float, float]:
        """Valence and arousal, each averaged over the time where it is given; NaN if it is not given at all."""
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
        # np.interp alone would return NaN at a point whose neighbour is NaN.
        return tuple(_sample(times, self.times_s, level) for level in (self.valence, self.arousal))  # type: ignore[return-value]

    def resampled(self, times_s: npt.ArrayLike) -> MoodCurve:
        """The curve with points at `times_s` (T,)."""
        return MoodCurve(np.asarray(times_s, dtype=np.float64), *self.at(times_s))

    def filled(self) -> MoodCurve:
        """The curve with gaps interpolated and ends held. A level that is not given at all stays NaN."""
        levels = []
        for level in (self.valence, self.arousal):
            given = ~np.isnan(level)
            levels.append(np.interp(self.times_s, self.times_s[given], level[given]) if given.any() else level)
        return MoodCurve(self.times_s, *levels)

    def smoothed(self, width_s: float) -> MoodCurve:
        """The curve smoothed by a Gaussian of standard deviation `width_s` > 0. Gaps stay gaps.

        Each point is weighted by the time it covers, so that dense points do not dominate.
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
            value, weight, at = level[given], lengths_s[given], times[given]
            places = np.flatnonzero(given)
            low = np.searchsorted(at, at - 4 * width_s)
            high = np.searchsorted(at, at + 4 * width_s, side="right")
            for i, first, last in zip(range(len(at)), low, high, strict=True):
                share = weight[first:last] * np.exp(-0.5 * ((at[first:last] - at[i]) / width_s) ** 2)
                result[places[i]] = (share * value[first:last]).sum() / share.sum()
            levels.append(np.clip(result, -1.0, 1.0))
        return MoodCurve(times, *levels)

    def shifted(self, seconds: float) -> MoodCurve:
        """The curve moved `seconds` later."""
        return MoodCurve(self.times_s + seconds, self.valence, self.arousal)

    def joined(self, other: MoodCurve, at_s: float, *, fade_s: float = 0.0) -> MoodCurve:
        """Join this curve until `at_s` > 0 to `other` after it, with a linear fade of `fade_s` between them.

        Both curves count seconds from the same start. Without a fade the step takes a millisecond, since a curve has
        one value at a time.
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
        """Return the curve. Raises `InputError` if it ends more than `OVERHANG_S` after `duration_s`."""
        last_s = float(self.times_s[-1])
        if last_s > duration_s + OVERHANG_S:
            raise InputError(
                f"the mood curve reaches {last_s:g} s, past the video's end ({duration_s:g} s); cut it, "
                "or give its times in seconds"
            )
        return self

    def as_json(self) -> dict[str, list[float | None]]:
        """Lists of numbers by name, None where not given."""
        rows = {"times_s": self.times_s, "valence": self.valence, "arousal": self.arousal}
        return {name: [None if math.isnan(x) else float(x) for x in row] for name, row in rows.items()}

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Write JSON that `read_curve` reads. Raises `OutputError` if `path` cannot be written."""
        write_bytes(path, (json.dumps(self.as_json()) + "\n").encode(), overwrite=overwrite)


def _sample(times: FloatArray, points_s: FloatArray, level: FloatArray) -> FloatArray:
    right = np.clip(np.searchsorted(points_s, times, side="left"), 0, len(points_s) - 1)
    exact = (points_s[right] == times) | (times <= points_s[0]) | (times >= points_s[-1])
    return np.asarray(np.where(exact, level[right], np.interp(times, points_s, level)))


# --- files ------------------------------------------------------------------------------------------------------------

#: Accepted names of a column of a table, or of a list of a JSON file.
_NAMES: Final = {
    "times_s": ("times_s", "time_s", "time", "times", "seconds", "t"),
    "valence": ("valence", "v"),
    "arousal": ("arousal", "a"),
}


def read_curve(path: str | os.PathLike[str]) -> MoodCurve:
    """A curve from a table (header `time_s,valence,arousal`) or from JSON (lists by name).

    `emsync.table` says how a table may be written. One of the levels may be missing.
    Raises `InputError` naming the file: unreadable, without these columns, with a cell that is not a number, with a gap
    (a level given at some times only), with fewer than two points, and for everything that `MoodCurve` refuses.
    """
    text = read_text(path, "mood curve")
    try:
        is_json = Path(path).suffix.lower() == ".json"
        return _curve(_json_columns(text) if is_json else _table_columns(read_table(text)))
    except InputError as error:
        raise InputError(f"{printable(os.fspath(path))}: {error}") from error


def _table_columns(table: Table) -> dict[str, Sequence[Any]]:
    if table.header is None:
        if not table.rows:
            raise InputError("the file is empty; give a header time_s,valence,arousal and two rows or more")
        raise InputError("the first line holds values; give a header time_s,valence,arousal above them")
    for row in table.rows:
        if len(row.cells) < len(table.header) or any(row.cells[len(table.header) :]):
            raise InputError(
                f"row {row.line} has {len(row.cells)} cells, the header {len(table.header)}; "
                "write one cell for each name, and decimals with a point"
            )
    found = {name: table.column(names) for name, names in _NAMES.items()}
    if found["times_s"] is None or (found["valence"] is None and found["arousal"] is None):
        return dict.fromkeys(table.header, ())
    return {name: [row.cells[place] for row in table.rows] for name, place in found.items() if place is not None}


def _json_columns(text: str) -> dict[str, Sequence[Any]]:
    content = read_json(text)
    if not isinstance(content, dict):
        raise InputError("the JSON is not a table; write lists times_s, valence, arousal")
    if isinstance(content.get("mood"), dict):
        content = content["mood"]  # as emsync analyze writes it; the times_s beside it belong to other curves
    return {name.strip().lower(): row for name, row in content.items() if isinstance(row, list)}


def _curve(columns: Mapping[str, Sequence[Any]]) -> MoodCurve:
    found = {name: next((columns[n] for n in names if n in columns), None) for name, names in _NAMES.items()}
    if found["times_s"] is None or (found["valence"] is None and found["arousal"] is None):
        names = printable(", ".join(columns))[:200]
        raise InputError(f"columns are {names or 'none'}; give time_s and valence or arousal or both")
    times = _numbers("time_s", found["times_s"])
    if np.isnan(times).any():
        raise InputError(f"time {int(np.isnan(times).argmax()) + 1} is missing; give each point its seconds")
    if len(times) < 2:
        raise InputError(f"a curve of {len(times)} points is not a curve; give two, or --valence and --arousal instead")
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
    for index, cell in enumerate(cells, start=1):
        value: float | None = math.inf
        if cell is None or cell == "":
            value = math.nan
        elif isinstance(cell, str):
            value = seconds(cell) if name == "time_s" else number(cell)
        elif isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) < 1e12:
            value = float(cell)
        if value is None or math.isinf(value):
            raise InputError(f"{name} {shown(cell)} of point {index} is not a number; write it like 0.25")
        values.append(value)
    return np.array(values, dtype=np.float64)
