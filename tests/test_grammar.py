"""The rules of the grammar: whatever is drawn, what comes out is music, with chords on its boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.grammar import MAX_SOUNDING, Grammar
from emsync.grammar.tables import COMPASS
from emsync.recipe import Recipe
from tests.grammar_walks import (
    POLICIES,
    SECOND,
    begin,
    by_kind,
    composed,
    limits,
    lowest,
    preferring,
    steps,
    take,
    walk,
)

a_policy = st.sampled_from(sorted(POLICIES))


@settings(max_examples=60)
@given(
    end=st.integers(1, 500),
    targets=steps(500),
    policy=a_policy,
    seed=st.integers(0, 2**32),
    land=st.booleans(),
    finish=st.booleans(),
)
@example(end=SECOND, targets=[], policy="uniformly", seed=0, land=True, finish=False)
@example(end=1, targets=[0], policy="highest", seed=0, land=True, finish=True)
def test_every_walk_is_music(end: int, targets: list[int], policy: str, seed: int, land: bool, finish: bool) -> None:
    composed(end, targets, POLICIES[policy], seed, land=land, finish=finish)


def test_bass_and_guitar_keep_to_what_their_instruments_play() -> None:
    def pitches(grammar: Grammar, family: int) -> tuple[int, int]:
        free = v.VALUE[grammar.allowed() & (v.KIND == v.K_ON) & (v.FAMILY == family)]
        assert len(free) == np.ptp(free) + 1
        return int(free.min()), int(free.max())

    def begun(**choices: bool) -> Grammar:
        grammar = Grammar(Recipe(**choices), 1000, beat_steps=64)
        grammar.accept(v.BAR_BASE + 8)
        return grammar

    for family, edges in COMPASS.items():
        grammar = begun()
        assert pitches(grammar, family) == edges
        grammar.open_up(family)
        assert pitches(grammar, family) == v.PITCH_RANGE[family]
        assert pitches(begun(compass=False), family) == v.PITCH_RANGE[family]
    assert pitches(begun(), v.PIANO) == v.PITCH_RANGE[v.PIANO]


#: Where a piece of 800 steps has targets: at its beginning, close together, near and past its end.
PLACES = {
    "none": [],
    "at 0 s": [0],
    "at 0.5 s": [62],
    "8 ms apart": [400, 401],
    "1 s apart": [300, 425, 550],
    "just under 1 s apart": [300, 424],
    "the last place but one": [773],
    "the last place": [774],
    "too near the end": [775, 799],
    "at and past the end": [800, 2000],
}


def with_places(test: Any) -> Any:
    for number, targets in enumerate(PLACES.values()):
        test = example(targets=targets, policy=sorted(POLICIES)[number % len(POLICIES)], finish=bool(number % 2))(test)
    return test


@settings(max_examples=50)
@given(targets=steps(810) | st.sampled_from(list(PLACES.values())), policy=a_policy, finish=st.booleans())
@with_places
def test_targets_anywhere(targets: list[int], policy: str, finish: bool) -> None:
    _, naive = composed(800, targets, POLICIES[policy], finish=finish)
    expected: list[int] = []
    for target in targets:
        if target < 800 - 25 and (not expected or target - expected[-1] >= SECOND):
            expected.append(target)
    assert naive.landed == expected


@settings(max_examples=100)
@given(end=st.integers(1, 60) | st.just(SECOND), policy=a_policy, seed=st.integers(0, 2**32))
@example(end=1, policy="uniformly", seed=0)
@example(end=25, policy="uniformly", seed=0)
@example(end=51, policy="uniformly", seed=0)
def test_short_pieces_end(end: int, policy: str, seed: int) -> None:
    ids, _ = composed(end, [10, 30, 60], POLICIES[policy], seed)
    assert ids[-1] == v.END


def test_a_crowd_of_notes_leaves_room_for_every_chord() -> None:
    """Boundaries a second apart, all notes sounding as long as they may: once, that left no pitch for a chord."""
    end = 24 * SECOND
    targets = list(range(SECOND, end - 30, SECOND))
    for policy in ("crowding", "ON"):
        ids, naive = composed(end, targets, POLICIES[policy])
        assert naive.landed == targets
        assert len(ids) > 500


def test_chords_at_every_moment_leave_room_for_themselves() -> None:
    slow = preferring("CHORD", "ON", "TIMESHIFT_8")
    _, naive = composed(300, [200], slow)
    assert len(naive.chords) >= 3
    assert naive.landed == [200]


def test_without_landing_boundaries_ask_for_nothing() -> None:
    no_chords = preferring("TIMESHIFT")
    _, naive = composed(800, [200, 400], no_chords, land=False)
    assert naive.chords == []


def test_chord_events_before_a_due_boundary_are_kept_away() -> None:
    grammar = begin(limits(2000), np.array([500]))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(3):
        assert grammar.allowed()[v.CHORD]
        grammar.accept(v.SHIFT_BASE + SECOND)
    assert grammar.step == 500 - SECOND
    assert grammar.allowed()[v.CHORD], "a whole second before, it uses nothing up"
    grammar.accept(v.SHIFT_BASE + 1)
    assert not grammar.allowed()[v.CHORD]
    longest = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))[-1]
    assert grammar.step + v.VALUE[longest] == 500
    grammar.accept(int(longest))
    assert grammar.due() == 500
    kinds = set(v.KIND[grammar.allowed()].tolist())
    assert v.K_CHORD in kinds
    assert kinds <= {v.K_CHORD, v.K_BAR, v.K_OFF}
    grammar.accept(v.CHORD)
    assert grammar.due() is None
    assert grammar.chords == [500]


def test_a_chord_asks_for_three_notes_of_one_family_and_holds_them() -> None:
    grammar = begin(limits(2000), np.array([0]))
    for name in ("BAR_4", "CHORD"):
        grammar.accept(v.ID_OF[name])
    assert not grammar.allowed()[[v.ID_OF["TIMESHIFT_8"], v.ID_OF["ON_STRINGS_60"], v.END]].any()
    assert grammar.allowed()[[v.ID_OF["ON_DRUMS_36"], v.ID_OF["ON_BASS_40"], v.ID_OF["ON_GUITAR_40"]]].all()
    # The two highest pitches leave no room for two more above them.
    pitches = [v.VALUE[i] for i in np.flatnonzero(grammar.allowed()) if v.FAMILY[i] == v.PIANO]
    assert max(pitches) == v.PITCH_RANGE[v.PIANO][1] - 2
    for name in ("ON_GUITAR_40", "ON_GUITAR_44", "ON_PIANO_60", "ON_PIANO_64"):
        grammar.accept(v.ID_OF[name])
        assert not grammar.allowed()[v.ID_OF["TIMESHIFT_8"]], "two of guitar and two of piano are no chord"
    grammar.accept(v.ID_OF["ON_PIANO_67"])
    assert grammar.allowed()[v.ID_OF["TIMESHIFT_8"]]
    grammar.accept(v.ID_OF["TIMESHIFT_1000"])
    offs = [v.ID_OF["OFF_PIANO_60"], v.ID_OF["OFF_GUITAR_40"]]
    assert not grammar.allowed()[offs].any(), "two beats are a second, and the grammar holds a little longer"
    grammar.accept(v.ID_OF["TIMESHIFT_104"])
    assert grammar.allowed()[offs].all()


def test_pitches_that_sound_are_not_counted_on_for_a_chord() -> None:
    """All guitar notes and all piano notes but the four lowest sound: only those can make the chord, in order."""
    grammar = begin(limits(2000), np.array([SECOND]))
    grammar.accept(v.ID_OF["BAR_4"])
    grammar.accept(v.ID_OF["TIMESHIFT_504"])  # notes without CHORD do not sound together for two beats
    for family in (v.GUITAR, v.PIANO):
        low, high = v.PITCH_RANGE[family]
        for pitch in range(low + (4 if family == v.PIANO else 0), high + 1):
            grammar.accept(int(v.ON_BASE[family]) + pitch)
    grammar.accept(v.ID_OF["TIMESHIFT_496"])
    grammar.accept(v.CHORD)
    for expected in ({21, 22}, {22, 23}, {23, 24}):
        live = np.flatnonzero(grammar.allowed())
        pitched = live[v.FAMILY[live] == v.PIANO]
        assert set(v.VALUE[pitched].tolist()) == expected
        assert not (v.FAMILY[live] == v.GUITAR).any()
        grammar.accept(int(pitched[0]))


def test_no_long_chord_without_chord() -> None:
    """Of four notes of piano two end before they have lasted two beats, whichever the model likes, and no strings'."""
    grammar = begin(limits(2000))
    names = ["BAR_4", "ON_BASS_40", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67", "ON_PIANO_71"]
    for name in [*names, "ON_STRINGS_60", "ON_STRINGS_64", "ON_STRINGS_67"]:
        grammar.accept(v.ID_OF[name])
    shifts = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))
    assert v.VALUE[shifts].max() == int(1.75 * 62.5)
    grammar.accept(int(shifts.max()))
    allowed = np.flatnonzero(grammar.allowed())
    assert (v.KIND[allowed] == v.K_OFF).all()
    piano = [v.NAMES[i] for i in allowed if v.FAMILY[i] == v.PIANO]
    assert piano == ["OFF_PIANO_60", "OFF_PIANO_64", "OFF_PIANO_67"]  # not the last one first: another must follow
    grammar.accept(v.ID_OF["OFF_PIANO_64"])
    left = np.flatnonzero(grammar.allowed())
    assert [v.NAMES[i] for i in left] == ["OFF_PIANO_67", "OFF_PIANO_71"]
    grammar.accept(v.ID_OF["OFF_PIANO_71"])
    assert grammar.allowed()[[v.ID_OF["TIMESHIFT_1000"], v.ID_OF["OFF_STRINGS_60"]]].all()


