"""A mood curve for every song of a corpus: the regressor's reading, second by second, spread over the plane.

Conventions
- A curve has one value a second and axis, standing for the middle of that second; it ends with the song. In archives it
  is the rows `mood_valence` and `mood_arousal` of `mood_offset` (docs/corpus.md): int8, level = value / 127.
- Levels are readings, spread over the plane (`music_mood.scale`).
- Labels are the reading of one half of VGMIDI's pieces (`benchmarks/vgmidi.py`). The other half's regressor, `judge`,
  never took part in training and may therefore judge what was learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.mood import MoodCurve
from emsync.music_mood.features import Notes
from emsync.music_mood.regressor import AXES, LABELLER, Regressor, labeller, readings_of
from emsync.music_mood.scale import SCALE, scale
from emsync.score import Score, TempoMap
from emsync.training.corpus.archive import Archive, Song
from emsync.training.corpus.archive_events import DEFAULT_QPM, QPM_RANGE, STEPS_PER_QUARTER

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]

#: A level of 1 in an archive.
FULL: Final = 127
JUDGE: Final = Path(__file__).with_name("judge.json")
#: What reports say of a distribution.
PERCENTILES: Final = (5, 25, 50, 75, 95)


@lru_cache(maxsize=1)
def judge() -> Regressor:
    """The regressor that judges composed music: fitted on the half of VGMIDI that labels did not use."""
    return Regressor.read(JUDGE)


def notes_of_song(song: Song) -> Notes:
    """The notes of a song of an archive; absurd tempi are clipped as everywhere (`archive_events.QPM_RANGE`)."""
    step = np.append(0, song.tempo_step).astype(np.int64)
    qpm = np.append(DEFAULT_QPM, np.clip(np.nan_to_num(song.tempo_qpm, nan=DEFAULT_QPM), *QPM_RANGE))
    last = np.append(step[1:] > step[:-1], True)  # of several at one step the last holds
    step, qpm = step[last], qpm[last]
    seconds = np.concatenate([[0.0], np.cumsum(np.diff(step) / STEPS_PER_QUARTER * 60.0 / qpm[:-1])])
    tempo = TempoMap(seconds, qpm)
    start_s = tempo.seconds_at(song.start_step / STEPS_PER_QUARTER)
    end_s = tempo.seconds_at((song.start_step + song.duration_step) / STEPS_PER_QUARTER)
    duration_s = float(end_s.max(initial=0.0))
    return Notes(song.family, song.pitch, song.velocity, start_s, end_s, tempo, duration_s)


def readings(music: Score | Song | Notes, regressor: Regressor | None = None) -> FloatArray:
    """Unscaled valence and arousal (seconds, 2) of music, by the labeller unless another is given."""
    music = notes_of_song(music) if isinstance(music, Song) else music
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
