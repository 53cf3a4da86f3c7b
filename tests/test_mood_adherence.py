"""Adherence: the requests, how they are compared with what is composed, and what guidance costs."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from benchmarks.guided_bits import guided_bits
from emsync.cli.main import main
from emsync.decoder import open_decoder
from emsync.errors import InputError
from emsync.mood import MoodCurve
from emsync.music_mood.scale import N_QUANTILES, Scale
from emsync.training.corpus.song_to_score import song_score
from emsync.training.crops import CropConfig, Crops
from emsync.training.dataset import Dataset
from emsync.training.evaluation.mood_adherence import (
    FAR,
    Judged,
    Task,
    adherence,
    judge_piece,
    judges_scale,
    measure,
    perform,
    tasks,
)
from emsync.training.evaluation.report_page import headline
from emsync.training.train import validate
from tests.fakes import Feeling, plain_recipe
from tests.models import LOCAL, archive_file, model_folder, random_model, toy_archive

SECONDS = 40


def judged(follow: float, *, noise: float = 0.0) -> list[Judged]:
    """Pieces that follow what they were asked for, `follow` times as far."""
    generator = np.random.default_rng(3)
    times_s = np.arange(SECONDS) + 0.5
    out = []
    for task in tasks(SECONDS):
        asked = np.stack(task.curve.at(times_s), axis=1)
        out.append(Judged(task, asked, follow * asked + noise * generator.normal(size=asked.shape)))
    return out


def test_tasks_cover_the_corners_and_move_one_axis_at_a_time() -> None:
    every = tasks(SECONDS)
    corners = {(t.curve.mean[0], t.curve.mean[1]) for t in every if t.kind == "corner"}
    assert corners == {(x, y) for x in (-FAR, FAR) for y in (-FAR, FAR)}
    moving = [t for t in every if t.kind != "corner"]
    assert len(moving) == 8
    for task in moving:
        spans = [np.ptp(level) for level in (task.curve.valence, task.curve.arousal)]
        assert sorted(spans) == [0.0, pytest.approx(2 * FAR)]
        assert abs(task.curve.mean[0]) + abs(task.curve.mean[1]) < 0.01


@pytest.mark.slow
def test_perfect_adherence() -> None:
    for axis in range(2):
        found = adherence(judged(1.0), axis)
        assert found.pearson == pytest.approx(1)
        assert found.within == pytest.approx(1)
        assert found.separation == pytest.approx(2 * FAR)
        assert found.corner_auc == 1
        assert abs(found.crosstalk) < 0.05
        assert abs(found.shuffled_pearson) < 0.15
        assert found.shuffled_within < 0.3


def test_opposite_and_unrelated_music() -> None:
    assert adherence(judged(-1.0), 0).pearson == pytest.approx(-1)
    unrelated = adherence(judged(0.0, noise=1.0), 1)
    assert abs(unrelated.pearson) < 0.1
    assert abs(unrelated.separation) < 0.3
    assert 0.4 < unrelated.corner_auc < 0.6


def test_without_corners_there_is_no_separation_and_json_says_none() -> None:
    ramps = [h for h in judged(1.0) if h.task.kind == "ramp"]
    found = adherence(ramps, 0)
    assert math.isnan(found.separation)
    assert found.to_dict()["separation"] is None


SCALE = Scale(np.tile(np.linspace(-1, 1, N_QUANTILES)[:, None], 2), 10)


def test_judging_leaves_the_ends_out() -> None:
    score = song_score(toy_archive(1, bars=12), 0)
    found = judge_piece(score, Task("corner", "x", MoodCurve.constant(0.3, -0.4)), SCALE)
    seconds = math.ceil(score.duration_s)
    assert len(found.read) == seconds - 6
    np.testing.assert_allclose(found.asked, np.tile([0.3, -0.4], (seconds - 6, 1)))
    assert (np.abs(found.read) <= 1).all()


@pytest.mark.slow
def test_a_piece_is_composed_for_every_task(tmp_path: Path) -> None:
    decoder = open_decoder(model_folder(tmp_path / "model", LOCAL))
    asked = tasks(8.0)[::4]
    scores = perform(decoder, asked, 8.0, plain_recipe(seed=1, tempo_qpm=100, grid="sixteenths"))
    assert len(scores) == len(asked)
    # The random model answers the mood: no two tasks give the same notes.
    assert len({tuple(score.pitch.tolist()) for score in scores}) == len(asked)
    assert all(len(judge_piece(score, task, SCALE).read) for score, task in zip(scores, asked, strict=True))


@pytest.mark.slow
def test_a_model_is_measured_and_its_part_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On toy songs' scale, all that the fake plays would lie at one end.
    monkeypatch.setattr("emsync.training.evaluation.mood_adherence.judges_scale", lambda songs: SCALE)
    decoder = Feeling()
    songs, seen = toy_archive(1), list[tuple[float, float]]()
    part = measure(
        decoder, songs, 1, plain_recipe(grid="sixteenths"), seed=3, together=5, duration_s=9.0,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert [one.task.name for one in part.judged] == [task.name for task in tasks(9.0)]
    assert seen[-1] == (pytest.approx(108.0), 108.0)
    values = json.loads(json.dumps(part.to_dict(), allow_nan=False))
    assert (values["pieces"], values["strength"], values["distance"]) == (12, 1.0, FAR)
    assert all(-1 <= values[axis]["pearson"] <= 1 for axis in ("valence", "arousal"))
    assert headline({"mood_adherence": values}).keys() == {
        f"mood adherence, {axis}: Pearson{control}" for axis in ("valence", "arousal") for control in ("", ", shuffled")
    }
    text = part.to_markdown()
    assert text.startswith("## Mood adherence\n")
    assert f"| arousal | {values['arousal']['pearson']:.3f} | " in text
    part.plot(tmp_path / "moods.png")
    assert (tmp_path / "moods.png").read_bytes().startswith(b"\x89PNG")


def test_the_scale_is_of_real_songs() -> None:
    assert judges_scale(toy_archive(6, bars=16)).songs == 6


def test_too_little_music_to_scale_by() -> None:
    with pytest.raises(InputError, match="the archive's 1 songs are too little music to scale moods by; give one with"):
        judges_scale(toy_archive(1, bars=2))


def test_the_command_refuses_a_model_without_mood(
    tmp_path: Path, model_without_mood: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, out = archive_file(tmp_path / "v.npz", 2, bars=2), tmp_path / "out"
    words = ["--archive", archive, "-o", out, "--model", model_without_mood, "--mood-adherence", 1, "-q"]
    assert main(["evaluate", *map(str, words)]) == 2
    assert "so --mood-adherence cannot be followed; leave it out" in capsys.readouterr().err
    assert not out.exists()


def test_what_guidance_costs() -> None:
    model = random_model(LOCAL)
    data = Dataset.of(dict(toy_archive(5, bars=12).arrays))
    crops = Crops(data, CropConfig(context=LOCAL.context), seed=2, augment=False)
    batches = [crops.batch(i, 3) for i in range(2)]
    found = guided_bits(model, batches, (0.0, 1.0, 3.0))
    assert found["0"] == pytest.approx(found["without"], rel=1e-6)
    conditioned = validate(model, batches, "cpu", nullcontext)["bits_per_note"]
    assert found["1"] == pytest.approx(conditioned, rel=1e-5)
    assert len({round(found[name], 6) for name in ("without", "shuffled", "1", "3")}) == 4
