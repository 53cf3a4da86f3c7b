"""Cut lists: their files, their timecodes, and which cuts the composer is given.

    cuts_s = read_csv("cuts.csv", duration_s=60.0)
    spaced(cuts_s, 4.0)                       # those far enough apart
    timecode(12.04, Fraction(25))             # "00:00:12:01"

All times are in seconds from the film's first frame. `emsync.table` says how a table is written. Its times are in the
column called `time_s`, `time`, `start` or the like. A header without rows is a film without cuts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, printable
from emsync.recipe import Recipe
from emsync.table import read_json, read_table, read_text, seconds, shown, why_not_seconds

Floats = npt.NDArray[np.float64]

#: The paper's t_diff (Section IV-A): cuts closer than this to the one before are not given to the composer.
DEFAULT_T_DIFF_S: Final = Recipe.t_diff_s

#: Boundaries keep this distance from both ends, where music begins and closes anyway and a chord has no room.
END_MARGIN_S: Final = 0.5

#: A cut may lie this far past the end, for lists that round to a hundredth.
_END_GRACE_S: Final = 0.005

#: A cut list is a few kilobytes. Anything above is refused before it is read.
_MAX_BYTES: Final = 16 << 20

#: Frame rates beyond these limits are damaged values.
_MIN_RATE, _MAX_RATE = Fraction(1, 1000), Fraction(1000)


# --- timecodes --------------------------------------------------------------------------------------------------------


def timecode(time_s: float, frame_rate: Fraction, *, drop_frame: bool = False) -> str:
    """`HH:MM:SS:FF` of the frame nearest to `time_s`, counted from 00:00:00:00.

    - At a whole rate, and at any other rate that is not NTSC (12.5, 23.8), `HH:MM:SS` is the time itself.
    - At an NTSC rate (a multiple of 1000/1001) editors count 24, 30 or 60 labels a second, so that an hour of labels is
      3.6 s longer than an hour: these are non-drop labels, the default.
    - `drop_frame`, for 29.97 and 59.94 only: labels 00 and 01 (00 to 03 at 59.94) are left out at the start of each
      minute but every tenth. Such a label agrees with the clock, and is written `HH:MM:SS;FF` (SMPTE ST 12-1).

    Raises `InputError` for a negative time, a rate that is not positive, or drop-frame at another rate.
    """
    if not (math.isfinite(time_s) and time_s >= 0):
        raise InputError(f"{time_s} s has no timecode; give a time of 0 s or later")
    if frame_rate <= 0:
        raise InputError(f"a frame rate of {frame_rate} has no timecode; give more than 0 frames a second")
    labels = max(1, math.floor(frame_rate + Fraction(1, 2)))  # in a second
    is_ntsc = frame_rate == Fraction(labels * 1000, 1001)
    if drop_frame and not (is_ntsc and labels in (30, 60)):
        raise InputError(f"there is no drop-frame at {float(frame_rate):g} frames a second; it is for 29.97 and 59.94")
    if is_ntsc or frame_rate == labels:
        count = math.floor(Fraction(time_s) * frame_rate + Fraction(1, 2))
        if drop_frame:
            count += _dropped_before(count, labels)
        whole_s, frame = divmod(count, labels)
    else:
        whole_s = math.floor(time_s)
        frame = math.floor((Fraction(time_s) - whole_s) * frame_rate + Fraction(1, 2))
        if frame >= frame_rate:  # nearest to the frame that the next second begins with
            whole_s, frame = whole_s + 1, 0
    mark = ";" if drop_frame else ":"
    digits = max(2, len(str(labels - 1)))
    return f"{whole_s // 3600:02d}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}{mark}{frame:0{digits}d}"


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
    match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:/\s*([0-9]{1,9}))?\s*", text[:64])
    rate = Fraction(match[1]) / int(match[2] or 1) if match and int(match[2] or 1) else Fraction(0)
    if len(text) > 64 or not _MIN_RATE <= rate <= _MAX_RATE:
        raise InputError(f"the frame rate {shown(value)} is not one; give frames a second such as 25 or 24000/1001")
    return rate


# --- which cuts -------------------------------------------------------------------------------------------------------


def spaced(cuts_s: npt.ArrayLike, t_diff_s: float = DEFAULT_T_DIFF_S, *, duration_s: float | None = None) -> Floats:
    """The paper's difference filter (Section III-B3): drop cuts less than `t_diff_s` after the previous *kept* one.

    - cuts_s: sorted, in seconds.
    - duration_s: the film's length, None if unknown.

    Cuts less than `END_MARGIN_S` from the start, or from the end if it is known, are dropped first: a cut at 0 is where
    the film begins. Raises `InputError` when `t_diff_s` is negative.
    """
    if not (math.isfinite(t_diff_s) and t_diff_s >= 0):
        raise InputError(f"t_diff is {t_diff_s} s; give 0 (keep every cut) or more")
    until_s = math.inf if duration_s is None else duration_s - END_MARGIN_S
    kept: list[float] = []
    for cut_s in np.asarray(cuts_s, dtype=np.float64).tolist():
        # A microsecond of tolerance: cuts 4 s apart stay so in floating point.
        if END_MARGIN_S <= cut_s <= until_s and (not kept or cut_s - kept[-1] >= t_diff_s - 1e-6):
            kept.append(cut_s)
    return np.array(kept, dtype=np.float64)


def check(cuts_s: npt.ArrayLike, duration_s: float | None = None) -> Floats:
    """`cuts_s` as float64, (n,), if they are finite, strictly increasing, and in [0, duration_s].

    Raises `InputError` with the value, the limit and the likely cause.
    """
    try:
        array = np.asarray(cuts_s, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the cuts are not numbers ({error}); give seconds") from error
    if array.ndim != 1:
        raise InputError(f"the cuts have {array.ndim} dimensions; give one list of seconds")
    _check_duration(duration_s)
    _checked([Cut(cut_s, f"cut {index}") for index, cut_s in enumerate(array.tolist(), start=1)], duration_s)
    return array


def _check_duration(duration_s: float | None) -> None:
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"a length of {duration_s} s leaves no room for cuts; give more than 0 s")


def _checked(cuts: list[Cut], duration_s: float | None) -> Floats:
    before_s: float | None = None
    for cut in cuts:
        problem = _problem(cut.time_s, before_s, duration_s)
        if problem:
            raise InputError(f"{cut.place}: {problem}")
        before_s = cut.time_s
    return np.array([cut.time_s for cut in cuts], dtype=np.float64)


def _problem(cut_s: float, before_s: float | None, duration_s: float | None) -> str | None:
    """What is wrong with one cut, or None."""
    if not math.isfinite(cut_s):
        return f"{cut_s} is no time; give seconds"
    if cut_s < 0:
        return f"cut at {cut_s:g} s is before the start (0 s); count from the video's first frame"
    if before_s is not None and cut_s < before_s:
        return f"cut at {cut_s:g} s comes after one at {before_s:g} s; sort the list"
    if before_s is not None and cut_s == before_s:
        return f"cut at {cut_s:g} s is given twice; remove one"
    if duration_s is not None and cut_s > duration_s + _END_GRACE_S:
        return f"cut at {cut_s:g} s is past the video's end ({duration_s:.1f} s); were the cuts given in frames?"
    return None


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A cut of a list."""

    time_s: float
    place: str
    """Where it was read, for messages: "line 3"."""


