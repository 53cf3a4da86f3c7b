"""Biases towards the places, lengths, steps, drums and pitch classes of real songs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emsync import profiles
from emsync import vocabulary as v
from emsync.grammar import Grammar
from emsync.recipe import Recipe
from emsync.texture import KEPT, Texture
from tests.composing import asked, compose
from tests.fakes import Fake

BEAT = 60.0
NONE = np.zeros(v.SIZE, dtype=bool)  # no note may begin, so nothing is given back
SNARE, TOM, CRASH, CONGA = 38, 45, 49, 64


def on(family: int, pitch: int) -> int:
    return v.ON_BASE[family] + pitch


def leaning(
    texture: Texture, since: dict[int, int] | None = None, step: float = 0, sixteenths: float = math.nan
) -> np.ndarray:
    return texture.lean(np.zeros(v.SIZE, dtype=np.float32), NONE, since or {}, round(step), BEAT, sixteenths)


def test_places_are_those_of_a_bar_of_four_beats() -> None:
    for place in (0, 4, 13):
        bias = profiles.at_place(place)
        assert bias[on(v.DRUMS, SNARE)] == pytest.approx(profiles.DRUM_PLACES[place])
        assert bias[on(v.BASS, 40)] == bias[on(v.PIANO, 60)] == pytest.approx(profiles.PITCHED_PLACES[place])
        assert not bias[~(v.KIND == v.K_ON)].any()
    np.testing.assert_array_equal(profiles.at_place(20), profiles.at_place(4))


def test_places_are_added_where_a_sixteenth_begins() -> None:
    texture = Texture(0.0, 2.0)
    np.testing.assert_allclose(leaning(texture, sixteenths=4.0), 2 * profiles.at_place(4))
    assert not leaning(texture).any()


def test_drums_gain_on_the_backbeat_and_lose_just_before_the_bar_ends() -> None:
    snare = [float(profiles.at_place(place)[on(v.DRUMS, SNARE)]) for place in range(16)]
    assert min(snare[4], snare[12]) > max(snare[0], snare[8]) > 0
    assert min(snare) == snare[14] < 0


def test_toms_lose_and_percussion_gains() -> None:
    bias = profiles.at_place(0)
    tom, snare, crash, conga = (float(bias[on(v.DRUMS, drum)]) for drum in (TOM, SNARE, CRASH, CONGA))
    assert tom < snare < crash < conga


def test_notes_of_a_quarter_end_and_only_strings_last() -> None:
    quarter = profiles.at_end(v.GUITAR, 1.0)
    assert quarter == profiles.at_end(v.STRINGS, 1.0) == max(gain for _, gain in profiles.ENDS)
    assert profiles.at_end(v.GUITAR, 0.25) == 0
    assert profiles.at_end(v.GUITAR, 3.5) == pytest.approx(1.5 * profiles.LONG)
    assert profiles.at_end(v.STRINGS, 3.5) == 0


def test_melodies_step_around_the_highest_note_of_their_family() -> None:
    texture = Texture(0.0, 2.0)
    for event in (on(v.PIANO, 60), on(v.PIANO, 72), on(v.BASS, 40)):
        texture.strike(event, 0)
    found = leaning(texture, step=10)
    even = found[on(v.PIANO, 90)]  # as far as no step
    for step, gain in profiles.STEPS.items():
        assert found[on(v.PIANO, 72 + step)] - found[on(v.STRINGS, 72 + step)] == pytest.approx(2 * gain), step
    assert found[on(v.PIANO, 61)] == found[on(v.STRINGS, 61)], "not around the lower note"
    assert found[on(v.BASS, 41)] == found[on(v.STRINGS, 41)], "not in the bass"
    assert found[on(v.DRUMS, 41)] == 0
    assert even == 0
    edge = v.PITCH_RANGE[v.PIANO][1] - 1
    near, _ = profiles.after(on(v.PIANO, edge))
    assert set(v.FAMILY[near]) == {v.PIANO}
    assert set(v.KIND[near]) == {v.K_ON}


def test_a_pitch_class_that_dominates_loses() -> None:
    even = profiles.Evenness()
    assert not even.bias().any()
    for pitch in range(48, 84):
        even.strike(pitch)
    assert not even.bias().any(), "all alike"
    for _ in range(40):
        even.strike(60)
    bias = even.bias()
    assert bias[0] < -0.5
    assert not bias[1:].any()
    for pitch in (62, 64, 65, 67, 69, 71) * 15:
        even.strike(pitch)
    assert even.bias()[0] == 0, "what was long ago is forgotten"


def test_half_of_what_pitched_notes_lose_is_given_back() -> None:
    texture = Texture(0.0, 1.0)
    for _ in range(60):
        texture.strike(on(v.BASS, 36), 0)
    c = (v.KIND == v.K_ON) & (v.FAMILY == v.PIANO) & (v.VALUE % 12 == 0)
    logits = np.zeros(v.SIZE, dtype=np.float32)
    found = texture.lean(logits, c, {}, 10, BEAT, math.nan)
    lost = leaning(texture, step=10)[on(v.PIANO, 60)]
    assert lost < -0.5
    assert found[on(v.PIANO, 60)] == pytest.approx((1 - KEPT) * lost, abs=1e-5)


def test_without_a_strength_nothing_changes() -> None:
    texture = Texture(0.0, 0.0)
    texture.strike(on(v.PIANO, 60), 0)
    logits = np.zeros(v.SIZE, dtype=np.float32)
    assert texture.lean(logits, NONE, {on(v.PIANO, 60): 0}, 9, BEAT, 1) is logits
    only, both = Texture(1.0), Texture(1.0, 0.0)
    for each in (only, both):
        each.strike(on(v.PIANO, 60), 0)
    np.testing.assert_array_equal(
        leaning(only, {on(v.PIANO, 60): 0}, 200, 3), leaning(both, {on(v.PIANO, 60): 0}, 200, 3)
    )


@pytest.mark.parametrize(("strength", "family", "beats"), [(1.0, "STRINGS", 8), (1.0, "PIANO", 4), (0.0, "STRINGS", 4)])
def test_how_long_the_grammar_lets_a_note_last(strength: float, family: str, beats: int) -> None:
    recipe = Recipe(grid="sixteenths", loose_ends=False, finish="off", profiles=strength)
    grammar = Grammar(recipe, 3000, np.zeros(0), beat_steps=BEAT)
    note = on(getattr(v, family), 60)
    grammar.accept(v.BAR_BASE + 8)
    grammar.accept(note)
    while grammar.step < 10 * BEAT and not (grammar.allowed()[v.PARTNER[note]] and grammar.allowed().sum() == 1):
        allowed = np.flatnonzero(grammar.allowed())
        shifts = allowed[v.KIND[allowed] == v.K_TIMESHIFT]
        grammar.accept(int(shifts[-1]) if len(shifts) else v.BAR_BASE + 8)
    assert grammar.step == beats * BEAT


def test_what_plays_a_theme_holds_nothing_for_two_bars() -> None:
    grammar = Grammar(Recipe(), 3000, np.zeros(0), beat_steps=BEAT)
    assert grammar.state.lasting == {v.STRINGS}
    grammar.open_up(v.STRINGS)
    assert not grammar.state.lasting


def test_pieces_of_one_pitch_class_turn_to_others() -> None:
    """Of a fake that prefers C."""
    notes = v.KIND == v.K_ON
    biased = np.where(notes & (v.VALUE % 12 == 0) & (v.FAMILY != v.DRUMS), 3.0, 0.0)
    shares = []
    for strength in (0.0, 4.0):
        choices = {"grid": "sixteenths", "tempo_qpm": 120.0, "profiles": strength, "stale_bias": 0.0, "mode": "off"}
        (piece,) = compose(Fake(bias=biased), [asked(60.0)], **choices)
        ids = piece.events.ids
        pitched = ids[(v.KIND[ids] == v.K_ON) & (v.FAMILY[ids] != v.DRUMS)]
        shares.append(float((v.VALUE[pitched] % 12 == 0).mean()))
    assert shares[1] < shares[0] - 0.1, shares
