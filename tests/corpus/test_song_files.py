"""One file to one song: MIDI and Lakh pianorolls, whole and damaged."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.training.corpus.song_files import read_song
from emsync.training.corpus.songs import (
    MISSING_TRACKS,
    TOO_SHORT,
    UNREADABLE_PIANOROLL,
    Refused,
)
from emsync.vocabulary import BASS, DRUMS, GUITAR, PIANO, STRINGS
from tests.corpus.files import (
    LPD_5,
    LPD_17,
    melody,
    tune,
    write_midi,
    write_pianoroll,
)


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
    import pypianoroll

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
