"""MusicGen-melody as a backend, on a tiny random one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from emsync.backends import DEFAULT_MODEL, Brief  # noqa: E402
from emsync.errors import InputError, ModelError  # noqa: E402
from emsync.joins import Window  # noqa: E402
from emsync.musicgen import MusicGen, Sampling  # noqa: E402
from emsync.produce import open_backend  # noqa: E402
from emsync.vision import quietly  # noqa: E402
from tests.music_models import CHROMA_LENGTH, HOP, RATE_HZ, tiny_musicgen  # noqa: E402
from tests.songs import with_a_chord  # noqa: E402


@pytest.fixture(scope="module")
def backend(music_model: Path) -> MusicGen:
    return MusicGen.open(str(music_model))


def brief(**changes: Any) -> Brief:
    song = with_a_chord()
    return Brief(**{"score": song, "melody": "lead", "text": "slow strings", "duration_s": 5.0, "qpm": 120.0,
                    "key": None, "beats": 4, **changes})  # fmt: skip


def silent(_: float) -> None:
    pass


def test_sizes_are_those_of_the_checkpoint(backend: MusicGen) -> None:
    assert (backend.rate_hz, backend.hop, backend.n_books) == (RATE_HZ, HOP, 4)
    assert backend.chroma_hz == 7.8125
    assert backend.longest == round(CHROMA_LENGTH / 7.8125 * RATE_HZ / HOP)
    assert backend.overlap == backend.longest // 3


@pytest.mark.slow
@pytest.mark.parametrize("stereo", [False, True])
@pytest.mark.parametrize("n_given", [0, 5])
def test_codes_are_those_of_transformers(
    backend: MusicGen, stereo: bool, n_given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likeliest codes, with guidance, from the beginning and continued: `generate` decodes the same codes."""
    made = MusicGen.open(str(tiny_musicgen(tmp_path / "stereo", stereo=True))) if stereo else backend
    likeliest = replace(made, sampling=Sampling(temperature=0.0, guidance=3.0))
    melody = np.eye(12, dtype=np.float32)[np.arange(CHROMA_LENGTH) % 12]
    given = np.random.default_rng(1).integers(0, 32, (made.n_books, n_given))
    mine = likeliest.sample(likeliest.states("slow strings", melody), given, 12, torch.Generator(), silent)
    assert (mine[:, :n_given] == given).all()
    decoded: list[Any] = []
    codec = made.network.audio_encoder
    decode = codec.decode
    monkeypatch.setattr(
        codec, "decode", lambda codes, *rest, **more: decoded.append(codes[0, 0]) or decode(codes, *rest, **more)
    )
    prompt = {"decoder_input_ids": torch.from_numpy(given)} if n_given else {}
    with quietly():
        sound = made.network.generate(
            **made.tokenizer(["slow strings"], return_tensors="pt"), input_features=torch.from_numpy(melody[None]),
            do_sample=False, guidance_scale=3.0, max_length=12 + 4, **prompt,
        )  # fmt: skip
    theirs = np.stack([side.numpy() for side in decoded], axis=1).reshape(made.n_books, -1)
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(made.decode(mine), sound[0].numpy().T, atol=1e-5)


def test_a_window_goes_on_from_the_codes_before(backend: MusicGen) -> None:
    first = backend.generate(brief(), Window(0, 0, 20), None, 1, silent)
    assert first.shape == (4, 20)
    assert first.dtype == np.int16
    second = backend.generate(brief(), Window(1, 14, 30, known=6), first, 2, silent)
    np.testing.assert_array_equal(second[:, :6], first[:, -6:])
    assert backend.decode(second).shape == (16 * HOP, 1)
    other = (second + 1) % 32
    assert np.abs(backend.decode(other) - backend.decode(second)).max() > 1e-3  # codes are heard


def test_the_seed_alone_decides(backend: MusicGen) -> None:
    state = torch.random.get_rng_state()
    window = Window(0, 0, 20)
    codes = [backend.generate(brief(), window, None, seed, silent) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert (codes[0] != codes[2]).any()
    assert (torch.random.get_rng_state() == state).all()


def test_melody_and_text_matter(backend: MusicGen) -> None:
    likeliest = replace(backend, sampling=Sampling(temperature=1.0, guidance=3.0))
    window = Window(0, 0, 20)
    told = likeliest.generate(brief(), window, None, 5, silent)
    assert (told != likeliest.generate(brief(text="fast drums"), window, None, 5, silent)).any()
    assert (told != likeliest.generate(brief(melody="bass"), window, None, 5, silent)).any()


def test_the_melody_of_a_window_begins_with_it(backend: MusicGen) -> None:
    whole = backend.chroma_of(brief(), 0.0)
    assert whole.shape == (CHROMA_LENGTH, 12)
    later = backend.chroma_of(brief(), 1.024)
    np.testing.assert_array_equal(later[: CHROMA_LENGTH - 8], whole[8:])
    end = backend.chroma_of(brief(), 4.9)  # past the end the last pitch class stays
    assert (end[3:] == end[3]).all()


def test_text_has_an_end() -> None:
    with pytest.raises(InputError, match="the text has 10000 characters, over 1000"):
        brief(text="x" * 10_000)


def test_other_checkpoints_are_refused(tmp_path: Path, music_model: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match=r"is a model of the kind 'clip', not 'musicgen_melody'"):
        open_backend(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"is not a model's configuration"):
        open_backend(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="holds no model"):
        open_backend(tmp_path)
    shutil.copytree(music_model, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_backend(tmp_path / "cut")


@pytest.mark.parametrize("model", [DEFAULT_MODEL, "somebody/musicgen", "/no/such/folder"])
def test_missing_weights_say_what_to_download(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    other = model == "somebody/musicgen"
    named = f"{model} if it is of this kind, or hf download {DEFAULT_MODEL}" if other else DEFAULT_MODEL
    sentence = rf"run: hf download {named} \(about 6 GB, licence CC-BY-NC 4.0: no commercial use\)"
    with pytest.raises(ModelError, match=sentence):
        open_backend(model)


def test_impossible_sampling_is_refused() -> None:
    with pytest.raises(InputError, match=r"guidance of 0\.5"):
        Sampling(guidance=0.5)
