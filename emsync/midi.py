"""Score <-> Standard MIDI File.

Conventions
- A *tick* is a file's own unit of time, a *division* its ticks a quarter note; tempo is whole microseconds a quarter
  note (`*_us`). Ticks and microseconds are integers, so that positions are exact at any length; they become seconds by
  one division at the end.
- Written: type 1; a conductor track with tempo, meter, keys and markers, then one track an instrument.
- Read: whatever a sequencer ever wrote. Bytes are parsed here rather than by a library because none of symusic 0.6,
  mido 1.3 and pretty_midi 0.2 reads all of it: SMPTE time, notes without an end, type 2, text in any encoding and
  files with a wrong length each fail in one of them. They are the witnesses in the tests.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import MidiError
from emsync.files import write_bytes
from emsync.score import (
    DENOMINATORS,
    MAX_NUMERATOR,
    MAX_QPM,
    Bars,
    Instrument,
    KeySignature,
    Marker,
    Score,
    TempoMap,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: What a file may hold. More is a damaged file or a hostile one.
MAX_TRACKS: Final = 1024
MAX_HOURS: Final = 24
MAX_BYTES: Final = 256 * 2**20
MAX_BARS: Final = 1_000_000

TICKS_PER_QUARTER: Final = 480
DRUM_CHANNEL: Final = 9
MELODIC_CHANNELS: Final = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)

_DEFAULT_US = 500_000  # 120 quarter notes a minute, where a file gives no tempo
_SLOWEST_US = 0xFFFFFF
_US_PER_MINUTE = 60_000_000
_MAX_DELTA = 0x0FFFFFFF  # what four bytes of seven bits hold
_RELEASE = 64  # a note-off's velocity where none is meant
# A bar or tempo change may stand this many ticks from where a neighbour's length puts it and still be the same place.
_SAME_PLACE_TICKS = 0.75
# A tick of _HALF_TICK_US * 2 keeps every note within half of that of its time.
_HALF_TICK_US = 995
# A time this near to a tick stands on it.
_SAME_TICK = 5e-4
_SAME_TIME_US = 1e-3
# Over how many quarters an accumulated rounding of the tempo is made good.
_MEND_QUARTERS = 16.0
_HURRY_QUARTERS = 8

_TEXT_NAME, _TEXT_INSTRUMENT, _TEXT_MARKER = 0x03, 0x04, 0x06
_END_OF_TRACK, _TEMPO, _METER, _KEY = 0x2F, 0x51, 0x58, 0x59


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(path: str | os.PathLike[str]) -> Score:
    """Any Standard MIDI File as a Score; see `from_bytes`.

    Raises `MidiError`, naming the path, when it is missing, no MIDI file, cut off, or beyond the limits above.
    """
    try:
        size = os.stat(path).st_size
        if size > MAX_BYTES:
            raise MidiError(f"{path} has {size} bytes, over {MAX_BYTES}; is it a MIDI file? Give a smaller one")
        data = Path(path).read_bytes()
    except OSError as error:
        raise MidiError(f"{path} cannot be read ({error.strerror}); check the name and its permissions") from error
    return from_bytes(data, name=str(path))


def from_bytes(data: bytes, *, name: str = "MIDI data") -> Score:
    """The bytes of a Standard MIDI File as a Score. Inverse of `to_bytes`.

    - Type 0, 1 and 2 (whose tracks are played one after another), in ticks a quarter or SMPTE time, bare or in a RIFF.
    - An instrument is one track's notes of one channel and program, named like its track. Where a track sets no
      program itself, another track's on the same channel holds. Channel 10 (9 on the wire) is a drum kit. A track
      without notes is an instrument if it has a name and sets one program.
    - A note-off ends every note of its channel and pitch that began before it; a note without one ends with its track;
      a note without length lasts a tick.
    - Bars follow meter and tempo from 0 to the end (4/4 and 120 until the file says otherwise); a meter event inside a
      bar begins a new one. `duration_s` is the last End of Track.
    - Text is UTF-8, or Latin-1 where it is not. What follows the last track is passed over.

    Raises `MidiError`, beginning with `name`, when the data is no MIDI file, cut off or damaged; has no notes, a tempo
    of zero or over 100,000 quarter notes a minute, more than 1,024 tracks, more than a million bars, or a note past
    24 hours.
    """
    tracks, midi_type, division = _parse(data, name)
    if midi_type == 2:
        _line_up(tracks)
    if not any(track.notes for track in tracks):
        raise MidiError(f"{name} has no notes; was the right file given?")
    clock = _Clock.of(tracks, division, name)
    note_end = max(note.end for track in tracks for note in track.notes)
    _check_end(clock, note_end, name)
    end = max(track.end for track in tracks)
    if float(clock.seconds(np.array([float(end)]))[0]) > MAX_HOURS * 3600:
        end = note_end  # a stray End of Track, not music
    instruments, columns = _instruments(tracks)
    who, pitch, velocity, start, stop = columns
    return Score(
        instruments,
        who,
        pitch,
        velocity,
        clock.seconds(start),
        clock.seconds(stop),
        clock.tempo_map(end),
        _bars(tracks, clock, end, name),
        [Marker(clock.second(min(tick, end)), text) for track in tracks for tick, text in track.markers],
        _keys(tracks, clock, end),
        clock.second(end),
    )


@dataclass(slots=True)
class _Note:
    start: int
    end: int
    channel: int
    pitch: int
    velocity: int
    program: int  # -1: none set by its own track so far


@dataclass(slots=True)
class _Track:
    """What one track chunk says, in ticks from the file's beginning."""

    name: str = ""
    instrument_name: str = ""
    notes: list[_Note] = field(default_factory=list)
    programs: list[tuple[int, int, int]] = field(default_factory=list)  # (tick, channel, program)
    tempos: list[tuple[int, int]] = field(default_factory=list)  # (tick, microseconds a quarter)
    meters: list[tuple[int, int, int]] = field(default_factory=list)  # (tick, numerator, denominator)
    keys: list[tuple[int, int, bool]] = field(default_factory=list)  # (tick, tonic, is minor)
    markers: list[tuple[int, str]] = field(default_factory=list)
    end: int = 0


