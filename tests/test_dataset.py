"""Datasets: tokenized once, the same from disk and from memory; and what the crops drawn from them hold."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, LANE_NAMES, LANES, MAX_OFFSET_S, MAX_TO_END_S, METER_LANES
from emsync.copying import lanes_of_song
from emsync.errors import CorpusError, InputError, OutputError
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT
from emsync.tokenizer.events import times_steps
from emsync.training import dataset
from emsync.training.corpus.archive import Archive, pack, read_archive, write_archive
from emsync.training.crops import PREFIX, CropConfig, Crops, Row, collate, transpose, transpose_copies
from emsync.training.dataset import Dataset, find_archives
from emsync.training.mood.curves import labels, mood_arrays
from tests.models import archive_file, toy_archive, toy_song

BOUNDARY, TO_END = LANE_NAMES.index("boundary"), LANE_NAMES.index("time_to_end")
MOOD = [LANE_NAMES.index("valence"), LANE_NAMES.index("arousal")]
#: Crops that begin anywhere, changed by nothing.
PLAIN = CropConfig(
    context=64, at_bar=0, at_start=0, at_end=0, near_chord=0, transpose=0, drop_chord=0,
    drop_boundaries=0, sparse_boundaries=0, drop_end=0, late_end=0, drop_mood=0, drop_piece_mood=0,
    drop_mood_lanes=0, drop_axis=0, drop_metre=0, drop_tempo=0, drop_copy=0,
)  # fmt: skip


def toy_data(n_songs: int = 6, **options: Any) -> Dataset:
    return Dataset.of(dict(toy_archive(n_songs, **options).arrays))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data()


def rows(data: Dataset, config: CropConfig, n: int = 60, *, seed: int = 0, augment: bool = True) -> list[Row]:
    crops = Crops(data, config, seed=seed, augment=augment)
    return [crops.crop(np.random.default_rng([seed, i])) for i in range(n)]


def place(data: Dataset, row: Row, *, chords: bool = True) -> tuple[int, int]:
    """The song a row comes from and where in it its events begin: no two places of toy songs are the same.

    The row is not transposed; chords: whether its CHORDs are still there.
    """
    events, previous_velocity = row.ids[PREFIX:], row.velocities[PREFIX:]
    n = len(events)
    for song in range(len(data)):
        ids, velocities = data.song(song)
        index = np.flatnonzero((ids != v.CHORD) | chords)
        for i in np.flatnonzero(ids[index][: len(index) - n + 1] == events[0]):
            run = index[i : i + n]
            if np.array_equal(ids[run], events) and np.array_equal(velocities[run], previous_velocity):
                return song, int(run[0])
    raise AssertionError("a crop holds events that no song has in this order")


# On disk


def same(a: Dataset, b: Dataset) -> bool:
    names = ("ids", "velocities", "offsets", "mood", "mood_offsets")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("workers", [1, 2])
def test_built_on_disk_and_in_memory_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(dataset, "SONGS_PER_CHUNK", 2)
    archive = archive_file(tmp_path / "a.npz", 5)
    seen: list[tuple[int, int]] = []
    built = dataset.build([archive, archive], tmp_path / "data", workers=workers, progress=lambda *x: seen.append(x))
    once = Dataset.of(read_archive(archive).arrays)
    assert len(built) == 10
    assert seen == [(2, 5), (4, 5), (5, 5)] * 2
    for song in range(10):
        for got, expected in zip(built.song(song), once.song(song % 5), strict=True):
            np.testing.assert_array_equal(got, expected)
        for got, expected in zip(built.song_mood(song, 9.0), once.song_mood(song % 5, 9.0), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert same(Dataset.open(tmp_path / "data"), built)
    assert built.about["songs"] == 10
    assert built.about["events"] == len(built.ids) == 2 * len(once.ids)
    assert built.about["notes"] == 2 * len(toy_archive(5).arrays["family"])
    assert built.about["sources"] == ["a.npz", "a.npz"]
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "data"]


def test_moods_are_the_archive_s_or_else_read_from_the_notes(tmp_path: Path) -> None:
    plain = toy_archive(3)
    read = Dataset.of(dict(plain.arrays))
    for i, song in enumerate(plain):
        np.testing.assert_array_equal(read.mood[read.mood_offsets[i] : read.mood_offsets[i + 1]], labels(song))
    told = [np.full((n, 2), (n, -n), dtype=np.int8) for n in (3, 1, 2)]
    write_archive(tmp_path / "a.npz", Archive({**plain.arrays, **mood_arrays(told)}))
    built = dataset.build([tmp_path / "a.npz"], tmp_path / "data", workers=1)
    assert built.mood.tolist() == [[3, -3]] * 3 + [[1, -1]] + [[2, -2]] * 2
    assert built.mood_offsets.tolist() == [0, 3, 4, 6]


def test_a_curve_is_stretched_to_the_song_s_length(data: Dataset) -> None:
    kept = np.array([[-128, 0], [-127, 127], [0, 64], [127, 1]], dtype=np.int8)
    times_s, levels = replace(data, mood=kept, mood_offsets=np.array([0, 4])).song_mood(0, 8.0)
    assert times_s.tolist() == [1.0, 3.0, 5.0, 7.0]
    np.testing.assert_allclose(levels, [[-1, 0], [-1, 1], [0, 64 / 127], [1, 1 / 127]])


def test_building_again_replaces_a_dataset_and_nothing_else(tmp_path: Path) -> None:
    one, two = archive_file(tmp_path / "1.npz", 1), archive_file(tmp_path / "2.npz", 2)
    dataset.build([one], tmp_path / "data", workers=1)
    assert len(dataset.build([two], tmp_path / "data", workers=1)) == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "summer.jpg").write_bytes(b"sun")
    with pytest.raises(OutputError, match="photos exists and is not a tokenized corpus; move it away"):
        dataset.build([one], tmp_path / "photos", workers=1)
    assert os.listdir(tmp_path / "photos") == ["summer.jpg"]


def test_tempi_are_snapped_unless_told_otherwise(tmp_path: Path) -> None:
    archive = pack([toy_song(qpm=121.0)])
    snapped, exact = (Dataset.of(dict(archive.arrays), snap_tempo=snap) for snap in (True, False))
    # 121 a minute becomes 1875 / 15 = 125: a quarter note is 60 steps of 8 ms.
    last = [int(times_steps(d.song(0)[0])[-1]) for d in (snapped, exact)]
    assert last == [31 * 60 + 60, round(32 * 60 / 121 / v.STEP_S)]
    write_archive(tmp_path / "a.npz", archive)
    assert same(dataset.build([tmp_path / "a.npz"], tmp_path / "data", snap_tempo=False, workers=1), exact)


def as_npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def toy_arrays() -> dict[str, Any]:
    return dict(toy_archive(2).arrays)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: as_npz(toy_arrays())[:-400], "cannot be read as an archive .*cut off"),
        (lambda: b"", "cannot be read as an archive"),
        (lambda: b"MThd and so on", "cannot be read as an archive"),
        (lambda: as_npz({"pianoroll": np.zeros(3)}), "lacks family, pitch, "),
        (
            lambda: as_npz({k: a for k, a in toy_arrays().items() if k != "meter_den"}),
            "lacks meter_den; give an archive",
        ),
        (
            lambda: as_npz(toy_arrays() | {"pitch": np.zeros(3, np.uint8)}),
            "note_offset does not divide notes of lengths",
        ),
        (lambda: as_npz(toy_arrays() | {"note_offset": np.zeros(0, int)}), "-1 songs but 2 entries of song_id"),
        (lambda: as_npz(dict(pack([]).arrays)), "holds no songs; prepare a larger"),
    ],
)
def test_what_is_no_archive_is_refused_and_leaves_nothing(tmp_path: Path, content: Any, message: str) -> None:
    good = archive_file(tmp_path / "good.npz", 1)
    (tmp_path / "bad.npz").write_bytes(content())
    before = dataset.build([good], tmp_path / "data", workers=1)
    with pytest.raises(CorpusError, match=message):
        dataset.build([tmp_path / "bad.npz"], tmp_path / "data", workers=1)
    with pytest.raises(CorpusError, match=message):
        dataset.build([tmp_path / "bad.npz"], tmp_path / "new" / "data", workers=1)
    assert same(Dataset.open(tmp_path / "data"), before)
    assert not (tmp_path / "new" / "data").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_an_archive_without_songs_is_refused_in_memory_too() -> None:
    with pytest.raises(CorpusError, match="holds no songs"):
        Dataset.of(dict(pack([]).arrays))


def test_building_needs_archives_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="there is no archive to tokenize; give at least one"):
        dataset.build([], tmp_path / "data")
    with pytest.raises(CorpusError, match=r"gone\.npz is not a file"):
        dataset.build([tmp_path / "gone.npz"], tmp_path / "data", workers=1)
    archive = archive_file(tmp_path / "a.npz", 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written .*choose another folder"):
        dataset.build([archive], tmp_path / "file" / "data", workers=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match=r"No space left on device.*free some space"):
        dataset.build([archive], tmp_path / "data", workers=1)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "file"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda d: cut(d / "ids.bin"), r"is cut off: \d+ events of \d+"),
        (lambda d: cut(d / "velocities.bin"), "is cut off"),
        (lambda d: cut(d / "dataset.json"), "is not a tokenized corpus"),
        (lambda d: (d / "offsets.npy").unlink(), "is not a tokenized corpus"),
        (lambda d: (d / "ids.bin").write_bytes(b""), "is not a tokenized corpus"),
        (lambda d: np.save(d / "offsets.npy", np.zeros(0, np.int64)), "no list of songs"),
        (lambda d: (d / "dataset.json").write_text("[]"), "was tokenized with vocabulary None"),
        (lambda d: (d / "mood.npy").unlink(), r"is not a tokenized corpus .*mood\.npy.*; tokenize the archives again"),
        (lambda d: (d / "mood_offsets.npy").unlink(), "is not a tokenized corpus"),
        (lambda d: np.save(d / "mood.npy", np.zeros((3, 2), np.int8)), "has no mood curve for each of its songs"),
        (lambda d: np.save(d / "mood_offsets.npy", np.array([0])), "has no mood curve for each of its songs; tokenize"),
        (lambda d: rewrite(d / "dataset.json", vocabulary="old"), f"vocabulary old, this is {v.HASH}; tokenize"),
    ],
)
def test_a_broken_dataset_is_refused(tmp_path: Path, break_it: Any, message: str) -> None:
    dataset.build([archive_file(tmp_path / "a.npz", 1)], tmp_path / "data", workers=1)
    break_it(tmp_path / "data")
    with pytest.raises(CorpusError, match=message):
        Dataset.open(tmp_path / "data")


def test_archives_are_found_in_folders(tmp_path: Path) -> None:
    for name in ("train-01.npz", "train-00.npz", "valid.npz", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "own").mkdir()
    for name in ("mine.npz", "valid.npz"):
        (tmp_path / "own" / name).touch()
    names = [path.name for path in find_archives([tmp_path, tmp_path / "own", tmp_path / "valid.npz"])]
    assert names == ["train-00.npz", "train-01.npz", "mine.npz", "valid.npz"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"empty has no \.npz archive; make some with emsync prepare"):
        find_archives([tmp_path / "empty"])
    with pytest.raises(CorpusError, match="gone does not exist"):
        find_archives([tmp_path / "gone"])


# Transposition


def on(family: int, *pitches: int) -> list[int]:
    return [int(v.ON_BASE[family]) + pitch for pitch in pitches]


def off(family: int, *pitches: int) -> list[int]:
    return [int(v.OFF_BASE[family]) + pitch for pitch in pitches]


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


# Crops


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
        drop_mood=1.0, drop_piece_mood=1.0, drop_mood_lanes=1.0, drop_axis=1.0, drop_metre=1.0, drop_tempo=1.0,
        drop_copy=1.0,
    )  # fmt: skip
    for row, plain in zip(rows(data, changing, augment=False), rows(data, PLAIN), strict=True):
        place(data, row)
        before_music = row.ids == v.START  # and the prefix, which hears what it hears
        before_music[:PREFIX] = before_music[PREFIX]
        assert np.isnan(row.lanes[before_music, METER_LANES]).all()
        assert not np.isnan(row.lanes[~before_music]).any()
        assert not np.isnan(row.lanes[:, : METER_LANES.start]).any()
        assert not np.isnan(row.mood).any()
        np.testing.assert_array_equal(row.ids, plain.ids)
        np.testing.assert_array_equal(row.lanes, plain.lanes)
        np.testing.assert_array_equal(row.mood, plain.mood)


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
    told = [row for row, left_out in zip(drawn, silent, strict=True) if not left_out]
    assert not any(np.isnan(row.lanes[:, COPY_LANES]).any() for row in told)


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
        # The prefix hears what the first event hears.
        np.testing.assert_array_equal(row.lanes[:PREFIX], np.repeat(row.lanes[PREFIX : PREFIX + 1], PREFIX, axis=0))


def test_boundaries_after_the_crop_s_end_are_seen() -> None:
    """A crop that ends shortly before a CHORD hears it come."""
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


def test_the_meter_is_told(data: Dataset) -> None:
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
    config = replace(PLAIN, drop_metre=0.3, drop_tempo=0.6, at_start=1.0)
    drawn = rows(data, config, 400)
    silent = np.array([np.isnan(row.lanes[:, METER_LANES]).all() for row in drawn])
    assert 0.2 < silent.mean() < 0.4
    told = [row for row, without in zip(drawn, silent, strict=True) if not without]
    untold_tempo = [bool(np.isnan(row.lanes[PREFIX + 2, METER_LANES.stop - 1])) for row in told]
    assert 0.5 < np.mean(untold_tempo) < 0.7
    assert all(row.lanes[PREFIX + 2, METER_LANES.stop - 2] == 0 for row in told)  # which bar it is needs no tempo


def untold(drawn: list[Row]) -> np.ndarray:
    """(rows, 4): whether the piece's valence and arousal, and valence and arousal at the cursor, are left out."""
    for row in drawn:  # a lane is told throughout or not at all
        assert (np.isnan(row.lanes[:, MOOD]).any(axis=0) == np.isnan(row.lanes[:, MOOD]).all(axis=0)).all()
    return np.array([[*np.isnan(row.mood), *np.isnan(row.lanes[0, MOOD])] for row in drawn])


