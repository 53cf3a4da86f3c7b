"""Training a mood adapter (NarraScore, Section 3.5) on recordings with mood curves; the music model stays frozen.

    clips = read_folder("songs", backend)          # song.wav with song.csv, and song.txt if it is described
    adapter, losses = train(backend, clips, epochs=50)

Recordings are cut into clips of 30 s every 15 s, and clips that are silent for more than 40 % are left out (Section
4.1). The loss is the model's own: the cross-entropy of the codes, all codebooks alike (eq. 7). Every clip is
conditioned on its text, so that the adapter learns what the text does not say; the melody is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync.backends import LONGEST_TEXT, check_text
from emsync.errors import InputError
from emsync.files import read_limited
from emsync.mood import MoodCurve, read_curve
from emsync.mood_adapter import SHARE, AdapterShape, MoodAdapter
from emsync.musicgen import MusicGen

if TYPE_CHECKING:
    from torch import Tensor

SOUNDS: Final = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
CURVES: Final = (".csv", ".json")
#: The paper's clips and the share of silence that a clip may have (Section 4.1).
CLIP_S, HOP_S, MOST_SILENCE = 30.0, 15.0, 0.4
#: The paper's number of epochs (Section 4.1). It gives no learning rate.
EPOCHS: Final = 50
LEARNING_RATE: Final = 2e-3
#: Silence: a tenth of a second whose loudest sample is this low.
_SILENT: Final = 10 ** (-60 / 20)
_SILENCE_S: Final = 0.1
#: A recording for training has at most this many hours.
_LONGEST_S: Final = 3 * 3600.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """A stretch of a recording: its codes (books, steps), the mood from its beginning on, and its text."""

    codes: npt.NDArray[np.int16]
    mood: MoodCurve
    first_s: float
    text: str
    source: str


def check_folder(folder: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """The recordings of a folder, each with its mood curve, in order of their names. Raises `InputError`."""
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; give one with recordings and their mood curves")
    found = []
    for sound in sorted(path for path in place.iterdir() if path.suffix.lower() in SOUNDS):
        curve = next((sound.with_suffix(end) for end in CURVES if sound.with_suffix(end).is_file()), None)
        if curve is None:
            raise InputError(f"{sound} has no mood curve; put {sound.with_suffix('.csv').name} beside it")
        found.append((sound, curve))
    if not found:
        raise InputError(f"{place} has no recordings ({', '.join(SOUNDS)}); give a folder that has some")
    return found


def read_folder(folder: str | os.PathLike[str], backend: MusicGen) -> list[TrainingClip]:
    """The clips of all recordings of a folder that have a mood curve beside them, encoded. Raises `InputError`."""
    sounds = check_folder(folder)
    clips: list[TrainingClip] = []
    for sound, curve in sounds:
        described = sound.with_suffix(".txt")
        text = ""
        if described.is_file():
            text = read_limited(described, 4 * LONGEST_TEXT, "description").decode("utf-8", "replace").strip()
        with _naming(described):
            check_text(text)
        mood, samples = read_curve(curve), _samples(sound, backend.rate_hz)
        with _naming(curve):
            mood.check_fits(len(samples) / backend.rate_hz)
        clips += _clips(samples, mood, text, sound.name, backend)
    if not clips:
        count = f"{len(sounds)} recording{'s' if len(sounds) != 1 else ''}"
        raise InputError(
            f"{folder} has {count} and no clip to train with; give recordings that are longer or less silent"
        )
    return clips


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the name of a file in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _clips(samples: Samples, mood: MoodCurve, text: str, name: str, backend: MusicGen) -> Iterator[TrainingClip]:
    size = min(round(CLIP_S * backend.rate_hz), backend.longest * backend.hop)
    hop = max(1, round(size * HOP_S / CLIP_S))
    for first in range(0, max(1, len(samples) - size // 2), hop):
        stretch = samples[first : first + size]
        if len(stretch) >= backend.hop * 4 and silence(stretch, backend.rate_hz) <= MOST_SILENCE:
            yield TrainingClip(encoded(backend, stretch), mood, first / backend.rate_hz, text, name)


def silence(samples: Samples, rate_hz: int) -> float:
    """The share of tenths of a second that are silent."""
    size = max(1, round(_SILENCE_S * rate_hz))
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return float((np.abs(whole).max(axis=1) < _SILENT).mean()) if len(whole) else 1.0


def _samples(sound: Path, rate_hz: int) -> Samples:
    """A recording as mono samples (N,). Raises `InputError`."""
    import av

    parts: list[Samples] = []
    try:
        with av.open(str(sound)) as file:
            if not file.streams.audio:
                raise InputError(f"{sound} has no sound; leave it out")
            resampler: Any = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
            frames = (part for frame in file.decode(audio=0) for part in resampler.resample(frame))
            parts = [part.to_ndarray()[0] for part in frames]
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{sound} cannot be read as sound ({error}); leave it out") from error
    found = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(found) > _LONGEST_S * rate_hz:
        raise InputError(f"{sound} lasts {len(found) / rate_hz:.0f} s, more than {_LONGEST_S:.0f} s; cut it into parts")
    return found


def encoded(backend: MusicGen, samples: Samples) -> npt.NDArray[np.int16]:
    """The codes (books, steps) of mono samples; a stereo model gets them on both sides."""
    import torch

    network = backend.network
    with torch.inference_mode():
        values = torch.from_numpy(samples[None, None]).to(network.device)
        bandwidth = max(network.audio_encoder.config.target_bandwidths)
        codes = network.audio_encoder.encode(values, bandwidth=bandwidth).audio_codes[0, 0]  # (codebooks, steps)
    channels = int(network.decoder.config.audio_channels)
    books = codes[: backend.n_books // channels].repeat_interleave(channels, dim=0)
    return np.asarray(books.cpu().numpy(), dtype=np.int16)


def loss_of(backend: MusicGen, adapter: MoodAdapter | None, clip: TrainingClip, states: Tensor) -> Tensor:
    """The cross-entropy of a clip's codes (eq. 7), in nats a code, conditioned on `states` (1, positions, width)."""
    import torch
    from torch.nn.functional import cross_entropy

    n_steps = clip.codes.shape[1]
    rows = backend.laid_out(clip.codes.astype(np.int64), n_steps).to(states.device)
    padding = int(backend.network.config.decoder.pad_token_id)

    def forward() -> Tensor:
        out = backend.network.decoder(input_ids=rows[:, :-1], encoder_hidden_states=states, use_cache=False)
        logits: Tensor = out.logits[:, states.shape[1] :]  # (books, positions, codes)
        targets = rows[:, 1:].masked_fill(rows[:, 1:] == padding, -100)
        return torch.stack([cross_entropy(logits[k].float(), targets[k]) for k in range(len(rows))]).mean()

    if adapter is None:
        return forward()
    with adapter.steering(backend.network, adapter.control(clip.mood, clip.first_s, n_steps, backend.step_hz)):
        return forward()


