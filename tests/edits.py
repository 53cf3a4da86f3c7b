"""Edits as OpenTimelineIO's library and its adapters write them, and the same written by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest


def otio() -> Any:
    return pytest.importorskip("opentimelineio", reason="needs pip install 'emsync[edit]'")


def timeline(rate: Fraction, lengths: list[int], *, start: int = 0) -> Any:
    """A timeline of clips of so many frames each, all from one film."""
    o = otio()
    fps = float(rate)
    time = lambda frames: o.opentime.RationalTime(frames, fps)  # noqa: E731
    track = o.schema.Track(name="V1", kind="Video")
    at = 0
    for i, frames in enumerate(lengths, start=1):
        media = o.schema.ExternalReference(
            target_url="file:///film.mov", available_range=o.opentime.TimeRange(time(0), time(sum(lengths)))
        )
        span = o.opentime.TimeRange(time(at), time(frames))
        track.append(o.schema.Clip(name=f"shot {i}", media_reference=media, source_range=span))
        at += frames
    line = o.schema.Timeline(name="reel", global_start_time=time(start))
    line.tracks.append(track)
    return line


def write(line: Any, path: Path, **options: Any) -> Path:
    otio().adapters.write_to_file(line, str(path), **options)
    return path


EDL = """TITLE: REEL 1
FCM: NON-DROP FRAME

001  AX       V     C        00:00:00:00 00:00:04:00 01:00:00:00 01:00:04:00
* FROM CLIP NAME: one.mov
002  AX       V     C        00:00:10:00 00:00:13:12 01:00:04:00 01:00:07:12
003  AX       V     C        00:00:13:12 00:00:13:12 01:00:07:12 01:00:07:12
003  BX       V     D    024 00:00:20:00 00:00:24:00 01:00:07:12 01:00:11:12
004  AX       A     C        00:00:00:00 00:00:20:00 01:00:00:00 01:00:20:00
005  AX       AA/V  C        00:00:30:00 00:00:31:00 01:00:11:12 01:00:12:12
"""

DROP_EDL = """TITLE: REEL 1
FCM: DROP FRAME
001  AX V C 00:00:00:00 00:01:00:02 01:00:00:00 01:01:00:02
002  AX V C 00:00:00:00 00:09:00:00 01:01:00:02 01:10:00:00
003  AX V C 00:00:00:00 00:00:10:00 01:10:00:00 01:10:10:00
"""

FCP7 = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE xmeml>
<xmeml version="4"><sequence id="s"><name>Reel</name><duration>300</duration>
<rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
<timecode><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><string>01:00:00;00</string><frame>107892</frame>
<displayformat>DF</displayformat></timecode>
<media><video>
<track>
<clipitem id="a"><name>a</name><start>0</start><end>-1</end></clipitem>
<transitionitem><start>110</start><end>130</end><alignment>center</alignment></transitionitem>
<clipitem id="b"><name>b</name><start>-1</start><end>200</end></clipitem>
<clipitem id="c"><name>c</name><start>200</start><end>300</end></clipitem>
</track>
<track>
<clipitem id="d"><name>d</name><start>150</start><end>160</end></clipitem>
<clipitem id="e"><name>e</name><enabled>FALSE</enabled><start>210</start><end>220</end></clipitem>
<generatoritem id="t"><name>Title</name><start>20</start><end>40</end></generatoritem>
</track>
</video></media></sequence></xmeml>
"""

FCPX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE fcpxml>
<fcpxml version="1.10"><resources><format id="r1" frameDuration="1001/24000s"/>
<asset id="r2" name="film" hasVideo="1" hasAudio="1" start="0s" duration="240240/24000s"/>
<asset id="r3" name="score" hasAudio="1" start="0s" duration="240240/24000s"/></resources>
<library><event><project name="Reel"><sequence format="r1" tcStart="3600s" tcFormat="NDF" duration="240240/24000s">
<spine>
<asset-clip ref="r2" offset="3600s" duration="96096/24000s" start="0s" name="a">
<asset-clip ref="r3" lane="-1" offset="0s" duration="10s" name="score"/>
<asset-clip ref="r2" lane="1" offset="24024/24000s" duration="24024/24000s" name="over"/>
<marker start="48048/24000s" duration="1001/24000s" value="here"/></asset-clip>
<transition offset="86496096/24000s" duration="12012/24000s"/>
<asset-clip ref="r2" offset="86496096/24000s" duration="48048/24000s" start="10s" name="b"/>
<gap offset="86544144/24000s" duration="48048/24000s" start="3600s"><title lane="1" offset="3600s" duration="1s"/></gap>
<asset-clip ref="r2" duration="48048/24000s" name="c"/>
</spine></sequence></project></event></library></fcpxml>
"""

PREMIERE = (
    "Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type\r\n"
    "hit\t\t00;00;04;00\t00;00;04;00\t00;00;00;00\tComment\r\n"
    "end\t\t00;01;00;02\t00;01;00;02\t00;00;00;00\tComment\r\n"
)

REAPER = """<REAPER_PROJECT 0.1 "7.22/linux-x86_64" 1732600000
  RIPPLE 0
  TEMPO 120 4 4
  MARKER 1 12.04 "Cut 1" 0 0 1 B {11111111-2222-3333-4444-555555555555} 0
  MARKER 2 20 Intro 1 0 1 R {11111111-2222-3333-4444-555555555556} 0
  MARKER 2 31.5 "" 1
  MARKER 3 30.25 'say "hi"' 8
>
"""
