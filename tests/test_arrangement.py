"""Each piece has an arrangement, and the families are held to it."""

from __future__ import annotations

import copy
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emsync import reference
from emsync import vocabulary as v
from emsync.arrangement import (
    ARRANGEMENTS,
    LEAST_PACE,
    LEAST_SHARE,
    MEMORY_S,
    MOST,
    MOST_PACE,
    PACE,
    Arrangement,
    Drawn,
    drawn,
    of_piece,
)
from emsync.recipe import Recipe
from emsync.repetition import Density
from emsync.sections import Plan
from emsync.theme import Theme
from emsync.writer import Writer
from tests.composing import asked, compose
from tests.fakes import Fake, plain_recipe
from tests.test_reference import song as song  # a reference: drums, bass and a melody of strings
from tests.test_theme import reduced, tune


def arrangement(seed: int, *, strength: float = 1.0) -> Arrangement:
    return Arrangement(strength, drawn(None, np.random.default_rng(seed)).shares)


def of_all_families(strength: float = 1.0) -> Arrangement:
    made = (arrangement(seed, strength=strength) for seed in range(100))
    return next(one for one in made if one.shares.all())


def test_a_family_that_plays_too_much_becomes_unlikelier() -> None:
    made = of_all_families()
    assert not made.biases(0).any()
    for step in range(100):
        made.strike(v.STRINGS, step)
    biases = made.biases(100)
    assert biases[v.STRINGS] < 0
    assert (np.delete(biases, v.STRINGS) > 0).all()
    assert made.biases(100 + round(6 * MEMORY_S / v.STEP_S))[v.STRINGS] > biases[v.STRINGS]  # it is forgotten
    strong = of_all_families(100.0)
    strong.strike(v.STRINGS, 0)
    assert strong.biases(0).max() == -strong.biases(0).min() == MOST


def test_notes_in_their_shares_are_left_alone() -> None:
    made = of_all_families()
    for family, share in enumerate(made.shares):
        for _ in range(round(1000 * share)):
            made.strike(family, 0)
    assert np.abs(made.biases(0)).max() < 0.1


def test_a_family_that_is_left_out_is_unlikely_from_the_beginning() -> None:
    seen = 0
    for seed in range(30):
        made = arrangement(seed)
        out = made.shares == 0
        assert (made.biases(0)[out] == -MOST).all()
        assert (Arrangement(0.1, made.shares, left_out=9.0).biases(0)[out] == -9.0).all()
        assert (made.biases(0)[~out] == 0).all()
        assert made.shares.sum() == pytest.approx(1)
        seen += int(out.any())
    assert seen


@pytest.mark.parametrize(("arousal", "column"), [(-1.0, 0), (None, 1), (0.7, 2)])
def test_arrangements_are_drawn_as_often_as_they_are_found(arousal: float | None, column: int) -> None:
    n = 2000
    rng = np.random.default_rng(1)
    found = Counter(tuple(drawn(arousal, rng, fitted=False).shares.tolist()) for _ in range(n))
    whole = sum(odds[column] for _, odds in ARRANGEMENTS)
    for shares, odds in ARRANGEMENTS:
        assert found[shares] / n == pytest.approx(odds[column] / whole, abs=4 * math.sqrt(0.25 / n))


def test_the_fitted_arrangements_are_like_real_songs() -> None:
    """A hundred of them, of which each holds for some songs; their means are those of 4,673 stretches of music."""
    rng = np.random.default_rng(2)
    found = [drawn(None, rng) for _ in range(2000)]
    assert len({tuple(one.shares.tolist()) for one in found}) > 80
    assert all(one.shares.sum() == pytest.approx(1, abs=0.01) for one in found)
    assert np.mean([one.shares for one in found], axis=0) == pytest.approx([0.33, 0.19, 0.21, 0.11, 0.16], abs=0.04)
    rates = [one.notes_per_s for one in found]
    assert None not in rates
    assert np.quantile(rates, [0.1, 0.5, 0.9]) == pytest.approx([11.5, 22, 36], rel=0.15)


