"""Mood of a film by CLIP: similarity of its frames to words for Ekman's six emotions, or a trained linear head.

    reader = open_clip(None)                    # zero-shot, with the default checkpoint
    reader = open_clip("HEAD")                  # the head that emsync train-affect wrote to HEAD
    curve = reader.read(Path("film.mp4"), scene)

Zero-shot (Radford et al., ICML 2021, Sections 3.1.2 and 3.1.4): the direction of an emotion is
the normalized mean of the unit embeddings of its sentences. Probabilities are the softmax of the cosines times the
model's logit scale. They are averaged over windows, and the mood is the mean of the paper's mixture of Gaussians
(EMSYNC, Section III-B4).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vision
from emsync.errors import ModelError
from emsync.mood import EMOTION_NAMES, MoodCurve, mixture_mean
from emsync.video import Scene
from emsync.vision import Features, Floats, Head, Picture, Progress, Sight

DEFAULT_MODEL: Final = "openai/clip-vit-base-patch32"

#: Sentences about a picture, with a word of `WORDS` in the gap. All sentences of an emotion have the same weight.
TEMPLATES: Final = (
    "a film still that conveys {}.",
    "a movie scene full of {}.",
    "a photo that makes the viewer feel {}.",
    "a frame of a film whose mood is {}.",
    "the atmosphere of this picture is one of {}.",
)
#: Words for each emotion of Table I.
WORDS: Final = {
    "anger": ("anger", "rage", "hostility"),
    "disgust": ("disgust", "revulsion", "repulsion"),
    "fear": ("fear", "terror", "dread"),
    "joy": ("joy", "happiness", "delight"),
    "sadness": ("sadness", "grief", "sorrow"),
    "surprise": ("surprise", "astonishment", "amazement"),
}
assert tuple(WORDS) == EMOTION_NAMES

#: Frames are scaled to this while decoding; CLIP itself takes squares of 224 or 336.
SHORTEST_PX: Final = 336
#: Frames a batch.
BATCH: Final = 16
#: Length of the window around each moment, in seconds.
WINDOW_S: Final = 9


def sentences(emotion: str) -> list[str]:
    """All templates with all words of an emotion."""
    return [template.format(word) for template in TEMPLATES for word in WORDS[emotion]]


def smoothed(values: npt.ArrayLike, window: int = WINDOW_S) -> Floats:
    """Values (M, C), one a second, smoothed by a Hann window of odd length.

    At the ends the window is cut off and its weights are normalized again.
    """
    given = np.asarray(values, dtype=np.float64)
    kernel = np.hanning(window + 2)[1:-1]
    reach = window // 2

    def spread(column: Floats) -> Floats:
        return np.convolve(column, kernel, "full")[reach : reach + len(column)]

    total = spread(np.ones(len(given)))
    return np.stack([spread(column) / total for column in given.T], axis=1)


@dataclass(frozen=True, eq=False)
class Clip:
    """A loaded CLIP model, which embeds pictures and sentences as unit vectors of one space."""

    model: str
    processor: Any = field(repr=False)
    network: Any = field(repr=False)
    device: Any

    @classmethod
    def load(cls, model: str) -> Clip:
        """The model of a folder or of the hub. Raises `ModelError` if it cannot be loaded or is not a CLIP model."""
        processor, network, device = vision.load(model, "AutoModel")
        wanted = ("get_image_features", "get_text_features", "logit_scale")
        if not all(hasattr(network, name) for name in wanted):
            raise ModelError(
                f"{model!r} is a {type(network).__name__}, which does not compare pictures with sentences; "
                f"give a CLIP model such as {DEFAULT_MODEL}"
            )
        return cls(model, processor, network, device)

    def sight(self, video: str | os.PathLike[str], progress: Progress | None = None, expected_s: float = 0.0) -> Sight:
        """Embeddings (M, D) of a film's frames, one a moment. Raises `VideoError`."""
        times_s: list[float] = []
        rows: list[Features] = []
        batch: list[Picture] = []
        for time_s, picture in vision.pictures(video, shortest_px=SHORTEST_PX):
            times_s.append(time_s)
            batch.append(picture)
            if len(batch) == BATCH:
                rows.append(self.of_pictures(batch))
                batch = []
                if progress is not None and expected_s > 0:
                    progress(min(1.0, time_s / expected_s))
        if batch:
            rows.append(self.of_pictures(batch))
        if progress is not None:
            progress(1.0)
        n = len(times_s)
        return Sight(np.array(times_s), np.concatenate(rows), np.arange(n, dtype=np.int64), np.ones(n))

    def of_pictures(self, batch: Sequence[Picture]) -> Features:
        """Unit embeddings (n, D) of pictures (height, width, 3)."""
        with vision.quietly():
            inputs = self.processor(images=list(batch), return_tensors="pt")
        return self._unit(self.network.get_image_features, {"pixel_values": inputs["pixel_values"]})

    def of_sentences(self, texts: Sequence[str]) -> Features:
        """Unit embeddings (n, D) of sentences."""
        with vision.quietly():
            inputs = self.processor(text=list(texts), return_tensors="pt", padding=True, truncation=True)
        return self._unit(self.network.get_text_features, dict(inputs))

    def _unit(self, embed: Any, inputs: dict[str, Any]) -> Features:
        import torch

        with torch.inference_mode():
            found = embed(**{name: value.to(self.device) for name, value in inputs.items()})
            # Older versions of transformers return the embeddings themselves.
            found = getattr(found, "pooler_output", found).float()
            unit = found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    @cached_property
    def directions(self) -> Features:
        """Unit vectors of the six emotions, (6, D)."""
        means = np.stack([self.of_sentences(sentences(name)).mean(axis=0) for name in EMOTION_NAMES])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)

    def emotions(self, embeddings: Features) -> Floats:
        """Probabilities (M, 6) over `EMOTIONS`, of unit embeddings (M, D)."""
        scale = float(self.network.logit_scale.detach().exp())
        logits = scale * (embeddings.astype(np.float64) @ self.directions.T.astype(np.float64))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def zero_shot(self, sight: Sight) -> Floats:
        """Valence and arousal (M, 2) in [-1, 1], without a trained head."""
        return mixture_mean(smoothed(self.emotions(sight.features)))


