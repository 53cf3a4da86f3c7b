"""Writing cuts in the formats that `emsync.cutlist` reads: a programme of one film, cut into shots.

    text = WRITERS["edl"].write(Programme("film", cuts_s, 60.0, Counting(Fraction(25))))

Every writer takes a `Programme` and returns a text. Times go to the nearest frame where a format counts frames.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from emsync.cutfiles.cut import Weight
from emsync.errors import InputError
from emsync.timecode import Counting

#: A day of labels; timecodes begin anew after it.
_LONGEST_S: Final = 86_400


@dataclass(frozen=True)
class Programme:
    """A film and its cuts.

    - name: the film's name, or the list's.
    - cuts_s: seconds from the programme's start, increasing.
    - duration_s: the programme's length, beyond the last cut.
    - counting: how frames are counted.
    - start: the label of the first frame; None for 01:00:00:00.
    - weights, names: one a cut, or none.
    - media: the film's file, if there is one.
    """

    name: str
    cuts_s: Sequence[float]
    duration_s: float
    counting: Counting
    start: str | None = None
    weights: tuple[Weight, ...] = ()
    names: tuple[str, ...] = ()
    media: Path | None = None

    @property
    def start_s(self) -> Fraction:
        """The time of the first frame's label."""
        return self.counting.seconds("01:00:00:00" if self.start is None else self.start)

    @property
    def titles(self) -> list[str]:
        """The cuts' names, `Cut 1` and so on where the list has none."""
        given = self.names or ("",) * len(self.cuts_s)
        return [" ".join(name.split()) or f"Cut {i}" for i, name in enumerate(given, start=1)]

    def shots(self) -> list[tuple[int, int]]:
        """First frame and end of each shot, from 0 on. Cuts on one frame are one."""
        count = self.counting.frame
        end = max(count(self.duration_s), 1)
        edges = sorted({0, end, *(frame for frame in map(count, self.cuts_s) if 0 < frame < end)})
        return list(pairwise(edges))

    def url(self) -> str:
        """The film's file as a URL; its bare name if there is no file."""
        return quote(self.name) if self.media is None else self.media.resolve().as_uri()


def write_csv(programme: Programme) -> str:
    """A table of our own: seconds, the timecode from 0, weight and name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["time_s", "timecode", "weight", "name"])
    weights = programme.weights or ("",) * len(programme.cuts_s)
    for cut_s, weight, title in zip(programme.cuts_s, weights, programme.titles, strict=True):
        writer.writerow([f"{cut_s:.6f}", programme.counting.label(cut_s), weight, title])
    return out.getvalue()


def write_json(programme: Programme) -> str:
    """`cuts_s` and what else is known, as `emsync compose --cuts` reads it."""
    rate = programme.counting.rate
    record: dict[str, Any] = {
        "cuts_s": [round(cut_s, 6) for cut_s in programme.cuts_s],
        "duration_s": programme.duration_s,
        "frame_rate": f"{rate.numerator}/{rate.denominator}",
    }
    if any(programme.weights):
        record["weights"] = list(programme.weights)
    return json.dumps(record, indent=1) + "\n"


def write_audacity(programme: Programme) -> str:
    """Audacity's labels: start, end, text."""
    rows = zip(programme.cuts_s, programme.titles, strict=True)
    return "".join(f"{cut_s:.6f}\t{cut_s:.6f}\t{title}\n" for cut_s, title in rows)


def write_reaper(programme: Programme) -> str:
    """REAPER's list of markers, which its Region/Marker Manager imports."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["#", "Name", "Start", "End", "Length"])
    for i, (cut_s, title) in enumerate(zip(programme.cuts_s, programme.titles, strict=True), start=1):
        milliseconds = round(cut_s * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else str(minutes)
        writer.writerow([f"M{i}", title, f"{hours}:{rest // 1000:02d}.{rest % 1000:03d}", "", ""])
    return out.getvalue()


def write_edl(programme: Programme) -> str:
    """A CMX3600 EDL: one event a shot, the source counted like the film's file from 00:00:00:00."""
    count, start_s = programme.counting, programme.start_s
    if start_s + Fraction(programme.duration_s) >= _LONGEST_S:
        raise InputError(
            f"a programme of {programme.duration_s:g} s from {count.label(start_s)} passes midnight, where timecodes "
            "begin anew; give an earlier --start"
        )
    title = programme.name.encode("ascii", "replace").decode()
    lines = [f"TITLE: {title}", f"FCM: {'DROP' if count.drop_frame else 'NON-DROP'} FRAME", ""]
    for number, (first, end) in enumerate(programme.shots(), start=1):
        at = [count.label(frame / count.rate) for frame in (first, end)]
        on = [count.label(start_s + frame / count.rate) for frame in (first, end)]
        lines.append(f"{number:03d}  AX       V     C        {at[0]} {at[1]} {on[0]} {on[1]}")
        lines.append(f"* FROM CLIP NAME: {title}")
    return "\n".join(lines) + "\n"


