"""The lanes of crops: computed beyond their ends, and left out as often as asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, LANE_NAMES, LANES, MAX_OFFSET_S, MAX_TO_END_S, METER_LANES
from emsync.copying import lanes_of_song
from emsync.errors import InputError
from emsync.tokenizer.events import times_steps
from emsync.training.corpus.archive import pack
from emsync.training.crop_lanes import mask_segments
from emsync.training.crops import PREFIX, CropConfig, Crops, Row, transpose, transpose_copies
from emsync.training.dataset import Dataset
from emsync.training.mood.curves import labels
from tests.crops import BOUNDARY, MOOD, PLAIN, TO_END, place, rows, toy_data
from tests.models import toy_archive, toy_song


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data()


def test_copy_lanes_know_the_song_before_the_crop(data: Dataset) -> None:
    for row in rows(data, PLAIN):
        song, at = place(data, row)
        whole = np.pad(lanes_of_song(data.song(song)[0][1:]), ((1, 0), (0, 0)))  # in front, the instrument count
        n = len(row.ids) - PREFIX
        np.testing.assert_array_equal(row.lanes[PREFIX:, COPY_LANES], whole[at : at + n])


@pytest.mark.parametrize("semitones", [3, -3])
def test_copy_lanes_are_those_of_the_transposed_events(data: Dataset, semitones: int) -> None:
    ids = data.song(0)[0][1:]
    moved = transpose(ids, semitones)
    assert not np.array_equal(moved, ids)
    np.testing.assert_array_equal(transpose_copies(lanes_of_song(ids), semitones), lanes_of_song(moved))


def test_a_follower_beyond_the_range_is_unknown() -> None:
    low, high = v.PITCH_RANGE[v.PIANO]
    on = v.ON_BASE[v.PIANO]
    copies = np.array([[on + low, 5.0], [on + high, 5.0], [v.CHORD, 5.0], [v.PAD, 0.0]], dtype=np.float32)
    nan = np.nan
    np.testing.assert_array_equal(
        transpose_copies(copies, -1), np.array([[nan, nan], [on + high - 1, 5], [v.CHORD, 5], [v.PAD, 0]])
    )
    np.testing.assert_array_equal(
        transpose_copies(copies, 1), np.array([[on + low + 1, 5], [nan, nan], [v.CHORD, 5], [v.PAD, 0]])
    )


def test_copy_lanes_are_of_the_events_that_are_left(data: Dataset) -> None:
    """Where CHORD events are left out of a crop, matches are found among the others, as they were never played."""
    changed = 0
    for row in rows(data, replace(PLAIN, drop_chord=1.0, at_start=1.0)):
        kept = row.ids[PREFIX:]
        assert kept[0] == v.START
        assert v.CHORD not in kept
        np.testing.assert_array_equal(row.lanes[PREFIX:, COPY_LANES], lanes_of_song(kept))
        changed += 1
    assert changed


def test_copy_lanes_are_left_out_at_random(data: Dataset) -> None:
    drawn = rows(data, replace(PLAIN, drop_copy=0.5), 200)
    silent = [bool(np.isnan(row.lanes[:, COPY_LANES]).all()) for row in drawn]
    assert 0.3 < np.mean(silent) < 0.7
    shown = [row for row, left_out in zip(drawn, silent, strict=True) if not left_out]
    assert not any(np.isnan(row.lanes[:, COPY_LANES]).any() for row in shown)


def test_lanes_look_beyond_the_crop(data: Dataset) -> None:
    """Offsets inside a crop are those of the whole song, computed plainly."""
    for row in rows(data, PLAIN, 40):
        song, at = place(data, row)
        ids = data.song(song)[0]
        steps = np.cumsum(v.SHIFT_STEPS[ids])
        boundaries_s = [step * v.STEP_S for step in steps[ids == v.CHORD]]
        end_s = steps[-1] * v.STEP_S
        ahead = []
        for i, event in enumerate(ids):
            now_s = steps[i] * v.STEP_S
            if event == v.CHORD:
                boundaries_s = [b for b in boundaries_s if abs(now_s - b) >= 1]
            ahead.append(min([b - now_s for b in boundaries_s if b >= now_s] + [MAX_OFFSET_S]))
        inside = slice(at, at + len(row.ids) - PREFIX)
        np.testing.assert_allclose(row.lanes[PREFIX:, BOUNDARY], ahead[inside], atol=1e-5)
        to_end = np.minimum(end_s - steps[inside] * v.STEP_S, MAX_TO_END_S)
        np.testing.assert_allclose(row.lanes[PREFIX:, TO_END], to_end, atol=1e-5)
        # The prefix has the conditions of the first event.
        np.testing.assert_array_equal(row.lanes[:PREFIX], np.repeat(row.lanes[PREFIX : PREFIX + 1], PREFIX, axis=0))


def test_boundaries_after_the_crop_s_end_are_seen() -> None:
    """A crop that ends shortly before a CHORD is conditioned on it."""
    data = toy_data(1)
    ids = data.song(0)[0]
    steps = times_steps(ids)
    chord_steps = steps[ids == v.CHORD]
    seen = 0
    for row in rows(data, replace(PLAIN, context=16), 200):  # half a bar
        if v.CHORD in row.ids:
            continue
        _, at = place(data, row)
        last_step = steps[at + len(row.ids) - PREFIX - 1]
        coming_s = (chord_steps[chord_steps >= last_step] - last_step) * v.STEP_S
        if len(coming_s):
            assert row.lanes[-1, BOUNDARY] == pytest.approx(coming_s[0], abs=1e-5)
            seen += 1
    assert seen > 50


def test_conditions_are_left_out_as_often_as_asked(data: Dataset) -> None:
    config = replace(PLAIN, drop_boundaries=0.3, drop_end=0.6)
    drawn = rows(data, config, 400)
    for lane, share in ((BOUNDARY, 0.3), (TO_END, 0.6)):
        absent = [np.isnan(row.lanes[:, lane]).all() for row in drawn]
        assert [bool(np.isnan(row.lanes[:, lane]).any()) for row in drawn] == absent
        assert share - 0.1 < np.mean(absent) < share + 0.1
    assert not any(np.isnan(row.mood).any() or np.isnan(row.lanes[:, MOOD]).any() for row in drawn)


def test_the_meter_is_given(data: Dataset) -> None:
    """In a toy song something begins on every quarter note, and a bar is 96 ticks and 2 s long."""
    seen = set()
    for row in rows(data, PLAIN, 40):
        song, at = place(data, row)
        number = np.cumsum(v.KIND[data.song(song)[0]] == v.K_BAR)[at : at + len(row.ids) - PREFIX] - 1
        position, bar, sixteenth = row.lanes[PREFIX:, METER_LANES].T
        in_bar = number >= 0
        assert (bar[in_bar] == number[in_bar] % 8).all()
        assert (sixteenth[in_bar] == 16).all()  # 117.2 quarter notes a minute, snapped
        begins = in_bar & (v.KIND[row.ids[PREFIX:]] == v.K_ON)
        assert (position[begins] % 24 == 0).all()
        seen |= set(position[begins])
        assert np.isnan(row.lanes[PREFIX:, METER_LANES][~in_bar]).all()
        np.testing.assert_array_equal(row.lanes[:PREFIX], np.repeat(row.lanes[PREFIX : PREFIX + 1], PREFIX, axis=0))
    assert seen == {0, 24, 48, 72}


def test_the_meter_and_the_first_bar_s_tempo_are_left_out_as_often_as_asked(data: Dataset) -> None:
    config = replace(PLAIN, drop_meter=0.3, drop_tempo=0.6, at_start=1.0)
    drawn = rows(data, config, 400)
    silent = np.array([np.isnan(row.lanes[:, METER_LANES]).all() for row in drawn])
    assert 0.2 < silent.mean() < 0.4
    shown = [row for row, without in zip(drawn, silent, strict=True) if not without]
    unknown_tempo = [bool(np.isnan(row.lanes[PREFIX + 2, METER_LANES.stop - 1])) for row in shown]
    assert 0.5 < np.mean(unknown_tempo) < 0.7
    assert all(row.lanes[PREFIX + 2, METER_LANES.stop - 2] == 0 for row in shown)  # which bar it is needs no tempo


def without_mood(drawn: list[Row]) -> np.ndarray:
    """(rows, 4): whether the piece's valence and arousal, and valence and arousal at the cursor, are left out."""
    for row in drawn:  # a lane is given throughout or not at all
        assert (np.isnan(row.lanes[:, MOOD]).any(axis=0) == np.isnan(row.lanes[:, MOOD]).all(axis=0)).all()
    return np.array([[*np.isnan(row.mood), *np.isnan(row.lanes[0, MOOD])] for row in drawn])