def states_of(backend: MusicGen, text: str) -> Tensor:
    """What the decoder is conditioned on: the text, and no melody; (1, positions, width)."""
    null = np.zeros((backend.network.config.chroma_length, 12), dtype=np.float32)
    null[:, 0] = 1
    return backend.states(text, null)[:1].clone()


def train(
    backend: MusicGen, clips: list[TrainingClip], *, epochs: int = EPOCHS, learning_rate: float = LEARNING_RATE,
    share: float = SHARE, channels: int = 64, seed: int = 0, tell: Callable[[int, float], None] | None = None,
) -> tuple[MoodAdapter, list[float]]:  # fmt: skip
    """Train an adapter; the network's own weights do not change.

    Args:
        backend: The model.
        clips: What to learn from.
        epochs: How often each clip is seen.
        learning_rate: Of AdamW.
        share: Which share of the layers is steered.
        channels: Of the convolutions.
        seed: Of the initial weights and of the order of the clips.
        tell: Called after each epoch with its number, from 1 on, and the mean loss.

    Returns the adapter, and the mean loss of each epoch; the first is that of the model without an adapter.

    """
    import torch

    adapter = MoodAdapter.fresh(AdapterShape.for_network(backend.network, share=share, channels=channels), seed=seed)
    adapter.convert.to(backend.network.device)
    adapter.gains.data = adapter.gains.data.to(backend.network.device)
    optimizer = torch.optim.AdamW(adapter.parameters, lr=learning_rate, weight_decay=0.0)
    states = {text: states_of(backend, text) for text in {clip.text for clip in clips}}
    rng = np.random.default_rng(seed)
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index in rng.permutation(len(clips)).tolist():
            clip = clips[index]
            loss = loss_of(backend, adapter, clip, states[clip.text])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(adapter.parameters, 1.0)
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(clips))
        if tell is not None:
            tell(epoch, losses[-1])
    known = {
        "model": backend.model, "clips": len(clips), "epochs": epochs, "learning_rate": learning_rate, "share": share,
        "seed": seed, "losses": [round(loss, 6) for loss in losses],
        "gains": [round(gain, 6) for gain in adapter.gains.detach().cpu().tolist()],
    }  # fmt: skip
    return replace(adapter, training=known), losses
