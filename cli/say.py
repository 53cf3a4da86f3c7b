"""Printing of what may hold anything: names of files, texts of records."""

from __future__ import annotations

import click

from emsync.errors import printable


def say(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or on standard error, with escapes for all that a terminal might obey."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=err)
