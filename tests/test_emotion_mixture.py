"""The paper's mixture of emotions: its mean, draws from it, and films read by way of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emsync.affect import open_reader
from emsync.cli.main import main
from emsync.cli.moods import of_emotions
from emsync.emotions import EMOTION_NAMES, mixture_mean, mixture_sample, plane, through_emotions
from emsync.errors import InputError
from emsync.video import Scene


def test_draws_have_the_mixtures_mean_and_the_emotions_spread() -> None:
    rng = np.random.default_rng(0)
    shares = {"joy": 0.7, "sadness": 0.3}
    drawn = np.array([mixture_sample(shares, rng, mu_max=0.5) for _ in range(2000)])
    np.testing.assert_allclose(drawn.mean(axis=0), mixture_mean(shares, mu_max=0.5), atol=0.03)
    _, deviations = plane(0.5)
    joy = EMOTION_NAMES.index("joy")
    high = drawn[drawn[:, 0] > 0]
    assert high[:, 1].std() == pytest.approx(deviations[joy, 1], rel=0.1)
    assert np.abs(drawn).max() <= 1
    with pytest.raises(InputError, match="give six, to draw once"):
        mixture_sample(np.full((2, 6), 1 / 6), rng)


def test_mu_max_scales_and_a_seed_repeats() -> None:
    assert of_emotions("joy", 0.4).mean == pytest.approx([x / 2 for x in of_emotions("joy").mean])
    assert of_emotions("joy", seed=3) == of_emotions("joy", seed=3)
    assert of_emotions("joy", seed=3) != of_emotions("joy", seed=4)


def test_points_go_by_way_of_the_emotions() -> None:
    at = through_emotions(*plane()[0].T)
    assert np.abs(at - plane()[0]).max() < 0.25  # anger, disgust and fear overlap
    assert np.isnan(through_emotions(np.nan, 0.0)).all()
    times = np.arange(0, 10, 0.25)
    quiet = np.zeros(len(times))
    scene = Scene(
        "a.mp4", 10.0, Fraction(24), 240, 64, 36, times_s=times, motion=quiet, luma=quiet, saturation=quiet,
        contrast=quiet, warmth=quiet,
    )  # fmt: skip
    reader = open_reader("builtin:emotions")
    curve, plain = reader.read(Path("a.mp4"), scene), open_reader("builtin").read(Path("a.mp4"), scene)
    assert reader.name == "builtin:emotions"
    np.testing.assert_allclose(
        np.stack([curve.valence, curve.arousal], 1), through_emotions(plain.valence, plain.arousal)
    )


def test_the_options_need_an_emotion(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compose", "--duration", "4", "--mu-max", "0.5", "-o", str(tmp_path / "a.mid")]) == 2
    assert (
        "--mu-max and --draw-emotion are about emotions; give --emotion, or --affect builtin:emotions"
        in capsys.readouterr().err
    )
    assert main(["compose", "--duration", "4", "--emotion", "joy", "--mu-max", "0", "-o", str(tmp_path / "a.mid")]) == 2
    assert "is not in the range" in capsys.readouterr().err
