"""The ticks of a MIDI file, and their seconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from emsync.columns import FloatArray
from emsync.midi_format import DEFAULT_US, US_PER_MINUTE
from emsync.score import TempoMap


@dataclass(frozen=True)
class Clock:
    """Converts between ticks and seconds.

    - division: as in the file; negative for SMPTE time.
    - ticks (M,): where the tempo changes, the first at 0.
    - units (M,): the same places in units of `1 / units_per_s` seconds. All are integers below 2^53, so exact.
    - us (M,): microseconds per quarter note.
    """

    division: int
    ticks: FloatArray
    units: FloatArray
    us: FloatArray
    units_per_s: float

    @classmethod
    def of(cls, tempos: list[tuple[int, int]], division: int) -> Clock:
        """From tempo events (tick, microseconds) in the order of the file; of two at one tick the later one counts."""
        at = {0: DEFAULT_US}
        for tick, us in sorted(tempos, key=lambda event: event[0]):
            at[tick] = us
        if division > 0:
            return cls.from_changes(list(at.items()), division)
        # SMPTE: frames a second, ticks a frame. The tempo moves bars, but no note.
        frames, ticks = -(division >> 8), division & 0xFF
        rate = ticks * (30000 / 1001 if frames == 29 else float(frames))
        places = np.array(list(at), dtype=np.float64)
        return cls(division, places, places, np.array(list(at.values()), dtype=np.float64), rate)

    @classmethod
    def from_changes(cls, changes: list[tuple[int, int]], division: int) -> Clock:
        """From tempo changes (tick, microseconds) in order, the first at tick 0."""
        units = [0]
        for (tick, us), (following, _) in pairwise(changes):
            units.append(units[-1] + (following - tick) * us)
        ticks, us_all = zip(*changes, strict=True)
        return cls(
            division,
            np.array(ticks, dtype=np.float64),
            np.array(units, dtype=np.float64),
            np.array(us_all, dtype=np.float64),
            division * 1e6,
        )

    @property
    def is_smpte(self) -> bool:
        """Whether ticks are parts of a second, not of a quarter note."""
        return self.division < 0

    def seconds(self, ticks: npt.ArrayLike) -> FloatArray:
        """Seconds at each tick, any shape; ticks may be fractions. Inverse of `ticks_at`."""
        ticks = np.asarray(ticks, dtype=np.float64)
        if self.is_smpte:
            return np.asarray(ticks / self.units_per_s)
        i = np.searchsorted(self.ticks, ticks, side="right") - 1
        return np.asarray((self.units[i] + (ticks - self.ticks[i]) * self.us[i]) / self.units_per_s)

    def second(self, tick: float) -> float:
        """Seconds at one tick."""
        return float(self.seconds(tick))

    def ticks_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """Ticks, with fractions, at each second, any shape. Inverse of `seconds`; not for SMPTE time."""
        units = np.asarray(times_s, dtype=np.float64) * self.units_per_s
        i = np.maximum(np.searchsorted(self.units, units, side="right") - 1, 0)
        return np.asarray(self.ticks[i] + (units - self.units[i]) / self.us[i])

    def tempo_map(self, end: int) -> TempoMap:
        """The tempo map up to a tick, without changes that change nothing."""
        keep = np.append(True, (np.diff(self.us) != 0) & (self.ticks[1:] < max(end, 1)))
        return TempoMap(self.seconds(self.ticks[keep]), US_PER_MINUTE / self.us[keep])
