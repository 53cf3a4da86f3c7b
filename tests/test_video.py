"""Watching films: lengths, times, cuts, curves, and files that are no films. Every film is made on the spot."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emsync import video
from emsync.cli.analyze import command, summary
from emsync.cli.main import main
from emsync.errors import InputError, VideoError
from emsync.film import Film, Stills, usual_rate
from emsync.video import DETECTORS, END_MARGIN_S, Scene, analyze, spaced, timecode
from tests.films import HEIGHT, WIDTH, Picture, plain, write


def texture(seed: int, dark: int = 0, bright: int = 255, shift: int = 0) -> Picture:
    """A picture of 3x6 blocks of grey between two levels, (HEIGHT, WIDTH, 3), moved `shift` points to the side."""
    blocks = np.random.default_rng(seed).permutation(np.linspace(dark, bright, 18)).reshape(3, 6, 1)
    return np.roll(np.kron(blocks, np.ones((18, 16, 3))), shift, axis=1).astype(np.uint8)


#: Two shots that nobody would take for one.
def shot_a(shift: int = 0) -> Picture:
    return texture(1, 0, 110, shift)


def shot_b(shift: int = 0) -> Picture:
    return texture(2, 120, 250, shift)


def two_shots(n_each: int = 25) -> list[Picture]:
    return [shot_a(shift=i) for i in range(n_each)] + [shot_b(shift=i) for i in range(n_each)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mkv", two_shots())


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_a_film_with_one_cut(film: Path) -> None:
    scene = analyze(film)
    assert scene.duration_s == pytest.approx(2.0, abs=0.001)
    assert scene.frame_rate == 25
    assert (scene.n_frames, scene.width, scene.height) == (50, WIDTH, HEIGHT)
    assert scene.cuts_s.tolist() == [1.0]
    assert scene.is_complete
    assert not scene.has_audio


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_finds_a_plain_cut_at_the_same_place(film: Path, detector: video.Detector) -> None:
    scene = analyze(film, detector=detector)
    assert scene.cuts_s.tolist() == [1.0]
    assert (scene.detector, scene.threshold) == (detector, DETECTORS[detector][0])


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_film_without_cuts_has_none_even_at_its_start(tmp_path: Path, detector: video.Detector) -> None:
    path = write(tmp_path / "film.mkv", [shot_a(shift=i) for i in range(40)])
    scene = analyze(path, detector=detector)
    assert scene.cuts_s.tolist() == []
    assert scene.boundaries_s.tolist() == []


def test_a_higher_threshold_finds_less(film: Path) -> None:
    assert analyze(film, threshold=1000.0).cuts_s.tolist() == []


@pytest.mark.parametrize("n_flash", [1, 2, 4])
def test_a_flash_is_no_cut(tmp_path: Path, n_flash: int) -> None:
    def at(i: int) -> Picture:
        picture = shot_a(shift=i // 4)
        return (255 - (255 - picture) // 5).astype(np.uint8) if 25 <= i < 25 + n_flash else picture

    path = write(tmp_path / "film.mkv", [at(i) for i in range(60)])
    assert analyze(path).cuts_s.tolist() == []
    # ffmpeg's filter does take it for one: the picture itself is hard enough.
    assert len(analyze(path, detector="ffmpeg").cuts_s) > 0


def test_a_shot_of_half_a_second_between_two_others_is_kept(tmp_path: Path) -> None:
    pictures = [shot_a()] * 20 + [shot_b()] * 12 + [texture(3, 60, 160)] * 20
    assert analyze(write(tmp_path / "film.mkv", pictures)).cuts_s.tolist() == pytest.approx([0.8, 1.28])


def test_a_fade_through_black_is_no_cut_but_is_told(tmp_path: Path) -> None:
    down = [(shot_b() * (1 - i / 6)).astype(np.uint8) for i in range(6)]
    up = [(shot_b(shift=48) * (i / 6)).astype(np.uint8) for i in range(1, 7)]
    black = [np.zeros_like(shot_b())] * 5
    path = write(tmp_path / "film.mkv", [shot_b()] * 20 + down + black + up + [shot_b(shift=48)] * 20)
    scene = analyze(path)
    assert scene.cuts_s.tolist() == []
    assert scene.fades_s.tolist() == pytest.approx([31 / 25])


def test_a_hard_cut_to_black_and_back_are_two_cuts_and_no_fade(tmp_path: Path) -> None:
    black = [np.zeros_like(shot_b())] * 25
    scene = analyze(write(tmp_path / "film.mkv", [shot_b()] * 25 + black + [texture(3, 60, 160)] * 25))
    assert scene.cuts_s.tolist() == [1.0, 2.0]
    assert scene.fades_s.tolist() == []


def test_a_dissolve_and_fast_motion_are_no_cuts(tmp_path: Path) -> None:
    weights = [0.0] * 15 + [i / 12 for i in range(13)] + [1.0] * 15
    dissolve = [(shot_a() * (1 - w) + shot_b() * w).astype(np.uint8) for w in weights]
    motion = [shot_b(shift=9 * i) for i in range(30)]
    assert analyze(write(tmp_path / "film.mkv", dissolve + motion)).cuts_s.tolist() == []


def test_a_cartoon_that_moves_every_fourth_frame_is_one_shot(tmp_path: Path) -> None:
    levels = np.random.default_rng(8).uniform(0.55, 1.0, 12)
    pictures = [(shot_b(shift=24 * (i // 4)) * levels[i // 4]).astype(np.uint8) for i in range(48)]
    assert analyze(write(tmp_path / "film.mkv", pictures)).cuts_s.tolist() == []


def test_every_slide_of_a_slide_show_is_a_cut(tmp_path: Path) -> None:
    times_s = [0.0, 2.0, 5.0, 6.5, 9.0]
    path = write(
        tmp_path / "film.mkv", [texture(seed, 40 * seed, 40 * seed + 60) for seed in range(5)], times_s=times_s
    )
    assert analyze(path).cuts_s.tolist() == pytest.approx(times_s[1:])


def test_a_cut_on_the_last_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", [shot_a()] * 30 + [shot_b()])
    assert analyze(path).cuts_s.tolist() == pytest.approx([1.2])


def test_the_detector_works_in_the_librarys_own_manager(film: Path) -> None:
    from scenedetect import SceneManager, open_video

    from emsync.cut_detector import LocalRatioDetector

    manager = SceneManager()
    manager.add_detector(LocalRatioDetector())
    manager.detect_scenes(open_video(str(film), backend="pyav", suppress_output=True))
    starts_s = [start.seconds for start, _ in manager.get_scene_list()]
    assert starts_s == pytest.approx([0.0, 1.0])


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_variable_frame_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    times_s = np.concatenate([[0], np.cumsum(rng.choice([0.02, 0.033, 0.1], size=79))]).round(3)
    pictures = [shot_a(shift=i // 3) for i in range(50)] + [shot_b(shift=i // 3) for i in range(30)]
    scene = analyze(write(tmp_path / "film.mkv", pictures, times_s=times_s.tolist()))
    assert scene.n_frames == 80
    assert scene.cuts_s.tolist() == pytest.approx([times_s[50]], abs=1e-9)
    assert scene.duration_s > times_s[-1]
    assert scene.duration_s < times_s[-1] + 0.11


@pytest.mark.parametrize("detector", DETECTORS)
def test_times_are_counted_from_the_first_picture(tmp_path: Path, detector: video.Detector) -> None:
    path = write(tmp_path / "film.mkv", two_shots(), start_s=36.48)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).time == pytest.approx(36.48)  # the film is what it is meant to be
    scene = analyze(path, detector=detector)
    assert scene.cuts_s.tolist() == pytest.approx([1.0])
    assert scene.duration_s == pytest.approx(2.0, abs=0.001)


def test_bare_h263_style_streams_without_time_stamps_run_at_the_nominal_rate(tmp_path: Path) -> None:
    path = tmp_path / "film.m4v"
    write(path, two_shots(), times_s=[i / 25 for i in range(50)])
    scene = analyze(path)
    assert scene.n_frames == 50
    assert scene.cuts_s[0] * float(scene.frame_rate) == pytest.approx(25, abs=1)


class _Clock:
    """A stand-in for decoding, that gives pictures with any time stamps."""

    def __init__(self, stamps: Sequence[int | None]) -> None:
        self.stamps = stamps

    def __call__(self) -> Iterable[av.VideoFrame]:
        for stamp in self.stamps:
            picture = av.VideoFrame(WIDTH, HEIGHT, "gray")
            picture.pts = stamp
            yield picture


@pytest.mark.parametrize(
    ("stamps", "ticks"),
    [
        ([100, 140, 180], [0, 40, 80]),
        ([None, None, None], [0, 40, 80]),
        ([0, 40, 40, 80], [0, 40, 80]),  # shown for no time
        ([0, 40, 20, 80], [0, 40, 60, 80]),  # out of order: put between its neighbours
        ([5000, 5040, 0, 40], [0, 40, 80, 120]),  # the clock begins anew
        ([5000, 5040, 4800, 4840, 4880], [0, 40, 80, 120, 160]),  # by a fifth of a second
        ([0, 40, None, 120], [0, 40, 80, 120]),
        ([7, 7, 7, 7], [0, 40, 80, 120]),  # no times at all
        ([0, 40, 80, 10**12, 160, 200], [0, 40, 80, 120, 160, 200]),  # one wrong time stamp
        ([0, 40, 80, 5000, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 80, 10**12, 10**12 + 40, 10**12 + 80], [0, 40, 80, 120, 160, 200]),  # a clock that jumps for good
        ([0, 40, 80, -(10**12), 40 - 10**12], [0, 40, 80, 120, 160]),
        ([0, 9000, 18000, 27000], [0, 9000, 18000, 27000]),  # slides
        ([2, 6, 8, 4, 12, 14, 10, 18, 20, 16], [0, 4, 6, 7, 10, 12, 13, 16, 18, 20]),  # as in AVI
    ],
)
def test_strange_clocks(
    film: Path, monkeypatch: pytest.MonkeyPatch, stamps: list[int | None], ticks: list[int]
) -> None:
    with Film(film) as opened:
        assert opened.time_base == Fraction(1, 1000)
        monkeypatch.setattr(opened, "_decode", _Clock(stamps))
        assert [tick for _, tick in opened.frames()] == ticks
        assert opened.n_frames == len(ticks)
        assert opened.duration_s == pytest.approx((ticks[-1] + np.median(np.diff(ticks))) / 1000)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Fraction(24), Fraction(24)),
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(23976, 1000), Fraction(24000, 1001)),
        (Fraction(24012, 1001), Fraction(24012, 1001)),  # half way between 23.976 and 24
        (Fraction(17), Fraction(17)),
    ],
)
def test_usual_rates(rate: Fraction, expected: Fraction) -> None:
    assert usual_rate(rate) == expected


@pytest.mark.parametrize(
    ("time_s", "rate", "expected"),
    [
        (0.0, Fraction(24), "00:00:00:00"),
        (12 + 7 / 24, Fraction(24), "00:00:12:07"),
        (3723.96, Fraction(25), "01:02:03:24"),
        (60.0, Fraction(30000, 1001), "00:00:59:28"),
        (1.0, Fraction(25, 2), "00:00:01:00"),
        (0.999, Fraction(24), "00:00:01:00"),
        (1.0, Fraction(120), "00:00:01:000"),
        (5.0, Fraction(1, 10), "00:00:05:00"),
        (26.0, Fraction(25, 2), "00:00:26:00"),
        (26.96, Fraction(25, 2), "00:00:26:12"),
        (3600.0, Fraction(101, 4), "01:00:00:00"),
        (3602.165233333333, Fraction(30000, 1001), "00:59:58:17"),
        (127.001875, Fraction(24000, 1001), "00:02:06:21"),
    ],
)
def test_timecode(time_s: float, rate: Fraction, expected: str) -> None:
    assert timecode(time_s, rate) == expected


@given(st.integers(0, 10**7), st.sampled_from([Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60)]))
def test_timecode_counts_every_frame(frame: int, rate: Fraction) -> None:
    hours, minutes, seconds, frames = map(int, timecode(float(frame / rate), rate).split(":"))
    assert (hours * 3600 + minutes * 60 + seconds) * round(rate) + frames == frame


@given(st.floats(0, 1e5), st.fractions(Fraction(1), Fraction(120), max_denominator=60))
def test_the_seconds_of_a_label_agree_with_the_time(time_s: float, rate: Fraction) -> None:
    hours, minutes, seconds, frame = map(int, timecode(time_s, rate).split(":"))
    assert abs(hours * 3600 + minutes * 60 + seconds + frame / rate - time_s) <= 0.5 / rate + 1e-9


@pytest.mark.parametrize(
    ("frame", "rate", "expected"),
    [
        (1799, Fraction(30000, 1001), "00:00:59;29"),
        (1800, Fraction(30000, 1001), "00:01:00;02"),
        (3597, Fraction(30000, 1001), "00:01:59;29"),
        (3598, Fraction(30000, 1001), "00:02:00;02"),
        (17981, Fraction(30000, 1001), "00:09:59;29"),
        (17982, Fraction(30000, 1001), "00:10:00;00"),
        (107892, Fraction(30000, 1001), "01:00:00;00"),
        (3600, Fraction(60000, 1001), "00:01:00;04"),
        (215784, Fraction(60000, 1001), "01:00:00;00"),
    ],
)
def test_drop_frame_labels(frame: int, rate: Fraction, expected: str) -> None:
    assert timecode(float(frame / rate), rate, drop_frame=True) == expected


def test_drop_frame_is_for_two_rates_only() -> None:
    with pytest.raises(InputError, match=r"there is no drop-frame at 25 frames a second; it is for 29\.97 and 59\.94"):
        timecode(1.0, Fraction(25), drop_frame=True)


@pytest.mark.parametrize(("time_s", "rate"), [(-0.1, Fraction(24)), (math.nan, Fraction(24)), (1.0, Fraction(0))])
def test_what_has_no_timecode(time_s: float, rate: Fraction) -> None:
    with pytest.raises(InputError, match="has no timecode"):
        timecode(time_s, rate)


# --- the difference filter --------------------------------------------------------------------------------------------


def test_spaced_compares_with_the_cut_kept_before() -> None:
    assert spaced([1, 4, 6, 8, 9, 13]).tolist() == [1, 6, 13]


def test_spaced_drops_what_stands_at_either_end() -> None:
    assert spaced([0, 0.2, 5, 9.9], duration_s=10).tolist() == [5]
    assert spaced([0, 5, 9.9], 0).tolist() == [5, 9.9]
    assert spaced([]).tolist() == []


def test_spaced_keeps_cuts_that_are_exactly_so_far_apart() -> None:
    cuts_s = 0.7 + 0.1 * np.arange(1, 500, 40)
    assert spaced(cuts_s).tolist() == cuts_s.tolist()


@given(st.lists(st.floats(0, 600), unique=True).map(sorted), st.floats(0, 20), st.one_of(st.none(), st.floats(1, 600)))
def test_spaced_is_a_spaced_subset_and_drops_nothing_else(
    cuts_s: list[float], t_diff_s: float, duration_s: float | None
) -> None:
    kept = spaced(cuts_s, t_diff_s, duration_s=duration_s).tolist()
    until_s = math.inf if duration_s is None else duration_s - END_MARGIN_S
    assert set(kept) <= set(cuts_s)
    assert all(END_MARGIN_S <= cut_s <= until_s for cut_s in kept)
    assert all(b - a >= t_diff_s - 1e-5 for a, b in itertools.pairwise(kept))
    for dropped in set(cuts_s) - set(kept):
        near = [cut_s for cut_s in kept if 0 <= dropped - cut_s < t_diff_s]
        assert near or not END_MARGIN_S <= dropped <= until_s


@pytest.mark.parametrize("t_diff_s", [-1.0, math.nan, math.inf])
def test_spaced_refuses_a_distance_that_is_none(t_diff_s: float) -> None:
    with pytest.raises(InputError, match=r"t_diff is .* give 0"):
        spaced([1.0], t_diff_s)


# --- curves and sound -------------------------------------------------------------------------------------------------


def test_motion_is_told_without_the_cuts(tmp_path: Path) -> None:
    still, moving = [shot_a()] * 50, [shot_b(shift=3 * i) for i in range(50)]
    scene = analyze(write(tmp_path / "film.mkv", still + moving))
    assert scene.times_s.tolist() == [i / 4 for i in range(16)]
    assert scene.motion[:8].max() < 0.05
    assert scene.motion[9:].min() > 0.5
    assert scene.motion[8] <= scene.motion[9:].max()  # the cut at 2 s is left out


def test_luma_and_saturation(tmp_path: Path) -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    red = np.zeros_like(grey) + np.array([220, 20, 20], np.uint8)
    scene = analyze(write(tmp_path / "film.mkv", [grey] * 25 + [red] * 25))
    assert scene.luma[:4] == pytest.approx(128 / 255, abs=0.02)
    assert scene.saturation[:4] == pytest.approx(0, abs=0.02)
    assert scene.saturation[4:] == pytest.approx(200 / 255, abs=0.05)


def test_warmth_and_contrast(tmp_path: Path) -> None:
    halves = plain(0, 0, 0)
    halves[:, WIDTH // 2 :] = 200
    pictures = [plain(255, 0, 0)] * 25 + [plain(0, 255, 255)] * 25 + [halves] * 25
    scene = analyze(write(tmp_path / "film.mkv", pictures))
    assert scene.warmth.size == scene.contrast.size == scene.times_s.size == 12
    assert scene.warmth[:4] == pytest.approx(1, abs=0.05)
    assert scene.warmth[4:8] == pytest.approx(-1, abs=0.05)
    assert scene.warmth[8:] == pytest.approx(0, abs=0.02)
    assert scene.contrast[:8] == pytest.approx(0, abs=0.01)
    assert scene.contrast[8:] == pytest.approx(100 / 255, abs=0.02)


def test_a_span_without_a_picture_shows_the_one_before(tmp_path: Path) -> None:
    pictures = [np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in (50, 200)]
    scene = analyze(write(tmp_path / "film.mkv", pictures, times_s=[0.0, 2.0]))
    assert scene.luma[:8] == pytest.approx(50 / 255, abs=0.03)
    assert scene.luma[8] == pytest.approx(200 / 255, abs=0.03)
    assert scene.motion[:8].tolist() == [0.0] * 8


def test_loudness_a_second(tmp_path: Path) -> None:
    at_s = np.arange(20_000) / 8000  # 2.5 s
    level = np.where(at_s < 1, 0.5, np.where(at_s < 2, 0.05, 0.0))
    sound = (level * np.sin(2 * np.pi * 440 * at_s)).astype(np.float32)[None, :]
    scene = analyze(write(tmp_path / "film.mkv", two_shots() + two_shots(), sound=sound, start_s=10.0))
    assert scene.has_audio
    # A sine's root mean square is 3 dB below its peak; the coder smears a little from second to second.
    assert scene.loudness_db[:2] == pytest.approx([20 * math.log10(0.5) - 3, 20 * math.log10(0.05) - 3], abs=1)
    assert scene.loudness_db[2] < -40
    assert math.isnan(scene.loudness_db[3])  # the film goes on, the sound does not
    assert scene.loudness_db.size == 4


def test_a_film_whose_sound_goes_on_after_it_is_complete(tmp_path: Path) -> None:
    scene = analyze(write(tmp_path / "film.mkv", two_shots(), sound=np.zeros((1, 5 * 8000), np.float32)))
    assert scene.duration_s == pytest.approx(2.0, abs=0.001)
    assert scene.is_complete
    assert scene.loudness_db.tolist() == [-120.0, -120.0]


@pytest.mark.parametrize(("n_frames", "most"), [(10, 8), (100, 8), (400, 16)])
def test_stills_are_gathered_evenly_however_long_the_film(tmp_path: Path, n_frames: int, most: int) -> None:
    shades = [plain(*[round(230 * i / n_frames)] * 3) for i in range(n_frames)]
    stills = Stills(most=most)
    scene = analyze(write(tmp_path / "film.mkv", shades), stills=stills)
    share = (np.arange(4) + 0.5) / 4
    shown = stills.at(share * scene.duration_s)
    assert [picture.shape for picture in shown] == [(135, 240, 3)] * 4
    levels = [picture.mean() / 230 for picture in shown]
    assert levels == pytest.approx(share.tolist(), abs=1 / most + 0.03)


def test_stills_keep_their_proportions() -> None:
    stills = Stills(width=40, height=20)
    stills.show(av.VideoFrame(30, 60, "rgb24"), 0.0)
    assert stills.at(5.0)[0].shape == (20, 10, 3)


def test_no_stills_without_a_film() -> None:
    with pytest.raises(InputError, match=r"there are no stills; hand them to emsync\.video\.analyze first"):
        Stills().at([0.0])


def test_progress_ends_at_the_end(film: Path) -> None:
    told: list[tuple[float, float | None]] = []
    scene = analyze(film, progress=lambda done_s, expected_s: told.append((done_s, expected_s)))
    assert [round(done_s, 3) for done_s, _ in told] == [0.0, 1.0, 2.0]
    assert told[-1] == (scene.duration_s, scene.duration_s)


# --- Scene ------------------------------------------------------------------------------------------------------------


def small_scene(**changes: Any) -> Scene:
    values: dict[str, Any] = {
        "path": "film.mp4",
        "duration_s": 12.0,
        "frame_rate": Fraction(24000, 1001),
        "n_frames": 288,
        "width": 64,
        "height": 36,
        "cuts_s": [0.0, 3.25, 5.5, 8.0],
    }
    return Scene(**(values | changes))


def test_boundaries_are_the_spaced_cuts() -> None:
    assert small_scene().boundaries_s.tolist() == [3.25, 8.0]
    assert small_scene(t_diff_s=0).boundaries_s.tolist() == [3.25, 5.5, 8.0]


def test_a_scene_is_read_back_as_it_was_written(film: Path) -> None:
    scene = analyze(film)
    again = Scene.from_json(scene.to_json())
    assert again.to_json() == scene.to_json()
    assert again.cuts_s.tolist() == scene.cuts_s.tolist()
    assert again.frame_rate == scene.frame_rate
    assert again != replace(again, cuts_s=[0.5])
    with_gap = small_scene(loudness_db=[-20.0, math.nan])
    assert Scene.from_json(with_gap.to_json()) == with_gap
    record = json.loads(with_gap.to_json())
    assert record["frame_rate"] == "24000/1001"
    assert record["loudness_db"] == [-20.0, None]
    assert record["boundaries_s"] == [3.25, 8.0]


def test_a_scene_of_an_older_file_lacks_the_younger_curves(film: Path) -> None:
    scene = analyze(film)
    record = json.loads(scene.to_json())
    for name in ("contrast", "warmth"):
        assert len(record.pop(name)) == 8
    older = Scene.from_json(json.dumps(record))
    assert older.contrast.size == older.warmth.size == 0
    assert older.luma == pytest.approx(scene.luma, abs=1e-6)
    assert Scene.from_json(older.to_json()) == older


def test_a_mood_is_written_beside_a_scene_and_is_not_its_own() -> None:
    scene = small_scene()
    text = scene.to_json(mood={"times_s": [0.5], "reader": "builtin"})
    assert json.loads(text)["mood"] == {"times_s": [0.5], "reader": "builtin"}
    assert Scene.from_json(text) == scene


def test_a_scene_cannot_be_changed() -> None:
    scene = small_scene()
    with pytest.raises(ValueError, match="read-only"):
        scene.cuts_s[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration_s": 0.0}, "film of 0.0 s cannot be scored"),
        ({"duration_s": math.nan}, "film of nan s cannot be scored"),
        ({"frame_rate": 24.0}, "must be a Fraction"),
        ({"n_frames": 0}, "each number must be at least 1"),
        ({"cuts_s": [5.0, 3.0]}, "cuts_s must increase strictly"),
        ({"cuts_s": [5.0, 13.0]}, r"to the film's end \(12 s\)"),
        ({"cuts_s": [[1.0]]}, "has 2 dimensions"),
        ({"fades_s": [math.nan]}, "not finite"),
        ({"times_s": [0.0, 0.25], "motion": [1.0]}, "motion has 1 values for 2 times_s"),
        (
            {"times_s": [0.0], "motion": [1], "luma": [1], "saturation": [1], "warmth": [1, 2]},
            "warmth has 2 values for 1",
        ),
        ({"t_diff_s": -1.0}, "t_diff is -1"),
        ({"threshold": math.inf}, "threshold is inf"),
    ],
)
def test_a_scene_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_scene(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not JSON"),
        ("[]", "has version None"),
        ('{"version": 99}', "has version 99, this program reads 1"),
        ('{"version": 1, "path": "a"}', "lacks duration_s"),
    ],
)
def test_json_that_is_no_scene(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scene.from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("frame_rate", rate) for rate in ("24/0", "1e99999999", "1" * 5000, "-24", True, None, [24], "1e-9", "٣")),
        *(("cuts_s", ["x"]), ("n_frames", None), ("n_frames", 1e999), ("has_audio", 1), ("path", 3)),
        ("duration_s", 10**400),
    ],
)
def test_json_with_a_bad_value(key: str, value: object) -> None:
    record = json.loads(small_scene().to_json()) | {key: value}
    with pytest.raises(InputError, match=f"scene's {key} cannot be read"):
        Scene.from_json(json.dumps(record))


# --- files that are no films ------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4 does not exist; check the name"):
        analyze(tmp_path / "none.mp4")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder"):
        analyze(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.touch()
    with pytest.raises(VideoError, match=r"is empty \(0 bytes\)"):
        analyze(path)


@pytest.mark.parametrize("text", ["Dear diary,\n" * 50, "#EXTM3U\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n", "\0" * 5000])
def test_a_text_named_mp4(tmp_path: Path, text: str) -> None:
    path = tmp_path / "film.mp4"
    path.write_text(text)
    with pytest.raises(VideoError, match=r"cannot be opened as a video: it is of another kind, or was cut off"):
        analyze(path)


def test_a_film_cut_off_before_its_index(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", two_shots())
    path = tmp_path / "film.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError, match="was cut off"):
        analyze(path)


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_film_cut_off_half_way_gives_what_can_be_decoded(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path / f"whole{suffix}", two_shots() + two_shots())
    path = tmp_path / f"film{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    scene = analyze(path)
    assert 25 < scene.n_frames < 100
    assert scene.cuts_s[0] == pytest.approx(1.0)
    assert scene.duration_s < 3.9


def test_an_mp4_with_its_index_first_and_its_end_missing_is_told_to_be_incomplete(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(100)]
    plain = write(tmp_path / "plain.mp4", noise)
    with av.open(str(plain)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path = tmp_path / "film.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    scene = analyze(path)
    assert 10 < scene.n_frames < 70
    assert not scene.is_complete
    assert analyze(whole).is_complete
    assert "breaks off or is damaged" in summary(scene)


def test_a_film_with_a_damaged_middle_does_not_crash(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.ts", two_shots() + two_shots())
    data = bytearray(whole.read_bytes())
    third = len(data) // 3
    data[third : third + 2000] = np.random.default_rng(3).bytes(2000)
    path = tmp_path / "film.ts"
    path.write_bytes(bytes(data))
    scene = analyze(path)
    assert scene.n_frames > 50
    assert scene.duration_s == pytest.approx(4.0, abs=0.2)


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """A second of sound; with `cover`, and a picture of the sleeve."""
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream("aac", rate=8000, layout="mono")
        sleeve: Any = None
        if cover:
            sleeve = container.add_stream("mjpeg", rate=1)
            sleeve.width, sleeve.height, sleeve.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
            sleeve.disposition = av.stream.Disposition.attached_pic
            container.mux(sleeve.encode(av.VideoFrame.from_ndarray(shot_a(), format="rgb24")))
            container.mux(sleeve.encode(None))
        for begin in range(0, 8192, 1024):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 8000, begin, Fraction(1, 8000)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("cover", [False, True])
def test_a_file_with_sound_only(tmp_path: Path, cover: bool) -> None:
    path = write_sound(tmp_path / "song.mp4", cover=cover)
    with pytest.raises(VideoError, match="has sound but no pictures"):
        analyze(path)


def test_the_first_stream_of_pictures_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i, pixels in enumerate(two_shots()):
            for stream, shown in zip(streams, (pixels, shot_a()), strict=True):
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert analyze(path).cuts_s.tolist() == pytest.approx([1.0])


def test_a_film_of_no_length(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov"}) as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match="has no frame that can be decoded"):
        analyze(path)


def test_a_film_of_pictures_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(5):
            packet = av.Packet(np.random.default_rng(i).bytes(500))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 25)
            container.mux(packet)
    with pytest.raises(VideoError, match="has no frame that can be decoded"):
        analyze(path)


def test_a_film_of_one_picture(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds a single picture"):
        analyze(write(tmp_path / "film.mkv", [shot_a()]))


def test_a_still_picture(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(shot_a(), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="is a still picture"):
        analyze(path)


def test_a_name_with_a_colon_and_a_percent_sign(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", two_shots()).rename(tmp_path / "http:cut %03d #2.mkv")
    assert analyze(path).cuts_s.tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "guess"}, "there is no detector 'guess'; choose one of local-ratio, ffmpeg, content, adaptive"),
        ({"detector": "ffmpeg", "threshold": 1.5}, "does not suit ffmpeg; give more than 0 and at most 1"),
        ({"threshold": math.nan}, "a threshold of nan"),
        ({"t_diff_s": -2.0}, "t_diff is -2.0 s"),
    ],
)
def test_options_out_of_range(film: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyze(film, **options)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_tells_and_writes(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "scene.json"
    result = CliRunner().invoke(command, [str(film), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "2.000 s, 96x54, 25 frames/s, 50 frames, no sound" in result.output
    assert "1 cut found, 1 at least 4 s apart:" in result.output
    assert "Cut 1        1.000 s  00:00:01:00" in result.output
    assert Scene.from_json(output.read_text()).cuts_s.tolist() == [1.0]
    assert json.loads(output.read_text())["duration_s"] == pytest.approx(2.0)


def test_the_command_keeps_an_existing_file(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scene.json"
    output.write_text("mine")
    assert main(["analyze", str(film), "-o", str(output)]) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["analyze", str(film), "-o", str(output), "--overwrite"]) == 0
    assert Scene.from_json(output.read_text()).n_frames == 50


def test_the_command_leaves_nothing_behind_when_the_film_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("no film")
    assert main(["analyze", str(path), "-o", str(tmp_path / "scene.json")]) == 2
    told = capfd.readouterr()  # of the process, so that ffmpeg's own messages would be seen
    assert told.out == ""
    assert told.err.startswith("emsync: error: ")
    assert told.err.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.mp4"]


def test_ffmpeg_is_quiet_about_a_damaged_film(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "whole.ts", two_shots())
    data = bytearray(whole.read_bytes())
    data[6000:8000] = np.random.default_rng(3).bytes(2000)
    path = tmp_path / "film.ts"
    path.write_bytes(bytes(data))
    analyze(path)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_importing_the_module_imports_nothing_heavy() -> None:
    code = "import sys, emsync.video; print([m for m in ('av', 'cv2', 'scenedetect') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_summary_of_cuts_kept_and_left_out() -> None:
    text = summary(small_scene(fades_s=[1.0]))
    assert "4 cuts found, 2 at least 4 s apart:" in text
    assert "  (near)       0.000 s  00:00:00:00" in text
    assert "  Cut 2        8.000 s  00:00:08:00" in text
    assert "fade in at 00:00:01:00" in text
    assert "No cuts." in summary(small_scene(cuts_s=[]))
