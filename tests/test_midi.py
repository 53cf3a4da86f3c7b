from __future__ import annotations

import io
import struct
from pathlib import Path

import hypothesis.strategies as st
import mido
import numpy as np
import pytest
from hypothesis import given

from emsync import midi
from emsync.errors import InputError, MidiError, OutputError
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from tests.strategies import scores

PIANO = Instrument("Piano", 0)


def dump(text: str) -> bytes:
    """The bytes of a commented hex dump."""
    return bytes.fromhex(" ".join(line.split("#")[0] for line in text.splitlines()))


def smf(*tracks: str | bytes, kind: int = 1, division: int = 480) -> bytes:
    """A file of tracks given as hex dumps, each without its End of Track."""
    data = b"MThd" + struct.pack(">IHHh", 6, kind, len(tracks), division)
    for track in tracks:
        body = (dump(track) if isinstance(track, str) else track) + b"\x00\xff\x2f\x00"
        data += b"MTrk" + struct.pack(">I", len(body)) + body
    return data


def rows(score: Score) -> list[tuple[int, int, int, float, float]]:
    """The notes of a score: (instrument, pitch, velocity, start, end)."""
    columns = (score.instrument, score.pitch, score.velocity, score.start_s, score.end_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


NOTE = """
    00 90 3c 40     # note on: channel 1, C4, velocity 64
    83 60 80 3c 00  # 480 ticks later: note off
"""


# --- Reading: what sequencers write ----------------------------------------------------------------------------------


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
        (b"MThd" + struct.pack(">IHHh", 6, 1, 10_000, 480), "has 10000 tracks, over 1024"),
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
    file = smf("00 ff 03 01 41  00 c0 05" + NOTE, "00 ff 51 03 07 a1 20", NOTE)
    for size in range(1, len(file)):
        with pytest.raises(MidiError, match=r"cut off|is not a MIDI file"):
            midi.from_bytes(file[:size])


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
    monkeypatch.setattr(midi, "MAX_BYTES", 10)
    with pytest.raises(MidiError, match=r"bytes, over 10; is it a MIDI file"):
        midi.read(path)


# --- Writing ---------------------------------------------------------------------------------------------------------


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


def test_the_bytes_that_are_written() -> None:
    score = Score(
        (Instrument("Drums", 0, True), Instrument("Bass", 33)),
        [0, 1, 1],
        [36, 40, 40],
        [100, 90, 80],
        [0.0, 0.0, 0.5],
        [0.125, 0.5, 1.0],
        TempoMap.constant(120.0),
        Bars([0.0], [3], [4]),
        [Marker(0.5, "Cut 1")],
        [KeySignature(0.0, 7, True)],
    )
    assert midi.to_bytes(score) == dump(
        """
        4d 54 68 64  00 00 00 06  00 01  00 03  01 e0     # MThd: type 1, 3 tracks, 480 ticks a quarter
        4d 54 72 6b  00 00 00 31                          # MTrk: the conductor
        00    ff 03 09 43 6f 6e 64 75 63 74 6f 72         # its name
        00    ff 58 04 03 02 18 08                        # 3/4
        00    ff 59 02 fe 01                              # G minor: two flats
        00    ff 51 03 07 a1 20                           # 500,000 us a quarter: 120
        83 60 ff 06 05 43 75 74 20 31                     # marker at 480
        83 60 ff 2f 00                                    # End of Track at 960
        4d 54 72 6b  00 00 00 19                          # MTrk: drums
        00    ff 03 05 44 72 75 6d 73
        00    c9 00                                       # channel 10
        00    99 24 64
        78    89 24 40                                    # 120 ticks later
        86 48 ff 2f 00
        4d 54 72 6b  00 00 00 21                          # MTrk: bass
        00    ff 03 04 42 61 73 73
        00    c0 21                                       # channel 1, program 33
        00    90 28 5a
        83 60 80 28 40                                    # off before on
        00    90 28 50
        83 60 80 28 40
        00    ff 2f 00
        """
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    score = band()
    midi.write(score, tmp_path / "song.mid")
    got = midi.read(tmp_path / "song.mid")
    assert got.instruments == score.instruments
    assert got.instrument.tolist() == score.instrument.tolist()
    assert got.pitch.tolist() == score.pitch.tolist()
    assert got.velocity.tolist() == score.velocity.tolist()
    np.testing.assert_allclose(got.start_s, score.start_s, atol=1e-9)
    np.testing.assert_allclose(got.end_s, score.end_s, atol=1e-9)
    assert got.tempo == score.tempo
    assert got.bars.numerator.tolist() == score.bars.numerator.tolist()
    np.testing.assert_allclose(got.bars.start_s, score.bars.start_s, atol=1e-9)
    assert [(marker.text, round(marker.time_s, 9)) for marker in got.markers] == [
        (marker.text, round(marker.time_s, 9)) for marker in score.markers
    ]
    assert got.keys == score.keys
    assert got.duration_s == pytest.approx(score.duration_s, abs=1e-9)
    # What was read is written as the same bytes again.
    assert midi.to_bytes(got) == midi.to_bytes(score)
    assert [path.name for path in tmp_path.iterdir()] == ["song.mid"]


@given(scores())
def test_round_trip(score: Score) -> None:
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.instruments == score.instruments
    # Starts less than a tick apart may come back in another order: compare key by key, in time.
    columns = []
    for each in (score, got):
        order = np.lexsort((each.start_s, each.pitch, each.instrument))
        columns.append([getattr(each, name)[order] for name in ("instrument", "pitch", "velocity", "start_s", "end_s")])
    for wanted, found in zip(*columns, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    assert got.bars.numerator.tolist() == score.bars.numerator.tolist()
    assert got.bars.denominator.tolist() == score.bars.denominator.tolist()
    np.testing.assert_allclose(got.bars.start_s, score.bars.start_s, rtol=0, atol=1e-3)
    middles_s = (score.bars.start_s + np.append(score.bars.start_s[1:], score.duration_s)) / 2
    np.testing.assert_allclose(got.tempo.qpm_at(middles_s), score.tempo.qpm_at(middles_s), rtol=3e-4)
    assert [marker.text for marker in got.markers] == [marker.text for marker in score.markers] or len(
        {marker.time_s for marker in got.markers}
    ) < len(got.markers)
    for key, wanted_key in zip(got.keys, score.keys, strict=True):
        assert (key.tonic, key.is_minor) == (wanted_key.tonic, wanted_key.is_minor)
        assert key.time_s == pytest.approx(wanted_key.time_s, abs=1e-3)
    assert score.duration_s - 2e-3 <= got.duration_s <= score.duration_s + 1e-3


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


def test_mido_reads_the_same() -> None:
    score = band()
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(score)))
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (1, 480, 6)
    tracks = absolute(file)
    conductor = [(tick, message.type) for tick, message in tracks[0]]
    assert conductor == [
        (0, "track_name"),
        (0, "time_signature"),
        (0, "key_signature"),
        (0, "set_tempo"),
        (960, "marker"),
        (3840, "time_signature"),
        (3840, "key_signature"),
        (3840, "set_tempo"),
        (4560, "marker"),
        (5280, "time_signature"),
        (7200, "end_of_track"),
    ]
    assert [message.key for _, message in tracks[0] if message.type == "key_signature"] == ["Am", "Eb"]
    assert [message.text for _, message in tracks[0] if message.type == "marker"] == ["Cut 1 00:00:01:00", "Cut 2"]
    for index, (instrument, track) in enumerate(zip(score.instruments, tracks[1:], strict=True)):
        assert [message.type for _, message in track[:2]] == ["track_name", "program_change"]
        assert track[0][1].name == instrument.name
        assert track[1][0] == 0
        assert track[1][1].program == instrument.program
        assert {message.channel for _, message in track[1:-1]} == {9 if index == 0 else index - 1}
        assert track[-1][0] == 7200
        assert track[-1][1].type == "end_of_track"
    want = sorted(zip(score.start_s.tolist(), score.pitch.tolist(), strict=True))
    for (got_s, got_pitch), (want_s, want_pitch) in zip(seconds_by_mido(file), want, strict=True):
        assert got_pitch == want_pitch
        assert got_s == pytest.approx(want_s, abs=1e-9)


def test_pretty_midi_reads_the_same() -> None:
    import pretty_midi

    score = band()
    file = pretty_midi.PrettyMIDI(io.BytesIO(midi.to_bytes(score)))
    assert [(each.name, each.program, each.is_drum) for each in file.instruments] == [
        (each.name, each.program, each.is_drum) for each in score.instruments
    ]
    for index, instrument in enumerate(file.instruments):
        own = score.of(index)
        notes = sorted(instrument.notes, key=lambda note: (note.start, note.pitch))
        assert [note.pitch for note in notes] == own.pitch.tolist()
        assert [note.velocity for note in notes] == own.velocity.tolist()
        np.testing.assert_allclose([note.start for note in notes], own.start_s, atol=1e-9)
        np.testing.assert_allclose([note.end for note in notes], own.end_s, atol=1e-9)
    times_s, qpm = file.get_tempo_changes()
    np.testing.assert_allclose(times_s, score.tempo.times_s)
    np.testing.assert_allclose(qpm, score.tempo.qpm)
    np.testing.assert_allclose(file.get_downbeats(), score.bars.start_s, atol=1e-9)


def test_symusic_reads_the_same() -> None:
    import symusic

    score = band()
    file = symusic.Score.from_midi(midi.to_bytes(score))
    assert file.tpq == 480
    assert [(track.name, track.program, track.is_drum) for track in file.tracks] == [
        (each.name, each.program, each.is_drum) for each in score.instruments
    ]
    for index, track in enumerate(file.tracks):
        own = score.of(index)
        ticks = np.rint(score.tempo.quarters_at(own.start_s) * 480).astype(int).tolist()
        ends = np.rint(score.tempo.quarters_at(own.end_s) * 480).astype(int).tolist()
        got = sorted((note.time, note.pitch, note.end, note.velocity) for note in track.notes)
        assert got == sorted(zip(ticks, own.pitch.tolist(), ends, own.velocity.tolist(), strict=True))
    assert [(each.time, each.mspq) for each in file.tempos] == [(0, 500_000), (3840, 600_000)]
    assert [(each.time, each.numerator, each.denominator) for each in file.time_signatures] == [
        (0, 4, 4),
        (3840, 3, 4),
        (5280, 4, 4),
    ]
    assert [(each.time, each.text) for each in file.markers] == [(960, "Cut 1 00:00:01:00"), (4560, "Cut 2")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_music21_opens_the_same_pitches_and_bars(tmp_path: Path) -> None:
    import music21

    score = band()
    midi.write(score, tmp_path / "song.mid")
    opened = music21.converter.parse(tmp_path / "song.mid", forceSource=True, quantizePost=False)
    parts = {str(part.partName): part for part in opened.parts}
    assert set(parts) == {each.name for each in score.instruments}
    for index, instrument in enumerate(score.instruments):
        measures = parts[instrument.name].getElementsByClass(music21.stream.Measure)
        assert [float(measure.offset) for measure in measures] == [0.0, 4.0, 8.0, 11.0]
        own = score.of(index)
        quarters = np.round(score.tempo.quarters_at(own.start_s), 6).tolist()
        starts = [
            (float(note.getOffsetInHierarchy(parts[instrument.name])), note)
            for note in parts[instrument.name].recurse().notes
            if note.tie is None or note.tie.type == "start"
        ]
        assert sorted(start for start, _ in starts) == quarters
        if not instrument.is_drum:  # music21 gives percussion no pitch
            pitches = sorted((start, pitch.midi) for start, note in starts for pitch in note.pitches)
            assert pitches == sorted(zip(quarters, own.pitch.tolist(), strict=True))


TEN_MINUTES_S = 600.0


@pytest.mark.parametrize("qpm", [133.7, 97.31, 61.03, 59.97, 23.7, 399.99, 240.01, 120.0, 3.6])
def test_nothing_drifts_in_ten_minutes(qpm: float) -> None:
    rng = np.random.default_rng(7)
    start_s = np.sort(rng.uniform(0, TEN_MINUTES_S - 1, 300))
    tempo = TempoMap.constant(qpm)
    bars_s = np.arange(0, TEN_MINUTES_S, 240 / qpm)
    bars = Bars(bars_s, np.full(len(bars_s), 4), np.full(len(bars_s), 4))
    pitch = np.arange(300) % 100
    notes = (np.zeros(300), pitch, np.full(300, 80), start_s, start_s + 0.3)
    score = Score((PIANO,), *notes, tempo, bars, duration_s=TEN_MINUTES_S)
    data = midi.to_bytes(score)
    onsets = np.array(seconds_by_mido(mido.MidiFile(file=io.BytesIO(data))))
    assert onsets[:, 1].tolist() == pitch.tolist()
    assert np.abs(onsets[:, 0] - start_s).max() <= 1e-3
    got = midi.from_bytes(data)
    np.testing.assert_allclose(got.bars.start_s, bars_s[: len(got.bars)], rtol=0, atol=0.5e-3)
    assert len(got.bars) == len(bars_s)
    np.testing.assert_allclose(got.tempo.qpm, qpm, rtol=3e-4)


@pytest.mark.parametrize("qpm", [133.7, 97.31, 61.03, 183.3, 399.99, 31.0])
@pytest.mark.parametrize("bars", [1, 40, 333])
def test_a_piece_that_ends_with_a_bar_ends_on_its_tick_and_not_late(qpm: float, bars: int) -> None:
    start_s = np.arange(bars) * 240 / qpm
    end_s = bars * 240 / qpm
    grid = (TempoMap.constant(qpm), Bars(start_s, np.full(bars, 4), np.full(bars, 4)))
    score = Score((PIANO,), [0], [60], [80], [0.0], [end_s], *grid)
    data = midi.to_bytes(score)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert {track[-1][0] for track in absolute(file)} == {bars * 4 * file.ticks_per_beat}
    got = midi.from_bytes(data)
    assert end_s - 1e-3 <= got.duration_s <= end_s + 1e-9
    np.testing.assert_allclose(got.bars.start_s, start_s, rtol=0, atol=0.5e-3)


def test_nothing_drifts_where_the_tempo_changes_at_every_bar() -> None:
    rng = np.random.default_rng(8)
    qpm = np.round(rng.uniform(63, 380, 400), 3)
    numerator = rng.integers(2, 9, 400)
    start_s = np.concatenate([[0.0], np.cumsum(numerator[:-1] / 2 * 60 / qpm[:-1])])
    tempo, bars = TempoMap(start_s, qpm), Bars(start_s, numerator, np.full(400, 8))
    assert start_s[-1] > 200
    # A note on every bar line, and one anywhere.
    anywhere_s = np.sort(rng.uniform(0, start_s[-1], 400))
    notes_s = np.concatenate([start_s, anywhere_s])
    who = np.repeat([0, 1], 400)
    score = Score((PIANO, PIANO), who, np.full(800, 60), np.full(800, 80), notes_s, notes_s + 0.01, tempo, bars)
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(score)))
    onsets = np.array(seconds_by_mido(file))
    assert np.abs(onsets[:, 0] - np.sort(notes_s)).max() <= 1e-3
    # Bars stand on multiples of their meter, tempo changes and the notes of the bar lines on the bars.
    bar_ticks = np.concatenate([[0], np.cumsum(numerator * 240)])
    tracks = absolute(file)
    assert {tick for tick, message in tracks[0] if message.type in ("time_signature", "set_tempo")} <= set(bar_ticks)
    assert [tick for tick, message in tracks[1] if message.type == "note_on"] == bar_ticks[:-1].tolist()
    assert file.ticks_per_beat == 480


