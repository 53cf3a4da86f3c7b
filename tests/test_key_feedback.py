"""Music whose pitch classes fit another key better leans back towards the key that was requested."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emsync import composer, controls
from emsync import vocabulary as v
from emsync.control_curves import Control, ControlCurves, of_text
from emsync.controls import PROFILES
from emsync.grammar import Grammar
from emsync.key_feedback import GAIN, MOST, KeyFeedback
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.sounded import LEAST_S, MARGIN, Sounded, towards
from emsync.steering import Steering
from tests.composing import asked
from tests.fakes import Fake, plain_recipe

LENGTH_S = 16.0
C, A, G = 0, 9, 7
A_MINOR = np.zeros(12)
A_MINOR[[9, 0, 4, 2, 11]] = 6.0, 3.0, 4.0, 1.0, 1.0


def key(name: str) -> int:
    return int(of_text("key", name))


def fit(sounded: np.ndarray, number: int) -> float:
    return float(np.corrcoef(sounded, PROFILES[number])[0, 1])


def fits_of(sounded: np.ndarray) -> np.ndarray:
    return np.array([fit(sounded, number) for number in range(24)])


def test_the_pull_raises_the_lead_of_the_requested_key() -> None:
    asked_for, other = key("C"), key("A minor")
    assert fit(A_MINOR, other) > fit(A_MINOR, asked_for)
    gains = pull(fits_of(A_MINOR), asked_for)
    assert gains[C] > 1.0
    assert gains[G] > 0.5
    assert gains[A] < -1.0
    assert np.abs(gains).max() <= MOST
    moved = A_MINOR + gains
    assert fit(moved, asked_for) - fit(moved, other) > fit(A_MINOR, asked_for) - fit(A_MINOR, other)


def test_a_key_that_leads_clearly_is_left_alone() -> None:
    chroma = PROFILES[key("C")] + 1.0
    assert fit(chroma, key("C")) - max(fit(chroma, k) for k in range(24) if k != key("C")) > MARGIN
    assert not pull(fits_of(chroma), key("C")).any()
    assert pull(np.zeros(24), key("C")).any()  # none leads


def test_fits_are_correlations_of_what_sounded() -> None:
    sounded = Sounded(memory_s=1e6)
    assert sounded.fits() is None
    a, c, drum = (int(v.ON_BASE[family]) + pitch for family, pitch in ((v.PIANO, 57), (v.BASS, 36), (v.DRUMS, 38)))
    second = int(np.flatnonzero((v.KIND == v.K_TIMESHIFT) & (v.VALUE == 125))[0])
    for event in (drum, a, second, c, second, int(v.PARTNER[c]), second):
        sounded.accept(event)
    lengths = np.bincount([9, 9, 9, 0], minlength=12)
    assert sounded.seconds == pytest.approx(lengths, rel=1e-3)
    assert sounded.fits() == pytest.approx(fits_of(lengths))
    sounded.forget()
    sounded.accept(second)
    assert sounded.seconds == pytest.approx(np.bincount([9], minlength=12), rel=1e-3)  # it still sounds


def test_what_sounded_is_forgotten_with_the_time_constant() -> None:
    sounded = Sounded(memory_s=2.0)
    a = int(v.ON_BASE[v.PIANO]) + 57
    second = int(np.flatnonzero((v.KIND == v.K_TIMESHIFT) & (v.VALUE == 125))[0])
    for event in (a, *[second] * 30):
        sounded.accept(event)
    assert sounded.seconds[9] == pytest.approx(2.0, rel=1e-3)
    for event in (int(v.PARTNER[a]), second, second):
        sounded.accept(event)
    assert sounded.seconds[9] == pytest.approx(2.0 * np.exp(-1.0), rel=1e-3)


def pull(fits: np.ndarray, number: int) -> np.ndarray:
    return towards(fits, number, gain=GAIN, most=MOST)


def heard(feedback: KeyFeedback, *pitches: int, steps: int) -> Grammar:
    """A grammar in which pitches sound for some steps, of which the feedback has been given every event."""
    grammar = Grammar(Recipe(grid="free"), end_step=10_000, beat_steps=64)
    length = int(np.flatnonzero((v.KIND == v.K_TIMESHIFT) & (v.VALUE == 10))[0])
    events = [v.ID_OF["BAR_4"], *(int(v.ON_BASE[v.STRINGS]) + p for p in sorted(pitches))]
    events += [length] * (steps // 10)
    for event in events:
        grammar.accept(int(event))
        feedback.accept(int(event))
    return grammar


def steered(feedback: KeyFeedback, grammar: Grammar) -> np.ndarray:
    out = np.zeros(v.SIZE)
    feedback.steer(out, grammar)
    return out


def test_what_sounds_counts_by_its_length() -> None:
    feedback = KeyFeedback(Control(np.array([0.0]), np.array([float(key("C"))]), held=True))
    grammar = heard(feedback, 57, 60, 64, steps=250)
    out = steered(feedback, grammar)
    assert out[v.ON_BASE[v.PIANO] + 67] > 0 > out[v.ON_BASE[v.PIANO] + 69]
    assert out[v.ON_BASE[v.BASS] + 45] == out[v.ON_BASE[v.PIANO] + 69]
    assert not out[v.FAMILY == v.DRUMS].any()
    assert not out[v.KIND != v.K_ON].any()
    short = KeyFeedback(Control(np.array([0.0]), np.array([float(key("C"))]), held=True))
    assert not steered(short, heard(short, 57, steps=int(LEAST_S / v.STEP_S) - 20)).any()


def test_strength_and_gaps() -> None:
    def out(value: float, strength: float) -> np.ndarray:
        feedback = KeyFeedback(Control(np.array([0.0]), np.array([value]), strength, held=True))
        return steered(feedback, heard(feedback, 57, 60, 64, steps=250))

    whole = out(float(key("C")), 1.0)
    assert whole.any()
    assert out(float(key("C")), 0.5) == pytest.approx(whole / 2)
    assert not out(math.nan, 1.0).any()


def test_another_key_begins_anew() -> None:
    keys = np.array([float(key("C")), float(key("F# minor"))])
    feedback = KeyFeedback(Control(np.array([0.0, 1.0]), keys, held=True))
    early = Grammar(Recipe(grid="free"), end_step=10_000, beat_steps=64)
    grammar = heard(feedback, 57, 60, 64, steps=250)
    assert early.step * v.STEP_S < 1.0 < grammar.step * v.STEP_S
    assert steered(feedback, early).any()
    assert not steered(feedback, grammar).any()


def test_the_tonic_gains_less_where_keys_are_heard() -> None:
    curves = ControlCurves({"key": Control(np.array([0.0]), np.array([float(key("C"))]), held=True)})
    grammar = Grammar(Recipe(grid="free"), end_step=10_000, beat_steps=64)
    grammar.accept(v.ID_OF["BAR_4"])
    heard, unheard = (
        Steering(curves, hears_key=hears).steer(np.zeros(v.SIZE, dtype=np.float32), grammar)[v.ON_BASE[v.PIANO] + 60]
        for hears in (True, False)
    )
    assert 0 < heard < 0.5 * unheard


def accuracy(score: Score, number: int) -> float:
    found = controls.of_score(score, LENGTH_S)["key"].at(controls.frame_times(LENGTH_S))
    return float((found == number).mean())


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a control", "a key and a mode"])
def test_a_piece_is_heard_in_the_requested_key_although_the_model_plays_its_relative(by: str) -> None:
    likes = np.where(v.KIND == v.K_ON, np.array([{9: 2.5, 4: 1.5, 0: 0.5}.get(p % 12, 0.0) for p in v.VALUE]), 0.0)
    likes[v.ID_OF["BAR_4"]] = 50.0
    curves = ControlCurves({"key": Control(np.array([0.0]), np.array([float(key("C"))]), held=True)})
    asks = {"controls": curves} if by == "a control" else {"key": "C", "mode": "major", "mode_strength": 0.3}

    def composed(*, feedback: bool) -> Score:
        recipe = plain_recipe(seed=3, grid="sixteenths", tempo_qpm=100.0, key_feedback=feedback, **asks)
        (piece,) = composer.compose(Fake(bias=likes), [asked(LENGTH_S)], recipe)
        return composer.score_of(piece, LENGTH_S)

    with_it, without = (accuracy(composed(feedback=x), key("C")) for x in (True, False))
    assert with_it > 0.5 > 0.25 > without
