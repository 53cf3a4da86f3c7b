"""`emsync render`: a MIDI file to sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.errors import printable


@click.command()
@click.argument("song", type=options.FILE)
@options.output("SOUND", "The sound file: .wav, .flac, .ogg or .mp3. [default: SONG.wav]")
@options.sound
@click.option(
    "--rate", "rate_hz", type=click.Choice([44100, 48000]), default=44100, show_default=True, help="Sample rate in Hz."
)
@options.stems
@options.duration("Exactly this long, fading out if the music continues.  [default: until the last note has decayed]")
@options.pictures
@options.overwrite
def command(
    song: Path, output: Path | None, overwrite: bool, plot: Path | None, html: Path | None, **choices: Any
) -> None:
    """Render SONG, any MIDI file, to stereo sound with FluidSynth.

    The file is played as it is, so one that was edited in a DAW sounds as edited. emsync soundfonts lists the
    SoundFonts that are found. Needs: pip install 'emsync[audio]', and the FluidSynth library.
    """
    from emsync.audio import render
    from emsync.cli.outputs import check_pictures, film_of, write_page, write_plot
    from emsync.piece import Piece

    choices["duration_s"] = choices.pop("duration")
    check_pictures(plot, html, overwrite=overwrite, inputs=(song,))
    made = render(song, song.with_suffix(".wav") if output is None else output, overwrite=overwrite, **choices)
    for text in made.warnings:
        say(f"Warning: {printable(text)}.", err=True)
    say(report(made))
    if plot is None and html is None:
        return
    piece = Piece.read(song)
    if plot is not None:
        write_plot(piece, plot, overwrite=overwrite)
    if html is not None:
        record = song.with_name(song.name + ".json")
        write_page(
            piece, html, song, record=record if record.is_file() else None, film=film_of(piece, song),
            sound=made.path, overwrite=overwrite,
        )  # fmt: skip


def report(made: Any) -> str:
    """One sentence on a `Rendering`, and one on its stems."""
    ending = ", fading out" if made.faded else ""
    stems = f"\nStems: {', '.join(printable(path.name) for path in made.stems)}." if made.stems else ""
    mix = f"{made.path}: {made.duration_s:.2f} s{ending}, peak {made.peak_db:.1f} dB, with {made.soundfont.name}"
    return f"Rendered {printable(mix)}.{stems}"