@pytest.mark.parametrize(("qpm", "ticks"), [(63.0, 480), (60.0, 960), (31.0, 1920), (400.0, 480)])
def test_resolution_doubles_for_slow_tempi(qpm: float, ticks: int) -> None:
    end_s = 240 / qpm
    data = midi.to_bytes(Score((PIANO,), [0], [60], [80], [0], [end_s], TempoMap.constant(qpm), Bars([0], [4], [4])))
    assert struct.unpack(">H", data[12:14]) == (ticks,)


def test_another_resolution() -> None:
    score = band()
    data = midi.to_bytes(score, ticks_per_quarter=960)
    assert struct.unpack(">H", data[12:14]) == (960,)
    assert midi.to_bytes(midi.from_bytes(data)) == midi.to_bytes(score)
    with pytest.raises(MidiError, match="100 ticks a quarter note cannot be used; give a multiple of 16"):
        midi.to_bytes(score, ticks_per_quarter=100)


def one_part(start_s: list[float], end_s: list[float], **more: object) -> Score:
    """Notes on C4, loudest first, at 120."""
    count = len(start_s)
    velocity = 100 - np.arange(count)
    grid = (TempoMap.constant(120.0), Bars([0.0], [4], [4]))
    return Score((PIANO,), np.zeros(count), np.full(count, 60), velocity, start_s, end_s, *grid, **more)  # type: ignore[arg-type]


