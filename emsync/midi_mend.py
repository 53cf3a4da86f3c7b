"""Any MIDI file -> the same performance in a file that every player can read.

    playable(data).data       # the bytes of a type 1 file with all events of `data` that can be heard
    playable(data).ports      # the same, a file for each port, since most players have none
    playable(data).parts      # which channels play notes, and what they are called

Everything audible is kept as it is: notes, programs, controllers, pressure, pitch bends, SysEx and tempo.
Texts and other meta events are left out, since some players refuse a file for one of a wrong length. What players trip
over is repaired: wrong counts and lengths, foreign chunks and junk, a missing End of Track, negative delta times, notes
without an end, SMPTE time, and type 2, whose tracks are played one after another. It is the reading of `midi_chunks`
and `midi_track`, so that what is played is what `midi.read` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from emsync.midi_channels import Changes, drum_changes, is_drum, program_changes
from emsync.midi_chunks import File, split
from emsync.midi_format import DEFAULT_US, PORT, TEMPO
from emsync.midi_ports import for_port
from emsync.midi_track import Track
from emsync.midi_write import chunk

Event = tuple[int, bytes]
#: Tick, port, bytes.
PortEvent = tuple[int, int, bytes]

#: Ports that are kept apart.
MOST_PORTS: Final = 16

#: A delta time that four bytes can hold; longer ones are split by empty texts.
_LONGEST_DELTA: Final = 0x0FFFFFFF
_FILLER: Final = b"\xff\x01\x00"
_DEFAULT_TEMPO: Final = bytes((0xFF, TEMPO, 3)) + DEFAULT_US.to_bytes(3, "big")


@dataclass(frozen=True)
class Part:
    """A channel that plays notes.

    Attributes:
        channel: From 0 to 15 on the first port that plays notes, from 16 to 31 on the second, and so on.
        names: The names of the tracks that play on it, without repeats; those without one are left out.
        program: The General MIDI program of its first note, from 0 to 127.
        is_drum: Whether it is a drum kit at its first note.

    """

    channel: int
    names: tuple[str, ...]
    program: int
    is_drum: bool


@dataclass(frozen=True)
class Playable:
    """A file that every player can read.

    Attributes:
        data: The file, its ports together.
        parts: Its parts, in the order of their channels' first tracks.
        ports: A file for each port that plays notes, from the lowest up, as `midi_ports` makes them; the same file if
            there is only one, whose only drum kit is channel 10.

    """

    data: bytes
    parts: tuple[Part, ...]
    ports: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not self.ports:
            object.__setattr__(self, "ports", (self.data,))


def playable(data: bytes, *, name: str = "MIDI data") -> Playable:
    """The audible part of any Standard MIDI File, as a type 1 file without faults, and its parts.

    Raises `MidiError`, beginning with `name`, where `midi.from_bytes` does for the container.
    """
    file = split(data, name, keep_events=True)
    division, tempo = _division(file.division)
    if file.midi_type == 2:
        _line_up(file.tracks)
    ports = _ports(file.tracks)
    parts = _parts(file.tracks, ports)
    last = max((tick for track in file.tracks for tick, event in track.events if _is_note(event)), default=0)
    offs = _missing_offs(file, last)
    tracks = []
    for number, track in enumerate(file.tracks):
        events = list(_audible(track.events, tempo is None, last))
        if tempo is not None and number == 0:
            events.insert(0, (0, 0, tempo))
        tracks.append(
            (sorted(events + offs[number], key=lambda event: event[0]), min(track.end, last + _LONGEST_DELTA))
        )
    data = _written(tracks, division)
    changes = drum_changes(file.tracks)
    if len(ports) < 2 and not changes.at:
        return Playable(data, parts)
    return Playable(data, parts, tuple(_apart(tracks, ports, changes, division)))


def _apart(
    tracks: list[tuple[list[PortEvent], int]], ports: dict[int, int], changes: Changes, division: int
) -> Iterator[bytes]:
    """A file for each port. Tempo holds for all of them; SysEx, drum kits and notes are each port's own."""
    together = [event for events, _ in tracks for event in events]
    together.sort(key=lambda event: event[0])
    end = max(end for _, end in tracks)
    for index in range(max(ports.values()) + 1):
        lines = [port for port, place in ports.items() if place == index]
        kinds = sorted(
            (tick, line & 15, value)
            for line, (ticks, values) in changes.at.items()
            if line >> 4 in lines
            for tick, value in zip(ticks, values, strict=True)
        )
        mine = [(tick, event) for tick, port, event in together if event[0] == 0xFF or ports.get(port, 0) == index]
        yield _written([([(tick, 0, event) for tick, event in for_port(mine, kinds)], end)], division)


def _written(tracks: list[tuple[list[PortEvent], int]], division: int) -> bytes:
    """A type 1 file of tracks: each its events, and the tick it ends at the earliest."""
    chunks = []
    for events, earliest in tracks:
        end = max(earliest, events[-1][0] if events else 0)
        chunks.append(chunk(list(_filled([(tick, event) for tick, _, event in events], end)), end))
    head = b"".join(number.to_bytes(2, "big") for number in (1, len(chunks), division))
    return b"MThd" + (6).to_bytes(4, "big") + head + b"".join(chunks)