def _parse(data: bytes, name: str) -> tuple[list[_Track], int, int]:
    """The tracks of a file, its type and its division (negative for SMPTE time, as in the file)."""
    if data[:4] == b"RIFF" and data[8:12] == b"RMID" and data[12:16] == b"data":
        data = data[20:]
    if not data:
        raise MidiError(f"{name} is empty; give a MIDI file")
    if data[:4] != b"MThd":
        raise MidiError(f"{name} is not a MIDI file: it begins with {data[:4]!r} instead of b'MThd'; give a .mid file")
    if len(data) < 14:
        raise MidiError(f"{name} is cut off in its header, after {len(data)} bytes; copy or download it again")
    header = int.from_bytes(data[4:8], "big")
    midi_type, count = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    division = int.from_bytes(data[12:14], "big", signed=True)
    if header < 6 or midi_type > 2:
        raise MidiError(f"{name} has a header of {header} bytes and type {midi_type}; types 0, 1 and 2 can be read")
    if count > MAX_TRACKS:
        raise MidiError(f"{name} has {count} tracks, over {MAX_TRACKS}; merge some of them in a sequencer")
    if division == 0 or (division < 0 and not division & 0xFF):
        raise MidiError(f"{name} has a division of 0 ticks; save it again from the program that made it")
    tracks: list[_Track] = []
    position = 8 + header
    while len(tracks) < count:
        if position + 8 > len(data):
            raise MidiError(f"{name} is cut off: {len(tracks)} of {count} tracks are there; copy or download it again")
        size = int.from_bytes(data[position + 4 : position + 8], "big")
        chunk = data[position + 8 : position + 8 + size]
        if data[position : position + 4] == b"MTrk":
            tracks.append(_parse_track(chunk, len(tracks), name, is_cut=len(chunk) < size))
        position += 8 + size
    return tracks, midi_type, division


