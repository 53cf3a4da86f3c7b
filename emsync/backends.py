"""What turns a score into a recording: the interface of a backend, and what backends share.

A backend works in windows of steps (`emsync.joins`). It makes an array for each window, which is kept. The next window
continues from this array, and the sound of the window is made from it. So a run that was killed can be continued.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, MissingExtraError, ModelError
from emsync.joins import Frames, Window
from emsync.mood import MoodCurve
from emsync.score import KeySignature, Score

Kept = npt.NDArray[Any]
#: Called with the share of a window that is done, in [0, 1].
Tell = Callable[[float], None]

MUSICGEN, ACE_STEP = "musicgen", "ace-step"
DEFAULT_MODEL: Final = "facebook/musicgen-melody"
#: A description is a sentence or two; text encoders read little more.
LONGEST_TEXT: Final = 1000


def check_text(text: str) -> str:
    """Return a description. Raises `InputError` if it is too long."""
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"the text has {len(text)} characters, over {LONGEST_TEXT}; describe the sound in a sentence or two"
        )
    return text


@dataclass(frozen=True, eq=False)
class Brief:
    """What a recording has to follow.

    Attributes:
        score: The notes.
        melody: Which of them are the melody (`chroma.MELODIES`).
        text: What it should sound like.
        duration_s: How long it is.
        qpm: The mean tempo, in quarter notes a minute.
        key: The key; None where none is clear.
        beats: Beats in a bar, as written.
        mood: Valence and arousal, for a backend with a mood adapter.
        render: Renders a stretch of the score to (samples, 2) at a rate, for a backend that reads sound:
            `render(start_s, n_samples, rate_hz)`.

    """

    score: Score
    melody: str
    text: str
    duration_s: float
    qpm: float
    key: KeySignature | None
    beats: int
    mood: MoodCurve | None = None
    render: Callable[[float, int, int], Frames] | None = None

    def __post_init__(self) -> None:
        check_text(self.text)
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise InputError(f"a recording of {self.duration_s} s cannot be made; give a length above 0 s")
        if self.mood is not None:
            self.mood.check_fits(self.duration_s)


class Backend(Protocol):
    """A loaded music model. Randomness comes from the seed of a window alone, so each can be made again by itself."""

    @property
    def name(self) -> str:
        """The kind of backend and its model, such as "musicgen:facebook/musicgen-melody"."""

    @property
    def rate_hz(self) -> int:
        """Samples a second."""

    @property
    def hop(self) -> int:
        """Samples a step."""

    @property
    def longest(self) -> int:
        """The steps of a full window."""

    @property
    def overlap(self) -> int:
        """The steps that a window has in common with the one before."""

    @property
    def settings(self) -> dict[str, Any]:
        """What else the sound depends on, as JSON values."""

    def generate(self, brief: Brief, window: Window, before: Kept | None, seed: int, tell: Tell) -> Kept:
        """What is to be kept of a window, from its seed; `before` is what was kept of the window before."""

    def decode(self, kept: Kept) -> Frames:
        """The sound of a window, (len(window) * hop, channels) float32; the same for the same array."""


def needed(name: str, extra: str) -> None:
    """Import a package. Raises `MissingExtraError`, which names the extra that brings it."""
    import importlib

    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name or name} is not installed; run: pip install 'emsync[{extra}]'") from None


def not_here(model: str, what: str, size: str, licence: str) -> ModelError:
    """The error for a checkpoint that is neither a folder nor downloaded.

    - what: the checkpoint to download, of which size and licence are known; `model` may be another one.
    """
    is_other = model != what and model.count("/") == 1 and not model.startswith("/")
    other = f"hf download {model} if it is of this kind, or " if is_other else ""
    return ModelError(
        f"{model} is neither a folder nor downloaded yet; run: {other}hf download {what} "
        f"(about {size}, licence {licence}), or give the folder of one"
    )


def window_seed(seed: int, index: int) -> int:
    """The seed of a window: independent of those of the others, the same on every machine."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
