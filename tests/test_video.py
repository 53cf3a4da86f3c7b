"""Analysis of films: cuts, times, curves and sound. Every film is made on the spot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emsync import video
from emsync.errors import InputError
from emsync.film import Film, Stills, usual_rate
from emsync.video import DETECTORS, Scene, analyze
from tests.films import HEIGHT, WIDTH, Picture, plain, shot_a, shot_b, texture, two_shots, write


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mkv", two_shots())


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


def test_a_fade_through_black_is_no_cut_but_is_reported(tmp_path: Path) -> None:
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
        ([5000, 5040, 0, 40], [0, 40, 80, 120]),  # the clock restarts
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


def test_motion_is_measured_without_the_cuts(tmp_path: Path) -> None:
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
    reported: list[tuple[float, float | None]] = []
    scene = analyze(film, progress=lambda done_s, expected_s: reported.append((done_s, expected_s)))
    assert [round(done_s, 3) for done_s, _ in reported] == [0.0, 1.0, 2.0]
    assert reported[-1] == (scene.duration_s, scene.duration_s)


def test_pictures_that_begin_after_the_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "late.mkv"), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        piece.sample_rate, piece.pts = 8000, 0
        container.mux(sound.encode(piece))
        for index, pixels in enumerate(two_shots()):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index + 15, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    scene = analyze(tmp_path / "late.mkv")
    assert scene.pictures_from_s == pytest.approx(0.6)
    assert scene.cuts_s.tolist() == [1.0]
    assert Scene.from_json(scene.to_json()).pictures_from_s == scene.pictures_from_s
