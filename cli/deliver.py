"""`emsync deliver`: a MIDI file made ready for the program that opens it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.errors import printable
from emsync.timecode import Counting


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@options.output("OUT.mid", "The MIDI file to write.", required=True)
@click.option(
    "--smpte", metavar="HH:MM:SS:FF", help="The timecode of the beginning, written as SMPTE offset; --fps counts it."
)
@click.option(
    "--fps",
    "counting",
    type=options.FrameCounting(),
    metavar="RATE",
    default="25",
    show_default=True,
    help="Frames a second of --smpte: 24, 25, 29.97, 29.97df (drop-frame) or 30.",
)
@click.option("--levels", is_flag=True, help="Begin each track with a pan and a volume.")
@click.option("--harmony", is_flag=True, help="Write key signatures, and chord symbols as text events.")
@click.option(
    "--tempo-span",
    is_flag=True,
    help="Add a track of one silent note as long as the piece; Ableton Live then takes the tempo map.",
)
@click.option(
    "--split-tracks", is_flag=True, help="Write a file for each instrument as well: OUT-1-drums.mid and so on."
)
@options.overwrite
def command(
    song: Path, output: Path, smpte: str | None, counting: Counting | None, levels: bool, harmony: bool,
    tempo_span: bool, split_tracks: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Write SONG.mid again with extras for a DAW or an editing program.

    Notes, tempo, meters and markers stay as they are; controllers and lyrics of other programs are left out.
    """
    from emsync.deliver import deliver
    from emsync.midi_details import Details

    details = Details(smpte, counting or Counting(Fraction(25)), levels, tempo_span)
    written = deliver(
        song, output, details, harmony=harmony, split_tracks=split_tracks, overwrite=overwrite
    )  # fmt: skip
    for path in written:
        say(printable(f"Wrote {path}"))
