"""Markers as programs write them: in the order of tracks and kinds, several at one time, with names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from emsync.cutlist import CutList, read
from emsync.errors import InputError
from emsync.timecode import Counting

F24, F25 = Counting(Fraction(24)), Counting(Fraction(25))
#: Media Composer: author, timecode, track, colour, comment; later versions add a length, and the colour once more.
AVID = (
    "Ann B.\t01:00:02:12\tV1\tmagenta\tfirst shot\t1\n"
    'Ann B.\t01:00:05:18\tV4\tred\t"wide", then\tclose\t1\n'
    "Ann B.\t01:00:05:18\tV1\tred\tbelow\t1\n"
    "\n"
    "Carl\t01:00:09:00\tA2\tgreen\ta comment\nof two lines\t1\n"
    "Carl\t01:00:07:06\tTC1\tYellow\t\t1\t\tyellow\n"
)


def listed(folder: Path, name: str, text: str, counting: Counting | None = None) -> CutList:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return read(folder / name, counting=counting)


@pytest.mark.parametrize("text", [AVID, AVID.replace("\n", "\r\n")], ids=["lf", "crlf"])
def test_media_composers_markers_of_all_tracks(tmp_path: Path, text: str) -> None:
    found = listed(tmp_path, "markers.txt", text, F24)
    assert found.cuts_s.tolist() == [2.5, 5.75, 7.25, 9.0]
    assert found.names == ("first shot", '"wide", then', "", "a comment")
    assert (found.format, found.start, found.of_file) == ("Media Composer markers", "01:00:00:00", True)


def test_media_composers_markers_without_colour_names_and_in_drop_frame(tmp_path: Path) -> None:
    found = listed(tmp_path, "markers.txt", "x\t01;00;10;00\tV1\tred\n\t01;01;00;02\tV1\tred\tb\n")
    assert found.cuts_s == pytest.approx([300 * 1001 / 30000, 1800 * 1001 / 30000])
    assert str(found.counting) == "29.97 frames a second, drop-frame"


@pytest.mark.parametrize(
    ("text", "counting", "message"),
    [
        (AVID, None, r"the list counts frames \(01:00:02:12\) and does not say how many a second; give --fps"),
        (AVID.replace("09:00", "09:24"), F24, r"line 5: '01:00:09:24' counts 24 frames, and a second has 24"),
        (AVID + "Carl\tsoon\tV1\tred\tc\n", F24, r"line 8: .* is no marker of Media Composer; export the markers ag"),
    ],
)
def test_media_composers_markers_that_are_refused(
    tmp_path: Path, text: str, counting: Counting | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        listed(tmp_path, "markers.txt", text, counting)


def test_audacitys_labels_of_several_tracks_follow_one_another(tmp_path: Path) -> None:
    text = "2.000000\t2.000000\tcut\n9.500000\t11.000000\tscene\n0.500000\t4.000000\tother\n2.000000\t6.000000\tsame\n"
    found = listed(tmp_path, "labels.txt", text)
    assert found.cuts_s.tolist() == [0.5, 2.0, 9.5]
    assert found.names == ("other", "cut", "scene")


def test_audacitys_labels_at_whole_seconds_with_frequencies(tmp_path: Path) -> None:
    text = "".join(f"{i}.000000\t{i}.500000\t{i} Hz\n\\\t-1.000000\t{i}.456055\n" for i in (1, 2, 3))
    found = listed(tmp_path, "labels.txt", text)
    assert found.cuts_s.tolist() == [1.0, 2.0, 3.0]
    assert found.names == ("1 Hz", "2 Hz", "3 Hz")
    with pytest.raises(InputError, match="line 1: the first column may count rows"):
        listed(tmp_path, "rows.txt", "1\t4.5\n2\t9.0\n3\t12.5\n")


def test_reapers_regions_follow_its_markers(tmp_path: Path) -> None:
    text = "#,Name,Start,End,Length\nM1,a,0:05.000,,\nM2,b,0:20.000,,\nR1,verse,0:01.000,0:05.000,0:04.000\n"
    found = listed(tmp_path, "regions.csv", text + "R2,chorus,0:05.000,0:09.000,0:04.000\n")
    assert found.cuts_s.tolist() == [1.0, 5.0, 20.0]
    assert found.names == ("verse", "a", "b")


def test_a_project_of_reaper_7(tmp_path: Path) -> None:
    head, guid = '<REAPER_PROJECT 0.1 "7.78/win64" 1784823281 0\n', "{A9E967B2-1CDD-4976-96FE-8BEC7C692609}"
    lines = f'  MARKER 1 0 "Intro" 0 0 1 R {guid} 0 2\n  MARKER 2 91.5 Chorus 0 0 1 B {guid} 0 2\n>\n'
    found = listed(tmp_path, "song.rpp", head + lines)
    assert (found.cuts_s.tolist(), found.names) == ([0.0, 91.5], ("Intro", "Chorus"))


def test_premieres_markers_on_one_frame_and_out_of_order(tmp_path: Path) -> None:
    head = "Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type\n"
    rows = [("late", "02:00:05:05"), ("early", "01:59:59:20"), ("same", "02:00:05:05")]
    text = head + "".join(f"{name}\t\t{label}\t{label}\t00:00:00:00\tComment\n" for name, label in rows)
    found = listed(tmp_path, "markers.csv", text, F25)
    assert found.cuts_s.tolist() == [3599.8, 3605.2]
    assert (found.names, found.start) == (("early", "late"), "01:00:00:00")


def test_other_tables_must_be_in_order(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3: cut at 4 s comes after one at 8 s; sort the list"):
        listed(tmp_path, "cuts.csv", "time_s\n8\n4\n")
    with pytest.raises(InputError, match="line 3: cut at 8 s is given twice; remove one"):
        listed(tmp_path, "cuts.csv", "time_s\n8\n8\n")


def test_resolves_markers_have_names(tmp_path: Path) -> None:
    text = "TITLE: Timeline 1.markers\r\nFCM: NON-DROP FRAME\r\n\r\n" + "".join(
        f"{i:03d}  001      V     C        01:00:{s}:00 01:00:{s}:01 01:00:{s}:00 01:00:{s}:01  \r\n{note}\r\n\r\n"
        for i, s, note in (
            (1, "20", " |C:ResolveColorBlue |M:Marker 2 |D:50"),
            (2, "10", "a note |C:ResolveColorMint |M:测试 |D:1"),
            (3, "30", " |C:ResolveColorRed |M: |D:1"),
        )
    )
    found = listed(tmp_path, "markers.edl", text, F25)
    assert found.cuts_s.tolist() == [10.0, 20.0, 30.0]
    assert found.names == ("测试", "Marker 2", "")


def test_xml_as_premiere_writes_a_title_over_clips_and_black(tmp_path: Path) -> None:
    """Four tracks of the picture: a title covers the cuts below it, and black is seen before the first clip."""
    rate = "<rate><timebase>30</timebase><ntsc>FALSE</ntsc></rate>"

    def item(kind: str, start: int, end: int) -> str:
        return (
            f'<{kind} id="clipitem-{start}"><name>c</name><enabled>TRUE</enabled>{rate}<start>{start}</start>'
            f"<end>{end}</end><in>0</in><out>{end - start}</out><pproTicksIn>0</pproTicksIn></{kind}>"
        )

    tracks = [[(536, 636)], [(13, 113), (165, 322), (322, 557)], [(15, 956)], [(956, 1164), (1164, 1246)]]
    video = "".join(
        f'<track MZ.TrackTargeted="1">{"".join(item("clipitem", *span) for span in track)}</track>' for track in tracks
    )
    video += f"<track>{item('generatoritem', 1170, 1200)}</track><track><enabled>TRUE</enabled></track>"
    sound = f'<track premiereTrackType="Stereo">{item("clipitem", 0, 700)}{item("clipitem", 700, 1300)}</track>'
    found = listed(
        tmp_path, "reel.xml",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="4">\n<sequence id="sequence-1" '
        f'TL.SQAVDividerPosition="0.5" explodedTracks="true"><duration>1300</duration>{rate}<name>s</name><media>'
        f"<video>{video}</video><audio>{sound}</audio></media><timecode>{rate}<string>00:00:00:00</string>"
        "<frame>0</frame><displayformat>NDF</displayformat></timecode></sequence></xmeml>\n",
    )  # fmt: skip
    assert [round(cut_s * 30) for cut_s in found.cuts_s.tolist()] == [13, 15, 956, 1164]
