"""Lanes of controls: what a song's events give them, what is asked for gives them, and how a model learns them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emsync import checkpoint, composer, controls
from emsync import vocabulary as v
from emsync.conditions import CONTROL_LANES, LANE_NAMES, LANES, Conditions
from emsync.control_curves import REST, Control, ControlCurves, of_text
from emsync.control_lanes import SongEvents, moved_key
from emsync.errors import InputError
from emsync.recipe import Recipe
from emsync.tokenizer.events import decode, times_steps
from emsync.training.crop_lanes import song_groups
from emsync.training.crops import PREFIX, CropConfig, Crops, transpose
from emsync.training.dataset import Dataset
from emsync.training.train import RunOptions, fit
from tests.crops import PLAIN, off, on, place, rows
from tests.fakes import Fake, plain_recipe
from tests.models import LOCAL, RELATIVE, random_inputs, random_model, toy_archive, toy_preset

PLACE = {name: i for i, name in enumerate(LANE_NAMES)}


def shift(seconds: float) -> int:
    return int(v.SHIFT_BASE) + round(seconds / v.STEP_S)


def song(*ids: int) -> SongEvents:
    row = np.array([v.START, *ids, v.END], dtype=np.int64)
    return SongEvents(row, np.where(v.KIND[row] == v.K_ON, 16, 0), times_steps(row))


#: E5 over C4 for a second, a rest of half a second, E5 again, then G5, at 120 quarter notes a minute.
A_TUNE = song(
    int(v.BAR_BASE) + 8, *on(v.PIANO, 60), *on(v.STRINGS, 76), shift(1.0), *off(v.STRINGS, 76), shift(0.504),
    *on(v.STRINGS, 76), shift(0.496), *off(v.STRINGS, 76), *off(v.PIANO, 60), int(v.BAR_BASE) + 8,
    *on(v.STRINGS, 79), shift(1.0), shift(1.0), *off(v.STRINGS, 79), int(v.BAR_BASE) + 8, *on(v.DRUMS, 36),
)  # fmt: skip


def lane(name: str, of: SongEvents) -> np.ndarray:
    of_song = LANES[PLACE[name]].of_song
    assert of_song is not None
    return np.asarray(of_song(of))


def test_the_lanes_of_a_tune_written_out_by_hand() -> None:
    at = {event: int(np.flatnonzero(A_TUNE.ids == on(v.STRINGS, event)[0])[0]) for event in (76, 79)}
    last = len(A_TUNE.ids) - 1
    melody, following = lane("melody", A_TUNE), lane("melody_next", A_TUNE)
    off_lead = int(np.flatnonzero(A_TUNE.ids == off(v.STRINGS, 76)[0])[0])
    assert [melody[at[76]], melody[off_lead], melody[at[79]], melody[last]] == [4, 0, 7, REST]  # C4 is left as the lead
    assert [following[at[76]], following[off_lead], following[at[79]]] == [0, 4, REST]
    rhythm, soon = lane("rhythm", A_TUNE), lane("rhythm_next", A_TUNE)
    first = of_text("rhythm", "x...")
    assert [rhythm[at[76]], rhythm[off_lead], rhythm[at[79]]] == [first, 0, first]
    assert [soon[at[76]], soon[off_lead]] == [0, first]
    assert lane("density", A_TUNE)[at[76]] == pytest.approx(2 * np.log1p(2 / 1.05) / np.log1p(100) - 1)  # of 1.05 s
    power = (124 / 127) ** 4  # of one note of the highest level, and two sound
    assert lane("intensity", A_TUNE)[at[76]] == pytest.approx(10 * np.log10(2 * power) / 20, abs=0.03)
    assert set(lane("key", A_TUNE)) == {of_text("key", "C")}
    assert lane("change", A_TUNE)[at[79]] == 1.0  # there the piano's note ends, and the lead moves
    assert lane("change", A_TUNE).min() < -0.5


def test_lanes_are_what_controls_measures_in_the_score() -> None:
    data = Dataset.of(dict(toy_archive(3).arrays))
    for number in range(3):
        ids, velocities = data.song(number)
        events = SongEvents(ids[1:], velocities[1:], times_steps(ids[1:]))
        score = decode(events.ids, events.velocities)
        measured = controls.of_score(score)
        times_s = events.steps * v.STEP_S
        np.testing.assert_array_equal(lane("melody", events), measured["melody"].at(times_s + v.STEP_S / 2))
        np.testing.assert_array_equal(lane("rhythm", events), measured["rhythm"].at(times_s + v.STEP_S / 2))
        np.testing.assert_array_equal(lane("key", events), measured["key"].at(times_s + v.STEP_S / 2))
        np.testing.assert_allclose(lane("intensity", events) * 20, measured["intensity"].at(times_s).clip(-20, 20))
        np.testing.assert_allclose(
            np.expm1((lane("density", events) + 1) / 2 * np.log(101)), measured["density"].at(times_s)
        )
        np.testing.assert_allclose(lane("change", events) / 2 + 0.5, measured["change"].at(times_s))
        pitched = score.instrument != v.DRUMS
        _, following = controls.melody(
            score.start_s[pitched], score.end_s[pitched], score.pitch[pitched], score.duration_s
        )
        middles = controls.frame_times(score.duration_s) + controls.FRAME_S / 2 - v.STEP_S  # late in each frame
        found = LANES[PLACE["melody_next"]].read(measured["melody"], middles)
        np.testing.assert_array_equal(found[:-1], following[:-1])
        for name in (LANE_NAMES[i] for i in CONTROL_LANES):
            table = LANES[PLACE[name]]
            assert (lane(name, events) >= table.low).all()
            assert (lane(name, events) <= table.high).all()


def test_a_song_without_notes_has_no_lanes_of_controls() -> None:
    empty = song(int(v.BAR_BASE) + 8, shift(1.0))
    assert all(np.isnan(lane(LANE_NAMES[i], empty)).all() for i in CONTROL_LANES)


def test_composing_shows_what_is_asked_for() -> None:
    """Gaps are NaN, a control of strength 0 is not shown, and a transposed key or melody keeps its gaps."""
    curves = ControlCurves({
        "melody": Control(np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, REST, np.nan, 7.0])),
        "intensity": Control(np.array([0.0, 4.0]), np.array([-40.0, 10.0])),
        "key": Control(np.zeros(1), np.array([14.0]), strength=0.0),
    })  # fmt: skip
    lanes = Conditions(controls=curves).at(np.array([0.0, 1.0, 2.5, 3.5]))
    np.testing.assert_array_equal(lanes[:, PLACE["melody"]], [4, REST, np.nan, 7])
    np.testing.assert_array_equal(lanes[:, PLACE["melody_next"]], [np.nan, np.nan, 7, REST])  # the gap comes first
    np.testing.assert_allclose(lanes[:, PLACE["intensity"]], [-1, -1, -0.4375, 0.1875])
    assert np.isnan(lanes[:, [PLACE["key"], PLACE["rhythm"]]]).all()
    assert moved_key(np.array([11.0, 23.0, np.nan, 12.0]), 3).tolist()[:2] == [2, 14]
    later = Conditions(controls=curves).moved(lambda times: np.asarray(times) * 2).at(np.array([2.5]))
    assert later[0, PLACE["melody"]] == REST


def test_lanes_of_a_transposed_song_are_those_of_its_lanes_transposed() -> None:
    ids = A_TUNE.ids
    moved = transpose(ids, 2)
    right = SongEvents(moved, A_TUNE.velocities, A_TUNE.steps)
    for name in (LANE_NAMES[i] for i in CONTROL_LANES if LANE_NAMES[i] not in ("change", "melody", "melody_next")):
        change = LANES[PLACE[name]].moved
        found = lane(name, A_TUNE) if change is None else change(lane(name, A_TUNE), 2)
        np.testing.assert_allclose(found, lane(name, right), err_msg=name)
    strings = np.isin(lane("melody", A_TUNE), (4, 7))  # the piano's C4 is the lead from middle C on, whatever the key
    np.testing.assert_array_equal((lane("melody", A_TUNE)[strings] + 2) % 12, lane("melody", right)[strings])


def test_crops_show_or_leave_out_the_lanes_of_a_control_together() -> None:
    data = Dataset.of(dict(toy_archive(4).arrays))
    config = replace(PLAIN, drop_lane=0.5, mask_lane_inside=0, mask_lane_outside=0)
    drawn = rows(data, config, 60)
    shown = np.array([~np.isnan(row.lanes[PREFIX + 2 :, CONTROL_LANES]).all(axis=0) for row in drawn])
    for group in song_groups():
        columns = shown[:, [CONTROL_LANES.index(i) for i in group]]
        assert (columns == columns[:, :1]).all()
        assert 0.25 < columns[:, 0].mean() < 0.75
    row = drawn[int(shown.all(axis=1).argmax())] if shown.all(axis=1).any() else drawn[0]
    number, at = place(data, row)
    ids, velocities = data.song(number)
    whole = SongEvents(ids[1:], velocities[1:], times_steps(ids[1:]))
    for i in np.flatnonzero(shown[drawn.index(row)]):
        right = lane(LANE_NAMES[CONTROL_LANES[i]], whole)[max(at - 1, 0) :][: len(row.ids) - PREFIX]
        np.testing.assert_allclose(row.lanes[PREFIX:, CONTROL_LANES[i]][-len(right) :][1:], right[1:], atol=1e-6)


def test_the_other_draws_of_a_crop_are_what_they_were_before() -> None:
    """Runs of models without these lanes go on with the same crops."""
    data = Dataset.of(dict(toy_archive(4).arrays))
    kinds = [CropConfig(context=64, drop_lane=share, mask_lane_inside=mask) for share, mask in ((0.0, 0.9), (1.0, 0.0))]
    for one, other in zip(*(rows(data, kind, 20) for kind in kinds), strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.lanes[:, : min(CONTROL_LANES)], other.lanes[:, : min(CONTROL_LANES)])
        assert np.isnan(other.lanes[:, CONTROL_LANES]).all()
    still = Crops(data, CropConfig(context=64), seed=1, augment=False, controls=True).batch(0, 4)
    assert not np.isnan(still.lanes[:, -1, PLACE["density"]]).all()


@pytest.mark.parametrize("config", [RELATIVE, LOCAL])
def test_a_model_from_before_learns_these_lanes_from_the_first_step(config: Any) -> None:
    before = random_model(replace(config, lanes=LANE_NAMES[: min(CONTROL_LANES)]))
    grown, inputs = before.with_all_lanes(), random_inputs(40)
    torch.testing.assert_close(grown(*inputs)[0], before(*inputs)[0])
    with torch.enable_grad():
        grown(*inputs)[0].log_softmax(-1)[..., 7].sum().backward()
    for i in CONTROL_LANES:
        last = grown.lanes[i].net[2] if LANES[i].kind == "level" else grown.lanes[i].table
        assert last.weight.grad.abs().sum() > 0, LANE_NAMES[i]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["lanes", "controls"])
def test_training_may_change_the_lanes_alone(part: str, tmp_path: Path) -> None:
    preset = toy_preset(train_only=part, optimizer="muon")
    before = random_model(replace(preset.model, lanes=LANE_NAMES[: min(CONTROL_LANES)]))
    checkpoint.save(before, tmp_path / "before")
    data = Dataset.of(dict(toy_archive(3).arrays))
    options = RunOptions(steps=2, device="cpu", compile_model=False, initial=tmp_path / "before")
    progress = fit(preset, data, data, tmp_path / "run", options)
    assert progress.valid is not None
    assert 0 < abs(progress.valid["controls_save_bits_per_note"]) < 1
    after = checkpoint.load(tmp_path / "run" / "model")
    first, second = before.with_all_lanes().state_dict(), after.state_dict()
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"lanes"}
    lanes = {int(name.split(".")[1]) for name in first if not torch.equal(first[name], second[name])}
    assert (min(lanes) < min(CONTROL_LANES)) == (part == "lanes")
    # Where no control is given, a model whose controls were trained is the model that it was.
    inputs = random_inputs(40)
    inputs[2][..., min(CONTROL_LANES) :] = math.nan
    alike = torch.equal(after(*inputs)[0], before.with_all_lanes()(*inputs)[0])
    assert alike == (part == "controls")
    with pytest.raises(InputError, match="train_only is 'heads'; choose all, lanes, controls, style or adapter"):
        toy_preset(train_only="heads")


def test_the_composer_tells_the_model() -> None:
    """In the time of the piece's events, and nothing where nothing is asked."""
    decoder = Fake()
    curves = ControlCurves({"key": Control(np.array([0.0, 2.0]), np.array([2.0, 9.0]))})
    recipe = Recipe(seed=1, controls=curves, grid="free", mood_strength=1.0, key_lane=True)
    (piece,) = composer.compose(decoder, [Conditions(end_s=4.0, boundaries_s=np.zeros(0))], recipe)
    told = np.array([lanes[0, PLACE["key"]] for _, _, lanes in decoder.inputs])
    times_s = times_steps(piece.events.ids[1:])[: len(told)] * v.STEP_S
    np.testing.assert_array_equal(told, np.where(times_s >= 2.0, 9.0, 2.0))
    assert all(np.isnan(lanes[0, PLACE["melody"]]) for _, _, lanes in decoder.inputs)


