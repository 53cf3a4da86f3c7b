"""A film encoder: what film music does to such pictures, learned from films with their scores (HPM, Section 3.1).

    reader = open_film("ENCODER")               # the folder that emsync train-film-encoder wrote
    mood, controls = reader.suggest(Path("film.mp4"), scene)

Semantic, aesthetic and emotion features of every second are fused by attention into one vector (`fusion.FilmEncoder`).
HPM conditions a music model on that vector and trains both together. Here a linear layer predicts from it what the
film's music does, second by second: valence, arousal, intensity and density. The composer follows these as it follows
curves that a person draws (docs/decisions/0034-the-film-encoder.md). Features are averaged over nine seconds, where
HPM takes the means of clips of ten.

- semantic: CLIP's embeddings of the frames.
- aesthetic: light, colour, motion and pace (`affect_terms`), where HPM has the six attributes of TAVAR.
- emotion: probabilities of the six emotions, by CLIP's sentences or by a trained classifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync import vision
from emsync.affect_clip import Clip, smoothed
from emsync.affect_emotions import EmotionReader, network_of, open_emotions, tensors
from emsync.affect_terms import terms
from emsync.control_curves import KINDS, Control, ControlCurves
from emsync.errors import ModelError
from emsync.modalities import FilmFeatures
from emsync.mood import MoodCurve
from emsync.video import CURVE_RATE_HZ, Scene
from emsync.vision import Floats, Progress

if TYPE_CHECKING:
    from emsync.fusion import FilmEncoder

FEATURES: Final = ("semantic", "aesthetic", "emotion")
#: What is predicted of the music, in this order. Density is the logarithm of 1 + notes a second.
TARGETS: Final = ("valence", "arousal", "intensity", "density")
#: The terms of pictures; every film has them.
TERMS: Final = ("brightness", "saturation", "lighting_key", "colour_energy", "motion", "pace")


@dataclass(frozen=True, eq=False)
class Eyes:
    """What a film encoder's features are made by: CLIP, and a classifier of emotions if one was trained."""

    clip: Clip
    emotions: EmotionReader | None = None

    def look(self, video: Path, scene: Scene, progress: Progress | None = None) -> FilmFeatures:
        """The features of a film, `FEATURES`. Raises `VideoError`, and `InputError` for a scene without curves."""
        sight = self.clip.sight(video, progress, scene.duration_s)
        shares = self.clip.emotions(sight.features) if self.emotions is None else self.emotions.shares(video)[1]
        found = terms(scene, hears=False)
        if missing := [name for name in TERMS if name not in found]:
            raise ModelError(f"the film was analyzed by an older version (no {missing[0]}); analyze it again")
        at_s = scene.times_s + 0.5 / CURVE_RATE_HZ
        shown = np.stack([np.interp(sight.times_s, at_s, found[name]) for name in TERMS], axis=1)
        made = {"semantic": sight.features.astype(np.float64), "aesthetic": shown, "emotion": shares}
        rows = {name: smoothed(made[name]).astype(np.float32) for name in FEATURES}
        return FilmFeatures(sight.times_s, rows, {name: np.ones(len(sight.times_s), dtype=bool) for name in rows})


@dataclass(frozen=True, eq=False)
class FilmReader:
    """An affect reader that also suggests intensity and density. mean, deviation: (4,) of `TARGETS` in training."""

    name: str
    eyes: Eyes
    network: FilmEncoder
    mean: Floats
    deviation: Floats

    def suggest(
        self, video: Path, scene: Scene, *, progress: Progress | None = None
    ) -> tuple[MoodCurve, ControlCurves]:
        """The mood and the controls for a film, once a second. Raises `VideoError`, `InputError`."""
        return curves_of(*predicted(self.network, self.eyes.look(video, scene, progress), self.mean, self.deviation))

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood alone."""
        return self.suggest(video, scene, progress=progress)[0]


def predicted(network: FilmEncoder, features: FilmFeatures, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """The moments (M,), and what the encoder predicts of the music there, (M, 4) `TARGETS`."""
    import torch

    rows, known = tensors(features)
    with torch.inference_mode():
        out = network(rows, known)[0].double().numpy()
    return features.times_s, out * deviation + mean


def curves_of(times_s: Floats, targets: Floats) -> tuple[MoodCurve, ControlCurves]:
    """Curves of `TARGETS` (M, 4), within their ranges."""
    valence, arousal = np.clip(targets[:, :2], -1.0, 1.0).T
    controls = {}
    for name, values in (("intensity", targets[:, 2]), ("density", np.expm1(np.minimum(targets[:, 3], 10.0)))):
        controls[name] = Control(times_s, np.round(np.clip(values, KINDS[name].low, KINDS[name].high), 3))
    return MoodCurve(times_s, np.round(valence, 4), np.round(arousal, 4)), ControlCurves(controls)


def scales_of(settings: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Mean and deviation (4,) of a head's settings. Raises `ModelError` for anything but finite numbers."""
    try:
        rows = [np.array([float(x) for x in settings[name]]) for name in ("mean", "deviation")]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("the film encoder does not say what its outputs mean; train it again") from error
    if any(row.shape != (len(TARGETS),) or not all(map(math.isfinite, row)) for row in rows) or (rows[1] <= 0).any():
        raise ModelError("the film encoder's scales are no four numbers; train it again")
    return rows[0], rows[1]


def open_film(argument: str | None) -> FilmReader:
    """The reader of a folder that `emsync train-film-encoder` wrote. Raises `ModelError` for anything else."""
    from emsync.fusion import FilmEncoder

    if argument is None or not vision.is_head(argument):
        raise ModelError(
            f"{argument or 'film'} is not the folder of a trained film encoder; give film:FOLDER, made by "
            "emsync train-film-encoder PAIRS -o FOLDER"
        )
    head = vision.read_head(argument, "film")
    network = network_of(head, FilmEncoder)
    mean, deviation = scales_of(head.settings)
    classifier = head.settings.get("emotions")
    eyes = Eyes(Clip.load(head.model), None if classifier is None else open_emotions(str(classifier)))
    sizes: dict[str, int] = {"semantic": eyes.clip.directions.shape[1], "aesthetic": len(TERMS), "emotion": 6}
    if dict(network.shape.sizes) != sizes or network.shape.outputs != len(TARGETS):
        raise ModelError(f"{argument} does not fit what {head.model!r} sees; train it again with this model")
    return FilmReader(f"film:{argument}", eyes, network, mean, deviation)


def as_settings(mean: Floats, deviation: Floats, emotions: Path | None) -> dict[str, Any]:
    """The settings that `open_film` reads."""
    made: dict[str, Any] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    return made if emotions is None else {**made, "emotions": str(emotions.resolve())}
