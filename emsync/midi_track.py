"""One track of a MIDI file: its events, byte by byte."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Final

from emsync import midi_text
from emsync.midi_format import (
    END_OF_TRACK,
    KEY,
    MAX_TEXT_BYTES,
    METER,
    PORT,
    TEMPO,
    TEXT_INSTRUMENT,
    TEXT_MARKER,
    TEXT_NAME,
)
from emsync.tempo_map import DENOMINATORS

_BANK: Final = 0  # the controller that selects a bank, most significant byte
#: Longest variable-length quantity: 64 bits in bytes of seven bits.
_MAX_QUANTITY_BYTES: Final = 10
#: No tick may be larger than this, so that ticks are exact as float64.
_MAX_TICK: Final = 2**52
#: SysEx that may concern drums: universal, Roland, Yamaha.
_MAKERS: Final = (0x7E, 0x41, 0x43)
_OPERANDS: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of system common messages


class TrackError(Exception):
    """A track that cannot be read on; the text completes "track 1 ..."."""


def _columns() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Track:
    """What one track says, in ticks from the beginning of the file.

    Notes, one entry each:
    - start, end: ticks; the end is -1 where the track has no note-off for it.
    - key: `line << 7 | pitch`. velocity: 1 to 127. program: -1 if the track has set none so far.

    Note-offs that end no note of this track: `off_tick`, `off_key`.
    setup: (tick, line, bank) and (tick, port, SysEx without its F0), in order.
    end: the tick of End of Track, or of the last event without it. last: the tick of the last event before it.
    stop: the byte behind the last one read.
    events: (tick, bytes) of every event but End of Track, if they were requested: with its status byte, lengths in
    their shortest form and data bytes of at most 127, as a file may hold it.
    """

    name: str = ""
    instrument_name: str = ""
    start: array[int] = field(default_factory=_columns)
    end_tick: array[int] = field(default_factory=_columns)
    key: array[int] = field(default_factory=_columns)
    velocity: array[int] = field(default_factory=_columns)
    program: array[int] = field(default_factory=_columns)
    off_tick: array[int] = field(default_factory=_columns)
    off_key: array[int] = field(default_factory=_columns)
    programs: list[tuple[int, int, int]] = field(default_factory=list)  # (tick, line, program)
    setup: list[tuple[int, int, int | bytes]] = field(default_factory=list)
    tempos: list[tuple[int, int]] = field(default_factory=list)  # (tick, microseconds a quarter)
    meters: list[tuple[int, int, int]] = field(default_factory=list)  # (tick, numerator, denominator)
    keys: list[tuple[int, int, bool]] = field(default_factory=list)  # (tick, tonic, is minor)
    markers: list[tuple[int, str]] = field(default_factory=list)
    events: list[tuple[int, bytes]] = field(default_factory=list)
    end: int = 0
    last: int = 0
    stop: int = 0
    has_end: bool = False
    has_negative_delta: bool = False


def parse(data: bytes, *, keep_events: bool = False) -> Track:
    """The events of a track chunk, up to its End of Track or the last byte. `keep_events` fills `Track.events`, too.

    - Running status goes on behind meta events and SysEx.
    - A note-off ends every note of its channel and pitch that began before it.
    - An End of Track whose last byte is missing is one.
    - Delta times of more than four bytes are signed, in 32 or in 64 bits, as some programs write them.

    Raises `TrackError` for a byte that belongs to no event, and for data that ends inside an event.
    """
    reader = _Reader(data, keep_events)
    try:
        reader.run()
    except IndexError:
        raise TrackError("ends inside an event") from None
    return reader.track


def quantity(number: int) -> bytes:
    """A variable-length quantity: seven bits per byte, the most significant first."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))


