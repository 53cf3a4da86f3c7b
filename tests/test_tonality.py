"""The key of a piece in the making: when it changes, and what it does to pitches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from emsync import composer
from emsync import vocabulary as v
from emsync.conditions import Conditions
from emsync.control_curves import Control, ControlCurves
from emsync.key_likelihood import BASS_SHARES, SHARES, TONICS
from emsync.keys import Key
from emsync.recipe import Recipe
from emsync.steering import Steering
from emsync.tonality import (
    CLEAR,
    HELD_BARS,
    HIGHEST_REGISTER,
    LOWEST_REGISTER,
    OPENING_BARS,
    Tonality,
)
from tests.fakes import Fake, plain_recipe

FLAT = np.zeros(v.SIZE, dtype=np.float32)
ALL = np.ones(v.SIZE, dtype=bool)
PITCHED = (v.PIANO, v.GUITAR, v.BASS, v.STRINGS)
C_MINOR, C_MAJOR = Key(0, is_minor=True), Key(0, is_minor=False)


def tonality(valence: float, bars: int = 1, own: Key = C_MAJOR, **choices: Any) -> Tonality:
    found = Tonality(Recipe(**choices), np.random.default_rng(0), own)
    for bar in range(bars):
        found.begin_bar(100 * bar, valence, begins=bar == 0)
    return found


def probabilities(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits.astype(np.float64))
    return np.asarray(p / p.sum())


def by_degree(found: Tonality, tonic: int = 0, family: int = v.PIANO) -> np.ndarray:
    """The probability of each pitch class of a family, from C on, of a model that likes all events alike."""
    p = probabilities(found.lean(FLAT, ALL))
    own = (v.KIND == v.K_ON) & (v.FAMILY == family)
    return np.bincount((v.VALUE[own] - tonic) % 12, weights=p[own], minlength=12)


def test_the_shares_are_shares() -> None:
    for table in (SHARES, BASS_SHARES):
        assert np.allclose(np.sum(table, axis=1), 1, atol=0.003)
    assert len(TONICS) == 12


def test_the_mode_is_that_of_the_valence() -> None:
    assert tonality(0.8).key == C_MAJOR
    assert tonality(-0.8).key == C_MINOR
    assert tonality(-0.8, mode="major").key == C_MAJOR
    assert tonality(math.nan, mode="minor").key == C_MINOR
    major, minor = by_degree(tonality(0.8)), by_degree(tonality(-0.8))
    assert major[4] > 4 * major[3]
    assert minor[3] > 4 * minor[4]
    assert minor[[1, 4, 6, 9, 11]].sum() < 0.1 * minor.sum()


def test_the_weight_grows_with_valence_and_strengths() -> None:
    def inside(valence: float, **choices: float) -> float:
        shares = by_degree(tonality(valence, **choices))
        return float(shares[[0, 2, 3, 5, 7, 8, 10]].sum() / shares.sum())

    assert inside(-0.2) < inside(-0.5) < inside(-1.0)
    assert inside(-0.5, mode_strength=0.5) < inside(-0.5) < inside(-0.5, mode_strength=3.0)
    assert inside(-0.5, mood_strength=1.0) < inside(-0.5)


def test_the_weight_is_greater_at_the_beginning_and_where_valence_is_missing() -> None:
    def outside(bars: int, beyond: float = 0.0, **choices: float) -> float:
        found = Tonality(Recipe(progression="off", register_bias=0.0, **choices), np.random.default_rng(0), C_MAJOR)
        for bar in range(bars):
            found.begin_bar(100 * bar, 1.0, beyond=beyond)
        return float(by_degree(found)[[1, 3, 6, 8, 10]].sum())

    assert outside(1) == outside(OPENING_BARS) < outside(OPENING_BARS + 1)
    assert outside(1, opening_key=1.0) == outside(OPENING_BARS + 1, opening_key=1.0) == outside(OPENING_BARS + 1)
    assert outside(9, 1.0) < outside(9, 0.5) < outside(9)
    assert tonality(0.1).key is None, "a beginning that leans more is not in a key for that"


@pytest.mark.parametrize(
    ("valence", "choices"),
    [
        (math.nan, {"key": "auto"}),
        (0.0, {}),
        (0.8, {"mode": "off"}),
        (0.8, {"mood_strength": 0.0}),
        (0.8, {"mode_strength": 0.0, "register_bias": 0.0}),
    ],
)
def test_without_a_reason_nothing_changes(valence: float, choices: dict[str, Any]) -> None:
    found = tonality(valence, **choices)
    assert found.lean(FLAT, ALL) is FLAT
    assert found.key is None
    assert found.keys == []


def test_only_pitches_move_and_each_family_plays_as_often() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(scale=3, size=v.SIZE).astype(np.float32)
    allowed = rng.random(v.SIZE) < 0.7
    allowed[(v.KIND == v.K_ON) & (v.FAMILY == v.GUITAR)] = False
    leaned = tonality(-0.8).lean(logits, allowed)
    own = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS) & allowed
    assert (leaned[~own] == logits[~own]).all()
    assert (leaned[own] != logits[own]).any()
    for family in (v.PIANO, v.BASS, v.STRINGS):
        mine = own & (v.FAMILY == family)
        assert np.exp(leaned[mine]).sum() == pytest.approx(np.exp(logits[mine]).sum(), rel=1e-4)


def test_a_family_that_plays_a_theme_is_spared() -> None:
    leaned = tonality(-0.8).lean(FLAT, ALL, spared=[v.STRINGS])
    ons = v.KIND == v.K_ON
    assert leaned[ons & (v.FAMILY == v.STRINGS)] == pytest.approx(0.0, abs=1e-5)
    assert np.ptp(leaned[ons & (v.FAMILY == v.PIANO)]) > 1


def test_a_missing_tone_of_the_chord_is_likelier() -> None:
    found = tonality(0.8)  # the tonic's chord: C, E, G
    root, fifth = (int(v.ON_BASE[v.PIANO] + pitch) for pitch in (60, 67))
    third = int(v.ON_BASE[v.PIANO] + 64)
    alone, with_both = found.lean(FLAT, ALL), found.lean(FLAT, ALL, [root, fifth])
    assert probabilities(with_both)[third] > 1.5 * probabilities(alone)[third]


def of_piano(*pitches: int) -> list[int]:
    return [int(v.ON_BASE[v.PIANO] + pitch) for pitch in pitches]


def shares_of(found: Tonality, chord: list[int], family: int = v.PIANO) -> np.ndarray:
    """The share of each pitch class in what a family plays next, while a chord is struck."""
    p = probabilities(found.lean(FLAT, ALL, chord, chord=chord))
    own = (v.KIND == v.K_ON) & (v.FAMILY == family)
    shares = np.bincount(v.VALUE[own] % 12, weights=p[own], minlength=12)
    return np.asarray(shares / shares.sum())


def test_a_chord_that_is_struck_gets_the_third_it_lacks() -> None:
    minor = tonality(-0.8, own=C_MINOR)  # the chord of its first bar: C, Eb, G
    open_fifth = of_piano(48, 55)
    assert shares_of(minor, open_fifth)[3] > 0.9
    assert shares_of(tonality(-0.8, own=C_MINOR, full_chords=0.0, opening_key=1.0), open_fifth)[3] < 0.5
    assert shares_of(minor, open_fifth, v.BASS)[3] < 0.3, "the bass keeps to its own"
    assert shares_of(minor, of_piano(48, 51, 55)).max() < 0.5, "it lacks nothing"
    # Without a chord of the bar, a third in the key of what is struck.
    shares = shares_of(tonality(-0.8, own=C_MINOR, progression="off"), of_piano(50, 57))  # D, A
    assert shares[5] > 0.8, "F, not F sharp"
    shares = shares_of(tonality(-0.8, own=C_MINOR, progression="off"), of_piano(50, 62))  # D alone
    assert shares[[5, 10, 11]].sum() > 0.8, "F, B flat or B"
    bare = tonality(-0.8, own=C_MINOR, progression="off")
    assert bare.lean(FLAT, ALL, chord=[]) == pytest.approx(bare.lean(FLAT, ALL)), "nothing is struck yet"


def test_without_a_key_a_chord_gets_the_third_that_was_heard() -> None:
    def heard(*pitches: int, ruled: bool = False, **choices: Any) -> Tonality:
        found = Tonality(Recipe(**choices), np.random.default_rng(0))
        found.begin_bar(0, math.nan, ruled=ruled)
        for on in of_piano(*pitches):
            found.accept(on)
        assert found.key is None
        return found

    open_fifth = of_piano(48, 55)  # C, G
    assert shares_of(heard(64, 64, 63), open_fifth)[4] > 0.8, "E was heard twice, E flat once"
    assert shares_of(heard(64, 64, 63, 63, 63), open_fifth)[3] > 0.8
    assert shares_of(heard(52, *[63] * 2, *[60, 67] * 60), open_fifth)[3] > 0.8, "however long ago"
    late = heard(*[64] * 20, *[60] * 80, *[63] * 5)
    assert shares_of(late, open_fifth)[3] > 0.8, "what was heard lately counts more"
    assert shares_of(heard(64), open_fifth, v.BASS)[4] < 0.2, "the bass keeps to its own"
    for found, chord in (
        (heard(64), of_piano(48, 51, 55)),  # it has a third
        (heard(60, 62, 67), open_fifth),  # no third of it was heard
        (heard(64), []),  # nothing is struck yet
        (heard(64, heard_thirds=0.0), open_fifth),
        (heard(64, mode="off"), open_fifth),
        (heard(64, ruled=True), open_fifth),
    ):
        assert found.lean(FLAT, ALL, chord=chord) is FLAT
    left = tonality(0.8, bars=2)  # in C major, until the mood ends
    left.begin_bar(200, math.nan)
    left.accept(of_piano(63)[0])
    shares = shares_of(left, open_fifth)
    assert shares[3] > 0.8
    assert shares[4] == pytest.approx(shares[1]), "the tones of the last chord count no longer"


def on_cuts(decoder: Fake, families: tuple[int, ...] = PITCHED, **choices: Any) -> list[set[int]]:
    """The pitch classes that these families strike on each cut of a piece."""
    cuts = np.arange(2.0, 18.0, 2.0)
    recipe = plain_recipe(tempo_qpm=120.0, grid="sixteenths", hits="exact", **choices)
    (piece,) = composer.compose(decoder, [Conditions(cuts, end_s=18.0)], recipe)
    score = composer.score_of(piece, 18.0)
    own = np.isin(score.instrument, families)
    return [set((score.pitch[own & (abs(score.start_s - cut) < 5e-3)] % 12).tolist()) for cut in cuts]


def test_chords_on_cuts_are_triads_where_the_key_is_known() -> None:
    """A decoder that likes all pitches alike: most of its chords are in no key, and have no third."""

    def triads(**choices: Any) -> float:
        found = on_cuts(Fake(), mode="minor", key="D", **choices)
        full = [any({r, (r + t) % 12, (r + 7) % 12} <= struck for r in range(12) for t in (3, 4)) for struck in found]
        return float(np.mean(full))

    assert triads() >= 0.85
    assert triads(full_chords=0.0) <= 0.65


def test_chords_on_cuts_have_the_third_that_was_played_where_no_key_is_known() -> None:
    """A decoder whose piano and guitar like C and G alone, whose strings like E, and whose bass is silent."""
    ons = v.KIND == v.K_ON
    liked = np.where(v.FAMILY == v.STRINGS, v.VALUE % 12 == 4, np.isin(v.VALUE % 12, (0, 7)) & (v.FAMILY != v.BASS))
    bias = np.where(ons & (v.FAMILY != v.DRUMS) & ~liked, -9.0, np.where(ons & (v.FAMILY == v.STRINGS), 3.0, 0.0))
    played, without = (
        on_cuts(Fake(bias=bias), (v.PIANO, v.GUITAR), mode="auto", heard_thirds=strength) for strength in (20.0, 0.0)
    )
    assert np.mean([4 in struck for struck in played]) >= 0.75
    assert np.mean([4 in struck for struck in without]) <= 0.25


def test_the_key_follows_the_curve_bar_by_bar() -> None:
    found = tonality(0.8, bars=2)
    for bar in range(2, 12):
        found.begin_bar(100 * bar, -0.8)
    assert found.keys == [(0, C_MAJOR), (100 * HELD_BARS, C_MINOR)]
    for bar in range(12, 20):
        found.begin_bar(100 * bar, CLEAR / 2)  # too little to change back
    assert found.keys[-1][1] == C_MINOR


def test_a_key_or_melody_that_is_asked_for_rules() -> None:
    found = tonality(0.8, bars=2)
    found.begin_bar(200, 0.8, ruled=True)
    assert found.lean(FLAT, ALL) is FLAT
    assert found.key is None
    steering = Steering(ControlCurves({"key": Control(np.array([0.0, 5.0]), np.array([3.0, math.nan]), held=True)}))
    assert steering.gives_pitches(1.0)
    assert not steering.gives_pitches(6.0)


def test_a_section_is_transposed_as_a_whole() -> None:
    found = tonality(0.8, bars=2)
    found.begin_bar(200, 0.8, semitones=3)
    assert found.keys == [(0, C_MAJOR), (200, Key(3, is_minor=False))]


def test_a_theme_brings_its_key() -> None:
    own = Key(7, is_minor=True)
    found = Tonality(Recipe(), np.random.default_rng(0), own)
    found.begin_bar(0, 0.8, begins=True, states_theme=True)
    assert found.key == own
    for bar in range(1, 2 + HELD_BARS):
        found.begin_bar(bar, 0.8)
    assert found.key == Key(7, is_minor=False)


def test_tonics_are_drawn_and_may_be_given() -> None:
    drawn = set()
    for seed in range(60):
        found = Tonality(Recipe(), np.random.default_rng(seed))
        found.begin_bar(0, 0.8)
        assert found.key is not None
        drawn.add(found.key.tonic)
    assert len(drawn) > 6
    # A tonic without a mode draws the mode, which it keeps.
    modes = set()
    for seed in range(30):
        found = Tonality(Recipe(key="C"), np.random.default_rng(seed))
        for bar in range(3):
            found.begin_bar(bar, math.nan)
        ((_, key),) = found.keys
        modes.add(key)
    assert modes == {C_MINOR, C_MAJOR}
    assert tonality(0.8, key="Bb").key == Key(10, is_minor=False)


def test_higher_when_happier() -> None:
    def mean_pitch(valence: float, family: int) -> float:
        p = probabilities(tonality(valence, register_bias=0.3).lean(FLAT, ALL))
        own = (v.KIND == v.K_ON) & (v.FAMILY == family)
        return float((v.VALUE[own] * p[own]).sum() / p[own].sum())

    assert mean_pitch(0.8, v.PIANO) > mean_pitch(-0.8, v.PIANO) + 5
    assert abs(mean_pitch(0.8, v.BASS) - mean_pitch(-0.8, v.BASS)) < 2


@pytest.mark.parametrize(("valence", "beyond", "higher"), [(0.02, -0.6, False), (-0.02, 0.6, True)])
def test_the_register_follows_feedback_beyond_what_valence_may_be(valence: float, beyond: float, higher: bool) -> None:
    def mean_pitch(**choices: Any) -> float:
        found = Tonality(
            Recipe(register_bias=0.3, progression="off", mode_feedback=0.0, **choices),
            np.random.default_rng(0),
            C_MAJOR,
        )
        found.begin_bar(0, valence, beyond=beyond)
        p = probabilities(found.lean(FLAT, ALL))
        own = (v.KIND == v.K_ON) & (v.FAMILY == v.PIANO)
        return float((v.VALUE[own] * p[own]).sum() / p[own].sum())

    moved = mean_pitch() - mean_pitch(register_feedback=False)
    assert moved > 2 if higher else moved < -2


def test_no_register_is_shrill() -> None:
    def gains(valence: float, beyond: float, **choices: Any) -> npt.NDArray[np.float64]:
        found = Tonality(
            Recipe(progression="off", mode_strength=0.0, mode_feedback=0.0, **choices), np.random.default_rng(0)
        )
        found.begin_bar(0, valence, beyond=beyond)
        own = (v.KIND == v.K_ON) & (v.FAMILY == v.STRINGS)
        p = probabilities(found.lean(FLAT, ALL))[own]
        return np.diff(np.log(p[np.argsort(v.VALUE[own])]))

    pitches = np.sort(v.VALUE[(v.KIND == v.K_ON) & (v.FAMILY == v.STRINGS)])[1:]
    for valence, beyond in ((0.9, 0.8), (-0.9, -0.8)):
        steps = gains(valence, beyond)
        within = (pitches > LOWEST_REGISTER) & (pitches <= HIGHEST_REGISTER)
        assert steps[within] == pytest.approx(0.4 * 2.5 / 12 * (valence + beyond), rel=1e-4)
        assert steps[~within] == pytest.approx(0.0, abs=1e-5)
        assert gains(valence, 0.0, register_feedback=False) == pytest.approx(0.4 * 2.5 / 12 * valence, rel=1e-4)


def heard_for(seconds: float, classes: tuple[int, ...], **choices: Any) -> Tonality:
    """A piece without a mood in which these pitch classes sounded in turn."""
    found = Tonality(Recipe(heard_thirds=0.0, **choices), np.random.default_rng(0))
    found.begin_bar(0, math.nan)
    shift = int(np.flatnonzero(v.KIND == v.K_TIMESHIFT)[-1])
    for i in range(math.ceil(seconds / (int(v.VALUE[shift]) * v.STEP_S))):
        on = int(v.ON_BASE[v.PIANO]) + 60 + classes[i % len(classes)]
        for event in (on, shift, int(v.PARTNER[on])):
            found.accept(event)
    return found


OF_G_MAJOR = (7, 11, 2, 7, 9, 2, 6, 7, 0, 4)


def test_without_a_mood_pitches_lean_towards_the_key_that_is_heard() -> None:
    found = heard_for(20.0, OF_G_MAJOR, settled_key=0.5)
    likely = by_degree(found, tonic=7)
    assert likely[[0, 2, 4, 5, 7, 9, 11]].min() > 1.3 * likely[[1, 3, 6, 8, 10]].max()
    assert found.key is None, "it is not the piece's choice"
    none, once, twice = (np.log(by_degree(heard_for(20.0, OF_G_MAJOR, settled_key=x))) for x in (0.0, 0.5, 1.0))
    assert np.ptp(twice - none - 2 * (once - none)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("seconds", "classes", "choices"),
    [
        (6.0, OF_G_MAJOR, {}),  # too little was heard
        (20.0, tuple(range(12)), {}),  # no key is clear
        (20.0, OF_G_MAJOR, {"settled_key": 0.0}),
        (20.0, OF_G_MAJOR, {"mode": "off"}),
    ],
)
def test_no_key_is_settled(seconds: float, classes: tuple[int, ...], choices: dict[str, Any]) -> None:
    assert heard_for(seconds, classes, **choices).lean(FLAT, ALL) is FLAT


def test_a_mood_chooses_the_key_and_not_what_is_heard() -> None:
    found, without = (heard_for(20.0, OF_G_MAJOR, mode_feedback=0.0, settled_key=x) for x in (5.0, 0.0))
    for each in (found, without):
        each.begin_bar(0, -0.8)
    assert (found.lean(FLAT, ALL) == without.lean(FLAT, ALL)).all()


def test_a_composed_piece_is_in_its_key() -> None:
    """A decoder that likes all pitches alike: its notes are in the key, and the score says which."""
    times = np.array([0.0, 29.9, 30.0, 60.0])
    film = Conditions(end_s=60.0, valence=(times, np.array([0.8, 0.8, -0.8, -0.8])), piece_valence=0.0)
    recipe = plain_recipe(mode="auto", key="Eb", tempo_qpm=120.0, grid="sixteenths", seed=2)
    (piece,) = composer.compose(Fake(), [film], recipe)
    score = composer.score_of(piece, 60.0)
    assert [(k.tonic, k.is_minor) for k in score.keys] == [(3, False), (3, True)]
    assert 30.0 <= score.keys[1].time_s < 34.0
    pitched = score.instrument != v.DRUMS
    for is_minor, scale in ((False, (0, 2, 4, 5, 7, 9, 11)), (True, (0, 2, 3, 5, 7, 8, 10, 11))):
        part = pitched & ((score.start_s >= score.keys[1].time_s) == is_minor)
        inside = np.isin((score.pitch[part] - 3) % 12, scale).mean()
        assert inside > 0.85, is_minor


def test_a_recipe_says_whether_its_loops_move() -> None:
    def stays(seed: int, *, moving: bool) -> bool:
        tonality = Tonality(Recipe(moving_chords=moving), np.random.default_rng(seed))
        chords = []
        for bar in range(8):  # a loop, twice
            tonality.begin_bar(100 * bar, 0.6, section="A", begins=bar == 0)
            chords.append(tonality._tones)
        return any(len(set(chords[i : i + 3])) == 1 for i in range(6))

    assert not any(stays(seed, moving=True) for seed in range(60))
    assert any(stays(seed, moving=False) for seed in range(60))


def chances(found: Tonality, step: int, sounding: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """The probability of each pitch class, of the piano and of the bass, where all events are as likely."""
    p = probabilities(found.lean(FLAT, ALL, sounding, step=step))
    own = {name: (v.KIND == v.K_ON) & (v.FAMILY == f) for name, f in (("piano", v.PIANO), ("bass", v.BASS))}
    return {name: np.bincount(v.VALUE[ons] % 12, weights=p[ons], minlength=12) for name, ons in own.items()}


def test_a_chord_that_is_not_heard_becomes_likelier() -> None:
    """Drums and a bass alone do not say which chord it is; without a bass its root is lacking."""
    two_s, bass, piano = round(2 / v.STEP_S), [int(v.ON_BASE[v.BASS]) + 36], of_piano(60, 64, 67)
    found, before = tonality(0.8), chances(tonality(0.8), 0)
    assert not found._root
    unheard = chances(found, two_s, tuple(bass))
    assert (unheard["piano"][[4, 7]] > 2 * before["piano"][[4, 7]]).all()
    assert unheard["bass"][0] < before["bass"][0], "it sounds"
    heard = chances(found, 2 * two_s, tuple(piano))
    assert (heard["piano"][[4, 7]] < unheard["piano"][[4, 7]]).all()
    assert heard["bass"][0] > 1.5 * before["bass"][0], "it has not sounded for two seconds"
    off = tonality(0.8, clear_chords=0.0)
    assert np.allclose(chances(off, two_s)["piano"], chances(off, 0)["piano"])


def test_a_bass_does_not_say_which_chord_it_is() -> None:
    two_s = round(2 / v.STEP_S)
    by_bass, by_piano = (
        chances(tonality(0.8), two_s, (int(v.ON_BASE[family]) + 48,))["piano"][0] for family in (v.BASS, v.PIANO)
    )
    assert by_bass > 2 * by_piano


def test_chords_are_heard_in_mild_moods_too() -> None:
    mild = tonality(0.02)
    before, after = chances(mild, 0)["piano"], chances(mild, round(3 / v.STEP_S))["piano"]
    assert (after[[0, 4, 7]] > 3 * before[[0, 4, 7]]).all()


@pytest.mark.parametrize("relatives", [True, False])
def test_a_recipe_says_whether_chords_give_way_to_relatives(relatives: bool) -> None:
    found, minor = Tonality(Recipe(relative_chords=relatives), np.random.default_rng(0), C_MAJOR), 0
    for bar in range(20):
        found.begin_bar(100 * bar, 0.02, begins=bar == 0, beyond=-1.0)
        minor += found._tones in ({9, 0, 4}, {2, 5, 9}, {4, 7, 11})
    assert (minor >= 18) is relatives


def test_a_writer_says_how_late_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been heard for a while depends on the clock."""
    late: list[int] = []
    true = Tonality.lean

    def lean(self: Tonality, *arguments: Any, step: int = 0, **more: Any) -> Any:
        late.append(arguments[5] if len(arguments) > 5 else step)
        return true(self, *arguments, step=step, **more) if len(arguments) <= 5 else true(self, *arguments, **more)

    monkeypatch.setattr(Tonality, "lean", lean)
    composer.compose(Fake(), [Conditions(end_s=4.0, valence=(np.zeros(1), np.ones(1)))], plain_recipe(mode="auto"))
    assert max(late) > 3 / v.STEP_S


