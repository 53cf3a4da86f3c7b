"""Change some notes of a MIDI file, and nothing else in it.

    song = Song.read("song.mid")
    data = song.patched(removed, added)      # (N,) which notes go, and the notes that come

A Score does not keep controllers, lyrics or SysEx, so a file is not written again from one. Its tracks are patched:
- A track without a changed note stays as it is, byte for byte, and so do the header and chunks that are not tracks.
- A track with a changed note keeps every other event, at its tick and in its order. Its bytes are the same except for
  running status, which is written out. At one tick, new note-offs come first and new note-ons last.
- Where counts, lengths or chunks of a file are wrong, its tracks are written again as `midi_track` reads them.

Conventions: ticks and lines are those of `midi_format`. Notes are rows of arrays, in the order of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.columns import FloatArray, IntArray
from emsync.errors import MidiError
from emsync.files import read_limited
from emsync.midi_channels import drum_changes, is_drum, program_changes
from emsync.midi_chunks import File, split
from emsync.midi_clock import Clock
from emsync.midi_format import DRUM_CHANNEL, MAX_BYTES, MAX_TRACKS, PORT, TEXT_NAME
from emsync.midi_read import from_bytes, note_ends
from emsync.midi_track import quantity
from emsync.midi_write import RELEASE, chunk
from emsync.score import Score

BoolArray = npt.NDArray[np.bool_]
Event = tuple[int, bytes]
_CHANNELS: Final = 16


@dataclass(frozen=True)
class Part:
    """A channel of a track: what people call a track.

    Attributes:
        track: The track's number in the file, from 0.
        line: Its channel and port.
        name: The track's name, or "".
        program: The General MIDI program of its first note, from 0 to 127.
        is_drum: Whether it is a drum kit at its first note.
        n_notes: How many notes it has.

    """

    track: int
    line: int
    name: str
    program: int
    is_drum: bool
    n_notes: int


@dataclass(frozen=True)
class NewNote:
    """A note to add: the track and line of a `Part`, pitch 0 to 127, velocity 1 to 127, ticks on < off."""

    track: int
    line: int
    pitch: int
    velocity: int
    on: int
    off: int


@dataclass(frozen=True)
class NewTrack:
    """A track to add behind the others, for notes with its number: a channel, a program and a name."""

    name: str
    channel: int
    program: int


@dataclass(frozen=True, eq=False)
class Song:
    """A MIDI file that can be changed.

    Attributes:
        name: The file's name, for messages.
        data: Its bytes, from the header on.
        file: What was read from them.
        clock: Its ticks in seconds.
        score: The same file as a Score, whose notes are in another order.
        track, line, pitch, velocity, on, off, program, drum: (N,) the notes; `on` and `off` in ticks.

    """

    name: str
    data: bytes
    file: File
    clock: Clock
    score: Score
    track: IntArray
    line: IntArray
    pitch: IntArray
    velocity: IntArray
    on: IntArray
    off: IntArray
    program: IntArray
    drum: BoolArray

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Song:
        """Read a MIDI file. Raises `MidiError` where `midi.read` does, and for a file of type 2."""
        return cls.from_bytes(read_limited(path, MAX_BYTES, "MIDI file", MidiError), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "MIDI data") -> Song:
        """The same of bytes."""
        score = from_bytes(data, name=name)
        file = split(data, name, keep_events=True)
        if file.midi_type == 2:
            raise MidiError(f"{name} is of type 2, whose tracks are pieces of their own; save it as type 1")
        tracks = file.tracks
        clock = Clock.of([event for track in tracks for event in track.tempos], file.division)
        ends = note_ends(file, clock)
        count = [len(track.start) for track in tracks]
        key = np.concatenate([np.array(track.key, dtype=np.int64) for track in tracks])
        on = np.concatenate([np.array(track.start, dtype=np.int64) for track in tracks])
        own = np.concatenate([np.array(track.program, dtype=np.int64) for track in tracks])
        line = key >> 7
        others = program_changes(tracks).values(line, on, np.zeros_like(line))
        return cls(
            name, data[data.find(b"MThd") :], file, clock, score,
            np.repeat(np.arange(len(tracks)), count), line, key & 127,
            np.concatenate([np.array(track.velocity, dtype=np.int64) for track in tracks]),
            on, np.concatenate(ends), np.where(own < 0, others, own),
            is_drum(drum_changes(tracks), line, on).astype(bool),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pitch)

    @cached_property
    def end(self) -> int:
        """The tick where the file ends: that of the last End of Track, or of the last note if that is days later."""
        return round(float(self.ticks_at(self.quarters_at_s(self.score.duration_s))))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts that play, and tracks without notes that have a name and one program, in the order of the file."""
        found = []
        for number, track in enumerate(self.file.tracks):
            here = self.track == number
            title = track.name or track.instrument_name
            lines, first = np.unique(self.line[here], return_index=True)
            for line, at in zip(lines.tolist(), np.flatnonzero(here)[first].tolist(), strict=True):
                n_notes = int((here & (self.line == line)).sum())
                found.append(Part(number, line, title, int(self.program[at]), bool(self.drum[at]), n_notes))
            if not len(lines) and title and len(track.programs) == 1:
                _, line, program = track.programs[0]
                found.append(Part(number, line, title, program, line % _CHANNELS == DRUM_CHANNEL, 0))
        return tuple(found)

    def of_part(self, part: Part) -> BoolArray:
        """(N,) Which notes a part plays."""
        return np.asarray((self.track == part.track) & (self.line == part.line))

    def quarters(self, ticks: npt.ArrayLike) -> FloatArray:
        """Ticks in quarter notes from the beginning, any shape. Inverse of `ticks_at`."""
        if self.clock.is_smpte:
            return self.quarters_at_s(self.clock.seconds(ticks))
        return np.asarray(np.asarray(ticks, dtype=np.float64) / self.clock.division)

    def ticks_at(self, quarters: npt.ArrayLike) -> FloatArray:
        """Quarter notes in ticks, with fractions, any shape. Inverse of `quarters`."""
        if self.clock.is_smpte:
            return np.asarray(self.score.tempo.seconds_at(quarters) * self.clock.units_per_s)
        return np.asarray(np.asarray(quarters, dtype=np.float64) * self.clock.division)

    def quarters_at_s(self, times_s: npt.ArrayLike) -> FloatArray:
        """Seconds in quarter notes, any shape."""
        if self.clock.is_smpte:
            return self.score.tempo.quarters_at(times_s)
        return np.asarray(self.clock.ticks_at(times_s) / self.clock.division)

    def seconds_at(self, quarters: npt.ArrayLike) -> FloatArray:
        """Quarter notes in seconds, any shape. Inverse of `quarters_at_s`."""
        return self.clock.seconds(self.ticks_at(quarters))

    def free_channels(self) -> list[int]:
        """The melodic channels on which no event of the file is."""
        used = {
            event[0] & 15 for track in self.file.tracks for _, event in track.events if event and event[0] < 0xF0
        }  # fmt: skip
        return [channel for channel in range(_CHANNELS) if channel != DRUM_CHANNEL and channel not in used]

    def patched(self, removed: BoolArray, added: Sequence[NewNote] = (), tracks: Sequence[NewTrack] = ()) -> bytes:
        """The file without some notes, with others, and with more tracks, numbered on from those of the file.

        removed: (N,) which notes go. Raises `MidiError` if the file would have too many tracks.
        """
        count = len(self.file.tracks) + len(tracks)
        if count > MAX_TRACKS:
            raise MidiError(f"{self.name} would have {count} tracks, over {MAX_TRACKS}; merge some of them")
        changed = set(self.track[removed].tolist()) | {note.track for note in added}
        spans = _spans(self.data, self.file)
        out: list[bytes] = []
        number = 0
        for span in spans if spans is not None else [None] * len(self.file.tracks):
            if span is not None and self.data[span].startswith(b"MTrk") is False:
                out.append(self.data[span])
                continue
            if span is None or number in changed:
                out.append(self._patched_track(number, removed, added))
            else:
                out.append(self.data[span])
            number += 1
        for new in tracks:
            out.append(self._new_track(new, [note for note in added if note.track == number]))
            number += 1
        return self._header(spans is not None, count) + b"".join(out)

    def _header(self, verbatim: bool, count: int) -> bytes:
        size = 8 + int.from_bytes(self.data[4:8], "big") if verbatim else 14
        head = bytearray(self.data[:size])
        if not verbatim:
            head[4:8] = (6).to_bytes(4, "big")
        if not verbatim or count != len(self.file.tracks):
            head[8:10] = (1 if count > 1 else self.file.midi_type).to_bytes(2, "big")
            head[10:12] = count.to_bytes(2, "big")
        return bytes(head)

    def _patched_track(self, number: int, removed: BoolArray, added: Iterable[NewNote]) -> bytes:
        track = self.file.tracks[number]
        gone = removed[self.track == number]
        mine = [note for note in added if note.track == number]
        # Where nothing sounds any more, a note-off that ends nothing could end a new note.
        fresh = {(note.line, note.pitch) for note in mine}
        kept = [(tick, 1, event) for tick, event in _without(track.events, gone, fresh)]
        events = [(tick, event) for tick, _, event in sorted(kept + _struck(mine), key=lambda each: each[:2])]
        return chunk(events, max(track.end, events[-1][0] if events else 0))

    def _new_track(self, new: NewTrack, notes: list[NewNote]) -> bytes:
        name = new.name.encode("utf-8")
        head = [(0, bytes((0xFF, TEXT_NAME)) + quantity(len(name)) + name)]
        head.append((0, bytes((0xC0 | new.channel, new.program))))
        struck = [(tick, event) for tick, _, event in sorted(_struck(notes), key=lambda each: each[:2])]
        return chunk(head + struck, max(self.end, struck[-1][0] if struck else 0))


