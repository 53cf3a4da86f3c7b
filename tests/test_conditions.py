"""Conditions: offsets as the paper's Algorithm 1 gives them, time to end, curves, what is absent or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emsync.conditions import (
    LANE_NAMES,
    LANES,
    MAX_OFFSET_S,
    MAX_TO_END_S,
    N_LANES,
    SENSITIVITY_S,
    Conditions,
    boundary_offsets,
    consume,
)
from emsync.errors import EmsyncError, InputError
from emsync.vocabulary import MAX_SHIFT_STEPS, STEP_S

BOUNDARY, VALENCE, AROUSAL, TO_END = (LANE_NAMES.index(n) for n in ("boundary", "valence", "arousal", "time_to_end"))

Events = Sequence[tuple[int, bool]]  # (steps the clock moves, whether the event is CHORD)


def algorithm_1(events: Events, boundaries_s: Sequence[float]) -> list[float]:
    """The paper's Algorithm 1, line by line, with the events already generated; a step moves the clock by 8 ms."""
    clock_steps = 0
    b = list(boundaries_s)
    delta = []
    for shift_steps, is_chord in events:
        if shift_steps:
            clock_steps += shift_steps
        c = clock_steps * STEP_S
        if is_chord:
            for i in range(len(b)):
                if abs(c - b[i]) < SENSITIVITY_S:
                    b[i] = math.inf
        delta_b = [each - c for each in b]
        delta_b = [math.inf if each < 0 else each for each in delta_b]
        delta.append(min([*delta_b, MAX_OFFSET_S]))
    return delta


def columns(events: Events) -> tuple[np.ndarray, np.ndarray]:
    times_s = np.cumsum([shift for shift, _ in events], dtype=np.int64) * STEP_S
    return times_s, np.array([chord for _, chord in events], dtype=bool)


#: A CHORD may come with a shift here, so that chords are at equal times, at once, and far apart alike.
event_lists = st.lists(
    st.tuples(st.one_of(st.just(0), st.sampled_from([1, 62, 63, MAX_SHIFT_STEPS]), st.integers(0, 400)), st.booleans()),
    max_size=40,
)
#: Boundaries on the grid (as in music; equal ones too), exactly one second from it, and anywhere (as in film).
boundary_lists = st.lists(
    st.one_of(
        st.integers(0, 4000).map(lambda step: step * STEP_S),
        st.integers(0, 4000).map(lambda step: step * STEP_S + SENSITIVITY_S),
        st.floats(0, 40, allow_nan=False),
    ),
    max_size=12,
).map(sorted)


@given(event_lists, boundary_lists)
@example([(0, True)], [1.0])  # at exactly the sensitivity: not met
@example([(125, True)], [0.0])  # one second behind: passed, not met
@example([(125, True), (1, False)], [1.999])  # just inside: met
@example([(0, False), (125, True), (0, True)], [1.0, 1.0, 2.0, 2.0])  # equal boundaries, chords at one moment
@example([(400, False)] * 3, [])  # no boundary at all
def test_offsets_are_those_of_algorithm_1(events: Events, boundaries_s: list[float]) -> None:
    times_s, is_chord = columns(events)
    got = boundary_offsets(times_s, is_chord, np.array(boundaries_s))
    assert got.shape == (len(events),)
    np.testing.assert_allclose(got, algorithm_1(events, boundaries_s), rtol=0, atol=1e-9)


@given(event_lists, boundary_lists)
def test_one_event_at_a_time_gives_what_a_whole_run_gives(events: Events, boundaries_s: list[float]) -> None:
    times_s, is_chord = columns(events)
    conditions = Conditions(boundaries_s=np.array(boundaries_s), end_s=20.0)
    whole = conditions.at(times_s, is_chord)
    for i, (time_s, chord) in enumerate(zip(times_s, is_chord, strict=True)):
        if chord:
            conditions = conditions.after_chord(time_s)
        np.testing.assert_array_equal(conditions.at(np.array([time_s]))[0], whole[i])


@pytest.mark.parametrize(("step", "met"), [(0, False), (1, True), (249, True), (250, False)])
def test_a_chord_meets_what_is_nearer_than_the_sensitivity(step: int, met: bool) -> None:
    boundary_s = SENSITIVITY_S  # 125 steps: steps 0 and 250 are exactly the sensitivity away
    left = consume(np.array([boundary_s, 30.0]), step * STEP_S)
    np.testing.assert_array_equal(left, [30.0] if met else [boundary_s, 30.0])


def test_offsets_are_capped_and_zero_on_the_boundary() -> None:
    offsets = boundary_offsets(np.array([0.0, 2.0, 9.5, 10.0, 10.008]), np.zeros(5, dtype=bool), np.array([10.0]))
    np.testing.assert_allclose(offsets, [MAX_OFFSET_S, MAX_OFFSET_S, 0.5, 0.0, MAX_OFFSET_S])