def test_fast_pieces_have_more_notes() -> None:
    def rate(tempo_qpm: float | None, recipe: Recipe) -> float:
        rngs = (np.random.default_rng(seed) for seed in range(400))
        found = [of_piece(recipe, None, None, None, rng, tempo_qpm).notes_per_s or 0.0 for rng in rngs]
        return float(np.exp(np.mean(np.log(found))))

    recipe = plain_recipe(balance=1.0, pace=1.0, song_tempi=True)
    slow, usual, fast = (rate(qpm, recipe) for qpm in (72.0, 120.0, 180.0))
    assert 0.85 * usual > slow > 12
    assert 1.15 * usual < fast < 34
    assert usual == pytest.approx(rate(None, recipe), rel=0.1)
    assert rate(180.0, plain_recipe(balance=1.0, pace=1.0, song_tempi=False)) == rate(None, recipe)


def test_a_dense_arrangement_may_be_dense() -> None:
    density = Density(1.0)
    for step in range(500):
        density.strike(step)
    sparse, dense = (Arrangement(1.0, np.ones(5), per_s).most for per_s in (10.0, 40.0))
    assert density.fill(500, math.nan, sparse) == density.fill(500, math.nan)
    assert density.fill(500, math.nan, dense) == pytest.approx(499 / (4 * 60.0))
    assert Arrangement(1.0, np.ones(5)).most == 0.0


def test_families_that_are_left_out_lose_what_the_recipe_says() -> None:
    for seed in range(20):
        made = of_piece(plain_recipe(balance=1.0, left_out=6.5), None, None, None, np.random.default_rng(seed))
        assert (made.biases(0) == np.where(made.shares > 0, 0.0, -6.5)).all()


def test_an_arrangement_is_drawn_for_the_tempo_of_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[float | None] = []

    def drawn(*_: object, tempo_qpm: float | None = None, **__: object) -> Drawn:
        asked_for.append(tempo_qpm)
        return Drawn(np.full(5, 0.2), 9.0)

    monkeypatch.setattr("emsync.arrangement.drawn", drawn)
    for tempo in (100.0, None):
        compose(Fake(), [asked(3.0)], balance=1.0, tempo_qpm=tempo, song_tempi=True)
    assert asked_for == [100.0, None]


