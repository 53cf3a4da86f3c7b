"""A mood curve for every song of a corpus: the regressor's reading, second by second, spread over the plane.

Conventions
- A curve has one value a second and axis, standing for the middle of that second; it ends with the song. In archives it
  is the rows `mood_valence` and `mood_arousal` of `mood_offset` (docs/corpus.md): int8, level = value / 127.
- The regressor leans to the middle, as every regressor does: song means would fill a corner of the plane. A level is
  therefore a rank: level = 2 F(x) - 1, with F the share of the corpus's seconds that read lower than x. The corpus
  then spans [-1, 1] evenly on both axes, 0 is its median, and 0.8 is more than nine tenths of it. The shipped table of
  quantiles was taken from 3,000 of the songs the embedded model learned from; other corpora use it too, so that a
  level means the same everywhere.
- Labels are the reading of one half of VGMIDI's pieces (`benchmarks/vgmidi.py`). The other half's regressor, `judge`,
  never took part in training and may therefore judge what was learned.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import ModelError
from emsync.mood import MoodCurve
from emsync.score import Score
from emsync.training.corpus.archive import Archive, Song
from emsync.training.mood.features import Notes
from emsync.training.mood.fitted import read_fitted, write_fitted
from emsync.training.mood.regressor import AXES, Regressor, readings_of

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]

#: A level of 1 in an archive.
FULL: Final = 127
N_QUANTILES: Final = 41
LABELLER: Final = Path(__file__).with_name("labeller.json")
JUDGE: Final = Path(__file__).with_name("judge.json")
SCALE: Final = Path(__file__).with_name("scale.json")
#: What reports say of a distribution.
PERCENTILES: Final = (5, 25, 50, 75, 95)


@dataclass(frozen=True, eq=False)
class Scale:
    """Maps a regressor's readings to levels in [-1, 1], by a corpus's quantiles.

    quantiles (N_QUANTILES, 2), increasing: the readings of valence and arousal below which 0, 1/40, ... 1 of the
    corpus's seconds are. songs: how many they were taken from.
    """

    quantiles: FloatArray
    songs: int

    def __post_init__(self) -> None:
        table = np.array(self.quantiles, dtype=np.float64)
        if table.shape != (N_QUANTILES, 2) or not np.isfinite(table).all() or (np.diff(table, axis=0) <= 0).any():
            raise ModelError(f"a mood scale of {table.shape} numbers is not a table of quantiles; fit it again")
        table.setflags(write=False)
        object.__setattr__(self, "quantiles", table)

    @classmethod
    def fit(cls, readings: Sequence[FloatArray]) -> Scale:
        """The scale that spreads the readings (seconds, 2) of a corpus's songs; each song weighs its seconds."""
        rows = np.concatenate(readings) if len(readings) else np.zeros((0, 2))
        if len(np.unique(rows[:, 0])) < N_QUANTILES or len(np.unique(rows[:, 1])) < N_QUANTILES:
            raise ModelError(f"{len(rows)} seconds of music are too few to scale moods by; use the shipped scale")
        table = np.quantile(rows, np.linspace(0, 1, N_QUANTILES), axis=0)
        # Ties would make the table ambiguous; a hair's breadth apart they are not.
        table = np.maximum.accumulate(table, axis=0) + 1e-9 * np.arange(N_QUANTILES)[:, None]
        return cls(table, len(readings))

    def apply(self, readings: FloatArray) -> FloatArray:
        """Levels (..., 2) in [-1, 1] of readings (..., 2)."""
        levels = np.linspace(-1.0, 1.0, N_QUANTILES)
        return np.stack([np.interp(readings[..., k], self.quantiles[:, k], levels) for k in range(2)], axis=-1)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write JSON that `Scale.read` reads."""
        rows = {axis: self.quantiles[:, k].round(9).tolist() for k, axis in enumerate(AXES)}
        write_fitted(path, {"songs": self.songs, **rows})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Scale:
        """The scale at `path`. Raises `ModelError` naming it."""

        def make(content: Any) -> Scale:
            return cls(np.array([content[axis] for axis in AXES], dtype=np.float64).T, int(content["songs"]))

        return read_fitted(path, "mood scale", make)


@lru_cache(maxsize=1)
def labeller() -> Regressor:
    """The regressor whose readings training labels are: fitted on one half of VGMIDI."""
    return Regressor.read(LABELLER)


@lru_cache(maxsize=1)
def judge() -> Regressor:
    """The regressor that judges composed music: fitted on the half of VGMIDI that labels did not use."""
    return Regressor.read(JUDGE)


@lru_cache(maxsize=1)
def scale() -> Scale:
    """The shipped scale: quantiles of the labeller's readings over the embedded model's corpus."""
    return Scale.read(SCALE)


def readings(music: Score | Song | Notes, regressor: Regressor | None = None) -> FloatArray:
    """Unscaled valence and arousal (seconds, 2) of music, by the labeller unless another is given."""
    return readings_of(music, labeller() if regressor is None else regressor)


def labels(music: Score | Song | Notes) -> Labels:
    """What an archive keeps of a song's mood: (seconds, 2) int8."""
    return np.rint(scale().apply(readings(music)) * FULL).astype(np.int8)


