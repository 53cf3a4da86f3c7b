"""The options that give a piece its mood, and what becomes of them.

A mood is given (--valence, --arousal, --emotion, --mood), or read from the video (--affect, and by default), or absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emsync.affect import DEFAULT_READER, NO_READER, AffectReader, open_reader
from emsync.cli import options
from emsync.errors import InputError
from emsync.mood import EMOTION_NAMES, MoodCurve, mixture_mean, nearest_emotion, read_curve
from emsync.soundtrack import DEFAULT_MOOD_STRENGTH, mean_mood, unheard

if TYPE_CHECKING:
    from emsync.video import Scene


def mood_options(function: options.Decorated) -> options.Decorated:
    """All of them, passed as valence, arousal, emotion, mood, affect (None where not given) and mood_strength."""
    for option in reversed(
        [
            click.option(
                "--valence",
                type=options.FiniteFloat(min=-1, max=1),
                metavar="V",
                help="Mood throughout, from -1 (sad) to 1 (happy).",
            ),
            click.option(
                "--arousal",
                type=options.FiniteFloat(min=-1, max=1),
                metavar="A",
                help="Mood throughout, from -1 (calm) to 1 (excited).",
            ),
            click.option(
                "--emotion",
                metavar="NAME",
                help=f"Mood throughout, by name: {', '.join(EMOTION_NAMES)}; or shares of several that sum to one, "
                "such as joy=0.7,surprise=0.3.",
            ),
            click.option(
                "--mood",
                type=options.FILE,
                metavar="FILE.csv|.json",
                help="Mood over time: times in seconds, valence, arousal; its ends are held.",
            ),
            click.option(
                "--affect",
                metavar="SPEC",
                help="What reads the video's mood: builtin, clip, clip:MODEL, vlm:HEAD_FOLDER, a curve's file, or "
                f"{NO_READER} for no mood.  [default: {DEFAULT_READER}]",
            ),
            click.option(
                "--mood-strength",
                type=options.FiniteFloat(min=0, max=10),
                metavar="S",
                default=DEFAULT_MOOD_STRENGTH,
                show_default=True,
                help="How strongly a mood is followed: 1 as the model learned it, more to exaggerate, 0 not at all.",
            ),
        ]
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class Felt:
    """A mood and where it comes from: `source` for the record, `how` for the one who asked."""

    curve: MoodCurve
    source: str
    how: str

    def told(self, duration_s: float, strength: float) -> str:
        """One line on it: its average over `duration_s`, and the emotion nearest to that."""
        levels = dict(zip(("valence", "arousal"), mean_mood(self.curve, duration_s), strict=True))
        given = {name: level for name, level in levels.items() if not math.isnan(level)}
        if not given:
            return f"Mood: {self.how}: none was found."
        # Adding zero makes a minus of nothing a plus.
        text = ", ".join(f"{name} {round(level, 2) + 0.0:.2f}" for name, level in given.items()).replace("-", "−")
        text += " on average" if len(self.curve) > 1 else ""
        text += f", nearest {nearest_emotion(given['valence'], given['arousal'])}" if len(given) == 2 else ""
        return f"Mood: {self.how}: {text}." + ("" if strength else " At strength 0 it is not heard.")


@dataclass(frozen=True)
class Wish:
    """What the options say: a mood, or a reader of the video's, or neither; `note` is what to say of neither."""

    mood: Felt | None = None
    reader: AffectReader | None = None
    note: str | None = None

    def read(self, video: Path | None, scene: Scene | None, progress: Callable[[float], None]) -> Felt | None:
        """The mood given; else, where there is a reader, the video's."""
        if self.reader is None:
            return self.mood
        assert video is not None, "readers are opened for a video only"
        assert scene is not None
        curve = self.reader.read(video, scene, progress=progress)
        name = self.reader.name
        seen = "the pictures and sound" if scene.has_audio else "the pictures"
        return Felt(curve, name, f"read from {seen} ({name})" if name == DEFAULT_READER else f"read by {name}")


def wished(
    valence: float | None, arousal: float | None, emotion: str | None, mood: Path | None, affect: str | None,
    *, has_video: bool, knows_mood: bool,
) -> Wish:  # fmt: skip
    """What the options ask for. Raises `InputError` where they contradict or make no sense, `ModelError` where the
    model knows no mood; a mood that is only read by default is then left out, and the note says so.
    """
    named = {"--valence": valence, "--arousal": arousal, "--emotion": emotion, "--mood": mood, "--affect": affect}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1 and given != ["--valence", "--arousal"]:
        raise InputError(f"{' and '.join(given)} each say what the mood is; give one of them")
    if affect is not None and not has_video:
        raise InputError("--affect reads a video's mood, and there is no video; give one, or --mood, or --emotion")
    if affect == NO_READER or (not given and not has_video):
        return Wish()
    if not knows_mood:
        if given:
            raise unheard(" and ".join(given))
        return Wish(note="Mood: not followed, since this model was trained without mood.")
    if valence is not None or arousal is not None:
        source = " ".join(f"{name} {named[name]}" for name in given)
        return Wish(Felt(MoodCurve.constant(valence, arousal), source, "as given"))
    if emotion is not None:
        return Wish(Felt(of_emotions(emotion), f"--emotion {emotion}", emotion))
    if mood is not None:
        return Wish(Felt(read_curve(mood), f"--mood {mood}", f"from {mood}"))
    return Wish(reader=open_reader(DEFAULT_READER if affect is None else affect))


def of_emotions(text: str) -> MoodCurve:
    """The mood of one emotion ("joy") or of a mixture ("joy=0.7,surprise=0.3"), throughout."""
    if "=" not in text:
        return MoodCurve.of_emotion(text)
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (word.strip().lower() for word in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            raise InputError(
                f"--emotion: {part.strip()!r} is not NAME=SHARE; write for example joy=0.7,surprise=0.3"
            ) from None
        if name in shares:
            raise InputError(f"--emotion gives {name!r} twice; give each emotion once")
        shares[name] = share
    return MoodCurve.constant(*mixture_mean(shares).tolist())
