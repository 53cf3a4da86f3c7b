"""MIDI files with wrong counts, wrong lengths, foreign wrappings and odd events: read, and said in a warning."""

from __future__ import annotations

import struct

import pytest

from emsync import midi
from emsync.errors import MidiError
from tests.midi_files import END, NOTE, chunk, dump, header, rows, smf, track

PLAIN = smf(NOTE)
TWO = smf(NOTE, NOTE)
BODY = dump(NOTE) + END
ONE_NOTE = [(0, 60, 64, 0.0, 0.5)]
TWO_NOTES = [(0, 60, 64, 0.0, 0.5), (1, 60, 64, 0.0, 0.5)]


def warnings(data: bytes) -> tuple[str, ...]:
    return midi.from_bytes(data).warnings


def test_a_sound_file_gives_no_warning() -> None:
    assert warnings(PLAIN) == warnings(TWO) == warnings(PLAIN + b"\r\n") == warnings(PLAIN + bytes(20)) == ()


# --- Counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 65_535])
def test_a_wrong_track_count(count: int) -> None:
    score = midi.from_bytes(header(count) + track(NOTE) + track(NOTE))
    assert rows(score) == TWO_NOTES
    assert score.warnings == (f"the header promises {count} tracks, the file has 2; all of those were read",)


def test_an_end_of_track_without_its_last_byte() -> None:
    data = header(1) + chunk(b"MTrk", dump(NOTE) + END[:-1])
    assert rows(midi.from_bytes(data)) == rows(midi.from_bytes(PLAIN))
    assert warnings(data) == ()


def test_type_0_with_two_tracks() -> None:
    score = midi.from_bytes(header(1, kind=0) + track(NOTE) + track(NOTE))
    assert rows(score) == TWO_NOTES
    assert len(score.warnings) == 1


def test_a_count_that_includes_foreign_chunks() -> None:
    foreign = chunk(b"XFIH", b"\0\1\2\3")
    for data in (header(3) + track(NOTE) + foreign + track(NOTE), header(3) + foreign + track(NOTE) + track(NOTE)):
        assert rows(midi.from_bytes(data)) == TWO_NOTES
        assert warnings(data) == ()


def test_too_many_tracks() -> None:
    with pytest.raises(MidiError, match="over 1024 tracks; merge some of them"):
        midi.from_bytes(header(1) + track(NOTE) * 1025)


# --- Lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 2, 4, 5, 7, len(BODY)])
def test_a_track_longer_than_it_says(missing: int) -> None:
    wrong = chunk(b"MTrk", BODY, len(BODY) - missing)
    for data, want in ((header(2) + wrong + track(NOTE), TWO_NOTES), (header(1) + wrong, ONE_NOTE)):
        assert rows(midi.from_bytes(data)) == want
        assert warnings(data) == (f"track 1 is {missing} bytes longer than its header says",)


@pytest.mark.parametrize("more", [1, 3, 8, 9, len(BODY) + 8, 999, 2**31, 2**32 - 1 - len(BODY)])
def test_a_track_shorter_than_it_says(more: int) -> None:
    """Among the lengths: one that ends inside the next track, at its end, and past the end of the file."""
    wrong = chunk(b"MTrk", BODY, len(BODY) + more)
    for data, want in ((header(2) + wrong + track(NOTE), TWO_NOTES), (header(1) + wrong, ONE_NOTE)):
        assert rows(midi.from_bytes(data)) == want
        assert warnings(data) == (f"track 1 is {more} bytes shorter than its header says",)


def test_a_track_without_end_of_track() -> None:
    open_ended = chunk(b"MTrk", dump(NOTE))
    assert rows(midi.from_bytes(header(2) + open_ended + track(NOTE))) == TWO_NOTES
    assert warnings(header(2) + open_ended + track(NOTE)) == ("track 1 has no End of Track",)
    assert warnings(header(1) + open_ended) == ("track 1 has no End of Track",)
    # And with a wrong length as well: it ends where the next one begins.
    for size in (0, 5, 400):
        data = header(2) + chunk(b"MTrk", dump(NOTE), size) + track(NOTE)
        assert rows(midi.from_bytes(data)) == TWO_NOTES
        assert "track 1 has no End of Track" in warnings(data)


def test_an_empty_track_is_one() -> None:
    data = header(2) + chunk(b"MTrk", b"") + track(NOTE)
    assert rows(midi.from_bytes(data)) == ONE_NOTE
    assert warnings(data) == ("track 1 has no End of Track",)


def test_events_behind_the_end_of_track() -> None:
    body = BODY + dump(NOTE) + END
    data = header(2) + chunk(b"MTrk", body) + track(NOTE)
    assert rows(midi.from_bytes(data)) == TWO_NOTES
    assert warnings(data) == (f"{len(body) - len(BODY)} bytes behind the end of track 1 are ignored",)


