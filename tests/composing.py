"""What tests of composing share: conditions, and pieces composed with a plain recipe."""

from __future__ import annotations

from typing import Any

import numpy as np

from emsync import composer
from emsync import vocabulary as v
from emsync.composer import Piece
from emsync.conditions import Conditions
from tests.fakes import plain_recipe


def asked(end_s: float = 12.0, *boundaries_s: float, **more: Any) -> Conditions:
    return Conditions(boundaries_s=np.array(boundaries_s), end_s=end_s, **more)


def compose(decoder: Any, conditions: list[Conditions], *, progress: Any = None, **choices: Any) -> list[Piece]:
    """Compose with a plain recipe, except for these choices."""
    return composer.compose(decoder, conditions, plain_recipe(**choices), progress=progress)


def written(piece: Piece) -> tuple[list[int], list[int]]:
    return piece.events.ids.tolist(), piece.events.velocities.tolist()


def clock_s(piece: Piece) -> np.ndarray:
    return np.cumsum(v.SHIFT_STEPS[piece.events.ids]) * v.STEP_S


FILM = asked(12.0, 4.003, 8.51)
BEND, EXACT, FREE = "bend", "exact", "free"
JOY = asked(
    6.0, 3.0, valence=(np.array([0.0, 6.0]), np.array([-0.5, 1.0])), arousal=0.5, piece_valence=0.25, piece_arousal=0.5
)
