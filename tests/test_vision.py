"""Pictures once a second, windows, checkpoints and heads: the basis of the readers with a vision model."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from emsync import vision
from emsync.errors import ModelError, VideoError
from emsync.vision import Head, Sight, moments, pictures, read_head, windowed
from tests.vision_models import BLUE, GREEN, RED, film, tiny_clip


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (0.2, [0.1]),
        (0.5, [0.5]),
        (1.0, [0.5]),
        (1.0000001, [0.5]),
        (2.3, [0.5, 1.5, 2.15]),
        (2.8, [0.5, 1.5, 2.5]),
        (3.0, [0.5, 1.5, 2.5]),
    ],
)
def test_moments(duration_s: float, expected: list[float]) -> None:
    found = moments(duration_s)
    assert found.tolist() == pytest.approx(expected)
    assert found[-1] <= duration_s


def mean_colours(path: Path, shortest_px: int = 24) -> tuple[list[float], np.ndarray]:
    found = list(pictures(path, shortest_px=shortest_px))
    return [time_s for time_s, _ in found], np.array([picture.mean(axis=(0, 1)) for _, picture in found])


def test_a_picture_a_second(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [RED, GREEN, BLUE])
    times_s, colours = mean_colours(path)
    assert times_s == [0.5, 1.5, 2.5]
    assert colours == pytest.approx(0.8 * np.array([RED, GREEN, BLUE]), abs=1.5)
    assert {picture.shape for _, picture in pictures(path, shortest_px=24)} == {(24, 48, 3)}
    assert {picture.shape for _, picture in pictures(path, shortest_px=999)} == {(48, 96, 3)}


@pytest.mark.parametrize(("last_s", "expected"), [(0.25, [0.5, 1.125]), (0.75, [0.5, 1.5])])
def test_the_last_second_may_be_short(tmp_path: Path, last_s: float, expected: list[float]) -> None:
    times_s, colours = mean_colours(film(tmp_path / "film.mkv", [RED, BLUE], last_s=last_s))
    assert times_s == pytest.approx(expected)
    assert colours[1] == pytest.approx(0.8 * np.array(BLUE), abs=1.5)


def test_a_film_of_a_quarter_second_has_one_picture(tmp_path: Path) -> None:
    times_s, _ = mean_colours(film(tmp_path / "film.mkv", [RED], last_s=0.5, rate=8))
    assert times_s == pytest.approx([0.5])
    times_s, _ = mean_colours(film(tmp_path / "film.mkv", [RED], last_s=0.25, rate=8))
    assert times_s == pytest.approx([0.125])


def test_a_frame_shown_for_seconds_is_seen_in_each(tmp_path: Path) -> None:
    """One picture in three seconds, then one more: a slideshow."""
    import av

    path = tmp_path / "slides.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for pts, level in ((0, 40), (30, 200), (31, 200)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times_s, colours = mean_colours(path)
    assert times_s[:3] == [0.5, 1.5, 2.5]
    assert colours[:, 0].tolist() == pytest.approx([40, 40, 40, 200], abs=1)


def test_no_film(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film" * 100)
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        list(pictures(tmp_path / "film.mp4", shortest_px=24))


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, []),
        (1, [(0, 1)]),
        (4, [(0, 4)]),
        (5, [(0, 4), (1, 4)]),
        (6, [(0, 4), (2, 4)]),
        (9, [(0, 4), (2, 4), (4, 4), (5, 4)]),
    ],
)
def test_windows_overlap_and_the_last_ends_with_the_stream(n: int, expected: list[tuple[int, int]]) -> None:
    found = list(windowed(range(n), 4, 2))
    assert [(first, len(items)) for first, items in found] == expected
    assert all(items == list(range(first, first + len(items))) for first, items in found)


def test_windows_of_one() -> None:
    assert list(windowed("abc", 1, 1)) == [(0, ["a"]), (1, ["b"]), (2, ["c"])]


def test_windows_that_agree_leave_no_trace_and_others_fade() -> None:
    rows = np.arange(10.0)[:, None]
    windows = [(first, rows[first : first + 4].astype(np.float32)) for first in (0, 2, 4, 6)]
    sight = Sight.of(np.arange(10) + 0.5, windows)
    assert sight.merged(sight.features).ravel().tolist() == pytest.approx(list(range(10)))
    levels = np.repeat([0.0, 1.0], 30)[:, None]  # two windows of 30 that disagree, overlapping by 15
    two = Sight.of(np.arange(45) + 0.5, [(0, np.zeros((30, 1))), (15, np.ones((30, 1)))])
    merged = two.merged(levels).ravel()
    assert merged[:15].max() == 0
    assert merged[30:].min() == 1
    assert (np.diff(merged[14:31]) > 0).all()
    assert np.diff(merged).max() < 0.08


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="not finite; choose a model of float32"):
        Sight.of([0.5], [(0, np.array([[np.nan]], dtype=np.float32))])


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that is not asked, and an empty cache."""
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if hasattr(huggingface_hub.constants, name):
            monkeypatch.setattr(huggingface_hub.constants, name, str(tmp_path / "cache"))


