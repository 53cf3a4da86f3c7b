"""Features of music, second by second, that moods are read from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emsync.music_mood.features import FEATURES, N_FEATURES, Notes, features
from emsync.score import Instrument, Score
from emsync.training.corpus.archive import Song
from emsync.training.mood.curves import notes_of_song
from tests.mood_music import MINOR_TRIADS, chords


def feature(score: Score, name: str) -> Any:
    return features(Notes.of_score(score))[:, FEATURES.index(name)]


def middle(score: Score, name: str) -> float:
    values = feature(score, name)
    return float(values[len(values) // 2])


def test_one_row_a_second_and_no_nan_where_music_sounds() -> None:
    score = chords(qpm=120)
    rows = features(Notes.of_score(score))
    assert rows.shape == (int(np.ceil(score.duration_s)), N_FEATURES)
    assert np.isfinite(rows).all()


def test_features_measure_what_was_written() -> None:
    score = chords(qpm=120, velocity=70)
    assert middle(score, "tempo") == pytest.approx(np.log2(120))
    assert middle(score, "loudness") == 70
    assert middle(score, "loudness_sd") == pytest.approx(0)
    assert middle(score, "onsets_piano") == pytest.approx(np.log1p(6), abs=0.1)
    assert middle(score, "onsets_drums") == 0
    assert middle(score, "chord_rate") == pytest.approx(np.log1p(2), abs=0.1)
    assert middle(score, "chord_size") == pytest.approx(3)
    assert middle(score, "polyphony") == pytest.approx(2.7, abs=0.05)
    assert middle(score, "articulation") == pytest.approx(0.9)
    assert middle(score, "note_length") == pytest.approx(np.log2(0.45))
    assert middle(score, "off_beat") == 0
    assert middle(score, "onset_unevenness") == pytest.approx(0, abs=1e-3)
    assert middle(score, "families") == 1
    assert middle(score, "silence") == pytest.approx(0, abs=1e-9)
    assert middle(score, "triad_diminished") == 0


def test_mode_and_triads_distinguish_major_from_minor() -> None:
    major, minor = chords(qpm=100), chords(qpm=100, triads=MINOR_TRIADS)
    assert middle(major, "mode_wide") > 0 > middle(minor, "mode_wide")
    assert middle(major, "triad_major") == pytest.approx(1)
    assert middle(minor, "triad_major") == 0
    assert middle(minor, "triad_minor") == pytest.approx(1)


def test_dissonance_is_measured() -> None:
    clusters = chords(qpm=100, triads=((60, 61, 66),))
    assert middle(clusters, "consonance") < 0 < middle(chords(qpm=100), "consonance")
    assert middle(clusters, "interval_class_1") == pytest.approx(1 / 3)
    assert middle(clusters, "bass_dissonance") == pytest.approx(2 / 3)


def test_transposing_moves_only_register() -> None:
    plain, up = (features(Notes.of_score(chords(qpm=100, transposed=by))) for by in (0, 5))
    moved = {FEATURES[i] for i in np.flatnonzero(~np.isclose(plain, up, atol=1e-9).all(axis=0))}
    assert moved == {"pitch_mean", "pitch_low", "pitch_high"}
    assert np.allclose((up - plain)[:, FEATURES.index("pitch_mean")], 5)


def test_rows_do_not_depend_on_the_order_of_notes() -> None:
    notes = Notes.of_score(chords(qpm=90, per_quarter=2))
    order = np.random.default_rng(0).permutation(len(notes.pitch))
    rows = (notes.family, notes.pitch, notes.velocity, notes.start_s, notes.end_s)
    shuffled = Notes(*(row[order] for row in rows), notes.tempo, notes.duration_s)
    assert np.allclose(features(shuffled), features(notes))


def test_windows_are_local() -> None:
    quiet, loud = chords(qpm=120, velocity=40), chords(qpm=120, velocity=110).shifted(32)
    both = Score(
        quiet.instruments,
        np.concatenate([quiet.instrument, loud.instrument]),
        np.concatenate([quiet.pitch, loud.pitch]),
        np.concatenate([quiet.velocity, loud.velocity]),
        np.concatenate([quiet.start_s, loud.start_s]),
        np.concatenate([quiet.end_s, loud.end_s]),
        quiet.tempo,
        quiet.bars,
    )
    loudness = feature(both, "loudness")
    assert (loudness[:27] == 40).all()
    assert (loudness[37:] == 110).all()
    change = feature(both, "loudness_change")
    assert change[31] == pytest.approx(70)
    assert change[10] == 0


def test_a_song_of_an_archive_is_measured_like_its_score() -> None:
    score = chords(qpm=150)
    steps = np.round(score.tempo.quarters_at(score.start_s) * 24).astype(int)
    lengths = np.round(score.tempo.quarters_at(score.end_s) * 24).astype(int) - steps
    song = Song(
        np.ones(len(score), int), score.pitch, steps, lengths, score.velocity, [0, 0], [90.0, 150.0], [], [], []
    )
    exact = features(Notes.of_score(score))
    close = features(notes_of_song(song))
    assert close.shape == exact.shape
    assert np.allclose(close, exact, atol=0.12)
    late = notes_of_song(Song([1], [60], [48], [24], [80], [24], [60.0], [], [], []))
    assert late.start_s == pytest.approx([1.5])  # a quarter at 120, then one at 60
    assert late.end_s == pytest.approx([2.5])


def test_instruments_that_are_no_family_are_passed_over() -> None:
    score = chords(qpm=120)
    noise = Score(
        (Instrument("Gunshot", 127, False),),
        score.instrument,
        score.pitch,
        score.velocity,
        score.start_s,
        score.end_s,
        score.tempo,
        score.bars,
    )
    assert feature(noise, "onsets_pitched").max() == 0
