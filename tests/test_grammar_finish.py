"""The grammar of finished pieces: a beginning, a closing chord, and neither drones nor endless rolls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.grammar import Grammar
from tests.grammar_walks import (
    BEAT,
    POLICIES,
    begin,
    finished,
    limits,
    only,
    preferring,
    steps,
    uniformly,
    walk,
)


@settings(max_examples=25)
@given(
    end=st.integers(600, 2000),
    targets=steps(2000),
    policy=st.sampled_from(sorted(POLICIES)),
    seed=st.integers(0, 2**32),
)
def test_a_finished_piece_begins_and_ends(end: int, targets: list[int], policy: str, seed: int) -> None:
    ids, clock, grammar = finished(end, targets, POLICIES[policy], seed)
    kinds = v.KIND[ids]
    assert clock[kinds == v.K_ON][0] <= BEAT
    assert grammar.closed
    last = clock[kinds == v.K_CHORD][-1]
    assert last == clock[kinds == v.K_ON][-1], "the last chord is what begins last"
    assert last in targets or end - last >= 2.1 * BEAT
    pitched = [i for i, at in zip(ids, clock, strict=True) if at == last and v.KIND[i] == v.K_ON and v.FAMILY[i] > 0]
    assert len(pitched) >= 3
    for on in pitched:
        (off,) = [at for i, at in zip(ids, clock, strict=True) if i == v.PARTNER[on] and at > last]
        assert off == end, "the last chord is held to the end"


def test_the_last_chord_is_on_the_last_downbeat_with_room_for_it() -> None:
    bars = preferring("BAR_4", "ON_PIANO_6", "TIMESHIFT_480")
    for left, at in ((126, 1440), (125, 1200), (239, 1440), (365, 1440), (366, 1680)):
        _, _, grammar = finished(1440 + left, [], bars)
        assert grammar.chords[-1] == at, left


def test_a_hit_behind_the_last_downbeat_is_the_end() -> None:
    for hit in (1440, 1500, 1590):
        _, _, grammar = finished(1620, [hit], preferring("BAR_4", "ON_PIANO", "TIMESHIFT_480"))
        assert grammar.chords[-1] == hit
    # One that comes long before is not: the chord on the last downbeat follows it.
    _, _, grammar = finished(1620, [1200], preferring("BAR_4", "ON_PIANO", "TIMESHIFT_480"))
    assert grammar.chords[-2:] == [1200, 1440]


@pytest.mark.slow
def test_the_last_chord_is_in_the_key_and_brings_the_bass() -> None:
    """G major is played until then; what is chosen at random for the last chord is of it, without semitones."""
    scale = {7, 9, 11, 0, 2, 4, 6}
    piano = [v.ID_OF[f"ON_PIANO_{p}"] for p in range(55, 79) if p % 12 in scale]
    for seed in range(8):
        asked = limits(1620, beat_steps=BEAT, grid=True, finish=True)
        # Above a guitar's highest notes there would be no room to choose.
        grammar = begin(replace(asked, recipe=replace(asked.recipe, compass=False)))

        def choose(live: np.ndarray, rng: np.random.Generator, grammar: Grammar = grammar) -> int:
            if grammar.closed:
                return uniformly(live, rng)
            tune = preferring("BAR_4", "ON_BASS_43", "OFF_PIANO", "TIMESHIFT_240", "TIMESHIFT")
            found = live[np.isin(live, piano)]
            return int(rng.choice(found)) if len(found) and rng.random() < 0.5 else tune(live, rng)

        ids = walk(grammar, choose, seed)
        last = len(ids) - ids[::-1].index(v.CHORD)
        tones = [i for i in ids[last:] if v.KIND[i] == v.K_ON and v.FAMILY[i] != v.DRUMS]
        classes = {int(v.VALUE[i]) % 12 for i in tones}
        assert v.BASS in v.FAMILY[tones]
        assert classes <= scale
        assert not any((c + 1) % 12 in classes for c in classes)


def test_what_still_sounds_makes_way_for_the_last_chord() -> None:
    """Closed before it, at once; and right behind it where a bar of another length brings it unforeseen."""
    long_notes = preferring("BAR_4", "ON_STRINGS_60", "ON_BASS_40", "TIMESHIFT_480", "TIMESHIFT")
    ids, clock, _ = finished(1620, [], long_notes)
    off = clock[np.array(ids) == v.ID_OF["OFF_STRINGS_60"]]
    assert 1440 in off
    for odd in ("BAR_6.5", "BAR_7", "BAR_5"):
        ids, clock, grammar = finished(
            1620, [], preferring(odd, "BAR_3", "ON_BASS_40", "ON_STRINGS_60", "TIMESHIFT_480")
        )
        last = grammar.chords[-1]
        old = {i for i, at in zip(ids, clock, strict=True) if at < last and v.KIND[i] == v.K_ON} - {
            i for i, at in zip(ids, clock, strict=True) if at == last
        }
        offs = [at for i, at in zip(ids, clock, strict=True) if v.KIND[i] == v.K_OFF and v.PARTNER[i] in old]
        assert max(offs) <= last + 1, odd


def test_something_sounds_within_the_first_beat() -> None:
    wait = preferring("BAR_4", "TIMESHIFT_1000", "TIMESHIFT")
    ids, clock, _ = finished(1620, [], wait)
    assert clock[v.KIND[ids] == v.K_ON][0] == BEAT
    ids, clock, _ = finished(1620, [], wait, finish=False)
    assert v.K_ON not in v.KIND[ids]


def longest_run(ids: list[int], clock: np.ndarray, name: str, gap: int) -> int:
    """Steps from the first to the last of a run of one event with no more than `gap` steps between two."""
    at = clock[np.array(ids) == v.ID_OF[name]]
    runs = np.split(at, np.flatnonzero(np.diff(at) > gap) + 1)
    return max(int(run[-1] - run[0]) for run in runs)


@pytest.mark.parametrize(("family", "beats"), [("BASS", 20), ("STRINGS", 32), ("PIANO", 32), ("GUITAR", 32)])
@pytest.mark.parametrize("loose_ends", [False, True])
def test_a_drone_rests_for_a_bar(family: str, beats: int, loose_ends: bool) -> None:
    """Held for as long as may be; or, with loose ends, struck on every sixteenth and closed before the next."""
    on = f"ON_{family}_50"
    drone = only("BAR_4", on, *(("TIMESHIFT_104", "TIMESHIFT_16") if loose_ends else ()))
    for finish, most in ((False, 100), (True, beats)):
        ids, clock, _ = finished(6000, [], drone, finish=finish, loose_ends=loose_ends)
        run = longest_run(ids, clock, on, 4 * BEAT - loose_ends)  # struck again whenever it was closed
        assert run >= ((beats - 4) if finish else 90) * BEAT
        assert run <= most * BEAT
    at = clock[np.array(ids) == v.ID_OF[on]]
    assert np.diff(at).max() >= (4 if loose_ends else 8) * BEAT, "its last note, and a bar of rest"


def test_a_pitch_that_leaves_now_and_then_is_no_drone() -> None:
    """Two beats of every four, for a minute and a half: nothing is changed."""
    pulse = [v.ID_OF["ON_BASS_40"], v.SHIFT_BASE + 120, v.ID_OF["OFF_BASS_40"], v.SHIFT_BASE + 120]
    grammar = begin(limits(12000, beat_steps=BEAT, finish=True))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(40):
        for event in pulse:
            assert grammar.allowed()[event], v.NAMES[event]
            grammar.accept(event)
        assert grammar.allowed()[v.ID_OF["BAR_4"]]
        grammar.accept(v.ID_OF["BAR_4"])


def drumming(drum: str, every: int, *, finish: bool) -> np.ndarray:
    """When a drum sounds that strikes every so many steps, wherever it may."""
    grammar = begin(limits(6000, beat_steps=BEAT, finish=finish))
    at = []
    while grammar.step < 5000:
        if grammar.step == grammar.next_bar() or not grammar.bars:
            grammar.accept(v.ID_OF["BAR_4"])
        if grammar.allowed()[v.ID_OF[drum]]:
            at.append(grammar.step)
            grammar.accept(v.ID_OF[drum])
        grammar.accept(v.SHIFT_BASE + every)
    return np.array(at)


@pytest.mark.parametrize("drum", ["ON_DRUMS_38", "ON_DRUMS_47"])
def test_a_roll_thins_out_after_a_bar(drum: str) -> None:
    assert set(np.diff(drumming(drum, 15, finish=False))) == {15}
    at = drumming(drum, 15, finish=True)
    gaps = np.diff(at)
    assert (gaps[at[1:] <= 4 * BEAT] == 15).all(), "a bar is left alone"
    assert (gaps[(at[1:] > 4 * BEAT) & (at[1:] <= 8 * BEAT)] == 30).all(), "and then eighths for as long"
    assert (gaps[(at[1:] > 8 * BEAT + 30) & (at[1:] < 12 * BEAT)] == 15).all()


def test_eighths_and_hi_hats_are_no_roll() -> None:
    for drum, every in (("ON_DRUMS_38", 30), ("ON_DRUMS_42", 15)):
        assert (drumming(drum, every, finish=True) == drumming(drum, every, finish=False)).all()