def test_the_end_is_told_late_as_often_as_asked(data: Dataset) -> None:
    """Further off than the model reads, it is told as if it were as far as can be; what is told of it is true."""
    config = replace(PLAIN, context=1024, at_start=1.0, late_end=0.5)
    late, expected = [], []
    for on_time, row in zip(rows(data, replace(config, late_end=0.0), 400), rows(data, config, 400), strict=True):
        np.testing.assert_array_equal(on_time.ids, row.ids)
        true, told = on_time.lanes[:, TO_END], row.lanes[:, TO_END]
        hidden = told != true
        assert (told[hidden] == MAX_TO_END_S).all()
        assert not hidden.any() or true[hidden].min() >= true[~hidden].max(initial=0.0)
        late.append(bool(hidden.any()))
        expected.append(0.5 * min(float(true[true < MAX_TO_END_S].max(initial=0.0)), MAX_TO_END_S) / MAX_TO_END_S)
    assert np.mean(expected) > 0.1
    assert np.mean(late) == pytest.approx(np.mean(expected), abs=0.08)


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
    absent = untold(rows(data, replace(PLAIN, **{share: 0.3}), 500))
    for columns in together:
        here = absent[:, columns]
        assert (here.any(axis=1) == here.all(axis=1)).all()
        assert 0.23 < here.all(axis=1).mean() < 0.37
    others = [k for k in range(4) if not any(k in columns for columns in together)]
    assert not absent[:, others].any()
    if share == "drop_axis":  # each axis for itself
        assert 0.04 < absent.all(axis=1).mean() < 0.14


