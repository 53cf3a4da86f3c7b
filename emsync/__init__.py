"""emsync: a video in, an editable multi-track MIDI score out.

    import emsync
    emsync.compose("film.mp4", seed=7).save("film.mid")
    score = emsync.midi.read("film.mid")

Names and modules are imported when they are first used, so that `import emsync` costs nothing and needs no extra.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers know it; importing `typing` takes longer than all of this module
if TYPE_CHECKING:
    from typing import Any

    from emsync.api import arrange as arrange
    from emsync.api import compose as compose
    from emsync.api import revise as revise
    from emsync.conditions import Conditions as Conditions
    from emsync.errors import EmsyncError as EmsyncError
    from emsync.mood import MoodCurve as MoodCurve
    from emsync.mood_source import MoodSource as MoodSource
    from emsync.piece import Piece as Piece
    from emsync.recipe import Recipe as Recipe
    from emsync.score import Bars as Bars
    from emsync.score import Instrument as Instrument
    from emsync.score import KeySignature as KeySignature
    from emsync.score import Marker as Marker
    from emsync.score import Score as Score
    from emsync.score import TempoMap as TempoMap
    from emsync.session import Session as Session
    from emsync.soundtrack import Soundtrack as Soundtrack
    from emsync.takes import Take as Take
    from emsync.video import Scene as Scene

#: Public names, and the module each is defined in.
_NAMES = {
    "Bars": "emsync.tempo_map",
    "Conditions": "emsync.conditions",
    "EmsyncError": "emsync.errors",
    "Instrument": "emsync.score",
    "KeySignature": "emsync.score",
    "Marker": "emsync.score",
    "MoodCurve": "emsync.mood",
    "MoodSource": "emsync.mood_source",
    "Piece": "emsync.piece",
    "Recipe": "emsync.recipe",
    "Scene": "emsync.video",
    "Score": "emsync.score",
    "Session": "emsync.session",
    "Soundtrack": "emsync.soundtrack",
    "Take": "emsync.takes",
    "TempoMap": "emsync.tempo_map",
    "arrange": "emsync.api",
    "compose": "emsync.api",
    "revise": "emsync.api",
}

#: Public modules, which `import emsync` alone makes reachable.
_MODULES = (
    "audio",
    "composer",
    "conditions",
    "cutlist",
    "errors",
    "interop",
    "midi",
    "score",
    "soundfonts",
    "soundtrack",
    "tokenizer",
    "training",
    "video",
)

__all__ = ["__version__", *_NAMES, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name or module when it is first asked for."""
    import importlib

    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"emsync.{name}")
    else:
        raise AttributeError(f"module 'emsync' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
