"""Crops of songs: where they begin, how they are transposed, and the batches made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.conditions import CONTROL_LANES, LANE_NAMES, METER_LANES
from emsync.errors import CorpusError, InputError
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT
from emsync.tokenizer.events import times_steps
from emsync.training.crops import PREFIX, CropConfig, Crops, Row, collate, transpose
from emsync.training.dataset import Dataset
from tests.crops import BOUNDARY, PLAIN, off, on, place, rows, toy_data


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data()


@pytest.mark.parametrize("semitones", range(-3, 4))
def test_transposing_moves_all_pitches_but_the_drums(semitones: int) -> None:
    def song(move: int) -> list[int]:
        parts = [on(v.DRUMS, 27, 36, 87), [v.CHORD, v.BAR_BASE + 8], [v.SHIFT_BASE + 5, v.END]]
        for family in (v.PIANO, v.GUITAR, v.BASS, v.STRINGS):
            parts += [on(family, 24 + move, 60 + move, 105 + move), off(family, 24 + move, 105 + move)]
        return [event for part in parts for event in part]

    np.testing.assert_array_equal(transpose(np.array(song(0)), semitones), song(semitones))


@pytest.mark.parametrize(("pitches", "semitones"), [((60, 107), 2), ((22, 60), -2), ((21, 108), 1), ((21, 108), -1)])
def test_a_shift_out_of_range_is_skipped_for_every_note(pitches: tuple[int, int], semitones: int) -> None:
    ids = np.array([*on(v.PIANO, 60), *on(v.STRINGS, *pitches), *off(v.STRINGS, *pitches), *on(v.DRUMS, 40)])
    np.testing.assert_array_equal(transpose(ids, semitones), ids)


def test_drums_alone_are_not_transposed() -> None:
    ids = np.array(on(v.DRUMS, 27, 87))
    np.testing.assert_array_equal(transpose(ids, 3), ids)


def test_crops_are_transposed_by_every_interval() -> None:
    found = set()
    for row in rows(toy_data(1), replace(PLAIN, transpose=3, at_start=1.0), 80):
        bass = v.VALUE[row.ids[PREFIX:]][v.FAMILY[row.ids[PREFIX:]] == v.BASS]
        assert len(set(bass)) == 1  # a toy song's bass has one note
        found.add(int(bass[0]))
    song, _ = toy_data(1).song(0)
    root = int(v.VALUE[song][v.FAMILY[song] == v.BASS][0])
    assert found == {root + semitones for semitones in range(-3, 4)}


def test_a_crop_is_a_song_s_own_events_behind_the_prefix(data: Dataset) -> None:
    for row in rows(data, PLAIN):
        song, at = place(data, row)
        ids, velocities = data.song(song)
        n = len(row.ids) - PREFIX
        assert row.ids[:PREFIX].tolist() == [VALENCE_SLOT, AROUSAL_SLOT, ids[0]]
        assert (row.velocities[:PREFIX] == 0).all()
        np.testing.assert_array_equal(row.velocities[PREFIX:], velocities[at : at + n])
        assert n == min(PLAIN.context - PREFIX + 1, len(ids) - at)
        assert len(row.lanes) == len(row.ids)


def test_crops_depend_on_seed_step_rank_and_place_alone(data: Dataset) -> None:
    config = CropConfig(context=64)

    def drawn(seed: int, step: int, rank: int) -> np.ndarray:
        return Crops(data, config, seed=seed).batch(step, 3, rank=rank).ids

    crops = Crops(data, config, seed=1)
    later = [crops.batch(step, 3).ids for step in (7, 5)]
    np.testing.assert_array_equal(later[1], drawn(1, 5, 0))  # whatever was drawn before
    np.testing.assert_array_equal(later[0], drawn(1, 7, 0))
    batches = [drawn(1, 5, 0), drawn(2, 5, 0), drawn(1, 6, 0), drawn(1, 5, 1)]
    for i, one in enumerate(batches):
        for other in batches[i + 1 :]:
            assert not np.array_equal(one, other)
    assert len({tuple(row) for row in batches[0]}) == 3
    np.testing.assert_array_equal(Crops(data, config, seed=1).batch(5, 5).ids[:3], drawn(1, 5, 0))


@pytest.mark.slow
def test_where_crops_begin(data: Dataset) -> None:
    first = rows(data, replace(PLAIN, at_start=1.0))
    assert all(row.ids[PREFIX] == v.START for row in first)
    assert {place(data, row)[0] for row in first} == set(range(len(data)))
    assert all(row.ids[-1] == v.END for row in rows(data, replace(PLAIN, at_end=1.0)))
    bars = rows(data, replace(PLAIN, at_bar=1.0))
    kinds = [int(v.KIND[row.ids[PREFIX]]) for row in bars]
    assert set(kinds) <= {v.K_BAR, v.K_START}
    assert kinds.count(v.K_BAR) > 50
    chords = rows(data, replace(PLAIN, near_chord=1.0), 200)
    assert sum(v.CHORD in row.ids for row in chords) > 190
    share = np.mean([v.KIND[row.ids[PREFIX]] == v.K_BAR for row in rows(data, replace(PLAIN, at_bar=0.5), 400)])
    assert 0.4 < share < 0.65


def test_a_corpus_without_chords_still_begins_anywhere() -> None:
    begins = [row.ids[PREFIX] == v.START for row in rows(toy_data(chords=False), replace(PLAIN, near_chord=1.0), 60)]
    assert sum(begins) < 10


@pytest.mark.slow
def test_a_fifth_of_the_chords_is_left_out_and_what_is_left_is_unchanged(data: Dataset) -> None:
    config = replace(PLAIN, at_start=1.0, context=256)
    everything = sum((row.ids == v.CHORD).sum() for row in rows(data, config, 300))
    dropped = rows(data, replace(config, drop_chord=CropConfig().drop_chord), 300)
    share = 1 - sum((row.ids == v.CHORD).sum() for row in dropped) / everything
    assert 0.16 < share < 0.24
    for row in dropped[:20]:
        kept = row.ids[row.ids != v.CHORD][PREFIX:]
        songs = [ids[ids != v.CHORD][1:] for ids in (data.song(i)[0] for i in range(len(data)))]
        assert any(np.array_equal(song[: len(kept)], kept) for song in songs)
    for row in rows(data, replace(config, drop_chord=1.0), 20):
        assert v.CHORD not in row.ids
        # The notes of the chord are still there, and so is the boundary it was: it is met by no CHORD, only passed.
        assert (row.lanes[:, BOUNDARY] == 0).any()
    assert len(rows(data, replace(config, drop_chord=1.0), 1)[0].ids) == config.context + 1


@pytest.mark.slow
def test_chords_before_the_crop_are_not_left_out(data: Dataset) -> None:
    """A boundary that a CHORD met just before the crop is over, however many of the crop's own are dropped."""
    met = 0
    for row in rows(data, replace(PLAIN, context=16, drop_chord=1.0), 400):
        song, at = place(data, row, chords=False)
        ids = data.song(song)[0]
        steps = times_steps(ids)
        before = slice(0, max(at - 1, 0))  # a CHORD right before the first event may be the crop's own, left out
        if steps[at] in steps[before][ids[before] == v.CHORD]:
            assert row.lanes[PREFIX, BOUNDARY] > 4
            met += 1
    assert met > 5


