"""Cuts that a user gives: a CSV file with one cut time a row.

    time_s          time             Start Time (seconds)      no header at all
    12.04           00:00:12.040     ...                       12.04

Conventions: times are in seconds from the film's first picture, as numbers or as [HH:]MM:SS[.mmm]. Columns are
separated by commas, semicolons or tabs (with the last two, a decimal comma is understood). The times stand in the
column called time, time_s, cut_s, cuts_s, seconds or "start time (seconds)" (PySceneDetect's list), or else in the
first one. Blank lines and lines that begin with # are skipped. A header without rows is a film without cuts; a file
with nothing in it is an error.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

_COLUMNS = ("time_s", "time", "cut_s", "cuts_s", "seconds", "start time (seconds)")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TIMECODE = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")
_FRAME_TIMECODE = re.compile(r"\d+:\d{1,2}:\d{1,2}[:;]\d{1,3}")

#: Longer than any list of cuts, and short enough that a film given by mistake is not read into memory.
_MAX_BYTES = 16 << 20

#: A cut may lie this far past the end, for lists that round to a hundredth.
_END_GRACE_S = 0.005


def check(cuts_s: npt.ArrayLike, duration_s: float | None = None) -> npt.NDArray[np.float64]:
    """`cuts_s` as float64, (n,), if they are finite, strictly increasing, and in [0, duration_s].

    Raises `InputError` with the value, the limit and the likely cause.
    """
    try:
        array = np.asarray(cuts_s, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the cuts are not numbers ({error}); give seconds") from error
    if array.ndim != 1:
        raise InputError(f"the cuts have {array.ndim} dimensions; give one list of seconds")
    _check_duration(duration_s)
    before_s: float | None = None
    for index, cut_s in enumerate(array.tolist()):
        problem = _problem(cut_s, before_s, duration_s)
        if problem:
            raise InputError(f"cut {index + 1}: {problem}")
        before_s = cut_s
    return array


def read_csv(path: str | os.PathLike[str], *, duration_s: float | None = None) -> npt.NDArray[np.float64]:
    """The cuts in a CSV file: seconds, float64, (n,), strictly increasing, in [0, duration_s].

    Raises `InputError` naming the file, the line and the remedy.
    """
    _check_duration(duration_s)
    rows = _rows(_text(Path(path)), path)
    if not rows:
        raise InputError(f"{path} holds no cuts, not even a header; write one time a line, or 'time_s' alone for none")
    # PySceneDetect begins its list with a line of all timecodes.
    if rows[0][1][0].lower().startswith("timecode list"):
        rows = rows[1:]
    column, width, rows = _column(rows, path)
    cuts_s: list[float] = []
    for line, cells in rows:
        cell = cells[column] if column < len(cells) else ""
        cut_s = _seconds(cell)
        where = f"{path}, line {line}"
        if width is not None and any(cells[width:]):
            raise InputError(f"{where}: more columns than the header has ({width}); write decimals with a point")
        if cut_s is None:
            raise InputError(f"{where}: {_not_a_time(cell)}")
        problem = _problem(cut_s, cuts_s[-1] if cuts_s else None, duration_s)
        if problem:
            raise InputError(f"{where}: {problem}")
        cuts_s.append(cut_s)
    return np.array(cuts_s, dtype=np.float64)


def _check_duration(duration_s: float | None) -> None:
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"a length of {duration_s} s leaves no room for cuts; give more than 0 s")


def _problem(cut_s: float, before_s: float | None, duration_s: float | None) -> str | None:
    """What is wrong with one cut, or None."""
    if not math.isfinite(cut_s):
        return f"{cut_s} is no time; give seconds"
    if cut_s < 0:
        return f"cut at {cut_s:g} s is before the start (0 s); count from the video's first picture"
    if before_s is not None and cut_s < before_s:
        return f"cut at {cut_s:g} s comes after one at {before_s:g} s; sort the list"
    if before_s is not None and cut_s == before_s:
        return f"cut at {cut_s:g} s is given twice; remove one"
    if duration_s is not None and cut_s > duration_s + _END_GRACE_S:
        return f"cut at {cut_s:g} s is past the video's end ({duration_s:.1f} s); were the cuts given in frames?"
    return None


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a CSV file")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; give a CSV file with one cut time a line")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # A header in an old spreadsheet's encoding does no harm, but a binary file is no list.
        if b"\0" in data:
            raise InputError(f"{path} is not a text file; give a CSV file with one cut time a line") from error
        text = data.decode("latin-1")
    if "\0" in text:
        raise InputError(f"{path} is not a text file; give a CSV file with one cut time a line")
    return text


def _rows(text: str, path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
    """Line numbers (from 1) and stripped cells; blank lines and comments left out."""
    # A drop-frame timecode (00:00:01;12) has a semicolon that separates no columns.
    lines = [_FRAME_TIMECODE.sub("", line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    delimiter = next((mark for mark in (";", "\t") if any(mark in line for line in lines)), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells) and not cells[0].startswith("#"):
                if delimiter != ",":
                    cells = [re.sub(r"(?<=\d),(?=\d)", ".", cell) for cell in cells]
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; write one time a line") from error
    return rows


def _column(
    rows: list[tuple[int, list[str]]], path: str | os.PathLike[str]
) -> tuple[int, int | None, list[tuple[int, list[str]]]]:
    """Which column holds the times, how many the header has (None: there is no header), and the rows below it."""
    line, first = rows[0]
    if any(_seconds(cell) is not None or _FRAME_TIMECODE.fullmatch(cell) for cell in first) or _is_not_finite(first[0]):
        whole = all(len(cells) > 1 and all(cell.isdigit() for cell in cells[:2]) for _, cells in rows)
        if whole:
            raise InputError(
                f"{path}, line {line}: {','.join(first[:2])!r} may be two columns or a decimal comma; "
                "write a decimal point, or a header that says which column is time_s"
            )
        return 0, None, rows
    names = [cell.lower() for cell in first]
    for name in _COLUMNS:
        if name in names:
            return names.index(name), len(names), rows[1:]
    if any(name in ("frame", "frames") for name in names):
        raise InputError(f"{path}, line {line}: the column {first[0]!r} counts frames; give a column time_s in seconds")
    # Any words in the first line are a header; below it there must be times.
    return 0, len(names), rows[1:]


def _seconds(cell: str) -> float | None:
    """A number of seconds or a timecode; None for anything else (nan and inf among it)."""
    if _NUMBER.fullmatch(cell):
        return float(cell)
    match = _TIMECODE.fullmatch(cell)
    if match is None:
        return None
    hours, minutes, seconds = int(match[1] or 0), int(match[2]), float(match[3])
    if seconds >= 60 or (match[1] is not None and minutes >= 60):
        return None
    return hours * 3600 + minutes * 60 + seconds


def _is_not_finite(cell: str) -> bool:
    return cell.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _not_a_time(cell: str) -> str:
    shown = cell if len(cell) <= 40 else cell[:37] + "..."
    if not cell:
        return "there is no time in its column; give seconds such as 12.04, or remove the line"
    if _FRAME_TIMECODE.fullmatch(cell):
        return f"{shown!r} counts frames, and the list does not say how many a second; give HH:MM:SS.mmm or seconds"
    return f"{shown!r} is not a time; give seconds such as 12.04, or HH:MM:SS.mmm"
