from __future__ import annotations

import dataclasses
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from emsync.errors import InputError
from emsync.score import FAMILIES, Bars, Instrument, KeySignature, Marker, Score, TempoMap
from tests.strategies import grids, scores

PIANO = Instrument("Piano", 0)
DRUMS = Instrument("Drums", 0, True)


def song(**changes: object) -> Score:
    """Three notes of two instruments, given out of order."""
    values: dict[str, object] = {
        "instruments": (PIANO, DRUMS),
        "instrument": [1, 0, 0],
        "pitch": [36, 64, 60],
        "velocity": [100, 80, 90],
        "start_s": [1.0, 0.5, 0.5],
        "end_s": [1.1, 2.5, 2.0],
        "tempo": TempoMap([0.0, 2.0], [120.0, 60.0]),
        "bars": Bars([0.0, 2.0], [4, 3], [4, 4]),
        "markers": [Marker(2.0, "Cut 2"), Marker(0.5, "Cut 1")],
        "keys": [KeySignature(0.0, 9, True)],
    }
    return Score(**{**values, **changes})  # type: ignore[arg-type]


def test_notes_are_sorted_and_read_only() -> None:
    score = song()
    assert score.pitch.tolist() == [60, 64, 36]
    assert score.velocity.tolist() == [90, 80, 100]
    assert score.instrument.tolist() == [0, 0, 1]
    assert [marker.text for marker in score.markers] == ["Cut 1", "Cut 2"]
    assert score.duration_s == 2.5
    assert len(score) == 3
    for name in ("instrument", "pitch", "velocity", "start_s", "end_s"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(score, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.duration_s = 3.0  # type: ignore[misc]


def test_a_score_does_not_follow_the_array_it_was_made_from() -> None:
    starts = np.array([1.0, 0.5, 0.5])
    score = song(start_s=starts)
    starts[:] = 0.0
    assert score == song()


def test_equality_is_by_value() -> None:
    assert song() == song()
    for changes in (
        {"pitch": [36, 64, 61]},
        {"tempo": TempoMap.constant(120.0)},
        {"bars": Bars([0.0], [4], [4])},
        {"markers": ()},
        {"keys": ()},
        {"duration_s": 4.0},
        {"instruments": (PIANO, Instrument("Kit", 0, True))},
    ):
        assert song() != song(**changes)
    assert song() != "a score"
    with pytest.raises(TypeError, match="unhashable"):
        hash(song())


def test_an_empty_score() -> None:
    empty = Score.empty((PIANO,), duration_s=3.0)
    assert len(empty) == 0
    assert empty.duration_s == 3.0
    assert len(empty.shifted(1.0)) == 0
    assert empty.shifted(1.0).duration_s == 4.0
    assert Score.empty().duration_s == 0.0
    assert len(FAMILIES) == 5


def test_select_and_of() -> None:
    score = song()
    assert score.of(0).pitch.tolist() == [60, 64]
    assert score.of(1).pitch.tolist() == [36]
    assert score.of(1).duration_s == score.duration_s
    assert score.select([True, False, True]).pitch.tolist() == [60, 36]
    assert score.select([2]).pitch.tolist() == [36]
    assert score.select([]).pitch.tolist() == []
    with pytest.raises(InputError, match=r"shape \(2,\) does not fit 3 notes"):
        score.select([True, False])
    with pytest.raises(InputError, match="instrument 2 does not exist; there are 2"):
        score.of(2)


def test_until_cuts_at_an_end() -> None:
    score = song(keys=[KeySignature(0.0, 9, True), KeySignature(1.5, 4)])
    cut = score.until(1.5)
    assert cut.pitch.tolist() == [60, 64, 36]
    assert cut.start_s.tolist() == [0.5, 0.5, 1.0]
    assert cut.end_s.tolist() == [1.5, 1.5, 1.1]
    assert cut.bars == Bars([0.0], [4], [4])
    assert cut.markers == (Marker(0.5, "Cut 1"),)
    assert cut.keys == (KeySignature(0.0, 9, True),)
    assert cut.tempo == score.tempo
    assert cut.duration_s == 1.5
    assert cut.until(1.5) == cut
    assert len(score.until(1.0).bars) == 1
    assert score.until(1.0).pitch.tolist() == [60, 64], "what begins at the end is left out"
    assert len(score.until(1.0005)) == 2, "and so is half a millisecond of a note"
    assert len(score.until(1.002)) == 3
    assert score.until(2.0).bars == cut.bars, "a bar that begins at the end, too"
    nothing = score.until(0.0)
    assert (len(nothing), len(nothing.bars), nothing.duration_s) == (0, 0, 0.0)


def test_until_lengthens_too() -> None:
    assert song().until(4.0) == song(duration_s=4.0)


@pytest.mark.parametrize("end_s", [-0.1, math.nan, math.inf])
def test_until_refuses(end_s: float) -> None:
    with pytest.raises(InputError, match=rf"cannot be cut at {end_s} s; give a number of seconds from 0 on"):
        song().until(end_s)


@given(scores(), st.floats(0.0, 100.0))
def test_nothing_is_past_the_end(score: Score, end_s: float) -> None:
    cut = score.until(end_s)
    assert cut.duration_s == end_s
    assert cut.end_s.max(initial=0.0) <= end_s
    assert all(value < end_s for value in (*cut.start_s, *cut.bars.start_s, *(m.time_s for m in cut.markers)))
    assert len(cut) == (score.start_s < end_s - 1e-3).sum()


def test_shifted_later_and_back() -> None:
    later = song().shifted(1.5)
    assert later.start_s.tolist() == [2.0, 2.0, 2.5]
    assert later.tempo == TempoMap([0.0, 3.5], [120.0, 60.0])
    assert later.bars.start_s.tolist() == [1.5, 3.5]
    assert [marker.time_s for marker in later.markers] == [2.0, 3.5]
    assert later.keys == (KeySignature(1.5, 9, True),)
    back = later.shifted(-1.5)
    assert back == song()


def test_shifted_earlier_cuts_off_what_has_no_notes() -> None:
    score = song(start_s=[3.0, 3.0, 3.5], end_s=[4.0, 4.0, 4.0]).shifted(-2.5)
    assert score.start_s.tolist() == [0.5, 0.5, 1.0]
    assert score.tempo == TempoMap.constant(60.0)
    assert len(score.bars) == 0
    assert score.markers == ()
    assert score.keys == (KeySignature(0.0, 9, True),)
    assert score.duration_s == 1.5
    with pytest.raises(InputError, match=r"puts a note at 0\.5 s before 0 s"):
        song().shifted(-0.6)
    with pytest.raises(InputError, match="finite"):
        song().shifted(math.inf)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pitch": [36, 64, 128]}, r"pitch\[2\] is 128, outside 0 to 127"),
        ({"pitch": [36, 64, -1]}, r"pitch\[2\] is -1, outside"),
        ({"pitch": [36.5, 64, 60]}, "pitch must hold whole numbers"),
        ({"pitch": [36, 64]}, "hold 3, 2, 3, 3, 3 notes"),
        ({"pitch": [[36, 64, 60]]}, r"one row of numbers, not an array of shape \(1, 3\)"),
        ({"velocity": [0, 64, 60]}, r"velocity\[0\] is 0, outside 1 to 127"),
        ({"instrument": [2, 0, 0]}, r"instrument\[0\] is 2, outside 0 to 1"),
        ({"start_s": [-0.1, 0.5, 0.5]}, r"note 0 starts at -0\.1 s"),
        ({"start_s": [1.0, 0.5, 2.0]}, "note 2 ends at 2 s and starts at 2 s; a note needs some length"),
        ({"end_s": [1.1, math.nan, 2.0]}, r"end_s\[1\] is nan"),
        ({"end_s": [1.1, math.inf, 2.0]}, r"end_s\[1\] is inf"),
        ({"end_s": ["x", "y", "z"]}, "end_s must be a row of numbers in seconds"),
        ({"duration_s": 2.0}, r"a duration of 2 s cuts off a note that ends at 2\.5 s"),
        ({"duration_s": math.nan}, "a duration of nan s"),
    ],
)
def test_a_score_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        song(**changes)


