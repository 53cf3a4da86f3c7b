"""A piece as a player reads it: staves, bars, voices, notes of common lengths.

    staves, bars = notated(score)

What was played is moved to sixteenths, or to triplet eighths in beats that fit them better. Each staff has one or two
voices; notes are shortened rather than spread over a third voice. Notes are split and tied at bar lines, and at beats
where they would hide one.

Conventions
- A *unit* is a twelfth of a quarter note, so that sixteenths are 3 units and triplet eighths 4.
- Positions are in units from the first bar line; bars follow one another without gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from emsync.errors import InputError
from emsync.score import Instrument, Score

UNITS: Final = 12
#: Steps of the two grids, in units.
_SIXTEENTH, _TRIPLET = 3, 4
#: Lengths that one note without a tie has, in units, the longest first.
LENGTHS: Final = (48, 36, 24, 18, 12, 9, 8, 6, 4, 3)
#: Written out, more bars than this fill no book.
_MAX_BARS: Final = 10_000
#: Staves split in two where at least this share of notes lies on either side of middle C.
_TWO_STAVES: Final = 0.15
_MIDDLE_C: Final = 60
_CONTRABASS: Final = 43


@dataclass(frozen=True)
class Bar:
    """A bar: where it begins and how long it is, in units; its meter."""

    start: int
    length: int
    numerator: int
    denominator: int

    @property
    def beat(self) -> int:
        """The length of a beat: a dotted quarter in compound meters, else a quarter."""
        return 18 if self.denominator == 8 and self.numerator % 3 == 0 and self.numerator > 3 else UNITS


@dataclass
class Event:
    """Pitches that begin and end together; none is a rest. `ties` says whether it goes on from, and into, another."""

    start: int
    end: int
    pitches: tuple[int, ...] = ()
    ties: tuple[bool, bool] = (False, False)


@dataclass
class Staff:
    """A staff of an instrument: by index; `hand` 0 is its only or upper staff, 1 the lower one."""

    instrument: int
    hand: int
    voices: list[list[Event]] = field(default_factory=list)


def is_bass(instrument: Instrument) -> bool:
    """Whether an instrument is written as a bass: by its name, as in our own files, or by its program."""
    return not instrument.is_drum and (instrument.name == "Bass" or instrument.program in (*range(32, 40), _CONTRABASS))


def notated(score: Score) -> tuple[list[Staff], list[Bar]]:
    """The staves of the instruments that play, and the bars. Raises `InputError` for a score that has too many bars."""
    bars, places = _bars(score)
    staves: list[Staff] = []
    for index, instrument in enumerate(score.instruments):
        mine = np.flatnonzero(score.instrument == index)
        if not len(mine):
            continue
        starts, ends = _snapped(score, mine, bars, places)
        pitches = score.pitch[mine]
        is_single = instrument.is_drum or is_bass(instrument)
        below = float((pitches < _MIDDLE_C).mean())
        two = not is_single and not 24 <= instrument.program <= 31 and _TWO_STAVES < below < 1 - _TWO_STAVES
        for hand in range(2 if two else 1):
            here = np.ones(len(mine), bool) if not two else (pitches < _MIDDLE_C) == bool(hand)
            notes = sorted(zip(starts[here].tolist(), ends[here].tolist(), pitches[here].tolist(), strict=True))
            voices = _voices(notes, 1 if is_single else 2, bars, fill=instrument.is_drum)
            staves.append(Staff(index, hand, voices))
    return staves, bars


def _bars(score: Score) -> tuple[list[Bar], np.ndarray]:
    """Every bar until the piece ends, and where each begins in the score, in quarters."""
    starts = score.tempo.quarters_at(score.bars.start_s).tolist() or [0.0]
    meters = list(zip(score.bars.numerator.tolist(), score.bars.denominator.tolist(), strict=True)) or [(4, 4)]
    end = float(score.tempo.quarters_at(score.duration_s))
    while starts[-1] + 4 * meters[-1][0] / meters[-1][1] < end - 1e-3 and len(starts) <= _MAX_BARS:
        starts.append(starts[-1] + 4 * meters[-1][0] / meters[-1][1])
        meters.append(meters[-1])
    if len(starts) > _MAX_BARS:
        raise InputError(f"the piece has over {_MAX_BARS} bars, which is no score to read; cut it into parts")
    bars, at = [], 0
    for i, (above, below) in enumerate(meters):
        length = max(round(4 * UNITS * above / below), _SIXTEENTH)
        if i + 1 < len(starts):  # a bar that was cut short is written as long as it is, in sixteenths
            played = round((starts[i + 1] - starts[i]) * UNITS / _SIXTEENTH) * _SIXTEENTH
            if 0 < played < length:
                length, above, below = played, played // _SIXTEENTH, 16
        bars.append(Bar(at, length, above, below))
        at += length
    return bars, np.array(starts)


def to_units(score: Score, time_s: float, bars: list[Bar]) -> float:
    """The place of a time in units; `bars` are those of `notated`."""
    _, places = _bars(score)
    return float(_placed(score, np.array([time_s]), bars, places)[0])


def _placed(score: Score, times_s: np.ndarray, bars: list[Bar], places: np.ndarray) -> np.ndarray:
    quarters = score.tempo.quarters_at(times_s)
    which = np.clip(np.searchsorted(places, quarters + 1e-6, side="right") - 1, 0, len(bars) - 1)
    start = np.array([bar.start for bar in bars])[which]
    length = np.array([bar.length for bar in bars])[which]
    return start + np.clip((quarters - places[which]) * UNITS, 0, length)


def _snapped(score: Score, mine: np.ndarray, bars: list[Bar], places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of notes on the grid of their beats, in units."""
    exact = _placed(score, score.start_s[mine], bars, places)
    ends = _placed(score, score.end_s[mine], bars, places)
    edges = np.array([bar.start for bar in bars])

    def beat_starts(times: np.ndarray) -> np.ndarray:
        return _beat_starts(times, edges)

    last = bars[-1].start + bars[-1].length
    beats = beat_starts(exact + 0.25)
    triplets = []
    for beat in np.unique(beats).tolist():
        inside = exact[beats == beat] - beat
        error = [float(np.abs(inside - np.rint(inside / step) * step).sum()) for step in (_SIXTEENTH, _TRIPLET)]
        off_beat = np.isin(np.rint(inside / _TRIPLET), (1, 2)).any()
        if off_beat and error[1] < 0.6 * error[0] and (edges <= beat).sum() == (edges < beat + UNITS).sum():
            triplets.append(beat)

    def snap(times: np.ndarray) -> np.ndarray:
        at = beat_starts(times)
        steps = np.where(np.isin(at, triplets), _TRIPLET, _SIXTEENTH)
        return (at + np.rint((times - at) / steps) * steps).astype(int)

    starts = snap(exact)
    late = np.where(np.isin(beat_starts(np.array([last - 1])), triplets), _TRIPLET, _SIXTEENTH)
    starts = np.where(starts >= last, last - late, starts)
    steps = np.where(np.isin(beat_starts(starts), triplets), _TRIPLET, _SIXTEENTH)
    return starts, np.minimum(np.maximum(snap(ends), starts + steps), last)


