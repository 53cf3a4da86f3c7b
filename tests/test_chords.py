"""Long chords, against the rule written as a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.chords import chord_onsets

Row = tuple[int, int, int, int, float]  # song, family, onset, pitch, length in quarters


def found(rows: list[Row], **options: tuple[int, ...]) -> list[Row]:
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0, dtype=int)] * 5
    return [rows[i] for i in chord_onsets(*columns, **options)]


def by_loop(rows: list[Row]) -> set[tuple[int, int, int]]:
    """(song, family, onset) of every chord, note by note."""
    pitches: dict[tuple[int, int, int], set[int]] = {}
    for song, family, onset, pitch, length in rows:
        if family in (v.PIANO, v.GUITAR) and length >= 2:
            pitches.setdefault((song, family, onset), set()).add(pitch)
    return {group for group, all_pitches in pitches.items() if len(all_pitches) >= 3}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 4),
        st.integers(0, 3),
        st.integers(60, 64),
        st.sampled_from([0.5, 1.9, 2.0, 4.0]),
    ),
    max_size=60,
)


@given(ROWS)
def test_agrees_with_the_loop(rows: list[Row]) -> None:
    chords = [row[:3] for row in found(rows)]
    assert len(chords) == len(set(chords)), "one index a chord"
    assert set(chords) == by_loop(rows)


@given(ROWS, st.randoms(use_true_random=False))
def test_order_of_the_notes_does_not_matter(rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {row[:3] for row in found(shuffled)} == {row[:3] for row in found(rows)}


def triad(family: int, length: float = 2.0) -> list[Row]:
    return [(0, family, 5, pitch, length) for pitch in (60, 64, 67)]


@pytest.mark.parametrize("family", [v.PIANO, v.GUITAR])
def test_a_triad_of_two_beats_is_a_chord(family: int) -> None:
    assert found(triad(family)) == [(0, family, 5, 60, 2.0)], "its first note stands for it"


@pytest.mark.parametrize("family", [v.DRUMS, v.BASS, v.STRINGS])
def test_other_families_have_no_chords(family: int) -> None:
    assert found(triad(family)) == []
    assert len(found(triad(family), families=(family,))) == 1


def test_shorter_than_two_beats_is_no_chord() -> None:
    assert found(triad(v.PIANO, 1.99)) == []
    assert found([*triad(v.PIANO)[:2], (0, v.PIANO, 5, 67, 1.0)]) == []


def test_three_times_the_same_pitch_is_no_chord() -> None:
    assert found([(0, v.PIANO, 5, 60, 2.0)] * 3) == []


def test_families_do_not_add_up() -> None:
    assert found([(0, v.PIANO, 5, 60, 2.0), (0, v.PIANO, 5, 64, 2.0), (0, v.GUITAR, 5, 67, 2.0)]) == []


def test_two_families_at_once_give_two() -> None:
    assert len(found(triad(v.PIANO) + triad(v.GUITAR))) == 2


def test_no_notes_no_chords() -> None:
    assert found([]) == []
