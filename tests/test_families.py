"""The family merge: the table, and what happens to notes that meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.errors import InputError
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from emsync.tokenizer import families
from emsync.vocabulary import BASS, DRUMS, GUITAR, PIANO, STEP_S, STRINGS

PIANO_TRACK, ORGAN_TRACK, DRUM_TRACK = Instrument("a", 0, False), Instrument("b", 16, False), Instrument("c", 0, True)


def make(notes: list[tuple[int, int, int, float, float]], *instruments: Instrument) -> Score:
    """A Score of (instrument, pitch, velocity, start_s, end_s)."""
    columns = [np.array(column) for column in zip(*notes, strict=True)] if notes else [np.zeros(0)] * 5
    whole = [column.astype(np.int64) for column in columns[:3]]
    bars = Bars(np.array([0.0, 2.0]), np.array([4, 3]), np.array([4, 4]))
    return Score(
        instruments, *whole, columns[3].astype(float), columns[4].astype(float), TempoMap.constant(120.0), bars
    )


def rows(score: Score) -> list[tuple[int, int, int, float, float]]:
    return list(
        zip(
            score.instrument.tolist(),
            score.pitch.tolist(),
            score.velocity.tolist(),
            score.start_s.tolist(),
            score.end_s.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("programs", "family"),
    [
        (range(24), PIANO),
        (range(24, 32), GUITAR),
        (range(32, 40), BASS),
        (range(40, 96), STRINGS),
        (range(96, 104), None),
        (range(104, 112), GUITAR),
        (range(112, 128), None),
    ],
)
def test_every_program_has_its_family(programs: range, family: int | None) -> None:
    assert {families.family_of(program, False) for program in programs} == {family}


def test_drums_are_drums_whatever_their_program() -> None:
    assert families.family_of(120, True) == DRUMS


def test_family_instruments_stay_in_their_family() -> None:
    for family, each in enumerate(families.FAMILY_INSTRUMENTS):
        assert families.family_of(each.program, each.is_drum) == family
    assert families.FAMILY_NAMES == ("Drums", "Piano", "Guitar", "Bass", "Strings")


@pytest.mark.parametrize("program", [-1, 128])
def test_program_out_of_range(program: int) -> None:
    with pytest.raises(InputError, match=f"program {program} is outside 0 to 127; are the programs counted from 1"):
        families.family_of(program, False)


def test_merges_programs_and_drops_effects() -> None:
    score = make(
        [(0, 60, 80, 0.0, 1.0), (1, 64, 80, 0.0, 1.0), (2, 64, 80, 0.0, 1.0)],
        Instrument("organ", 20, False),
        Instrument("flute", 73, False),
        Instrument("rain", 96, False),
    )
    result = families.reduce(score)
    assert rows(result.score) == [(PIANO, 60, 80, 0.0, 1.0), (STRINGS, 64, 80, 0.0, 1.0)]
    assert (result.dropped_effects, result.dropped) == (1, 1)
    assert result.score.instruments == families.FAMILY_INSTRUMENTS


def test_folds_melody_by_octaves_and_drops_drums_without_a_sound() -> None:
    score = make(
        [(0, 20, 80, 0.0, 1.0), (0, 0, 80, 1.0, 2.0), (0, 127, 80, 2.0, 3.0), (0, 108, 80, 3.0, 4.0)]
        + [(1, pitch, 80, 0.0, 0.1) for pitch in (26, 27, 87, 88)],
        PIANO_TRACK,
        DRUM_TRACK,
    )
    result = families.reduce(score)
    melodic = result.score.pitch[result.score.instrument == PIANO]
    assert melodic.tolist() == [32, 24, 103, 108]
    assert result.score.pitch[result.score.instrument == DRUMS].tolist() == [27, 87]
    assert (result.folded, result.dropped_out_of_range, result.dropped_effects) == (3, 2, 0)


def test_equal_notes_that_begin_together_are_one() -> None:
    # Within the same 8 ms step, from two tracks of one family: the longest stays, the loudest velocity wins.
    score = make([(0, 60, 90, 1.000, 1.5), (1, 60, 40, 1.003, 2.0), (1, 61, 40, 1.0, 2.0)], PIANO_TRACK, ORGAN_TRACK)
    result = families.reduce(score)
    assert rows(result.score) == [(PIANO, 61, 40, 1.0, 2.0), (PIANO, 60, 90, 1.003, 2.0)]
    assert (result.duplicates, result.cut) == (1, 0)


def test_a_sounding_note_ends_where_an_equal_one_begins_and_no_sound_is_lost() -> None:
    score = make([(0, 60, 80, 0.0, 4.0), (1, 60, 70, 1.0, 2.0), (1, 60, 60, 5.0, 6.0)], PIANO_TRACK, ORGAN_TRACK)
    result = families.reduce(score)
    assert rows(result.score) == [(PIANO, 60, 80, 0.0, 1.0), (PIANO, 60, 70, 1.0, 4.0), (PIANO, 60, 60, 5.0, 6.0)]
    assert (result.duplicates, result.cut) == (0, 1)


def test_drums_keep_their_ends() -> None:
    score = make([(0, 36, 80, 0.0, 4.0), (0, 36, 80, 1.0, 2.0)], DRUM_TRACK)
    assert rows(families.reduce(score).score) == [(DRUMS, 36, 80, 0.0, 4.0), (DRUMS, 36, 80, 1.0, 2.0)]


def test_keeps_tempo_bars_markers_keys_and_duration() -> None:
    bars = Bars(np.array([0.0, 1.0]), np.array([2, 3]), np.array([4, 4]))
    score = Score(
        (PIANO_TRACK,),
        np.array([0]),
        np.array([60]),
        np.array([80]),
        np.array([0.5]),
        np.array([1.0]),
        TempoMap(np.array([0.0, 1.0]), np.array([120.0, 90.0])),
        bars,
        markers=(Marker(0.5, "cut"),),
        keys=(KeySignature(0.0, 2, False),),
        duration_s=9.0,
    )
    result = families.reduce(score).score
    assert (result.tempo, result.bars, result.markers, result.keys, result.duration_s) == (
        score.tempo,
        score.bars,
        score.markers,
        score.keys,
        9.0,
    )


def test_a_score_of_effects_alone_becomes_empty() -> None:
    result = families.reduce(make([(0, 60, 80, 0.0, 1.0)], Instrument("rain", 96, False)))
    assert len(result.score) == 0
    assert result.dropped_effects == 1


@pytest.mark.parametrize("grid_s", [0.0, -1.0, float("nan")])
def test_grid_must_have_steps(grid_s: float) -> None:
    with pytest.raises(InputError, match="has no steps; give a length over 0 s"):
        families.reduce(make([(0, 60, 80, 0.0, 1.0)], PIANO_TRACK), grid_s=grid_s)


TRACKS = tuple(Instrument(str(program), program, False) for program in (0, 5, 16, 25, 33, 48, 97)) + (DRUM_TRACK,)
# Few pitches and times, so that notes meet often; times are off the grid as well as on it.
NOTES = st.lists(
    st.tuples(
        st.integers(0, len(TRACKS) - 1),
        st.sampled_from([5, 36, 60, 61, 120]),
        st.integers(1, 127),
        st.integers(0, 60).map(lambda n: n * 0.003),
        st.integers(1, 60).map(lambda n: n * 0.003),
    ),
    max_size=40,
)


@given(NOTES)
def test_no_overlap_remains_no_sound_is_lost_and_twice_is_once(notes: list[tuple[int, int, int, float, float]]) -> None:
    score = make([(i, p, v, s, s + d) for i, p, v, s, d in notes], *TRACKS)
    result = families.reduce(score)
    reduced = result.score
    on = np.rint(reduced.start_s / STEP_S).astype(int)
    off = np.maximum(np.rint(reduced.end_s / STEP_S).astype(int), on + 1)
    family, pitch = reduced.instrument, reduced.pitch
    for group in {(f, p) for f, p in zip(family.tolist(), pitch.tolist(), strict=True)}:
        mine = np.flatnonzero((family == group[0]) & (pitch == group[1]))
        mine = mine[np.argsort(on[mine])]
        assert (np.diff(on[mine]) > 0).all()
        if group[0] != DRUMS:
            assert (off[mine][:-1] <= on[mine][1:]).all()
    # Every note accounted for.
    assert len(reduced) + result.dropped + result.duplicates == len(score)
    # Where any melodic note of a family sounded, one still does (looked at in the middle of every grid step).
    table = [families.family_of(each.program, each.is_drum) for each in score.instruments]
    before = np.array([-1 if each is None else each for each in table])[score.instrument]
    folded = families.fold(np.maximum(before, 0), score.pitch)
    for moment in np.arange(0, 60) * STEP_S + STEP_S / 2:
        for f in (PIANO, GUITAR, BASS, STRINGS):
            was = set(folded[(before == f) & (score.start_s + STEP_S <= moment) & (score.end_s > moment)].tolist())
            now = set(pitch[(family == f) & (reduced.start_s <= moment) & (reduced.end_s > moment)].tolist())
            assert was <= now
    again = families.reduce(reduced)
    assert again.score == reduced
    assert (again.dropped, again.folded, again.duplicates, again.cut) == (0, 0, 0, 0)
