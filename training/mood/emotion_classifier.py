"""Training of the classifier of the six emotions of films (`emsync train-emotions`; EMSYNC, Section III-A1).

    report = train(Path("films"), Path("CLASSIFIER"), Models(image="openai/clip-vit-base-patch32"))

Conventions
- A film has one emotion, or shares of several: a row `file,emotion` in labels.csv, or the name of the folder that it is
  in (anger/film.mp4), as Ekman-6 has it.
- The models that look at the films are not changed. What they see is kept in CLASSIFIER/features, so that an
  interrupted run, or one with more films or another seed, reads no film twice.
- In training each window loses each of its modalities with the probability `How.drop`, but never all that it has: so
  any subset can be read afterwards.
- Cross-validation holds out whole films.

The paper gives the task (Ekman-6's categories), the modalities, cross-attention and the last linear layer. All else is
chosen here: see the table in docs/affect-models.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emsync.affect_emotions import WINDOW, probabilities, weights_of, windows
from emsync.emotions import EMOTION_NAMES, probabilities_of_text
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import atomic_path, check_not_read
from emsync.fusion import EmotionClassifier, Shape
from emsync.modalities import SUBTITLES, FilmFeatures, Models, Senses
from emsync.training.mood.heads import FEATURES, FOLDS, folds, working_folder
from emsync.training.mood.labelled_films import LABELS, film_files, label_rows
from emsync.vision import Floats, Head

if TYPE_CHECKING:
    from torch import Tensor

#: Called with the film's number, how many there are, and the share of this one that is done.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class How:
    """How the classifier is trained; the paper gives none of these."""

    epochs: int = 60
    windows: int = 4
    """Windows of each film in an epoch, which begin at random moments."""
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    drop: float = 0.2
    """The probability with which a window loses a modality."""
    width: int = 64
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1


@dataclass(frozen=True, eq=False)
class Example:
    """A film: what was seen of it, and the probabilities (6,) of its emotions."""

    features: FilmFeatures
    shares: Floats


# ---- films and labels -----------------------------------------------------------------------------------------------


def read_folder(folder: str | os.PathLike[str]) -> list[tuple[Path, Floats]]:
    """The films of a folder and the shares (6,) of their emotions, by name.

    Raises `InputError` for no films, a film without an emotion, an emotion that is none of the six, or a row without a
    film.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; give one that holds films and their emotions")
    films = {path.name: path for path in film_files(place)}
    found = _labelled(place / LABELS, films) if films else []
    for name in EMOTION_NAMES:
        if (place / name).is_dir():
            found += [(path, probabilities_of_text(name)) for path in film_files(place / name)]
    if not found:
        raise InputError(
            f"{place} holds no film; give films with {LABELS} (file,emotion), or in folders called "
            f"{', '.join(EMOTION_NAMES)}"
        )
    return found


def _labelled(file: Path, films: dict[str, Path]) -> list[tuple[Path, Floats]]:
    if not file.is_file():
        first = next(iter(films))
        raise InputError(f"{films[first]} has no emotion; write {LABELS} (file,emotion) beside it")
    shares: dict[str, Floats] = {}
    for number, name, row in label_rows(file, films, ("emotion",), "list of emotions"):
        try:
            shares[name] = probabilities_of_text(row["emotion"] or "")
        except InputError as error:
            raise InputError(f"row {number} of {file}: {error}") from error
    if missing := [name for name in films if name not in shares]:
        raise InputError(f"{films[missing[0]]} has no emotion; write a row for it in {LABELS}")
    return [(films[name], shares[name]) for name in films]


# ---- features -------------------------------------------------------------------------------------------------------


def looked_at(
    film: Path, senses: Senses, folder: Path, progress: Callable[[float], None] | None = None
) -> FilmFeatures:
    """The features of a film, from `folder` if they were kept there before."""
    kept = folder / f"{film.stem}-{_key(film, senses.models)}.npz"
    features = _read(kept)
    if features is None:
        features = senses.look(film, progress)
        with atomic_path(kept) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {f"row_{name}": row for name, row in features.rows.items()}
            arrays |= {f"known_{name}": mask for name, mask in features.known.items()}
            np.savez(file, times_s=features.times_s, **arrays)
    return features


def _read(path: Path) -> FilmFeatures | None:
    """What was kept; None if there is nothing, or it is incomplete."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            names = [name.removeprefix("row_") for name in kept.files if name.startswith("row_")]
            rows, known = ({n: kept[f"{part}_{n}"] for n in names} for part in ("row", "known"))
            return FilmFeatures(kept["times_s"], rows, known)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ModelError):
        return None


def _key(film: Path, models: Models) -> str:
    """What a film's features depend on, in 16 letters: its file and subtitles, and the models."""
    beside = (film.with_name(film.stem + ending) for ending in SUBTITLES.values())
    files = [film, *(path for path in beside if path.is_file())]
    for model in models.to_dict().values():
        if Path(model).is_dir():  # a model that was trained on is another one, under the same name
            files += sorted(path for path in Path(model).iterdir() if path.is_file())
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([models.to_dict(), stamps]).encode()).hexdigest()[:16]


# ---- fitting --------------------------------------------------------------------------------------------------------


