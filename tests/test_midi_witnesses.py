"""MIDI files that are written, as mido, pretty_midi, symusic and music21 read them."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import numpy as np
import pytest

from emsync import midi
from tests.midi_files import absolute, band, seconds_by_mido


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
