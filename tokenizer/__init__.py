"""Music as a row of events, and back: `encode`, `decode`, and `EventTokenizer` for miditok's tools.

    from emsync import midi
    from emsync.tokenizer import decode, encode

    events = encode(midi.read("song.mid"))          # events.ids, events.velocities
    score = decode(events.ids, events.velocities)

Names are imported when they are first used: the package itself costs nothing, and `EventTokenizer` alone needs miditok.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emsync.tokenizer.events import Events as Events
    from emsync.tokenizer.events import decode as decode
    from emsync.tokenizer.events import encode as encode
    from emsync.tokenizer.families import Reduction as Reduction
    from emsync.tokenizer.families import reduce as reduce
    from emsync.tokenizer.midi_tokenizer import EventSequence as EventSequence
    from emsync.tokenizer.midi_tokenizer import EventTokenizer as EventTokenizer
    from emsync.tokenizer.vocabulary import EVENTS as EVENTS
    from emsync.tokenizer.vocabulary import FAMILIES as FAMILIES
    from emsync.tokenizer.vocabulary import HASH as HASH
    from emsync.tokenizer.vocabulary import ID_OF as ID_OF
    from emsync.tokenizer.vocabulary import NAMES as NAMES
    from emsync.tokenizer.vocabulary import SIZE as SIZE
    from emsync.tokenizer.vocabulary import STEP_S as STEP_S
    from emsync.tokenizer.vocabulary import Event as Event

#: Public names, and the module each is defined in.
_NAMES = {
    "EVENTS": "vocabulary",
    "FAMILIES": "vocabulary",
    "HASH": "vocabulary",
    "ID_OF": "vocabulary",
    "NAMES": "vocabulary",
    "SIZE": "vocabulary",
    "STEP_S": "vocabulary",
    "Event": "vocabulary",
    "EventSequence": "midi_tokenizer",
    "EventTokenizer": "midi_tokenizer",
    "Events": "events",
    "Reduction": "families",
    "decode": "events",
    "encode": "events",
    "reduce": "families",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module 'emsync.tokenizer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"emsync.tokenizer.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
