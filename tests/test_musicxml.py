"""Scores for players: what is written, and what music21 reads of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import music21
import numpy as np
import pytest
from hypothesis import given, settings

from emsync import midi, musicxml
from emsync.cli.main import main
from emsync.notation import LENGTHS, Event, Staff, measures, notated
from emsync.octaves import octave_shifts
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from tests.midi_files import band
from tests.strategies import scores

PIANO = Instrument("Piano", 0)


def line(notes: list[tuple[float, float, int]], instrument: Instrument = PIANO, bars: int = 2, **more: Any) -> Score:
    """Notes (start, end, pitch) in quarters, at 60 quarter notes a minute, in bars of 4/4."""
    starts, ends, pitches = zip(*notes, strict=True)
    times = Bars(4.0 * np.arange(bars), [4] * bars, [4] * bars)
    n = len(notes)
    tempo = TempoMap.constant(60.0)
    return Score((instrument,), [0] * n, pitches, [80] * n, starts, ends, tempo, times, duration_s=4.0 * bars, **more)


def written(score: Score) -> list[list[tuple[int, int, tuple[int, ...], tuple[bool, bool]]]]:
    """The first voice of the first staff, bar by bar: (start, length, pitches, ties) in units from the bar line."""
    staves, bars = notated(score)
    return [
        [(e.start - bar.start, e.end - e.start, e.pitches, e.ties) for e in inside]
        for bar, inside in zip(bars, measures(staves[0].voices[0], bars), strict=True)
    ]


NO = (False, False)


def test_a_performance_becomes_readable() -> None:
    score = line([(0.02, 0.93, 60), (1.01, 1.46, 62), (1.52, 2.04, 64), (2.0, 5.02, 65)])
    assert written(score) == [
        [(0, 12, (60,), NO), (12, 6, (62,), NO), (18, 6, (64,), NO), (24, 24, (65,), (False, True))],
        [(0, 12, (65,), (True, False)), (12, 12, (), NO), (24, 24, (), NO)],
    ]


def test_triplets_and_syncopation() -> None:
    third = 1 / 3
    score = line(
        [(0, third, 60), (third, 2 * third, 62), (2 * third, 1, 64), (1, 1.5, 65), (1.5, 2.5, 67), (2.5, 4, 69)]
    )
    assert written(score)[0] == [
        (0, 4, (60,), NO), (4, 4, (62,), NO), (8, 4, (64,), NO), (12, 6, (65,), NO),
        (18, 12, (67,), NO), (30, 6, (69,), (False, True)), (36, 12, (69,), (True, False)),
    ]  # fmt: skip


def test_a_note_that_ends_on_a_triplet_is_split_at_the_beat() -> None:
    third = 1 / 3
    score = line([(0, 2 + 2 * third, 60), (2 + 2 * third, 3, 62), (3, 4, 64)])
    lengths = [(start, length) for start, length, _, _ in written(score)[0]]
    assert lengths == [(0, 24), (24, 8), (32, 4), (36, 12)]
    score = line([(0, 1, 59), (1, 2 + 2 * third, 60), (2 + 2 * third, 3, 62), (3, 4, 64)])
    assert [length for _, length, _, _ in written(score)[0]] == [12, 12, 8, 4, 12]


def test_a_held_note_and_a_moving_one_are_two_voices_and_a_third_makes_room() -> None:
    staves, _ = notated(line([(0, 4, 72), (0, 1, 64), (1, 2, 65), (2, 3, 67), (2, 4, 76)], Instrument("Strings", 48)))
    assert [staff.hand for staff in staves] == [0]
    assert len(staves[0].voices) == 2
    for voice in staves[0].voices:
        assert all(one.end <= two.start for one, two in pairwise(voice))


def test_a_piano_has_two_staves_and_a_bass_one() -> None:
    both = [(0.0, 1.0, 40), (0.0, 1.0, 72), (1.0, 2.0, 43), (1.0, 2.0, 74)]
    assert [staff.hand for staff in notated(line(both))[0]] == [0, 1]
    assert [staff.hand for staff in notated(line(both, Instrument("Bass", 33)))[0]] == [0]
    for contrabass in (Instrument("Bass", 0), Instrument("Low", 43)):
        assert [staff.hand for staff in notated(line(both, contrabass))[0]] == [0]
        assert "<clef-octave-change>-1</clef-octave-change>" in musicxml.to_musicxml(line(both, contrabass))
    assert [staff.hand for staff in notated(line(both, Instrument("Drums", 0, True)))[0]] == [0]


@settings(max_examples=25)
@given(scores())
def test_every_bar_is_full_and_every_length_can_be_written(score: Score) -> None:
    staves, bars = notated(score)
    for staff in staves:
        for voice in staff.voices:
            for bar, inside in zip(bars, measures(voice, bars), strict=True):
                assert sum(event.end - event.start for event in inside) == bar.length
                assert [event.start for event in inside] == [bar.start, *(event.end for event in inside[:-1])]
                if bar.length % 12 == 0 and bar.denominator == 4:
                    assert all(e.end - e.start in LENGTHS for e in inside if e.pitches or len(inside) > 1)
    ET.fromstring(musicxml.to_musicxml(score))


def test_music21_reads_what_was_played(tmp_path: Path) -> None:
    score = band()
    path = musicxml.save(score, tmp_path / "band.musicxml", title="Band <1> & more")
    stream = music21.converter.parse(path)
    assert stream.metadata.title == "Band <1> & more"
    names = {part.partName for part in stream.parts}
    assert names == {instrument.name for instrument in score.instruments}
    for part in stream.parts:
        assert len(part.getElementsByClass("Measure")) == len(score.bars)
    times = [str(each.ratioString) for each in stream.parts[0].recurse().getElementsByClass("TimeSignature")]
    assert times == ["4/4", "3/4", "4/4"]
    strings = [part for part in stream.parts if part.partName == "Strings"]
    played = sorted({int(p) for p in score.of(4).pitch})
    assert sorted({n.pitch.midi for part in strings for n in part.flatten().notes if n.isNote}) == played
    marks = [mark.content for mark in stream.recurse().getElementsByClass("RehearsalMark")]
    words = [each.content for each in stream.recurse().getElementsByClass("TextExpression")]
    assert sorted(marks + words) == ["Cut 1", "Cut 2"]
    tempi = [mark.number for mark in stream.recurse().getElementsByClass("MetronomeMark")]
    assert tempi == [120, 100]


def test_key_and_chord_symbols(tmp_path: Path) -> None:
    chords = [(0, (57, 60, 64)), (4, (53, 57, 60)), (8, (52, 56, 59, 62)), (12, (57, 60, 64))]
    notes = [(float(at), at + 4.0, pitch) for at, pitches in chords for pitch in pitches]
    score = line(notes, bars=4, markers=[Marker(4.0, "B"), Marker(5.5, "Cut 1 00:00:05:12")])
    stream = music21.converter.parse(musicxml.save(score, tmp_path / "a.musicxml"))
    assert [symbol.figure for symbol in stream.parts[0].recurse().getElementsByClass("ChordSymbol")] == [
        "Am",
        "F",
        "E7",
        "Am",
    ]
    assert {key.sharps for key in stream.recurse().getElementsByClass("KeySignature")} == {0}
    flats = line(notes, bars=4, keys=[KeySignature(0.0, 5, True)])
    stream = music21.converter.parse(musicxml.to_musicxml(flats), format="musicxml")
    assert {key.sharps for key in stream.recurse().getElementsByClass("KeySignature")} == {-4}
    assert {n.name for c in stream.recurse().getElementsByClass("Chord") for n in c.notes} >= {"A-", "E"}


def test_silence_and_cut_short_bars() -> None:
    stream = music21.converter.parse(musicxml.to_musicxml(Score.empty(duration_s=4.0)), format="musicxml")
    assert len(stream.parts) == 1
    tempo = TempoMap.constant(60.0)
    short = Score((PIANO,), [0], [60], [80], [0.0], [6.0], tempo, Bars([0.0, 2.5], [4, 4], [4, 4]), duration_s=6.5)
    _, bars = notated(short)
    assert [(bar.start, bar.length, bar.numerator, bar.denominator) for bar in bars] == [
        (0, 30, 10, 16),
        (30, 48, 4, 4),
    ]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi.write(band(), tmp_path / "song.mid")
    assert main(["notate", str(tmp_path / "song.mid")]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'song.musicxml'}: 30 notes, 4 bars.\n"
    assert (tmp_path / "song.musicxml").read_text().startswith("<?xml")
    assert main(["notate", str(tmp_path / "song.mid")]) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err
    assert main(["notate", str(tmp_path / "none.mid")]) == 2
    assert json.dumps("none.mid")[1:-1] in capsys.readouterr().err


def test_a_rest_shows_every_beat() -> None:
    _, bars = notated(line([(0.0, 4.0, 60)]))
    (inside, *_) = measures([Event(30, 48, (60,))], bars)
    assert [event.end - event.start for event in inside if not event.pitches] == [24, 6]


def test_keys_change_where_they_do_and_notes_are_spelled_in_them(tmp_path: Path) -> None:
    notes = [(float(i), i + 1.0, pitch) for i, pitch in enumerate([60, 70, 66, 63] * 4)]
    keys = (KeySignature(0.0, 0, False), KeySignature(4.0, 4, False), KeySignature(8.2, 1, False))
    score = line(notes, Instrument("Strings", 48), bars=4, keys=keys)
    parsed = music21.converter.parse(musicxml.save(score, tmp_path / "keys.musicxml"))
    found = [(key.measureNumber, key.sharps) for key in parsed.recurse().getElementsByClass(music21.key.KeySignature)]
    assert found == [(1, 0), (2, 4), (3, -5)]
    spelled = [[note.nameWithOctave for note in bar.notes] for bar in parsed.parts[0].getElementsByClass("Measure")]
    assert spelled == [["C4", "B-4", "F#4", "E-4"], ["B#3", "A#4", "F#4", "D#4"], *[["C4", "B-4", "G-4", "E-4"]] * 2]


@pytest.mark.parametrize("fifths", range(-6, 7))
def test_spelling_is_of_the_same_pitch(fifths: int) -> None:
    for pitch in range(12, 120):
        letter, alter = musicxml.spelled(pitch, fifths)
        assert (dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))[letter] + alter - pitch) % 12 == 0
        assert abs(alter) <= 1
    scale = [musicxml.spelled(60 + 7 * fifths + step, fifths)[0] for step in (0, 2, 4, 5, 7, 9, 11)]
    assert sorted(scale) == list("ABCDEFG")


def test_notes_far_outside_the_staff_are_under_lines_of_8va(tmp_path: Path) -> None:
    def shifts(pitches: list[int], lines: tuple[int, int] = (64, 77)) -> list[tuple[int, int, int]]:
        staff = Staff(0, 0, [[Event(12 * i, 12 * i + 12, (pitch,)) for i, pitch in enumerate(pitches) if pitch]])
        return [(shift.start // 12, shift.end // 12, shift.octaves) for shift in octave_shifts(staff, lines)]

    assert shifts([60, 72, 89, 64]) == [], "three ledger lines can be read"
    assert shifts([60, 93, 96, 64, 103]) == [(1, 3, 1), (4, 5, 2)]
    assert shifts([93, 0, 0, 93]) == [(0, 4, 1)]
    assert shifts([93, 104, 93]) == [(0, 3, 2)], "one line for neighbours"
    assert shifts([104, 95, 91]) == [(0, 3, 2)]
    assert shifts([93, *[0] * 5, 93]) == [(0, 1, 1), (6, 7, 1)], "a rest of more than a bar ends the line"
    assert shifts([40, 24], (43, 57)) == [(1, 2, -1)]
    both = Staff(0, 0, [[Event(0, 24, (95,))], [Event(12, 36, (60,))], [Event(36, 48, (95, 90))]])
    assert [(shift.start, shift.octaves) for shift in octave_shifts(both, (64, 77))] == [(36, 1)]

    score = line([(0, 1, 60), (1, 2, 93), (2, 4, 95), (4, 6, 98), (6, 7, 24), (7, 8, 60)], Instrument("Strings", 48))
    xml = ET.fromstring(musicxml.to_musicxml(score).split("\n", 2)[2])
    marks = [(mark.get("type"), mark.get("size")) for mark in xml.iter("octave-shift")]
    assert marks == [("down", "8"), ("stop", "8"), ("up", "8"), ("stop", "8")]
    parsed = music21.converter.parse(musicxml.save(score, tmp_path / "high.musicxml"))
    assert sorted(note.pitch.midi for note in parsed.recurse().notes if note.tie is None) == [24, 60, 60, 93, 95, 98]
    assert len(parsed.recurse().getElementsByClass(music21.spanner.Ottava)) == len(marks) // 2
