"""Fitting the mood regressor on rated pieces, and how well it does on pieces it has not seen (benchmarks/vgmidi.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.vgmidi import (
    USED,
    Piece,
    cross_validate,
    density_baseline,
    fit,
    halves,
    mean_baseline,
    note_density,
    read_vgmidi,
    split_half,
)
from emsync import midi
from emsync.errors import CorpusError
from emsync.music_mood.features import FEATURES, N_FEATURES, Notes
from emsync.music_mood.regressor import CLIP, SHIPPED, Regressor, shipped
from emsync.training.mood.agreement import agreement
from tests.mood_music import chords


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
