"""Write a Score as a Standard MIDI File of type 1.

Track 0 holds tempo, meter, keys and markers; each instrument has its own track after it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Final

import numpy as np

from emsync.errors import MidiError
from emsync.files import write_bytes
from emsync.midi_clock import Clock
from emsync.midi_details import Details, level_events, span_events
from emsync.midi_format import (
    DRUM_CHANNEL,
    END_OF_TRACK,
    KEY,
    MAX_HOURS,
    MAX_TRACKS,
    METER,
    SLOWEST_US,
    TEMPO,
    TEXT,
    TEXT_MARKER,
    TEXT_NAME,
    TICKS_PER_QUARTER,
    US_PER_MINUTE,
)
from emsync.midi_track import quantity
from emsync.score import DENOMINATORS, MAX_NUMERATOR, Instrument, Score

NO_DETAILS: Final = Details()
MELODIC_CHANNELS: Final = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)

_MAX_DELTA = 0x0FFFFFFF  # what four bytes of seven bits hold
RELEASE = 64  # the usual velocity of a note-off
# A bar or tempo change this close to where the bar before it ends is at that place.
_SAME_PLACE_TICKS = 0.75
# Half a tick may last this long, so that rounding to ticks moves no note by more than 1 ms.
_HALF_TICK_US = 995
# A time this close to a tick counts as on it, and a piece this little late counts as on time.
_SAME_TICK = 5e-4
_SAME_TIME_US = 1e-3
# Accumulated rounding of the tempo is corrected over this many quarter notes; before the end, over at least so many.
_CORRECTION_QUARTERS = 16.0
_HURRY_QUARTERS = 8


def write(
    score: Score,
    path: str | os.PathLike[str],
    *,
    ticks_per_quarter: int = TICKS_PER_QUARTER,
    title: str = "Conductor",
    details: Details = NO_DETAILS,
    overwrite: bool = True,
) -> None:
    """Write a Score as a Standard MIDI File, all at once or not at all; see `to_bytes`.

    Raises `MidiError` for what a MIDI file cannot hold, `OutputError` for a place that cannot be written.
    """
    write_bytes(
        path, to_bytes(score, ticks_per_quarter=ticks_per_quarter, title=title, details=details), overwrite=overwrite
    )


def to_bytes(
    score: Score,
    *,
    ticks_per_quarter: int = TICKS_PER_QUARTER,
    title: str = "Conductor",
    details: Details = NO_DETAILS,
) -> bytes:
    """A Score as the bytes of a type 1 Standard MIDI File. Inverse of `from_bytes`.

    - ticks_per_quarter: the resolution, a multiple of 16, so that every meter is a whole number of ticks. It is
      doubled until half a tick at the slowest tempo is within 1 ms: 480 is enough down to 62.8 quarter notes a
      minute, 960 down to 31.4, and so on.
    - title: the name of track 0.
    - details: what else to write (`emsync.midi_details`); by default nothing.

    What is written:
    - Tracks: tempo, meter, keys and markers in track 0. Then one track for each of `score.instruments`, in order, with
      its name, its channel (10 for drums, one of the others for the rest) and its program. If there are more than 15
      melodic instruments, those with the same program share a channel.
    - Bars start at exact multiples of their meter; tempo changes at bar starts are on the bar's tick. A bar that is
      shorter or longer than its meter gets a meter that fits, or is cut short by the next meter event.
    - Tempo: MIDI tempo is a whole number of microseconds per quarter note. The tempo map is rounded to that, and
      corrected by a few microseconds at a bar line whenever bars have drifted by a quarter of a tick. Note times in
      seconds become ticks under this rounded map, so no note is off by more than 1 ms.
    - Notes last at least one tick. Of equal notes of one instrument that begin together, one is kept: with the longest
      length and the greatest velocity. A note ends where an equal one of its instrument begins.
    - End: all tracks end at the score's duration, rounded down to a tick. If that ended a note more than 1 ms early,
      the resolution is doubled once more.

    Raises `MidiError` for a tempo under 3.58 quarter notes a minute, a score over 24 hours, more than 15 different
    melodic programs among over 15 instruments, and more than 1,023 instruments.
    """
    if not (isinstance(ticks_per_quarter, int) and 16 <= ticks_per_quarter <= 0x7FFF and ticks_per_quarter % 16 == 0):
        raise MidiError(f"{ticks_per_quarter} ticks a quarter note cannot be used; give a multiple of 16 up to 32752")
    if len(score.instruments) >= MAX_TRACKS:
        raise MidiError(f"{len(score.instruments)} instruments are over {MAX_TRACKS - 1}; merge some of them")
    if score.duration_s > MAX_HOURS * 3600:
        raise MidiError(f"a score of {score.duration_s / 3600:.3g} hours is over {MAX_HOURS}; cut it into parts")
    slowest_us = US_PER_MINUTE / float(score.tempo.qpm[score.tempo.times_s <= score.duration_s].min())
    if slowest_us > SLOWEST_US:
        raise MidiError(
            f"a tempo of {US_PER_MINUTE / slowest_us:.3g} quarter notes a minute is slower than a MIDI file can hold "
            f"({US_PER_MINUTE / SLOWEST_US:.3g}); double it and the length of the bars"
        )
    channels = _channels(score.instruments)
    division = ticks_per_quarter
    while slowest_us > 2 * _HALF_TICK_US * division:
        division *= 2

    bar_ticks, meters = _meters(score, division)
    clock = Clock.from_changes(_tempos(score, bar_ticks, division), division)
    end = int(clock.ticks_at(score.duration_s) + _SAME_TICK)
    if end > _MAX_DELTA:
        raise MidiError(f"a score of {end} ticks is over {_MAX_DELTA}; cut it into parts or lower its tempo")
    if score.end_s.max(initial=0.0) - clock.second(end) > _HALF_TICK_US / 1e6 and division <= 0x3FFF:
        # The last note may end neither after the score nor over a millisecond early.
        return to_bytes(score, ticks_per_quarter=2 * division, title=title, details=details)
    meters = [meter for meter in meters if meter[0] < max(end, 1)]
    tracks = [_conductor(score, clock, meters, title, end, details)]
    for index, instrument in enumerate(score.instruments):
        head = [(0, _text(TEXT_NAME, instrument.name))] if instrument.name else []
        head.append((0, bytes((0xC0 | channels[index], instrument.program))))
        head += [(0, event) for event in level_events(instrument, channels[index])] if details.levels else []
        tracks.append(head + list(_notes(score, index, channels[index], clock, end)))
    if details.tempo_span:
        tracks.append([(0, _text(TEXT_NAME, "Tempo span")), *span_events(channels, end)])
    end = max(end, *(tick for track in tracks for tick, _ in track))
    header = b"".join(number.to_bytes(2, "big") for number in (1, len(tracks), division))
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(chunk(track, end) for track in tracks)


def _channels(instruments: tuple[Instrument, ...]) -> list[int]:
    """The channel of each instrument: its own, or one per program if there are too many instruments."""
    melodic = [i for i, instrument in enumerate(instruments) if not instrument.is_drum]
    programs = list(dict.fromkeys(instruments[i].program for i in melodic))
    channels = [DRUM_CHANNEL] * len(instruments)
    own = len(melodic) <= len(MELODIC_CHANNELS)
    if not own and len(programs) > len(MELODIC_CHANNELS):
        raise MidiError(
            f"{len(melodic)} melodic instruments of {len(programs)} programs do not fit the {len(MELODIC_CHANNELS)} "
            "channels of a MIDI file; merge some of them"
        )
    for place, i in enumerate(melodic):
        channels[i] = MELODIC_CHANNELS[place if own else programs.index(instruments[i].program)]
    return channels


def _meters(score: Score, division: int) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The tick of each bar, and the meter events (tick, numerator, denominator) that make bars start there."""
    bars = score.bars
    if not len(bars):
        return [0], [(0, 4, 4)]
    labels = list(zip(bars.numerator.tolist(), bars.denominator.tolist(), strict=True))
    places = (score.tempo.quarters_at(bars.start_s) * division).tolist()
    ticks: list[int] = []
    for place, (above, below) in zip(places, [(1, 4), *labels], strict=False):
        due = ticks[-1] + 4 * division * above // below if ticks else 0
        # Compare with the bar's own place, so that rounding does not add up.
        tick = due if abs(place - due) <= _SAME_PLACE_TICKS else round(place)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)

    written: list[tuple[int, int, int]] = []  # every bar, in the meter that ends where the next one starts
    if ticks[0] > 0:  # music before the first bar: bars backwards from it, then what is left
        length = 4 * division * labels[0][0] // labels[0][1]
        rest = ticks[0] % length
        if rest:
            written.append((0, *_lasting(rest, labels[0], division)))
        if ticks[0] >= length:
            written.append((rest, *labels[0]))
    for tick, following, label in zip(ticks, [*ticks[1:], None], labels, strict=True):
        written.append((tick, *(label if following is None else _lasting(following - tick, label, division))))

    events: list[tuple[int, int, int]] = []
    running, due = (0, 0), 0.0
    for tick, above, below in written:
        length = 4 * division * above // below
        # After a bar that was cut short, and after a gap of several bars, repeat the meter.
        if (above, below) != running or (tick - due) % length:
            events.append((tick, above, below))
        running, due = (above, below), tick + length
    return ticks, events