@pytest.mark.usefixtures("offline")
def test_a_model_that_is_not_to_be_had() -> None:
    with pytest.raises(
        ModelError, match=r"'some-one/some-clip' was not downloaded yet.*connect to the network, or give"
    ):
        vision.load("some-one/some-clip", "AutoModel")


def test_a_name_that_the_hub_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HFValidationError

    def unknown(*_: object, **__: object) -> None:
        raise HFValidationError("no")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unknown)
    with pytest.raises(ModelError, match="there is no model 'a b', neither as a folder nor on the Hugging Face hub"):
        vision.load("a b", "AutoModel")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing is not a folder; give one that holds a model"):
        vision.load(str(tmp_path / "nothing"), "AutoModel")


def test_folders_that_are_broken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty holds no model \(it has no config\.json\)"):
        vision.load(str(tmp_path / "empty"), "AutoModel")
    model = tiny_clip(tmp_path / "clip")
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"clip' cannot be loaded \(.*\); copy it again, or choose another"):
        vision.load(str(model), "AutoModel")
    (model / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"clip' cannot be loaded \(.*\); copy it again, or choose another"):
        vision.load(str(model), "AutoModel")


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    model = tiny_clip(tmp_path / "clip")
    weights = load_file(model / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"it lacks 1 weights, the first is visual_projection\.weight"):
        vision.load(str(model), "AutoModel")


def test_loading_says_nothing_and_leaves_the_library_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as theirs

    model = tiny_clip(tmp_path / "clip")
    capfd.readouterr()
    before = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    vision.load(str(model), "AutoModel")
    assert capfd.readouterr() == ("", "")
    assert (theirs.get_verbosity(), theirs.is_progress_bar_enabled()) == before
    assert before[0] < logging.CRITICAL


# --- heads ----------------------------------------------------------------------------------------------------------


def head() -> Head:
    return Head("clip", "some/model", {"weight": np.eye(2, 3, dtype=np.float32), "bias": np.zeros(2, np.float32)})


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    head().write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["head.json", "head.safetensors"]
    found = read_head(tmp_path, "clip")
    assert (found.kind, found.model, found.settings) == ("clip", "some/model", {})
    assert found.weights["weight"].tolist() == np.eye(2, 3).tolist()
    assert found.weights["weight"].dtype == np.float32


def test_heads_that_do_not_fit(tmp_path: Path) -> None:
    head().write(tmp_path)
    with pytest.raises(ModelError, match="holds a head for clip, not for vlm; give it as clip:"):
        read_head(tmp_path, "vlm")
    with pytest.raises(ModelError, match=r"weight has the shape \(2, 3\) where 'some/model' needs \(2, 512\)"):
        head().shaped({"weight": (2, 512)})
    with pytest.raises(ModelError, match="the head's other has the shape None"):
        head().shaped({"other": (2,)})
    (tmp_path / "head.safetensors").write_bytes(b"\0\0")
    with pytest.raises(ModelError, match=r"cannot be read.*copy the whole folder, or train it again"):
        read_head(tmp_path, "clip")
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_head(tmp_path, "clip")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"format": 99, "kind": "clip"})])
def test_a_head_of_another_format(tmp_path: Path, text: str) -> None:
    head().write(tmp_path)
    (tmp_path / "head.json").write_text(text)
    with pytest.raises(ModelError, match="train"):
        read_head(tmp_path, "clip")
