"""How far two distributions overlap: values in bins of equal numbers of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.training.evaluation.report_page import plain

Ints = npt.NDArray[np.int64]


N_BINS: Final = 10
Floats = npt.NDArray[np.float64]


def bin_edges(real: Floats, n_bins: int = N_BINS) -> Floats:
    """Inner edges of bins for `binned`: quantiles of the real values, and a separate bin for one that many share."""
    given = real[~np.isnan(real)]
    if not len(given):
        return np.zeros(0)
    quantiles = np.quantile(given, np.arange(1, n_bins) / n_bins, method="inverted_cdf")
    distinct, count = np.unique(quantiles, return_counts=True)
    return np.unique(np.concatenate([distinct, np.nextafter(distinct[count > 1], -np.inf)]))


def binned(values: Floats, edges: Floats) -> Ints:
    """The bin of each value, 0..len(edges), edges included below; NaN has one more."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values)).astype(np.int64)


def overlap(a: Ints, b: Ints, n_bins: int) -> float:
    """The common area of the histograms of two rows of bins, in [0, 1]."""
    shares = [np.bincount(side, minlength=n_bins) / len(side) for side in (a, b)]
    return float(np.minimum(*shares).sum())


@dataclass(frozen=True)
class Overlap:
    """How far a statistic or a texture overlaps with real songs, and how far real songs do among themselves.

    spread: the standard deviation of `value` over resampled pieces; ceiling, ceiling_low: the mean of real against
    real, and the 5th percentile. auc: of this statistic alone, 0.5 to 1 (NaN for a texture). composed,
    real: medians (NaN for a texture).
    """

    name: str
    title: str
    value: float
    spread: float
    ceiling: float
    ceiling_low: float
    auc: float = np.nan
    composed: float = np.nan
    real: float = np.nan

    def to_dict(self) -> dict[str, float | None]:
        names = ("value", "spread", "ceiling", "ceiling_low", "auc", "composed", "real")
        return {name: plain(getattr(self, name)) for name in names}
