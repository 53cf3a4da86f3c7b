"""What every format of cut lists gives and takes, and how layers of clips become cuts.

Times are exact fractions of a second, counted from the programme's start, so that a frame's number survives any
conversion.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from emsync.errors import InputError
from emsync.timecode import Counting

#: Whether a cut must have a chord, may have one, or is treated by the rule (the empty text).
Weight = Literal["", "must", "may"]

#: More clips than any film has. A damaged file with more is refused.
MAX_CLIPS: Final = 200_000


@dataclass(frozen=True)
class Cut:
    """A cut of a list.

    - time_s: seconds from the programme's start.
    - place: where it was read, for messages: "line 3".
    - weight: see `Weight`.
    - name: what the list calls it.
    """

    time_s: float
    place: str
    weight: Weight = ""
    name: str = ""


def in_order(cuts: Iterable[Cut]) -> list[Cut]:
    """Markers in order of time, the first of those at one time alone: programs keep a row for each track and kind."""
    first: dict[float, Cut] = {}
    for cut in cuts:
        first.setdefault(cut.time_s, cut)
    return [first[time_s] for time_s in sorted(first)]


@dataclass(frozen=True)
class Found:
    """The cuts of a text, in its order.

    - counting: how the file counts frames, if it does.
    - start: the programme's start as a label, if the file has labels.
    - duration_s: the programme's length, if the file says it.
    - of_file: whether times count from the beginning of the film's file, as editing programs do, and not from its first
      picture. They differ where pictures begin late.
    """

    cuts: list[Cut]
    counting: Counting | None = None
    start: str | None = None
    duration_s: float | None = None
    of_file: bool = True


@dataclass(frozen=True)
class Request:
    """What the caller knows and the file may not say.

    - counting: how frames are counted; None if unknown.
    - start: the label of the programme's first frame; None for the whole hour at or before the first label.
    """

    counting: Counting | None = None
    start: str | None = None

    def needed(self, label: str) -> Counting:
        """How frames are counted. Raises `InputError` naming the first label if nobody says it."""
        if self.counting is None:
            raise InputError(
                f"the list counts frames ({label}) and does not say how many a second; give --fps such as 25 or 29.97df"
            )
        return self.counting


@dataclass(frozen=True, order=True)
class Clip:
    """Something shown: from `start_s` to `end_s`, on a layer that covers those below it."""

    start_s: Fraction
    end_s: Fraction
    layer: float
    place: str = field(compare=False, default="")


def cuts_or_markers(clips: Sequence[Clip], markers: Iterable[Cut], *, until_s: Fraction | None = None) -> list[Cut]:
    """The cuts of a timeline, or its markers if nothing is cut, each time once.

    Raises `InputError` for a timeline that has neither pictures nor markers.
    """
    cuts = visible_cuts(clips, until_s=until_s) or sorted(
        {cut.time_s: cut for cut in markers}.values(), key=lambda cut: cut.time_s
    )
    if not clips and not cuts:
        raise InputError("has no clip of the picture, and no marker; export the timeline with its video track")
    return cuts


def visible_cuts(clips: Iterable[Clip], *, until_s: Fraction | None = None) -> list[Cut]:
    """Where another clip becomes visible than before, or none: the cuts of a timeline of layers.

    The start at 0 and the timeline's end are not cuts. Clips that begin later than 0 begin with a cut.

    - until_s: the timeline's end, if it lasts longer than its clips.
    """
    waiting = sorted(clip for clip in clips if clip.end_s > clip.start_s)
    if len(waiting) > MAX_CLIPS:
        raise InputError(f"holds {len(waiting)} clips, over {MAX_CLIPS}; export a part of it")
    last_s = max((clip.end_s for clip in waiting), default=Fraction(0))
    end_s = last_s if until_s is None else max(until_s, last_s)
    edges = sorted({edge for clip in waiting for edge in (clip.start_s, clip.end_s)})
    shown: list[tuple[float, int]] = []  # (-layer, -index): the top layer first, and there the clip that began last
    cuts: list[Cut] = []
    index, before = 0, -1
    for edge in edges:
        while index < len(waiting) and waiting[index].start_s <= edge:
            heapq.heappush(shown, (-waiting[index].layer, -index))
            index += 1
        while shown and waiting[-shown[0][1]].end_s <= edge:
            heapq.heappop(shown)
        now = -shown[0][1] if shown else -1
        if now != before and 0 < edge < end_s:
            clip = waiting[now if now >= 0 else before]
            cuts.append(Cut(float(edge), clip.place or f"cut {len(cuts) + 1}"))
        before = now
    return cuts
