"""What tests of decoders share: tiny models of every shape, and songs for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emsync import vocabulary as v
from emsync.conditions import AROUND_POINTS, CONTROL_LANES, COPY_LANES, LANE_NAMES, LANES
from emsync.decoder import AROUSAL_SLOT, VALENCE_SLOT, CachedDecoder
from emsync.model import EventTransformer
from emsync.model_config import ModelConfig

BACKENDS = ("onnx", "torch")
CONTEXT, BLOCK = 32, 8
ROTARY = {"attention": "rotary", "local_block": BLOCK, "global_every": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {"attention": "relative", "lane_encoding": "scalar"},
    "equation": {"attention": "relative", "lanes": LANE_NAMES[:1], "unknown_offsets": "positions"},
    "relative-normed": {"attention": "relative", "qk_norm": True, "norm": "rms", "lane_encoding": "lookup"},
    "rotary-global": {"attention": "rotary", "lane_encoding": "fourier", "tied": True},
    "small": {**ROTARY, "activation": "relu2", "norm": "rms", "qk_norm": True, "lane_encoding": "lookup"},
    "local-plain": {**ROTARY, "lane_encoding": "fourier", "tied": True},
    "before-meter": {**ROTARY, "lane_encoding": "lookup", "lanes": LANE_NAMES[:4]},
    "before-controls": {**ROTARY, "lane_encoding": "lookup", "lanes": LANE_NAMES[: min(CONTROL_LANES)]},
    "before-copying": {**ROTARY, "lane_encoding": "lookup", "lanes": LANE_NAMES[: COPY_LANES.start]},
    "dynamic": {**ROTARY, "lane_encoding": "lookup", "fusion": "dynamic", "style_positions": 3},
    "dynamic-relative": {"attention": "relative", "fusion": "dynamic", "guided_every": 3, "style_positions": 1},
    "guided": {**ROTARY, "qk_norm": True, "lane_encoding": "lookup", "guided_every": 1, "fusion": "dynamic"},
    "guided-sum": {**ROTARY, "global_every": 3, "lane_encoding": "lookup", "guided_every": 2},
    "adapter": {**ROTARY, "qk_norm": True, "norm": "rms", "lane_encoding": "lookup", "adapter_layers": 2},
    "adapter-guided": {"attention": "relative", "guided_every": 2, "adapter_layers": 3},
    "all-local": {**ROTARY, "global_every": 9, "qk_norm": True, "lane_encoding": "scalar"},
}


def tiny(**shape: Any) -> EventTransformer:
    """A model of a few thousand parameters, none of them zero (outputs begin at zero, which would hide every error)."""
    config = ModelConfig(**{"n_layers": 3, "n_heads": 2, "width": 32, "ff_width": 48, "context": CONTEXT, **shape})
    model = EventTransformer(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return model.eval()


@dataclass(frozen=True)
class Song:
    """Random input, (B, T), and what torch's whole pass makes of it at every position."""

    ids: np.ndarray
    previous_velocity: np.ndarray
    lanes: np.ndarray
    mood: np.ndarray
    around: np.ndarray | None = None

    def right(self, model: EventTransformer) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            inputs = (self.ids, self.previous_velocity, self.lanes, self.mood, self.around)
            logits, levels = model(*(None if x is None else torch.tensor(x) for x in inputs))
        return logits.numpy(), levels.numpy()

    def rows(self, rows: list[int]) -> Song:
        around = None if self.around is None else self.around[rows]
        return Song(self.ids[rows], self.previous_velocity[rows], self.lanes[rows], self.mood[rows], around)

    def prefill(self, into: CachedDecoder, count: int) -> tuple[np.ndarray, np.ndarray]:
        around = None if self.around is None else self.around[:, :count]
        events = (x[:, :count] for x in (self.ids, self.previous_velocity, self.lanes))
        return into.prefill(*events, self.mood, around)

    def step(self, into: CachedDecoder, t: int) -> tuple[np.ndarray, np.ndarray]:
        around = None if self.around is None else self.around[:, t]
        return into.step(self.ids[:, t], self.previous_velocity[:, t], self.lanes[:, t], around)


def song(rows: int = 2, count: int = CONTEXT, seed: int = 3) -> Song:
    random = np.random.default_rng(seed)
    ids = random.integers(0, v.SIZE, (rows, count))
    ids[:, 0], ids[:, 1] = VALENCE_SLOT, AROUSAL_SLOT
    lanes = np.stack([random.uniform(lane.low, lane.high, (rows, count)) for lane in LANES], axis=-1)
    lanes[:, ::2, 0] = np.round(lanes[:, ::2, 0] / 0.004) * 0.004  # on the grid, and half way between its steps
    lanes[random.random(lanes.shape) < 0.3] = np.nan
    mood = np.where(np.arange(rows)[:, None] % 2, np.nan, random.uniform(-1, 1, (rows, 2)))
    previous_velocity = random.integers(0, v.VELOCITY_LEVELS + 1, (rows, count))
    around = random.uniform(-1, 1, (rows, count, 2, AROUND_POINTS)).astype(np.float32)
    around[random.random((rows, count)) < 0.2] = np.nan  # nothing is known, or a part
    around[random.random(around.shape) < 0.2] = np.nan
    return Song(ids, previous_velocity, lanes.astype(np.float32), mood.astype(np.float32), around)


def close(found: np.ndarray, right: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-4)
