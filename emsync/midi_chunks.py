"""The container of a MIDI file: its header and its tracks, also where counts and lengths are wrong.

A file is read as mainstream players read it. Whatever had to be repaired or left out gives a warning, so that no
track is lost silently. What is cut off inside a track is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from emsync.errors import MidiError
from emsync.midi_format import MAX_TRACKS
from emsync.midi_track import Track, TrackError, parse

#: Files that wrap a MIDI file put it behind at most so many bytes; RIFF files are searched by their chunks.
_SEARCHED_BYTES: Final = 1 << 16
_HEADER: Final = re.compile(rb"MThd\0\0\0[\x06-\x20]\0[\0-\x02]", re.DOTALL)
_TAG: Final = re.compile(rb"[A-Za-z0-9 _#.-]{4}")
_PADDING: Final = b"\0\r\n\t \x1a"


@dataclass(slots=True)
class File:
    """A MIDI file: its type (0, 1 or 2), its division (negative for SMPTE time), its tracks, and what was wrong."""

    midi_type: int
    division: int
    tracks: list[Track]
    warnings: list[str] = field(default_factory=list)


def split(data: bytes, name: str, *, keep_events: bool = False) -> File:
    """The header and the tracks of a file; `keep_events` fills their `Track.events`, too.

    Raises `MidiError`, beginning with `name`, when the data is not a MIDI file, cut off or damaged, or has more than
    `MAX_TRACKS` tracks.
    """
    warnings: list[str] = []
    data = _unwrap(data, name, warnings)
    if len(data) < 14:
        raise MidiError(f"{name} is cut off in its header, after {len(data)} bytes; copy or download it again")
    header = int.from_bytes(data[4:8], "big")
    midi_type, count = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    division = int.from_bytes(data[12:14], "big", signed=True)
    position = 8 + header
    if header != 6 and data[14:18] == b"MTrk" and data[position : position + 4] != b"MTrk":
        warnings.append(f"the header gives its length as {header} bytes instead of 6")
        position = 14
    elif header < 6:
        raise MidiError(f"{name} has a header of {header} bytes; save it again from the program that made it")
    if midi_type > 2:
        raise MidiError(f"{name} has a header of {header} bytes and type {midi_type}; types 0, 1 and 2 can be read")
    if division == 0 or (division < 0 and not division & 0xFF):
        raise MidiError(f"{name} has a division of 0 ticks; save it again from the program that made it")
    return File(midi_type, division, _tracks(data, position, count, name, warnings, keep_events), warnings)


def _unwrap(data: bytes, name: str, warnings: list[str]) -> bytes:
    """The data from its MThd on: bare, in a RIFF, or behind the header of another container such as MacBinary."""
    if not data:
        raise MidiError(f"{name} is empty; give a MIDI file")
    if data.startswith((b"RIFF", b"RIFX")):
        data = _from_riff(data)
    if data.startswith(b"MThd"):
        return data
    found = _HEADER.search(data, 0, _SEARCHED_BYTES)
    if found:
        warnings.append(f"{found.start()} bytes before the MIDI header are ignored")
        return data[found.start() :]
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        what, remedy = "it is a web page or XML", "download the file itself"
    elif data.startswith((b"PK\3\4", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        what, remedy = "it is a compressed archive", "unpack it first"
    else:
        what, remedy = f"it begins with {data[:4]!r} instead of b'MThd'", "give a .mid file"
    raise MidiError(f"{name} is not a MIDI file: {what}; {remedy}")


def _from_riff(data: bytes) -> bytes:
    """The MIDI file in the data chunk of a RIFF file, wherever that is; else the data itself."""
    order = "little" if data.startswith(b"RIFF") else "big"
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], order)  # type: ignore[arg-type]
        body = position + 8
        if data.startswith(b"data", position) and data.startswith(b"MThd", body):
            # A size of zero, or one past the end, was never filled in.
            return data[body : body + size] if 14 <= size <= len(data) - body else data[body:]
        position = body + size + size % 2
    return data


def _tracks(data: bytes, position: int, count: int, name: str, warnings: list[str], keep_events: bool) -> list[Track]:
    """All tracks from `position` on; `count` is how many the header promises."""
    tracks: list[Track] = []
    foreign = 0
    rest = b""
    while position < len(data):
        if data.startswith(b"MTrk", position) and position + 8 <= len(data):
            if len(tracks) == MAX_TRACKS:
                raise MidiError(f"{name} has over {MAX_TRACKS} tracks; merge some of them in a sequencer")
            track, position = _track(data, position, len(tracks) + 1, name, warnings, keep_events)
            tracks.append(track)
            continue
        size = _foreign_size(data, position)
        if size is not None:
            foreign += 1
            position += 8 + size
            continue
        if tracks and data.startswith(b"MThd", position):
            warnings.append("another MIDI file follows the first one and is not read")
            break
        following = data.find(b"MTrk", position)
        if following < 0 or following + 8 > len(data):
            rest = data[position:]
            break
        junk = following - position
        warnings.append(f"{junk} bytes before track {len(tracks) + 1} are not part of a track and are ignored")
        position = following
    found = len(tracks)
    if found + foreign < count and (not tracks or rest.startswith(b"MTrk") or (rest and b"MTrk".startswith(rest))):
        raise MidiError(f"{name} is cut off: {found} of {count} tracks are there; copy or download it again")
    if rest.strip(_PADDING):
        warnings.append(f"{len(rest)} bytes behind the last track are ignored")
    if found > count or found + foreign < count:
        warnings.append(f"the header promises {count} tracks, the file has {found}; all of those were read")
    return tracks


def _foreign_size(data: bytes, position: int) -> int | None:
    """The size of a chunk that is not a track but a vendor's own; None if there is no such chunk."""
    if not _TAG.match(data, position) or data.startswith((b"MTrk", b"MThd"), position):
        return None
    size = int.from_bytes(data[position + 4 : position + 8], "big")
    end = position + 8 + size
    # A chunk with a track inside it is none: its length is wrong.
    if position + 8 > len(data) or end > len(data) or data.find(b"MTrk", position + 8, end) >= 0:
        return None
    return size


