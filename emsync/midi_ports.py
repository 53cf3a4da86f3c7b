"""What a synthesizer with one set of sixteen channels needs to know about a file with several ports, or with drum kits.

A port is a synthesizer of its own: a reset or a tuning that is sent to it concerns its sixteen channels alone. And
FluidSynth takes only channel 10 for a drum kit, whatever bank selects and SysEx say. So `for_port` gives the events of
one port as one track, in which

- a drum kit that begins or ends is an `Order` in a text, with the tick from which it holds;
- a reset (GM, GM2, GS or XG System On) is made of channel messages, where the port has played or set anything before;
- the tuning of a scale (MIDI Tuning Standard, 08 08 and 08 09), which names channels, is an `Order` too;
- other SysEx stays if it names no channels, as single tunings do, and is left out if it does.

Texts of the file itself must have been left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from emsync.midi_format import TEXT
from emsync.midi_track import quantity

Event = tuple[int, bytes]

_MARK: Final = b"emsync "
#: What a reset does to a channel: controllers and their values, in order. RPN 0 is the range of pitch bend.
_RESET: Final = (
    (120, 0), (121, 0), (0, 0), (32, 0), (7, 100), (8, 64), (10, 64), *((n, 64) for n in range(70, 80)),
    *((n, 0) for n in range(91, 96)), (101, 0), (100, 0), (6, 2), (38, 0), (101, 127), (100, 127),
)  # fmt: skip
_UNIVERSAL: Final = (0x7E, 0x7F)
_TUNING: Final = 0x08
_SCALES: Final = {0x08: 12, 0x09: 24}  # one or two bytes for each of twelve notes


@dataclass(frozen=True)
class Order:
    """A command of the player to the synthesizer; `channels` are of its port, from 0 to 15.

    - is_drum: whether they become drum kits; None for a tuning.
    - cents: (12,) by how much each note of the scale from C on is off, in hundredths of a cent.
    """

    channels: tuple[int, ...]
    is_drum: bool | None = None
    cents: tuple[int, ...] = ()

    def event(self) -> bytes:
        """The order as a text; the inverse of `read`."""
        words = ("tune", *self.cents) if self.is_drum is None else ("drums" if self.is_drum else "notes",)
        text = _MARK + " ".join(map(str, (*words, *self.channels))).encode()
        return bytes((0xFF, TEXT)) + quantity(len(text)) + text

    @classmethod
    def read(cls, text: bytes) -> Order | None:
        """The order of a text, as FluidSynth gives it (with a zero behind); None for any other text."""
        if not text.startswith(_MARK):
            return None
        kind, *words = text.removeprefix(_MARK).rstrip(b"\0").decode().split()
        numbers = tuple(map(int, words))
        if kind == "tune":
            return cls(numbers[12:], None, numbers[:12])
        return cls(numbers, kind == "drums")


def for_port(events: Iterable[Event], kinds: Iterable[tuple[int, int, int]]) -> list[Event]:
    """The events of one port, in order of their ticks, as the player of a port needs them.

    kinds: (tick, channel, 1 for a drum kit or 0), in order; what the port has from the beginning is left out. At one
    tick a reset comes first, then kits, then everything else.
    """
    ranked: list[tuple[int, int, bytes]] = [
        (tick, 1, Order((channel,), bool(is_drum)).event()) for tick, channel, is_drum in kinds
    ]
    is_fresh = True
    for tick, event in events:
        if event[0] == 0xFF or event[0] < 0xF0:
            ranked.append((tick, 2, event))
            is_fresh &= event[0] == 0xFF
        elif event[0] == 0xF7:
            continue  # a part of a SysEx
        elif is_reset(event):
            ranked += [] if is_fresh else [(tick, 0, message) for message in _reset()]
            is_fresh = True
        else:
            ranked += [(tick, 2, each) for each in _tuning(event)]
    ranked.sort(key=lambda each: each[:2])
    return [(tick, event) for tick, _, event in ranked]


def is_reset(event: bytes) -> bool:
    """Whether a SysEx event resets a whole synthesizer: GM, GM2, GS or XG System On."""
    data = _body(event)
    if data[:1] == b"\x7e":
        return data[2:3] == b"\x09"
    if data[:1] == b"\x41":
        return data[2:4] == b"\x42\x12" and data[4:7] in (b"\x40\x00\x7f", b"\x00\x00\x7f")
    return data[:1] == b"\x43" and data[2:3] == b"\x4c" and data[3:6] in (b"\x00\x00\x7e", b"\x00\x00\x7f")


def _body(event: bytes) -> bytes:
    """A SysEx event without its F0 and its length."""
    place = 1
    while event[place : place + 1] and event[place] & 0x80:
        place += 1
    return event[place + 1 :]


def _reset() -> Iterator[bytes]:
    for channel in range(16):
        for controller, value in _RESET:
            yield bytes((0xB0 | channel, controller, value))
        yield bytes((0xC0 | channel, 0))
        yield bytes((0xE0 | channel, 0, 64))


def _tuning(event: bytes) -> Iterator[bytes]:
    """A SysEx event of tunings as it is, or as an order if it names channels; nothing for any other."""
    data = _body(event)
    if len(data) < 4 or data[0] not in _UNIVERSAL or data[2] != _TUNING:
        return
    size = _SCALES.get(data[3])
    if size is None:
        yield event
        return
    values = data[7 : 7 + size]
    mask = int.from_bytes(bytes(4) + data[4:7], "big") if len(values) == size else 0
    mask = (mask >> 16 & 3) << 14 | (mask >> 8 & 127) << 7 | mask & 127
    if size == 12:
        cents = tuple(100 * (value - 64) for value in values)
    else:
        pairs = zip(values[::2], values[1::2], strict=False)
        cents = tuple(round(((high << 7 | low) - 8192) * 10_000 / 8192) for high, low in pairs)
    channels = tuple(channel for channel in range(16) if mask >> channel & 1)
    if channels:
        yield Order(channels, None, cents).event()