def test_parts_refuse() -> None:
    with pytest.raises(InputError, match="program 128, outside 0 to 127; are they counted from 1"):
        Instrument("Gunshot", 128)
    with pytest.raises(InputError, match=r"marker 'x' at -1 s"):
        Marker(-1, "x")
    with pytest.raises(InputError, match=r"marker 'x' at nan s"):
        Marker(math.nan, "x")
    with pytest.raises(InputError, match="tonic 12, outside 0 to 11"):
        KeySignature(0, 12)
    with pytest.raises(InputError, match="key signature at -2 s"):
        KeySignature(-2, 0)
    with pytest.raises(InputError, match="bar 1 at 1 s does not come after bar 0 at 1 s"):
        Bars([1.0, 1.0], [4, 4], [4, 4])
    with pytest.raises(InputError, match="first bar starts at -1 s"):
        Bars([-1.0], [4], [4])
    with pytest.raises(InputError, match="denominator 6 is not a power of two"):
        Bars([0.0], [4], [6])
    with pytest.raises(InputError, match=r"numerator\[0\] is 0, outside 1 to 255"):
        Bars([0.0], [0], [4])
    with pytest.raises(InputError, match="2 starts, 1 numerators and 2 denominators"):
        Bars([0.0, 1.0], [4], [4, 4])
    with pytest.raises(InputError, match=r"the first tempo stands at 1 s"):
        TempoMap([1.0], [120.0])
    with pytest.raises(InputError, match="tempo 1 is 0 quarter notes a minute"):
        TempoMap([0.0, 1.0], [120.0, 0.0])
    with pytest.raises(InputError, match=r"tempo 0 is 100001 quarter notes a minute"):
        TempoMap.constant(100001.0)
    with pytest.raises(InputError, match="tempo 2 at 1 s does not come after 1 s"):
        TempoMap([0.0, 1.0, 1.0], [120.0, 100.0, 90.0])
    with pytest.raises(InputError, match="0 times and 0 tempi"):
        TempoMap([], [])


