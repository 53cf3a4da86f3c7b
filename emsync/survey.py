"""A ranking study in one web page (paper, Section IV-D, Fig. 4), and its table of mean ranks (Table III).

    make_survey("study/", "study.html")        # study/METHOD/FILM.mp4: one folder a method, films of equal names
    tables(read_answers(["3.csv", "4.csv"], ["study.key.json"]))

The page is blind: methods are called A, B, C by their place, and neither the page nor the answers name them. The names
are in a key beside the page, which raters must not get. Places are balanced: each film is shown in the orders of a
Williams design, one after the other, so that every method stands equally often at every place and equally often after
every other method. Rater numbers choose the order; a rater's answers are saved as CSV by the browser.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emsync.errors import InputError, OutputError, printable
from emsync.files import atomic_path, check_writable, write_bytes
from emsync.page import MAX_FILM_BYTES, embedded, fill, linked

#: The questions of the paper's Fig. 4: metric, name, wording, and the words for the best, a middle and the worst rank.
QUESTIONS: Final = (
    ("MR", "Music richness", "Please rank the musical richness and diversity, independent of the video content.",
     "Most diverse", "Moderately diverse", "Least diverse"),
    ("MQ", "Music quality", "Please rank the musical quality (not sound quality), independent of the video content.",
     "Highest quality", "Moderate quality", "Lowest quality"),
    ("EM", "Emotion match", "Please rank how well the music matches the video in terms of emotion.",
     "Best match", "Moderate match", "Worst match"),
    ("TM", "Timing match",
     "Please rank how well the music synchronizes with the video in terms of rhythm and timing.",
     "Best match", "Moderate match", "Worst match"),
    ("OM", "Overall match", "Please rank how well the music matches the video in overall terms.",
     "Best match", "Moderate match", "Worst match"),
)  # fmt: skip
#: What can be ranked. More methods than this cannot be kept in mind.
ENDINGS: Final = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".ogv", ".mp3", ".wav", ".ogg", ".flac"})
MOST_METHODS: Final = 6
#: How many films each rater sees, as in the paper.
FILMS_EACH: Final = 2
#: Up to this many bytes of films are put into the page; else they are copied into a folder beside it.
MAX_EMBEDDED_BYTES: Final = 2 * MAX_FILM_BYTES
KEY_FORMAT: Final = 1


@dataclass(frozen=True)
class Survey:
    """A survey that was written.

    - page, key: the page for the raters, and the key that must not reach them.
    - media: the folder of films beside the page; None if they are inside it.
    - methods, films: their names.
    - n_orders: after how many raters of one film all orders were used.
    """

    page: Path
    key: Path
    media: Path | None
    methods: tuple[str, ...]
    films: tuple[str, ...]
    n_orders: int


def williams(n: int) -> list[list[int]]:
    """A Williams design: orders of n items, n of them if n is even, else 2 n.

    Every item stands equally often at every place, and equally often directly after every other item.
    """
    zigzag = [0] + [(i + 1) // 2 if i % 2 else n - i // 2 for i in range(1, n)]
    rows = [[(item + shift) % n for item in zigzag] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def make_survey(
    folder: str | os.PathLike[str],
    page: str | os.PathLike[str],
    *,
    title: str = "Music for videos",
    films_each: int = FILMS_EACH,
    seed: int = 0,
    max_embedded_bytes: int = MAX_EMBEDDED_BYTES,
    overwrite: bool = False,
) -> Survey:
    """Write a survey page and its key.

    Args:
        folder: One folder a method, 2 to `MOST_METHODS` of them, each with the same films (names without endings).
        page: The page; its key is written beside it as PAGE.key.json, without the ending .html.
        title: What the raters read at the top.
        films_each: How many films each rater ranks, at most all.
        seed: Draws which code stands for which method.
        max_embedded_bytes: If the films have more bytes than this they are copied into the folder PAGE_media.
        overwrite: Replace files that exist.

    Raises:
        InputError: The folder holds no study.
        OutputError: A file cannot be written.

    """
    media = _study(Path(folder))
    methods = tuple(media)
    films = tuple(media[methods[0]])
    if films_each < 1:
        raise InputError(f"{films_each} films for each rater are too few; give 1 or more")
    target = Path(page)
    key = target.with_name(target.stem + ".key.json")
    beside = target.with_name(target.stem + "_media")
    every = [path for each in media.values() for path in each.values()]
    for place in (target, key):
        check_writable(place, overwrite=overwrite, inputs=every)
    size = sum(path.stat().st_size for path in every)
    apart = size > max_embedded_bytes
    if apart and beside.exists() and not overwrite:
        raise OutputError(f"{beside} exists already; give --overwrite to replace its files, or name the page otherwise")
    codes = [f"m{i + 1}" for i in range(len(methods))]
    random.Random(seed).shuffle(codes)
    code_of = dict(zip(methods, codes, strict=True))
    identity = hashlib.sha256(json.dumps([title, methods, films, size, codes]).encode()).hexdigest()[:12]
    shown = []
    for i, film in enumerate(films, start=1):
        clips = {}
        for method in sorted(methods, key=code_of.__getitem__):
            source = media[method][film]
            name = f"f{i}-{code_of[method]}{source.suffix.lower()}"
            if apart:
                _copy(source, beside / name)
            clips[code_of[method]] = linked(beside / name, target) if apart else embedded(source, size)
        shown.append({"code": f"f{i}", "clips": clips})
    orders = [[sorted(codes)[i] for i in row] for row in williams(len(methods))]
    data = {
        "survey": identity, "title": printable(title), "films": shown, "orders": orders,
        "films_each": min(films_each, len(films)),
        "questions": [
            {"metric": metric, "text": text, "ranks": _ranks(len(methods), *words)}
            for metric, _, text, *words in QUESTIONS
        ],
    }  # fmt: skip
    names = {"methods": {code_of[method]: method for method in sorted(methods, key=code_of.__getitem__)},
             "films": {f"f{i}": film for i, film in enumerate(films, start=1)}}  # fmt: skip
    kept = {"format": KEY_FORMAT, "survey": identity, "title": title, **names}
    text = fill("survey.html", ["survey.js"], title=title, data=data)
    write_bytes(target, text.encode("utf-8"), overwrite=overwrite)
    write_bytes(key, (json.dumps(kept, indent=1) + "\n").encode(), overwrite=overwrite)
    return Survey(target, key, beside if apart else None, methods, films, len(orders))


def _study(folder: Path) -> dict[str, dict[str, Path]]:
    """{method: {film: path}} of a folder of methods, sorted. Raises `InputError` unless all have the same films."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that has a folder for each method")
    methods = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not 2 <= len(methods) <= MOST_METHODS:
        raise InputError(
            f"{folder} has {len(methods)} folders; give one for each method, 2 to {MOST_METHODS}, with its films inside"
        )
    found: dict[str, dict[str, Path]] = {}
    for method in methods:
        films: dict[str, Path] = {}
        for path in sorted(method.iterdir()):
            if path.suffix.lower() in ENDINGS and path.is_file():
                if path.stem in films:
                    raise InputError(f"{films[path.stem]} and {path} are one film by their names; rename one")
                films[path.stem] = path
        found[method.name] = films
    films_of_all = {film for films in found.values() for film in films}
    if not films_of_all:
        raise InputError(f"the folders in {folder} have no films ({', '.join(sorted(ENDINGS))}); put some in")
    for method_name, films in found.items():
        lacking = sorted(films_of_all - films.keys())
        if lacking:
            raise InputError(
                f"{folder / method_name} lacks the film {lacking[0]}, which another method has; every method needs all"
            )
    return found


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be made ({error.strerror}); write the page elsewhere") from error
    with atomic_path(target) as partial:
        shutil.copyfile(source, partial)


def _ranks(n: int, best: str, middle: str, worst: str) -> list[str]:
    """Words for the ranks 1 to n."""
    between = [middle] if n == 3 else [f"{rank}" for rank in range(2, n)]
    return [best, *between, worst]