def _beat_starts(times: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Where the beats begin that times lie in, counted from their bar lines, `edges`."""
    bar_at = edges[np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 1)]
    return (bar_at + np.floor((times - bar_at) / UNITS) * UNITS).astype(int)


def _voices(notes: list[tuple[int, int, int]], most: int, bars: list[Bar], *, fill: bool) -> list[list[Event]]:
    """One or two voices of events that do not overlap."""
    voices: list[list[Event]] = [[] for _ in range(most)]
    for event in _chords(notes, most):
        for voice in voices:  # a note that would last a moment longer makes room
            if voice and 0 < voice[-1].end - event.start < UNITS and voice[-1].start < event.start:
                voice[-1].end = event.start
        free = [voice for voice in voices if not voice or voice[-1].end <= event.start]
        if free:
            free[0].append(event)
            continue
        busy = [voice for voice in voices if voice[-1].start < event.start]
        if busy:
            chosen = min(busy, key=lambda voice: voice[-1].end)
            chosen[-1].end = event.start
            chosen.append(event)
        else:  # begins with the others: one chord
            voice = min(voices, key=lambda each: abs(each[-1].end - event.end))
            voice[-1].pitches = tuple(sorted({*voice[-1].pitches, *event.pitches}))
    edges = np.array([bar.start for bar in bars])
    voices = [voice for voice in voices if voice]
    for voice in voices:
        begun = _beat_starts(np.array([event.start for event in voice], dtype=int), edges).tolist()
        ended = _beat_starts(np.array([event.end for event in voice], dtype=int), edges).tolist()
        room = [*(event.start for event in voice[1:]), bars[-1].start + bars[-1].length]
        for event, begins, ends, until in zip(voice, begun, ended, room, strict=True):
            gap = until - event.end
            if fill:  # drums have no length: until the next hit, or the next beat
                event.end = min(until, max(begins + UNITS, event.end))
            elif 0 < gap <= UNITS // 2 and event is not voice[-1]:
                event.end = until
            elif gap > 0:
                event.end = _rounded(event, ends)
    return voices


def _rounded(event: Event, beat: int) -> int:
    """An end before a rest, moved to the beat that is a sixteenth away, if the note began before that beat.

    beat: where the beat begins in which the event ends.
    """
    into = event.end - beat
    if into == _SIXTEENTH and event.start <= beat - _SIXTEENTH:
        return beat
    return event.end + _SIXTEENTH if into == UNITS - _SIXTEENTH else event.end


def _chords(notes: list[tuple[int, int, int]], most: int) -> list[Event]:
    """Notes that begin together, as one event, or two if some last a beat longer than others."""
    at: dict[int, list[tuple[int, int]]] = {}
    for start, end, pitch in notes:
        at.setdefault(start, []).append((end, pitch))
    events = []
    for start, group in sorted(at.items()):
        longest = max(end for end, _ in group)
        long = [pitch for end, pitch in group if end > longest - UNITS or most == 1]
        short = [(end, pitch) for end, pitch in group if end <= longest - UNITS and most > 1]
        events.append(Event(start, longest, tuple(sorted(set(long)))))
        if short:
            events.append(Event(start, max(end for end, _ in short), tuple(sorted({pitch for _, pitch in short}))))
            # The upper voice comes first.
            events[-2:] = sorted(events[-2:], key=lambda event: -max(event.pitches))
    return events


def measures(voice: list[Event], bars: list[Bar]) -> list[list[Event]]:
    """A voice bar by bar: notes of common lengths, tied where one was split, with rests between."""
    out: list[list[Event]] = []
    index = 0
    for bar in bars:
        inside: list[Event] = []
        now, until = bar.start, bar.start + bar.length
        while index < len(voice) and voice[index].start < until:
            event = voice[index]
            start, end = max(event.start, now), min(event.end, until)
            if start > now:
                inside += _split(Event(now, start), bar)
            if end > start:
                ties = (start > event.start, end < event.end)
                inside += _split(Event(start, end, event.pitches, ties), bar)
                now = end
            if event.end > until:
                break
            index += 1
        if now < until:
            inside += [Event(now, until)] if now == bar.start else _split(Event(now, until), bar)
        out.append(inside)
    return out


def _split(event: Event, bar: Bar) -> list[Event]:
    """An event of a bar as events of common lengths that do not hide a beat."""
    cuts = [event.start]
    while cuts[-1] < event.end:
        at = cuts[-1] - bar.start
        left = event.end - cuts[-1]
        into = at % bar.beat
        if into == 0 or (event.pitches and into == 6 and left in (12, 24) and bar.beat == UNITS):
            fits = [length for length in LENGTHS if length <= left and (length < 48 or at == 0)]
            if not event.pitches and into == 0 and bar.beat == UNITS:  # rests show every beat, and half bars
                fits = [length for length in fits if length <= UNITS or (length == 24 and at % 24 == 0)]
            if bar.beat == 18:
                fits = [length for length in fits if length <= 18 or length == 36]
            # A dotted quarter would leave less than a sixteenth of a note that ends on a triplet.
            fits = [length for length in fits if not 0 < left - length < _SIXTEENTH] or fits
        else:
            fits = [length for length in LENGTHS if length <= min(left, bar.beat - into)]
        cuts.append(cuts[-1] + (fits[0] if fits else left))
    pieces = list(pairwise(cuts))
    before, after = event.ties
    last = len(pieces) - 1
    return [
        Event(a, b, event.pitches, (before or i > 0, after or i < last) if event.pitches else (False, False))
        for i, (a, b) in enumerate(pieces)
    ]
