"""Standard MIDI File -> Score.

Bytes are parsed here and not by a library because none of symusic 0.6, mido 1.3 and pretty_midi 0.2 reads what
sequencers really wrote: SMPTE time, notes without an end, type 2, text in any encoding and files with wrong counts or
lengths each fail in one of them. The tests compare with them where they do read a file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.columns import IntArray
from emsync.errors import InputError, MidiError
from emsync.files import read_limited
from emsync.midi_channels import Changes, drum_changes, is_drum, program_changes
from emsync.midi_chunks import File, split
from emsync.midi_clock import Clock
from emsync.midi_format import DEFAULT_US, MAX_BYTES, MAX_HOURS, MAX_MARKERS, US_PER_MINUTE
from emsync.midi_track import Track
from emsync.score import MAX_QPM, Bars, Instrument, KeySignature, Marker, Score

#: More warnings than this are summed up.
_MAX_WARNINGS: Final = 20


def read(path: str | os.PathLike[str]) -> Score:
    """Read any Standard MIDI File as a Score; see `from_bytes`.

    Raises `MidiError`, naming the path, when it is missing, no regular file, no MIDI file, cut off, or beyond the
    limits of `from_bytes` or `midi_format.MAX_BYTES` (32 MiB).
    """
    return from_bytes(read_limited(path, MAX_BYTES, "MIDI file", MidiError), name=str(path))


def from_bytes(data: bytes, *, name: str = "MIDI data") -> Score:
    """The bytes of a Standard MIDI File as a Score. Inverse of `to_bytes`.

    - Containers: type 0, 1 and 2 (tracks of type 2 are played one after another), in ticks per quarter note or SMPTE
      time, bare, in a RIFF, or behind the header of another container such as MacBinary. Wrong track counts and
      lengths, foreign chunks and junk between tracks are passed over. `Score.warnings` says what was wrong.
    - Instruments: each track, channel, program and kind (melodic or drums) is one, named like its track. The same
      channel on two ports is two channels. Where a track sets no program, another track's on the same channel holds.
      Which channels are drums: see `midi_channels`. A track without notes is an instrument if it has a name and sets
      one program.
    - Notes: a note-off ends every note of its channel and pitch that began before it, also in another track. A note
      without one ends with its track. A note without length lasts a tick.
    - Bars follow meter and tempo from 0 to the end, in 4/4 at 120 until the file says otherwise. A meter event inside
      a bar begins a new bar. `duration_s` is the last End of Track.
    - Text: see `midi_text`.

    Raises `MidiError`, beginning with `name`, if the data is not a MIDI file, cut off or damaged; if it has no notes;
    a tempo of zero or over 100,000 quarter notes a minute; more than 1,024 tracks or a million bars; or a note past 24
    hours.
    """
    file = split(data, name)
    tracks, warnings = file.tracks, file.warnings
    if not any(track.start for track in tracks):
        raise MidiError(f"{name} has no notes; was the right file given?")
    tempos = [event for track in tracks for event in track.tempos]
    _check_tempos(tempos, name)
    ends = note_ends(file, Clock.of(tempos, file.division))
    if file.midi_type == 2:
        _line_up(tracks, ends)
        tempos = [event for track in tracks for event in track.tempos]
    clock = Clock.of(tempos, file.division)
    note_end = max(int(each.max()) for each in ends if len(each))
    _check_end(clock, note_end, name)
    end = max(note_end, *(track.end for track in tracks))
    if clock.second(end) > MAX_HOURS * 3600:
        end = note_end  # a stray End of Track, not music
    drums, programs = drum_changes(tracks), program_changes(tracks)
    parts = [_parts(track, drums, programs) for track in tracks]
    instruments, who = _instruments(parts)
    markers = [(tick, text) for track in tracks for tick, text in track.markers]
    if len(markers) > MAX_MARKERS:
        warnings.append(f"of {len(markers)} markers only {MAX_MARKERS} were read")
    if len(warnings) > _MAX_WARNINGS:
        warnings[_MAX_WARNINGS:] = [f"and {len(warnings) - _MAX_WARNINGS} more"]
    key = _joined([track.key for track in tracks])
    return Score(
        instruments,
        who,
        key & 127,
        _joined([track.velocity for track in tracks]),
        clock.seconds(_joined([track.start for track in tracks])),
        clock.seconds(_joined(ends)),
        clock.tempo_map(end),
        _bars(tracks, clock, end, name),
        [Marker(clock.second(min(tick, end)), text) for tick, text in markers[:MAX_MARKERS]],
        _keys(tracks, clock, end),
        clock.second(end),
        warnings,
    )


def _joined(columns: Sequence[npt.ArrayLike]) -> IntArray:
    return np.concatenate([np.asarray(each, dtype=np.int64) for each in columns])


def _check_tempos(tempos: list[tuple[int, int]], name: str) -> None:
    for tick, us in tempos:
        if us * MAX_QPM < US_PER_MINUTE:
            what = "a tempo of zero" if us == 0 else f"a tempo of {US_PER_MINUTE / us:.0f} quarter notes a minute"
            raise MidiError(
                f"{name} has {what} ({us} microseconds a quarter note) at tick {tick}; "
                f"{US_PER_MINUTE / MAX_QPM:.0f} is the least that can be played, so mend that tempo event"
            )


def _check_end(clock: Clock, tick: int, name: str) -> None:
    last_s = clock.second(tick)
    if last_s > MAX_HOURS * 3600:
        raise MidiError(
            f"{name} has a note that ends after {last_s / 3600:.3g} hours, over {MAX_HOURS}; its times are damaged, "
            "so save it again from the program that made it"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Notes


def note_ends(file: File, clock: Clock) -> list[IntArray]:
    """The end of each note in ticks, an array a track; adds a warning for notes without a note-off.

    The tracks of type 0 and 1 are played together, so a note may be ended by another track's note-off.
    """
    tracks = file.tracks
    ends = [np.array(track.end_tick, dtype=np.int64) for track in tracks]
    offs = _stray_offs(tracks) if file.midi_type != 2 and any((each < 0).any() for each in ends) else {}
    last = max(track.last for track in tracks)
    endless = 0
    for track, mine in zip(tracks, ends, strict=True):
        # A stray End of Track days later is no place for a note to end.
        track_end = track.end if clock.second(track.end) <= MAX_HOURS * 3600 else last
        for i in np.flatnonzero(mine < 0).tolist():
            start, key = track.start[i], track.key[i]
            ticks = offs.get(key)
            at = int(np.searchsorted(ticks, start, side="right")) if ticks is not None else 0
            if ticks is not None and at < len(ticks):
                mine[i] = ticks[at]
            else:
                mine[i] = max(track_end, start + 1)
                endless += 1
    if endless:
        file.warnings.append(f"{endless} notes have no note-off; they end with their track")
    return ends


def _stray_offs(tracks: list[Track]) -> dict[int, IntArray]:
    """Note-offs that end no note of their own track: key -> ticks, in order."""
    key, tick = _joined([track.off_key for track in tracks]), _joined([track.off_tick for track in tracks])
    order = np.lexsort((tick, key))
    key, tick = key[order], tick[order]
    keys, first = np.unique(key, return_index=True)
    return dict(zip(keys.tolist(), np.split(tick, first[1:]), strict=True)) if len(keys) else {}


def _line_up(tracks: list[Track], ends: list[IntArray]) -> None:
    """Type 2: each track is a separate piece, with its own tempo and meter. Put them one after the other."""
    offset = 0
    for number, track in enumerate(tracks):
        if not any(tick == 0 for tick, _ in track.tempos):
            track.tempos.insert(0, (0, DEFAULT_US))
        if not any(tick == 0 for tick, _, _ in track.meters):
            track.meters.insert(0, (0, 4, 4))
        track.end = max(track.end, int(ends[number].max(initial=0)))
        ends[number] = ends[number] + offset
        for i, tick in enumerate(track.start):
            track.start[i] = tick + offset
        track.programs = [(tick + offset, line, program) for tick, line, program in track.programs]
        track.setup = [(tick + offset, where, what) for tick, where, what in track.setup]
        track.tempos = [(tick + offset, us) for tick, us in track.tempos]
        track.meters = [(tick + offset, above, below) for tick, above, below in track.meters]
        track.keys = [(tick + offset, tonic, is_minor) for tick, tonic, is_minor in track.keys]
        track.markers = [(tick + offset, text) for tick, text in track.markers]
        track.end += offset
        offset = track.end


# ---------------------------------------------------------------------------------------------------------------------
# Instruments


def _parts(track: Track, drums: Changes, programs: Changes) -> tuple[list[Instrument], IntArray]:
    """The instruments of one track, in the order of their first notes, and which of them plays each note (N,)."""
    title = track.name or track.instrument_name
    if not track.start:
        if not title or len(track.programs) != 1:
            return [], np.zeros(0, dtype=np.int64)
        (only,) = track.programs
        drum = is_drum(drums, np.array([only[1]]), np.array([only[0]]))
        return [Instrument(title, only[2], bool(drum[0]))], np.zeros(0, dtype=np.int64)
    start = np.array(track.start, dtype=np.int64)
    line = np.array(track.key, dtype=np.int64) >> 7
    program = np.array(track.program, dtype=np.int64)
    program = np.where(program < 0, programs.values(line, start, np.zeros_like(line)), program)
    drum = is_drum(drums, line, start)
    kinds, first, which = np.unique(line << 8 | program << 1 | drum, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    found = [Instrument(title, int(kind) >> 1 & 127, bool(kind & 1)) for kind in kinds[order]]
    return found, place[which]


def _instruments(parts: list[tuple[list[Instrument], IntArray]]) -> tuple[tuple[Instrument, ...], IntArray]:
    """The instruments of all tracks, and which of them plays each note (N,)."""
    instruments: list[Instrument] = []
    who: list[npt.ArrayLike] = []
    for found, mine in parts:
        who.append(mine + len(instruments))
        instruments += found
    return tuple(instruments), _joined(who)


# ---------------------------------------------------------------------------------------------------------------------
# Keys and bars


def _keys(tracks: list[Track], clock: Clock, end: int) -> list[KeySignature]:
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


def _bars(tracks: list[Track], clock: Clock, end: int, name: str) -> Bars:
    """Bars from 0 to the end tick: meter after meter, each from its own tick."""
    at = {0: (4, 4)}
    events = [(*event, index) for index, track in enumerate(tracks) for event in track.meters if event[0] < end]
    running, owner = (4, 4), -1
    for tick, above, below, index in sorted(events, key=lambda event: event[0]):
        # Files that state the meter in every track are often off by a beat in some: only the track that set the
        # meter may begin a new bar by repeating it.
        if owner in (-1, index) or (above, below) != running:
            at[tick] = running = (above, below)
            owner = index
    meters = list(at.values())
    places = np.array(list(at), dtype=np.float64)
    try:
        if not clock.is_smpte:
            return Bars.from_meters(places, meters, end, clock.seconds, per_quarter=clock.division, name=name)
        # No tick is a musical length: count in quarter notes instead.
        tempo = clock.tempo_map(end)
        places, last = tempo.quarters_at(clock.seconds(places)), float(tempo.quarters_at(clock.second(end)))
        return Bars.from_meters(places, meters, last, tempo.seconds_at, name=name)
    except InputError as error:
        raise MidiError(str(error)) from None
