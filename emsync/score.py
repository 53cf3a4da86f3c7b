"""A song: a table of notes in seconds, with its bars, tempo map, markers and keys.

Conventions
- Times are seconds from the beginning (`*_s`, float64); musical lengths are quarter notes (`*_quarters`); tempo is
  quarter notes a minute (`*_qpm`).
- Values are checked when they are made and never change: every array is a read-only copy, and a transform returns a
  new value. `==` compares by value, bit by bit; use `numpy.allclose` on the arrays where rounding is expected.
- A bar's meter (numerator, denominator) gives its written length. In a composed Score the tempo map puts the next bar
  exactly that many quarter notes later; a Score read from a file may hold bars that were cut short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.columns import ByValue, FloatArray, IntArray, floats, integers
from emsync.errors import InputError
from emsync.tempo_map import DEFAULT_QPM as DEFAULT_QPM
from emsync.tempo_map import DENOMINATORS as DENOMINATORS
from emsync.tempo_map import MAX_NUMERATOR as MAX_NUMERATOR
from emsync.tempo_map import MAX_QPM as MAX_QPM
from emsync.tempo_map import Bars as Bars
from emsync.tempo_map import TempoMap as TempoMap

#: The five families that songs are composed for, in the order of the archives (`emsync.tokenizer.families`).
FAMILIES: Final = ("drums", "piano", "guitar", "bass", "strings")
#: `Score.until` drops notes of which it would keep no more than this.
_STUMP_S = 1e-3


def _check_time(name: str, time_s: float) -> None:
    if not (isinstance(time_s, (int, float, np.number)) and math.isfinite(time_s) and time_s >= 0):
        raise InputError(f"{name} at {time_s} s cannot be placed; give a time from 0 s on")


@dataclass(frozen=True)
class Instrument:
    """An instrument.

    - name: the track's name.
    - program: General MIDI program, 0 to 127; of a drum kit, the number of the kit.
    - is_drum: whether it is a drum kit.
    """

    name: str
    program: int
    is_drum: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.program, (int, np.integer)) or not 0 <= self.program <= 127:
            raise InputError(
                f"instrument {self.name!r} has program {self.program}, outside 0 to 127; are they counted from 1?"
            )
        object.__setattr__(self, "program", int(self.program))
        object.__setattr__(self, "is_drum", bool(self.is_drum))


@dataclass(frozen=True)
class Marker:
    """A named point in time, such as a cut in the video: `time_s` seconds from the beginning."""

    time_s: float
    text: str

    def __post_init__(self) -> None:
        _check_time(f"marker {self.text!r}", self.time_s)
        object.__setattr__(self, "time_s", float(self.time_s))


@dataclass(frozen=True)
class KeySignature:
    """The key from `time_s` (seconds) on: `tonic` is a pitch class, 0 (C) to 11; major unless `is_minor`."""

    time_s: float
    tonic: int
    is_minor: bool = False

    def __post_init__(self) -> None:
        _check_time("key signature", self.time_s)
        if not isinstance(self.tonic, (int, np.integer)) or not 0 <= self.tonic <= 11:
            raise InputError(f"key signature has tonic {self.tonic}, outside 0 to 11; give a pitch class, 0 for C")
        object.__setattr__(self, "time_s", float(self.time_s))
        object.__setattr__(self, "tonic", int(self.tonic))
        object.__setattr__(self, "is_minor", bool(self.is_minor))


@dataclass(frozen=True, eq=False)
class Score(ByValue):
    """A song: N notes as arrays, and their time grid.

    - instruments: a tuple of `Instrument`.
    - instrument (N,): index into `instruments`. pitch (N,): 0 to 127. velocity (N,): 1 to 127.
    - start_s, end_s (N,): seconds, 0 <= start_s < end_s.
    - tempo, bars: see `TempoMap` and `Bars`.
    - markers, keys: sorted by time.
    - duration_s: the length of the piece; at least the last note's end, which is the default.
    - warnings: what was wrong with the file that the score was read from, one sentence each. They take no part in `==`.

    Notes are sorted by (start, instrument, pitch, end) when the Score is made. Raises `InputError` for values outside
    these ranges.
    """

    instruments: tuple[Instrument, ...]
    instrument: IntArray
    pitch: IntArray
    velocity: IntArray
    start_s: FloatArray
    end_s: FloatArray
    tempo: TempoMap
    bars: Bars
    markers: tuple[Marker, ...]
    keys: tuple[KeySignature, ...]
    duration_s: float
    warnings: tuple[str, ...] = field(compare=False)

    def __init__(
        self,
        instruments: tuple[Instrument, ...] | list[Instrument],
        instrument: npt.ArrayLike,
        pitch: npt.ArrayLike,
        velocity: npt.ArrayLike,
        start_s: npt.ArrayLike,
        end_s: npt.ArrayLike,
        tempo: TempoMap,
        bars: Bars,
        markers: tuple[Marker, ...] | list[Marker] = (),
        keys: tuple[KeySignature, ...] | list[KeySignature] = (),
        duration_s: float | None = None,
        warnings: tuple[str, ...] | list[str] = (),
    ) -> None:
        who = integers("instrument", instrument, 0, len(instruments) - 1, "each note needs an entry of `instruments`")
        pitches = integers("pitch", pitch, 0, 127, "give MIDI pitches, 60 for middle C")
        velocities = integers("velocity", velocity, 1, 127, "a velocity of 0 is a note that is not played; drop it")
        starts = floats("start_s", start_s, "seconds")
        ends = floats("end_s", end_s, "seconds")
        lengths = [len(who), len(pitches), len(velocities), len(starts), len(ends)]
        if len(set(lengths)) != 1:
            raise InputError(
                "instrument, pitch, velocity, start_s and end_s hold "
                f"{', '.join(map(str, lengths))} notes; give each one value a note"
            )
        early = np.flatnonzero(starts < 0)
        if len(early):
            raise InputError(f"note {early[0]} starts at {starts[early[0]]:g} s, before the beginning; shift the score")
        empty = np.flatnonzero(ends <= starts)
        if len(empty):
            i = empty[0]
            raise InputError(f"note {i} ends at {ends[i]:g} s and starts at {starts[i]:g} s; a note needs some length")
        last_s = float(ends.max(initial=0.0))
        length_s = last_s if duration_s is None else float(duration_s)
        if not math.isfinite(length_s) or length_s < last_s - 1e-6:
            raise InputError(f"a duration of {length_s:g} s cuts off a note that ends at {last_s:g} s; give more")
        order = np.lexsort((ends, pitches, who, starts))
        columns = {"instrument": who, "pitch": pitches, "velocity": velocities, "start_s": starts, "end_s": ends}
        for name, column in columns.items():
            ordered = column[order]
            ordered.setflags(write=False)
            object.__setattr__(self, name, ordered)
        object.__setattr__(self, "instruments", tuple(instruments))
        object.__setattr__(self, "tempo", tempo)
        object.__setattr__(self, "bars", bars)
        object.__setattr__(self, "markers", tuple(sorted(markers, key=lambda marker: marker.time_s)))
        object.__setattr__(self, "keys", tuple(sorted(keys, key=lambda key: key.time_s)))
        object.__setattr__(self, "duration_s", max(length_s, last_s))
        object.__setattr__(self, "warnings", tuple(warnings))

    @classmethod
    def empty(
        cls,
        instruments: tuple[Instrument, ...] = (),
        *,
        tempo: TempoMap | None = None,
        bars: Bars | None = None,
        markers: tuple[Marker, ...] = (),
        duration_s: float = 0.0,
    ) -> Score:
        """A score without notes; by default 120 quarter notes a minute and one bar of 4/4."""
        tempo = TempoMap.constant(DEFAULT_QPM) if tempo is None else tempo
        bars = Bars([0.0], [4], [4]) if bars is None else bars
        return cls(instruments, [], [], [], [], [], tempo, bars, markers=markers, duration_s=duration_s)

    def __len__(self) -> int:
        return len(self.pitch)

    def select(self, mask: npt.ArrayLike) -> Score:
        """Only the notes where `mask`, bool (N,), is true, or those at its indices; everything else stays."""
        chosen = np.asarray(mask)
        if chosen.dtype == np.bool_ and chosen.shape != self.pitch.shape:
            raise InputError(f"a mask of shape {chosen.shape} does not fit {len(self)} notes; give one value a note")
        if chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)
        return Score(
            self.instruments,
            self.instrument[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
            self.start_s[chosen],
            self.end_s[chosen],
            self.tempo,
            self.bars,
            self.markers,
            self.keys,
            self.duration_s,
            self.warnings,
        )

    def of(self, instrument_index: int) -> Score:
        """Only the notes of one instrument; `instruments` stays as it is."""
        if not 0 <= instrument_index < len(self.instruments):
            count = len(self.instruments)
            raise InputError(f"instrument {instrument_index} does not exist; there are {count}, counted from 0")
        return self.select(self.instrument == instrument_index)

    def until(self, duration_s: float) -> Score:
        """The score cut, or extended, to exactly `duration_s` seconds (>= 0).

        Notes, bars, markers and keys that begin at `duration_s` or later are dropped, and so are notes of which a
        millisecond or less would be left. Notes that still sound there end there. The tempo map stays whole.
        Raises `InputError` for a duration that is negative or no number.
        """
        if not (math.isfinite(duration_s) and duration_s >= 0):
            raise InputError(f"a score cannot be cut at {duration_s} s; give a number of seconds from 0 on")
        notes = self.select(self.start_s < duration_s - _STUMP_S)
        held = self.bars.start_s < duration_s
        return replace(
            notes,
            end_s=np.minimum(notes.end_s, duration_s),
            bars=Bars(self.bars.start_s[held], self.bars.numerator[held], self.bars.denominator[held]),
            markers=tuple(marker for marker in self.markers if marker.time_s < duration_s),
            keys=tuple(key for key in self.keys if key.time_s < duration_s),
            duration_s=duration_s,
        )

    def shifted(self, seconds: float) -> Score:
        """Everything moved by `seconds`.

        - Later (positive): the first tempo fills the gap, without bars.
        - Earlier (negative): bars and markers that would come before 0 s are dropped. The tempo and the key in force
          at the new beginning hold from there on. Raises `InputError` if a note would begin before 0 s.
        """
        if not math.isfinite(seconds):
            raise InputError(f"a score cannot be shifted by {seconds} s; give a finite number of seconds")
        first_s = float(self.start_s.min(initial=math.inf))
        if first_s + seconds < 0:
            raise InputError(f"shifting by {seconds:g} s puts a note at {first_s:g} s before 0 s; cut it off first")
        times_s = self.tempo.times_s + seconds
        held = max(int(np.searchsorted(times_s, 0.0, side="right")) - 1, 0)
        bars = self.bars.start_s + seconds >= 0
        now = [key for key in self.keys if key.time_s + seconds <= 0][-1:] if seconds < 0 else []
        later = [key for key in self.keys if key.time_s + seconds > 0 or seconds >= 0]
        return Score(
            self.instruments,
            self.instrument,
            self.pitch,
            self.velocity,
            self.start_s + seconds,
            self.end_s + seconds,
            TempoMap(np.append(0.0, times_s[held + 1 :]), self.tempo.qpm[held:]),
            Bars(self.bars.start_s[bars] + seconds, self.bars.numerator[bars], self.bars.denominator[bars]),
            [Marker(each.time_s + seconds, each.text) for each in self.markers if each.time_s + seconds >= 0],
            [KeySignature(max(key.time_s + seconds, 0.0), key.tonic, key.is_minor) for key in now + later],
            max(self.duration_s + seconds, 0.0),
            self.warnings,
        )
