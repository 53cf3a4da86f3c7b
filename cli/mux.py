"""`emsync mux`: sound under a film."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.errors import printable


@click.command()
@click.argument("video", type=options.FILE)
@click.argument("sound", type=options.FILE)
@options.output("FILM", "The new film: .mp4, .m4v, .mov, .mkv or .webm.", required=True)
@options.overwrite
def command(video: Path, sound: Path, output: Path, overwrite: bool) -> None:
    """Write VIDEO with SOUND instead of its own.

    The picture is copied as it is; the sound begins on its first frame and ends with the film.
    """
    from emsync.mux import mux

    click.echo(printable(f"Wrote {mux(video, sound, output, overwrite=overwrite)}."))
