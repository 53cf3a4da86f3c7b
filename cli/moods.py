"""The options that give a piece its mood.

A mood is given (--valence, --arousal, --emotion, --mood), or read from the video (--affect, and by default), or absent.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from emsync.affect import DEFAULT_READER, EMOTIONS_READER, NO_READER
from emsync.cli import options
from emsync.emotions import MU_MAX, mixture_sample, shares_of_text
from emsync.errors import InputError
from emsync.mood import EMOTION_NAMES, MoodCurve, mixture_mean, read_curve
from emsync.mood_source import MoodSource, not_followed


def mood_options(function: options.Decorated) -> options.Decorated:
    """--valence, --arousal, --emotion, --mu-max, --draw-emotion, --mood and --affect; None if not given."""
    function = click.option(
        "--affect",
        metavar="SPEC",
        help="What reads the video's mood: builtin, builtin:pictures (not its sound), "
        "builtin:emotions (by way of the six emotions), clip, clip:MODEL, "
        f"vlm:HEAD_FOLDER, emotions:FOLDER, film:FOLDER, a curve's file, or {NO_READER} for no mood.  "
        f"[default: {DEFAULT_READER}]",
    )(function)
    function = click.option(
        "--draw-emotion",
        type=click.IntRange(min=0),
        metavar="SEED",
        help="With --emotion, or --affect by way of emotions: instead of the mean mood, draw an emotion by its "
        "share and a mood from its Gaussian, with this random seed.",
    )(function)
    function = click.option(
        "--mu-max",
        type=options.FiniteFloat(min=0, min_open=True, max=1),
        metavar="M",
        help=f"With --emotion, or --affect by way of emotions: how far from neutral the furthest emotion lies (μmax).  "
        f"[default: {MU_MAX:g}]",
    )(function)
    return given_mood_options(function)


def given_mood_options(function: options.Decorated) -> options.Decorated:
    """--valence, --arousal, --emotion and --mood, passed by these names; None if not given."""
    for option in reversed(
        [
            click.option(
                "--valence",
                type=options.FiniteFloat(min=-1, max=1),
                metavar="V",
                help="Mood of the whole piece, from -1 (sad) to 1 (happy).",
            ),
            click.option(
                "--arousal",
                type=options.FiniteFloat(min=-1, max=1),
                metavar="A",
                help="Mood of the whole piece, from -1 (calm) to 1 (excited).",
            ),
            click.option(
                "--emotion",
                metavar="NAME",
                help=f"Mood of the whole piece by name: {', '.join(EMOTION_NAMES)}; or shares that add up to one, "
                "such as joy=0.7,surprise=0.3.",
            ),
            click.option(
                "--mood",
                type=options.FILE,
                metavar="FILE.csv|.json",
                help="Mood over time: times in seconds, valence, arousal. The first and last values are held.",
            ),
        ]
    ):
        function = option(function)
    return function


def mood_source(
    valence: float | None, arousal: float | None, emotion: str | None, mood: Path | None, affect: str | None,
    *, has_video: bool, knows_mood: bool, described: MoodSource | None = None, mu_max: float | None = None,
    draw_emotion: int | None = None,
) -> MoodSource:  # fmt: skip
    """Where the mood comes from, by the options.

    If no option is given, the mood of `described` holds. If the model does not know mood either, the mood is left
    out, and a note says so.
    Raises `InputError` if the options contradict one another or cannot be used, `ModelError` if a mood is given and the
    model knows none.
    """
    named = {"--valence": valence, "--arousal": arousal, "--emotion": emotion, "--mood": mood, "--affect": affect}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1 and given != ["--valence", "--arousal"]:
        raise InputError(f"{' and '.join(given)} each say what the mood is; give one of them")
    by_emotions = emotion is not None or (affect or "").startswith((EMOTIONS_READER, "emotions:"))
    if not by_emotions and (mu_max is not None or draw_emotion is not None):
        raise InputError(
            f"--mu-max and --draw-emotion are about emotions; give --emotion, or --affect {EMOTIONS_READER} or "
            "emotions:FOLDER, too"
        )
    if affect is not None and not has_video:
        raise InputError("--affect reads a video's mood, and there is no video; give one, or --mood, or --emotion")
    if not given and described is not None and knows_mood:
        return described
    if affect == NO_READER or (not given and not has_video):
        return MoodSource()
    if not knows_mood:
        if given:
            raise not_followed(" and ".join(given))
        return MoodSource(note="Mood: not followed, since this model was trained without mood.")
    if valence is not None or arousal is not None:
        source = " ".join(f"{name} {named[name]}" for name in given)
        return MoodSource.given(MoodCurve.constant(valence, arousal), source)
    if emotion is not None:
        curve = of_emotions(emotion, MU_MAX if mu_max is None else mu_max, draw_emotion)
        return MoodSource.given(curve, f"--emotion {emotion}", emotion)
    if mood is not None:
        return MoodSource.given(read_curve(mood), f"--mood {mood}", f"from {mood}")
    reading = MoodSource.reading(DEFAULT_READER if affect is None else affect)
    by = getattr(reading.reader, "by", None)
    return replace(reading, reader=by(mu_max or MU_MAX, draw_emotion)) if by_emotions and by is not None else reading


def of_emotions(text: str, mu_max: float = MU_MAX, seed: int | None = None) -> MoodCurve:
    """The mood of one emotion ("joy") or of a mixture ("joy=0.7,surprise=0.3"), throughout.

    seed: draws it from the mixture's Gaussians; None takes the mean.
    """
    shares = shares_of_text(text)
    if seed is None:
        return MoodCurve.constant(*mixture_mean(shares, mu_max=mu_max).tolist())
    return MoodCurve.constant(*mixture_sample(shares, np.random.default_rng(seed), mu_max=mu_max).tolist())
