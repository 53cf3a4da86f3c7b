"""Short samples of a model in training, in a few numbers, to see that the run goes well.

Ten seconds, twice, on torch: too little to judge a model (`evaluate` does that), but enough to notice one that plays
nothing, everything at once, or off the grid.
"""

from __future__ import annotations

import os

import numpy as np

from emsync import vocabulary as v
from emsync.composer import compose
from emsync.conditions import Conditions
from emsync.decoder import open_decoder
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.tokenizer.events import decode

SAMPLE_S = 10.0
N_SAMPLES = 2


def sample_statistics(model: str | os.PathLike[str], *, seed: int = 0, length_s: float = SAMPLE_S) -> dict[str, float]:
    """Means over `N_SAMPLES` pieces that the model in a folder composes; see `statistics`."""
    decoder = open_decoder(model, backend="torch")
    recipe = Recipe(seed=seed, temperature=1.0, by_kind={}, grid="free", mood_strength=1.0, finish="off")
    pieces = compose(decoder, [Conditions(end_s=length_s)] * N_SAMPLES, recipe)
    each = [statistics(decode(piece.events.ids, piece.events.velocities), length_s) for piece in pieces]
    return {
        name: round(float(np.mean(known)), 3)
        for name in ("notes_per_s", "on_grid", "polyphony")
        if (known := [one[name] for one in each if name in one])
    }


def statistics(score: Score, length_s: float) -> dict[str, float]:
    """notes_per_s; on_grid: share of onsets within a step (8 ms) of a sixteenth of their bar; polyphony: how many notes
    sound at a moment, on average, drums not counted. on_grid is left out if there are fewer than two bars.
    """
    pitched = np.array([not instrument.is_drum for instrument in score.instruments], dtype=bool)[score.instrument]
    out = {
        "notes_per_s": len(score) / length_s,
        "polyphony": float((score.end_s - score.start_s)[pitched].sum()) / length_s,
    }
    if len(score.bars.start_s) < 2 or not len(score):
        return out
    bars = score.bars.start_s
    bar = np.clip(np.searchsorted(bars, score.start_s + v.STEP_S / 2) - 1, 0, len(bars) - 1)
    timed = np.minimum(bar, len(bars) - 2)  # the last bar has no end: it is taken to be as fast as the one before
    sixteenth_s = (np.diff(bars) / (4 * score.bars.quarters[:-1]))[timed]
    place = (score.start_s - bars[bar]) / sixteenth_s
    out["on_grid"] = float((np.abs(place - np.rint(place)) * sixteenth_s <= v.STEP_S * 1.01).mean())
    return out
