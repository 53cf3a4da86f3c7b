"""Plain music to read moods from: triads, in any tempo, register and mode."""

from __future__ import annotations

import numpy as np

from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS

MAJOR_TRIADS = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
MINOR_TRIADS = ((60, 63, 67), (65, 68, 72), (67, 70, 74), (60, 63, 67))


def chords(
    *,
    qpm: float,
    triads: tuple[tuple[int, ...], ...] = MAJOR_TRIADS,
    velocity: int = 80,
    per_quarter: int = 1,
    length: float = 0.9,
    transposed: int = 0,
    quarters: int = 64,
    family: int = 1,
) -> Score:
    """Broken by nothing: triads struck `per_quarter` times a quarter, each for a bar of four, then the next."""
    step_s = 60 / qpm / per_quarter
    rows = [
        (pitch + transposed, i * step_s, i * step_s + length * step_s)
        for i in range(quarters * per_quarter)
        for pitch in triads[(i // (4 * per_quarter)) % len(triads)]
    ]
    pitch, start, end = (np.array(column) for column in zip(*rows, strict=True))
    tempo = TempoMap.constant(qpm)
    bars = Bars(tempo.seconds_at(np.arange(0, quarters, 4)), [4] * (quarters // 4), [4] * (quarters // 4))
    who = (FAMILY_INSTRUMENTS[family],)
    return Score(who, np.zeros(len(pitch), int), pitch, np.full(len(pitch), velocity), start, end, tempo, bars)