@pytest.mark.parametrize("given", [False, True])
def test_the_limit_of_notes_is_that_of_the_arrangement(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lowest: set[float] = set()
    true = Density.fill

    def fill(self: Density, step: int, arousal: float, at_least: float = 0.0) -> float:
        lowest.add(at_least)
        return true(self, step, arousal, at_least)

    monkeypatch.setattr(Density, "fill", fill)
    monkeypatch.setattr("emsync.arrangement.drawn", lambda *_, **__: Drawn(np.full(5, 0.2), 40.0))
    compose(Fake(), [asked(4.0)], balance=1.0, pace=1.0, song_tempi=given)
    assert lowest == {60.0 if given else 0.0}


def test_too_few_notes_become_likelier_and_too_many_unlikelier() -> None:
    def pace(per_s: float, seconds: float = 10.0, **more: float) -> float:
        made = Arrangement(1.0, np.ones(5), 20.0, **more)
        assert made.pace(0) == 0.0
        for step in np.arange(0, seconds, 1 / per_s) / v.STEP_S:
            made.strike(v.PIANO, round(step))
        return made.pace(round(seconds / v.STEP_S))

    assert pace(5.0) > pace(10.0) > 0.5
    assert pace(20.0) == pytest.approx(0, abs=0.1)
    assert pace(20.0, seconds=0.5) == pytest.approx(0, abs=0.1), "from the beginning"
    assert pace(80.0) < pace(40.0) < -0.5
    assert pace(10.0, pace=2.0) == pytest.approx(2 * pace(10.0))
    assert pace(10.0, pace=0.0) == 0.0
    assert -MOST_PACE * PACE <= pace(1000.0) < pace(0.1) <= MOST_PACE * PACE
    assert Arrangement(1.0, np.ones(5)).pace(100) == 0.0, "an arrangement without a number of notes"


@pytest.mark.parametrize(("pace", "moved"), [(2.0, True), (0.0, False)])
def test_pieces_have_as_many_notes_as_their_arrangements(
    pace: float, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for per_s in (4.0, 40.0):
        fixed = Drawn(np.full(5, 0.2), per_s if pace else None)
        monkeypatch.setattr("emsync.arrangement.drawn", lambda *_, fixed=fixed, **__: fixed)
        pieces = compose(Fake(), [asked(12.0), asked(12.0)], balance=1.0, pace=pace, seed=1)
        counts.append(sum(int((v.KIND[piece.events.ids] == v.K_ON).sum()) for piece in pieces))
    assert (counts[1] > 1.5 * counts[0]) is moved


def test_pieces_that_are_steered_have_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a user gives a density, it counts, and not that of an arrangement."""
    asked_at: list[int] = []

    def pace(self: Arrangement, step: int) -> float:
        asked_at.append(step)
        return 0.0

    monkeypatch.setattr(Arrangement, "pace", pace)
    for density, some in (("none", True), ("4", False)):
        asked_at.clear()
        compose(Fake(), [asked(4.0)], balance=1.0, pace=1.0, density=density)
        assert bool(asked_at) is some


def test_a_part_that_begins_later_has_lacked_nothing_yet() -> None:
    made = Arrangement(1.0, np.ones(5), 20.0)
    assert made.pace(5000) == 0.0
    assert made.pace(5500) > 1.0


def test_a_recipe_says_what_is_drawn_and_how_firmly_it_is_kept_to() -> None:
    ten = [shares for shares, _ in ARRANGEMENTS]
    for pace in (0.0, 1.0, 2.0):
        recipe = plain_recipe(balance=1.0, pace=pace)
        made = of_piece(recipe, None, None, None, np.random.default_rng(3))
        kept = np.round(made.shares, 9).tolist()
        one_of_ten = any(np.allclose(kept, Arrangement(1.0, np.array(shares)).shares, atol=1e-6) for shares in ten)
        assert one_of_ten is (pace == 0)
        assert (made.notes_per_s is None) is (pace == 0)
        assert made.pace(0) == 0.0
        assert made.pace(500) == pytest.approx(pace * PACE * MOST_PACE), "nothing has been played for four seconds"


@pytest.mark.parametrize("pace", [0.0, 1.0])
def test_the_floor_of_notes_is_that_of_the_arrangement(pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    highest: set[float] = set()
    true = Density.lack

    def lack(self: Density, step: int, arousal: float, at_most: float = math.inf) -> float:
        highest.add(at_most)
        return true(self, step, arousal, at_most)

    monkeypatch.setattr(Density, "lack", lack)
    monkeypatch.setattr("emsync.arrangement.drawn", lambda *_, **__: Drawn(np.full(5, 0.2), 5.0 if pace else None))
    compose(Fake(), [asked(4.0)], balance=1.0, pace=pace)
    assert highest == {LEAST_PACE * 5.0 if pace else math.inf}


def test_a_sparse_arrangement_may_be_sparse() -> None:
    """A floor for all music would fill it up."""
    density = Density(1.0, 1.5)
    assert density.lack(1000, math.nan) == 1.0
    density.strike(990)
    for per_s, lacks in ((2.0, True), (0.1, False)):
        assert (density.lack(1000, math.nan, Arrangement(1.0, np.ones(5), per_s).least) > 0) is lacks
    assert Arrangement(1.0, np.ones(5)).least == math.inf


def test_small_shares_are_left_out() -> None:
    for shares, _ in ARRANGEMENTS:
        expected = np.where(np.array(shares) < LEAST_SHARE, 0.0, shares)
        assert Arrangement(1.0, np.array(shares)).shares == pytest.approx(expected / expected.sum())


def test_without_an_arousal_arrangements_are_those_of_any_music() -> None:
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    for fitted in (True, False):
        found = [
            [drawn(a, copy.deepcopy(rng), fitted=fitted).shares.tolist() for rng in rngs]
            for a in (None, math.nan, 0.0, 0.7)
        ]
        assert found[0] == found[1] == found[2]
        assert (found[2] == found[3]) is fitted, "these are drawn whatever the arousal is"


def test_families_that_the_model_neglects_play() -> None:
    """A model that wants strings alone plays the others, too; as many notes, and without a balance it does not."""
    bias = np.where((v.KIND == v.K_ON) & (v.FAMILY != v.STRINGS), -4.0, 0.0)
    counts = []
    for balance in (0.0, 1.0):
        pieces = compose(Fake(bias=bias), [asked(20.0), asked(20.0)], balance=balance, seed=2)
        ids = np.concatenate([piece.events.ids for piece in pieces])
        counts.append(np.bincount(v.FAMILY[ids[v.KIND[ids] == v.K_ON]], minlength=len(v.FAMILIES)))
    without, with_balance = counts
    assert without[v.STRINGS] > 0.7 * without.sum()
    assert with_balance[v.STRINGS] < 0.6 * with_balance.sum()
    assert (with_balance[[v.DRUMS, v.BASS]] > without[[v.DRUMS, v.BASS]]).all()


def test_what_users_say_of_families_counts_alone() -> None:
    bias = np.where((v.KIND == v.K_ON) & (v.FAMILY == v.DRUMS), 2.0, 0.0)
    for choices in ({"instruments": "fewer"}, {"describe": "strings"}):
        composed = [compose(Fake(bias=bias), [asked(8.0)], balance=balance, **choices)[0] for balance in (0.0, 1.0)]
        assert np.array_equal(composed[0].events.ids, composed[1].events.ids)


def test_a_piece_that_follows_a_mood_is_not_arranged() -> None:
    """Held to an arrangement, it would follow the mood less (docs/decisions/0036)."""
    bias = np.where((v.KIND == v.K_ON) & (v.FAMILY == v.DRUMS), 2.0, 0.0)
    sad = asked(8.0, piece_arousal=-0.5)
    for strength, same in ((2.0, True), (0.0, False)):
        with_balance, without = (
            compose(Fake(bias=bias), [sad], balance=balance, mood_strength=strength)[0] for balance in (1.0, 0.0)
        )
        assert np.array_equal(with_balance.events.ids, without.events.ids) is same


def written(seed: int = 0, plan: Plan | None = None, **choices: object) -> Writer:
    recipe = plain_recipe(balance=1.0, tempo_qpm=120.0, **choices)
    return Writer(asked(8.0), recipe, np.random.default_rng(seed), plan=plan)


def test_the_family_of_a_theme_always_plays() -> None:
    plan = Plan(theme=Theme.of_score(reduced(tune())))
    without, with_theme = (
        [
            writer.arrangement.shares[v.STRINGS] / writer.arrangement.shares.max()
            for writer in writers
            if writer.arrangement
        ]
        for writers in ((written(seed) for seed in range(12)), (written(seed, plan) for seed in range(12)))
    )
    assert len(without) == 12
    assert min(without) < 0.2
    assert with_theme == [1.0] * 12


def test_a_piece_that_is_like_another_has_its_arrangement(song: Path) -> None:
    like = reference.read(song)
    writer = written(like=like)
    assert writer.arrangement is not None
    assert writer.arrangement.shares == pytest.approx(np.array(like.shares) / sum(like.shares), abs=0.03)


@pytest.mark.parametrize(("keeps_shares", "arranged"), [(True, True), (False, False)])
def test_a_piece_that_is_like_another_keeps_its_arrangement_in_a_mood(
    song: Path, keeps_shares: bool, arranged: bool
) -> None:
    recipe = plain_recipe(balance=1.0, mood_strength=2.0, like=reference.read(song), keeps_shares=keeps_shares)
    writer = Writer(asked(8.0, piece_arousal=-0.5), recipe, np.random.default_rng(0))
    assert (writer.arrangement is not None) is arranged
