"""Music to mood: a regressor from symbolic features to valence and arousal, second by second.

Conventions
- Raters answer late: music was paired with what they said `LAG_S` later. Applied, a value describes the music where it
  is.
- The regressor is ridge regression on standardised features, each clipped at `CLIP` deviations, so that music unlike
  VGMIDI's moves it only so far. It needs NumPy alone. `benchmarks/vgmidi.py` fits it on VGMIDI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import ModelError
from emsync.mood import MoodCurve
from emsync.music_mood.features import FEATURES, Notes, features
from emsync.music_mood.fitted import read_fitted, write_fitted
from emsync.score import Score

FloatArray = npt.NDArray[np.float64]

AXES: Final = ("valence", "arousal")
LAG_S: Final = 6.0
PENALTY: Final = 10.0
CLIP: Final = 3.0
SHIPPED: Final = Path(__file__).with_name("regressor.json")
LABELLER: Final = Path(__file__).with_name("labeller.json")


@dataclass(frozen=True, eq=False)
class Regressor:
    """Standardise, cut off, weigh: features (bins, F) to valence and arousal (bins, 2) in [-1, 1].

    names (F,): features in the order of the rows; mean, deviation (F,): 0 deviation is a feature not listened to;
    weights (F, 2); bias (2,).
    """

    names: tuple[str, ...]
    mean: FloatArray
    deviation: FloatArray
    weights: FloatArray
    bias: FloatArray

    def __post_init__(self) -> None:
        n = len(self.names)
        unknown = [name for name in self.names if name not in FEATURES]
        if unknown:
            raise ModelError(f"the mood regressor listens to {unknown[0]!r}, which is no feature here; fit it again")
        for name, shape in (("mean", (n,)), ("deviation", (n,)), ("weights", (n, 2)), ("bias", (2,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise ModelError(f"the mood regressor's {name} has the shape {array.shape}, not {shape}; fit it again")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def standardised(self, rows: FloatArray) -> FloatArray:
        """(bins, all features) -> (bins, F) in [-CLIP, CLIP]; NaN, a feature without a value, becomes the mean."""
        chosen = rows[:, [FEATURES.index(name) for name in self.names]]
        varies = self.deviation > 0
        scaled = np.where(varies, (chosen - self.mean) / np.where(varies, self.deviation, 1.0), 0.0)
        return np.clip(np.nan_to_num(scaled), -CLIP, CLIP)

    def apply(self, rows: FloatArray) -> FloatArray:
        """Valence and arousal (bins, 2) of feature rows (bins, all features)."""
        return np.clip(self.standardised(rows) @ self.weights + self.bias, -1.0, 1.0)

    def adapted(self, rows: FloatArray) -> Regressor:
        """The same weights, standardised by other music's features (rows of many songs): its average is neutral music.

        For a corpus unlike VGMIDI. Features that do not vary there are not listened to.
        """
        chosen = rows[:, [FEATURES.index(name) for name in self.names]]
        mean, deviation = moments(chosen)
        return replace(self, mean=mean, deviation=np.where(self.deviation > 0, deviation, 0.0))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write JSON that `Regressor.read` reads."""
        rows = {name: getattr(self, name).tolist() for name in ("mean", "deviation", "weights", "bias")}
        write_fitted(path, {"names": self.names, "lag_s": LAG_S, "clip": CLIP, "penalty": PENALTY, **rows})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Regressor:
        """The regressor at `path`. Raises `ModelError` naming it."""

        def make(content: Any) -> Regressor:
            rows = (np.array(content[name], dtype=np.float64) for name in ("mean", "deviation", "weights", "bias"))
            return cls(tuple(content["names"]), *rows)

        return read_fitted(path, "mood regressor", make)


def moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each column over its numbers; a column without any, or of one value, deviates by 0."""
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-6, deviation, 0.0)


@lru_cache(maxsize=1)
def shipped() -> Regressor:
    """The regressor fitted on all of VGMIDI that comes with emsync."""
    return Regressor.read(SHIPPED)


@lru_cache(maxsize=1)
def labeller() -> Regressor:
    """The regressor whose readings training labels are: fitted on one half of VGMIDI."""
    return Regressor.read(LABELLER)


def readings_of(music: Score | Notes, regressor: Regressor) -> FloatArray:
    """What a regressor reads in music, second by second: valence and arousal (seconds, 2)."""
    return regressor.apply(features(Notes.of_score(music) if isinstance(music, Score) else music))


def mood_of(music: Score | Notes, regressor: Regressor | None = None) -> MoodCurve:
    """The mood of music second by second: points at 0.5, 1.5, ... s, up to its end. `regressor`: the shipped one."""
    levels = readings_of(music, shipped() if regressor is None else regressor)
    return MoodCurve(np.arange(len(levels), dtype=np.float64) + np.float64(0.5), levels[:, 0], levels[:, 1])