def test_quarters_and_seconds() -> None:
    tempo = TempoMap([0.0, 2.0, 3.0], [120.0, 60.0, 240.0])
    assert tempo.quarters.tolist() == [0.0, 4.0, 5.0]
    times_s = [-1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 4.0]
    quarters = [-2.0, 0.0, 2.0, 4.0, 4.5, 5.0, 9.0]
    assert tempo.quarters_at(times_s).tolist() == quarters
    assert tempo.seconds_at(quarters).tolist() == times_s
    assert float(tempo.quarters_at(2.5)) == 4.5
    assert tempo.quarters_at([[0.0, 1.0]]).shape == (1, 2)
    assert tempo.qpm_at([0.0, 1.99, 2.0, 9.0]).tolist() == [120.0, 120.0, 60.0, 240.0]
    assert Bars([0, 1], [6, 4], [8, 4]).quarters.tolist() == [3.0, 4.0]


@given(grids(), st.lists(st.floats(-10.0, 1000.0), min_size=1))
def test_quarters_and_seconds_are_inverses(grid: tuple[TempoMap, Bars], times_s: list[float]) -> None:
    tempo, bars = grid
    np.testing.assert_allclose(tempo.seconds_at(tempo.quarters_at(times_s)), times_s, atol=1e-9)
    places = np.concatenate([[0.0], np.cumsum(bars.quarters[:-1])])
    np.testing.assert_allclose(tempo.quarters_at(bars.start_s), places, atol=1e-9)


@given(scores(), st.floats(0.0, 100.0))
def test_shifting_keeps_the_notes_on_their_bars(score: Score, seconds: float) -> None:
    later = score.shifted(seconds)
    before = score.tempo.quarters_at(score.start_s)
    moved = later.tempo.quarters_at(later.start_s) - later.tempo.quarters_at(seconds)
    assert len(later) == len(score)
    np.testing.assert_allclose(np.sort(moved), np.sort(before), atol=1e-6)


