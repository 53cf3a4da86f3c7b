"""OpenTimelineIO's own JSON (`.otio`), without the library.

A timeline holds a stack of tracks; a track holds clips, gaps, transitions, and stacks or tracks again. An item lasts as
long as its `source_range`, or else as its media or its parts. A cut stands where another clip is seen, so that edits
within nested stacks count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from emsync.cutfiles.cut import MAX_CLIPS, Clip, Cut, Found, Request, cuts_or_markers
from emsync.errors import InputError
from emsync.film_clock import usual_rate
from emsync.table import read_json, shown
from emsync.timecode import Counting

_MAX_DEPTH = 60
#: How the library writes infinity in metadata, which JSON calls otherwise.
_INF = re.compile(r"([:\[,]\s*-?)Inf(?=\s*[,\]}])")
#: What tracks were called before.
_OLD_NAMES = {"Sequence": "Track"}


def suits(text: str) -> bool:
    """Whether a text is OpenTimelineIO's JSON."""
    return text.lstrip()[:1] == "{" and '"OTIO_SCHEMA"' in text[:4000]


def read(text: str, request: Request) -> Found:
    """The cuts of the one timeline in the file, or its markers if it has no cut."""
    timeline = _timeline(read_json(_INF.sub(r"\1Infinity", text)))
    reader = _Reader()
    reader.note_rate(timeline.get("global_start_time"))
    length_s = reader.read_composition(timeline.get("tracks"), 0)
    markers = (cut for cut in reader.markers if cut.time_s >= 0)
    cuts = cuts_or_markers(reader.clips, markers, until_s=length_s)
    counting = Counting(reader.rate) if reader.rate is not None else None
    label = None
    start = timeline.get("global_start_time")
    if isinstance(start, Mapping) and counting is not None:
        start_s = _seconds(start)
        label = counting.label(start_s) if start_s >= 0 else None
    return Found(cuts, counting, label, float(length_s) if length_s > 0 else None)


def _schema(value: Any) -> str:
    name = value.get("OTIO_SCHEMA") if isinstance(value, Mapping) else None
    kind = name.partition(".")[0] if isinstance(name, str) else ""
    return _OLD_NAMES.get(kind, kind)


def _timeline(value: Any) -> Mapping[str, Any]:
    """The timeline, also out of a collection that holds no other."""
    found = [value] if _schema(value) == "Timeline" else []
    if _schema(value) == "SerializableCollection" and isinstance(value.get("children"), list):
        found = [child for child in value["children"] if _schema(child) == "Timeline"]
    if len(found) != 1:
        raise InputError(f"the OTIO file holds {len(found)} timelines; export one timeline")
    timeline: Mapping[str, Any] = found[0]
    return timeline


def _seconds(value: Any) -> Fraction:
    """A RationalTime in seconds, at the rate that films have if its own is rounded."""
    number, rate = (value.get("value"), value.get("rate")) if isinstance(value, Mapping) else (None, None)
    if not (isinstance(number, int | float) and isinstance(rate, int | float)):
        raise InputError(f"the OTIO file has the time {shown(str(value))}; export it again")
    if not (math.isfinite(number) and abs(number) <= 1e12 and math.isfinite(rate) and 0 < rate <= 1e6):
        raise InputError(f"the OTIO file has the time {number} at rate {rate}; export it again")
    return Fraction(number) / usual_rate(Fraction(rate))


