"""How well predicted moods agree with rated ones: correlations, and areas under curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well one axis is met: over all values (Pearson, concordance), piece means (R2), within pieces (Pearson)."""

    pearson: float
    concordance: float
    r2_of_means: float
    pearson_within: float


def pearson(a: FloatArray, b: FloatArray) -> float:
    """Pearson's correlation of two rows; NaN where one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / size) if size > 1e-12 else math.nan


def concordance(a: FloatArray, b: FloatArray) -> float:
    """Lin's concordance correlation (Biometrics 45, 1989) of two rows: 1 only where they are equal."""
    below = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / below) if below > 1e-12 else math.nan


def agreement(predicted: Sequence[FloatArray], truth: Sequence[FloatArray]) -> Agreement:
    """One axis, a row a piece (M,). Pieces without variation do not count within."""
    a, b = np.concatenate(predicted), np.concatenate(truth)
    a_means, b_means = (np.array([row.mean() for row in rows]) for rows in (predicted, truth))
    spread = float(((b_means - b_means.mean()) ** 2).sum())
    within = np.array([pearson(p, t) for p, t in zip(predicted, truth, strict=True)])
    known = within[~np.isnan(within)]
    return Agreement(
        pearson(a, b),
        concordance(a, b),
        1 - float(((a_means - b_means) ** 2).sum()) / spread if spread > 0 else math.nan,
        float(known.mean()) if len(known) else math.nan,
    )


def auc(higher: npt.ArrayLike, lower: npt.ArrayLike) -> float:
    """The chance that one of `higher` exceeds one of `lower`, ties a half: area under the ROC curve."""
    a, b = np.asarray(higher, dtype=np.float64), np.asarray(lower, dtype=np.float64)
    if not len(a) or not len(b):
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([True, False], [len(a), len(b)]), np.concatenate([a, b])))
