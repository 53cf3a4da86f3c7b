"""Building a corpus: MIDI and Lakh pianorolls in, archives out; duplicates, split, resuming, broken files."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pypianoroll
import pytest
from click.testing import CliRunner, Result

from emsync.cli.main import cli, main
from emsync.errors import CorpusError, InputError, OutputError
from emsync.tokenizer.families import GROUPS
from emsync.training.corpus import chunks, label_archives, near_duplicates, song_files
from emsync.training.corpus import prepare as corpus
from emsync.training.corpus.archive import Archive, Song, read_archive, write_archive
from emsync.training.corpus.chunks import content_hash
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.report import Labelled
from emsync.training.corpus.song_files import find, read_song
from emsync.training.corpus.songs import (
    MISSING_TRACKS,
    TOO_LONG,
    TOO_SHORT,
    UNREADABLE_MIDI,
    UNREADABLE_PIANOROLL,
    Refused,
)
from emsync.training.corpus.work_folder import interrupts_held, survives
from emsync.training.mood import features as mood_features
from emsync.training.mood.curves import Moods, labels
from emsync.vocabulary import BASS, DRUMS, GUITAR, PIANO, STRINGS
from tests.models import archive_file, toy_archive, toy_song

REPOSITORY = Path(__file__).resolve().parents[1]

Tune = list[tuple[int, int, int]]  # pitch, start, length in eighths


def tune(seed: int, length: int = 150) -> Tune:
    """A random melody: what two of them share is chance."""
    random = np.random.default_rng(seed)
    start = np.cumsum(random.integers(1, 4, length))
    pitch = 60 + random.integers(-12, 13, length)
    return [(int(p), int(s), 1) for p, s in zip(pitch, start, strict=True)]


def write_midi(
    path: Path, parts: list[tuple[int, int, Tune]], *, tempo: int = 500_000, velocity: int = 80, eighth: int = 240
) -> Path:
    """A type 1 file of (channel, program, tune) parts."""
    midi = mido.MidiFile(ticks_per_beat=480)
    head = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    head.append(mido.MetaMessage("time_signature", numerator=3, denominator=4))
    midi.tracks.append(head)
    for channel, program, notes in parts:
        events = [(s * eighth, 1, p) for p, s, _ in notes] + [((s + n) * eighth, 0, p) for p, s, n in notes]
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
        now = 0
        for tick, on, pitch in sorted(events):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity * on, time=tick - now))
            now = tick
        midi.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.save(path)
    return path


LPD_5 = [("Drums", 0), ("Piano", 0), ("Guitar", 24), ("Bass", 32), ("Strings", 48)]
LPD_17 = [("Drums", 0), *((name, 8 * number) for number, (name, _) in enumerate(GROUPS))]


def write_pianoroll(
    path: Path,
    names: list[tuple[str, int]],
    fill: Callable[[str, np.ndarray], None],
    *,
    steps: int = 960,
    binary: bool = False,
    **extra: Any,
) -> Path:
    tracks = []
    for name, program in names:
        roll = np.zeros((steps, 128), dtype=np.uint8)
        fill(name, roll)
        kind = pypianoroll.BinaryTrack if binary else pypianoroll.StandardTrack
        tracks.append(
            kind(name=name, program=program, is_drum=name == "Drums", pianoroll=roll.astype(bool) if binary else roll)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pypianoroll.save(path, pypianoroll.Multitrack(name="x", resolution=24, tracks=tracks, **extra))
    return path


def melody(seed: int) -> Callable[[str, np.ndarray], None]:
    """A tune for the piano and a few notes for the bass."""

    def fill(name: str, roll: np.ndarray) -> None:
        if name in ("Piano", "Bass"):
            for pitch, start, _ in tune(1000 * seed + len(name), 60):
                if 12 * start + 12 <= len(roll):
                    roll[12 * start : 12 * start + 12, pitch] = 90

    return fill


def names_in(archive: Archive) -> list[str]:
    return sorted(song.source for song in archive)


def prepared(folder: Path, out: Path, **options: Any) -> tuple[Any, dict[str, Archive]]:
    report = prepare([folder], out, workers=options.pop("workers", 1), **options)
    return report, {name: read_archive(out / name) for name in report.archives}


def digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six different songs, in MIDI and pianorolls, in folders."""
    top = tmp_path / "songs"
    for number in range(3):
        write_midi(top / "midi" / f"{number}.mid", [(0, 0, tune(number)), (1, 33, tune(100 + number))])
    write_midi(top / "midi" / "3.KAR", [(0, 48, tune(3))])
    write_pianoroll(top / "lpd" / "4.npz", LPD_5, melody(4))
    write_pianoroll(top / "lpd" / "5.npz", LPD_17, melody(5))
    return top