def write_otio(programme: Programme) -> str:
    """An OpenTimelineIO timeline of one video track: a clip a shot, and a marker on each cut."""
    rate = float(programme.counting.rate)

    def time(frames: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "value": float(frames), "rate": rate}

    def span(first: int, end: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "TimeRange.1", "start_time": time(first), "duration": time(end - first)}

    shots = programme.shots()
    media = {
        "OTIO_SCHEMA": "ExternalReference.1", "target_url": programme.url(), "name": programme.name,
        "available_range": span(0, shots[-1][1]), "metadata": {},
    }  # fmt: skip
    clips = [
        {
            "OTIO_SCHEMA": "Clip.2", "name": f"{programme.name} {i}", "source_range": span(*shot), "effects": [],
            "markers": [], "enabled": True, "metadata": {}, "media_references": {"DEFAULT_MEDIA": media},
            "active_media_reference_key": "DEFAULT_MEDIA",
        }
        for i, shot in enumerate(shots, start=1)
    ]  # fmt: skip
    common: dict[str, Any] = {"source_range": None, "effects": [], "markers": [], "enabled": True, "metadata": {}}
    track = {"OTIO_SCHEMA": "Track.1", "name": "V1", "kind": "Video", "children": clips, **common}
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "name": programme.name, "metadata": {},
        "global_start_time": time(programme.counting.frame(programme.start_s)),
        "tracks": {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track], **common},
    }  # fmt: skip
    return json.dumps(timeline, indent=1) + "\n"


def write_fcpxml(programme: Programme) -> str:
    """FCPXML 1.9: a project whose spine holds the film, cut into shots."""
    count = programme.counting
    step = 1 / count.rate

    def time(frames: int) -> str:
        seconds = frames * step
        return f"{seconds.numerator}/{seconds.denominator}s" if seconds.denominator > 1 else f"{seconds.numerator}s"

    shots = programme.shots()
    start = count.frame(programme.start_s)
    name, length = quoteattr(programme.name), time(shots[-1][1])
    media = f'<asset id="r2" name={name} src={quoteattr(programme.url())} start="0s" duration="{length}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>', "<!DOCTYPE fcpxml>", '<fcpxml version="1.9">', "  <resources>",
        f'    <format id="r1" frameDuration="{time(1)}"/>',
        f'    {media} hasVideo="1" format="r1"/>', "  </resources>",
        f"  <library><event name={name}><project name={name}>",
        f'    <sequence format="r1" duration="{length}" tcStart="{time(start)}" '
        f'tcFormat="{"DF" if count.drop_frame else "NDF"}">', "      <spine>",
    ]  # fmt: skip
    for first, end in shots:
        lines.append(
            f'        <asset-clip ref="r2" name={name} offset="{time(start + first)}" start="{time(first)}" '
            f'duration="{time(end - first)}"/>'
        )
    lines += ["      </spine>", "    </sequence>", "  </project></event></library>", "</fcpxml>"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Writer:
    """A format that can be written: what its name ends in, and whether it counts from the beginning of the file."""

    ending: str
    write: Callable[[Programme], str]
    of_file: bool = True


#: The formats that can be written, by name. Two end in .csv: the first is the default.
WRITERS: Final[dict[str, Writer]] = {
    "csv": Writer(".csv", write_csv, of_file=False),
    "edl": Writer(".edl", write_edl),
    "otio": Writer(".otio", write_otio),
    "fcpxml": Writer(".fcpxml", write_fcpxml),
    "audacity": Writer(".txt", write_audacity),
    "reaper": Writer(".csv", write_reaper),
    "json": Writer(".json", write_json, of_file=False),
}


def writer_for(path: Path, name: str | None = None) -> Writer:
    """The writer of that name, or else the one for the path's ending. Raises `InputError` if there is none."""
    if name is not None:
        return WRITERS[name]
    found = next((each for each in WRITERS.values() if each.ending == path.suffix.lower()), None)
    if found is None:
        endings = ", ".join(dict.fromkeys(each.ending for each in WRITERS.values()))
        raise InputError(f"{path} ends in no known format; write to a name that ends in {endings}, or give --format")
    return found
