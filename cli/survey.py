"""`emsync survey`: a ranking study, and its table."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.errors import InputError, printable


@click.command()
@click.argument("paths", type=options.FILE, nargs=-1, required=True, metavar="FOLDER | ANSWERS.csv...")
@options.output("FILE", "The page to write (FOLDER.html by default); with --results, the table as CSV.")
@click.option("--results", is_flag=True, help="Read the answers that raters saved, and print the mean ranks.")
@click.option(
    "--key", "keys", type=options.FILE, multiple=True, metavar="PAGE.key.json",
    help="With --results: the key of the survey; may be repeated, for several surveys.",
)  # fmt: skip
@click.option("--title", default="Music for videos", show_default=True, help="What the raters read at the top.")
@click.option(
    "--films-each", type=click.IntRange(min=1), metavar="N", default=2, show_default=True,
    help="How many films each rater ranks; the films are dealt out evenly.",
)  # fmt: skip
@options.seed_of("page")
@options.overwrite
def command(
    paths: tuple[Path, ...], output: Path | None, results: bool, keys: tuple[Path, ...], title: str, films_each: int,
    seed: int, overwrite: bool,
) -> None:  # fmt: skip
    """Write a survey page in which people rank methods blindly, or evaluate what they answered.

    FOLDER has a folder for each method, and in each the same films with that method's music: FOLDER/METHOD/FILM.mp4.
    The page works offline and asks the questions of the paper (Fig. 4). Methods are called A, B, C by their place,
    which is balanced over raters. Give rater 7 the page with #7 at the end of its address. The browser saves each
    rater's answers as CSV.

    PAGE.key.json says which method is which: keep it from the raters. --results prints mean ranks with 95 % confidence
    margins, as in Table III of the paper.
    """
    if results:
        _evaluate(paths, keys, output, overwrite)
        return
    if keys or len(paths) > 1:
        raise InputError("to evaluate answers, give --results; to make a survey, give one folder and no --key")
    from emsync.survey import make_survey

    folder = paths[0]
    page = output or Path(folder.name or "survey").with_suffix(".html")
    made = make_survey(folder, page, title=title, films_each=films_each, seed=seed, overwrite=overwrite)
    say(printable(f"Wrote {made.page}: {len(made.methods)} methods, {len(made.films)} films."))
    if made.media is not None:
        say(printable(f"Its films are in {made.media}; send both together."))
    n_raters = -(-made.n_orders * len(made.films) // min(films_each, len(made.films)))
    say(f"The order is balanced after every {n_raters} raters.")
    say(printable(f"Keep {made.key} from the raters: it says which method is which."))


def _evaluate(paths: tuple[Path, ...], keys: tuple[Path, ...], output: Path | None, overwrite: bool) -> None:
    """Print the table, and write it."""
    from emsync.files import check_writable, write_bytes
    from emsync.survey_results import as_csv, as_text, mean_ranks, read_answers

    if not keys:
        raise InputError("answers do not name the methods; give --key PAGE.key.json")
    if output is not None:
        check_writable(output, overwrite=overwrite, inputs=(*paths, *keys))
    table = mean_ranks(read_answers(paths, keys))
    say(as_text(table))
    if output is not None:
        write_bytes(output, as_csv(table).encode(), overwrite=overwrite)
        say(printable(f"Wrote {output}."))