@dataclass(frozen=True)
class Format:
    """A format of cut lists.

    - suits: whether a text is of this format, from its beginning.
    - read: the cuts of a text in its order, or `InputError` without the file's name.
    """

    name: str
    suits: Callable[[str], bool]
    read: Callable[[str], list[Cut]]


def _table_cuts(text: str) -> list[Cut]:
    table = read_table(text)
    if table.header is None and not table.rows:
        raise InputError("holds no cuts, not even a header; write one time a line, or 'time_s' alone for none")
    column = table.time_column()
    table.check_widths()
    cuts = []
    for row in table.rows:
        cell = row.cells[column] if column < len(row.cells) else ""
        time_s = seconds(cell)
        if time_s is None:
            raise InputError(f"line {row.line}: {why_not_seconds(cell)}")
        cuts.append(Cut(time_s, f"line {row.line}"))
    return cuts


def _scene_cuts(text: str) -> list[Cut]:
    record: Any = read_json(text)
    times = record.get("cuts_s") if isinstance(record, dict) else None
    if not isinstance(times, list):
        raise InputError("the JSON has no list cuts_s; write it with: emsync analyze VIDEO -o SCENE.json")
    cuts = []
    for index, time_s in enumerate(times, start=1):
        if isinstance(time_s, bool) or not isinstance(time_s, int | float) or abs(time_s) > 1e9:
            raise InputError(f"cuts_s holds {shown(time_s)} as number {index}, which is no time; give seconds")
        cuts.append(Cut(float(time_s), f"cut {index} of cuts_s"))
    return cuts


#: The formats of cut lists; the first that suits a text reads it. A new one is an entry here, and a test.
FORMATS: Final[tuple[Format, ...]] = (
    Format("scene JSON of emsync analyze", lambda text: text.lstrip()[:1] == "{", _scene_cuts),
    Format("table", lambda text: True, _table_cuts),
)


def read_csv(path: str | os.PathLike[str], *, duration_s: float | None = None) -> Floats:
    """The cuts of a file in one of `FORMATS`: seconds, float64, (n,), strictly increasing, in [0, duration_s].

    Raises `InputError` naming the file, the line and the remedy.
    """
    _check_duration(duration_s)
    name = printable(os.fspath(path))
    if not os.path.exists(path):
        raise InputError(f"{name} does not exist; check the name")
    if os.path.isdir(path):
        raise InputError(f"{name} is a folder; give the name of a CSV file")
    text = read_text(path, "cut list", max_bytes=_MAX_BYTES)
    reader = next(each for each in FORMATS if each.suits(text))
    try:
        return _checked(reader.read(text), duration_s)
    except InputError as error:
        text = str(error)
        joint = ", " if text.startswith(("line ", "cut ")) else " " if text.startswith("holds ") else ": "
        raise InputError(f"{name}{joint}{text}") from error
