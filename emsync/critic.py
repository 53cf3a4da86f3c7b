"""A critic of takes: how real a passage seems, by figures of it and by what the model itself makes of it.

    critic = Critic.read(folder)                    # CRITIC of a model's folder, None where it has none
    opinion = Opinion.of(ids, velocities, begin, nats, states)
    critic.realness(opinion)                        # log odds; more is more like a real song

It is a logistic regression of real against composed passages, fitted by `training.evaluation.critics`, and NumPy alone
here. It reads three things: figures of the notes (`passage`), how likely the model found the events, and the mean of
the model's hidden states. Beside it, a linear regression reads a mood from the figures. A critic belongs to the weights
whose states it was fitted on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import files, passage
from emsync import vocabulary as v
from emsync.checkpoint import weights_hash
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import atomic_path, read_json

FloatArray = npt.NDArray[np.float64]

#: File of a model folder that holds its `Critic`.
CRITIC: Final = "critic.json"
FORMAT: Final = 1
#: One has 20 kB for a width of 256.
_MAX_BYTES: Final = 4 << 20
#: Standardised figures are clipped here.
CLIP: Final = 3.0
#: What is read of the events' likelihood, in nats: the mean of all events, of notes and of time, each note's share, and
#: the spread.
LIKELIHOOD: Final = ("nats an event", "nats an ON", "nats a TIMESHIFT", "nats a note", "spread of nats")
FIGURES: Final = (*passage.NAMES, *LIKELIHOOD)


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a critic reads of a passage.

    Attributes:
        figures: (len(`FIGURES`),), NaN where there is nothing to count.
        state: (width,) the mean of the hidden states that predicted its events; None if the model does not give them.

    """

    figures: FloatArray
    state: FloatArray | None

    @classmethod
    def of(
        cls, ids: npt.ArrayLike, velocities: npt.ArrayLike, begin: int, nats: npt.ArrayLike, state: FloatArray | None
    ) -> Opinion:
        """The opinion on a passage: the events from `begin` on.

        Args:
            ids: (T,) the piece's events up to the passage's last.
            velocities: (T,) their velocity levels, 0 for events without.
            begin: The place of the passage's first event, a BAR.
            nats: (T - begin,) the negative log probability of the passage's events under the model.
            state: (width,) the mean of the hidden states that predicted them, if they are known.

        """
        ids = np.asarray(ids, dtype=np.int64)
        cost, kind = np.asarray(nats, dtype=np.float64), v.KIND[ids[begin:]]
        on, shift = kind == v.K_ON, kind == v.K_TIMESHIFT
        likelihood = [
            cost.mean() if len(cost) else np.nan,
            cost[on].mean() if on.any() else np.nan,
            cost[shift].mean() if shift.any() else np.nan,
            cost.sum() / on.sum() if on.any() else np.nan,
            cost.std() if len(cost) else np.nan,
        ]
        return cls(np.concatenate([passage.figures_of(ids, velocities, begin), likelihood]), state)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Figures, standardised by some passages: NaN is their median, and outliers are clipped.

    median, mean, deviation: (F,). A figure with an infinite deviation counts for nothing.
    """

    median: FloatArray
    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def by(cls, x: FloatArray, constant: float = np.inf) -> Scaling:
        """The scaling that standardises passages (N, F). `constant` is the deviation of figures that never vary."""
        given = ~np.isnan(x)
        median = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(x.T, given.T, strict=True)])
        filled = np.where(given, x, median)
        deviation = filled.std(axis=0)
        return cls(median, filled.mean(axis=0), np.where(deviation > 1e-9, deviation, constant))

    def __call__(self, x: FloatArray) -> FloatArray:
        """(..., F) -> (..., 2 F): the standardised values, and half their squares less one."""
        z = np.clip((np.where(np.isnan(x), self.median, x) - self.mean) / self.deviation, -CLIP, CLIP)
        return np.concatenate([z, np.where(np.isfinite(self.deviation), z**2 - 1, 0) / 2], axis=-1)


@dataclass(frozen=True, eq=False)
class Critic:
    """The fitted critic of one model.

    Attributes:
        scaling: Of the figures (F,).
        figures: (2 F,) weights of what `Scaling` gives.
        states: (2, width) the mean state, and its weights; (2, 0) for a critic that reads no states.
        constant: Added to their sum.
        mood: (2, 2 F + 1) valence and arousal from what `Scaling` gives, the last column a constant.
        weights: The digest of the model's weights (`checkpoint.weights_hash`).
        about: How it was fitted, as JSON values.

    """

    scaling: Scaling
    figures: FloatArray
    states: FloatArray
    constant: float
    mood: FloatArray
    weights: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(FIGURES)
        shapes = [x.shape for x in (self.scaling.median, self.scaling.mean, self.scaling.deviation)]
        if (
            shapes != [(n,)] * 3
            or self.figures.shape != (2 * n,)
            or self.states.ndim != 2
            or len(self.states) != 2
            or self.mood.shape != (2, 2 * n + 1)
        ):
            raise InputError(f"a critic does not fit the {n} figures of this emsync")
        parts = (self.scaling.median, self.scaling.mean, self.figures, self.states, self.mood)
        finite = all(np.isfinite(x).all() for x in parts) and np.isfinite(self.constant)
        if not (finite and (self.scaling.deviation > 0).all()):
            raise InputError("a critic holds numbers that are not finite")

    def realness(self, opinion: Opinion) -> float:
        """Log odds that a passage is of a real song, as far as this critic can tell."""
        out = self.constant + float(self.scaling(opinion.figures) @ self.figures)
        if self.states.shape[1] and opinion.state is not None:
            out += float((opinion.state - self.states[0]) @ self.states[1])
        return out

    def felt(self, opinion: Opinion) -> FloatArray:
        """Valence and arousal (2,) that the figures suggest, in [-1, 1]."""
        return np.clip(self.mood[:, :-1] @ self.scaling(opinion.figures) + self.mood[:, -1], -1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The critic as `CRITIC` holds it."""

        def plain(x: FloatArray) -> Any:
            return np.vectorize(lambda value: float(f"{value:.6g}"))(x).tolist() if x.size else x.tolist()

        return {
            "format": FORMAT, "vocabulary": v.HASH, "weights_sha256": self.weights, "names": list(FIGURES),
            "median": plain(self.scaling.median), "mean": plain(self.scaling.mean),
            "deviation": plain(self.scaling.deviation), "figures": plain(self.figures), "states": plain(self.states),
            "constant": float(f"{self.constant:.6g}"), "mood": plain(self.mood), "about": dict(self.about),
        }  # fmt: skip

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write `CRITIC` into a model folder. Raises `OutputError` where that cannot be."""
        path = Path(folder) / CRITIC
        try:
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
        return path

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Critic | None:
        """The critic of a model folder, None where it has none.

        Raises `ModelError` for a file that is damaged, or was fitted for other weights or another version's figures.
        """
        path = Path(folder) / CRITIC
        if not path.is_file():
            return None
        remedy = f"fit it again with: emsync fit-critic ARCHIVE --model {folder} --overwrite"
        try:
            found = read_json(path, _MAX_BYTES, "critic", remedy, ModelError)
            made_for = (found["format"], found["vocabulary"], found["names"])
            if made_for != (FORMAT, v.HASH, list(FIGURES)):
                raise InputError("it was fitted for other figures than those of this emsync")
            weights = str(found["weights_sha256"])
            if weights != weights_hash(folder):
                raise InputError("it was fitted for other weights than those beside it")

            def array(name: str) -> FloatArray:
                return np.array(found[name], dtype=np.float64)

            scaling = Scaling(array("median"), array("mean"), array("deviation"))
            return cls(
                scaling, array("figures"), array("states").reshape(2, -1), float(found["constant"]), array("mood"),
                weights, dict(found.get("about", {})),
            )  # fmt: skip
        except KeyError as error:
            raise ModelError(f"{path} cannot be read (it lacks {error}); {remedy}") from error
        except (ValueError, TypeError, AttributeError, ArithmeticError, InputError) as error:
            raise ModelError(f"{path} cannot be read ({error}); {remedy}") from error


def file_hash(folder: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a model folder's `CRITIC` in hexadecimal, None where there is none."""
    return files.file_hash(Path(folder) / CRITIC, _MAX_BYTES, "critic", ModelError)