@pytest.mark.slow
def test_the_end_is_given_late_as_often_as_configured(data: Dataset) -> None:
    """Further away than the model's range, it is given as far as possible; otherwise it is given exactly."""
    config = replace(PLAIN, context=1024, at_start=1.0, late_end=0.5)
    late, expected = [], []
    for on_time, row in zip(rows(data, replace(config, late_end=0.0), 200), rows(data, config, 200), strict=True):
        np.testing.assert_array_equal(on_time.ids, row.ids)
        true, shown = on_time.lanes[:, TO_END], row.lanes[:, TO_END]
        hidden = shown != true
        assert (shown[hidden] == MAX_TO_END_S).all()
        assert not hidden.any() or true[hidden].min() >= true[~hidden].max(initial=0.0)
        late.append(bool(hidden.any()))
        expected.append(0.5 * min(float(true[true < MAX_TO_END_S].max(initial=0.0)), MAX_TO_END_S) / MAX_TO_END_S)
    assert np.mean(expected) > 0.1
    assert np.mean(late) == pytest.approx(np.mean(expected), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "together"),
    [
        ("drop_mood", [(0, 1, 2, 3)]),
        ("drop_piece_mood", [(0, 1)]),
        ("drop_mood_lanes", [(2, 3)]),
        ("drop_axis", [(0, 2), (1, 3)]),
    ],
)
def test_moods_are_left_out_as_often_as_asked(data: Dataset, share: str, together: list[tuple[int, ...]]) -> None:
    absent = without_mood(rows(data, replace(PLAIN, **{share: 0.3}), 250))
    for columns in together:
        here = absent[:, columns]
        assert (here.any(axis=1) == here.all(axis=1)).all()
        assert 0.22 < here.all(axis=1).mean() < 0.38
    others = [k for k in range(4) if not any(k in columns for columns in together)]
    assert not absent[:, others].any()
    if share == "drop_axis":  # each axis for itself
        assert 0.04 < absent.all(axis=1).mean() < 0.14


