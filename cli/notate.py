"""`emsync notate`: a MIDI file as a score for players."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@options.output("SCORE.musicxml", "The score to write. [default: SONG.musicxml]")
@options.overwrite
def command(song: Path, output: Path | None, overwrite: bool) -> None:
    """Write SONG.mid, any MIDI file, as MusicXML, which MuseScore, Sibelius, Dorico and Finale open.

    Notes are moved to sixteenths or triplets, and each staff has one or two voices, so that players can read it. Chord
    symbols, tempo marks, cuts and sections are above the first staff.
    """
    from emsync import midi, musicxml
    from emsync.files import check_writable

    place = song.with_suffix(".musicxml") if output is None else output
    check_writable(place, overwrite=overwrite, inputs=(song,))
    score = midi.read(song)
    musicxml.save(score, place, title=song.stem, overwrite=overwrite)
    say(f"Wrote {place}: {len(score)} notes, {len(score.bars)} bars.")
