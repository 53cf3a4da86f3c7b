"""Training of the film encoder from films with their scores (`emsync train-film-encoder`; HPM, Section 3.1).

    report = train(Path("pairs"), Path("ENCODER"), clip="openai/clip-vit-base-patch32")

Conventions
- A pair is a film and its score beside it: NAME.mp4 and NAME.mid, .midi or .npz (a pianoroll), both from the film's
  first frame on. A score may end early; the film's seconds after it teach nothing.
- What is learned of the score: valence and arousal as the corpus's labeller reads them from notes (docs/mood.md),
  intensity and density as `emsync.controls` measures them, at every second.
- All films have the same weight, however long. Cross-validation holds out whole films.
- The networks that look at films are not changed. Training is AdamW on the squared error of standardised targets.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync import controls
from emsync.affect_clip import Clip
from emsync.affect_emotions import open_emotions, tensors, weights_of
from emsync.affect_film import TARGETS, Eyes, as_settings, predicted
from emsync.errors import InputError, OutputError
from emsync.files import check_not_read
from emsync.fusion import FilmEncoder, Shape
from emsync.modalities import FilmFeatures
from emsync.music_mood.scale import scale
from emsync.score import Score
from emsync.training.corpus.song_files import SUFFIXES, read_song
from emsync.training.corpus.song_to_score import to_score
from emsync.training.mood.agreement import pearson
from emsync.training.mood.curves import readings
from emsync.training.mood.heads import FOLDS, folds, working_folder
from emsync.training.mood.labelled_films import film_files
from emsync.video import analyze
from emsync.vision import Floats, Head

#: A score may be this much longer than its film: its last notes fade.
LONGER_S: Final = 3.0
#: Called with the film's number, how many there are, and the share of this one that is done.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class How:
    """How the encoder is trained. HPM trains it with its music model and gives no figures of its own for it."""

    epochs: int = 300
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    width: int = 32
    dropout: float = 0.2


@dataclass(frozen=True, eq=False)
class Pair:
    """A film's features, and what its score does at each moment: (M, 4) `TARGETS`, NaN where the score is over."""

    features: FilmFeatures
    targets: Floats


def read_pairs(folder: str | os.PathLike[str]) -> list[tuple[Path, Score]]:
    """The films of a folder with their scores, by name.

    Raises `InputError` for no films, a film without a score or with two, or a score that cannot be read.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; give one that holds films and their scores")
    films = film_files(place)
    if not films:
        raise InputError(f"{place} holds no film; give films and, beside each, its score (NAME.mp4 and NAME.mid)")
    return [(film, _score_beside(film)) for film in films]


def _score_beside(film: Path) -> Score:
    found = [path for ending in SUFFIXES if (path := film.with_suffix(ending)).is_file()]
    if len(found) != 1:
        problem = "has no score" if not found else f"has {len(found)} scores"
        raise InputError(f"{film} {problem}; put one of {film.stem}{', '.join(SUFFIXES)} beside it")
    try:
        return to_score(read_song(found[0], min_notes=1).song)
    except InputError as error:
        raise InputError(f"{found[0]}: {error}") from error


def targets_of(score: Score, times_s: Floats) -> Floats:
    """(M, 4) What a score does at moments, NaN after its end."""
    curves = controls.of_score(score)
    levels = scale().apply(readings(score))  # (seconds, 2), at 0.5, 1.5, ... s
    seconds = np.arange(len(levels)) + 0.5
    rows = [
        np.interp(times_s, seconds, levels[:, 0]), np.interp(times_s, seconds, levels[:, 1]),
        curves["intensity"].at(times_s), np.log1p(curves["density"].at(times_s)),
    ]  # fmt: skip
    return np.where(times_s[:, None] <= score.duration_s, np.stack(rows, axis=1), np.nan)


def fit(pairs: Sequence[Pair], how: How = How(), *, seed: int = 0) -> tuple[FilmEncoder, Floats, Floats]:
    """An encoder, and the mean and deviation (4,) of its targets."""
    import torch

    known = [~np.isnan(pair.targets).any(axis=1) for pair in pairs]
    mean = np.mean([pair.targets[k].mean(axis=0) for pair, k in zip(pairs, known, strict=True)], axis=0)
    spread = [((pair.targets[k] - mean) ** 2).mean(axis=0) for pair, k in zip(pairs, known, strict=True)]
    deviation = np.maximum(np.sqrt(np.mean(spread, axis=0)), 1e-3)
    sizes = {name: row.shape[1] for name, row in pairs[0].features.rows.items()}
    given = [tensors(pair.features) for pair in pairs]
    rows, masks = ({name: torch.cat([each[i][name] for each in given], dim=1) for name in sizes} for i in range(2))
    target = torch.from_numpy(((np.concatenate([p.targets for p in pairs]) - mean) / deviation).astype(np.float32))
    weight = torch.from_numpy(np.concatenate([k / k.sum() / len(pairs) for k in known]).astype(np.float32))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = FilmEncoder(Shape(sizes, len(TARGETS), how.width, heads=1, layers=1, dropout=how.dropout)).train()
        network.inlets.fit_scales({name: rows[name][0][masks[name][0]] for name in sizes})
        optimiser = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
        for _ in range(how.epochs):
            missed = torch.where(weight[:, None] > 0, network(rows, masks)[0] - target, 0.0)
            loss = (weight[:, None] * missed**2).sum() / len(TARGETS)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval(), mean, deviation


@dataclass(frozen=True)
class Report:
    """What was trained on, and Pearson's correlation of each target on held-out films."""

    films: int
    seconds: int
    correlation: dict[str, float | None] | None
    """None with fewer than `FOLDS` films."""

    def summary(self) -> str:
        """A few lines."""
        lines = [f"{self.films} films with scores, {self.seconds} seconds."]
        if self.correlation is None:
            return f"{lines[0]}\nNot cross-validated: that takes {FOLDS} films or more."
        rows = [f"{name} {'n/a' if r is None else format(r, '+.2f')}" for name, r in self.correlation.items()]
        return f"{lines[0]}\nHeld-out films, correlation with their scores: {', '.join(rows)}."


