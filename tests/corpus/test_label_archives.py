"""Archives that are there already are given moods, and stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.errors import CorpusError, InputError, OutputError
from emsync.training.corpus import label_archives
from emsync.training.corpus.archive import Song, read_archive, write_archive
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.report import Labelled
from emsync.training.mood.curves import labels
from emsync.vocabulary import PIANO
from tests.corpus.files import (
    digests,
    prepared,
    run,
)
from tests.models import toy_archive, toy_song


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two archives without moods, of five songs and of three; parts of two songs."""
    monkeypatch.setattr(label_archives, "SONGS_PER_PART", 2)
    (tmp_path / "bare").mkdir()
    write_archive(tmp_path / "bare" / "train-00.npz", toy_archive(5))
    write_archive(tmp_path / "bare" / "mine.npz", [toy_song(seed, bars=4, qpm=70.0) for seed in range(5, 8)])
    (tmp_path / "bare" / "labels.json").write_text("{}")
    return tmp_path / "bare"


def test_archives_are_given_moods_and_stay_as_they_are(bare: Path, tmp_path: Path) -> None:
    report, archives = prepared(bare, tmp_path / "out")
    assert (report.songs, report.archives) == (8, ("mine.npz", "train-00.npz"))
    for name, archive in archives.items():
        before = read_archive(bare / name)
        assert not before.has_mood
        for key, array in before.arrays.items():
            np.testing.assert_array_equal(archive.arrays[key], array)
        for i, song in enumerate(before):
            np.testing.assert_array_equal(archive.mood(i), labels(song))
    assert report.moods.seconds == 5 * 16 + 3 * 14
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["mine.npz", "report.json", "train-00.npz"]
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (kept["songs"], kept["moods"]["seconds"]) == (8, 122)
    # Once more: what has moods keeps them.
    prepared(tmp_path / "out", tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "out")


