"""The clock of a film: when each frame is shown, whatever the file's time stamps are, and the frame rate.

Files have time stamps that restart, jump, repeat, are out of order or are missing. `FrameClock` gives each frame a
time that a player would give it: the first frame is at 0, times strictly increase, and jumps that last are bridged by
the length of one frame. `settled_rate` finds a frame rate that films have.

Conventions: a stamp is a number of ticks of the file's clock; ticks count from the first frame; `time_base` is seconds
a tick.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: How many frames decide whether a time stamp is a single error or the clock restarts.
LOOKAHEAD: Final = 8

#: A gap longer than this is looked at. In formats whose clock may jump (transport and program streams), one longer than
#: `JUMP_S`, ffmpeg's limit, is a jump; in others one longer than `LONG_JUMP_S`.
SUSPICIOUS_S: Final = 2.0
JUMP_S: Final = 10.0
LONG_JUMP_S: Final = 3600.0

#: Rates that films have.
RATES: Final = tuple(Fraction(rate) for rate in (10, 12, "12.5", 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)) + tuple(
    Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)
)
DEFAULT_RATE: Final = Fraction(25)


@dataclass
class Span:
    """A stretch of a film in which the file's clock runs on, in seconds."""

    first_s: float
    """The file's clock at the first frame."""
    film_s: float
    """Where that frame is in the film."""
    last_s: float
    """The file's clock at the last frame."""


class FrameClock:
    """Gives frames their times. After the last frame, `ticks` holds the time of each, and `warnings` the corrections.

    - time_base: seconds a tick.
    - step: ticks from one frame to the next at the nominal rate, where nothing else is known.
    - jump_s: a longer gap is a jump of the clock.
    - is_filled: whether the sound goes on between two times of the file's clock, in seconds; such a gap is not a jump.
    """

    def __init__(
        self, time_base: Fraction, step: int, jump_s: float, is_filled: Callable[[float, float], bool]
    ) -> None:
        self.ticks: array[int] = array("q")
        self.spans: list[Span] = []
        self.warnings: list[str] = []
        self._time_base, self.step, self._jump_s, self._is_filled = time_base, step, jump_s, is_filled
        self._suspicious = int(SUSPICIOUS_S / time_base)
        self._queue: deque[Any] = deque()
        self._offset = 0
        self._gap = step  # between the last two frames with plain time stamps
        self._stamp: Callable[[Any], int | None] = lambda frame: frame.pts if frame.pts is not None else frame.dts

    def times(self, decoded: Iterable[Any]) -> Iterator[tuple[Any, int]]:
        """Each frame with its ticks, which begin at 0 and strictly increase. Repeated time stamps are left out."""
        source = iter(decoded)
        self._fill(source)
        self._choose_stamp()
        before: int | None = None
        while self._queue or self._fill(source, 1):
            frame = self._queue.popleft()
            stamp = self._stamp(frame)
            if stamp is not None and stamp == before:
                continue  # shown for no time at all
            at = self._at(stamp, source)
            before = stamp
            if at is None:
                continue
            self.ticks.append(at)
            if stamp is not None:
                self.spans[-1].last_s = float(stamp * self._time_base)
            yield frame, at

    def _fill(self, source: Iterator[Any], size: int = LOOKAHEAD) -> bool:
        """Look ahead, up to `size` frames; whether there is one."""
        while len(self._queue) < size:
            frame = next(source, None)
            if frame is None:
                break
            self._queue.append(frame)
        return bool(self._queue)

    def _choose_stamp(self) -> None:
        """Which time stamps to believe, from the first frames (as ffmpeg's `guess_correct_pts` does)."""
        shown = [frame.pts for frame in self._queue if frame.pts is not None]
        decoded = [frame.dts for frame in self._queue if frame.dts is not None]
        if len(shown) > 2 and len(set(shown)) == 1:
            self._warn("the frames have no time stamps of their own; they are shown at the nominal rate")
            self._stamp = lambda frame: None
        elif shown != sorted(shown) and len(decoded) == len(self._queue) and decoded == sorted(set(decoded)):
            self._warn("time stamps stand out of order; the order of decoding is used")
            self._stamp = lambda frame: frame.dts

    def _at(self, stamp: int | None, source: Iterator[Any]) -> int | None:
        """Ticks of a frame with that time stamp; None for one that has no room between its neighbours."""
        if not self.ticks:
            first = stamp or 0
            self._offset = -first
            self.spans.append(Span(float(first * self._time_base), 0.0, float(first * self._time_base)))
            return 0
        last = self.ticks[-1]
        if stamp is None:
            return last + self._gap
        at = stamp + self._offset
        if last < at <= last + self._suspicious:
            self._gap = at - last
            return at
        self._fill(source)
        ahead = [s + self._offset for s in map(self._stamp, self._queue) if s is not None]
        if at <= last:
            later = [other for other in ahead if other > last]
            if 2 * len(later) > len(ahead):
                self._warn("time stamps stand out of order; frames are shown in the order of decoding")
                middle = (last + min(later)) // 2
                return middle if middle > last else None
            if not ahead and (last - at) * self._time_base < 1:
                return last + self._gap
            return self._bridge(stamp, last)
        if ahead and 2 * sum(other < at for other in ahead) > len(ahead):
            self._warn("a time stamp is far from those around it; it was put between them")
            later = [other for other in ahead if last < other < at]
            return (last + min(later) + 1) // 2 if later and min(later) > last + 1 else last + self._gap
        is_jump = (at - last) * self._time_base > self._jump_s
        if is_jump and not self._is_filled(self.spans[-1].last_s, float(stamp * self._time_base)):
            return self._bridge(stamp, last)
        return at

    def _bridge(self, stamp: int, last: int) -> int:
        """Let the film go on one frame after the last, from a new place on the file's clock."""
        at = last + self._gap
        self._offset = at - stamp
        raw_s = float(stamp * self._time_base)
        where = float(at * self._time_base)
        self.spans.append(Span(raw_s, where, raw_s))
        if len(self.spans) <= 4:
            self._warn(f"the file's clock jumps at {where:.2f} s of the film; the film goes on there without a gap")
        return at

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


