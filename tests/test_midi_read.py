"""Reading MIDI files: what sequencers write, and what is not a MIDI file."""

from __future__ import annotations

import struct
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from emsync import midi, midi_read
from emsync.errors import MidiError
from emsync.score import Bars, Instrument, KeySignature, Marker, TempoMap
from tests.midi_files import NOTE, dump, header, rows, smf, track


def test_type_0_with_running_status() -> None:
    score = midi.from_bytes(
        dump(
            """
            4d 54 68 64  00 00 00 06  00 00  00 01  00 60  # MThd: type 0, one track, 96 ticks a quarter
            4d 54 72 6b  00 00 00 32                       # MTrk: 50 bytes
            00 ff 51 03 07 a1 20                           # tempo 500000 us: 120
            00 ff 58 04 03 02 18 08                        # meter 3/4
            00 ff 59 02 fe 01                              # key: two flats, minor
            00 c0 05                                       # channel 1: program 5
            00 90 3c 64                                    # C4 on
            60 3c 00                                       # running status, velocity 0: C4 off, 96 ticks later
            00 3e 50                                       # running status: D4 on
            00 99 24 7f                                    # channel 10: kick on
            30 89 24 00                                    # kick off, 48 ticks later
            30 80 3e 40                                    # D4 off
            00 ff 2f 00                                    # End of Track
            """
        )
    )
    assert score.instruments == (Instrument("", 5), Instrument("", 0, True))
    assert rows(score) == [(0, 60, 100, 0.0, 0.5), (0, 62, 80, 0.5, 1.0), (1, 36, 127, 0.5, 0.75)]
    assert score.tempo == TempoMap.constant(120.0)
    assert score.bars == Bars([0.0], [3], [4])
    assert score.keys == (KeySignature(0.0, 7, True),)
    assert score.duration_s == 1.0


def test_tempo_changes_inside_a_bar() -> None:
    score = midi.from_bytes(
        smf(
            """
            00 ff 51 03 07 a1 20        # 120
            83 60 ff 51 03 0f 42 40     # after one quarter: 60
            83 60 ff 51 03 07 a1 20     # after another: 120 again
            00 ff 06 03 43 75 74        # marker "Cut"
            """,
            """
            00 90 3c 40
            8f 00 80 3c 00              # 1920 ticks later
            83 60 90 3e 40              # 480 later
            83 60 80 3e 00
            """,
        )
    )
    assert score.tempo == TempoMap([0.0, 0.5, 1.5], [120.0, 60.0, 120.0])
    assert rows(score) == [(0, 60, 64, 0.0, 2.5), (0, 62, 64, 3.0, 3.5)]
    assert score.bars == Bars([0.0, 2.5], [4, 4], [4, 4])
    assert score.markers == (Marker(1.5, "Cut"),)


def test_bars_follow_the_meter() -> None:
    score = midi.from_bytes(
        smf(
            """
            00    ff 58 04 03 02 18 08  # 3/4
            9b 20 ff 58 04 06 03 24 08  # after 3,488 ticks (inside bar 3): 6/8
            00    ff 58 04 00 02 18 08  # no quarters to a bar: not a meter
            00    ff 58 04 04 09 18 08  # 4/512: not one that can be written down
            """,
            "00 90 3c 40  ad 00 80 3c 00",  # until 5,760
        )
    )
    assert score.bars.start_s.tolist() == [tick / 960 for tick in (0, 1440, 2880, 3488, 4928)]
    assert score.bars.numerator.tolist() == [3, 3, 3, 6, 6]
    assert score.bars.denominator.tolist() == [4, 4, 4, 8, 8]


def test_a_meter_repeated_in_another_track_begins_no_bar() -> None:
    conductor, other = "00 ff 58 04 04 02 18 08", "60 ff 58 04 04 02 18 08  00 90 3c 40  9e 00 80 3c 00"
    assert midi.from_bytes(smf(conductor, other)).bars.start_s.tolist() == [0.0, 2.0, 4.0]
    assert midi.from_bytes(smf("00 ff 01 00", other)).bars.start_s.tolist() == [0.0, 0.1, 2.1]


def test_missing_tempo_and_meter() -> None:
    score = midi.from_bytes(smf("00 90 3c 40  9e 00 80 3c 00"))  # 3,840 ticks
    assert score.tempo == TempoMap.constant(120.0)
    assert score.bars == Bars([0.0, 2.0], [4, 4], [4, 4])
    assert score.keys == score.markers == ()


