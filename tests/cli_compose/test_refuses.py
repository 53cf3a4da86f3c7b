"""What `emsync compose` refuses, in one sentence and leaving nothing behind."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emsync import checkpoint, midi, video
from emsync import vocabulary as v
from emsync.cli.main import main
from tests.cli_compose.runs import Run, refused


@pytest.mark.parametrize("taken", ["song.mid", "song.mid.json"])
def test_existing_output_is_left_alone(run: Run, film: Path, taken: str) -> None:
    Path(taken).write_text("mine")
    refused(run(film, "-o", "song.mid"), f"{taken} exists already; give --overwrite to replace it", left=[taken])
    assert Path(taken).read_text() == "mine"


@pytest.mark.slow
def test_a_form_and_a_theme(run: Run, tmp_path: Path) -> None:
    from tests.test_theme import tune

    midi.write(tune(), Path("tune.mid"))
    said = run("--duration", "24", "--form", "ABA", "--theme", "tune.mid", "-o", "song.mid")
    assert said.code == 0, said.err
    assert "Form: A at 0.0 s, B at " in said.out
    assert "Theme tune.mid (7 notes): " in said.out
    record = json.loads(Path("song.mid.json").read_text())
    assert [section["label"] for section in record["form"]] == ["A", "B", "A"]
    assert record["theme"]["pitch"][0] == 72
    song = Path("song.mid").read_bytes()
    Path("tune.mid").unlink()
    assert run("--from", "song.mid.json", "--overwrite").code == 0
    assert Path("song.mid").read_bytes() == song


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--form", "AABA"), "a form of 4 sections needs 16 s, 4 s each, and the piece has 3 s; give fewer sections"),
        (("--form", "A?"), "form 'A?' has the unknown section '?'"),
        (("--theme", "none.mid"), "none.mid cannot be read (No such file or directory)"),
        (("--theme", "text.mid"), "text.mid is not a MIDI file"),
    ],
)
def test_forms_and_themes_that_cannot_be_used(run: Run, options: tuple[str, ...], message: str) -> None:
    Path("text.mid").write_text("not a MIDI file")
    refused(run("--duration", "3", "-o", "song.mid", *options), message, left=["text.mid"])


@pytest.mark.parametrize(
    ("name", "sentence"), [("", "the name is empty"), ("/", "is no name of a file; give one such as song.mid")]
)
def test_an_output_without_a_name(run: Run, name: str, sentence: str) -> None:
    refused(run("--duration", "2", "-o", name), sentence)


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
        ("--duration -3", "'--duration': -3.0 is not in the range 1<=x<=10800"),
        ("--duration 0.5", "'--duration': 0.5 is not in the range"),
        ("--duration 20000", "'--duration': 20000.0 is not in the range"),
        ("--duration 2 --temperature 0", "'--temperature': 0.0 is not in the range"),
        ("--duration 2 --top-p 1.5", "'--top-p': 1.5 is not in the range"),
        ("--duration 2 --sampling ON", "--sampling 'ON' is not KIND=TEMPERATURE,TOP_P; write for example"),
        ("--duration 2 --sampling ON=1", "--sampling 'ON=1' is not KIND=TEMPERATURE,TOP_P"),
        ("--duration 2 --sampling NOTE=1,1", "there is no kind of event 'NOTE'; kinds are"),
        ("--duration 2 --sampling ON=0,1", "temperature of ON is 0.0; give a number above 0 and at most 10"),
        ("--duration 2 --instruments none", "'none' is not one of 'more', 'fewer'"),
        ("--duration 2 --valence 2", "'--valence': 2.0 is not in the range"),
        ("--duration 2 --arousal nan", "'--arousal': 'nan' is not a finite number"),
        ("--duration 2 --mood-strength 11", "'--mood-strength': 11.0 is not in the range"),
        ("--duration 2 --mood-strength -1", "'--mood-strength': -1.0 is not in the range"),
        ("--duration 2 --emotion bliss", "'bliss' is not one of the six emotions; give anger, disgust, fear, joy, sad"),
        ("--duration 2 --emotion joy,fear", "'joy,fear' is not one of the six emotions; give anger, disgust, fear"),
        ("--duration 2 --emotion joy=0.5,bliss=0.5", "'bliss' is not one of the six emotions; give anger, disgust, "),
        ("--duration 2 --emotion joy=0.7,fear=0.7", "the emotions' probabilities sum to 1.4, not to one; divide them"),
        ("--duration 2 --emotion joy=1.5,fear=-0.5", "probability -0.5 is outside [0, 1]; give shares of one"),
        ("--duration 2 --emotion joy=nan", "probability nan is outside [0, 1]"),
        ("--duration 2 --emotion joy=most", "--emotion: 'joy=most' is not NAME=SHARE; write for example joy=0.7,surp"),
        ("--duration 2 --emotion joy=0.5,JOY=0.5", "--emotion gives 'joy' twice; give each emotion once"),
        ("--duration 2 --emotion joy --valence 0.5", "--valence and --emotion each say what the mood is; give one"),
        ("--duration 2 --emotion joy --arousal 0.5 --valence 0", "--valence and --arousal and --emotion each say what"),
        ("--duration 2 --mood a.csv --emotion joy", "--emotion and --mood each say what the mood is; give one of"),
        ("--duration 2 --mood a.csv --arousal 0", "--arousal and --mood each say what the mood is"),
        ("film.mp4 --mood a.csv --affect builtin", "--mood and --affect each say what the mood is; give one of them"),
        ("film.mp4 --valence 0 --affect none", "--valence and --affect each say what the mood is"),
        ("--duration 2 --affect builtin", "--affect reads a video's mood, and there is no video; give one, or --mood"),
        ("--duration 2 --mood none.csv", "none.csv cannot be read ("),
        ("film.mp4 --affect horoscope", "there is no affect reader 'horoscope'; give builtin, clip, "),
        ("--duration 2 --style-strength 0.5", "--style-strength says how much of a style is added, and there is none"),
        ("--duration 2 --style-manner off", "--style-manner says whether the manner of a style is added, and there is"),
        ("--from none.mid.json --tempo 96", "--from already says what to compose; leave out --tempo"),
        ("--from none.mid.json --sampling ON=1,1", "--from already says what to compose; leave out --sampling"),
        ("--from none.mid.json --emotion joy", "--from already says what to compose; leave out --emotion"),
        ("--from none.mid.json --affect none", "--from already says what to compose; leave out --affect"),
        ("--duration 2 --backend cuda", "'cuda' is not one of 'auto', 'onnx', 'torch'"),
        ("", "give either a video or --duration; one of them says how long the music is"),
        ("--duration 2 --cuts none.csv", "none.csv does not exist; check the name"),
        ("none.mp4", "none.mp4 does not exist; check the name"),
        ("--from none.mid.json", "none.mid.json cannot be read (No such file or directory); give the .mid.json"),
        ("--from none.mid.json --duration 2", "--from already says what to compose; leave out --duration"),
        ("--from none.mid.json film.mp4", "--from already says what to compose; leave out the video"),
        ("--from none.mid.json --cuts a.csv", "--from already says what to compose; leave out --cuts"),
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
        (b"This is not a video but a text.\n" * 40, "talk.mp4"),
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
    refused(run("film", "-o", "out"), "film has no films (.avi, .flv, ", left=["film"])


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


def test_a_record_of_another_mixture(run: Run) -> None:
    assert run("--duration", "2", "-o", "song.mid").code == 0
    record = json.loads(Path("song.mid.json").read_text())
    assert record["model"]["copying_sha256"] is None
    record["model"]["copying_sha256"] = "a" * 64
    Path("other.mid.json").write_text(json.dumps(record))
    left = ["other.mid.json", "song.mid", "song.mid.json"]
    sentence = "with a copying.json that hashes to aaaaaaaaaaaa, this model has no copying.json; give the right one"
    refused(run("--from", "other.mid.json", "-o", "again.mid"), sentence, left=left)
    record["settings"]["copying"] = 0.0  # nothing was copied: any mixture will do
    Path("other.mid.json").write_text(json.dumps(record))
    assert run("--from", "other.mid.json", "-o", "again.mid").code == 0
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()


def test_takes_need_a_critic(run: Run, film: Path) -> None:
    sentence = (
        "candidates is 3, and the model has no critic.json to choose by; give 1, or fit one with: emsync fit-critic"
    )
    refused(run(film, "--candidates", "3", "-o", "song.mid"), sentence)
    refused(run("--duration", "3", "--candidates", "3", "-o", "song.mid"), sentence)
    refused(run("--duration", "3", "--candidates", "1000", "-o", "song.mid"), "1000 is not in the range 1<=x<=16")


@pytest.mark.parametrize("place", ["analyze", "compose", "to_bytes", "replace"])
def test_an_interrupt_leaves_nothing(run: Run, film: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    target = {
        "analyze": "emsync.video.analyze",
        "compose": "emsync.writer.draw",
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
    whole = video.analyze

    def broken(path: Path, **options: Any) -> video.Scene:
        return replace(whole(path, **options), is_complete=False)

    monkeypatch.setattr(video, "analyze", broken)
    said = run(film, "-o", "song.mid")
    assert said.code == 0
    assert "breaks off or is damaged; composing for the 9.0 s that can be read" in said.err
    assert said.files == ["song.mid", "song.mid.json"]