# Reading one file.


def test_a_midi_file_becomes_a_song(tmp_path: Path) -> None:
    parts = [(0, 19, [(60, 0, 2), (62, 2, 2)]), (9, 0, [(36, 0, 1)]), (1, 99, [(70, 0, 1)])]
    path = write_midi(tmp_path / "a.mid", parts)
    made = read_song(path, source="here/a.mid", min_notes=1)
    song = made.song
    assert song.family.tolist() == [DRUMS, PIANO, PIANO]
    assert song.start_step.tolist() == [0, 0, 24]
    assert song.duration_step.tolist() == [3, 24, 24]
    assert song.velocity.tolist() == [84, 84, 84]
    assert (song.tempo_step.tolist(), song.tempo_qpm.tolist()) == ([0], [120.0])
    assert (song.meter_num.tolist(), song.meter_den.tolist()) == ([3], [4])
    assert song.song_id == hashlib.md5(path.read_bytes()).hexdigest()
    assert (song.source, song.pool, made.losses.effects) == ("here/a.mid", "fewer", 1)


def test_a_five_track_pianoroll_becomes_a_song(tmp_path: Path) -> None:
    def fill(name: str, roll: np.ndarray) -> None:
        if name == "Drums":
            roll[0:10, 36] = 100
        if name == "Piano":
            roll[0:24, 60] = 80
            roll[24:48, 60] = 90  # louder: struck again
            roll[48:72, 60] = 60  # softer: the other part's note goes on
        if name == "Guitar":
            roll[0:23, 50] = 80  # legato: pypianoroll clears the step before the next
            roll[24:36, 50] = 80
        if name == "Bass":
            roll[0:22, 40] = 80  # two steps are a rest
            roll[24:30, 40] = 80
        if name == "Strings":
            roll[500:600, 70] = 80

    tempo = np.repeat([100.0, 140.0], 480)
    downbeat = np.zeros(960, dtype=bool)
    downbeat[[0, 72, 144, 228, 312]] = True
    path = write_pianoroll(tmp_path / "a.npz", LPD_5, fill, tempo=tempo, downbeat=downbeat)
    song = read_song(path, min_notes=1).song
    columns = (song.family, song.pitch, song.start_step, song.duration_step, song.velocity)
    assert list(zip(*(each.tolist() for each in columns), strict=True)) == [
        (DRUMS, 36, 0, 3, 100),
        (PIANO, 60, 0, 24, 84),
        (PIANO, 60, 24, 48, 92),
        (GUITAR, 50, 0, 24, 84),
        (GUITAR, 50, 24, 12, 84),
        (BASS, 40, 0, 22, 84),
        (BASS, 40, 24, 6, 84),
        (STRINGS, 70, 500, 100, 84),
    ]
    assert (song.tempo_step.tolist(), song.tempo_qpm.tolist()) == ([0, 480], [100.0, 140.0])
    meters = list(zip(song.meter_step.tolist(), song.meter_num.tolist(), song.meter_den.tolist(), strict=True))
    assert meters == [(0, 3, 4), (144, 7, 8)]


def test_a_17_track_pianoroll_is_merged(tmp_path: Path) -> None:
    def fill(name: str, roll: np.ndarray) -> None:
        number = [each for each, _ in LPD_17].index(name)
        roll[24 * number : 24 * number + 24, 60] = 80

    made = read_song(write_pianoroll(tmp_path / "a.npz", LPD_17, fill), min_notes=1)
    expected = {DRUMS: 1, PIANO: 3, GUITAR: 2, BASS: 1, STRINGS: 7}
    assert dict(enumerate(np.bincount(made.song.family, minlength=5).tolist())) == expected
    assert made.losses.effects == 3


