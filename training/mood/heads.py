"""Training of the heads that read a film's mood from a frozen vision model (`emsync train-affect`).

    report = train(Path("films"), Path("HEAD"), kind="clip", model="openai/clip-vit-base-patch32")

Conventions
- Each film of the folder has its mood beside it, NAME.csv or NAME.json as `mood.read_curve` reads them, or a row in
  labels.csv (`file,valence,arousal`) for one mood throughout. If a curve covers a part of a film, that part is used.
- All films have the same weight, however long. Cross-validation holds out whole films, never single seconds of one.
- The frozen model's features of each film are kept in HEAD/features, so that an interrupted run, or one with more
  films or another seed, reads no film twice.
- A CLIP head is a ridge regression (Hoerl & Kennard, Technometrics 12, 1970); a VLM head is NarraScore's perceptron,
  with its loss (eq. 4).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync import affect_clip, affect_vlm
from emsync.affect_clip import Clip
from emsync.affect_vlm import Probe, Settings
from emsync.errors import OutputError
from emsync.music_mood.regressor import AXES
from emsync.training.mood.agreement import Agreement, agreement
from emsync.training.mood.labelled_films import Example, read_folder, watched
from emsync.vision import HEAD, Features, Floats, Head, Kind

FEATURES: Final = "features"
FOLDS: Final = 5
#: Shares of a feature's variance that are added to it; the one that does best on held-out films is used.
PENALTIES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Perceptron:
    """How a VLM's head is trained. Two layers, dropout and epochs are the paper's projector's (Section 4.1)."""

    hidden: int = 256
    dropout: float = 0.1
    epochs: int = 150
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    l1: float = 1.0
    """Lambda of equation 4; the paper does not give it."""


# --- labels ---------------------------------------------------------------------------------------------------------


# --- features -------------------------------------------------------------------------------------------------------


# --- fitting --------------------------------------------------------------------------------------------------------

#: Fits the weights of a head to films.
Fit = Callable[[Sequence[Example]], dict[str, Features]]


def _rows(examples: Sequence[Example]) -> tuple[Features, Floats, Floats, Floats, Floats]:
    """All films' rows, standardised features first; targets; weights that sum to one; the mean and the deviation."""
    parts = [example.rows for example in examples]
    n = len(parts)
    mean = sum((weight @ features for features, _, weight in parts), start=np.zeros(1)) / n
    variance = sum((weight @ (features - mean) ** 2 for features, _, weight in parts), start=np.zeros(1)) / n
    deviation = np.sqrt(variance)
    deviation = np.where(deviation > 1e-6 * deviation.max(initial=0.0), deviation, 1.0)  # a feature that never varies
    standard = np.concatenate([((features - mean) / deviation).astype(np.float32) for features, _, _ in parts])
    targets, weights = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return standard, targets, weights / n, mean, deviation


def fit_ridge(examples: Sequence[Example], penalties: Sequence[float]) -> list[dict[str, Features]]:
    """A linear head for each penalty, by ridge regression (scikit-learn), on the features as they are.

    Returns `weight` (2, D) and `bias` (2,) of each.
    """
    standard, targets, weights, mean, deviation = _rows(examples)
    features = standard.astype(np.float64)
    from sklearn.linear_model import Ridge

    heads = []
    for penalty in penalties:
        model = Ridge(alpha=penalty).fit(features, targets, sample_weight=weights)
        slope = model.coef_.T / deviation[:, None]
        bias = model.intercept_ - mean @ slope
        heads.append({"weight": slope.T.astype(np.float32), "bias": bias.astype(np.float32)})
    return heads


def fit_clip(examples: Sequence[Example], *, seed: int = 0) -> dict[str, Features]:
    """A linear head with the penalty that does best on held-out films (with fewer than `FOLDS` films, 1)."""
    if len(examples) < FOLDS:
        return fit_ridge(examples, (1.0,))[0]
    errors = np.zeros(len(PENALTIES))
    for held, seen in folds(len(examples), seed):
        for i, weights in enumerate(fit_ridge([examples[k] for k in seen], PENALTIES)):
            for k in held:
                missed = _read("clip", weights, examples[k]) - examples[k].target
                errors[i] += (missed[examples[k].known] ** 2).mean()
    return fit_ridge(examples, (PENALTIES[int(errors.argmin())],))[0]


def fit_vlm(examples: Sequence[Example], how: Perceptron = Perceptron(), *, seed: int = 0) -> dict[str, Features]:
    """A perceptron's weights by AdamW on the paper's loss (eq. 4), L2 + lambda L1, its output not clipped.

    Outside the plane a clipped output would give no gradient. Labels are inside, so this loss is never the smaller one.
    The scales of the features are folded into the first layer.
    """
    import torch

    features, targets, weights, mean, deviation = _rows(examples)
    x, y, w = (torch.from_numpy(row.astype(np.float32)) for row in (features, targets, weights * len(weights)))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = affect_vlm.perceptron(x.shape[1], how.hidden, how.dropout).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
        for _ in range(how.epochs):
            for rows in torch.randperm(len(x)).split(how.batch):
                missed = network(x[rows]) - y[rows]  # (rows, 2)
                loss = (w[rows] * ((missed**2).sum(dim=1) + how.l1 * missed.abs().sum(dim=1))).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    found = {name: row.detach().numpy().astype(np.float64) for name, row in network.state_dict().items()}
    found["0.weight"] /= deviation
    found["0.bias"] -= found["0.weight"] @ mean
    return {name: row.astype(np.float32) for name, row in found.items()}


def _read(kind: Kind, weights: dict[str, Features], example: Example) -> Floats:
    """The reading of a film (M, 2) with these weights."""
    head = Head(kind, "this model", weights)
    return affect_clip.linear(head, example.sight) if kind == "clip" else affect_vlm.probed(head, example.sight)


