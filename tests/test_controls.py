"""The controls that notes have: a few notes, measured by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emsync import controls
from emsync.control_curves import REST, of_text
from emsync.errors import InputError
from emsync.score import Bars, Instrument, Score, TempoMap

DRUMS, LEAD = Instrument("Drums", 0, True), Instrument("Strings", 48)


def score(notes: list[tuple[int, int, int, float, float]], *, duration_s: float = 4.0) -> Score:
    """Notes as (instrument, pitch, velocity, start_s, end_s), at 120 quarter notes a minute."""
    who, pitch, velocity, start, end = zip(*notes, strict=True)
    bars = Bars([0.0, 2.0], [4, 4], [4, 4])
    return Score((DRUMS, LEAD), who, pitch, velocity, start, end, TempoMap.constant(120), bars, duration_s=duration_s)


def test_intensity_in_decibels() -> None:
    notes = [(1, 60, 127, 0.0, 4.0), (1, 64, 127, 2.0, 4.0), (1, 60, 40, 4.0, 8.0)]
    at = controls.of_score(score(notes, duration_s=8.0))["intensity"].at([1.0, 3.0, 6.0])
    two, soft = 10 * math.log10(2), 40 * math.log10(40 / 127)
    np.testing.assert_allclose(at, [0.0, two, soft], atol=0.05)


def test_smoothing_is_savitzky_and_golays() -> None:
    values = np.random.default_rng(0).normal(size=40)
    table = np.array([-3, 12, 17, 12, -3]) / 35  # Savitzky and Golay 1964, Table I: quadratic, five points
    np.testing.assert_allclose(controls.smoothed(values, 5)[2:-2], np.convolve(values, table, mode="valid"))
    parabola = np.arange(20.0) ** 2
    np.testing.assert_allclose(controls.smoothed(parabola), parabola, atol=1e-9)
    np.testing.assert_array_equal(controls.smoothed(np.array([1.0, 5.0])), [1.0, 5.0])


def test_density_counts_notes_within_the_piece() -> None:
    starts = np.array([0.0, 0.5, 1.0, 1.5, 3.5])
    np.testing.assert_allclose(controls.density(starts, np.array([0.0, 1.0, 2.0, 4.0]), 4.0), [2.0, 2.0, 1.0, 1.0])


def test_the_lead_is_the_highest_note_from_middle_c_on() -> None:
    notes = [(1, 48, 80, 0.0, 4.0), (1, 64, 80, 0.0, 1.0), (1, 72, 80, 0.5, 1.0), (1, 67, 80, 2.0, 3.0)]
    made = score(notes)
    curves = controls.of_score(made)
    np.testing.assert_array_equal(curves["melody"].at([0.2, 0.7, 1.5, 2.5, 3.5]), [4, 0, REST, 7, REST])
    now, following = controls.melody(made.start_s, made.end_s, made.pitch, 4.0)
    at = [2, 7, 15, 25, 35]  # frames
    np.testing.assert_array_equal(now[at], [4, 0, REST, 7, REST])
    np.testing.assert_array_equal(following[at], [0, 7, 7, REST, REST])


def test_rhythm_is_the_pattern_of_each_beat() -> None:
    beat = 0.5
    onsets = [0.0, 0.25 * beat, 1.75 * beat, 2.0 * beat, 2.33 * beat]
    notes = [(0, 36, 80, at, at + 0.05) for at in onsets]
    patterns = controls.of_score(score(notes, duration_s=2.0))["rhythm"]
    np.testing.assert_allclose(patterns.times_s, [0, 0.5, 1.0, 1.5])
    assert patterns.values.tolist() == [of_text("rhythm", p) for p in ("xx..", "...x", "xx..", "....")]


@pytest.mark.parametrize(("name", "tonic", "third"), [("D major", 62, 66), ("D minor", 62, 65)])
def test_key(name: str, tonic: int, third: int) -> None:
    scale = [tonic, tonic + 2, third, tonic + 5, tonic + 7, tonic, tonic + 7, third]
    notes = [(1, p, 80, 0.5 * i, 0.5 * i + 0.5) for i, p in enumerate(scale)]
    curves = controls.of_score(score(notes))
    assert set(curves["key"].values.tolist()) == {of_text("key", name)}
    assert controls.in_scale(int(of_text("key", name)))[[p % 12 for p in scale]].all()


def test_drums_alone_have_no_melody_and_no_key() -> None:
    curves = controls.of_score(score([(0, 36, 80, 0.0, 0.1)]))
    assert set(curves) == {"intensity", "density", "rhythm", "change"}
    assert curves["intensity"].at(2.0) == controls.SILENT_DB


def test_a_score_without_notes_has_no_controls() -> None:
    with pytest.raises(InputError, match="it has no notes, so it has no controls; give a reference with music"):
        controls.of_score(Score.empty((LEAD,), duration_s=3.0))
