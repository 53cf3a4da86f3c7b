"""ACE-Step as a backend, on a tiny random pipeline; skipped where diffusers is not installed."""

from __future__ import annotations

import ctypes.util
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

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
    opened = open_backend(f"ace-step:{tiny_ace_step(tmp_path / 'model')}")
    assert isinstance(opened, AceStep)
    assert (opened.rate_hz, opened.hop, opened.steps) == (8000, 320, 50)
    backend = replace(opened, steps=2, window_s=3.0)
    given: list[dict[str, Any]] = []
    call = type(backend.pipeline).__call__

    def spy(pipeline: Any, **arguments: Any) -> Any:
        given.append(arguments)
        return call(pipeline, **arguments)

    monkeypatch.setattr(type(backend.pipeline), "__call__", spy)
    midi.write(with_a_chord(duration_s=5.0), tmp_path / "song.mid")
    made = produce(tmp_path / "song.mid", tmp_path / "a.wav", backend=backend, text="slow strings")
    assert made.n_windows == len(given) == 2
    first = given[0]
    assert (first["task_type"], first["prompt"]) == ("cover", "slow strings")
    assert (first["bpm"], first["keyscale"], first["timesignature"]) == (120, "A minor", "4")
    assert tuple(first["src_audio"].shape) == (2, 3 * 8000)
    assert float(first["src_audio"].abs().max()) == pytest.approx(0.7, abs=1e-3)
    with wave.open(str(made.path)) as file:
        assert file.getnframes() == 5 * 8000
    again = produce(tmp_path / "song.mid", tmp_path / "b.wav", backend=backend, text="slow strings")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_what_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    sample_rate, latents_per_second = 8000, 25.0
