"""Fuzzing of the readers of times: cut lists, mood curves, scene JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from emsync.cutlist import read
from emsync.errors import InputError
from emsync.mood import read_curve
from emsync.timecode import Counting
from emsync.video import Scene
from tests import edits
from tests.fuzz.harness import Target, fuzz

_CLIP = (
    b'{"OTIO_SCHEMA": "Clip.2", "source_range": {"OTIO_SCHEMA": "TimeRange.1", "start_time":'
    b' {"value": 0, "rate": 24}, "duration": {"value": 48, "rate": 24}}}'
)
OTIO = (
    b'{"OTIO_SCHEMA": "Timeline.1", "tracks": {"OTIO_SCHEMA": "Stack.1", "children": [{"OTIO_SCHEMA": "Track.1",'
    b' "kind": "Video", "children": [' + _CLIP + b", " + _CLIP + b"]}]}}"
)

COMPOUND = (
    b'<fcpxml version="1.8"><resources><format id="f" frameDuration="1/25s"/><media id="m"><sequence tcStart="0s">'
    b'<spine><clip offset="0s" duration="2s"><video ref="a"/></clip><ref-clip offset="2s" duration="1s" ref="n"/>'
    b'</spine></sequence></media></resources><project><sequence format="f"><spine><ref-clip duration="3s" ref="m"/>'
    b'<clip offset="3s" duration="1s"><gap><audio lane="-1" ref="a"/></gap></clip></spine></sequence></project>'
    b"</fcpxml>"
)

#: One small list of each format.
SEEDS = [
    b"time_s\n1.5\n2\n30.25\n",
    b"00:00:12,040\n00:00:20,000\n",
    b"sep=;\r\ntime_s;name\r\n12,04;a\r\n20;b\r\n",
    b"00:00:12.040\nScene Number,Start Timecode,Start Time (seconds)\n1,00:00:00.000,0.0\n2,00:00:12.040,12.040\n",
    b"#,Name,Start\nM1,one,0:12.040\nM2,two,1:20.000\n",
    b"12.04\t12.04\tcut\n20.0\t21.5\tcut\n",
    b"Ann\t01;00;12;04\tV1\tred\tcut\t1\nAnn\t01;00;20;00\tA2\tcyan\tcut\t1\n",
    '# Liste\ntime_s,name\n1.5,"ä; b"\n'.encode("utf-16"),
    b'{"cuts_s": [1.5, 2, 30.25], "duration_s": 60}',
    edits.EDL.encode(),
    edits.DROP_EDL.encode(),
    edits.FCP7.encode(),
    edits.FCPX.encode(),
    COMPOUND,
    edits.PREMIERE.encode("utf-16"),
    edits.REAPER.encode(),
    OTIO,
]
CURVES = [
    b"time_s,valence,arousal\n0,0.1,0.2\n10,0.5,-0.5\n",
    b"# mood\ntime_s;valence\n0;0,1\n0:10;0,5\n",
    b'{"times_s": [0, 10], "valence": [0.1, 0.5], "arousal": [null, null]}',
]


def in_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            return read(path)

    return run


def curve_name(data: bytes) -> str:
    return "mood.json" if data[:1] == b"{" else "mood.csv"


def scenes() -> list[bytes]:
    scene = Scene("film.mp4", 12.0, Fraction(24000, 1001), 288, 64, 36, [3.25, 5.5], times_s=[0.0, 0.25], motion=[0, 1],
                  luma=[0.5, 0.5], saturation=[0, 0], has_audio=True, loudness_db=[-20.0, float("nan")])  # type: ignore[arg-type]  # fmt: skip
    return [scene.to_json().encode(), scene.to_json(mood={"times_s": [0.5]}).encode()]


def read_scene(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError("not a text") from error
    scene = Scene.from_json(text)
    return scene.to_json() + "".join(scene.timecode(cut_s) for cut_s in scene.cuts_s.tolist())


TARGETS = [
    Target(
        "cutlist",
        lambda: SEEDS,
        in_file(lambda path: read(path, duration_s=7200.0, counting=Counting(Fraction(30000, 1001))), "cuts.csv"),
    ),
    Target("mood", lambda: CURVES, lambda data: in_file(read_curve, curve_name(data))(data)),
    Target("scene", scenes, read_scene),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=400)
    assert counts.read > 5
    assert counts.refused > 20
