"""`emsync evaluate` on films: `--av-align` measures their sound, `--score` the music that is composed for them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emsync.cli.say import say
from emsync.errors import InputError, OutputError, printable
from emsync.files import check_writable, write_bytes

if TYPE_CHECKING:
    from emsync.soundtrack import Soundtrack
    from emsync.training.evaluation.figures import Panel

NAMES = ("av-align.json", "av-align.md")
SCORE_NAMES = ("scored.json", "scored.md")


def align_films(inputs: tuple[Path, ...], output: Path, *, seed: int, overwrite: bool, quiet: bool) -> list[Panel]:
    """Measure films, or those of folders; print the table and write it into the folder `output`, made if need be.

    Returns what the picture shows.
    """
    from emsync.batch import find_films
    from emsync.training.evaluation.av_align import measure
    from emsync.training.evaluation.figures import of_alignment

    films = find_films(inputs)
    with _written(output, NAMES, overwrite) as write, _counted("Watching", len(films), quiet) as show:
        result = measure(films, show, seed=seed)
        write(result)
    return of_alignment(result)


def score_films(
    inputs: tuple[Path, ...], output: Path, *, model: Path | None, seed: int, affect: str | None, tagger: Path | None,
    tagger_rate: int | None, keep: Path | None, overwrite: bool, quiet: bool,
) -> list[Panel]:  # fmt: skip
    """Score films, or those of folders, and measure the music; as `align_films`.

    keep: a folder for the songs and their records.
    """
    from emsync.affect import NO_READER, PICTURES_READER
    from emsync.batch import find_films, songs_of
    from emsync.mood_source import MoodSource, not_followed
    from emsync.recipe import Recipe
    from emsync.session import knows_mood
    from emsync.training.evaluation import scored_films
    from emsync.training.evaluation.figures import of_scores
    from emsync.training.evaluation.tagger import open_tagger

    films = find_films(inputs)
    if affect not in (None, NO_READER) and not knows_mood(model):
        raise not_followed("--affect")
    reads = affect != NO_READER and knows_mood(model)
    mood = MoodSource.reading(affect or PICTURES_READER) if reads else MoodSource()
    opened = None if tagger is None else open_tagger(tagger, tagger_rate)

    def kept(name: str, track: Soundtrack) -> None:
        assert keep is not None
        track.save(keep / f"{name}.mid", overwrite=overwrite)

    if keep is not None:
        _make(keep)
        for song in songs_of(films, keep):
            check_writable(song, overwrite=overwrite)
    with (
        _written(output, SCORE_NAMES, overwrite) as write,
        _counted("Scoring", len(films), quiet) as show,
        tempfile.TemporaryDirectory() as folder,
    ):
        result = scored_films.score_films(
            films, Recipe(seed=seed), mood, Path(folder), model=model, tagger=opened,
            keep=None if keep is None else kept, progress=show,
        )  # fmt: skip
        write(result)
    return of_scores(result)


def check_picture(plot: Path | None, *, overwrite: bool) -> None:
    """Raise `OutputError` for a picture that could not be written in the end."""
    if plot is not None:
        from emsync.plot_piece import check_ending

        check_ending(plot)
        check_writable(plot, overwrite=overwrite)


def draw(panels: list[Panel], plot: Path, *, overwrite: bool) -> None:
    """Draw what was measured, and print a line on it."""
    from emsync.training.evaluation.figures import save

    save(panels, plot, overwrite=overwrite)
    say(printable(f"Drew {plot}."))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error


@contextmanager
def _written(output: Path, names: tuple[str, str], overwrite: bool) -> Iterator[Callable[[Any], None]]:
    """Make the folder, and give what writes a result into it as JSON and Markdown and prints it.

    Everything is checked first; the folder goes again if nothing was written.
    """
    made = not output.exists()
    _make(output)

    def write(result: Any) -> None:
        text = result.to_markdown()
        data = json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"
        for name, each in zip(names, (data, text), strict=True):
            write_bytes(output / name, each.encode(), overwrite=overwrite)
        for name, reason in result.failed.items():
            say(f"Warning: {printable(name)} was left out: {printable(reason)}.", err=True)
        say(text)
        say(printable(f"wrote {output / names[0]} and {names[1]}"))

    try:
        for name in names:
            check_writable(output / name, overwrite=overwrite)
        yield write
    finally:
        if made and not any(output.iterdir()):
            output.rmdir()


@contextmanager
def _counted(title: str, total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar of films; what is given is called before each of them."""
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit="film", disable=True if quiet else None) as bar:
        seen = 0

        def show(_: str) -> None:
            nonlocal seen
            bar.update(seen - bar.n)
            seen += 1

        yield show


def check_options(score: tuple[Path, ...], affect: str | None, tagger: Path | None, tagger_rate: int | None) -> None:
    """Raise `InputError` for options that say how films are scored where none are."""
    for flag, value in (("--affect", affect), ("--tagger", tagger), ("--tagger-rate", tagger_rate)):
        if value is not None and not score:
            raise InputError(f"{flag} is for films that are scored; give --score FOLDER, too")
    if tagger_rate is not None and tagger is None:
        raise InputError("--tagger-rate is the tagger's; give --tagger FILE.onnx, too")
