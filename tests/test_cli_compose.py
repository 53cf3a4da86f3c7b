"""emsync compose, from the command line: a film or a length in, two files out; and one sentence for everything else."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from emsync import checkpoint, midi, video
from emsync import vocabulary as v
from emsync.cli.main import main
from emsync.mood import MoodCurve
from tests.fakes import DEMO_S


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
    assert score.duration_s <= DEMO_S + 1e-3
    assert [m.text[:5] for m in score.markers] == ["Cut 1"]
    record = json.loads(Path("my film.mid.json").read_text())
    assert record["video"] == "my film.mp4"
    assert record["duration_s"] == pytest.approx(DEMO_S, abs=0.2)
    assert record["frame_rate"] == "12/1"
    assert record["backend"] == "onnx"
    assert len(record["cuts_s"]) == 1
    lines = said.out.splitlines()
    assert lines[0].startswith(f"Wrote my film.mid ({len(score)} notes, ")
    assert lines[0].endswith(" and my film.mid.json.")
    assert lines[1] == "1 cut in 9.0 s."
    assert lines[2].startswith("Chords on cuts: ")
    assert " of 1 within a frame, " in lines[2]
    assert lines[3].startswith("Mood: read from the pictures")
    assert lines[4].startswith("Watching took ")


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


EDL = """TITLE: REEL
FCM: NON-DROP FRAME
001  AX V C 00:00:00:00 00:00:02:06 01:00:00:00 01:00:02:06
002  AX V C 00:00:02:06 00:00:03:06 01:00:02:06 01:00:03:06
003  AX V C 00:00:03:06 00:00:09:00 01:00:03:06 01:00:09:00
"""


def test_an_edl_is_counted_at_the_films_rate(run: Run, film: Path) -> None:
    Path("edit.edl").write_text(EDL)
    said = run(film, "--cuts", "edit.edl", "-o", "song.mid")
    assert said.code == 0, said.err
    assert json.loads(Path("song.mid.json").read_text())["cuts_s"] == [2.5, 3.5]
    said = run("--duration", 9, "--cuts", "edit.edl", "-o", "b.mid")
    assert (said.code, said.files) == (2, ["edit.edl", "song.mid", "song.mid.json"])
    assert "edit.edl: the list counts frames (01:00:00:00)" in said.err
    assert run("--duration", 9, "--cuts", "edit.edl", "--fps", 24, "-o", "b.mid").code == 0
    assert json.loads(Path("b.mid.json").read_text())["cuts_s"] == [2.25, 3.25]
    assert [each.text for each in midi.read("b.mid").markers] == ["Cut 1 00:00:02:06", "Cut 2 00:00:03:06"]


def test_cuts_are_added_and_dropped_and_the_record_keeps_what_must_be_met(run: Run, film: Path) -> None:
    said = run(film, "--add-cut", "3.3", "--add-cut", "0:07.5", "-o", "song.mid")
    assert said.code == 0, said.err
    record = json.loads(Path("song.mid.json").read_text())
    found = [cut_s for cut_s in record["cuts_s"] if cut_s not in (3.3, 7.5)]
    assert record["weights"] == ["" if cut_s in found else "must" for cut_s in record["cuts_s"]]
    assert {3.3, 7.5} <= set(record["boundaries_s"])
    data = Path("song.mid").read_bytes()
    assert run("--from", "song.mid.json", "-o", "again.mid").code == 0
    assert Path("again.mid").read_bytes() == data
    said = run(film, "--drop-cut", str(found[0] + 0.1), "-o", "none.mid")
    assert json.loads(Path("none.mid.json").read_text())["cuts_s"] == found[1:]
    assert run(film, "--threshold", "1000", "-o", "few.mid").code == 0
    assert json.loads(Path("few.mid.json").read_text())["cuts_s"] == []
    said = run("--from", "song.mid.json", "--add-cut", "1", "-o", "c.mid")
    assert said.code == 2
    assert "leave out --add-cut, or --from" in said.err


def test_options_reach_the_record_and_the_record_gives_the_same_bytes(run: Run, film: Path) -> None:
    options = (
        "--seed 7 --instruments fewer --temperature 1.1 --top-p 0.9 --hits exact --t-diff 1.5 --tempo 96 --grid free "
        "--finish off --emotion joy --mood-strength 1.5 --sampling timeshift=0.9,0.95 --sampling ON=1.2,1 "
        "--copying 0.5 --form A,A' --theme-strength 0.5"
    )
    said = run(film, "-o", "song.mid", *options.split())
    assert said.code == 0, said.err
    assert "exactly, whatever the beat" in said.out
    record = json.loads(Path("song.mid.json").read_text())
    assert record["seed"] == 7
    assert record["settings"] == {
        "seed": 7, "instruments": "fewer", "temperature": 1.1, "top_p": 0.9, "hits": "exact", "t_diff_s": 1.5,
        "tempo_qpm": 96.0, "grid": "free", "mood_strength": 1.5, "finish": "off",
        "by_kind": {"TIMESHIFT": [0.9, 0.95], "ON": [1.2, 1.0]}, "velocity_temperature": 1.0,
        "chord_bias": -math.log(10), "stray_bias": -1.7, "loose_bias": -0.9, "loose_ends": True, "stale_bias": -0.1,
        "repeat_bias": -0.2, "copying": 0.5, "longest_copy_bars": 4, "form": "A,A'",
        "theme_strength": 0.5, "density_limit": 1.0,
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


def test_a_temperature_given_holds_for_pitches_too(run: Run) -> None:
    def drawn(*options: str) -> tuple[float, float, dict[str, list[float]]]:
        assert run("--duration", "3", "-o", "song.mid", "--overwrite", *options).code == 0
        settings = json.loads(Path("song.mid.json").read_text())["settings"]
        return settings["temperature"], settings["top_p"], settings["by_kind"]

    assert drawn() == (0.8, 0.95, {"ON": [1.0, 0.97]})
    assert drawn("--temperature", "0.7") == (0.7, 0.95, {})
    assert drawn("--top-p", "0.8", "--sampling", "OFF=1,1") == (0.8, 0.8, {"OFF": [1.0, 1.0]})
    assert drawn("--sampling", "OFF=1,1") == (0.8, 0.95, {"ON": [1.0, 0.97], "OFF": [1.0, 1.0]})


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


# ---- mood ----------------------------------------------------------------------------------------------------------


def mood_line(said: Said) -> str:
    """What was said of the mood: one line, or nothing."""
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if "Mood" in line] or [""]
    return line


def recorded(song: str = "song.mid") -> Any:
    return json.loads(Path(f"{song}.json").read_text())["mood"]


def test_the_mood_is_read_from_the_video_by_default(run: Run, film: Path) -> None:
    said = run(film, "-o", "song.mid")
    number = r"−?0\.\d\d"
    pattern = rf"Mood: read from the pictures( and sound)? \(builtin\): valence {number}, arousal {number} on average, "
    assert re.fullmatch(pattern + r"nearest (anger|disgust|fear|joy|sadness|surprise)\.", mood_line(said))
    mood = recorded()
    assert mood["source"] == "builtin"
    assert mood["times_s"] == [0.5 + i for i in range(9)]
    assert "--affect" in run(film, "--affect", "builtin", "--emotion", "joy", "-o", "other.mid").err
    # The default is what --affect builtin is, and is heard.
    assert run(film, "--affect", "builtin", "-o", "named.mid").code == 0
    assert run(film, "--affect", "none", "-o", "none.mid").code == 0
    song, named, none = (Path(f"{name}.mid").read_bytes() for name in ("song", "named", "none"))
    assert song == named != none
    assert recorded("none.mid") is None


def test_another_readers_mood_is_taken(run: Run, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        name = "crystal:ball"

        def read(self, video: Path, scene: video.Scene, *, progress: Any = None) -> MoodCurve:
            assert (video, scene.path) == (film, str(film))
            progress(1.0)
            return MoodCurve([0.5, 8.5], [-0.6, -0.6], [0.3, -0.3])

    asked: list[str] = []

    def opened(spec: str) -> Reader:
        asked.append(spec)
        return Reader()

    monkeypatch.setattr("emsync.affect.open_reader", opened)
    said = run(film, "--affect", "crystal:ball", "-o", "song.mid")
    assert asked == ["crystal:ball"]
    assert mood_line(said) == ("Mood: read by crystal:ball: valence −0.60, arousal 0.00 on average, nearest sadness.")
    assert recorded() == {
        "times_s": [0.5, 8.5], "valence": [-0.6, -0.6], "arousal": [0.3, -0.3], "source": "crystal:ball"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "line", "mood"),
    [
        ("--valence -0.5", "Mood: as given: valence −0.50.", ([-0.5], [None], "--valence -0.5")),
        (
            "--arousal 1 --valence 0",
            "Mood: as given: valence 0.00, arousal 1.00, nearest surprise.",
            ([0.0], [1.0], "--valence 0.0 --arousal 1.0"),
        ),
        ("--emotion Joy", "Mood: Joy: valence 0.80, arousal 0.51, nearest joy.", ([0.8], [0.505], "--emotion Joy")),
        (
            "--emotion joy=0.5,sadness=0.5",
            "Mood: joy=0.5,sadness=0.5: valence 0.07, arousal 0.11, nearest",
            ([0.068], [0.111], "--emotion joy=0.5,sadness=0.5"),
        ),
    ],
)
def test_a_mood_throughout(run: Run, options: str, line: str, mood: tuple[Any, Any, str]) -> None:
    said = run("--duration", "2", "-o", "song.mid", *options.split())
    assert mood_line(said).startswith(line)
    found = recorded()
    assert found["times_s"] == [0.0]
    for axis, levels in zip(("valence", "arousal"), mood[:2], strict=True):
        assert found[axis] == (levels if levels == [None] else pytest.approx(levels, abs=1e-3))
    assert found["source"] == mood[2]


@pytest.mark.parametrize("name", ["curve.csv", "curve.json"])
def test_a_curve_over_part_of_the_film_and_its_record(run: Run, name: str) -> None:
    content = {
        "curve.csv": "time_s,valence,arousal\n1,-0.5,0.2\n3,0.5,0.6\n",
        "curve.json": '{"times_s": [1, 3], "valence": [-0.5, 0.5], "arousal": [0.2, 0.6]}',
    }[name]
    Path(name).write_text(content)
    said = run("--duration", "6", "--mood", name, "-o", "song.mid")
    assert mood_line(said) == f"Mood: from {name}: valence 0.17, arousal 0.47 on average, nearest surprise."
    assert recorded() == {
        "times_s": [1.0, 3.0], "valence": [-0.5, 0.5], "arousal": [0.2, 0.6], "source": f"--mood {name}"
    }  # fmt: skip
    assert mood_line(run("--duration", "9", "--mood", "song.mid.json", "-o", "other.mid")).startswith("Mood: from song")
    assert recorded("other.mid") == recorded() | {"source": "--mood song.mid.json"}
    Path(name).unlink()  # the record does without it
    again = run("--from", "song.mid.json", "-o", "again.mid")
    assert mood_line(again).startswith(f"Mood: from song.mid.json (--mood {name}): valence 0.17, ")
    for end in ("", ".json"):
        assert Path(f"again.mid{end}").read_bytes() == Path(f"song.mid{end}").read_bytes()


def test_moods_and_strengths_give_other_music(run: Run) -> None:
    asked = {
        "plain": "", "sad": "--emotion sadness", "glad": "--emotion joy", "gladder": "--emotion joy --mood-strength 5"
    }  # fmt: skip
    for name, options in asked.items():
        assert run("--duration", "3", "--tempo", "100", "-o", f"{name}.mid", *options.split()).code == 0
    assert len({Path(f"{name}.mid").read_bytes() for name in asked}) == len(asked)
    said = run("--duration", "3", "--tempo", "100", "-o", "deaf.mid", "--emotion", "joy", "--mood-strength", "0")
    assert mood_line(said).endswith("nearest joy. At strength 0 it has no effect.")
    assert Path("deaf.mid").read_bytes() == Path("plain.mid").read_bytes()


def test_a_model_without_mood_composes_without_and_says_so(run: Run, film: Path, model_without_mood: Path) -> None:
    said = run(film, "--model", model_without_mood, "-o", "song.mid", with_model=False)
    assert mood_line(said) == "Mood: not followed, since this model was trained without mood."
    assert recorded() is None
    for options in (["--duration", "2"], [film, "--affect", "none"]):
        assert (
            mood_line(run(*options, "--model", model_without_mood, "-o", "song.mid", "--overwrite", with_model=False))
            == ""
        )
    assert run("--from", "song.mid.json", "-o", "again.mid", with_model=False).code == 0
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--duration 2 --valence 0.5", "--valence"),
        ("--duration 2 --valence 0.5 --arousal -1", "--valence and --arousal"),
        ("--duration 2 --emotion joy", "--emotion"),
        ("--duration 2 --mood a.csv", "--mood"),
        ("film.mp4 --affect builtin", "--affect"),
    ],
)
def test_a_model_without_mood_refuses_one(run: Run, model_without_mood: Path, options: str, name: str) -> None:
    said = run(*options.split(), "--model", model_without_mood, with_model=False)
    refused(said, f"this model was trained without mood, so {name} cannot be followed; leave it out, or give --model")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("0,0,0\n1,,0.5\n2,0.5,0.5\n", "curve.csv: valence has a gap at 1 s; fill it in, or leave that point out"),
        ("0,0.5,0.5\n", "curve.csv: a curve of 1 points is no curve; give two, or --valence and --arousal instead"),
        ("0,0,0\n1,1.5,0\n", "curve.csv: valence 1.5 at 1 s is outside [-1, 1]; scale it to that range"),
        ("0,0,0\n2,0,0\n1,0,0\n", "curve.csv: a mood curve's times go from 2 s to 1 s; give them increasing"),
        (
            "0,0,0\n99,1,1\n",
            "the mood curve reaches 99 s, past the video's end (9 s); cut it, or give its times in sec",
        ),
        ("0,0,0\n1,low,0\n", "curve.csv: valence 'low' of point 2 is no number; write it like 0.25"),
        ("", "curve.csv: a curve of 0 points is no curve"),
    ],
    ids=["gap", "one point", "outside", "going back", "longer than the video", "a word", "nothing"],
)
def test_bad_curves(run: Run, film: Path, rows: str, sentence: str) -> None:
    Path("curve.csv").write_text("time_s,valence,arousal\n" + rows)
    for source in (["--duration", "9"], [film]):
        refused(run(*source, "--mood", "curve.csv", "-o", "song.mid"), sentence, left=["curve.csv"])


def test_a_broken_curve_is_found_before_the_video_is_watched(run: Run) -> None:
    Path("curve.json").write_text('{"times_s": [0, 1]')
    refused(run("none.mp4", "--mood", "curve.json"), "curve.json: this is no JSON (", left=["curve.json"])


def test_an_interrupt_while_the_mood_is_read_leaves_nothing(
    run: Run, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emsync.affect.BuiltinReader.read", interrupt)
    said = run(film, "-o", "song.mid")
    assert (said.code, said.files) == (130, [])


def test_the_video_itself_is_never_replaced(run: Run, film: Path) -> None:
    mine = Path(shutil.copy(film, Path.cwd() / "film.mid"))
    before = mine.read_bytes()
    refused(run("film.mid", "--overwrite"), "film.mid is what is read, and is not replaced", left=["film.mid"])
    assert mine.read_bytes() == before


def test_composing_writes_nothing_outside_its_folder(tmp_path: Path, model: Path) -> None:
    """Nor does any library it uses: ONNX Runtime keeps usage files in the user's cache unless it is asked not to."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    places = {name: str(home / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), **places}
    command = [sys.executable, "-m", "emsync", "compose", "--duration", "2", "--model", str(model), "-o", "song.mid"]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["song.mid", "song.mid.json"]
    assert [path for path in home.rglob("*") if path.is_file()] == []


# ---- what does not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["song.mid", "song.mid.json"])
def test_existing_output_is_left_alone(run: Run, film: Path, taken: str) -> None:
    Path(taken).write_text("mine")
    refused(run(film, "-o", "song.mid"), f"{taken} exists already; give --overwrite to replace it", left=[taken])
    assert Path(taken).read_text() == "mine"


def test_a_form_and_a_theme(run: Run, tmp_path: Path) -> None:
    from emsync import midi
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