def _lasting(ticks: int, label: tuple[int, int], division: int) -> tuple[int, int]:
    """A meter for a bar of `ticks` ticks: `label` if it fits, else one that fits, else a longer one."""
    whole = 4 * division
    if ticks * label[1] == whole * label[0]:
        return label
    for below in DENOMINATORS[2:]:
        if ticks * below % whole == 0 and ticks * below // whole <= MAX_NUMERATOR:
            return ticks * below // whole, below
    if ticks * label[1] < whole * label[0]:
        return label
    return min(-(-ticks * label[1] // whole), MAX_NUMERATOR), label[1]


def _tempos(score: Score, bar_ticks: list[int], division: int) -> list[tuple[int, int]]:
    """The tempo map as a file can hold it: (tick, whole microseconds per quarter note), the first at tick 0.

    Rounding adds up: that of the tempo itself, and that of changes to whole ticks. At a bar line where it has reached
    a quarter of a tick, the tempo is made a little faster or slower until the error is gone.
    """
    tempo = score.tempo
    bars = np.array(bar_ticks, dtype=np.int64)
    exact = tempo.quarters * division
    change_ticks = np.rint(exact).astype(np.int64)
    near = np.clip(np.searchsorted(bars, change_ticks), 0, len(bars) - 1)
    for at in (near, np.maximum(near - 1, 0)):
        change_ticks = np.where(np.abs(bars[at] - exact) <= _SAME_PLACE_TICKS, bars[at], change_ticks)
    # Of changes that fall on one tick the last one counts.
    ideal_at = dict(zip(change_ticks.tolist(), (US_PER_MINUTE / tempo.qpm).tolist(), strict=True))
    last = float(tempo.quarters_at(score.duration_s)) * division
    ticks = [tick for tick in sorted({*ideal_at, *bar_ticks, 0}) if tick <= last or tick == 0]
    targets_us = (tempo.seconds_at(np.array(ticks) / division) * 1e6).tolist()

    changes: list[tuple[int, int]] = []
    units, us, ideal, correcting = 0, 0, 0.0, 0
    for i, tick in enumerate(ticks):
        units += (tick - ticks[i - 1]) * us if i else 0
        late_us = units / division - targets_us[i]
        now, before = correcting, ideal
        ideal = ideal_at.get(tick, ideal)
        if late_us * now <= 0:
            now = 0
        if not now and abs(late_us) > ideal / (4 * division):
            now = 1 if late_us > 0 else -1
        if now == correcting and ideal == before:
            continue
        correcting = now
        us_now = round(ideal)
        if correcting:
            quarters = max(_CORRECTION_QUARTERS, (ticks[i + 1] - tick) / division if i + 1 < len(ticks) else 0.0)
            us_now = round(ideal - late_us / quarters)
            us_now = min(us_now, math.ceil(ideal) - 1) if correcting > 0 else max(us_now, math.floor(ideal) + 1)
        us_now = min(max(us_now, 1), SLOWEST_US)
        if us_now != us:
            changes.append((tick, us_now))
            us = us_now
    # A piece that ends on a tick (usually a bar line) must not end late, or that tick would be cut off. If it would,
    # play a little faster from a bar line about two bars before the end.
    end = round(last)
    late_us = (units + (end - ticks[-1]) * us) / division - score.duration_s * 1e6
    if abs(last - end) < _SAME_TICK and late_us > _SAME_TIME_US:
        began = changes[-1][0]
        place = max((tick for tick in ticks if began < tick <= end - _HURRY_QUARTERS * division), default=began)
        hurried = us - math.ceil(late_us * division / max(end - place, 1))
        if hurried > 0:
            changes = [*(change for change in changes if change[0] < place), (place, hurried)]
    return changes


def _conductor(
    score: Score, clock: Clock, meters: list[tuple[int, int, int]], title: str, end: int, details: Details
) -> list[tuple[int, bytes]]:
    """Events (tick, bytes) of track 0, in order; at one tick: meter, key, tempo, marker, text."""
    events = [(0, 0, _text(TEXT_NAME, title))]
    offset = details.smpte_event()
    if offset is not None:
        events.append((0, 0, offset))
    for tick, above, below in meters:
        # The metronome clicks once a beat, given in 24ths of a quarter note; compound meters have longer beats.
        beats = 3 if below >= 8 and above > 3 and above % 3 == 0 else 1
        click = max(96 * beats // below, 1)
        events.append((tick, 1, _meta(METER, bytes((above, below.bit_length() - 1, click, 8)))))
    for key in score.keys:
        tick = _tick(clock, key.time_s, end)
        fifths = (7 * (key.tonic - 9 * key.is_minor)) % 12
        fifths -= 12 if fifths > 6 else 0
        events.append((tick, 2, _meta(KEY, bytes((fifths % 256, int(key.is_minor))))))
    for tick, us in zip(clock.ticks.astype(np.int64).tolist(), clock.us.astype(np.int64).tolist(), strict=True):
        events.append((tick, 3, _meta(TEMPO, us.to_bytes(3, "big"))))
    for marker in score.markers:
        events.append((_tick(clock, marker.time_s, end), 4, _text(TEXT_MARKER, marker.text)))
    for text in details.texts:
        events.append((_tick(clock, text.time_s, end), 5, _text(TEXT, text.text)))
    return [(tick, event) for tick, _, event in sorted(events, key=lambda event: event[:2])]


def _tick(clock: Clock, time_s: float, end: int) -> int:
    """The tick nearest to a time; times at the very end are not rounded past it."""
    tick = round(float(clock.ticks_at(time_s)))
    return end if tick == end + 1 else tick


def _notes(score: Score, index: int, channel: int, clock: Clock, end: int) -> Iterator[tuple[int, bytes]]:
    """Note events (tick, bytes) of one instrument, in order; note-offs before note-ons at one tick."""
    mine = score.instrument == index
    pitch, velocity = score.pitch[mine], score.velocity[mine]
    on = np.rint(clock.ticks_at(score.start_s[mine])).astype(np.int64)
    off = np.rint(clock.ticks_at(score.end_s[mine])).astype(np.int64)
    off = np.maximum(np.minimum(off, end), on + 1)  # no note outlasts the piece
    order = np.lexsort((-off, on, pitch))
    pitch, velocity, on, off = pitch[order], velocity[order], on[order], off[order]
    if len(pitch):
        first = np.flatnonzero(np.append(True, (np.diff(pitch) != 0) | (np.diff(on) != 0)))
        velocity = np.maximum.reduceat(velocity, first)
        pitch, on, off = pitch[first], on[first], off[first]
        again = np.append(np.diff(pitch) == 0, False)
        off = np.where(again, np.minimum(off, np.append(on[1:], 0)), off)
    ons = zip(on.tolist(), [1] * len(on), pitch.tolist(), velocity.tolist(), strict=True)
    offs = zip(off.tolist(), [0] * len(on), pitch.tolist(), [RELEASE] * len(on), strict=True)
    for tick, is_on, key, force in sorted([*ons, *offs]):
        yield tick, bytes(((0x90 if is_on else 0x80) | channel, key, force))


def chunk(events: list[tuple[int, bytes]], end: int) -> bytes:
    """A track chunk of events (tick, bytes), in order, that ends at tick `end`."""
    parts: list[bytes] = []
    now = 0
    for tick, event in [*events, (end, _meta(END_OF_TRACK, b""))]:
        parts += (quantity(tick - now), event)
        now = tick
    data = b"".join(parts)
    return b"MTrk" + len(data).to_bytes(4, "big") + data


def _meta(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind)) + quantity(len(data)) + data


def _text(kind: int, text: str) -> bytes:
    return _meta(kind, text.encode("utf-8", errors="replace"))