def test_time_to_end_is_capped_and_never_negative() -> None:
    lanes = Conditions(end_s=40.0).at(np.array([0.0, 10.0, 39.0, 40.0, 41.0]))
    np.testing.assert_allclose(lanes[:, TO_END], [MAX_TO_END_S, 30.0, 1.0, 0.0, 0.0])


def test_an_end_may_be_given_only_when_it_is_near() -> None:
    lanes = Conditions(end_s=20.0, end_known_s=8.0).at(np.array([0.0, 11.9, 12.0, 19.0, 21.0]))
    np.testing.assert_allclose(lanes[:, TO_END], [MAX_TO_END_S, MAX_TO_END_S, 8.0, 1.0, 0.0])


def test_a_lane_that_is_not_given_is_nan() -> None:
    lanes = Conditions().at(np.arange(3.0), np.array([True, False, True]))
    assert lanes.shape == (3, N_LANES)
    assert lanes.dtype == np.float32
    assert np.isnan(lanes).all()
    assert np.isnan(Conditions().mood).all()
    assert Conditions().after_chord(1.0).boundaries_s is None
    one = Conditions(valence=0.5, piece_arousal=-1.0)
    assert np.isnan(one.at(np.arange(3.0)))[0].tolist() == [name != "valence" for name in LANE_NAMES]
    np.testing.assert_array_equal(one.mood, [np.nan, -1.0])


def test_no_boundary_is_not_the_same_as_none_given() -> None:
    lanes = Conditions(boundaries_s=np.zeros(0)).at(np.arange(3.0))
    np.testing.assert_array_equal(lanes[:, BOUNDARY], MAX_OFFSET_S)


def test_a_curve_is_sampled_at_the_cursor() -> None:
    curve = (np.array([1.0, 3.0, 5.0]), np.array([-1.0, 1.0, np.nan]))
    lanes = Conditions(valence=curve, arousal=0.25).at(np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(lanes[:, VALENCE], [-1.0, -1.0, 0.0, 1.0, np.nan])
    np.testing.assert_allclose(lanes[:, AROUSAL], 0.25)


def test_every_lane_says_where_it_comes_from() -> None:
    for lane in LANES:
        assert lane.low < lane.high
        assert lane.from_score
        assert lane.from_user
        for value in (getattr(lane, field.name) for field in fields(lane) if field.type == "str"):
            assert value == value.strip()
    assert len(set(LANE_NAMES)) == N_LANES


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"boundaries_s": np.array([3.0, 2.0])}, "increasing times in seconds"),
        ({"boundaries_s": np.array([1.0, np.nan])}, "increasing times in seconds"),
        ({"boundaries_s": np.array([1.0, np.inf])}, "increasing times in seconds"),
        ({"boundaries_s": np.zeros((2, 2))}, "one row"),
        ({"end_s": 0.0}, r"the end is at 0\.0 s, but must be a time after 0 s; give the length of the piece"),
        ({"end_s": -3.0}, "but must be a time after 0 s"),
        ({"end_s": math.nan}, "but must be a time after 0 s"),
        ({"end_s": math.inf}, "but must be a time after 0 s"),
        ({"valence": 1.5}, r"valence 1\.5 is outside \[-1, 1\]"),
        ({"arousal": -2.0}, r"arousal -2 is outside \[-1, 1\]"),
        ({"piece_valence": math.inf}, "piece_valence inf is outside"),
        ({"piece_arousal": 7}, "piece_arousal 7 is outside"),
        ({"valence": (np.array([0.0, 1.0]), np.array([0.0, 3.0]))}, "valence 3 is outside"),
        ({"valence": (np.array([0.0, 1.0]), np.array([0.0]))}, "two rows of one length"),
        ({"arousal": (np.zeros(0), np.zeros(0))}, "two rows of one length"),
        ({"arousal": (np.array([1.0, 0.0]), np.zeros(2))}, "arousal's times must be increasing"),
        ({"arousal": (np.array([0.0, np.nan]), np.zeros(2))}, "arousal's times must be increasing"),
    ],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Conditions(**wrong)
    assert isinstance(caught.value, EmsyncError)


def test_a_curve_of_another_lane_is_sampled_at_each_event() -> None:
    """Lanes without a rule of their own come from `curves`; here one that the music gives otherwise."""
    conditions = Conditions(curves={"bar": (np.array([0.0, 4.0]), np.array([0.0, 1.0])), "match": 0.25})
    lanes = conditions.at(np.array([0.0, 1.0, 4.0, 9.0]))
    assert lanes[:, LANE_NAMES.index("bar")].tolist() == [0.0, 0.25, 1.0, 1.0]
    assert lanes[:, LANE_NAMES.index("match")].tolist() == [0.25] * 4
    assert np.isnan(lanes[:, LANE_NAMES.index("copy")]).all()


def test_an_unknown_lane_is_refused() -> None:
    with pytest.raises(InputError, match="there is no lane 'loudness'; lanes are boundary, valence, "):
        Conditions(curves={"loudness": 1.0})