def _struck(notes: Iterable[NewNote]) -> list[tuple[int, int, bytes]]:
    """(tick, place within the tick, event) of the note-ons and note-offs of new notes."""
    out = []
    for note in notes:
        channel = note.line % _CHANNELS
        out.append((note.on, 2, bytes((0x90 | channel, note.pitch, note.velocity))))
        out.append((note.off, 0, bytes((0x80 | channel, note.pitch, RELEASE))))
    return out


def _without(events: list[Event], gone: BoolArray, fresh: set[tuple[int, int]]) -> list[Event]:
    """The events of a track without some of its notes (N,): their note-ons, and the note-offs that end only them.

    It pairs them as `midi_track` does. fresh: (line, pitch) of new notes; note-offs of these that end nothing go, too.
    """
    out: list[Event] = []
    sounding: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (line, pitch) -> (note, its tick)
    number = port = 0
    for tick, event in events:
        if event[0] == 0xFF and event[1] == PORT and len(event) > 3:
            port = event[3] & 0x7F
        if event[0] >= 0xA0:
            out.append((tick, event))
            continue
        key = port << 4 | event[0] & 15, event[1]
        if event[0] >= 0x90 and event[2]:
            sounding.setdefault(key, []).append((number, tick))
            if not gone[number]:
                out.append((tick, event))
            number += 1
            continue
        notes = sounding.pop(key, [])
        if notes and notes[0][1] < tick == notes[-1][1]:  # struck again at this very tick
            sounding[key] = [note for note in notes if note[1] == tick]
            notes = [note for note in notes if note[1] != tick]
        if any(not gone[note] for note, _ in notes) or (not notes and key not in fresh):
            out.append((tick, event))
    return out


def _spans(data: bytes, file: File) -> list[slice] | None:
    """The chunks of a file behind its header, if all of it is as its header and lengths say; else None."""
    position = 8 + int.from_bytes(data[4:8], "big")
    spans = []
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        spans.append(slice(position, end))
        position = end
    n_tracks = sum(data.startswith(b"MTrk", span.start) for span in spans)
    right = position == len(data) and not file.warnings and n_tracks == len(file.tracks)
    return spans if right else None
