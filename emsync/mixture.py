"""Mixing a model's distribution with what the piece's own past suggests: its repeats, and events in similar places.

A `Mixture` is fitted on songs (`training.evaluation.mixing`), stored in the model's folder as `COPYING`, and used in
composing (`Copier`) and evaluating. `copying` computes the repeats, `recall` the similar places. Before that,
`adaptation` lets the model's output layer learn from the piece.
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

from emsync import adaptation, files
from emsync import vocabulary as v
from emsync.adaptation import Adaptation
from emsync.copying import DECAY, LENGTHS, N_STRENGTHS, UNKNOWN, VISITS, Past
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import atomic_path, read_json
from emsync.recall import SHARPNESS, Recall

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]

#: File of a model folder that holds its `Mixture`.
COPYING: Final = "copying.json"
FORMAT: Final = 1
#: What a mixture with an adapting model was fitted for.
_ADAPTATION: Final = {"rate": adaptation.RATE, "first": adaptation.FIRST}
#: One has 2 kB.
_MAX_BYTES: Final = 1 << 20


def file_hash(folder: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a model folder's `COPYING` in hexadecimal, None where there is none."""
    return files.file_hash(Path(folder) / COPYING, _MAX_BYTES, "mixture", ModelError)


@dataclass(frozen=True)
class Mixture:
    """How much of the next event's probability a piece's own past gets: p = (1 - w - r) model + w copied + r recalled.

    Attributes:
        weights: (`N_STRENGTHS`,) the w of each strength of a match. Without a match it is 0.
        recall: (`N_STRENGTHS`,) the r of each; empty if nothing is recalled.
        adapts: Whether the model's output layer learns from the piece.
        about: How they were fitted, as JSON values.

    Raises:
        InputError: There are too few or too many weights, one is below 0, or those of a strength add up to 1 or more.

    """

    weights: tuple[float, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    recall: tuple[float, ...] = ()
    adapts: bool = False

    def __post_init__(self) -> None:
        for name in ("weights", "recall"):
            values = tuple(float(w) for w in getattr(self, name))
            object.__setattr__(self, name, values)
            if len(values) != N_STRENGTHS and (values or name == "weights"):
                raise InputError(f"a mixture has {len(values)} weights; give {N_STRENGTHS}, one a strength")
        for values in (self.weights, self.recall, tuple(self._both())):
            if not all(0 <= w < 1 for w in values):
                worst = next(w for w in values if not 0 <= w < 1)
                raise InputError(f"a mixture weight of {worst:g} must be at least 0 and below 1")
        if self.weights[0]:
            raise InputError(f"without a match nothing is copied; its weight is {self.weights[0]:g}, give 0")

    def _both(self) -> FloatArray:
        return np.array(self.weights) + (np.array(self.recall) if self.recall else 0.0)

    @classmethod
    def fit(
        cls,
        strength: IntArray,
        model: FloatArray,
        copied: FloatArray,
        recalled: FloatArray | None = None,
        *,
        rounds: int = 60,
        about: Mapping[str, Any] | None = None,
        adapts: bool = False,
    ) -> Mixture:
        """The weights that make some events likeliest, by expectation maximisation.

        Args:
            strength: (N,) of the match before each event.
            model: (N,) the event's probability under the model.
            copied: (N,) its probability among the match's followers.
            recalled: (N,) its probability among what was recalled; None: nothing is.
            rounds: How often the weights are improved.
            about: What to keep of how they were fitted.
            adapts: Whether `model` is that of an output layer that learns from the piece.

        """
        strength = np.asarray(strength)
        parts = np.stack([model, copied] if recalled is None else [model, copied, recalled], axis=1)  # (N, K)
        # One more event that the model alone predicted: what was seen rarely gets no more than it earned.
        count = np.bincount(strength, minlength=N_STRENGTHS) + 1.0
        weights = np.full((N_STRENGTHS, parts.shape[1]), 1 / parts.shape[1])
        for _ in range(rounds):
            share = weights[strength] * parts
            share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-30)
            for k in range(1, parts.shape[1]):
                weights[:, k] = np.bincount(strength, weights=share[:, k], minlength=N_STRENGTHS) / count
            weights[0, 1] = 0.0
            weights[:, 0] = 1 - weights[:, 1:].sum(axis=1)
        recall = () if recalled is None else tuple(weights[:, 2])
        return cls(tuple(weights[:, 1]), dict(about or {}), recall, adapts)

    def probability(
        self, strength: IntArray, model: FloatArray, copied: FloatArray, recalled: FloatArray | None = None
    ) -> FloatArray:
        """The mixed probability (N,) of events; the arguments are those of `fit`."""
        strength = np.asarray(strength)
        weight = np.array(self.weights)[strength]
        mixed: FloatArray = (1 - weight) * model + weight * copied
        if self.recall:
            assert recalled is not None, "a mixture that recalls needs what was recalled"
            mixed = mixed + np.array(self.recall)[strength] * (recalled - model)
        return mixed

    def mix(self, logits: FloatArray, past: Past, share: float = 1.0, recalled: FloatArray | None = None) -> FloatArray:
        """Logits (SIZE,) of the mixed distribution of the event behind `past`.

        Args:
            logits: (SIZE,) the model's.
            past: The events so far.
            share: What the weights are multiplied by, within [0, 1].
            recalled: (SIZE,) the probabilities that are recalled; None: nothing is.

        """
        copied = self.weights[past.strength] * share
        again = self.recall[past.strength] * share if self.recall and recalled is not None else 0.0
        if copied + again <= 0:
            return logits
        x = logits.astype(np.float64)
        p = np.exp(x - x.max())
        mixed = (1 - copied - again) * p / p.sum()
        if copied:
            mixed += copied * past.distribution()
        if again and recalled is not None:
            mixed += again * recalled
        return np.log(np.maximum(mixed, 1e-30)).astype(logits.dtype)

    def to_dict(self) -> dict[str, Any]:
        """The mixture as `COPYING` holds it."""
        plain = {
            "format": FORMAT, "vocabulary": v.HASH, "lengths": list(LENGTHS), "visits": VISITS, "decay": DECAY,
            "weights": [round(w, 6) for w in self.weights],
        }  # fmt: skip
        if self.recall:
            plain |= {"sharpness": SHARPNESS, "recall": [round(w, 6) for w in self.recall]}
        if self.adapts:
            plain |= {"adaptation": _ADAPTATION}
        return plain | {"about": dict(self.about)}

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write `COPYING` into a model folder. Raises `OutputError` where that cannot be."""
        path = Path(folder) / COPYING
        try:
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
        return path

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Mixture | None:
        """The mixture of a model folder, None where it has none.

        Raises `ModelError` for a file that is damaged, or was fitted for other repeats than those of this version.
        """
        path = Path(folder) / COPYING
        if not path.is_file():
            return None
        remedy = f"fit it again with: emsync fit-copying ARCHIVE --model {folder}"
        try:
            found = read_json(path, _MAX_BYTES, "mixture", remedy, ModelError)
            made_for = [found[name] for name in ("format", "vocabulary", "lengths", "visits", "decay")]
            adapts = "adaptation" in found
            mixture = cls(tuple(found["weights"]), dict(found.get("about", {})), tuple(found.get("recall", ())), adapts)
        except KeyError as error:
            raise ModelError(f"{path} cannot be read (it lacks {error}); {remedy}") from error
        except (ValueError, TypeError, AttributeError, ArithmeticError, InputError) as error:
            raise ModelError(f"{path} cannot be read ({error}); {remedy}") from error
        since = [found.get("sharpness", SHARPNESS), found.get("adaptation", _ADAPTATION)]
        if made_for != [FORMAT, v.HASH, list(LENGTHS), VISITS, DECAY] or since != [SHARPNESS, _ADAPTATION]:
            raise ModelError(f"{path} was fitted for other repeats than those of this emsync; {remedy}")
        return mixture


#: An event counts as copied if a match of at least `LENGTHS[COPIED_FROM]` events led to it; and a bar does if at least
#: this share of its events was.
COPIED_FROM: Final = 3
COPIED_SHARE: Final = 0.95


class Copier:
    """The past of a piece that is being composed, and a limit on how long it may be copied.

    After `longest_bars` copied bars in a row copying is barred: nothing is mixed in, and the lanes are NaN, until a bar
    was played that is not a copy.
    """

    def __init__(self, mixture: Mixture | None = None, share: float = 1.0, longest_bars: int = 4) -> None:
        self.past = Past()
        self.bars = 0  # copied bars in a row until now
        self._mixture, self._share, self._longest_bars = mixture, share, longest_bars
        self._recall = Recall() if mixture is not None and mixture.recall and share else None
        self._adaptation = Adaptation() if mixture is not None and mixture.adapts and share else None
        self._state: FloatArray | None = None  # that predicts the next event
        self._events, self._copied = 0, 0  # of this bar

    @property
    def barred(self) -> bool:
        """Whether copying is barred just now."""
        return self.bars >= self._longest_bars

    @property
    def lanes(self) -> tuple[float, float]:
        """The copy lanes of the latest event."""
        return UNKNOWN if self.barred else self.past.lanes

    def append(self, event: int) -> None:
        """Take the next event."""
        past = self.past
        if v.KIND[event] == v.K_BAR:
            if self._events:
                self.bars = self.bars + 1 if self._copied >= COPIED_SHARE * self._events else 0
            self._events, self._copied = 0, 0
        else:
            self._events += 1
            self._copied += past.length > COPIED_FROM and event in past.followers
        past.append(event)
        if self._adaptation is not None:
            self._adaptation.learn(event)
        if self._recall is not None and self._state is not None:
            self._recall.append(self._state, event)
            self._state = None

    def mix(self, logits: FloatArray, state: FloatArray | None = None) -> FloatArray:
        """Logits (SIZE,) of the next event, mixed with the past's as far as that is allowed.

        Args:
            logits: (SIZE,) the model's.
            state: (width,) the hidden state that they were computed from, if the decoder has it.

        """
        self._state = state
        adjusted = logits
        if self._adaptation is not None and state is not None:
            adjusted = logits + self._share * (self._adaptation.adjust(logits, state) - logits)
        if self._mixture is None or self.barred or not self._share:
            return logits
        recalled = None
        if self._recall is not None and state is not None and len(self._recall):
            recalled = self._recall.distribution(state)
        return self._mixture.mix(adjusted, self.past, self._share, recalled)
