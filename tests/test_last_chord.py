"""A piece ends on its tonic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from emsync import composer
from emsync import vocabulary as v
from emsync.conditions import Conditions
from emsync.grammar import Grammar
from emsync.grammar.fixed import FixedGrammar
from emsync.keys import Key
from emsync.mood import MoodCurve
from emsync.progression import DOMINANT, Progression
from emsync.recipe import Recipe
from emsync.tonality import Tonality
from tests.fakes import Fake, plain_recipe

FLAT, ALL = np.zeros(v.SIZE, dtype=np.float32), np.ones(v.SIZE, dtype=bool)
SECOND = int(np.flatnonzero((v.KIND == v.K_TIMESHIFT) & (v.VALUE == 125))[0])
C_MAJOR = Key(0, is_minor=False)


def heard(seconds: dict[int, int], valence: float, own: Key | None = C_MAJOR, **choices: Any) -> Tonality:
    """A piece in which pitch classes have sounded for so many seconds."""
    found = Tonality(Recipe(**choices), np.random.default_rng(0), own)
    for bar in range(4):
        found.begin_bar(125 * bar, valence, begins=bar == 0)
    for tone, lasts in seconds.items():
        on = int(v.ON_BASE[v.PIANO]) + 60 + tone
        for event in (on, *[SECOND] * lasts, int(v.PARTNER[on])):
            found.accept(event)
    return found


def classes(found: Tonality, family: int = v.PIANO, chord: tuple[int, ...] = (), **more: Any) -> set[int]:
    """The pitch classes of a family that make up nearly all of its last chord."""
    p = np.exp(found.lean(FLAT, ALL, chord=[int(v.ON_BASE[v.PIANO]) + x for x in chord], ends=True, **more))
    own = (v.KIND == v.K_ON) & (v.FAMILY == family)
    shares = np.bincount(v.VALUE[own] % 12, weights=p[own], minlength=12)
    return set(np.flatnonzero(shares > 0.1 * shares.sum()).tolist())


IN_C = {0: 6, 4: 4, 7: 5, 5: 2, 9: 1}
IN_A_MINOR = {9: 8, 0: 3, 4: 4, 2: 1}


def test_the_last_chord_is_that_of_the_key() -> None:
    found = heard(IN_C, 0.8)
    assert classes(found) == classes(found, v.STRINGS) == {0, 4, 7}
    assert classes(found, v.BASS) == {0}
    assert classes(found, chord=(60, 67)) == {4}, "what it lacks comes first"
    assert classes(heard({0: 6, 3: 4, 7: 5}, -0.8)) == {0, 3, 7}
    assert classes(found, step=10_000) == {0, 4, 7}, "however long the bar's own chord has not been heard"
    assert classes(found, spared=[v.PIANO]) == {0, 4, 7}, "an accompaniment that returns ends with it"


def test_a_piece_that_has_moved_to_its_relative_ends_there() -> None:
    assert classes(heard(IN_A_MINOR, 0.1)) == {9, 0, 4}
    assert classes(heard(IN_A_MINOR, 0.1, key="C")) == {0, 4, 7}, "the user's own key stays"


def test_a_piece_without_a_key_ends_in_the_one_that_was_heard() -> None:
    assert classes(heard({2: 6, 5: 4, 9: 5}, math.nan, None)) == {2, 5, 9}
    left = heard({2: 6, 5: 4, 9: 5}, -0.8)  # in C minor, until the mood ends
    left.begin_bar(500, math.nan)
    assert classes(left) == {2, 5, 9}
    silent = heard({}, math.nan, None)
    assert silent.lean(FLAT, ALL, chord=[], ends=True) is FLAT


@pytest.mark.parametrize("valence", [0.8, -0.8])
def test_the_dominant_leads_to_the_last_chord(valence: float) -> None:
    def before_the_end(*, leads_home: bool, **choices: Any) -> Tonality:
        found = Tonality(Recipe(mode_strength=3.0, **choices), np.random.default_rng(0), C_MAJOR)
        found.begin_bar(0, valence, begins=True, leads_home=leads_home)
        return found

    def classes_of(found: Tonality) -> set[int]:
        p = np.exp(found.lean(FLAT, ALL))
        own = (v.KIND == v.K_ON) & (v.FAMILY == v.PIANO)
        shares = np.bincount(v.VALUE[own] % 12, weights=p[own], minlength=12)
        return set(np.flatnonzero(shares > 0.1 * shares.sum()).tolist())

    assert classes_of(before_the_end(leads_home=True)) == {7, 11, 2}
    tonic = {0, 4 if valence > 0 else 3, 7}
    assert classes_of(before_the_end(leads_home=False)) == tonic
    assert classes_of(before_the_end(leads_home=True, final_tonic=0.0)) == tonic


def test_a_loop_goes_on_behind_a_dominant() -> None:
    plain, other = (Progression(np.random.default_rng(3)) for _ in range(2))
    for bar in range(6):
        expected = plain.begin_bar("A", is_minor=False, valence=0.5, begins=bar == 0)
        found = other.begin_bar("A", is_minor=False, valence=0.5, begins=bar == 0, leads_home=bar == 2)
        assert found == (DOMINANT if bar == 2 else expected)


def test_the_last_bar_is_known_unless_a_cut_comes_later() -> None:
    def grammar(*boundaries: int, lands: bool = True) -> Grammar:
        found = Grammar(
            Recipe(grid="free", hits="exact" if lands else "free"), end_step=600, boundaries=boundaries, beat_steps=62.5
        )
        for event in (v.ID_OF["BAR_4"], v.ON_BASE[v.DRUMS] + 36, *[v.SHIFT_BASE + 125] * 2):
            found.accept(int(event))
        return found

    begun = grammar()
    assert begun.state.closing == 250
    assert begun.leads_home
    assert grammar(250).leads_home
    assert not grammar(350).leads_home
    assert grammar(350, lands=False).leads_home
    begun.state.closing = 500
    assert not begun.leads_home
    begun.state.closing = None
    assert not begun.leads_home


def test_keys_have_numbers() -> None:
    for key, number in (
        (C_MAJOR, 0),
        (Key(11, is_minor=False), 11),
        (Key(0, is_minor=True), 12),
        (Key(9, is_minor=True), 21),
    ):
        assert key.number == number
        assert Key.of_number(number) == key
    assert C_MAJOR.relative == Key(9, is_minor=True)
    assert C_MAJOR.relative.relative == C_MAJOR


@pytest.mark.parametrize("choices", [{"mode": "off"}, {"final_tonic": 0.0}])
def test_the_last_chord_may_be_any(choices: dict[str, Any]) -> None:
    found = heard(IN_C, math.nan, None, heard_thirds=0.0, settled_key=0.0, **choices)
    assert found.lean(FLAT, ALL, chord=[], ends=True) is FLAT


def test_other_chords_are_left_alone() -> None:
    found = heard(IN_C, 0.8)
    assert (found.lean(FLAT, ALL) != found.lean(FLAT, ALL, ends=True)).any()
    before = heard(IN_C, 0.8, final_tonic=0.0)
    assert found.lean(FLAT, ALL) == pytest.approx(before.lean(FLAT, ALL))
    assert found.lean(FLAT, ALL, ends=False) == pytest.approx(before.lean(FLAT, ALL, ends=True))


@pytest.mark.slow
def test_a_composed_piece_ends_on_its_tonic() -> None:
    def share(final_tonic: float) -> float:
        return float(np.mean([ends(seed, final_tonic) for seed in range(4)]))

    def ends(seed: int, final_tonic: float) -> bool:
        """Whether all that sounds at the end is of the tonic triad."""
        moods = MoodCurve(np.array([0.0, 16.0]), np.full(2, -0.8 if seed % 2 else 0.8), np.zeros(2))
        third, sixth = (3, 8) if seed % 2 else (4, 9)
        fourth = {5: 3.0, sixth: 3.0, 0: 2.0, third: 2.0, 7: 2.0}  # the model plays the subdominant
        likes = np.where(v.KIND == v.K_ON, np.array([fourth.get(pitch % 12, 0.0) for pitch in v.VALUE]), 0.0)
        recipe = plain_recipe(
            seed=seed, finish="on", grid="sixteenths", tempo_qpm=120.0, key="C", mode="auto", final_tonic=final_tonic
        )
        asked = Conditions(np.array([]), end_s=16.0, valence=(moods.times_s, moods.valence), arousal=0.0)
        fake = Fake(bias=likes)
        fake.knows_mood = True
        (piece,) = composer.compose(fake, [asked], recipe)
        score = composer.score_of(piece, 16.0)
        last = (score.instrument != v.DRUMS) & (score.end_s > 15.5)
        return set((score.pitch[last] % 12).tolist()) <= {0, third, 7}

    assert share(12.0) > 0.7 > 0.3 > share(0.0)


def test_beside_notes_that_stay_the_last_chord_is_theirs() -> None:
    def grammar(*events: int) -> FixedGrammar:
        fixed = [(0, int(v.ID_OF["BAR_4"])), *((0, event) for event in events)]
        return FixedGrammar(Recipe(), 1000, fixed, beat_steps=62, families=frozenset({v.PIANO}), closes=True)

    for each, ends in ((grammar(), True), (grammar(int(v.ON_BASE[v.BASS]) + 40), False)):
        assert not each.ends
        each.accept(int(v.ID_OF["BAR_4"]))
        each.state.closing = each.next_bar()
        assert each.state.closing is not None
        assert each.leads_home is ends
        each.state.closed = True
        assert each.ends is ends
    plain = Grammar(Recipe(), end_step=1000, beat_steps=62)
    assert not plain.ends
    plain.state.closed = True
    assert plain.ends
