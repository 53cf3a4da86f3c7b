"""A loaded model, and what a record says about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from emsync import checkpoint, record
from emsync.recipe import Recipe

if TYPE_CHECKING:
    from emsync.decoder import Decoder

Backend = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded model. Compose for as many films as you like with one, so that the model is loaded once."""

    decoder: Decoder
    model: dict[str, Any]
    """What a record says about the model (`record.model_record`)."""

    @classmethod
    def open(cls, model: str | os.PathLike[str] | None = None, backend: Backend = "auto") -> Session:
        """Load the model in a folder, or the embedded one. Raises `ModelError` if it cannot be used."""
        from emsync.decoder import open_decoder

        return cls(open_decoder(model, backend=backend), record.model_record(model))

    @classmethod
    def ready(cls, session: Session | None, recipe: Recipe | None) -> Session:
        """The session, or one with the embedded model. Raises `InputError` if it cannot do what the recipe asks for."""
        from emsync.candidates import candidates_of

        session = cls.open() if session is None else session
        candidates_of(recipe or Recipe(), session.decoder)
        return session


def knows_mood(model: str | os.PathLike[str] | None) -> bool:
    """Whether a model was trained with mood, without loading it."""
    folder = checkpoint.embedded_folder() if model is None else model
    return bool(checkpoint.read_config(folder)["model"].get("knows_mood"))
