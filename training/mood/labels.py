"""Music to mood: a regressor from symbolic features to valence and arousal, and how well it does.

Conventions
- It is fitted on VGMIDI (Ferreira & Whitehead, ISMIR 2019): `annotations.json` and `midi/`. One annotated value stands
  for four quarter notes, whatever the meter; raters' values are averaged.
- Raters answer late: music is paired with what they say `LAG_S` later. Applied, a value describes the music where it
  stands.
- Rows of a piece weigh together as much as those of any other. Evaluation leaves whole pieces out.
- The regressor is ridge regression on standardised features, each cut off at `CLIP` deviations, so that music unlike
  VGMIDI's moves it only so far. It needs NumPy alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync.errors import CorpusError, ModelError
from emsync.mood import MoodCurve
from emsync.score import Score
from emsync.training.corpus.archive import Song
from emsync.training.mood.features import FEATURES, WINDOW_S, Notes, features
from emsync.training.mood.fitted import read_fitted, write_fitted
from emsync.vocabulary import FAMILIES

FloatArray = npt.NDArray[np.float64]

AXES: Final = ("valence", "arousal")
QUARTERS_PER_VALUE: Final = 4.0
LAG_S: Final = 6.0
PENALTY: Final = 10.0
CLIP: Final = 3.0
FOLDS: Final = 10
#: Not listened to: VGMIDI is piano alone, so how many families play and which of them says nothing there.
UNUSED: Final = frozenset({"families", "onsets_pitched"} | {f"onsets_{name.lower()}" for name in FAMILIES})
USED: Final = tuple(name for name in FEATURES if name not in UNUSED)
SHIPPED: Final = Path(__file__).with_name("regressor.json")


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece people rated: features (bins, F), when each value stands (M,) in seconds, values (raters, M) an axis.

    note_density (bins,): notes per second over instruments, the paper's forerunner's arousal, for comparison.
    """

    name: str
    features: FloatArray
    times_s: FloatArray
    valence: FloatArray
    arousal: FloatArray
    note_density: FloatArray

    def __post_init__(self) -> None:
        values = {len(self.times_s), self.valence.shape[1], self.arousal.shape[1]}
        if len(values) != 1 or not len(self.times_s) or not len(self.valence) or not len(self.arousal):
            raise CorpusError(f"{self.name}: ratings of {sorted(values)} values are no curves; give each rater all")
        rated = np.concatenate([self.valence, self.arousal])
        if not (np.abs(rated) <= 1).all():
            raise CorpusError(f"{self.name}: a rating is outside [-1, 1]; scale ratings to that range")

    @property
    def target(self) -> FloatArray:
        """(M, 2): raters' means."""
        return np.stack([self.valence.mean(axis=0), self.arousal.mean(axis=0)], axis=1)

    def rows(self, lag_s: float = LAG_S) -> npt.NDArray[np.int64]:
        """(M,): the bin each value was an answer to."""
        return np.clip((self.times_s - lag_s).astype(np.int64), 0, len(self.features) - 1)


def read_vgmidi(folder: str | os.PathLike[str]) -> tuple[Piece, ...]:
    """The rated pieces of a VGMIDI folder. Raises `CorpusError` naming what is missing or not as it should be."""
    place = Path(folder)
    file = place / "annotations.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{file} cannot be read ({error}); give the folder of VGMIDI") from error
    if not isinstance(entries, list) or not entries:
        raise CorpusError(f"{file} holds no list of pieces; give the folder of VGMIDI")
    return tuple(_piece(place, entry) for entry in entries)


def _piece(place: Path, entry: Any) -> Piece:
    try:
        name, count = str(entry["midi"]), int(entry["measures"])
        # One rater of one piece answered once too often: what lies beyond the measures is left out.
        ratings = [np.array([rater[:count] for rater in entry[axis]], dtype=np.float64) for axis in AXES]
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(
            f"{place}: an entry lacks ratings a measure ({error}); give the annotations of VGMIDI"
        ) from error
    if any(rated.ndim != 2 for rated in ratings):
        raise CorpusError(f"{name}: no ratings; give the annotations of VGMIDI")
    score = midi.read(place / name)
    middle = QUARTERS_PER_VALUE * (np.arange(count) + 0.5)
    notes = Notes.of_score(score)
    return Piece(name, features(notes), score.tempo.seconds_at(middle), ratings[0], ratings[1], note_density(notes))