def test_each_track_channel_and_program_is_an_instrument() -> None:
    score = midi.from_bytes(
        smf(
            "00 ff 03 04 53 6f 6e 67  00 c1 28",  # "Song"; program 40 for channel 2, no notes: an instrument too
            """
            00 ff 03 05 4c 65 61 64 20  # "Lead ": padding goes
            00 c0 18  00 90 3c 40  60 80 3c 00
            00 c0 1b  00 90 3e 40  60 80 3e 00   # another program
            00 91 40 40  60 81 40 00             # another channel, whose program stands in track 1
            """,
            "00 ff 04 04 42 61 73 73  00 c0 20  00 90 28 40  60 80 28 00",  # named by its instrument name
        )
    )
    assert [(each.name, each.program) for each in score.instruments] == [
        ("Song", 40),
        ("Lead", 24),
        ("Lead", 27),
        ("Lead", 40),
        ("Bass", 32),
    ]
    assert {(row[0], row[1]) for row in rows(score)} == {(1, 60), (2, 62), (3, 64), (4, 40)}


def test_notes_without_an_end_or_without_length() -> None:
    score = midi.from_bytes(
        smf(
            """
            00 90 3c 40  00 80 3c 00     # C4 on and off at once
            00 90 40 40                  # E4, never ended
            83 60 ff 01 01 78            # a text, 480 ticks on; then the track ends
            00 90 43 40                  # G4, on the track's last tick
            """
        )
    )
    tick_s = 1 / 960
    assert rows(score) == [
        (0, 60, 64, 0.0, tick_s),
        (0, 64, 64, 0.0, 0.5),
        (0, 67, 64, 0.5, 0.5 + tick_s),
    ]


def test_a_note_off_ends_what_began_before_it() -> None:
    score = midi.from_bytes(
        smf(
            """
            00 90 3c 40
            60 90 3c 50    # again, while it sounds
            60 90 3c 60    # and again
            00 80 3c 00    # at the same tick: ends the first two, not this one
            60 80 3c 00
            60 80 3c 00    # one too many
            """
        )
    )
    assert rows(score) == [(0, 60, 64, 0.0, 0.2), (0, 60, 80, 0.1, 0.2), (0, 60, 96, 0.2, 0.3)]


def test_type_2_plays_one_track_after_another() -> None:
    slow = "00 ff 51 03 0f 42 40  00 ff 58 04 03 02 18 08" + NOTE  # 60, in 3/4
    score = midi.from_bytes(smf(slow, NOTE, kind=2))
    assert [row[3:] for row in rows(score)] == [(0.0, 1.0), (1.0, 1.5)]
    assert score.tempo == TempoMap([0.0, 1.0], [60.0, 120.0])
    assert score.bars == Bars([0.0, 1.0], [3, 4], [4, 4])


