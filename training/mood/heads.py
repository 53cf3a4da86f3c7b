"""Training of the heads that read a film's mood from a frozen vision model (`emsync train-affect`).

    report = train(Path("films"), Path("HEAD"), kind="clip", model="openai/clip-vit-base-patch32")

Conventions
- A folder of films; each has its mood beside it, NAME.csv or NAME.json as `mood.read_curve` reads them, or a row in
  labels.csv (`file,valence,arousal`) that holds for all of it. Where a curve covers a part of a film, that is used.
- Every film weighs the same, however long. Films are left out whole when a head is judged, never single seconds of one.
- What the frozen model makes of a film is kept in HEAD/features, so that an interrupted run, or one with more films
  or another seed, watches no film twice.
- A CLIP head is a ridge regression (Hoerl & Kennard, Technometrics 12, 1970); a VLM head is NarraScore's perceptron,
  with its loss (eq. 4).
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import affect_clip, affect_vlm
from emsync.affect_clip import Clip
from emsync.affect_vlm import Probe, Settings
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import atomic_path
from emsync.film import Film
from emsync.mood import MoodCurve, read_curve
from emsync.training.mood.labels import AXES, Agreement, agreement
from emsync.vision import HEAD, Features, Floats, Head, Kind, Sight

#: Files that are taken for films, by their suffix.
FILMS: Final = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
LABELS: Final = "labels.csv"
FEATURES: Final = "features"
FOLDS: Final = 5
#: Shares of a feature's variance that are added to it; the one that does best on films left out is taken.
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
    """Lambda of equation 4, which the paper leaves open."""


# --- labels ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Labelled:
    """A film and what people said of it."""

    path: Path
    curve: MoodCurve
    throughout: bool = False
    """Whether it is one mood for all of the film."""

    def known(self, times_s: Floats) -> npt.NDArray[np.bool_]:
        """Which of the times (T,) the label speaks for: of a curve, half a second around its points and all between."""
        first_s, last_s = self.curve.times_s[[0, -1]]
        return self.throughout | ((times_s >= first_s - 0.5) & (times_s <= last_s + 0.5))

    def check_fits(self, duration_s: float) -> None:
        """Raise `InputError` for a curve that reaches past the film's end."""
        try:
            self.curve.check_fits(duration_s)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def read_folder(folder: str | os.PathLike[str]) -> tuple[Labelled, ...]:
    """The films of a folder, by name, with their labels; every label is checked, and every film opened.

    Raises `InputError` for no films, a film without a label, a label without a film, a curve of one axis or longer than
    its film; `VideoError` for a file that is no film.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; give one that holds films and their labels")
    films = sorted(path for path in place.iterdir() if path.suffix.lower() in FILMS and path.is_file())
    if not films:
        raise InputError(f"{place} holds no film ({', '.join(sorted(FILMS))}); give the folder that the films are in")
    constant = _constants(place / LABELS, {path.name for path in films})
    return tuple(_labelled(path, constant) for path in films)


def _labelled(path: Path, constant: dict[str, MoodCurve]) -> Labelled:
    found = next((file for suffix in (".csv", ".json") if (file := path.with_suffix(suffix)).is_file()), None)
    with Film(path) as opened:
        expected_s = opened.expected_s
    if found is None or found.name == LABELS:
        if path.name not in constant:
            raise InputError(
                f"{path} has no label; write {path.stem}.csv (time_s,valence,arousal) beside it, or a row in {LABELS}"
            )
        return Labelled(path, constant[path.name], throughout=True)
    curve = read_curve(found)
    for axis in AXES:
        if np.isnan(getattr(curve, axis)).any():
            raise InputError(f"{found} has no {axis}; give both valence and arousal")
    film = Labelled(path, curve)
    if expected_s is not None:
        film.check_fits(expected_s)  # said now; what the film's length really is, is known once it was watched
    return film


def _constants(file: Path, films: set[str]) -> dict[str, MoodCurve]:
    """Moods by a film's name, of labels.csv; none where there is no such file."""
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}); give a header file,valence,arousal") from error
    moods: dict[str, MoodCurve] = {}
    for number, row in enumerate(rows, start=2):
        if not {"file", *AXES} <= set(row):
            raise InputError(f"{file} has the columns {', '.join(map(str, row))}; give file,valence,arousal")
        name = (row["file"] or "").strip()
        if name not in films or name in moods:
            problem = "is named twice" if name in moods else "is not a film in the same folder"
            raise InputError(f"row {number} of {file}: {name!r} {problem}; mend the name, or take the row out")
        try:
            moods[name] = MoodCurve.constant(*(float(row[axis]) for axis in AXES))
        except (TypeError, ValueError) as error:
            reason = error if isinstance(error, InputError) else "valence or arousal is no number"
            raise InputError(f"row {number} of {file}: {reason}; give both from -1 to 1") from error
        if np.isnan([moods[name].valence, moods[name].arousal]).any():
            raise InputError(f"row {number} of {file}: valence or arousal is no number; give both from -1 to 1")
    return moods