def test_a_part_that_begins_later_has_lacked_no_bass_yet() -> None:
    late = round(60 / v.STEP_S)
    whole, part = (Tonality(Recipe(), np.random.default_rng(0), C_MAJOR) for _ in range(2))
    whole.begin_bar(0, 0.8, begins=True)
    part.begin_bar(late, 0.8, begins=True)
    assert np.allclose(chances(part, late)["bass"], chances(whole, 0)["bass"])


def test_a_new_chord_has_time_to_be_heard() -> None:
    found = tonality(0.8)
    late = round(8 / v.STEP_S)
    found._tones = frozenset({2, 5, 9})
    found.begin_bar(late, 0.8)
    assert (found._sounded[list(found._tones)] == late).all()


# ---- a mode and its relative ----------------------------------------------------------------------------------------

SECOND = int(np.flatnonzero((v.KIND == v.K_TIMESHIFT) & (v.VALUE == 125))[0])
#: What A minor sounds like, and what C major does: pitches and seconds.
AS_MINOR = {57: 6, 60: 3, 64: 4, 62: 1, 59: 1}
AS_MAJOR = {48: 6, 52: 4, 55: 5, 53: 2, 57: 1}


def sounded(seconds: dict[int, int], valence: float, *, beyond: float = 0.0, **choices: Any) -> Tonality:
    """The tonality of a piece in A minor, or in C major, in which some pitches have sounded. No bar has a chord."""
    own = Key(9, is_minor=True) if valence < 0 else C_MAJOR
    recipe = Recipe(progression="off", mode_strength=0.5, register_bias=0.01, opening_key=1.0, **choices)
    found = Tonality(recipe, np.random.default_rng(0), own)
    for pitch, lasts in seconds.items():
        on = of_piano(pitch)[0]
        for event in (on, *[SECOND] * lasts, int(v.PARTNER[on])):
            found.accept(event)
    found.begin_bar(1000, valence, begins=True, beyond=beyond)
    return found


