"""Cut lists of editing programs: written by OpenTimelineIO's library and by hand, and every way to get one wrong."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.cut_choice import CutChoice
from emsync.cutfiles.cut import Clip, visible_cuts
from emsync.cutlist import CutList, read, spaced
from emsync.errors import InputError
from emsync.timecode import Counting, parse_counting
from tests import edits

F25, F2997, F23976 = Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001)


def save(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("rate", [F25, Fraction(24), F23976, F2997, Fraction(60000, 1001)])
@pytest.mark.parametrize("name", ["reel.edl", "reel.xml", "reel.otio"])
def test_what_the_library_writes(tmp_path: Path, rate: Fraction, name: str) -> None:
    lengths = [1, 99, 47, 1801, 30]
    line = edits.timeline(rate, lengths)
    options = {"adapter_name": "fcp_xml"} if name.endswith("xml") else {}
    options |= {"rate": float(rate)} if name.endswith("edl") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = edits.write(line, tmp_path / name, **options)
    listed = read(path, counting=Counting(rate))
    assert listed.counting is not None
    assert listed.counting.rate == rate
    assert np.rint(listed.cuts_s * float(rate)).tolist() == np.cumsum(lengths)[:-1].tolist()
    assert np.allclose(listed.cuts_s * float(rate), np.cumsum(lengths)[:-1], atol=1e-6)
    assert listed.duration_s == pytest.approx(sum(lengths) / rate)


def test_fcpxml_that_the_library_writes(tmp_path: Path) -> None:
    line = edits.timeline(F25, [100, 50, 25])
    path = edits.write(line, tmp_path / "reel.fcpxml", adapter_name="fcpx_xml")
    assert read(path).cuts_s.tolist() == [4.0, 6.0]


def test_an_edl(tmp_path: Path) -> None:
    listed = read(save(tmp_path, "reel.edl", edits.EDL), counting=Counting(F25), duration_s=12.48)
    assert listed.cuts_s.tolist() == [4.0, 7.96, 11.48]  # the dissolve in its middle
    assert (listed.format, listed.start, listed.duration_s) == ("CMX3600 EDL", "01:00:00:00", 12.48)
    assert listed.summary == "CMX3600 EDL, 3 cuts, 25 frames a second, counted from 01:00:00:00"


def test_a_drop_frame_edl_says_its_rate(tmp_path: Path) -> None:
    listed = read(save(tmp_path, "reel.edl", edits.DROP_EDL))
    assert listed.counting == Counting(F2997, True)
    assert listed.cuts_s == pytest.approx([1800 * 1001 / 30000, 17982 * 1001 / 30000])
    with pytest.raises(InputError, match=r"line 3: '01:01:00:02' does not exist in drop-frame"):
        read(tmp_path / "reel.edl", counting=Counting(Fraction(60000, 1001)))


def test_markers_that_resolve_writes_as_an_edl(tmp_path: Path) -> None:
    text = "TITLE: x\nFCM: NON-DROP FRAME\n" + "".join(
        f"{i:03d}  001      V     C        01:00:0{i}:00 01:00:0{i}:01 01:00:0{i}:00 01:00:0{i}:01\n"
        f" |C:ResolveColorBlue |M:Marker {i} |D:1\n"
        for i in (2, 5)
    )
    assert read(save(tmp_path, "m.edl", text), counting=Counting(F25)).cuts_s.tolist() == [2.0, 5.0]


def test_fcp7_xml(tmp_path: Path) -> None:
    listed = read(save(tmp_path, "reel.xml", edits.FCP7))
    assert np.rint(listed.cuts_s * float(F2997)).tolist() == [120, 150, 160, 200]
    assert listed.counting == Counting(F2997, True)
    assert listed.start == "01:00:00;00"


def test_fcp7_xml_as_resolve_writes_it(tmp_path: Path) -> None:
    # Black at first, clips called by their files' names, and files of another rate than the timeline's.
    rate = "<rate><timebase>{}</timebase><ntsc>{}</ntsc></rate>"
    clips = "".join(
        f'<clipitem id="a b [1].mp4 {i}"><name>a b [1].mp4</name><duration>5000</duration>{rate.format(60, "FALSE")}'
        f"<start>{start}</start><end>{end}</end><enabled>TRUE</enabled><in>0</in><out>{end - start}</out>"
        f'<file id="a b [1].mp4 {i + 2}"><duration>2000</duration>{rate.format(24, "TRUE")}</file>'
        "<filter><enabled>TRUE</enabled><start>0</start><end>5000</end></filter><comments/></clipitem>"
        for i, (start, end) in enumerate([(306, 900), (900, 1320), (1320, 1500)])
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="5"><sequence>'
        f"<name>Timeline 1 (Resolve)</name><duration>1500</duration>{rate.format(60, 'FALSE')}<in>-1</in><out>-1</out>"
        f"<timecode><string>01:00:00:00</string><frame>216000</frame>{rate.format(60, 'FALSE')}</timecode>"
        f"<media><video><track>{clips}<enabled>TRUE</enabled></track></video><audio/></media></sequence></xmeml>"
    )
    listed = read(save(tmp_path, "reel.xml", text))
    assert listed.cuts_s.tolist() == pytest.approx([5.1, 15.0, 22.0])
    assert listed.start == "01:00:00:00"


@pytest.mark.parametrize("as_folder", [False, True])
def test_fcpxml_is_counted_from_its_start(tmp_path: Path, as_folder: bool) -> None:
    if as_folder:
        (tmp_path / "reel.fcpxmld").mkdir()
        save(tmp_path, "reel.fcpxmld/Info.fcpxml", edits.FCPX)
        listed = read(tmp_path / "reel.fcpxmld")
    else:
        listed = read(save(tmp_path, "reel.fcpxml", edits.FCPX))
    assert np.rint(listed.cuts_s * float(F23976)).tolist() == [24, 48, 96, 144, 192]
    assert listed.start == "00:59:56:10"  # 3600 s are not a whole number of frames of 23.976


def fcpx_compound(spine: str, media: str) -> str:
    return (
        '<?xml version="1.0"?><!DOCTYPE fcpxml><fcpxml version="1.8"><resources>'
        '<format id="r1" frameDuration="100/3000s"/><asset id="a" hasVideo="1" hasAudio="1"/>'
        f"{media}</resources><project><sequence format='r1' tcStart='3600s'><spine>{spine}</spine></sequence></project>"
        "</fcpxml>"
    )


def test_fcpxml_as_final_cut_pro_writes_it(tmp_path: Path) -> None:
    # Detached sound is a clip around a gap: on a lane below, and within a gap that is longer than it.
    sound = '<clip lane="-1" offset="{}s" duration="10s"><gap duration="45s"><audio lane="-1" ref="a"/></gap></clip>'
    inner = (
        '<media id="m"><sequence tcStart="7200s" format="r1"><spine>'
        '<clip offset="7200s" duration="10s"><video ref="a" duration="40s"/></clip>'
        '<gap offset="7210s" duration="10s" start="3600s">'
        '<asset-clip lane="2" offset="3604s" duration="3s" ref="a"/></gap>'
        '<asset-clip offset="7220s" duration="10s" ref="a"/></spine></sequence></media>'
    )
    spine = (
        f'<clip offset="3600s" duration="10s"><video ref="a" duration="40s"/>{sound.format(5)}</clip>'
        f'<gap offset="3610s" duration="10s" start="3600s">{sound.format(3603)}</gap>'
        '<ref-clip offset="3620s" duration="20s" start="7204s" ref="m">'
        '<asset-clip lane="1" offset="7209s" duration="2s" ref="a"/></ref-clip>'
        '<ref-clip offset="3640s" duration="5s" start="7200s" ref="m" srcEnable="audio"/>'
        '<clip offset="3645s" duration="5s"><video ref="a"/></clip>'
    )
    listed = read(save(tmp_path, "p.fcpxml", fcpx_compound(spine, inner)))
    # The compound clip shows itself from 4 s on: 6 s, black, 3 s above it, black, then the last clip.
    assert listed.cuts_s.tolist() == [10.0, 20.0, 25.0, 27.0, 30.0, 33.0, 36.0, 40.0, 45.0]
    assert listed.duration_s is None or listed.duration_s > 0


def test_fcpxml_as_resolve_writes_it(tmp_path: Path) -> None:
    # Sound connected to a gap, a still above a clip, clips at another rate than the timeline's, black at the end.
    adjust = '<conform-rate srcFrameRate="25"/><adjust-transform position="0 0" anchor="0 0" scale="1 1"/>'
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.8"><resources>'
        '<format id="r0" frameDuration="1/24s"/><format name="FFVideoFormatRateUndefined" id="r1"/>'
        '<asset name="a.mp4" hasVideo="1" hasAudio="1" start="0/1s" duration="83479/25s" id="r2" format="r0"/>'
        '<asset name="a.png" hasVideo="1" start="0/1s" duration="0/1s" id="r3" format="r1"/>'
        '<asset name="a.mp3" hasAudio="1" start="0/1s" duration="858901871/249750s" id="r4"/></resources>'
        '<library><event name="d (Resolve)"><project name="d (Resolve)">'
        '<sequence tcFormat="NDF" duration="30/1s" format="r0" tcStart="0/1s"><spine>'
        '<gap duration="4/1s" start="3600/1s" offset="0/1s">'
        '<asset-clip duration="30/1s" start="50593/25s" ref="r4" lane="1" offset="3600/1s" name="a.mp3"/></gap>'
        f'<asset-clip start="1206/25s" ref="r2" duration="49/12s" offset="4/1s" format="r0">{adjust}'
        '<video lane="1" name="a.png" start="0/1s" ref="r3" duration="49/24s" offset="1206/25s"/></asset-clip>'
        f'<asset-clip start="1304/25s" ref="r2" duration="5/1s" offset="97/12s" format="r0">{adjust}</asset-clip>'
        '<gap duration="203/12s" start="3600/1s" offset="157/12s"/>'
        "</spine></sequence></project></event></library></fcpxml>"
    )
    listed = read(save(tmp_path, "d.fcpxml", text))
    assert listed.cuts_s.tolist() == pytest.approx([4.0, 4 + 49 / 24, 97 / 12, 157 / 12])
    assert listed.duration_s == 30.0
    assert listed.start == "00:00:00:00"


def test_fcpxml_with_compound_clips_within_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emsync.cutfiles.fcpx.MAX_CLIPS", 1000)
    first = fcpx_compound('<ref-clip offset="3600s" duration="9s" ref="m0"/>', "{}")
    media = '<media id="m{}"><sequence><spine>{}</spine></sequence></media>'
    clip = '<ref-clip offset="0s" duration="9s" ref="m{}"/>'
    circle = "".join(media.format(i, clip.format((i + 1) % 3)) for i in range(3))
    with pytest.raises(InputError, match=r"p\.fcpxml: the FCPXML has compound clips within themselves"):
        read(save(tmp_path, "p.fcpxml", first.format(circle)))
    # Each twice in the one before: 2^50 clips, if they were all read.
    double = "".join(media.format(i, 2 * clip.format(i + 1)) for i in range(50))
    with pytest.raises(InputError, match=r"p\.fcpxml has no clip of the picture"):
        read(save(tmp_path, "p.fcpxml", first.format(double + media.format(50, ""))))
    full = double + media.format(50, '<video duration="9s" ref="a"/>')
    with pytest.raises(InputError, match=r"p\.fcpxml holds more than .* clips; export a part of it"):
        read(save(tmp_path, "p.fcpxml", first.format(full)))


def test_markers_count_where_nothing_is_cut(tmp_path: Path) -> None:
    text = edits.FCPX[: edits.FCPX.index("<transition")] + "</spine></sequence></project></event></library></fcpxml>"
    text = text.replace('<asset-clip ref="r2" lane="1" offset="24024/24000s" duration="24024/24000s" name="over"/>', "")
    listed = read(save(tmp_path, "reel.fcpxml", text))
    assert listed.cuts_s.tolist() == [48048 / 24000]
    assert listed.names == ("here",)


def test_otio_with_nested_gaps_and_layers(tmp_path: Path) -> None:
    o = edits.otio()
    time = lambda frames: o.opentime.RationalTime(frames, 24)  # noqa: E731
    span = lambda start, frames: o.opentime.TimeRange(time(start), time(frames))  # noqa: E731
    inner = o.schema.Track(kind="Video", children=[
        o.schema.Gap(source_range=span(0, 10)), o.schema.Clip("x", source_range=span(5, 20)),
        o.schema.Gap(source_range=span(0, 30)), o.schema.Clip("y", source_range=span(0, 40)),
    ])  # fmt: skip
    nested = o.schema.Stack(children=[inner], source_range=span(20, 50))  # x until 10, y from 40
    base = o.schema.Track(kind="Video", children=[
        o.schema.Clip("a", source_range=span(0, 48)), nested, o.schema.Clip("b", source_range=span(0, 24)),
    ])  # fmt: skip
    over = o.schema.Track(kind="Video", children=[
        o.schema.Gap(source_range=span(0, 12)), o.schema.Clip("o", source_range=span(0, 6)),
    ])  # fmt: skip
    sound = o.schema.Track(kind="Audio", children=[o.schema.Clip("s", source_range=span(0, 7)) for _ in range(9)])
    line = o.schema.Timeline(global_start_time=time(86400))
    line.tracks.extend([base, over, sound])
    listed = read(edits.write(line, tmp_path / "reel.otio"))
    assert np.rint(listed.cuts_s * 24).tolist() == [12, 18, 48, 58, 88, 98]
    assert listed.start == "01:00:00:00"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_premieres_markers(tmp_path: Path, encoding: str) -> None:
    path = save(tmp_path, "markers.txt", edits.PREMIERE.encode(encoding))
    listed = read(path, counting=parse_counting("29.97df"))
    assert np.rint(listed.cuts_s * float(F2997)).tolist() == [120, 1800]
    assert listed.names == ("hit", "end")
    assert read(path).cuts_s.tolist() == listed.cuts_s.tolist(), "drop-frame up to frame 29 is at 29.97"


def test_a_reaper_project(tmp_path: Path) -> None:
    listed = read(save(tmp_path, "mix.rpp", edits.REAPER))
    assert listed.cuts_s.tolist() == [12.04, 20.0, 30.25]
    assert listed.names == ("Cut 1", "Intro", 'say "hi"')


def test_weights_of_a_table(tmp_path: Path) -> None:
    listed = read(save(tmp_path, "c.csv", "time_s,weight\n1,must\n2,\n3,May\n"))
    assert listed.weights == ("must", "", "may")
    with pytest.raises(InputError, match=r"c.csv, line 2: 'often' is no weight; give must, may or nothing"):
        read(save(tmp_path, "c.csv", "time_s,weight\n1,often\n"))


def test_lists_of_the_file_are_moved_to_the_first_picture(tmp_path: Path) -> None:
    edl, table = save(tmp_path, "r.edl", edits.EDL), save(tmp_path, "c.csv", "time_s\n4\n")
    late = read(edl, counting=Counting(F25), pictures_from_s=4.0).cuts_s
    assert late == pytest.approx([3.96, 7.48])  # the cut at 4 s is where the pictures begin
    assert read(table, pictures_from_s=0.5).cuts_s.tolist() == [4.0]
    labels = save(tmp_path, "labels.txt", "4.5\t4.5\tcut\n")
    assert read(labels, pictures_from_s=0.5).cuts_s.tolist() == [4.0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.edl", edits.EDL, r"the list counts frames \(01:00:00:00\) and does not say how many a second; give --fps"),
        ("r.edl", edits.EDL.replace("01:00:04:00", "01:00:05:00", 1),
         "line 6: event 002 begins at 01:00:04:00, before event"),
        ("r.edl", edits.EDL.replace("01:00:07:12 01:00:11:12", "01:00:07:12 01:00:05:12"),
         "ends at 01:00:05:12, before it begins"),
        ("r.edl", edits.EDL.replace("D    024", "D    924"), "line 8: event 003 is shorter than its transition of 924"),
        ("r.edl", edits.EDL.replace("01:00:07:12", "01:00:07:25"),
         "counts 25 frames, and a second has 25 at 25 frames"),
        ("r.edl", edits.EDL.replace("D    024", "D"), "line 8: the transition has no length"),
        ("r.edl", edits.EDL.replace("NON-DROP", "DROP"), "there is no drop-frame at 25 frames a second"),
        ("r.edl", "TITLE: x\nFCM: NON-DROP FRAME\n", "r.edl has no event of the picture"),
        ("r.edl", edits.EDL + "006 AX V C 00:00:00:00 00:00:01:00 01:00:20:00\n",
         "line 11: this is no event of an EDL"),
        ("r.xml", edits.FCP7.replace("<timebase>30", "<timebase>x"), "timebase is 'x'"),
        ("r.xml", edits.FCP7.replace("<start>200</start>", "<start>-1</start>"),
         "clip 'c' has no place in the sequence"),
        ("r.xml", edits.FCP7.replace("clipitem", "generatoritem"), "r.xml has no clip of the picture, and no marker"),
        ("r.xml", edits.FCP7[:400], "this is not complete XML"),
        ("r.xml", "<!DOCTYPE xmeml [<!ENTITY a 'b'>]><xmeml>&a;</xmeml>", "declares entities"),
        ("r.xml", "<xmeml>" + "<a>" * 200 + "</a>" * 200 + "</xmeml>", "nested too deeply"),
        ("r.xml", "<xmeml></xmeml>", "holds no sequence"),
        ("r.xml", edits.FCP7.replace("</xmeml>", edits.FCP7[edits.FCP7.index("<sequence") :]),
         "holds 2 sequences \\('Reel', 'Reel'\\)"),
        ("r.fcpxml", edits.FCPX.replace('"96096/24000s"', '"96096/0s"'),
         "asset-clip has duration '96096/0s', which is no time"),
        ("r.fcpxml", edits.FCPX.replace('"96096/24000s"', '"-1s"'), "has a negative length"),
        ("r.fcpxml", "<fcpxml/>", "holds no project"),
        ("r.otio", '{"OTIO_SCHEMA": "Timeline.1", "tracks": 3}', "has '3' where tracks belong"),
        ("r.otio", '{"OTIO_SCHEMA": "SerializableCollection.1", "children": []}', "holds 0 timelines"),
        ("r.otio", '{"OTIO_SCHEMA": "Timeline.1"', "this is not JSON"),
        ("r.rpp", "<REAPER_PROJECT 0.1\n>\n", "r.rpp has no marker; put markers on the cuts"),
        ("r.rpp", "<REAPER_PROJECT 0.1\n  MARKER 1 soon x 0\n>\n", "line 2: 'MARKER 1 soon x 0' is no marker"),
        ("s.json", '{"cuts_s": [1], "weights": ["often"]}', "weights do not fit"),
    ],
)  # fmt: skip
def test_lists_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    counting = None if "how many a second" in message else Counting(F25)
    with pytest.raises(InputError, match=message) as raised:
        read(save(tmp_path, name, text), counting=counting)
    assert name in str(raised.value)


def otio_time(frames: float, rate: float = 24.0) -> dict[str, Any]:
    return otio_item("RationalTime.1", value=frames, rate=rate)


def otio_span(start: float, frames: float) -> dict[str, Any]:
    return otio_item("TimeRange.1", start_time=otio_time(start), duration=otio_time(frames))


def otio_line(track: dict[str, Any], **more: Any) -> str:
    return json.dumps(otio_item("Timeline.1", tracks=otio_item("Stack.1", children=[track]), **more))


def test_otio_of_other_times(tmp_path: Path) -> None:
    clips = [otio_item("Clip.1", source_range=otio_span(100, frames)) for frames in (12, 24, 36)]
    cuts_s = [0.5, 1.5]
    # Early versions of the library called a track a sequence.
    old = otio_line(otio_item("Sequence.1", kind="Video", children=clips))
    assert read(save(tmp_path, "old.otio", old)).cuts_s.tolist() == cuts_s
    # Its EDL adapter once gave a track the range of the programme's timecode, in which it shows nothing.
    for far in (-86243, 86400):
        shifted = otio_line(otio_item("Track.1", kind="Video", children=clips, source_range=otio_span(far, 72)))
        assert read(save(tmp_path, "far.otio", shifted)).cuts_s.tolist() == cuts_s
    trimmed = otio_line(otio_item("Track.1", kind="Video", children=clips, source_range=otio_span(6, 48)))
    assert read(save(tmp_path, "trimmed.otio", trimmed)).cuts_s.tolist() == [0.25, 1.25]
    # It writes infinity in metadata without its last letters.
    metadata = {"a": float("inf"), "b": [float("-inf"), "Inf, "]}
    text = otio_line(otio_item("Track.1", kind="Video", children=clips, metadata=metadata))
    assert read(save(tmp_path, "inf.otio", text.replace("Infinity", "Inf"))).cuts_s.tolist() == cuts_s


def test_otio_counts_frames_as_its_start_does(tmp_path: Path) -> None:
    clips = [
        otio_item(
            "Clip.1", source_range=otio_item("TimeRange.1", start_time=otio_time(0, 15), duration=otio_time(30, 15))
        )
        for _ in range(2)
    ]
    track = otio_item("Track.1", kind="Video", children=clips)
    for more, rate in (({"global_start_time": otio_time(108000, 30)}, 30), ({}, 15)):
        listed = read(save(tmp_path, "r.otio", otio_line(track, **more)))
        assert (listed.cuts_s.tolist(), listed.counting) == ([2.0], Counting(Fraction(rate)))
    assert (
        read(save(tmp_path, "r.otio", otio_line(track, global_start_time=otio_time(108000, 30)))).start == "01:00:00:00"
    )


def test_premieres_markers_in_drop_frame_say_their_rate(tmp_path: Path) -> None:
    header = "Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type\n"
    rows = "a\tx\t00;00;59;29\t00;00;59;29\t00;00;00;00\tComment\nb\t\t00;01;00;02\t00;01;00;02\t00;00;00;00\tComment\n"
    listed = read(save(tmp_path, "m.csv", header + rows))
    assert listed.counting == Counting(F2997, True)
    assert listed.cuts_s.tolist() == pytest.approx([1799 * 1001 / 30000, 1800 * 1001 / 30000])
    assert (
        read(save(tmp_path, "m.csv", header + rows), counting=Counting(F2997, True)).cuts_s.tolist()
        == listed.cuts_s.tolist()
    )
    for other in (rows.replace(";29\t", ";59\t"), rows.replace("00;01;00;02", "00:01:00:02")):
        with pytest.raises(InputError, match="counts frames, and the list does not say how many a second; give --fps"):
            read(save(tmp_path, "m.csv", header + other))


def test_an_edl_as_avid_nucoda_and_premiere_write_it(tmp_path: Path) -> None:
    # Without FCM, with tabs, comments without a space, speed changes, a title on no line of its own, long numbers.
    text = (
        "TITLE:   Reel.01\n\n"
        "000001  ZZ100_50 V  C\t\t01:00:04:05 01:00:05:12 00:59:53:11 00:59:54:18 \n"
        "*FROM CLIP NAME:  take_1\n* FROM CLIP: S:\\path\\to\\take_1.0001.exr\nFROM CLIP NAME: take_1\n"
        "000002 B113RPTW V C 00:32:02:06 00:32:06:19 00:59:54:18 00:59:56:20\n"
        "M2 B113RPTW       -026.4                00:32:02:06 \n* * FREEZE FRAME\n*LOC: 00:59:55:14 RED     FIX\n"
        "000003  AX       AA    C        00:00:00:00 00:00:02:22 00:59:53:11 00:59:56:09\nAUD  3    \n"
        "000004  SC00.JPG V     C        01:00:00:00 01:00:01:24 00:59:57:00 00:59:58:00\n"
    )
    listed = read(save(tmp_path, "reel.edl", text), counting=Counting(F25), start="00:59:53:11")
    assert np.rint(listed.cuts_s * 25).tolist() == [32, 84, 89]


def otio_item(schema: str, **fields: Any) -> dict[str, Any]:
    return {"OTIO_SCHEMA": schema, **fields}


def test_times_in_bars_and_beats_are_refused(tmp_path: Path) -> None:
    text = "#,Name,Start,End,Length\nR1,marker 1,144.2.00,144.3.00,0.1.00\n"
    with pytest.raises(InputError, match=r"line 2: '144.2.00' counts bars and beats; set the program's ruler to s"):
        read(save(tmp_path, "m.csv", text))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (otio_item("Clip.2", source_range=otio_item("TimeRange.1", start_time=1, duration=2)), "has the time '1'"),
        (otio_item("Clip.2", source_range=7), "has the range '7'"),
        (otio_item("Clip.2", name="c1"), "does not say how long clip 'c1' is; export it again"),
        (otio_item("Gap.1", source_range=otio_span(0, 24)), "r.otio has no clip of the picture, and no marker"),
        (otio_item("Effect.1"), "has 'Effect' where a clip belongs"),
        (3, "has '3' where a clip belongs"),
    ],
)
def test_otio_that_is_refused(tmp_path: Path, item: Any, message: str) -> None:
    track = otio_item("Track.1", kind="Video", children=[item])
    line = otio_item("Timeline.1", tracks=otio_item("Stack.1", children=[track]))
    with pytest.raises(InputError, match=message):
        read(save(tmp_path, "r.otio", json.dumps(line)))


def test_otio_nested_too_deeply(tmp_path: Path) -> None:
    item: Any = otio_item("Stack.1", children=[])
    for _ in range(100):
        item = otio_item("Stack.1", children=[item])
    with pytest.raises(InputError, match="nested too deeply; flatten the timeline"):
        read(save(tmp_path, "r.otio", json.dumps(otio_item("Timeline.1", tracks=item))))


def test_a_cut_past_the_end_asks_for_the_start(tmp_path: Path) -> None:
    path = save(tmp_path, "r.edl", edits.EDL.replace("01:00:", "00:59:"))
    with pytest.raises(
        InputError, match=r"is past the video's end \(12.5 s\); is the programme's start another\? give --start"
    ):
        read(path, counting=Counting(F25), duration_s=12.48)
    listed = read(path, counting=Counting(F25), duration_s=12.48, start="00:59:00:00")
    assert listed.cuts_s.tolist() == [4.0, 7.96, 11.48]
    with pytest.raises(InputError, match="begins at 00:59:00:00, before the programme"):
        read(path, counting=Counting(F25), start="01:00:00:00")


def test_cuts_on_neighbouring_frames_at_0_and_at_the_end(tmp_path: Path) -> None:
    labels = [Counting(F25).label(i / 25) for i in range(1001)]
    rows = "".join(f"{i + 1:03d} AX V C 00:00:00:00 00:00:00:01 {labels[i]} {labels[i + 1]}\n" for i in range(1000))
    listed = read(save(tmp_path, "r.edl", "FCM: NON-DROP FRAME\n" + rows), counting=Counting(F25), duration_s=40.0)
    assert len(listed.cuts_s) == 999
    assert spaced(listed.cuts_s, 4.0, duration_s=40.0).tolist() == [0.52 + 4 * i for i in range(10)]


def test_layers_become_cuts() -> None:
    def cuts(*clips: tuple[int, int, int]) -> list[float]:
        return [cut.time_s for cut in visible_cuts([Clip(Fraction(a), Fraction(b), layer) for a, b, layer in clips])]

    assert cuts() == []
    assert cuts((0, 4, 0)) == []
    assert cuts((0, 4, 0), (4, 8, 0)) == [4.0]
    assert cuts((2, 4, 0), (5, 8, 0)) == [2.0, 4.0, 5.0]  # black before, between; not after the end
    assert cuts((0, 10, 1), (2, 4, 0)) == []  # covered
    assert cuts((0, 10, 0), (2, 4, 1), (3, 5, 2)) == [2.0, 3.0, 5.0]


# --- timecodes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["23.976", "24", "25", "29.97", "29.97df", "59.94df", "60"])
def test_labels_and_seconds_are_inverses(text: str) -> None:
    counting = parse_counting(text)
    for frame in [0, 1, 29, 30, 59, 1797, 1798, 1799, 1800, 3596, 17981, 17982, 107891, 107892, 999_999]:
        label = counting.label(frame / counting.rate)
        assert counting.frame(counting.seconds(label)) == frame, label


@pytest.mark.parametrize(
    ("fps", "label", "message"),
    [
        ("25", "00:00:01;00", "there is no drop-frame at 25 frames a second"),
        ("25", "00:00:01:25", "counts 25 frames, and a second has 25"),
        ("29.97df", "00:01:00:01", "does not exist in drop-frame"),
        ("25", "00:60:00:00", "minutes and seconds end at 59"),
        ("25", "12.5", "'12.5' is not a timecode"),
    ],
)
def test_labels_that_are_refused(fps: str, label: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_counting(fps).seconds(label)


@pytest.mark.parametrize("text", ["25df", "0", "x", "", "1e9999999"])
def test_rates_that_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"drop-frame|is not one"):
        parse_counting(text)


# --- changes ----------------------------------------------------------------------------------------------------------


def test_cuts_are_added_and_dropped() -> None:
    choice = CutChoice(add=("12.5", "00:00:20:05"), drop=("7.2",))
    listed = choice.cuts([4.0, 7.24, 9.0], duration_s=60.0, frame_rate=F25)
    assert listed.cuts_s.tolist() == [4.0, 9.0, 12.5, 20.2]
    assert listed.weights == ("", "", "must", "must")
    for wrong, message in (
        (CutChoice(drop=("30",)), "--drop-cut: no cut is within 0.25 s of '30'; the nearest is at 9 s"),
        (CutChoice(add=("soon",)), "--add-cut: 'soon' is not a time"),
        (CutChoice(add=("93.2",)), "cut at 93.2 s is past the video's end"),
    ):
        with pytest.raises(InputError, match=message):
            wrong.cuts([4.0, 9.0], duration_s=60.0)


def test_weights_decide_which_cuts_are_kept() -> None:
    cuts_s = [4.0, 6.0, 7.0, 12.0, 13.0, 20.0]
    assert spaced(cuts_s, 4.0).tolist() == [4.0, 12.0, 20.0]
    assert spaced(cuts_s, 4.0, weights=["", "must", "must", "may", "", "may"]).tolist() == [6.0, 7.0, 13.0, 20.0]
    assert spaced(cuts_s, 0.0, weights=["may"] * 6).tolist() == cuts_s
    assert spaced([0.2, 59.8], 4.0, duration_s=60.0, weights=["must", "must"]).tolist() == []


def test_a_list_without_weights_has_empty_ones() -> None:
    assert CutList(np.array([1.0, 2.0])).weights == ("", "")