# --- features -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Example:
    """A film as a head sees it: what the model made of it, and the mood of the moments that are labelled."""

    sight: Sight
    known: npt.NDArray[np.bool_]  # (M,)
    target: Floats  # (M, 2), meaningless where not known

    @classmethod
    def of(cls, film: Labelled, sight: Sight) -> Example:
        """Raises `InputError` for a curve that outlasts its film, or speaks for none of it."""
        film.check_fits(float(sight.times_s[-1]) + 0.5)
        known = film.known(sight.times_s)
        if not known.any():
            raise InputError(f"{film.path}: its curve speaks for no second of it; give a longer curve")
        return cls(sight, known, np.stack(film.curve.at(sight.times_s), axis=1))

    @property
    def rows(self) -> tuple[Features, Floats, Floats]:
        """Labelled rows: features (R, D), targets (R, 2) and weights (R,) that sum to one."""
        used = self.known[self.sight.moment]
        weight = self.sight.weight[used]
        return self.sight.features[used], self.target[self.sight.moment[used]], weight / weight.sum()


def watched(
    films: Sequence[Labelled],
    model: Clip | Probe,
    folder: Path,
    progress: Callable[[int, float], None] | None = None,
) -> list[Example]:
    """What the model makes of each film, from `folder` where it was kept there before.

    `progress` is told the film's number and the share of it that is done.
    """
    examples = []
    for number, film in enumerate(films):
        kept = folder / f"{film.path.stem}-{_key(film.path, model)}.npz"
        sight = _read_sight(kept)
        if sight is None:
            tell = None if progress is None else (lambda share, number=number: progress(number, share))  # type: ignore[misc]
            with Film(film.path) as opened:
                expected_s = opened.expected_s or 0.0
            sight = model.sight(film.path, tell, expected_s)
            _write_sight(sight, kept)
        examples.append(Example.of(film, sight))
        if progress is not None:
            progress(number, 1.0)
    return examples


def _key(film: Path, model: Clip | Probe) -> str:
    """What a film's features depend on, in 16 letters: its file, the model and the settings."""
    files = [film]
    if Path(model.model).is_dir():  # a model that was trained on is another one, under the same name
        files += sorted(path for path in Path(model.model).iterdir() if path.is_file())
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    settings = asdict(model.settings) if isinstance(model, Probe) else affect_clip.SHORTEST_PX
    text = json.dumps([type(model).__name__, model.model, settings, stamps])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_sight(sight: Sight, path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, times_s=sight.times_s, features=sight.features, moment=sight.moment, weight=sight.weight)


def _read_sight(path: Path) -> Sight | None:
    """What `_write_sight` kept; None where there is nothing, or nothing whole."""
    try:
        # Opened here, since numpy leaves the file open when it is no whole archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Sight(kept["times_s"], kept["features"], kept["moment"], kept["weight"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ModelError):
        return None


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
    """A linear head for each penalty, in closed form: `weight` (2, D) and `bias` (2,) on the features as they are."""
    standard, targets, weights, mean, deviation = _rows(examples)
    features, level = standard.astype(np.float64), weights @ targets
    values, vectors = np.linalg.eigh(features.T @ (features * weights[:, None]))
    turned = vectors.T @ (features.T @ ((targets - level) * weights[:, None]))  # (D, 2)
    heads = []
    for penalty in penalties:
        slope = (vectors @ (turned / (np.maximum(values, 0.0) + penalty)[:, None])) / deviation[:, None]
        heads.append({"weight": slope.T.astype(np.float32), "bias": (level - mean @ slope).astype(np.float32)})
    return heads


