"""`emsync fit-critic`: what chooses among takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.extras import LEARN, TRAIN, need
from emsync.files import check_new

if TYPE_CHECKING:
    from tqdm import tqdm


@click.command("fit-critic")
@click.argument("archive", type=options.FILE, metavar="ARCHIVE.npz")
@options.model_to_fit("critic.json")
@click.option(
    "--songs",
    type=click.IntRange(min=10),
    metavar="N",
    default=200,
    show_default=True,
    help="How many of the archive's songs to compare.",
)
@click.option(
    "--pieces",
    type=click.IntRange(min=10),
    metavar="N",
    default=60,
    show_default=True,
    help="How many pieces to compose and compare.",
)
@options.seed_of("critic")
@options.overwrite
@options.quiet
def command(archive: Path, model: Path, songs: int, pieces: int, seed: int, overwrite: bool, quiet: bool) -> None:
    """Fit the critic that chooses among takes (emsync compose --candidates).

    Composes pieces, compares passages of them with passages of real songs, and writes critic.json into the model's
    folder. The critic rates how real a passage seems, by its notes, its likelihood and the model's hidden states. Use
    other songs than those that you measure on later. Takes some minutes; needs the extra train.
    """
    from tqdm import tqdm

    from emsync.critic import CRITIC
    from emsync.training.evaluation.critics import fit_critic

    need(TRAIN, LEARN)
    check_new(model / CRITIC, overwrite=overwrite)
    bars: dict[str, tqdm] = {}

    def show(what: str, done: int, total: int) -> None:
        bar = bars.get(what) or bars.setdefault(what, tqdm(desc=what, total=total, disable=quiet))
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    fitted = fit_critic(archive, model, songs=songs, pieces=pieces, seed=seed, progress=show)
    path = fitted.critic.write(model)
    if not quiet:
        say(
            f"Distinguishes passages that it was not fitted on with an area under the curve of {fitted.auc:.3f} "
            f"({fitted.auc_of_figures:.3f} by their notes, {fitted.auc_of_states:.3f} by the model's states)\n"
            f"Written: {path}"
        )
