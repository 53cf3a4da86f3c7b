"""Score <-> Standard MIDI File.

    score = midi.read("song.mid")      # any Standard MIDI File; score.warnings says what was wrong with it
    midi.write(score, "again.mid")     # type 1, one track an instrument
    midi.from_bytes(data), midi.to_bytes(score)

`midi_read` and `midi_write` say what is read and what is written; `midi_format` holds the limits.
"""

from __future__ import annotations

from emsync.midi_format import DRUM_CHANNEL, MAX_BYTES, MAX_HOURS, MAX_TRACKS, TICKS_PER_QUARTER
from emsync.midi_read import from_bytes, read
from emsync.midi_write import MELODIC_CHANNELS, to_bytes, write

__all__ = [
    "DRUM_CHANNEL",
    "MAX_BYTES",
    "MAX_HOURS",
    "MAX_TRACKS",
    "MELODIC_CHANNELS",
    "TICKS_PER_QUARTER",
    "from_bytes",
    "read",
    "to_bytes",
    "write",
]
