"""Folders of films with mood labels, and what a vision model sees in them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import affect_clip
from emsync.affect_clip import Clip
from emsync.affect_vlm import Probe
from emsync.errors import InputError, ModelError
from emsync.files import atomic_path, read_limited
from emsync.film import Film
from emsync.mood import MoodCurve, read_curve
from emsync.music_mood.regressor import AXES
from emsync.table import MAX_BYTES
from emsync.vision import Features, Floats, Sight

#: Files that are taken for films, by their suffix.
FILMS: Final = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
LABELS: Final = "labels.csv"


@dataclass(frozen=True, eq=False)
class Labelled:
    """A film and what people said of it."""

    path: Path
    curve: MoodCurve
    throughout: bool = False
    """Whether it is one mood for all of the film."""

    def known(self, times_s: Floats) -> npt.NDArray[np.bool_]:
        """Which of the times (T,) the label covers: of a curve, half a second around its points and all between."""
        first_s, last_s = self.curve.times_s[[0, -1]]
        return self.throughout | ((times_s >= first_s - 0.5) & (times_s <= last_s + 0.5))

    def check_fits(self, duration_s: float) -> None:
        """Raise `InputError` for a curve that reaches past the film's end."""
        try:
            self.curve.check_fits(duration_s)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def film_files(folder: Path) -> list[Path]:
    """The files of a folder that are taken for films, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS and path.is_file())


def read_folder(folder: str | os.PathLike[str]) -> tuple[Labelled, ...]:
    """The films of a folder, by name, with their labels; every label is checked, and every film opened.

    Raises `InputError` for no films, a film without a label, a label without a film, a curve of one axis or longer than
    its film; `VideoError` for a file that is not a film.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; give one that holds films and their labels")
    films = film_files(place)
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


def label_rows(
    file: Path, films: Collection[str], columns: Sequence[str], what: str
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """The rows of labels.csv: their line, the film's name, and the row by column.

    films: the names of the films of the folder. columns: what there must be besides `file`.
    Raises `InputError` for a file that cannot be read, lacks a column, or names a film twice or one that is not there.
    """
    header = ",".join(("file", *columns))
    try:
        text = read_limited(file, MAX_BYTES, what).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}); give a header {header}") from error
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        if not {"file", *columns} <= set(row):
            raise InputError(f"{file} has the columns {', '.join(map(str, row))}; give {header}")
        name = (row["file"] or "").strip()
        if name not in films or name in seen:
            problem = "is named twice" if name in seen else "is not a film in the same folder"
            raise InputError(f"row {number} of {file}: {name!r} {problem}; correct the name, or remove the row")
        seen.add(name)
        yield number, name, row


def _constants(file: Path, films: set[str]) -> dict[str, MoodCurve]:
    """Moods by a film's name, of labels.csv; none where there is no such file."""
    if not file.is_file():
        return {}
    moods: dict[str, MoodCurve] = {}
    for number, name, row in label_rows(file, films, AXES, "list of moods"):
        try:
            moods[name] = MoodCurve.constant(*(float(row[axis]) for axis in AXES))
        except (TypeError, ValueError) as error:
            reason = error if isinstance(error, InputError) else "valence or arousal is not a number"
            raise InputError(f"row {number} of {file}: {reason}; give both from -1 to 1") from error
        if np.isnan([moods[name].valence, moods[name].arousal]).any():
            raise InputError(f"row {number} of {file}: valence or arousal is not a number; give both from -1 to 1")
    return moods


@dataclass(frozen=True, eq=False)
class Example:
    """A film as a head sees it: the model's features, and the mood of the labelled moments."""

    sight: Sight
    known: npt.NDArray[np.bool_]  # (M,)
    target: Floats  # (M, 2), meaningless where not known

    @classmethod
    def of(cls, film: Labelled, sight: Sight) -> Example:
        """Raises `InputError` for a curve that is longer than its film, or covers none of it."""
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
    """The model's features of each film, from `folder` if they were kept there before.

    `progress` is called with the film's number and the share of it that is done.
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
    """The features that `_write_sight` kept; None if there are none, or they are incomplete."""
    try:
        # Opened here, since numpy leaves the file open when it is not a complete archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Sight(kept["times_s"], kept["features"], kept["moment"], kept["weight"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ModelError):
        return None
