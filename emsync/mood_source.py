"""Where a piece's mood comes from: given as numbers, a name or a curve, read from the film, or nowhere.

MoodSource.given(MoodCurve.of_emotion("joy"), "--emotion joy", "joy")
MoodSource.reading("builtin")       # what reads the film
MoodSource()                        # no mood
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emsync import affect
from emsync.affect import DEFAULT_READER, AffectReader, BuiltinReader
from emsync.conditions import Conditions, FloatArray
from emsync.control_curves import ControlCurves
from emsync.errors import ModelError
from emsync.mood import MoodCurve, nearest_emotion
from emsync.recipe import Recipe

if TYPE_CHECKING:
    from emsync.video import Scene

#: Moods are clipped to this level: hardly any training music is labelled further out (docs/mood.md).
FURTHEST_LEVEL: Final = 0.95


def mean_mood(mood: MoodCurve, duration_s: float) -> tuple[float, float]:
    """Mean valence and arousal of `mood` over 0 to `duration_s`, its ends held; NaN where nothing is given."""
    inside = mood.times_s[(mood.times_s > 0) & (mood.times_s < duration_s)]
    valence, arousal = mood.resampled(np.concatenate([[0.0], inside, [duration_s]])).mean
    return float(np.clip(valence, -1, 1)), float(np.clip(arousal, -1, 1))  # rounding may reach past the edge


def not_followed(what: str) -> ModelError:
    """The error for `what` (a mood, or the option that gives one) with a model that was trained without mood."""
    return ModelError(
        f"this model was trained without mood, so {what} cannot be followed; leave it out, "
        "or give --model one that knows mood"
    )


def conditions_of(
    boundaries_s: npt.ArrayLike, duration_s: float, mood: MoodCurve | None, *, knows_mood: bool
) -> Conditions:
    """What a piece of `duration_s` seconds is conditioned on: chords at `boundaries_s` (B,), and a mood.

    Its levels are clipped to `FURTHEST_LEVEL`. Raises `ModelError` if one is given and the model knows none,
    `InputError` if it does not fit the piece.
    """
    boundaries = np.asarray(boundaries_s, dtype=np.float64)
    if mood is None or not mood.conditions:
        return Conditions(boundaries, duration_s, piece_valence=math.nan, piece_arousal=math.nan)
    if not knows_mood:
        raise not_followed("a mood")
    given = mood.check_fits(duration_s).conditions
    curves = {name: (t, np.clip(level, -FURTHEST_LEVEL, FURTHEST_LEVEL)) for name, (t, level) in given.items()}
    valence, arousal = mean_mood(mood, duration_s)
    return Conditions(boundaries, duration_s, curves.get("valence"), curves.get("arousal"), valence, arousal)


def means_of(conditions: Conditions) -> tuple[float, float]:
    """The valence and arousal of the whole piece; NaN where they are not given."""
    valence, arousal = conditions.piece_valence, conditions.piece_arousal
    return math.nan if valence is None else valence, math.nan if arousal is None else arousal


def curves_of(conditions: Conditions) -> dict[str, tuple[FloatArray, FloatArray]]:
    """The valence and arousal of conditions that change over time: (times_s, levels) by their names."""
    both = {"valence": conditions.valence, "arousal": conditions.arousal}
    return {name: curve for name, curve in both.items() if isinstance(curve, tuple)}


@dataclass(frozen=True)
class Mood:
    """A mood and where it comes from: `source` for the record, `how` in words for the user."""

    curve: MoodCurve
    source: str
    how: str
    controls: ControlCurves = field(default_factory=lambda: ControlCurves({}))
    """What its reader suggests besides: intensity and density of a film encoder."""

    def summary(self, duration_s: float, strength: float) -> str:
        """One line: the mean over `duration_s`, and the emotion nearest to it."""
        levels = dict(zip(("valence", "arousal"), mean_mood(self.curve, duration_s), strict=True))
        given = {name: level for name, level in levels.items() if not math.isnan(level)}
        if not given:
            return f"Mood: {self.how}: none was found."
        # Adding zero turns -0.0 into 0.0.
        text = ", ".join(f"{name} {round(level, 2) + 0.0:.2f}" for name, level in given.items()).replace("-", "−")
        text += " on average" if len(self.curve) > 1 else ""
        text += f", nearest {nearest_emotion(given['valence'], given['arousal'])}" if len(given) == 2 else ""
        return f"Mood: {self.how}: {text}." + ("" if strength else " At strength 0 it has no effect.")


def with_suggested(recipe: Recipe | None, mood: Mood | None) -> Recipe | None:
    """The recipe with the controls that come with a mood, as far as it does not say what they are itself."""
    if mood is None or not len(mood.controls):
        return recipe
    recipe = recipe or Recipe()
    given = {} if recipe.controls is None else recipe.controls.by_name
    suggested = {
        name: mood.controls[name] for name in mood.controls
        if name not in given and recipe.described.level(name, getattr(recipe, name)) == "none"
    }  # fmt: skip
    return replace(recipe, controls=ControlCurves({**given, **suggested}))


@dataclass(frozen=True)
class MoodSource:
    """A mood, or a reader of the film's mood, or neither; `note` is the message to the user if there is neither."""

    mood: Mood | None = None
    reader: AffectReader | None = None
    note: str | None = None

    @classmethod
    def given(cls, curve: MoodCurve, source: str = "given", how: str = "as given") -> MoodSource:
        """The mood of `curve`."""
        return cls(Mood(curve, source, how))

    @classmethod
    def reading(cls, spec: str = DEFAULT_READER) -> MoodSource:
        """The film's own mood, read by `spec` (see `affect.open_reader`)."""
        return cls(reader=affect.open_reader(spec))

    @classmethod
    def described(cls, recipe: Recipe) -> MoodSource | None:
        """The mood that `Recipe.describe` names; None if it names none."""
        mood = recipe.described.mood
        how = f"as described ({recipe.describe})"
        return None if mood is None else cls.given(MoodCurve.constant(*mood), "--describe", how)

    @classmethod
    def default(cls, recipe: Recipe | None, knows_mood: bool) -> MoodSource:
        """The mood that is described, else the film's own; none if the model knows no mood."""
        if not knows_mood:
            return cls()
        return (None if recipe is None else cls.described(recipe)) or cls.reading()

    def read(self, video: Path | None, scene: Scene | None, progress: Callable[[float], None]) -> Mood | None:
        """The given mood; else, if there is a reader and a film, the film's."""
        if self.reader is None or video is None or scene is None:
            return self.mood
        name = self.reader.name
        suggest = getattr(self.reader, "suggest", None)
        if suggest is not None:
            curve, controls = suggest(video, scene, progress=progress)
            return Mood(curve, name, f"read by {name}, with intensity and density", controls)
        curve = self.reader.read(video, scene, progress=progress)
        if not isinstance(self.reader, BuiltinReader):
            return Mood(curve, name, f"read by {name}")
        seen = "the pictures and sound" if scene.has_audio and self.reader.hears else "the pictures"
        return Mood(curve, name, f"read from {seen} ({name})")
