"""emsync compose, from the command line: a film or a length in, two files out; and one sentence for everything else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emsync import checkpoint, demo_film, midi
from emsync.cli.main import main
from emsync.tokenizer import vocabulary as v
from tests.fakes import exported_model

FILM_S = 9.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that runs without torch."""
    return exported_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine seconds with one cut."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    demo_film.make(path, duration_s=FILM_S, size=(64, 36), fps=12)
    return path


@dataclass
class Said:
    """What a run said, and what lies in the folder afterwards."""

    code: int
    out: str
    err: str
    files: list[str]


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Run `emsync compose --model TINY --quiet ...` in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def go(*arguments: str | Path, with_model: bool = True) -> Said:
        given = ["--model", model] if with_model else []
        code = main(["compose", *map(str, [*given, "--quiet", *arguments])])
        said = capsys.readouterr()
        return Said(code, said.out, said.err, sorted(str(p.relative_to(folder)) for p in folder.rglob("*")))

    return go


def refused(said: Said, sentence: str, *, left: list[str] | None = None) -> None:
    """Exit code 2, one line on standard error that holds the sentence, nothing on standard output, nothing written."""
    assert said.code == 2, said
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("emsync: error: ")
    assert sentence in said.err
    assert said.out == ""
    assert said.files == (left or [])


# ---- what works ----------------------------------------------------------------------------------------------------


def test_a_video_becomes_two_files_beside_it(run: Run, film: Path) -> None:
    mine = shutil.copy(film, Path.cwd() / "my film.mp4")
    said = run(Path(mine).name)
    assert said.code == 0, said.err
    assert said.err == ""
    assert said.files == ["my film.mid", "my film.mid.json", "my film.mp4"]
    score = midi.read("my film.mid")
    assert score.duration_s <= FILM_S + 1e-3
    assert [m.text[:5] for m in score.markers] == ["Cut 1"]
    record = json.loads(Path("my film.mid.json").read_text())
    assert record["video"] == "my film.mp4"
    assert record["duration_s"] == pytest.approx(FILM_S, abs=0.2)
    assert record["frame_rate"] == "12/1"
    assert record["backend"] == "onnx"
    assert len(record["cuts_s"]) == 1
    lines = said.out.splitlines()
    assert lines[0].startswith(f"Wrote my film.mid ({len(score)} notes, ")
    assert lines[0].endswith(" and my film.mid.json.")
    assert lines[1] == "1 cut in 9.0 s."
    assert lines[2].startswith("Chords on cuts: ")
    assert " of 1 within a frame, " in lines[2]
    assert lines[3].startswith("Watching took ")


def test_a_length_alone_is_enough(run: Run) -> None:
    said = run("--duration", "4")
    assert said.code == 0, said.err
    assert said.files == ["emsync.mid", "emsync.mid.json"]
    assert "4.0 s without a cut." in said.out
    score = midi.read("emsync.mid")
    assert score.markers == ()
    assert score.duration_s <= 4.0 + 1e-3
    assert json.loads(Path("emsync.mid.json").read_text())["video"] is None


def test_a_length_with_cuts(run: Run) -> None:
    Path("cuts.csv").write_text("time_s\n2.5\n3.0\n")
    said = run("--duration", "6", "--cuts", "cuts.csv", "-o", "song.mid")
    assert said.code == 0, said.err
    assert said.files == ["cuts.csv", "song.mid", "song.mid.json"]
    assert "2 cuts in 6.0 s, 1 closer than 4 s to another or too near an end (marked only)." in said.out
    assert [m.text for m in midi.read("song.mid").markers] == ["Cut 1 00:00:02:13", "Cut 2 00:00:03:00"]


def test_listed_cuts_replace_those_of_the_video(run: Run, film: Path) -> None:
    Path("cuts.csv").write_text("1.5\n7\n")
    said = run(film, "--cuts", "cuts.csv", "-o", "song.mid")
    assert said.code == 0, said.err
    assert json.loads(Path("song.mid.json").read_text())["cuts_s"] == [1.5, 7.0]


def test_options_reach_the_record_and_the_record_gives_the_same_bytes(run: Run, film: Path) -> None:
    options = (
        "--seed 7 --instruments fewer --temperature 1.1 --top-p 0.9 --hits exact --t-diff 1.5 --tempo 96 --grid free "
        "--sampling timeshift=0.9,0.95 --sampling ON=1.2,1"
    )
    said = run(film, "-o", "song.mid", *options.split())
    assert said.code == 0, said.err
    assert "exactly, whatever the beat" in said.out
    record = json.loads(Path("song.mid.json").read_text())
    assert record["seed"] == 7
    assert record["settings"] == {
        "seed": 7, "instruments": "fewer", "temperature": 1.1, "top_p": 0.9, "hits": "exact", "t_diff_s": 1.5,
        "tempo_qpm": 96.0, "grid": "free", "by_kind": {"TIMESHIFT": [0.9, 0.95], "ON": [1.2, 1.0]},
    }  # fmt: skip
    again = run("--from", "song.mid.json", "-o", "again.mid")
    assert again.code == 0, again.err
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()
    assert Path("again.mid.json").read_bytes() == Path("song.mid.json").read_bytes()
    # The record knows its model, and which song it belongs to.
    song = Path("song.mid").read_bytes()
    Path("song.mid").unlink()
    assert run("--from", "song.mid.json", "--overwrite", with_model=False).code == 0
    assert Path("song.mid").read_bytes() == song


