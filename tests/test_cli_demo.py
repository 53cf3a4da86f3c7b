"""emsync demo: film, music, record and picture, on the embedded model (here a tiny one in its place)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.video import analyze

FILES = ["film.mid", "film.mid.json", "film.mp4", "film.png"]


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path) -> None:
    """The tiny model as the one that ships with emsync, and an empty folder to be in."""
    for module in ("checkpoint", "decoder"):
        monkeypatch.setattr(f"emsync.{module}.embedded_folder", lambda: model)
    monkeypatch.chdir(tmp_path)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_the_demo_writes_film_music_record_and_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--duration", "8", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    folder = Path("demo")
    assert listed(folder) == FILES
    assert listed(Path.cwd()) == ["demo"]
    score, record = midi.read(folder / "film.mid"), json.loads((folder / "film.mid.json").read_text())
    scene = analyze(folder / "film.mp4")
    assert scene.duration_s == pytest.approx(8.0, abs=0.1)
    assert record["cuts_s"] == pytest.approx(scene.cuts_s.tolist())
    assert len(score.markers) == len(scene.cuts_s) == 1
    assert record["model"]["folder"] is None
    assert record["mood"]["source"] == "builtin"
    assert (folder / "film.png").read_bytes().startswith(b"\x89PNG")
    for words in (
        "Filmed demo/film.mp4: 8 s, 1 cut.",
        "Wrote demo/film.mid (",
        "Chords on cuts: ",
        "Mood: read from the pictures",
        "Drew demo/film.png.",
    ):
        assert words in said.out


@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_a_second_run_replaces_the_first() -> None:
    assert main(["demo", "-o", "a/b", "--duration", "4", "--quiet"]) == 0
    folder = Path("a/b")
    first = {name: (folder / name).read_bytes() for name in FILES}
    (folder / "mine.txt").write_text("mine")
    (folder / "film.png").write_text("spoilt")
    assert main(["demo", "-o", "a/b", "--duration", "4", "--quiet"]) == 0
    assert listed(folder) == [*FILES, "mine.txt"]
    for name in ("film.mid", "film.png"):
        assert (folder / name).read_bytes() == first[name]
    # The same frames are encoded to other pixels each time: the mood read from them may differ in the sixth digit.
    before, again = (json.loads(data) for data in (first["film.mid.json"], (folder / "film.mid.json").read_bytes()))
    for axis in ("valence", "arousal"):
        assert again["mood"].pop(axis) == pytest.approx(before["mood"].pop(axis), abs=2e-5)
    assert again == before
    assert main(["demo", "-o", "a/b", "--duration", "4", "--seed", "1", "--quiet"]) == 0
    assert (folder / "film.mid").read_bytes() != first["film.mid"]


@pytest.mark.usefixtures("embedded")
def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    Path("demo").write_text("a file")
    assert main(["demo", "--duration", "4", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("emsync: error: demo cannot be made (File exists); choose another folder")
    assert said.count("\n") == 1
    assert listed(Path.cwd()) == ["demo"]


@pytest.mark.usefixtures("embedded")
def test_a_length_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--duration", "0"]) == 2
    assert "'--duration': 0.0 is not in the range" in capsys.readouterr().err
    assert listed(Path.cwd()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_an_interrupt_leaves_no_half_written_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupt)
    assert main(["demo", "--duration", "4", "--quiet"]) == 130
    assert listed(Path("demo")) == FILES[:3]
