"""`emsync produce`: a MIDI file to a recording by a music model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emsync.cli import options
from emsync.cli.producing import Producing, produced, report
from emsync.cli.progress import StageBar
from emsync.cli.say import say
from emsync.extras import need


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@options.output("OUT.wav", "The recording. [default: SONG.wav]")
@produced
@click.option(
    "--model", metavar="PATH|HUB",
    help="The music model: a folder, or a checkpoint of the hub that was downloaded; ace-step:... for ACE-Step.  "
    "[default: facebook/musicgen-melody]",
)  # fmt: skip
@click.option("--soundfont", type=options.FILE, metavar="FILE", help="The SoundFont of --hits-mix.")
@options.record
@options.seed
@options.overwrite
@options.quiet
def command(
    song: Path, output: Path | None, model: str | None, record: Path | None, soundfont: Path | None, seed: int,
    overwrite: bool, quiet: bool, **choices: Any,
) -> None:  # fmt: skip
    """Let a music model play SONG.mid: its melody, in the sound of a text, exactly as long as the piece.

    The model is MusicGen-melody, or ACE-Step. Nothing is downloaded: if the model is not there, one sentence says what
    to download. To continue an interrupted run, run the command again. Needs: pip install 'emsync[musicgen]'.
    """
    producing = Producing.taken(choices, model)
    assert producing is not None
    need(*producing.needs)
    from emsync.produce import check_output, read_song, unmoved

    read = (song, record, soundfont, producing.anchor)
    target = check_output(output or song.with_suffix(".wav"), inputs=read, overwrite=overwrite)
    piece = read_song(song, record, producing.melody)  # a large model takes minutes to load
    if producing.adapter is not None and piece.mood is None:
        raise unmoved(str(song))
    producing.check(soundfont)
    with StageBar(quiet) as progress:
        made = producing.run(
            song, target, seed=seed, record=record, soundfont=soundfont, overwrite=overwrite, progress=progress
        )
    say(report(made))
