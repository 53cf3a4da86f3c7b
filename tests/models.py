"""What tests of the model and of training share: tiny random models, and toy songs as an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.conditions import LANES
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT, EventTransformer
from emsync.model_config import ModelConfig
from emsync.training.corpus.archive import Archive, Song, pack, write_archive
from emsync.training.train import Preset

RELATIVE = ModelConfig(n_layers=2, n_heads=2, width=16, ff_width=32, context=48)
ROTARY = replace(
    RELATIVE, attention="rotary", activation="relu2", norm="rms", qk_norm=True, lane_encoding="lookup", tied=True
)
LOCAL = replace(ROTARY, n_layers=3, local_block=8, global_every=3, lane_encoding="fourier", tied=False)
#: The paper's equation (Section III-B2), in small.
PAPER = replace(RELATIVE, lanes=("boundary",), unknown_offsets="positions")
CONFIGS = {"relative": RELATIVE, "rotary": ROTARY, "local": LOCAL}

STEPS_PER_BAR = 96


def random_model(config: ModelConfig = RELATIVE, seed: int = 0) -> EventTransformer:
    """A model whose every parameter is random: those that training finds at zero would hide what they multiply."""
    generator = torch.Generator().manual_seed(seed)
    model = EventTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.ndim < 2 else 1.5 / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def model_folder(folder: Path, config: ModelConfig = ROTARY, *, seed: int = 0, bits: checkpoint.Bits = 32) -> Path:
    """A folder with a tiny random model, as `emsync train` writes it."""
    checkpoint.save(random_model(config, seed), folder, bits=bits)
    return folder


def random_inputs(length: int, *, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids (B, T) that begin with the two mood positions, velocities (B, T), lanes (B, T, N), mood (B, 2); all given."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, v.SIZE, (batch, length), generator=generator)
    ids[:, 0], ids[:, 1] = VALENCE_SLOT, AROUSAL_SLOT
    velocities = torch.randint(0, v.VELOCITY_LEVELS + 1, (batch, length), generator=generator)
    low, high = (torch.tensor([getattr(lane, end) for lane in LANES]) for end in ("low", "high"))
    lanes = low + (high - low) * torch.rand(batch, length, len(LANES), generator=generator)
    mood = torch.rand(batch, 2, generator=generator) * 2 - 1
    return ids, velocities, lanes, mood


def toy_song(seed: int = 0, *, bars: int = 8, chords: bool = True, qpm: float = 120.0) -> Song:
    """Drums, a bass, a piano that plays a long chord every other bar, and strings: the same bar again and again.

    The song's number is its key (of twelve), and a bar's number its velocity (of sixteen), so that places can be
    distinguished.
    """
    root = 48 + seed % 12

    def notes() -> Iterator[tuple[int, int, int, int]]:
        for bar in range(bars):
            at = bar * STEPS_PER_BAR
            for quarter in range(4):
                yield v.DRUMS, 36 if quarter % 2 == 0 else 38, at + 24 * quarter, 3
                yield v.BASS, root - 12, at + 24 * quarter, 20
                yield v.STRINGS, root + 12 + (0, 4, 7, 4)[quarter], at + 24 * quarter, 24
            if chords and bar % 2 == 0:
                for step in (0, 4, 7):
                    yield v.PIANO, root + step, at, 2 * 24 + 12

    family, pitch, start, duration = np.array(sorted(notes(), key=lambda note: (note[0], note[2], note[1]))).T
    return Song(
        family,
        pitch,
        start,
        duration,
        start // STEPS_PER_BAR % v.VELOCITY_LEVELS * 8 + 4,
        tempo_step=np.array([0]),
        tempo_qpm=np.array([qpm]),
        meter_step=np.array([0]),
        meter_num=np.array([4]),
        meter_den=np.array([4]),
        song_id=f"{seed:032x}",
        source=f"toy/{seed}.mid",
    )


def toy_archive(n_songs: int = 6, *, bars: int = 8, chords: bool = True) -> Archive:
    """Toy songs, each in its own key, as an archive in memory; `.arrays` is what training reads."""
    return pack([toy_song(seed, bars=bars, chords=chords) for seed in range(n_songs)])


def archive_file(path: Path, n_songs: int = 6, *, bars: int = 8) -> Path:
    """An archive of toy songs on disk."""
    write_archive(path, toy_archive(n_songs, bars=bars))
    return path


def toy_preset(**train: object) -> Preset:
    """A preset so small that a step takes milliseconds; `train` changes entries of its [train]."""
    return Preset.from_dict(
        {
            "model": {
                "n_layers": 2, "n_heads": 2, "width": 16, "ff_width": 32, "context": 64, "attention": "rotary",
                "local_block": 16, "global_every": 2, "activation": "relu2", "norm": "rms", "qk_norm": True,
                "lane_encoding": "lookup",
            },
            "crops": {},
            "train": {"batch": 4, "warmup_steps": 2, "valid_crops": 4, "validations": 2, **train},
        }
    )  # fmt: skip
