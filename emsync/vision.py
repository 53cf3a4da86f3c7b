"""Shared by the affect readers with a vision model: frames once a second, checkpoints, and trained heads.

A moment is a point of a mood curve, at 0.5, 1.5, ... s; its picture is the frame shown then. A model is a folder, or
the name of a checkpoint on the Hugging Face hub. A head is a folder that `emsync train-affect` wrote:
    head.json         format, kind of reader, model, settings, details of the training
    head.safetensors  the weights, float32
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from logging import CRITICAL
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from emsync.errors import ModelError, VideoError
from emsync.files import read_limited, write_bytes
from emsync.table import read_json

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Kind = Literal["clip", "vlm", "emotions", "film"]
Item = TypeVar("Item")
#: Called with the share of the film that is done, in [0, 1].
Progress = Callable[[float], None]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
HEAD, WEIGHTS = "head.json", "head.safetensors"
#: Size and licence, as their pages on the hub say, of the models that docs/affect-models.md names.
KNOWN: Final = {
    "openai/clip-vit-base-patch32": "0.6 GB, MIT",
    "trpakov/vit-face-expression": "0.3 GB, Apache-2.0",
    "MIT/ast-finetuned-audioset-10-10-0.4593": "0.35 GB, BSD-3-Clause",
    "facebook/wav2vec2-base-960h": "0.4 GB, Apache-2.0",
}
_FORMAT: Final = 1
_REASON_LENGTH: Final = 200
_MAX_HEAD_BYTES: Final = 1 << 20


# --- pictures -------------------------------------------------------------------------------------------------------


def moments(duration_s: float) -> Floats:
    """Points once a second over a film of `duration_s` > 0: 0.5, 1.5, ... s; (ceil(duration_s),).

    If the last second is shorter than half a second, its point is in its middle, so that none is past the end.
    """
    times_s = np.arange(max(1, math.ceil(round(duration_s, 6))), dtype=np.float64) + 0.5
    if times_s[-1] > duration_s:
        times_s[-1] = (times_s[-1] - 0.5 + duration_s) / 2
    return np.asarray(times_s, dtype=np.float64)


def pictures(video: str | os.PathLike[str], *, shortest_px: int) -> Iterator[tuple[float, Picture]]:
    """Each moment of a film in seconds, with the frame shown then as (height, width, 3) RGB, the right way up.

    All have one size: the shorter side is `shortest_px`, or the film's own where that is less. One at a time is in
    memory. Raises `VideoError` for a file that cannot be decoded.
    """
    from av.video.reformatter import VideoReformatter

    from emsync.film import Film
    from emsync.stills import small

    with Film(video) as film:
        reformatter = VideoReformatter()

        def rgb(frame: Any) -> Picture:
            scale = min(1.0, shortest_px / min(film.width, film.height))
            shown = (max(1, round(side * scale)) for side in (film.width, film.height))
            try:
                return film.orientation.applied(small(reformatter, frame, *film.orientation.size(*shown), "rgb24"))
            except VideoError as error:
                raise VideoError(f"{film.shown_path}: {error}") from error

        shown, second = None, 0
        for frame, ticks in film.frames():
            while shown is not None and ticks * film.time_base > second + 0.5:
                yield second + 0.5, rgb(shown)
                second += 1
            shown = frame
        for time_s in moments(film.duration_s)[second:].tolist():
            yield time_s, rgb(shown)


def windowed(items: Iterable[Item], size: int, hop: int) -> Iterator[tuple[int, list[Item]]]:
    """Overlapping windows of `size` items, one every `hop` items, each with the index of its first item.

    The last window ends with the stream. It is as long as the others unless there are fewer than `size` items.
    """
    held: list[Item] = []
    n, until = 0, size
    for n, item in enumerate(items, start=1):
        held = [*held[-(size - 1) :], item] if size > 1 else [item]
        if n == until:
            yield n - size, held
            until += hop
    if 0 < n != until - hop:
        yield n - len(held), held


@dataclass(frozen=True, eq=False)
class Sight:
    """Features of a film from a vision model: M moments, and R rows of D features.

    A row is one moment in one window. A moment in two windows has two rows, weighted by the distance from the ends of
    the window.
    """

    times_s: Floats  # (M,)
    features: Features  # (R, D)
    moment: npt.NDArray[np.int64]  # (R,), the moment of each row
    weight: Floats  # (R,), more than 0

    def __post_init__(self) -> None:
        rows = {len(self.features), len(self.moment), len(self.weight)}
        if self.features.ndim != 2 or len(rows) != 1:
            raise ModelError(
                f"features of {self.features.shape} do not fit {len(self.moment)} moments; read them again"
            )
        if not np.isfinite(self.features).all():
            raise ModelError("the model gave numbers that are not finite; choose a model of float32 or bfloat16")

    @classmethod
    def of(cls, times_s: Iterable[float], windows: Iterable[tuple[int, Features]]) -> Sight:
        """Features from windows, each given as the index of its first moment and its features (n, D)."""
        numbers, rows, weights = [], [], []
        for first, features in windows:
            n = len(features)
            numbers.append(first + np.arange(n))
            rows.append(features)
            weights.append(np.minimum(np.arange(n) + 1, n - np.arange(n)))
        return cls(
            np.fromiter(times_s, dtype=np.float64),
            np.concatenate(rows).astype(np.float32),
            np.concatenate(numbers).astype(np.int64),
            np.concatenate(weights).astype(np.float64),
        )

    def merged(self, values: npt.ArrayLike) -> Floats:
        """Values (R, C) of the rows as (M, C) of the moments, averaged where windows overlap.

        The weight of a window falls linearly towards its ends, so that one fades into the next without a step.
        """
        given = np.asarray(values, dtype=np.float64)
        total = np.zeros((len(self.times_s), given.shape[1]))
        np.add.at(total, self.moment, given * self.weight[:, None])
        return total / np.bincount(self.moment, weights=self.weight, minlength=len(self.times_s))[:, None]


# --- checkpoints ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers and the hub from writing to the terminal; restore their settings at the end."""
    from huggingface_hub import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    level, hub_level, bars = logging.get_verbosity(), hub_logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bar = not are_progress_bars_disabled()
    logging.set_verbosity(CRITICAL)
    hub_logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            logging.enable_progress_bar()
        if hub_bar:
            enable_progress_bars()


