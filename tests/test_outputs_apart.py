"""No command replaces a file that it reads, or a film that it did not make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emsync.checkpoint import CONFIG
from emsync.cli.main import main
from emsync.demo_film import is_ours, make
from emsync.errors import InputError, OutputError
from emsync.export import ship
from emsync.training.corpus.prepare import prepare
from emsync.training.evaluation.report_page import JSON_NAME, check_output
from emsync.weight_parts import join_parts

REPOSITORY = Path(__file__).resolve().parents[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["model", "./model/", "link", "../here/model"])
def test_a_model_is_not_shipped_onto_itself(
    model: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "model").mkdir()
    for file, data in contents(model).items():
        (here / "model" / file).write_bytes(data)
    (here / "link").symlink_to("model")
    with pytest.raises(OutputError, match="is what is read, and is not replaced; write to another name"):
        ship("model", name, overwrite=True)
    assert contents(here / "model") == contents(model)


def test_parts_are_not_joined_onto_themselves(tmp_path: Path) -> None:
    from emsync import vocabulary as v

    (tmp_path / CONFIG).write_text("{}", encoding="utf-8")
    index = f'{{"format": 1, "config": {{"vocabulary": "{v.HASH}"}}, "parts": []}}'
    (tmp_path / "index.json").write_text(index, encoding="utf-8")
    with pytest.raises(OutputError, match="is what is read"):
        join_parts(tmp_path, tmp_path / "." / "", overwrite=True)


def test_an_evaluation_is_not_compared_with_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / JSON_NAME).write_text("{}", encoding="utf-8")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    check_output(tmp_path, overwrite=True, inputs=(tmp_path / "other.json", None, tmp_path / "none"))
    with pytest.raises(OutputError, match=r"evaluation\.json is what is read"):
        check_output(tmp_path, overwrite=True, inputs=(tmp_path / "other.json", tmp_path / JSON_NAME))


@pytest.mark.parametrize("named", ["out/train-00.npz", "link.npz"])
def test_a_corpus_does_not_replace_its_songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out/train-00.npz").write_bytes(b"a pianoroll, perhaps")
    os.symlink("out/train-00.npz", "link.npz")
    with pytest.raises(InputError, match="lies in the folder to write into already; give -o another folder"):
        prepare([named], "out", workers=1, overwrite=True)
    assert contents(Path("out")) == {"train-00.npz": b"a pianoroll, perhaps"}


@pytest.mark.parametrize("name", ["film.mp4", "film.mid", "film.mid.json", "film.png"])
def test_a_demo_replaces_no_other_film(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    assert main(["demo", "-o", str(tmp_path), "--duration", "4", "-q"]) == 2
    assert f"{name} is not of an earlier demo, and is not replaced; give -o another folder" in capsys.readouterr().err
    assert contents(tmp_path) == {name: b"mine"}


def test_a_demo_knows_its_films(tmp_path: Path) -> None:
    make(tmp_path / "film.mp4", duration_s=1.0, size=(64, 36), fps=12)
    assert is_ours(tmp_path / "film.mp4")
    assert not is_ours(tmp_path / "none.mp4")
    (tmp_path / "other.mp4").write_bytes(b"mine")
    assert not is_ours(tmp_path / "other.mp4")


@pytest.mark.parametrize("read", ["--cuts", "--mood", "--theme", "--from"])
@pytest.mark.parametrize("written", ["--plot", "--html"])
def test_a_picture_replaces_nothing_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], read: str, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {"--plot": "mine.png", "--html": "mine.html"}[written]
    Path(place).write_bytes(b"mine")
    given = ["--duration", "8"] if read != "--from" else []
    assert main(["compose", *given, read, place, written, place, "-o", "song.mid", "--overwrite"]) == 2
    assert f"{place} is what is read, and is not replaced" in capsys.readouterr().err
    assert contents(tmp_path) == {place: b"mine"}


@pytest.mark.slow
def test_nothing_is_written_outside_the_output_folder(model: Path, tmp_path: Path) -> None:
    """ONNX Runtime would keep usage files in the user's cache."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    known = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "emsync", "compose", "--duration", "2", "--model", str(model), "-o", "song.mid", "-q"],
        cwd=out, env={**known, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["song.mid", "song.mid.json"]
    assert list(home.rglob("*")) == list(temporary.rglob("*")) == []
