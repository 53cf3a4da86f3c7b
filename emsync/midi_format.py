"""Numbers of the Standard MIDI File format, and what emsync accepts of it; shared by the reader and the writer.

Conventions of all `midi_*` modules
- A *tick* is a file's own unit of time, the *division* its ticks per quarter note. Tempo is whole microseconds per
  quarter note (`*_us`). Ticks and microseconds are integers, so positions are exact at any length; they become seconds
  by one division at the end.
- A *line* is one channel of one port: `port << 4 | channel`, with channels counted from 0.
"""

from __future__ import annotations

from typing import Final

#: What a file may hold. More is a damaged file or a hostile one.
MAX_BYTES: Final = 32 * 2**20
MAX_TRACKS: Final = 1024
MAX_HOURS: Final = 24
MAX_MARKERS: Final = 100_000
MAX_TEXT_BYTES: Final = 65_536

TICKS_PER_QUARTER: Final = 480
DRUM_CHANNEL: Final = 9
CONTROL_VOLUME, CONTROL_PAN = 7, 10

#: The tempo of a file that gives none: 120 quarter notes a minute.
DEFAULT_US: Final = 500_000
SLOWEST_US: Final = 0xFFFFFF
US_PER_MINUTE: Final = 60_000_000

# Meta events.
TEXT, SMPTE_OFFSET = 0x01, 0x54
TEXT_NAME, TEXT_INSTRUMENT, TEXT_MARKER = 0x03, 0x04, 0x06
PORT, END_OF_TRACK, TEMPO, METER, KEY = 0x21, 0x2F, 0x51, 0x58, 0x59