class _Reader:
    """The state of `parse`."""

    def __init__(self, data: bytes, keep_events: bool) -> None:
        self.data = data
        self.keeps_events = keep_events
        self.track = Track()
        self.port = 0
        self.programs: dict[int, int] = {}  # line -> program
        self.sounding: dict[int, list[int]] = {}  # key -> notes without an end, in order of their start
        self.is_open = False  # whether a SysEx goes on in the next packet
        self.sysex = b""

    def run(self) -> None:
        data, size, track = self.data, len(self.data), self.track
        tick, position, status = 0, 0, 0
        while position < size:
            value = data[position]
            position += 1
            if value & 0x80:
                follower = data[position]
                position += 1
                value = (value & 0x7F) << 7 | follower & 0x7F
                if follower & 0x80:
                    value, position = self._long_delta(position - 2)
                    value = max(value, -tick)
            tick += value
            first = data[position]
            if first & 0x80:
                position += 1
                if first < 0xF0:
                    status = first
            elif not status:
                raise TrackError(f"has a stray byte {first:#04x} at its byte {position}")
            else:
                first = status
            begin = position

            if first < 0xA0:  # note off, note on
                pitch, velocity = data[position], data[position + 1]
                position += 2
                key = (self.port << 4 | first & 15) << 7 | min(pitch, 127)
                if first >= 0x90 and velocity:
                    self._note_on(tick, key, min(velocity, 127))
                else:
                    self._note_off(tick, key)
            elif first >= 0xF0:
                position = self._system(first, position, tick)
                if track.has_end:
                    break
            else:
                position = self._control(first, position, tick)
            if tick > _MAX_TICK:
                raise TrackError(f"has an event at tick {tick}")
            if self.keeps_events:
                self._keep(tick, first, begin, position)
            track.last = tick
        track.end, track.stop = tick, position

    def _long_delta(self, position: int) -> tuple[int, int]:
        """A delta time of three bytes or more, and the position behind it."""
        value, behind = self._quantity(position)
        if behind - position <= 4:
            return value, behind
        value %= 1 << 64
        if value >= 1 << 63:
            value -= 1 << 64
        elif 1 << 31 <= value < 1 << 32:
            value -= 1 << 32
        self.track.has_negative_delta |= value < 0
        return value, behind

    def _quantity(self, position: int) -> tuple[int, int]:
        """A variable-length quantity, and the position behind it."""
        value = 0
        for behind in range(position, position + _MAX_QUANTITY_BYTES):
            byte = self.data[behind]
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                return value, behind + 1
        raise TrackError(f"has a number of more than {_MAX_QUANTITY_BYTES} bytes at its byte {position}")

    def _keep(self, tick: int, first: int, begin: int, behind: int) -> None:
        """Keep an event whose data is from `begin` to `behind`; what does not belong in a file is left out."""
        data = self.data[begin:behind]
        if first < 0xF0:
            event = bytes((first, *(min(value, 0x7F) for value in data)))
        elif first == 0xFF:
            _, body = self._quantity(begin + 1)
            event = bytes((first, data[0])) + quantity(behind - body) + self.data[body:behind]
        elif first in (0xF0, 0xF7):
            length, body = self._quantity(begin)
            body = body if body + length == behind else begin  # else it was stored without its length
            event = bytes((first,)) + quantity(behind - body) + self.data[body:behind]
        else:
            return
        self.track.events.append((tick, event))

    def _note_on(self, tick: int, key: int, velocity: int) -> None:
        track = self.track
        self.sounding.setdefault(key, []).append(len(track.start))
        track.start.append(tick)
        track.end_tick.append(-1)
        track.key.append(key)
        track.velocity.append(velocity)
        track.program.append(self.programs.get(key >> 7, -1))

    def _note_off(self, tick: int, key: int) -> None:
        """End all notes of a channel and pitch, unless one was struck at this very tick after another."""
        notes = self.sounding.pop(key, None)
        track = self.track
        if notes is None:
            track.off_tick.append(tick)
            track.off_key.append(key)
            return
        start = track.start
        if start[notes[0]] < tick == start[notes[-1]]:
            # The end of the note before, written behind the one that follows it.
            self.sounding[key] = [note for note in notes if start[note] == tick]
            notes = [note for note in notes if start[note] != tick]
        for note in notes:
            track.end_tick[note] = max(tick, start[note] + 1)

    def _control(self, first: int, position: int, tick: int) -> int:
        """Pressure, controllers, bend and programs; returns the position behind the event."""
        line = self.port << 4 | first & 15
        if 0xC0 <= first < 0xE0:
            behind = position + 1
            if first < 0xD0:
                program = min(self.data[position], 127)
                self.programs[line] = program
                self.track.programs.append((tick, line, program))
        else:
            behind = position + 2
            if first & 0xF0 == 0xB0 and self.data[position] == _BANK:
                self.track.setup.append((tick, line, self.data[position + 1]))
        if behind > len(self.data):
            raise IndexError
        return behind

    def _system(self, first: int, position: int, tick: int) -> int:
        """Meta events, SysEx and what has no place in a file; returns the position behind the event."""
        if first == 0xFF:
            kind = self.data[position]
            if kind == END_OF_TRACK and position + 1 == len(self.data):
                self.track.has_end = True  # without its length, which is 0
                return position + 1
            length, position = self._quantity(position + 1)
            if position + length > len(self.data):
                raise IndexError
            if kind == END_OF_TRACK:
                self.track.has_end = True
            else:
                self._meta(kind, self.data[position : position + length], tick)
            return position + length
        if first not in (0xF0, 0xF7):  # real-time and common messages: step over them
            return position + _OPERANDS.get(first, 0)
        length, body = self._quantity(position)
        behind = body + length
        if behind > len(self.data):
            # Perhaps the message was stored as it was sent, without its length.
            behind = self.data.find(b"\xf7", position) + 1
            if first == 0xF7 or not behind or max(self.data[position : behind - 1], default=0) > 0x7F:
                raise IndexError
            body = position
        self._sysex(first, self.data[body:behind], tick)
        return behind

    def _sysex(self, first: int, data: bytes, tick: int) -> None:
        """Keep a SysEx that may concern drums, once it is whole."""
        if first == 0xF0:
            self.sysex = data if data[:1] and data[0] in _MAKERS else b""
        elif self.is_open and self.sysex:
            self.sysex = (self.sysex + data)[:MAX_TEXT_BYTES]
        else:
            return
        self.is_open = not data.endswith(b"\xf7")
        if not self.is_open and self.sysex:
            self.track.setup.append((tick, self.port, self.sysex))

    def _meta(self, kind: int, data: bytes, tick: int) -> None:
        """A meta event that says something about the score; one too short or out of range says nothing."""
        track = self.track
        if kind == TEMPO and len(data) >= 3:
            track.tempos.append((tick, int.from_bytes(data[:3], "big")))
        elif kind == METER and len(data) >= 2:
            if data[0] and data[1] < len(DENOMINATORS):
                track.meters.append((tick, data[0], DENOMINATORS[data[1]]))
        elif kind == KEY and len(data) >= 2:
            fifths = data[0] - 256 if data[0] > 127 else data[0]
            if -7 <= fifths <= 7 and data[1] <= 1:
                track.keys.append((tick, (7 * fifths + 9 * data[1]) % 12, bool(data[1])))
        elif kind == PORT and data:
            self.port = data[0] & 0x7F
        elif kind == TEXT_MARKER:
            track.markers.append((tick, midi_text.decode(data[:MAX_TEXT_BYTES])))
        elif kind == TEXT_NAME:
            track.name = track.name or midi_text.decode(data[:MAX_TEXT_BYTES])
        elif kind == TEXT_INSTRUMENT:
            track.instrument_name = track.instrument_name or midi_text.decode(data[:MAX_TEXT_BYTES])
