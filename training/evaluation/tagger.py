"""What a sound is, by an audio tagger; and how far two sounds are apart (the paper's KL, Section IV-C, Table II).

    tagger = open_tagger("tagger.onnx", rate_hz=32000)     # or the folder of a transformers model, such as AST
    divergence(tagger.shares(own), tagger.shares(music))   # in nats; 0 for the same tags

A tagger gives each of its tags a probability. They are averaged over the sound and divided by their sum, which makes a
distribution; the divergence is Kullback and Leibler's, of the film's own sound from the music, sum p ln(p / q). The
paper does not say how it gets from tags that are not exclusive to a distribution, and its figures are of another
tagger: compare figures of one tagger only, and see the control.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, MissingExtraError
from emsync.vision import quietly

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

#: Sounds are tagged in pieces of this length, unless the network wants another; AudioSet's clips are as long.
PIECE_S: Final = 10.0
#: A network without a rate takes this one, as YAMNet does. PANNs take 32000.
DEFAULT_RATE_HZ: Final = 16_000
#: Shares below this count as this, so that a divergence is finite.
LEAST_SHARE: Final = 1e-7
#: What to do without a tagger.
REMEDY: Final = (
    "give --tagger an ONNX file that takes a waveform (YAMNet, PANNs), or the folder of an audio classifier of "
    "transformers, such as MIT/ast-finetuned-audioset-10-10-0.4593 (pip install 'emsync[vision]')"
)


@dataclass(frozen=True)
class Tagger:
    """A network that gives a waveform probabilities of tags.

    - name: of its file or folder.
    - rate_hz: of the waveform it takes.
    - piece: how many samples it takes at a time.
    - probabilities: (piece,) float32 samples to (tags,) probabilities, each in [0, 1].
    """

    name: str
    rate_hz: int
    piece: int
    probabilities: Callable[[Samples], Floats]

    def shares(self, sound: Samples) -> Floats:
        """(tags,) The mean probabilities over the sound, divided by their sum. sound: (N,) mono at `rate_hz`.

        The last piece is filled up with silence, and weighs as much as it has sound.
        """
        total, weight = np.zeros(0), 0
        for first in range(0, max(len(sound), 1), self.piece):
            part = np.zeros(self.piece, dtype=np.float32)
            given = sound[first : first + self.piece]
            part[: len(given)] = given
            found = self.probabilities(part) * max(len(given), 1)
            total = found if weight == 0 else total + found
            weight += len(given)
        if not np.isfinite(total).all() or total.sum() <= 0:
            raise InputError(f"the tagger {self.name} gives no probabilities; {REMEDY}")
        return np.asarray(total / total.sum())


def divergence(p: Floats, q: Floats) -> float:
    """Kullback and Leibler's divergence of q from p, two distributions (K,), in nats."""
    p, q = (np.maximum(each, LEAST_SHARE) for each in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def open_tagger(path: str | os.PathLike[str], rate_hz: int | None = None) -> Tagger:
    """The tagger of an ONNX file, or of a folder with an audio classifier of transformers.

    rate_hz: of the waveform that an ONNX file takes; by default what its metadata say as "sample_rate", else
    `DEFAULT_RATE_HZ`. Raises `InputError` for what is not a tagger.
    """
    place = Path(path)
    if place.is_dir():
        return _of_transformers(place)
    if not place.is_file():
        raise InputError(f"the tagger {place} is neither a file nor a folder; {REMEDY}")
    return _of_onnx(place, rate_hz)


def _of_onnx(path: Path, rate_hz: int | None) -> Tagger:
    """A network with one input, a waveform (samples,) or (1, samples); its first output ends in tags."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no root but this one
        raise InputError(f"the tagger {path} is not a network that ONNX Runtime can read; {REMEDY}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) not in (1, 2):
        raise InputError(f"the tagger {path} does not take a waveform, (samples,) or (1, samples); {REMEDY}")
    name, shape = inputs[0].name, inputs[0].shape
    if rate_hz is None:
        text = session.get_modelmeta().custom_metadata_map.get("sample_rate", "")
        rate_hz = int(text) if text.isdecimal() and 0 < int(text) <= 192_000 else DEFAULT_RATE_HZ
    piece = shape[-1] if isinstance(shape[-1], int) and shape[-1] > 0 else round(PIECE_S * rate_hz)

    def probabilities(sound: Samples) -> Floats:
        try:
            out = session.run(None, {name: sound if len(shape) == 1 else sound[None]})[0]
        except Exception as error:
            raise InputError(f"the tagger {path} cannot be run on a waveform; {REMEDY}") from error
        return _mean(np.asarray(out, dtype=np.float64), path)

    return Tagger(path.name, rate_hz, piece, probabilities)


def _mean(out: Floats, path: Path) -> Floats:
    """A network's output (..., tags) as probabilities (tags,): sigmoids are taken of what is not within [0, 1]."""
    if out.ndim == 0 or out.size == 0 or out.shape[-1] < 2:
        raise InputError(f"the tagger {path} has fewer than two tags; {REMEDY}")
    if out.min() < 0 or out.max() > 1:
        out = 0.5 * (1 + np.tanh(out / 2))
    return np.asarray(out.reshape(-1, out.shape[-1]).mean(axis=0))


def _of_transformers(folder: Path) -> Tagger:
    """A folder as transformers saves an audio classifier; nothing is downloaded."""
    try:
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
    except ModuleNotFoundError as error:
        raise MissingExtraError(f'the tagger needs {error.name}; run: pip install "emsync[vision]"') from None
    try:
        with quietly():
            extractor: Any = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForAudioClassification.from_pretrained(folder, local_files_only=True).eval()
    except Exception as error:  # whatever a damaged folder makes it raise
        raise InputError(f"{folder} holds no audio classifier that transformers can load; {REMEDY}") from error
    rate_hz = int(extractor.sampling_rate)

    def probabilities(sound: Samples) -> Floats:
        with torch.inference_mode():
            given = extractor(sound, sampling_rate=rate_hz, return_tensors="pt")
            logits = model(**given).logits
        return _mean(torch.sigmoid(logits).numpy().astype(np.float64), folder)

    return Tagger(folder.name, rate_hz, round(PIECE_S * rate_hz), probabilities)
