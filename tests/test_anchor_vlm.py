"""The anchor of a film by a vision-language model, on a tiny random one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from emsync import midi
from emsync.anchor import Anchor
from emsync.anchor_vlm import INSTRUCTION, anchor_of_film, key_frames, parsed
from emsync.cli.main import main
from emsync.errors import ModelError
from tests.songs import with_a_chord
from tests.vision_models import BLACK, RED, WHITE, film, tiny_llava

ANSWER = "Sure.\n**Genre:** dark ambient\n- Instruments: low strings, piano.\nAtmosphere: uneasy\nPacing: slow, sparse"


def test_an_answer_becomes_an_anchor() -> None:
    assert parsed(ANSWER, "m") == Anchor("dark ambient", "low strings, piano", "uneasy", "slow, sparse")
    with pytest.raises(ModelError, match="does not answer in the lines that were asked for"):
        parsed("A dog runs on a beach. Genre: none", "m")


def test_key_frames_are_spread_over_the_film(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [BLACK] * 9 + [RED, WHITE])
    times_s = [time_s for time_s, _ in key_frames(path, 3)]
    assert len(times_s) == 3
    assert times_s[0] == 0.5
    assert times_s[-1] >= 8.5
    assert len(key_frames(path, 20)) == 11


def test_a_model_sees_the_frames_and_is_asked_for_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = film(tmp_path / "film.mkv", [BLACK, RED]), str(tiny_llava(tmp_path / "model"))
    with pytest.raises(ModelError, match="does not answer in the lines"):  # a random model
        anchor_of_film(path, model)
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    seen: list[Any] = []
    call = LlavaProcessor.__call__
    monkeypatch.setattr(LlavaProcessor, "__call__", lambda self, **given: seen.append(given) or call(self, **given))
    monkeypatch.setattr(LlavaForConditionalGeneration, "generate", lambda self, **given: given["input_ids"])
    monkeypatch.setattr(LlavaProcessor, "batch_decode", lambda self, ids, **given: [ANSWER])
    assert anchor_of_film(path, model).genre == "dark ambient"
    (given,) = seen
    assert len(given["images"]) == 2
    assert (
        given["text"][0].index("Time: 0s") < given["text"][0].index("Time: 1s") < given["text"][0].index("Do not name")
    )
    assert INSTRUCTION in " ".join(given["text"][0].split())


def test_the_command_shows_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi.write(with_a_chord(), tmp_path / "song.mid")
    assert main(["anchor", str(tmp_path / "song.mid"), "-o", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    assert "Genre: cinematic pop, in A minor\nInstruments: strings, piano, bass and drums\nAtmosphere: -\n" in said
    assert Anchor.read(tmp_path / "a.json") == Anchor.of_score(midi.read(tmp_path / "song.mid"))
    assert json.loads((tmp_path / "a.json").read_text())["pacing"] == "lively, 120 bpm, sparse"
    assert main(["anchor", str(tmp_path / "song.mid"), "-o", str(tmp_path / "a.json")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_film_wants_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert main(["anchor", str(tmp_path / "film.mp4")]) == 2
    assert "film.mp4 is a film; give --model, the vision-language model" in capsys.readouterr().err
    (tmp_path / "half.mid").write_bytes(b"MThd\0\0")
    assert main(["anchor", str(tmp_path / "half.mid")]) == 2
    assert "--model" not in capsys.readouterr().err
