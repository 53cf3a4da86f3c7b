"""Which channels are drum kits, and which program a channel has, at every moment of a MIDI file.

Channel 10 (9 on the wire) is a drum kit on every port. Files change that in four ways:
- Bank select, most significant byte: 120 (General MIDI 2), 126 and 127 (Yamaha XG) make a channel a drum kit, any
  other bank ends that. In General MIDI 2 only 120 does, and 121 makes even channel 10 melodic. In Roland GS banks are
  only variations.
- Roland GS: the SysEx "use for rhythm part" (address 40 1x 15).
- Yamaha XG: the SysEx "part mode" (address 08 nn 07).
- A reset (GM, GM2, GS or XG System On) puts all channels back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from emsync.columns import IntArray
from emsync.midi_format import DRUM_CHANNEL
from emsync.midi_track import Track

_GM2, _GS, _XG = "GM2", "GS", "XG"
_DRUM_BANKS: Final = {_GM2: (120,), _GS: (), _XG: (120, 126, 127), "": (120, 126, 127)}
_MELODIC_BANK: Final = 121
#: Roland's part number (as in the address 40 1x 15) -> channel.
_PART_CHANNEL: Final = (9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15)


class Changes:
    """A value for each line over time: (tick, value), and what it is before the first."""

    def __init__(self) -> None:
        self.at: dict[int, tuple[list[int], list[int]]] = {}

    def add(self, tick: int, line: int, value: int) -> None:
        """Set a value from a tick on; ticks must not decrease within a line."""
        ticks, values = self.at.setdefault(line, ([], []))
        ticks.append(tick)
        values.append(value)

    def values(self, line: IntArray, tick: IntArray, before: IntArray) -> IntArray:
        """The value of each line at each tick, `before` where none was set; all arrays (N,)."""
        found = before.copy()
        for each, (ticks, values) in self.at.items():
            here = np.flatnonzero(line == each)
            if len(here):
                i = np.searchsorted(np.array(ticks), tick[here], side="right") - 1
                found[here] = np.where(i >= 0, np.array(values)[i], before[here])
        return found


def program_changes(tracks: list[Track]) -> Changes:
    """The programs that all tracks together set."""
    changes = Changes()
    for tick, line, program in sorted((each for track in tracks for each in track.programs), key=lambda each: each[0]):
        changes.add(tick, line, program)
    return changes


def drum_changes(tracks: list[Track]) -> Changes:
    """Where lines become drum kits (1) or melodic (0)."""
    parts = _Parts()
    for tick, where, what in sorted((each for track in tracks for each in track.setup), key=lambda each: each[0]):
        if isinstance(what, int):
            parts.bank(tick, where, what)
        else:
            parts.sysex(tick, where, what)
    return parts.changes


def is_drum(changes: Changes, line: IntArray, tick: IntArray) -> IntArray:
    """1 where a line is a drum kit at a tick, else 0; all arrays (N,)."""
    return changes.values(line, tick, (line & 15 == DRUM_CHANNEL).astype(np.int64))


class _Parts:
    """A synthesizer's parts, as SysEx and bank selects change them."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.mode = ""
        self.drums: dict[int, bool] = {}  # lines that are not as they were after a reset
        self.by_sysex: set[int] = set()

    def _set(self, tick: int, line: int, is_drum: bool) -> None:
        if self.drums.get(line, line & 15 == DRUM_CHANNEL) != is_drum:
            self.drums[line] = is_drum
            self.changes.add(tick, line, int(is_drum))

    def _reset(self, tick: int, mode: str) -> None:
        for line in self.drums:
            self.changes.add(tick, line, int(line & 15 == DRUM_CHANNEL))
        self.drums.clear()
        self.by_sysex.clear()
        self.mode = mode

    def bank(self, tick: int, line: int, bank: int) -> None:
        if self.mode == _GS or line in self.by_sysex:
            return
        if bank in _DRUM_BANKS[self.mode]:
            self._set(tick, line, True)
        elif line & 15 != DRUM_CHANNEL or (self.mode == _GM2 and bank == _MELODIC_BANK):
            self._set(tick, line, False)

    def sysex(self, tick: int, port: int, data: bytes) -> None:
        """A SysEx message without its F0."""
        if data[:1] == b"\x7e" and data[2:3] == b"\x09":  # universal: General MIDI
            self._reset(tick, _GM2 if data[3:4] == b"\x03" else "")
        elif data[:1] == b"\x41" and data[2:4] == b"\x42\x12":
            self._roland(tick, port, data[4:7], data[7:-2])
        elif data[:1] == b"\x43" and data[1:2] and data[1] >> 4 == 1 and data[2:3] == b"\x4c":
            self._yamaha(tick, port, data[3:6], data[6:-1])

    def _roland(self, tick: int, port: int, address: bytes, values: bytes) -> None:
        if address in (b"\x40\x00\x7f", b"\x00\x00\x7f"):
            self._reset(tick, _GS)
        elif len(address) == 3 and address[0] in (0x40, 0x50) and address[1] >> 4 == 1:
            line = (port + (address[0] == 0x50)) << 4 | _PART_CHANNEL[address[1] & 15]
            self._part_mode(tick, line, _GS, values, 0x15 - address[2])

    def _yamaha(self, tick: int, port: int, address: bytes, values: bytes) -> None:
        if address in (b"\x00\x00\x7e", b"\x00\x00\x7f"):
            self._reset(tick, _XG)
        elif len(address) == 3 and address[0] == 0x08:
            line = (port + (address[1] >> 4)) << 4 | address[1] & 15
            self._part_mode(tick, line, _XG, values, 0x07 - address[2])

    def _part_mode(self, tick: int, line: int, mode: str, values: bytes, at: int) -> None:
        """Set a part's mode, which is the value at index `at`, where the message has it: 0 is melodic."""
        if 0 <= at < len(values):
            self.mode = mode
            self.by_sysex.add(line)
            self._set(tick, line, values[at] > 0)