def test_a_text_that_looks_like_a_track() -> None:
    text = b"\x00\xff\x01\x08MTrk\0\0\0\0"
    data = header(1) + chunk(b"MTrk", text + BODY)
    assert rows(midi.from_bytes(data)) == ONE_NOTE
    assert warnings(data) == ()


def test_a_wrong_header_length() -> None:
    for size in (0, 2, 10, 2**32 - 1):
        data = PLAIN[:4] + struct.pack(">I", size) + PLAIN[8:]
        assert rows(midi.from_bytes(data)) == ONE_NOTE
        assert warnings(data) == (f"the header gives its length as {size} bytes instead of 6",)
    with pytest.raises(MidiError, match="has a header of 0 bytes"):
        midi.from_bytes(PLAIN[:4] + bytes(4) + PLAIN[8:14] + b"junk" + PLAIN[14:])


# --- Junk and wrappings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"\0", b"\r\n", b"\xff" * 100, b"not a chunk at all", b"MTr", b"junk\0\0\0\xff"])
def test_junk_between_tracks(junk: bytes) -> None:
    data = header(2) + track(NOTE) + junk + track(NOTE)
    assert rows(midi.from_bytes(data)) == TWO_NOTES
    assert warnings(data) == (f"{len(junk)} bytes before track 2 are not part of a track and are ignored",)


def test_junk_behind_the_last_track() -> None:
    assert warnings(PLAIN + b"<script>") == ("8 bytes behind the last track are ignored",)
    assert warnings(PLAIN + PLAIN) == ("another MIDI file follows the first one and is not read",)


def riff(*chunks: bytes, kind: bytes = b"RMID") -> bytes:
    body = kind + b"".join(each + b"\0" * (len(each) % 2) for each in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def little(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "wrapped",
    [
        riff(little(b"data", PLAIN)),
        riff(little(b"LIST", b"INFOINAM\5\0\0\0song\0\0"), little(b"data", PLAIN)),
        riff(little(b"DISP", b"odd"), little(b"data", PLAIN), little(b"LIST", b"INFO")),
        riff(little(b"data", PLAIN)) + b"\xff\xff",
        b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + PLAIN,
        b"RIFF\xff\xff\xff\xffRMIDdata\xff\xff\xff\xff" + PLAIN,
        b"RIFX\0\0\0\xffRMIDdata" + struct.pack(">I", len(PLAIN)) + PLAIN,
        riff(little(b"LIST", b"INFO" + bytes(200_000)), little(b"data", PLAIN)),
    ],
)
def test_riff(wrapped: bytes) -> None:
    assert rows(midi.from_bytes(wrapped)) == ONE_NOTE
    assert warnings(wrapped) == ()


def test_a_file_behind_another_header() -> None:
    mac_binary = b"\0\x08song.mid" + bytes(55) + b"MidiMSIC" + bytes(55)
    apple_single = bytes.fromhex("00051600 00020000") + bytes(100)
    for before in (mac_binary, apple_single, b"\xef\xbb\xbf", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
        assert rows(midi.from_bytes(before + PLAIN)) == ONE_NOTE
        assert warnings(before + PLAIN) == (f"{len(before)} bytes before the MIDI header are ignored",)
    assert len(mac_binary) == 128


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "it is a web page or XML; download the file itself"),
        (b"<html>MThd</html>", "it is a web page or XML"),
        (b"<?xml version='1.0'?><score-partwise/>", "it is a web page or XML"),
        (b"PK\x03\x04" + bytes(40), "it is a compressed archive; unpack it first"),
        (b"\x1f\x8b\x08" + bytes(40), "it is a compressed archive"),
        (riff(little(b"fmt ", bytes(16)), little(b"data", bytes(100)), kind=b"WAVE"), "it begins with b'RIFF'"),
        (bytes(70_000) + PLAIN, r"it begins with b'\\x00\\x00\\x00\\x00'"),
    ],
)
def test_what_is_no_midi_file(data: bytes, message: str) -> None:
    with pytest.raises(MidiError, match="^MIDI data is not a MIDI file: " + message):
        midi.from_bytes(data)


# --- Delta times and other numbers -----------------------------------------------------------------------------------


def test_negative_delta_times() -> None:
    bits_32 = smf("8f ff ff ff 00  90 3c 40  83 60 80 3c 00")  # -128 in 32 bits, at the beginning
    assert rows(midi.from_bytes(bits_32)) == ONE_NOTE
    assert warnings(bits_32) == ("track 1 has negative delta times",)
    bits_64 = "ff " * 8 + "ff 20"  # -96 in 64 bits
    score = midi.from_bytes(smf(f"00 90 3c 40  83 60 80 3c 00  {bits_64} 90 3e 40  83 60 80 3e 00"))
    assert rows(score) == [(0, 60, 64, 0.0, 0.5), (0, 62, 64, 0.4, 0.9)]
    assert score.warnings == ("track 1 has negative delta times",)


