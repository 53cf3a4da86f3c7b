"""What a MIDI file can hold beside the score, for the programs that open it: none of it changes a note or its time.

details = Details(start="01:00:00:00", counting=Counting(Fraction(25)), levels=True, tempo_span=True)
midi.write(score, "song.mid", details=details)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from emsync.errors import InputError, MidiError
from emsync.midi_format import CONTROL_PAN, CONTROL_VOLUME, DRUM_CHANNEL, SMPTE_OFFSET
from emsync.score import Instrument, Marker
from emsync.timecode import Counting

#: Two bits of the hour say how many frames a second has. 23.976 is counted as 24, 29.97 without drop-frame as 30.
_RATE_BITS: Final = {
    (Fraction(24), False): 0, (Fraction(24000, 1001), False): 0, (Fraction(25), False): 1,
    (Fraction(30000, 1001), True): 2, (Fraction(30), False): 3, (Fraction(30000, 1001), False): 3,
}  # fmt: skip
#: Rates that are twice one of those; their frames are counted in pairs.
_HALVED: Final = {Fraction(48), Fraction(50), Fraction(60), Fraction(48000, 1001), Fraction(60000, 1001)}

#: Pan (0 left, 64 middle, 127 right) and volume by groups of eight General MIDI programs: a seating to begin with.
_LEVELS: Final[tuple[tuple[int, int], ...]] = (
    (52, 100), (44, 96), (64, 92), (82, 92), (64, 104), (46, 92), (40, 88), (78, 92),
    (72, 90), (56, 88), (64, 96), (64, 84), (74, 84), (88, 90), (64, 90), (64, 80),
)  # fmt: skip
_DRUM_LEVELS: Final = (64, 104)


_AT_25: Final = Counting(Fraction(25))


@dataclass(frozen=True)
class Details:
    """What is written besides notes, tempo, meters, keys and markers.

    - start: the timecode of the beginning, as a SMPTE offset; `counting` says how it counts frames.
    - levels: whether each track begins with a pan and a volume.
    - tempo_span: whether a track of its own holds one silent note as long as the piece. Ableton Live takes a tempo map
      only from a clip whose notes span all its changes.
    - texts: text events, such as the names of chords, in the first track.
    """

    start: str | None = None
    counting: Counting = _AT_25
    levels: bool = False
    tempo_span: bool = False
    texts: tuple[Marker, ...] = ()

    def smpte_offset(self) -> bytes | None:
        """The data of the SMPTE offset: hour and rate, minute, second, frame, hundredths of a frame; None without.

        Raises `InputError` for a start that is not a timecode, past a day, or at a rate that the event cannot hold.
        """
        if self.start is None:
            return None
        self.counting.seconds(self.start)  # refuses what is not a timecode
        rate, drop = self.counting.rate, self.counting.drop_frame
        halved = rate in _HALVED
        base = rate / 2 if halved else rate
        bits = _RATE_BITS.get((base, drop or ";" in self.start))
        if bits is None:
            raise InputError(f"a SMPTE offset cannot count {self.counting}; give --fps 24, 25, 29.97, 29.97df or 30")
        hours, minutes, seconds, frame = map(int, self.start.replace(";", ":").replace(",", ":").split(":"))
        if hours > 23:
            raise InputError(f"the start {self.start} is past a day; give one before 24:00:00:00")
        part = 50 * (frame % 2) if halved else 0
        return bytes((bits << 5 | hours, minutes, seconds, frame // 2 if halved else frame, part))

    def smpte_event(self) -> bytes | None:
        """The whole SMPTE offset meta event; None without a start."""
        data = self.smpte_offset()
        return None if data is None else bytes((0xFF, SMPTE_OFFSET, len(data))) + data


def level_events(instrument: Instrument, channel: int) -> list[bytes]:
    """Volume and pan of a track, two control changes."""
    pan, volume = _DRUM_LEVELS if instrument.is_drum else _LEVELS[instrument.program // 8]
    return [bytes((0xB0 | channel, CONTROL_VOLUME, volume)), bytes((0xB0 | channel, CONTROL_PAN, pan))]


def span_events(channels: list[int], end: int) -> list[tuple[int, bytes]]:
    """One silent note from tick 0 to `end`, on a channel without an instrument. Raises `MidiError` if there is none."""
    free = [channel for channel in range(15, -1, -1) if channel not in channels and channel != DRUM_CHANNEL]
    if not free:
        raise MidiError("all 16 channels have instruments, and a tempo-span track needs one; merge some instruments")
    channel = free[0]
    silent = bytes((0xB0 | channel, CONTROL_VOLUME, 0))
    return [(0, silent), (0, bytes((0x90 | channel, 0, 1))), (max(end, 1), bytes((0x80 | channel, 0, 64)))]
