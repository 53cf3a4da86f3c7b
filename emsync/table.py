"""Reading of tables of times: the one reader of cut lists and of mood curves.

    table = read_table(text)                # columns, names, comments, decimal commas
    column = table.time_column()
    seconds(row.cells[column])

A table is a text of lines. It may have a header; columns are separated by tabs, semicolons or commas. Accepted as
well: a byte order mark, UTF-16, a first line `sep=;`, blank lines, comments that start with `#`, quotes. Where columns
are separated by tabs or semicolons, a comma in a number is a decimal comma.

A time is a number of seconds (`12.04`), or `[HH:]MM:SS[.mmm]`. A reader refuses what may mean two things, such as
`1,5` without a header: wrong numbers are worse than none.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from emsync.errors import InputError, printable
from emsync.files import TwiceError, distinct, read_limited

#: Larger than any cut list or curve. A film given by mistake is refused before it is read.
MAX_BYTES: Final = 16 << 20
MAX_ROWS: Final = 200_000

#: Names of a column of times in seconds, the most specific first. Units in brackets are removed before comparing.
TIME_NAMES: Final = (
    *("time_s", "times_s", "cut_s", "cuts_s", "start_s", "time", "times", "seconds"),
    *("start time", "start_time", "start", "starts", "begin", "onset", "timestamp", "position", "in"),
    *("start timecode", "timecode", "t", "pts_time", "start tc", "tc in"),
)
_INDEX_NAMES: Final = (
    "#",
    "no",
    "number",
    "nr",
    "index",
    "id",
    "scene",
    "scene number",
    "shot",
    "marker",
    "cut number",
)
_NO_STARTS: Final = ("end", "end time", "end_time", "end_s", "out", "stop", "duration", "length", "end timecode")
_OTHER_UNITS: Final = re.compile(
    r"(?:^|[\s_\[(])(ms|msec|milliseconds?|us|microseconds?|min|minutes?|h|hours?|frames?|keyframes?|fps|samples?|"
    r"ticks?|beats?|bars?|measures?|ns|nanoseconds?|pts|dts)(?:$|[\s_\])])"
    r"|(?:ms|millis|micros|nanos|frames?|samples|ticks)$"  # startMs, timeFrames
)
_LONGER_UNITS: Final = re.compile(r"(?:minutes?|mins?|hours?|hrs?|m|h)")
_SECONDS_UNIT: Final = re.compile(r"\s*[\[(](?:s|sec|secs|seconds)[\])]$")

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,6})?")
_CLOCK: Final = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,2}(?:\.[0-9]{0,30})?)")
_WHOLE_CLOCK: Final = re.compile(r"(?:[0-9]{1,4}:)?[0-9]{1,4}:[0-9]{1,2}")
#: Bars, beats and hundredths of a beat, as REAPER and others show them.
_BARS: Final = re.compile(r"[0-9]{1,6}\.[0-9]{1,3}\.[0-9]{2,3}")
_FRAME_LABEL: Final = re.compile(
    r"(?<![0-9:;])(?:[0-9]{1,3}:[0-9]{1,2}:[0-9]{1,2}[:;][0-9]{1,3}|[0-9]{2};[0-9]{2};[0-9]{2};[0-9]{2,3})(?![0-9:;])"
)


# --- cells ------------------------------------------------------------------------------------------------------------


def number(cell: str) -> float | None:
    """A finite or overflowing decimal number, such as `-0.5` or `1e3`; None for anything else, `nan` included."""
    return float(cell) if _NUMBER.fullmatch(cell) else None


def seconds(cell: str) -> float | None:
    """Seconds of a cell that holds a number of seconds or `[HH:]MM:SS[.mmm]`; None for anything else."""
    value = number(cell)
    if value is not None:
        return value
    match = _CLOCK.fullmatch(cell)
    if match is None:
        return None
    hours, minutes, rest_s = int(match[1] or 0), int(match[2]), float(match[3])
    if rest_s >= 60 or (match[1] is not None and minutes >= 60):
        return None
    return hours * 3600 + minutes * 60 + rest_s


def why_not_seconds(cell: str) -> str:
    """What is wrong with a cell for which `seconds` is None, with a remedy."""
    if not cell:
        return "there is no time in its column; give seconds such as 12.04, or remove the line"
    if _FRAME_LABEL.fullmatch(cell):
        return f"{shown(cell)} counts frames, and the list does not say how many a second; give --fps, or seconds"
    if _BARS.fullmatch(cell):
        return f"{shown(cell)} counts bars and beats; set the program's ruler to seconds and export the list again"
    return f"{shown(cell)} is not a time; give seconds such as 12.04, or HH:MM:SS.mmm"


def shown(cell: object) -> str:
    """A value for an error message: printable, at most 40 characters, a text in quotes."""
    text = printable(str(cell))
    text = text if len(text) <= 40 else text[:37] + "..."
    return repr(text) if isinstance(cell, str) else text


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    line: int
    """Counted from 1."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: tuple[str, ...] | None
    """Column names in lower case, or None where the table begins with values."""
    header_line: int
    rows: tuple[Row, ...]
    delimiter: str

    def column(self, names: tuple[str, ...]) -> int | None:
        """The column with the first of `names` that the header has, or None."""
        plain = [_SECONDS_UNIT.sub("", name) for name in self.header or ()]
        return next((plain.index(name) for name in names if name in plain), None)

    def time_column(self) -> int:
        """The column that holds times in seconds.

        It is the first column of the header with a name of `TIME_NAMES`, or else the only column in which every cell
        is a time. Raises `InputError` where two columns could be meant, or where a name counts something other than
        seconds.
        """
        return _column_of_header(self) if self.header is not None else _column_of_values(self)

    def check_widths(self) -> None:
        """Raise `InputError` for a row that has more values than the header has names."""
        if self.header is None:
            return
        for row in self.rows:
            if any(row.cells[len(self.header) :]):
                raise InputError(
                    f"line {row.line}: more columns than the header has ({len(self.header)}); "
                    "write decimals with a point"
                )


