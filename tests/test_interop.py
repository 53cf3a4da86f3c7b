"""Scores of mido, pretty_midi, symusic and music21, there and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from emsync import interop
from emsync.errors import MidiError, MissingExtraError
from emsync.score import Bars, Instrument, Marker, Score, TempoMap
from tests.midi_files import PIANO, band
from tests.strategies import scores

DOORS = {
    "mido": (interop.to_mido, interop.from_mido),
    "pretty_midi": (interop.to_pretty_midi, interop.from_pretty_midi),
    "symusic": (interop.to_symusic, interop.from_symusic),
    "music21": (interop.to_music21, interop.from_music21),
}
NOTES = ("pitch", "velocity", "start_s", "end_s")
#: Libraries whose own deprecated calls warn.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def check(got: Score, want: Score) -> None:
    """The same notes of the same instruments, and the same bars and tempo as long as notes sound."""
    players, columns = [], []
    for score in (got, want):
        # Which number an instrument has, and those without notes, the libraries do not keep.
        used = sorted(set(score.instrument.tolist()))
        players.append([(score.instruments[i].program, score.instruments[i].is_drum) for i in used])
        who = np.searchsorted(used, score.instrument)
        order = np.lexsort((score.start_s, score.pitch, who))
        columns.append([who[order], *(getattr(score, name)[order] for name in NOTES)])
    assert players[0] == players[1]
    for found, wanted in zip(*columns, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    end_s = float(want.end_s.max(initial=0.0)) - 2e-3
    bars = want.bars.start_s < end_s
    count = int(bars.sum())
    np.testing.assert_allclose(got.bars.start_s[:count], want.bars.start_s[bars], rtol=0, atol=1e-3)
    assert got.bars.numerator[:count].tolist() == want.bars.numerator[bars].tolist()
    assert got.bars.denominator[:count].tolist() == want.bars.denominator[bars].tolist()
    middles_s = np.append(want.bars.start_s[bars][:-1] + np.diff(want.bars.start_s[bars]) / 2, 1e-3)
    np.testing.assert_allclose(got.tempo.qpm_at(middles_s), want.tempo.qpm_at(middles_s), rtol=3e-4)


@pytest.mark.parametrize("name", DOORS)
def test_there_and_back(name: str) -> None:
    to, back = DOORS[name]
    got = back(to(band()))
    check(got, band())
    assert [each.name for each in got.instruments] == [each.name for each in band().instruments]
    assert got.keys == band().keys
    assert [(marker.text, round(marker.time_s, 6)) for marker in got.markers] == [
        ("Cut 1 00:00:01:00", 1.0),
        ("Cut 2", 4.9),
    ]
    assert got.duration_s == pytest.approx(band().duration_s, abs=2e-3)


@pytest.mark.parametrize("name", ["mido", "pretty_midi", "symusic"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(score=scores())
def test_any_score_there_and_back(name: str, score: Score) -> None:
    to, back = DOORS[name]
    if len(score):
        check(back(to(score)), score)


def test_names_in_any_alphabet() -> None:
    score = Score(
        (Instrument("ピアノ", 0),),
        *([0], [60], [80], [0.0], [1.0]),
        TempoMap.constant(120.0),
        Bars([0.0], [4], [4]),
        [Marker(0.5, "Schnitt – Ende")],
    )
    for to, back in DOORS.values():
        got = back(to(score))
        assert got.instruments[0].name == "ピアノ"
        assert got.markers[0].text == "Schnitt – Ende"


def test_what_the_libraries_hold() -> None:
    mido_file = interop.to_mido(band())
    assert (mido_file.type, len(mido_file.tracks)) == (1, 6)
    pretty = interop.to_pretty_midi(band())
    assert [each.is_drum for each in pretty.instruments] == [True, False, False, False, False]
    assert [each.text for each in pretty.text_events] == ["Cut 1 00:00:01:00", "Cut 2"]
    assert interop.to_symusic(band()).tpq == 480
    stream = interop.to_music21(band())
    assert [part.partName for part in stream.parts] == ["Drums", "Piano", "Guitar", "Bass", "Strings"]
    assert len(stream.parts[0].getElementsByClass("Measure")) == 4
    assert [(mark.content, mark.measureNumber) for mark in stream.recurse().getElementsByClass("RehearsalMark")] == [
        ("Cut 1 00:00:01:00", 1),
        ("Cut 2", 3),
    ]


def test_music21_moves_notes_to_its_grid_only_if_asked() -> None:
    grid = (TempoMap.constant(120.0), Bars([0.0], [4], [4]))
    score = Score((PIANO,), [0], [60], [80], [0.01], [1.0], *grid)

    def offset(**options: Any) -> float:
        stream = interop.to_music21(score, **options)
        return next(float(note.getOffsetInHierarchy(stream)) for note in stream.recurse().notes)

    assert offset() == pytest.approx(0.02, abs=2e-3)
    assert offset(quantize=True) == 0.0


def test_pretty_midi_files_made_by_hand() -> None:
    import pretty_midi

    file = pretty_midi.PrettyMIDI(initial_tempo=90.0)
    piano = pretty_midi.Instrument(4, name="Keys")
    piano.notes = [
        pretty_midi.Note(100, 60, 0.123456, 1.0),
        pretty_midi.Note(0, 62, 0.5, 1.0),  # velocity 0: not played
        pretty_midi.Note(90, 64, 2.0, 2.0),  # no length
    ]
    file.instruments = [piano, pretty_midi.Instrument(0, is_drum=True)]
    file.time_signature_changes = [pretty_midi.TimeSignature(3, 4, 0.0), pretty_midi.TimeSignature(5, 3, 1.0)]
    score = interop.from_pretty_midi(file)
    assert score.instruments == (Instrument("Keys", 4), Instrument("", 0, True))
    assert score.start_s.tolist() == [0.123456, 2.0]
    assert score.end_s.tolist() == [1.0, 2.001]
    assert score.tempo == TempoMap.constant(90.0)
    assert score.bars == Bars([0.0, 2.0], [3, 3], [4, 4])


def test_what_cannot_be_converted() -> None:
    import mido
    import music21
    import pretty_midi
    import symusic

    track = mido.MidiTrack([mido.Message("note_on", note=60, time=0.5)])
    with pytest.raises(MidiError, match="mido cannot write this file"):
        interop.from_mido(mido.MidiFile(tracks=[track]))
    with pytest.raises(MidiError, match="the mido file has no notes"):
        interop.from_mido(mido.MidiFile(tracks=[mido.MidiTrack()]))
    with pytest.raises(MidiError, match="the music21 stream has no notes"):
        interop.from_music21(music21.stream.Score([music21.stream.Part()]))
    assert len(interop.from_pretty_midi(pretty_midi.PrettyMIDI())) == 0
    assert len(interop.from_symusic(symusic.Score(480))) == 0


@pytest.mark.parametrize(
    ("convert", "module", "extra"),
    [
        (interop.to_mido, "mido", "interop"),
        (interop.to_pretty_midi, "pretty_midi", "interop"),
        (interop.to_symusic, "symusic", "interop"),
        (interop.to_music21, "music21", "theory"),
    ],
)
def test_a_missing_extra_is_named(
    convert: Callable[[Score], object], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'^{module} is not installed; run: pip install "emsync\[{extra}\]"$'):
        convert(band())
