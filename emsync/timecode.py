"""Timecodes and frame rates: seconds to labels such as `01:00:12:04`, and back.

    count = Counting(Fraction(30000, 1001), drop_frame=True)
    count.label(12.04)                  # "00:00:12;01"
    count.seconds("00:00:12;01")        # Fraction(12012, 1000) or so: exact

- At a whole rate, and at any other rate that is not NTSC (12.5, 23.8), `HH:MM:SS` is the time itself.
- At an NTSC rate (a multiple of 1000/1001) editors count 24, 30 or 60 labels a second, so that an hour of labels is
  3.6 s longer than an hour: these are non-drop labels, the default.
- Drop-frame, for 29.97 and 59.94 only: labels 00 and 01 (00 to 03 at 59.94) are left out at the start of each minute
  but every tenth. Such a label agrees with the clock, and is written `HH:MM:SS;FF` (SMPTE ST 12-1).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from emsync.errors import InputError
from emsync.film_clock import usual_rate
from emsync.table import shown

#: Frame rates beyond these limits are damaged values.
_MIN_RATE, _MAX_RATE = Fraction(1, 1000), Fraction(1000)
_LABEL: Final = re.compile(r"([0-9]{1,3})([:;])([0-9]{1,2})([:;])([0-9]{1,2})([:;.,])([0-9]{1,3})")


@dataclass(frozen=True)
class Counting:
    """How a list counts frames.

    - rate: frames a second.
    - drop_frame: whether labels are left out so that they agree with the clock.

    Raises `InputError` for a rate that is not positive, and for drop-frame at a rate other than 29.97 and 59.94.
    """

    rate: Fraction
    drop_frame: bool = False

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise InputError(f"a frame rate of {self.rate} has no timecode; give more than 0 frames a second")
        if self.drop_frame and not (self._is_ntsc and self.labels in (30, 60)):
            raise InputError(
                f"there is no drop-frame at {float(self.rate):g} frames a second; it is for 29.97 and 59.94"
            )

    @property
    def labels(self) -> int:
        """How many labels there are in a second."""
        return max(1, math.floor(self.rate + Fraction(1, 2)))

    @property
    def _is_ntsc(self) -> bool:
        return self.rate == Fraction(self.labels * 1000, 1001)

    def __str__(self) -> str:
        text = f"{float(self.rate):.3f}".rstrip("0").rstrip(".")
        return f"{text} frames a second" + (", drop-frame" if self.drop_frame else "")

    def frame(self, time_s: float | Fraction) -> int:
        """The number of the frame nearest to a time, counted from 0."""
        return math.floor(Fraction(time_s) * self.rate + Fraction(1, 2))

    def label(self, time_s: float | Fraction) -> str:
        """`HH:MM:SS:FF` of the frame nearest to `time_s`, counted from 00:00:00:00.

        Raises `InputError` for a negative time.
        """
        if not (math.isfinite(time_s) and time_s >= 0):
            raise InputError(f"{time_s} s has no timecode; give a time of 0 s or later")
        if self._is_ntsc or self.rate == self.labels:
            count = self.frame(time_s)
            if self.drop_frame:
                count += _dropped_before(count, self.labels)
            whole_s, frame = divmod(count, self.labels)
        else:
            whole_s = math.floor(time_s)
            frame = math.floor((Fraction(time_s) - whole_s) * self.rate + Fraction(1, 2))
            if frame >= self.rate:  # nearest to the frame that the next second begins with
                whole_s, frame = whole_s + 1, 0
        mark = ";" if self.drop_frame else ":"
        digits = max(2, len(str(self.labels - 1)))
        return f"{whole_s // 3600:02d}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}{mark}{frame:0{digits}d}"

    def seconds(self, label: str) -> Fraction:
        """The time of a label, counted from 00:00:00:00; the inverse of `label`.

        A label with a semicolon before the frames is a drop-frame label, whatever `drop_frame` says. Raises
        `InputError` for a text that is not a label, and for a label that does not exist at this rate.
        """
        match = _LABEL.fullmatch(label.strip())
        if match is None:
            raise InputError(f"{shown(label)} is not a timecode; give one such as 01:00:12:04")
        hours, minutes, seconds, frame = (int(match[i]) for i in (1, 3, 5, 7))
        drop = self.drop_frame or match[6] == ";"
        count = Counting(self.rate, drop)
        if minutes > 59 or seconds > 59:
            raise InputError(f"{shown(label)} is not a timecode; minutes and seconds end at 59")
        if frame >= self.labels:
            raise InputError(
                f"{shown(label)} counts {frame} frames, and a second has {self.labels} at {count}; give the right --fps"
            )
        whole_s = hours * 3600 + minutes * 60 + seconds
        if not (self._is_ntsc or self.rate == self.labels):
            return whole_s + frame / self.rate
        number = whole_s * self.labels + frame
        if drop:
            dropped = self.labels // 15
            if frame < dropped and seconds == 0 and minutes % 10:
                raise InputError(f"{shown(label)} does not exist in drop-frame; is the list non-drop?")
            passed = hours * 60 + minutes
            number -= dropped * (passed - passed // 10)
        return number / self.rate


#: Drop-frame as lists have it that say drop-frame, but no rate.
DROP_30: Final = Counting(Fraction(30000, 1001), True)


def is_label(text: str) -> bool:
    """Whether a text looks like a timecode that counts frames."""
    return _LABEL.fullmatch(text.strip()) is not None


def whole_hour(counting: Counting, label: str) -> Fraction:
    """The time of the whole hour at or before a label: where a programme usually starts."""
    counting.seconds(label)  # refuses what is none
    hours, mark = re.split("[:;]", label.strip())[0], ";" if ";" in label[-4:] else ":"
    return counting.seconds(f"{hours}:00:00{mark}00")


def timecode(time_s: float, frame_rate: Fraction, *, drop_frame: bool = False) -> str:
    """`HH:MM:SS:FF` of the frame nearest to `time_s`: see `Counting.label`."""
    return Counting(frame_rate, drop_frame).label(time_s)


def _dropped_before(count: int, labels: int) -> int:
    """How many drop-frame labels are left out before the frame with that number."""
    dropped = labels // 15  # a minute
    a_minute = labels * 60 - dropped
    tens, rest = divmod(count, a_minute * 10 + dropped)
    return tens * 9 * dropped + dropped * max(0, (rest - dropped) // a_minute)


def parse_frame_rate(value: object) -> Fraction:
    """A frame rate from a file: a number, "24", "23.976" or "24000/1001".

    Raises `InputError` for anything else, and for a rate outside 0.001 to 1000. Numbers are checked as text first:
    "1e99999999" would have a hundred million digits.
    """
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,20})?)\s*(?:/\s*([0-9]{1,9}))?\s*", text[:64])
    rate = Fraction(match[1]) / int(match[2] or 1) if match and int(match[2] or 1) else Fraction(0)
    if len(text) > 64 or not _MIN_RATE <= rate <= _MAX_RATE:
        raise InputError(f"the frame rate {shown(value)} is not one; give frames a second such as 25 or 24000/1001")
    return rate


def parse_counting(text: str) -> Counting:
    """A way of counting frames as users write it: "25", "23.976", "24000/1001", or "29.97df" for drop-frame.

    Rates that films have are meant exactly: 23.976 and 23.98 are 24000/1001. Raises `InputError` for anything else.
    """
    plain = text.strip().lower()
    drop = plain.endswith("df") and not plain.endswith("ndf")
    plain = plain.removesuffix("ndf").removesuffix("df")
    return Counting(usual_rate(parse_frame_rate(plain)), drop)