def read_text(path: str | os.PathLike[str], what: str, *, max_bytes: int | None = None) -> str:
    """The text of a file in UTF-8, UTF-16 or, failing these, Latin-1.

    - what: names the kind of file in messages.
    - max_bytes: the limit, `MAX_BYTES` if None.

    Raises `InputError` naming the file when it is missing, not a regular file, too large, or not a text.
    """
    data = read_limited(path, MAX_BYTES if max_bytes is None else max_bytes, what)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif data[1:200:2].count(0) > len(data[1:200:2]) * 3 // 4:
        encoding = "utf-16-le"  # without a mark
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # an old spreadsheet's header; a binary file has zeros
    if "\0" in text:
        raise InputError(f"{printable(os.fspath(path))} is not a text file; give a {what}")
    return text


def read_table(text: str) -> Table:
    """The table of a text; without a header and without rows for an empty one.

    Raises `InputError` for a text that is not a table, or a list of key frames.
    """
    separator, body = _separator_line(text)
    delimiter = separator or _delimiter(body)
    rows = list(_rows(body, delimiter, 1 if separator else 0))
    if not rows:
        return Table(None, 0, (), delimiter)
    rows = _without_timecode_list(rows)
    first = rows[0]
    if any(seconds(cell) is not None or _FRAME_LABEL.fullmatch(cell) for cell in first.cells) or _is_bad_number(
        first.cells[0]
    ):
        return Table(None, 0, tuple(_joined(rows, delimiter, None)), delimiter)
    header = tuple(cell.lower() for cell in first.cells)
    return Table(header, first.line, tuple(_joined(rows[1:], delimiter, len(header))), delimiter)


def _separator_line(text: str) -> tuple[str | None, str]:
    """The separator named by a first line such as `sep=;` (None without one), and the text below it."""
    head, _, body = text.partition("\n")
    match = re.fullmatch(r"\s*\"?sep=(\t|.)\"?\s*", head, re.IGNORECASE)
    if match is None:
        return None, text
    if match[1] not in ",;\t|":
        raise InputError(f"line 1 names the separator {shown(match[1])}; give a comma, a semicolon or a tab")
    return match[1], body