class _Reader:
    """Gathers clips and markers of nested compositions, in seconds from the timeline's start."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.markers: list[Cut] = []
        self.rate: Fraction | None = None
        self._layers = 0

    def read_composition(self, value: Any, depth: int) -> Fraction:
        """Read a stack or a track from 0 s on, and return its length in seconds."""
        if depth > _MAX_DEPTH:
            raise InputError("the OTIO file is nested too deeply; flatten the timeline")
        children = value.get("children") if isinstance(value, Mapping) else None
        if not isinstance(children, list):
            raise InputError(f"the OTIO file has {shown(_schema(value) or str(value))} where tracks belong")
        is_stack = _schema(value) == "Stack"
        now_s = longest_s = Fraction(0)
        self._markers_of(value, Fraction(0), Fraction(0), None)
        for child in children:
            schema = _schema(child)
            if schema == "Transition":
                continue  # laid over the place where its neighbours meet
            if schema == "Track" and child.get("kind", "Video") != "Video":
                continue
            if is_stack:
                self._layers += 1
            length_s = self._read_item(child, now_s, depth + 1)
            longest_s = max(longest_s, length_s)
            now_s = Fraction(0) if is_stack else now_s + length_s
        return longest_s if is_stack else now_s

    def _read_item(self, item: Any, at_s: Fraction, depth: int) -> Fraction:
        schema = _schema(item)
        if schema not in ("Clip", "Gap", "Stack", "Track", "Composition", "Timeline"):
            raise InputError(f"the OTIO file has {shown(schema or str(item))} where a clip belongs; export it again")
        if len(self.clips) > MAX_CLIPS:
            raise InputError(f"holds more than {MAX_CLIPS} clips; export a part of it")
        span = _range(item.get("source_range"))
        if schema in ("Clip", "Gap"):
            name = shown(str(item.get("name") or ""))
            span = span or _media_range(item)
            if span is None:
                raise InputError(f"the OTIO file does not say how long {schema.lower()} {name} is; export it again")
            first_s, length_s = span
            is_shown = schema == "Clip" and item.get("enabled", True) is not False
            if is_shown:
                source = item.get("source_range")
                self.note_rate(source.get("duration") if isinstance(source, Mapping) else None)
                self.clips.append(Clip(at_s, at_s + length_s, self._layers, f"clip {name}"))
            self._markers_of(item, at_s, first_s, length_s)
            return length_s
        inner = _Reader()
        inner._layers, inner.rate = self._layers, self.rate
        whole_s = inner.read_composition(item.get("tracks") if schema == "Timeline" else item, depth)
        first_s, length_s = span or (Fraction(0), whole_s)
        if first_s + length_s <= 0 or first_s >= whole_s > 0:
            first_s, length_s = Fraction(0), whole_s  # a range of the media, not of the track: it would show nothing
        self._layers, self.rate = inner._layers, inner.rate
        if item.get("enabled", True) is not False:
            self._take(inner, at_s, first_s, length_s)
        return length_s

    def _take(self, inner: _Reader, at_s: Fraction, first_s: Fraction, length_s: Fraction) -> None:
        """Add what an inner composition shows in its range."""
        for clip in inner.clips:
            start_s = max(clip.start_s - first_s, Fraction(0))
            end_s = min(clip.end_s - first_s, length_s)
            if end_s > start_s:
                self.clips.append(replace(clip, start_s=at_s + start_s, end_s=at_s + end_s))
        for cut in inner.markers:
            if first_s <= cut.time_s < first_s + length_s:
                self.markers.append(replace(cut, time_s=float(at_s + Fraction(cut.time_s) - first_s)))

    def _markers_of(self, item: Any, at_s: Fraction, first_s: Fraction, length_s: Fraction | None) -> None:
        markers = item.get("markers")
        for marker in markers if isinstance(markers, list) else ():
            span = _range(marker.get("marked_range")) if isinstance(marker, Mapping) else None
            if span is not None and (length_s is None or first_s <= span[0] < first_s + length_s):
                name = str(marker.get("name") or "")
                self.markers.append(Cut(float(at_s + span[0] - first_s), f"marker {shown(name)}", name=name))

    def note_rate(self, time: Any) -> None:
        """Take the rate of the first RationalTime that has one: that of the start, or else of the first clip."""
        rate = time.get("rate") if isinstance(time, Mapping) else None
        if self.rate is None and isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1000:
            self.rate = usual_rate(Fraction(rate))


def _range(value: Any) -> tuple[Fraction, Fraction] | None:
    """Start and length of a TimeRange in seconds; None where there is none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InputError(f"the OTIO file has the range {shown(str(value))}; export it again")
    start_s, length_s = _seconds(value.get("start_time")), _seconds(value.get("duration"))
    if length_s < 0:
        raise InputError(f"the OTIO file has a range of {float(length_s):g} s; export it again")
    return start_s, length_s


def _media_range(item: Mapping[str, Any]) -> tuple[Fraction, Fraction] | None:
    """The available range of a clip's media, in the first or the second version of the schema."""
    media = item.get("media_reference")
    many = item.get("media_references")
    if isinstance(many, Mapping):
        media = many.get(str(item.get("active_media_reference_key", "DEFAULT_MEDIA")), media)
    return _range(media.get("available_range")) if isinstance(media, Mapping) else None
