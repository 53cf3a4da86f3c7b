"""Music as a sequence of events, and back: `encode`, `decode`, and `EventTokenizer` for miditok's tools.

    from emsync import midi
    from emsync.tokenizer import decode, encode

    events = encode(midi.read("song.mid"))          # events.ids, events.velocities
    score = decode(events.ids, events.velocities)

Names are imported when they are first used, so the package itself costs nothing. Only `EventTokenizer` needs miditok.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emsync.tokenizer.event_sequence import EventSequence as EventSequence
    from emsync.tokenizer.events import Events as Events
    from emsync.tokenizer.events import decode as decode
    from emsync.tokenizer.events import encode as encode
    from emsync.tokenizer.families import Reduction as Reduction
    from emsync.tokenizer.families import reduce as reduce
    from emsync.tokenizer.midi_tokenizer import EventTokenizer as EventTokenizer
    from emsync.vocabulary import EVENTS as EVENTS
    from emsync.vocabulary import FAMILIES as FAMILIES
    from emsync.vocabulary import HASH as HASH
    from emsync.vocabulary import ID_OF as ID_OF
    from emsync.vocabulary import NAMES as NAMES
    from emsync.vocabulary import SIZE as SIZE
    from emsync.vocabulary import STEP_S as STEP_S
    from emsync.vocabulary import Event as Event

#: Public names, and the module each is defined in.
_NAMES = {
    "EVENTS": "emsync.vocabulary",
    "FAMILIES": "emsync.vocabulary",
    "HASH": "emsync.vocabulary",
    "ID_OF": "emsync.vocabulary",
    "NAMES": "emsync.vocabulary",
    "SIZE": "emsync.vocabulary",
    "STEP_S": "emsync.vocabulary",
    "Event": "emsync.vocabulary",
    "EventSequence": "emsync.tokenizer.event_sequence",
    "EventTokenizer": "emsync.tokenizer.midi_tokenizer",
    "Events": "emsync.tokenizer.events",
    "Reduction": "emsync.tokenizer.families",
    "decode": "emsync.tokenizer.events",
    "encode": "emsync.tokenizer.events",
    "reduce": "emsync.tokenizer.families",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module 'emsync.tokenizer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
