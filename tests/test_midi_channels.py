"""Which notes of a MIDI file are drums, and whose program they have: banks, SysEx, ports."""

from __future__ import annotations

import pytest

from emsync import midi
from emsync.score import Instrument
from tests.midi_files import smf

GM, GM2 = "00 f0 05 7e 7f 09 01 f7", "00 f0 05 7e 7f 09 03 f7"
GS = "00 f0 0a 41 10 42 12 40 00 7f 00 41 f7"
XG = "00 f0 08 43 10 4c 00 00 7e 00 f7"
#: GS "use for rhythm part": part block (A is channel 11, 0 is channel 10) and map.
GS_RHYTHM, GS_MELODIC = "00 f0 0a 41 10 42 12 40 1a 15 01 10 f7", "00 f0 0a 41 10 42 12 40 10 15 00 1b f7"
XG_RHYTHM, XG_MELODIC = "00 f0 08 43 10 4c 08 0a 07 02 f7", "00 f0 08 43 10 4c 08 09 07 00 f7"


def note(channel: int) -> str:
    return f"00 9{channel:x} 24 64  60 8{channel:x} 24 00"


def bank(channel: int, msb: int) -> str:
    return f"00 b{channel:x} 00 {msb:02x}  00 c{channel:x} 05"


def are_drums(*tracks: str) -> list[bool]:
    """Whether each instrument with notes is a drum kit."""
    score = midi.from_bytes(smf(*tracks))
    return [score.instruments[i].is_drum for i in sorted(set(score.instrument.tolist()))]


@pytest.mark.parametrize(
    ("setup", "channel", "is_drum"),
    [
        ("", 9, True),
        ("", 10, False),
        # Banks: General MIDI 2 and XG.
        (bank(10, 120), 10, True),
        (bank(10, 126), 10, True),
        (bank(10, 127), 10, True),
        (XG + bank(10, 127), 10, True),
        (GM2 + bank(10, 120), 10, True),
        (bank(10, 121), 10, False),
        (bank(10, 8), 10, False),
        (bank(10, 127) + bank(10, 0), 10, False),
        # Channel 10 keeps its drums, whatever bank, except for GM2's melodic one.
        (bank(9, 0), 9, True),
        (XG + bank(9, 0), 9, True),
        (bank(9, 121), 9, True),
        (GM2 + bank(9, 121), 9, False),
        (GM2 + bank(9, 121) + bank(9, 120), 9, True),
        # GS: banks are variations (127 sounds like an MT-32), parts are set by SysEx.
        (GS + bank(10, 127), 10, False),
        (GS + GS_RHYTHM, 10, True),
        (GS_RHYTHM, 10, True),
        (GS_RHYTHM + bank(10, 0), 10, True),
        (GS + GS_MELODIC, 9, False),
        # Several parameters in one message: tone number (2 bytes), receive channel ..., up to the part mode.
        ("00 f0 0c 41 10 42 12 40 1a 13 00 00 02 00 f7", 10, True),
        # XG's part mode.
        (XG + XG_RHYTHM, 10, True),
        (XG_RHYTHM + bank(10, 0), 10, True),
        (XG + XG_MELODIC, 9, False),
        # Resets undo it.
        (XG_RHYTHM + XG, 10, False),
        (GS_RHYTHM + GS, 10, False),
        (GS_RHYTHM + GM, 10, False),
        (bank(10, 127) + GM2, 10, False),
        (GS_MELODIC + GS, 9, True),
        # Messages of other makers, and messages cut short, say nothing.
        ("00 f0 06 42 30 42 12 01 f7  00 f0 01 f7  00 f0 02 41 f7  00 f0 02 43 f7  00 f0 04 7e 7f 09 f7", 10, False),
        # In two packets.
        ("00 f0 05 41 10 42 12 40  00 f7 05 1a 15 01 10 f7", 10, True),
    ],
)
def test_drums(setup: str, channel: int, is_drum: bool) -> None:
    assert are_drums(setup + note(channel)) == [is_drum]
    # The same, set up in a track of its own, before or behind that of the notes.
    if setup:
        assert are_drums(setup, note(channel)) == [is_drum]
        assert are_drums(note(channel), setup) == [is_drum]


def test_a_channel_changes_within_a_piece() -> None:
    score = midi.from_bytes(smf(note(10) + bank(10, 127) + note(10) + bank(10, 0) + note(10)))
    assert [score.instruments[i].is_drum for i in score.instrument] == [False, True, False]
    assert [score.instruments[i].program for i in score.instrument] == [0, 5, 5]


def test_a_named_track_without_notes_is_drums_too() -> None:
    score = midi.from_bytes(smf("00 ff 03 03 4b 69 74" + bank(10, 127), note(0)))
    assert score.instruments[0] == Instrument("Kit", 5, True)


def test_the_same_channel_on_two_ports_is_two_channels() -> None:
    strings = "00 ff 03 07 53 74 72 69 6e 67 73  00 ff 21 01 00  00 c0 30" + note(0)
    other = "00 ff 03 05 50 69 61 6e 6f  00 ff 21 01 01" + note(0)
    for tracks in ((strings, other), (other, strings)):
        score = midi.from_bytes(smf(*tracks))
        assert set(score.instruments) == {Instrument("Strings", 48), Instrument("Piano", 0)}
    # On one port the program holds for both.
    shared = midi.from_bytes(smf(strings, other.replace("ff 21 01 01", "ff 21 01 00")))
    assert set(shared.instruments) == {Instrument("Strings", 48), Instrument("Piano", 48)}


def test_drums_and_sysex_on_ports() -> None:
    port = "00 ff 21 01 01"
    assert are_drums(port + note(9)) == [True]
    assert are_drums(port + bank(10, 127) + note(10), note(10)) == [True, False]
    assert are_drums(port + GS_RHYTHM, note(10)) == [False]
    assert are_drums(port + GS_RHYTHM, port + note(10)) == [True]
    # Roland's second block of parts, and Yamaha's parts 17 to 32, are the next port.
    assert are_drums(GS_RHYTHM.replace("12 40", "12 50"), port + note(10)) == [True]
    assert are_drums(XG_RHYTHM.replace("08 0a", "08 1a"), port + note(10)) == [True]


def test_a_program_that_changes_port_within_a_track() -> None:
    score = midi.from_bytes(smf(f"00 c0 30 {note(0)} 00 ff 21 01 01 {note(0)} 00 ff 21 01 00 {note(0)}"))
    assert [score.instruments[i].program for i in score.instrument] == [48, 0, 48]
