"""Lists of times and markers: tables, Audacity's labels, REAPER's projects, markers of it, Premiere and Media Composer.

`emsync.table` says how a table is written. A table may have a column `weight` of `must` and `may`. Where times are
timecodes that count frames, as in Premiere's lists, the caller says how many a second has. Markers of a program may
come in any order, and several at one time: those of each track in turn, or all regions after all markers.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final, cast

from emsync.cutfiles.cut import Cut, Found, Request, Weight, in_order
from emsync.errors import InputError
from emsync.table import Row, Table, read_json, read_table, seconds, shown, why_not_seconds
from emsync.timecode import DROP_30, Counting, is_label, parse_frame_rate, whole_hour

_NAMES: Final = ("name", "marker name", "label", "title", "text")
_WEIGHTS: Final = ("weight", "weights", "priority")
#: A marker's author, its timecode, track, colour and comment, and what later versions add.
_AVID: Final = re.compile(
    r"[^\t]*\t([0-9]{1,3}[:;][0-9]{2}[:;][0-9]{2}[:;][0-9]{2,3})"
    r"\t[A-Z]{1,4}[0-9]{0,3}\t[A-Za-z ]{0,20}(?:\t([^\t]*).*)?"
)
_MARKER: Final = re.compile(
    r"""\s*MARKER\s+(-?[0-9]{1,9})\s+([0-9.eE+-]{1,40})\s+("[^"]*"|'[^']*'|`[^`]*`|[^\s"'`]\S*)\s*([0-9]{0,9}).*"""
)


def read_table_cuts(text: str, request: Request) -> Found:
    """The cuts of a table of times."""
    table = read_table(text)
    if table.header is None and not table.rows:
        raise InputError("holds no cuts, not even a header; write one time a line, or 'time_s' alone for none")
    column = table.time_column()
    table.check_widths()
    names, weights = table.column(_NAMES), table.column(_WEIGHTS)
    markers = _is_of_a_program(table)
    if markers and table.header is None:
        names = 2  # Audacity: start, end, label
    start_s = counting = None
    known = request.counting or _implied([_cell(row, column) for row in table.rows])
    labels = [cell for cell in (_cell(row, column) for row in table.rows) if is_label(cell)]
    first = (min(labels) if markers else labels[0]) if labels else ""
    cuts = []
    for row in table.rows:
        cell = _cell(row, column)
        time_s = seconds(cell)
        if time_s is None and is_label(cell) and known is not None:
            counting = known
            try:
                if start_s is None:
                    start_s = _origin(counting, request, first)
                time_s = float(counting.seconds(cell) - start_s)
            except InputError as error:
                raise InputError(f"line {row.line}: {error}") from error
        if time_s is None:
            raise InputError(f"line {row.line}: {why_not_seconds(cell)}")
        cuts.append(Cut(time_s, f"line {row.line}", _weight(row, weights), _cell(row, names)))
    label = None if counting is None or start_s is None else counting.label(start_s)
    return Found(in_order(cuts) if markers else cuts, counting, label, of_file=counting is not None or markers)


def _origin(counting: Counting, request: Request, first: str) -> Fraction:
    """Where the programme starts, if `first` is the earliest label of a list."""
    return whole_hour(counting, first) if request.start is None else counting.seconds(request.start)


def _implied(cells: list[str]) -> Counting | None:
    """29.97 drop-frame where all labels are as Premiere writes them, 00;00;59;29, and no frame is past the 29th."""
    labels = [cell for cell in cells if is_label(cell)]
    drops = [label for label in labels if label.count(";") == 3 and int(label[-2:]) < 30]
    return DROP_30 if labels and len(drops) == len(labels) else None


def _cell(row: Row, column: int | None) -> str:
    return row.cells[column] if column is not None and column < len(row.cells) else ""


def _weight(row: Row, column: int | None) -> Weight:
    text = _cell(row, column).lower()
    if text not in ("", "must", "may"):
        raise InputError(f"line {row.line}: {shown(text)} is no weight; give must, may or nothing")
    return cast(Weight, text)


