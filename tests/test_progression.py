"""Loops of chords: drawn as real songs go on, brighter with valence, kept by a section that returns."""

from __future__ import annotations

import numpy as np
import pytest

from emsync.progression import (
    CHORDS,
    FOLLOWS,
    LOOP_BARS,
    MOST_LACKING,
    OTHER,
    PASSES,
    RELATIVE,
    Chord,
    Progression,
    draw_loop,
)

RNG = np.random.default_rng


def played(
    progression: Progression, bars: int, section: str = "A", minor: bool = False, valence: float = 0.0
) -> list[Chord]:
    return [
        progression.begin_bar(section, is_minor=minor, valence=valence, begins=bar == 0) for bar in range(bars)
    ]  # fmt: skip


def test_the_tables_fit_together() -> None:
    for mode in range(2):
        assert np.array(FOLLOWS[mode]).shape == (len(CHORDS[mode]), len(CHORDS[mode]))
        assert np.allclose(np.sum(FOLLOWS[mode], axis=1), 1, atol=0.02)
        assert CHORDS[mode][0] == Chord(0, bool(mode))
        # The tonic's chord, the fourth's and the fifth's change their quality, and keep their root.
        for chord, other in zip(CHORDS[mode], OTHER[mode], strict=True):
            if chord.degree in (0, 5) or chord == Chord(7, bool(mode)):
                assert CHORDS[1 - mode][other] == Chord(chord.degree, not chord.is_minor)


@pytest.mark.parametrize("minor", [False, True])
def test_a_loop_begins_on_the_tonic_and_moves(minor: bool) -> None:
    for seed in range(100):
        loop = draw_loop(RNG(seed), is_minor=minor, valence=0.0)
        assert len(loop) == LOOP_BARS
        assert loop[0] == 0
        assert len(set(loop)) > 1


@pytest.mark.parametrize("minor", [False, True])
def test_a_moving_loop_never_stays_for_three_bars(minor: bool) -> None:
    def stays(loop: tuple[int, ...]) -> bool:
        again = [*loop, *loop]  # it goes on from its end to its beginning
        return any(len(set(again[i : i + 3])) == 1 for i in range(len(loop) + 1))

    rng = RNG(2)
    loops = [draw_loop(rng, is_minor=minor, valence=0.3, moving=True) for _ in range(300)]
    assert not any(stays(loop) for loop in loops)
    assert len(set(loops)) > 20
    assert all(loop[0] == 0 for loop in loops)
    assert any(stays(draw_loop(rng, is_minor=minor, valence=0.3)) for _ in range(50)), "which others do"


def test_the_brighter_the_more_major_chords() -> None:
    def share(valence: float, minor: bool) -> float:
        rng = RNG(1)
        loops = [draw_loop(rng, is_minor=minor, valence=valence) for _ in range(300)]
        return float(np.mean([not CHORDS[minor][chord].is_minor for loop in loops for chord in loop[1:]]))

    assert share(0.8, minor=False) > share(0.0, minor=False) + 0.05
    assert share(-0.8, minor=True) < share(0.0, minor=True) - 0.1


def test_a_loop_is_played_twice_and_returns_with_its_section() -> None:
    progression = Progression(RNG(4))
    first = played(progression, 2 * LOOP_BARS * PASSES)
    assert first[:LOOP_BARS] == first[LOOP_BARS : 2 * LOOP_BARS] != first[2 * LOOP_BARS : 3 * LOOP_BARS]
    assert played(progression, LOOP_BARS, "B") != first[:LOOP_BARS]
    assert played(progression, LOOP_BARS, "A") == first[:LOOP_BARS]


def test_a_loop_changes_its_mode_with_the_music() -> None:
    progression = Progression(RNG(4))
    bright = played(progression, LOOP_BARS)
    dark = [progression.begin_bar("A", is_minor=True, valence=-0.5) for _ in range(LOOP_BARS)]
    assert [CHORDS[0].index(chord) for chord in bright] != [0] * LOOP_BARS
    assert dark == [CHORDS[1][OTHER[0][CHORDS[0].index(chord)]] for chord in bright]


def test_relatives_share_two_tones() -> None:
    for mode in range(2):
        for chord, other in zip(CHORDS[mode], RELATIVE[mode], strict=True):
            relative = CHORDS[mode][other]
            if chord == Chord(7, False) and mode:
                assert relative == chord, "the dominant of minor has none"
                continue
            assert relative.is_minor is not chord.is_minor
            assert len(set(relative.tones) & set(chord.tones)) == 2
            assert CHORDS[mode][RELATIVE[mode][other]] == chord


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("valence", [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_as_many_chords_are_major_as_valence_asks_for(minor: bool, valence: float) -> None:
    for seed in range(5):
        chords = played(Progression(RNG(seed), relatives=True), 40, minor=minor, valence=valence)
        share = np.mean([not chord.is_minor for chord in chords])
        dominants = np.mean([chord == Chord(7, False) for chord in chords]) * minor  # these stay
        wanted = min(max((1 + valence) / 2, 0.0), 1.0)
        assert wanted - 0.06 <= share <= max(wanted, dominants) + 0.06


def test_chords_change_as_soon_as_another_valence_is_asked_for() -> None:
    """Without relatives a loop is played to its end, eight bars."""
    for relatives, some in ((True, True), (False, False)):
        progression = Progression(RNG(3), relatives=relatives)
        played(progression, 2, minor=True, valence=-1.0)
        after = [progression.begin_bar("A", is_minor=True, valence=0.8).is_minor for _ in range(4)]
        first = [CHORDS[True][number].is_minor for number in progression._loop]
        assert (after != [first[2], first[3], first[0], first[1]]) is some


def test_chords_that_cannot_be_replaced_are_not_made_up_for_for_ever() -> None:
    """The dominant of minor stays; after many of them, a few bars are paid back, and not as many."""
    progression = Progression(RNG(0), relatives=True)
    progression.begin_bar("A", is_minor=True, valence=-1.0)
    for _ in range(20):
        assert progression._replaced(6, -1.0) == 6
    assert -MOST_LACKING <= progression._lacking < 0
