"""How similar composed pieces are to real songs: overlapping distributions, and a classifier that separates them.

Conventions
- One window for each piece (`music_statistics.draw_window`), at a bar drawn with the seed, for composed pieces and
  real songs. Pieces are composed with three or more families, so real songs with fewer are left out.
- Overlap of a statistic: sum over bins of the smaller of both shares (the overlapping area of Yang & Lerch 2020,
  Section 4.2, with histograms instead of kernels), in [0, 1]; 1 means equal distributions. Bins are the deciles of
  the real songs. A value that many songs share has its own bin, and so has NaN. A texture's overlap is that of its
  mean histograms.
- With few windows, overlap is smaller by chance alone. The ceiling is therefore real against real, with as many songs
  on one side as there are composed pieces, drawn several times from the real songs, against all others.
- The classifier is a logistic regression with a ridge on the standardised statistics and textures, and their squares,
  so that it also notices too little variety. Every piece has one window, so folds hold out whole pieces. Area under
  the curve: 0.5 if composed and real cannot be distinguished, 1 if they always can.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.critic import Scaling
from emsync.errors import InputError
from emsync.files import atomic_path
from emsync.score import Score
from emsync.tokenizer.families import reduce
from emsync.training.corpus.archive_schema import MORE_FAMILIES
from emsync.training.evaluation.music_statistics import (
    STATISTICS,
    TEXTURES,
    TIMING,
    WINDOW_S,
    draw_window,
    statistics,
    textures,
)
from emsync.training.evaluation.overlap import Overlap, bin_edges, binned, overlap
from emsync.training.evaluation.report_page import table
from emsync.training.mood import agreement

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: With fewer pieces on a side, nothing can be held out.
MIN_PIECES: Final = 10
#: Draws of real against real, resamplings of pieces, folds, and how often the folds are drawn again.
CEILINGS, RESAMPLED, FOLDS, REPEATS = 20, 200, 5, 3
#: The number of the ceiling's draws that the classifier measures, too.
FLOORS: Final = 6
RIDGE: Final = 30.0
_HEAVIEST: Final = 15


# ---------------------------------------------------------------------------------------------------------------------
# Overlap


# ---------------------------------------------------------------------------------------------------------------------
# The classifier


def auc(score: Floats, is_composed: Bools) -> float:
    """The chance that a composed piece scores higher than a real one, ties half (area under the ROC curve)."""
    return agreement.auc(score[is_composed], score[~is_composed])


def fit(x: Floats, y: Bools, ridge: float = RIDGE) -> Floats:
    """Weights (F + 1,), the last one the constant, of a logistic regression (scikit-learn).

    Args:
        x: (N, F) standardised features.
        y: (N,) the class of each row; both classes weigh the same.
        ridge: The penalty is ridge / 2 times the sum of squared weights, without the constant.

    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / ridge, class_weight="balanced", solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(x, y)
    return np.append(model.coef_[0], model.intercept_[0]).astype(np.float64)


def held_out(x: Floats, y: Bools, rng: np.random.Generator) -> Floats:
    """How composed each window seems, (N,), by classifiers fitted on others; the mean over `REPEATS` dealings."""
    scores = np.zeros((REPEATS, len(y)))
    for row in scores:
        fold = np.zeros(len(y), dtype=np.int64)
        for side in (y, ~y):
            fold[side] = rng.permutation(np.arange(side.sum()) % FOLDS)
        for k in range(FOLDS):
            known, asked = fold != k, fold == k
            scaling = Scaling.by(x[known])
            w = fit(scaling(x[known]), y[known])
            row[asked] = scaling(x[asked]) @ w[:-1] + w[-1]
    return np.asarray(scores.mean(axis=0))


# ---------------------------------------------------------------------------------------------------------------------
# The result


@dataclass(frozen=True)
class Heavy:
    """A feature with its weights, plain and squared, both standardised. Positive: more of it seems composed."""

    name: str
    weight: float
    weight_squared: float