def test_equal_notes_that_collide() -> None:
    # Two that begin together, one that begins while they sound, one of no length worth a tick, one right behind it.
    got = midi.from_bytes(midi.to_bytes(one_part([0.0, 0.0, 0.25, 1.0, 1.5], [0.5, 0.75, 0.5, 1.00001, 2.0])))
    tick_s = 1 / 960
    assert rows(got) == [
        (0, 60, 100, 0.0, 0.25),
        (0, 60, 98, 0.25, 0.5),
        (0, 60, 97, 1.0, 1.0 + tick_s),
        (0, 60, 96, 1.5, 2.0),
    ]


def test_nothing_lies_past_the_end() -> None:
    end_s = 1.9999
    score = one_part([0.0], [end_s], markers=[Marker(end_s, "End")], duration_s=end_s)
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.duration_s <= end_s
    assert got.end_s.max() <= end_s
    assert got.markers[0].time_s <= end_s
    # Where rounding down would take more than a millisecond from the last note, ticks are made finer instead.
    end_s = 1.04163  # 999.965 ticks
    data = midi.to_bytes(one_part([0.0], [end_s]))
    assert struct.unpack(">H", data[12:14]) == (960,)
    assert end_s - 1e-3 <= midi.from_bytes(data).end_s[0] <= end_s


