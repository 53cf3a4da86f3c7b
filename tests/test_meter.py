"""Where in the bar the music is, as its events tell it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import meter
from emsync import vocabulary as v
from emsync.meter import BARS, NOWHERE, POSITIONS, SIXTEENTHS, Meter, lengths, of_events
from emsync.tokenizer.events import times_steps

ON = int(v.ON_BASE[v.PIANO]) + 60


def bar(quarters: float) -> int:
    return v.BAR_BASE + int(2 * quarters)


def shift(steps: int) -> int:
    return v.SHIFT_BASE + steps


#: Two bars of four quarters in sixteenths of 16 steps, one of three in sixteenths of 20, and one more.
SONG = np.array([
    v.START, bar(4), ON, shift(64), ON, shift(100), shift(92), bar(4), shift(8), ON, shift(124), shift(124), bar(3), ON,
    shift(120), ON, shift(120), bar(4), ON, shift(10), v.END,
])  # fmt: skip
NAN = math.nan
TOLD = [
    (NAN, NAN, NAN), (0, 0, 16), (0, 0, 16), (24, 0, 16), (24, 0, 16), (62, 0, 16), (96, 0, 16),
    (0, 1, 16), (3, 1, 16), (3, 1, 16), (50, 1, 16), (96, 1, 16),
    (0, 2, 16), (0, 2, 16), (45, 2, 16), (45, 2, 16), (90, 2, 16),
    (0, 3, 20), (0, 3, 20), (3, 3, 20), (3, 3, 20),
]  # fmt: skip


def test_the_tempo_is_that_of_the_bar_before() -> None:
    steps = times_steps(SONG)
    assert lengths(SONG, steps).tolist() == [16, 16, 20]
    np.testing.assert_array_equal(of_events(SONG, steps, 16.0), np.array(TOLD, dtype=np.float32))


def test_nothing_is_given_before_it_can_be_known() -> None:
    found = of_events(SONG, times_steps(SONG))
    assert np.isnan(found[:7, 0]).all()
    assert np.isnan(found[:7, 2]).all()
    assert found[1:7, 1].tolist() == [0] * 6
    np.testing.assert_array_equal(found[7:], np.array(TOLD[7:], dtype=np.float32))
    # What comes later changes nothing before it.
    for stop in range(1, len(SONG)):
        np.testing.assert_array_equal(of_events(SONG[:stop], times_steps(SONG[:stop])), found[:stop])


def test_music_without_bars_is_nowhere() -> None:
    ids = np.array([v.START, ON, shift(10), v.END])
    assert np.isnan(of_events(ids, times_steps(ids), 16.0)).all()
    assert of_events(ids[:0], ids[:0]).shape == (0, meter.N_VALUES)


def test_values_stay_within_their_tables() -> None:
    many = [event for n in range(20) for event in (bar(0.5), shift(1 + 6 * n))]
    ids = np.array([v.START, *many, bar(8), *[shift(125)] * 40, bar(4), ON])
    found = of_events(ids, times_steps(ids), 1.0)
    inside = found[1:]
    assert inside.min() >= 0
    assert (inside.max(axis=0) < [POSITIONS, BARS, SIXTEENTHS]).all()
    assert inside[-1].tolist() == [0, 21 % BARS, SIXTEENTHS - 1]
    assert found[-3, 0] == POSITIONS - 1


EVENTS: Any = st.lists(
    st.one_of(
        st.integers(1, v.MAX_SHIFT_STEPS).map(shift), st.integers(1, 16).map(lambda h: v.BAR_BASE + h), st.just(ON)
    ),
    max_size=60,
)


@given(EVENTS, st.none() | st.integers(1, 63))
def test_event_by_event_it_is_the_same(events: list[int], first: int | None) -> None:
    """A given tempo holds for every bar, so that the two are compared bar by bar there."""
    ids = np.array([v.START, *events])
    steps = times_steps(ids)
    running = Meter(first)
    stepwise = [NOWHERE]
    for event, step in zip(ids[1:].tolist(), steps[1:].tolist(), strict=True):
        if v.KIND[event] == v.K_BAR:
            running.begin(step, int(v.VALUE[event]))
        stepwise.append(running.at(step))
    found = of_events(ids, steps, first)
    until = len(ids) if first is None else [*np.flatnonzero(v.KIND[ids] == v.K_BAR), len(ids), len(ids)][1]
    np.testing.assert_array_equal(np.array(stepwise, dtype=np.float32)[:until], found[:until])


def test_a_given_tempo_holds_although_a_hit_cuts_a_bar() -> None:
    running = Meter(15.0)
    running.begin(0, 8)
    running.begin(100, 8)
    assert running.at(160) == (24, 1, 15)
    free = Meter()
    free.begin(0, 8)
    assert free.at(60)[1] == 0
    assert math.isnan(free.at(60)[0])
    free.begin(240, 8)
    assert free.at(300) == (24, 1, 15)


@pytest.mark.parametrize("sixteenth", [0.2, 500.0])
def test_a_tempo_beyond_the_table_is_its_last(sixteenth: float) -> None:
    running = Meter(sixteenth)
    running.begin(0, 8)
    expected = 1 if sixteenth < 1 else SIXTEENTHS - 1
    assert running.at(0)[2] == expected
    assert of_events(SONG, times_steps(SONG), sixteenth)[1, 2] == expected
