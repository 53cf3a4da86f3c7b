"""Ekman's six basic emotions on the plane of valence and arousal.

Valence and arousal lie in [-1, 1]. The map between categories and the plane is the paper's (Section III-B4): the means
and deviations of Table I, scaled by one factor on both axes, form a mixture of Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

FloatArray = npt.NDArray[np.float64]
Metric = Literal["euclidean", "mahalanobis", "likelihood"]


@dataclass(frozen=True)
class Emotion:
    """A row of Table I: mean and standard deviation on both axes, as Russell & Mehrabian (1977) measured them."""

    name: str
    valence: float
    valence_sd: float
    arousal: float
    arousal_sd: float


#: Table I of the paper.
EMOTIONS: Final = (
    Emotion("anger", -0.51, 0.20, 0.59, 0.29),
    Emotion("disgust", -0.60, 0.20, 0.35, 0.41),
    Emotion("fear", -0.64, 0.20, 0.60, 0.32),
    Emotion("joy", 0.76, 0.22, 0.48, 0.26),
    Emotion("sadness", -0.63, 0.23, -0.27, 0.34),
    Emotion("surprise", 0.40, 0.30, 0.67, 0.27),
)
EMOTION_NAMES: Final = tuple(emotion.name for emotion in EMOTIONS)
METRICS: Final[tuple[Metric, ...]] = ("euclidean", "mahalanobis", "likelihood")
#: The paper's mu_max: the largest |mean| of any category after scaling.
MU_MAX: Final = 0.8
#: Probabilities may miss a sum of one by this much, which is rounding to three digits.
SUM_TOLERANCE: Final = 0.01


def emotion_index(name: str) -> int:
    """The row of `EMOTIONS` called `name`, in any case. Raises `InputError` naming the six."""
    wanted = name.strip().lower()
    if wanted not in EMOTION_NAMES:
        raise InputError(f"{name!r} is not one of the six emotions; give {', '.join(EMOTION_NAMES)}")
    return EMOTION_NAMES.index(wanted)


def plane(mu_max: float = MU_MAX) -> tuple[FloatArray, FloatArray]:
    """Means (6, 2) and standard deviations (6, 2) of the emotions, columns valence and arousal, scaled.

    One factor for all of them brings the largest |mean| to `mu_max`, in (0, 1]. A factor of its own for each axis would
    change the arousal of sadness (Section III-B4).
    """
    if not (math.isfinite(mu_max) and 0 < mu_max <= 1):
        raise InputError(f"mu_max {mu_max:g} is outside (0, 1]; {MU_MAX} is the paper's")
    means = np.array([[e.valence, e.arousal] for e in EMOTIONS])
    deviations = np.array([[e.valence_sd, e.arousal_sd] for e in EMOTIONS])
    scale = mu_max / np.abs(means).max()
    return means * scale, deviations * scale


def probabilities(given: Mapping[str, float] | npt.ArrayLike) -> FloatArray:
    """Probabilities over the six emotions, (..., 6) in the order of `EMOTIONS`, from such an array or from names.

    Names left out have probability 0. The result sums to one. Raises `InputError` for an unknown name, a number outside
    [0, 1], or a sum that differs from one by more than `SUM_TOLERANCE`.
    """
    if isinstance(given, Mapping):
        values = np.zeros(len(EMOTIONS))
        for name, value in given.items():
            values[emotion_index(name)] = value
    else:
        values = np.asarray(given, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] != len(EMOTIONS):
        raise InputError(f"probabilities have the shape {values.shape}; give six, of {', '.join(EMOTION_NAMES)}")
    bad = values[~((values >= 0) & (values <= 1))]
    if len(bad):
        raise InputError(f"probability {bad[0]:g} is outside [0, 1]; give shares of one")
    sums = values.sum(axis=-1, keepdims=True)
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        worst = sums.flat[np.argmax(np.abs(sums - 1))]
        raise InputError(f"the emotions' probabilities sum to {worst:g}, not to one; divide them by their sum")
    return np.asarray(values / sums, dtype=np.float64)


def shares_of_text(text: str) -> dict[str, float]:
    """Shares by name of "joy", which has all, or of "joy=0.7,surprise=0.3". Raises `InputError` for other texts."""
    if "=" not in text:
        return {text: 1.0}
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (word.strip().lower() for word in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            raise InputError(
                f"--emotion: {part.strip()!r} is not NAME=SHARE; write for example joy=0.7,surprise=0.3"
            ) from None
        if name in shares:
            raise InputError(f"--emotion gives {name!r} twice; give each emotion once")
        shares[name] = share
    return shares


def probabilities_of_text(text: str) -> FloatArray:
    """Probabilities (6,) of `shares_of_text`."""
    return probabilities(shares_of_text(text))


def mixture_mean(given: Mapping[str, float] | npt.ArrayLike, *, mu_max: float = MU_MAX) -> FloatArray:
    """The mean of the mixture (Section III-B4): valence and arousal (..., 2) in [-1, 1] of probabilities (..., 6)."""
    return probabilities(given) @ plane(mu_max)[0]


def mixture_sample(
    given: Mapping[str, float] | npt.ArrayLike, rng: np.random.Generator, *, mu_max: float = MU_MAX
) -> FloatArray:
    """One draw from the mixture (Section III-B4): a category by its probability, then a point of its Gaussian.

    Returns valence and arousal (2,), clipped to [-1, 1]. `given` as in `probabilities`, of one moment.
    """
    shares = probabilities(given)
    if shares.ndim != 1:
        raise InputError(f"probabilities have the shape {shares.shape}; give six, to draw once")
    means, deviations = plane(mu_max)
    which = int(rng.choice(len(shares), p=shares))
    return np.asarray(np.clip(rng.normal(means[which], deviations[which]), -1.0, 1.0))


def through_emotions(valence: npt.ArrayLike, arousal: npt.ArrayLike, *, mu_max: float = MU_MAX) -> FloatArray:
    """Levels by way of the six emotions (..., 2): the mixture's mean at the emotions' posterior of each point.

    Each emotion's Gaussian (Table I) gives its likelihood at the point; all are equally likely before. NaN where a
    level is NaN.
    """
    return np.asarray(posterior(valence, arousal, mu_max=mu_max) @ plane(mu_max)[0])


def posterior(valence: npt.ArrayLike, arousal: npt.ArrayLike, *, mu_max: float = MU_MAX) -> FloatArray:
    """Probabilities of the six emotions (..., 6) at points, by their Gaussians (Table I), all equally likely before."""
    likely = scores(valence, arousal, metric="likelihood", mu_max=mu_max)
    shares = np.exp(likely - likely.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def emotion_point(name: str, *, mu_max: float = MU_MAX) -> tuple[float, float]:
    """Valence and arousal of one emotion's scaled mean."""
    valence, arousal = plane(mu_max)[0][emotion_index(name)]
    return float(valence), float(arousal)