# --- frame rates ------------------------------------------------------------------------------------------------------


def usual_rate(rate: Fraction) -> Fraction:
    """`rate`, or the rate that films have if it is within 0.04 % (24 and 23.976 are 0.1 % apart)."""
    nearest = min(RATES, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest - rate) <= nearest * Fraction(4, 10_000) else rate


def existing_rate(rate: Fraction) -> Fraction:
    """The nearest rate that exists: one that films have, or a whole number, from 1 to 120."""
    whole = Fraction(min(max(round(rate), 1), 120))
    nearest = min(RATES, key=lambda usual: abs(usual - rate))
    # A rate within one part in a hundred of a usual one is that one, measured coarsely.
    return nearest if abs(nearest - rate) <= rate / 100 or rate > 120 else whole


def settled_rate(ticks: Sequence[int], time_base: Fraction, declared: Sequence[Fraction | None]) -> Fraction:
    """The frame rate of a film, for labels; one that exists.

    - ticks: the times of all frames.
    - declared: the rates that the file gives, the most credible first.

    Where frames follow evenly, it is their rate (the file's own word for it, if that agrees within one part in a
    hundred). Where they do not, as in screen recordings, it is the mean rate if films have it (soft telecine), else
    what the file declares, else the rate of the commonest gap.
    """
    hints = [usual_rate(rate) for rate in declared if rate is not None and rate <= 120]
    known = [rate for rate in hints if rate in RATES]
    if len(ticks) < 2:
        return known[0] if known else DEFAULT_RATE
    gaps = np.diff(np.asarray(ticks, dtype=np.float64))
    typical = float(np.median(gaps))
    times = np.maximum(np.round(gaps / typical), 1)  # a gap of three frames is one with two missing
    is_even = np.abs(gaps - times * typical) <= np.maximum(0.25 * typical, 1.5)
    measured = Fraction(float(times.sum() / gaps.sum())) / time_base
    if is_even.mean() >= 0.9 and (times == 1).mean() >= 0.5 and measured >= 1:
        close = [rate for rate in hints if abs(rate - measured) <= measured / 100]
        exact = [rate for rate in close if rate in RATES or rate.denominator == 1]
        return exact[0] if exact else existing_rate(measured)
    mean = Fraction(float(len(gaps) / gaps.sum())) / time_base
    near = [rate for rate in RATES if abs(rate - mean) <= rate * Fraction(1, 1000)]
    if near:
        return min(near, key=lambda rate: abs(rate - mean))
    if known:
        return known[0]
    return existing_rate(1 / (Fraction(typical) * time_base)) if typical * time_base <= 1 else DEFAULT_RATE
