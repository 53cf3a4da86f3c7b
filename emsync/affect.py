"""Mood of a film: the built-in affect reader, and how others are found.

    reader = open_reader("builtin")     # or builtin:pictures, clip:MODEL, vlm:HEAD_FOLDER, curve.csv, a plugin's name
    curve = reader.read(Path("film.mp4"), analyze("film.mp4"))

Levels lie in [-1, 1], with one point a second at 0.5, 1.5, ... s over the whole film; 0 is an average film. The
built-in reader uses colour, light, motion, pace and loudness, all of which `Scene` holds, so it needs no download and
almost no time. docs/affect.md gives every formula, the sources of its constants, and how to add a reader.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from emsync.affect_terms import TERMS, terms
from emsync.emotions import MU_MAX, mixture_sample, posterior, through_emotions
from emsync.errors import EmsyncError, InputError, MissingExtraError
from emsync.mood import MoodCurve, read_curve
from emsync.video import CURVE_RATE_HZ, Scene
from emsync.vision import moments

Floats = npt.NDArray[np.float64]
#: Called with the share of the film that is done, 0 to 1.
Progress = Callable[[float], None]

DEFAULT_READER: Final = "builtin"
#: The built-in reader without the film's sound, as the paper withholds it from its evaluation (Section IV-B).
PICTURES_READER: Final = "builtin:pictures"
#: The built-in reader whose levels go by way of the six emotions of the paper's Table I.
EMOTIONS_READER: Final = "builtin:emotions"
#: The value of `--affect` for no mood.
NO_READER: Final = "none"
#: The group of entry points in which other packages offer readers: callables `(argument: str | None) -> AffectReader`.
ENTRY_POINTS: Final = "emsync.affect"
#: Modules that the readers with a vision model need.
_VISION_NEEDS: Final = ("torch", "transformers")
#: The readers that need them: the module and the function that opens each.
_VISION_READERS: Final = {
    "clip": ("emsync.affect_clip", "open_clip"), "vlm": ("emsync.affect_vlm", "open_vlm"),
    "emotions": ("emsync.affect_emotions", "open_emotions"), "film": ("emsync.affect_film", "open_film"),
}  # fmt: skip


class AffectReader(Protocol):
    """Estimates the mood curve of a film."""

    @property
    def name(self) -> str:
        """The name that `emsync compose` prints."""

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood of the film in the file `video`, whose analysis is `scene`; levels in [-1, 1] or NaN."""


# --- the built-in reader ----------------------------------------------------------------------------------------------


_PICTURE: Final = ("brightness", "saturation", "lighting_key", "colour_energy")
#: Terms are clipped to this many deviations.
MAX_DEVIATIONS: Final = 2.0
#: The assumed correlation of any two terms, from which the deviation of their sum is computed.
CORRELATION: Final = 0.3
#: Frames below this contrast (3 of 255, as for fades) are blank; their terms are weighted by this share.
BLANK_CONTRAST, BLANK_SHARE = 3 / 255, 0.5
#: Length and shape of the Kaiser window for smoothing. The shape is that of Hanjalic & Xu. Their length of 60 s is for
#: feature films; this one lets music change within a phrase or two.
WINDOW_S, WINDOW_SHAPE = 12.0, 5.0


