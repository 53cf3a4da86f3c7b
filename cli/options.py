"""Option decorators and parameter types that several commands share, so that a flag means and says the same everywhere.

    @click.command()
    @options.output("SONG.mid", "Where to write the MIDI file.")
    @options.overwrite
    @options.seed
    def command(output: Path | None, overwrite: bool, seed: int) -> None: ...

A default lives here once and is shown by `--help`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_SEED = 0
#: One below 2**63, so that a seed survives JSON, NumPy and torch alike.
MAX_SEED = 2**63 - 1

#: A path that the library checks itself, since its errors say more than click's would.
FILE = click.Path(path_type=Path)


class FiniteFloat(click.FloatRange):
    """A float within a range, and neither NaN nor infinite (which a plain `click.FloatRange` lets through)."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn an option's text into a float; a usage error names the value and the limit."""
        # The number is read before the range is asked, since NaN is inside any range.
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; give one such as 1.5", param, ctx)
        return float(super().convert(number, param, ctx))


def output(metavar: str, help_text: str, *, required: bool = False) -> Callable[[Decorated], Decorated]:
    """`-o/--output`, passed as `output: Path | None`; `metavar` is what `--help` shows, such as "SONG.mid"."""
    return click.option("-o", "--output", type=FILE, metavar=metavar, required=required, help=help_text)


def overwrite(function: Decorated) -> Decorated:
    """`--overwrite`, passed as `overwrite: bool`."""
    return click.option("--overwrite", is_flag=True, help="Replace files that exist already.")(function)


def seed(function: Decorated) -> Decorated:
    """`--seed N`, passed as `seed: int`; the same seed gives the same bytes."""
    return click.option(
        "--seed",
        type=click.IntRange(0, MAX_SEED),
        metavar="N",
        default=DEFAULT_SEED,
        show_default=True,
        help="Where chance begins: the same number gives the same music.",
    )(function)


def quiet(function: Decorated) -> Decorated:
    """`-q/--quiet`, passed as `quiet: bool`: no progress on standard error."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(function)


def duration(help_text: str, *, default: float | None = None) -> Callable[[Decorated], Decorated]:
    """`--duration SECONDS`, passed as `duration: float | None`; more than 0, at most a day."""
    return click.option(
        "--duration",
        type=FiniteFloat(min=0, min_open=True, max=86_400),
        metavar="SECONDS",
        default=default,
        show_default=default is not None,
        help=help_text,
    )


def model(function: Decorated) -> Decorated:
    """`--model DIR`, passed as `model: Path | None`; None is the model inside the package."""
    return click.option(
        "--model", type=FILE, metavar="DIR", help="The folder of another model than the one that ships with emsync."
    )(function)