def test_nothing_is_changed_without_augmentation(data: Dataset) -> None:
    changing = replace(
        PLAIN, transpose=3, drop_chord=1.0, drop_boundaries=1.0, sparse_boundaries=1.0, drop_end=1.0,
        drop_mood=1.0, drop_piece_mood=1.0, drop_mood_lanes=1.0, drop_axis=1.0, drop_meter=1.0, drop_tempo=1.0,
        drop_copy=1.0,
    )  # fmt: skip
    for row, plain in zip(rows(data, changing, augment=False), rows(data, PLAIN), strict=True):
        place(data, row)
        before_music = row.ids == v.START  # and the prefix, which has the same conditions
        before_music[:PREFIX] = before_music[PREFIX]
        assert np.isnan(row.lanes[before_music, METER_LANES]).all()
        assert not np.isnan(row.lanes[~before_music][:, : min(CONTROL_LANES)]).any()
        assert np.isnan(row.lanes[:, CONTROL_LANES]).all()
        assert not np.isnan(row.lanes[:, : METER_LANES.start]).any()
        assert not np.isnan(row.mood).any()
        np.testing.assert_array_equal(row.ids, plain.ids)
        np.testing.assert_array_equal(row.lanes[:, : min(CONTROL_LANES)], plain.lanes[:, : min(CONTROL_LANES)])
        np.testing.assert_array_equal(row.mood, plain.mood)