def test_old_names_other_resolutions_and_binary_rolls(tmp_path: Path) -> None:
    path = write_pianoroll(
        tmp_path / "a.npz", LPD_5, lambda name, roll: roll.__setitem__((slice(12, 24), 60), 1), binary=True
    )
    with np.load(path) as loaded:
        arrays = {name: loaded[name] for name in loaded.files if name != "info.json"}
        info = json.loads(loaded["info.json"])
    info["beat_resolution"] = 2 * info.pop("resolution")  # as before version 1
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("info.json", json.dumps(info))
    song = read_song(path, min_notes=1).song
    assert song.start_step.tolist() == [6] * 5
    assert song.duration_step.tolist() == [3, 6, 6, 6, 6]
    assert set(song.velocity.tolist()) == {84}


def test_time_passes_alike_in_midi_and_pianoroll(tmp_path: Path) -> None:
    notes = tune(1, 60)
    path = write_midi(tmp_path / "a.mid", [(0, 0, notes)])
    roll = pypianoroll.read(path, resolution=24)
    held = {name: np.zeros((len(roll.tracks[0].pianoroll), 128), dtype=np.uint8) for name, _ in LPD_5}
    held["Piano"] = roll.tracks[0].pianoroll
    other = write_pianoroll(
        tmp_path / "a.npz", LPD_5, lambda name, to: to.__setitem__(slice(None), held[name]), steps=len(held["Piano"])
    )
    a, b = read_song(path).song, read_song(other).song
    assert a.start_step.tolist() == b.start_step.tolist()
    assert a.pitch.tolist() == b.pitch.tolist()