# --- TempoMap.from_bars ----------------------------------------------------------------------------------------------


def on_steps(times_s: np.ndarray) -> np.ndarray:
    """Times on the tokenizer's grid of 8 ms."""
    return np.rint(times_s / 0.008) * 0.008


def assert_on_grid(tempo: TempoMap, bars: Bars) -> None:
    """Bar i is exactly as many quarters from 0 as the bars before it are long, and tempo changes only at bars."""
    assert bars.start_s[0] == 0.0
    places = np.concatenate([[0.0], np.cumsum(bars.quarters[:-1])])
    np.testing.assert_allclose(tempo.quarters_at(bars.start_s), places, rtol=1e-12, atol=1e-9)
    assert np.isin(np.round(tempo.quarters, 6), np.round(places, 6)).all()


def nearest_s(bars: Bars, times_s: np.ndarray) -> np.ndarray:
    """The distance from each time to the nearest bar (T,)."""
    return np.abs(bars.start_s[:, None] - np.asarray(times_s)[None]).min(0)


@pytest.mark.parametrize("qpm", [61.0, 97.3, 120.0, 133.7, 183.3, 240.0])
def test_jitter_of_the_grid_is_one_tempo(qpm: float) -> None:
    start_s = on_steps(np.arange(400) * 240 / qpm)
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.full(400, 4), np.full(400, 4)))
    assert tempo == TempoMap.constant(qpm)  # the roundest number that fits is the one it was
    assert np.abs(bars.start_s - start_s).max() <= 0.004 + 1e-6
    assert_on_grid(tempo, bars)


def test_a_real_change_of_tempo_is_one_change() -> None:
    start_s = on_steps(np.cumsum(np.append(0.0, np.repeat([2.4, 1.7142857], 20))))
    given_bars = Bars(start_s, np.full(41, 4), np.full(41, 4))
    tempo, bars = TempoMap.from_bars(given_bars)
    assert tempo.qpm.tolist() == pytest.approx([100.0, 140.0], rel=1e-3)
    assert bars.numerator.tolist() == [4] * 41
    assert np.abs(bars.start_s - start_s).max() <= 0.004 + 1e-6
    assert_on_grid(tempo, bars)


def test_meters_need_no_tempo_changes() -> None:
    quarters = np.array([4, 3, 3.5, 4, 2, 4, 4, 1.5, 4])
    start_s = on_steps(np.append(0.0, np.cumsum(quarters[:-1])) * 0.5)
    half = (quarters * 2).astype(int)
    even = half % 2 == 0
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.where(even, half // 2, half), np.where(even, 4, 8)))
    assert tempo == TempoMap.constant(120.0)
    np.testing.assert_array_equal(bars.quarters, quarters)


def test_a_pickup_gets_a_bar_of_its_own() -> None:
    start_s = 1.0 + np.arange(8) * 2.0
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.full(8, 4), np.full(8, 4)))
    assert tempo == TempoMap.constant(120.0)
    assert (bars.numerator[0], bars.denominator[0]) == (2, 4)
    assert bars.start_s.tolist() == [0.0, *start_s]
    # An upbeat of an eighth.
    tempo, bars = TempoMap.from_bars(Bars(start_s - 0.75, np.full(8, 4), np.full(8, 4)))
    assert (bars.numerator[0], bars.denominator[0]) == (1, 8)
    # A long silence is filled with bars.
    tempo, bars = TempoMap.from_bars(Bars(start_s + 20.5, np.full(8, 4), np.full(8, 4)))
    assert bars.quarters.tolist() == [3.0, *[4.0] * 18]
    assert tempo == TempoMap.constant(120.0)
    # Too short to be a bar: the first one begins at 0 instead.
    tempo, bars = TempoMap.from_bars(Bars(start_s - 0.992, np.full(8, 4), np.full(8, 4)))
    assert len(bars) == 8
    assert_on_grid(tempo, bars)