def test_any_part_of_the_mood_may_be_told_without_the_others(data: Dataset) -> None:
    config = replace(PLAIN, drop_mood=0.2, drop_piece_mood=0.5, drop_mood_lanes=0.5, drop_axis=0.2)
    absent = untold(rows(data, config, 1000))
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
    told = replace(data, mood=np.concatenate(curves).astype(np.int8), mood_offsets=np.arange(0, 10 * len(data) + 1, 10))
    for row in rows(told, replace(PLAIN, transpose=0), 40):
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


def test_a_song_without_a_curve_is_told_no_mood(data: Dataset) -> None:
    silent = replace(data, mood=data.mood[:0], mood_offsets=np.zeros_like(data.mood_offsets))
    assert untold(rows(silent, PLAIN, 10)).all()


def test_sparse_boundaries_are_four_seconds_apart() -> None:
    """Chords every two seconds: told sparsely, some are not told, and what is told comes four seconds apart."""
    song = toy_song(bars=16, qpm=240.0)  # a bar a second, a chord every two
    data = Dataset.of(dict(pack([song]).arrays))
    config = replace(PLAIN, at_start=1.0, context=512)
    lane = rows(data, config, 1)[0].lanes[:, BOUNDARY]
    assert lane[lane < MAX_OFFSET_S].max() < 2.1
    for row in rows(data, replace(config, sparse_boundaries=1.0), 20):
        lane, times_s = row.lanes[PREFIX:, BOUNDARY], times_steps(row.ids[PREFIX:]) * v.STEP_S
        told = np.unique(np.round((times_s + lane)[lane < MAX_OFFSET_S], 3))
        assert len(told) >= 1
        assert (np.diff(told) >= 4 - 1e-3).all()


