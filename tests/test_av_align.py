"""AV-Align: peaks of movement and of sound, matched as its authors do, beside films under one another's sound."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import InputError
from emsync.training.evaluation.av_align import N_SHIFTS, Peaks, align, iou, maxima, measure, peaks_of, shifts_of
from emsync.training.evaluation.onsets import RATE_HZ, mel_bands, onset_strength, onsets

FPS = 25


def clicks(times_s: list[float], seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Noise bursts that die away in a tenth of a second."""
    rng = np.random.default_rng(0)
    sound = np.zeros(round(seconds * rate_hz))
    for time_s in times_s:
        at = round(time_s * rate_hz)
        burst = rng.standard_normal(rate_hz // 10) * np.exp(-np.arange(rate_hz // 10) / (rate_hz / 50))
        sound[at : at + len(burst)] += 0.3 * burst[: len(sound) - at]
    return sound.astype(np.float32)


def film(path: Path, jumps: list[int], heard_s: list[float], *, n: int = 50, late_s: float = 0.0) -> Path:
    """A textured picture that shifts by two pixels in the frames of `jumps`, and clicks; 25 frames a second.

    late_s: all time stamps begin so late.
    """
    rng = np.random.default_rng(1)
    small = rng.integers(40, 215, (12, 20)).repeat(8, axis=0).repeat(8, axis=1)
    texture = np.stack([small] * 3, axis=-1).astype(np.uint8)
    rate = 44_100
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = 160, 96, "bgr0"
        video.time_base = Fraction(1, 1000)
        sound = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        shift = 0
        for i in range(n):
            shift += 2 * (i in jumps)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(texture, shift, axis=1)), format="rgb24")
            frame.pts, frame.time_base = round(1000 * (i / FPS + late_s)), Fraction(1, 1000)
            out.mux(video.encode(frame.reformat(format="bgr0")))
        samples = (clicks(heard_s, n / FPS, rate) * 32000).clip(-32768, 32767).astype("<i2")
        for first in range(0, len(samples), 1024):
            part = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="s16", layout="mono")
            part.sample_rate = rate
            part.pts, part.time_base = first + round(late_s * rate), Fraction(1, rate)
            out.mux(sound.encode(part))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    return path


# ---- onsets ----------------------------------------------------------------------------------------------------------


def test_onsets_stand_where_sounds_begin() -> None:
    given = [0.5, 1.0, 1.7, 2.2]
    found = onsets(clicks(given, 3.0))
    assert len(found) == len(given)
    assert np.abs(found - given).max() < 512 / RATE_HZ


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(RATE_HZ), np.full(RATE_HZ, 1e-9), np.zeros(100)])
def test_silence_has_no_onsets(sound: np.ndarray) -> None:
    assert onsets(sound.astype(np.float32)).size == 0


def test_mel_bands_are_triangles_of_slaneys_area() -> None:
    bands = mel_bands()
    assert bands.shape == (128, 1025)
    assert (bands >= 0).all()
    assert (np.diff(bands.argmax(axis=1)) >= 0).all()
    wide = bands[80:]  # wide enough that bins sample the triangle well
    assert wide.sum(axis=1) * RATE_HZ / 2048 == pytest.approx(np.ones(48), rel=0.05)


#: Onsets, two of them close together, and what librosa 0.11.0 makes of their `clicks`: frames and strengths.
CLOSE_S = [0.4, 0.95, 1.03, 2.0]
LIBROSA_ONSETS = [18, 41, 87]
LIBROSA_STRENGTHS = {18: 56.511, 19: 13.304, 41: 12.487, 42: 51.075, 87: 59.203, 88: 11.671}


def test_onsets_are_those_that_librosa_found() -> None:
    sound = clicks(CLOSE_S, 2.5)
    strength = onset_strength(sound)
    assert {i: strength[i] for i in LIBROSA_STRENGTHS} == pytest.approx(LIBROSA_STRENGTHS, abs=2e-3)
    assert (onsets(sound) * RATE_HZ / 512).round().astype(int).tolist() == LIBROSA_ONSETS


def test_onsets_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(3)
    for sound in (
        clicks(CLOSE_S, 2.5),
        clicks(list(np.sort(rng.uniform(0, 9.8, 40))), 10.0),
        (rng.standard_normal(4 * RATE_HZ) * np.linspace(0, 1, 4 * RATE_HZ)).astype(np.float32),
    ):
        envelope = librosa.onset.onset_strength(y=sound, sr=RATE_HZ)
        assert onset_strength(sound) == pytest.approx(envelope, abs=1e-3)
        theirs = librosa.onset.onset_detect(y=sound, sr=RATE_HZ, units="time")
        assert onsets(sound) == pytest.approx(theirs, abs=1e-9)


# ---- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("movement_s", "sound_s", "window_s", "score"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.04, 1.0),
        ([1.0, 2.0], [1.03, 2.05], 0.04, 1 / 3),
        ([1.0], [1.0, 1.01], 0.04, 1 / 2),  # one match a peak
        ([1.0, 1.5], [1.6], 1.0, 1 / 2),  # the first that is free, not the nearest
        ([1.0, 1.5], [1.6, 1.7], 1.0, 1.0),
        ([1.0], [2.0], 1.0, 0.0),  # closer than the window, not as close
        ([], [1.0], 1.0, 0.0),
        ([], [], 1.0, 0.0),
    ],
)
def test_each_peak_matches_once(movement_s: list[float], sound_s: list[float], window_s: float, score: float) -> None:
    assert iou(movement_s, sound_s, window_s) == pytest.approx(score)


