"""A loaded model, and what a record says about it."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from emsync import checkpoint, record
from emsync.control_curves import KINDS
from emsync.errors import InputError
from emsync.manner import drawn
from emsync.recipe import Recipe
from emsync.style import Style

if TYPE_CHECKING:
    from emsync.decoder import Decoder
    from emsync.mood import MoodCurve

Backend = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded model. Compose for as many films as you like with one, so that the model is loaded once."""

    decoder: Decoder
    model: dict[str, Any]
    """What a record says about the model (`record.model_record`), and about the style."""
    _styled: dict[tuple[str, float], Session] = field(default_factory=dict, repr=False)
    """The latest session that `styled` gave."""
    _plain: Session | None = field(default=None, repr=False)
    """The session without a style, of one with a style."""
    style: Style | None = field(default=None, repr=False)
    """The style that the model is in."""

    @classmethod
    def open(cls, model: str | os.PathLike[str] | None = None, backend: Backend = "auto") -> Session:
        """Load the model in a folder, or the embedded one. Raises `ModelError` if it cannot be used."""
        from emsync.decoder import open_decoder

        return cls(open_decoder(model, backend=backend), record.model_record(model))

    @classmethod
    def ready(cls, session: Session | None, recipe: Recipe | None) -> Session:
        """The session, or one with the embedded model. Raises `InputError` if it cannot do what the recipe asks for."""
        from emsync.candidates import candidates_of

        recipe = recipe or Recipe()
        session = (cls.open() if session is None else session).styled(recipe.style, recipe.style_strength)
        candidates_of(recipe, session.decoder)
        return session

    def styled(self, style: str, strength: float) -> Session:
        """The same model in a style (the folder of one, "" for none). Raises `ModelError` if it is of another model."""
        from emsync.decoder import open_decoder

        plain, asked = self._plain or self, (style, strength)
        if not style:
            return plain
        if asked not in plain._styled:
            backend: Any = plain.decoder.backend
            found = Style.read(style)
            decoder = open_decoder(plain.model["folder"], backend=backend, style=found, style_strength=strength)
            plain._styled.clear()
            model = plain.model | {"style_digest": found.digest}
            plain._styled[asked] = Session(decoder, model, _plain=plain, style=found)
        return plain._styled[asked]

    def in_manner(self, recipe: Recipe, mood: MoodCurve | None) -> Recipe:
        """The recipe with one of the style's pieces to be like, as `Recipe.style_manner` says (`manner.drawn`).

        A recipe that has a piece to be like already, or no style, stays as it is.
        """
        asked = recipe.style_manner == "on" and recipe.style_strength and recipe.like is None
        if self.style is None or not asked:
            return recipe
        return replace(recipe, like=drawn(self.style.examples, recipe.seed, None if mood is None else mood.mean))


def knows_mood(model: str | os.PathLike[str] | None) -> bool:
    """Whether a model was trained with mood, without loading it."""
    return bool(_config(model).get("knows_mood"))


def check_given(
    given: Collection[str], recipe: Recipe, model: str | os.PathLike[str] | None, *, suggests: bool = False
) -> None:
    """Refuse choices that would change nothing.

    - given: the fields of `recipe` that were given and differ from the defaults.
    - model: the folder of the model; None for the embedded one.
    - suggests: whether the reader of the film's mood suggests controls as well.

    Raises `InputError` for the strength of a style without a style, the strength of controls without controls,
    or the strength of lanes that the model does not have.
    """
    for name, about in (("style_strength", "how much of"), ("style_manner", "whether the manner of")):
        if name in given and not recipe.style:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} says {about} a style is added, and there is none; give --style, too")
    if "control_strength" in given and not (suggests or recipe.controlled):
        raise InputError(
            "--control-strength says how strictly controls are followed, and there are none; give --controls, "
            "--intensity or --density, too"
        )
    if "lane_strength" in given and set(KINDS).isdisjoint(_lanes(model)):
        raise InputError(
            "--lane-strength is for models that have lanes for controls, and this one has none; leave it out, or give "
            "--control-strength, which any model follows"
        )


def _lanes(model: str | os.PathLike[str] | None) -> tuple[str, ...]:
    lanes = _config(model).get("lanes")
    return tuple(lanes) if isinstance(lanes, list) else ()


def _config(model: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The configuration of a model, which is read without its weights."""
    config: dict[str, Any] = checkpoint.read_config(checkpoint.embedded_folder() if model is None else model)["model"]
    return config