def fit_clip(examples: Sequence[Example], *, seed: int = 0) -> dict[str, Features]:
    """A linear head with the penalty that does best on films left out (with fewer than `FOLDS` films, 1)."""
    if len(examples) < FOLDS:
        return fit_ridge(examples, (1.0,))[0]
    errors = np.zeros(len(PENALTIES))
    for held, seen in _folds(len(examples), seed):
        for i, weights in enumerate(fit_ridge([examples[k] for k in seen], PENALTIES)):
            for k in held:
                missed = _read("clip", weights, examples[k]) - examples[k].target
                errors[i] += (missed[examples[k].known] ** 2).mean()
    return fit_ridge(examples, (PENALTIES[int(errors.argmin())],))[0]


def fit_vlm(examples: Sequence[Example], how: Perceptron = Perceptron(), *, seed: int = 0) -> dict[str, Features]:
    """A perceptron's weights by AdamW on the paper's loss (eq. 4), L2 + lambda L1, its output not clipped.

    Beyond the plane a clipped output would give no gradient; as labels lie within, this loss is never the smaller one.
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
    """What the reader would say of a film (M, 2), with these weights."""
    head = Head(kind, "this model", weights)
    return affect_clip.linear(head, example.sight) if kind == "clip" else affect_vlm.probed(head, example.sight)


def _folds(n: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """`FOLDS` times which of `n` films are left out, and which are not."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return [(order[i::FOLDS], [k for j in range(FOLDS) if j != i for k in order[j::FOLDS]]) for i in range(FOLDS)]


def cross_validated(examples: Sequence[Example], kind: Kind, fit: Fit, *, seed: int = 0) -> list[Floats]:
    """What heads say (M, 2) of each film, each by one that saw nothing of that film."""
    found: list[Floats] = [np.zeros((0, 2))] * len(examples)
    for held, seen in _folds(len(examples), seed):
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


# --- the whole way --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What was trained, on how much, and how well it reads films that it did not see."""

    kind: Kind
    model: str
    films: int
    seconds: int
    """Labelled seconds of all films."""
    head: tuple[Agreement, Agreement] | None
    """Valence and arousal, cross-validated by film; None with fewer than `FOLDS` films."""
    zero_shot: tuple[Agreement, Agreement] | None
    """The same films and seconds by zero-shot; None for a VLM, which has none."""

    def summary(self) -> str:
        """A few lines: what it was trained on, and a table of Pearson's and the concordance correlation."""
        films = "1 film" if self.films == 1 else f"{self.films} films"
        lines = [f"{films}, {self.seconds} labelled seconds, a {self.kind} head on {self.model}."]
        if self.head is None:
            lines.append(f"Not cross-validated: that takes {FOLDS} films or more.")
        rows = [("head, films left out", self.head), ("zero-shot", self.zero_shot)]
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
    """Watch the films of `videos`, fit a head, judge it by films left out, and write it to `folder`.

    `progress` is told the film's number, how many there are, and the share of this one that is done. `settings` and
    `perceptron` are for the kind "vlm". Raises `InputError`, `VideoError`, `ModelError`, `OutputError`.
    """
    place = _working_folder(Path(folder), overwrite)
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


def _working_folder(place: Path, overwrite: bool) -> Path:
    """Refuse a folder that holds something else, or a head that is not to be replaced. Raises `OutputError`."""
    if (place / HEAD).exists() and not overwrite:
        raise OutputError(f"{place} holds a head already; give --overwrite to replace it, or another folder")
    ours = (place / HEAD).exists() or (place / FEATURES).is_dir()
    if place.exists() and not ours and (not place.is_dir() or any(place.iterdir())):
        raise OutputError(f"{place} exists and is not a head's folder; move it away, or choose another folder")
    return place