def cross_validated(pairs: Sequence[Pair], how: How, seed: int) -> dict[str, float | None]:
    """Pearson's correlation of each target over all seconds; the encoder of each film was not trained on it."""
    predicted_rows: list[Floats] = []
    true_rows: list[Floats] = []
    for held, seen in folds(len(pairs), seed):
        if not held:
            continue
        network, mean, deviation = fit([pairs[k] for k in seen], how, seed=seed)
        for k in held:
            inside = ~np.isnan(pairs[k].targets).any(axis=1)
            predicted_rows.append(predicted(network, pairs[k].features, mean, deviation)[1][inside])
            true_rows.append(pairs[k].targets[inside])
    found, true = np.concatenate(predicted_rows), np.concatenate(true_rows)
    by_target = {name: pearson(true[:, i], found[:, i]) for i, name in enumerate(TARGETS)}
    return {name: None if math.isnan(r) else round(float(r), 4) for name, r in by_target.items()}


def train(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    clip: str,
    emotions: Path | None = None,
    how: How = How(),
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Look at the films of `folder`, fit an encoder on their scores, measure it, and write it to `output`.

    emotions: the folder of a classifier (`emsync train-emotions`) to take the emotion features of, instead of CLIP's
    sentences. Raises `InputError`, `VideoError`, `ModelError`, `OutputError`.
    """
    check_not_read(Path(output), (folder, emotions, clip if Path(clip).is_dir() else None))
    place = working_folder(Path(output), overwrite)
    films = read_pairs(folder)
    model = str(Path(clip).resolve()) if Path(clip).is_dir() else clip
    eyes = Eyes(Clip.load(model), None if emotions is None else open_emotions(str(emotions)))
    pairs = []
    for number, (film, score) in enumerate(films):
        tell = None if progress is None else (lambda share, n=number: progress(n, len(films), share))  # type: ignore[misc]
        scene = analyze(film)
        if score.duration_s > scene.duration_s + LONGER_S:
            raise InputError(
                f"the score of {film} lasts {score.duration_s:.1f} s and the film {scene.duration_s:.1f} s; "
                "give the score of this film, from its first frame on"
            )
        features = eyes.look(film, scene, tell)
        targets = targets_of(score, features.times_s)
        if np.isnan(targets).any(axis=1).all():
            raise InputError(f"the score of {film} is over before its first second; give the score of this film")
        pairs.append(Pair(features, targets))
    network, mean, deviation = fit(pairs, how, seed=seed)
    report = Report(
        len(pairs), sum(int((~np.isnan(p.targets).any(axis=1)).sum()) for p in pairs),
        cross_validated(pairs, how, seed) if len(pairs) >= FOLDS else None,
    )  # fmt: skip
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be made ({error.strerror}); choose another folder") from error
    about: dict[str, Any] = {**asdict(report), "how": asdict(how), "seed": seed}
    settings = as_settings(mean, deviation, emotions) | {"shape": network.shape.to_dict()}
    Head("film", model, weights_of(network), settings, about).write(place)
    return report