def test_bars_that_do_not_last_as_their_meter_says() -> None:
    # A pickup of an eighth, a bar cut to 3/4, one that lasts 5/8, one ended off every grid, then regular ones.
    start_s = [0.25, 2.25, 3.75, 5.0, 6.2345, 8.2345, 10.2345]
    bars = Bars(start_s, [4] * 7, [4] * 7)
    score = Score((PIANO,), [0], [60], [80], [0.0], [12.0], TempoMap.constant(120.0), bars)
    got = midi.from_bytes(midi.to_bytes(score))
    np.testing.assert_allclose(got.bars.start_s, [0.0, *start_s], atol=1e-3)
    labels = list(zip(got.bars.numerator.tolist(), got.bars.denominator.tolist(), strict=True))
    assert labels == [(1, 8), (4, 4), (3, 4), (5, 8), (4, 4), (4, 4), (4, 4), (4, 4)]


def test_music_long_before_the_first_bar_and_bars_far_apart() -> None:
    bars = Bars([5.0, 7.0, 11.0], [4, 4, 4], [4, 4, 4])
    score = Score((PIANO,), [0], [60], [80], [0.0], [13.0], TempoMap.constant(120.0), bars)
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.bars.start_s.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 11.0]
    assert got.bars.numerator.tolist() == [2, 4, 4, 4, 8, 4]


