"""`emsync arrange`: more instruments for a melody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emsync.cli import options
from emsync.cli.moods import given_mood_options
from emsync.cli.progress import StageBar
from emsync.cli.revise import brief_of, names_of, summary
from emsync.cli.say import say
from emsync.recipe import OF_A_SONG


@click.command()
@click.argument("melody", type=options.FILE, metavar="MELODY.mid")
@options.output("OUT.mid", "The file to write. [default: MELODY-arranged.mid]")
@click.option(
    "--add",
    "wanted",
    metavar="FAMILIES",
    help="The families to add, such as bass,drums.  [default: those that are missing]",
)
@click.option("--cuts", type=options.FILE, metavar="FILE", help="Cuts instead of the markers'.")
@options.counting
@options.changes
@options.record
@given_mood_options
@options.recipe_without(*OF_A_SONG, "candidates")
@options.model
@options.overwrite
@options.quiet
def command(
    melody: Path, output: Path | None, wanted: str | None, record: Path | None, model: Path | None, overwrite: bool,
    quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Add the families of instruments that MELODY.mid lacks: drums, piano, guitar, bass or strings.

    The tracks of the file stay as they are, and so do its tempo and bars; what is new is composed around them.
    """
    from emsync import soundtrack
    from emsync.takes import arrange

    place = output or melody.with_name(f"{melody.stem}-arranged.mid")
    inputs = (melody, f"{melody}.json", record, given["cuts"], given["mood"])
    soundtrack.places(place, overwrite=overwrite, inputs=inputs)
    cuts, mood, choices = brief_of(given, model)
    session = None if model is None else soundtrack.Session.open(model)
    with StageBar(quiet) as bar:
        take = arrange(
            melody, add=names_of("--add", wanted), cuts=cuts, mood=mood, from_record=record, session=session,
            choices=choices, progress=lambda share: bar("composing", share),
        )  # fmt: skip
    take.save(place, overwrite=overwrite)
    say(summary(take, place))
