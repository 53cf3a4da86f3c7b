"""Dynamics: what is accented, what mood and pulse do, and that nothing but velocities changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsync.errors import InputError
from emsync.expression import LOUDNESS
from emsync.finish import ACCENT, finish
from emsync.hits import measure
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS

DRUMS, PIANO, GUITAR, BASS, STRINGS = range(5)


def song(notes: list[tuple[int, int, int, float, float]], duration_s: float = 16.0) -> Score:
    """(family, pitch, velocity, start, end) at 120 quarter notes a minute in bars of four."""
    columns = [np.array(column) for column in zip(*notes, strict=True)] or [np.zeros(0, dtype=int)] * 5
    starts = np.arange(0, duration_s, 2.0)
    bars = Bars(starts, np.full(len(starts), 4), np.full(len(starts), 4))
    return Score(FAMILY_INSTRUMENTS, *columns, TempoMap.constant(120), bars, duration_s=duration_s)


def melody(velocities: list[int], step_s: float = 0.5) -> list[tuple[int, int, int, float, float]]:
    """Strings that take these velocities in turn, from 0 to 16 s."""
    times = np.arange(0, 16, step_s)
    return [(STRINGS, 70, velocities[i % len(velocities)], float(t), float(t) + step_s) for i, t in enumerate(times)]


def chord(at_s: float, velocity: int = 80) -> list[tuple[int, int, int, float, float]]:
    return [(PIANO, pitch, velocity, at_s, at_s + 1.5) for pitch in (60, 64, 67)]


LIVELY = [60, 80, 70, 95]  # varies by more than flat playing


def changes(score: Score, finished: Score) -> np.ndarray:
    return finished.velocity.astype(int) - score.velocity


def test_a_chord_on_a_cut_stands_out() -> None:
    score = song(melody(LIVELY) + chord(6.0) + chord(11.0, 60))
    finished = finish(score, [6.0])
    on_cut = score.start_s == 6.0
    beside = (score.start_s >= 2) & (score.start_s < 10) & ~on_cut
    assert finished.velocity[on_cut].mean() - finished.velocity[beside].mean() == pytest.approx(ACCENT, abs=0.6)
    assert changes(score, finished)[on_cut].min() > 0, "all that begins with it is lifted"
    assert not changes(score, finished)[~on_cut].any(), "and the chord that is on no cut is not"


def test_a_chord_that_stands_out_already_is_left_alone() -> None:
    score = song(melody(LIVELY) + chord(6.2, 110))
    assert finish(score, [6.2]) == score


def test_the_accent_is_where_the_chord_is_not_where_the_cut_is() -> None:
    score = song(melody(LIVELY) + chord(6.25))
    moved = changes(score, finish(score, [6.6]))
    assert moved[score.start_s == 6.25].min() > 0
    assert not moved[score.start_s != 6.25].any()


def test_a_chord_that_sounds_to_the_end_is_accented_however_late() -> None:
    late = [(PIANO, pitch, 80, 15.3, 16.0) for pitch in (60, 64, 67)]
    score = song(melody(LIVELY) + late)
    assert changes(score, finish(score, [15.3]))[score.start_s == 15.3].min() > 0
    assert finish(score, [15.3], late=False) == score, "as it was composed before"


def test_loud_music_makes_room_for_accents() -> None:
    score = song(melody([110, 127, 120, 100]) + chord(6.0, 127))
    finished = finish(score, [6.0])
    on_cut = score.start_s == 6.0
    assert finished.velocity[on_cut & (score.instrument == PIANO)].min() > finished.velocity[~on_cut].mean() + 15
    plain = finished.velocity[~on_cut]
    assert (np.argsort(plain, kind="stable") == np.argsort(score.velocity[~on_cut], kind="stable")).all()
    assert finish(score, []) == score, "without cuts there is nothing to make room for"


def test_flat_playing_gets_a_pulse() -> None:
    score = song(melody([80], 0.25))
    finished = finish(score, [])
    place = np.round(score.start_s % 2, 6)
    assert set(finished.velocity[place == 0].tolist()) == {88}
    assert set(finished.velocity[np.isin(place, (0.5, 1.0, 1.5))].tolist()) == {82}
    assert set(finished.velocity[(place % 0.5) != 0].tolist()) == {76}


def test_lively_playing_is_left_alone() -> None:
    score = song(melody(LIVELY))
    assert finish(score, []) == score


def test_arousal_moves_the_loudness_over_time() -> None:
    score = song(melody(LIVELY))
    moved = changes(score, finish(score, [], arousal=lambda t: np.clip(t / 8 - 1, -1, 1)))
    assert moved[0] == -LOUDNESS
    twice = changes(score, finish(score, [], arousal=lambda t: np.clip(t / 8 - 1, -1, 1), by=2 * LOUDNESS))
    assert twice[0] == 2 * moved[0]
    assert moved[score.start_s == 8.0] == 0
    assert (np.diff(moved) >= 0).all()
    silent = finish(score, [], arousal=lambda t: np.full(len(t), np.nan))
    assert silent == score, "where there is no mood nothing moves"


def test_loudness_follows_what_is_heard_too() -> None:
    """Where a melody is calmer than requested it is louder, and the accent on a cut stays an accent."""
    score = song([*melody(LIVELY), *chord(8.0)])
    plain = finish(score, [8.0], arousal=lambda t: np.full(len(t), 0.3))
    corrected = finish(score, [8.0], arousal=lambda t: np.full(len(t), 0.3), feedback=1.0)
    assert (changes(plain, corrected)[score.start_s < 4] > 0).all()
    struck = corrected.velocity[(score.start_s == 8.0) & (score.instrument == PIANO)].mean()
    around = corrected.velocity[(score.instrument != PIANO) & (np.abs(score.start_s - 8) < 4)].mean()
    assert struck >= around + ACCENT - 1
    silent = finish(score, [8.0], arousal=lambda t: np.full(len(t), np.nan), feedback=1.0)
    assert silent == finish(score, [8.0]), "where there is no mood nothing is corrected"


@pytest.mark.parametrize(
    ("arousal", "message"),
    [
        (lambda t: t + 1.5, r"an arousal of magnitude 17 is outside \[-1, 1\]; scale it to that range"),
        (lambda t: np.full(len(t), np.inf), r"an arousal of magnitude inf is outside \[-1, 1\]"),
        (lambda t: t[:3] * 0, r"arousal at 32 times has shape \(3,\); give one value for each"),
        (lambda t: 0.5, r"arousal at 32 times has shape \(\); give one value for each"),
    ],
)
def test_an_impossible_arousal_is_refused(arousal: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        finish(song(melody(LIVELY)), [], arousal=arousal)  # type: ignore[arg-type]


def test_only_scores_of_five_families_are_finished() -> None:
    score = song(melody(LIVELY))
    solo = Score(
        score.instruments[:1], score.instrument * 0, score.pitch, score.velocity, score.start_s, score.end_s,
        score.tempo, score.bars,
    )  # fmt: skip
    with pytest.raises(InputError, match="scores of five families, not of 1 instruments; reduce it first"):
        finish(solo, [1.0])


def test_silence_stays_silent() -> None:
    empty = song(melody(LIVELY)).select(np.zeros(32, dtype=bool))
    assert finish(empty, [1.0], arousal=lambda t: t) == empty


@st.composite
def pieces(draw: st.DrawFn) -> tuple[Score, list[float]]:
    notes = []
    for _ in range(draw(st.integers(1, 30))):
        at = draw(st.integers(0, 60)) / 4
        notes.append((draw(st.integers(0, 4)), draw(st.integers(27, 87)), draw(st.integers(1, 127)), at, at + 0.25))
    cuts = draw(st.lists(st.integers(0, 14), max_size=3, unique=True).map(sorted))
    for cut in cuts:
        if draw(st.booleans()):
            notes += chord(float(cut), draw(st.integers(1, 127)))
    return song(notes), [float(cut) for cut in cuts]


@settings(max_examples=60)
@given(piece=pieces(), level=st.none() | st.floats(-1, 1))
def test_only_velocities_change(piece: tuple[Score, list[float]], level: float | None) -> None:
    score, cuts = piece
    arousal = None if level is None else lambda t: np.full(len(t), level)
    finished = finish(score, cuts, arousal=arousal)
    assert finished.velocity.min() >= 1
    assert finished.velocity.max() <= 127
    assert replace(finished, velocity=score.velocity) == score
    assert measure(finished, cuts) == measure(score, cuts)
    assert finish(score, cuts, arousal=arousal) == finished
    if level is None and score.velocity.std() >= 6:
        on_cut = np.isin(score.start_s, [hit.chord_s for hit in measure(score, cuts)])
        order = np.argsort(score.velocity[~on_cut])
        assert (np.diff(finished.velocity[~on_cut][order].astype(int)) >= 0).all(), "a fader keeps louder from softer"
