"""`emsync compose --produce` and `emsync produce`: MIDI, recording and film in one go, on a tiny random music model."""

from __future__ import annotations

import contextlib
import io
import json
import wave
from pathlib import Path

import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.mood_adapter import AdapterShape, MoodAdapter
from emsync.musicgen import MusicGen
from tests.cli_compose.runs import Run, refused
from tests.fakes import DEMO_S
from tests.songs import score, with_a_chord


def frames(path: str) -> tuple[int, int]:
    with wave.open(path) as file:
        return file.getnframes(), file.getframerate()


@pytest.mark.slow
def test_a_film_becomes_midi_recording_and_film(run: Run, film: Path, music_model: Path) -> None:
    said = run(
        film, "-o", "song.mid", "--produce", "--producer", music_model, "--text", "slow strings", "--mp4", "out.mp4"
    )
    assert said.code == 0, said.err
    assert said.files == ["out.mp4", "song.mid", "song.mid.json", "song.wav", "song.wav.json"]
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


@pytest.mark.slow
def test_a_recording_cannot_be_made_of_everything(run: Run, film: Path, music_model: Path) -> None:
    made = ["--duration", "4", "--produce", "--producer", music_model]
    refused(run(*made, "--stems"), "--stems are written beside the mix")
    refused(run(*made, "--wav", "a.wav", "--stems"), "--stems and --lufs are for rendered sound")
    refused(run(*made, "--wav", "a.mp3"), "a.mp3 does not end in .wav")
    refused(run(*made, "--text", "x" * 10_000), "the text has 10000 characters, over 1000")
    refused(
        run("--duration", "4", "--produce", "--producer", "nowhere"),
        "nowhere is neither a folder nor downloaded yet; run: hf download facebook/musicgen-melody (about 6 GB, ",
    )
    refused(
        run("--duration", "4", "--produce", "--producer", "some-one/some-model"),
        "run: hf download some-one/some-model if it is of this kind, or hf download facebook/musicgen-melody (about ",
    )
    refused(run(film, film, "--produce"), "--produce is for one film")


@pytest.mark.slow
def test_what_would_change_nothing_is_refused(run: Run, music_model: Path) -> None:
    made = ["--duration", "4", "--produce", "--producer", music_model]
    refused(run(*made, "--adapter", "x", "--anchor", "x"), "x cannot be read")
    refused(run(*made, "--soundfont", "x"), "--soundfont plays the chords of --hits-mix; give --hits-mix, too")
    refused(run(*made, "--soundfont", "x", "--hits-mix", "0"), "SoundFont x was not found")
    with_adapter = [*made, "--adapter", fresh_adapter(music_model), "-o", "song.mid"]
    refused(run(*with_adapter), "--adapter follows a mood, and there is none; give one, such as --emotion joy",
            left=["adapter", "adapter/adapter.json", "adapter/adapter.safetensors"])  # fmt: skip
    assert run(*with_adapter, "--emotion", "joy").code == 0
    Path("song.mid.json").unlink()
    refused_alone("--adapter follows a mood, and song.mid has none", "--adapter", "adapter")


def fresh_adapter(music_model: Path) -> str:
    backend = MusicGen.open(str(music_model))
    Path("adapter").mkdir()
    MoodAdapter.fresh(AdapterShape.for_network(backend.network)).write(Path("adapter"))
    return "adapter"


def test_an_anchor_must_steer_something(run: Run) -> None:
    Path("a.json").write_text('{"genre": "polka", "pacing": "slow"}')
    Path("b.json").write_text('{"genre": "polka"}')
    given = ["--duration", "2", "--anchor"]
    refused(run(*given, "b.json"), "nothing in the anchor b.json means anything to the composer",
            left=["a.json", "b.json"])  # fmt: skip
    refused(run(*given, "a.json", "--describe", "slow"), "--describe says already how to compose; leave out --anchor",
            left=["a.json", "b.json"])  # fmt: skip
    assert run(*given, "a.json", "-o", "song.mid").code == 0
    again = ["--from", "song.mid.json", "-o", "again.mid", "--anchor", "a.json"]
    assert "--from says already how to compose" in run(*again).err


@pytest.mark.slow
def test_an_anchor_of_a_piece_that_is_composed_again_is_for_the_recording(run: Run, music_model: Path) -> None:
    Path("a.json").write_text('{"genre": "polka", "pacing": "slow"}')
    assert run("--duration", "2", "-o", "song.mid").code == 0
    again = ["--from", "song.mid.json", "-o", "again.mid", "--anchor", "a.json", "--produce", "--producer", music_model]
    said = run(*again)
    assert said.code == 0, said.err
    assert "Anchor: polka, slow." in said.out
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()


def refused_alone(sentence: str, *options: str) -> None:
    """`emsync produce song.mid` refuses its options without loading the model, which is not there."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["produce", "song.mid", "-o", "new.wav", "--model", "nowhere", "-q", *options]) == 2
    assert sentence in said.getvalue()
    assert not Path("new.wav").exists()


@pytest.mark.parametrize("notes", [[], [(0, 36, 0.0, 1.0)]])
def test_a_score_without_a_melody_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], notes: list[tuple[int, int, float, float]]
) -> None:
    midi.write(score(notes), "song.mid")
    assert main(["produce", "song.mid", "--model", "nowhere", "-q"]) == 2  # before the model is loaded
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


def test_words_steer_the_composer_and_are_recorded(run: Run) -> None:
    said = run("--duration", "4", "--describe", "slow strings, uneasy, bagpipes", "-o", "song.mid")
    assert said.code == 0, said.err
    assert (
        "Described: strings; tempo 54 to 76; valence −0.40, arousal 0.40. Ignored, as no table has them: bagpipes."
        in said.out
    )
    assert "Mood: as described (slow strings, uneasy, bagpipes): valence −0.40, arousal 0.40" in said.out
    record = json.loads(Path("song.mid.json").read_text())
    assert record["settings"]["describe"] == "slow strings, uneasy, bagpipes"
    assert record["mood"]["valence"] == [-0.4]
    again = run("--from", "song.mid.json", "-o", "again.mid")
    assert again.code == 0, again.err
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()
    mine = run("--duration", "4", "--describe", "uneasy", "--emotion", "joy", "-o", "other.mid")
    assert "Mood: joy" in mine.out  # what is given as a mood holds


def test_words_that_mean_nothing_are_refused(run: Run) -> None:
    refused(run("--duration", "4", "--describe", "bagpipes"), "nothing in 'bagpipes' means anything to the composer")


@pytest.mark.slow
def test_an_anchor_steers_composer_and_recording(run: Run, music_model: Path) -> None:
    Path("anchor.json").write_text('{"genre": "folk", "instruments": "strings", "pacing": "slow"}')
    made = ["--duration", "3", "-o", "song.mid", "--anchor", "anchor.json"]
    said = run(*made, "--produce", "--producer", music_model)
    assert said.code == 0, said.err
    assert "Described: strings; tempo 54 to 76. Ignored, as no table has them: folk." in said.out
    assert "Anchor: folk, strings, slow." in said.out
    assert json.loads(Path("song.wav.json").read_text())["anchor"]["genre"] == "folk"
    Path("anchor.json").write_text('{"tempo": "slow"}')
    left = said.files
    refused(run(*made, "--overwrite"), "anchor.json has the field 'tempo', which an anchor has not", left=left)