def test_a_chord_without_chord_at_the_end_of_the_longest_and_slowest_bar() -> None:
    beat = 184
    grammar = begin(limits(8000, beat_steps=beat, grid=True))
    take(grammar, "BAR_8")
    at = 8 * beat - beat // 4  # the last sixteenth
    while grammar.step < at:
        grammar.accept(v.SHIFT_BASE + min(at - grammar.step, v.MAX_SHIFT_STEPS))
    take(grammar, "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67")
    while grammar.step < at + 2 * beat:
        allowed = np.flatnonzero(grammar.allowed())
        shifts = allowed[v.KIND[allowed] == v.K_TIMESHIFT]
        grammar.accept(int(shifts[-1] if len(shifts) else allowed[0]))
    assert len(grammar.sounding) <= 2


def test_notes_end_after_four_beats() -> None:
    """Without a second bar a beat is half a second: notes that nobody closes are closed after two."""

    def notes_once(live: np.ndarray, rng: np.random.Generator) -> int:
        if v.ID_OF["ON_BASS_40"] in live:
            return v.ID_OF["ON_BASS_40"]
        return preferring("TIMESHIFT_1000", "TIMESHIFT", "CHORD")(live, rng)

    for targets in ([], [700]):
        _, naive = composed(3000, targets, notes_once)
        assert 250 <= max(naive.lengths) <= 251


