"""What one song is: a table of notes in seconds, with its bars, tempo map, markers and keys.

Conventions
- Times are seconds from the beginning (`*_s`, float64); musical lengths are quarter notes (`*_quarters`); tempo is
  quarter notes a minute (`*_qpm`).
- Values are checked when they are made and never change: every array is a read-only copy, and a transform returns a
  new value. `==` compares by value, bit by bit; use `numpy.allclose` on the arrays where rounding is expected.
- A bar's label (numerator, denominator) is its written length. In a Score on its own grid the tempo map puts the
  next bar exactly that many quarter notes later; a Score read from a file may hold bars that were cut short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: The five families that songs are composed for, as in the archives (`emsync.tokenizer.families` fills them).
FAMILIES: Final = ("drums", "piano", "guitar", "bass", "strings")
#: Where no tempo is known: the Standard MIDI File's own default.
DEFAULT_QPM: Final = 120.0
MAX_QPM: Final = 100_000.0
#: Meters: what a MIDI file can hold in its numerator, and what a notation program can show below the line.
MAX_NUMERATOR: Final = 255
DENOMINATORS: Final = (1, 2, 4, 8, 16, 32, 64)

# TempoMap.from_bars: what counts as a musical tempo, how far one bar may depart from the tempo it stands in, how many
# bars in a row have to agree (and how well) to be a new tempo, and how long a relabelled bar may be.
_SLOWEST_QPM, _FASTEST_QPM = 20.0, 400.0
_DEPARTURE = 0.12
_AGREEING_BARS, _AGREEMENT = 3, 0.03
_LONGEST_BAR_QUARTERS = 8.0
_LATEST_BAR_S = 2e5
# Lengths a bar may be relabelled to: whole multiples of the first of these (quarters, denominator) that fits.
_UNITS: Final = ((0.5, 8), (0.25, 16), (0.125, 32), (0.0625, 64))
_ROUNDING_S = 1e-7
#: `Score.until` leaves out notes of which it would keep no more.
_STUMP_S = 1e-3
_SAME_CORNER = (1e-9, 1e-13)  # seconds, seconds a quarter


def _floats(name: str, values: npt.ArrayLike, unit: str) -> FloatArray:
    """A read-only copy (N,) of finite numbers."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a row of numbers in {unit}, and numpy cannot read it as one") from error
    if array.ndim != 1:
        raise InputError(f"{name} must be one row of numbers, not an array of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(f"{name}[{bad[0]}] is {array[bad[0]]}, which is no number of {unit}; leave it out or mend it")
    array.setflags(write=False)
    return array


def _integers(name: str, values: npt.ArrayLike, low: int, high: int, remedy: str) -> IntArray:
    """A read-only copy (N,) of whole numbers from `low` to `high`."""
    given = np.asarray(values)
    if given.ndim != 1:
        raise InputError(f"{name} must be one row of numbers, not an array of shape {given.shape}")
    if len(given) and given.dtype.kind not in "iu" and not (given.dtype.kind == "f" and np.all(np.mod(given, 1) == 0)):
        raise InputError(f"{name} must hold whole numbers from {low} to {high}, not {given.dtype} values; {remedy}")
    bad = np.flatnonzero((given < low) | (given > high)) if len(given) else given
    if len(bad):
        raise InputError(f"{name}[{bad[0]}] is {given[bad[0]]:g}, outside {low} to {high}; {remedy}")
    array = np.array(given, dtype=np.int64)
    array.setflags(write=False)
    return array


def _check_time(name: str, time_s: float) -> None:
    if not (isinstance(time_s, (int, float, np.number)) and math.isfinite(time_s) and time_s >= 0):
        raise InputError(f"{name} at {time_s} s cannot be placed; give a time from 0 s on")


class _ByValue:
    """`==` over all public fields, arrays element by element. Values that hold arrays have no hash."""

    __dataclass_fields__: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Instrument:
    """Who plays: a track's name, its General MIDI program (0..127; for drums the kit) and whether it is a drum kit."""

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
    """A named place: `time_s` seconds from the beginning, such as a cut in the film."""

    time_s: float
    text: str

    def __post_init__(self) -> None:
        _check_time(f"marker {self.text!r}", self.time_s)
        object.__setattr__(self, "time_s", float(self.time_s))


@dataclass(frozen=True)
class KeySignature:
    """A key from `time_s` on: tonic 0..11 (pitch class, 0 = C), minor or major."""

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
class Bars(_ByValue):
    """One entry a bar (B,): where it starts in seconds (>= 0, strictly increasing), and its meter.

    numerator 1..255, denominator one of 1, 2, 4, ... 64. Before the first bar there is music without bars.
    """

    start_s: FloatArray
    numerator: IntArray
    denominator: IntArray

    def __init__(self, start_s: npt.ArrayLike, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> None:
        start = _floats("bar start_s", start_s, "seconds")
        above = _integers("bar numerator", numerator, 1, MAX_NUMERATOR, "split longer bars")
        below = _integers("bar denominator", denominator, 1, DENOMINATORS[-1], "use a power of two")
        if not len(start) == len(above) == len(below):
            raise InputError(
                f"bars have {len(start)} starts, {len(above)} numerators and {len(below)} denominators; give each one"
            )
        odd = np.flatnonzero(~np.isin(below, DENOMINATORS))
        if len(odd):
            raise InputError(f"bar denominator {below[odd[0]]} is no power of two; a meter ends in 1, 2, 4, ... or 64")
        if len(start) and start[0] < 0:
            raise InputError(f"the first bar starts at {start[0]:g} s, before the beginning; shift the score")
        late = np.flatnonzero(np.diff(start) <= 0)
        if len(late):
            i = late[0]
            raise InputError(f"bar {i + 1} at {start[i + 1]:g} s does not come after bar {i} at {start[i]:g} s; sort")
        object.__setattr__(self, "start_s", start)
        object.__setattr__(self, "numerator", above)
        object.__setattr__(self, "denominator", below)

    def __len__(self) -> int:
        return len(self.start_s)

    @cached_property
    def quarters(self) -> FloatArray:
        """Written length of each bar in quarter notes (B,)."""
        return 4.0 * self.numerator / self.denominator


@dataclass(frozen=True, eq=False)
class TempoMap(_ByValue):
    """Tempo, piecewise constant: from `times_s[i]` on it is `qpm[i]` quarter notes a minute; both (M,), M >= 1.

    `times_s[0]` is 0 and the times strictly increase; qpm lies in (0, 100000]. Quarter note 0 is at 0 s. Before 0 s
    and after the last change the outer tempi go on.
    """

    times_s: FloatArray
    qpm: FloatArray

    def __init__(self, times_s: npt.ArrayLike, qpm: npt.ArrayLike) -> None:
        times = _floats("tempo times_s", times_s, "seconds")
        tempi = _floats("tempo qpm", qpm, "quarter notes a minute")
        if len(times) != len(tempi) or not len(times):
            raise InputError(f"a tempo map has {len(times)} times and {len(tempi)} tempi; give one or more of each")
        if times[0] != 0:
            raise InputError(f"the first tempo stands at {times[0]:g} s; a tempo map begins at 0 s")
        late = np.flatnonzero(np.diff(times) <= 0)
        if len(late):
            i = late[0]
            raise InputError(f"tempo {i + 1} at {times[i + 1]:g} s does not come after {times[i]:g} s; sort them")
        bad = np.flatnonzero((tempi <= 0) | (tempi > MAX_QPM))
        if len(bad):
            raise InputError(
                f"tempo {bad[0]} is {tempi[bad[0]]:g} quarter notes a minute, not over 0 and up to {MAX_QPM:g}; clip it"
            )
        object.__setattr__(self, "times_s", times)
        object.__setattr__(self, "qpm", tempi)

    def __len__(self) -> int:
        return len(self.times_s)

    @classmethod
    def constant(cls, qpm: float) -> TempoMap:
        """One tempo throughout."""
        return cls([0.0], [qpm])

    @cached_property
    def quarters(self) -> FloatArray:
        """Where the changes stand, in quarter notes (M,)."""
        return np.concatenate([[0.0], np.cumsum(np.diff(self.times_s) * self.qpm[:-1] / 60.0)])

    def quarters_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """Seconds to quarter notes, any shape. Inverse of `seconds_at`."""
        times = np.asarray(times_s, dtype=np.float64)
        i = np.maximum(np.searchsorted(self.times_s, times, side="right") - 1, 0)
        return np.asarray(self.quarters[i] + (times - self.times_s[i]) * self.qpm[i] / 60.0)

    def seconds_at(self, quarters: npt.ArrayLike) -> FloatArray:
        """Quarter notes to seconds, any shape. Inverse of `quarters_at`."""
        places = np.asarray(quarters, dtype=np.float64)
        i = np.maximum(np.searchsorted(self.quarters, places, side="right") - 1, 0)
        return np.asarray(self.times_s[i] + (places - self.quarters[i]) * 60.0 / self.qpm[i])

    def qpm_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """The tempo in force at each time, any shape."""
        i = np.searchsorted(self.times_s, np.asarray(times_s, dtype=np.float64), side="right") - 1
        return np.asarray(self.qpm[np.maximum(i, 0)])

    @classmethod
    def from_bars(
        cls, bars: Bars, *, tolerance_s: float = 0.004, duration_s: float | None = None
    ) -> tuple[TempoMap, Bars]:
        """The tempo map that bars imply, and the bars moved onto exactly that map.

        Tempo changes stand at bar starts only, and as few as keep every bar within `tolerance_s` (> 0) of where it
        was; where a round number of quarter notes a minute does, it is taken. Of the bars given back, bar 0 starts at
        0 s and bar i at `tempo.seconds_at(sum of the quarters before it)`, exactly.

        So that the tempo stays musical, bars may be relabelled:
        - A first bar after 0 s is a pickup's end: bars are added in front, the first of them as long as the tempo
          asks (a whole number of eighths, or of the longest shorter note that fits).
        - A bar whose own tempo is outside 20 to 400, or more than 12 % off the tempo around it, is given the nearest
          length in half quarter notes (or shorter notes, where a half quarter is too coarse), and is split into bars
          of its old length where that exceeds 8 quarters. Three bars in a row that agree within 3 % on a new tempo
          are a tempo change instead.
        - A bar too short for that (less than three quarters of a 64th) loses its bar line to its neighbour.
        The last bar goes on in the tempo before it. A lone bar takes its tempo from `duration_s`, the end of the
        music, where that gives 40 to 240; else it is 120.
        """
        if not (math.isfinite(tolerance_s) and tolerance_s > 0):
            raise InputError(f"a tolerance of {tolerance_s} s allows no tempo map; give more than 0 s")
        if not len(bars):
            raise InputError("no bars were given, so there is no tempo to find; use TempoMap.constant instead")
        if bars.start_s[-1] > _LATEST_BAR_S:
            raise InputError(
                f"the last bar is at {bars.start_s[-1]:g} s, past {_LATEST_BAR_S:g} s; were they given in milliseconds?"
            )
        starts_s, labels = _relabelled(bars, tolerance_s, duration_s)
        quarters = np.array([4.0 * above / below for above, below in labels])
        places = np.concatenate([[0.0], np.cumsum(quarters[:-1])])
        changes, qpm = _fewest_tempi(places, starts_s, tolerance_s, _typical_qpm(bars, duration_s))
        lengths_s = np.diff(places[changes]) * 60.0 / qpm[:-1]
        tempo = cls(np.concatenate([[0.0], np.cumsum(lengths_s)]), qpm)
        return tempo, Bars(tempo.seconds_at(places), [above for above, _ in labels], [below for _, below in labels])


@dataclass(frozen=True, eq=False)
class Score(_ByValue):
    """A song: notes as arrays of one length N, and what they stand on.

    instruments: who plays. instrument (N,): index into `instruments`. pitch (N,): 0..127. velocity (N,): 1..127.
    start_s, end_s (N,): seconds, 0 <= start_s < end_s. tempo, bars: see there. markers, keys: sorted by time.
    duration_s: the piece's length, at least the last end (the default).
    Notes are sorted on construction by (start, instrument, pitch, end).
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
    ) -> None:
        who = _integers("instrument", instrument, 0, len(instruments) - 1, "each note needs an entry of `instruments`")
        pitches = _integers("pitch", pitch, 0, 127, "give MIDI pitches, 60 for middle C")
        velocities = _integers("velocity", velocity, 1, 127, "a velocity of 0 is a note that is not played; drop it")
        starts = _floats("start_s", start_s, "seconds")
        ends = _floats("end_s", end_s, "seconds")
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
        """A score without notes: 120 quarter notes a minute and one bar of 4/4 unless told otherwise."""
        tempo = TempoMap.constant(DEFAULT_QPM) if tempo is None else tempo
        bars = Bars([0.0], [4], [4]) if bars is None else bars
        return cls(instruments, [], [], [], [], [], tempo, bars, markers=markers, duration_s=duration_s)

    def __len__(self) -> int:
        return len(self.pitch)

    def select(self, mask: npt.ArrayLike) -> Score:
        """The notes where `mask` (N,) of bool is true, or those at its indices; everything else stays."""
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
        )

    def of(self, instrument_index: int) -> Score:
        """The notes of one instrument; `instruments` stays whole."""
        if not 0 <= instrument_index < len(self.instruments):
            count = len(self.instruments)
            raise InputError(f"instrument {instrument_index} does not exist; there are {count}, counted from 0")
        return self.select(self.instrument == instrument_index)

    def until(self, duration_s: float) -> Score:
        """The score as a piece of exactly `duration_s` seconds (0 or more), which may also be longer than it was.

        What begins there or later is left out: notes (those too that would keep a millisecond or less), bars, markers
        and keys; what still sounds is cut off there. The tempo map stays whole. Raises `InputError` for a duration
        that is no number of seconds, or negative.
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
        """Everything `seconds` later; the first tempo fills the gap, without bars.

        Earlier where negative: notes may not begin before 0 s; bars and markers there are dropped, and the tempo and
        the key in force at the new beginning hold from it on.
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
        )


# ---------------------------------------------------------------------------------------------------------------------
# TempoMap.from_bars: first the labels, then the fewest tempi.


def _typical_qpm(bars: Bars, duration_s: float | None) -> float:
    """The median of the bars' own musical tempi."""
    if len(bars) == 1:
        rest_s = (duration_s or 0.0) - bars.start_s[0]
        qpm = 60.0 * bars.quarters[0] / rest_s if rest_s > 0 else 0.0
        return float(qpm) if 40.0 <= qpm <= 240.0 else DEFAULT_QPM
    with np.errstate(over="ignore"):
        own = 60.0 * bars.quarters[:-1] / np.diff(bars.start_s)
    musical = np.sort(own[(own >= _SLOWEST_QPM) & (own <= _FASTEST_QPM)])
    return float(musical[len(musical) // 2]) if len(musical) else DEFAULT_QPM


def _fitted(length: float) -> tuple[float, int] | None:
    """The multiple of an eighth, or of the longest shorter note, within 12 % of a length in quarters, and its
    denominator; where even 64ths are that coarse, the nearest one, unless it is more than a third off: None."""
    for unit, denominator in _UNITS:
        count = round(length / unit)
        # The tempo departs by the inverse: count * unit / length.
        if count and abs(count * unit / length - 1) <= _DEPARTURE:
            return count * unit, denominator
    if count and abs(count * unit / length - 1) <= 1 / 3:
        return count * unit, denominator
    return None


def _labels(length: float, nominal: tuple[int, int], *, short_first: bool = False) -> list[tuple[int, int]]:
    """Meters whose lengths sum to `length` quarters (a multiple of a 64th): one bar, or, past 8 quarters, as many of
    the nominal meter as fit and one with the rest."""
    usual = 4.0 * nominal[0] / nominal[1]
    full, rest = 0, length
    if length > _LONGEST_BAR_QUARTERS:
        if not 1.0 <= usual <= _LONGEST_BAR_QUARTERS:
            nominal, usual = (4, 4), 4.0
        full = int(length // usual)
        rest = length - full * usual
    labels = [nominal] * full
    if rest:
        unit, denominator = next((unit, below) for unit, below in ((1.0, 4), *_UNITS) if rest % unit == 0)
        odd = nominal if rest == usual else (round(rest / unit), denominator)
        labels.insert(0 if short_first else full, odd)
    return labels


def _relabelled(bars: Bars, tolerance_s: float, duration_s: float | None) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Bar starts in seconds, the first at 0, and meters under which every bar keeps a musical tempo."""
    running = _typical_qpm(bars, duration_s)
    start = bars.start_s
    nominal = list(zip(bars.numerator.tolist(), bars.denominator.tolist(), strict=True))
    starts: list[float] = [0.0]
    labels: list[tuple[int, int]] = []

    def place(until_s: float, length: float, meter: tuple[int, int], short_first: bool = False) -> None:
        """Add the bars of one stretch, evenly in time, up to the next start."""
        begin_s = starts[-1]
        done = 0.0
        for label in _labels(length, meter, short_first=short_first):
            labels.append(label)
            done += 4.0 * label[0] / label[1]
            starts.append(begin_s + (until_s - begin_s) * done / length)
        starts[-1] = until_s

    first_s = float(start[0])
    if first_s > tolerance_s:
        lead = _fitted(first_s * running / 60.0)
        if lead is not None:  # else the first bar begins at 0 instead
            place(first_s, lead[0], nominal[0], short_first=True)

    waiting: tuple[int, int] | None = None  # the meter of a bar whose end was too near to be one
    for i in range(len(bars) - 1):
        meter = waiting or nominal[i]
        quarters = 4.0 * meter[0] / meter[1]
        length_s = float(start[i + 1]) - starts[-1]
        own = 60.0 * quarters / length_s if length_s > 0 else math.inf
        if _is_near(own, running):
            labels.append(meter)
            starts.append(float(start[i + 1]))
            running += (own - running) / 2
            waiting = None
        elif waiting is None and (new := _new_tempo(bars, i, tolerance_s)) is not None:
            labels.append(meter)
            starts.append(float(start[i + 1]))
            running = new
        elif (fitted := _fitted(length_s * running / 60.0)) is not None:
            place(float(start[i + 1]), fitted[0], meter)
            waiting = None
        else:  # this bar ends too soon: its end is no bar line
            waiting = meter
    labels.append(waiting or nominal[-1])
    return np.array(starts), labels


def _is_near(own_qpm: float, running_qpm: float) -> bool:
    return _SLOWEST_QPM <= own_qpm <= _FASTEST_QPM and abs(own_qpm / running_qpm - 1) <= _DEPARTURE


def _new_tempo(bars: Bars, i: int, tolerance_s: float) -> float | None:
    """The tempo that bar i and the ones behind it agree on, if they do and it is a musical one."""
    if i + _AGREEING_BARS >= len(bars):
        return None
    lengths_s = np.diff(bars.start_s[i : i + _AGREEING_BARS + 1])
    own = 60.0 * bars.quarters[i : i + _AGREEING_BARS] / lengths_s
    agreement = max(_AGREEMENT, 2 * tolerance_s / float(lengths_s.min()))  # the jitter of both ends
    if own.min() < _SLOWEST_QPM or own.max() > _FASTEST_QPM or own.max() > own.min() * (1 + min(agreement, _DEPARTURE)):
        return None
    return float(np.median(own))


def _fewest_tempi(
    places: FloatArray, starts_s: FloatArray, tolerance_s: float, lone_qpm: float
) -> tuple[list[int], FloatArray]:
    """A continuous line of few straight pieces within the tolerance of every (place in quarters, start in seconds).

    Returns at which bars the pieces begin, and their tempi. Goes from the end to the beginning, each piece as long as
    it can be: all lines that pass every gate so far are a convex polygon of (seconds at the piece's end, seconds a
    quarter), which each further gate clips. What is left tells in which interval the piece may begin. Then forward,
    where each piece's tempo is chosen, as round as may be.
    """
    if len(places) == 1:
        return [0], np.array([_roundest(lone_qpm * (1 - 1e-12), lone_qpm * (1 + 1e-12))])
    # A bar's own tempo is always allowed, so that one bar alone always has a line.
    own = np.diff(starts_s) / np.diff(places)
    slopes = (min(60.0 / _FASTEST_QPM, own.min()), max(60.0 / _SLOWEST_QPM, own.max()))
    gate = np.full(len(places), tolerance_s)
    gate[0] = 0.0

    last = len(places) - 1
    low, high = starts_s[last] - tolerance_s, starts_s[last] + tolerance_s
    pieces: list[tuple[int, int, list[tuple[float, float]]]] = []  # (first bar, last bar, polygon), latest first
    while last > 0:
        polygon = [(low, slopes[0]), (high, slopes[0]), (high, slopes[1]), (low, slopes[1])]
        first = last
        while first > 0:
            reach = places[last] - places[first - 1]
            centre, width = starts_s[first - 1], gate[first - 1] + _ROUNDING_S
            narrower = _clip(_clip(polygon, 1.0, -reach, centre + width), -1.0, reach, width - centre)
            if not narrower:
                break
            polygon, first = narrower, first - 1
        if first == last:  # rounding alone can bring this about: pass through the two bars
            first = last - 1
            value = min(max(starts_s[last], low), high)
            polygon = [(value, (value - starts_s[first]) / (places[last] - places[first]))]
        pieces.append((first, last, polygon))
        begins = [value - slope * (places[last] - places[first]) for value, slope in polygon]
        last, low, high = first, min(begins), max(begins)

    changes: list[int] = []
    qpm: list[float] = []
    now_s = 0.0
    for first, last, polygon in reversed(pieces):
        length = places[last] - places[first]
        slow, fast = _slopes_from(polygon, length, now_s)
        tempo = _roundest(60.0 / fast, 60.0 / slow)
        now_s += length * 60.0 / tempo
        if qpm and qpm[-1] == tempo:
            continue
        changes.append(first)
        qpm.append(tempo)
    return changes, np.array(qpm)


def _clip(polygon: list[tuple[float, float]], a: float, b: float, limit: float) -> list[tuple[float, float]]:
    """The part of a convex polygon of points (x, y) where a x + b y <= limit (Sutherland and Hodgman)."""
    kept: list[tuple[float, float]] = []
    excess = [a * x + b * y - limit for x, y in polygon]
    if max(excess, default=0.0) <= 0:
        return polygon
    for i, (here, now) in enumerate(zip(polygon, excess, strict=True)):
        before, was = polygon[i - 1], excess[i - 1]
        if (was > 0) != (now > 0):
            share = was / (was - now)
            kept.append((before[0] + share * (here[0] - before[0]), before[1] + share * (here[1] - before[1])))
        if now <= 0:
            kept.append(here)
    # Gates that only graze a corner split it into many, a rounding apart: keep one of them.
    return [
        here
        for here, before in zip(kept, [*kept[-1:], *kept], strict=False)
        if abs(here[0] - before[0]) > _SAME_CORNER[0] or abs(here[1] - before[1]) > _SAME_CORNER[1]
    ] or kept[:1]


def _slopes_from(polygon: list[tuple[float, float]], length: float, begin_s: float) -> tuple[float, float]:
    """The smallest and greatest slope of the polygon's lines that begin at `begin_s`, or near it where none does."""
    begins = [value - slope * length for value, slope in polygon]
    slopes: list[float] = []
    for i, (here, (_, slope)) in enumerate(zip(begins, polygon, strict=True)):
        before, other = begins[i - 1], polygon[i - 1][1]
        if here == begin_s:
            slopes.append(slope)
        if (before < begin_s < here) or (here < begin_s < before):
            slopes.append(other + (slope - other) * (begin_s - before) / (here - before))
    if not slopes:
        nearest = min(abs(here - begin_s) for here in begins)
        slopes = [
            (value - begin_s) / length
            for here, (value, _) in zip(begins, polygon, strict=True)
            if abs(here - begin_s) <= nearest + _ROUNDING_S
        ]
    return min(slopes), max(slopes)


def _roundest(low: float, high: float) -> float:
    """The number between two with the fewest decimals, near their middle."""
    middle = (low + high) / 2
    for digits in range(6):
        candidate = round(middle, digits)
        if low <= candidate <= high:
            return candidate
    return middle