@pytest.mark.slow
def test_any_part_of_the_mood_may_be_given_without_the_others(data: Dataset) -> None:
    config = replace(PLAIN, drop_mood=0.2, drop_piece_mood=0.5, drop_mood_lanes=0.5, drop_axis=0.2)
    absent = without_mood(rows(data, config, 500))
    piece, lanes = ~absent[:, :2], ~absent[:, 2:]
    kinds = {(bool(p.any()), bool(q.any())) for p, q in zip(piece, lanes, strict=True)}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    np.testing.assert_allclose(piece.mean(axis=0), 0.8 * 0.8 * 0.5, atol=0.06)
    np.testing.assert_allclose(lanes.mean(axis=0), 0.8 * 0.8 * 0.5, atol=0.06)
    assert 0.2 + 0.8 * (0.04 + 0.96 * 0.25) == pytest.approx(absent.all(axis=1).mean(), abs=0.06)


def test_moods_are_those_of_the_song_at_the_cursor(data: Dataset) -> None:
    """Every song gets a ramp of valence from -1 to 1 and an arousal of its own."""
    seconds = 10
    ramp = np.rint(np.linspace(-127, 127, seconds))
    curves = [np.stack([ramp, np.full(seconds, 20 * i)], axis=1) for i in range(len(data))]
    shown = replace(
        data, mood=np.concatenate(curves).astype(np.int8), mood_offsets=np.arange(0, 10 * len(data) + 1, 10)
    )
    for row in rows(shown, replace(PLAIN, transpose=0), 40):
        song, at = place(data, row)
        steps = times_steps(data.song(song)[0])
        place_in_song = steps[at : at + len(row.ids) - PREFIX] / steps[-1]  # 0 to 1
        valence = np.clip((place_in_song - 0.05) / 0.9, 0, 1) * 2 - 1
        np.testing.assert_allclose(row.lanes[PREFIX:, MOOD[0]], valence, atol=0.01)
        np.testing.assert_allclose(row.lanes[PREFIX:, MOOD[1]], 20 * song / 127, atol=1e-6)
        np.testing.assert_allclose(row.mood, [0, 20 * song / 127], atol=0.01)


def test_moods_leave_out_the_silence_that_events_leave_out() -> None:
    song = toy_song(1, bars=12)
    late = replace(song, start_step=song.start_step + 4 * 96)  # four bars of two seconds
    at_once, waited = (Dataset.of(dict(pack([one]).arrays)) for one in (song, late))
    np.testing.assert_array_equal(at_once.ids, waited.ids)
    assert at_once.mood_offsets.tolist() == waited.mood_offsets.tolist() == [0, 24]
    np.testing.assert_array_equal(waited.mood, labels(late)[8:])


def test_the_piece_s_mood_is_the_mean_of_its_curve(data: Dataset) -> None:
    means = []
    for row in rows(data, PLAIN, 20):
        song, _ = place(data, row)
        kept = data.mood[data.mood_offsets[song] : data.mood_offsets[song + 1]]
        np.testing.assert_allclose(row.mood, kept.mean(axis=0) / 127, atol=1e-5)
        means.append(tuple(row.mood))
    assert len(set(means)) > 2


