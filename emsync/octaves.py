"""Where a staff is written one or two octaves lower or higher, so that notes have few ledger lines.

for shift in octave_shifts(staff, (64, 77)):        # the pitches of a treble clef's outer lines
    shift.start, shift.end, shift.octaves           # from 0 to 24 units: 1, an 8va line above them
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from emsync.notation import UNITS, Staff

#: Notes this far outside the lines, in semitones, have three ledger lines; what is beyond is moved.
FAR: Final = 12
#: What is moved must not end further than this on the other side.
NEAR: Final = 5
#: Lines are of 8va and 15ma.
MOST: Final = 2
#: A line of 8va goes on over a rest of at most this length, in units.
REST: Final = 4 * UNITS


@dataclass(frozen=True)
class Shift:
    """A stretch in units. octaves: 1 or 2 where it sounds higher than written (8va, 15ma), -1 or -2 where lower."""

    start: int
    end: int
    octaves: int


def octave_shifts(staff: Staff, lines: tuple[int, int]) -> list[Shift]:
    """The stretches of a staff that are moved, in order. lines: the MIDI pitches of its lowest and highest line.

    Notes that sound together are moved together, or stay; neighbours on the same side are moved alike.
    """
    events = sorted(
        (event.start, event.end, min(event.pitches), max(event.pitches))
        for voice in staff.voices
        for event in voice
        if event.pitches
    )
    together: list[list[int]] = []
    for start, end, low, high in events:
        if together and start < together[-1][1]:
            first, until, lowest, highest = together[-1]
            together[-1] = [first, max(until, end), min(lowest, low), max(highest, high)]
        else:
            together.append([start, end, low, high])
    found: list[Shift] = []
    possible = before = 0
    for start, end, low, high in together:
        sign, wanted, most = _octaves(low, high, lines)
        goes_on = sign != 0 and sign == before and start - found[-1].end <= REST
        if goes_on:
            last, possible = found[-1], min(possible, most)
            found[-1] = Shift(last.start, end, sign * min(max(abs(last.octaves), wanted), possible))
        elif sign:
            found.append(Shift(start, end, sign * wanted))
            possible = most
        before = sign
    return found


def _octaves(low: int, high: int, lines: tuple[int, int]) -> tuple[int, int, int]:
    """Whether notes between these pitches are moved down (1), up (-1) or not (0); by how many octaves, and at most."""
    bottom, top = lines
    for sign, out, room in ((1, high - top, low - bottom), (-1, bottom - low, top - high)):
        wanted = min(math.ceil((out - FAR) / 12), MOST) if out > FAR else 0
        possible = min((room + NEAR) // 12, MOST)
        if wanted > 0 and possible > 0:
            return sign, min(wanted, possible), possible
    return 0, 0, 0