class Keyed(Fake):
    """Wants notes of the pitch class that the lane of the key says, by 3."""

    hears_controls = True

    def _answer(self, ids: np.ndarray, previous_velocity: np.ndarray, lanes: np.ndarray) -> Any:
        logits, levels = super()._answer(ids, previous_velocity, lanes)
        told = lanes[:, PLACE["key"], None]
        return logits + np.where((v.KIND == v.K_ON) & (v.VALUE % 12 == told % 12), 3.0, 0.0), levels


def share_in(piece: composer.Piece, pitch_class: int) -> float:
    ids = piece.events.ids[v.KIND[piece.events.ids] == v.K_ON]
    return float((v.VALUE[ids] % 12 == pitch_class).mean())


@pytest.mark.slow
def test_lanes_are_followed_more_or_less_strongly() -> None:
    """By guidance, as of moods; a model without lanes is never asked twice."""
    curves = ControlCurves({"key": Control(np.zeros(1), np.array([6.0]))})
    asked = Conditions(end_s=8.0, boundaries_s=np.zeros(0))
    shares, n_rows = [], []
    for strength in (0.0, 1.0, 3.0):
        recipe = Recipe(seed=3, controls=curves, control_strength=0.0, lane_strength=strength, grid="free", mode="off")
        decoder = Keyed()
        shares.append(share_in(composer.compose(decoder, [asked, asked], recipe)[0], 6))
        n_rows.append(len(decoder.prefills[0][0]))
    assert shares[0] < shares[1] < shares[2]
    assert n_rows == [2, 2, 4]
    both = replace(recipe, mood_strength=2.0)
    moody = replace(asked, piece_valence=0.5)
    decoder = Keyed()
    composer.compose(decoder, [moody, asked], both)
    lanes, mood = decoder.prefills[0][2][:, 0, PLACE["key"]], decoder.prefills[0][3][:, 0]
    assert np.isnan(lanes).tolist() == [False, False, False, True, True]
    assert np.isnan(mood).tolist() == [False, True, True, False, True]
    deaf = Fake()
    composer.compose(deaf, [asked], recipe)
    assert len(deaf.prefills[0][0]) == 1


def test_intensity_and_keys_are_not_shown_where_they_are_steered() -> None:
    """Steering alone follows them better than steering with their lanes; records from before compose with both."""
    curves = ControlCurves({name: Control(np.zeros(1), np.array([6.0])) for name in ("intensity", "key", "density")})
    asked = Conditions(end_s=2.0, boundaries_s=np.zeros(0))
    before: dict[str, Any] = {"intensity_lane": True, "key_lane": True}
    cases: tuple[tuple[dict[str, Any], set[str]], ...] = (
        ({}, set()),
        ({"intensity_lane": True}, {"intensity"}),
        ({"key_lane": True}, {"key"}),
        (before, {"intensity", "key"}),
        ({"control_strength": 0.0}, {"intensity", "key"}),
    )
    for choices, expected in cases:
        decoder = Keyed()
        composer.compose(decoder, [asked], plain_recipe(controls=curves, **choices))
        lanes = decoder.prefills[0][2][0, 0]
        assert {name for name in ("intensity", "key") if not np.isnan(lanes[PLACE[name]])} == expected
        assert not np.isnan(lanes[PLACE["density"]])
