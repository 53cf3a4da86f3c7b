"""Films whose files are strange: clocks, frame rates, streams, orientation, sound. Each film is made on the spot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import VideoError
from emsync.film import Film, Stills
from emsync.film_clock import existing_rate, settled_rate
from emsync.stills import Orientation
from emsync.video import Scene, analyze
from tests.films import HEIGHT, WIDTH, Picture, plain, write

NTSC_FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)
RED, BLUE, GREEN = plain(220, 30, 30), plain(20, 20, 120), plain(120, 240, 120)
#: Two seconds of red, three of blue, at 10 frames a second.
SHOTS = [RED] * 20 + [BLUE] * 30


def muxed(
    path: Path,
    pictures: Sequence[Picture],
    *,
    codec: str = "mpeg4",
    form: str = "yuv420p",
    rate: int = 10,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of one video stream, in any codec, at even times."""
    with av.open(str(path), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = form
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, level: float) -> np.ndarray[Any, Any]:
    at_s = np.arange(round(seconds * 8000)) / 8000
    return (level * np.sin(2 * np.pi * 440 * at_s)).astype(np.float32)[None, :]


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts_s", [(0.0, 0.0), (0.0, 10_000.0), (10_000.0, 0.0), (50.0, 49.8)])
def test_transport_streams_joined_end_to_end(tmp_path: Path, starts_s: tuple[float, float]) -> None:
    parts = [
        write(tmp_path / f"{i}.ts", shots, fps=10, start_s=start_s, sound=tone(len(shots) / 10, level))
        for i, (shots, start_s, level) in enumerate(zip((SHOTS[:20], SHOTS[20:]), starts_s, (0.0, 0.5), strict=True))
    ]
    path = tmp_path / "film.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    scene = analyze(path)
    assert scene.n_frames == 50
    assert scene.duration_s == pytest.approx(5.0, abs=0.15)
    assert scene.cuts_s == pytest.approx([2.0], abs=0.05)
    assert scene.is_complete
    assert (scene.loudness_db[:1] < -60).all()
    assert (scene.loudness_db[3:5] > -20).all()
    assert len(scene.warnings) == 1
    assert "clock jumps at 2.00 s of the film" in scene.warnings[0]
    assert Scene.from_json(scene.to_json()).warnings == scene.warnings


def test_warnings_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "film.ts"
    first, second = (write(tmp_path / f"{i}.ts", SHOTS[:20], fps=10, start_s=i * 500) for i in range(2))
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert main(["analyze", str(path)]) == 0
    assert "Warning: the file's clock jumps at 2.00 s of the film" in capsys.readouterr().out


@pytest.mark.parametrize("wrong_s", [100_000_000, 40_000])
@pytest.mark.parametrize("first", [30, 49])
def test_a_wrong_time_stamp_costs_no_memory(tmp_path: Path, wrong_s: float, first: int) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(write(tmp_path / "plain.mkv", SHOTS, fps=10))) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                packet.pts = packet.dts = packet.pts + (round(wrong_s * 1000) if number >= first else 0)
                packet.stream = stream
                target.mux(packet)
    scene = analyze(path)
    assert scene.n_frames == 50
    assert scene.duration_s == pytest.approx(5.0, abs=0.2)
    assert "clock jumps" in scene.warnings[0]


def test_a_film_that_seems_to_last_for_days_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", SHOTS[:40], times_s=[3000.0 * i for i in range(40)])
    with pytest.raises(VideoError, match="seems to last more than 24 hours"):
        analyze(path)


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this ffmpeg writes no H.264")
def test_h264_with_b_frames_in_avi_loses_no_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [
        np.clip(pixels + np.roll(rng.integers(0, 60, (HEIGHT, WIDTH, 3)), i, axis=1), 0, 255).astype(np.uint8)
        for i, pixels in enumerate(SHOTS)
    ]
    path = muxed(tmp_path / "film.avi", noise, codec="libx264", options={"bf": "3", "b-adapt": "0"})
    scene = analyze(path)
    assert scene.n_frames == 50
    assert scene.frame_rate == 10
    assert scene.duration_s == pytest.approx(5.0, abs=0.05)
    assert scene.cuts_s == pytest.approx([2.0], abs=0.02)


def test_a_slide_show_lasts_as_long_as_its_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", [RED, BLUE, GREEN], times_s=[0, 2, 4], sound=tone(7, 0.5))
    with Film(path) as film:
        assert [ticks for _, ticks in film.frames()] == [0, 2000, 4000]
        film._n_short = 1  # as where the container gives no lengths
        assert film.duration_s == pytest.approx(7.0, abs=0.2)
        assert film.frame_rate == 25


