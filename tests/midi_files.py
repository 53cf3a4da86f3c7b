"""MIDI files as hex dumps, and a score to write."""

from __future__ import annotations

import struct

import mido
import numpy as np

from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap

PIANO = Instrument("Piano", 0)
END = b"\x00\xff\x2f\x00"


def dump(text: str) -> bytes:
    """The bytes of a commented hex dump."""
    return bytes.fromhex(" ".join(line.split("#")[0] for line in text.splitlines()))


def chunk(tag: bytes, body: bytes, size: int | None = None) -> bytes:
    """A chunk, with its own size or a wrong one."""
    return tag + struct.pack(">I", len(body) if size is None else size) + body


def header(count: int, *, kind: int = 1, division: int = 480) -> bytes:
    return chunk(b"MThd", struct.pack(">HHh", kind, count, division))


def track(text: str | bytes) -> bytes:
    """A track chunk of a hex dump, with its End of Track."""
    return chunk(b"MTrk", (dump(text) if isinstance(text, str) else text) + END)


def smf(*tracks: str | bytes, kind: int = 1, division: int = 480) -> bytes:
    """A file of tracks given as hex dumps, each without its End of Track."""
    return header(len(tracks), kind=kind, division=division) + b"".join(track(each) for each in tracks)


def rows(score: Score) -> list[tuple[int, int, int, float, float]]:
    """The notes of a score: (instrument, pitch, velocity, start, end)."""
    columns = (score.instrument, score.pitch, score.velocity, score.start_s, score.end_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


NOTE = """
    00 90 3c 40     # note on: channel 1, C4, velocity 64
    83 60 80 3c 00  # 480 ticks later: note off
"""


def band() -> Score:
    """Five instruments over four bars, one of them 3/4, with two tempi, two keys and markers."""
    instruments = (
        Instrument("Drums", 8, True),
        PIANO,
        Instrument("Guitar", 25),
        Instrument("Bass", 33),
        Instrument("Strings", 48),
    )
    tempo = TempoMap([0.0, 4.0], [120.0, 100.0])
    bars = Bars(tempo.seconds_at([0.0, 4.0, 8.0, 11.0]), [4, 4, 3, 4], [4, 4, 4, 4])
    onsets = np.arange(0.0, 15.0, 0.5)
    who = np.arange(len(onsets)) % 5
    return Score(
        instruments,
        who,
        np.where(who == 0, 36, 48 + np.arange(len(onsets)) % 24),
        40 + np.arange(len(onsets)),
        tempo.seconds_at(onsets),
        tempo.seconds_at(onsets + 0.5),
        tempo,
        bars,
        [Marker(float(tempo.seconds_at(2.0)), "Cut 1 00:00:01:00"), Marker(float(tempo.seconds_at(9.5)), "Cut 2")],
        [KeySignature(0.0, 9, True), KeySignature(4.0, 3)],
        float(tempo.seconds_at(15.0)),
    )


def absolute(file: mido.MidiFile) -> list[list[tuple[int, mido.Message]]]:
    """The messages of each track with their absolute tick."""
    tracks = []
    for track in file.tracks:
        tick, messages = 0, []
        for message in track:
            tick += message.time
            messages.append((tick, message))
        tracks.append(messages)
    return tracks


def seconds_by_mido(file: mido.MidiFile) -> list[tuple[float, int]]:
    """(onset in seconds, pitch) of every note, by mido's reading, with tempo summed in whole microseconds."""
    tracks = absolute(file)
    tempi = [(tick, message.tempo) for tick, message in tracks[0] if message.type == "set_tempo"]
    assert tempi[0][0] == 0
    onsets = []
    for track in tracks[1:]:
        for tick, message in track:
            if message.type == "note_on" and message.velocity:
                units = 0
                for (begin, us), (end, _) in zip(tempi, [*tempi[1:], (tick, 0)], strict=True):
                    units += max(min(end, tick) - begin, 0) * us
                onsets.append((units / file.ticks_per_beat / 1e6, message.note))
    return sorted(onsets)