def test_weights_targets_and_inputs(data: Dataset) -> None:
    context = 32
    drawn = rows(data, replace(PLAIN, context=context, at_end=0.5, near_chord=0.3), 20)
    short = Row(*(getattr(drawn[0], name)[:9] for name in ("ids", "velocities", "lanes")), drawn[0].mood)
    batch = collate([*drawn, short], context, chord_weight=7.0)
    for array in (batch.ids, batch.previous_velocity, batch.velocities, batch.targets, batch.weights):
        assert array.shape == (21, context)
    assert batch.lanes.shape == (21, context, len(LANE_NAMES))
    assert batch.mood.shape == (21, 2)
    for i, row in enumerate([*drawn, short]):
        n = min(len(row.ids), context)
        np.testing.assert_array_equal(batch.ids[i, :n], row.ids[:n])
        assert (batch.ids[i, n:] == v.PAD).all()
        assert np.isnan(batch.lanes[i, n:]).all()
        for t in range(context):
            target = row.ids[t + 1] if t + 1 < len(row.ids) else v.PAD
            counted = t >= PREFIX - 1 and target != v.PAD
            assert batch.weights[i, t] == ((7.0 if target == v.CHORD else 1.0) if counted else 0.0)
            assert batch.targets[i, t] == (target if t >= PREFIX - 1 else v.PAD)
            # An ON's own velocity is predicted from its own position, which is given that of the event before.
            assert batch.velocities[i, t] == (row.velocities[t] if t < len(row.ids) else 0)
            before = row.velocities[t - 1] if 0 < t <= len(row.ids) else 0
            assert batch.previous_velocity[i, t] == before
    assert (batch.weights == 7.0).any()
    assert (batch.targets < v.SIZE).all()
    np.testing.assert_array_equal(batch.velocities > 0, (batch.ids < v.SIZE) & is_on(batch.ids))


def is_on(ids: np.ndarray) -> np.ndarray:
    return np.asarray(v.KIND[np.minimum(ids, v.SIZE - 1)] == v.K_ON)


def test_chords_weigh_ten_times_by_default(data: Dataset) -> None:
    crops = Crops(data, replace(PLAIN, near_chord=1.0), seed=0)
    batch, light = crops.batch(0, 8), crops.batch(0, 8, chord_weight=2.0)
    assert (batch.weights[batch.targets == v.CHORD] == 10).all()
    assert (light.weights[light.targets == v.CHORD] == 2).all()
    assert (batch.targets == v.CHORD).any()


def test_a_song_shorter_than_the_context_is_padded() -> None:
    data = toy_data(1, bars=1)
    batch = Crops(data, replace(PLAIN, context=512, at_start=1.0), seed=0).batch(0, 2)
    n = len(data.song(0)[0]) + PREFIX - 1  # the instrument count is in the prefix
    assert (batch.ids[:, n:] == v.PAD).all()
    assert (batch.weights[:, n - 1 :] == 0).all()
    assert (batch.targets[:, n - 2] == v.END).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"context": 8}, "a context of 8 is too short; give a whole number of at least 16"),
        ({"context": 64.5}, r"a context of 64\.5"),
        ({"at_bar": 1.5}, r"at_bar is 1\.5; a share is between 0 and 1"),
        ({"drop_chord": -0.1}, r"drop_chord is -0\.1"),
        ({"drop_end": float("nan")}, "drop_end is nan"),
        ({"drop_mood": 2}, "drop_mood is 2; a share is between 0 and 1"),
        ({"drop_piece_mood": -1}, "drop_piece_mood is -1"),
        ({"drop_mood_lanes": 1.01}, r"drop_mood_lanes is 1\.01"),
        ({"drop_axis": float("nan")}, "drop_axis is nan"),
        ({"transpose": 13}, "transpose is 13; give 0 to 12 whole semitones"),
        ({"transpose": -1}, "transpose is -1"),
        ({"transpose": 1.5}, r"transpose is 1\.5"),
    ],
)
def test_refuses_crops(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CropConfig(**wrong)


def test_refuses_a_corpus_without_songs() -> None:
    none = np.zeros(1, np.int64)
    nothing = Dataset(np.zeros(0, np.uint16), np.zeros(0, np.uint8), none, np.zeros((0, 2), np.int8), none, {})
    with pytest.raises(CorpusError, match="the corpus holds no songs"):
        Crops(nothing, PLAIN, seed=0)