# Batches


def test_weights_targets_and_what_is_heard(data: Dataset) -> None:
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
            # An ON's own velocity is predicted from its own position, which is told that of the event before.
            assert batch.velocities[i, t] == (row.velocities[t] if t < len(row.ids) else 0)
            before = row.velocities[t - 1] if 0 < t <= len(row.ids) else 0
            assert batch.previous_velocity[i, t] == before
    assert (batch.weights == 7.0).any()
    assert (batch.targets < v.SIZE).all()
    np.testing.assert_array_equal(batch.velocities > 0, (batch.ids < v.SIZE) & is_on(batch.ids))


def is_on(ids: np.ndarray) -> np.ndarray:
    return np.asarray(v.KIND[np.minimum(ids, v.SIZE - 1)] == v.K_ON)


def test_chords_weigh_ten_times_unless_told_otherwise(data: Dataset) -> None:
    crops = Crops(data, replace(PLAIN, near_chord=1.0), seed=0)
    batch, light = crops.batch(0, 8), crops.batch(0, 8, chord_weight=2.0)
    assert (batch.weights[batch.targets == v.CHORD] == 10).all()
    assert (light.weights[light.targets == v.CHORD] == 2).all()
    assert (batch.targets == v.CHORD).any()


def test_a_song_shorter_than_the_context_is_padded() -> None:
    data = toy_data(1, bars=1)
    batch = Crops(data, replace(PLAIN, context=512, at_start=1.0), seed=0).batch(0, 2)
    n = len(data.song(0)[0]) + PREFIX - 1  # the instrument count stands in the prefix
    assert (batch.ids[:, n:] == v.PAD).all()
    assert (batch.weights[:, n - 1 :] == 0).all()
    assert (batch.targets[:, n - 2] == v.END).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"context": 8}, "a context of 8 is too short; give a whole number of at least 16"),
        ({"context": 64.5}, r"a context of 64\.5"),
        ({"at_bar": 1.5}, r"at_bar is 1\.5; a share lies between 0 and 1"),
        ({"drop_chord": -0.1}, r"drop_chord is -0\.1"),
        ({"drop_end": float("nan")}, "drop_end is nan"),
        ({"drop_mood": 2}, "drop_mood is 2; a share lies between 0 and 1"),
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


def test_a_lane_of_the_songs_own_events_is_given_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new lane would be: here in the place of arousal, which the toy songs are not asked for."""
    place = LANE_NAMES.index("arousal")
    lane = replace(LANES[place], at=None, of_song=lambda ids, velocities, steps: (ids % 7).astype(np.float64) / 7)
    monkeypatch.setattr("emsync.training.crops.LANES", (*LANES[:place], lane, *LANES[place + 1 :]))
    data = Dataset.of(dict(toy_archive(2).arrays))
    given = []
    for share in (0.0, 0.5, 1.0):
        config = CropConfig(context=64, transpose=0, drop_chord=0.0, drop_mood=1.0, drop_lane=share)
        rows = [Crops(data, config, seed=seed).crop(np.random.default_rng(seed)) for seed in range(40)]
        known = [row for row in rows if not np.isnan(row.lanes[PREFIX:, place]).any()]
        for row in known:
            np.testing.assert_allclose(row.lanes[PREFIX:, place], (row.ids[PREFIX:] % 7) / 7, atol=1e-6)
        given.append(len(known))
    assert given[0] == 40
    assert 5 < given[1] < 35
    assert given[2] == 0
