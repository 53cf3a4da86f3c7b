"""`emsync compose` and moods: read from the film, given, or left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from emsync import video
from emsync.mood import MoodCurve
from tests.cli_compose.runs import Run, mood_line, recorded, refused


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        ("0,0.5,0.5\n", "curve.csv: a curve of 1 points is not a curve; give two, or --valence and --arousal instead"),
        ("0,0,0\n1,1.5,0\n", "curve.csv: valence 1.5 at 1 s is outside [-1, 1]; scale it to that range"),
        ("0,0,0\n2,0,0\n1,0,0\n", "curve.csv: a mood curve's times go from 2 s to 1 s; give them increasing"),
        (
            "0,0,0\n99,1,1\n",
            "the mood curve reaches 99 s, past the video's end (9 s); cut it, or give its times in sec",
        ),
        ("0,0,0\n1,low,0\n", "curve.csv: valence 'low' of point 2 is not a number; write it like 0.25"),
        ("", "curve.csv: a curve of 0 points is not a curve"),
    ],
    ids=["gap", "one point", "outside", "going back", "longer than the video", "a word", "nothing"],
)
def test_bad_curves(run: Run, film: Path, rows: str, sentence: str) -> None:
    Path("curve.csv").write_text("time_s,valence,arousal\n" + rows)
    for source in (["--duration", "9"], [film]):
        refused(run(*source, "--mood", "curve.csv", "-o", "song.mid"), sentence, left=["curve.csv"])


def test_a_broken_curve_is_found_before_the_video_is_watched(run: Run) -> None:
    Path("curve.json").write_text('{"times_s": [0, 1]')
    refused(run("none.mp4", "--mood", "curve.json"), "curve.json: this is not JSON (", left=["curve.json"])


def test_an_interrupt_while_the_mood_is_read_leaves_nothing(
    run: Run, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emsync.affect.BuiltinReader.read", interrupt)
    said = run(film, "-o", "song.mid")
    assert (said.code, said.files) == (130, [])