def without_some(known: dict[str, Tensor], drop: float, rng: np.random.Generator) -> dict[str, Tensor]:
    """The masks (B, T) by modality, with some modalities of each window masked; never all that a window has."""
    import torch

    names = list(known)
    has = torch.stack([known[name].any(dim=1) for name in names], dim=1).numpy()  # (B, K)
    order = np.where(has, rng.random(has.shape), np.inf)
    kept = (order >= drop) & has
    kept[np.arange(len(has)), np.where(has, order, -1).argmax(axis=1)] = True  # the last that would go stays
    return {name: known[name] & torch.from_numpy(kept[:, i : i + 1]) for i, name in enumerate(names)}


def fit(examples: Sequence[Example], how: How = How(), *, seed: int = 0) -> EmotionClassifier:
    """A classifier, by AdamW on the cross-entropy of windows that begin at random moments.

    Raises `InputError` if nothing is known of any film.
    """
    import torch

    sizes = {name: row.shape[1] for example in examples for name, row in example.features.rows.items()}
    if not sizes:
        raise InputError("the models found nothing in any film; give films with pictures, sound or words")
    rng = np.random.default_rng(seed)
    shape = Shape(sizes, len(EMOTION_NAMES), how.width, how.heads, how.layers, how.dropout)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = EmotionClassifier(shape).train()
        known = {
            name: [e.features.rows[name][e.features.known[name]] for e in examples if name in e.features.rows]
            for name in sizes
        }
        network.inlets.fit_scales({name: torch.from_numpy(np.concatenate(rows)) for name, rows in known.items()})
        optimiser = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
        for _ in range(how.epochs):
            drawn = rng.permutation(np.repeat(np.arange(len(examples)), how.windows))
            for films in np.array_split(drawn, max(1, round(len(drawn) / how.batch))):
                rows, masks = _batch([examples[k] for k in films], sizes, rng)
                targets = torch.from_numpy(np.stack([examples[k].shares for k in films]).astype(np.float32))
                loss = torch.nn.functional.cross_entropy(network(rows, without_some(masks, how.drop, rng)), targets)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return network.eval()


def _batch(
    examples: Sequence[Example], sizes: dict[str, int], rng: np.random.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A window of each film."""
    import torch

    parts = []
    for example in examples:
        first = int(rng.integers(-(WINDOW // 2), max(len(example.features.times_s) - WINDOW // 2, 1)))
        parts.append(windows(example.features, [first], sizes))
    rows, masks = ({name: torch.cat([part[i][name] for part in parts]) for name in sizes} for i in range(2))
    return rows, masks


def guesses(network: EmotionClassifier, examples: Iterable[Example]) -> list[int]:
    """The likeliest emotion of each film, by the mean over its moments."""
    return [int(probabilities(network, example.features).mean(axis=0).argmax()) for example in examples]


@dataclass(frozen=True)
class Report:
    """What was trained, on what, and how well it classifies held-out films."""

    films: int
    modalities: dict[str, int]
    """How many films have each modality."""
    accuracy: float | None
    """The share of held-out films whose likeliest emotion is right; None with too few films."""
    commonest: float
    """The share of the films with the commonest emotion, which a guess would get right."""

    def summary(self) -> str:
        """A few lines."""
        seen = ", ".join(f"{name} in {count}" for name, count in self.modalities.items())
        lines = [f"{self.films} films; features of {seen}."]
        if self.accuracy is None:
            lines.append(f"Not cross-validated: that takes {FOLDS} films or more.")
        else:
            lines.append(
                f"Held-out films: {self.accuracy:.0%} right (guessing the commonest emotion: {self.commonest:.0%})."
            )
        return "\n".join(lines)


def train(
    videos: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    models: Models,
    *,
    how: How = How(),
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Look at the films of `videos`, fit a classifier, measure it on held-out films, and write it to `folder`.

    Raises `InputError`, `VideoError`, `ModelError`, `OutputError`.
    """
    check_not_read(Path(folder), (videos, *(model for model in models.to_dict().values() if Path(model).is_dir())))
    place = working_folder(Path(folder), overwrite)
    films = read_folder(videos)
    senses = Senses(models)
    try:
        (place / FEATURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be made ({error.strerror}); choose another folder") from error
    examples = []
    for number, (film, shares) in enumerate(films):
        tell = None if progress is None else (lambda share, n=number: progress(n, len(films), share))  # type: ignore[misc]
        examples.append(Example(looked_at(film, senses, place / FEATURES, tell), shares))
    network = fit(examples, how, seed=seed)
    right = [int(example.shares.argmax()) for example in examples]
    accuracy = None
    if len(examples) >= FOLDS:
        hits = 0
        for held, seen in folds(len(examples), seed):
            own = fit([examples[k] for k in seen], how, seed=seed)
            hits += sum(g == right[k] for g, k in zip(guesses(own, [examples[k] for k in held]), held, strict=True))
        accuracy = hits / len(examples)
    report = Report(
        films=len(examples),
        modalities={name: sum(name in e.features.rows for e in examples) for name in senses.modalities},
        accuracy=accuracy,
        commonest=max(right.count(k) for k in set(right)) / len(right),
    )
    settings = {"models": models.to_dict(), "shape": network.shape.to_dict()}
    about = {**asdict(report), "how": asdict(how), "seed": seed}
    Head("emotions", models.image or "", weights_of(network), settings, about).write(place)
    return report
