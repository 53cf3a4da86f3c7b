"""Readings of a regressor, spread over the plane: levels in [-1, 1] by the quantiles of a corpus.

A regressor leans to the middle, as every regressor does: song means would fill a corner of the plane. A level is
therefore a rank: level = 2 F(x) - 1, with F the share of the corpus's seconds that read lower than x. The corpus then
spans [-1, 1] evenly on both axes, 0 is its median, and 0.8 is more than nine tenths of it. The shipped table of
quantiles was taken from 3,000 of the songs the embedded model learned from; other corpora use it too, so that a level
means the same everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import ModelError
from emsync.music_mood.fitted import read_fitted, write_fitted
from emsync.music_mood.regressor import AXES

FloatArray = npt.NDArray[np.float64]

N_QUANTILES: Final = 41
SCALE: Final = Path(__file__).with_name("scale.json")


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
def scale() -> Scale:
    """The shipped scale: quantiles of the labeller's readings over the embedded model's corpus."""
    return Scale.read(SCALE)