def note_density(notes: Notes, *, window_s: int = WINDOW_S) -> FloatArray:
    """(bins,): notes per second over families that play, the forerunner's measure of arousal."""
    n = max(1, math.ceil(notes.duration_s))
    counts = np.bincount(np.minimum(notes.start_s.astype(np.int64), n - 1), minlength=n)
    total = np.concatenate([[0.0], np.cumsum(counts)])
    low, high = np.maximum(np.arange(n) - window_s // 2, 0), np.minimum(np.arange(n) + window_s // 2 + 1, n)
    return np.asarray((total[high] - total[low]) / (high - low) / max(1, len(np.unique(notes.family))))


@dataclass(frozen=True, eq=False)
class Regressor:
    """Standardise, cut off, weigh: features (bins, F) to valence and arousal (bins, 2) in [-1, 1].

    names (F,): features in the order of the rows; mean, deviation (F,): 0 deviation is a feature not listened to;
    weights (F, 2); bias (2,).
    """

    names: tuple[str, ...]
    mean: FloatArray
    deviation: FloatArray
    weights: FloatArray
    bias: FloatArray

    def __post_init__(self) -> None:
        n = len(self.names)
        unknown = [name for name in self.names if name not in FEATURES]
        if unknown:
            raise ModelError(f"the mood regressor listens to {unknown[0]!r}, which is no feature here; fit it again")
        for name, shape in (("mean", (n,)), ("deviation", (n,)), ("weights", (n, 2)), ("bias", (2,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise ModelError(f"the mood regressor's {name} has the shape {array.shape}, not {shape}; fit it again")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def standardised(self, rows: FloatArray) -> FloatArray:
        """(bins, all features) -> (bins, F) in [-CLIP, CLIP]; NaN, a feature without a value, becomes the mean."""
        chosen = rows[:, [FEATURES.index(name) for name in self.names]]
        heard = self.deviation > 0
        scaled = np.where(heard, (chosen - self.mean) / np.where(heard, self.deviation, 1.0), 0.0)
        return np.clip(np.nan_to_num(scaled), -CLIP, CLIP)

    def apply(self, rows: FloatArray) -> FloatArray:
        """Valence and arousal (bins, 2) of feature rows (bins, all features)."""
        return np.clip(self.standardised(rows) @ self.weights + self.bias, -1.0, 1.0)

    def adapted(self, rows: FloatArray) -> Regressor:
        """The same weights, standardised by other music's features (rows of many songs): its average is neutral music.

        For a corpus unlike VGMIDI. Features that do not vary there are not listened to.
        """
        chosen = rows[:, [FEATURES.index(name) for name in self.names]]
        mean, deviation = _moments(chosen)
        return replace(self, mean=mean, deviation=np.where(self.deviation > 0, deviation, 0.0))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write JSON that `Regressor.read` reads."""
        rows = {name: getattr(self, name).tolist() for name in ("mean", "deviation", "weights", "bias")}
        write_fitted(path, {"names": self.names, "lag_s": LAG_S, "clip": CLIP, "penalty": PENALTY, **rows})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Regressor:
        """The regressor at `path`. Raises `ModelError` naming it."""

        def make(content: Any) -> Regressor:
            rows = (np.array(content[name], dtype=np.float64) for name in ("mean", "deviation", "weights", "bias"))
            return cls(tuple(content["names"]), *rows)

        return read_fitted(path, "mood regressor", make)


@lru_cache(maxsize=1)
def shipped() -> Regressor:
    """The regressor fitted on all of VGMIDI that comes with emsync."""
    return Regressor.read(SHIPPED)


def readings_of(music: Score | Song | Notes, regressor: Regressor) -> FloatArray:
    """What a regressor reads in music, second by second: valence and arousal (seconds, 2)."""
    notes = Notes.of_score(music) if isinstance(music, Score) else music
    return regressor.apply(features(notes if isinstance(notes, Notes) else Notes.of_song(notes)))


def mood_of(music: Score | Song | Notes, regressor: Regressor | None = None) -> MoodCurve:
    """The mood of music second by second: points at 0.5, 1.5, ... s, up to its end. `regressor`: the shipped one."""
    levels = readings_of(music, shipped() if regressor is None else regressor)
    return MoodCurve(np.arange(len(levels), dtype=np.float64) + np.float64(0.5), levels[:, 0], levels[:, 1])


def fit(
    pieces: Sequence[Piece], *, penalty: float = PENALTY, lag_s: float = LAG_S, names: Sequence[str] = USED
) -> Regressor:
    """Ridge regression (scikit-learn) of raters' means on features; every piece weighs one.

    Raises `CorpusError` for fewer than two pieces.
    """
    if len(pieces) < 2:
        raise CorpusError(f"{len(pieces)} pieces are too few to fit a regressor; give two or more")
    rows = np.concatenate([piece.features[piece.rows(lag_s)] for piece in pieces])
    target = np.concatenate([piece.target for piece in pieces])
    weight = np.concatenate([np.full(len(piece.times_s), 1 / len(piece.times_s)) for piece in pieces])
    mean, deviation = _moments(rows[:, [FEATURES.index(name) for name in names]])
    blank = Regressor(tuple(names), mean, deviation, np.zeros((len(names), 2)), np.zeros(2))
    x = blank.standardised(rows)
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty, solver="cholesky").fit(x, target, sample_weight=weight)
    return replace(blank, weights=model.coef_.T, bias=model.intercept_)


def _moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each column over its numbers; a column without any, or of one value, deviates by 0."""
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-6, deviation, 0.0)


def halves(pieces: Sequence[Piece], *, seed: int = 0) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces in two random halves: one to label with, one to judge with."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    cut = len(pieces) // 2
    return tuple(pieces[i] for i in order[:cut]), tuple(pieces[i] for i in order[cut:])


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


def cross_validate(
    pieces: Sequence[Piece],
    *,
    groups: Sequence[str] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    penalty: float = PENALTY,
    lag_s: float = LAG_S,
    names: Sequence[str] = USED,
) -> list[FloatArray]:
    """Each piece's values (M, 2) by a regressor that saw none of its group (by default: not the piece)."""
    labels = [piece.name for piece in pieces] if groups is None else list(groups)
    distinct = sorted(set(labels))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {distinct[i]: place % folds for place, i in enumerate(order)}
    found: list[FloatArray] = [np.zeros((0, 2))] * len(pieces)
    for fold in range(folds):
        held = [i for i, label in enumerate(labels) if fold_of[label] == fold]
        if held:
            seen = [pieces[i] for i, label in enumerate(labels) if fold_of[label] != fold]
            regressor = fit(seen, penalty=penalty, lag_s=lag_s, names=names)
            for i in held:
                found[i] = regressor.apply(pieces[i].features)[pieces[i].rows(lag_s)]
    return found


def density_baseline(
    pieces: Sequence[Piece], *, folds: int = FOLDS, seed: int = 0, lag_s: float = LAG_S
) -> list[FloatArray]:
    """Arousal (M,) of each piece by a straight line from note density, fitted on the other folds' pieces."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    found: list[FloatArray] = [np.zeros(0)] * len(pieces)
    for fold in range(folds):
        held = set(order[fold::folds].tolist())
        x = np.concatenate([p.note_density[p.rows(lag_s)] for i, p in enumerate(pieces) if i not in held])
        y = np.concatenate([p.target[:, 1] for i, p in enumerate(pieces) if i not in held])
        slope, level = np.polyfit(x, y, 1)
        for i in held:
            found[i] = slope * pieces[i].note_density[pieces[i].rows(lag_s)] + level
    return found


def mean_baseline(pieces: Sequence[Piece], *, folds: int = FOLDS, seed: int = 0) -> list[FloatArray]:
    """Values (M, 2) of each piece: the mean of the other folds' pieces."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    found: list[FloatArray] = [np.zeros((0, 2))] * len(pieces)
    for fold in range(folds):
        held = set(order[fold::folds].tolist())
        mean = np.mean([p.target.mean(axis=0) for i, p in enumerate(pieces) if i not in held], axis=0)
        for i in held:
            found[i] = np.tile(mean, (len(pieces[i].times_s), 1))
    return found


def split_half(pieces: Sequence[Piece], *, draws: int = 20, seed: int = 0) -> tuple[Agreement, Agreement]:
    """Valence's and arousal's ceiling: one half of the raters' mean against the other's, over random halves."""
    generator = np.random.default_rng(seed)
    found = np.zeros((draws, 2, 4))
    for draw in range(draws):
        sides: list[list[tuple[FloatArray, FloatArray]]] = [[], []]
        for piece in pieces:
            order = generator.permutation(len(piece.valence))
            cut = len(order) // 2
            for axis, rated in enumerate((piece.valence, piece.arousal)):
                sides[axis].append((rated[order[:cut]].mean(axis=0), rated[order[cut:]].mean(axis=0)))
        for axis in range(2):
            one, other = zip(*sides[axis], strict=True)
            result = agreement(one, other)
            found[draw, axis] = (result.pearson, result.concordance, result.r2_of_means, result.pearson_within)
    valence, arousal = (Agreement(*(float(x) for x in found[:, axis].mean(axis=0))) for axis in range(2))
    return valence, arousal


def auc(higher: npt.ArrayLike, lower: npt.ArrayLike) -> float:
    """The chance that one of `higher` exceeds one of `lower`, ties a half: area under the ROC curve."""
    a, b = np.asarray(higher, dtype=np.float64), np.asarray(lower, dtype=np.float64)
    if not len(a) or not len(b):
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([True, False], [len(a), len(b)]), np.concatenate([a, b])))
