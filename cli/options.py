"""Option decorators and parameter types that several commands share, so that an option means the same everywhere.

    @click.command()
    @options.output("SONG.mid", "Where to write the MIDI file.")
    @options.overwrite
    @options.seed
    def command(output: Path | None, overwrite: bool, seed: int) -> None: ...

The composing options are generated from the fields of `emsync.recipe.Recipe`. A default lives in one place and is shown
by `--help`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from emsync.choice import Choice
from emsync.ducking import MUSIC_DB, RANGES, Ducking
from emsync.errors import InputError
from emsync.recipe import CHOICES, DEFAULT_BY_KIND, LONGEST_S, SHORTEST_S, Recipe
from emsync.timecode import Counting, parse_counting

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_SEED = Recipe.seed


class _File(click.Path):
    """A path that the library checks itself, since its errors say more than click's; but not an empty one.

    An empty name, as of a shell's variable that is not set, would be taken for the current folder.
    """

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Turn an argument into a `Path`; a usage error for an empty one."""
        if not os.fspath(value):
            self.fail("the name is empty; give that of a file or a folder, such as . for this one", param, ctx)
        return super().convert(value, param, ctx)


#: A file or a folder, as a `Path`.
FILE = _File(path_type=Path)


class FiniteFloat(click.FloatRange):
    """A float within a range that is neither NaN nor infinite (`click.FloatRange` accepts both)."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn an option's text into a float; a usage error names the value and the limit."""
        # Read the number before the range is checked: NaN is inside any range.
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; give one such as 1.5", param, ctx)
        return float(super().convert(number, param, ctx))