def _is_of_a_program(table: Table) -> bool:
    """Whether a table is one of markers that a program wrote: Audacity's labels, REAPER's or Premiere's markers."""
    if table.header is None:
        return table.delimiter == "\t" and all(
            len(row.cells) >= 2 and seconds(row.cells[1]) is not None for row in table.rows
        )
    return table.header[0] in ("#", "marker name") and table.header[1:2] in (("name",), ("description",))


def is_avid(text: str) -> bool:
    """Whether a text is a list of markers of Media Composer."""
    lines = (line for line in text.splitlines() if line.strip("\ufeff \t"))
    return _AVID.fullmatch(next(lines, "")) is not None


def read_avid(text: str, request: Request) -> Found:
    """The markers of Media Composer, of all tracks: name, timecode, track, colour, comment."""
    rows: list[tuple[int, str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _AVID.fullmatch(line)
        if match is not None:
            rows.append((number, match[1], (match[2] or "").strip()))
        elif line.count("\t") > 2:  # others continue the comment above
            raise InputError(f"line {number}: {shown(line)} is no marker of Media Composer; export the markers again")
    labels = [label for _, label, _ in rows]
    counting = request.counting or _implied(labels) or request.needed(labels[0])
    start_s, cuts = _origin(counting, request, min(labels)), []
    for number, label, name in rows:
        try:
            cuts.append(Cut(float(counting.seconds(label) - start_s), f"line {number}", name=name))
        except InputError as error:
            raise InputError(f"line {number}: {error}") from error
    return Found(in_order(cuts), counting, counting.label(start_s))


def is_project(text: str) -> bool:
    """Whether a text is a REAPER project."""
    return text.lstrip("\ufeff \t\r\n").startswith("<REAPER_PROJECT")


def read_project(text: str, request: Request) -> Found:
    """The markers of a REAPER project, and where its regions begin."""
    times: dict[float, Cut] = {}
    regions: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.lstrip().startswith("MARKER "):
            continue
        match = _MARKER.fullmatch(line)
        time_s = seconds(match[2]) if match else None
        if match is None or time_s is None:
            raise InputError(f"line {number}: {shown(line.strip())} is no marker of REAPER; save the project again")
        if int(match[4] or 0) & 1:  # a region has two lines: its start, and its end
            if match[1] in regions:
                regions.discard(match[1])
                continue
            regions.add(match[1])
        name = match[3][1:-1] if match[3][0] in "\"'`" else match[3]
        times.setdefault(time_s, Cut(time_s, f"line {number}", name=name))
    if not times:
        raise InputError("has no marker; put markers on the cuts, or give a list of them")
    return Found([times[time_s] for time_s in sorted(times)])


def is_scene(text: str) -> bool:
    """Whether a text is JSON."""
    return text.lstrip()[:1] == "{"


def read_scene(text: str, request: Request) -> Found:
    """The cuts in the JSON of `emsync analyze`, or in the record of `emsync compose`."""
    record: Any = read_json(text)
    times = record.get("cuts_s") if isinstance(record, dict) else None
    if not isinstance(times, list):
        raise InputError("the JSON has no list cuts_s; write it with: emsync analyze VIDEO -o SCENE.json")
    weights = record.get("weights") or [""] * len(times)
    is_known = isinstance(weights, list) and all(weight in ("", "must", "may") for weight in weights)
    if not is_known or len(weights) != len(times):
        raise InputError("the JSON's weights do not fit its cuts_s; give must, may or an empty text for each")
    cuts = []
    for index, (time_s, weight) in enumerate(zip(times, weights, strict=True), start=1):
        if isinstance(time_s, bool) or not isinstance(time_s, int | float) or abs(time_s) > 1e9:
            raise InputError(f"cuts_s holds {shown(time_s)} as number {index}, which is no time; give seconds")
        cuts.append(Cut(float(time_s), f"cut {index} of cuts_s", weight))
    return Found(cuts, _counting(record), duration_s=_length(record), of_file=False)


def _counting(record: dict[str, Any]) -> Counting | None:
    try:
        return Counting(parse_frame_rate(record.get("frame_rate")))
    except InputError:
        return None


def _length(record: dict[str, Any]) -> float | None:
    length_s = record.get("duration_s")
    return float(length_s) if isinstance(length_s, int | float) and 0 < length_s < 1e9 else None