def load(
    model: str, auto_class: str, *, dtype: str = "float32", processor_class: str = "AutoProcessor"
) -> tuple[Any, Any, Any]:
    """Processor, model and torch device of a checkpoint, loaded with these classes of transformers, weights frozen.

    Downloaded checkpoints are used as they are; otherwise the hub is asked. Code that comes with a checkpoint is never
    run. Raises `ModelError` if the weights cannot be loaded or do not fit.
    """
    import torch
    import transformers

    def fetch(local: bool) -> tuple[Any, Any]:
        options = {"local_files_only": local, "trust_remote_code": False}
        processor = getattr(transformers, processor_class).from_pretrained(model, **options)
        loader = getattr(transformers, auto_class)
        network, report = loader.from_pretrained(model, dtype=dtype, output_loading_info=True, **options)
        # The head of a language model is not used here.
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("lm_head"))
        if missing:
            raise ValueError(f"it lacks {len(missing)} weights, the first is {missing[0]}")
        return processor, network

    is_folder = Path(model).is_dir()
    if is_folder and not (Path(model) / "config.json").is_file():
        raise ModelError(f"{model} holds no model (it has no config.json); give the folder that a model was saved in")
    with quietly():
        try:
            try:
                processor, network = fetch(local=True)
            except OSError:
                if is_folder:
                    raise
                _ask_hub(model)
                processor, network = fetch(local=False)
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # broken checkpoints raise errors of every kind
            raise ModelError(_no_model(model, is_folder, error)) from error
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return processor, network.to(device).eval().requires_grad_(False), device


