"""`emsync soundfonts`: which SoundFonts are found, and how to get a better one."""

from __future__ import annotations

import click

from emsync.cli.say import say
from emsync.errors import printable


@click.command()
def command() -> None:
    """List the SoundFonts on this machine, first the one that emsync render uses, and how to get a better one."""
    from emsync import soundfonts

    for found in soundfonts.listed():
        licence = found.licence or "licence unknown"
        say(printable(f"{found.path}  {found.size_bytes / 1e6:.0f} MB  {licence}"))
    say(f"Looked in: {', '.join(printable(str(folder)) for folder in soundfonts.folders())}")
    say(f"For a better one, {soundfonts.REMEDY}.")