def test_a_seed_gives_the_same_bytes_and_another_seed_others(run: Run) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("--duration", "3", "--seed", seed, "-o", f"{name}.mid").code == 0
    a, b, c = (Path(f"{name}.mid").read_bytes() for name in "abc")
    assert a == b != c


def test_torch_writes_what_onnx_writes_and_says_so(run: Run) -> None:
    for backend in ("onnx", "torch"):
        assert run("--duration", "3", "--backend", backend, "-o", f"{backend}.mid").code == 0
        assert json.loads(Path(f"{backend}.mid.json").read_text())["backend"] == backend
    assert Path("onnx.mid").read_bytes() == Path("torch.mid").read_bytes()


def test_overwrite_replaces_both_files(run: Run) -> None:
    for name in ("song.mid", "song.mid.json"):
        Path(name).write_text("old")
    assert run("--duration", "2", "-o", "song.mid", "--overwrite").code == 0
    assert len(midi.read("song.mid")) > 0
    assert json.loads(Path("song.mid.json").read_text())["duration_s"] == 2.0


# ---- what does not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["song.mid", "song.mid.json"])
def test_existing_output_is_left_alone(run: Run, film: Path, taken: str) -> None:
    Path(taken).write_text("mine")
    refused(run(film, "-o", "song.mid"), f"{taken} exists already; give --overwrite to replace it", left=[taken])
    assert Path(taken).read_text() == "mine"


def test_output_folder_missing(run: Run) -> None:
    refused(run("--duration", "2", "-o", "no/song.mid"), "no is not a folder; make it first, or write elsewhere")


def test_output_folder_that_cannot_be_written_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir()
    access = os.access  # the superuser may write anywhere, so that permissions alone would prove nothing
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    refused(run("--duration", "2", "-o", "locked/song.mid"), "locked cannot be written to; choose", left=["locked"])


def test_output_is_a_folder(run: Run) -> None:
    Path("songs").mkdir()
    refused(run("--duration", "2", "-o", "songs"), "songs is a folder; give the name of a file in it", left=["songs"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--duration 2 --seed x", "'--seed': 'x' is not a valid integer"),
        ("--duration 2 --seed -1", "'--seed': -1 is not in the range"),
        ("--duration 2 --seed 1.5", "'--seed': '1.5' is not a valid integer"),
        ("--duration long", "'--duration': 'long' is not a valid"),
        ("--duration nan", "'--duration': 'nan' is not a finite number"),
        ("--duration -3", "'--duration': -3.0 is not in the range"),
        ("--duration 0.5", "a film of 0.5 s is not between 1 s and 10800 s"),
        ("--duration 20000", "a film of 20000 s is not between 1 s and 10800 s"),
        ("--duration 2 --temperature 0", "'--temperature': 0.0 is not in the range"),
        ("--duration 2 --top-p 1.5", "'--top-p': 1.5 is not in the range"),
        ("--duration 2 --sampling ON", "--sampling 'ON' is not KIND=TEMPERATURE,TOP_P; write for example"),
        ("--duration 2 --sampling ON=1", "--sampling 'ON=1' is not KIND=TEMPERATURE,TOP_P"),
        ("--duration 2 --sampling NOTE=1,1", "there is no kind of event 'NOTE'; kinds are"),
        ("--duration 2 --sampling ON=0,1", "temperature 0 must be above 0 and at most 10"),
        ("--duration 2 --instruments none", "'none' is not one of 'more', 'fewer'"),
        ("--duration 2 --valence 0.5", "trained without mood, so --valence and --arousal cannot be followed; leave"),
        ("--duration 2 --arousal -1", "trained without mood"),
        ("--duration 2 --valence 2", "'--valence': 2.0 is not in the range"),
        ("--duration 2 --backend cuda", "'cuda' is not one of 'auto', 'onnx', 'torch'"),
        ("", "give either a video or --duration; one of them says how long the music is"),
        ("--duration 2 --cuts none.csv", "none.csv does not exist; check the name"),
        ("none.mp4", "none.mp4 does not exist; check the name"),
        ("--from none.mid.json", "none.mid.json cannot be read (No such file or directory); give the .mid.json"),
        ("--from none.mid.json --duration 2", "--from tells everything; leave out --duration"),
        ("--from none.mid.json film.mp4", "--from tells everything; leave out the video"),
        ("--from none.mid.json --cuts a.csv", "--from tells everything; leave out --cuts"),
    ],
)
def test_options_that_make_no_sense(run: Run, options: str, sentence: str) -> None:
    refused(run(*options.split()), sentence)