def change(path: Path, **replace: Any) -> None:
    """Rewrite an `.npz` with arrays replaced, or left out where None; `info` is changed by a function."""
    with np.load(path) as loaded:
        arrays = {name: loaded[name] for name in loaded.files if name != "info.json"}
        info = json.loads(loaded["info.json"])
    info = replace.pop("info", lambda each: each)(info)
    arrays.update(replace)
    np.savez(path, **{name: each for name, each in arrays.items() if each is not None})
    if info is not None:
        with zipfile.ZipFile(path, "a") as zipped:
            zipped.writestr("info.json", json.dumps(info))


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        ({"pianoroll_2_csc_data": None}, MISSING_TRACKS, "a.npz has no arrays for track 2; fetch the file again"),
        ({"info": lambda i: {k: e for k, e in i.items() if k != "3"}}, MISSING_TRACKS, "has no info.json for track 3"),
        ({"info": lambda i: None}, UNREADABLE_PIANOROLL, "a.npz has no info.json; give files of the Lakh"),
        ({"info": lambda i: [i]}, UNREADABLE_PIANOROLL, "gives None as its steps a quarter; it must be 1 to 10000"),
        ({"info": lambda i: {**i, "resolution": 0}}, UNREADABLE_PIANOROLL, "gives 0 as its steps a quarter"),
        ({"info": lambda i: {**i, "1": {**i["1"], "program": 128}}}, UNREADABLE_PIANOROLL, "track 1 the program 128"),
        (
            {"pianoroll_1_csc_indptr": np.zeros(3, dtype=int)},
            UNREADABLE_PIANOROLL,
            r"a track of shape \(960, 128\), not",
        ),
        ({"pianoroll_1_csc_shape": np.array([960, 88])}, UNREADABLE_PIANOROLL, r"a track of shape \(960, 88\), not"),
        ({"pianoroll_1_csc_data": np.ones(3)}, UNREADABLE_PIANOROLL, "a track whose columns do not fit its entries"),
        (
            {"pianoroll_1_csc_shape": np.array([5, 128])},
            UNREADABLE_PIANOROLL,
            "a track with entries outside its 5 steps",
        ),
        ({"tempo": np.array(["fast"])}, UNREADABLE_PIANOROLL, "cannot be read as a pianoroll"),
    ],
)
def test_damaged_pianorolls(tmp_path: Path, how: dict[str, Any], reason: str, message: str) -> None:
    path = write_pianoroll(tmp_path / "a.npz", LPD_5, melody(1))
    change(path, **how)
    with pytest.raises(Refused, match=message) as refused:
        read_song(path)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (LPD_5[:4], "a.npz has 4 tracks and lacks Strings; give files of the five- or 17-track dataset"),
        (LPD_5[1:], "has 4 tracks and lacks Drums"),
        ([LPD_5[0], *LPD_5[:4]], "has 5 tracks and lacks Strings"),
        (LPD_17[:16], "has 16 tracks and lacks Sound Effects"),
    ],
)
def test_missing_tracks(tmp_path: Path, names: list[tuple[str, int]], message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        read_song(write_pianoroll(tmp_path / "a.npz", names, melody(1)))
    assert refused.value.reason == MISSING_TRACKS


def test_too_many_tracks(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has 18 tracks, not 5 or 17"):
        read_song(write_pianoroll(tmp_path / "a.npz", [*LPD_17, LPD_17[1]], melody(1)))


def test_other_npz_files_and_cut_off_ones(tmp_path: Path) -> None:
    path = write_pianoroll(tmp_path / "a.npz", LPD_5, melody(1))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Refused, match=r"a.npz cannot be read as a pianoroll \(.*\); was it cut off"):
        read_song(path)
    np.savez(tmp_path / "b.npz", family=np.arange(3))
    with pytest.raises(Refused, match=r"b.npz has no info.json"):
        read_song(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"")
    with pytest.raises(Refused, match=r"c.npz cannot be read as a pianoroll"):
        read_song(tmp_path / "c.npz")


def test_an_empty_pianoroll_is_too_short(tmp_path: Path) -> None:
    path = write_pianoroll(tmp_path / "a.npz", LPD_5, lambda name, roll: None)
    with pytest.raises(Refused, match="0 usable notes are fewer than 32") as refused:
        read_song(path)
    assert refused.value.reason == TOO_SHORT


# Near-duplicates.


def fingerprint(song: Song) -> tuple[np.ndarray, int]:
    hashed = near_duplicates.shingles(song)
    return near_duplicates.signature(hashed), len(hashed)


def label(*paths: Path) -> list[int]:
    prints = [fingerprint(read_song(path).song) for path in paths]
    return near_duplicates.groups(np.array([a for a, _ in prints]), np.array([n for _, n in prints])).tolist()


def moved(notes: Tune, semitones: int = 0, later: int = 0) -> Tune:
    return [(p + semitones, s + later, n) for p, s, n in notes]


def test_versions_of_a_song_are_found_and_other_songs_are_not(tmp_path: Path) -> None:
    melody_, bass = tune(1), tune(2)
    versions = [
        write_midi(tmp_path / "a.mid", [(0, 0, melody_), (1, 33, bass)]),
        write_midi(tmp_path / "b.mid", [(0, 0, tune(7)), (1, 33, tune(8))]),
        write_midi(tmp_path / "c.mid", [(0, 0, moved(melody_, 3)), (1, 33, moved(bass, 3))]),  # another key
        write_midi(tmp_path / "d.mid", [(0, 0, moved(melody_, 0, 8)), (1, 33, moved(bass, 0, 8))], tempo=700_000),
        write_midi(tmp_path / "e.mid", [(1, 33, bass), (0, 30, melody_)]),  # other instruments
        write_midi(tmp_path / "f.mid", [(0, 0, melody_)]),  # without bass
        write_midi(tmp_path / "g.mid", [(0, 0, melody_[:100]), (1, 33, bass[:100])]),  # cut off
    ]
    assert label(*versions) == [0, 1, 0, 0, 0, 0, 0]


def test_signature_estimates_jaccard_similarity() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 2**63, 3000).astype(np.uint64)
    for shared in (0, 500, 1000, 2000):
        a, b = values[:2000], values[2000 - shared : 3000]
        exact = shared / 3000
        # Four standard deviations of a mean of SIGNATURE_SIZE coin tosses.
        margin = 4 * np.sqrt(exact * (1 - exact) / near_duplicates.SIGNATURE_SIZE) + 0.01
        assert (
            abs(near_duplicates.similarity(near_duplicates.signature(a), near_duplicates.signature(b)) - exact)
            <= margin
        )


