"""`emsync anchor`: what a whole piece or film sounds like, in four lines to edit."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.errors import InputError, printable
from emsync.extras import VISION, need


@click.command()
@click.argument("source", type=options.FILE, metavar="SONG.mid|FILM")
@options.output("ANCHOR.json", "Where to write it; without, it is only shown.")
@click.option(
    "--model", metavar="ID",
    help="For a film: the vision-language model that writes the anchor, a folder or a name on the Hugging Face hub.",
)  # fmt: skip
@options.overwrite
def command(source: Path, output: Path | None, model: str | None, overwrite: bool) -> None:
    """Describe a whole piece: genre, instruments, atmosphere, pacing, for --anchor of emsync produce and compose.

    The anchor of a MIDI file follows from its notes and, if there is a record beside it, its mood. That of a film is
    written by a vision-language model (pip install 'emsync[vision]').
    """
    from dataclasses import asdict

    from emsync.anchor import Anchor
    from emsync.batch import FILMS
    from emsync.files import check_writable
    from emsync.piece import Piece

    if output is not None:
        check_writable(output, overwrite=overwrite, inputs=(source,))
    if model is None:
        if source.suffix.lower() in FILMS:
            raise InputError(f"{source} is a film; give --model, the vision-language model that is to describe it")
        piece = Piece.read(source)
        found = Anchor.of_score(piece.score, piece.mood)
    else:
        need(VISION)
        from emsync.anchor_vlm import anchor_of_film

        found = anchor_of_film(source, model)
    for name, line in asdict(found).items():
        say(printable(f"{name.capitalize()}: {line or '-'}"))
    if output is not None:
        found.write(output, overwrite=overwrite)
        say(printable(f"Wrote {output}; use it with --anchor {output}"))