# --- frame rates ------------------------------------------------------------------------------------------------------


def even(rate: Fraction, n: int, per_second: int) -> list[int]:
    """Times of frames rounded to a clock's ticks."""
    return [round(i / rate * per_second) for i in range(n)]


@pytest.mark.parametrize(
    ("ticks", "per_second", "declared", "expected"),
    [
        (even(Fraction(25), 100, 1000), 1000, [None, Fraction(1000)], Fraction(25)),
        (even(NTSC, 300, 1000), 1000, [None, Fraction(1000)], NTSC),
        (even(NTSC_FILM, 300, 1000), 1000, [None, Fraction(1000)], NTSC_FILM),
        (even(Fraction(24), 300, 90_000), 90_000, [Fraction(24), Fraction(24)], Fraction(24)),
        (even(Fraction(17), 300, 1000), 1000, [Fraction(17), Fraction(17)], Fraction(17)),
        (even(Fraction(25), 100, 50), 50, [Fraction(50), Fraction(25)], Fraction(25)),  # AVI with B frames
        # Frames left out here and there.
        ([t for i, t in enumerate(even(Fraction(25), 300, 1000)) if i % 7], 1000, [None, None], Fraction(25)),
        # Soft telecine: two fields, three fields.
        ([i // 2 * 7507 + i % 2 * 4504 for i in range(720)], 90_000, [Fraction(101, 4), NTSC], NTSC_FILM),
        # A screen recording: five frames a second on average, of a clock of 25.
        ([0, 1, 2, 3, 30, 31, 90, 120, 121, 125], 25, [Fraction(11, 2), Fraction(25)], Fraction(25)),
        ([0, 6000, 12_000, 18_000], 1000, [None, Fraction(1000)], Fraction(25)),  # slides
        ([0], 1000, [None, None], Fraction(25)),
        ([0], 1000, [NTSC, None], NTSC),
        ([0, 1, 2, 3], 100_000, [None, None], Fraction(120)),
    ],
)
def test_settled_rates_exist(
    ticks: list[int], per_second: int, declared: list[Fraction | None], expected: Fraction
) -> None:
    assert settled_rate(ticks, Fraction(1, per_second), declared) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(Fraction(2987, 100), NTSC), (Fraction(1502, 100), Fraction(15)), (Fraction(1000), Fraction(120)),
     (Fraction(7, 2), Fraction(4)), (Fraction(1, 9), Fraction(1)), (Fraction(17), Fraction(17))],
)  # fmt: skip
def test_existing_rates(rate: Fraction, expected: Fraction) -> None:
    assert existing_rate(rate) == expected


def test_labels_of_a_variable_rate_agree_with_the_clock(tmp_path: Path) -> None:
    times_s = [*(i / 25 for i in range(25)), 3.0, 3.04, 6.0, 9.0]
    path = write(tmp_path / "film.mp4", [RED] * 25 + [BLUE] * 2 + [GREEN] * 2, times_s=times_s)
    scene = analyze(path)
    assert scene.frame_rate == 25
    assert [scene.timecode(cut_s) for cut_s in scene.cuts_s.tolist()] == ["00:00:03:00", "00:00:06:00"]


# --- streams ----------------------------------------------------------------------------------------------------------


