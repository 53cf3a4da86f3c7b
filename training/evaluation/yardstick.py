"""What a model composes, measured: pieces made in batches; their landing, stability, similarity and memorization.

`evaluate` measures how well a model predicts; the two meet in one `evaluate.Evaluation`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from emsync import midi
from emsync.decoder import Decoder
from emsync.errors import CorpusError, InputError, OutputError
from emsync.recipe import Hits, Recipe
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import control_adherence, landing, memorization, mood_adherence, similarity
from emsync.training.evaluation.landing import DEFAULT_TOGETHER, HITS, Composed, CutList
from emsync.training.evaluation.report_page import PARTS, Part
from emsync.training.evaluation.stability import DEFAULT_MINUTES, long_lists
from emsync.training.evaluation.stability import measure as measure_stability

#: Called with what is being done, and how much is done and to do: seconds of music, or archives.
Progress = Callable[[str, int, int], None]

#: How many pieces are composed for similarity and memorization, and with how many real songs they are compared at most.
DEFAULT_PIECES: Final = 100
MAX_REAL: Final = 500


@dataclass(frozen=True)
class Wanted:
    """Which parts are measured, and how much is composed for them.

    - landing: the number of random cut lists; films: other lists to land on; lands: the ways of landing, each measured
      separately.
    - stability: the number of pieces, each of `minutes`.
    - similarity: whether pieces are compared with the archive's songs; memorization: the archives to search for copies;
      pieces: the number of pieces for both.
    - mood_adherence: the number of pieces for each of twelve moods; controls: for each set of controls.
    """

    landing: int = 0
    films: tuple[CutList, ...] = ()
    lands: tuple[Hits, ...] = HITS
    stability: int = 0
    minutes: int = DEFAULT_MINUTES
    similarity: bool = False
    memorization: tuple[Path, ...] = ()
    pieces: int = DEFAULT_PIECES
    mood_adherence: int = 0
    seed: int = 0
    controls: int = 0

    def __post_init__(self) -> None:
        least_of = {"landing": 0, "stability": 0, "minutes": 2, "pieces": 1, "mood_adherence": 0, "controls": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; give at least {least}")
        if not self.lands:
            raise InputError("no way of landing was given; give free, bend or exact")
        names = [film.name for film in self.films]
        if len(set(names)) < len(names):
            raise InputError(f"two of the films are called {max(names, key=names.count)}; rename one, or leave it out")
        if self.similarity and self.pieces < similarity.MIN_PIECES:
            raise InputError(
                f"{self.pieces} pieces cannot be compared with real songs; give at least {similarity.MIN_PIECES}"
            )
        for path in self.memorization:
            if not path.is_file():
                raise CorpusError(f"{path} is not a file; give an archive that the model was trained on")

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in the page's order."""
        given = (
            bool(self.landing or self.films),
            bool(self.stability),
            self.similarity,
            bool(self.memorization),
            bool(self.mood_adherence),
            bool(self.controls),
        )
        return tuple(name for name, asked in zip(PARTS, given, strict=True) if asked)


def measure_parts(
    decoder: Decoder,
    archive: str | os.PathLike[str],
    wanted: Wanted,
    recipe: Recipe,
    *,
    together: int = DEFAULT_TOGETHER,
    keep: Callable[[str, Sequence[Composed]], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Part]:
    """Compose and measure what is wanted; by name.

    The pieces for similarity and memorization are those composed for random cut lists on the beat, as many as are
    wanted; real songs are the archive's, at most `MAX_REAL`, drawn with the seed. keep: called with a name
    ("landing-bend") and the pieces, as soon as they are composed. progress: with seconds of music done and to do.
    """

    def made(name: str, films: Sequence[CutList], hits: Hits) -> list[Composed]:
        def report(done_s: float, total_s: float) -> None:
            if progress:
                progress(f"composing, {name}", round(done_s), round(total_s))

        pieces = landing.compose_all(
            decoder, films, replace(recipe, hits=hits), seed=wanted.seed, together=together, progress=report
        )
        if keep:
            keep(name, pieces)
        return pieces

    parts: dict[str, Part] = {}
    judged = wanted.pieces if wanted.similarity or wanted.memorization else 0
    lists = landing.random_lists(max(wanted.landing, judged), wanted.seed) if wanted.landing or judged else []
    on_beat = made("landing-bend", lists, "bend") if lists and (judged or "bend" in wanted.lands) else []
    if "landing" in wanted.parts:
        by_kind: dict[str, dict[str, Sequence[Composed]]] = {}
        for kind, films in (("random", lists[: wanted.landing]), ("films", list(wanted.films))):
            for land in wanted.lands if films else ():
                ready = on_beat[: wanted.landing] if (kind, land) == ("random", "bend") else None
                name = f"landing-{land}" if kind == "random" else f"films-{land}"
                by_kind.setdefault(kind, {})[land] = made(name, films, land) if ready is None else ready
        parts["landing"] = landing.measure(by_kind)
    if "stability" in wanted.parts:
        films = long_lists(wanted.stability, wanted.seed, minutes=wanted.minutes)
        parts["stability"] = measure_stability(made("stability", films, "bend"))
    if judged:
        scores = [one.score for one in on_beat[:judged]]
        songs = read_archive(archive)
        more = np.flatnonzero(songs.arrays["pool"] == "more")
        chosen = np.random.default_rng(wanted.seed).permutation(more)[:MAX_REAL]
        real = [song_score(songs, int(i)) for i in np.sort(chosen)]
        if wanted.similarity:
            parts["similarity"] = similarity.measure(scores, real, seed=wanted.seed)
        if wanted.memorization:

            def searched(done: int, total: int) -> None:
                if progress:
                    progress("searching archives", done, total)

            parts["memorization"] = memorization.measure(
                scores, wanted.memorization, real, seed=wanted.seed, progress=searched
            )
    if wanted.mood_adherence:

        def composed_moods(done_s: float, total_s: float) -> None:
            if progress:
                progress("composing, moods", round(done_s), round(total_s))

        parts["mood_adherence"] = mood_adherence.measure(
            decoder, read_archive(archive), wanted.mood_adherence, recipe, seed=wanted.seed, together=together,
            progress=composed_moods,
        )  # fmt: skip
    if wanted.controls:
        parts["control_adherence"] = _obeyed(decoder, archive, wanted, recipe, progress)
    return parts


def _obeyed(
    decoder: Decoder, archive: str | os.PathLike[str], wanted: Wanted, recipe: Recipe, progress: Progress | None
) -> Part:
    """How well controls are obeyed."""

    def report(done_s: float, total_s: float) -> None:
        if progress:
            progress("composing, controls", round(done_s), round(total_s))

    return control_adherence.measure(
        decoder, read_archive(archive), wanted.controls, recipe, seed=wanted.seed, progress=report
    )


class Kept:
    """A folder of the pieces that were composed, as MIDI: `<name>-<film>.mid`.

    Raises `OutputError` for a folder that holds something already, unless overwrite.
    """

    def __init__(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; give a folder to keep the pieces in")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not overwrite:
            raise OutputError(f"{self.folder} holds files already; give --overwrite, or another folder")

    def __call__(self, name: str, pieces: Sequence[Composed]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made ({error.strerror}); choose another folder") from error
        for piece in pieces:
            midi.write(piece.score, self.folder / f"{name}-{piece.film.name}.mid")
