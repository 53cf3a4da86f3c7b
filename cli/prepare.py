"""`emsync prepare`: folders of MIDI files and Lakh pianorolls to training archives, and moods for archives."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.recipe import MAX_SEED
from emsync.training.corpus.prepare import SONGS_PER_ARCHIVE, VALID_SHARE, prepare
from emsync.training.corpus.song_files import MIN_NOTES


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=options.FILE, metavar="INPUT...")
@options.output("DIR", "The folder to write the archives into; made if necessary.", required=True)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Worker processes.  [default: one per core]",
)
@click.option(
    "--valid-share",
    type=options.FiniteFloat(min=0, max=0.5),
    metavar="SHARE",
    default=VALID_SHARE,
    show_default=True,
    help="The share of songs kept for validation.",
)
@click.option(
    "--songs-per-archive",
    type=click.IntRange(min=1),
    metavar="N",
    default=SONGS_PER_ARCHIVE,
    show_default=True,
    help="The most songs a training archive holds.",
)
@click.option(
    "--min-notes",
    type=click.IntRange(min=1),
    metavar="N",
    default=MIN_NOTES,
    show_default=True,
    help="Refuse songs with fewer notes.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    metavar="N",
    default=options.DEFAULT_SEED,
    show_default=True,
    help="Random seed of the songs kept for validation, and of the order of all songs.",
)
@click.option(
    "--resume/--fresh",
    default=True,
    show_default=True,
    help="Continue an interrupted run, or start over.",
)
@options.overwrite
@options.quiet
def command(
    inputs: tuple[Path, ...],
    output: Path,
    workers: int | None,
    valid_share: float,
    songs_per_archive: int,
    min_notes: int,
    seed: int,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Build training archives from MIDI files and Lakh pianorolls, each song with its mood.

    INPUTs are files, or folders that are searched: .mid, .midi, .kar, .rmi, and .npz of the Lakh Pianoroll Dataset with
    five or 17 tracks. Instruments are merged into drums, piano, guitar, bass and strings. Of identical or nearly
    identical songs, one is kept. Files that cannot be read are skipped; DIR/report.json counts them and says why.

    INPUTs may also be existing archives only: their songs get the mood curves that they lack, and the archives are
    written to DIR under the same names, otherwise unchanged.
    """
    report = prepare(
        inputs,
        output,
        workers=workers,
        valid_share=valid_share,
        songs_per_archive=songs_per_archive,
        min_notes=min_notes,
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        progress=not quiet,
    )
    say(report.summary())
    say(f"wrote {', '.join(report.archives)} and report.json to {output}")
