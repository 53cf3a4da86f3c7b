"""Controls in files, and what a film suggests."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emsync import control_files
from emsync.control_curves import Control, ControlCurves
from emsync.control_files import read_controls, write_controls
from emsync.errors import InputError
from emsync.video import Scene

CURVES = ControlCurves(
    {
        "intensity": Control(np.array([0.0, 2.5, 4.0]), np.array([-6.0, math.nan, 3.0])),
        "melody": Control(np.array([0.0, 2.5, 4.0]), np.array([0.0, 12.0, 6.0])),
    }
)


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_files_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    write_controls(CURVES, tmp_path / name)
    assert read_controls(tmp_path / name) == CURVES
    assert "rest" in (tmp_path / name).read_text()


def test_a_table_with_gaps_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time_s;density;rhythm\n0;8;x.x.\n0:02;;\n4;12;xxxx\n")
    curves = read_controls(tmp_path / "a.csv")
    np.testing.assert_array_equal(curves["density"].values, [8, math.nan, 12])
    np.testing.assert_array_equal(curves["rhythm"].values, [10, math.nan, 15])
    assert curves["density"].times_s.tolist() == [0, 2, 4]


def test_key_frames_with_easing(tmp_path: Path) -> None:
    frames = {"intensity": {"times_s": [0, 10], "values": [-12, 0], "easing": "in", "strength": 0.5}}
    (tmp_path / "a.json").write_text(json.dumps(frames))
    control = read_controls(tmp_path / "a.json")["intensity"]
    assert control.strength == 0.5
    assert control.at(5.0) == pytest.approx(-9.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "it has no controls; give one of intensity, density"),
        ("a.json", "[1]", "controls are not given by name"),
        ("a.json", "{", "this is not JSON"),
        (
            "a.json",
            '{"controls": {"key": {"times_s": [0], "values": ["C"], "values": ["D"]}}}',
            "has the field 'values' twice",
        ),
        ("a.csv", "1,2\n3,4\n", "the first line holds values; give a header such as time_s,intensity"),
        ("a.csv", "when,intensity\n0,1\n", "columns are when, intensity; give time_s"),
        ("a.csv", "time_s,loud\n0,1\n", "there is no control 'loud'; controls are intensity, density, melody"),
        ("a.csv", "time_s,intensity\nx,1\n", "line 2: 'x' is not a time"),
        ("a.mid", "MThd", "not a MIDI file that can be read"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    if name.endswith(".mid"):
        pytest.importorskip("mido")
    with pytest.raises(InputError, match=rf"{name}: .*{message}"):
        read_controls(tmp_path / name)


def test_controllers_draw_curves(tmp_path: Path) -> None:
    mido = pytest.importorskip("mido")
    track = mido.MidiTrack()
    for tick, number, value in ((0, 11, 0), (480, 11, 127), (480, 7, 3), (0, 1, 127)):  # 120 a minute: 480 is 0.5 s
        track.append(mido.Message("control_change", control=number, value=value, time=tick))
    mido.MidiFile(tracks=[track]).save(tmp_path / "a.mid")
    curves = read_controls(tmp_path / "a.mid")
    np.testing.assert_allclose(curves["intensity"].at([0.0, 0.49, 0.5, 3.0]), [-30, -30, 12, 12])
    assert curves["density"].at(0.0) == 40
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(tmp_path / "none.mid")
    with pytest.raises(InputError, match=r"it has no controller 11 \(intensity\) or 1 \(density\)"):
        read_controls(tmp_path / "none.mid")


def scene(motion: np.ndarray, cuts_s: list[float]) -> Scene:
    return Scene(
        "film.mp4", 40.0, Fraction(25), 1000, 64, 36, cuts_s=np.array(cuts_s), times_s=np.arange(40.0), motion=motion,
        luma=np.zeros(40), saturation=np.zeros(40),
    )  # fmt: skip


def test_a_film_suggests_louder_and_denser_music_where_more_happens(tmp_path: Path) -> None:
    lively = scene(np.repeat([0.1, 2.0], 20), [21.0, 24.0, 27.0, 30.0, 33.0])
    curves = control_files.proposed(lively)
    assert set(curves) == {"intensity", "density", "change"}
    for name, (low, high) in control_files.PROPOSED.items():
        values = curves[name].values
        assert low <= values.min() < values.max() <= high
        assert curves[name].at(30.0) > curves[name].at(5.0) + (high - low) / 3
    (tmp_path / "film.json").write_text(lively.to_json(controls=curves.as_json()))
    assert set(read_controls(tmp_path / "film.json")) == {"intensity", "density", "change"}
    assert Scene.from_json((tmp_path / "film.json").read_text()) == lively


def test_a_films_change_is_where_its_picture_changes() -> None:
    """As much as it changes against the film's largest changes, whatever changes; and nothing where it is still."""
    film = replace(scene(np.zeros(40), []), luma=np.repeat([0.2, 0.8, 0.2, 0.8, 0.7], 8))
    change = control_files.film_change(film)
    assert change is not None
    np.testing.assert_allclose(change.at([5.0, 8.0, 16.0, 20.0]), [0, 1, 1, 0], atol=1e-9)
    assert change.at(32.0) == pytest.approx(1 / 6)
    assert control_files.film_change(scene(np.ones(40), [])) is None


def test_a_film_in_which_nothing_changes_suggests_nothing() -> None:
    assert len(control_files.proposed(scene(np.ones(40), []))) == 0
