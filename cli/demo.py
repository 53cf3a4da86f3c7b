"""`emsync demo`: make a short film, compose for it, and draw the result."""

from __future__ import annotations

from pathlib import Path

import click

from emsync import demo_film
from emsync.cli import options
from emsync.cli.compose import report
from emsync.cli.progress import StageBar
from emsync.cli.say import say


@click.command()
@options.output(
    "DIR",
    "The folder for film, MIDI file and picture; files of an earlier run are replaced. [default: demo]",
)
@options.duration("How long the film is.", default=30.0, longest_s=demo_film.LONGEST_S)
@options.seed
@options.quiet
def command(output: Path | None, duration: float, seed: int, quiet: bool) -> None:
    """Make a short film with cuts, compose for it with the embedded model, and draw the piano roll."""
    from emsync import soundtrack
    from emsync.errors import OutputError
    from emsync.plot import save_roll
    from emsync.recipe import Recipe

    folder = Path("demo") if output is None else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    film, song, picture = folder / "film.mp4", folder / "film.mid", folder / "film.png"
    others = [place for place in (film, song, song.with_name(song.name + ".json"), picture) if place.exists()]
    if others and not demo_film.is_ours(film):
        raise OutputError(f"{others[0]} is not of an earlier demo, and is not replaced; give -o another folder")
    cuts = demo_film.make(film, duration_s=duration)
    found = f"{len(cuts)} cut{'' if len(cuts) == 1 else 's'}"
    say(f"Filmed {film}: {duration:g} s, {found}.")
    with StageBar(quiet) as progress:
        track = soundtrack.for_video(film, Recipe(seed=seed), output=song, overwrite=True, progress=progress)
    report(track, song)
    score = track.score
    save_roll(score, picture, [m.time_s for m in score.markers], title=f"{film.name}: {len(score)} notes, {found}")
    say(f"Drew {picture}. Open {song} in your DAW beside {film}.")
