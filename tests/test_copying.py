"""Suffix matches within a piece: whole songs, event by event and a plain reference agree; and mixing with a model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import copying
from emsync import vocabulary as v
from emsync.copying import (
    AGREEMENTS,
    DECAY,
    LENGTHS,
    N_STRENGTHS,
    NONE,
    UNKNOWN,
    VISITS,
    Past,
    lanes_of_song,
    matches_of_song,
)
from emsync.errors import InputError, ModelError
from emsync.mixture import COPYING, Copier, Mixture

#: Few different ids, so that long matches are common, among them the smallest and the largest one.
SONGS = st.lists(st.sampled_from([0, 1, v.SIZE - 1]), max_size=80) | st.lists(
    st.integers(0, v.SIZE - 1), max_size=80
).map(lambda ids: ids * 3)


def reference(ids: list[int], t: int) -> tuple[int, list[int]]:
    """Length (0, or 1 + index) of the longest match at event t, and its followers, by comparing lists."""
    for row, length in reversed(list(enumerate(LENGTHS))):
        if t + 1 < length:
            continue
        latest = ids[t - length + 1 : t + 1]
        ends = [j for j in range(length - 1, t) if ids[j - length + 1 : j + 1] == latest]
        if ends:
            return row + 1, [ids[j + 1] for j in reversed(ends)][:VISITS]
    return 0, []


@given(SONGS)
def test_a_whole_song_and_a_piece_in_the_making_match_alike(ids: list[int]) -> None:
    matches, lanes, past = matches_of_song(np.array(ids, dtype=np.int64)), lanes_of_song(np.array(ids, int)), Past()
    strength = matches.strength()
    assert matches.followers.shape == (len(ids), VISITS)
    for t, event in enumerate(ids):
        past.append(event)
        length, followers = reference(ids, t)
        found = matches.followers[t].tolist()
        assert (matches.length[t], found) == (length, followers + [NONE] * (VISITS - len(followers)))
        assert (past.length, past.followers) == (length, followers)
        assert past.strength == strength[t]
        assert past.lanes == tuple(lanes[t])
        targets = np.full(len(ids), event)
        assert past.distribution()[event] == pytest.approx(matches.probability(targets)[t])
        assert past.distribution().sum() == pytest.approx(float(length > 0))


@given(SONGS, st.data())
def test_no_event_is_known_before_it_is_played(ids: list[int], data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, len(ids)))
    whole = lanes_of_song(np.array(ids, dtype=np.int64))
    np.testing.assert_array_equal(lanes_of_song(np.array(ids[:stop], dtype=np.int64)), whole[:stop])


def test_long_songs_of_large_ranks_need_the_slower_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.default_rng(0).integers(0, 2, 300)
    right = matches_of_song(ids)
    packed = []
    sort = np.sort
    monkeypatch.setattr(np, "sort", lambda x: packed.append(1) or sort(x))
    for song in (ids, np.where(ids, 1 << 30, 0)):
        found = matches_of_song(song)
        np.testing.assert_array_equal(found.length, right.length)
    assert 0 < len(packed) < 2 * len(LENGTHS) + 2


def test_recent_visits_weigh_more() -> None:
    a, b, c, x, y = 10, 11, 12, 20, 21
    past = Past()
    for event in (a, b, c, x, 1, a, b, c, y, 2, a, b, c, y, 3, a, b, c):
        past.append(event)
    assert (past.length, past.followers) == (1, [y, y, x])
    total = 1 + DECAY + DECAY**2
    assert past.distribution()[[x, y, a]] == pytest.approx([DECAY**2 / total, (1 + DECAY) / total, 0])


@pytest.mark.parametrize(
    ("followers", "agreement"),
    [([], 0), ([7], 0), ([7, 8], 1), ([7, 7], 2), ([7, 8, 7], 1), ([7, 7, 8], 2), ([7, 7, 7], 3)],
)
def test_strength_depends_on_length_and_agreement(followers: list[int], agreement: int) -> None:
    ids = [1, 2, 3]
    for i, follower in enumerate(reversed(followers)):
        ids += [follower, 100 + i, 1, 2, 3]
    strength = int(matches_of_song(np.array(ids)).strength()[-1])
    assert strength == (1 + agreement if followers else 0)
    long = [*range(200, 240), 9, *range(200, 240)]
    assert int(matches_of_song(np.array(long)).strength()[-1]) == 1 + AGREEMENTS * (len(LENGTHS) - 1) < N_STRENGTHS


# ---- mixing --------------------------------------------------------------------------------------------------------


def weights(**given: float) -> tuple[float, ...]:
    out = [0.0] * N_STRENGTHS
    for name, value in given.items():
        out[int(name[1:])] = value
    return tuple(out)


def playing(ids: list[int]) -> Past:
    past = Past()
    for event in ids:
        past.append(event)
    return past


def test_mixed_logits_are_of_the_mixed_distribution() -> None:
    past = playing([5, 6, 7, 8, 9, 5, 6, 7])
    logits = np.random.default_rng(1).normal(size=v.SIZE).astype(np.float32)
    model = np.exp(logits) / np.exp(logits).sum()
    right = 0.75 * model
    right[8] += 0.25
    mixture = Mixture(weights(s1=0.25))
    found = mixture.mix(logits, past)
    assert found.dtype == logits.dtype
    np.testing.assert_allclose(np.exp(found), right, rtol=1e-4)
    np.testing.assert_allclose(
        right[[8, 9]], mixture.probability(np.array([1, 1]), model[[8, 9]], past.distribution()[[8, 9]])
    )
    right = 0.875 * model + 0.125 * past.distribution()
    np.testing.assert_allclose(np.exp(mixture.mix(logits, past, 0.5)), right, rtol=1e-4)


def test_without_a_match_or_a_weight_the_logits_are_the_models() -> None:
    logits = np.arange(v.SIZE, dtype=np.float32)
    assert Mixture(weights(s1=0.25)).mix(logits, playing([5, 6, 7])) is logits
    matched = playing([5, 6, 7, 8, 9, 5, 6, 7])
    assert Mixture(weights(s2=0.25)).mix(logits, matched) is logits
    assert Mixture(weights(s1=0.25)).mix(logits, matched, 0.0) is logits


def test_fitting_finds_the_weights_that_made_the_events() -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    strength = rng.choice([0, 1, 9], n)
    copied = rng.random(n) < np.array([0, 0.3, *[0] * 7, 0.9])[strength]
    # Copies are always right where copied, and right one time in ten by chance; the model gives each event 1 in 10.
    of_followers = np.where(strength > 0, copied | (rng.random(n) < 0.1), 0.0)
    model = np.full(n, 0.1)
    fitted = Mixture.fit(strength, model, of_followers, about={"songs": 3})
    assert fitted.weights[0] == 0
    assert fitted.weights[1] == pytest.approx(0.3, abs=0.02)
    assert fitted.weights[9] == pytest.approx(0.9, abs=0.02)
    assert fitted.weights[2] == pytest.approx(0, abs=1e-6)  # never seen
    assert fitted.about == {"songs": 3}

    def bits(mixture: Mixture) -> float:
        return float(-np.log2(mixture.probability(strength, model, of_followers)).sum())

    best = bits(fitted)
    for change in (-0.03, 0.03):
        for place in (1, 9):
            others = list(fitted.weights)
            others[place] = min(others[place] + change, 0.99)
            assert bits(Mixture(tuple(others))) > best


def test_a_mixture_is_kept_with_its_model(tmp_path: Path) -> None:
    assert Mixture.read(tmp_path) is None
    mixture = Mixture(weights(s1=0.25, s28=0.875), {"songs": 48})
    assert mixture.write(tmp_path) == tmp_path / COPYING
    assert Mixture.read(tmp_path) == mixture
    assert [path.name for path in tmp_path.iterdir()] == [COPYING]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [0.0] * 3}, "3 weights; give 29"),
        ({"weights": [0.0] * (N_STRENGTHS - 1) + [1.0]}, "weight of 1 must be at least 0 and below 1"),
        ({"weights": [0.0] * (N_STRENGTHS - 1) + [math.nan]}, "weight of nan"),
        ({"weights": [0.5] * N_STRENGTHS}, "without a match nothing is copied"),
        ({"weights": "many"}, "cannot be read"),
        ({"lengths": [1, 2]}, "fitted for other repeats"),
        ({"vocabulary": "x"}, "fitted for other repeats"),
        ({"format": 9}, "fitted for other repeats"),
        ({"recall": [0.1] * N_STRENGTHS, "sharpness": 3.0}, "fitted for other repeats"),
        ({"recall": [0.1]}, "1 weights; give 29"),
        ({"weights": [0, *[0.5] * (N_STRENGTHS - 1)], "recall": [0.5] * N_STRENGTHS}, "weight of 1 must be"),
    ],
)
def test_a_damaged_mixture_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    values = Mixture(weights()).to_dict() | change
    (tmp_path / COPYING).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=message) as caught:
        Mixture.read(tmp_path)
    assert "emsync fit-copying" in str(caught.value)


def test_a_mixture_that_is_no_json_is_refused(tmp_path: Path) -> None:
    for text, message in (
        ("{", "is not JSON"),
        ("{}", r"cannot be read \(it lacks 'format'\)"),
        ("[]", "cannot be"),
    ):
        (tmp_path / COPYING).write_text(text)
        with pytest.raises(ModelError, match=message):
            Mixture.read(tmp_path)


def test_weights_are_checked() -> None:
    with pytest.raises(InputError, match=r"-0\.1 must be at least 0"):
        Mixture(weights(s3=-0.1))


def test_the_lanes_are_those_of_the_table() -> None:
    from emsync.conditions import COPY_LANES, LANES

    follower, match = LANES[COPY_LANES]
    assert (follower.name, match.name) == ("copy", "match")
    assert (follower.high, match.high) == (v.SIZE - 1, copying.N_STRENGTHS - 1)


# ---- the bound -----------------------------------------------------------------------------------------------------

BAR = v.BAR_BASE + 8


def bar_of(first: int) -> list[int]:
    """A bar of twenty different events."""
    return [BAR, *range(first, first + 20)]


def bars_copied(bars: list[list[int]], longest_bars: int = 100) -> list[int]:
    """How many bars in a row were copied, at each bar line behind a bar."""
    copier, out = Copier(longest_bars=longest_bars), []
    for event in [v.START, *(event for bar in bars for event in bar), BAR]:
        copier.append(event)
        if event == BAR:
            out.append(copier.bars)
    return out[1:]


def test_copied_bars_are_counted_until_a_new_one() -> None:
    a, b, c = bar_of(100), bar_of(300), bar_of(500)
    # After something new, it takes some events until a copy is known as one.
    assert bars_copied([a, b, a, a, b, a, b, a, c, a]) == [0, 0, 0, 0, 1, 2, 3, 4, 0, 0]


def test_a_bar_that_is_varied_is_no_copy() -> None:
    a, varied = bar_of(100), bar_of(100)
    varied[19:21] = [700, 701]
    assert bars_copied([a, a, a, a, varied, a]) == [0, 0, 1, 2, 0, 0]


def test_copying_is_barred_until_a_new_bar() -> None:
    mixture = Mixture(tuple([0.0] + [0.5] * (N_STRENGTHS - 1)))
    copier, logits = Copier(mixture, longest_bars=2), np.zeros(v.SIZE)
    barred = []
    for bar in [bar_of(100)] * 6 + [bar_of(300)] + [bar_of(100)] * 2:
        for event in bar:
            copier.append(event)
        barred.append(copier.barred)
        assert (copier.mix(logits) is logits) == (copier.barred or not copier.past.length)
        assert copier.lanes == copier.past.lanes or (copier.barred and np.isnan(copier.lanes).all())
    # A bar is judged at the next bar line; two copies are over at the beginning of the fifth bar.
    assert barred == [False, False, False, False, True, True, True, False, False]
    assert np.isnan(UNKNOWN).all()


def test_without_a_mixture_only_the_lanes_know_the_past() -> None:
    copier = Copier()
    for event in [1, 2, 3, 4, 1, 2, 3]:
        copier.append(event)
    logits = np.zeros(v.SIZE)
    assert copier.mix(logits) is logits
    assert copier.lanes == (4.0, 1.0)
