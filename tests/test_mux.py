"""Sound under a film: sound and picture agree to 10 ms, whatever the film's clock, and the picture is copied."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import InputError, OutputError, VideoError
from emsync.mux import mux

soundfile = pytest.importorskip("soundfile")
CLICK_S = 1.0


def film(path: Path, *, codec: str = "libx264", start_s: float = 0.0, varying: bool = False, n: int = 60) -> Path:
    """Grey frames at 25 frames a second, the one at 1 s white."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(n):
            at_s = i / 25
            if varying and i % 3 == 1 and abs(at_s - CLICK_S) > 0.1:
                at_s += 0.013
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 255 if abs(i / 25 - CLICK_S) < 1e-6 else 90, np.uint8), "rgb24"
            )
            frame.pts, frame.time_base = round((start_s + at_s) * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture
def click(tmp_path: Path) -> Path:
    """Three seconds of silence with a click at 1 s."""
    sound = np.zeros((3 * 44100, 2))
    sound[round(CLICK_S * 44100) :][:80] = 0.9
    soundfile.write(tmp_path / "click.wav", sound, 44100)
    return tmp_path / "click.wav"


def flash_and_click_s(path: Path) -> tuple[float, float, float]:
    """When the first frame is shown, the white one, and when the click sounds, on the file's own clock."""
    with av.open(str(path)) as made:
        times = [(float(f.pts * f.time_base), f.to_ndarray(format="gray").mean()) for f in made.decode(video=0)]
    with av.open(str(path)) as made:
        for frame in made.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.3)
            if len(loud):
                heard_s = float(frame.pts * frame.time_base) + int(loud[0]) / frame.sample_rate
                return times[0][0], next(t for t, light in times if light > 180), heard_s
    raise AssertionError("there is no click")


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("name", "options", "out"),
    [
        ("a.mp4", {}, "b.mp4"),
        ("a.mp4", {}, "b.mkv"),
        ("a.mp4", {"varying": True}, "b.mp4"),
        ("late.mkv", {"start_s": 3.7}, "b.mp4"),
        ("late.ts", {"start_s": 12.0}, "b.mov"),
        ("a.webm", {"codec": "libvpx"}, "b.webm"),
        ("a.avi", {"codec": "mpeg4"}, "b.mp4"),
    ],
)
def test_a_click_and_a_flash_agree(tmp_path: Path, click: Path, name: str, options: Any, out: str) -> None:
    video = film(tmp_path / name, **options)
    made = mux(video, click, tmp_path / out)
    first_s, flash_s, click_s = flash_and_click_s(made)
    assert click_s == pytest.approx(flash_s, abs=0.010)
    assert first_s == pytest.approx(0.0, abs=0.005)
    assert flash_s - first_s == pytest.approx(CLICK_S, abs=0.002)


def test_the_picture_is_copied_and_the_films_own_sound_is_gone(tmp_path: Path, click: Path) -> None:
    video = film(tmp_path / "a.mkv")
    made = mux(video, click, tmp_path / "b.mkv")
    assert packets(made) == packets(video)
    again = mux(made, click, tmp_path / "c.mkv")
    with av.open(str(again)) as container:
        assert len(container.streams.audio) == 1


def test_the_sound_ends_with_the_film(tmp_path: Path, click: Path) -> None:
    with av.open(str(mux(film(tmp_path / "a.mp4", n=45), click, tmp_path / "b.mp4"))) as made:
        assert made.duration / 1e6 == pytest.approx(45 / 25, abs=0.03)


@pytest.mark.parametrize("out", ["b.mp4", "b.mkv"])
def test_sound_is_stored_next_to_its_picture(tmp_path: Path, out: str) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros((30 * 8000, 2)), 8000)
    made = mux(film(tmp_path / "a.mp4", n=30 * 25), tmp_path / "long.wav", tmp_path / out)
    with av.open(str(made)) as container:
        stored = sorted(
            (packet.pos, packet.stream.type, float(packet.pts * packet.time_base))
            for packet in container.demux()
            if packet.size and packet.pts is not None
        )
    picture_s = apart_s = 0.0
    for _, kind, at_s in stored:
        if kind == "video":
            picture_s = max(picture_s, at_s)
        else:
            apart_s = max(apart_s, abs(picture_s - at_s))
    assert 29 < picture_s < 30
    assert apart_s < 3


@pytest.mark.parametrize("out", ["b.mp4", "b.mov", "b.mkv"])
def test_a_turned_film_stays_turned(tmp_path: Path, click: Path, out: str) -> None:
    video = film(tmp_path / "a.mp4")
    data = bytearray(video.read_bytes())
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, section 8.3.2, version 0
    assert struct.unpack_from(">9i", data, matrix) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    video.write_bytes(data)
    with av.open(str(mux(video, click, tmp_path / out))) as made:
        assert next(made.decode(video=0)).rotation == -90


def test_what_cannot_be_muxed(tmp_path: Path, click: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = film(tmp_path / "a.webm", codec="libvpx")
    (tmp_path / "text.mp4").write_text("no film")
    for arguments, error, message in (
        (
            (video, click, tmp_path / "b.mp4"),
            InputError,
            r"\.mp4 cannot hold this film's picture \(vp8\); write to \.mkv",
        ),
        ((video, click, tmp_path / "b.gif"), InputError, r"b\.gif has none of the endings \.mp4, \.m4v"),
        ((click, click, tmp_path / "b.mp4"), VideoError, r"click\.wav has no pictures; give a video"),
        ((tmp_path / "text.mp4", click, tmp_path / "b.mp4"), VideoError, r"text\.mp4 cannot be read as a video"),
        ((video, tmp_path / "text.mp4", tmp_path / "b.mkv"), InputError, r"text\.mp4 cannot be read as sound"),
        ((video, video, tmp_path / "b.mkv"), InputError, r"a\.webm has no sound; give a \.wav"),
        ((video, click, video), OutputError, r"a\.webm is what is read"),
    ):
        with pytest.raises(error, match=message):
            mux(*arguments, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webm", "click.wav", "text.mp4"]


def test_the_command(tmp_path: Path, click: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, out = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    assert main(["mux", str(video), str(click), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"Wrote {out}.\n"
    assert main(["mux", str(video), str(click), "-o", str(out)]) == 2
    assert "b.mp4 exists already" in capsys.readouterr().err
    assert main(["compose", "--duration", "2", "--mp4", str(out), "-q"]) == 2
    assert "--mp4 lays the music under the video, and there is none" in capsys.readouterr().err
