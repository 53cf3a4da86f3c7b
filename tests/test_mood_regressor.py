"""From music to mood: what the shipped regressor reads in plain music, its file, and measures of agreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.errors import InputError, ModelError
from emsync.music_mood.features import FEATURES, N_FEATURES, Notes, features
from emsync.music_mood.regressor import SHIPPED, Regressor, mood_of
from emsync.score import Score
from emsync.training.mood.agreement import agreement, auc, concordance, pearson
from tests.mood_music import MINOR_TRIADS, chords


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
