"""Films of a second or two, made on the spot: any pictures, at any times, with any sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 96, 54
Picture = npt.NDArray[np.uint8]


def plain(red: int, green: int, blue: int) -> Picture:
    """A picture of one colour, (HEIGHT, WIDTH, 3)."""
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.array([red, green, blue], np.uint8)


def write(
    path: Path,
    pictures: Iterable[Picture],
    *,
    times_s: Sequence[float] | None = None,
    fps: int = 25,
    start_s: float = 0.0,
    sound: npt.NDArray[np.float32] | None = None,
) -> Path:
    """A film of `pictures`, at `times_s` or `fps`; `sound` is (1, samples) at 8 kHz, starting with the pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=fps, bit_rate=4_000_000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        audio: Any = None if sound is None else container.add_stream("aac", rate=8000, layout="mono")
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            at_s = index / fps if times_s is None else times_s[index]
            frame.pts, frame.time_base = round((start_s + at_s) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for begin in range(0, sound.shape[1], 1024):
                piece = av.AudioFrame.from_ndarray(sound[:, begin : begin + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.time_base = 8000, Fraction(1, 8000)
                piece.pts = begin + round(start_s * 8000)
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


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
