"""Pieces like another: what is read of a reference, what the model hears of it, and that it is not copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import midi, reference
from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, METER_LANES, N_LANES, VALENCE_LANE
from emsync.copying import lanes_of_song
from emsync.errors import InputError
from emsync.likeness import Likeness, family_biases
from emsync.recipe import Recipe
from emsync.reference import LONGEST_RUN, Originality, Prime
from emsync.soundtrack import compose
from emsync.training.corpus.archive import pack
from emsync.training.corpus.songs import score_to_song
from emsync.training.evaluation.copies import Search
from tests.fakes import Feeling
from tests.songs import score


def tune(bars: int = 24) -> list[tuple[int, int, float, float]]:
    """A melody of strings that never repeats, over a bass, at 120; and drums in the second half."""
    rng = np.random.default_rng(3)
    notes = [(3, 60 + int(p), 0.25 * i, 0.25 * i + 0.25) for i, p in enumerate(rng.integers(0, 24, 8 * bars))]
    notes += [(2, 40, 2.0 * bar, 2.0 * bar + 1.0) for bar in range(bars)]
    return notes + [(0, 36, 2.0 * bar, 2.0 * bar + 0.1) for bar in range(bars // 2, bars)]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    midi.write(score(tune()), path)
    return path


def test_a_reference_is_read(song: Path) -> None:
    like = reference.read(song)
    assert like.name == "song.mid"
    assert like.tempo_qpm == pytest.approx(120, rel=0.01)
    assert like.density == pytest.approx((8 * 24 + 24 + 12) / 48, rel=0.05)
    assert like.families == ("drums", "bass", "strings")
    assert like.programs == (0, -1, -1, 33, 48)
    assert like.sounds == "drums=0,bass=33,strings=48"
    assert like.tempo_range == pytest.approx((116.4, 123.6), rel=0.01)
    assert Likeness.from_dict(json.loads(json.dumps(like.to_dict()))) == like
    assert like.bar_quarters[0] == 0
    assert like.onset_quarters.max() < like.bar_quarters[-1]


def test_a_recipe_takes_what_it_does_not_say_from_the_reference(song: Path) -> None:
    like = reference.read(song)
    recipe = Recipe(like=like)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.tempo_range(0.9) == like.tempo_range
    assert Recipe(like=like, describe="slow").tempo_range() == (54.0, 76.0)
    assert Recipe(like=like, tempo_qpm=90.0).tempo() == 90.0
    assert recipe.curves(9.0).by_name["density"].values[0] == pytest.approx(like.density)
    assert Recipe(like=like, density="9").curves(9.0).by_name["density"].values[0] == 9
    assert set(family_biases(recipe.described, like)) == {"piano", "guitar"}
    described = Recipe(like=like, describe="piano")
    assert "piano" not in family_biases(described.described, like)
    with pytest.raises(InputError, match=r"like is 'song\.mid'; give a Likeness"):
        Recipe(like="song.mid")  # type: ignore[arg-type]


def test_an_excerpt_comes_in_the_tempo_of_the_piece_with_its_mood(song: Path) -> None:
    like, lanes = reference.read(song), np.full(N_LANES, 0.25, dtype=np.float32)
    prime = Prime.of(like, 50.0, lanes)
    assert v.KIND[prime.ids[0]] == v.K_BAR
    assert not np.isin(prime.ids, (v.START, v.END, v.MORE, v.FEWER)).any()
    steps = np.cumsum(v.SHIFT_STEPS[prime.ids])
    assert np.diff(steps[v.KIND[prime.ids] == v.K_BAR]).tolist() == [200] * (len(like.bar_quarters) - 2)
    assert (v.KIND[prime.ids] == v.K_ON).sum() == len(like.family)
    assert (prime.velocities[v.KIND[prime.ids] == v.K_ON] > 0).all()
    assert (prime.lanes[:, VALENCE_LANE] == 0.25).all()
    assert np.isnan(prime.lanes[:, 0]).all()
    np.testing.assert_array_equal(prime.lanes[:, COPY_LANES], lanes_of_song(prime.ids))
    assert (prime.lanes[:, METER_LANES][:, 2] == 12).all()  # 50 steps a quarter note: 12.5 a sixteenth
    short = prime.latest(100)
    assert 0 < len(short.ids) <= 100
    assert v.KIND[short.ids[0]] == v.K_BAR
    np.testing.assert_array_equal(short.ids, prime.ids[-len(short.ids) :])
    assert len(prime.latest(100, whole_bars=False).ids) == 100


def longest_copy(pitches: list[int], like: Likeness) -> int:
    """How many pitches of the strings, on eighths, sound before one is forbidden."""
    guard = Originality(like)
    for i, pitch in enumerate(pitches):
        on = int(v.ON_BASE[v.STRINGS]) + pitch
        logits = guard.forbid(np.zeros(v.SIZE, np.float32), 25 * i, 50.0)
        if logits[on] < -1000:
            assert np.count_nonzero(logits) == 1
            return i
        guard.strike(on, 25 * i, 50.0)
    return len(pitches)


def test_no_line_follows_the_reference_for_long(song: Path) -> None:
    like = reference.read(song)
    line = like.pitch[like.family == v.STRINGS].tolist()
    assert longest_copy(line[:30], like) == LONGEST_RUN
    assert longest_copy([pitch + 5 for pitch in line[7:30]], like) == LONGEST_RUN
    changed = [pitch + (i % 8 == 7) for i, pitch in enumerate(line[:30])]
    assert longest_copy(changed, like) == 30


def test_a_piece_like_another_hears_it_first_and_does_not_copy_it(song: Path) -> None:
    like = reference.read(song)
    decoder = Feeling(context=160)
    made = compose(decoder, 24.0, [4.0, 8.0], Recipe(like=like, seed=2))
    prime = Prime.of(like, None, np.zeros(N_LANES, np.float32))
    first = decoder.prefills[0][0][0]
    assert first[:2].tolist() == [v.VALENCE_SLOT, v.AROUSAL_SLOT]
    assert first[3] == v.START
    assert 15 < len(first) - 4 <= 0.1875 * 160
    assert len(decoder.prefills) > 1  # each window hears it
    for ids, _, _, _ in decoder.prefills[1:]:
        np.testing.assert_array_equal(ids[0][3 : len(first) - 1], first[4:])
    assert (v.KIND[first[4:]] == v.K_ON).sum() > 0
    assert set(v.FAMILY[first[4:]].tolist()) <= set(v.FAMILY[prime.ids].tolist())
    assert set(np.unique(made.score.instrument)) == {v.DRUMS, v.BASS, v.STRINGS}
    assert made.n_within_frame == 2
    assert 116 <= made.recipe.tempo() <= 124
    search = Search([made.score])
    search.search(pack([score_to_song(score(tune()), song_id="song")]))
    assert search.longest.max(initial=0) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": [9]}, "out of range"),
        ({"tempo_qpm": 0}, "out of range"),
        ({"pitch": [60, 61]}, "do not fit together"),
        ({"bar_quarters": [0.0]}, "do not fit together"),
        ({"length_quarters": [float("nan")]}, "do not fit together"),
    ],
)
def test_what_is_no_reference_is_refused(values: dict[str, Any], message: str) -> None:
    good = {
        "name": "a", "tempo_qpm": 100, "density": 3, "tonic": None, "programs": [0, -1, -1, -1, -1],
        "shares": [1.0, 0, 0, 0, 0], "family": [0], "pitch": [36], "velocity": [80], "onset_quarters": [0.0],
        "length_quarters": [1.0], "bar_quarters": [0.0, 4.0],
    }  # fmt: skip
    assert Likeness.from_dict(good).families == ("drums",)
    with pytest.raises(InputError, match=message):
        Likeness.from_dict(good | values)


def test_a_file_with_too_little_music_is_refused(tmp_path: Path) -> None:
    midi.write(score([(1, 60, 0.0, 1.0)]), tmp_path / "a.mid")
    with pytest.raises(InputError, match=r"a.mid has 1 notes in 1 bars; a reference needs 20 in 2 bars"):
        reference.read(tmp_path / "a.mid")
