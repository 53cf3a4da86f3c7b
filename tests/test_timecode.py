"""Timecodes, and the difference filter."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.errors import InputError
from emsync.video import END_MARGIN_S, spaced, timecode


@pytest.mark.parametrize(
    ("time_s", "rate", "expected"),
    [
        (0.0, Fraction(24), "00:00:00:00"),
        (12 + 7 / 24, Fraction(24), "00:00:12:07"),
        (3723.96, Fraction(25), "01:02:03:24"),
        (60.0, Fraction(30000, 1001), "00:00:59:28"),
        (1.0, Fraction(25, 2), "00:00:01:00"),
        (0.999, Fraction(24), "00:00:01:00"),
        (1.0, Fraction(120), "00:00:01:000"),
        (5.0, Fraction(1, 10), "00:00:05:00"),
        (26.0, Fraction(25, 2), "00:00:26:00"),
        (26.96, Fraction(25, 2), "00:00:26:12"),
        (3600.0, Fraction(101, 4), "01:00:00:00"),
        (3602.165233333333, Fraction(30000, 1001), "00:59:58:17"),
        (127.001875, Fraction(24000, 1001), "00:02:06:21"),
    ],
)
def test_timecode(time_s: float, rate: Fraction, expected: str) -> None:
    assert timecode(time_s, rate) == expected


@given(st.integers(0, 10**7), st.sampled_from([Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60)]))
def test_timecode_counts_every_frame(frame: int, rate: Fraction) -> None:
    hours, minutes, seconds, frames = map(int, timecode(float(frame / rate), rate).split(":"))
    assert (hours * 3600 + minutes * 60 + seconds) * round(rate) + frames == frame


@given(st.floats(0, 1e5), st.fractions(Fraction(1), Fraction(120), max_denominator=60))
def test_the_seconds_of_a_label_agree_with_the_time(time_s: float, rate: Fraction) -> None:
    hours, minutes, seconds, frame = map(int, timecode(time_s, rate).split(":"))
    assert abs(hours * 3600 + minutes * 60 + seconds + frame / rate - time_s) <= 0.5 / rate + 1e-9


@pytest.mark.parametrize(
    ("frame", "rate", "expected"),
    [
        (1799, Fraction(30000, 1001), "00:00:59;29"),
        (1800, Fraction(30000, 1001), "00:01:00;02"),
        (3597, Fraction(30000, 1001), "00:01:59;29"),
        (3598, Fraction(30000, 1001), "00:02:00;02"),
        (17981, Fraction(30000, 1001), "00:09:59;29"),
        (17982, Fraction(30000, 1001), "00:10:00;00"),
        (107892, Fraction(30000, 1001), "01:00:00;00"),
        (3600, Fraction(60000, 1001), "00:01:00;04"),
        (215784, Fraction(60000, 1001), "01:00:00;00"),
    ],
)
def test_drop_frame_labels(frame: int, rate: Fraction, expected: str) -> None:
    assert timecode(float(frame / rate), rate, drop_frame=True) == expected


def test_drop_frame_is_for_two_rates_only() -> None:
    with pytest.raises(InputError, match=r"there is no drop-frame at 25 frames a second; it is for 29\.97 and 59\.94"):
        timecode(1.0, Fraction(25), drop_frame=True)


@pytest.mark.parametrize(("time_s", "rate"), [(-0.1, Fraction(24)), (math.nan, Fraction(24)), (1.0, Fraction(0))])
def test_what_has_no_timecode(time_s: float, rate: Fraction) -> None:
    with pytest.raises(InputError, match="has no timecode"):
        timecode(time_s, rate)


def test_spaced_compares_with_the_cut_kept_before() -> None:
    assert spaced([1, 4, 6, 8, 9, 13]).tolist() == [1, 6, 13]


def test_spaced_drops_cuts_at_either_end() -> None:
    assert spaced([0, 0.2, 5, 9.9], duration_s=10).tolist() == [5]
    assert spaced([0, 5, 9.9], 0).tolist() == [5, 9.9]
    assert spaced([]).tolist() == []


def test_spaced_keeps_cuts_that_are_exactly_so_far_apart() -> None:
    cuts_s = 0.7 + 0.1 * np.arange(1, 500, 40)
    assert spaced(cuts_s).tolist() == cuts_s.tolist()


@given(st.lists(st.floats(0, 600), unique=True).map(sorted), st.floats(0, 20), st.one_of(st.none(), st.floats(1, 600)))
def test_spaced_is_a_spaced_subset_and_drops_nothing_else(
    cuts_s: list[float], t_diff_s: float, duration_s: float | None
) -> None:
    kept = spaced(cuts_s, t_diff_s, duration_s=duration_s).tolist()
    until_s = math.inf if duration_s is None else duration_s - END_MARGIN_S
    assert set(kept) <= set(cuts_s)
    assert all(END_MARGIN_S <= cut_s <= until_s for cut_s in kept)
    assert all(b - a >= t_diff_s - 1e-5 for a, b in itertools.pairwise(kept))
    for dropped in set(cuts_s) - set(kept):
        near = [cut_s for cut_s in kept if 0 <= dropped - cut_s < t_diff_s]
        assert near or not END_MARGIN_S <= dropped <= until_s


@pytest.mark.parametrize("t_diff_s", [-1.0, math.nan, math.inf])
def test_spaced_refuses_a_distance_that_is_none(t_diff_s: float) -> None:
    with pytest.raises(InputError, match=r"t_diff is .* give 0"):
        spaced([1.0], t_diff_s)