def _parse_track(data: bytes, index: int, name: str, *, is_cut: bool) -> _Track:
    """One track chunk. `is_cut`: the file ends before the chunk does, so it must say End of Track by itself."""
    track = _Track()
    tick, position, status, size = 0, 0, 0, len(data)
    programs = [-1] * 16
    sounding: dict[int, list[_Note]] = {}  # channel * 128 + pitch -> notes without an end, in order of their start
    notes = track.notes
    has_end = False
    try:
        while position < size:
            value = data[position]
            position += 1
            delta = value & 0x7F
            while value & 0x80:
                value = data[position]
                position += 1
                delta = delta << 7 | value & 0x7F
            tick += delta
            first = data[position]
            if first & 0x80:
                position += 1
                if first < 0xF0:
                    status = first
            elif not status:
                raise MidiError(
                    f"{name} is damaged: track {index + 1} has a stray byte {first:#04x} at its byte {position}; "
                    "save it again from the program that made it"
                )
            else:
                first = status

            if first < 0xA0:  # note off, note on
                pitch, velocity = data[position], data[position + 1]
                position += 2
                channel = first & 15
                pitch, velocity = min(pitch, 127), min(velocity, 127)
                key = channel << 7 | pitch
                if first >= 0x90 and velocity:
                    note = _Note(tick, -1, channel, pitch, velocity, programs[channel])
                    notes.append(note)
                    sounding.setdefault(key, []).append(note)
                elif key in sounding:
                    going = sounding.pop(key)
                    if going[0].start < tick == going[-1].start:
                        # The end of the note before, written behind the one that follows it.
                        sounding[key] = [note for note in going if note.start == tick]
                    for note in going:
                        if note.start < tick or key not in sounding:
                            note.end = max(tick, note.start + 1)
            elif first < 0xC0 or 0xE0 <= first < 0xF0:  # pressure, controllers, bend
                position += 2
                if position > size:
                    raise IndexError
            elif first < 0xE0:
                if first < 0xD0:
                    program = min(data[position], 127)
                    programs[first & 15] = program
                    track.programs.append((tick, first & 15, program))
                position += 1
                if position > size:
                    raise IndexError
            elif first in (0xF0, 0xF7, 0xFF):
                kind = -1
                if first == 0xFF:
                    kind = data[position]
                    position += 1
                length = 0
                value = 0x80
                while value & 0x80:
                    value = data[position]
                    position += 1
                    length = length << 7 | value & 0x7F
                if position + length > size:
                    raise IndexError
                if kind == _END_OF_TRACK:
                    has_end = True
                    break
                if kind >= 0:
                    _read_meta(track, kind, data[position : position + length], tick, name)
                position += length
            else:  # real-time and common messages have no place in a file; step over them
                position += {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(first, 0)
    except IndexError:
        if not is_cut:
            raise MidiError(
                f"{name} is damaged: track {index + 1} ends inside an event; save it again from its program"
            ) from None
    if is_cut and not has_end:
        raise MidiError(f"{name} is cut off in track {index + 1}; copy or download it again")
    track.end = tick
    for going in sounding.values():
        for note in going:
            note.end = max(tick, note.start + 1)
    if notes:
        track.end = max(tick, max(note.end for note in notes))
    return track


def _read_meta(track: _Track, kind: int, data: bytes, tick: int, name: str) -> None:
    """A meta event that says something about the score; one too short or out of range says nothing."""
    if kind == _TEMPO and len(data) >= 3:
        us = int.from_bytes(data[:3], "big")
        if us * MAX_QPM < _US_PER_MINUTE:
            what = "a tempo of zero" if us == 0 else f"a tempo of {_US_PER_MINUTE / us:.0f} quarter notes a minute"
            raise MidiError(
                f"{name} has {what} ({us} microseconds a quarter note) at tick {tick}; "
                f"{_US_PER_MINUTE / MAX_QPM:.0f} is the least that can be played, so mend that tempo event"
            )
        track.tempos.append((tick, us))
    elif kind == _METER and len(data) >= 2:
        if data[0] and data[1] < len(DENOMINATORS):
            track.meters.append((tick, data[0], DENOMINATORS[data[1]]))
    elif kind == _KEY and len(data) >= 2:
        fifths = data[0] - 256 if data[0] > 127 else data[0]
        if -7 <= fifths <= 7 and data[1] <= 1:
            track.keys.append((tick, (7 * fifths + 9 * data[1]) % 12, bool(data[1])))
    elif kind == _TEXT_MARKER:
        track.markers.append((tick, _decoded(data)))
    elif kind == _TEXT_NAME:
        track.name = track.name or _decoded(data)
    elif kind == _TEXT_INSTRUMENT:
        track.instrument_name = track.instrument_name or _decoded(data)


def _decoded(data: bytes) -> str:
    """Text in whatever encoding: UTF-8, else Latin-1, which every byte is. Without padding."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.strip("\0 \t\r\n")


def _line_up(tracks: list[_Track]) -> None:
    """Type 2: each track is a piece of its own, with its own tempo and meter. Put them one behind the other."""
    offset = 0
    for track in tracks:
        if not any(tick == 0 for tick, _ in track.tempos):
            track.tempos.insert(0, (0, _DEFAULT_US))
        if not any(tick == 0 for tick, _, _ in track.meters):
            track.meters.insert(0, (0, 4, 4))
        for note in track.notes:
            note.start += offset
            note.end += offset
        track.programs = [(tick + offset, channel, program) for tick, channel, program in track.programs]
        track.tempos = [(tick + offset, us) for tick, us in track.tempos]
        track.meters = [(tick + offset, above, below) for tick, above, below in track.meters]
        track.keys = [(tick + offset, tonic, is_minor) for tick, tonic, is_minor in track.keys]
        track.markers = [(tick + offset, text) for tick, text in track.markers]
        track.end += offset
        offset = track.end


@dataclass(frozen=True)
class _Clock:
    """A file's ticks and the seconds they stand for.

    ticks (M,): where the tempo changes, the first at 0. units (M,): the same in units, `units_per_s` to the second;
    all are integers below 2^53, so exact. us (M,): microseconds a quarter.
    """

    division: int
    ticks: FloatArray
    units: FloatArray
    us: FloatArray
    units_per_s: float

    @classmethod
    def of(cls, tracks: list[_Track], division: int, name: str) -> _Clock:
        """The tempo events of all tracks in order; of two at one tick the later one in the file counts."""
        at = {0: _DEFAULT_US}
        for tick, us in sorted((event for track in tracks for event in track.tempos), key=lambda event: event[0]):
            at[tick] = us
        if division < 0:  # SMPTE: frames a second, ticks a frame; the tempo moves bars, but no note
            frames, ticks = -(division >> 8), division & 0xFF
            rate = ticks * (30000 / 1001 if frames == 29 else float(frames))
            ticks_all = np.array(list(at), dtype=np.float64)
            return cls(division, ticks_all, ticks_all, np.array(list(at.values()), dtype=np.float64), rate)
        return cls.from_changes(list(at.items()), division)

    @classmethod
    def from_changes(cls, changes: list[tuple[int, int]], division: int) -> _Clock:
        """From (tick, microseconds a quarter), in order, the first at tick 0."""
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
        return self.division < 0

    def seconds(self, ticks: npt.ArrayLike) -> FloatArray:
        """Seconds at each tick, any shape; ticks may be fractions. Inverse of `ticks_at`."""
        ticks = np.asarray(ticks, dtype=np.float64)
        if self.is_smpte:
            return np.asarray(ticks / self.units_per_s)
        i = np.searchsorted(self.ticks, ticks, side="right") - 1
        return np.asarray((self.units[i] + (ticks - self.ticks[i]) * self.us[i]) / self.units_per_s)

    def ticks_at(self, times_s: npt.ArrayLike) -> FloatArray:
        """Ticks, with fractions, at each second, any shape. Inverse of `seconds`; not for SMPTE."""
        units = np.asarray(times_s, dtype=np.float64) * self.units_per_s
        i = np.maximum(np.searchsorted(self.units, units, side="right") - 1, 0)
        return np.asarray(self.ticks[i] + (units - self.units[i]) / self.us[i])

    def second(self, tick: float) -> float:
        return float(self.seconds(tick))

    def tempo_map(self, end: int) -> TempoMap:
        """The tempo map up to a tick, without changes that change nothing."""
        keep = np.append(True, (np.diff(self.us) != 0) & (self.ticks[1:] < max(end, 1)))
        times_s = self.seconds(self.ticks[keep])
        return TempoMap(times_s, _US_PER_MINUTE / self.us[keep])


def _check_end(clock: _Clock, tick: int, name: str) -> None:
    last_s = clock.second(float(tick))
    if last_s > MAX_HOURS * 3600:
        raise MidiError(
            f"{name} has a note that ends after {last_s / 3600:.3g} hours, over {MAX_HOURS}; its times are damaged, "
            "so save it again from the program that made it"
        )


def _instruments(tracks: list[_Track]) -> tuple[list[Instrument], list[list[int]]]:
    """The instruments of a file, and its notes as columns: instrument, pitch, velocity, start and end in ticks."""
    set_by_channel: dict[int, list[tuple[int, int]]] = {}
    for track in tracks:
        for tick, channel, program in track.programs:
            set_by_channel.setdefault(channel, []).append((tick, program))
    for changes in set_by_channel.values():
        changes.sort(key=lambda change: change[0])

    def inherited(channel: int, tick: int) -> int:
        changes = set_by_channel.get(channel, [])
        i = bisect_right(changes, tick, key=lambda change: change[0])
        return changes[i - 1][1] if i else 0

    instruments: list[Instrument] = []
    columns: list[list[int]] = [[], [], [], [], []]
    for track in tracks:
        title = track.name or track.instrument_name
        found: dict[tuple[int, int], int] = {}
        for note in track.notes:
            program = note.program if note.program >= 0 else inherited(note.channel, note.start)
            key = (note.channel, program)
            if key not in found:
                found[key] = len(instruments)
                instruments.append(Instrument(title, program, note.channel == DRUM_CHANNEL))
            row = (found[key], note.pitch, note.velocity, note.start, note.end)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        if not track.notes and title and len(track.programs) == 1:
            _, channel, program = track.programs[0]
            instruments.append(Instrument(title, program, channel == DRUM_CHANNEL))
    return instruments, columns


def _keys(tracks: list[_Track], clock: _Clock, end: int) -> list[KeySignature]:
    """Key signatures in order, without repeats; of two at one tick the later one in the file counts."""
    at: dict[int, tuple[int, bool]] = {}
    for tick, tonic, is_minor in sorted((key for track in tracks for key in track.keys), key=lambda key: key[0]):
        if tick <= end:
            at[tick] = (tonic, is_minor)
    keys: list[KeySignature] = []
    for tick, (tonic, is_minor) in at.items():
        if not keys or (keys[-1].tonic, keys[-1].is_minor) != (tonic, is_minor):
            keys.append(KeySignature(clock.second(float(tick)), tonic, is_minor))
    return keys


def _bars(tracks: list[_Track], clock: _Clock, end: int, name: str) -> Bars:
    """Bars from 0 to the end tick: meter after meter, each from where it stands."""
    at = {0: (4, 4)}
    events = [(*event, index) for index, track in enumerate(tracks) for event in track.meters if event[0] < end]
    running, owner = (4, 4), -1
    for tick, above, below, index in sorted(events, key=lambda event: event[0]):
        # Files that state the meter in every track are often off by a beat in some: only the track that set the
        # meter may begin a new bar by repeating it.
        if owner in (-1, index) or (above, below) != running:
            at[tick] = running = (above, below)
            owner = index
    places = np.array(list(at), dtype=np.float64)
    per_quarter: float = clock.division
    last = float(end)
    to_seconds: Callable[[npt.ArrayLike], FloatArray] = clock.seconds
    if clock.is_smpte:  # no tick is a musical length: count in quarters instead
        tempo = clock.tempo_map(end)
        places, last = tempo.quarters_at(clock.seconds(places)), float(tempo.quarters_at(clock.second(last)))
        per_quarter, to_seconds = 1.0, tempo.seconds_at
    stops = np.append(places[1:], max(last, places[-1]))
    lengths = [4.0 * per_quarter * above / below for above, below in at.values()]
    counts = [
        max(math.ceil((stop - place) / length - 1e-6), 1)
        for place, stop, length in zip(places, stops, lengths, strict=True)
    ]
    if sum(counts) > MAX_BARS:
        raise MidiError(f"{name} has {sum(counts)} bars, over {MAX_BARS}; mend its meter or its tempo")
    starts = [place + length * np.arange(n) for place, length, n in zip(places, lengths, counts, strict=True)]
    above, below = np.repeat(np.array(list(at.values())), counts, axis=0).T
    start_s = to_seconds(np.concatenate(starts))
    distinct = np.append(True, np.diff(start_s) > 0)
    return Bars(start_s[distinct], above[distinct], below[distinct])


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(
    score: Score,
    path: str | os.PathLike[str],
    *,
    ticks_per_quarter: int = TICKS_PER_QUARTER,
    title: str = "Conductor",
    overwrite: bool = True,
) -> None:
    """Write a Score as a Standard MIDI File, all at once or not at all; see `to_bytes`.

    Raises `MidiError` for what a MIDI file cannot hold, `OutputError` for a place that cannot be written.
    """
    write_bytes(path, to_bytes(score, ticks_per_quarter=ticks_per_quarter, title=title), overwrite=overwrite)


def to_bytes(score: Score, *, ticks_per_quarter: int = TICKS_PER_QUARTER, title: str = "Conductor") -> bytes:
    """A Score as the bytes of a type 1 Standard MIDI File. Inverse of `from_bytes`.

    ticks_per_quarter: a multiple of 16, so that every meter is a whole number of ticks. It is doubled until half a
    tick at the slowest tempo is within 1 ms: 480 holds down to 62.8 quarter notes a minute, 960 to 31.4, and so on.

    - Track 0, named `title`: tempo, meter, keys, markers. Then a track for each of `score.instruments`, in order, with
      its name, its own channel (drums on 9, the rest on 0 to 8 and 10 to 15) and its program at tick 0. With more than
      15 melodic instruments, those of one program share a channel.
    - Bars stand at exact multiples of their meter, and tempo changes at bar starts on the bar's tick. A bar that does
      not last as long as its meter says is written in the meter it does last, or ended by the next meter event.
    - A MIDI tempo is a whole number of microseconds a quarter note. The tempo map is rounded to that first, and nudged
      by a few microseconds at a bar line whenever bars have drifted by a quarter of a tick. Each note's tick then comes
      from its own time in seconds under the tempo map as written, so that no note is off by more than 1 ms.
    - A note lasts a tick at least. Equal notes of one instrument that begin together become one (the longest, as loud
      as the loudest); one that begins while an equal one sounds ends that one.
    - All tracks end with the score's duration, rounded down to a tick, and nothing stands behind that but a note too
      short for the last tick. Where that would end a note more than 1 ms early, the resolution is doubled once more.

    Raises `MidiError`: a tempo under 3.58 quarter notes a minute, over 24 hours, more than 15 melodic programs where
    they need to share channels, more than 1,023 instruments.
    """
    if not (isinstance(ticks_per_quarter, int) and 16 <= ticks_per_quarter <= 0x7FFF and ticks_per_quarter % 16 == 0):
        raise MidiError(f"{ticks_per_quarter} ticks a quarter note cannot be used; give a multiple of 16 up to 32752")
    if len(score.instruments) >= MAX_TRACKS:
        raise MidiError(f"{len(score.instruments)} instruments are over {MAX_TRACKS - 1}; merge some of them")
    if score.duration_s > MAX_HOURS * 3600:
        raise MidiError(f"a score of {score.duration_s / 3600:.3g} hours is over {MAX_HOURS}; cut it into parts")
    slowest_us = _US_PER_MINUTE / float(score.tempo.qpm[score.tempo.times_s <= score.duration_s].min())
    if slowest_us > _SLOWEST_US:
        raise MidiError(
            f"a tempo of {_US_PER_MINUTE / slowest_us:.3g} quarter notes a minute is slower than a MIDI file can hold "
            f"({_US_PER_MINUTE / _SLOWEST_US:.3g}); double it and the length of the bars"
        )
    channels = _channels(score.instruments)
    division = ticks_per_quarter
    while slowest_us > 2 * _HALF_TICK_US * division:
        division *= 2

    bar_ticks, meters = _meters(score, division)
    clock = _Clock.from_changes(_tempos(score, bar_ticks, division), division)
    end = int(clock.ticks_at(score.duration_s) + _SAME_TICK)
    if end > _MAX_DELTA:
        raise MidiError(f"a score of {end} ticks is over {_MAX_DELTA}; cut it into parts or lower its tempo")
    if score.end_s.max(initial=0.0) - clock.second(end) > _HALF_TICK_US / 1e6 and division <= 0x3FFF:
        # The last note is to end neither past the end nor a millisecond early.
        return to_bytes(score, ticks_per_quarter=2 * division, title=title)
    meters = [meter for meter in meters if meter[0] < max(end, 1)]
    tracks = [_conductor(score, clock, meters, title, end)]
    for index, instrument in enumerate(score.instruments):
        head = [(0, _text(_TEXT_NAME, instrument.name))] if instrument.name else []
        head.append((0, bytes((0xC0 | channels[index], instrument.program))))
        tracks.append(head + list(_notes(score, index, channels[index], clock, end)))
    end = max(end, *(tick for track in tracks for tick, _ in track))
    header = b"".join(number.to_bytes(2, "big") for number in (1, len(tracks), division))
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(_chunk(track, end) for track in tracks)


def _channels(instruments: tuple[Instrument, ...]) -> list[int]:
    """A channel for each instrument: its own, or its program's where there are too many."""
    melodic = [i for i, instrument in enumerate(instruments) if not instrument.is_drum]
    programs = list(dict.fromkeys(instruments[i].program for i in melodic))
    channels = [DRUM_CHANNEL] * len(instruments)
    own = len(melodic) <= len(MELODIC_CHANNELS)
    if not own and len(programs) > len(MELODIC_CHANNELS):
        raise MidiError(
            f"{len(melodic)} melodic instruments of {len(programs)} programs do not fit the {len(MELODIC_CHANNELS)} "
            "channels of a MIDI file; merge some of them"
        )
    for place, i in enumerate(melodic):
        channels[i] = MELODIC_CHANNELS[place if own else programs.index(instruments[i].program)]
    return channels


def _meters(score: Score, division: int) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The tick of each bar, and the meter events (tick, numerator, denominator) that put it there."""
    bars = score.bars
    if not len(bars):
        return [0], [(0, 4, 4)]
    labels = list(zip(bars.numerator.tolist(), bars.denominator.tolist(), strict=True))
    places = (score.tempo.quarters_at(bars.start_s) * division).tolist()
    ticks: list[int] = []
    for place, (above, below) in zip(places, [(1, 4), *labels], strict=False):
        due = ticks[-1] + 4 * division * above // below if ticks else 0
        # Compared with where the bar really stands, so that a chain of lengths cannot wander off.
        tick = due if abs(place - due) <= _SAME_PLACE_TICKS else round(place)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)

    written: list[tuple[int, int, int]] = []  # every bar, in the meter that brings the next one to its place
    if ticks[0] > 0:  # music before the first bar: bars backwards from it, then what is left
        length = 4 * division * labels[0][0] // labels[0][1]
        rest = ticks[0] % length
        if rest:
            written.append((0, *_lasting(rest, labels[0], division)))
        if ticks[0] >= length:
            written.append((rest, *labels[0]))
    for tick, following, label in zip(ticks, [*ticks[1:], None], labels, strict=True):
        written.append((tick, *(label if following is None else _lasting(following - tick, label, division))))

    events: list[tuple[int, int, int]] = []
    running, due = (0, 0), 0.0
    for tick, above, below in written:
        length = 4 * division * above // below
        # A bar that was cut short by this one, or a gap of several bars, needs the meter said again.
        if (above, below) != running or (tick - due) % length:
            events.append((tick, above, below))
        running, due = (above, below), tick + length
    return ticks, events


def _lasting(ticks: int, label: tuple[int, int], division: int) -> tuple[int, int]:
    """The meter of a bar of so many ticks: its own if that fits, else one that does, else one that lasts longer."""
    whole = 4 * division
    if ticks * label[1] == whole * label[0]:
        return label
    for below in DENOMINATORS[2:]:
        if ticks * below % whole == 0 and ticks * below // whole <= MAX_NUMERATOR:
            return ticks * below // whole, below
    if ticks * label[1] < whole * label[0]:
        return label
    return min(-(-ticks * label[1] // whole), MAX_NUMERATOR), label[1]


def _tempos(score: Score, bar_ticks: list[int], division: int) -> list[tuple[int, int]]:
    """The tempo map as a file can hold it: (tick, whole microseconds a quarter), the first at tick 0.

    Between two changes the rounding of the tempo adds up, and so do the roundings of changes that stand between two
    ticks. At a bar line where they have added up to a quarter of a tick, the tempo is made a little faster or slower
    until it is made good.
    """
    tempo = score.tempo
    bars = np.array(bar_ticks, dtype=np.int64)
    exact = tempo.quarters * division
    change_ticks = np.rint(exact).astype(np.int64)
    near = np.clip(np.searchsorted(bars, change_ticks), 0, len(bars) - 1)
    for at in (near, np.maximum(near - 1, 0)):
        change_ticks = np.where(np.abs(bars[at] - exact) <= _SAME_PLACE_TICKS, bars[at], change_ticks)
    # Of changes that fall on one tick the last one counts.
    ideal_at = dict(zip(change_ticks.tolist(), (_US_PER_MINUTE / tempo.qpm).tolist(), strict=True))
    last = float(tempo.quarters_at(score.duration_s)) * division
    ticks = [tick for tick in sorted({*ideal_at, *bar_ticks, 0}) if tick <= last or tick == 0]
    targets_us = (tempo.seconds_at(np.array(ticks) / division) * 1e6).tolist()

    changes: list[tuple[int, int]] = []
    units, us, ideal, mending = 0, 0, 0.0, 0
    for i, tick in enumerate(ticks):
        units += (tick - ticks[i - 1]) * us if i else 0
        late_us = units / division - targets_us[i]
        now, before = mending, ideal
        ideal = ideal_at.get(tick, ideal)
        if late_us * now <= 0:
            now = 0
        if not now and abs(late_us) > ideal / (4 * division):
            now = 1 if late_us > 0 else -1
        if now == mending and ideal == before:
            continue
        mending = now
        us_now = round(ideal)
        if mending:
            quarters = max(_MEND_QUARTERS, (ticks[i + 1] - tick) / division if i + 1 < len(ticks) else 0.0)
            us_now = round(ideal - late_us / quarters)
            us_now = min(us_now, math.ceil(ideal) - 1) if mending > 0 else max(us_now, math.floor(ideal) + 1)
        us_now = min(max(us_now, 1), _SLOWEST_US)
        if us_now != us:
            changes.append((tick, us_now))
            us = us_now
    # A piece that ends on a tick, as most do at a bar line, is to have that tick and not end late: hurry a little from
    # a bar line two bars or so before.
    end = round(last)
    late_us = (units + (end - ticks[-1]) * us) / division - score.duration_s * 1e6
    if abs(last - end) < _SAME_TICK and late_us > _SAME_TIME_US:
        began = changes[-1][0]
        place = max((tick for tick in ticks if began < tick <= end - _HURRY_QUARTERS * division), default=began)
        hurried = us - math.ceil(late_us * division / max(end - place, 1))
        if hurried > 0:
            changes = [*(change for change in changes if change[0] < place), (place, hurried)]
    return changes


def _conductor(
    score: Score, clock: _Clock, meters: list[tuple[int, int, int]], title: str, end: int
) -> list[tuple[int, bytes]]:
    """Events (tick, bytes) of track 0, in order; at one tick meter, key, tempo, marker."""
    events = [(0, 0, _text(_TEXT_NAME, title))]
    for tick, above, below in meters:
        # Metronome clicks in 24ths of a quarter: the beat, three of them in compound meters.
        beats = 3 if below >= 8 and above > 3 and above % 3 == 0 else 1
        click = max(96 * beats // below, 1)
        events.append((tick, 1, _meta(_METER, bytes((above, below.bit_length() - 1, click, 8)))))
    for key in score.keys:
        tick = _tick(clock, key.time_s, end)
        fifths = (7 * (key.tonic - 9 * key.is_minor)) % 12
        fifths -= 12 if fifths > 6 else 0
        events.append((tick, 2, _meta(_KEY, bytes((fifths % 256, int(key.is_minor))))))
    for tick, us in zip(clock.ticks.astype(np.int64).tolist(), clock.us.astype(np.int64).tolist(), strict=True):
        events.append((tick, 3, _meta(_TEMPO, us.to_bytes(3, "big"))))
    for marker in score.markers:
        events.append((_tick(clock, marker.time_s, end), 4, _text(_TEXT_MARKER, marker.text)))
    return [(tick, event) for tick, _, event in sorted(events, key=lambda event: event[:2])]


def _tick(clock: _Clock, time_s: float, end: int) -> int:
    """The tick nearest to a time; what is at the very end is not rounded past it."""
    tick = round(float(clock.ticks_at(time_s)))
    return end if tick == end + 1 else tick


def _notes(score: Score, index: int, channel: int, clock: _Clock, end: int) -> Iterator[tuple[int, bytes]]:
    """Note events (tick, bytes) of one instrument, in order; note-offs before note-ons at one tick."""
    mine = score.instrument == index
    pitch, velocity = score.pitch[mine], score.velocity[mine]
    on = np.rint(clock.ticks_at(score.start_s[mine])).astype(np.int64)
    off = np.rint(clock.ticks_at(score.end_s[mine])).astype(np.int64)
    off = np.maximum(np.minimum(off, end), on + 1)  # nothing rings past the end
    order = np.lexsort((-off, on, pitch))
    pitch, velocity, on, off = pitch[order], velocity[order], on[order], off[order]
    if len(pitch):
        first = np.flatnonzero(np.append(True, (np.diff(pitch) != 0) | (np.diff(on) != 0)))
        velocity = np.maximum.reduceat(velocity, first)
        pitch, on, off = pitch[first], on[first], off[first]
        again = np.append(np.diff(pitch) == 0, False)
        off = np.where(again, np.minimum(off, np.append(on[1:], 0)), off)
    ons = zip(on.tolist(), [1] * len(on), pitch.tolist(), velocity.tolist(), strict=True)
    offs = zip(off.tolist(), [0] * len(on), pitch.tolist(), [_RELEASE] * len(on), strict=True)
    for tick, is_on, key, force in sorted([*ons, *offs]):
        yield tick, bytes(((0x90 if is_on else 0x80) | channel, key, force))


def _chunk(events: list[tuple[int, bytes]], end: int) -> bytes:
    """A track chunk of events (tick, bytes) in order, ended at tick `end`."""
    parts: list[bytes] = []
    now = 0
    for tick, event in [*events, (end, _meta(_END_OF_TRACK, b""))]:
        parts += (_length(tick - now), event)
        now = tick
    data = b"".join(parts)
    return b"MTrk" + len(data).to_bytes(4, "big") + data


def _length(number: int) -> bytes:
    """A variable-length quantity: seven bits a byte, the highest first."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))


def _meta(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind)) + _length(len(data)) + data


def _text(kind: int, text: str) -> bytes:
    return _meta(kind, text.encode("utf-8", errors="replace"))
