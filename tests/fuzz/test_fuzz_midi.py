"""Fuzzing of the MIDI reader."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from emsync import midi
from emsync.midi_mend import playable
from emsync.score import Score
from tests.fuzz.harness import Target, fuzz


def _chunk(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body)) + body


def _file(*tracks: str, kind: int = 1, division: int = 480) -> bytes:
    header = struct.pack(">HHh", kind, len(tracks), division)
    return _chunk(b"MThd", header) + b"".join(_chunk(b"MTrk", bytes.fromhex(track)) for track in tracks)


CONDUCTOR = "00ff0304536f6e67 00ff510307a120 00ff580404021808 00ff5902fe01 8360ff0603437574 00ff2f00"
#: A name, port 1, a bank, a program, notes with and without running status, GM System On.
NOTES = "00ff030450617274 00ff210100 00b0007f 00c005 00903c40 603c00 00f0057e7f0901f7 00903e40 60803e40 00ff2f00"
#: GS: channel 11 is a rhythm part.
GS = "00f00a41104212401a150110f7 009a2440 609a2400 00ff2f00"


def seeds() -> list[bytes]:
    plain = _file(CONDUCTOR, NOTES, GS)
    riff = b"RIFF" + struct.pack("<I", len(plain) + 12) + b"RMIDdata" + struct.pack("<I", len(plain)) + plain
    return [
        plain,
        _file(NOTES, kind=0),
        _file(NOTES, GS, kind=2),
        _file(CONDUCTOR, NOTES, division=-(25 << 8) + 40),
        riff,
        b"\0\4song" + bytes(122) + plain,  # MacBinary
        plain[:11] + b"\1" + plain[12:],  # a track too many
        _file("8f ff ff ff 00 90 3c 40" + NOTES),  # a negative delta time
        _file("00 ff 03 06 83 73 83 41 83 6d" + NOTES, NOTES.replace("c005", "c109")),  # Shift-JIS
    ]


def played(data: bytes) -> Score:
    """Check that what is played has every note that is read, and is without faults but for missing note-offs."""
    score = midi.from_bytes(data)
    again = midi.from_bytes(playable(data).data)
    assert len(again) == len(score)
    assert np.array_equal(np.sort(again.pitch), np.sort(score.pitch))
    assert all("no note-off" in text for text in again.warnings)
    return score


TARGETS = [Target("midi", seeds, midi.from_bytes), Target("played", seeds, played)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=400)
    assert counts.read > 20
    assert counts.refused > 20