@pytest.mark.slow
def test_archives_come_out_alike_with_any_number_of_workers(bare: Path, tmp_path: Path) -> None:
    prepare([bare / "mine.npz", bare / "train-00.npz"], tmp_path / "one", workers=1)
    prepare([bare], tmp_path / "two", workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_labelling_goes_on_where_it_stopped(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen, out = label_archives.label_songs, [], tmp_path / "out"

    def stopping(arrays: Any, first: int, last: int) -> Any:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(first)
        return whole(arrays, first, last)

    monkeypatch.setattr(label_archives, "label_songs", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare([bare], out, workers=1)
    assert [each.name for each in out.iterdir()] == [".work"]
    assert len(list((out / ".work").iterdir())) == 2  # the whole parts of the first archive, nothing half-written
    seen.clear()
    monkeypatch.setattr(label_archives, "label_songs", lambda *given: (seen.append(given[1]), whole(*given))[1])
    prepare([bare], out, workers=1)
    assert len(seen) == 8 - 3
    prepare([bare], tmp_path / "straight", workers=1)
    assert digests(out) == digests(tmp_path / "straight")


def test_a_changed_archive_is_labelled_again(bare: Path, tmp_path: Path) -> None:
    before = label_archives._Plan.of(str(bare / "mine.npz"), 3, tmp_path)
    write_archive(bare / "mine.npz", toy_archive(2))
    after = label_archives._Plan.of(str(bare / "mine.npz"), 2, tmp_path)
    assert not {part.cache for part in before.parts} & {part.cache for part in after.parts}


def test_archives_do_not_mix_with_song_files(bare: Path, folder: Path, tmp_path: Path) -> None:
    for other in (folder / "midi" / "0.mid", folder / "lpd" / "4.npz"):
        with pytest.raises(InputError, match=r"\.npz is an archive of songs and .*[04]\.(mid|npz) is not; give either"):
            prepare([bare, other], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_archives_of_one_name_or_that_overwrite_themselves(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_archive(tmp_path / "other" / "mine.npz", toy_archive(1))
    with pytest.raises(InputError, match=r"mine.npz and .*mine.npz have one name, .*; rename one"):
        prepare([bare, tmp_path / "other"], tmp_path / "out", workers=1)
    with pytest.raises(InputError, match=r"mine.npz lies in the folder to write into already; give -o another folder"):
        prepare([bare / "mine.npz"], bare, workers=1, overwrite=True)
    assert sorted(each.name for each in bare.iterdir()) == ["labels.json", "mine.npz", "train-00.npz"]
    with pytest.raises(OutputError, match=r"mine.npz exists already; give --overwrite"):
        prepare([bare / "mine.npz"], tmp_path / "other", workers=1)
    prepare([bare / "mine.npz"], tmp_path / "other", workers=1, overwrite=True)
    assert len(read_archive(tmp_path / "other" / "mine.npz")) == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"valid_share": 0.2}, r"--valid-share 0.2 is for song files, and .*\.npz is an archive; leave it out"),
        ({"songs_per_archive": 9}, "--songs-per-archive 9 is for song files"),
        ({"min_notes": 1}, "--min-notes 1 is for song files"),
        ({"seed": 3}, "--seed 3 is for song files"),
    ],
)
def test_options_that_mean_nothing_to_archives(
    bare: Path, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare([bare], tmp_path / "out", workers=1, **option)
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_refused_and_leaves_nothing(bare: Path, tmp_path: Path) -> None:
    path = bare / "train-00.npz"
    with np.load(path) as loaded:
        np.savez(path, **{name: loaded[name] for name in loaded.files} | {"pitch": np.zeros(3, np.uint8)})
    with pytest.raises(CorpusError, match=r"train-00.npz: note_offset does not divide notes"):
        prepare([path], tmp_path / "out", workers=1)
    data = bytearray((bare / "mine.npz").read_bytes())
    data[60:90] = bytes(30)
    (bare / "mine.npz").write_bytes(data)
    with pytest.raises(CorpusError, match=r"mine.npz cannot be read as an archive"):
        prepare([bare / "mine.npz"], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_damaged_archives_are_counted_and_passed_over(bare: Path, tmp_path: Path) -> None:
    for name in ("cut.npz", "spoilt.npz"):
        write_archive(bare / name, toy_archive(3))
    names, cut, spoilt, whole = sorted(p.name for p in bare.glob("*.npz")), "cut.npz", "spoilt.npz", [
        "mine.npz", "train-00.npz"
    ]  # fmt: skip
    data = (bare / cut).read_bytes()
    (bare / cut).write_bytes(data[: len(data) // 2])  # no zip any more
    inner = bytearray((bare / spoilt).read_bytes())
    inner[60:90] = bytes(30)  # a zip whose arrays cannot be read
    (bare / spoilt).write_bytes(inner)
    report = prepare([bare / name for name in names], tmp_path / "out", workers=1)
    assert isinstance(report, Labelled)
    assert list(report.archives) == whole
    assert report.refused.count == 2
    assert {Path(path).name for path, _ in report.refused.examples} == {cut, spoilt}
    assert "refused: 2 (such as " in report.summary()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*whole, "report.json"])


def test_a_song_too_long_for_a_mood_is_named(bare: Path, tmp_path: Path) -> None:
    start = np.arange(40) * 60_000
    song = Song(
        *(np.full(40, value) for value in (PIANO, 60)), start, *(np.full(40, value) for value in (24, 84)),
        tempo_step=np.array([0]), tempo_qpm=np.array([20.0]), meter_step=[], meter_num=[], meter_den=[],
    )  # fmt: skip
    write_archive(bare / "mine.npz", [toy_song(), song])
    with pytest.raises(CorpusError, match=r"mine.npz: song 1: music of 292503 s has no mood curve; give at most 86400"):
        prepare([bare / "mine.npz"], tmp_path / "out", workers=1)


def test_command_labels_archives(bare: Path, tmp_path: Path) -> None:
    result = run(bare, "-o", tmp_path / "out", "--workers", "1")
    assert result.exception is None
    assert "8 songs of 2 archives have mood curves\nmoods of 122 seconds:\n  valence " in result.stdout
    assert f"wrote mine.npz, train-00.npz and report.json to {tmp_path / 'out'}" in result.stdout
    assert "labelling: 100%" in result.stderr
    assert "8/8" in result.stderr
