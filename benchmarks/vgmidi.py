"""The mood regressors, fitted on VGMIDI and cross-validated; `mood_tables.py` prints what is measured here.

Conventions
- VGMIDI (Ferreira & Whitehead, ISMIR 2019) is `annotations.json` and `midi/`. One rated value covers four quarter
  notes, whatever the meter; the raters' values are averaged.
- All pieces have the same total weight. Evaluation holds out whole pieces.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync.errors import CorpusError
from emsync.music_mood.features import FEATURES, WINDOW_S, Notes, features
from emsync.music_mood.regressor import AXES, LAG_S, PENALTY, Regressor, moments
from emsync.training.mood.agreement import Agreement, agreement
from emsync.vocabulary import FAMILIES

FloatArray = npt.NDArray[np.float64]

QUARTERS_PER_VALUE: Final = 4.0
FOLDS: Final = 10
#: Not used: VGMIDI is piano alone, so the number and kind of families carry no information there.
UNUSED: Final = frozenset({"families", "onsets_pitched"} | {f"onsets_{name.lower()}" for name in FAMILIES})
USED: Final = tuple(name for name in FEATURES if name not in UNUSED)


@dataclass(frozen=True, eq=False)
class Piece:
    """A rated piece: features (bins, F), times of the values (M,) in seconds, values (raters, M) for each axis.

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
    """The rated pieces of a VGMIDI folder. Raises `CorpusError` naming what is missing or wrong."""
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
        # One rater of one piece gave one value too many: values past the end are left out.
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


def fit(
    pieces: Sequence[Piece], *, penalty: float = PENALTY, lag_s: float = LAG_S, names: Sequence[str] = USED
) -> Regressor:
    """Ridge regression (scikit-learn) of raters' means on features; all pieces have the same weight.

    Raises `CorpusError` for fewer than two pieces.
    """
    if len(pieces) < 2:
        raise CorpusError(f"{len(pieces)} pieces are too few to fit a regressor; give two or more")
    rows = np.concatenate([piece.features[piece.rows(lag_s)] for piece in pieces])
    target = np.concatenate([piece.target for piece in pieces])
    weight = np.concatenate([np.full(len(piece.times_s), 1 / len(piece.times_s)) for piece in pieces])
    mean, deviation = moments(rows[:, [FEATURES.index(name) for name in names]])
    blank = Regressor(tuple(names), mean, deviation, np.zeros((len(names), 2)), np.zeros(2))
    x = blank.standardised(rows)
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty, solver="cholesky").fit(x, target, sample_weight=weight)
    return replace(blank, weights=model.coef_.T, bias=model.intercept_)


def halves(pieces: Sequence[Piece], *, seed: int = 0) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces in two random halves: one to label with, one to judge with."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    cut = len(pieces) // 2
    return tuple(pieces[i] for i in order[:cut]), tuple(pieces[i] for i in order[cut:])


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
