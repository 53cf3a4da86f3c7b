"""Events as miditok sees them: token names, and sequences that carry their velocities.

Tokens are named as a type and a value with one underscore between: `ON_PIANO_60` is `ON-PIANO_60`, `END` is `END_None`.
This module needs miditok: pip install "emsync[train]".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import MissingExtraError
from emsync.tokenizer import events

try:
    from miditok import Event, TokSequence
except ImportError as error:
    raise MissingExtraError(
        'EventTokenizer needs miditok, which is not installed: pip install "emsync[train]"'
    ) from error


def token_name(event: v.Event) -> str:
    """The name of an event for miditok: `type_value`."""
    if event.kind == v.K_BAR or event.kind == v.K_TIMESHIFT:
        return event.name
    if event.kind in (v.K_ON, v.K_OFF):
        return f"{v.KINDS[event.kind]}-{v.FAMILIES[event.family].upper()}_{event.value}"
    return f"{event.name.replace('_', '-')}_None"


TOKENS: Final = tuple(token_name(event) for event in v.EVENTS)
TYPES: Final = tuple(token.split("_")[0] for token in TOKENS)
VALUES: Final = tuple(token.split("_")[1] for token in TOKENS)
SPECIAL: Final = TOKENS[: v.END + 1]  # PAD, START, END: miditok puts special tokens first, as the table does


@dataclass(eq=False)  # sequences are equal when their ids and tokens are, as miditok has it
class EventSequence(TokSequence):  # type: ignore[misc] # miditok has no types
    """A `TokSequence` with velocities: level + 1 (1 to 16) at an ON, 0 elsewhere; one for each id, or none at all."""

    velocities: list[int] = field(default_factory=list)

    def __getitem__(self, val: int | slice) -> Any:
        part = super().__getitem__(val)
        if isinstance(val, slice):
            part.velocities = self.velocities[val]
        return part

    def __iadd__(self, other: TokSequence) -> EventSequence:
        mine = self.velocities or [0] * len(self.ids)
        super().__iadd__(other)
        theirs = getattr(other, "velocities", []) or [0] * len(other.ids)
        self.velocities = mine + theirs
        return self


def sequence(ids: npt.NDArray[np.int32], velocities: npt.NDArray[np.uint8]) -> EventSequence:
    """Ids and velocities, both (T,), with everything that miditok stores beside them."""
    rows = ids.tolist()
    step = events.times_steps(ids)
    bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
    bar_step = np.append(step[bars], step[-1] if len(step) else 0).astype(np.float64)
    # Beats are quarter notes, which divide the time from bar to bar evenly.
    quarters = v.VALUE[ids[bars]] / 2
    beats = [
        round(begin + (until - begin) * k / length)
        for begin, until, length in zip(bar_step[:-1], bar_step[1:], quarters, strict=True)
        for k in range(int(np.ceil(length)))
    ]
    bar_ticks = bar_step[:-1].astype(int).tolist()
    return EventSequence(
        tokens=[TOKENS[i] for i in rows],
        ids=rows,
        events=[Event(TYPES[i], VALUES[i], at) for i, at in zip(rows, step.tolist(), strict=True)],
        # miditok expects the first bar and beat at 0.
        _ticks_bars=bar_ticks if bar_ticks[:1] == [0] else [0, *bar_ticks],
        _ticks_beats=beats if beats[:1] == [0] else [0, *beats],
        velocities=velocities.tolist(),
    )


def types_graph() -> dict[str, set[str]]:
    """Which type may follow which: at one moment OFF, BAR, CHORD, ON by family; a late OFF comes after its ON."""
    ons = [f"ON-{v.FAMILIES[family].upper()}" for family in v.ON_ORDER]
    offs = [f"OFF-{v.FAMILIES[family].upper()}" for family in v.ON_ORDER if family != v.DRUMS]
    onward = {"TIMESHIFT", "END"}
    graph = {
        "PAD": {"PAD"},
        "START": {*ons, "BAR", "CHORD", *onward},
        "END": {"PAD"},
        "FEWER-INSTRUMENTS": {"START"},
        "MORE-INSTRUMENTS": {"START"},
        "BAR": {*ons, "CHORD", *onward},
        "CHORD": set(ons),
        "TIMESHIFT": {*offs, "BAR", "CHORD", *ons, *onward},
    }
    for i, name in enumerate(ons):
        graph[name] = {*ons[i:], *offs, *onward}
    for i, name in enumerate(offs):
        graph[name] = {*offs[i:], "BAR", "CHORD", *ons, *onward}
    return graph


def wrong_events(ids: Iterable[int], graph: Mapping[str, set[str]]) -> int:
    """How many events are not allowed where they are; `graph` says which type may follow which.

    Wrong are: a type that may not follow the one before, the ON of a note that sounds, an OFF without its ON, and one
    drum hit twice at one moment.
    """
    wrong = 0
    sounding: set[int] = set()
    hits: set[int] = set()
    before = ""
    for id_ in ids:
        kind, is_drum = v.KIND[id_], v.FAMILY[id_] == v.DRUMS
        bad = before != "" and TYPES[id_] not in graph[before]
        if kind == v.K_TIMESHIFT:
            hits.clear()
        elif kind == v.K_ON:
            among = hits if is_drum else sounding
            bad |= id_ in among
            among.add(id_)
        elif kind == v.K_OFF:
            bad |= int(v.PARTNER[id_]) not in sounding
            sounding.discard(int(v.PARTNER[id_]))
        wrong += bool(bad)
        before = TYPES[id_]
    return wrong