def test_an_irregular_bar_is_written_as_the_odd_meter_it_is() -> None:
    start_s = np.array([0.0, 2.0, 4.0, 5.5, 7.5, 9.5, 10.248, 12.248])  # the third lasts 3 quarters, the sixth 1.5
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.full(8, 4), np.full(8, 4)))
    assert bars.quarters.tolist() == [4.0, 4.0, 3.0, 4.0, 4.0, 1.5, 4.0, 4.0]
    assert (bars.numerator[5], bars.denominator[5]) == (3, 8)
    assert np.abs(bars.start_s - start_s).max() <= 0.004
    assert np.abs(tempo.qpm - 120).max() < 1


def test_missing_bar_lines_are_put_back() -> None:
    start_s = np.array([0.0, 2.0, 4.0, 16.0, 18.0, 20.0])
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.full(6, 4), np.full(6, 4)))
    np.testing.assert_allclose(bars.start_s, np.arange(0.0, 21.0, 2.0), atol=1e-9)
    assert tempo == TempoMap.constant(120.0)


def test_a_bar_line_too_near_to_be_one_is_taken_away() -> None:
    start_s = np.array([0.0, 2.0, 2.008, 4.0, 6.0])
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.full(5, 4), np.full(5, 4)))
    np.testing.assert_allclose(bars.start_s, [0.0, 2.0, 4.0, 6.0], atol=0.004)
    assert bars.numerator.tolist() == [4, 4, 4, 4]
    assert len(tempo) == 1


def test_one_bar() -> None:
    assert TempoMap.from_bars(Bars([0.0], [4], [4]))[0] == TempoMap.constant(120.0)
    assert TempoMap.from_bars(Bars([0.0], [3], [4]), duration_s=2.0)[0].qpm[0] == pytest.approx(90.0)
    assert TempoMap.from_bars(Bars([0.0], [4], [4]), duration_s=0.01)[0] == TempoMap.constant(120.0)


def test_from_bars_refuses() -> None:
    with pytest.raises(InputError, match="no bars were given"):
        TempoMap.from_bars(Bars([], [], []))
    with pytest.raises(InputError, match="tolerance of 0 s"):
        TempoMap.from_bars(Bars([0.0], [4], [4]), tolerance_s=0)
    with pytest.raises(InputError, match="were they given in milliseconds"):
        TempoMap.from_bars(Bars([0.0, 1e7], [4, 4], [4, 4]))


LENGTHS_S = st.lists(
    st.sampled_from([1e-7, 0.008, 0.016, 0.04, 0.12, 0.5, 1.0, 2.0, 2.008, 1.992, 7.3, 60.0]), max_size=30
)


@given(LENGTHS_S, st.floats(0.0, 30.0), st.data())
def test_any_bars_become_a_musical_tempo(lengths_s: list[float], first_s: float, data: st.DataObject) -> None:
    start_s = first_s + np.cumsum([0.0, *lengths_s])
    half = np.array(data.draw(st.lists(st.integers(1, 16), min_size=len(start_s), max_size=len(start_s))))
    even = half % 2 == 0
    tempo, bars = TempoMap.from_bars(Bars(start_s, np.where(even, half // 2, half), np.where(even, 4, 8)))
    assert_on_grid(tempo, bars)
    assert tempo.qpm.min() > 20 * 0.66
    assert tempo.qpm.max() < 400 * 1.34
    # Every returned bar but the first is where one was given, or divides a stretch evenly.
    kept = nearest_s(bars, start_s) <= 0.004 + 1e-6
    assert kept.sum() >= (np.array([0.0, *lengths_s]) >= 0.5).sum() - 1


@given(grids())
def test_bars_on_a_grid_stay_where_they_are(grid: tuple[TempoMap, Bars]) -> None:
    _, bars = grid
    got, moved = TempoMap.from_bars(Bars(bars.start_s, bars.numerator, bars.denominator))
    assert_on_grid(got, moved)
    # Tempo changes of over 12 % that last less than three bars are taken for odd meters, but every bar line stays that
    # is not within a 64th (at 20 quarter notes a minute) of the one before.
    apart = np.append(True, np.diff(bars.start_s) > 0.15)
    assert nearest_s(moved, bars.start_s[apart]).max() <= 0.004 + 1e-6
