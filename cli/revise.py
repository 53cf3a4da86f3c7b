"""`emsync revise`: a part of a MIDI file, recomposed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync.cli import options
from emsync.cli.moods import given_mood_options, mood_source
from emsync.cli.progress import StageBar
from emsync.cli.say import say
from emsync.errors import InputError, printable
from emsync.recipe import OF_A_SONG
from emsync.table import seconds, shown

if TYPE_CHECKING:
    from emsync.mood_source import Mood
    from emsync.takes import Bars, Take, Times

_BARS = re.compile(r"\s*(\d{1,7})\s*(?:[-–]\s*(\d{1,7})\s*)?")
#: The most takes of one run.
MOST_TAKES = 100


@click.command()
@click.argument("song", type=options.FILE, metavar="SONG.mid")
@click.option("--bars", metavar="9-12", help="The bars to recompose, counted from 1; both are included.")
@click.option("--from", "from_s", metavar="TIME", help="Or the part's beginning: seconds, such as 12s, or MM:SS.")
@click.option("--to", "to_s", metavar="TIME", help="And its end.  [default: the end of the song]")
@click.option(
    "--tracks", metavar="NAMES", help="Only these tracks, such as strings,piano: names of tracks, or families."
)
@options.output("OUT.mid", "The file to write. [default: SONG-revised.mid]")
@click.option(
    "--takes", type=click.IntRange(1, MOST_TAKES), default=1, show_default=True, metavar="N",
    help="Write N versions, OUT-1.mid and so on, each with the next seed.",
)  # fmt: skip
@click.option(
    "--tries", type=click.IntRange(1, 32), default=4, show_default=True, metavar="N",
    help="Compose N continuations, and take the one that leads best to what follows.",
)  # fmt: skip
@click.option("--cuts", type=options.FILE, metavar="FILE", help="Cuts instead of the record's or the markers'.")
@options.counting
@options.changes
@options.record
@given_mood_options
@options.recipe_without(*OF_A_SONG, "palette", "candidates")
@options.model
@options.overwrite
@options.quiet
def command(
    song: Path, bars: str | None, from_s: str | None, to_s: str | None, tracks: str | None, output: Path | None,
    takes: int, tries: int, record: Path | None, model: Path | None, overwrite: bool, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Recompose a part of SONG.mid, and write the result as OUT.mid. Everything else in the file stays unchanged.

    The part is given in bars or in times. It is composed for the cuts, mood and form in SONG.mid.json, the record that
    emsync compose wrote. Without one, markers that begin with "Cut" are the cuts. The file may have been edited, or
    come from elsewhere: tempo, bars, other tracks and controllers stay.
    """
    from emsync import soundtrack
    from emsync import takes as making

    part = part_of(bars, from_s, to_s)
    cuts_file, mood_file = given["cuts"], given["mood"]
    places = take_places(output or song.with_name(f"{song.stem}-revised.mid"), takes)
    for place in places:
        soundtrack.places(place, overwrite=overwrite, inputs=(song, f"{song}.json", record, cuts_file, mood_file))
    cuts, mood, choices = brief_of(given, model)
    seed = choices.pop("seed", None)
    session = None if model is None else soundtrack.Session.open(model)
    names = names_of("--tracks", tracks)
    for number, place in enumerate(places):
        if number or seed is not None:
            choices["seed"] = (seed or 0) + number
        with StageBar(quiet) as bar:
            take = making.revise(
                song, part, tracks=names, cuts=cuts, mood=mood, from_record=record, session=session, tries=tries,
                choices=choices, progress=lambda share, bar=bar: bar("composing", share),  # type: ignore[misc]
            )  # fmt: skip
        if seed is None:
            seed = take.recipe.seed
        take.save(place, overwrite=overwrite)
        say(summary(take, place))


def part_of(bars: str | None, from_s: str | None, to_s: str | None) -> Bars | Times:
    """The part that the options give. Raises `InputError` if they give none, or two."""
    from emsync.takes import Bars, Times

    if (bars is None) == (from_s is None and to_s is None):
        raise InputError("give the part to revise: --bars, such as 9-12, or --from and --to, such as 12s and 20s")
    if bars is None:
        return Times(0.0 if from_s is None else _time("--from", from_s), None if to_s is None else _time("--to", to_s))
    found = _BARS.fullmatch(bars)
    if found is None:
        raise InputError(f"--bars {shown(bars)} is no range of bars; write for example 9-12, or 9")
    return Bars(int(found[1]), int(found[2] or found[1]))


def _time(flag: str, text: str) -> float:
    time_s = seconds(re.sub(r"\s*s$", "", text.strip()))
    if time_s is None:
        raise InputError(f"{flag} {shown(text)} is no time; write seconds, such as 12.5s, or MM:SS, such as 1:04.2")
    return time_s


def names_of(flag: str, text: str | None) -> list[str]:
    """The names that an option lists; none if it was not given."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise InputError(f"{flag} names nothing; give some, such as strings,piano, or leave it out")
    return names


def take_places(output: Path, takes: int) -> list[Path]:
    """Where each take goes."""
    if takes == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(1, takes + 1)]


def brief_of(given: dict[str, Any], model: Path | None) -> tuple[Any, Mood | None, dict[str, Any]]:
    """The cuts, the mood and the fields of the recipe that options give; None for what they do not give."""
    from emsync.cut_choice import CutChoice
    from emsync.session import knows_mood

    choices = options.choices_of(given)
    choice = CutChoice(given.pop("cuts"), **{name: given.pop(name) for name in ("counting", "start", "add", "drop")})
    moods = {name: given.pop(name) for name in ("valence", "arousal", "emotion", "mood")}
    source = mood_source(**moods, affect=None, has_video=False, knows_mood=knows_mood(model))
    return None if choice == CutChoice() else choice, source.mood, choices


def summary(take: Take, place: Path) -> str:
    """What was written, in two sentences."""
    tracks = printable(", ".join(take.tracks))
    text = (
        f"Wrote {place} and {place.name}.json: {take.n_added} notes for {take.n_removed} from {take.from_s:.2f} s to "
        f"{take.to_s:.2f} s ({tracks}; seed {take.recipe.seed})."
    )
    if take.hits:
        text += f" Chords on cuts there: {take.n_within_frame} of {len(take.hits)} within a frame."
    return text
