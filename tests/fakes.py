"""A decoder that needs no model, records its inputs and answers the same everywhere; and a tiny real model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.conditions import N_LANES
from emsync.critic import Critic
from emsync.decoder import Held
from emsync.mixture import Mixture
from emsync.recipe import Recipe

SIZE = v.SIZE
#: What random music likes: neither too dense nor too sparse, a bar now and then.
TASTE = 2.0 * (v.KIND == v.K_BAR) + 1.5 * (v.KIND == v.K_TIMESHIFT) + 2.0 * (v.KIND == v.K_OFF)
MOST = 10**6


@lru_cache
def _columns(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)


def spread(key: np.ndarray, count: int) -> np.ndarray:
    """Numbers that look random, the same for the same key on every machine: (B,) -> (B, count), about -2 to 2."""
    x = (key[:, None].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ _columns(count)
    x ^= x >> np.uint64(29)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(32)
    x >>= np.uint64(40)
    y = x.astype(np.float32)
    y *= np.float32(2**-22)  # this and what follows is exact
    y -= np.float32(2)
    return y


def plain_recipe(**choices: Any) -> Recipe:
    """A recipe that leaves the model alone, except for the given choices: no grid, no finishing, temperature 1."""
    return Recipe(
        **{
            "temperature": 1.0,
            "by_kind": {},
            "grid": "free",
            "finish": "off",
            "mood_strength": 1.0,
            "density_limit": 0.0,
            "density_floor": 0.0,
            "balance": 0.0,
            "alone_bias": 0.0,
            "monotony_bias": 0.0,
            "texture": 0.0,
            "profiles": 0.0,
            "expression": 0.0,
            "moving_chords": False,
            "style_manner": "off",
            "mood_feedback": 0.0,
            "feedback_reach": False,
            "opening_key": 1.0,
            "relative_chords": False,
            "mode_feedback": 0.0,
            "settled_key": 0.0,
            "clear_chords": 0.0,
            "pace": 0.0,
            "key_feedback": False,
            "final_tonic": 0.0,
            "keeps_shares": False,
            "phrase_strength": 0.0,
            "count_in": True,
            "mode": "off",
            "compass": False,
            **choices,
        }
    )


@dataclass
class Fake:
    """A decoder whose answer depends on the latest event, the velocity before it and the boundary lane, row by row."""

    context: int = MOST
    bias: np.ndarray = field(default_factory=lambda: np.zeros(SIZE))
    length: int = 0
    prefills: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    #: (B,) ids, (B,) previous_velocity and (B, N_LANES) lanes of every event given, the first ones by prefill.
    inputs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    #: The place in `inputs` of the last event of each prefill.
    prefilled_at: list[int] = field(default_factory=list)
    #: Which rows were read on when others were finished, and how many events each had been given by then.
    selected: list[tuple[int, np.ndarray]] = field(default_factory=list)
    #: (B, T, 2, P) the mood around the events of every prefill and step, of a fake that reads it.
    around: list[np.ndarray] = field(default_factory=list)

    knows_mood = False
    hears_controls = False
    reads_curve = False
    backend = "fake"
    mixture: Mixture | None = None
    critic: Critic | None = None
    states: np.ndarray | None = None
    mood: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def prefill(
        self, ids: np.ndarray, previous_velocity: np.ndarray, lanes: np.ndarray, mood: np.ndarray,
        around: np.ndarray | None = None,
    ) -> Any:  # fmt: skip
        assert ids.shape == previous_velocity.shape == lanes.shape[:2]
        assert lanes.shape[2] == N_LANES
        assert mood.shape == (len(ids), 2)
        assert ids.shape[1] <= self.context
        assert (around is not None) == self.reads_curve
        self.prefills.append((ids.copy(), previous_velocity.copy(), lanes.copy(), mood.copy()))
        if around is not None:
            assert around.shape[:2] == ids.shape
            self.around.append(around)
        self.mood = mood
        self.prefilled_at.append(len(self.inputs))
        self.length = ids.shape[1]
        return self._answer(ids[:, -1], previous_velocity[:, -1], lanes[:, -1])

    def step(
        self, ids: np.ndarray, previous_velocity: np.ndarray, lanes: np.ndarray, around: np.ndarray | None = None
    ) -> Any:
        assert self.length < self.context, "the window is full"
        assert (around is not None) == self.reads_curve
        if around is not None:
            self.around.append(around[:, None])
        self.length += 1
        return self._answer(ids, previous_velocity, lanes)

    def select(self, rows: np.ndarray) -> None:
        n = len(self.inputs[-1][0])
        assert 0 < len(rows) < n
        assert 0 <= rows.min() <= rows.max() < n
        self.selected.append((len(self.inputs), rows.copy()))
        self.mood = self.mood[rows]

    def hold(self, rows: np.ndarray) -> Held:
        assert 0 <= rows.min() <= rows.max() < len(self.mood)
        return Held(self.length, self.mood[rows], ())

    def resume(self, held: Held, rows: np.ndarray) -> None:
        self.length, self.mood = held.length, held.mood[rows]

    @property
    def n_rows(self) -> int:
        return len(self.mood)

    def twin(self) -> Self:
        """It notes its events among those of the first one."""
        return replace(self, length=0, mood=np.zeros((0, 2)))

    def _answer(self, ids: np.ndarray, previous_velocity: np.ndarray, lanes: np.ndarray) -> Any:
        self.inputs.append((ids.copy(), previous_velocity.copy(), lanes.copy()))
        offset = np.rint(np.where(np.isnan(lanes[:, 0]), 0, lanes[:, 0]) / v.STEP_S).astype(np.int64)
        key = ids * 1_000_003 + previous_velocity * 10_007 + offset * 101 + 7
        return (spread(key, SIZE) + TASTE + self.bias).astype(np.float32), spread(key + 1, v.VELOCITY_LEVELS)


#: What a mood of 1 adds to logits and velocity logits: valence and arousal at the cursor, and of the whole piece.
FEELINGS = spread(np.arange(4), SIZE + v.VELOCITY_LEVELS)


@dataclass
class Feeling(Fake):
    """A fake that knows mood: what it answers without goes up and down with the given mood, times `gain`."""

    gain: float = 1.0
    knows_mood = True

    def _answer(self, ids: np.ndarray, previous_velocity: np.ndarray, lanes: np.ndarray) -> Any:
        logits, levels = super()._answer(ids, previous_velocity, lanes)
        felt = self.gain * np.nan_to_num(np.concatenate([lanes[:, 1:3], self.mood], axis=1)) @ FEELINGS
        return logits + felt[:, :SIZE], levels + felt[:, SIZE:]


#: Length of the fixture `film`.
DEMO_S = 9.0


def exported_model(folder: Path, *, seed: int = 0, knows_mood: bool = True) -> Path:
    """A folder with a tiny random model and its graph; skips the test where torch or onnx is missing."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from emsync.export import export
    from tests.models import LOCAL, model_folder

    export(model_folder(folder, replace(LOCAL, knows_mood=knows_mood), seed=seed))
    return folder
