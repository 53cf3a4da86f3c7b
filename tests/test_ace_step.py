"""ACE-Step as a backend: on a pipeline of our own, and on a tiny random one of diffusers where that is installed.

diffusers is not among what tests need: importing its pipeline alone takes some seconds.
"""

from __future__ import annotations

import ctypes.util
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from emsync import midi, soundfonts
from emsync.ace_step import AceStep
from emsync.backends import Brief
from emsync.errors import InputError, ModelError
from emsync.joins import Window
from emsync.produce import open_backend, produce
from tests.music_models import tiny_ace_step
from tests.songs import with_a_chord


@pytest.mark.skipif(
    ctypes.util.find_library("fluidsynth") is None or not soundfonts.listed(), reason="needs FluidSynth and a SoundFont"
)
def test_a_score_is_covered_with_its_tempo_key_and_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    opened = open_backend(f"ace-step:{tiny_ace_step(tmp_path / 'model')}")
    assert isinstance(opened, AceStep)
    assert (opened.rate_hz, opened.hop, opened.steps) == (8000, 320, 50)
    backend = replace(opened, steps=2, window_s=3.0)
    told: list[dict[str, Any]] = []
    call = type(backend.pipeline).__call__

    def spy(pipeline: Any, **arguments: Any) -> Any:
        told.append(arguments)
        return call(pipeline, **arguments)

    monkeypatch.setattr(type(backend.pipeline), "__call__", spy)
    midi.write(with_a_chord(duration_s=5.0), tmp_path / "song.mid")
    made = produce(tmp_path / "song.mid", tmp_path / "a.wav", backend=backend, text="slow strings")
    assert made.n_windows == len(told) == 2
    first = told[0]
    assert (first["task_type"], first["prompt"]) == ("cover", "slow strings")
    assert (first["bpm"], first["keyscale"], first["timesignature"]) == (120, "A minor", "4")
    assert tuple(first["src_audio"].shape) == (2, 3 * 8000)
    assert float(first["src_audio"].abs().max()) == pytest.approx(0.7, abs=1e-3)
    with wave.open(str(made.path)) as file:
        assert file.getnframes() == 5 * 8000
    again = produce(tmp_path / "song.mid", tmp_path / "b.wav", backend=backend, text="slow strings")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_what_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        ModelError, match=r"hf download ACE-Step/acestep-v15-base-diffusers \(about 10 GB, licence MIT\)"
    ):
        open_backend("ace-step:")
    with pytest.raises(ModelError, match=r"it has no model_index\.json"):
        open_backend(f"ace-step:{tmp_path}")
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_backend(f"ace-step:{tmp_path}")
    with pytest.raises(InputError, match="leave --adapter out with ace-step"):
        open_backend("ace-step:x", adapter=tmp_path)


def test_without_a_rendering_it_has_nothing_to_cover() -> None:
    brief = Brief(with_a_chord(), "lead", "", 5.0, 120.0, None, 4)
    with pytest.raises(InputError, match="listens to a rendering"):
        AceStep("x", _Pipeline()).generate(brief, Window(0, 0, 4), None, 0, lambda share: None)


class _Pipeline:
    """What `AceStep` asks of diffusers' pipeline: what it heard and noise by the seed, as long as was asked for."""

    sample_rate, latents_per_second = 8000, 25.0

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, **told: Any) -> SimpleNamespace:
        self.told.append(told)
        noise = torch.randn(2, round(8000 * told["audio_duration"]) - 100, generator=told["generator"])
        for step in range(told["num_inference_steps"]):
            told["callback_on_step_end"](self, step, None, {})
        return SimpleNamespace(audios=(0.1 * noise + 0.5 * told["src_audio"][:, : noise.shape[1]])[None])


@pytest.mark.skipif(
    ctypes.util.find_library("fluidsynth") is None or not soundfonts.listed(), reason="needs FluidSynth and a SoundFont"
)
def test_each_window_gets_what_the_score_says_and_its_rendering(tmp_path: Path) -> None:
    midi.write(with_a_chord(duration_s=5.0), tmp_path / "song.mid")
    pipelines = [_Pipeline(), _Pipeline()]
    made = [
        produce(
            tmp_path / "song.mid", tmp_path / f"{i}.wav", text="slow strings", seed=7,
            backend=AceStep("x", each, 2, 7.0, window_s=3.0),  # type: ignore[arg-type]
        )
        for i, each in enumerate(pipelines)
    ]  # fmt: skip
    assert [each.n_windows for each in made] == [2, 2]
    for told in pipelines[0].told:
        assert (told["task_type"], told["prompt"], told["lyrics"]) == ("cover", "slow strings", "")
        assert (told["bpm"], told["keyscale"], told["timesignature"]) == (120, "A minor", "4")
        assert (told["num_inference_steps"], told["guidance_scale"]) == (2, 7.0)
        assert tuple(told["src_audio"].shape) == (2, round(8000 * told["audio_duration"]))
        assert float(told["src_audio"].abs().max()) == pytest.approx(0.7, abs=1e-3)
    assert not torch.equal(pipelines[0].told[0]["src_audio"], pipelines[0].told[1]["src_audio"])
    with wave.open(str(made[0].path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 2, 5 * 8000)
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