def test_little_is_not_compared_and_chains_are_one_group() -> None:
    base = np.arange(near_duplicates.SIGNATURE_SIZE, dtype=np.uint32)
    half = near_duplicates.SIGNATURE_SIZE // 2
    second, third = base.copy(), base.copy()
    second[half:] += 1000
    third[:] = second
    third[:half] += 1000  # nothing in common with the first, half with the second
    rows = np.array([base, third, second, base])
    assert near_duplicates.groups(rows, np.array([50, 50, 50, 3])).tolist() == [0, 0, 0, 3]
    assert near_duplicates.groups(rows, np.array([50, 50, 50, 50]), threshold=0.9).tolist() == [0, 1, 2, 0]
    assert near_duplicates.groups(rows[:0], np.zeros(0, dtype=int)).tolist() == []


def test_hundreds_of_copies_are_one_group() -> None:
    rows = np.tile(np.arange(near_duplicates.SIGNATURE_SIZE, dtype=np.uint32), (300, 1))
    assert set(near_duplicates.groups(rows, np.full(300, 99)).tolist()) == {0}


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(InputError, match=r"a similarity threshold of .* joins all or none"):
        near_duplicates.groups(
            np.zeros((0, near_duplicates.SIGNATURE_SIZE), np.uint32), np.zeros(0, dtype=int), threshold=threshold
        )


def test_content_is_the_notes_alone(tmp_path: Path) -> None:
    notes = tune(1)
    same = [
        write_midi(tmp_path / "a.mid", [(0, 0, notes)]),
        write_midi(tmp_path / "b.mid", [(5, 4, notes)], tempo=300_000, velocity=20),
        write_midi(tmp_path / "c.mid", [(0, 0, moved(notes, 0, 6))]),
    ]
    other = write_midi(tmp_path / "d.mid", [(0, 0, moved(notes, 1))])
    assert len({content_hash(read_song(path).song) for path in same}) == 1
    assert content_hash(read_song(other).song) != content_hash(read_song(same[0]).song)


# Whole corpora.


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


def test_seed_changes_the_split(folder: Path, tmp_path: Path) -> None:
    valid = {tuple(names_in(prepared(folder, tmp_path / str(seed), seed=seed)[1]["valid.npz"])) for seed in range(4)}
    assert len(valid) > 1


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


def test_near_duplicates_share_a_side(tmp_path: Path) -> None:
    # Each song stands beside its transposition in another corpus: the place of both is that of the group.
    for number in range(20):
        for name, shift in (("a", 0), ("b", 1)):
            write_midi(tmp_path / name / f"{number}.mid", [(0, 0, moved(tune(number), shift))])
    report = prepare([tmp_path / "a", tmp_path / "b"], tmp_path / "out", workers=1, valid_share=0.3)
    assert (report.kept, report.near_duplicates) == (20, 20)
    archives = [read_archive(tmp_path / "out" / name) for name in report.archives]
    numbers = [{Path(each).stem for each in names_in(archive)} for archive in archives]
    assert sum(len(each) for each in numbers) == len(set.union(*numbers)) == 20


def test_broken_files_are_counted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty.mid").write_bytes(b"")
    (folder / "text.mid").write_text("no midi")
    (folder / "cut.mid").write_bytes((folder / "midi" / "0.mid").read_bytes()[:100])
    write_midi(folder / "short.mid", [(0, 0, tune(1, 5))])
    write_pianoroll(folder / "few.npz", LPD_5[:3], melody(1))
    (folder / ".hidden.mid").write_text("never seen")
    (folder / "unknown.txt").write_text("never seen")
    (folder / "odd.mid").write_bytes((folder / "midi" / "0.mid").read_bytes())
    whole = song_files.read_song

    def failing(path: str, **options: Any) -> Any:
        if path.endswith("odd.mid"):
            raise ZeroDivisionError("an unheard-of\nmistake")
        return whole(path, **options)

    monkeypatch.setattr(chunks, "read_song", failing)
    report, _ = prepared(folder, tmp_path / "out")
    assert (report.files, report.read, report.kept) == (12, 6, 6)
    assert {reason: each.count for reason, each in report.refused.items()} == {
        MISSING_TRACKS: 1,
        TOO_SHORT: 1,
        "unexpected ZeroDivisionError": 1,
        UNREADABLE_MIDI: 3,
    }
    assert report.refused["unexpected ZeroDivisionError"].examples == (("songs/odd.mid", "an unheard-of mistake"),)
    line = "refused, missing tracks: 1 (such as songs/few.npz: few.npz has 3 tracks and lacks Bass, Strings; "
    assert line in report.summary()


