"""Controls over time: values, gaps, easing, presets, names, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.control_curves import (
    EASINGS,
    KINDS,
    PRESETS,
    REST,
    Control,
    ControlCurves,
    averaged,
    eased,
    of_choice,
    of_text,
    preset,
    to_text,
)
from emsync.errors import InputError


def control(values: list[float], **more: Any) -> Control:
    return Control(np.arange(len(values), dtype=float), np.array(values), **more)


def test_a_line_between_points_and_ends_that_are_held() -> None:
    curves = ControlCurves({"intensity": control([-10, 0, math.nan, 4])})
    at = curves["intensity"].at([-1.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0])
    np.testing.assert_array_equal(at, [-10, -5, 0, math.nan, math.nan, math.nan, 4, 4])


def test_names_and_patterns_hold_until_the_next_point() -> None:
    curves = ControlCurves({"melody": control([0, REST, math.nan, 7])})
    np.testing.assert_array_equal(curves["melody"].at([0, 0.9, 1.0, 1.99, 2.5, 3.0, 9]), [0, 0, 12, 12, math.nan, 7, 7])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("melody", "C", 0), ("melody", "F#", 6), ("melody", "Gb", 6), ("melody", "Cb", 11), ("melody", "rest", REST),
        ("rhythm", "x.xx", 11), ("rhythm", "....", 0), ("key", "Eb", 3), ("key", "A minor", 21), ("key", "F#m", 18),
        ("key", "C major", 0), ("intensity", "-6.5", -6.5), ("density", "8", 8.0),
    ],
)  # fmt: skip
def test_texts(name: str, text: str, value: float) -> None:
    assert of_text(name, text) == value
    assert of_text(name, to_text(name, value)) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"loudness": {"times_s": [0], "values": [1]}},
            "no control 'loudness'; controls are intensity, density,",
        ),
        ({"valence": {"times_s": [0], "values": [1]}}, "no control 'valence'; .* the mood is given by --mood"),
        ({"intensity": [1]}, "intensity needs two lists, times_s and values"),
        ({"intensity": {"times_s": [0], "values": [21]}}, "intensity 21 at 0 s is outside -40 to 20 dB"),
        ({"intensity": {"times_s": [1, 1], "values": [0, 0]}}, "times must be increasing seconds"),
        ({"intensity": {"times_s": [0, 1], "values": [0]}}, r"times \(2,\) and values \(1,\)"),
        ({"intensity": {"times_s": [0], "values": [0], "strength": 2}}, "strength is 2; give a number from 0 to 1"),
        ({"intensity": {"times_s": [0, 1], "values": [0, 1], "easing": "bounce"}}, "give one of linear, step, in, out"),
        ({"melody": {"times_s": [0], "values": ["H"]}}, "melody 'H' cannot be read; it is the lead's pitch class"),
        ({"rhythm": {"times_s": [0], "values": ["x.x"]}}, "rhythm 'x.x' cannot be read"),
        ({"melody": {"times_s": [0], "values": [0.5]}}, "melody has the value 0.5; give whole numbers, or names"),
        ({"density": {"times_s": ["a"], "values": [1]}}, "times_s of density holds 'a'"),
        ([1], "controls are not given by name"),
    ],
)
def test_what_is_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ControlCurves.from_json(values)


def test_a_curve_past_the_end_is_refused() -> None:
    curves = ControlCurves({"density": control([1, 2, 3, 4])})
    assert curves.check_fits(2.5) is curves
    with pytest.raises(InputError, match=r"the control density reaches 3 s, past the film's end \(1 s\)"):
        curves.check_fits(1.0)


@given(
    st.sampled_from([name for name, kind in KINDS.items() if not kind.held]),
    st.lists(st.one_of(st.floats(0, 20), st.just(math.nan)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_plain_values_are_the_inverse(name: str, values: list[float], strength: float) -> None:
    high = min(KINDS[name].high, 20)
    curves = ControlCurves({name: control([round(x * high / 20, 6) for x in values], strength=strength)})
    assert ControlCurves.from_json(curves.as_json()) == curves


@pytest.mark.parametrize("easing", EASINGS)
def test_easing_meets_its_key_frames(easing: str) -> None:
    made = eased(control([-10, 6, math.nan, 0, 0]), [easing] * 4)
    np.testing.assert_allclose(made.at([0.0, 1.0, 3.0, 4.0]), [-10, 6, 0, 0])
    assert math.isnan(made.at(2.0))
    middle = float(made.at(0.5))
    expected = {"linear": -2.0, "step": -10.0, "in": -6.0, "out": 2.0, "in-out": -2.0}[easing]
    assert middle == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_any_film(name: str) -> None:
    for what in ("intensity", "density"):
        for length_s in (1.0, 30.0, 10_800.0):
            curves = ControlCurves({what: preset(name, what, length_s)}).check_fits(length_s)
            assert np.ptp(curves[what].values) > 5
    rising = preset("build", "intensity", 10.0).values
    assert (np.diff(rising) > 0).all()


def test_a_choice_is_a_preset_a_number_or_nothing() -> None:
    assert of_choice("none", "density", 9.0) is None
    assert of_choice("8", "density", 9.0) == Control(np.zeros(1), np.array([8.0]))
    with pytest.raises(InputError, match="density is '101'; give none, build, fade, arc, stinger, or a number"):
        of_choice("101", "density", 9.0)


def test_an_average_fits_films_of_any_length() -> None:
    curves = ControlCurves(
        {
            "density": control([4, 8, 12]),
            "key": control([0, 21, 21, math.nan]),
            "rhythm": control([0, 0, 0, 10, 0]),
            "melody": control([0, 4]),
        }
    )
    found = averaged(curves).check_fits(0.5)
    assert {name: found[name].values.tolist() for name in found} == {"density": [8.0], "key": [21.0], "rhythm": [10.0]}
    assert len(averaged(ControlCurves({"density": control([math.nan])}))) == 0