def g_against_a(found: Tonality) -> float:
    """How much likelier G is than A: C major has more of the one, and A minor more of the other."""
    shares = by_degree(found)
    return float(shares[7] / shares[9])


def test_a_mildly_sad_piece_does_not_sound_sadder_than_songs_do() -> None:
    mild = g_against_a(sounded(AS_MINOR, -0.1))
    assert mild > 1.5 * g_against_a(sounded(AS_MINOR, -0.1, mode_feedback=0.0))
    assert mild > 3 * g_against_a(sounded(AS_MINOR, -1.0))

    def moved(beyond: float) -> float:
        """How much of it is from what was heard."""
        with_it, without = (g_against_a(sounded(AS_MINOR, -0.6, beyond=beyond, mode_feedback=x)) for x in (0.2, 0.0))
        return with_it / without

    assert moved(0.3) > 1.2 * moved(0.0), "feedback moves the modes, too"


def test_a_happy_piece_that_sounds_like_its_relative_minor_leans_back() -> None:
    assert g_against_a(sounded(AS_MINOR, 0.9)) > 1.5 * g_against_a(sounded(AS_MINOR, 0.9, mode_feedback=0.0))
    assert g_against_a(sounded(AS_MAJOR, 0.1)) < 0.5 * g_against_a(sounded(AS_MAJOR, 0.1, mode_feedback=0.0))