def _ask_hub(model: str) -> None:
    """Ask the hub once whether it has `model`. Raises `ModelError` otherwise.

    Without a network, loading alone would try each file for minutes.
    """
    import huggingface_hub
    from huggingface_hub import errors

    if Path(model).is_absolute() or model.startswith((".", "~")):
        raise ModelError(f"{model} is not a folder; give one that holds a model, or a model's name on the hub")
    about = f" ({KNOWN[model]})" if model in KNOWN else ""
    try:
        huggingface_hub.HfApi().model_info(model, timeout=10)
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            f"there is no model {model!r}, neither as a folder nor on the Hugging Face hub; check the name"
        ) from error
    except Exception as error:  # of any network library
        raise ModelError(
            f"the model {model!r}{about} was not downloaded yet, and the Hugging Face hub cannot be reached "
            f"({_reason(error)}); connect to the network, or give a folder that holds the model"
        ) from error


def _no_model(model: str, is_folder: bool, error: Exception) -> str:
    reason = _reason(error)
    if "torchvision" in str(error) or "load video processor" in str(error):
        return f"the model {model!r} cannot be loaded ({reason}); its processor may need: pip install torchvision"
    remedy = "copy it again, or choose another" if is_folder else "choose another one"
    return f"the model {model!r} cannot be loaded ({reason}); {remedy}"


def _reason(error: Exception) -> str:
    """The first line of an error of another library, shortened."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return text if len(text) <= _REASON_LENGTH else text[:_REASON_LENGTH] + " ..."


# --- heads ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Head:
    """Weights trained on top of a frozen model, and everything that a reader needs to use them."""

    kind: Kind
    model: str
    """The folder or the name of the model whose features it takes."""
    weights: Mapping[str, Features]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the features are made, as JSON values."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Details of the training, as JSON values; for information only."""

    def shaped(self, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Features]:
        """The weights. Raises `ModelError` unless they have these names and shapes (None: any length)."""
        for name, wanted in shapes.items():
            shape = self.weights[name].shape if name in self.weights else None
            if (
                shape is None
                or len(shape) != len(wanted)
                or any(w not in (None, s) for s, w in zip(shape, wanted, strict=True))
            ):
                raise ModelError(
                    f"the head's {name} has the shape {shape} where {self.model!r} needs {wanted}; "
                    "train it again on this model"
                )
        return dict(self.weights)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write head.safetensors and head.json into `folder`, which exists. Raises `OutputError`."""
        from safetensors.numpy import save

        place = Path(folder)
        about = {
            "format": _FORMAT,
            "kind": self.kind,
            "model": self.model,
            "settings": dict(self.settings),
            "training": dict(self.training),
        }
        # Without head.json the folder is not a head, so a kill in between never leaves one with wrong weights.
        (place / HEAD).unlink(missing_ok=True)
        write_bytes(place / WEIGHTS, save({name: np.ascontiguousarray(row) for name, row in self.weights.items()}))
        write_bytes(place / HEAD, (json.dumps(about, indent=1) + "\n").encode())


def is_head(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a head, rather than a model."""
    return (Path(folder) / HEAD).is_file()


def read_head(folder: str | os.PathLike[str], kind: Kind) -> Head:
    """The head of a folder. Raises `ModelError` when it is incomplete, unreadable or of another kind."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = Path(folder)
    try:
        about = read_json(read_limited(place / HEAD, _MAX_HEAD_BYTES, "head").decode("utf-8"))
        if not isinstance(about, dict) or about.get("format") != _FORMAT or about.get("kind") not in KINDS:
            raise ModelError(f"{place / HEAD} is not of format {_FORMAT}; train again with this version of emsync")
        if about["kind"] != kind:
            other = about["kind"]
            raise ModelError(f"{place} holds a head for {other}, not for {kind}; give it as {other}:{place}")
        weights = load_file(place / WEIGHTS)
        return Head(kind, str(about["model"]), weights, dict(about["settings"]), dict(about["training"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"the head in {place} cannot be read ({_reason(error)}); copy the whole folder, or train it again"
        ) from error
