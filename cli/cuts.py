"""`emsync cuts`: a cut list from one format to another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.cut_choice import CutChoice
from emsync.cutfiles.programme import WRITERS, Programme, writer_for
from emsync.errors import printable
from emsync.files import check_writable, write_bytes
from emsync.timecode import Counting

#: How frames are counted where neither the list nor the user says it, as in lists of seconds.
DEFAULT_RATE = Fraction(25)
#: The last shot lasts so long where nobody knows the programme's length.
_LAST_SHOT_S = 1.0


@click.command()
@click.argument("source", type=options.FILE, metavar="LIST")
@options.output(
    "OUT", "The list to write, by its ending: .csv, .edl, .otio, .fcpxml, .txt (Audacity), .json.", required=True
)
@click.option(
    "--format",
    "name",
    type=click.Choice(list(WRITERS)),
    help="The format, where the ending does not say it: reaper writes REAPER's markers as .csv.",
)
@options.counting
@options.changes
@options.duration("The programme's length, if the list does not say it: the end of the last shot.", longest_s=86400)
@options.overwrite
def command(
    source: Path, output: Path, name: str | None, counting: Counting | None, start: str | None, add: tuple[str, ...],
    drop: tuple[str, ...], duration: float | None, overwrite: bool,
) -> None:  # fmt: skip
    """Convert LIST, a cut list of any format that emsync compose reads, to another format.

    --fps and --start say how timecodes are counted where LIST does not say it, and in what is written. Without a
    length, the last shot lasts a second.
    """
    check_writable(output, overwrite=overwrite, inputs=(source,))
    writer = writer_for(output, name)
    listed = CutChoice(source, counting, start, add, drop).cuts(duration_s=duration)
    count = counting or listed.counting or Counting(DEFAULT_RATE)
    last_s = float(listed.cuts_s[-1]) if len(listed.cuts_s) else 0.0
    programme = Programme(
        source.stem, listed.cuts_s.tolist(), duration or max(listed.duration_s or 0.0, last_s + _LAST_SHOT_S), count,
        start, listed.weights, listed.names,
    )  # fmt: skip
    write_bytes(output, writer.write(programme).encode(), overwrite=overwrite)
    say(printable(f"Read {source}: {listed.summary}. Wrote {output}, {count}."))
