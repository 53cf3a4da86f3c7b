"""Final Cut Pro 7 XML (xmeml), which Premiere Pro and DaVinci Resolve write as well.

Clips lie on video tracks, later tracks above earlier ones. `start` and `end` count frames of the sequence from its
beginning; -1 means that the clip begins or ends at the edit point of the transition next to it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from emsync.cutfiles.cut import Clip, Cut, Found, Request, cuts_or_markers
from emsync.cutfiles.xml import Element, looks_like, parse, text_of
from emsync.errors import InputError
from emsync.table import shown
from emsync.timecode import Counting

#: The largest number of a frame.
_MAX_FRAMES = 10**9


def suits(text: str) -> bool:
    """Whether a text is FCP7 XML."""
    return looks_like(text, "xmeml")


def read(text: str, request: Request) -> Found:
    """The cuts of the one sequence in the file, or its markers if it has no cut."""
    root = parse(text)
    sequences = [child for child in root.iter("sequence") if child.find("media") is not None]
    inner = {id(each) for outer in sequences for clip in outer.iter("clipitem") for each in clip.iter("sequence")}
    sequences = [each for each in sequences if id(each) not in inner]
    if not sequences:
        raise InputError("the XML holds no sequence; export the sequence, not its clips")
    if len(sequences) > 1:
        names = ", ".join(shown(text_of(each, "name")) for each in sequences[:4])
        raise InputError(f"the XML holds {len(sequences)} sequences ({names}); export one of them")
    sequence = sequences[0]
    counting = _counting(sequence)
    tracks = sequence.findall("media/video/track")
    clips = [
        clip
        for layer, track in enumerate(tracks)
        if text_of(track, "enabled").upper() != "FALSE"
        for clip in _clips(track, layer, counting.rate)
    ]
    cuts = cuts_or_markers(clips, _markers(sequence, counting.rate))
    length = _frames(text_of(sequence, "duration"))
    label = text_of(sequence, "timecode/string") or None
    return Found(cuts, counting, label, float(length / counting.rate) if length else None)


def _counting(sequence: Element) -> Counting:
    base = text_of(sequence, "rate/timebase")
    if not re.fullmatch("[0-9]{1,3}", base) or int(base) == 0:
        raise InputError(f"the sequence's timebase is {shown(base)}; it should be frames a second such as 25")
    rate = Fraction(int(base))
    if text_of(sequence, "rate/ntsc").upper() == "TRUE":
        rate *= Fraction(1000, 1001)
    drop = text_of(sequence, "timecode/displayformat").upper() == "DF"
    return Counting(rate, drop)


def _frames(text: str) -> int | None:
    """A whole number of frames from 0 on; None for -1, and where there is none."""
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _MAX_FRAMES else None


def _clips(track: Element, layer: int, rate: Fraction) -> list[Clip]:
    items = [child for child in track if child.tag in ("clipitem", "transitionitem")]
    clips: list[Clip] = []
    for i, item in enumerate(items):
        if item.tag == "transitionitem" or text_of(item, "enabled").upper() == "FALSE":
            continue
        start, end = _frames(text_of(item, "start")), _frames(text_of(item, "end"))
        if start is None and i:
            start = _edit_point(items[i - 1])
        if end is None and i + 1 < len(items):
            end = _edit_point(items[i + 1])
        name = text_of(item, "name") or item.get("id", "")
        if start is None or end is None or end < start:
            raise InputError(f"clip {shown(name)} has no place in the sequence; export it again")
        clips.append(Clip(start / rate, end / rate, layer, f"clip {shown(name)}"))
    return clips


def _edit_point(item: Element) -> int | None:
    """The frame at which a transition's clips would meet without it."""
    start, end = _frames(text_of(item, "start")), _frames(text_of(item, "end"))
    if item.tag != "transitionitem" or start is None or end is None:
        return None
    alignment = text_of(item, "alignment").lower()
    if alignment.startswith("start"):
        return start
    return end if alignment.startswith("end") else (start + end) // 2


def _markers(sequence: Element, rate: Fraction) -> list[Cut]:
    found = []
    for marker in sequence.findall("marker"):
        frame = _frames(text_of(marker, "in"))
        if frame is not None:
            name = text_of(marker, "name")
            found.append(Cut(float(frame / rate), f"marker {shown(name)}", name=name))
    return sorted(found, key=lambda cut: cut.time_s)