def _ports(tracks: list[Track]) -> dict[int, int]:
    """The ports that play notes, each with its place among them; places beyond `MOST_PORTS` begin again."""
    found = sorted({key >> 11 for track in tracks for key in track.key})
    return {port: place % MOST_PORTS for place, port in enumerate(found)}


def _division(division: int) -> tuple[int, bytes | None]:
    """Ticks a quarter note, and the one tempo that gives them the length of SMPTE ticks; None for musical time.

    A quarter note is made a second long: 29 frames a second mean 30000/1001.
    """
    if division > 0:
        return division, None
    frames, ticks = -(division >> 8), division & 0xFF
    nominal, us = (30, 1_001_000) if frames == 29 else (frames, 1_000_000)
    return nominal * ticks, bytes((0xFF, TEMPO, 3)) + us.to_bytes(3, "big")


def _is_note(event: bytes) -> bool:
    return event[0] < 0xA0


def _with_ports(events: list[Event]) -> Iterator[PortEvent]:
    """Events with the port that they are for."""
    port = 0
    for tick, data in events:
        if data[:2] == bytes((0xFF, PORT)) and 0 < data[2] < 0x80:
            port = data[3] & 0x7F
        yield tick, port, data


def _audible(events: list[Event], keeps_tempo: bool, last: int) -> Iterator[PortEvent]:
    """The audible events: of meta events only tempo, and nothing hours after the last note."""
    for tick, port, data in _with_ports(events):
        if data[:2] == bytes((0xFF, TEMPO)):
            if keeps_tempo and 3 <= data[2] < 0x80 and tick <= last:
                yield tick, port, data[:2] + b"\x03" + data[3:6]
        elif data[0] != 0xFF and tick <= last + _LONGEST_DELTA:
            yield tick, port, data


def _line_up(tracks: list[Track]) -> None:
    """Type 2: put the tracks one behind the other, each beginning at the default tempo."""
    offset = 0
    for track in tracks:
        last = max((tick for tick, event in track.events if _is_note(event)), default=0)
        end = max(min(track.end, last + _LONGEST_DELTA), last)
        track.events = [(offset, _DEFAULT_TEMPO), *((tick + offset, event) for tick, event in track.events)]
        track.end = offset + end
        offset = track.end


def _missing_offs(file: File, last: int) -> list[list[PortEvent]]:
    """The note-offs that are missing, a list a track: a note without one ends with its track.

    The tracks of type 0 and 1 are played together, so a note may be ended by another track's note-off.
    """
    sounding: dict[tuple[int, int, int], int] = {}  # (port, channel, pitch) -> the track that plays it
    numbered = [
        (tick, number, port, event)
        for number, track in enumerate(file.tracks)
        for tick, port, event in _with_ports(track.events)
        if _is_note(event)
    ]
    # At one tick an end comes before a beginning, wherever it is written.
    begun: dict[tuple[int, int, int], int] = {}
    for tick, number, port, event in sorted(numbered, key=lambda each: each[0]):
        key = (port, event[0] & 15, event[1])
        if event[0] >= 0x90 and event[2]:
            sounding[key], begun[key] = number, tick
        elif begun.get(key, tick) < tick or sounding.get(key) == number:
            sounding.pop(key, None)
    found: list[list[PortEvent]] = [[] for _ in file.tracks]
    for (port, channel, pitch), number in sounding.items():
        end = min(max(file.tracks[number].end, begun[port, channel, pitch] + 1), last + _LONGEST_DELTA)
        found[number].append((end, port, bytes((0x80 | channel, pitch, 64))))
    return found


def _filled(events: list[Event], end: int) -> Iterator[Event]:
    """Events with empty texts between those that are too far apart for a delta time, up to the end."""
    now = 0
    for tick, event in [*events, (end, b"")]:
        while tick - now > _LONGEST_DELTA:
            now += _LONGEST_DELTA
            yield now, _FILLER
        now = tick
        if event:
            yield tick, event


def _parts(tracks: list[Track], ports: dict[int, int]) -> tuple[Part, ...]:
    """The channels that play notes, in the order of the tracks that play them first."""
    drums, programs = drum_changes(tracks), program_changes(tracks)
    names: dict[int, list[str]] = {}
    first: dict[int, tuple[int, int, int]] = {}  # channel -> tick, line, program of its first note
    for track in tracks:
        for tick, key, program in zip(track.start, track.key, track.program, strict=True):
            channel = ports[key >> 11] << 4 | key >> 7 & 15
            mine = names.setdefault(channel, [])
            title = track.name or track.instrument_name
            if title and title not in mine:
                mine.append(title)
            if channel not in first or tick < first[channel][0]:
                first[channel] = (tick, key >> 7, program)
    at: Callable[[int], np.ndarray] = lambda value: np.array([value], dtype=np.int64)  # noqa: E731
    found = []
    for channel, (tick, line, program) in first.items():
        if program < 0:
            program = int(programs.values(at(line), at(tick), at(0))[0])
        drum = bool(is_drum(drums, at(line), at(tick))[0])
        found.append(Part(channel, tuple(names[channel]), program, drum))
    return tuple(found)