@pytest.mark.parametrize("policy", ["ON", "crowding", "uniformly"])
def test_no_family_plays_more_notes_than_its_players_can(policy: str) -> None:
    ids, _ = composed(1500, [], POLICIES[policy])
    sounding = dict.fromkeys(MAX_SOUNDING, 0)
    most = dict(sounding)
    for i in ids:
        if v.FAMILY[i] in sounding:
            sounding[v.FAMILY[i]] += 1 if v.KIND[i] == v.K_ON else -1
            most[v.FAMILY[i]] = max(most[v.FAMILY[i]], sounding[v.FAMILY[i]])
    assert all(most[family] <= MAX_SOUNDING[family] for family in most)
    assert policy != "ON" or most[v.BASS] == MAX_SOUNDING[v.BASS]


def test_bars_give_the_tempo_and_keep_to_it() -> None:
    grammar = begin(limits(5000))

    def move(steps: int) -> None:
        while steps:
            grammar.accept(v.SHIFT_BASE + min(steps, SECOND))
            steps -= min(steps, SECOND)

    def bar_may_come_after(steps: int) -> bool:
        other = begin(limits(5000))
        state = other.state
        state.step, state.bars, state.beat_steps = grammar.step, list(grammar.bars), grammar.beat_steps
        other.accept(v.SHIFT_BASE + 1)
        state.step = grammar.step + steps
        return bool(other.allowed()[v.ID_OF["BAR_4"]])

    grammar.accept(v.ID_OF["BAR_4"])
    assert [bar_may_come_after(s) for s in (99, 100, 750)] == [False, True, True]
    # Missed: on any later beat (of half a second, for want of a tempo), however late.
    assert [bar_may_come_after(s) for s in (781, 812, 844, 2500, 2531)] == [False, True, False, True, False]
    for _ in range(3):
        move(200)
        grammar.accept(v.ID_OF["BAR_4"])
    assert grammar.beat_steps == 50
    assert [bar_may_come_after(s) for s in (100, 175, 177, 200)] == [False, False, True, True]
    # None is missed any more: time stops where the next one belongs until it is there.
    assert grammar.next_bar() == 800
    move(10)
    grammar.accept(v.ID_OF["ON_BASS_40"])
    move(140)
    longest = np.flatnonzero(grammar.allowed() & (v.KIND == v.K_TIMESHIFT))[-1]
    assert v.VALUE[longest] == 50
    move(50)
    assert set(v.KIND[grammar.allowed()].tolist()) == {v.K_BAR, v.K_OFF}
    grammar.accept(v.ID_OF["BAR_4"])
    # One that comes a little early quickens the tempo.
    move(190)
    grammar.accept(v.ID_OF["BAR_3"])
    assert grammar.beat_steps == 47.5
    assert grammar.next_bar() == 990 + 142