def folds(n: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """For each of `FOLDS` folds, which of `n` films are held out, and which are not."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return [(order[i::FOLDS], [k for j in range(FOLDS) if j != i for k in order[j::FOLDS]]) for i in range(FOLDS)]


def cross_validated(examples: Sequence[Example], kind: Kind, fit: Fit, *, seed: int = 0) -> list[Floats]:
    """The reading (M, 2) of each film, by a head that was not fitted on that film."""
    found: list[Floats] = [np.zeros((0, 2))] * len(examples)
    for held, seen in folds(len(examples), seed):
        weights = fit([examples[k] for k in seen])
        for k in held:
            found[k] = _read(kind, weights, examples[k])
    return found


def judged(readings: Sequence[Floats], examples: Sequence[Example]) -> tuple[Agreement, Agreement]:
    """How readings (M, 2) agree with the labels, over all labelled seconds: for valence, and for arousal."""
    pairs = [
        agreement(
            [r[e.known, axis] for r, e in zip(readings, examples, strict=True)],
            [e.target[e.known, axis] for e in examples],
        )
        for axis in range(2)
    ]
    return pairs[0], pairs[1]


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What was trained, on how much, and how well it reads held-out films."""

    kind: Kind
    model: str
    films: int
    seconds: int
    """Labelled seconds of all films."""
    head: tuple[Agreement, Agreement] | None
    """Valence and arousal, cross-validated by film; None with fewer than `FOLDS` films."""
    zero_shot: tuple[Agreement, Agreement] | None
    """The same films and seconds, read zero-shot; None for a VLM, which cannot do that."""

    def summary(self) -> str:
        """A few lines: what it was trained on, and a table of Pearson's and the concordance correlations."""
        films = "1 film" if self.films == 1 else f"{self.films} films"
        lines = [f"{films}, {self.seconds} labelled seconds, a {self.kind} head on {self.model}."]
        if self.head is None:
            lines.append(f"Not cross-validated: that takes {FOLDS} films or more.")
        rows = [("head, held-out films", self.head), ("zero-shot", self.zero_shot)]
        if any(row for _, row in rows):
            lines.append(f"{'':<22}{'valence':^18}{'arousal':^18}".rstrip())
            lines.append(f"{'':<22}" + f"{'r':>8}{'ccc':>8}  " * 2)
            for name, row in rows:
                if row is not None:
                    lines.append(f"{name:<22}" + "".join(f"{_n(a.pearson)}{_n(a.concordance)}  " for a in row))
        return "\n".join(line.rstrip() for line in lines)


def _n(value: float) -> str:
    return f"{'n/a':>8}" if math.isnan(value) else f"{value:+8.2f}"


def train(
    videos: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    kind: Kind,
    model: str,
    settings: Settings | None = None,
    perceptron: Perceptron | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
) -> Report:
    """Read the films of `videos`, fit a head, measure it on held-out films, and write it to `folder`.

    `progress` is called with the film's number, how many there are, and the share of this one that is done.
    `settings` and `perceptron` are for the kind "vlm". Raises `InputError`, `VideoError`, `ModelError`, `OutputError`.
    """
    place = working_folder(Path(folder), overwrite)
    films = read_folder(videos)
    if Path(model).is_dir():
        model = str(Path(model).resolve())  # so that the head finds it from anywhere
    loaded: Clip | Probe = Clip.load(model) if kind == "clip" else Probe.load(model, settings)
    tell = None if progress is None else (lambda number, share: progress(number, len(films), share))
    try:
        (place / FEATURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be made ({error.strerror}); choose another folder") from error
    examples = watched(films, loaded, place / FEATURES, tell)
    how = Perceptron() if perceptron is None else perceptron

    def fit(seen: Sequence[Example]) -> dict[str, Features]:
        return fit_clip(seen, seed=seed) if kind == "clip" else fit_vlm(seen, how, seed=seed)

    enough = len(examples) >= FOLDS
    report = Report(
        kind=kind,
        model=model,
        films=len(examples),
        seconds=sum(int(example.known.sum()) for example in examples),
        head=judged(cross_validated(examples, kind, fit, seed=seed), examples) if enough else None,
        zero_shot=judged([loaded.zero_shot(e.sight) for e in examples], examples) if isinstance(loaded, Clip) else None,
    )
    about: dict[str, Any] = {"films": report.films, "seconds": report.seconds, "seed": seed}
    about |= {"head": _plain(report.head), "zero_shot": _plain(report.zero_shot)}
    made: dict[str, Any] = {}
    if isinstance(loaded, Probe):
        about["perceptron"], made = asdict(how), asdict(loaded.settings)
    Head(kind, model, fit(examples), made, about).write(place)
    return report


def _plain(judgement: tuple[Agreement, Agreement] | None) -> dict[str, dict[str, float | None]] | None:
    """A judgement as JSON values."""
    if judgement is None:
        return None
    named = zip(AXES, judgement, strict=True)
    return {axis: {k: None if math.isnan(v) else round(v, 4) for k, v in asdict(row).items()} for axis, row in named}


def working_folder(place: Path, overwrite: bool) -> Path:
    """Refuse a folder that holds something else, or a head that must not be replaced. Raises `OutputError`."""
    if (place / HEAD).exists() and not overwrite:
        raise OutputError(f"{place} holds a head already; give --overwrite to replace it, or another folder")
    ours = (place / HEAD).exists() or (place / FEATURES).is_dir()
    if place.exists() and not ours and (not place.is_dir() or any(place.iterdir())):
        raise OutputError(f"{place} exists and is not a head's folder; move it away, or choose another folder")
    return place
