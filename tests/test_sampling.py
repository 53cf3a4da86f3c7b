"""Drawing the next event: temperature and top-p by kind, and what makes repetition less probable."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.composer import beat_of
from emsync.recipe import Recipe
from emsync.repetition import FREE_REPEATS, FRESH_BARS, STILL_SHARE, RepeatedNotes
from emsync.sampling import draw
from emsync.tokenizer.events import times_steps
from tests.composing import FILM, asked, compose
from tests.fakes import SIZE, Fake, plain_recipe


@pytest.mark.slow
def test_chords_off_the_boundaries_are_rarer_where_the_grammar_lands_them() -> None:
    def strays(land: Any, **settings: float) -> int:
        choices: dict[str, Any] = {"chord_bias": 4.0, **settings}
        pieces = compose(Fake(), [asked(12.0, 8.0)] * 3, seed=3, hits=land, **choices)
        return sum(len(piece.chords_s) - len(piece.boundaries_s) for piece in pieces)

    assert strays("exact", stray_bias=-6.0) < strays("exact", stray_bias=0.0)
    assert strays("free", stray_bias=-6.0) == strays("free", stray_bias=0.0)


@pytest.mark.slow
def test_no_pitch_is_repeated_endlessly() -> None:
    """A model that likes one note of the strings and sixteenths, and a bias that makes it stop."""
    note = int(v.ON_BASE[v.STRINGS]) + 60
    steps = beat_of(120.0)
    bias = np.where(np.arange(SIZE) == note, 18.0, np.where((v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS), -9.0, 0.0))
    bias[v.SHIFT_BASE + steps // 4] = 12.0
    bias[v.ids_of_kind(v.K_OFF)] = 18.0

    def longest(**biases: float) -> int:
        choices: dict[str, Any] = {"stale_bias": 0.0, **biases}
        (piece,) = compose(Fake(bias=bias), [asked(40.0)], seed=3, **choices, tempo_qpm=120.0, grid="sixteenths")
        at = times_steps(piece.events.ids)[piece.events.ids == note]
        run = most = 0
        for gap in np.diff(at).tolist():
            run = run + 1 if gap <= 0.55 * steps else 0
            most = max(most, run)
        return most

    free = FREE_REPEATS[v.STRINGS]
    assert longest(repeat_bias=0.0) > 4 * free
    assert free <= longest(repeat_bias=-30.0) <= free + 1
    assert longest(repeat_bias=-30.0) < longest(repeat_bias=-1.0) < longest(repeat_bias=0.0)


def test_a_pitch_that_rested_is_as_free_as_any() -> None:
    beat, free = beat_of(120.0), FREE_REPEATS[v.PIANO]
    note, drum = int(v.ON_BASE[v.PIANO]) + 60, int(v.ON_BASE[v.DRUMS]) + 42
    repeated, step = RepeatedNotes(), 0
    for i in range(free + 3):  # eighths
        step = i * beat // 2
        repeated.strike(note, step, beat)
        repeated.strike(drum, step, beat)  # drums may
        assert repeated.excess(step, beat) == ([(note, i - free)] if i > free else [])
    step += math.floor(0.55 * beat)
    assert repeated.excess(step, beat) == [(note, 2)]
    step += 1
    assert repeated.excess(step, beat) == []
    repeated.strike(note, step, beat)
    assert repeated.excess(step, beat) == []


def test_a_static_harmony_becomes_stale() -> None:
    """A model that likes four pitches of the strings, and a bias that has the others come after a while."""
    liked = [int(v.ON_BASE[v.STRINGS]) + pitch for pitch in (60, 64, 67, 72)]
    pitched = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
    bias = np.where(np.isin(np.arange(SIZE), liked), 9.0, np.where(pitched, -30.0, 0.0))

    def longest(seed: int, stale_bias: float) -> int:
        """So many bars in a row brought next to nothing that the bar before had not."""
        choices: dict[str, Any] = {"stale_bias": stale_bias, "repeat_bias": 0.0, "loose_bias": -9.0}
        (piece,) = compose(Fake(bias=bias), [asked(40.0)], seed=seed, **choices, tempo_qpm=120.0, grid="sixteenths")
        ids = piece.events.ids
        bar = np.cumsum(v.KIND[ids] == v.K_BAR)
        run = most = 0
        before: set[int] = set()
        for number in range(1, int(bar[-1]) + 1):
            struck = set(ids[(bar == number) & pitched[ids]].tolist())
            if struck:
                run = run + 1 if len(struck & before) >= STILL_SHARE * len(struck) else 0
                most, before = max(most, run), struck
        return most

    seeds = range(1, 3)
    assert max(longest(seed, 0.0) for seed in seeds) > 2 * (FRESH_BARS + 1)
    assert max(longest(seed, -40.0) for seed in seeds) == FRESH_BARS + 1
    same = [compose(Fake(), [FILM], seed=4, stale_bias=x)[0].events.ids.tolist() for x in (0, -1e-9)]
    assert same[0] == same[1]


def frequencies(logits: np.ndarray, allowed: np.ndarray, recipe: Recipe, n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.bincount([draw(logits, allowed, rng, recipe, recipe.chord_bias) for _ in range(n)], minlength=SIZE) / n


def some_events() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, what is allowed, and the probabilities of those by their definition."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=SIZE).astype(np.float32)
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[[v.CHORD, v.BAR_BASE + 8, v.SHIFT_BASE + 1, v.SHIFT_BASE + 125]] = True
    allowed[v.ON_BASE[v.PIANO] + 60 : v.ON_BASE[v.PIANO] + 66] = True
    logits[~allowed] += 20  # what is forbidden does not matter, however likely
    p = np.where(allowed, np.exp(logits.astype(np.float64)), 0)
    return logits, allowed, p / p.sum()


def close(found: np.ndarray, expected: np.ndarray, n: int = 4000) -> bool:
    """Within five standard deviations, everywhere."""
    return bool((np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all())


def test_draws_follow_the_distribution() -> None:
    logits, allowed, p = some_events()
    assert close(frequencies(logits, allowed, plain_recipe(top_p=1.0, chord_bias=0.0)), p)
    hot = np.where(allowed, p**0.5, 0)
    assert close(
        frequencies(logits, allowed, plain_recipe(temperature=2.0, top_p=1.0, chord_bias=0.0)), hot / hot.sum()
    )


def test_chord_is_drawn_a_tenth_as_often_as_its_logit_says() -> None:
    logits, allowed, p = some_events()
    p = np.where(np.arange(SIZE) == v.CHORD, p / 10, p)
    assert close(frequencies(logits, allowed, plain_recipe(top_p=1.0)), p / p.sum())


def test_top_p_keeps_the_smallest_set_of_each_kind() -> None:
    allowed = v.KIND == v.K_ON
    logits = np.full(SIZE, -20.0, dtype=np.float32)
    best = [int(v.ON_BASE[v.PIANO]) + pitch for pitch in (60, 64, 67, 72)]
    shares = [0.5, 0.3, 0.15, 0.05]
    logits[best] = np.log(shares)
    for top_p, kept in ((0.4, 1), (0.79, 2), (0.81, 3), (0.949, 3), (0.96, 4)):
        found = frequencies(logits, allowed, plain_recipe(top_p=top_p), 1000)
        assert np.flatnonzero(found).tolist() == best[:kept]
        expected = np.zeros(SIZE)
        expected[best[:kept]] = np.array(shares[:kept]) / sum(shares[:kept])
        assert close(found, expected, 1000)


def test_top_p_keeps_rare_kinds() -> None:
    """A BAR that is never likely at any one moment must come all the same, now and then."""
    logits, allowed, p = some_events()
    logits[v.BAR_BASE + 8] -= 1.0
    p[v.BAR_BASE + 8] *= np.exp(-1.0)
    p /= p.sum()
    assert p[v.BAR_BASE + 8] < 0.05
    found = frequencies(logits, allowed, plain_recipe(top_p=0.3, chord_bias=0.0))
    for kind in np.unique(v.KIND[allowed]):
        assert close(found[v.KIND == kind].sum(), p[v.KIND == kind].sum())


def test_a_kind_may_have_its_own_temperature() -> None:
    """It decides within the kind, and leaves alone how often the kind comes."""
    logits, allowed, p = some_events()
    cold = plain_recipe(top_p=1.0, chord_bias=0.0, by_kind={"ON": (0.001, 1.0)})
    found = frequencies(logits, allowed, cold)
    is_on = allowed & (v.KIND == v.K_ON)
    likeliest = np.flatnonzero(is_on)[np.argmax(p[is_on])]
    expected = np.where(is_on, 0, p)
    expected[likeliest] = p[is_on].sum()
    assert close(found, expected)
    narrow = frequencies(logits, allowed, plain_recipe(top_p=1.0, chord_bias=0.0, by_kind={"ON": (1.0, 0.01)}))
    assert close(narrow, expected)


def test_kinds_temperatures_reach_the_piece() -> None:
    """TIMESHIFT at its coldest: always the likeliest of the allowed ones."""
    always_short = 5.0 * (np.arange(SIZE) == v.SHIFT_BASE + 25)
    (piece,) = compose(Fake(bias=always_short), [asked(6.0)], seed=0, by_kind={"TIMESHIFT": (0.01, 1.0)})
    shifts = v.SHIFT_STEPS[piece.events.ids]
    assert (shifts[shifts > 0] == 25).mean() > 0.9


def test_the_only_event_is_taken_without_chance() -> None:
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[v.END] = True
    rng = np.random.default_rng(0)
    assert draw(np.zeros(SIZE, dtype=np.float32), allowed, rng, plain_recipe(), plain_recipe().chord_bias) == v.END
    assert rng.random() == np.random.default_rng(0).random()


def test_extreme_logits_are_drawn_from() -> None:
    logits = np.full(SIZE, -1e30, dtype=np.float32)
    allowed = v.KIND == v.K_ON
    drawn = draw(logits, allowed, np.random.default_rng(0), plain_recipe(), plain_recipe().chord_bias)
    assert allowed[drawn]
    logits[v.ON_BASE[v.BASS] + 40] = 1e30
    assert (
        draw(logits, allowed, np.random.default_rng(0), plain_recipe(), plain_recipe().chord_bias)
        == v.ON_BASE[v.BASS] + 40
    )
