"""The options of `emsync produce` and of `emsync compose --produce`, and what they say of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync.anchor import given as given_anchor
from emsync.chroma import LEAD, MELODIES
from emsync.cli import options
from emsync.errors import InputError, printable
from emsync.extras import ACE_STEP, MUSICGEN, RENDER
from emsync.produce_sound import ON_CUT_S

if TYPE_CHECKING:
    from emsync.backends import Backend
    from emsync.produce import Production, Progress

#: What each option of `produced` is called in its dataclass.
_NAMES = {
    "anchor": "--anchor",
    "text": "--text",
    "melody": "--melody-from",
    "hits_db": "--hits-mix",
    "adapter": "--adapter",
}


def produced(function: options.Decorated) -> options.Decorated:
    """`--text`, `--melody-from`, `--hits-mix`, `--anchor` and `--adapter`, passed as the fields of `Producing`."""
    for option in reversed(
        [
            click.option("--text", metavar="TEXT", help="What the recording sounds like, in a sentence or two."),
            click.option(
                "--melody-from", "melody", type=click.Choice(MELODIES), default=None,
                help=f"Which notes are the melody: the top line, all pitched notes, or a family.  [default: {LEAD}]",
            ),
            click.option(
                "--hits-mix", "hits_db", type=options.FiniteFloat(-60, 12), metavar="DB",
                help="Mix in the chords at the cuts, rendered by FluidSynth, at this level against the recording.",
            ),
            click.option(
                "--anchor", type=options.FILE, metavar="FILE.json",
                help="What the whole piece sounds like: genre, instruments, atmosphere, pacing. An edited "
                "record of a recording works, too.  [default: from the score]",
            ),
            click.option(
                "--adapter", type=options.FILE, metavar="DIR",
                help="A mood adapter for the model, made by emsync train-adapter.",
            ),
        ]
    ):  # fmt: skip
        function = option(function)
    return function


@dataclass(frozen=True)
class Producing:
    """How a recording is made; the arguments of `produce.produce`."""

    model: str
    text: str | None = None
    melody: str = LEAD
    hits_db: float | None = None
    adapter: Path | None = None
    anchor: Path | None = None

    @classmethod
    def taken(cls, values: dict[str, Any], model: str | None, *, wanted: bool = True) -> Producing | None:
        """Take the options of `produced` out of `values`. Raises `InputError` if they are given but not `wanted`."""
        from emsync.backends import DEFAULT_MODEL

        given = {name: values.pop(name) for name in _NAMES}
        given = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            flags = [_NAMES[name] for name in given if name != "anchor"] + (["--producer"] if model is not None else [])
            if flags:
                raise InputError(f"{flags[0]} is for a recording by a music model; give --produce, too")
            return None
        return cls(model or DEFAULT_MODEL, **given)

    @property
    def needs(self) -> list[tuple[str, ...]]:
        """What the model needs, and what mixes in the chords (`extras.need`)."""
        from emsync.backends import ACE_STEP as OF_ACE_STEP

        model = ACE_STEP if self.model.startswith(f"{OF_ACE_STEP}:") else MUSICGEN
        return [model] if self.hits_db is None else [model, RENDER]

    @cached_property
    def backend(self) -> Backend:
        """The loaded model."""
        from emsync.produce import open_backend

        return open_backend(self.model, adapter=self.adapter)

    def check(self, soundfont: Path | None) -> None:
        """Raise an `EmsyncError` for what would fail in the end, or change nothing."""
        from emsync import soundfonts
        from emsync.backends import ACE_STEP as OF_ACE_STEP
        from emsync.backends import check_text

        if soundfont is not None and self.hits_db is None and not self.model.startswith(f"{OF_ACE_STEP}:"):
            raise InputError("--soundfont plays the chords of --hits-mix; give --hits-mix, too, or leave it out")
        if soundfont is not None or self.hits_db is not None:
            soundfonts.find(soundfont)
        check_text(self.text or "")
        if self.anchor is not None and self.text is not None:
            raise InputError("--text and --anchor each say what it sounds like; give one of them")
        given_anchor(self.anchor)
        _ = self.backend

    def run(self, song: Path, output: Path, *, progress: Progress | None, **rest: Any) -> Production:
        """Make the recording; `rest` are further arguments of `produce.produce`."""
        from emsync.produce import produce

        return produce(
            song, output, backend=self.backend, text=self.text, anchor=given_anchor(self.anchor),
            melody=self.melody, hits_db=self.hits_db,
            progress=progress, **rest,
        )  # fmt: skip


def report(made: Production) -> str:
    """What was made, and how it meets the cuts."""
    windows = f"{made.n_windows} window{'s' if made.n_windows != 1 else ''}"
    found = f", {made.n_found} of them from before" if made.n_found else ""
    lines = [
        f"Produced {made.path}: {made.duration_s:.2f} s at {made.rate_hz} Hz, {windows}{found}, by {made.backend}."
    ]
    if made.anchor is not None:
        lines.append(f"Anchor: {made.anchor.text}.")
    if made.onsets is not None:
        on = made.onsets
        lines.append(
            f"Onsets on cuts: {on.n_on_cut} of {len(on.hits)} within {1000 * ON_CUT_S:.0f} ms "
            f"({on.n_onsets} in all; {on.by_chance * len(on.hits):.1f} cuts would be met by chance)."
        )
        if made.hits_db is None and on.n_on_cut < len(on.hits):
            lines.append("Give --hits-mix -6 to mix in the chords at the cuts.")
    elif made.hits_db is not None:
        lines.append("There are no cuts, so --hits-mix mixed in nothing; --record names the record that has them.")
    return "\n".join(map(printable, lines))
