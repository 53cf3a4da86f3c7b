"""Film to mood by CLIP: zero-shot against the formula written out, heads, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emsync import affect_clip
from emsync.affect_clip import TEMPLATES, Clip, open_clip, sentences, smoothed
from emsync.errors import ModelError, VideoError
from emsync.mood import EMOTION_NAMES, emotion_point, mixture_mean
from emsync.video import Scene, analyze
from emsync.vision import Head, Sight, pictures
from tests.vision_models import BLACK, BLUE, GREEN, RED, WHITE, film, tiny_clip, tiny_llava

COLOURS = [RED, GREEN, BLUE, BLACK, WHITE, RED]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def clip(model: Path) -> Clip:
    return Clip.load(str(model))


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return film(tmp_path / "film.mkv", COLOURS)


def scene_of(path: Path) -> Scene:
    return analyze(path)


def test_zero_shot_is_the_formula(model: Path, short: Path) -> None:
    """Once more, by transformers alone: pictures one at a time, sentences one at a time."""
    import torch
    from transformers import AutoModel, AutoProcessor

    from emsync.vision import quietly

    with quietly(), torch.inference_mode():
        processor, network = AutoProcessor.from_pretrained(model), AutoModel.from_pretrained(model).eval()
        rows = []
        for _, picture in pictures(short, shortest_px=336):
            row = network.get_image_features(**processor(images=picture, return_tensors="pt")).pooler_output[0]
            rows.append((row / row.norm()).numpy())
        words = []
        for name in EMOTION_NAMES:
            found = [
                network.get_text_features(**processor(text=text, return_tensors="pt")).pooler_output[0]
                for text in sentences(name)
            ]
            mean = np.mean([(row / row.norm()).numpy() for row in found], axis=0)
            words.append(mean / np.linalg.norm(mean))
        scale = float(network.logit_scale.detach().exp())
    logits = scale * np.array(rows, dtype=np.float64) @ np.array(words, dtype=np.float64).T
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = mixture_mean(smoothed(shares))
    curve = open_clip(str(model)).read(short, scene_of(short))
    assert curve.times_s.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert np.stack([curve.valence, curve.arousal], axis=1) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(shares, axis=0).max() > 1e-3  # else any picture would do


def test_batches_do_not_matter(clip: Clip, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = clip.sight(short)
    monkeypatch.setattr(affect_clip, "BATCH", 4)
    reported: list[float] = []
    parts = clip.sight(short, reported.append, 6.0)
    assert parts.features == pytest.approx(whole.features, abs=1e-6)
    assert reported == pytest.approx([3.5 / 6, 1.0])


def test_a_picture_like_an_emotion_reads_as_that_emotion(clip: Clip) -> None:
    import torch

    directions = np.eye(6, dtype=np.float32)
    clip = replace(clip, network=SimpleNamespace(logit_scale=torch.log(torch.tensor(100.0))))
    clip.__dict__["directions"] = directions  # in the place of the tiny model's own
    for number, name in enumerate(EMOTION_NAMES):
        sight = Sight(np.arange(3) + 0.5, np.tile(directions[number], (3, 1)), np.arange(3), np.ones(3))
        assert clip.zero_shot(sight)[1] == pytest.approx(emotion_point(name), abs=1e-6)


def test_probabilities_sum_to_one(clip: Clip, short: Path) -> None:
    shares = clip.emotions(clip.sight(short).features)
    assert shares.shape == (6, 6)
    assert shares.sum(axis=1) == pytest.approx(np.ones(6))
    assert shares.min() > 0


def test_every_template_says_every_word() -> None:
    assert len(set(sentences("joy"))) == 3 * len(TEMPLATES)
    assert "a movie scene full of happiness." in sentences("joy")


def test_smoothing_keeps_a_level_and_spreads_a_step() -> None:
    assert smoothed(np.full((20, 2), 0.3)) == pytest.approx(np.full((20, 2), 0.3))
    step = smoothed(np.repeat([0.0, 1.0], 15)[:, None]).ravel()
    assert (np.diff(step) >= 0).all()
    assert (np.diff(step[11:19]) > 0).all()
    assert step[10] == 0
    assert step[19] == pytest.approx(1)
    assert step[14] + step[15] == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_smoothing_films_shorter_than_the_window(n: int) -> None:
    found = smoothed(np.linspace(0, 1, n)[:, None])
    assert found.shape == (n, 1)
    assert ((found >= 0) & (found <= 1)).all()


def test_a_film_under_a_second(model: Path, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [GREEN], last_s=0.5, rate=8)
    curve = open_clip(str(model)).read(path, scene_of(path))
    assert curve.times_s.tolist() == [0.5]
    assert np.isfinite([curve.valence, curve.arousal]).all()


def test_a_head_is_used_in_place_of_zero_shot(model: Path, clip: Clip, short: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(2, 16)).astype(np.float32), np.array([0.2, -3.0], dtype=np.float32)
    folder = tmp_path / "head"
    folder.mkdir()
    Head("clip", str(model), {"weight": weight, "bias": bias}).write(folder)
    reader = open_clip(str(folder))
    assert reader.name == f"clip:{folder}"
    curve = reader.read(short, scene_of(short))
    expected = smoothed(clip.sight(short).features @ weight.T + bias)
    assert curve.valence == pytest.approx(np.clip(expected[:, 0], -1, 1), abs=1e-5)
    assert curve.arousal.min() == -1  # cut off at the plane's edge
    assert np.ptp(curve.valence) > 0.01


def test_a_head_of_another_model(model: Path, tmp_path: Path) -> None:
    Head("clip", str(model), {"weight": np.zeros((2, 512), np.float32), "bias": np.zeros(2, np.float32)}).write(
        tmp_path
    )
    with pytest.raises(ModelError, match=r"weight has the shape \(2, 512\) where .* needs \(2, 16\); train it again"):
        open_clip(str(tmp_path))


def test_a_model_that_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="is a LlavaModel, which does not compare pictures with sentences; give a CLIP"
    ):
        open_clip(str(tiny_llava(tmp_path / "llava")))


def test_the_default_is_a_well_known_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Clip, "load", classmethod(lambda cls, model: asked.append(model)))
    assert open_clip(None).name == "clip:openai/clip-vit-base-patch32"
    assert asked == ["openai/clip-vit-base-patch32"]


def test_a_film_that_is_not_there(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4 does not exist"):
        clip.sight(tmp_path / "nothing.mp4")


def test_nothing_is_written_to_the_terminal(model: Path, short: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scene = scene_of(short)
    capfd.readouterr()
    open_clip(str(model)).read(short, scene)
    assert capfd.readouterr() == ("", "")
