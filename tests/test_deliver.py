"""MIDI files made ready for a DAW: SMPTE offset, levels, tempo span, key and chord symbols, a file a track."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import mido
import music21
import numpy as np
import pretty_midi
import pytest
import symusic

from emsync import midi
from emsync.cli.main import main
from emsync.deliver import deliver, delivered
from emsync.errors import InputError, MidiError, OutputError
from emsync.harmony import chord_symbols, find_key, find_keys, signature
from emsync.midi_details import Details
from emsync.score import Bars, Instrument, KeySignature, Score, TempoMap
from emsync.timecode import Counting, parse_counting
from tests.midi_files import band

PLAIN = Details()


def song(chords: list[tuple[int, ...]], *, instruments: int = 1) -> Score:
    """A chord a bar of 4/4 at 120, by the first instrument; a drum hit a bar."""
    who = [
        Instrument("Piano", 0),
        Instrument("Drums", 0, True),
        *(Instrument(f"x{i}", i) for i in range(instruments - 1)),
    ]
    notes = [(0, pitch, 2.0 * bar, 2.0 * bar + 2) for bar, pitches in enumerate(chords) for pitch in pitches]
    notes += [(1, 36, 2.0 * bar, 2.0 * bar + 0.1) for bar in range(len(chords))]
    columns = np.array(notes, dtype=float).T
    bars = Bars(2.0 * np.arange(len(chords)), [4] * len(chords), [4] * len(chords))
    velocity = [80] * len(notes)
    return Score(
        who, columns[0].astype(int), columns[1].astype(int), velocity, columns[2], columns[3],
        TempoMap.constant(120.0), bars,
    )  # fmt: skip


C, F, G7, AM = (60, 64, 67), (60, 65, 69), (59, 62, 65, 67), (57, 60, 64)


@pytest.mark.parametrize(
    ("fps", "start", "data"),
    [
        ("24", "01:00:00:00", "01 00 00 00 00"),
        ("23.976", "10:20:30:23", "0a 14 1e 17 00"),
        ("25", "01:00:00:00", "21 00 00 00 00"),  # the rate that mido got wrong
        ("25", "10:59:59:24", "2a 3b 3b 18 00"),
        ("29.97df", "01:00:00;02", "41 00 00 02 00"),
        ("29.97", "01:00:00:00", "61 00 00 00 00"),
        ("30", "23:00:00:29", "77 00 00 1d 00"),
        ("50", "01:00:00:49", "21 00 00 18 32"),
        ("59.94df", "01:00:00;04", "41 00 00 02 00"),
    ],
)
def test_the_bytes_of_a_smpte_offset(fps: str, start: str, data: str) -> None:
    details = Details(start, parse_counting(fps))
    assert details.smpte_offset() == bytes.fromhex(data)
    event = b"\x00\xff\x54\x05" + bytes.fromhex(data)
    written = midi.to_bytes(band(), details=details)
    assert written.count(event) == 1
    assert written.index(event) < written.index(b"\xff\x58")  # at the beginning of the first track
    file = mido.MidiFile(file=io.BytesIO(written))
    (read,) = [message for message in file.tracks[0] if message.type == "smpte_offset"]
    assert (read.hours, read.minutes, read.seconds) == tuple(
        int(part) for part in start.replace(";", ":").split(":")[:3]
    )


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (
            Details("01:00:00:00", Counting(Fraction(12))),
            "a SMPTE offset cannot count 12 frames a second; give --fps 24",
        ),
        (Details("soon"), "'soon' is not a timecode"),
        (Details("24:00:00:00"), "the start 24:00:00:00 is past a day"),
        (Details("01:00:00;00"), "there is no drop-frame at 25"),
    ],
)
def test_offsets_that_are_refused(details: Details, message: str) -> None:
    with pytest.raises(InputError, match=message):
        midi.to_bytes(band(), details=details)


def test_details_change_no_note(tmp_path: Path) -> None:
    score = band()
    full = Details("01:00:00:00", levels=True, tempo_span=True)
    data = delivered(score, full, harmony=True)
    plain, dressed = midi.from_bytes(midi.to_bytes(score)), midi.from_bytes(data)
    for name in ("start_s", "end_s", "pitch", "velocity"):
        mine = dressed.instrument < len(score.instruments)
        assert np.array_equal(getattr(plain, name), getattr(dressed, name)[mine])
    assert dressed.tempo == plain.tempo
    assert dressed.bars == plain.bars
    assert dressed.markers == plain.markers
    assert midi.to_bytes(score, details=PLAIN) == midi.to_bytes(score)
    # Four libraries read it.
    (tmp_path / "x.mid").write_bytes(data)
    assert len(mido.MidiFile(tmp_path / "x.mid").tracks) == len(score.instruments) + 2
    assert sum(len(i.notes) for i in pretty_midi.PrettyMIDI(str(tmp_path / "x.mid")).instruments) == len(score) + 1
    assert sum(len(t.notes) for t in symusic.Score(tmp_path / "x.mid").tracks) == len(score) + 1
    assert music21.converter.parse(tmp_path / "x.mid").parts


def test_levels_and_the_tempo_span() -> None:
    score = band()
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(score, details=Details(levels=True, tempo_span=True))))
    for track in file.tracks[1:-1]:
        controls = {message.control: message.value for message in track if message.type == "control_change"}
        assert set(controls) == {7, 10}
        assert all(0 < value < 128 for value in controls.values())
    span = file.tracks[-1]
    assert span.name == "Tempo span"
    on, off = [message for message in span if message.type in ("note_on", "note_off")]
    assert (on.velocity, on.time) == (1, 0)
    used = {message.channel for track in file.tracks[1:-1] for message in track if hasattr(message, "channel")}
    assert on.channel not in used | {9}
    last_tempo = sum(
        m.time for m in file.tracks[0][: 1 + max(i for i, m in enumerate(file.tracks[0]) if m.type == "set_tempo")]
    )
    assert off.time >= last_tempo
    assert off.time == max(sum(message.time for message in track) for track in file.tracks)
    with pytest.raises(MidiError, match="all 16 channels have instruments, and a tempo-span track needs one"):
        midi.to_bytes(song([C], instruments=15), details=Details(tempo_span=True))


@pytest.mark.slow
def test_keys_and_chords_as_music21_finds_them() -> None:
    score = song([C, F, G7, C, AM, F, G7, C])
    assert find_key(score) == KeySignature(0.0, 0, False)
    named = [(marker.time_s, marker.text) for marker in chord_symbols(score)]
    assert named == [
        (0.0, "C"),
        (2.0, "F/C"),
        (4.0, "G7/B"),
        (6.0, "C"),
        (8.0, "Am"),
        (10.0, "F/C"),
        (12.0, "G7/B"),
        (14.0, "C"),
    ]
    for tonic in range(12):
        for chords, is_minor in (([C, F, G7, C], False), ([AM, (57, 62, 65), (56, 59, 62, 64), AM], True)):
            higher = song(moved(chords, tonic))
            found = find_key(higher)
            assert found == KeySignature(0.0, (tonic + 9 * is_minor) % 12, is_minor)
            stream = music21.converter.parse(midi.to_bytes(higher.of(0)), format="midi")
            theirs = stream.analyze("key.krumhanslkessler")
            assert (theirs.tonic.pitchClass, theirs.mode) == (found.tonic, "minor" if is_minor else "major")
    assert find_key(Score.empty()) is None
    assert chord_symbols(Score.empty()) == ()
    drums = song([C]).of(1)
    assert find_key(drums) is None
    assert chord_symbols(drums) == ()


def moved(chords: list[tuple[int, ...]], semitones: int) -> list[tuple[int, ...]]:
    return [tuple(pitch + semitones for pitch in chord) for chord in chords]


# Keys a fifth apart share all notes but one, and may be taken for one key.
@pytest.mark.parametrize("semitones", [1, 2, 3, 4, 6, 8, 9, 10, 11])
def test_a_section_in_another_key_has_its_signature(semitones: int) -> None:
    verse = [C, F, G7, C] * 2
    score = song(verse + moved(verse, semitones) + verse)
    home, away = KeySignature(0.0, 0, False), KeySignature(16.0, semitones, False)
    assert find_keys(score) == (home, away, replace(home, time_s=32.0))
    assert signature(away) == (7 * semitones + 5) % 12 - 5
    file = mido.MidiFile(file=io.BytesIO(delivered(score, PLAIN, harmony=True)))
    assert sum(message.type == "key_signature" for message in file.tracks[0]) == 3
    assert midi.from_bytes(delivered(score, PLAIN, harmony=True)).keys == find_keys(score)


def test_what_is_no_change_of_key() -> None:
    verse = [C, F, G7, C] * 2
    home = (KeySignature(0.0, 0, False),)
    assert find_keys(song(verse + moved([C, F, G7, C], 2) + verse)) == home, "four bars of another key"
    assert find_keys(song(verse + [(58, 62, 65), (56, 60, 63)] + verse)) == home, "two borrowed chords"
    minor = [AM, (57, 62, 65), (56, 59, 62, 64), AM] * 2
    assert find_keys(song(verse + minor)) == (find_key(song(verse + minor)),), "the relative minor"
    assert find_keys(song(verse)) == home
    silent = song([*verse, *([()] * 8), *verse])
    assert find_keys(silent) == home
    assert find_keys(Score.empty()) == find_keys(song([C] * 20).of(1)) == ()


def test_keys_that_a_file_has_are_left_alone() -> None:
    verse = [C, F, G7, C] * 2
    given = (KeySignature(0.0, 5, True), KeySignature(4.0, 3, False))
    score = replace(song(verse + moved(verse, 3)), keys=given)
    assert midi.from_bytes(delivered(score, PLAIN, harmony=True)).keys == given


def test_harmony_is_written(tmp_path: Path) -> None:
    data = delivered(song([C, F, G7, C]), PLAIN, harmony=True)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert [message.key for message in file.tracks[0] if message.type == "key_signature"] == ["C"]
    assert [message.text for message in file.tracks[0] if message.type == "text"] == ["C", "F/C", "G7/B", "C"]
    assert midi.from_bytes(data).keys == (KeySignature(0.0, 0, False),)


def test_a_file_for_each_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = band()
    midi.write(score, tmp_path / "song.mid")
    out = tmp_path / "out.mid"
    assert (
        main(
            [
                "deliver",
                str(tmp_path / "song.mid"),
                "-o",
                str(out),
                "--split-tracks",
                "--levels",
                "--smpte",
                "01:00:00:00",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out.splitlines()
    whole = midi.read(out)
    assert len(said) == len(score.instruments) + 1
    for i, line in enumerate(said[1:]):
        part = midi.read(line.removeprefix("Wrote "))
        assert part.instruments == (whole.instruments[i],)
        assert np.array_equal(part.start_s, whole.of(i).start_s)
        assert (part.tempo, part.bars, part.markers) == (whole.tempo, whole.bars, whole.markers)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        deliver(tmp_path / "song.mid", tmp_path / "out.mid", split_tracks=True)
    with pytest.raises(OutputError, match="is what is read"):
        deliver(tmp_path / "song.mid", tmp_path / "song.mid", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
