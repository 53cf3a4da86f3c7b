"""emsync analyze: the mood it prints, writes and draws. Cuts are tested in test_video.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from emsync.affect import builtin_mood
from emsync.cli.analyze import mood_line
from emsync.cli.main import main
from emsync.mood import MoodCurve, read_curve
from emsync.video import Scene
from tests.films import plain, write


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mkv", [plain(240, 200, 40)] * 40 + [plain(10, 10, 60)] * 40)


@pytest.mark.slow
def test_the_mood_is_printed_written_and_drawn(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, picture = tmp_path / "scene.json", tmp_path / "scene.png"
    assert main(["analyze", str(film), "-o", str(output), "--plot", str(picture)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    record = json.loads(output.read_text())
    scene = Scene.from_json(output.read_text())
    curve = builtin_mood(scene)
    assert record["mood"]["reader"] == "builtin"
    assert record["mood"]["times_s"] == pytest.approx([0.5, 1.5, 2.5, 3.1])
    assert record["mood"]["valence"] == pytest.approx(curve.valence.tolist(), abs=1e-4)
    assert record["mood"]["arousal"] == pytest.approx(curve.arousal.tolist(), abs=1e-4)
    assert printed.out.endswith(
        f"\n{mood_line(read_curve(output), 'builtin')}\nWritten: {output}\nWritten: {picture}\n"
    )
    assert imread(picture).shape[1] == 1600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "scene.json", "scene.png"]


def test_what_was_written_is_read_as_a_curve_again(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert main(["analyze", str(film), "-o", str(first)]) == 0
    assert main(["analyze", str(film), "-o", str(second), "--affect", str(first)]) == 0
    one, other = (json.loads(path.read_text())["mood"] for path in (first, second))
    assert (one.pop("reader"), other.pop("reader")) == ("builtin", str(first))
    assert other == {name: pytest.approx(row) for name, row in one.items()}
    assert f"Mood ({first}): valence" in capsys.readouterr().out


@pytest.mark.slow
def test_no_mood_where_none_is_wanted(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, picture = tmp_path / "scene.json", tmp_path / "scene.png"
    assert main(["analyze", str(film), "-o", str(output), "--affect", "none", "--plot", str(picture)]) == 0
    assert "Mood" not in capsys.readouterr().out
    assert "mood" not in json.loads(output.read_text())
    assert imread(picture).shape[0] < 600


def test_sound_is_not_needed(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(film)]) == 0
    out = capsys.readouterr().out
    assert "no sound" in out
    assert "Mood (builtin): valence " in out


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (MoodCurve.constant(-0.6, -0.25), "Mood (x): valence -0.60, arousal -0.25 on average, nearest sadness."),
        (MoodCurve.constant(0.5), "Mood (x): valence +0.50 on average."),
        (MoodCurve.constant(), "Mood (x): not given on average."),
    ],
)
def test_a_mood_in_a_line(curve: MoodCurve, expected: str) -> None:
    assert mood_line(curve, "x") == expected


def long_curve(folder: Path) -> str:
    path = folder / "long.csv"
    path.write_text("time_s,valence,arousal\n0,0,0\n60,0,0\n")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{film}", "--affect", "mind"], "there is no affect reader 'mind'; give builtin, clip"),
        (["{film}", "--affect", "{long}"], "reaches 60 s, past the video's end (3.2 s)"),
        (["{film}", "--affect", "{folder}/none.json"], "none.json cannot be read"),
        (["{folder}/none.mp4"], "none.mp4 does not exist; check the name"),
        (["{film}", "--plot", "{folder}"], "is a folder; give the name of a file in it"),
        (["{film}", "--plot", "{long}"], "long.csv exists already; give --overwrite"),
        (["{film}", "--plot", "{folder}/a", "-o", "{folder}/a"], "cannot be both the JSON and the picture"),
    ],
    ids=["reader", "long", "no curve", "no video", "folder", "exists", "same"],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], message: str, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"film": str(film), "long": long_curve(tmp_path), "folder": str(tmp_path)}
    assert main(["analyze", *(argument.format(**places) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("emsync: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "long.csv"]


def test_a_progress_bar_is_shown_to_people_only(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Slow:
        name = "slow"

        def read(self, video: Path, scene: Scene, *, progress: object = None) -> MoodCurve:
            assert callable(progress) == bool(shares)
            if callable(progress):
                progress(0.5)
                progress(1.0)
            return MoodCurve(np.array([0.5, 1.5]), np.zeros(2), np.zeros(2))

    monkeypatch.setattr("emsync.cli.analyze.open_reader", lambda spec: Slow())
    assert main(["analyze", str(film)]) == 0
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["analyze", str(film), "--quiet"]) == 0
    shares.append(1.0)
    assert main(["analyze", str(film)]) == 0
