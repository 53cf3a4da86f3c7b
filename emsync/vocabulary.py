"""The event vocabulary: one table for encoding, decoding, the sampling grammar and the documentation.

Conventions
- Time moves in steps of `STEP_S` = 8 ms. The value of a TIMESHIFT is its number of steps, 1 to 125 (8 to 1000 ms).
- The value of a BAR is its length in eighth notes, 1 to 16, so that 3/8, 7/8 and 9/8 can be written. Its name gives
  quarter notes: `BAR_4`, `BAR_3.5`.
- ON and OFF have a family (index into `FAMILIES`) and a MIDI pitch. Drums have no OFF, since a hit has no length.
- Ids follow the order of the table, so each kind is a range of ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

STEP_S: Final = 0.008
MAX_SHIFT_STEPS: Final = 125
MAX_BAR_HALF_QUARTERS: Final = 16

FAMILIES: Final = ("drums", "piano", "guitar", "bass", "strings")
DRUMS, PIANO, GUITAR, BASS, STRINGS = range(5)
#: Lowest and highest MIDI pitch of each family, both inclusive. Drums: General MIDI level 2's percussion map.
PITCH_RANGE: Final = ((27, 87), (21, 108), (21, 108), (21, 108), (21, 108))
#: The families whose long chords are boundaries (paper, Section III-B2).
CHORD_FAMILIES: Final = (PIANO, GUITAR)
#: The order of ON events at one moment (then by pitch).
ON_ORDER: Final = (DRUMS, BASS, GUITAR, PIANO, STRINGS)

KINDS: Final = (
    "PAD",
    "START",
    "END",
    "CHORD",
    "FEWER_INSTRUMENTS",
    "MORE_INSTRUMENTS",
    "BAR",
    "TIMESHIFT",
    "ON",
    "OFF",
)
K_PAD, K_START, K_END, K_CHORD, K_FEWER, K_MORE, K_BAR, K_TIMESHIFT, K_ON, K_OFF = range(len(KINDS))

#: Velocities are stored in 16 levels: 4, 12, ... 124.
VELOCITY_LEVELS: Final = 16


@dataclass(frozen=True)
class Event:
    """One entry of the vocabulary; `family` and `value` are -1 if its kind has none."""

    id: int
    name: str
    kind: int
    family: int = -1
    value: int = -1


def _table() -> Iterator[tuple[str, int, int, int]]:
    """Yield (name, kind, family, value), in the order of the ids."""
    for kind in (K_PAD, K_START, K_END, K_CHORD, K_FEWER, K_MORE):
        yield KINDS[kind], kind, -1, -1
    for half_quarters in range(1, MAX_BAR_HALF_QUARTERS + 1):
        yield f"BAR_{half_quarters / 2:g}", K_BAR, -1, half_quarters
    for steps in range(1, MAX_SHIFT_STEPS + 1):
        yield f"TIMESHIFT_{steps * 8}", K_TIMESHIFT, -1, steps
    for family, (low, high) in enumerate(PITCH_RANGE):
        for pitch in range(low, high + 1):
            yield f"ON_{FAMILIES[family].upper()}_{pitch}", K_ON, family, pitch
    for family, (low, high) in enumerate(PITCH_RANGE):
        if family != DRUMS:
            for pitch in range(low, high + 1):
                yield f"OFF_{FAMILIES[family].upper()}_{pitch}", K_OFF, family, pitch


EVENTS: Final = tuple(Event(i, *row) for i, row in enumerate(_table()))
SIZE: Final = len(EVENTS)
ID_OF: Final = {event.name: event.id for event in EVENTS}

PAD, START, END = ID_OF["PAD"], ID_OF["START"], ID_OF["END"]
CHORD, FEWER, MORE = ID_OF["CHORD"], ID_OF["FEWER_INSTRUMENTS"], ID_OF["MORE_INSTRUMENTS"]
#: Ids of the two mood positions in front of the events (paper, Section III-B2). They are not events.
VALENCE_SLOT, AROUSAL_SLOT = SIZE, SIZE + 1
#: A bar of h eighth notes has the id BAR_BASE + h, a shift of s steps SHIFT_BASE + s.
BAR_BASE: Final = ID_OF["BAR_0.5"] - 1
SHIFT_BASE: Final = ID_OF["TIMESHIFT_8"] - 1

KIND: Final = np.array([event.kind for event in EVENTS], dtype=np.int8)  # (SIZE,)
FAMILY: Final = np.array([event.family for event in EVENTS], dtype=np.int8)  # (SIZE,), -1 if there is none
VALUE: Final = np.array([event.value for event in EVENTS], dtype=np.int16)  # (SIZE,), -1 if there is none
#: By how many steps each event moves the clock.
SHIFT_STEPS: Final = np.where(KIND == K_TIMESHIFT, VALUE, 0).astype(np.int32)  # (SIZE,)

#: The ids of notes are ON_BASE[family] + pitch and OFF_BASE[family] + pitch; OFF_BASE[DRUMS] is unused.
_LOWEST: Final = {family.upper(): low for family, (low, _) in zip(FAMILIES, PITCH_RANGE, strict=True)}
ON_BASE: Final = np.array([ID_OF[f"ON_{family}_{low}"] - low for family, low in _LOWEST.items()])
OFF_BASE: Final = np.array([ID_OF.get(f"OFF_{family}_{low}", -(10**6)) - low for family, low in _LOWEST.items()])
#: The OFF that closes each ON (and the ON that each OFF closes); -1 for drums and for other kinds.
PARTNER: Final = np.full(SIZE, -1, dtype=np.int16)
for _event in EVENTS:
    if _event.family > DRUMS:
        _base = OFF_BASE if _event.kind == K_ON else ON_BASE
        PARTNER[_event.id] = _base[_event.family] + _event.value
for _array in (KIND, FAMILY, VALUE, SHIFT_STEPS, ON_BASE, OFF_BASE, PARTNER):
    _array.flags.writeable = False

NAMES: Final = tuple(event.name for event in EVENTS)
#: Identifies this vocabulary in checkpoints and datasets.
HASH: Final = hashlib.sha256(json.dumps([NAMES, STEP_S, VELOCITY_LEVELS]).encode()).hexdigest()[:16]


def ids_of_kind(kind: int) -> slice:
    """The ids of one kind, as a slice (kinds are contiguous)."""
    where = np.flatnonzero(KIND == kind)
    return slice(int(where[0]), int(where[-1]) + 1)


def velocity_level(velocity: np.ndarray) -> np.ndarray:
    """MIDI velocities 1..127 to levels 0..15."""
    return np.minimum(np.asarray(velocity) // 8, VELOCITY_LEVELS - 1).astype(np.uint8)


def velocity_value(level: np.ndarray) -> np.ndarray:
    """Levels 0..15 to MIDI velocities 4, 12, ... 124."""
    return (np.asarray(level) * 8 + 4).astype(np.uint8)


def markdown() -> str:
    """The vocabulary as the table of docs/events.md; `python -m emsync.vocabulary` prints it."""
    rows = ["| ids | event | count | meaning |", "|---|---|---|---|"]
    meanings = {
        K_PAD: "padding",
        K_START: "the piece begins, at 0 s",
        K_END: "the piece ends; what still sounds ends with it",
        K_CHORD: "a long chord begins: a boundary",
        K_FEWER: "one or two families play",
        K_MORE: "three or more families play",
        K_BAR: "a bar begins; its length in quarter notes",
        K_TIMESHIFT: "time passes, in milliseconds",
        K_ON: "a note begins",
        K_OFF: "a note ends",
    }
    for kind, meaning in meanings.items():
        for family in range(-1, len(FAMILIES)):
            own = [event for event in EVENTS if event.kind == kind and event.family == family]
            if own:
                span = f"{own[0].id}–{own[-1].id}" if len(own) > 1 else f"{own[0].id}"
                names = f"`{own[0].name}` … `{own[-1].name}`" if len(own) > 1 else f"`{own[0].name}`"
                rows.append(f"| {span} | {names} | {len(own)} | {meaning} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
