"""`emsync compose`: what it writes, and what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emsync import midi, palettes
from emsync.recipe import Recipe
from tests.cli_compose.runs import Run, refused
from tests.fakes import DEMO_S


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
    assert lines[3].startswith("Tempo ")
    assert " % (median of all bars), by " in lines[3]
    assert lines[4] == f"Palette: {palettes.name_of(tuple(record['programs']))} (auto)."
    assert [each.program for each in score.instruments] == record["programs"]
    assert lines[5].startswith("Mood: read from the pictures")
    assert lines[6].startswith("Key: ")
    assert lines[7].startswith("Watching took ")


def test_cuts_out_of_reach_are_listed(run: Run) -> None:
    Path("cuts.csv").write_text("time_s\n4.0\n6.25\n")
    options = ["--duration", "9", "--cuts", "cuts.csv", "--t-diff", "2", "--tempo", "120", "--max-bend"]
    said = run(*options, "1")
    assert said.code == 0, said.err
    assert "Missed, since the tempo would bend too far (--max-bend 1): 6.25 s." in said.out
    assert json.loads(Path("emsync.mid.json").read_text())["missed_s"] == [6.25]
    said = run(*options, "26", "-o", "other.mid")
    assert said.code == 2
    assert "26" in said.err
    assert not Path("other.mid").exists()


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


@pytest.mark.slow
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


@pytest.mark.slow
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
        "--copying 0.5 --form A,A' --theme-strength 0.5 --palette jazz,strings=48"
    )
    said = run(film, "-o", "song.mid", *options.split())
    assert said.code == 0, said.err
    assert "exactly, whatever the beat" in said.out
    record = json.loads(Path("song.mid.json").read_text())
    assert record["seed"] == 7
    # Everything else is as it is without options: a new choice needs no line here.
    assert record["settings"] == Recipe().to_dict() | {
        "seed": 7, "instruments": "fewer", "temperature": 1.1, "top_p": 0.9, "hits": "exact", "t_diff_s": 1.5,
        "tempo_qpm": 96.0, "grid": "free", "mood_strength": 1.5, "finish": "off",
        "by_kind": {"TIMESHIFT": [0.9, 0.95], "ON": [1.2, 1.0]}, "copying": 0.5, "form": "A,A'",
        "theme_strength": 0.5, "palette": "jazz,strings=48",
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

    assert drawn() == (0.87, 0.95, {"ON": [1.0, 0.97]})
    assert drawn("--temperature", "0.7") == (0.7, 0.95, {})
    assert drawn("--top-p", "0.8", "--sampling", "OFF=1,1") == (0.87, 0.8, {"OFF": [1.0, 1.0]})
    assert drawn("--sampling", "OFF=1,1") == (0.87, 0.95, {"ON": [1.0, 0.97], "OFF": [1.0, 1.0]})


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


def test_the_video_itself_is_never_replaced(run: Run, film: Path) -> None:
    mine = Path(shutil.copy(film, Path.cwd() / "film.mid"))
    before = mine.read_bytes()
    refused(run("film.mid", "--overwrite"), "film.mid is what is read, and is not replaced", left=["film.mid"])
    assert mine.read_bytes() == before


@pytest.mark.slow
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


@pytest.mark.slow
def test_cuts_that_come_too_fast_are_said_to(run: Run) -> None:
    Path("cuts.csv").write_text("time_s\n" + "".join(f"{1 + i / 16}\n" for i in range(80)))
    said = run("--duration", "8", "--cuts", "cuts.csv", "--t-diff", "0", "--tempo", "120", "-o", "song.mid")
    assert said.code == 0
    assert re.search(
        r"Warning: \d\d cuts come less than \d\.\d s after the one before, which is how long a chord is held; "
        r"not every one can have a chord of its own\. Give --t-diff \d(\.\d)? or more\.\n",
        said.err,
    )
    record = json.loads(Path("song.mid.json").read_text())
    assert record["crowded"] >= 70
    assert record["met"] == sum(
        hit["chord_s"] is not None and abs(hit["chord_s"] - hit["cut_s"]) <= 1 / 30 for hit in record["hits"]
    )
    assert 0.3 < record["closest_s"] < 1.2
    calm = run("--duration", "8", "--cuts", "cuts.csv", "--t-diff", "1.2", "--tempo", "120", "-o", "calm.mid")
    assert "Warning" not in calm.err
    assert json.loads(Path("calm.mid.json").read_text())["crowded"] == 0