class FrameCounting(click.ParamType):
    """A frame rate, with `df` behind it for drop-frame."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Counting:
        """Turn an option's text into a way of counting; a usage error says what is wrong."""
        try:
            return value if isinstance(value, Counting) else parse_counting(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


def output(metavar: str, help_text: str, *, required: bool = False) -> Callable[[Decorated], Decorated]:
    """`-o/--output`, passed as `output: Path | None`; `metavar` is what `--help` shows, such as "SONG.mid"."""
    return click.option("-o", "--output", type=FILE, metavar=metavar, required=required, help=help_text)


def many(function: Decorated) -> Decorated:
    """What is for several films: `--jobs`, `--ray`, `--skip-existing` and `--shard`, passed by these names."""
    function = click.option("--shard", metavar="K/N", help="With several films: only every N-th, from the K-th on.")(
        function
    )
    function = click.option(
        "--skip-existing", is_flag=True, help="With several films: leave out those that are done already."
    )(function)
    function = click.option(
        "--ray",
        metavar="ADDRESS",
        help="With several films: score them on this Ray cluster, HOST:PORT or auto; local starts one on this machine.",
    )(function)
    return click.option(
        "--jobs",
        type=click.IntRange(1, 256),
        metavar="N",
        help="With several films: processes.  [default: 1; with --ray, one for each processor of the cluster]",
    )(function)


def model_to_fit(name: str) -> Callable[[Decorated], Decorated]:
    """`--model`, passed as `model: Path`: the folder that the file `name` is written into."""
    return click.option(
        "--model", type=FILE, metavar="DIR", required=True, help=f"The model's folder; {name} is written into it."
    )


def overwrite(function: Decorated) -> Decorated:
    """`--overwrite`, passed as `overwrite: bool`."""
    return click.option("--overwrite", is_flag=True, help="Replace files that exist already.")(function)


def seed(function: Decorated) -> Decorated:
    """`--seed N`, passed as `seed: int`; the same seed gives the same bytes."""
    return _of_choice("seed", CHOICES["seed"], default=DEFAULT_SEED)(function)


def seed_of(result: str) -> Callable[[Decorated], Decorated]:
    """`seed` for a command whose result is not music, such as "classifier"."""
    return _of_choice(
        "seed", replace(CHOICES["seed"], help=f"Random seed; the same seed gives the same {result}."), DEFAULT_SEED
    )


def recipe(function: Decorated) -> Decorated:
    """One option for every field of `Recipe` that has a flag, passed by the field's name; None if it was not given.

    `choices_of` reads them. Names, ranges, defaults and help texts are the fields' own.
    """
    return recipe_without()(function)


def recipe_without(*left_out: str) -> Callable[[Decorated], Decorated]:
    """The options of `recipe` without those of some fields; `choices_of` reads them."""

    def decorate(function: Decorated) -> Decorated:
        for name, choice in reversed(list(CHOICES.items())):
            if choice.flag is not None and name not in left_out:
                function = _of_choice(name, choice)(function)
        return function

    return decorate


def choices_of(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `recipe` out of `values`: the fields of `Recipe` that were given."""
    given = {name: values.pop(name, None) for name, choice in CHOICES.items() if choice.flag is not None}
    given = {name: value for name, value in given.items() if value is not None and value != ()}
    # A temperature or top-p that is given holds for every kind of event that has none of its own.
    general = "temperature" in given or "top_p" in given
    pairs = given.pop("by_kind", ())
    if general or pairs:
        given["by_kind"] = (dict(DEFAULT_BY_KIND) if not general else {}) | _kinds(pairs)
    if "controls" in given:
        from emsync.control_files import read_controls

        given["controls"] = read_controls(given["controls"])
    if "like" in given:
        from emsync import reference

        given["like"] = reference.read(given["like"])
    return given


def _kinds(pairs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """("TIMESHIFT=0.9,0.9", ...) -> {"TIMESHIFT": (0.9, 0.9), ...}"""
    out = {}
    for text in pairs:
        kind, _, numbers = text.partition("=")
        try:
            temperature, top_p = (float(x) for x in numbers.split(","))
        except ValueError:
            raise InputError(
                f"--sampling {text!r} is not KIND=TEMPERATURE,TOP_P; write for example TIMESHIFT=0.9,0.9"
            ) from None
        out[kind.upper()] = (temperature, top_p)
    return out


def _of_choice(name: str, choice: Choice, default: Any = None) -> Callable[[Decorated], Decorated]:
    """The option of a field of the recipe. `default` is what click passes if the option is not given."""
    assert choice.flag is not None
    shown = choice.default_text
    if shown is None:
        value = getattr(Recipe, name)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
    kind: Any = None  # any text
    if choice.choices == (False, True):
        # None where it is not given, as for all other options.
        return click.option(choice.flag, name, is_flag=True, default=default, flag_value=True, help=choice.help)
    if choice.choices:
        kind = click.Choice([str(word) for word in choice.choices])
    elif choice.whole:
        kind = click.IntRange(int(choice.low), int(choice.high))
    elif name in ("controls", "like"):
        kind = FILE
    elif name != "by_kind" and choice.text is None:
        kind = FiniteFloat(min=choice.low, min_open=choice.low_open, max=choice.high)
    return click.option(
        choice.flag, name, type=kind, metavar=choice.metavar, default=default, multiple=name == "by_kind",
        help=f"{choice.help}  [default: {shown}]",
    )  # fmt: skip


def quiet(function: Decorated) -> Decorated:
    """`-q/--quiet`, passed as `quiet: bool`: no progress on standard error."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(function)


def duration(
    help_text: str, *, default: float | None = None, longest_s: float = LONGEST_S
) -> Callable[[Decorated], Decorated]:
    """`--duration SECONDS`, passed as `duration: float | None`; at least `SHORTEST_S`, at most `longest_s`."""
    return click.option(
        "--duration",
        type=FiniteFloat(min=SHORTEST_S, max=longest_s),
        metavar="SECONDS",
        default=default,
        show_default=default is not None,
        help=help_text,
    )


def counting(function: Decorated) -> Decorated:
    """`--fps` and `--start`, passed as `counting: Counting | None` and `start: str | None`."""
    function = click.option(
        "--start",
        metavar="HH:MM:SS:FF",
        help="The timecode of the programme's first frame.  [default: the whole hour at or before the first timecode]",
    )(function)
    return click.option(
        "--fps",
        "counting",
        type=FrameCounting(),
        metavar="RATE",
        help="How timecodes of a cut list count frames: 25, 23.976, 30000/1001, 29.97df (drop-frame).",
    )(function)


def changes(function: Decorated) -> Decorated:
    """`--add-cut` and `--drop-cut`, passed as `add: tuple[str, ...]` and `drop: tuple[str, ...]`."""
    function = click.option(
        "--drop-cut", "drop", multiple=True, metavar="TIME", help="Leave out the cut at this time; may be repeated."
    )(function)
    return click.option(
        "--add-cut",
        "add",
        multiple=True,
        metavar="TIME",
        help="Add a cut that must have a chord: seconds, MM:SS.mmm or a timecode; may be repeated.",
    )(function)


def detection(function: Decorated) -> Decorated:
    """`--detector` and `--threshold`, passed as `detector: Detector` and `threshold: float | None`."""
    from emsync.video import DEFAULT_DETECTOR, DETECTORS

    function = click.option(
        "--threshold",
        type=FiniteFloat(min=0, min_open=True),
        metavar="T",
        help="The detector's sensitivity, lower finds more. Default: "
        + ", ".join(f"{default:g} for {name}" for name, (default, _) in DETECTORS.items())
        + ".",
    )(function)
    return click.option(
        "--detector",
        type=click.Choice(list(DETECTORS)),
        default=DEFAULT_DETECTOR,
        show_default=True,
        help="How cuts are found: local-ratio (our own), ffmpeg's scene filter, PySceneDetect's content or adaptive.",
    )(function)


def sound(function: Decorated) -> Decorated:
    """`--soundfont` and `--lufs`, passed as `soundfont: Path | None` and `loudness_lufs: float | None`."""
    function = click.option(
        "--lufs",
        "loudness_lufs",
        type=FiniteFloat(min=-70, max=0),
        metavar="LUFS",
        help="Reach this loudness, such as -16, as far as the peak stays below -3 dB.  [default: the peak at -3 dB]",
    )(function)
    return click.option(
        "--soundfont", type=FILE, metavar="FILE", help="The SoundFont, a file or the name of one that is installed."
    )(function)


def ducking(function: Decorated) -> Decorated:
    """`--keep-sound` and how music makes room for it; `ducking_of` turns them into what `mux` takes."""
    names = {
        "threshold_db": (
            "--duck-threshold",
            "DB",
            "Film sound above this level counts as speech, if no voice model is used.",
        ),
        "amount_db": ("--duck-amount", "DB", "How far the music is lowered under speech."),
        "attack_s": ("--duck-attack", "SECONDS", "Time constant of lowering the music."),
        "release_s": ("--duck-release", "SECONDS", "Time constant of raising it again."),
    }
    function = click.option(
        "--music-gain", "music_db", type=FiniteFloat(*MUSIC_DB), metavar="DB",
        help="Change the level of the music by this much.  [default: 0]",
    )(function)  # fmt: skip
    function = click.option(
        "--vad", "voice", type=FILE, metavar="FILE.onnx",
        help='The voice model (silero_vad.onnx) that finds speech, or "level".  [default: an installed one, or level]',
    )(function)  # fmt: skip
    for name, (flag, metavar, text) in reversed(names.items()):
        low, high, _ = RANGES[name]
        function = click.option(
            flag, name, type=FiniteFloat(low, high), metavar=metavar,
            help=f"{text}  [default: {getattr(Ducking, name):g}]",
        )(function)  # fmt: skip
    return click.option(
        "--keep-sound",
        is_flag=True,
        help="Keep the film's own sound; the music is mixed under it and ducked under speech.",
    )(function)


def ducking_of(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `ducking` out of `values`, as the arguments `under` and `music_db` of `mux.mux`.

    Raises `InputError` for options of ducking without `--keep-sound`.
    """
    keep, music_db = values.pop("keep_sound"), values.pop("music_db")
    given = {name: values.pop(name) for name in (*RANGES, "voice")}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not keep:
        raise InputError("--duck-* and --vad are for the film's own sound; give --keep-sound, too")
    if "voice" in given and str(given["voice"]) in ("auto", "level"):
        given["voice"] = str(given["voice"])
    return {"under": Ducking(**given) if keep else None, "music_db": music_db or 0.0}


def stems(function: Decorated) -> Decorated:
    """`--stems`, passed as `stems: bool`."""
    return click.option(
        "--stems", is_flag=True, help="Also write a file for each instrument; they sum to the mix. (.wav and .flac)"
    )(function)


def pictures(function: Decorated) -> Decorated:
    """`--plot` and `--html`, passed as `plot: Path | None` and `html: Path | None`."""
    function = click.option(
        "--html",
        type=FILE,
        metavar="PAGE.html",
        help="Also write a web page that works offline, as emsync page does: film, sound and notes.",
    )(function)
    return click.option(
        "--plot", type=FILE, metavar="PICTURE", help="Also draw the piece, as emsync plot does: .png or .svg."
    )(function)


def musicxml(function: Decorated) -> Decorated:
    """`--musicxml`, passed as `musicxml: Path | None`."""
    return click.option(
        "--musicxml", type=FILE, metavar="SCORE.musicxml", help="Also write a score for players, as emsync notate does."
    )(function)


def model(function: Decorated) -> Decorated:
    """`--model DIR`, passed as `model: Path | None`; None is the model inside the package."""
    return click.option(
        "--model", type=FILE, metavar="DIR", help="The folder of a model to use instead of the embedded one."
    )(function)


def record(function: Decorated) -> Decorated:
    """`--record SONG.mid.json`, passed as `record: Path | None`; None is the one beside the MIDI file, if any."""
    return click.option(
        "--record",
        type=FILE,
        metavar="SONG.mid.json",
        help="The record that emsync compose wrote. [default: the one beside SONG.mid, if there is one]",
    )(function)
