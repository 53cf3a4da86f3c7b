"""Playing any MIDI file: everything audible stays, byte for byte, and what players trip over is repaired."""

from __future__ import annotations

import mido
import numpy as np
import pytest

from emsync import midi
from emsync.errors import MidiError
from emsync.midi_mend import Part, playable
from tests.midi_files import END, NOTE, band, chunk, dump, header, smf
from tests.test_midi_damage import little, riff

#: One of everything audible.
ALL = """
    00 c0 05            # program
    00 b0 07 64         # volume
    10 e0 00 50         # bend
    00 d0 33            # channel pressure
    00 a0 3c 22         # key pressure
    00 f0 05 7e 7f 09 01 f7
    00 ff 51 03 06 1a 80  # 400 ms a quarter
    00 90 3c 40
    83 60 80 3c 10
"""


def audible(data: bytes) -> list[tuple[float, bytes]]:
    """(seconds, bytes) of every event that is no meta event, as mido plays the file."""
    import io

    at_s, found = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(data)):
        at_s += message.time
        if not message.is_meta:
            found.append((round(at_s, 6), bytes(message.bytes())))
    return found


def test_everything_audible_stays() -> None:
    assert audible(playable(smf(ALL)).data) == audible(smf(ALL))
    assert len(audible(smf(ALL))) == 8
    data = midi.to_bytes(band())
    assert audible(playable(data).data) == audible(data)
    assert playable(data).data == playable(playable(data).data).data


@pytest.mark.parametrize(
    "faulty",
    [
        header(1) + chunk(b"MTrk", dump(ALL)),
        header(7) + chunk(b"MTrk", dump(ALL) + END, 3),
        header(1) + chunk(b"XFIH", b"junk") + chunk(b"MTrk", dump(ALL) + END) + b"more junk",
        riff(little(b"data", smf(ALL))),
        smf(ALL.replace("00 90 3c 40", "00 ff 51 01 00  00 ff 59 07 00 00 00 00 00 00 00  00 f8  00 90 3c 40")),
    ],
    ids=["no end", "wrong numbers", "foreign chunks", "RIFF", "odd events"],
)
def test_what_is_wrong_with_the_file_costs_nothing(faulty: bytes) -> None:
    mended = playable(faulty).data
    assert audible(mended) == audible(smf(ALL))
    assert midi.from_bytes(mended).warnings == ()


def test_running_status_over_sysex() -> None:
    plain = "00 90 3c 40  00 f0 05 7e 7f 09 01 f7  83 60 90 3c 00"
    assert audible(playable(smf(plain.replace("83 60 90", "83 60"))).data) == audible(smf(plain))


def test_negative_delta_times() -> None:
    mended = playable(smf("81 00 90 3c 40  8f ff ff ff 40  90 3e 40  83 60 80 3c 00  00 80 3e 00")).data
    assert [(event[0], event[1]) for _, event in audible(mended)] == [
        (0x90, 0x3E),
        (0x90, 0x3C),
        (0x80, 0x3C),
        (0x80, 0x3E),
    ]
    assert midi.from_bytes(mended).warnings == ()


def test_data_bytes_out_of_range() -> None:
    mended = playable(smf("00 b0 07 ff  00 90 3c 40  83 60 80 3c 00")).data
    assert audible(mended)[0] == (0.0, b"\xb0\x07\x7f")


@pytest.mark.parametrize("frames", [24, 25, 29, 30])
def test_smpte_time_becomes_musical_time(frames: int) -> None:
    data = smf("00 ff 51 03 01 00 00" + NOTE, division=(-frames << 8) | 40)
    before, after = midi.from_bytes(data), midi.from_bytes(playable(data).data)
    assert int.from_bytes(playable(data).data[12:14], "big") < 0x8000
    np.testing.assert_allclose(after.end_s, before.end_s, rtol=1e-9)


def test_tracks_of_type_2_follow_one_another() -> None:
    data = smf("00 ff 51 03 0f 42 40" + NOTE, NOTE.replace("3c", "3e"), kind=2)
    before, after = midi.from_bytes(data), midi.from_bytes(playable(data).data)
    assert after.pitch.tolist() == [60, 62]
    np.testing.assert_allclose(after.start_s, before.start_s)
    np.testing.assert_allclose(after.end_s, [1.0, 1.5])


def test_a_note_without_an_end_ends_with_its_track() -> None:
    data = smf("00 90 3c 40  83 60 b0 07 64")
    assert audible(playable(data).data)[-1] == (0.5, b"\x80\x3c\x40")
    on, off = "00 90 3c 40  8f 00 b0 07 64", "83 60 80 3c 40"
    assert audible(playable(smf(on, off)).data) == audible(smf(on, off)), "ended by another track"


def test_gaps_longer_than_a_delta_time() -> None:
    data = smf("ff ff ff 7f b0 07 64  ff ff ff 7f" + dump(NOTE)[1:].hex(), division=32767)
    before, after = midi.from_bytes(data), midi.from_bytes(playable(data).data)
    np.testing.assert_allclose(after.start_s, before.start_s)
    endless = playable(header(1) + chunk(b"MTrk", dump(NOTE) + b"\xff\xff\xff\x7f" + b"\xb0\x07\x64"))
    assert len(endless.data) < 200


def test_parts_are_the_channels_that_play() -> None:
    assert [(part.names, part.program, part.is_drum) for part in playable(midi.to_bytes(band())).parts] == [
        (("Drums",), 8, True), (("Piano",), 0, False), (("Guitar",), 25, False), (("Bass",), 33, False),
        (("Strings",), 48, False),
    ]  # fmt: skip
    kick, snare = (
        "00 ff 03 04 4b 69 63 6b  00 99 24 40  10 89 24 00",
        "00 ff 03 05 53 6e 61 72 65  00 99 26 40  10 89 26 00",
    )
    (part,) = playable(smf(kick, snare, "00 ff 03 05 45 6d 70 74 79  00 b0 07 00")).parts
    assert part == Part(9, ("Kick", "Snare"), 0, True)
    (bare,) = playable(smf("00 c3 20", NOTE.replace("90", "93").replace(" 80 ", " 83 "))).parts
    assert bare == Part(3, (), 32, False)


def test_no_midi_file() -> None:
    with pytest.raises(MidiError, match=r"^x is not a MIDI file"):
        playable(b"text", name="x")
