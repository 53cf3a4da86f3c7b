"""Music to mood: what features hear, what the shipped regressor says of plain music, fitting and its measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import midi
from emsync.errors import CorpusError, InputError, ModelError
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus.archive import Song
from emsync.training.mood.features import FEATURES, N_FEATURES, Notes, features
from emsync.training.mood.labels import (
    CLIP,
    SHIPPED,
    USED,
    Piece,
    Regressor,
    agreement,
    auc,
    concordance,
    cross_validate,
    density_baseline,
    fit,
    halves,
    mean_baseline,
    mood_of,
    note_density,
    pearson,
    read_vgmidi,
    shipped,
    split_half,
)

MAJOR_TRIADS = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
MINOR_TRIADS = ((60, 63, 67), (65, 68, 72), (67, 70, 74), (60, 63, 67))


def chords(
    *,
    qpm: float,
    triads: tuple[tuple[int, ...], ...] = MAJOR_TRIADS,
    velocity: int = 80,
    per_quarter: int = 1,
    length: float = 0.9,
    transposed: int = 0,
    quarters: int = 64,
    family: int = 1,
) -> Score:
    """Broken by nothing: triads struck `per_quarter` times a quarter, each for a bar of four, then the next."""
    step_s = 60 / qpm / per_quarter
    rows = [
        (pitch + transposed, i * step_s, i * step_s + length * step_s)
        for i in range(quarters * per_quarter)
        for pitch in triads[(i // (4 * per_quarter)) % len(triads)]
    ]
    pitch, start, end = (np.array(column) for column in zip(*rows, strict=True))
    tempo = TempoMap.constant(qpm)
    bars = Bars(tempo.seconds_at(np.arange(0, quarters, 4)), [4] * (quarters // 4), [4] * (quarters // 4))
    who = (FAMILY_INSTRUMENTS[family],)
    return Score(who, np.zeros(len(pitch), int), pitch, np.full(len(pitch), velocity), start, end, tempo, bars)


def heard(score: Score, name: str) -> Any:
    return features(Notes.of_score(score))[:, FEATURES.index(name)]


def middle(score: Score, name: str) -> float:
    values = heard(score, name)
    return float(values[len(values) // 2])


def test_one_row_a_second_and_no_nan_where_music_sounds() -> None:
    score = chords(qpm=120)
    rows = features(Notes.of_score(score))
    assert rows.shape == (int(np.ceil(score.duration_s)), N_FEATURES)
    assert np.isfinite(rows).all()


def test_features_hear_what_was_written() -> None:
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


def test_mode_and_triads_tell_major_from_minor() -> None:
    major, minor = chords(qpm=100), chords(qpm=100, triads=MINOR_TRIADS)
    assert middle(major, "mode_wide") > 0 > middle(minor, "mode_wide")
    assert middle(major, "triad_major") == pytest.approx(1)
    assert middle(minor, "triad_major") == 0
    assert middle(minor, "triad_minor") == pytest.approx(1)


def test_dissonance_is_heard() -> None:
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
    loudness = heard(both, "loudness")
    assert (loudness[:27] == 40).all()
    assert (loudness[37:] == 110).all()
    change = heard(both, "loudness_change")
    assert change[31] == pytest.approx(70)
    assert change[10] == 0


def test_silence_and_drums_alone_have_a_mood_all_the_same() -> None:
    empty = Score.empty(duration_s=5)
    rows = features(Notes.of_score(empty))
    assert rows.shape == (5, N_FEATURES)
    assert np.isnan(rows[:, FEATURES.index("mode")]).all()
    drums = chords(qpm=120, family=0, triads=((36, 42),))
    for score in (empty, drums, Score.empty()):
        curve = mood_of(score)
        assert np.isfinite(curve.valence).all()
        assert np.isfinite(curve.arousal).all()
    assert len(mood_of(empty)) == 5


def test_music_of_days_is_refused() -> None:
    with pytest.raises(InputError, match="music of 100000 s has no mood curve"):
        mood_of(Score.empty(duration_s=100_000))


def test_a_song_of_an_archive_is_heard_like_its_score() -> None:
    score = chords(qpm=150)
    steps = np.round(score.tempo.quarters_at(score.start_s) * 24).astype(int)
    lengths = np.round(score.tempo.quarters_at(score.end_s) * 24).astype(int) - steps
    song = Song(
        np.ones(len(score), int), score.pitch, steps, lengths, score.velocity, [0, 0], [90.0, 150.0], [], [], []
    )
    exact = features(Notes.of_score(score))
    close = features(Notes.of_song(song))
    assert close.shape == exact.shape
    assert np.allclose(close, exact, atol=0.12)
    late = Notes.of_song(Song([1], [60], [48], [24], [80], [24], [60.0], [], [], []))
    assert late.start_s == pytest.approx([1.5])  # a quarter at 120, then one at 60
    assert late.end_s == pytest.approx([2.5])


def test_fast_loud_major_is_happier_and_more_awake_than_slow_soft_minor() -> None:
    bright = mood_of(chords(qpm=150, velocity=110, per_quarter=2, length=0.6, transposed=7)).mean
    dark = mood_of(chords(qpm=56, velocity=40, triads=MINOR_TRIADS, length=1.0, transposed=-7)).mean
    assert bright[0] > dark[0] + 0.2
    assert bright[1] > dark[1] + 0.4


def test_mode_alone_moves_valence_and_speed_alone_arousal() -> None:
    plain = mood_of(chords(qpm=100)).mean
    assert mood_of(chords(qpm=100, triads=MINOR_TRIADS)).mean[0] < plain[0] - 0.1
    assert mood_of(chords(qpm=160)).mean[1] > plain[1] + 0.05
    assert mood_of(chords(qpm=100, velocity=40)).mean[1] < plain[1]


def test_the_shipped_regressor_is_small_and_listens_to_every_feature_it_names() -> None:
    assert SHIPPED.stat().st_size < 200 * 1024
    assert shipped().names == USED
    assert np.abs(shipped().weights).sum(axis=1).all()


def made_piece(name: str, generator: np.random.Generator, raters: int = 8, values: int = 30) -> Piece:
    """Features at random; valence follows the first used feature and arousal the second, raters add noise."""
    rows = generator.normal(size=(4 * values, N_FEATURES)) * 0.3 + generator.normal(size=N_FEATURES)
    times = 4.0 * np.arange(values) + 2
    first, second = (FEATURES.index(n) for n in USED[:2])
    at = np.maximum(times - 6, 0).astype(int)
    level = np.tanh(0.5 * rows[at][:, [first, second]])
    noisy = np.clip(level[None] + 0.1 * generator.normal(size=(raters, values, 2)), -1, 1)
    return Piece(name, rows, times, noisy[..., 0], noisy[..., 1], generator.random(4 * values))


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    generator = np.random.default_rng(3)
    return [made_piece(f"piece {i}", generator) for i in range(24)]


def test_fitting_finds_what_raters_followed(pieces: list[Piece]) -> None:
    regressor = fit(pieces)
    assert np.abs(regressor.weights).argmax(axis=0).tolist() == [0, 1]
    found = cross_validate(pieces, folds=4, penalty=0.5)
    for axis in range(2):
        result = agreement([p[:, axis] for p in found], [p.target[:, axis] for p in pieces])
        assert result.pearson > 0.7
        assert result.r2_of_means > 0.4
        assert result.pearson_within > 0.5
    flat = mean_baseline(pieces, folds=4)
    assert agreement([p[:, 0] for p in flat], [p.target[:, 0] for p in pieces]).r2_of_means < 0.1
    assert agreement(density_baseline(pieces, folds=4), [p.target[:, 1] for p in pieces]).r2_of_means < 0.1
    assert min(ceiling.pearson for ceiling in split_half(pieces, draws=2)) > 0.95


def test_a_piece_held_out_does_not_touch_its_own_values(pieces: list[Piece]) -> None:
    first = pieces[0]
    twisted = Piece(first.name, first.features, first.times_s, -first.valence, first.arousal, first.note_density)
    straight, other = (cross_validate([piece, *pieces[1:]], folds=4)[0] for piece in (first, twisted))
    assert np.array_equal(straight, other)
    whole = cross_validate(pieces, folds=2, groups=["a"] * 12 + ["b"] * 12)
    assert np.allclose(whole[0], fit(pieces[12:]).apply(first.features)[first.rows()])


def test_halves_share_nothing(pieces: list[Piece]) -> None:
    one, other = halves(pieces, seed=5)
    assert {p.name for p in one} | {p.name for p in other} == {p.name for p in pieces}
    assert not {p.name for p in one} & {p.name for p in other}


def test_regressor_round_trip_and_its_limits(pieces: list[Piece], tmp_path: Path) -> None:
    regressor = fit(pieces)
    regressor.write(tmp_path / "r.json")
    again = Regressor.read(tmp_path / "r.json")
    rows = pieces[0].features
    assert np.array_equal(again.apply(rows), regressor.apply(rows))
    absurd = regressor.apply(np.full((2, N_FEATURES), 1e12))
    assert np.abs(absurd).max() <= 1
    assert (regressor.standardised(np.full((1, N_FEATURES), -1e12)) == -CLIP).all()
    assert regressor.apply(np.full((1, N_FEATURES), np.nan)) == pytest.approx(regressor.bias[None])


def test_adapting_makes_a_corpus_average_neutral(pieces: list[Piece]) -> None:
    regressor = fit(pieces)
    other = pieces[0].features * 2 + 1
    other[:, FEATURES.index(USED[2])] = 7.0
    adapted = regressor.adapted(other)
    assert adapted.standardised(other).mean(axis=0) == pytest.approx(np.zeros(len(USED)), abs=0.05)
    assert adapted.deviation[2] == 0
    assert np.isfinite(adapted.apply(other)).all()


def test_measures_are_what_their_names_say() -> None:
    a = np.array([0.0, 1.0, 2.0, 3.0])
    assert pearson(a, 2 * a + 1) == pytest.approx(1)
    assert np.isnan(pearson(a, np.ones(4)))
    assert concordance(a, a) == pytest.approx(1)
    assert concordance(a, a + 1) == pytest.approx(2 * 1.25 / (2.5 + 1))
    assert auc([2, 3], [0, 1]) == 1
    assert auc([1], [1]) == 0.5
    assert auc([0, 3], [1, 2]) == 0.5
    assert np.isnan(auc([], [1]))
    assert agreement([a, a], [a, a + 1]).r2_of_means == pytest.approx(-1)


def test_note_density_counts_over_families() -> None:
    score = chords(qpm=60)
    assert note_density(Notes.of_score(score))[10] == pytest.approx(3)


def vgmidi(folder: Path, ratings: list[list[float]], measures: int = 16) -> Path:
    (folder / "midi").mkdir()
    midi.write(chords(qpm=120), folder / "midi" / "a.mid")
    entry = {"midi": "midi/a.mid", "measures": measures, "valence": ratings, "arousal": ratings}
    (folder / "annotations.json").write_text(json.dumps([entry]), encoding="utf-8")
    return folder


def test_vgmidi_is_read_four_quarters_a_value(tmp_path: Path) -> None:
    (piece,) = read_vgmidi(vgmidi(tmp_path, [[0.1] * 16, [0.3] * 17]))
    assert piece.times_s == pytest.approx(2.0 * np.arange(16) + 1)
    assert piece.target == pytest.approx(np.full((16, 2), 0.2))
    assert len(piece.features) == 32


@pytest.mark.parametrize(
    ("ratings", "message"),
    [([[0.1] * 16, [0.3] * 9], "lacks ratings"), ([[2.0] * 16], r"outside \[-1, 1\]"), ([], "no ratings")],
)
def test_vgmidi_with_bad_ratings_is_refused(tmp_path: Path, ratings: list[list[float]], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_vgmidi(vgmidi(tmp_path, ratings))


def test_what_is_no_vgmidi_is_refused(tmp_path: Path, pieces: list[Piece]) -> None:
    with pytest.raises(CorpusError, match=r"annotations\.json cannot be read .* give the folder of VGMIDI"):
        read_vgmidi(tmp_path)
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(CorpusError, match="holds no list of pieces"):
        read_vgmidi(tmp_path)
    with pytest.raises(CorpusError, match="1 pieces are too few"):
        fit(pieces[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "has format 9, not 1"),
        ({"names": ["loveliness"]}, "listens to 'loveliness'"),
        ({"bias": [0.0]}, r"bias has the shape \(1,\), not \(2,\)"),
        ({"mean": None}, "is no mood regressor|mean has the shape"),
    ],
)
def test_a_damaged_regressor_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads(SHIPPED.read_text(encoding="utf-8")) | change
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        Regressor.read(tmp_path / "r.json")
    with pytest.raises(ModelError, match=r"none\.json cannot be read \(No such file .*\); fit it again"):
        Regressor.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "is no mood regressor"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON \\(it is nested too deeply\\); fit it again"),
        (b" " * (1 << 20) + b"{}", "has 1048578 bytes, over 1048576; is it a mood regressor"),
    ],
)
def test_other_files_are_no_regressor(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(ModelError, match=message):
        Regressor.read(tmp_path / "r.json")


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
    assert heard(noise, "onsets_pitched").max() == 0