def linear(head: Head, sight: Sight) -> Floats:
    """Valence and arousal (M, 2) in [-1, 1] from a head with `weight` (2, D) and `bias` (2,)."""
    weights = head.shaped({"weight": (2, sight.features.shape[1]), "bias": (2,)})
    rows = sight.features.astype(np.float64) @ weights["weight"].T + weights["bias"]
    return np.clip(smoothed(sight.merged(rows)), -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class ClipReader:
    """An affect reader with CLIP: zero-shot, or with a trained head."""

    name: str
    clip: Clip
    head: Head | None = None

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood of the film once a second. Raises `VideoError` for a file that cannot be decoded."""
        sight = self.clip.sight(video, progress, scene.duration_s)
        levels = self.clip.zero_shot(sight) if self.head is None else linear(self.head, sight)
        return MoodCurve(sight.times_s, levels[:, 0], levels[:, 1])


def open_clip(argument: str | None) -> ClipReader:
    """The reader for `argument`: the folder of a head, the folder or hub name of a model, or None for `DEFAULT_MODEL`.

    The weights are loaded at once. Raises `ModelError` if that fails.
    """
    if argument is not None and vision.is_head(argument):
        head = vision.read_head(argument, "clip")
        clip = Clip.load(head.model)
        head.shaped({"weight": (2, clip.directions.shape[1]), "bias": (2,)})  # checked now, not after the film
        return ClipReader(f"clip:{argument}", clip, head)
    model = argument or DEFAULT_MODEL
    return ClipReader(f"clip:{model}", Clip.load(model))