@pytest.mark.parametrize(("frames", "rate"), [(24, 24), (25, 25), (29, 30000 / 1001), (30, 30)])
def test_smpte_time(frames: int, rate: float) -> None:
    division = -(frames << 8) + 40  # 40 ticks a frame
    track = """
        00 ff 51 03 0f 42 40         # 60: moves bars, but no note
        00 90 3c 40  87 68 80 3c 00  # 1,000 ticks: 25 frames
        bb 00 90 3e 40  87 68 80 3e 00
    """
    score = midi.from_bytes(smf(track, division=division))
    assert rows(score)[0][4] == pytest.approx(25 / rate, abs=1e-12)
    assert rows(score)[1][3] == pytest.approx((1000 + 7552) / 40 / rate, abs=1e-12)
    assert score.tempo == TempoMap.constant(60.0)
    np.testing.assert_allclose(score.bars.start_s, np.arange(len(score.bars)) * 4.0, atol=1e-9)
    assert len(score.bars) == -(-score.duration_s // 4)


def test_text_in_any_encoding() -> None:
    latin = b"\x00\xff\x03\x05Fl\xfbte\x00\x90\x3c\x40\x60\x80\x3c\x00"
    utf8 = "\u30d4\u30a2\u30ce".encode()
    score = midi.from_bytes(smf(latin, b"\x00\xff\x03" + bytes([len(utf8)]) + utf8 + dump(NOTE)))
    assert [each.name for each in score.instruments] == ["Flûte", "ピアノ"]


def test_chunks_and_bytes_that_are_no_music_are_passed_over() -> None:
    file = smf(NOTE)
    expected = midi.from_bytes(file)
    assert midi.from_bytes(file + b"garbage behind the last track") == expected
    assert midi.from_bytes(file[:14] + b"XFIH\x00\x00\x00\x03abc" + file[14:]) == expected
    assert midi.from_bytes(b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + file) == expected
    longer_header = file[:4] + struct.pack(">I", 8) + file[8:14] + b"\x00\x00" + file[14:]
    assert midi.from_bytes(longer_header) == expected
    # System exclusive, an escape, a sequencer's own meta event, controllers, bend, pressure, a clock that should not be
    around = "00 f0 03 7e 7f f7  00 f7 01 f8  00 ff 7f 02 00 00  00 b0 07 64  00 e0 00 40  00 d0 10  00 a0 3c 01  00 f8"
    assert midi.from_bytes(smf(around + NOTE)) == expected
    # A key that is none: eight flats, and mode 255.
    assert midi.from_bytes(smf("00 ff 59 02 f8 00  00 ff 59 02 ff ff" + NOTE)) == expected


def test_a_wrong_track_length_is_forgiven_if_the_track_says_where_it_ends() -> None:
    file = smf(NOTE)
    assert midi.from_bytes(file[:18] + struct.pack(">I", 999) + file[22:]) == midi.from_bytes(file)


def test_a_stray_end_of_track_is_not_the_music() -> None:
    # 64 deltas of 2^28 - 1 ticks: 200 days of nothing.
    assert midi.from_bytes(smf(dump(NOTE) + b"\xff\xff\xff\x7f\xff\x01\x00" * 64)).duration_s == 0.5


# --- Reading: bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; give a MIDI file"),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\n", "is not a MIDI file: it begins with b'WEBV'"),
        (smf(NOTE)[:10], "is cut off in its header, after 10 bytes"),
        (smf(NOTE)[:-3], "is cut off in track 1"),
        (smf(NOTE, NOTE)[:40], "is cut off: 1 of 2 tracks are there"),
        (smf("00 ff 03 01 41"), "has no notes"),
        (smf(), "has no notes"),
        (smf("00 ff 51 03 00 00 00" + NOTE), r"has a tempo of zero \(0 microseconds a quarter note\) at tick 0"),
        (smf("00 ff 51 03 00 00 03" + NOTE), "has a tempo of 20000000 quarter notes a minute"),
        (b"MThd" + struct.pack(">IHHh", 6, 1, 10_000, 480), "is cut off: 0 of 10000 tracks are there"),
        (smf(NOTE, division=0), "has a division of 0 ticks"),
        (smf(NOTE, division=-25 << 8), "has a division of 0 ticks"),
        (smf(NOTE, kind=3), "type 3; types 0, 1 and 2 can be read"),
        (smf("00 3c 40" + NOTE), "is damaged: track 1 has a stray byte 0x3c at its byte 1"),
        (smf(NOTE + "00 ff 01 ff 7f"), "is damaged: track 1 ends inside an event"),
        (smf(b"\xff\xff\xff\x7f\xff\x01\x00" * 64 + dump(NOTE)), "has a note that ends after 4.97e.03 hours, over 24"),
        (smf("00 ff 58 04 01 06 18 08  00 ff 51 03 00 02 58  00 90 3c 40  ff ff ff 7f 80 3c 00"), "bars, over 1000000"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    with pytest.raises(MidiError, match=message) as caught:
        midi.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(MidiError, match=r"^MIDI data "):
        midi.from_bytes(data)


def test_every_beginning_of_a_file_is_cut_off() -> None:
    tracks = [track("00 ff 03 01 41  00 c0 05" + NOTE), track("00 ff 51 03 07 a1 20"), track(NOTE)]
    file = header(3) + b"".join(tracks)
    whole = {len(header(3)) + len(tracks[0]), len(header(3)) + len(tracks[0]) + len(tracks[1])}
    nearly = {size - 1 for size in (*whole, len(file))}  # only the End of Track's length is missing
    for size in sorted(set(range(1, len(file))) - whole - nearly):
        with pytest.raises(MidiError, match=r"cut off|is not a MIDI file"):
            midi.from_bytes(file[:size])
    # Behind a whole track nothing is cut off: the count may be wrong. It is read, but said.
    for found, size in enumerate(sorted(whole), 1):
        assert midi.from_bytes(file[:size]).warnings == (
            f"the header promises 3 tracks, the file has {found}; all of those were read",
        )


@given(st.binary(max_size=60), st.integers(-0x8000, 0x7FFF))
def test_nonsense_is_read_or_refused(data: bytes, division: int) -> None:
    file = smf(dump(NOTE) + data, division=division)
    try:
        score = midi.from_bytes(file)
    except MidiError as error:
        assert str(error).startswith("MIDI data ")  # noqa: PT017
    else:
        assert len(score) >= 1


def test_a_place_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(MidiError, match=r"none\.mid cannot be read \(No such file or directory\)"):
        midi.read(tmp_path / "none.mid")
    with pytest.raises(MidiError, match=r"cannot be read \(Is a directory\)"):
        midi.read(tmp_path)


def test_a_file_too_large_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(smf(NOTE))
    monkeypatch.setattr(midi_read, "MAX_BYTES", 10)
    with pytest.raises(MidiError, match=r"bytes, over 10; is it a MIDI file"):
        midi.read(path)