def test_small_delta_times_in_many_bytes() -> None:
    for zeros in range(2, 10):
        assert rows(midi.from_bytes(smf("80 " * zeros + NOTE))) == ONE_NOTE


def test_huge_delta_times() -> None:
    with pytest.raises(MidiError, match=r"a note that ends after .* hours, over 24"):
        midi.from_bytes(smf("00 90 3c 40  ff ff ff 7f 80 3c 00  ff ff ff 7f 90 3c 40"))
    with pytest.raises(MidiError, match="track 1 has an event at tick 9223372036854775807"):
        midi.from_bytes(smf("ff ff ff ff ff ff ff ff 7f 90 3c 40"))
    with pytest.raises(MidiError, match="track 1 has a number of more than 10 bytes at its byte 0"):
        midi.from_bytes(smf("80 " * 10 + "00 90 3c 40"))
    with pytest.raises(MidiError, match="track 1 has a number of more than 10 bytes"):
        midi.from_bytes(smf("00 ff 01" + " 80" * 1000 + NOTE))


def test_a_stray_end_of_track_does_not_stretch_an_endless_note() -> None:
    body = dump("00 90 3c 40  83 60 91 3e 40  83 60 81 3e 00") + b"\xff\xff\xff\x7f\xff\x2f\x00"
    score = midi.from_bytes(header(1) + chunk(b"MTrk", body))
    assert rows(score) == [(0, 60, 64, 0.0, 1.0), (1, 62, 64, 0.5, 1.0)]
    assert score.duration_s == 1.0
    assert score.warnings == ("1 notes have no note-off; they end with their track",)


# --- Running status and SysEx ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between",
    [
        "00 f0 05 7e 7f 09 01 f7",  # SysEx
        "00 f0 03 43 10 4c  00 f7 03 00 00 f7",  # SysEx in two packets
        "00 f7 02 f3 01",  # an escape
        "00 ff 01 02 68 69",  # a text
        "00 f8",  # a clock that should not be in a file
        "00 f2 01 02",  # song position
        "00 f0 7e 7f 09 01 f7",  # SysEx as it is sent, without its length
    ],
)
def test_running_status_goes_on(between: str) -> None:
    assert rows(midi.from_bytes(smf(f"00 90 3c 40  {between}  83 60 3c 00"))) == ONE_NOTE


# --- Notes across tracks ---------------------------------------------------------------------------------------------


def test_a_note_off_in_another_track() -> None:
    on = "00 90 3c 40  83 60 90 3e 40  8f 00 b0 07 64"
    off = "83 60 80 3c 40  83 60 80 3e 40"
    for tracks in ((on, off), (off, on)):
        score = midi.from_bytes(smf(*tracks))
        assert [row[1:] for row in rows(score)] == [(60, 64, 0.0, 0.5), (62, 64, 0.5, 1.0)]
        assert score.warnings == ()
    # Not where tracks are pieces of their own, nor on another port.
    assert rows(midi.from_bytes(smf(on, off, kind=2)))[0][4] > 2
    assert rows(midi.from_bytes(smf(on, "00 ff 21 01 01" + off)))[0][4] > 2


def test_a_struck_again_note_ends_at_each_note_off_of_another_track() -> None:
    on = "00 90 3c 40  83 60 90 3c 50  8f 00 b0 07 64"
    assert rows(midi.from_bytes(smf(on, "83 60 80 3c 40  83 60 80 3c 40"))) == [
        (0, 60, 64, 0.0, 0.5),
        (0, 60, 80, 0.5, 1.0),
    ]


def test_a_note_without_an_end_is_said() -> None:
    score = midi.from_bytes(smf("00 90 3c 40  83 60 b0 07 64"))
    assert rows(score) == ONE_NOTE
    assert score.warnings == ("1 notes have no note-off; they end with their track",)


# --- Warnings --------------------------------------------------------------------------------------------------------


def test_warnings_are_summed_up_and_take_no_part_in_equality() -> None:
    wrong = header(30) + chunk(b"MTrk", dump(NOTE)) * 30
    found = warnings(wrong)
    assert len(found) == 21
    assert found[-1] == "and 10 more"
    assert midi.from_bytes(wrong) == midi.from_bytes(smf(*[NOTE] * 30))


def test_warnings_stay_with_a_score() -> None:
    score = midi.from_bytes(PLAIN + b"garbage")
    said = ("7 bytes behind the last track are ignored",)
    assert score.warnings == said
    for changed in (score.select([0]), score.of(0), score.until(0.25), score.shifted(1.0)):
        assert changed.warnings == said


@pytest.mark.slow
def test_too_many_markers_are_left_out() -> None:
    body = b"\x00\xff\x06\x01x" * 100_001 + BODY
    score = midi.from_bytes(header(1) + chunk(b"MTrk", body))
    assert len(score.markers) == 100_000
    assert score.warnings == ("of 100001 markers only 100000 were read",)