def test_an_interrupted_run_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 2)
    whole = song_files.read_song
    seen: list[str] = []

    def stopping(path: str, **options: Any) -> Any:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(path)
        return whole(path, **options)

    monkeypatch.setattr(chunks, "read_song", stopping)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare([folder], out, workers=1)
    assert [each.name for each in out.iterdir()] == [".work"]
    assert [each.suffix for each in (out / ".work").iterdir()] == [".npz"]  # one whole chunk, nothing half-written
    first = list(seen)
    seen.clear()
    monkeypatch.setattr(chunks, "read_song", lambda path, **options: (seen.append(path), whole(path, **options))[1])
    prepare([folder], out, workers=1)
    assert len(first) == 3
    assert not set(seen) & set(first[:2])  # the finished chunk was not read again
    assert len(seen) == 4
    prepare([folder], tmp_path / "straight", workers=1)
    assert digests(out) == digests(tmp_path / "straight")


@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_run_cut_short_while_publishing_is_mended_by_the_same_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Archives that stand without their report are half a corpus; other people's archives are not replaced."""
    out, replace, done = tmp_path / "out", os.replace, []

    class Killed(BaseException):
        pass

    def dying(source: Path, target: Path) -> None:
        if Path(target).parent == out:
            done.append(target)
            if len(done) > killed_at:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", dying)
        with pytest.raises(Killed):
            prepare([folder], out, workers=1)
    assert {each.name for each in out.iterdir()} == {".work", *(Path(each).name for each in done[:killed_at])}
    prepare([folder], out, workers=1)
    prepare([folder], tmp_path / "straight", workers=1)
    assert digests(out) == digests(tmp_path / "straight")
    assert not (out / ".work").exists()

    other = tmp_path / "other"
    other.mkdir()
    (other / "train-00.npz").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"train-00\.npz exists already; give --overwrite"):
        prepare([folder], other, workers=1)


def test_fresh_begins_anew_and_changed_files_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    chunk = chunks.Chunk(tuple(find([folder])), 32, str(out / ".work"))
    name = chunk.cache.name
    write_midi(folder / "midi" / "0.mid", [(0, 0, tune(50, 160))])
    assert chunks.Chunk(tuple(find([folder])), 32, str(out / ".work")).cache.name != name
    (out / ".work").mkdir(parents=True)
    (out / ".work" / "left.over").write_text("x")
    monkeypatch.setattr(corpus, "publish", lambda *_: None)
    prepare([folder], out, workers=1, resume=True)
    assert (out / ".work" / "left.over").exists()
    prepare([folder], out, workers=1, resume=False)
    assert not (out / ".work" / "left.over").exists()


def test_overwriting_leaves_no_older_archive(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(folder, out, songs_per_archive=1)
    assert (out / "train-04.npz").exists()
    with pytest.raises(OutputError, match=r"report.json exists already; give --overwrite to replace the corpus"):
        prepare([folder], out, workers=1)
    report, _ = prepared(folder, out, overwrite=True, valid_share=0.0)
    assert sorted(each.name for each in out.iterdir()) == ["report.json", "train-00.npz"]
    assert report.kept == 6


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


def test_a_crashing_reader_is_found_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures.process import BrokenProcessPool

    def broken(work: Any, items: Any, workers: int, progress: bool, title: str, *rest: Any) -> Any:
        if title == "reading":
            raise BrokenProcessPool
        return [work(item) for item in items]

    def alone(target: Any, chunk: Any) -> bool:
        if any(file.source.endswith("1.mid") for file in chunk.files):
            return False
        target(chunk)
        return True

    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 3)
    monkeypatch.setattr(chunks, "work_through", broken)
    monkeypatch.setattr(chunks, "survives", alone)
    report, _ = prepared(folder, tmp_path / "out")
    assert report.kept == 5
    assert {reason: each.examples for reason, each in report.refused.items()} == {
        chunks.CRASHED: (
            ("songs/midi/1.mid", "reading 1.mid ended the process; open and save it with another program"),
        )
    }