def test_a_song_without_a_curve_has_no_mood(data: Dataset) -> None:
    silent = replace(data, mood=data.mood[:0], mood_offsets=np.zeros_like(data.mood_offsets))
    assert without_mood(rows(silent, PLAIN, 10)).all()


def test_sparse_boundaries_are_four_seconds_apart() -> None:
    """Chords every two seconds: given sparsely, some are left out, and the others are four seconds apart."""
    song = toy_song(bars=16, qpm=240.0)  # a bar a second, a chord every two
    data = Dataset.of(dict(pack([song]).arrays))
    config = replace(PLAIN, at_start=1.0, context=512)
    lane = rows(data, config, 1)[0].lanes[:, BOUNDARY]
    assert lane[lane < MAX_OFFSET_S].max() < 2.1
    for row in rows(data, replace(config, sparse_boundaries=1.0), 20):
        lane, times_s = row.lanes[PREFIX:, BOUNDARY], times_steps(row.ids[PREFIX:]) * v.STEP_S
        shown = np.unique(np.round((times_s + lane)[lane < MAX_OFFSET_S], 3))
        assert len(shown) >= 1
        assert (np.diff(shown) >= 4 - 1e-3).all()


@pytest.mark.slow
def test_a_lane_of_the_songs_own_events_is_given_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new lane would be: here in the place of arousal, which the toy songs are not asked for."""
    place = LANE_NAMES.index("arousal")
    lane = replace(LANES[place], at=None, of_song=lambda song: (song.ids % 7).astype(np.float64) / 7)
    monkeypatch.setattr("emsync.training.crop_lanes.LANES", (*LANES[:place], lane, *LANES[place + 1 :]))
    data = Dataset.of(dict(toy_archive(2).arrays))
    given = []
    for share in (0.0, 0.5, 1.0):
        config = CropConfig(
            context=64,
            transpose=0,
            drop_chord=0.0,
            drop_mood=1.0,
            drop_lane=share,
            mask_lane_inside=0,
            mask_lane_outside=0,
        )
        rows = [Crops(data, config, seed=seed).crop(np.random.default_rng(seed)) for seed in range(40)]
        known = [row for row in rows if not np.isnan(row.lanes[PREFIX:, place]).any()]
        for row in known:
            np.testing.assert_allclose(row.lanes[PREFIX:, place], (row.ids[PREFIX:] % 7) / 7, atol=1e-6)
        given.append(len(known))
    assert given[0] == 40
    assert 5 < given[1] < 35
    assert given[2] == 0


def test_segments_of_level_lanes_are_masked_as_often_as_asked() -> None:
    """Equations 11 and 12 of controllable-v2m: inside with probability p, outside with q, else not at all."""
    rng = np.random.default_rng(0)
    valence = LANE_NAMES.index("valence")
    kinds = {"inside": 0, "outside": 0, "whole": 0}
    for _ in range(600):
        lanes = np.zeros((40, len(LANES)), dtype=np.float32)
        mask_segments(lanes, rng, [[valence]], 0.2, 0.3)
        masked = np.isnan(lanes[:, valence])
        edges = np.flatnonzero(np.diff(masked.astype(int)))
        assert len(edges) <= 2  # one segment
        assert not np.isnan(lanes[:, [BOUNDARY, TO_END]]).any()
        assert not np.isnan(lanes[:, METER_LANES]).any()
        if not masked.any():
            kinds["whole"] += 1
        elif len(edges) == 2:
            kinds["outside" if masked[0] else "inside"] += 1
    assert kinds["whole"] == pytest.approx(300, abs=50)
    assert kinds["outside"] / kinds["inside"] == pytest.approx(1.5, abs=0.5)


def test_masks_are_left_out_unless_asked_for(data: Dataset) -> None:
    """Crops of runs that were begun before are what they were."""
    before, after = (rows(data, replace(CropConfig(context=64), mask_inside=share), 8) for share in (0.0, 1.0))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        changed = ~((one.lanes == other.lanes) | (np.isnan(one.lanes) & np.isnan(other.lanes)))
        assert set(np.flatnonzero(changed.any(axis=0))) <= {LANE_NAMES.index("valence"), LANE_NAMES.index("arousal")}
    with pytest.raises(InputError, match=r"mask_inside and mask_outside are 0.6 and 0.6; .* at most 1 in all"):
        CropConfig(mask_inside=0.6, mask_outside=0.6)
