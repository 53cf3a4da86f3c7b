"""The judge of controls: its sets, its figures by hand, and a whole round without a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import controls, soundtrack
from emsync.conditions import LANE_NAMES
from emsync.control_curves import Control, ControlCurves, of_text
from emsync.errors import InputError
from emsync.recipe import Recipe
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.training.evaluation import control_adherence, created_controls
from emsync.training.evaluation.control_adherence import CREATED, aligned, asked_onsets, judge_piece, scores
from emsync.training.evaluation.created_controls import Asked, half_masked
from tests.fakes import Fake, plain_recipe
from tests.models import toy_archive


def test_the_created_sets_are_as_large_as_the_papers() -> None:
    sets = [list(made(10.0)) for made in CREATED]
    assert [len(each) for each in sets] == [24, 9, 20, 20, 24, 36]
    for every in sets:
        assert len({each.name for each in every}) == len(every)
        for each in every:
            assert each.curves.check_fits(10.0) is each.curves
    rising = next(each for each in sets[0] if each.name == "tanh up 12 dB").curves["intensity"]
    assert rising.at([0.0, 5.0, 10.0]) == pytest.approx([-12, 0, 12])
    joy = next(each for each in sets[2] if "Joy" in each.name and "Beethoven" in each.name).curves["melody"]
    assert joy.at([0.1, 0.6, 1.2, 2.0]).tolist() == [4, 4, 5, 7]
    assert {each.mood.valence[0] < each.mood.valence[1] for each in sets[5] if each.mood} == {True, False}


def test_onsets_are_aligned_one_to_one() -> None:
    assert aligned(np.array([0.0, 0.5, 1.0]), np.array([0.05, 0.06, 0.6, 1.07])) == 2
    assert aligned(np.array([]), np.array([1.0])) == 0
    figures = scores("rhythm", [(np.array([0.0, 0.5, 1.0]), np.array([0.05, 0.06, 0.6, 1.07]))])
    assert figures == pytest.approx({"f1": 4 / 7, "cover": 2 / 4, "hit": 2 / 3})


def test_figures_by_hand() -> None:
    a, nan = np.array([0.0, 1.0, 2.0, math.nan]), math.nan
    assert scores("intensity", [(a, np.array([1.0, 2.0, 3.0, 9.0]))]) == pytest.approx(
        {"pearson": 1.0, "concordance": 4 / 7, "within": 1.0}
    )
    assert scores("melody", [(np.array([0.0, 12.0, 5.0, nan]), np.array([0.0, 3.0, 4.0, 1.0]))]) == {"accuracy": 0.5}
    assert scores("key", [(a, np.array([0.0, 0.0, 2.0, nan]))]) == pytest.approx({"accuracy": 2 / 3})
    assert scores("key", [(np.array([nan]), np.array([1.0]))]) == {}


def test_a_piece_that_obeys_exactly_is_judged_so() -> None:
    onsets = np.arange(0.0, 8.0, 0.5)
    tonic = Score(
        (Instrument("Strings", 48),), np.zeros(16, int), np.full(16, 72), np.full(16, 80), onsets, onsets + 0.5,
        TempoMap.constant(120), Bars([0.0], [4], [4]), duration_s=8.0,
    )  # fmt: skip
    curves = controls.of_score(tonic)
    task = Asked("extracted", "itself", curves, 120.0)
    judged = judge_piece(tonic, task, 8.0, None)
    for name in ("intensity", "density"):
        np.testing.assert_allclose(judged.found[name], judged.asked[name])
    assert scores("melody", [(judged.asked["melody"], judged.found["melody"])]) == {"accuracy": 1.0}
    assert scores("rhythm", [(judged.asked["rhythm"], judged.found["rhythm"])])["f1"] == 1.0
    np.testing.assert_allclose(asked_onsets(task, 8.0), onsets)
    masked = half_masked(task, 8.0, first=True)
    np.testing.assert_allclose(asked_onsets(masked, 8.0), onsets[onsets >= 4])
    assert np.isnan(masked.curves["melody"].at([1.0, 3.9])).all()
    assert masked.curves["melody"].at(4.1) == 0


@pytest.mark.slow
def test_a_round_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = (created_controls.rhythms, created_controls.keys)
    monkeypatch.setattr(control_adherence, "CREATED", few)
    done: list[float] = []
    songs = toy_archive(3, bars=8)
    found = control_adherence.measure(
        Fake(), songs, 2, plain_recipe(grid="sixteenths"), duration_s=4.0, progress=lambda now, _: done.append(now)
    )
    groups = found.groups()
    assert list(groups) == [
        "rhythm", "key", "extracted intensity", "extracted density", "extracted melody", "extracted rhythm",
        "extracted key", "extracted change", "extracted, all", "half masked",
    ]  # fmt: skip
    assert all(len(mine) == 2 for mine in groups.values())
    assert done[-1] == 20 * 4.0
    figures = found.figures()
    assert set(figures["extracted, all"]) == {"intensity", "density", "rhythm", "melody", "key", "change"}
    assert set(figures["rhythm"]["rhythm"]) == {"f1", "cover", "hit", "shuffled"}
    page = found.to_markdown()
    assert "| rhythm | rhythm | f1 | " in page
    assert "| set | control | figure | steering | shuffled | papers |" in page
    assert found.to_dict()["sets"]["half masked"]["melody"]["accuracy"] is not None
    found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    again = control_adherence.tasks(songs, 2, 4.0, 0, mood=False)
    assert [each.name for each in again] == [j.task.name for j in found.judged]
    with pytest.raises(InputError, match="no song of the archive has 100 s with all controls"):
        control_adherence.tasks(songs, 2, 100.0, 0, mood=False)


def test_what_is_not_given_is_not_judged() -> None:
    half = Control(np.array([0.0, 1.9, 2.0]), np.array([of_text("rhythm", "x..."), math.nan, math.nan]))
    task = Asked("rhythm", "half", ControlCurves({"rhythm": half}), 120.0)
    empty = Score.empty((Instrument("Strings", 48),), duration_s=4.0)
    judged = judge_piece(empty, task, 4.0, None)
    np.testing.assert_allclose(judged.asked["rhythm"], [0, 0.5, 1.0, 1.5])
    assert len(judged.found["rhythm"]) == 0


@pytest.mark.slow
def test_a_model_with_lanes_is_judged_by_lane_by_steering_and_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hears(Fake):
        hears_controls = True

    monkeypatch.setattr(control_adherence, "CREATED", (created_controls.keys,))
    decoder = Hears()
    recipe = plain_recipe(grid="sixteenths", loose_bias=-0.9, key_lane=True)
    found = control_adherence.measure(decoder, toy_archive(3, bars=8), 1, recipe, duration_s=4.0)
    assert found.means == ["lane", "steering", "both"]
    assert len({len(found.groups(by)) for by in found.means}) == 1
    assert set(found.to_dict()["by"]) == set(found.means)
    assert "| set | control | figure | lane | steering | both | shuffled | papers |" in found.to_markdown()
    keys = [each for each in found.judged if each.task.group == "key"]
    assert [each.by for each in keys] == ["lane", "steering", "both"]
    place = LANE_NAMES.index("key")
    prefills = [given[2][0, 0, place] for given in decoder.prefills[:3]]
    assert np.isnan(prefills[1])  # by steering alone the model is told nothing
    assert prefills[0] == prefills[2] == keys[0].task.curves["key"].at(0.0)
    accuracies = [figures["accuracy"] for by in found.means for figures in [found.figures(by)["key"]["key"]]]
    assert min(accuracies[1:]) > accuracies[0]  # this model has no ear: its lanes change nothing, and steering does


@pytest.mark.slow
def test_emotions_are_judged_of_pieces_as_users_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Feels(Fake):
        knows_mood = True

    composed: list[tuple[bool, Recipe]] = []
    lengths: set[tuple[bool, float]] = set()
    judged_s: list[float] = []
    plain, judge_piece = soundtrack.compose, control_adherence.judge_piece

    def compose(decoder: Any, duration_s: float, cuts: Any, recipe: Recipe, *, mood: Any) -> Any:
        composed.append((mood is not None, recipe))
        lengths.add((mood is not None, duration_s))
        return plain(decoder, duration_s, cuts, recipe, mood=mood)

    monkeypatch.setattr(control_adherence, "CREATED", (created_controls.keys, created_controls.emotions))

    def judged(score: Score, *arguments: Any) -> Any:
        judged_s.append(float(score.end_s.max()))
        return judge_piece(score, *arguments)

    monkeypatch.setattr(soundtrack, "compose", compose)
    monkeypatch.setattr(control_adherence, "judge_piece", judged)
    recipe = plain_recipe(grid="sixteenths", finish="on", form="auto")
    found = control_adherence.measure(
        Feels(), toy_archive(control_adherence.EMOTIONS, bars=8), 1, recipe, duration_s=4.0
    )
    groups = found.groups()
    assert len(groups["emotion"]) == len(groups["extracted emotion"]) == control_adherence.EMOTIONS
    for each in groups["extracted emotion"]:
        assert each.task.mood is not None
        assert len(each.asked["valence"]) == 4
        assert set(each.asked) == {"valence", "arousal", "valence, by the labeller", "arousal, by the labeller"}
        assert (each.found["arousal"] != each.found["arousal, by the labeller"]).any(), "two regressors read it"
        assert len(each.task.curves) == 0
    assert len(found.songs) == control_adherence.EMOTIONS
    for song in found.songs:
        own, again = song.asked["arousal"], song.found["arousal, by the labeller"]
        assert again == pytest.approx(own, abs=0.005), "the labeller reads in a song what was extracted from it"
    assert found.to_dict()["songs"].keys() == {"valence", "arousal"}
    assert found.to_markdown().count(f"The {len(found.songs)} songs themselves, as the judge reads them") == 2
    assert all(each.task.mood is None for name in ("extracted key", "extracted, all") for each in groups[name])
    moody = [asked for felt, asked in composed if felt]
    assert len(moody) == 2 * control_adherence.EMOTIONS
    assert {(each.tempo_qpm, each.finish, each.form) for each in moody} == {(None, "on", "auto")}
    assert lengths == {(False, 4.0), (True, 4.0 + control_adherence.ENDING_S)}
    assert max(judged_s) <= 4.0, "the ending is not judged"
    rest = [asked for felt, asked in composed if not felt]
    assert {(each.finish, each.form) for each in rest} == {("off", "none")}
    assert all(each.tempo_qpm for each in rest)
