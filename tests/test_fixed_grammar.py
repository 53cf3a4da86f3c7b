"""A part composed under fixed events: they come as they are, and the rest follows the rules."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.grammar.fixed import FixedGrammar
from emsync.recipe import Recipe

BEAT = 64
BAR = v.BAR_BASE + 8


def on(family: int, pitch: int) -> int:
    return int(v.ON_BASE[family] + pitch)


def off(family: int, pitch: int) -> int:
    return int(v.OFF_BASE[family] + pitch)


def bars(count: int) -> list[tuple[int, int]]:
    return [(bar * 4 * BEAT, BAR) for bar in range(count)]


def in_order(*events: tuple[int, int]) -> list[tuple[int, int]]:
    from emsync.grammar.tables import PLACE

    return sorted(events, key=lambda each: (each[0], PLACE[each[1]]))


def walk(grammar: FixedGrammar, seed: int = 0) -> list[tuple[int, int]]:
    """(step, event) of a random walk through what the grammar allows, with time passing now and then."""
    rng, events = np.random.default_rng(seed), []
    while not grammar.finished:
        allowed = np.flatnonzero(grammar.allowed())
        assert len(allowed)
        weight = np.where(v.KIND[allowed] == v.K_TIMESHIFT, 0.02, 0.3)
        event = int(rng.choice(allowed, p=weight / weight.sum()))
        grammar.accept(event)
        if v.KIND[event] != v.K_TIMESHIFT:
            events.append((grammar.step, event))
    return events


def made(fixed: list[tuple[int, int]], end: int = 8 * BEAT, **options: object) -> FixedGrammar:
    given = {"families": {v.PIANO, v.BASS, v.STRINGS}, "closes": False, "beat_steps": BEAT, **options}
    return FixedGrammar(Recipe(), end, fixed, **given)  # type: ignore[arg-type]


#: A melody that leaves the grid, and a drum.
MELODY = in_order(
    *bars(2), (0, on(v.GUITAR, 60)), (37, off(v.GUITAR, 60)), (37, on(v.GUITAR, 62)), (300, off(v.GUITAR, 62)),
    (300, on(v.DRUMS, 36)), (411, on(v.PIANO, 64)), (500, off(v.PIANO, 64)),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_fixed_events_come_at_their_steps_and_in_order(seed: int) -> None:
    events = walk(made(MELODY), seed)
    left = list(MELODY)
    for event in events:
        if left and event == left[0]:
            left.pop(0)
    assert left == []
    guitar = [each for each in events if v.FAMILY[each[1]] in (v.GUITAR, v.DRUMS)]
    assert guitar == [each for each in MELODY if v.FAMILY[each[1]] in (v.GUITAR, v.DRUMS)]
    assert [step for step, event in events if v.KIND[event] == v.K_BAR] == [0, 4 * BEAT]


@pytest.mark.parametrize("seed", range(4))
def test_notes_are_paired_and_end_with_the_part(seed: int) -> None:
    sounding: dict[int, int] = {}
    for step, event in walk(made(MELODY), seed):
        if v.KIND[event] == v.K_ON and v.FAMILY[event] != v.DRUMS:
            assert event not in sounding, "a note began that sounded already"
            sounding[event] = step
        elif v.KIND[event] == v.K_OFF:
            assert sounding.pop(int(v.PARTNER[event])) < step
    assert sounding == {}


def test_what_hangs_over_the_beginning_sounds_on_and_is_not_struck_again() -> None:
    for seed in range(3):
        grammar = made(in_order((200, off(v.PIANO, 60)), (256, BAR)))
        for event in (BAR, on(v.PIANO, 60), v.SHIFT_BASE + 100):
            grammar.keep(event)
        assert grammar.sounding == [on(v.PIANO, 60)]
        events = walk(grammar, seed)
        assert next(step for step, event in events if event == off(v.PIANO, 60)) == 200
        assert all(step >= 200 for step, event in events if event == on(v.PIANO, 60))


def test_an_equal_fixed_note_ends_the_one_of_the_part() -> None:
    struck = on(v.PIANO, 60)
    grammar = made(in_order(*bars(1), (64, struck), (128, off(v.PIANO, 60))), families={v.PIANO})
    for event in (BAR, struck, v.SHIFT_BASE + 64):
        assert grammar.allowed()[event]
        grammar.accept(event)
    assert grammar.due_event() == off(v.PIANO, 60)
    grammar.accept(off(v.PIANO, 60))
    assert grammar.due_event() == struck
    assert grammar.is_fixed(struck)


def test_boundaries_get_chords_of_three_notes_where_chords_are_composed() -> None:
    from emsync.chords import MIN_PITCHES

    for seed in range(3):
        events = walk(made(MELODY, boundaries=[300]), seed)
        assert (300, v.CHORD) in events
        struck = [event for step, event in events if step == 300 and v.KIND[event] == v.K_ON]
        assert sum(v.FAMILY[event] == v.PIANO for event in struck) >= MIN_PITCHES
    events = walk(made(MELODY, boundaries=[300], families={v.STRINGS}))
    assert all(event != v.CHORD for _, event in events)


def test_a_fixed_chord_on_a_boundary_meets_it() -> None:
    chord = [(256, v.CHORD), *((256, on(v.GUITAR, pitch)) for pitch in (60, 64, 67))]
    ends = [(500, off(v.GUITAR, pitch)) for pitch in (60, 64, 67)]
    events = walk(made(in_order(*bars(2), *chord, *ends), boundaries=[256]))
    assert [step for step, event in events if event == v.CHORD].count(256) == 1


def test_the_last_chord_comes_only_at_the_end_of_the_piece() -> None:
    for closes in (True, False):
        events = walk(made(bars(3), end=12 * BEAT - 3, closes=closes))
        last = max((step for step, event in events if event == v.CHORD), default=-1)
        begun = max(step for step, event in events if v.KIND[event] == v.K_ON)
        assert (last == begun == 8 * BEAT) == closes


def test_only_the_given_families_are_composed() -> None:
    events = walk(made(bars(2), families={v.DRUMS}))
    assert {int(v.FAMILY[event]) for _, event in events if v.KIND[event] == v.K_ON} == {v.DRUMS}
