"""A synthetic film: shots with their own colours, moving shapes and sounds, cut at irregular places.

    cuts_s = make("demo.mp4")

Used by `emsync demo` and by the tests, so that neither needs a download. The same seed gives the same frames, sounds
and cuts.
"""

from __future__ import annotations

import colorsys
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, OutputError
from emsync.files import atomic_path

#: Shots last this long, in seconds: above the 4 s that the composer keeps between boundaries.
SHORTEST_SHOT_S, LONGEST_SHOT_S = 4.0, 8.0
#: No demo film is longer, in seconds.
LONGEST_S = 3600

_SOUND_RATE_HZ = 44_100
#: Identifies these films.
_COMMENT = "made by emsync demo"

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Shot:
    """One shot: its place in the film, and its random properties."""

    start: int  # first frame
    end: int  # the frame after the last
    background: Floats  # (3,), 0 to 255
    colours: Floats  # (shapes, 3), 0 to 255
    motion: str
    sound: str
    places: Floats  # (shapes, 4): x, y, size, phase, each 0 to 1
    speed: float  # turns a second
    root_hz: float


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a film made by `make`."""
    import av
    import av.error

    try:
        with av.open(os.fspath(path), metadata_errors="replace") as film:
            return film.metadata.get("comment") == _COMMENT
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def cut_frames(n_frames: int, fps: int, rng: np.random.Generator) -> list[int]:
    """First frames of the shots after the first: irregular, `SHORTEST_SHOT_S` to `LONGEST_SHOT_S` apart.

    The last shot may be as long as two of the shortest. A film shorter than that has no cut.
    """
    shortest, longest = math.ceil(SHORTEST_SHOT_S * fps), math.floor(LONGEST_SHOT_S * fps)
    cuts: list[int] = []
    at = 0
    while n_frames - at >= 2 * shortest:
        at += int(rng.integers(shortest, min(longest, n_frames - at - shortest) + 1))
        cuts.append(at)
    return cuts


def make(
    path: str | os.PathLike[str],
    *,
    duration_s: float = 30.0,
    seed: int = 7,
    size: tuple[int, int] = (320, 180),
    fps: int = 24,
    overwrite: bool = True,
) -> tuple[float, ...]:
    """Write the film to `path` (.mp4, H.264 or MPEG-4 with AAC sound) and return its cuts in seconds.

    - duration_s: more than 0, at most 3600.
    - size: (width, height), both even.
    - fps: frames a second, 1 to 120.

    Raises `InputError` for a value outside these ranges, and `OutputError` when `path` cannot be written.
    """
    width, height = size
    if not (math.isfinite(duration_s) and 0 < duration_s <= LONGEST_S):
        raise InputError(f"a film of {duration_s} s cannot be made; give more than 0 and at most {LONGEST_S} s")
    if width % 2 or height % 2 or not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise InputError(f"a frame of {width}x{height} cannot be encoded; give even numbers from 16 to 4096")
    if not 1 <= fps <= 120:
        raise InputError(f"{fps} frames a second are not possible; give 1 to 120")
    rng = np.random.default_rng(seed)
    n_frames = max(2, round(duration_s * fps))
    cuts = cut_frames(n_frames, fps, rng)
    shots = _shots([0, *cuts, n_frames], rng)
    with atomic_path(path, overwrite=overwrite) as temporary:
        _write(str(temporary), shots, width, height, fps, rng)
    return tuple(cut / fps for cut in cuts)


def _shots(edges: list[int], rng: np.random.Generator) -> list[_Shot]:
    """Random shots between `edges`; neighbours differ in hue, brightness, motion and sound."""
    hue, shots = float(rng.random()), []
    motions, sounds = list(rng.permutation(list(_MOTIONS))), list(rng.permutation(list(_SOUNDS)))
    for index, (start, end) in enumerate(itertools.pairwise(edges)):
        hue = (hue + float(rng.uniform(0.25, 0.45))) % 1
        value = float(rng.uniform(0.65, 0.9) if index % 2 else rng.uniform(0.15, 0.35))
        shapes = int(rng.integers(3, 7))
        colours = [
            colorsys.hsv_to_rgb((hue + 0.5 + float(rng.uniform(-0.15, 0.15))) % 1, 0.8, 0.35 if index % 2 else 0.95)
            for _ in range(shapes)
        ]
        shots.append(
            _Shot(
                start=start,
                end=end,
                background=255 * np.array(colorsys.hsv_to_rgb(hue, float(rng.uniform(0.4, 0.9)), value)),
                colours=255 * np.array(colours),
                motion=str(motions[index % len(motions)]),
                sound=str(sounds[index % len(sounds)]),
                places=rng.random((shapes, 4)),
                speed=float(rng.uniform(0.08, 0.25)),
                root_hz=float(110 * 2 ** (rng.integers(0, 13) / 12)),
            )
        )
    return shots


# --- pictures -------------------------------------------------------------------------------------------------------

#: From x, y, phase and turns, (shapes,) each: the shapes' x and y in 0 to 1 and a factor of their size.
_Motion = Callable[[Floats, Floats, Floats, Floats], tuple[Floats, Floats, Floats]]


def _drift(x: Floats, y: Floats, phase: Floats, turns: Floats) -> tuple[Floats, Floats, Floats]:
    return (x + turns) % 1.2 - 0.1, y, np.ones_like(x)


def _orbit(x: Floats, y: Floats, phase: Floats, turns: Floats) -> tuple[Floats, Floats, Floats]:
    angle = 2 * np.pi * (phase + turns)
    return 0.5 + 0.35 * x * np.cos(angle), 0.5 + 0.35 * y * np.sin(angle), np.ones_like(x)


def _bounce(x: Floats, y: Floats, phase: Floats, turns: Floats) -> tuple[Floats, Floats, Floats]:
    return x, 1 - 0.8 * np.abs(np.sin(np.pi * (phase + 2 * turns))), np.ones_like(x)


def _pulse(x: Floats, y: Floats, phase: Floats, turns: Floats) -> tuple[Floats, Floats, Floats]:
    return x, y, 1 + 0.5 * np.sin(2 * np.pi * (phase + 2 * turns))


_MOTIONS: dict[str, _Motion] = {"drift": _drift, "orbit": _orbit, "bounce": _bounce, "pulse": _pulse}


def _draw(shot: _Shot, seconds: float, grid_x: Floats, grid_y: Floats) -> Picture:
    """One frame, (height, width, 3) RGB: a shaded background with discs and squares on it."""
    shade = 1 + 0.25 * (grid_y - 0.5)  # (height, 1)
    canvas = np.clip(shade[..., None] * shot.background, 0, 255) + np.zeros((*np.broadcast(grid_x, grid_y).shape, 1))
    x, y, size, phase = shot.places.T
    turns = np.full_like(x, shot.speed * seconds)
    at_x, at_y, factor = _MOTIONS[shot.motion](x, y, phase, turns)
    aspect = grid_x.shape[1] / grid_y.shape[0]
    for index, colour in enumerate(shot.colours):
        radius = (0.06 + 0.12 * size[index]) * factor[index]
        across, down = np.abs(grid_x - at_x[index]) * aspect, np.abs(grid_y - at_y[index])
        inside = across**2 + down**2 < radius**2 if index % 2 == 0 else np.maximum(across, down) < radius
        canvas[inside] = colour
    return canvas.astype(np.uint8)


# --- sounds ---------------------------------------------------------------------------------------------------------


def _tones(at_s: Floats, root_hz: float, rng: np.random.Generator) -> Floats:
    """A held triad that swells and fades."""
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.4 * at_s)
    return 0.12 * swell * sum(np.sin(2 * np.pi * root_hz * ratio * at_s) for ratio in (1.0, 1.25, 1.5))


def _steps(at_s: Floats, root_hz: float, rng: np.random.Generator) -> Floats:
    """Four plucked tones a second."""
    ratio = np.array([1, 1.25, 1.5, 2, 1.5, 1.25])[(at_s * 4).astype(np.intp) % 6]
    return 0.3 * np.exp(-6 * (at_s * 4 % 1)) * np.sin(2 * np.pi * 2 * root_hz * ratio * at_s)


def _bursts(at_s: Floats, root_hz: float, rng: np.random.Generator) -> Floats:
    """Two bursts of noise a second."""
    return 0.25 * np.exp(-12 * (at_s * 2 % 1)) * rng.uniform(-1, 1, at_s.size)


def _drone(at_s: Floats, root_hz: float, rng: np.random.Generator) -> Floats:
    """A low, quiet hum."""
    return 0.1 * np.sin(np.pi * root_hz * at_s) + 0.04 * np.sin(3.01 * np.pi * root_hz * at_s)


_SOUNDS: dict[str, Callable[[Floats, float, np.random.Generator], Floats]] = {
    "tones": _tones,
    "steps": _steps,
    "bursts": _bursts,
    "drone": _drone,
}


def _sound(shots: list[_Shot], fps: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The sound of the whole film, (1, samples)."""
    parts = []
    for shot in shots:
        first, last = (round(frame * _SOUND_RATE_HZ / fps) for frame in (shot.start, shot.end))
        at_s = np.arange(last - first) / _SOUND_RATE_HZ
        edge = np.minimum(1, np.minimum(at_s, at_s[::-1]) / 0.01)  # fades of ten milliseconds, against clicks
        parts.append(edge * _SOUNDS[shot.sound](at_s, shot.root_hz, rng))
    return np.concatenate(parts).astype(np.float32)[None, :]


