"""Datasets: tokenized once, the same from disk and from memory."""

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
from emsync.errors import CorpusError, OutputError
from emsync.tokenizer.events import times_steps
from emsync.training import dataset
from emsync.training.corpus.archive import Archive, pack, read_archive, write_archive
from emsync.training.dataset import Dataset, find_archives
from emsync.training.mood.curves import labels, mood_arrays
from tests.crops import toy_data
from tests.models import archive_file, toy_archive, toy_song


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data()


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
    song_curves = [np.full((n, 2), (n, -n), dtype=np.int8) for n in (3, 1, 2)]
    write_archive(tmp_path / "a.npz", Archive({**plain.arrays, **mood_arrays(song_curves)}))
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


def test_tempi_are_snapped_by_default(tmp_path: Path) -> None:
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