def builtin_mood(scene: Scene, *, hears: bool = True) -> MoodCurve:
    """Mood from colour, light, motion, pace and loudness: one point a second, levels in [-1, 1], 0 for an average film.

    Each of `terms` is standardized by an average film, weighted, summed and smoothed. The sum is scaled to a standard
    deviation of one over average films, whichever terms there are. A level is 2 F - 1, where F is the normal
    distribution's share of films below it; the music corpus is labelled on the same scale. Valence does not depend on
    sound. `hears` says whether the film's sound counts. Raises `InputError` for a scene without curves.
    """
    found = terms(scene, hears=hears)
    share = np.where(scene.contrast < BLANK_CONTRAST, BLANK_SHARE, 1.0) if scene.contrast.size else 1.0
    rows = [term for term in TERMS if term.name in found]
    deviations = np.stack(
        [
            np.clip((found[term.name] - term.mean) / term.deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
            * (share if term.name in _PICTURE else 1.0)
            for term in rows
        ]
    )  # (terms, T)
    times_s = moments(scene.duration_s)
    levels = []
    for weights in (np.array([term.valence for term in rows]), np.array([term.arousal for term in rows])):
        variance = (1 - CORRELATION) * np.square(weights).sum() + CORRELATION * weights.sum() ** 2
        # Smoothing the sum is the same as smoothing each term.
        total = _smoothed(weights @ deviations) / math.sqrt(variance)
        level = np.interp(times_s, scene.times_s + 0.5 / CURVE_RATE_HZ, total)
        levels.append(np.array([round(math.erf(value / math.sqrt(2)), 6) for value in level.tolist()]))
    return MoodCurve(times_s, *levels)


def _smoothed(row: Floats) -> Floats:
    """`row`, `CURVE_RATE_HZ` values a second, smoothed by the Kaiser window, which is normalized at the ends."""
    half = round(WINDOW_S * CURVE_RATE_HZ / 2)
    window = np.kaiser(2 * half + 1, WINDOW_SHAPE)
    inside = slice(half, half + row.size)
    return np.asarray(np.convolve(row, window)[inside] / np.convolve(np.ones(row.size), window)[inside])


@dataclass(frozen=True)
class BuiltinReader:
    """`builtin_mood` as a reader, from pictures and sound or from pictures alone.

    by_emotions: Its levels are mapped to a mixture of the six emotions (`emotions.through_emotions`), which is all that
    the paper's classifier gives.
    """

    hears: bool = True
    by_emotions: bool = False
    mu_max: float = MU_MAX
    """With `by_emotions`: how far from neutral the furthest emotion lies."""
    draw: int | None = None
    """With `by_emotions`: a seed to draw one mood for the film with, instead of taking the means."""

    @property
    def name(self) -> str:
        """Its specification."""
        if self.by_emotions:
            return EMOTIONS_READER
        return DEFAULT_READER if self.hears else PICTURES_READER

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood of the scene's curves; the file is not opened."""
        curve = builtin_mood(scene, hears=self.hears)
        if not self.by_emotions:
            return curve
        if self.draw is None:
            return MoodCurve(curve.times_s, *through_emotions(curve.valence, curve.arousal, mu_max=self.mu_max).T)
        shares = posterior(curve.valence, curve.arousal, mu_max=self.mu_max).mean(axis=0)
        drawn = mixture_sample(shares, np.random.default_rng(self.draw), mu_max=self.mu_max)
        return MoodCurve.constant(*drawn.tolist())

    def by(self, mu_max: float, draw: int | None) -> BuiltinReader:
        """The same reader with another range of moods, or with a drawn mood."""
        return replace(self, mu_max=mu_max, draw=draw)


@dataclass(frozen=True, eq=False)
class FileReader:
    """A mood curve from a file."""

    name: str
    curve: MoodCurve

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The curve once a second, with its ends held. Raises `InputError` if it is longer than the film."""
        return self.curve.check_fits(scene.duration_s).resampled(moments(scene.duration_s))


# --- which reader -----------------------------------------------------------------------------------------------------


def open_reader(spec: str = DEFAULT_READER) -> AffectReader:
    """The reader that `spec` names.

    - "builtin", or "builtin:pictures" to leave out the film's sound, "builtin:emotions" by way of the six emotions
    - "clip" or "clip:MODEL_OR_HEAD_FOLDER"
    - "vlm:HEAD_FOLDER"
    - "emotions:FOLDER" of emsync train-emotions, "film:FOLDER" of emsync train-film-encoder
    - the path of a curve (.csv or .json, see `emsync.mood.read_curve`)
    - "NAME" or "NAME:ARGUMENT" of a reader in another package

    Raises `InputError` for an unknown name (listing the known ones), a curve that cannot be read, or a reader of
    another package that cannot be loaded; `MissingExtraError` if a reader needs something that is not installed.
    """
    if spec.lower().endswith((".csv", ".json")):
        return FileReader(spec, read_curve(spec))
    name, colon, rest = spec.partition(":")
    argument = rest if colon else None
    if colon and not rest:
        raise InputError(f"the affect reader {spec!r} ends in a colon; give something after it, or leave it out")
    if name == DEFAULT_READER:
        if spec not in (DEFAULT_READER, PICTURES_READER, EMOTIONS_READER):
            raise InputError(
                f"the affect reader {name!r} takes only pictures or emotions after the colon, not {rest!r}"
            )
        return BuiltinReader(hears=spec != PICTURES_READER, by_emotions=spec == EMOTIONS_READER)
    if name in _VISION_READERS:
        _need_vision(name)
        module, function = _VISION_READERS[name]
        opened: AffectReader = getattr(importlib.import_module(module), function)(argument)
        return opened
    offered = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        others = "".join(f", {other}" for other in sorted(offered))
        raise InputError(
            f"there is no affect reader {name!r}; give {DEFAULT_READER}, clip, clip:MODEL, vlm:HEAD_FOLDER, "
            f"emotions:FOLDER, film:FOLDER{others}, or a curve's .csv or .json file"
        )
    return _opened(name, offered[name], argument)


def reads_by_model(spec: str | None) -> bool:
    """Whether the reader of a spec of `open_reader` needs the extra `vision`."""
    return (spec or "").partition(":")[0] in _VISION_READERS


def _need_vision(name: str) -> None:
    missing = [module for module in _VISION_NEEDS if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f'the affect reader {name!r} needs {" and ".join(missing)}; run: pip install "emsync[vision]"'
        )


def _opened(name: str, point: metadata.EntryPoint, argument: str | None) -> AffectReader:
    """A reader of another package; the message of an error names that package."""
    try:
        reader: Any = point.load()(argument)
    except EmsyncError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the affect reader {name!r} ({point.value}) cannot be opened ({reason}); update or remove its package"
        ) from error
    if not isinstance(getattr(reader, "name", None), str) or not callable(getattr(reader, "read", None)):
        raise InputError(
            f"the affect reader {name!r} ({point.value}) has no name or no read; update or remove its package"
        )
    opened: AffectReader = reader
    return opened
