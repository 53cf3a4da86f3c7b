"""Some notes of a MIDI file change, and nothing else in it."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest

from emsync import midi
from emsync.errors import MidiError
from emsync.midi_edit import NewNote, NewTrack, Song
from tests.midi_files import NOTE, absolute, band, chunk, smf, track

#: A program, a pedal, a lyric, a bend, SysEx of a vendor, and two notes, the second with running status.
RICH = """
    00 ff 03 04 4b 65 79 73     # name: Keys
    00 c0 05                    # program 5
    00 b0 40 7f                 # pedal down
    00 90 3c 40                 # C4 on
    83 60 80 3c 00              # 480: off
    00 ff 05 02 6c 61           # lyric
    00 e0 00 50                 # bend
    00 f0 05 7d 01 02 03 f7     # SysEx
    00 90 40 50                 # 480: E4 on
    83 60 40 00                 # 960: off, running status, velocity 0
"""
OTHER = "00 91 30 40 87 40 30 00"  # channel 2: C3 from 0 to 960, running status


def song(*tracks: str | bytes, **options: int) -> Song:
    return Song.from_bytes(smf(*tracks, **options))


def messages(data: bytes) -> list[list[tuple[int, mido.Message]]]:
    tracks = absolute(mido.MidiFile(file=io.BytesIO(data)))
    return [[(tick, message.copy(time=0)) for tick, message in each] for each in tracks]


def gone(file: Song, *places: int) -> np.ndarray:
    return np.isin(np.arange(len(file)), places)


def test_nothing_changed_is_the_same_bytes() -> None:
    foreign = chunk(b"XFIH", b"vendor")
    data = smf(RICH, OTHER) + foreign
    assert Song.from_bytes(data).patched(gone(Song.from_bytes(data))) == data
    composed = midi.to_bytes(band())
    file = Song.from_bytes(composed)
    assert file.patched(gone(file)) == composed


def test_a_changed_track_keeps_every_other_event_and_other_tracks_their_bytes() -> None:
    file = song(RICH, OTHER)
    assert file.on.tolist() == [0, 480, 0]
    new = NewNote(0, 0, 67, 99, 500, 700)
    data = file.patched(gone(file, 1), [new])
    assert data.endswith(track(OTHER))
    before, after = messages(file.data)[0], messages(data)[0]
    e4 = [each for each in before if each[1].type.startswith("note") and each[1].note == 64]
    fresh = [each for each in after if each[1].type.startswith("note") and each[1].note == 67]
    assert [(tick, m.type, m.velocity) for tick, m in fresh] == [(500, "note_on", 99), (700, "note_off", 64)]
    assert len(e4) == 2
    # End of Track stays where it was, at 960.
    assert [each for each in after if each not in fresh] == [each for each in before if each not in e4]


def test_a_new_note_may_begin_where_a_kept_one_ends_and_end_where_one_begins() -> None:
    file = song(RICH)
    data = file.patched(gone(file), [NewNote(0, 0, 60, 90, 480, 600), NewNote(0, 0, 64, 90, 300, 480)])
    again = Song.from_bytes(data)
    found = sorted(zip(again.pitch.tolist(), again.on.tolist(), again.off.tolist(), strict=True))
    assert found == [(60, 0, 480), (60, 480, 600), (64, 300, 480), (64, 480, 960)]


def test_a_note_off_that_a_kept_note_needs_stays() -> None:
    twice = "00 90 3c 40 60 90 3c 50 60 80 3c 00 60 80 3c 00"  # struck again before it ended; the first off ends both
    file = song(twice)
    assert file.off.tolist() == [192, 192]
    again = Song.from_bytes(file.patched(gone(file, 1)))
    assert (again.on.tolist(), again.off.tolist()) == ([0], [192])
    # A note-off without a note would cut a new one short.
    again = Song.from_bytes(file.patched(gone(file, 0, 1), [NewNote(0, 0, 60, 80, 100, 1000)]))
    assert (again.on.tolist(), again.off.tolist()) == ([100], [1000])


def test_parts_are_channels_of_tracks() -> None:
    both = NOTE + "00 99 24 40 60 99 24 00"  # piano and a bass drum in one track
    file = song(both, RICH, "00 ff 03 05 53 74 72 61 74 00 c3 30", kind=1)  # and strings that do not play yet
    parts = [(part.track, part.line, part.name, part.program, part.is_drum, part.n_notes) for part in file.parts]
    assert parts == [(0, 0, "", 5, False, 1), (0, 9, "", 0, True, 1), (1, 0, "Keys", 5, False, 2),
                     (2, 3, "Strat", 48, False, 0)]  # fmt: skip
    assert file.of_part(file.parts[1]).tolist() == [False, True, False, False]
    assert 0 not in file.free_channels()
    assert 9 not in file.free_channels()
    assert 4 in file.free_channels()


def test_tracks_are_added_and_type_0_becomes_type_1() -> None:
    file = song(RICH, kind=0)
    data = file.patched(gone(file), [NewNote(1, 9, 36, 100, 0, 60)], [NewTrack("Drums", 9, 0)])
    read = mido.MidiFile(file=io.BytesIO(data))
    assert (read.type, len(read.tracks), read.tracks[1].name) == (1, 2, "Drums")
    assert data[14:].startswith(file.data[14:])
    assert Song.from_bytes(data).drum.tolist() == [False, False, True]


def test_files_that_lie_about_themselves_are_written_again() -> None:
    data = bytearray(smf(RICH, OTHER))
    data[10:12] = (7).to_bytes(2, "big")  # it promises seven tracks
    file = Song.from_bytes(bytes(data) + b"junk")
    again = Song.from_bytes(file.patched(gone(file, 2)))
    assert again.file.warnings == []
    assert again.on.tolist() == [0, 480]


def test_quarters_and_ticks_are_inverses_in_smpte_time_too() -> None:
    for division in (480, -(25 << 8) + 40 - 0x10000 + 0x10000):
        file = song("00 ff 51 03 06 1a 80" + NOTE, division=division)  # 150 a minute
        ticks = np.array([0.0, 100.0, 480.0])
        assert np.allclose(file.ticks_at(file.quarters(ticks)), ticks)
        assert np.allclose(file.seconds_at(file.quarters(ticks)), file.clock.seconds(ticks))
    assert file.clock.is_smpte


def test_tracks_that_are_pieces_of_their_own_are_refused() -> None:
    with pytest.raises(MidiError, match="is of type 2, whose tracks are pieces of their own; save it as type 1"):
        song(NOTE, NOTE, kind=2)
    with pytest.raises(MidiError, match="has no notes"):
        song("00 c0 05")
