"""Mood: Table I, one scale, mixtures and their inverse; curves, their changes and their files."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.conditions import Conditions
from emsync.errors import InputError
from emsync.mood import (
    EMOTION_NAMES,
    EMOTIONS,
    METRICS,
    Metric,
    MoodCurve,
    emotion_point,
    mixture_mean,
    nearest_emotion,
    plane,
    probabilities,
    read_curve,
    scores,
)

NAN = float("nan")


def curve(times_s: list[float], valence: list[float], arousal: list[float] | None = None) -> MoodCurve:
    return MoodCurve(np.array(times_s), np.array(valence), np.array(valence if arousal is None else arousal))


def test_one_scale_moves_all_means_and_deviations_alike() -> None:
    means, deviations = plane(0.8)
    factor = 0.8 / 0.76
    assert np.abs(means).max() == pytest.approx(0.8)
    assert means[EMOTION_NAMES.index("sadness")] == pytest.approx([-0.63 * factor, -0.27 * factor])
    assert deviations[EMOTION_NAMES.index("disgust")] == pytest.approx([0.20 * factor, 0.41 * factor])


@pytest.mark.parametrize("mu_max", [0.0, -0.5, 1.01, NAN])
def test_a_scale_outside_the_plane_is_refused(mu_max: float) -> None:
    with pytest.raises(InputError, match=r"mu_max .* is outside \(0, 1\]"):
        plane(mu_max)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", EMOTION_NAMES)
def test_an_emotions_own_point_leads_back_to_it(name: str, metric: Metric) -> None:
    valence, arousal = emotion_point(name.upper())
    assert nearest_emotion(valence, arousal, metric=metric) == name


def test_the_three_ways_to_compare_differ_as_their_formulas_do() -> None:
    means, deviations = plane()
    off = np.array([0.1, -0.9]) - means
    assert scores(0.1, -0.9, metric="euclidean") == pytest.approx(-np.hypot(*off.T))
    z = off / deviations
    assert scores(0.1, -0.9, metric="mahalanobis") == pytest.approx(-np.hypot(*z.T))
    log = -(z**2).sum(axis=1) / 2 - np.log(2 * np.pi * deviations[:, 0] * deviations[:, 1])
    assert scores(0.1, -0.9, metric="likelihood") == pytest.approx(log)
    assert scores(np.zeros((3, 4)), 0.5).shape == (3, 4, 6)


def test_mixture_mean_weighs_the_means() -> None:
    half = mixture_mean({"joy": 0.5, "sadness": 0.5})
    assert half == pytest.approx((np.array(emotion_point("joy")) + emotion_point("sadness")) / 2)
    assert mixture_mean(np.eye(6)) == pytest.approx(plane()[0])


def test_an_unknown_emotion_names_the_six() -> None:
    with pytest.raises(InputError, match=r"'bliss' is not one .*anger, disgust, fear, joy, sadness, surprise"):
        MoodCurve.of_emotion("bliss")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"joy": 0.5}, "sum to 0.5, not to one"),
        ({"joy": 1.2, "fear": -0.2}, r"outside \[0, 1\]"),
        ({"joy": NAN}, r"nan is outside \[0, 1\]"),
        ([0.5, 0.5], r"shape \(2,\); give six"),
        (1.0, r"shape \(\); give six"),
    ],
)
def test_what_is_no_probabilities_is_refused(given_: dict[str, float] | list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        probabilities(given_)


def test_probabilities_sum_to_one_exactly_after_rounding() -> None:
    assert probabilities([0.333, 0.333, 0.333, 0, 0, 0]).sum() == pytest.approx(1, abs=1e-15)


def test_a_point_off_the_plane_has_no_emotion() -> None:
    with pytest.raises(InputError, match=r"arousal 1.5 is outside \[-1, 1\]"):
        nearest_emotion(0.0, 1.5)
    with pytest.raises(InputError, match="'manhattan' is not a metric"):
        scores(0, 0, metric="manhattan")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "valence", "message"),
    [
        ([0, 2, 1], [0, 0, 0], "go from 2 s to 1 s"),
        ([0, 1, 1], [0, 0, 0], "go from 1 s to 1 s"),
        ([-1, 1], [0, 0], "from 0 on"),
        ([0, NAN], [0, 0], "from 0 on"),
        ([0, 1], [0, -1.5], r"valence -1.5 at 1 s is outside \[-1, 1\]"),
        ([0, 1], [0], "one length"),
        ([], [], "no points"),
    ],
)
def test_what_is_no_curve_is_refused(times: list[float], valence: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        curve(times, valence)


def test_between_points_straight_beyond_them_held_beside_nan_not_given() -> None:
    c = curve([1, 3, 5, 7], [0, 1, NAN, 0.5])
    valence, _ = c.at([0, 1, 2, 3, 4, 5, 6, 7, 9])
    assert np.array_equal(valence, [0, 0, 0.5, 1, NAN, NAN, NAN, 0.5, 0.5], equal_nan=True)
    assert c.filled().valence == pytest.approx([0, 1, 0.75, 0.5])
    assert c.resampled([3.0, 4.0]) == curve([3, 4], [1, NAN])
    assert c != curve([1, 3, 5, 7], [0, 1, NAN, 0.4])


def test_a_curve_is_what_conditions_ask_for() -> None:
    c = MoodCurve(np.array([0.0, 10.0]), np.array([-1.0, 1.0]), np.array([NAN, NAN]))
    assert set(c.conditions) == {"valence"}
    lanes = Conditions(**c.conditions).at(np.array([0.0, 5.0, 20.0]))
    assert lanes[:, 1] == pytest.approx([-1, 0, 1])
    assert np.isnan(lanes[:, 2]).all()
    assert Conditions(**MoodCurve.constant(arousal=0.5).conditions).at(np.array([3.0]))[0, 2] == 0.5


def test_mean_weighs_by_time() -> None:
    valence, arousal = MoodCurve(np.array([0.0, 1.0, 9.0]), np.array([0.0, 1.0, 1.0]), np.array([NAN, 1.0, NAN])).mean
    assert valence == pytest.approx((0.5 + 8) / 9)
    assert arousal == 1.0
    assert np.isnan(MoodCurve.constant().mean).all()


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.floats(-1, 1)), min_size=1, max_size=12),
    st.floats(0.01, 50),
)
def test_smoothing_keeps_constants_and_never_leaves_the_range(points: list[tuple[float, float]], width: float) -> None:
    times = np.cumsum([gap for gap, _ in points])
    levels = np.array([level for _, level in points])
    smooth = MoodCurve(times, levels, np.full(len(times), 0.25)).smoothed(width)
    assert smooth.arousal == pytest.approx(np.full(len(times), 0.25))
    assert smooth.valence.min() >= levels.min() - 1e-12
    assert smooth.valence.max() <= levels.max() + 1e-12


def test_smoothing_leaves_gaps_and_needs_a_width() -> None:
    smooth = curve([0, 1, 2], [0, NAN, 1]).smoothed(2.0)
    assert np.array_equal(np.isnan(smooth.valence), [False, True, False])
    assert 0 < smooth.valence[0] < smooth.valence[2] < 1
    with pytest.raises(InputError, match="smoothing width of 0 s"):
        smooth.smoothed(0)


def test_joining_takes_one_then_the_other() -> None:
    joined = MoodCurve.constant(-1, 0).joined(MoodCurve.constant(1, 0), 10, fade_s=4)
    assert joined.at([0, 8, 10, 12, 30])[0] == pytest.approx([-1, -1, 0, 1, 1])
    step = curve([0, 20], [0, 0]).joined(curve([0, 20], [1, 1]), 10)
    assert step.at([9.99, 10.01])[0] == pytest.approx([0, 1])
    with pytest.raises(InputError, match="cannot be joined at 1 s with a fade of 4 s"):
        joined.joined(joined, 1, fade_s=4)


def test_shifting_and_fitting_a_video() -> None:
    c = curve([0, 10], [0, 1]).shifted(2)
    assert c.times_s == pytest.approx([2, 12])
    assert c.check_fits(11.5) is c
    with pytest.raises(InputError, match=r"reaches 12 s, past the video's end \(10 s\)"):
        c.check_fits(10)


@given(
    st.lists(st.floats(0.01, 1e4), min_size=2, max_size=8),
    st.sampled_from(["valence", "arousal", "both"]),
    st.randoms(use_true_random=False),
)
def test_json_round_trip(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[float], which: str, random: Random
) -> None:
    n = len(gaps)
    rows = {
        name: np.array([random.uniform(-1, 1) if which in (name, "both") else NAN for _ in range(n)])
        for name in ("valence", "arousal")
    }
    c = MoodCurve(np.cumsum(gaps), rows["valence"], rows["arousal"])
    path = tmp_path_factory.mktemp("mood") / "curve.json"
    c.write(path)
    assert read_curve(path) == c


def test_csv_with_one_level_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "mood.csv"
    path.write_text("\ufeffTime, Arousal\n0, -0.5\n\n10, 0.5\n", encoding="utf-8")
    c = read_curve(path)
    assert c.at(5.0)[1] == 0
    assert np.isnan(c.valence).all()


@pytest.mark.parametrize(
    "text",
    [
        "time_s;valence;arousal\n0;0,1;0,2\n10;0,5;-0,5\n",
        "sep=;\r\ntime_s;valence;arousal\r\n0;0,1;0,2\r\n10;0,5;-0,5\r\n",
        "time\tv\ta\n0\t0.1\t0.2\n10\t0.5\t-0.5\n",
        "\ufeffTime (s),Valence,Arousal,Note\r\n0,0.1,0.2,calm\r\n10,0.5,-0.5,\r\n",
        "# my film\n\nvalence,time_s,arousal\n0.1,0,0.2\n# later\n0.5,00:00:10.000,-0.5\n",
        "time,valence,arousal\n0:00,0.1,0.2\n0:10,0.5,-0.5\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_every_way_to_write_a_table(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "mood.csv"
    path.write_bytes(text.removeprefix("\ufeff" if encoding != "utf-8" else "").encode(encoding))
    assert read_curve(path) == curve([0, 10], [0.1, 0.5], [0.2, -0.5])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "time_s,valence\n0,0\n", "a curve of 1 points"),
        ("a.csv", "time_s,valence\n0,0\n1,\n2,0\n", "valence has a gap at 1 s"),
        ("a.csv", "time_s,valence\n0,0\n,0\n", "time 2 is missing"),
        ("a.csv", "time_s,valence\n0,0\n1,loud\n", "valence 'loud' of point 2 is not a number"),
        ("a.csv", "time_s,valence\n0,0\n1,inf\n", "valence 'inf' of point 2 is not a number"),
        ("a.csv", "time_s,valence\n0,0\n1\n", "row 3 has 1 cells"),
        ("a.csv", "when,how\n0,0\n1,0\n", "columns are when, how"),
        ("a.csv", "time_s,valence\n1,0\n0,0\n", "go from 1 s to 0 s"),
        ("a.csv", "time_s,valence\n0,0\n1,7\n", r"valence 7 at 1 s is outside \[-1, 1\]"),
        ("a.csv", "0,0\n1,0\n", "the first line holds values; give a header"),
        ("a.csv", "time_ms,valence\n0,0\n1,0\n", "columns are time_ms, valence"),
        ("a.csv", "time_s,valence\n0,0,1\n1,0,5\n", "row 2 has 3 cells, the header 2"),
        ("a.csv", "time_s,valence\n0,nan\n1,0\n", "valence 'nan' of point 1 is not a number"),
        ("a.csv", "time_s,valence\n0,0:01\n1,0\n", "valence '0:01' of point 1 is not a number"),
        ("a.csv", "time_s,valence\n0," + "1" * 80_000 + "\n1,0\n", "of point 1 is not a number"),
        ("a.json", '{"times_s": [0, 1' + "0" * 4000 + '], "valence": [0, 0]}', "of point 2 is not a number"),
        ("a.json", '{"a":' * 100_000, "nested too deeply"),
        ("a.json", "{", "this is not JSON"),
        ("a.json", "[1]", "not a table"),
        ("a.json", '{"times_s": [0, 1], "valence": [0]}', "valence has 1 values for 2 times"),
        ("a.json", '{"times_s": [0, true], "valence": [0, 0]}', "time_s True of point 2 is not a number"),
        ("a.json", '{"times_s": [0, 1], "valence": 0.5}', "columns are times_s; give time_s and valence"),
        ("a.json", '{"times_s": [0, 1]}', "columns are times_s; give time_s and valence"),
    ],
)
def test_files_that_hold_no_curve_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_curve(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read"):
        read_curve(tmp_path / "none.csv")


def test_the_table_has_six_rows_in_the_papers_order() -> None:
    assert EMOTION_NAMES == ("anger", "disgust", "fear", "joy", "sadness", "surprise")
    assert all(-1 <= x <= 1 for e in EMOTIONS for x in (e.valence, e.arousal))
