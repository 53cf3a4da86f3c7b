"""`emsync mux`: sound under a film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.errors import printable

if TYPE_CHECKING:
    from emsync.sidechain import Ducker


@click.command()
@click.argument("video", type=options.FILE)
@click.argument("sound", type=options.FILE)
@options.output("FILM", "The new film: .mp4, .m4v, .mov, .mkv or .webm.", required=True)
@options.ducking
@options.overwrite
def command(video: Path, sound: Path, output: Path, overwrite: bool, **choices: Any) -> None:
    """Write VIDEO with SOUND instead of its own, or with --keep-sound under it.

    The picture is copied as it is; the sound begins on its first frame and ends with the film.
    """
    from emsync.mux import mux

    found: list[Ducker] = []
    made = mux(video, sound, output, overwrite=overwrite, tell=found.append, **options.ducking_of(choices))
    say(printable(f"Wrote {made}.{report(found)}"))


def report(found: list[Ducker]) -> str:
    """How the music lies under the film's own sound, with a space before it; nothing if it replaces that."""
    if not found:
        return ""
    (ducker,) = found
    if not ducker.has_sound:
        return " The film has no sound of its own."
    share = 100 * ducker.speech_steps / max(ducker.steps, 1)
    return f" The music lies under its own sound, ducked for {share:.0f} % of the film, by {ducker.detector}."