def test_no_bars_at_all_are_four_four() -> None:
    score = Score((PIANO,), [0], [60], [80], [0.0], [4.0], TempoMap.constant(120.0), Bars([], [], []))
    assert midi.from_bytes(midi.to_bytes(score)).bars == Bars([0.0, 2.0], [4, 4], [4, 4])


def instruments(programs: list[int], drums: int = 0) -> Score:
    """A score of one note an instrument."""
    players = [Instrument(f"Part {i}", program) for i, program in enumerate(programs)]
    players += [Instrument(f"Kit {i}", 0, True) for i in range(drums)]
    count = len(players)
    grid = (TempoMap.constant(120.0), Bars([0.0], [4], [4]))
    return Score(tuple(players), range(count), [60] * count, [80] * count, [0.0] * count, [1.0] * count, *grid)


def test_channels() -> None:
    def channels(score: Score) -> list[int]:
        tracks = absolute(mido.MidiFile(file=io.BytesIO(midi.to_bytes(score))))[1:]
        return [next(message.channel for _, message in track if message.type == "note_on") for track in tracks]

    assert channels(instruments([5] * 15, drums=2)) == [*range(9), *range(10, 16), 9, 9]
    shared = instruments([*range(15), 3, 4])
    assert channels(shared) == [*range(9), *range(10, 16), 3, 4]
    assert midi.from_bytes(midi.to_bytes(shared)) == shared
    with pytest.raises(MidiError, match="16 melodic instruments of 16 programs do not fit the 15 channels"):
        midi.to_bytes(instruments(list(range(16))))


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("is_minor", [False, True])
def test_keys(tonic: int, is_minor: bool) -> None:
    score = one_part([0.0], [1.0], keys=[KeySignature(0.0, tonic, is_minor)])
    assert midi.from_bytes(midi.to_bytes(score)).keys == score.keys


