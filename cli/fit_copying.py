"""`emsync fit-copying`: how much a model may copy from the piece itself."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.files import check_new


@click.command("fit-copying")
@click.argument("archive", type=options.FILE, metavar="ARCHIVE.npz")
@options.model_to_fit("copying.json")
@click.option(
    "--skip",
    type=click.IntRange(min=0),
    metavar="N",
    default=12,
    show_default=True,
    help="Leave out the first N songs, to measure on them later.",
)
@click.option(
    "--songs",
    type=click.IntRange(min=1),
    metavar="N",
    default=48,
    show_default=True,
    help="Fit on this many of the songs after them.",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Let the model's output layer learn from the piece, too: fewer bits per note, but music that changes less.",
)
@options.overwrite
@options.quiet
def command(archive: Path, model: Path, skip: int, songs: int, adapt: bool, overwrite: bool, quiet: bool) -> None:
    """Fit how much of a piece's own repeats is mixed into a model's predictions.

    Reads songs that the model was not trained on, and writes copying.json into the model's folder: for every strength
    of a repeat, the share of the next event's probability that goes to what followed last time. Composing and
    evaluating use it from then on.
    """
    from tqdm import tqdm

    from emsync.mixture import COPYING
    from emsync.training.evaluation.mixing import fit_mixture

    check_new(model / COPYING, overwrite=overwrite)
    with tqdm(desc="reading songs", unit=" events", unit_scale=True, disable=quiet, delay=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fitted = fit_mixture(archive, model, skip=skip, songs=songs, adapt=adapt, progress=show)
    path = fitted.mixture.write(model)
    if not quiet:
        say(
            f"{fitted.mixture.about['songs']} songs: {fitted.alone:.3f} bits per note alone, {fitted.mixed:.3f} mixed "
            f"with the songs' own repeats\nWritten: {path}"
        )