def scores(
    valence: npt.ArrayLike, arousal: npt.ArrayLike, *, metric: Metric = "likelihood", mu_max: float = MU_MAX
) -> FloatArray:
    """How well each emotion fits each point: (..., 6), larger is better.

    The value is the negative Euclidean or Mahalanobis distance, or the log-likelihood of the emotion's Gaussian.
    """
    if metric not in METRICS:
        raise InputError(f"{metric!r} is not a metric; give {', '.join(METRICS)}")
    means, deviations = plane(mu_max)
    points = np.stack(np.broadcast_arrays(np.asarray(valence, float), np.asarray(arousal, float)), axis=-1)
    off = points[..., None, :] - means  # (..., 6, 2)
    if metric == "euclidean":
        return np.asarray(-np.sqrt((off**2).sum(axis=-1)))
    squared = ((off / deviations) ** 2).sum(axis=-1)
    if metric == "mahalanobis":
        return np.asarray(-np.sqrt(squared))
    return np.asarray(-squared / 2 - np.log(2 * np.pi * deviations.prod(axis=-1)))


def nearest_emotion(valence: float, arousal: float, *, metric: Metric = "likelihood", mu_max: float = MU_MAX) -> str:
    """The emotion that fits a point best, by name: the inverse of `emotion_point`."""
    for name, value in (("valence", valence), ("arousal", arousal)):
        if not -1 <= value <= 1:
            raise InputError(f"{name} {value:g} is outside [-1, 1]; scale it to that range")
    return EMOTION_NAMES[int(scores(valence, arousal, metric=metric, mu_max=mu_max).argmax())]