def _is_boundary(data: bytes, position: int) -> bool:
    """Whether a chunk may end here: another begins, or the file ends, except for some padding."""
    if data.startswith((b"MTrk", b"MThd"), position) or _foreign_size(data, position) is not None:
        return True
    return len(data) - 64 <= position <= len(data) and not data[position:].strip(_PADDING)


def _track(
    data: bytes, position: int, number: int, name: str, warnings: list[str], keep_events: bool
) -> tuple[Track, int]:
    """The track whose chunk begins at `position`, and the position behind it.

    Where a track begins before the declared end, this one ends there. Else the declared end is right if a chunk may
    end there. Else the track is tried up to where the next one begins, or up to the end of the file.
    """
    body = position + 8
    declared = body + int.from_bytes(data[position + 4 : body], "big")
    limits = [min(declared, len(data))]
    following = data.find(b"MTrk", body, declared + 3)  # + 3: one that begins just before the declared end
    if following >= 0:
        limits.insert(0, following)
    else:
        following = data.find(b"MTrk", declared)
        further = following if following >= 0 else len(data)
        limits.insert(1 if _is_boundary(data, declared) else 0, further)
    last_limit = limits[-1]
    for limit in dict.fromkeys(limits):
        is_last_try = limit == last_limit
        try:
            track = parse(data[body:limit], keep_events=keep_events)
        except TrackError as error:
            if not is_last_try:
                continue
            if limit < declared and str(error) == "ends inside an event":
                raise _cut_off(name, number) from None
            raise MidiError(
                f"{name} is damaged: track {number} {error}; save it again from the program that made it"
            ) from None
        if data[body:limit].endswith(b"\xff\x2f") and data.startswith(b"\0", limit) and not is_last_try:
            continue  # the length leaves out the last byte of the End of Track
        if track.has_end or limit in (declared, following):
            break
        if is_last_try:
            raise _cut_off(name, number)
    stop = body + track.stop
    behind = limit if not track.has_end or limit < declared else max(stop, declared)
    _warn(track, number, stop, declared, data[stop:behind], warnings)
    return track, behind


def _cut_off(name: str, number: int) -> MidiError:
    return MidiError(f"{name} is cut off in track {number}; copy or download it again")


def _warn(track: Track, number: int, stop: int, declared: int, ignored: bytes, warnings: list[str]) -> None:
    """Say what was wrong with a track."""
    if not track.has_end:
        warnings.append(f"track {number} has no End of Track")
    if stop > declared:
        warnings.append(f"track {number} is {stop - declared} bytes longer than its header says")
    elif stop < declared and not ignored.strip(_PADDING) and stop + len(ignored) != declared:
        warnings.append(f"track {number} is {declared - stop} bytes shorter than its header says")
    if ignored.strip(_PADDING):
        warnings.append(f"{len(ignored)} bytes behind the end of track {number} are ignored")
    if track.has_negative_delta:
        warnings.append(f"track {number} has negative delta times")
