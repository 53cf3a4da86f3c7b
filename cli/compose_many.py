"""`emsync compose` for several films, or folders of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emsync.affect import BuiltinReader
from emsync.cli.checked import recipe_for
from emsync.cli.moods import mood_source
from emsync.cli.outputs_many import Folders
from emsync.cli.say import say
from emsync.errors import InputError, printable
from emsync.mood_source import MoodSource

if TYPE_CHECKING:
    from emsync.batch import Scored

#: What can be given for one film only.
_ONE_FILM = {
    "duration": "--duration", "cuts": "--cuts", "theme": "--theme", "counting": "--fps", "start": "--start",
    "add": "--add-cut", "drop": "--drop-cut", "record_path": "--from", "producing": "--produce",
}  # fmt: skip
SOME_FAILED = 1


def compose_many(
    videos: tuple[Path, ...], output: Path | None, model: Path | None, backend: Any, overwrite: bool, quiet: bool,
    jobs: int | None, ray: str | None, skip_existing: bool, shard: str | None,
    one_film: dict[str, Any], also: Folders, choices: dict[str, Any],
) -> int:  # fmt: skip
    """Score all films into the folder `output`, print a table, and return the exit code: 1 if any failed."""
    from tqdm import tqdm

    from emsync import batch, soundtrack

    for name, flag in _ONE_FILM.items():
        if one_film[name] not in (None, ()):
            raise InputError(f"{flag} is for one film, and several are given; leave it out, or give one film")
    if output is None:
        raise InputError("give -o FOLDER, for the songs of several films")
    recipe = recipe_for(choices, model)
    detection = {name: choices.pop(name) for name in ("detector", "threshold")}
    described = MoodSource.described(recipe)
    source = mood_source(**choices, has_video=True, knows_mood=soundtrack.knows_mood(model), described=described)
    if not isinstance(source.reader, BuiltinReader | None):  # others cannot be sent to other processes
        raise InputError("of --affect only builtin, builtin:pictures and none are for several films; give one film")
    films = batch.find_films(videos)
    also.make()
    also = also if ray is None else also.absolute()
    if shard is not None:
        films = batch.shard(films, shard)
    with tqdm(total=len(films), desc="Scoring", unit="film", disable=True if quiet else None) as bar:

        def show(result: Scored, done: int, total: int) -> None:
            bar.update(done - bar.n)
            if result.status == "failed" and not quiet:
                bar.write(printable(f"failed: {result.film}: {result.error}"), file=sys.stderr)

        results = batch.score_all(
            films, output, recipe, mood=source, model=model,
            backend=backend, jobs=jobs, ray=ray, skip_existing=skip_existing, overwrite=overwrite, progress=show,
            warn=lambda text: bar.write(printable(f"Warning: {text}."), file=sys.stderr),
            also=also if also.files(Path("film")) else None, **detection,
        )  # fmt: skip
    _report(results, output)
    return SOME_FAILED if any(result.status == "failed" for result in results) else 0


def _report(results: list[Scored], output: Path) -> None:
    """A line a film, and how many of each kind."""
    width = max((len(Path(result.film).name) for result in results), default=0)
    for result in results:
        name = printable(Path(result.film).name).ljust(width)
        what = f"{result.met} of {result.cuts} cuts within a frame, {result.duration_s:.1f} s"
        if result.status == "failed":
            what = printable(result.error)
        elif result.status == "scored":
            what += f" in {result.spent_s:.1f} s"
        else:
            what += ", done before"
        say(f"{name}  {result.status:<7}  {what}")
    counts = {status: sum(r.status == status for r in results) for status in ("scored", "skipped", "failed")}
    say(", ".join(f"{n} {status}" for status, n in counts.items()) + f"; see {output / 'report.csv'}")
