"""Landing chords on cuts, and counting those that sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.hits import FRAME_S, Hit, closest_s, crowded, land, measure, sounding_chords, warp
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from emsync.tokenizer.families import FAMILY_PROGRAMS

FAMILIES = tuple(
    Instrument(name, program, name == "drums") for name, program in zip(v.FAMILIES, FAMILY_PROGRAMS, strict=True)
)


def score_of(
    notes: Sequence[tuple[int, int, float, float]], *, duration_s: float = 20.0, tempo: TempoMap | None = None
) -> Score:
    """Notes (family, pitch, start_s, end_s); 4/4 at 120 unless another tempo is given."""
    family, pitch, start, end = np.array(notes, dtype=float).reshape(-1, 4).T
    tempo = tempo or TempoMap.constant(120.0)
    bar_s = tempo.seconds_at(np.arange(0, tempo.quarters_at(duration_s) - 1e-9, 4))
    bars = Bars(bar_s, np.full(len(bar_s), 4), np.full(len(bar_s), 4))
    return Score(
        FAMILIES, family.astype(int), pitch.astype(int), np.full(len(family), 80), start, end, tempo, bars,
        [Marker(3.0, "three")], [KeySignature(2.0, 5)], duration_s=duration_s,
    )  # fmt: skip


@pytest.mark.parametrize("qpm", [60.0, 120.0])
def test_how_close_cuts_may_be(qpm: float) -> None:
    """Two beats at the mean tempo, as a chord is held for; a frame sooner is not too soon."""
    beat_s = 60 / qpm
    score = score_of([(1, 60, 0.0, 1.0)], tempo=TempoMap([0.0, 5.0, 15.0], [1.5 * qpm, 0.5 * qpm, 1.5 * qpm]))
    assert closest_s(score) == pytest.approx(2 * beat_s)
    assert closest_s(land(score, [4.0, 8.0], [3.5, 9.0])) == pytest.approx(2 * beat_s)
    gaps = np.array([2.0, 2.0 - 0.9 * FRAME_S / beat_s, 1.0, 1.9 - FRAME_S / beat_s, 3.0]) * beat_s
    assert crowded(score, 1.0 + np.cumsum([0.0, *gaps])) == 2
    assert crowded(score, []) == crowded(score, [3.0]) == 0


def chord(family: int, start_s: float, length_s: float = 1.0, pitches: Sequence[int] = (60, 64, 67)) -> list:
    return [(family, pitch, start_s, start_s + length_s) for pitch in pitches]


TUNE = [(v.STRINGS, 72 + i % 5, i / 2, i / 2 + 0.4) for i in range(39)]
#: A tempo that changes at 4 s (a bar) and at 11.2 s.
CHANGING = TempoMap([0.0, 4.0, 11.2], [120.0, 100.0, 90.0])


# ---- landing -------------------------------------------------------------------------------------------------------

increasing = st.lists(st.integers(1, 60), min_size=1, max_size=6).map(lambda steps: np.cumsum(steps) / 10)


@given(increasing, st.data())
def test_landed_beats_are_on_the_cuts_and_all_keep_their_place(targets_s: np.ndarray, data: st.DataObject) -> None:
    targets_s = targets_s[targets_s < 19.5]
    if not len(targets_s):
        targets_s = np.array([5.0])
    moves = data.draw(st.lists(st.floats(-0.04, 0.04), min_size=len(targets_s), max_size=len(targets_s)))
    cuts_s = targets_s + moves  # targets are at least 0.1 s apart
    on_targets = [note for t in targets_s.tolist() for note in chord(v.PIANO, t, 0.3)]
    for tempo in (None, CHANGING):
        before = score_of([*TUNE, *on_targets], tempo=tempo)
        after = land(before, targets_s, cuts_s)
        # Nothing is lost, and the order of onsets and ends stays.
        assert len(after) == len(before)
        assert sorted(zip(after.instrument, after.pitch, strict=True)) == sorted(
            zip(before.instrument, before.pitch, strict=True)
        )
        assert (np.diff(after.bars.start_s) > 0).all()
        assert after.end_s.max() <= after.duration_s == before.duration_s
        # What was on the targets is on the cuts.
        pianos = after.of(v.PIANO)
        onsets = np.unique(pianos.start_s.round(9))
        assert np.abs(onsets - cuts_s).max() < 1e-9 + 5e-10
        # Every note and bar keeps its place and length in quarter notes, as do markers and keys.
        for name in ("start_s", "end_s"):
            old = before.tempo.quarters_at(getattr(before, name))
            new = after.tempo.quarters_at(getattr(after, name))
            assert np.abs(np.sort(old) - np.sort(new)).max() < 1e-4
        assert (
            np.abs(before.tempo.quarters_at(before.bars.start_s) - after.tempo.quarters_at(after.bars.start_s)).max()
            < 1e-4
        )
        for old_s, new_s in (
            (before.markers[0].time_s, after.markers[0].time_s),
            (before.keys[0].time_s, after.keys[0].time_s),
        ):
            assert abs(before.tempo.quarters_at(old_s) - after.tempo.quarters_at(new_s)) < 1e-4


def test_landing_bends_the_tempo_as_much_as_needed() -> None:
    after = land(score_of(TUNE), [10.0], [9.6])
    assert after.tempo.times_s.tolist() == [0.0, 9.6]
    assert after.tempo.qpm == pytest.approx([120 / 0.96, 120 * 10 / 10.4])
    assert after.bars.start_s[5] == 9.6
    assert after.bars == Bars(warp(score_of(TUNE).bars.start_s, [0, 10, 20], [0, 9.6, 20]), [4] * 10, [4] * 10)


def test_warp_keeps_order_and_what_it_was_given() -> None:
    times = np.linspace(0, 20, 201)
    moved = warp(times, np.array([0.0, 4.0, 12.0, 20.0]), np.array([0.0, 5.0, 11.0, 20.0]))
    assert (np.diff(moved) > 0).all()
    assert moved[[0, 40, 120, 200]].tolist() == [0.0, 5.0, 11.0, 20.0]
    assert np.interp(moved, [0, 5, 11, 20], [0, 4, 12, 20]) == pytest.approx(times)


def test_landing_nothing_changes_nothing() -> None:
    score = score_of(TUNE)
    assert land(score, [], []) is score
    # Too near the beginning or the end to be moved.
    assert land(score, [0.0, 20.0], [0.0, 20.0]) is score


def test_landing_where_it_is_already_changes_nothing() -> None:
    score = score_of(TUNE, tempo=CHANGING)
    assert land(score, [4.0, 7.0], [4.0, 7.0]) == score


def test_a_chord_shared_by_two_cuts_lands_on_the_nearest() -> None:
    score = score_of(chord(v.PIANO, 10.0))
    for cuts in ([9.7, 10.1], [10.1, 10.4]):
        assert np.unique(land(score, [10.0, 10.0], cuts).start_s) == pytest.approx([10.1], abs=1e-9)


def test_a_drum_at_the_very_end_stays_within() -> None:
    after = land(score_of([(v.DRUMS, 36, 19.95, 20.0)]), [10.0], [12.0])
    assert after.end_s.tolist() == [20.0]
    assert after.start_s[0] == pytest.approx(19.96)


@pytest.mark.parametrize(
    ("targets", "cuts", "message"),
    [
        ([1.0, 2.0], [1.0], "2 chords cannot be moved onto 1 cuts; give one target for each cut"),
        ([2.0, 1.0], [1.0, 2.0], "must both be in order of time; sort them"),
        ([1.0, 2.0], [2.0, 1.0], "must both be in order of time; sort them"),
        ([1.0, 2.0], [2.0, 2.0], "must both be in order of time; sort them"),
    ],
)
def test_targets_and_cuts_must_pair_up(targets: list[float], cuts: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        land(score_of(TUNE), targets, cuts)


# ---- measuring -----------------------------------------------------------------------------------------------------


def test_a_chord_on_the_cut_is_a_hit() -> None:
    for family in v.CHORD_FAMILIES:
        assert measure(score_of(chord(family, 5.0)), [5.0]) == [Hit(5.0, 5.0)]


def test_strings_play_the_chords_where_neither_piano_nor_guitar_plays() -> None:
    drums = [(v.DRUMS, 36, 0.0, 0.1)]
    assert measure(score_of(drums + chord(v.STRINGS, 5.0)), [5.0]) == [Hit(5.0, 5.0)]


@pytest.mark.parametrize(
    "notes",
    [
        pytest.param([], id="silence"),
        pytest.param(chord(v.PIANO, 5.0, pitches=(60, 64)), id="two notes"),
        pytest.param(chord(v.PIANO, 5.0, pitches=(60, 64)) + chord(v.GUITAR, 5.0, pitches=(52, 55)), id="two and two"),
        pytest.param(chord(v.PIANO, 5.0, 0.9), id="short: 1.8 beats"),
        pytest.param(chord(v.PIANO, 5.0, pitches=(60, 64)) + [(v.PIANO, 67, 5.0, 5.5)], id="one note short"),
        pytest.param(chord(v.PIANO, 5.0, pitches=(60, 64)) + [(v.PIANO, 67, 5.02, 6.5)], id="one note late"),
        pytest.param(chord(v.DRUMS, 5.0), id="drums"),
        pytest.param(chord(v.BASS, 5.0), id="bass"),
        pytest.param([*chord(v.STRINGS, 5.0), (v.PIANO, 60, 0.0, 1.0)], id="strings beside a piano"),
        pytest.param(chord(v.PIANO, 6.001), id="more than a second late"),
        pytest.param(chord(v.PIANO, 3.999), id="more than a second early"),
    ],
)
def test_what_is_no_chord_is_no_hit(notes: list[tuple[int, int, float, float]]) -> None:
    (hit,) = measure(score_of(notes), [5.0])
    assert hit == Hit(5.0, None)
    assert hit.error_s is None
    assert not hit.within_frame


def test_a_frame_is_a_frame_and_a_second_a_second() -> None:
    errors = {0.0333: True, -0.0333: True, 0.0334: False, -0.0334: False, 0.9: False, -0.9: False}
    for error_s, within in errors.items():
        (hit,) = measure(score_of(chord(v.PIANO, 5.0 + error_s)), [5.0])
        assert hit.error_s == pytest.approx(error_s)
        assert hit.within_frame is within
    assert Hit(0.0, FRAME_S).within_frame


def test_two_beats_are_two_beats_of_the_tempo_in_force() -> None:
    slow, fast = TempoMap([0.0, 4.0], [120.0, 60.0]), TempoMap([0.0, 4.0], [120.0, 240.0])
    assert len(sounding_chords(score_of(chord(v.PIANO, 2.0), tempo=slow))) == 1
    assert len(sounding_chords(score_of(chord(v.PIANO, 5.0), tempo=slow))) == 0
    assert len(sounding_chords(score_of(chord(v.PIANO, 5.0, 2.0), tempo=slow))) == 1
    assert len(sounding_chords(score_of(chord(v.PIANO, 5.0, 0.5), tempo=fast))) == 1


def test_both_ends_may_be_rounded_to_the_grid() -> None:
    assert len(sounding_chords(score_of(chord(v.PIANO, 5.0, 1.0 - v.STEP_S)))) == 1
    assert len(sounding_chords(score_of(chord(v.PIANO, 5.0, 1.0 - 3 * v.STEP_S)))) == 0


@pytest.mark.parametrize(
    ("start_s", "length_s", "n"), [(19.3, 0.7, 1), (19.3, 0.6, 0), (19.55, 0.45, 0), (19.5, 0.5, 1)]
)
def test_a_chord_that_sounds_to_the_end_is_long_enough(start_s: float, length_s: float, n: int) -> None:
    score = score_of(chord(v.PIANO, start_s, length_s))  # of 20 s
    assert len(sounding_chords(score)) == n
    assert len(sounding_chords(score, to_end=False)) == 0
    assert [hit.within_frame for hit in measure(score, [start_s])] == [bool(n)]


def test_each_cut_has_the_chord_nearest_to_it() -> None:
    score = score_of(chord(v.PIANO, 4.5) + chord(v.GUITAR, 5.2) + chord(v.PIANO, 12.0, 2.0))
    assert measure(score, [5.0, 8.0, 12.5]) == [Hit(5.0, 5.2), Hit(8.0, None), Hit(12.5, 12.0)]
    assert measure(score, []) == []


def test_chords_are_counted_in_five_families_only() -> None:
    score = Score((FAMILIES[v.PIANO],), [0], [60], [80], [0.0], [1.0], TempoMap.constant(120), Bars([0.0], [4], [4]))
    with pytest.raises(InputError, match="five families, not of 1 instruments; reduce it first"):
        measure(score, [0.5])