def test_modes_are_heard_as_strongly_as_the_recipe_says() -> None:
    none, half, whole = (g_against_a(sounded(AS_MAJOR, 0.4, mode_feedback=x)) for x in (0.0, 0.5, 1.0))
    assert none > half > whole


@pytest.mark.parametrize("choices", [{"mode": "minor"}, {"key": "A"}])
def test_a_mode_or_a_key_of_the_users_own_is_heard_itself(choices: dict[str, str]) -> None:
    with_it, without = (g_against_a(sounded(AS_MAJOR, -0.2, mode_feedback=x, **choices)) for x in (1.0, 0.0))
    assert with_it == without
    assert with_it < 0.5 * g_against_a(sounded(AS_MAJOR, -0.2, key_feedback=False, **choices))
    assert g_against_a(sounded(AS_MINOR, -0.2, **choices)) < g_against_a(sounded(AS_MINOR, -0.2))


@pytest.mark.parametrize("choices", [{}, {"mode": "minor"}])
def test_a_theme_in_its_own_mode_is_left_alone(choices: dict[str, str]) -> None:
    def stated(strength: float, *, heard: bool) -> float:
        found = sounded(AS_MAJOR, -0.2, mode_feedback=strength, key_feedback=heard, **choices)
        found.begin_bar(2000, -0.2, states_theme=True)
        return g_against_a(found)

    assert stated(1.0, heard=True) == stated(0.0, heard=False)
