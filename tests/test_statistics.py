"""Statistics of a window: beside loops written as their authors have them, and windows of music written alike."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from emsync.errors import InputError
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation.music_statistics import (
    STATISTICS,
    TEXTURES,
    draw_window,
    places_s,
    statistics,
    textures,
    window,
)
from emsync.vocabulary import BASS, DRUMS, PIANO, STRINGS
from tests.models import toy_archive
from tests.strategies import scores

SIXTEENTH_S = 0.125  # at 120 quarter notes a minute
BAR_S = 2.0
Note = tuple[int, int, int, int]  # family, pitch, start and length in sixteenths


def score_of(notes: list[Note], bars: int = 4, *, velocity: int = 100) -> Score:
    family, pitch, start, length = np.array(notes, dtype=np.int64).reshape(-1, 4).T
    return Score(
        FAMILY_INSTRUMENTS, family, pitch, np.full(len(family), velocity), start * SIXTEENTH_S,
        (start + length) * SIXTEENTH_S, TempoMap.constant(120), Bars(np.arange(bars) * BAR_S, [4] * bars, [4] * bars),
        duration_s=bars * BAR_S,
    )  # fmt: skip


def random_notes(seed: int, bars: int = 12, n: int = 150) -> list[Note]:
    """Notes of four families that do not overlap with equal ones, with every third bar a copy of that four before."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, int, int], int] = {}
    for _ in range(n):
        family = int(rng.choice([DRUMS, PIANO, BASS, STRINGS]))
        at, pitch = int(rng.integers(16 * bars)), int(rng.integers(40, 60))
        found[family, pitch, at] = 1 if family == DRUMS else int(rng.integers(1, 8))
    for bar in range(4, bars, 3):
        inside = range(16 * bar, 16 * bar + 16)
        found = {key: length for key, length in found.items() if key[2] not in inside}
        for (family, pitch, at), length in list(found.items()):
            if at + 64 in inside:
                found[family, pitch, at + 64] = length
    notes, sounding = [], dict[tuple[int, int], int]()
    for (family, pitch, at), length in sorted(found.items(), key=lambda item: item[0][2]):
        if at >= sounding.get((family, pitch), 0):
            notes.append((family, pitch, at, min(length, 16 * bars - at)))
            sounding[family, pitch] = at + length
    return notes


# ---------------------------------------------------------------------------------------------------------------------
# Beside loops


def entropy(notes: list[Note]) -> float:
    """muspy.pitch_class_entropy."""
    counts = Counter(pitch % 12 for family, pitch, _, _ in notes if family != DRUMS)
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def scale_consistency(notes: list[Note]) -> float:
    """muspy.scale_consistency: the best of 24 scales by root and mode."""
    best = 0.0
    for root in range(12):
        for mode in ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)):
            scale = {(root + degree) % 12 for degree in mode}
            pitched = [pitch % 12 in scale for family, pitch, _, _ in notes if family != DRUMS]
            best = max(best, sum(pitched) / len(pitched))
    return best


