"""CMX3600 edit decision lists.

An event is a line `NUMBER REEL CHANNELS TRANSITION [FRAMES] SOURCE_IN SOURCE_OUT RECORD_IN RECORD_OUT`. A cut stands
where an event of the picture begins on the record side; a dissolve or wipe counts as a cut in its middle. The list does
not say how many frames a second has: the caller does, except that a drop-frame list with frames up to 29 is at 29.97.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from emsync.cutfiles.cut import MAX_CLIPS, Clip, Cut, Found, Request, in_order, visible_cuts
from emsync.errors import InputError
from emsync.timecode import DROP_30, Counting, whole_hour

_TC: Final = r"([0-9]{1,3}[:;][0-9]{1,2}[:;][0-9]{1,2}[:;.,][0-9]{1,3})"
_EVENT: Final = re.compile(
    r"\s*([0-9]{1,8})\s+(\S[^\r\n]{0,200}?)\s+(\S{1,16})\s+(C|D|W[0-9]{1,3}|K\s?[BO]?)\s*([0-9]{1,5})?\s+"
    rf"{_TC}\s+{_TC}\s+{_TC}\s+{_TC}\s*(?:\S.*)?",
    re.IGNORECASE,
)
_LOOKS: Final = re.compile(r"\s*[0-9]{1,8}\s+\S.*[0-9][:;][0-9]{2}[:;.][0-9]{2}")
_MARKER: Final = re.compile(r"\|M:(.*?)(?:\s*\|D:[0-9]+.*)?$")
_PICTURE: Final = re.compile(r"V[0-9]*|B|AA?/V|A[0-9]*/V|V[0-9]*/A.*|VA.*", re.IGNORECASE)


def suits(text: str) -> bool:
    """Whether a text is an EDL: a TITLE or FCM line, or an event, among its first lines."""
    lines = [line for line in text[:4000].splitlines() if line.strip()][:8]
    if any(re.match(r"\s*FCM:", line, re.IGNORECASE) for line in lines):
        return True
    return any(_EVENT.fullmatch(line) for line in lines)


@dataclass(frozen=True)
class _Event:
    line: int
    number: str
    fade: int
    """Frames of a dissolve or wipe, 0 for a cut."""
    start: str
    end: str
    drop: bool


def read(text: str, request: Request) -> Found:
    """The cuts of an EDL. Raises `InputError` naming the line of what cannot be understood."""
    events = _events(text)
    if not events:
        raise InputError("has no event of the picture; export the list with its video track")
    first = events[0]
    counting = _counting(events, request)
    try:
        start_s = whole_hour(counting, first.start) if request.start is None else counting.seconds(request.start)
    except InputError as error:
        raise InputError(f"line {first.line}: {error}" if request.start is None else str(error)) from error
    clips = [_clip(event, counting, start_s) for event in events]
    names = _names_of_markers(text, events)
    if names:  # a list of markers that DaVinci Resolve wrote as events of one frame
        pairs = zip(events, clips, strict=True)
        cuts = [Cut(float(clip.start_s), clip.place, name=names.get(event.line, "")) for event, clip in pairs]
        return Found(in_order(cuts), counting, counting.label(start_s))
    _check_order(events, clips)
    end_s = max(clip.end_s for clip in clips)
    return Found(visible_cuts(_shown(events, clips, counting)), counting, counting.label(start_s), float(end_s))


def _events(text: str) -> list[_Event]:
    found: list[_Event] = []
    drop = False
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*FCM:", line, re.IGNORECASE):
            drop = "non" not in line.lower() and "drop" in line.lower()
            continue
        match = _EVENT.fullmatch(line)
        if match is None:
            if _LOOKS.match(line) and not line.lstrip().startswith("*"):
                raise InputError(f"line {number}: this is no event of an EDL; export the list as CMX3600")
            continue
        kind = match[4].upper().replace(" ", "")
        if not _PICTURE.fullmatch(match[3]) or kind in ("K", "KO"):
            continue  # sound, and titles laid over the picture
        if kind[0] in "DW" and match[5] is None:
            raise InputError(f"line {number}: the transition has no length; export the list as CMX3600")
        fade = int(match[5] or 0) if kind[0] in "DW" else 0
        found.append(_Event(number, match[1], fade, match[8], match[9], drop))
        if len(found) > MAX_CLIPS:
            raise InputError(f"line {number}: more than {MAX_CLIPS} events; export a part of the programme")
    return found


def _names_of_markers(text: str, events: Sequence[_Event]) -> dict[int, str]:
    """What Resolve's markers are called, by the line of the event above; nothing where the list has none."""
    found: dict[int, str] = {}
    lines = iter(sorted(event.line for event in events))
    at, following = 0, next(lines)
    for number, line in enumerate(text.splitlines(), start=1):
        if number == following:
            at, following = number, next(lines, 0)
        match = _MARKER.search(line)
        if match is not None:
            found[at] = match[1].strip()
    return found


def _counting(events: Sequence[_Event], request: Request) -> Counting:
    labels = [(label, event.drop) for event in events for label in (event.start, event.end)]
    drops = any(drop or label[-3:-2] == ";" for label, drop in labels)
    if request.counting is None and drops and all(int(label[-2:]) < 30 for label, _ in labels):
        return DROP_30
    counting = request.needed(events[0].start)
    return Counting(counting.rate, True) if drops else counting


def _clip(event: _Event, counting: Counting, origin_s: Fraction) -> Clip:
    try:
        start_s, end_s = (counting.seconds(label) for label in (event.start, event.end))
    except InputError as error:
        raise InputError(f"line {event.line}: {error}") from error
    if end_s < start_s:
        raise InputError(
            f"line {event.line}: event {event.number} ends at {event.end}, before it begins at {event.start}; "
            "export the list again"
        )
    if start_s + event.fade / counting.rate > end_s and event.fade:
        raise InputError(
            f"line {event.line}: event {event.number} is shorter than its transition of {event.fade} frames; "
            "export the list again"
        )
    if start_s < origin_s:
        raise InputError(
            f"line {event.line}: event {event.number} begins at {event.start}, before the programme "
            f"({counting.label(origin_s)}); give its start with --start"
        )
    return Clip(start_s - origin_s, end_s - origin_s, 0, f"line {event.line}")


def _check_order(events: Sequence[_Event], clips: Sequence[Clip]) -> None:
    """Events must not overlap; lists may be sorted by source, so order itself is free."""
    order = sorted(range(len(clips)), key=lambda i: (clips[i].start_s, clips[i].end_s))
    for one, two in pairwise(order):
        if clips[two].start_s < clips[one].end_s:
            raise InputError(
                f"line {events[two].line}: event {events[two].number} begins at {events[two].start}, before event "
                f"{events[one].number} ends ({events[one].end}); export one video track"
            )


def _shown(events: Sequence[_Event], clips: Sequence[Clip], counting: Counting) -> list[Clip]:
    """The clips, those that are dissolved to from the middle of the dissolve on, and those before them until there."""
    out: list[Clip] = []
    for clip, event in sorted(zip(clips, events, strict=True), key=lambda pair: pair[0]):
        start_s = min(clip.start_s + event.fade // 2 / counting.rate, clip.end_s)
        if event.fade and out and out[-1].end_s == clip.start_s:
            out[-1] = replace(out[-1], end_s=start_s)
        if clip.end_s > clip.start_s:
            out.append(replace(clip, start_s=start_s))
    return out