def test_a_video_and_a_duration(run: Run, film: Path) -> None:
    refused(run(film, "--duration", "3", "-o", "song.mid"), "give either a video or --duration")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3\n2\n", "cuts.csv, line 2: cut at 2 s comes after one at 3 s; sort the list"),
        ("2\n2\n", "cuts.csv, line 2: cut at 2 s is given twice; remove one"),
        ("-1\n", "cuts.csv, line 1: cut at -1 s is before the start (0 s)"),
        ("2\n99\n", "cuts.csv, line 2: cut at 99 s is past the video's end ("),
        ("time_s\nsoon\n", "cuts.csv, line 2: 'soon' is not a time; give seconds such as 12.04"),
        ("nan\n", "cuts.csv, line 1: 'nan' is not a time"),
        ("", "cuts.csv holds no cuts, not even a header"),
    ],
)
def test_bad_cuts(run: Run, film: Path, text: str, sentence: str) -> None:
    Path("cuts.csv").write_text(text)
    for source in (["--duration", "6"], [film]):
        refused(run(*source, "--cuts", "cuts.csv", "-o", "song.mid"), sentence, left=["cuts.csv"])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "talk.mp4 is empty (0 bytes)"),
        (b"This is no video but a text.\n" * 40, "talk.mp4"),
        (None, "talk.mp4"),
    ],
    ids=["empty", "text", "cut off"],
)
def test_bad_videos(run: Run, film: Path, data: bytes | None, sentence: str) -> None:
    whole = film.read_bytes()
    Path("talk.mp4").write_bytes(whole[: len(whole) // 3] if data is None else data)
    refused(run("talk.mp4"), sentence, left=["talk.mp4"])


def test_a_folder_as_video(run: Run) -> None:
    Path("film").mkdir()
    refused(run("film"), "film is a folder; give the name of a video file in it", left=["film"])


@pytest.mark.parametrize("missing", [checkpoint.CONFIG, checkpoint.VOCABULARY, checkpoint.WEIGHTS])
def test_a_model_folder_without_one_of_its_files(run: Run, model: Path, missing: str) -> None:
    mine = Path.cwd().parent / "model"
    shutil.copytree(model, mine)
    (mine / missing).unlink()
    refused(run("--duration", "2", "--model", mine, with_model=False), f"has no {missing}; copy the whole model folder")


def test_a_model_of_another_vocabulary(run: Run, model: Path) -> None:
    mine = Path.cwd().parent / "model"
    shutil.copytree(model, mine)
    (mine / checkpoint.VOCABULARY).write_text(json.dumps({"events": [*v.NAMES, "GLISSANDO"]}))
    said = run("--duration", "2", "--model", mine, with_model=False)
    refused(said, f"speaks another vocabulary ({v.SIZE + 1} events, hash {v.HASH}) than this emsync")


def test_no_model_folder(run: Run) -> None:
    said = run("--duration", "2", "--model", "models/none", with_model=False)
    refused(said, "models/none is not a model folder; give the folder that emsync train wrote")


def test_a_cut_off_record(run: Run) -> None:
    assert run("--duration", "2", "-o", "song.mid").code == 0
    text = Path("song.mid.json").read_text()
    Path("cut.mid.json").write_text(text[: len(text) // 2])
    left = ["cut.mid.json", "song.mid", "song.mid.json"]
    refused(run("--from", "cut.mid.json"), "cut.mid.json is not JSON", left=left)


def test_a_record_of_another_model(run: Run) -> None:
    assert run("--duration", "2", "-o", "song.mid").code == 0
    record = json.loads(Path("song.mid.json").read_text())
    record["model"]["weights_sha256"] = "0" * 64
    Path("other.mid.json").write_text(json.dumps(record))
    left = ["other.mid.json", "song.mid", "song.mid.json"]
    sentence = "made with a model whose weights hash to 000000000000, this one's to"
    refused(run("--from", "other.mid.json", "-o", "again.mid"), sentence, left=left)


@pytest.mark.parametrize("place", ["analyze", "compose", "to_bytes", "replace"])
def test_an_interrupt_leaves_nothing(run: Run, film: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    target = {
        "analyze": "emsync.video.analyze",
        "compose": "emsync.composer.draw",
        "to_bytes": "emsync.midi.to_bytes",
        "replace": "emsync.files.os.replace",
    }[place]
    monkeypatch.setattr(target, interrupt)
    said = run(film, "-o", "song.mid")
    assert said.code == 130
    assert said.err == "emsync: interrupted\n"
    assert said.files == []


def test_progress_is_shown_on_standard_error_only(run: Run, capsys: pytest.CaptureFixture[str], model: Path) -> None:
    assert main(["compose", "--model", str(model), "--duration", "2"]) == 0
    said = capsys.readouterr()
    assert "Composing" not in said.out


def test_a_film_that_breaks_off_is_composed_for_with_a_warning(
    run: Run, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from emsync import video

    whole = video.analyze

    def broken(path: Path, **options: Any) -> video.Scene:
        return replace(whole(path, **options), is_complete=False)

    monkeypatch.setattr(video, "analyze", broken)
    said = run(film, "-o", "song.mid")
    assert said.code == 0
    assert "breaks off or is damaged; composing for the 9.0 s that can be read" in said.err
    assert said.files == ["song.mid", "song.mid.json"]