def test_a_hit_begins_a_bar_and_leaves_the_tempo_alone() -> None:
    """A bar cut short by a hit once quartered the beat, and with it how long the chord was held."""
    grammar = begin(limits(5000), np.array([860]))
    for _ in range(4):
        grammar.accept(v.ID_OF["BAR_4"])
        for _ in range(2):
            grammar.accept(v.SHIFT_BASE + 100)
    grammar.accept(v.ID_OF["BAR_4"])
    grammar.accept(v.SHIFT_BASE + 60)
    assert grammar.step == 860
    grammar.accept(v.ID_OF["BAR_4"])
    assert grammar.beat_steps == 50
    for name in ("CHORD", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67", "TIMESHIFT_792"):
        assert grammar.allowed()[v.ID_OF[name]], name
        grammar.accept(v.ID_OF[name])
    assert not grammar.allowed()[v.ID_OF["OFF_PIANO_60"]], "99 of 100 steps"


def test_pieces_do_not_know_of_one_another() -> None:
    alone = [walk(begin(limits(300), np.array([100])), by_kind, seed) for seed in (1, 2)]
    grammars = [begin(limits(300), np.array([100])) for _ in range(2)]
    rngs = [np.random.default_rng(seed) for seed in (1, 2)]
    together: list[list[int]] = [[], []]
    while not all(grammar.finished for grammar in grammars):
        for grammar, rng, ids in zip(grammars, rngs, together, strict=True):
            if not grammar.finished:
                ids.append(by_kind(np.flatnonzero(grammar.allowed()), rng))
                grammar.accept(ids[-1])
    assert together == alone


def test_behind_the_end_there_is_only_padding() -> None:
    grammar = begin(limits(10))
    walk(grammar, lowest)
    assert np.flatnonzero(grammar.allowed()).tolist() == [v.PAD]


@pytest.mark.parametrize("finish", [False, True])
def test_asking_does_not_change_the_answer(finish: bool) -> None:
    grammar = begin(limits(800, finish=finish), np.array([200]))
    rng = np.random.default_rng(0)
    while not grammar.finished:
        once = grammar.allowed()
        once[:] ^= grammar.allowed()
        assert not once.any()
        grammar.accept(by_kind(np.flatnonzero(grammar.allowed()), rng))


def test_a_piece_needs_a_length() -> None:
    with pytest.raises(InputError, match=r"0 s is too short; give at least 0\.008 s"):
        begin(limits(0))


def test_what_begins_late_may_end_early() -> None:
    """END comes up to a second before the end, once nothing sounds and nothing is due."""
    grammar = begin(limits(500))
    grammar.accept(v.ID_OF["BAR_4"])
    for _ in range(3):
        assert not grammar.allowed()[v.END]
        grammar.accept(v.SHIFT_BASE + SECOND)
    assert grammar.step == 500 - SECOND
    assert grammar.allowed()[v.END]
    grammar.accept(v.ID_OF["ON_BASS_40"])
    assert not grammar.allowed()[v.END]
