"""The film that makes itself: its cuts are where it says, and it looks and sounds like a film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.demo_film import LONGEST_SHOT_S, SHORTEST_SHOT_S, cut_frames, make
from emsync.errors import InputError, OutputError
from emsync.video import analyze


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 1])
def test_its_cuts_are_found_where_it_says(tmp_path: Path, seed: int) -> None:
    cuts_s = make(tmp_path / "film.mp4", seed=seed, duration_s=24.0, size=(128, 72), fps=12)
    scene = analyze(tmp_path / "film.mp4")
    assert len(cuts_s) >= 2
    assert scene.cuts_s.tolist() == pytest.approx(list(cuts_s), abs=1e-6)
    assert scene.boundaries_s.tolist() == scene.cuts_s.tolist()
    assert (scene.frame_rate, scene.n_frames, scene.width, scene.height) == (12, 288, 128, 72)
    assert scene.duration_s == pytest.approx(24.0)


@pytest.mark.slow
def test_it_moves_and_sounds(tmp_path: Path) -> None:
    make(tmp_path / "film.mp4", duration_s=16.0, size=(128, 72), fps=12)
    scene = analyze(tmp_path / "film.mp4")
    assert scene.motion.mean() > 0.005
    assert np.ptp(scene.luma) > 0.2  # its shots differ
    assert scene.has_audio
    assert np.isfinite(scene.loudness_db).all()
    assert scene.loudness_db.min() > -60
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
        assert container.streams.video[0].codec_context.name in ("h264", "mpeg4")
        assert container.streams.audio[0].codec_context.name == "aac"


@pytest.mark.slow
def test_the_same_seed_cuts_alike_and_another_does_not(tmp_path: Path) -> None:
    options: Any = {"size": (32, 18), "fps": 6, "duration_s": 30.0}
    first = make(tmp_path / "a.mp4", seed=3, **options)
    assert make(tmp_path / "b.mp4", seed=3, **options) == first
    assert make(tmp_path / "c.mp4", seed=4, **options) != first


def test_a_film_is_made_without_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    cuts_s = make(tmp_path / "film.mp4", duration_s=12.0, size=(128, 72), fps=12)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert analyze(tmp_path / "film.mp4").cuts_s.tolist() == pytest.approx(list(cuts_s), abs=1e-6)


@given(st.integers(1, 3000), st.integers(1, 60), st.integers(0, 2**32))
def test_shots_are_of_lawful_length(n_frames: int, fps: int, seed: int) -> None:
    cuts = cut_frames(n_frames, fps, np.random.default_rng(seed))
    lengths = np.diff([0, *cuts, n_frames])
    if cuts:
        assert lengths.min() >= SHORTEST_SHOT_S * fps
        assert lengths[:-1].max() <= LONGEST_SHOT_S * fps
    assert lengths[-1] < 2 * SHORTEST_SHOT_S * fps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_s": 0.0}, "a film of 0.0 s cannot be made"),
        ({"duration_s": float("nan")}, "a film of nan s cannot be made"),
        ({"size": (321, 180)}, "a frame of 321x180 cannot be encoded; give even numbers"),
        ({"size": (8, 8)}, "a frame of 8x8"),
        ({"fps": 0}, "0 frames a second are not possible"),
    ],
)
def test_films_that_cannot_be_made(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path / "film.mp4", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_film_is_not_written_over_unasked(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        make(path, overwrite=False)
    assert path.read_text() == "mine"


def test_an_interrupted_film_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emsync.demo_film._draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
