"""`emsync compose --produce` and `emsync produce`: MIDI, recording and film in one go, on a tiny random music model."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from emsync import midi
from emsync.cli.main import main
from tests.cli_compose.runs import Run, refused
from tests.fakes import DEMO_S
from tests.songs import score, with_a_chord


def frames(path: str) -> tuple[int, int]:
    with wave.open(path) as file:
        return file.getnframes(), file.getframerate()


def test_a_film_becomes_midi_recording_and_film(run: Run, film: Path, music_model: Path) -> None:
    said = run(
        film, "-o", "song.mid", "--produce", "--producer", music_model, "--text", "slow strings", "--mp4", "out.mp4"
    )
    assert said.code == 0, said.err
    assert said.files == ["out.mp4", "song.mid", "song.mid.json", "song.wav"]
    n, rate_hz = frames("song.wav")
    assert n == round(DEMO_S * rate_hz)
    assert "Produced song.wav: 9.00 s at 8000 Hz, " in said.out
    assert "Onsets on cuts: " in said.out
    assert "Wrote out.mp4, the film with the recording." in said.out
    first = Path("song.wav").read_bytes()
    code = main(["produce", "song.mid", "-o", "b.wav", "--model", str(music_model), "--text", "slow strings", "-q"])
    assert code == 0
    assert Path("b.wav").read_bytes() == first  # the seed of both is 0


def test_options_of_a_recording_want_one(run: Run) -> None:
    for option in (["--text", "slow"], ["--melody-from", "mix"], ["--hits-mix", "0"], ["--producer", "x"]):
        refused(
            run("--duration", "4", *option), f"{option[0]} is for a recording by a music model; give --produce, too"
        )


def test_a_recording_cannot_be_made_of_everything(run: Run, film: Path, music_model: Path) -> None:
    made = ["--duration", "4", "--produce", "--producer", music_model]
    refused(run(*made, "--stems"), "--stems are written beside the mix")
    refused(run(*made, "--wav", "a.wav", "--stems"), "--stems and --lufs are for rendered sound")
    refused(run(*made, "--wav", "a.mp3"), "a.mp3 does not end in .wav")
    refused(run(*made, "--text", "x" * 10_000), "the text has 10000 characters, over 1000")
    refused(
        run("--duration", "4", "--produce", "--producer", "nowhere"), "nowhere is neither a folder nor downloaded yet"
    )
    refused(run(film, film, "--produce"), "--produce is for one film")


@pytest.mark.parametrize("notes", [[], [(0, 36, 0.0, 1.0)]])
def test_a_score_without_a_melody_is_refused(
    run: Run, music_model: Path, capsys: pytest.CaptureFixture[str], notes: list[tuple[int, int, float, float]]
) -> None:
    midi.write(score(notes), "song.mid")
    assert main(["produce", "song.mid", "--model", str(music_model), "-q"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no pitched notes" in said or "has no notes" in said
    assert sorted(path.name for path in Path().iterdir()) == ["song.mid"]


def test_a_recording_replaces_nothing_unasked(run: Run, music_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi.write(with_a_chord(duration_s=4.0), "song.mid")
    Path("song.wav").write_bytes(b"mine")
    assert main(["produce", "song.mid", "--model", str(music_model), "-q"]) == 2
    assert "song.wav exists already; give --overwrite" in capsys.readouterr().err
    assert Path("song.wav").read_bytes() == b"mine"
