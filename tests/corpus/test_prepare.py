"""Whole corpora: what is kept, how it is split, bad input, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import CorpusError, InputError
from emsync.music_mood import features as mood_features
from emsync.training.corpus import chunks
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.song_files import find
from emsync.training.corpus.songs import (
    TOO_LONG,
)
from emsync.training.mood.curves import Moods, labels
from tests.corpus.files import (
    LPD_5,
    digests,
    melody,
    moved,
    names_in,
    prepared,
    run,
    tune,
    write_midi,
    write_pianoroll,
)
from tests.models import archive_file


def test_a_mixed_corpus(folder: Path, tmp_path: Path) -> None:
    report, archives = prepared(folder, tmp_path / "out", valid_share=0.4, seed=1)
    assert (report.files, report.read, report.kept, report.refused) == (6, 6, 6, {})
    assert sorted(archives) == ["train-00.npz", "valid.npz"]
    assert (len(archives["train-00.npz"]), len(archives["valid.npz"])) == (report.train, report.valid)
    sources = sorted(source for each in archives.values() for source in names_in(each))
    assert sources == ["songs/lpd/4.npz", "songs/lpd/5.npz"] + [
        f"songs/midi/{n}" for n in ("0.mid", "1.mid", "2.mid", "3.KAR")
    ]
    assert report.notes == sum(len(song) for archive in archives.values() for song in archive)
    assert report.moods == Moods.of(archive.mood(i) for archive in archives.values() for i in range(len(archive)))
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert kept["kept"] == 6
    assert kept["moods"]["seconds"] == report.moods.seconds > 0
    assert kept["moods"]["arousal"]["percentiles"]["50"] == report.moods.arousal.percentiles["50"]
    assert kept["archives"] == ["train-00.npz", "valid.npz"]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["report.json", "train-00.npz", "valid.npz"]


def test_every_song_has_its_own_mood_curve(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 2)
    _, archives = prepared(folder, tmp_path / "out", valid_share=0.2, songs_per_archive=2)
    assert len(archives) > 2
    for archive in archives.values():
        for i, song in enumerate(archive):
            np.testing.assert_array_equal(archive.mood(i), labels(song))
    assert len({archive.mood(0).tobytes() for archive in archives.values()}) == len(archives)


def test_a_song_too_long_for_a_mood_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mood_features, "MAX_DURATION_S", 200.0)  # a day's length in notes would take long
    write_midi(folder / "long.mid", [(0, 0, [(60, 4 * n, 1) for n in range(100)])], tempo=2_000_000)
    report, _ = prepared(folder, tmp_path / "out")
    assert {reason: each.count for reason, each in report.refused.items()} == {TOO_LONG: 1}
    assert report.refused[TOO_LONG].examples[0][1].startswith("long.mid: music of 397 s has no mood curve; give at")


def test_duplicates_and_the_best_of_near_duplicates(tmp_path: Path) -> None:
    top = tmp_path / "songs"
    melody_, bass, strings = tune(1), tune(2), tune(3)
    write_midi(top / "plain.mid", [(0, 0, melody_), (1, 33, bass)])
    (top / "copy.mid").write_bytes((top / "plain.mid").read_bytes())
    write_midi(top / "louder.mid", [(0, 0, melody_), (1, 33, bass)], velocity=120)
    write_midi(top / "full.mid", [(0, 0, moved(melody_, 2)), (1, 33, moved(bass, 2)), (2, 48, moved(strings, 2))])
    write_midi(top / "other.mid", [(0, 0, tune(9))])
    report, archives = prepared(top, tmp_path / "out", valid_share=0.0)
    assert (report.read, report.kept, report.duplicates, report.near_duplicates) == (5, 2, 2, 1)
    assert names_in(archives["train-00.npz"]) == ["songs/full.mid", "songs/other.mid"]
    assert report.valid == 0
    assert not (tmp_path / "out" / "valid.npz").exists()


@pytest.mark.slow
def test_result_does_not_depend_on_workers_or_input_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 2)
    options: dict[str, Any] = {"songs_per_archive": 2, "seed": 3}
    prepare([folder / "midi", folder / "lpd"], tmp_path / "one", workers=1, **options)
    prepare([folder / "lpd", folder / "midi", folder / "midi"], tmp_path / "two", workers=2, **options)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one == two
    assert {"train-00.npz", "train-01.npz", "valid.npz", "report.json"} <= set(one)


@pytest.mark.slow
def test_seed_changes_the_split(folder: Path, tmp_path: Path) -> None:
    valid = {tuple(names_in(prepared(folder, tmp_path / str(seed), seed=seed)[1]["valid.npz"])) for seed in range(4)}
    assert len(valid) > 1


@pytest.mark.slow
def test_an_added_song_moves_no_other(tmp_path: Path) -> None:
    top = tmp_path / "songs"
    for number in range(30):
        write_midi(top / f"{number:02d}.mid", [(0, 0, tune(number))])
    _, before = prepared(top, tmp_path / "before", valid_share=0.3)
    for number in range(30, 40):
        write_midi(top / f"{number:02d}.mid", [(0, 0, tune(number))])
    _, after = prepared(top, tmp_path / "after", valid_share=0.3)
    was, now = ({name: set(names_in(each)) for name, each in which.items()} for which in (before, after))
    assert was["valid.npz"] < now["valid.npz"]
    assert was["train-00.npz"] < now["train-00.npz"]


@pytest.mark.slow
def test_near_duplicates_share_a_side(tmp_path: Path) -> None:
    # Each song is beside its transposition in another corpus: the place of both is that of the group.
    for number in range(20):
        for name, shift in (("a", 0), ("b", 1)):
            write_midi(tmp_path / name / f"{number}.mid", [(0, 0, moved(tune(number), shift))])
    report = prepare([tmp_path / "a", tmp_path / "b"], tmp_path / "out", workers=1, valid_share=0.3)
    assert (report.kept, report.near_duplicates) == (20, 20)
    archives = [read_archive(tmp_path / "out" / name) for name in report.archives]
    numbers = [{Path(each).stem for each in names_in(archive)} for archive in archives]
    assert sum(len(each) for each in numbers) == len(set.union(*numbers)) == 20


def test_the_output_folder_is_no_input(folder: Path) -> None:
    out = folder / "out"
    first, _ = prepared(folder, out)
    second, _ = prepared(folder, out, overwrite=True)
    assert first == second


def test_both_sides_have_songs(tmp_path: Path) -> None:
    for number in range(2):
        write_midi(tmp_path / "songs" / f"{number}.mid", [(0, 0, tune(number))])
    report, _ = prepared(tmp_path / "songs", tmp_path / "out", valid_share=0.001)
    assert (report.train, report.valid) == (1, 1)
    write_midi(tmp_path / "single" / "0.mid", [(0, 0, tune(0))])
    report, _ = prepared(tmp_path / "single", tmp_path / "out2", valid_share=0.5)
    assert (report.train, report.valid, report.archives) == (1, 0, ("train-00.npz",))


def test_an_empty_name_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"the name of an input is empty; give a folder, such as \. for this one"):
        find([""])
    assert find(["."])


def test_no_files(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    with pytest.raises(
        CorpusError, match=r"no .mid, .midi, .kar, .rmi, .npz files in .*songs; give folders that hold some"
    ):
        prepare([tmp_path / "songs"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_that_do_not_exist_or_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist; give a folder or"):
        find([tmp_path / "nowhere"])
    (tmp_path / "a.mp3").write_text("x")
    with pytest.raises(InputError, match=r"a.mp3 is neither a folder nor a .mid, .midi, .kar, .rmi, .npz file"):
        find([tmp_path / "a.mp3"])


def test_nothing_usable_leaves_nothing_behind(tmp_path: Path) -> None:
    for number in range(3):
        write_midi(tmp_path / "songs" / f"{number}.mid", [(0, 0, tune(number, 4))])
    with pytest.raises(
        CorpusError, match=r"none of the 3 files gave a song \(3 too short; such as songs/0.mid: 4 usable"
    ):
        prepare([tmp_path / "songs"], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "a number of workers of 0 is outside 1 to 1024"),
        ({"valid_share": 0.6}, "a validation share of 0.6 is outside 0 to 0.5"),
        ({"valid_share": float("nan")}, "a validation share of nan is outside"),
        ({"songs_per_archive": 0}, "a number of songs an archive of 0 is outside"),
        ({"min_notes": 0}, "a least number of notes of 0 is outside"),
        ({"threshold": 0.0}, "a similarity threshold of 0.0 is not over 0"),
    ],
)
def test_options_out_of_range(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare([folder], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_command_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    (folder / "text.mid").write_text("no midi")
    result = run(folder, "-o", tmp_path / "out", "--workers", "1", "--quiet")
    assert result.exception is None
    assert "7 files: 6 read, 1 refused" in result.stdout
    assert "6 songs kept" in result.stdout
    assert "\n  valence " in result.stdout
    assert "% low valence, low arousal" in result.stdout
    assert "refused, unreadable MIDI: 1 (such as songs/text.mid: " in result.stdout
    assert f"wrote train-00.npz, valid.npz and report.json to {tmp_path / 'out'}" in result.stdout
    assert result.stderr == ""


def test_command_shows_progress(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "-o", tmp_path / "out", "--workers", "1")
    assert result.exception is None
    assert "reading: 100%" in result.stderr
    assert "6/6" in result.stderr


@pytest.mark.parametrize("kind", ["missing", "empty", "unwritable", "tracks", "exists", "nothing", "mixed"])
def test_command_errors(kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (tmp_path / "file").write_text("x")
    (tmp_path / "none").mkdir()
    arguments, message = {
        "missing": ([tmp_path / "nowhere", "-o", out], "nowhere does not exist"),
        "empty": ([tmp_path / "none", "-o", out], "no .mid, .midi, .kar, .rmi, .npz files in"),
        "unwritable": ([folder, "-o", tmp_path / "file" / "out"], "cannot be written to"),
        "tracks": (
            [write_pianoroll(tmp_path / "a.npz", LPD_5[:4], melody(1)), "-o", out],
            "a.npz has 4 tracks and lacks Strings",
        ),
        "exists": ([folder, "-o", tmp_path / "old"], "report.json exists already; give --overwrite"),
        "nothing": (["-o", out], "Missing argument 'INPUT...'"),
        "mixed": ([archive_file(tmp_path / "b.npz", 1), folder, "-o", out], "b.npz is an archive of songs and "),
    }[kind]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.json").write_text("{}")
    assert main(["prepare", *map(str, arguments), "--workers", "1", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not out.exists()
    assert [each.name for each in (tmp_path / "old").iterdir()] == ["report.json"]
