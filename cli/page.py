"""`emsync page`: a MIDI file as a web page."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@options.output("PAGE.html", "The page to write. [default: SONG.html]")
@options.record
@click.option(
    "--film", type=options.FILE, metavar="FILM", help="The film. [default: the record's, if it is beside SONG.mid]"
)
@click.option("--sound", type=options.FILE, metavar="SOUND", help="The piece as sound. [default: it is rendered]")
@options.sound
@options.overwrite
def command(
    song: Path, output: Path | None, record: Path | None, film: Path | None, sound: Path | None,
    soundfont: Path | None, loudness_lufs: float | None, overwrite: bool,
) -> None:  # fmt: skip
    """Write SONG.mid as one web page that works offline: film, sound, and the notes that follow them.

    The page shows instruments, chords, form, tempo and mood on one time axis, and lists how each cut is met. Sound and
    MIDI file are inside it. A film is inside if it has at most 24 MB, else it is linked by its place relative to the
    page. SONG.mid may be any MIDI file, also one that you edited.
    """
    from emsync.cli.outputs import check_pictures, film_of, write_page
    from emsync.piece import Piece

    html = song.with_suffix(".html") if output is None else output
    check_pictures(None, html, overwrite=overwrite, inputs=(song, record, film, sound))
    piece = Piece.read(song, record)
    beside = song.with_name(song.name + ".json")
    write_page(
        piece, html, song, record=beside if record is None and beside.is_file() else record,
        film=film_of(piece, song) if film is None else film, sound=sound,
        soundfont=soundfont, loudness_lufs=loudness_lufs, overwrite=overwrite,
    )  # fmt: skip