def curve(values: npt.NDArray[np.integer]) -> MoodCurve:
    """A kept row of labels (seconds, 2) as a curve with points at 0.5, 1.5, ... s."""
    levels = np.clip(values.astype(np.float64) / FULL, -1.0, 1.0)
    return MoodCurve(np.arange(len(levels), dtype=np.float64) + np.float64(0.5), levels[:, 0], levels[:, 1])


def label_songs(arrays: Mapping[str, np.ndarray], first: int, last: int) -> list[Labels]:
    """Labels of songs first to last (not included) of an archive's arrays: kept ones, or else read from the notes."""
    archive = Archive(arrays)
    return [archive.mood(i) if archive.has_mood else labels(archive[i]) for i in range(first, last)]


def with_mood(archive: Archive) -> Archive:
    """The archive with a mood curve a song; as it is where it has them."""
    if archive.has_mood:
        return archive
    return Archive({**archive.arrays, **mood_arrays(label_songs(archive.arrays, 0, len(archive)))})


def mood_arrays(curves: Sequence[Labels]) -> dict[str, np.ndarray]:
    """The archive's three arrays of songs' labels."""
    joined: Any = np.concatenate([np.zeros((0, 2), dtype=np.int8), *curves])
    return {
        "mood_offset": np.cumsum([0, *(len(c) for c in curves)], dtype=np.int64),
        "mood_valence": np.ascontiguousarray(joined[:, 0]),
        "mood_arousal": np.ascontiguousarray(joined[:, 1]),
    }


@dataclass(frozen=True)
class Levels:
    """How one axis is distributed over a corpus's seconds, in [-1, 1]; percentiles by their number, "5" to "95"."""

    mean: float
    deviation: float
    percentiles: dict[str, float]


@dataclass(frozen=True)
class Moods:
    """How moods are distributed over a corpus: both axes, and the share of seconds in each quadrant (0 is high)."""

    seconds: int
    valence: Levels
    arousal: Levels
    quadrants: dict[str, float]

    @classmethod
    def of(cls, curves: Iterable[Labels]) -> Moods:
        """The distribution of labels (seconds, 2): of songs, or of whole corpora end to end."""
        table = np.zeros((256, 256), dtype=np.int64)  # seconds of each pair of labels, from -128 on
        for rows in curves:
            index = (rows.astype(np.int64) + 128) @ np.array([256, 1])
            table += np.bincount(index, minlength=table.size).reshape(table.shape)
        total = max(int(table.sum()), 1)
        high = slice(128, None), slice(None, 128)
        quadrants = {
            f"{v} valence, {a} arousal": round(float(table[rows, columns].sum()) / total, 4)
            for v, rows in zip(("high", "low"), high, strict=True)
            for a, columns in zip(("high", "low"), high, strict=True)
        }
        return cls(int(table.sum()), _distribution(table.sum(axis=1)), _distribution(table.sum(axis=0)), quadrants)

    def summary(self) -> list[str]:
        """Lines for people."""
        lines = [f"moods of {self.seconds} seconds:"]
        for name in AXES:
            axis: Levels = getattr(self, name)
            steps = ", ".join(f"{level:+.2f}" for level in axis.percentiles.values())
            lines.append(
                f"  {name} {axis.mean:+.2f} on average, deviation {axis.deviation:.2f}; "
                f"{'/'.join(axis.percentiles)} %: {steps}"
            )
        return [*lines, "  " + "; ".join(f"{share:.0%} {name}" for name, share in self.quadrants.items())]


def _distribution(counts: npt.NDArray[np.int64]) -> Levels:
    """The distribution of one axis, from counts (256,) of labels -128 to 127. Percentiles are levels of labels."""
    levels = np.clip(np.arange(-128, 128) / FULL, -1.0, 1.0)
    if not counts.any():
        return Levels(0.0, 0.0, dict.fromkeys(map(str, PERCENTILES), 0.0))
    share = counts / counts.sum()
    mean = float(share @ levels)
    reached = np.searchsorted(np.cumsum(counts) * 100, np.array(PERCENTILES) * counts.sum())
    return Levels(
        round(mean, 4),
        round(float(np.sqrt(share @ (levels - mean) ** 2)), 4),
        {str(p): round(float(levels[at]), 4) for p, at in zip(PERCENTILES, reached, strict=True)},
    )


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """A text that differs for each labeller and scale, so that labels of an interrupted run are not mixed up."""
    return hashlib.sha256(LABELLER.read_bytes() + SCALE.read_bytes()).hexdigest()[:16]