def test_what_a_file_cannot_hold() -> None:
    slow = Score((PIANO,), [0], [60], [80], [0], [9], TempoMap.constant(3.5), Bars([0], [4], [4]))
    with pytest.raises(MidiError, match=r"a tempo of 3\.5 quarter notes a minute is slower than .* \(3\.58\)"):
        midi.to_bytes(slow)
    with pytest.raises(MidiError, match="a score of 25 hours is over 24"):
        midi.to_bytes(one_part([0.0], [1.0], duration_s=25 * 3600.0))
    fast = Score((PIANO,), [0], [60], [80], [0], [86000.0], TempoMap.constant(90000.0), Bars([0], [4], [4]))
    with pytest.raises(MidiError, match="ticks is over 268435455"):
        midi.to_bytes(fast)
    with pytest.raises(MidiError, match="1024 instruments are over 1023"):
        midi.to_bytes(instruments([0] * 1024))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    score = band()
    with pytest.raises(OutputError, match="is not a folder"):
        midi.write(score, tmp_path / "none" / "song.mid")
    path = tmp_path / "song.mid"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        midi.write(score, path, overwrite=False)
    assert path.read_bytes() == b"precious"
    # A score that cannot be written leaves the old file alone, and no other behind.
    with pytest.raises(InputError, match="cannot be used"):
        midi.write(score, path, ticks_per_quarter=7)
    assert [each.name for each in tmp_path.iterdir()] == ["song.mid"]
    assert path.read_bytes() == b"precious"
    midi.write(score, path)
    assert midi.read(path).instruments == score.instruments
