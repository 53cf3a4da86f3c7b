"""Mood curves of songs: the scale, the labels, how they are kept, and how they are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.errors import ModelError
from emsync.music_mood.features import N_FEATURES
from emsync.music_mood.regressor import labeller, shipped
from emsync.music_mood.scale import N_QUANTILES, SCALE, Scale, scale
from emsync.training.corpus.archive import Archive, Song, pack, read_archive, write_archive
from emsync.training.corpus.song_to_score import to_score
from emsync.training.mood.curves import FULL, Moods, curve, judge, label_songs, labels, mood_arrays, readings, with_mood
from tests.models import toy_archive, toy_song


def spread(n: int = 20_000, seed: int = 0) -> np.ndarray:
    """Readings as a regressor gives them: crowded about a middle, unlike on both axes."""
    return np.clip(np.random.default_rng(seed).normal([0.2, 0.1], [0.1, 0.2], (n, 2)), -1, 1)


# The scale.


@pytest.mark.parametrize("table", [scale(), Scale.fit([spread()])])
def test_a_scale_rises_and_spans_the_plane(table: Scale) -> None:
    x = np.linspace(-1, 1, 2001)
    levels = table.apply(np.stack([x, x], axis=1))
    assert (np.diff(levels, axis=0) >= 0).all()
    assert levels[0].tolist() == [-1, -1]
    assert levels[-1].tolist() == [1, 1]
    inside = (x > table.quantiles[0].max()) & (x < table.quantiles[-1].min())
    assert (np.diff(levels[inside], axis=0) > 0).all()


def test_a_level_is_a_rank() -> None:
    rows = spread()
    levels = Scale.fit([rows[:5000], rows[5000:]]).apply(rows)
    assert np.abs(levels.mean(axis=0)).max() < 0.01
    # Evenly over [-1, 1]: a tenth of all seconds in each tenth of the way.
    for axis in range(2):
        shares = np.histogram(levels[:, axis], bins=10, range=(-1, 1))[0] / len(rows)
        np.testing.assert_allclose(shares, 0.1, atol=0.01)
    middle = np.quantile(rows, 0.9, axis=0)
    np.testing.assert_allclose(Scale.fit([rows]).apply(middle), [0.8, 0.8], atol=0.01)


def test_one_reading_s_scale_does_not_depend_on_its_neighbours() -> None:
    rows = spread(50)
    np.testing.assert_array_equal(scale().apply(rows)[7], scale().apply(rows[7]))
    assert scale().apply(rows.reshape(5, 10, 2)).shape == (5, 10, 2)


def test_a_scale_is_written_and_read(tmp_path: Path) -> None:
    table = Scale.fit([spread()])
    table.write(tmp_path / "scale.json")
    back = Scale.read(tmp_path / "scale.json")
    np.testing.assert_allclose(back.quantiles, table.quantiles, atol=1e-8)
    assert (back.songs, scale().songs) == (1, 3000)


@pytest.mark.parametrize(
    ("rows", "count"), [([], 0), ([np.zeros((100, 2))], 100), ([spread() * [1, 0] + [0, 0.3]], 20_000)]
)
def test_too_little_music_to_scale_by(rows: list[np.ndarray], count: int) -> None:
    with pytest.raises(ModelError, match=f"{count} seconds of music are too few to scale moods by; use the shipped"):
        Scale.fit(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "has format 9, not 1; fit it again"),
        ({"valence": None}, r"is no mood scale \(.*\); fit it again"),
        ({"arousal": [0.0, 1.0]}, r"is no mood scale \(.*\); fit it again"),
        ({"songs": "many"}, "is no mood scale"),
        ({"songs": float("inf")}, "is no mood scale"),
        ({"valence": [0.0] * N_QUANTILES}, r"a mood scale of \(41, 2\) numbers is not a table of quantiles"),
    ],
)
def test_a_broken_scale_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads(SCALE.read_text()) | change
    (tmp_path / "scale.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        Scale.read(tmp_path / "scale.json")
    with pytest.raises(ModelError, match=r"gone.json cannot be read \(No such file .*\); fit it again"):
        Scale.read(tmp_path / "gone.json")


# Labels.


def test_labels_are_small_numbers_one_a_second() -> None:
    song = toy_song(bars=5, qpm=90.0)  # 40/3 s
    row = labels(song)
    assert row.dtype == np.int8
    assert row.shape == (14, 2)
    assert np.abs(row.astype(int)).max() <= FULL
    np.testing.assert_allclose(row / FULL, scale().apply(readings(song)), atol=0.5 / FULL)


def test_a_song_reads_alike_as_score_and_in_an_archive() -> None:
    song = toy_song(3)
    np.testing.assert_array_equal(labels(song), labels(to_score(song)))
    np.testing.assert_array_equal(labels(song), labels(pack([toy_song(), song])[1]))


def test_lively_music_is_labelled_higher_than_slow_music() -> None:
    slow, fast = (labels(toy_song(qpm=qpm))[:, 1].astype(int).mean() for qpm in (60.0, 180.0))
    assert fast > slow + 20


def test_the_mood_of_a_song_that_begins_later_is_shifted() -> None:
    """Silence before a song changes its mood near the beginning alone: windows reach 12 s back."""
    song = toy_song(bars=20)  # 40 s
    later = replace(song, start_step=song.start_step + 24 * 32)  # 32 quarters, 16 s
    plain, moved = labels(song).astype(int), labels(later).astype(int)
    assert len(moved) == len(plain) + 16
    assert np.abs(moved[16 + 13 :] - plain[13:]).max() <= 1
    assert np.abs(moved[:16] - plain[:16]).max() > 1


def test_a_song_without_notes_has_a_second() -> None:
    empty = Song(*(np.zeros(0, dtype=int) for _ in range(10)))
    assert labels(empty).shape == (1, 2)


def test_labeller_and_judge_are_two_regressors() -> None:
    rows = np.random.default_rng(0).normal(60, 10, (50, N_FEATURES))
    read = [each.apply(rows) for each in (labeller(), judge(), shipped())]
    assert not any(np.array_equal(read[i], read[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    song = toy_song()
    np.testing.assert_array_equal(readings(song), readings(song, labeller()))
    assert not np.array_equal(readings(song), readings(song, judge()))


def test_a_curve_has_its_points_in_the_middle_of_seconds() -> None:
    made = curve(np.array([[-128, 0], [127, -127]], dtype=np.int8))
    assert made.times_s.tolist() == [0.5, 1.5]
    assert made.valence.tolist() == [-1.0, 1.0]
    assert made.arousal.tolist() == [0.0, -1.0]


# In archives.


def test_an_archive_is_given_the_curves_of_its_songs(tmp_path: Path) -> None:
    archive = with_mood(toy_archive(3))
    write_archive(tmp_path / "a.npz", archive)
    back = read_archive(tmp_path / "a.npz")
    for i, song in enumerate(toy_archive(3)):
        np.testing.assert_array_equal(back.mood(i), labels(song))
    assert with_mood(back) is back


def test_kept_labels_are_not_read_again() -> None:
    song_curves = [np.full((n, 2), n, dtype=np.int8) for n in (2, 0, 5)]
    archive = Archive({**toy_archive(3).arrays, **mood_arrays(song_curves)})
    got = label_songs(archive.arrays, 1, 3)
    assert [each.tolist() for each in got] == [[], [[5, 5]] * 5]


def test_arrays_of_no_songs() -> None:
    arrays = mood_arrays([])
    assert arrays["mood_offset"].tolist() == [0]
    assert len(arrays["mood_valence"]) == len(arrays["mood_arousal"]) == 0


# Distributions.


def test_a_distribution_is_numpy_s() -> None:
    rng = np.random.default_rng(0)
    rows = [np.clip(rng.normal([20, -30], [40, 60], (n, 2)), -127, 127).astype(np.int8) for n in (3000, 1, 5000)]
    moods, every = Moods.of(rows), np.concatenate(rows) / FULL
    assert moods.seconds == 8001
    for axis, levels in ((moods.valence, every[:, 0]), (moods.arousal, every[:, 1])):
        assert axis.mean == pytest.approx(levels.mean(), abs=1e-4)
        assert axis.deviation == pytest.approx(levels.std(), abs=1e-4)
        assert list(axis.percentiles) == ["5", "25", "50", "75", "95"]
        expected = np.percentile(levels, [5, 25, 50, 75, 95], method="inverted_cdf")
        assert list(axis.percentiles.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert moods == Moods.of([np.concatenate(rows)])


def test_quadrants_and_the_lines_for_people() -> None:
    moods = Moods.of([np.array([[0, 0], [5, -5], [-5, -1], [-1, 1], [-128, 127]], dtype=np.int8)])
    assert moods.quadrants == {
        "high valence, high arousal": 0.2,
        "high valence, low arousal": 0.2,
        "low valence, high arousal": 0.4,
        "low valence, low arousal": 0.2,
    }
    assert moods.summary() == [
        "moods of 5 seconds:",
        "  valence -0.20 on average, deviation 0.40; 5/25/50/75/95 %: -1.00, -0.04, -0.01, +0.00, +0.04",
        "  arousal +0.19 on average, deviation 0.40; 5/25/50/75/95 %: -0.04, -0.01, +0.00, +0.01, +1.00",
        "  20% high valence, high arousal; 20% high valence, low arousal; 40% low valence, high arousal; "
        "20% low valence, low arousal",
    ]


def test_nothing_is_distributed_nowhere() -> None:
    moods = Moods.of([])
    assert (moods.seconds, moods.valence.mean, set(moods.quadrants.values())) == (0, 0.0, {0.0})