def two_streams(path: Path, sizes: Iterable[tuple[int, int]], default: int | None) -> Path:
    """Two video streams: a red one and one that is cut from red to blue."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for number, (width, height) in enumerate(sizes):
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = 1 if number == default else 0
            streams.append(stream)
        for i, pixels in enumerate(SHOTS):
            for stream, shown in zip(streams, (RED, pixels), strict=True):
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
                frame = frame.reformat(width=stream.width, height=stream.height)
                frame.pts, frame.time_base = i, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("sizes", "default", "has_cut"),
    [
        (((96, 54), (96, 54)), 1, True),
        (((96, 54), (96, 54)), 0, False),
        (((48, 28), (192, 108)), None, True),  # a small preview comes first
        (((96, 54), (128, 72)), None, False),
    ],
)
def test_which_stream_is_the_film(
    tmp_path: Path, sizes: tuple[tuple[int, int], ...], default: int | None, has_cut: bool
) -> None:
    scene = analyze(two_streams(tmp_path / "film.mkv", sizes, default))
    assert (scene.cuts_s.size == 1) == has_cut


def test_bare_jpeg_pictures_are_a_film(tmp_path: Path) -> None:
    path = muxed(tmp_path / "film.mjpeg", SHOTS, codec="mjpeg", form="yuvj420p", container_format="mjpeg")
    scene = analyze(path)
    assert scene.n_frames == 50
    assert scene.cuts_s / scene.duration_s == pytest.approx([0.4])


def test_one_bare_jpeg_picture_is_none(tmp_path: Path) -> None:
    path = muxed(tmp_path / "film.mjpeg", SHOTS[:1], codec="mjpeg", form="yuvj420p", container_format="mjpeg")
    with pytest.raises(VideoError, match="is a still picture"):
        analyze(path)


@pytest.mark.parametrize("form", ["gray", "gray10le", "yuv444p16le", "gbrp12le", "bgra"])
def test_unusual_pixel_formats(tmp_path: Path, form: str) -> None:
    scene = analyze(muxed(tmp_path / "film.mkv", SHOTS[15:25], codec="ffv1", form=form))
    assert scene.cuts_s == pytest.approx([0.5])


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_film_is_shown_upright(tmp_path: Path, degrees: int) -> None:
    """Stored frames are white where the upright film has its upper third."""
    upright = np.zeros((96, 64, 3), np.uint8)
    upright[:32] = 255
    stored = np.rot90(upright, -degrees // 90).copy()
    path = muxed(tmp_path / "film.mp4", [stored] * 12)
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream: Any = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    stills = Stills()
    scene = analyze(turned, stills=stills)
    assert (scene.width, scene.height) == (64, 96)
    picture = stills.at([0.5])[0].astype(float)
    assert picture.shape == (135, 90, 3)
    assert picture[:40].mean() > 200
    assert picture[50:].mean() < 50


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(Orientation(), (0, 0)), (Orientation(False, True, False), (0, 2)), (Orientation(False, False, True), (1, 0)),
     (Orientation(True, False, False), (0, 0)), (Orientation(True, True, False), (0, 1))],
)  # fmt: skip
def test_orientations(orientation: Orientation, corner: tuple[int, int]) -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 0] = 9
    turned = orientation.applied(picture)
    assert turned.shape[1::-1] == orientation.size(3, 2)
    assert tuple(np.argwhere(turned[..., 0])[0]) == corner


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["pcm_s64le", "pcm_f64le", "pcm_u8", "pcm_s16le"])
def test_sound_of_any_width_is_measured(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "film.nut"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: Any = container.add_stream(codec, rate=8000, layout="mono")
        for index, pixels in enumerate(SHOTS):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=8000)
        piece = av.AudioFrame.from_ndarray(tone(5, 0.5), format="fltp", layout="mono")
        piece.sample_rate, piece.time_base, piece.pts = 8000, Fraction(1, 8000), 0
        for converted in resampler.resample(piece):
            container.mux(audio.encode(converted))
        container.mux(audio.encode(None))
    scene = analyze(path)
    assert scene.has_audio
    assert scene.loudness_db == pytest.approx([-9.03] * 5, abs=0.2)


# --- names ------------------------------------------------------------------------------------------------------------


#: Windows and macOS have no files of such names.
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="no file can have that name here")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "$5_vs_$10",
        pytest.param("caf\udce9", marks=linux_only),
        pytest.param("\x1b[31mred\x07", marks=linux_only),
        pytest.param("a\nb", marks=linux_only),
        "映画_^{",
        "x" * 200,
        pytest.param("%s{0}\\", marks=linux_only),
    ],
)
def test_any_name_is_analyzed_and_drawn(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "film.mkv", SHOTS, fps=10).rename(tmp_path / f"{name}.mkv")
    picture, output = tmp_path / "out.png", tmp_path / "out.json"
    assert main(["analyze", str(path), "--plot", str(picture), "-o", str(output)]) == 0
    assert picture.stat().st_size > 1000
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert "\udce9" not in shown.out
    assert Scene.from_json(output.read_text()).path == str(path)


@pytest.mark.slow
def test_a_terminal_without_the_characters_of_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", SHOTS, fps=10).rename(tmp_path / "ü映.mkv")
    done = subprocess.run(
        [sys.executable, "-m", "emsync", "analyze", str(path), "--affect", "none"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert b"\xfc\\u6620.mkv: 5.000 s" in done.stdout


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a system without devices")
def test_a_device_is_no_film() -> None:
    with pytest.raises(VideoError, match="is a device or a pipe"):
        analyze("/dev/zero")


def test_a_name_with_a_zero_byte_is_no_file() -> None:
    with pytest.raises(VideoError, match="cannot be read"):
        analyze("a\0b.mp4")
