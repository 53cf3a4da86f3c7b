"""`emsync plot`: a MIDI file as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@options.output("PICTURE", "The picture to write, ending in .png or .svg. [default: SONG.png]")
@options.record
@options.overwrite
def command(song: Path, output: Path | None, record: Path | None, overwrite: bool) -> None:
    """Draw a MIDI file: cuts, chords, every instrument with its bars, and the tempo, on one time axis.

    SONG.mid may be any MIDI file, also one that you edited. The record that emsync compose wrote beside it adds the
    film's cuts and the mood. Without a record, markers named "Cut ..." are cuts. Other markers begin sections.
    """
    from emsync.files import check_writable
    from emsync.piece import Piece
    from emsync.plot_piece import check_ending, save_piece, summary

    picture = song.with_suffix(".png") if output is None else output
    check_ending(picture)
    check_writable(picture, overwrite=overwrite, inputs=(song, record))
    piece = Piece.read(song, record)
    save_piece(piece, picture, overwrite=overwrite)
    say(f"Drew {picture}. {summary(piece)}")
