"""The record: SONG.mid.json, which is beside SONG.mid and is enough to write the same bytes again.

It holds the versions, the model's hash, the recipe (as "settings"), the cuts and how each was met, and the mood.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from emsync import __version__, checkpoint, critic, mixture
from emsync import vocabulary as v
from emsync.cutfiles.cut import Weight
from emsync.cutlist import parse_frame_rate
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import check_writable, is_cut_short, read_json
from emsync.mood import MoodCurve
from emsync.recipe import Recipe
from emsync.style import digest_of_style
from emsync.theme import Theme

FORMAT: Final = 1
#: A record of three hours with a cut a second has 2 MB.
MAX_BYTES: Final = 64 << 20
_REMEDY: Final = "give the .mid.json that emsync compose wrote"


def places(
    path: str | os.PathLike[str], *, overwrite: bool, inputs: Iterable[str | os.PathLike[str] | None] = ()
) -> tuple[Path, Path]:
    """Where a piece saved as `path` goes: the song and its record, both checked. Raises `OutputError`.

    Files of a pair that a killed process left incomplete may be replaced.
    """
    song = Path(path)
    if not song.name:
        raise OutputError(f"{os.fspath(path)!r} is no name of a file; give one such as song.mid")
    beside = song.with_name(song.name + ".json")
    again = overwrite or is_cut_short(song)
    for place in (song, beside):
        check_writable(place, overwrite=again, inputs=inputs)
    return song, beside


def model_record(folder: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What a record says about the model: its folder (None for the embedded one), and the hashes of its weights, its
    mixture and its critic (None without one), and its vocabulary.
    """
    path = checkpoint.embedded_folder() if folder is None else Path(folder)
    checkpoint.read_config(path)
    return {
        "folder": None if folder is None else str(path),
        "weights_sha256": checkpoint.weights_hash(path),
        "copying_sha256": mixture.file_hash(path),
        "critic_sha256": critic.file_hash(path),
        "vocabulary": v.HASH,
    }


@dataclass(frozen=True)
class Record:
    """What is needed of a record to compose the piece again."""

    duration_s: float
    frame_rate: Fraction
    cuts_s: tuple[float, ...]
    recipe: Recipe
    model_folder: str | None
    weights_sha256: str
    copying_sha256: str | None
    backend: str
    video: str | None
    mood: MoodCurve | None = None
    mood_source: str | None = None
    theme: Theme | None = None
    path: str = ""
    """The file it was read from."""
    weights: tuple[Weight, ...] = ()
    """Which cuts must have a chord and which may, if any says so."""
    revised: tuple[Mapping[str, Any], ...] = ()
    """How the song was changed since it was composed, if it was: it cannot be composed again from its record."""
    critic_sha256: str | None = None
    n_boundaries: int = 0
    """How many cuts a chord was asked for."""
    n_met: int = 0
    """How many of them have one within a frame."""
    style_digest: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Record:
        """Read a record. Raises `InputError` for anything else, naming what is wrong."""
        data = read_json(path, MAX_BYTES, "record", _REMEDY)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"{path} is not a record of format {FORMAT}; {_REMEDY}")
        try:
            return cls._of(data, str(path))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} lacks or garbles a value ({error!r}); {_REMEDY}") from error

    @classmethod
    def _of(cls, data: Mapping[str, Any], path: str) -> Record:
        recipe = Recipe.from_dict(data["settings"])
        folder, video = data["model"]["folder"], data.get("video")
        curve = data.get("mood")  # records of versions without mood have none
        mood = None if curve is None else MoodCurve(curve["times_s"], curve["valence"], curve["arousal"])
        source = None if curve is None else curve["source"]
        if not all(name is None or isinstance(name, str) for name in (folder, video, source)):
            raise TypeError("a name is not text")
        cuts_s = tuple(float(cut_s) for cut_s in data["cuts_s"])
        weights = tuple(data.get("weights", ()))
        if weights and (len(weights) != len(cuts_s) or any(each not in ("", "must", "may") for each in weights)):
            raise ValueError("weights do not fit the cuts")
        revised = tuple(data.get("revised", ()))
        if not all(isinstance(each, dict) for each in revised):
            raise TypeError("what was revised is not listed")
        boundaries_s, met = data.get("boundaries_s", ()), data.get("met", 0)
        if not isinstance(boundaries_s, list | tuple) or not isinstance(met, int) or not 0 <= met <= len(boundaries_s):
            raise ValueError("the number of cuts that are met does not fit its boundaries")
        return cls(
            float(data["duration_s"]), parse_frame_rate(data["frame_rate"]),
            cuts_s, recipe,
            folder, str(data["model"]["weights_sha256"]), data["model"].get("copying_sha256"), str(data["backend"]),
            video, mood, source, None if data.get("theme") is None else Theme.from_dict(data["theme"]), path,
            weights, revised, data["model"].get("critic_sha256"), len(boundaries_s), met,
            data["model"].get("style_digest"),
        )  # fmt: skip

    def check_model(self, folder: str | os.PathLike[str] | None) -> None:
        """Raise `ModelError` if the model is not the one that the record was made with."""
        model = model_record(folder)
        found = model["weights_sha256"]
        if found != self.weights_sha256:
            raise ModelError(
                f"the record was made with a model whose weights hash to {self.weights_sha256[:12]}, "
                f"this one's to {found[:12]}; give the right one with --model"
            )
        if digest_of_style(self.recipe.style) != self.style_digest:
            raise ModelError(
                f"the record was made with another style than the one that is now in {self.recipe.style}; "
                "put that one back, or train it again with the same seed"
            )
        for name, made, here, counts in (
            (mixture.COPYING, self.copying_sha256, model["copying_sha256"], self.recipe.copying > 0),
            (critic.CRITIC, self.critic_sha256, model["critic_sha256"], self.recipe.candidates > 1),
        ):
            if counts and made != here:
                raise ModelError(
                    f"the record was made with {_file(name, made)}, this model has {_file(name, here)}; "
                    "give the right one with --model"
                )


def _file(name: str, digest: str | None) -> str:
    return f"no {name}" if digest is None else f"a {name} that hashes to {digest[:12]}"


def to_dict(
    *, recipe: Recipe, model: Mapping[str, Any], backend: str, video: str | None, duration_s: float,
    frame_rate: Fraction, mood: MoodCurve | None, mood_source: str | None, theme: Mapping[str, Any] | None = None,
    found: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A record as plain values for JSON. found: what became of the piece: cuts, boundaries, hits, notes, events."""
    found = dict(found)
    cuts_s = found.pop("cuts_s")
    return {
        "format": FORMAT, "emsync": __version__, "model": dict(model), "backend": backend, "video": video,
        "duration_s": duration_s, "frame_rate": f"{frame_rate.numerator}/{frame_rate.denominator}",
        "cuts_s": cuts_s, "seed": recipe.seed, "settings": recipe.to_dict(),
        "mood": None if mood is None else mood.as_json() | {"source": mood_source},
        "theme": None if theme is None else dict(theme),
        **found,
    }  # fmt: skip
