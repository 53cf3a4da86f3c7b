"""Scenes, their JSON, and the command that prints and writes them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from emsync.cli.analyze import command, summary
from emsync.cli.main import main
from emsync.errors import InputError
from emsync.video import Scene, analyze
from tests.films import two_shots, write


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mkv", two_shots())


def small_scene(**changes: Any) -> Scene:
    values: dict[str, Any] = {
        "path": "film.mp4",
        "duration_s": 12.0,
        "frame_rate": Fraction(24000, 1001),
        "n_frames": 288,
        "width": 64,
        "height": 36,
        "cuts_s": [0.0, 3.25, 5.5, 8.0],
    }
    return Scene(**(values | changes))


def test_boundaries_are_the_spaced_cuts() -> None:
    assert small_scene().boundaries_s.tolist() == [3.25, 8.0]
    assert small_scene(t_diff_s=0).boundaries_s.tolist() == [3.25, 5.5, 8.0]


def test_a_scene_is_read_back_as_it_was_written(film: Path) -> None:
    scene = analyze(film)
    again = Scene.from_json(scene.to_json())
    assert again.to_json() == scene.to_json()
    assert again.cuts_s.tolist() == scene.cuts_s.tolist()
    assert again.frame_rate == scene.frame_rate
    assert again != replace(again, cuts_s=[0.5])
    with_gap = small_scene(loudness_db=[-20.0, math.nan])
    assert Scene.from_json(with_gap.to_json()) == with_gap
    record = json.loads(with_gap.to_json())
    assert record["frame_rate"] == "24000/1001"
    assert record["loudness_db"] == [-20.0, None]
    assert record["boundaries_s"] == [3.25, 8.0]


def test_a_scene_of_an_older_file_lacks_the_younger_curves(film: Path) -> None:
    scene = analyze(film)
    record = json.loads(scene.to_json())
    for name in ("contrast", "warmth"):
        assert len(record.pop(name)) == 8
    older = Scene.from_json(json.dumps(record))
    assert older.contrast.size == older.warmth.size == 0
    assert older.luma == pytest.approx(scene.luma, abs=1e-6)
    assert Scene.from_json(older.to_json()) == older


def test_a_mood_is_written_beside_a_scene_and_is_not_its_own() -> None:
    scene = small_scene()
    text = scene.to_json(mood={"times_s": [0.5], "reader": "builtin"})
    assert json.loads(text)["mood"] == {"times_s": [0.5], "reader": "builtin"}
    assert Scene.from_json(text) == scene


def test_a_scene_cannot_be_changed() -> None:
    scene = small_scene()
    with pytest.raises(ValueError, match="read-only"):
        scene.cuts_s[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration_s": 0.0}, "film of 0.0 s cannot be scored"),
        ({"duration_s": math.nan}, "film of nan s cannot be scored"),
        ({"frame_rate": 24.0}, "must be a Fraction"),
        ({"n_frames": 0}, "each number must be at least 1"),
        ({"cuts_s": [5.0, 3.0]}, "cuts_s must increase strictly"),
        ({"cuts_s": [5.0, 13.0]}, r"to the film's end \(12 s\)"),
        ({"cuts_s": [[1.0]]}, "has 2 dimensions"),
        ({"fades_s": [math.nan]}, "not finite"),
        ({"times_s": [0.0, 0.25], "motion": [1.0]}, "motion has 1 values for 2 times_s"),
        (
            {"times_s": [0.0], "motion": [1], "luma": [1], "saturation": [1], "warmth": [1, 2]},
            "warmth has 2 values for 1",
        ),
        ({"t_diff_s": -1.0}, "t_diff is -1"),
        ({"loudness_db": [math.inf]}, "loudness_db holds a value that is not finite"),
        ({"threshold": math.inf}, "threshold is inf"),
    ],
)
def test_a_scene_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_scene(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not JSON"),
        ("[]", "has version None"),
        ('{"version": 99}', "has version 99, this program reads 1"),
        ('{"version": 1, "path": "a"}', "lacks duration_s"),
    ],
)
def test_json_that_is_no_scene(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scene.from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("frame_rate", rate) for rate in ("24/0", "1e99999999", "1" * 5000, "-24", True, None, [24], "1e-9", "٣")),
        *(("cuts_s", ["x"]), ("n_frames", None), ("n_frames", 1e999), ("has_audio", 1), ("path", 3)),
        ("duration_s", 10**400),
    ],
)
def test_json_with_a_bad_value(key: str, value: object) -> None:
    record = json.loads(small_scene().to_json()) | {key: value}
    with pytest.raises(InputError, match=f"scene's {key} cannot be read"):
        Scene.from_json(json.dumps(record))


def test_the_command_prints_and_writes(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "scene.json"
    result = CliRunner().invoke(command, [str(film), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "2.000 s, 96x54, 25 frames/s, 50 frames, no sound" in result.output
    assert "1 cut found, 1 at least 4 s apart:" in result.output
    assert "Cut 1        1.000 s  00:00:01:00" in result.output
    assert Scene.from_json(output.read_text()).cuts_s.tolist() == [1.0]
    assert json.loads(output.read_text())["duration_s"] == pytest.approx(2.0)


def test_the_command_keeps_an_existing_file(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scene.json"
    output.write_text("mine")
    assert main(["analyze", str(film), "-o", str(output)]) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["analyze", str(film), "-o", str(output), "--overwrite"]) == 0
    assert Scene.from_json(output.read_text()).n_frames == 50


def test_the_command_leaves_nothing_behind_when_the_film_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("no film")
    assert main(["analyze", str(path), "-o", str(tmp_path / "scene.json")]) == 2
    printed = capfd.readouterr()  # of the process, so that ffmpeg's own messages would be seen
    assert printed.out == ""
    assert printed.err.startswith("emsync: error: ")
    assert printed.err.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.mp4"]


def test_ffmpeg_is_quiet_about_a_damaged_film(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "whole.ts", two_shots())
    data = bytearray(whole.read_bytes())
    data[6000:8000] = np.random.default_rng(3).bytes(2000)
    path = tmp_path / "film.ts"
    path.write_bytes(bytes(data))
    analyze(path)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_importing_the_module_imports_nothing_heavy() -> None:
    code = "import sys, emsync.video; print([m for m in ('av', 'cv2', 'scenedetect') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_summary_of_cuts_kept_and_left_out() -> None:
    text = summary(small_scene(fades_s=[1.0]))
    assert "4 cuts found, 2 at least 4 s apart:" in text
    assert "  (near)       0.000 s  00:00:00:00" in text
    assert "  Cut 2        8.000 s  00:00:08:00" in text
    assert "fade in at 00:00:01:00" in text
    assert "No cuts." in summary(small_scene(cuts_s=[]))