def _delimiter(text: str) -> str:
    """Tab or semicolon where at least half of the lines have one outside quotes, a comma otherwise."""
    total = tabs = semicolons = 0
    for line in text.splitlines()[:2000]:
        if not line.strip() or (line.lstrip().startswith("#") and not _is_header_with_hash(line)):
            continue
        # A drop-frame label (00:00:01;12) has a semicolon that separates no columns.
        bare = _FRAME_LABEL.sub("", re.sub(r'"[^"]*"', "", line)) if len(line) < 10_000 else line
        total, tabs, semicolons = total + 1, tabs + ("\t" in bare), semicolons + (";" in bare)
    for mark, count in (("\t", tabs), (";", semicolons)):
        if count and 2 * count >= total:
            return mark
    return ","


def _is_header_with_hash(line: str) -> bool:
    """Whether a line that starts with `#` is a header whose first column is called so, as in REAPER's lists."""
    cells = [cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", line[:1000])]
    return len(cells) > 1 and cells[0] == "#" and any(cell in TIME_NAMES or cell in _NO_STARTS for cell in cells)


def _rows(text: str, delimiter: str, lines_above: int) -> Iterator[Row]:
    """Rows of stripped cells; blank lines and comments are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    count = 0
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            if not any(cells):
                continue
            line = reader.line_num + lines_above
            if cells[0].startswith("#") and not _is_header_with_hash(delimiter.join(cells)):
                _check_comment(" ".join(cells), line)
                continue
            if cells[0] == "\\" and delimiter == "\t":
                continue  # the frequencies of an Audacity label
            count += 1
            if count > MAX_ROWS:
                raise InputError(f"line {line}: more than {MAX_ROWS} rows; is it a list of times?")
            if delimiter != ",":
                cells = [re.sub(r"(?<=[0-9]),(?=[0-9])", ".", cell) for cell in cells]
            yield Row(line, tuple(cells))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num + lines_above}: {error}; write one time a line") from error


def _check_comment(comment: str, line: int) -> None:
    if "keyframe format" in comment[:200].lower():
        raise InputError(f"line {line}: a list of key frames counts frames; give a column time_s in seconds")
    if re.search(r"time(?:code|stamp)s? format", comment[:200].lower()):
        raise InputError(f"line {line}: a list of time stamps has milliseconds of every frame; give cuts in seconds")


def _without_timecode_list(rows: list[Row]) -> list[Row]:
    """Leave out the line of timecodes that PySceneDetect writes above its header, with or without a title."""
    if rows[0].cells[0].lower().startswith("timecode list"):
        if len(rows) == 1:
            raise InputError("it has a list of timecodes and no scenes; write one time a line")
        return rows[1:]
    is_bare = all(_CLOCK.fullmatch(cell) for cell in rows[0].cells if cell)
    return rows[1:] if is_bare and len(rows) > 1 and "scene number" in map(str.lower, rows[1].cells) else rows


def _joined(rows: list[Row], delimiter: str, width: int | None) -> list[Row]:
    """Rows in which `00:00:12,040` was cut at its decimal comma, put together again.

    This is done where every row has such a pair in one place: a time without a fraction and three digits. Under a
    header, each row must also have one cell more than the header.
    """
    if delimiter != "," or not rows or any(len(row.cells) < 2 for row in rows):
        return rows
    if width is not None and any(len(row.cells) != width + 1 for row in rows):
        return rows
    for place in range(min(len(row.cells) for row in rows) - 1):
        pairs = [row.cells[place : place + 2] for row in rows]
        if all(_WHOLE_CLOCK.fullmatch(time) and re.fullmatch("[0-9]{3}", part) for time, part in pairs):
            return [
                Row(row.line, (*row.cells[:place], f"{time}.{part}", *row.cells[place + 2 :]))
                for row, (time, part) in zip(rows, pairs, strict=True)
            ]
    return rows


def _is_bad_number(cell: str) -> bool:
    """Whether a cell is a failed attempt at a number, such as `nan`, `12.04s` or 5000 digits, and not a column name."""
    plain = cell.lower().lstrip("+-.([")
    return plain in ("nan", "inf", "infinity") or plain[:1].isdigit()


def _column_of_header(table: Table) -> int:
    header, where = table.header or (), f"line {table.header_line}"
    found = table.column(TIME_NAMES)
    if found is not None:
        longer = [name for name in header if _LONGER_UNITS.fullmatch(name)]
        if longer and header[found] in ("seconds", "t", "time", "times"):
            raise InputError(
                f"{where}: the times are in the columns {shown(longer[0])} and {shown(header[found])}; "
                "give one column time_s in seconds"
            )
        return found
    for name in header:
        if _OTHER_UNITS.search(name):
            problem = "counts frames" if "frame" in name or "fps" in name else "is not in seconds"
            raise InputError(f"{where}: the column {shown(name)} {problem}; give a column time_s in seconds")
    plain = [_SECONDS_UNIT.sub("", name) for name in header]
    if not table.rows or plain[0] in _INDEX_NAMES or plain[0] in _NO_STARTS:
        raise InputError(f"{where}: no column has a name such as time_s or start; give one to the column of times")
    numeric = [
        place
        for place in range(len(header))
        if all(place < len(row.cells) and seconds(row.cells[place]) is not None for row in table.rows)
    ]
    if len(numeric) > 1 or numeric not in ([], [0]):
        names = ", ".join(shown(header[place]) for place in numeric[:3])
        raise InputError(f"{where}: it is not clear which column holds the cuts ({names}?); call that one time_s")
    return 0


def _is_clock(cell: str) -> bool:
    return bool(_CLOCK.fullmatch(cell) or _FRAME_LABEL.fullmatch(cell))


def _column_of_values(table: Table) -> int:
    """The first column, if it can be one of times. Tables with a start and an end in each row are understood."""
    # With points in some numbers and one width, commas do separate columns.
    has_points = any("." in row.cells[0] for row in table.rows) and len({len(row.cells) for row in table.rows}) == 1
    for row in table.rows if table.delimiter == "," and not has_points else ():
        pair = row.cells[:2]
        is_cut_off = re.fullmatch("[0-9]+", pair[-1]) or (pair[-1][:1].isdigit() and seconds(pair[-1]) is None)
        if len(pair) == 2 and re.fullmatch("[+-]?[0-9:]+", pair[0]) and is_cut_off:
            raise InputError(
                f"line {row.line}: {shown(','.join(pair))} may be two columns or a decimal comma; "
                "write a decimal point, or a header that says which column is time_s"
            )
    for row in table.rows:
        count = sum(seconds(cell) is not None for cell in row.cells)
        if count > 2 or (count == 2 == len(row.cells) and len(table.rows) == 1):
            raise InputError(f"line {row.line}: {count} times stand on one line; write one a line, or a header")
    if all(re.fullmatch("[0-9]+", row.cells[0]) and any(map(_is_clock, row.cells[1:])) for row in table.rows):
        raise InputError(
            f"line {table.rows[0].line}: the first column has whole numbers and another one has times; "
            "write a header that says which column is time_s"
        )
    times = [[seconds(cell) for cell in row.cells[:2]] for row in table.rows]
    both = [pair for pair in times if len(pair) == 2 and None not in pair]
    if len(both) == len(times) and any((pair[1] or 0.0) < (pair[0] or 0.0) for pair in both):
        raise InputError(
            f"line {table.rows[0].line}: two columns look like times, and the second is no end of the first; "
            "write a header that says which column is time_s"
        )
    counted = [pair[0] for pair in times]
    whole = all("." not in row.cells[0] for row in table.rows)  # Audacity writes 1.000000 for a second
    if whole and len(both) == len(times) > 1 and counted in ([*range(len(times))], [*range(1, len(times) + 1)]):
        raise InputError(
            f"line {table.rows[0].line}: the first column may count rows; "
            "write a header that says which column is time_s"
        )
    return 0


# --- JSON -------------------------------------------------------------------------------------------------------------


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises `InputError` for a text that is not JSON or is nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=distinct)
    except TwiceError as error:
        raise InputError(f"this JSON {error}") from error
    except RecursionError as error:
        raise InputError("this JSON cannot be read (it is nested too deeply); flatten it") from error
    except ValueError as error:
        raise InputError(f"this is not JSON ({printable(str(error))}); write it again") from error
