"""Fit a tempo map to bars: first give bars musical lengths, then find the fewest tempi.

`TempoMap.from_bars` is the public door; its docstring states the rules. Everything here works on plain arrays:
- `start_s` (B,): where bars start, in seconds.
- `meters`: one (numerator, denominator) a bar. A length in quarter notes is 4 * numerator / denominator.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np

from emsync.columns import FloatArray

Meter: TypeAlias = tuple[int, int]
#: Points (seconds at the end of a piece, seconds a quarter note): one point is one straight line.
Polygon: TypeAlias = list[tuple[float, float]]

#: The tempo where none is known: the default of Standard MIDI Files.
DEFAULT_QPM: Final = 120.0
# What counts as a musical tempo, and how far one bar may depart from the tempo around it.
_SLOWEST_QPM, _FASTEST_QPM = 20.0, 400.0
_DEPARTURE = 0.12
# How many bars in a row must agree, and how well, to make a new tempo.
_AGREEING_BARS, _AGREEMENT = 3, 0.03
# A longer bar is split.
_LONGEST_BAR_QUARTERS = 8.0
# A new length is a multiple of the first of these (quarters, denominator) that fits.
_UNITS: Final = ((0.5, 8), (0.25, 16), (0.125, 32), (0.0625, 64))
_ROUNDING_S = 1e-7
_SAME_CORNER = (1e-9, 1e-13)  # seconds, seconds a quarter


def lengths_quarters(meters: list[Meter]) -> FloatArray:
    """The length of each bar in quarter notes, shape (B,)."""
    return np.array([4.0 * above / below for above, below in meters])


def typical_qpm(start_s: FloatArray, meters: list[Meter], duration_s: float | None) -> float:
    """The median of the bars' own musical tempi, in quarter notes a minute.

    A lone bar takes its tempo from `duration_s`, the end of the music, if that gives 40 to 240; else 120.
    """
    quarters = lengths_quarters(meters)
    if len(start_s) == 1:
        rest_s = (duration_s or 0.0) - start_s[0]
        qpm = 60.0 * quarters[0] / rest_s if rest_s > 0 else 0.0
        return float(qpm) if 40.0 <= qpm <= 240.0 else DEFAULT_QPM
    with np.errstate(over="ignore"):
        own = 60.0 * quarters[:-1] / np.diff(start_s)
    musical = np.sort(own[(own >= _SLOWEST_QPM) & (own <= _FASTEST_QPM)])
    return float(musical[len(musical) // 2]) if len(musical) else DEFAULT_QPM


def relabel(
    start_s: FloatArray, nominal: list[Meter], tolerance_s: float, running_qpm: float
) -> tuple[FloatArray, list[Meter]]:
    """Bar starts in seconds, the first at 0, and meters under which every bar keeps a musical tempo.

    nominal: the meters as they are now. running_qpm: the tempo to begin with.
    """
    running = running_qpm
    starts: list[float] = [0.0]
    labels: list[Meter] = []

    def place(until_s: float, length: float, meter: Meter, short_first: bool = False) -> None:
        """Add the bars of one stretch, evenly in time, up to the next start."""
        begin_s = starts[-1]
        done = 0.0
        for label in _split(length, meter, short_first=short_first):
            labels.append(label)
            done += 4.0 * label[0] / label[1]
            starts.append(begin_s + (until_s - begin_s) * done / length)
        starts[-1] = until_s

    first_s = float(start_s[0])
    if first_s > tolerance_s:
        lead = _fitted(first_s * running / 60.0)
        if lead is not None:  # else the first bar begins at 0 instead
            place(first_s, lead, nominal[0], short_first=True)

    waiting: Meter | None = None  # the meter of a bar that was too short to keep its end
    for i in range(len(start_s) - 1):
        meter = waiting or nominal[i]
        end_s = float(start_s[i + 1])
        length_s = end_s - starts[-1]
        quarters = 4.0 * meter[0] / meter[1]
        own = 60.0 * quarters / length_s if length_s > 0 else math.inf
        if _is_near(own, running):
            labels.append(meter)
            starts.append(end_s)
            running += (own - running) / 2
            waiting = None
        elif waiting is None and (new := _new_tempo(start_s, nominal, i, tolerance_s)) is not None:
            labels.append(meter)
            starts.append(end_s)
            running = new
        elif (fitted := _fitted(length_s * running / 60.0)) is not None:
            place(end_s, fitted, meter)
            waiting = None
        else:  # too short to be a bar: its end is no bar line
            waiting = meter
    labels.append(waiting or nominal[-1])
    return np.array(starts), labels


def _fitted(length: float) -> float | None:
    """The nearest musical length to `length`, both in quarter notes; None where none is near.

    A multiple of an eighth, or of the longest shorter note, within 12 %. Where even 64ths are coarser than that, the
    nearest multiple of a 64th, unless it is more than a third off.
    """
    count = 0
    unit = 0.0
    for unit, _ in _UNITS:
        count = round(length / unit)
        # The tempo departs by the inverse: count * unit / length.
        if count and abs(count * unit / length - 1) <= _DEPARTURE:
            return count * unit
    if count and abs(count * unit / length - 1) <= 1 / 3:
        return count * unit
    return None


def _split(length: float, nominal: Meter, *, short_first: bool = False) -> list[Meter]:
    """Meters whose lengths sum to `length` quarter notes, a multiple of a 64th.

    One bar; past 8 quarters as many bars of the nominal meter as fit, and one with the rest, in front if `short_first`.
    """
    usual = 4.0 * nominal[0] / nominal[1]
    full, rest = 0, length
    if length > _LONGEST_BAR_QUARTERS:
        if not 1.0 <= usual <= _LONGEST_BAR_QUARTERS:
            nominal, usual = (4, 4), 4.0
        full = int(length // usual)
        rest = length - full * usual
    labels = [nominal] * full
    if rest:
        unit, denominator = next((unit, below) for unit, below in ((1.0, 4), *_UNITS) if rest % unit == 0)
        odd = nominal if rest == usual else (round(rest / unit), denominator)
        labels.insert(0 if short_first else full, odd)
    return labels


def _is_near(own_qpm: float, running_qpm: float) -> bool:
    return _SLOWEST_QPM <= own_qpm <= _FASTEST_QPM and abs(own_qpm / running_qpm - 1) <= _DEPARTURE


def _new_tempo(start_s: FloatArray, meters: list[Meter], i: int, tolerance_s: float) -> float | None:
    """The tempo on which bar i and the bars after it agree; None if they disagree or it is not a musical tempo."""
    if i + _AGREEING_BARS >= len(start_s):
        return None
    lengths_s = np.diff(start_s[i : i + _AGREEING_BARS + 1])
    own = 60.0 * lengths_quarters(meters[i : i + _AGREEING_BARS]) / lengths_s
    agreement = max(_AGREEMENT, 2 * tolerance_s / float(lengths_s.min()))  # the jitter of both ends
    if own.min() < _SLOWEST_QPM or own.max() > _FASTEST_QPM or own.max() > own.min() * (1 + min(agreement, _DEPARTURE)):
        return None
    return float(np.median(own))


def fewest_tempi(
    places: FloatArray, starts_s: FloatArray, tolerance_s: float, lone_qpm: float
) -> tuple[list[int], FloatArray]:
    """A continuous line of few straight pieces within `tolerance_s` of every bar start.

    - places (B,): bar starts in quarter notes. starts_s (B,): the same in seconds.
    - lone_qpm: the tempo of a single bar.

    Returns the bars at which the pieces begin, and their tempi in quarter notes a minute.

    Works from the end to the beginning, each piece as long as it can be. All lines that pass every bar so far form a
    convex polygon of points (seconds at the piece's end, seconds a quarter note), which each further bar clips. What
    is left says in which interval the piece may begin. A second pass runs forward and chooses each piece's tempo, as
    round a number as possible.
    """
    if len(places) == 1:
        return [0], np.array([_roundest(lone_qpm * (1 - 1e-12), lone_qpm * (1 + 1e-12))])
    # A bar's own tempo is always allowed, so that one bar alone always has a line.
    own = np.diff(starts_s) / np.diff(places)
    slopes = (min(60.0 / _FASTEST_QPM, own.min()), max(60.0 / _SLOWEST_QPM, own.max()))
    gate = np.full(len(places), tolerance_s)
    gate[0] = 0.0

    last = len(places) - 1
    low, high = starts_s[last] - tolerance_s, starts_s[last] + tolerance_s
    pieces: list[tuple[int, int, Polygon]] = []  # (first bar, last bar, polygon), latest first
    while last > 0:
        polygon = [(low, slopes[0]), (high, slopes[0]), (high, slopes[1]), (low, slopes[1])]
        first = last
        while first > 0:
            reach = places[last] - places[first - 1]
            centre, width = starts_s[first - 1], gate[first - 1] + _ROUNDING_S
            narrower = _clip(_clip(polygon, 1.0, -reach, centre + width), -1.0, reach, width - centre)
            if not narrower:
                break
            polygon, first = narrower, first - 1
        if first == last:  # rounding alone can bring this about: pass through the two bars
            first = last - 1
            value = min(max(starts_s[last], low), high)
            polygon = [(value, (value - starts_s[first]) / (places[last] - places[first]))]
        pieces.append((first, last, polygon))
        begins = [value - slope * (places[last] - places[first]) for value, slope in polygon]
        last, low, high = first, min(begins), max(begins)

    changes: list[int] = []
    qpm: list[float] = []
    now_s = 0.0
    for first, last, polygon in reversed(pieces):
        length = places[last] - places[first]
        slow, fast = _slopes_from(polygon, length, now_s)
        tempo = _roundest(60.0 / fast, 60.0 / slow)
        now_s += length * 60.0 / tempo
        if qpm and qpm[-1] == tempo:
            continue
        changes.append(first)
        qpm.append(tempo)
    return changes, np.array(qpm)


def _clip(polygon: Polygon, a: float, b: float, limit: float) -> Polygon:
    """The part of a convex polygon of points (x, y) where a x + b y <= limit (Sutherland and Hodgman)."""
    kept: Polygon = []
    excess = [a * x + b * y - limit for x, y in polygon]
    if max(excess, default=0.0) <= 0:
        return polygon
    for i, (here, now) in enumerate(zip(polygon, excess, strict=True)):
        before, was = polygon[i - 1], excess[i - 1]
        if (was > 0) != (now > 0):
            share = was / (was - now)
            kept.append((before[0] + share * (here[0] - before[0]), before[1] + share * (here[1] - before[1])))
        if now <= 0:
            kept.append(here)
    # Gates that only graze a corner split it into many, a rounding apart: keep one of them.
    return [
        here
        for here, before in zip(kept, [*kept[-1:], *kept], strict=False)
        if abs(here[0] - before[0]) > _SAME_CORNER[0] or abs(here[1] - before[1]) > _SAME_CORNER[1]
    ] or kept[:1]


def _slopes_from(polygon: Polygon, length: float, begin_s: float) -> tuple[float, float]:
    """The smallest and greatest slope of the polygon's lines that begin at `begin_s`, or near it where none does."""
    begins = [value - slope * length for value, slope in polygon]
    slopes: list[float] = []
    for i, (here, (_, slope)) in enumerate(zip(begins, polygon, strict=True)):
        before, other = begins[i - 1], polygon[i - 1][1]
        if here == begin_s:
            slopes.append(slope)
        if (before < begin_s < here) or (here < begin_s < before):
            slopes.append(other + (slope - other) * (begin_s - before) / (here - before))
    if not slopes:
        nearest = min(abs(here - begin_s) for here in begins)
        slopes = [
            (value - begin_s) / length
            for here, (value, _) in zip(begins, polygon, strict=True)
            if abs(here - begin_s) <= nearest + _ROUNDING_S
        ]
    return min(slopes), max(slopes)


def _roundest(low: float, high: float) -> float:
    """The number between two with the fewest decimals, near their middle."""
    middle = (low + high) / 2
    for digits in range(6):
        candidate = round(middle, digits)
        if low <= candidate <= high:
            return candidate
    return middle