# --- the file -------------------------------------------------------------------------------------------------------


def _write(path: str, shots: list[_Shot], width: int, height: int, fps: int, rng: np.random.Generator) -> None:
    """Encode frames and sound into an mp4."""
    import av
    import av.error

    sound = _sound(shots, fps, rng)
    try:
        with av.open(path, mode="w", format="mp4") as container:
            container.metadata["comment"] = _COMMENT
            video = _video_stream(container, width, height, fps)
            audio = container.add_stream("aac", rate=_SOUND_RATE_HZ, layout="mono")
            written = 0
            grid_x = (np.arange(width) + 0.5)[None, :] / width
            grid_y = (np.arange(height) + 0.5)[:, None] / height
            for shot in shots:
                for number in range(shot.start, shot.end):
                    pixels = _draw(shot, (number - shot.start) / fps, grid_x, grid_y)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, fps)
                    container.mux(video.encode(frame))
                    # Sound is interleaved with the frames, so that the file plays from the start.
                    until = round((number + 1) * _SOUND_RATE_HZ / fps)
                    piece = av.AudioFrame.from_ndarray(sound[:, written:until], format="fltp", layout="mono")
                    piece.sample_rate, piece.pts, piece.time_base = _SOUND_RATE_HZ, written, Fraction(1, _SOUND_RATE_HZ)
                    container.mux(audio.encode(piece))
                    written = until
            container.mux(video.encode(None))
            container.mux(audio.encode(None))
    except av.error.FFmpegError as error:
        raise OutputError(
            f"the film could not be encoded ({error}); free some space or choose another folder"
        ) from error


def _video_stream(container: Any, width: int, height: int, fps: int) -> Any:
    """A video stream: H.264 if this build of ffmpeg can write it, else MPEG-4 part 2."""
    import av

    name = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"preset": "veryfast", "crf": "23"} if name == "libx264" else {"qscale": "4"}
    stream = container.add_stream(name, rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    return stream
