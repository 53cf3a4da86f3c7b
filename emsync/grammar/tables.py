"""Tables of the event vocabulary that the rules share, and the limits in musical terms.

The clock counts steps of 8 ms (`vocabulary.STEP_S`). A *moment* is all events between two TIMESHIFTs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.chords import MIN_QUARTERS

BoolArray = npt.NDArray[np.bool_]

# ---------------------------------------------------------------------------------------------------------------------
# Limits

#: No note begins this shortly before the end; and END may come this early.
LAST_ONSET_S: Final = 0.2
EARLY_END_S: Final = 1.0
#: The same in steps. Boundaries closer to the end get no chord.
MARGIN: Final = round(LAST_ONSET_S / v.STEP_S)
MAX_NOTE_BEATS: Final = 4
#: The same for strings with `Recipe.profiles`: in songs 6 of 100 of their notes are longer than four beats.
MAX_STRINGS_BEATS: Final = 8
#: How many notes of a family may sound at once. Half of all real songs have fewer than four in all. A chord on a
#: boundary may exceed it, and gives way once it has been held. Boundaries are 1 s apart and chords are held for at most
#: 3.2 s, so three pitches are always left for another chord.
MAX_SOUNDING: Final = {v.PIANO: 5, v.GUITAR: 4, v.BASS: 1, v.STRINGS: 4}
#: A chord's notes are held for a little more than two beats, since the next bar may turn out slower.
HELD_QUARTERS: Final = 1.05 * MIN_QUARTERS
#: Notes without CHORD are held for a sixteenth less than what makes a long chord.
UNMARKED_QUARTERS: Final = MIN_QUARTERS - 0.25
#: Until two bars give a tempo, a beat is half a second.
DEFAULT_BEAT_STEPS: Final = 62.5
#: A beat lasts from 0.2 to 1.5 s (300 to 40 quarter notes per minute).
BEAT_RANGE_STEPS: Final = (25.0, 187.5)
#: A bar's length may differ by this share from what the running tempo makes of it.
BAR_TOLERANCE: Final = 0.12
#: Parts of a beat. Notes begin on sixteenths (or triplets), and end on ticks. The training songs are written in such
#: ticks (`training.corpus.archive`); anything between would be the model's own imprecision.
SIXTEENTHS, TRIPLETS, TICKS = 4, 6, 24
#: A note lasts at least this many ticks. Of real notes, 4 to 8 in 100 are shorter, but a model that plays one note of a
#: single tick (20 ms) keeps playing them (docs/decisions/0010-closing-off-the-grid.md).
MIN_NOTE_TICKS: Final = 3

# ---------------------------------------------------------------------------------------------------------------------
# The vocabulary

# The order of events within a moment. TIMESHIFT ends the moment, and may come after any of them.
_ANY: Final = np.iinfo(np.int32).max


def _order() -> npt.NDArray[np.int32]:
    place = {family: i for i, family in enumerate(v.ON_ORDER)}
    order = np.full(v.SIZE, -1, dtype=np.int32)
    for event in v.EVENTS:
        if event.kind in (v.K_OFF, v.K_ON):
            order[event.id] = (30_000 if event.kind == v.K_ON else 0) + place[event.family] * 128 + event.value
    order[v.ids_of_kind(v.K_BAR)] = 10_000
    order[v.CHORD] = 20_000
    order[v.END] = 40_000
    order[v.ids_of_kind(v.K_TIMESHIFT)] = _ANY
    return order


#: (vocabulary,) Each event's place within its moment; -1 for events that never come.
ORDER: Final = _order()
#: (vocabulary + 1, vocabulary) LATER[id]: the events that may follow this one in its moment. LATER[-1]: those that may
#: begin a moment.
LATER: Final = np.concatenate([ORDER[None, :] > ORDER[:, None], ORDER[None, :] > -1])
BAR, SHIFT = v.ids_of_kind(v.K_BAR), v.ids_of_kind(v.K_TIMESHIFT)
ON, OFF = v.ids_of_kind(v.K_ON), v.ids_of_kind(v.K_OFF)
#: The ids of ON, by family.
ONS: Final = [
    slice(int(base) + low, int(base) + high + 1) for base, (low, high) in zip(v.ON_BASE, v.PITCH_RANGE, strict=True)
]
#: (vocabulary,) The ONs that come before those of guitar and piano in a moment.
FIRST_ON: Final = (v.KIND == v.K_ON) & np.isin(v.FAMILY, (v.DRUMS, v.BASS))
#: (vocabulary,) All ONs but those of drums.
PITCHED_ON: Final = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
# The vocabulary as plain lists: reading one number from an array takes ten times as long.
KIND, VALUE, FAMILY, PARTNER = v.KIND.tolist(), v.VALUE.tolist(), v.FAMILY.tolist(), v.PARTNER.tolist()
PLACE: Final = ORDER.tolist()

#: With `Recipe.compass`, the lowest and highest pitch of the families whose instruments cannot play all pitches: the
#: 1st and 99th percentile of each one's notes in real songs, where each song has one vote
#: (docs/decisions/0031-whole-chords.md). Keyboards and an orchestra's strings reach nearly all.
COMPASS: Final = {v.BASS: (25, 68), v.GUITAR: (36, 82)}
#: (vocabulary,) The ONs outside.
BEYOND: Final = (v.KIND == v.K_ON) & np.any(
    [(v.FAMILY == family) & ((v.VALUE < low) | (v.VALUE > high)) for family, (low, high) in COMPASS.items()], axis=0
)


def only(ids: int | slice) -> BoolArray:
    """(vocabulary,) True for these ids alone."""
    allowed = np.zeros(v.SIZE, dtype=bool)
    allowed[ids] = True
    return allowed