@dataclass(frozen=True, eq=False)
class Similarity:
    """How similar the pieces are to real songs.

    overlaps: of all statistics, then all textures. auc, auc_spread: of the classifier, and its standard deviation over
    resampled pieces; auc_without_timing: without `music_statistics.TIMING`; floor, floor_high: of real songs against
    real songs, the mean and the largest. heaviest: the features with the largest weights. scores: how composed the
    held-out windows seem, for composed and real.
    """

    pieces: int
    songs: int
    window_s: float
    overlaps: tuple[Overlap, ...]
    auc: float
    auc_spread: float
    auc_without_timing: float
    floor: float
    floor_high: float
    heaviest: tuple[Heavy, ...]
    scores: tuple[Floats, Floats]

    @property
    def overlap(self) -> float:
        """The mean over statistics and textures."""
        return float(np.mean([row.value for row in self.overlaps]))

    @property
    def ceiling(self) -> float:
        """The mean overlap of real with real."""
        return float(np.mean([row.ceiling for row in self.overlaps]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the figures to compare models by first, then each overlap by name and the heaviest features."""
        return {
            "pieces": self.pieces,
            "songs": self.songs,
            "window_s": self.window_s,
            "auc": self.auc,
            "auc_spread": self.auc_spread,
            "auc_without_timing": self.auc_without_timing,
            "auc_real_against_real": self.floor,
            "auc_real_against_real_high": self.floor_high,
            "overlap": self.overlap,
            "overlap_real_with_real": self.ceiling,
            "overlaps": {row.name: row.to_dict() for row in self.overlaps},
            "heaviest": [
                {"name": one.name, "weight": one.weight, "weight_squared": one.weight_squared} for one in self.heaviest
            ],
        }

    def to_markdown(self) -> str:
        """A section: the classifier, its features, and the table of overlaps, farthest from its ceiling first."""
        rows: list[list[str | float]] = [
            [row.title, row.composed, row.real, row.value, row.spread, row.ceiling, row.ceiling_low, row.auc]
            for row in sorted(self.overlaps, key=lambda row: row.value / row.ceiling)
        ]
        heavy: list[list[str | float]] = [[one.name, one.weight, one.weight_squared] for one in self.heaviest]
        return "\n".join(
            [
                "## Similarity",
                "",
                f"{self.pieces} composed pieces and {self.songs} real songs of three or more families, a window of "
                f"{self.window_s:g} s of each, both through the tokenizer.",
                "",
                f"A classifier separates held-out windows with an area under the curve of **{self.auc:.3f}** "
                f"(± {self.auc_spread:.3f}; without timing {self.auc_without_timing:.3f}); real from real "
                f"{self.floor:.3f} (at most {self.floor_high:.3f}). 0.5 is perfect. Distributions overlap by "
                f"**{self.overlap:.3f}** on average, those of real with real by {self.ceiling:.3f}.",
                "",
                "### Features of the classifier",
                "",
                "Weights of the standardised feature and of its square; positive: more of it seems composed, or, of "
                "the square, values far from the mean do.",
                "",
                *table(["feature", "weight", "of the square"], heavy),
                "",
                "### Overlap",
                "",
                "The common area of composed and real distributions, its standard deviation over resampled pieces, and "
                "next to it real with real (mean, and the 5th percentile of the draws). Last, the area under the "
                "curve of the statistic alone.",
                "",
                *table(["", "composed", "real", "overlap", "±", "real with real", "low", "alone"], rows),
                "",
            ]
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Overlaps beside their ceilings, how composed the windows seem, and the heaviest features (PNG)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(14, 11), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=[1.3, 1])
        axes = figure.add_subplot(grid[:, 0])
        rows = sorted(self.overlaps, key=lambda row: row.value / row.ceiling, reverse=True)
        at = np.arange(len(rows))
        axes.barh(at, [row.value for row in rows], xerr=[row.spread for row in rows], color="C0", ecolor="0.4")
        axes.plot([row.ceiling for row in rows], at, "k|", markersize=9, markeredgewidth=2, label="real with real")
        axes.set_yticks(at, [row.title for row in rows], fontsize=8)
        axes.set(xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4), title="overlap with real songs")
        axes.legend(loc="upper right", bbox_to_anchor=(1, 1.035), frameon=False)
        axes = figure.add_subplot(grid[0, 1])
        every = np.concatenate(self.scores)
        edges = np.linspace(every.min(), every.max(), 25)
        for name, scores in zip(("composed", "real"), self.scores, strict=True):
            axes.hist(scores, bins=edges.tolist(), weights=np.full(len(scores), 1 / len(scores)), alpha=0.6, label=name)
        axes.set(title=f"how composed held-out windows seem (AUC {self.auc:.3f})", xlabel="log odds", ylabel="share")
        axes.legend()
        axes = figure.add_subplot(grid[1, 1])
        at = np.arange(len(self.heaviest))[::-1]
        axes.barh(at + 0.2, [one.weight for one in self.heaviest], 0.4, label="as it is")
        axes.barh(at - 0.2, [one.weight_squared for one in self.heaviest], 0.4, label="squared")
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_yticks(at, [one.name for one in self.heaviest], fontsize=8)
        axes.set(title="weights of the classifier (right: seems composed)")
        axes.legend()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def music_windows(
    scores: Sequence[Score], seed: int, side: int, length_s: float, least_families: int
) -> Iterator[Score]:
    """The window of each score that `measure` compares; none of those that are shorter, or have fewer families.

    side: 0 for composed pieces, 1 for songs, so that their windows are drawn apart.
    """
    for i, score in enumerate(scores):
        families = reduce(score).score
        if len(np.unique(families.instrument)) >= least_families:
            found = draw_window(families, np.random.default_rng([seed, side, i]), length_s)
            if found is not None:
                yield found


def measure(
    composed: Sequence[Score],
    real: Sequence[Score],
    *,
    seed: int = 0,
    window_s: float = WINDOW_S,
    least_families: int = MORE_FAMILIES,
) -> Similarity:
    """Compare composed pieces with real songs, a window of `window_s` seconds of each; shorter ones are left out.

    least_families: real songs with fewer families are left out (pieces composed with `instruments="fewer"`: 1).
    Raises `InputError` for fewer than `MIN_PIECES` pieces or songs that are long enough.
    """
    sides = [
        list(music_windows(scores, seed, side, window_s, least))
        for side, (scores, least) in enumerate(((composed, 0), (real, least_families)))
    ]
    for name, windows in zip(("composed pieces", "real songs"), sides, strict=True):
        if len(windows) < MIN_PIECES:
            raise InputError(
                f"{len(windows)} {name} of {window_s:g} s or more cannot be compared; give at least {MIN_PIECES}"
            )
    n, windows = len(sides[0]), [*sides[0], *sides[1]]
    is_composed = np.arange(len(windows)) < n
    values = np.array([list(statistics(one).values()) for one in windows]).round(9)  # (windows, statistics)
    histograms = [textures(one) for one in windows]
    blocks = [np.array([one[name] for one in histograms]) for name in TEXTURES]
    x = np.concatenate([values, *blocks], axis=1)
    names = [*STATISTICS, *(f"{name}: {label}" for name, labels in TEXTURES.items() for label in labels)]

    rng = np.random.default_rng([seed, 2])
    overlaps = _overlaps(values, blocks, is_composed, rng)
    scores = held_out(x, is_composed, rng)
    untimed = np.array([name not in TIMING for name in names])
    without = auc(held_out(x[:, untimed], is_composed, rng), is_composed)
    floors = []
    for draw in _draws(n, len(sides[1]), FLOORS, rng):
        floors.append(auc(held_out(x[n:], draw, rng), draw))
    w = fit(Scaling.by(x)(x), is_composed)[:-1].reshape(2, -1)
    heaviest = np.argsort(-np.hypot(*w))[:_HEAVIEST]
    return Similarity(
        n, len(sides[1]), window_s, tuple(overlaps), auc(scores, is_composed), _auc_spread(scores, is_composed, rng),
        without, float(np.mean(floors)), float(np.max(floors)),
        tuple(Heavy(names[i], float(w[0, i]), float(w[1, i])) for i in heaviest),
        (scores[is_composed], scores[~is_composed]),
    )  # fmt: skip


def _draws(n: int, n_real: int, times: int, rng: np.random.Generator) -> Iterator[Bools]:
    """Some real songs, as many as were composed (but half of all at most), compared with the others: (n_real,) each."""
    for _ in range(times):
        draw = np.zeros(n_real, dtype=bool)
        draw[rng.permutation(n_real)[: min(n, n_real // 2)]] = True
        yield draw


def _auc_spread(scores: Floats, is_composed: Bools, rng: np.random.Generator) -> float:
    found = []
    for _ in range(RESAMPLED):
        drawn = np.concatenate([rng.choice(np.flatnonzero(side), side.sum()) for side in (is_composed, ~is_composed)])
        found.append(auc(scores[drawn], is_composed[drawn]))
    return float(np.std(found))


def _overlaps(values: Floats, blocks: list[Floats], is_composed: Bools, rng: np.random.Generator) -> list[Overlap]:
    """The overlap of each column of `values` (windows, statistics), then of each texture's block (windows, bins)."""
    composed, real = values[is_composed], values[~is_composed]
    n, n_real = len(composed), len(real)
    again = [rng.integers(n, size=n) for _ in range(RESAMPLED)]
    draws = list(_draws(n, n_real, CEILINGS, rng))
    rows = []
    for k, (name, title) in enumerate(STATISTICS.items()):
        edges = bin_edges(real[:, k])
        a, b, size = binned(composed[:, k], edges), binned(real[:, k], edges), len(edges) + 2
        ceilings = [overlap(b[draw], b[~draw], size) for draw in draws]
        alone = auc(np.nan_to_num(values[:, k], nan=-1e9), is_composed)
        rows.append(
            Overlap(
                name, title, overlap(a, b, size), float(np.std([overlap(a[i], b, size) for i in again])),
                float(np.mean(ceilings)), float(np.quantile(ceilings, 0.05)), max(alone, 1 - alone),
                _median(composed[:, k]), _median(real[:, k]),
            )
        )  # fmt: skip

    def common(a: Floats, b: Floats) -> float:
        """Windows without the texture have no share in its mean."""
        means = [side[side.any(axis=1)].sum(axis=0) / max(side.any(axis=1).sum(), 1) for side in (a, b)]
        return float(np.minimum(*means).sum())

    for name, block in zip(TEXTURES, blocks, strict=True):
        a_, b_ = block[is_composed], block[~is_composed]
        ceilings = [common(b_[draw], b_[~draw]) for draw in draws]
        rows.append(
            Overlap(
                name, f"texture: {name}", common(a_, b_), float(np.std([common(a_[i], b_) for i in again])),
                float(np.mean(ceilings)), float(np.quantile(ceilings, 0.05)),
            )
        )  # fmt: skip
    return rows


def _median(values: Floats) -> float:
    given = values[~np.isnan(values)]
    return float(np.median(given)) if len(given) else np.nan
