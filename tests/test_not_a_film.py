"""Files that are no films, damaged films, and options out of range."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emsync.cli.analyze import summary
from emsync.errors import InputError, VideoError
from emsync.video import analyze
from tests.films import HEIGHT, WIDTH, shot_a, two_shots, write


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mkv", two_shots())


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


def test_an_mp4_with_its_index_first_and_its_end_missing_is_reported_incomplete(tmp_path: Path) -> None:
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
