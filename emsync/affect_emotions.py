"""Mood of a film by a classifier of the six emotions, trained on films (EMSYNC, Section III-A1).

    reader = open_emotions("CLASSIFIER")        # the folder that emsync train-emotions wrote
    curve = reader.read(Path("film.mp4"), scene)

The classifier reads `WINDOW` moments around each moment and gives the probabilities of the six emotions; the mood is
the mean of the paper's mixture of Gaussians (Section III-B4), or one draw from it for the whole film. The published
program takes 16 frames of a film as well; the paper says nothing of this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync import vision
from emsync.emotions import EMOTION_NAMES, MU_MAX, mixture_mean, mixture_sample
from emsync.errors import ModelError
from emsync.modalities import FilmFeatures, Models, Senses
from emsync.mood import MoodCurve
from emsync.video import Scene
from emsync.vision import Features, Floats, Head, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from emsync.fusion import EmotionClassifier, FilmEncoder

#: How many moments the classifier reads at a time.
WINDOW: Final = 16
#: Windows are read so many at a time.
BATCH: Final = 64


def tensors(features: FilmFeatures) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features (1, M, D) and whether they are known (1, M), by modality, as torch has them."""
    import torch

    rows = {
        name: torch.from_numpy(np.ascontiguousarray(row, dtype=np.float32))[None] for name, row in features.rows.items()
    }
    return rows, {name: torch.from_numpy(features.known[name].copy())[None] for name in rows}


def windows(
    features: FilmFeatures, firsts: list[int], sizes: Mapping[str, int]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Windows (B, WINDOW, D) of a film that begin at the moments `firsts`, and whether each moment is known.

    Moments before the film's first and after its last are not known, and neither is a modality that the film lacks.
    """
    import torch

    index = np.array(firsts)[:, None] + np.arange(WINDOW)  # (B, WINDOW)
    inside = (index >= 0) & (index < len(features.times_s))
    index = np.clip(index, 0, len(features.times_s) - 1)
    rows, known = {}, {}
    for name, size in sizes.items():
        if name in features.rows:
            rows[name] = torch.from_numpy(features.rows[name][index].astype(np.float32))
            known[name] = torch.from_numpy(features.known[name][index] & inside)
        else:
            rows[name] = torch.zeros(*index.shape, size)
            known[name] = torch.zeros(*index.shape, dtype=torch.bool)
    return rows, known


def probabilities(network: EmotionClassifier, features: FilmFeatures) -> Floats:
    """Probabilities (M, 6) of the emotions at each moment. Raises `ModelError` for features of another model."""
    import torch

    sizes = network.shape.sizes
    for name, row in features.rows.items():
        if sizes.get(name) != row.shape[1]:
            raise ModelError(
                f"features of {name} have {row.shape[1]} numbers where the classifier takes {sizes.get(name, 'none')}; "
                "train it again with this model"
            )
    found = []
    starts = [moment - WINDOW // 2 for moment in range(len(features.times_s))]
    with torch.inference_mode():
        for first in range(0, len(starts), BATCH):
            logits = network(*windows(features, starts[first : first + BATCH], sizes))
            found.append(torch.softmax(logits.double(), dim=-1).numpy())
    return np.concatenate(found)


def network_of(head: Head, kind: Any) -> Any:
    """The network of a head, of the class `kind` of `emsync.fusion`. Raises `ModelError` if its weights do not fit."""
    import torch

    from emsync.fusion import Shape

    shape = Shape.from_dict(head.settings.get("shape", {}))
    with torch.device("meta"):  # no memory is taken for a shape that the weights do not have
        network: nn.Module = kind(shape)
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(np.shape(value)) for name, value in head.weights.items()}
    if wanted != given:
        raise ModelError("the weights do not fit the shape that is written beside them; copy the folder again")
    network.load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in head.weights.items()}, assign=True
    )
    return network.eval().requires_grad_(False)


def weights_of(network: EmotionClassifier | FilmEncoder) -> dict[str, Features]:
    """The weights of a network for a head."""
    return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}


@dataclass(frozen=True, eq=False)
class EmotionReader:
    """An affect reader by way of the six emotions.

    mu_max: how far from neutral the furthest emotion lies. draw: the seed to draw one mood for the film with, instead
    of taking the means.
    """

    name: str
    senses: Senses
    network: EmotionClassifier
    mu_max: float = MU_MAX
    draw: int | None = None

    def shares(self, video: Path, progress: Progress | None = None) -> tuple[Floats, Floats]:
        """The moments (M,) of a film, and the probabilities of the emotions (M, 6)."""
        features = self.senses.look(video, progress)
        return features.times_s, probabilities(self.network, features)

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood of the film once a second. Raises `VideoError` for a file that cannot be decoded."""
        return mood_of_shares(*self.shares(video, progress), self.mu_max, self.draw)

    def by(self, mu_max: float, draw: int | None) -> EmotionReader:
        """The same reader with another range of moods, or with a drawn mood."""
        return replace(self, mu_max=mu_max, draw=draw)


def mood_of_shares(times_s: Floats, shares: Floats, mu_max: float = MU_MAX, draw: int | None = None) -> MoodCurve:
    """The mood at times (M,) with probabilities of the emotions (M, 6).

    draw: a seed; one mood throughout is drawn from the film's mean probabilities then (Section III-B4).
    """
    if draw is not None:
        mean = shares.mean(axis=0)
        return MoodCurve.constant(
            *mixture_sample(mean / mean.sum(), np.random.default_rng(draw), mu_max=mu_max).tolist()
        )
    levels = mixture_mean(shares, mu_max=mu_max)
    return MoodCurve(times_s, levels[:, 0], levels[:, 1])


def open_emotions(argument: str | None) -> EmotionReader:
    """The reader of a folder that `emsync train-emotions` wrote. Raises `ModelError` for anything else."""
    from emsync.fusion import EmotionClassifier

    if argument is None or not vision.is_head(os.fspath(argument)):
        raise ModelError(
            f"{argument or 'emotions'} is not the folder of a trained classifier; give emotions:FOLDER, "
            "made by emsync train-emotions FILMS -o FOLDER"
        )
    head = vision.read_head(argument, "emotions")
    network = network_of(head, EmotionClassifier)
    if network.shape.outputs != len(EMOTION_NAMES):
        raise ModelError(f"{argument} does not tell the six emotions apart; train it again")
    return EmotionReader(f"emotions:{argument}", Senses(Models.from_dict(head.settings.get("models", {}))), network)