def test_survives() -> None:
    assert not survives(os._exit, 3)
    assert survives(os._exit, 0)


# Archives that are there already.


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


def test_a_changed_archive_is_labelled_anew(bare: Path, tmp_path: Path) -> None:
    before = label_archives._Plan.of(str(bare / "mine.npz"), 3, tmp_path)
    write_archive(bare / "mine.npz", toy_archive(2))
    after = label_archives._Plan.of(str(bare / "mine.npz"), 2, tmp_path)
    assert not {part.cache for part in before.parts} & {part.cache for part in after.parts}


def test_archives_do_not_mix_with_song_files(bare: Path, folder: Path, tmp_path: Path) -> None:
    for other in (folder / "midi" / "0.mid", folder / "lpd" / "4.npz"):
        with pytest.raises(InputError, match=r"\.npz is an archive of songs and .*[04]\.(mid|npz) is not; give either"):
            prepare([bare, other], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_archives_that_cannot_be_told_apart_or_overwrite_themselves(bare: Path, tmp_path: Path) -> None:
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


def ended(process: int) -> None:
    """Wait until a process has ended; fail if it does not."""
    for _ in range(200):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    raise AssertionError("the worker lives on")


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no process behind."""
    code = (
        "import os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing\n"
        "from emsync.training.corpus.work_folder import worker_begins\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, multiprocessing.get_context('fork'), worker_begins)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)  # it lives
        parent.kill()
    ended(worker)


def test_workers_whose_parent_died_first_end_too(tmp_path: Path) -> None:
    """A worker may still be importing when its parent is killed; spawned, as by `emsync prepare`."""
    (tmp_path / "slow.py").write_text(
        "import os, sys, time\n"
        "from emsync.training.corpus.work_folder import worker_begins\n"
        "def begin():\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(1)\n"  # the parent is killed meanwhile
        "    worker_begins()\n"
    )
    code = (
        "import multiprocessing, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from slow import begin\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), begin)\n"
        "    pool.submit(int)\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        ended(worker)


def test_processes_begun_with_interrupts_held_hear_of_none() -> None:
    """From its first moment on, before the worker can say so itself; and the parent hears of one afterwards."""
    blocked: set[signal.Signals] = set()

    def begin() -> None:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, interrupts_held():
            future = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, [])
            signal.raise_signal(signal.SIGINT)
            blocked.update(future.result())

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_an_empty_name_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"the name of an input is empty; give a folder, such as \. for this one"):
        find([""])
    assert find(["."])


def test_a_song_too_long_for_a_mood_is_named(bare: Path, tmp_path: Path) -> None:
    start = np.arange(40) * 60_000
    song = Song(
        *(np.full(40, value) for value in (PIANO, 60)), start, *(np.full(40, value) for value in (24, 84)),
        tempo_step=np.array([0]), tempo_qpm=np.array([20.0]), meter_step=[], meter_num=[], meter_den=[],
    )  # fmt: skip
    write_archive(bare / "mine.npz", [toy_song(), song])
    with pytest.raises(CorpusError, match=r"mine.npz: song 1: music of 292503 s has no mood curve; give at most 86400"):
        prepare([bare / "mine.npz"], tmp_path / "out", workers=1)


# Bad input.


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


# The command.


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["prepare", *map(str, arguments)], standalone_mode=False)


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


def test_command_labels_archives(bare: Path, tmp_path: Path) -> None:
    result = run(bare, "-o", tmp_path / "out", "--workers", "1")
    assert result.exception is None
    assert "8 songs of 2 archives have mood curves\nmoods of 122 seconds:\n  valence " in result.stdout
    assert f"wrote mine.npz, train-00.npz and report.json to {tmp_path / 'out'}" in result.stdout
    assert "labelling: 100%" in result.stderr
    assert "8/8" in result.stderr


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