def test_peaks_of_movement_are_strict_and_not_slow() -> None:
    assert maxima(np.array([0.0, 0.2, 0.0, 0.5, 0.5, 0.0, 0.09, 0.0, 0.3])).tolist() == [1]
    assert maxima(np.array([1.0, 2.0])).size == 0


def peaks(name: str, movement_s: list[float], sound_s: list[float], duration_s: float = 10.0) -> Peaks:
    return Peaks(name, duration_s, 0.04, np.array(movement_s), np.array(sound_s))


def test_films_are_also_measured_under_one_anothers_sound() -> None:
    films = [peaks("a", [1.0, 5.0], [1.0, 5.0]), peaks("b", [2.5, 8.0], [2.5, 8.0]), peaks("c", [1.0], [], 1.5)]
    found = align(films)
    assert [scores["frame"] for scores in found.own] == [1.0, 1.0, 0.0]
    # c ends at 1.5 s: under a's sound only its first onset counts.
    assert [scores["frame"] for scores in found.others] == [0.0, 0.0, pytest.approx(0.5)]
    assert found.summary()["own"]["frame"][0] == pytest.approx(2 / 3)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["films"][2]["film"] == "c"
    # Moved in a circle, the two peaks of a and of b match again only if both are moved by their distance.
    assert [scores["frame"] for scores in found.shifted] == pytest.approx([0.0, 0.0, 0.0], abs=0.06)
    assert 0 < found.shifted[0]["second"] < found.own[0]["second"]
    assert align(films, rng=np.random.default_rng(1)).shifted != found.shifted
    alone = align(films[:1])
    assert math.isnan(alone.others[0]["frame"])
    assert alone.to_dict()["summary"]["others"]["second"] == {"mean": None, "margin": None}


@pytest.mark.parametrize("duration_s", [1.5, 10.0])
def test_shifts_keep_the_spacing_of_onsets_in_a_circle(duration_s: float) -> None:
    times_s = [0.1, 0.4, 1.2]
    found = shifts_of(peaks("a", [], times_s, duration_s), np.random.default_rng(0))
    gaps_s = sorted(np.diff([*times_s, times_s[0] + duration_s]))
    assert len(found) == N_SHIFTS
    for moved_s in found:
        assert ((moved_s >= 0) & (moved_s < duration_s)).all()
        assert sorted(np.diff([*moved_s, moved_s[0] + duration_s])) == pytest.approx(gaps_s)
        by_s = min((moved_s - times_s[0]) % duration_s)
        assert by_s > 0
        assert abs((moved_s - times_s[0] + duration_s / 2) % duration_s - duration_s / 2).max() > 0.3


# ---- films -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [0.0, 0.6])
def test_a_film_is_watched_and_heard_on_one_clock(tmp_path: Path, late_s: float) -> None:
    found = peaks_of(film(tmp_path / "a.mkv", [10, 25, 40], [0.4, 1.0, 1.6], late_s=late_s))
    assert found.movement_s == pytest.approx([0.4, 1.0, 1.6], abs=1e-3)
    assert found.sound_s == pytest.approx([0.4, 1.0, 1.6], abs=0.03)
    assert found.frame_s == pytest.approx(0.04)
    assert iou(found.movement_s, found.sound_s, found.frame_s) == 1.0


@pytest.mark.slow
def test_the_command_writes_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    film(folder / "a.mkv", [10, 25, 40], [0.4, 1.0, 1.6])
    film(folder / "b|c.mkv", [5, 18, 33], [0.2, 0.72, 1.32])
    (folder / "broken.mp4").write_bytes(b"no film")
    arguments = ["evaluate", "--av-align", str(folder), "-o", str(tmp_path / "report"), "-q"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "Warning: broken.mp4 was left out: " in said.err
    for name in ("a.mkv", "b\\|c.mkv"):
        (row,) = [line.split(" | ") for line in said.out.splitlines() if line.startswith(f"| {name} |")]
        assert row[1:4] == ["3", "3", "1.000"]
        assert 0 < float(row[4]) < 0.5, "shifted"
        assert row[5] == "0.000", "others"
    assert "| EmoMV-C: EMSYNC | 0.017 | 0.233 |" in said.out
    data = json.loads((tmp_path / "report" / "av-align.json").read_text())
    assert data["summary"]["own"]["frame"]["mean"] == 1.0
    assert data["summary"]["others"]["frame"]["mean"] == 0.0
    assert 0 < data["summary"]["shifted"]["frame"]["mean"] < 0.5
    assert (tmp_path / "report" / "av-align.md").read_text().startswith("# AV-Align\n")
    assert main(arguments) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give --archive FILE.npz, songs to measure the model on, or --av-align or --score FOLDER of films"),
        (["--av-align", "empty"], "empty has no films"),
        (["--av-align", "broken"], "no film could be measured ("),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/a.mp4").write_bytes(b"no film")
    assert main(["evaluate", *arguments, "-o", "report", "-q"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["broken", "empty"]


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = 32, 32, "bgr0"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            out.mux(video.encode(frame.reformat(format="bgr0")))
        out.mux(video.encode(None))
    with pytest.raises(InputError, match="has no sound; AV-Align compares"):
        peaks_of(path)
    with pytest.raises(InputError, match="no film could be measured"):
        measure([path])
