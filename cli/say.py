"""Printing texts that may contain anything, such as names of files."""

from __future__ import annotations

import click

from emsync.errors import printable


def say(text: str, *, err: bool = False) -> None:
    """Print lines on standard output or error, with escapes for everything that could control a terminal."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=err)
