"""Analysis of a film: its length, cuts, motion, brightness, colour and loudness.

    scene = analyze("film.mp4")
    scene.cuts_s            # every cut found
    scene.boundaries_s      # those far enough apart to be given to the composer

All times are in seconds from the first frame. A cut is the time of the first frame of a new shot, exactly as the file
gives it. Importing this module is fast; PyAV and PySceneDetect are imported by `analyze`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from emsync.cutlist import DEFAULT_T_DIFF_S as DEFAULT_T_DIFF_S
from emsync.cutlist import END_MARGIN_S as END_MARGIN_S
from emsync.cutlist import parse_frame_rate
from emsync.cutlist import spaced as spaced
from emsync.cutlist import timecode as timecode
from emsync.errors import InputError, VideoError, printable
from emsync.table import read_json

if TYPE_CHECKING:
    from emsync.film import Stills

Floats = npt.NDArray[np.float64]
Detector = Literal["local-ratio", "ffmpeg", "content", "adaptive"]

#: Detectors by name, the default first, with the default and the highest threshold. A lower threshold finds more.
DETECTORS: dict[str, tuple[float, float]] = {
    "local-ratio": (3.0, 1000.0),  # a change over the mean of the changes around it; emsync.cut_detector
    "ffmpeg": (0.3, 1.0),  # ffmpeg's scene score; the paper names ffmpeg and no threshold
    "content": (27.0, 255.0),  # PySceneDetect's ContentDetector
    "adaptive": (3.0, 255.0),  # PySceneDetect's AdaptiveDetector
}
assert tuple(DETECTORS) == get_args(Detector)
DEFAULT_DETECTOR: Detector = "local-ratio"

#: Samples a second of `Scene.motion`, `.luma`, `.saturation`, `.contrast` and `.warmth`.
CURVE_RATE_HZ = 4

_FORMAT_VERSION = 1
_WRITE_AGAIN = "write it again with: emsync analyze VIDEO -o SCENE.json"
_PLAIN: dict[str, type[Any]] = {"int": int, "float": float, "bool": bool, "str": str}
_CURVES = ("motion", "luma", "saturation", "contrast", "warmth")
#: Fields that scenes written by older versions lack; there they have their defaults.
_YOUNGER = ("contrast", "warmth", "warnings", "pictures_from_s")
_ARRAYS = ("cuts_s", "fades_s", "times_s", *_CURVES, "loudness_db")


def _empty() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known of one film.

    Arrays are float64 and read-only. Values are checked when the scene is made; raises `InputError` for wrong ones.
    """

    path: str
    duration_s: float
    """From the first frame to the end of the last, more than 0."""
    frame_rate: Fraction
    """Frames a second, a rate that films have; see `emsync.film_clock.settled_rate` for varying rates."""
    n_frames: int
    width: int
    """As shown: frames stored lying on their side are turned."""
    height: int
    cuts_s: Floats = field(default_factory=_empty)
    """Every hard cut, strictly increasing, in [0, duration_s]."""
    t_diff_s: float = DEFAULT_T_DIFF_S
    """The least distance of `boundaries_s` from each other."""
    fades_s: Floats = field(default_factory=_empty)
    """Where a picture appears out of black or white without a cut; not part of `cuts_s`."""
    times_s: Floats = field(default_factory=_empty)
    """Starts of the windows of 1 / `CURVE_RATE_HZ` s of the next five curves."""
    motion: Floats = field(default_factory=_empty)
    """Mean change of the grey level of a pixel, a second (1 is black to white), without the changes at cuts."""
    luma: Floats = field(default_factory=_empty)
    """Mean grey level, 0 (black) to 1 (white)."""
    saturation: Floats = field(default_factory=_empty)
    """Mean distance between the strongest and the weakest of red, green and blue, 0 (grey) to 1."""
    contrast: Floats = field(default_factory=_empty)
    """Standard deviation of the grey levels within a frame, 0 (one level) to 0.5; empty in older scenes."""
    warmth: Floats = field(default_factory=_empty)
    """Mean of red less blue, -1 (blue, cyan) to 1 (red, yellow), 0 for grey; empty in older scenes."""
    has_audio: bool = False
    loudness_db: Floats = field(default_factory=_empty)
    """Root mean square of each second, dB of full scale; NaN where there is no sound, -120 for digital silence."""
    detector: str = DEFAULT_DETECTOR
    threshold: float = DETECTORS[DEFAULT_DETECTOR][0]
    pictures_from_s: float = 0.0
    """How long after the beginning of the file its pictures begin, as where sound begins first."""
    is_complete: bool = True
    """False when the file breaks off, or parts of it could not be decoded."""
    warnings: tuple[str, ...] = ()
    """What was wrong with the file and how it was read nevertheless, a sentence each."""

    def __post_init__(self) -> None:
        """Check every field, and make the arrays read-only."""
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise InputError(f"a film of {self.duration_s} s cannot be scored; its length must be more than 0 s")
        if not isinstance(self.frame_rate, Fraction) or self.frame_rate <= 0:
            raise InputError(f"frame rate {self.frame_rate!r} must be a Fraction of more than 0 frames a second")
        if min(self.n_frames, self.width, self.height) < 1:
            raise InputError(f"{self.n_frames} frames of {self.width}x{self.height}: each number must be at least 1")
        for name in _ARRAYS:
            array = np.array(getattr(self, name), dtype=np.float64)  # a copy, so that nobody else can write to it
            if array.ndim != 1:
                raise InputError(f"{name} has {array.ndim} dimensions; it must be a list of numbers")
            if (np.isinf(array) if name == "loudness_db" else ~np.isfinite(array)).any():
                raise InputError(f"{name} holds a value that is not finite; leave it out")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not all(isinstance(text, str) for text in self.warnings):
            raise InputError("warnings must be texts; leave them out")
        object.__setattr__(self, "warnings", tuple(self.warnings))
        for name in ("cuts_s", "fades_s", "times_s"):
            times_s = getattr(self, name)
            if times_s.size and (times_s[0] < 0 or times_s[-1] > self.duration_s or (np.diff(times_s) <= 0).any()):
                raise InputError(f"{name} must increase strictly, from 0 s to the film's end ({self.duration_s:g} s)")
        for name in _CURVES:
            size = getattr(self, name).size
            if size != self.times_s.size and (size or name not in _YOUNGER):
                raise InputError(f"{name} has {size} values for {self.times_s.size} times_s")
        if not (math.isfinite(self.pictures_from_s) and self.pictures_from_s >= 0):
            raise InputError(f"pictures_from_s is {self.pictures_from_s}; it must be 0 s or more")
        if not math.isfinite(self.threshold):
            raise InputError(f"threshold is {self.threshold}; it must be a finite number")
        spaced((), self.t_diff_s)  # checks t_diff_s

    @property
    def boundaries_s(self) -> Floats:
        """The cuts that the composer is given: `spaced(cuts_s, t_diff_s)`, clear of both ends."""
        return spaced(self.cuts_s, self.t_diff_s, duration_s=self.duration_s)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scene):
            return NotImplemented
        pairs = [(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return all(
            np.array_equal(mine, theirs, equal_nan=True) if isinstance(mine, np.ndarray) else mine == theirs
            for mine, theirs in pairs
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def timecode(self, time_s: float) -> str:
        """`HH:MM:SS:FF` of a time in this film."""
        return timecode(time_s, self.frame_rate)

    def to_json(self, *, mood: Mapping[str, Any] | None = None, controls: Mapping[str, Any] | None = None) -> str:
        """The scene as JSON text; `from_json` is its inverse, to a microsecond (1e-6 for the curves).

        - `frame_rate` is written like "24/1", NaN as null.
        - `boundaries_s` is written for other programs and computed again when read.
        - mood, controls: written under these names for `mood.read_curve` and `control_files.read_controls`; they are
          no part of the scene.
        """
        record: dict[str, Any] = {"version": _FORMAT_VERSION}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value = _numbers(value)
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Fraction):
                value = f"{value.numerator}/{value.denominator}"
            record[item.name] = value
            if item.name == "cuts_s":
                record["boundaries_s"] = _numbers(self.boundaries_s)
        if mood is not None:
            record["mood"] = dict(mood)
        if controls:
            record["controls"] = dict(controls)
        # One line a field, so that a long film has few lines.
        lines = (f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """The scene that `to_json` wrote. Raises `InputError` naming the field that is missing or cannot be read."""
        try:
            record = read_json(text)
        except InputError as error:
            raise InputError(f"the scene is not JSON: {error}; {_WRITE_AGAIN}") from error
        if not isinstance(record, dict) or record.get("version") != _FORMAT_VERSION:
            version = record.get("version") if isinstance(record, dict) else None
            raise InputError(f"the scene has version {version!r}, this program reads {_FORMAT_VERSION}; {_WRITE_AGAIN}")
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name not in record and item.name in _YOUNGER:
                continue
            if item.name not in record:
                raise InputError(f"the scene lacks {item.name}; {_WRITE_AGAIN}")
            value = record[item.name]
            try:
                if item.name in _ARRAYS:
                    value = np.array([math.nan if number is None else float(number) for number in value])
                elif item.name == "warnings":
                    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
                        raise TypeError
                    value = tuple(value)
                elif item.name == "frame_rate":
                    value = parse_frame_rate(value)
                elif item.type in _PLAIN:
                    kind = _PLAIN[str(item.type)]
                    if kind in (bool, str) and not isinstance(value, kind):
                        raise TypeError
                    value = kind(value)
            except (TypeError, ValueError, OverflowError) as error:
                shown = printable(str(value)[:40])
                raise InputError(f"the scene's {item.name} cannot be read: {shown!r}; {_WRITE_AGAIN}") from error
            values[item.name] = value
        return cls(**values)


def _numbers(array: Floats) -> list[float | None]:
    """An array for JSON: a microsecond is enough, and NaN is null."""
    return [None if math.isnan(value) else round(value, 6) for value in array.tolist()]


def analyze(
    path: str | os.PathLike[str],
    *,
    detector: Detector = DEFAULT_DETECTOR,
    threshold: float | None = None,
    t_diff_s: float = DEFAULT_T_DIFF_S,
    progress: Callable[[float, float | None], None] | None = None,
    stills: Stills | None = None,
) -> Scene:
    """Analyze the film at `path` in one pass.

    - detector, threshold: one of `DETECTORS` and its sensitivity (lower finds more; None: its default).
    - t_diff_s: see `Scene.t_diff_s`.
    - progress: called about once a second of film with the seconds analyzed and the seconds expected (None: unknown).
    - stills: gathers small pictures during the pass.

    A file that ends early gives what can be decoded, with `is_complete` False. Corrected time stamps are
    named in `warnings`. Raises `VideoError` for a file that is missing, empty, cut off, or no video, and `InputError`
    for an option out of range.
    """
    if detector not in DETECTORS:
        raise InputError(f"there is no detector {detector!r}; choose one of {', '.join(DETECTORS)}")
    default, most = DETECTORS[detector]
    threshold = default if threshold is None else threshold
    if not (math.isfinite(threshold) and 0 < threshold <= most):
        raise InputError(f"a threshold of {threshold} does not suit {detector}; give more than 0 and at most {most:g}")
    spaced((), t_diff_s)

    from emsync.film import Film

    with Film(path) as film:
        return _watch(film, detector, threshold, t_diff_s, progress, stills)


def _watch(
    film: Any,
    detector: str,
    threshold: float,
    t_diff_s: float,
    progress: Callable[[float, float | None], None] | None,
    stills: Stills | None,
) -> Scene:
    """The decoding pass: every frame is scaled down once, for the cut detector and the curves."""
    rows, colours, cuts_s = _measured(film, detector, threshold, progress, stills)
    duration_s = film.duration_s
    if film.n_frames == 1 and duration_s < 1:
        raise VideoError(
            f"{film.shown_path} holds a single picture and no length; give a video of two pictures or more"
        )
    if progress is not None:
        progress(duration_s, duration_s)
    times_s, curves = _curves(rows, colours, cuts_s, duration_s)
    return Scene(
        path=str(film.path),
        duration_s=duration_s,
        frame_rate=film.frame_rate,
        n_frames=film.n_frames,
        width=film.width,
        height=film.height,
        cuts_s=cuts_s,
        t_diff_s=t_diff_s,
        fades_s=_fades(rows, cuts_s),
        times_s=times_s,
        **curves,
        has_audio=film.has_audio,
        loudness_db=film.loudness_db(),
        detector=detector,
        threshold=threshold,
        pictures_from_s=film.pictures_from_s,
        is_complete=film.is_complete,
        warnings=film.warnings,
    )


def _measured(
    film: Any,
    detector: str,
    threshold: float,
    progress: Callable[[float, float | None], None] | None,
    stills: Stills | None,
) -> tuple[Floats, Floats, Floats]:
    """Rows of each frame (time, mean, standard deviation, change), of each colour (time, saturation, warmth); cuts."""
    from av.video.reformatter import VideoReformatter

    from emsync.cut_detector import GREY_HEIGHT, GREY_WIDTH, make_finder
    from emsync.stills import small

    finder = make_finder(detector, threshold, film.time_base, film.nominal_rate or Fraction(25))
    # One reformatter for each size: a new one for each frame would rebuild its tables, at twice the cost.
    to_grey, to_colour = VideoReformatter(), VideoReformatter()
    before: npt.NDArray[np.int16] | None = None
    rows: list[tuple[float, float, float, float]] = []
    colours: list[tuple[float, float, float]] = []
    for frame, ticks in film.frames():
        time_s = float(ticks * film.time_base)
        try:
            grey = small(to_grey, frame, GREY_WIDTH, GREY_HEIGHT, "gray")
            if not colours or int(time_s * CURVE_RATE_HZ) > int(colours[-1][0] * CURVE_RATE_HZ):
                rgb = small(to_colour, frame, 32, 18, "rgb24")  # (18, 32, 3)
                warmth = float(rgb[..., 0].mean()) - float(rgb[..., 2].mean())
                colours.append((time_s, float(np.ptp(rgb, axis=2).mean()) / 255, warmth / 255))
            if stills is not None:
                stills.show(frame, time_s)
            finder.show(frame, grey, ticks)
        except VideoError as error:
            raise VideoError(f"{film.shown_path}: {error}") from error
        now = grey.astype(np.int16)
        change = 0.0 if before is None else float(np.abs(now - before).mean())
        rows.append((time_s, float(now.mean()), float(now.std()), change))
        if progress is not None and (before is None or int(time_s) > int(rows[-2][0])):
            progress(time_s, film.expected_s)
        before = now
    return np.array(rows).T, np.array(colours).T, finder.finish()


def _curves(frames: Floats, colours: Floats, cuts_s: Floats, duration_s: float) -> tuple[Floats, dict[str, Floats]]:
    """Times and `_CURVES` at `CURVE_RATE_HZ`; a window without a frame shows the last one before it."""
    at_s, mean, deviation, change = frames
    n = max(1, math.ceil(round(duration_s * CURVE_RATE_HZ, 6)))
    times_s = np.arange(n) / CURVE_RATE_HZ
    span = np.minimum((at_s * CURVE_RATE_HZ).astype(np.intp), n - 1)
    count = np.bincount(span, minlength=n)
    # The change at a cut is no motion. Every cut is exactly the time of a frame.
    moved = np.where(np.isin(at_s, cuts_s), 0.0, change)
    length_s = np.minimum(1 / CURVE_RATE_HZ, np.maximum(duration_s - times_s, 1e-3))
    motion = np.bincount(span, weights=moved, minlength=n) / 255 / length_s
    shown = np.maximum.accumulate(np.where(count > 0, np.arange(n), 0))
    luma, contrast = (
        (np.bincount(span, weights=weights, minlength=n) / np.maximum(count, 1))[shown] / 255
        for weights in (mean, deviation)
    )
    seen = np.searchsorted(colours[0], times_s + 1 / CURVE_RATE_HZ, side="left") - 1
    levels = (motion, luma, colours[1][seen], contrast, colours[2][seen])
    return times_s, dict(zip(_CURVES, levels, strict=True))


def _fades(frames: Floats, cuts_s: Floats) -> Floats:
    """Times of the first frame after black or white with no cut within a quarter of a second."""
    at_s, mean, deviation, _ = frames
    blank = (deviation < 3) & ((mean < 12) | (mean > 243))
    appears_s = at_s[1:][blank[:-1] & ~blank[1:]]
    if not cuts_s.size or not appears_s.size:
        return appears_s
    after = np.searchsorted(cuts_s, appears_s)
    from_next_s = np.abs(cuts_s[np.minimum(after, cuts_s.size - 1)] - appears_s)
    from_last_s = np.abs(cuts_s[np.maximum(after - 1, 0)] - appears_s)
    return appears_s[np.minimum(from_next_s, from_last_s) > 0.25]
