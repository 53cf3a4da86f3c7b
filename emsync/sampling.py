"""Sampling one event from a model's logits, and one velocity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.recipe import Recipe

FloatArray = npt.NDArray[np.floating]


def draw(
    logits: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    recipe: Recipe,
    chord_bias: float = 0.0,
) -> int:
    """Sample one allowed event: first its kind, then which event of that kind.

    This way every kind can have its own temperature and top-p (`Recipe.by_kind`) without a change in how often the
    kinds come.

    Args:
        logits: (vocabulary,) of the model.
        allowed: (vocabulary,) At least one is True.
        rng: Used for two numbers, or for none if only one event is allowed.
        recipe: Temperatures and top-p.
        chord_bias: Added to the logit of CHORD.

    """
    live = allowed.nonzero()[0]
    if len(live) == 1:
        return int(live[0])
    x = logits[live].astype(np.float64)
    if allowed[v.CHORD]:
        x[live.searchsorted(v.CHORD)] += chord_bias
    kinds = v.KIND[live]  # increasing, as the ids are
    p = _softmax(x / recipe.temperature)
    mass: FloatArray = np.bincount(kinds, weights=p, minlength=len(v.KINDS)).astype(np.float64, copy=False)
    # No top-p for the kind: it would drop what is rare at every moment and yet must come, such as BAR.
    kind = _pick(mass, rng)
    first, stop = kinds.searchsorted((kind, kind + 1))
    temperature, top_p = recipe.by_kind.get(v.KINDS[kind], (recipe.temperature, recipe.top_p))
    within = p[first:stop] if temperature == recipe.temperature else _softmax(x[first:stop] / temperature)
    return int(live[first + _pick(_nucleus(within, top_p), rng)])


def draw_velocity(logits: npt.NDArray[np.float32], rng: np.random.Generator, recipe: Recipe) -> int:
    """Sample a velocity level, from 1 to `vocabulary.VELOCITY_LEVELS`, from logits (VELOCITY_LEVELS,)."""
    return _pick(_softmax(logits.astype(np.float64) / recipe.velocity_temperature), rng) + 1


def _softmax(x: FloatArray) -> FloatArray:
    e = np.exp(x - x.max())
    e /= e.sum()
    return e


def _nucleus(p: FloatArray, top_p: float) -> FloatArray:
    """Keep the smallest set of the likeliest entries that holds top_p of the mass, and set the others to 0.

    p need not sum to 1.
    """
    if top_p >= 1 or len(p) == 1:
        return p
    order = (-p).argsort(kind="stable")
    total = p[order].cumsum()
    dropped = order[int(total.searchsorted(top_p * total[-1])) + 1 :]
    kept = p.copy()
    kept[dropped] = 0
    return kept


def _pick(p: FloatArray, rng: np.random.Generator) -> int:
    """Sample an index by inverting the distribution function, so that nearly equal p give equal samples.

    p need not sum to 1.
    """
    total = p.cumsum()
    i = int(total.searchsorted(rng.random() * total[-1], side="right"))
    return i if i < len(p) else int(p.nonzero()[0][-1])  # rounding may go past the last entry
