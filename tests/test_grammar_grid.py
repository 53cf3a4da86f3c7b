"""The grammar on the grid: a given tempo, sixteenths and triplets, and what may leave them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from tests.grammar_walks import (
    BEAT,
    POLICIES,
    SECOND,
    begin,
    finished,
    limits,
    shifts,
    steps,
    take,
    walk,
)


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "ON", "BAR", "longest steps"])
def test_a_tempo_that_is_given_is_kept(policy: str) -> None:
    """Bars of whole beats from the first on, but where a hit begins one; the grammar never loses count."""
    for targets in ([], [700, 1330]):
        grammar = begin(limits(2500, beat_steps=60), np.array(targets, dtype=np.int64))
        walk(grammar, POLICIES[policy], 3)
        assert grammar.beat_steps == 60
        assert set(targets) <= set(grammar.chords)
        for (at, half), (following, _) in itertools.pairwise(grammar.bars):
            assert following - at == half * 30 or following in targets


@pytest.mark.parametrize("beat", [24.9, 188, float("nan")])
def test_an_impossible_tempo_is_refused(beat: float) -> None:
    with pytest.raises(InputError, match="is not between 40 and 300 quarter notes per minute"):
        begin(limits(100, beat_steps=beat))


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps", "longest steps", "BAR"])
def test_on_the_grid_every_event_is_on_a_sixteenth_of_its_bar(policy: str) -> None:
    for targets in ([], [240, 720, 1200]):
        grammar = begin(limits(1650, beat_steps=60, grid=True), np.array(targets, dtype=np.int64))
        ids = walk(grammar, POLICIES[policy], 5)
        steps = np.cumsum(v.SHIFT_STEPS[ids])
        assert (steps[v.KIND[ids] == v.K_ON] % 15 == 0).all()
        assert set(targets) <= set(grammar.chords)
        assert steps[-1] <= 1650


def test_a_boundary_off_the_grid_is_met_all_the_same() -> None:
    grammar = begin(limits(1650, beat_steps=60, grid=True), np.array([247]))
    walk(grammar, POLICIES["longest steps"], 5)
    assert 247 in grammar.chords


def moments(ids: list[int]) -> Iterator[tuple[int, list[str], int, int]]:
    """Step, events by name, and step of the last bar line before and after them, of each moment in turn."""
    step, bar = 0, 0
    names = [v.NAMES[i] for i in ids]
    ends = [i for i, name in enumerate(names) if name.startswith("TIMESHIFT_")]
    for start, end in itertools.pairwise([-1, *ends, len(names)]):
        here = names[start + 1 : end]
        before, bar = bar, step if any(name.startswith("BAR_") for name in here) else bar
        yield step, here, before, bar
        step += int(names[end].removeprefix("TIMESHIFT_")) // 8 if end < len(names) else 0


@settings(max_examples=60)
@given(
    end=st.integers(1, 1600),
    targets=steps(1600),
    beat=st.integers(7, 46).map(lambda sixteenth: 4 * sixteenth),
    policy=st.sampled_from(sorted(POLICIES)),
    seed=st.integers(0, 2**32),
    finish=st.booleans(),
    triplets=st.booleans(),
)
@example(end=1600, targets=[247], beat=60, policy="by kind", seed=0, finish=False, triplets=False)
@example(end=171, targets=[15], beat=28, policy="BAR", seed=0, finish=True, triplets=False)
@example(end=1597, targets=[247, 900], beat=60, policy="shortest steps", seed=0, finish=True, triplets=False)
def test_with_loose_ends_only_offs_leave_the_grid(
    end: int, targets: list[int], beat: int, policy: str, seed: int, finish: bool, triplets: bool
) -> None:
    """All else is on a sixteenth of its bar or a triplet, where those are wanted, on a hit, or where the piece closes,
    which a bar that begins on a hit may leave off the grid; and no moment off the grid is without an OFF.
    """
    asked = limits(end, beat_steps=beat, grid=True, finish=finish, triplets=triplets)
    grammar = begin(asked, np.array(targets, dtype=np.int64))
    ids = walk(grammar, POLICIES[policy], seed)
    asked = [*targets, end, *(grammar.chords[-1:] if grammar.closed else [])]
    sounding: set[str] = set()
    landed = []
    for step, names, before, bar in moments(ids):
        for name in names:
            kind, _, note = name.partition("_")
            if kind == "ON" and not note.startswith("DRUMS"):
                assert note not in sounding
                sounding.add(note)
            elif kind == "OFF":
                sounding.remove(note)
        landed += [step] if "CHORD" in names else []
        if step in asked or (step - before) * 4 % beat == 0:
            continue
        if triplets and abs((step - before) - round((step - before) * 6 / beat) * beat / 6) <= 0.5:
            continue
        assert bar == before, f"a bar at {step}"
        kinds = [name.partition("_")[0] for name in names]
        assert set(kinds) <= {"OFF", "END"}, names
        assert kinds[0] == "OFF", names
    assert not sounding
    met = [t for t in targets if t < end - 25]
    assert all(any(abs(t - at) < SECOND for at in landed) for t in met)
    assert not met or met[0] in landed


def ends_off_the_grid(policy: str, *, loose_ends: bool) -> tuple[int, int]:
    """How many OFFs are off the sixteenths, and how many of those off the 24th parts of a beat."""
    asked = limits(1620, beat_steps=BEAT, grid=True, loose_ends=loose_ends)
    clock = [step for step, names, _, _ in moments(walk(begin(asked), POLICIES[policy], 7)) for name in names
             if name.startswith("OFF_") and step < 1620]  # fmt: skip
    ticks = {round(tick * 2.5 + lean) for tick in range(660) for lean in (-0.1, 0.1)}
    return sum(step % 15 != 0 for step in clock), sum(step not in ticks for step in clock)


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps"])
def test_loose_ends_are_on_the_ticks_that_songs_are_written_in(policy: str) -> None:
    loose, between = ends_off_the_grid(policy, loose_ends=True)
    assert loose > 10
    assert between == 0
    assert ends_off_the_grid(policy, loose_ends=False) == (0, 0)


def test_notes_begin_on_triplets_where_those_are_wanted() -> None:
    def onsets(triplets: bool, loose_ends: bool) -> set[int]:
        asked = limits(1620, beat_steps=BEAT, grid=True, triplets=triplets, loose_ends=loose_ends)
        walks = [moments(walk(begin(asked), POLICIES["uniformly"], seed)) for seed in range(3)]
        begun = [(step - bar) % BEAT for of in walks for step, names, _, bar in of if any("ON_" in n for n in names)]
        return set(begun)

    sixteenths, thirds = {0, 15, 30, 45}, {10, 20, 40, 50}
    for loose_ends in (True, False):
        assert onsets(False, loose_ends) <= sixteenths
        assert onsets(True, loose_ends) == sixteenths | thirds


def test_what_leaves_the_grid_is_reported() -> None:
    assert len(begin(limits(2000, beat_steps=BEAT, grid=True)).off_grid()) == 0, "before the first bar"
    for asked in (limits(2000, beat_steps=BEAT), limits(2000, beat_steps=BEAT, grid=True, loose_ends=False)):
        grammar = begin(asked)
        take(grammar, "BAR_4")
        assert len(grammar.off_grid()) == 0
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True), np.array([52]))
    take(grammar, "BAR_4")
    reported = {int(v.VALUE[i]) for i in grammar.off_grid()}
    assert reported == {s for s in range(1, 126) if s % 15} - {52}, "a chord may come on the hit at 52"
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True, loose_ends=False, triplets=True))
    take(grammar, "BAR_4")
    assert {10, 20} <= {int(v.VALUE[i]) for i in grammar.off_grid()}, "triplets are off the sixteenths"


def test_time_leaves_the_grid_only_for_what_may_be_closed_there() -> None:
    grammar = begin(limits(2000, beat_steps=BEAT, grid=True))
    take(grammar, "BAR_4")
    on_grid = set(range(15, 126, 15))
    assert shifts(grammar) == on_grid, "nothing sounds"
    take(grammar, "CHORD", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67")
    assert shifts(grammar) == on_grid, "a chord is held for two beats, and this is less"
    take(grammar, "TIMESHIFT_720")
    assert shifts(grammar) == {s for s in range(36, 126) if s % 15 in (0, 2, 3, 5, 7, 8, 10, 12, 13)} | {15, 30}, (
        "126 steps are two beats and a twentieth: 36 from here, the chord may be closed"
    )
    take(grammar, "ON_BASS_40")
    assert min(shifts(grammar)) == 7, "the bass may be closed from its third tick on"
    take(grammar, "TIMESHIFT_56")
    assert np.flatnonzero(grammar.allowed()).tolist() == [v.ID_OF["OFF_BASS_40"]]
    take(grammar, "OFF_BASS_40")
    assert set(v.KIND[grammar.allowed()].tolist()) == {v.K_TIMESHIFT}
    assert min(shifts(grammar)) == 8, "back to the grid, as the chord is still held"
    take(grammar, "TIMESHIFT_64")
    assert grammar.allowed()[v.ID_OF["ON_BASS_40"]]


@pytest.mark.parametrize("policy", ["uniformly", "by kind", "shortest steps"])
def test_on_the_grid_no_note_is_a_click(policy: str) -> None:
    end, shortest = 1500, 3 * BEAT // 24
    lengths: list[int] = []
    for seed in range(9):
        ids, steps, _ = finished(end, [400, 1100], POLICIES[policy], seed)
        begun: dict[int, int] = {}
        for event, step in zip(ids, steps.tolist(), strict=True):
            if v.KIND[event] == v.K_ON and v.FAMILY[event] != v.DRUMS:
                begun[event] = step
            elif v.KIND[event] == v.K_OFF and step < end:
                lengths.append(step - begun[int(v.PARTNER[event])])
    assert min(lengths) == shortest == 7


def test_places_are_counted_in_sixteenths_from_the_bar_line() -> None:
    grammar = begin(limits(1650, beat_steps=60, grid=True), np.array([], dtype=np.int64))
    assert math.isnan(grammar.sixteenths), "no bar has begun"
    take(grammar, "BAR_4")
    places = [grammar.sixteenths]
    for _ in range(3):
        take(grammar, "TIMESHIFT_120", "ON_DRUMS_36")
        places.append(grammar.sixteenths)
    assert places == [0, 1, 2, 3]
    take(grammar, "TIMESHIFT_960", "ON_DRUMS_36", "TIMESHIFT_600", "BAR_4")
    assert grammar.sixteenths == 0, "counted from the bar that has just begun"
    free = begin(limits(1650, beat_steps=60), np.array([], dtype=np.int64))
    take(free, "BAR_4")
    assert math.isnan(free.sixteenths), "without a grid there are no places"