def groove(notes: list[Note], bars: int) -> float:
    """MusDr's GS of neighbouring bars."""
    onsets = [{at % 16 for _, _, at, _ in notes if at // 16 == bar} for bar in range(bars)]
    similar = [1 - len(a ^ b) / 16 for a, b in itertools.pairwise(onsets)]
    return sum(similar) / len(similar)


def polyphony(notes: list[Note], bars: int) -> float:
    """muspy.polyphony: notes that sound, over steps in which any does."""
    steps = [sum(a <= t < a + n for f, _, a, n in notes if f != DRUMS) for t in range(16 * bars)]
    return sum(steps) / sum(n > 0 for n in steps)


def similarities(notes: list[Note], bars: int, lag: int) -> list[float]:
    content = [{(at % 16, p % 12) for f, p, at, _ in notes if f != DRUMS and at // 16 == bar} for bar in range(bars)]
    pairs = [(content[bar], content[bar - lag]) for bar in range(lag, bars)]
    return [len(a & b) / len(a | b) for a, b in pairs if a | b]


@pytest.mark.parametrize("seed", range(4))
def test_formulas_are_those_of_their_authors(seed: int) -> None:
    notes, bars = random_notes(seed), 12
    found = statistics(score_of(notes, bars))
    assert found["pitch_class_entropy"] == pytest.approx(entropy(notes))
    assert found["scale_consistency"] == pytest.approx(scale_consistency(notes))
    assert found["groove_consistency"] == pytest.approx(groove(notes, bars))
    assert found["polyphony"] == pytest.approx(polyphony(notes, bars))
    for lag in (1, 4, 8):
        alike = similarities(notes, bars, lag)
        assert found[f"similarity_{lag}"] == pytest.approx(np.mean(alike))
        assert found[f"repeated_{lag}"] == pytest.approx(np.mean([x >= 0.8 for x in alike]))
    assert found["repeated_4"] > 0.2


def test_a_bar_with_known_statistics() -> None:
    notes = [(PIANO, p, 0, 8) for p in (60, 64, 67)] + [(BASS, 36, 0, 4), (BASS, 43, 6, 2)]
    notes += [(DRUMS, 36, 0, 1), (DRUMS, 42, 2, 1), (DRUMS, 38, 4, 1)]
    found = statistics(score_of(notes, 2))
    expected = {
        "notes_per_s": 8 / 4, "notes_per_s_piano": 3 / 4, "notes_per_s_guitar": 0, "families": 3, "bars_piano": 0.5,
        "bars_strings": 0, "empty_bars": 0.5, "drums_on_beat": 2 / 3, "velocity": 100, "velocity_deviation": 0,
        "chords_per_minute": 60 / 4, "note_quarters": 2, "note_quarters_mean": (3 * 2 + 1 + 0.5) / 5,
        "onset_quarters": 1.5, "voices_begun": 5 / 2, "mean_pitch": (60 + 64 + 67 + 36 + 43) / 5, "on_sixteenths": 1,
        "ends_on_sixteenths": 1, "similarity_1": 0, "groove_consistency": 1 - 4 / 16,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    shares = textures(score_of(notes, 2))
    assert shares["drum"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    assert shares["family of notes"] == pytest.approx([3 / 8, 3 / 8, 0, 2 / 8, 0])
    assert shares["notes begun together"] == pytest.approx([0.5, 0, 0, 0.5, 0])
    assert shares["step of the top voice"][12 + 7] == 1
    assert shares["pitch classes sounding"] == pytest.approx([24 / 32, 0, 0, 8 / 32, 0, 0, 0, 0])


def test_only_timing_statistics_see_onsets_off_the_sixteenths() -> None:
    notes = random_notes(5)
    straight = score_of(notes, 12)
    late_s = np.where(np.arange(len(straight)) % 2 == 0, 0.03, 0.0)
    human = Score(
        straight.instruments, straight.instrument, straight.pitch, straight.velocity, straight.start_s + late_s,
        straight.end_s + late_s / 2, straight.tempo, straight.bars,
    )  # fmt: skip
    found, expected = statistics(window(human, 0, 24)), statistics(window(straight, 0, 24))
    assert expected["on_sixteenths"] == 1
    assert found["on_sixteenths"] == pytest.approx(0.5, abs=0.01)
    for name in set(STATISTICS) - {"on_sixteenths", "ends_on_sixteenths", "polyphony"}:
        assert found[name] == pytest.approx(expected[name], nan_ok=True), name


def test_transposed_music_has_the_same_degrees_and_steps() -> None:
    notes = [(PIANO, 60 + p, 2 * i, 2) for i, p in enumerate([0, 2, 4, 5, 7, 9, 11, 12, 0, 4, 7, 0])]
    here = textures(score_of(notes))
    there = textures(score_of([(f, p + 5, at, n) for f, p, at, n in notes]))
    for name in ("degree of the scale", "step of the top voice", "interval class sounding"):
        assert here[name] == pytest.approx(there[name])
    assert here["degree of the scale"][[1, 3, 6, 8, 10]].sum() == 0


@given(scores())
def test_any_score_has_windows_and_they_statistics(score: Score) -> None:
    found = window(score, 0.0, 4.0)
    values, shares = statistics(found), textures(found)
    assert list(values) == list(STATISTICS)
    assert {name: len(labels) for name, labels in TEXTURES.items()} == {name: len(x) for name, x in shares.items()}
    assert all(x.sum() == pytest.approx(1) or x.sum() == 0 for x in shares.values())
    for name in ("scale_consistency", "groove_consistency", "empty_bars", "similarity_1", "on_sixteenths"):
        assert math.isnan(values[name]) or -1e-9 <= values[name] <= 1 + 1e-9


def test_silence_has_no_statistics() -> None:
    found = statistics(window(Score.empty(), 0.0, 8.0))
    assert found["notes_per_s"] == 0
    assert found["empty_bars"] == 1
    for name in ("pitch_class_entropy", "groove_consistency", "polyphony", "velocity", "similarity_1", "drums_on_beat"):
        assert math.isnan(found[name])


# ---------------------------------------------------------------------------------------------------------------------
# Windows


def test_a_window_is_cut_at_both_ends_and_begins_at_0() -> None:
    notes = [(PIANO, 60, 14, 4), (PIANO, 62, 16, 4), (PIANO, 64, 46, 10), (DRUMS, 36, 47, 1), (PIANO, 65, 48, 4)]
    found = window(score_of(notes, 6), BAR_S, 2 * BAR_S)
    assert list(found.pitch) == [62, 64, 36]
    assert found.start_s == pytest.approx([0, 30 * SIXTEENTH_S, 31 * SIXTEENTH_S], abs=0.004)
    assert found.end_s.max() == found.duration_s == 4
    assert found.bars.start_s == pytest.approx([0, 2])
    assert found.tempo.qpm == pytest.approx([120], rel=1e-3)


def test_windows_begin_at_bars_that_leave_their_length() -> None:
    song = song_score(toy_archive(1, bars=8), 0)  # 16 s
    assert places_s(song, 8.0) == pytest.approx([0, 2, 4, 6, 8])
    assert len(places_s(song, 17.0)) == 0
    assert draw_window(song, np.random.default_rng(0), 17.0) is None
    barless = Score(
        song.instruments, song.instrument, song.pitch, song.velocity, song.start_s, song.end_s, song.tempo,
        Bars([], [], []),
    )  # fmt: skip
    assert places_s(barless, 8.0) == pytest.approx([0])
    drawn = [draw_window(song, np.random.default_rng(seed), 8.0) for seed in (0, 1, 2, 3, 4, 0)]
    assert drawn[0] == drawn[5]
    assert len({None if one is None else one.velocity.tobytes() for one in drawn}) > 2  # each bar has its velocity


def test_a_window_of_a_window_is_the_same() -> None:
    once = window(song_score(toy_archive(1, bars=8), 0), 4.0, 8.0)
    again = window(once, 0.0, 8.0)
    assert np.array_equal(once.pitch, again.pitch)
    assert np.array_equal(once.velocity, again.velocity)
    assert once.start_s == pytest.approx(again.start_s, abs=1e-9)
    assert (np.abs(once.start_s / 0.008 - np.rint(once.start_s / 0.008)) < 1e-6).all()


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"a window of 0.5 s from 0 s cannot be cut; give 1 s or more"):
        window(score_of([]), 0.0, 0.5)
    with pytest.raises(InputError, match="a score of 0 instruments is not one of five families"):
        statistics(Score.empty(duration_s=3.0))
    with pytest.raises(InputError, match="a score of 0 s has no statistics"):
        textures(Score.empty(FAMILY_INSTRUMENTS))
