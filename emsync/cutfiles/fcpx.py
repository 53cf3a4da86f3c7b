"""Final Cut Pro X XML (fcpxml), which DaVinci Resolve writes as well.

Every element has an `offset` on its parent's time line. A sequence's time line begins at its `tcStart`, usually 3600 s:
OpenTimelineIO's adapter takes that for a gap of an hour. A clip's time line begins at its `start`. Times are rational
seconds such as `1001/24000s`. The edits within a compound clip (`ref-clip`) are in the sequence of its `media`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from emsync.cutfiles.cut import MAX_CLIPS, Clip, Cut, Found, Request, cuts_or_markers
from emsync.cutfiles.xml import Element, looks_like, parse
from emsync.errors import InputError
from emsync.film_clock import usual_rate
from emsync.table import shown
from emsync.timecode import Counting

#: Elements that show a picture of their own.
_SHOWN = ("clip", "asset-clip", "ref-clip", "sync-clip", "mc-clip", "video")
_OF_SOUND = "audio"
#: Compound clips within compound clips, and lanes upon lanes.
_MAX_DEPTH = 60


def suits(text: str) -> bool:
    """Whether a text is FCPXML."""
    return looks_like(text, "fcpxml")


def read(text: str, request: Request) -> Found:
    """The cuts of the one project in the file, or its markers if it has no cut."""
    root = parse(text)
    sequences = [each for project in root.iter("project") for each in project.findall("sequence")]
    sequences = sequences or root.findall("sequence")
    if not sequences:
        raise InputError("the XML holds no project; export the project, not its clips")
    if len(sequences) > 1:
        raise InputError(f"the XML holds {len(sequences)} projects; export one of them")
    sequence = sequences[0]
    counting = _counting(root, sequence)
    start_s = _time(sequence, "tcStart")
    spine = sequence.find("spine")
    compounds = {each.get("id"): made for each in root.iter("media") if (made := each.find("sequence")) is not None}
    reader = _Reader(_silent_assets(root), compounds, {})
    end_s = Fraction(0)
    if spine is not None:
        end_s = reader.read_spine(spine, Fraction(0), start_s, 0, 0)
    cuts = cuts_or_markers(reader.clips, reader.markers, until_s=end_s)
    label = None
    if counting is not None:
        label = counting.label(start_s)
    length_s = _time(sequence, "duration")
    return Found(cuts, counting, label, float(length_s) if length_s else None)


def _counting(root: Element, sequence: Element) -> Counting | None:
    formats = {each.get("id"): each for each in root.iter("format")}
    found = formats.get(sequence.get("format"))
    frame_s = Fraction(0) if found is None else _time(found, "frameDuration")
    if frame_s <= 0:
        return None
    return Counting(usual_rate(1 / frame_s), sequence.get("tcFormat") == "DF")


def _silent_assets(root: Element) -> set[str | None]:
    """Assets that have sound and no picture."""
    assets = [each for each in root.iter("asset") if each.get("hasAudio") == "1" and each.get("hasVideo") != "1"]
    return {asset.get("id") for asset in assets}


def _time(element: Element, name: str, default: Fraction = Fraction(0)) -> Fraction:
    """An attribute such as "1001/24000s" in seconds."""
    text = element.get(name)
    if text is None:
        return default
    match = re.fullmatch(r"\s*(-?[0-9]{1,18}(?:\.[0-9]{1,12})?)(?:/([0-9]{1,12}))?s\s*", text)
    if match is None or (match[2] is not None and int(match[2]) == 0):
        raise InputError(f"{element.tag} has {name} {shown(text)}, which is no time; export it again")
    return Fraction(match[1]) / int(match[2] or 1)


class _Reader:
    """Walks through spines and connected clips, and gathers clips and markers in seconds from the programme's start."""

    def __init__(
        self, silent: set[str | None], compounds: Mapping[str | None, Element], read: dict[int, list[Clip] | None]
    ) -> None:
        self.clips: list[Clip] = []
        self.markers: list[Cut] = []
        self._silent = silent
        self._compounds = compounds
        self._compound_clips = read

    def read_spine(self, spine: Element, at_s: Fraction, zero_s: Fraction, layer: float, depth: int) -> Fraction:
        """Read a storyline that begins at `at_s`, and return its end; `zero_s` is what its own time line says there.

        A gap at its end belongs to it: the picture turns black there.
        """
        now_s = zero_s
        for item in spine:
            if item.tag in ("transition", "title") or item.tag not in (*_SHOWN, "gap", "audition", _OF_SOUND):
                if item.tag == "title":
                    now_s = _time(item, "offset", now_s) + _time(item, "duration")
                continue
            offset_s = _time(item, "offset", now_s)
            item = self._chosen(item)
            duration_s = _time(item, "duration")
            now_s = offset_s + duration_s
            self._read_item(item, at_s + offset_s - zero_s, duration_s, layer, depth)
        return at_s + now_s - zero_s

    def _chosen(self, item: Element) -> Element:
        """The first clip of an audition, or the item itself."""
        if item.tag != "audition":
            return item
        return next((child for child in item if child.tag in _SHOWN), item)

    def _read_item(self, item: Element, at_s: Fraction, duration_s: Fraction, layer: float, depth: int) -> None:
        if duration_s < 0:
            raise InputError(f"{item.tag} {shown(item.get('name', ''))} has a negative length; export it again")
        if item.get("enabled") == "0":
            return
        own_s = _time(item, "start")
        compound = self._compounds.get(item.get("ref")) if item.tag == "ref-clip" else None
        if self._is_seen(item) and compound is not None:
            self._read_compound(compound, own_s, at_s, duration_s, layer, depth)
        elif self._is_seen(item):
            self.clips.append(Clip(at_s, at_s + duration_s, layer, f"clip {shown(item.get('name', ''))}"))
        for child in self._children(item):
            if child.tag == "marker":
                marker_s = at_s + _time(child, "start") - own_s
                if at_s <= marker_s < at_s + max(duration_s, Fraction(1, 1000)):
                    text = child.get("value", "")
                    self.markers.append(Cut(float(marker_s), f"marker {shown(text)}", name=text))
                continue
            lane = child.get("lane", "0")
            above = layer + (int(lane) if re.fullmatch("-?[0-9]{1,4}", lane) else 0)
            if above == layer:
                continue  # what a compound clip is made of
            child_s = at_s + _time(child, "offset") - own_s
            if child.tag == "spine":
                self.read_spine(child, child_s, Fraction(0), above, depth + 1)
            else:
                chosen = self._chosen(child)
                self._read_item(chosen, child_s, _time(chosen, "duration"), above, depth + 1)

    def _is_seen(self, item: Element) -> bool:
        """Whether an item shows something: sound that was detached is a clip around a gap with sound."""
        if item.tag not in _SHOWN or item.get("srcEnable") == "audio" or item.get("ref") in self._silent:
            return False
        if item.tag != "clip" or not any(child.tag in (*_SHOWN, "gap", _OF_SOUND) for child in item):
            return True
        return any(child.tag in _SHOWN and child.get("lane", "0") == "0" for child in item)

    def _read_compound(
        self, sequence: Element, from_s: Fraction, at_s: Fraction, duration_s: Fraction, layer: float, depth: int
    ) -> None:
        """Add what a compound clip shows of its sequence from `from_s` on, on layers between this one and the next."""
        zero_s = _time(sequence, "tcStart")
        first_s = max(from_s - zero_s, Fraction(0))
        inside = self._inside(sequence, zero_s, depth)
        layers = sorted({clip.layer for clip in inside})
        for clip in inside:
            start_s, end_s = max(clip.start_s - first_s, Fraction(0)), min(clip.end_s - first_s, duration_s)
            if end_s > start_s:
                own = layer + layers.index(clip.layer) / (len(layers) + 1)
                self.clips.append(Clip(at_s + start_s, at_s + end_s, own, clip.place))
        if len(self.clips) > MAX_CLIPS:
            raise InputError(f"holds more than {MAX_CLIPS} clips; export a part of it")

    def _inside(self, sequence: Element, zero_s: Fraction, depth: int) -> list[Clip]:
        """The clips of a compound clip's sequence, which is read once."""
        known = self._compound_clips.get(id(sequence), [])
        if known is None or depth > _MAX_DEPTH:
            raise InputError("the FCPXML has compound clips within themselves, or too deep; export it again")
        if id(sequence) not in self._compound_clips:
            self._compound_clips[id(sequence)] = None
            inner = _Reader(self._silent, self._compounds, self._compound_clips)
            spine = sequence.find("spine")
            if spine is not None:
                inner.read_spine(spine, Fraction(0), zero_s, 0, depth + 1)
            self._compound_clips[id(sequence)] = known = inner.clips
        return known

    def _children(self, item: Element) -> Iterator[Element]:
        return (child for child in item if child.tag in (*_SHOWN, "marker", "spine", "audition"))
