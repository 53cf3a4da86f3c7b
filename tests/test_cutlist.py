"""Cut lists: every way to write one, and every way to get one wrong."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsync.cutlist import check, read_csv
from emsync.errors import InputError


def save(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "cuts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


SCENES = (
    "00:00:12.040,00:00:20.000\n"
    "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,End Time (seconds)\n"
    "1,1,00:00:00.000,0.000,301,00:00:12.040,12.040\n"
    "2,302,00:00:12.040,12.040,500,00:00:20.000,20.000\n"
    "3,501,00:00:20.000,20.000,780,00:00:31.200,31.200\n"
)


@pytest.mark.parametrize(
    ("text", "cuts_s"),
    [
        ("1.5\n2\n30.25\n", [1.5, 2.0, 30.25]),
        ("time_s\n1.5\n2\n", [1.5, 2.0]),
        ("time\r\n1.5\r\n2\r\n", [1.5, 2.0]),
        ("shot,seconds\n1,1.5\n2,2.5\n", [1.5, 2.5]),
        ("Cut_S , name\n1.5,one\n2.5,two\n", [1.5, 2.5]),
        ("where,name\n1.5,one\n2.5,two\n", [1.5, 2.5]),
        ("1.5,one\n2.5,two\n", [1.5, 2.5]),
        ('"1.5","one, with a comma"\n"2.5","two"\n', [1.5, 2.5]),
        ("time;name\n1,5;one\n2,25;two\n", [1.5, 2.25]),
        ("1,5\tone\n2,25\ttwo\n", [1.5, 2.25]),
        ("00:00:01.500\n00:01:02\n1:00:00.25\n", [1.5, 62.0, 3600.25]),
        ("time\n0:01.5\n75:02\n", [1.5, 4502.0]),
        ("\n# shots of reel 1\n\n1.5\n\n# more\n2\n", [1.5, 2.0]),
        ("# exported; by hand\n1.5,a\n2,b\n", [1.5, 2.0]),
        ("0\n4.5\n", [0.0, 4.5]),
        ("1e1\n+12\n.5e2\n", [10.0, 12.0, 50.0]),
        ("time_s\n", []),
        ("5", [5.0]),
        (b"\xef\xbb\xbftime_s\n1.5\n", [1.5]),
        ("time_s\n1.5\n".encode("utf-16"), [1.5]),
        ("Plän,time\nä,1.5\n".encode("latin-1"), [1.5]),
        (
            "Timecode List:,00:00:02.000,00:00:05.500\n"
            "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame\n"
            "1,1,00:00:00.000,0.000,50\n2,51,00:00:02.000,2.000,137\n3,138,00:00:05.500,5.500,200\n",
            [0.0, 2.0, 5.5],
        ),
        # PySceneDetect's own default: a line of bare timecodes above the header.
        (SCENES, [0.0, 12.04, 20.0]),
        (SCENES.replace(",", ";"), [0.0, 12.04, 20.0]),
        (SCENES.partition("\n")[2], [0.0, 12.04, 20.0]),
        # Spreadsheets: a line that names the separator, decimal commas, UTF-16 without a mark.
        ("sep=;\r\ntime_s;name\r\n12,04;a\r\n20;b\r\n", [12.04, 20.0]),
        ("sep=,\ntime_s,name\n12.04,a\n", [12.04]),
        ('"sep=\t"\ntime_s\tname\n12,04\ta\n', [12.04]),
        ("time_s\n1.5\n2\n".encode("utf-16-le"), [1.5, 2.0]),
        ('name,time\n"one; more",1.5\n"two",2.5\n', [1.5, 2.5]),
        # A timecode with a decimal comma, cut in two by the separator.
        ("00:00:12,040\n00:00:20,000\n", [12.04, 20.0]),
        ("time\n00:00:12,040\n00:00:20,000\n", [12.04, 20.0]),
        ("name,time\nx,00:00:12,040\ny,00:00:20,000\n", [12.04, 20.0]),
        # Start times under other names.
        ("scene,start,end\n1,0.0,12.04\n2,12.04,20\n", [0.0, 12.04]),
        ("Scene,Start (s),End (s)\n1,1.5,12.04\n2,12.04,20\n", [1.5, 12.04]),
        ("cut,time [s]\n1,12.04\n2,20\n", [12.04, 20.0]),
        ("#,Name,Start\nM1,one,0:12.040\nM2,two,1:20.000\n", [12.04, 80.0]),
        ("#,Name,Start,End,Length\nR1,one,0:12.040,0:13.0,0:0.96\n", [12.04]),
        # Audacity's labels: start, end, text.
        ("12.040000\t12.040000\tcut\n20.000000\t21.500000\tcut\n", [12.04, 20.0]),
        ("12,040000\t12,040000\tcut\n", [12.04]),
        ("12.04\t12.04\tcut\n\\\t100.0\t200.0\n20.0\t20.0\tcut\n", [12.04, 20.0]),
        ("12.5,one,1\n13.0,two,2\n", [12.5, 13.0]),
        # What emsync analyze writes.
        ('{"cuts_s": [1.5, 2], "boundaries_s": []}', [1.5, 2.0]),
    ],
)
def test_lists_that_are_understood(tmp_path: Path, text: str | bytes, cuts_s: list[float]) -> None:
    read = read_csv(save(tmp_path, text), duration_s=10_000)
    assert read.dtype == np.float64
    assert read.tolist() == cuts_s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no cuts, not even a header"),
        ("\n \n# nothing\n", "holds no cuts, not even a header"),
        ("3\n2\n", "line 2: cut at 2 s comes after one at 3 s; sort the list"),
        ("time_s\n3\n\n3.0\n", "line 4: cut at 3 s is given twice; remove one"),
        ("-1\n2\n", r"line 1: cut at -1 s is before the start \(0 s\)"),
        ("1\n60.5\n", r"line 2: cut at 60.5 s is past the video's end \(60.0 s\); were the cuts given in frames\?"),
        ("time\n1\nsoon\n", "line 3: 'soon' is not a time; give seconds such as 12.04"),
        ("1\nnan\n", "line 2: 'nan' is not a time"),
        ("nan\n1\n", "line 1: 'nan' is not a time"),
        ("-inf\n1\n", "line 1: '-inf' is not a time"),
        ("1\n1e400\n", "line 2: inf is no time"),
        ("1_0\n20\n1_00\n", "line 1: '1_0' is not a time"),
        ("12.04s\n20\n", "line 1: '12.04s' is not a time"),
        ("\u0661\u0662\n20\n", "line 1: '\u0661\u0662' is not a time"),
        ("# timestamp format v2\n0\n40\n80\n", "line 1: a list of time stamps has milliseconds"),
        ("# timecode format v1\n0\n40\n", "line 1: a list of time stamps has milliseconds"),
        ("startMs\n1204\n2000\n", "the column 'startms' is not in seconds"),
        ("pts\n301\n500\n", "the column 'pts' is not in seconds"),
        ("minutes,seconds\n0,12.04\n1,20\n", "the times are in the columns 'minutes' and 'seconds'"),
        ("#,Color,Name,Start TC,End TC\n1,Blue,a,01:00:12:01,01:00:12:02\n", "'01:00:12:01' counts frames"),
        ("1,Blue,01:00:12:01\n2,Blue,01:00:13:01\n", "the first column has whole numbers and another one has times"),
        ("name,time\na,1\nb\n", "line 3: there is no time in its column"),
        ("time,name\n1,a\n,b\n", "line 3: there is no time in its column"),
        ("4\n2:00\n", "line 2: cut at 120 s is past"),
        ("4\n1:60.0\n", "line 2: '1:60.0' is not a time"),
        ("5\n00:61:00\n", "line 2: '00:61:00' is not a time"),
        ("00:00:01:12\n", "line 1: '00:00:01:12' counts frames"),
        ("time\n00:00:01;12\n", "line 2: '00:00:01;12' counts frames"),
        ("frame\n24\n48\n", "line 1: the column 'frame' counts frames; give a column time_s"),
        ("time_s\n1,5\n2,5\n", r"line 2: more columns than the header has \(1\); write decimals with a point"),
        ("1,5\n2,5\n", "line 1: '1,5' may be two columns or a decimal comma"),
        # Frames, and units other than seconds.
        ("# keyframe format v1\nfps 0\n0\n301\n", "line 1: a list of key frames counts frames"),
        ("fps 25\n0\n301\n", "line 1: the column 'fps 25' counts frames"),
        ("scene,start_frame\n1,0\n2,301\n", "line 1: the column 'start_frame' counts frames"),
        ("time_ms\n1500\n", "line 1: the column 'time_ms' is not in seconds"),
        ("Start (ms),x\n1500,y\n", r"the column 'start \(ms\)' is not in seconds"),
        ("Marker Name\tIn\tOut\na\t00:00:12:01\t00:00:12:01\n", "line 2: '00:00:12:01' counts frames"),
        # What may mean two things.
        ("12,04\n20.5\n", "line 1: '12,04' may be two columns or a decimal comma"),
        ("00:00:12,04\n00:00:20,5\n", "line 1: '00:00:12,04' may be two columns or a decimal comma"),
        ("00:00:12,040\n00:00:20\n", "line 1: '00:00:12,040' may be two columns or a decimal comma"),
        ("1,0.0,x\n2,12.04,y\n", "the second is no end of the first; write a header"),
        ("1,0.0,12.04\n2,12.04,20\n", "line 1: 3 times stand on one line; write one a line"),
        ("12.04,20,31.2\n", "line 1: 3 times stand on one line; write one a line"),
        ("00:00:12.040;00:00:20.000\n", "line 1: 2 times stand on one line; write one a line"),
        ("1\n00:00:12,040 --> 00:00:20,000\n", "line 2: '00:00:12,040 --> .*' may be two columns or a decimal comma"),
        ("1,1.5\n2,20.5\n", "line 1: the first column may count rows; write a header"),
        ("shot,when\n1,1.5\n2,2.5\n", "line 1: no column has a name such as time_s or start"),
        ("from,when\n1,1.5\n2,2.5\n", r"it is not clear which column holds the cuts \('from', 'when'\?\)"),
        ("duration\n1.5\n", "no column has a name such as time_s or start"),
        ("sep=x\n1x2\n", "line 1 names the separator 'x'; give a comma"),
        ("1" * 80_000 + "\n", "line 1: .* is not a time"),
        ("time_s\n" + "1" * 80_000 + "\n", "line 2: .* is not a time"),
        ("9" * 5000 + ":00:00\n", "is not a time"),
        ("time_s\n\x1b[31m1\n", r"line 2: '\\\\x1b\[31m1' is not a time"),
        ("{", "this is not JSON"),
        ("[" * 100_000, "no column has a name such as time_s"),
        ("Dear diary", "line 1: no column has a name such as time_s"),
        ("12.5,1\n13.0,2\n", "two columns look like times"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"cuts_s": [1, true]}', "cuts_s holds True as number 2"),
        ('{"cuts_s": [2, 1]}', "cut 2 of cuts_s: cut at 1 s comes after one at 2 s"),
        ('{"cuts": [2, 1]}', "the JSON has no list cuts_s"),
        ("a" * 100 + "\n" + "b" * 100 + "\n", r"line 2: 'b{37}\.\.\.' is not a time"),
        (b"\x00\x01\x02\xff\xfe", "is not a text file"),
        (b"1\n2\x00\n", "is not a text file"),
        ('1\n"2' + "x" * 200_000 + '"\n', "line 2: field larger than field limit"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_csv(save(tmp_path, text), duration_s=60.0)
    assert "cuts.csv" in str(raised.value)


def test_a_list_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv does not exist; check the name"):
        read_csv(tmp_path / "none.csv")


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_csv(tmp_path)


def test_a_film_given_as_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emsync.cutlist._MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"has 2097152 bytes, over 1048576; is it a cut list\?"):
        read_csv(save(tmp_path, b"1\n" * (1 << 20)))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a system without devices")
def test_a_device_is_no_list() -> None:
    with pytest.raises(InputError, match="/dev/zero is a device, not a cut list"):
        read_csv("/dev/zero")


def test_a_pipe_is_no_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cuts.csv")
    with pytest.raises(InputError, match="is a pipe, not a cut list"):
        read_csv(tmp_path / "cuts.csv")


def test_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "cuts.csv", "wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(InputError, match="has 3221225472 bytes, over"):
        read_csv(tmp_path / "cuts.csv")


def test_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emsync.table.MAX_ROWS", 3)
    with pytest.raises(InputError, match="line 4: more than 3 rows"):
        read_csv(save(tmp_path, "1\n2\n3\n4\n"))


def test_without_a_length_any_end_will_do(tmp_path: Path) -> None:
    assert read_csv(save(tmp_path, "1\n100000\n")).tolist() == [1.0, 100_000.0]


def test_a_cut_rounded_to_the_end_is_let_pass(tmp_path: Path) -> None:
    assert read_csv(save(tmp_path, "1\n33.34\n"), duration_s=33.3367).tolist() == [1.0, 33.34]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 10**9), unique=True).map(sorted), st.sampled_from(["time_s\n", "# list\ncut_s,x\n"]))
def test_any_sorted_list_is_read_back(tmp_path: Path, milliseconds: list[int], header: str) -> None:
    cuts_s = [number / 1000 for number in milliseconds]
    path = save(tmp_path, header + "".join(f"{cut_s!r}\n" for cut_s in cuts_s))
    assert read_csv(path, duration_s=1e6).tolist() == cuts_s


@pytest.mark.parametrize(
    ("cuts_s", "duration_s", "message"),
    [
        ([1.0, math.nan], None, "cut 2: nan is no time"),
        ([1.0, math.inf], None, "cut 2: inf is no time"),
        ([-0.5], None, "cut 1: cut at -0.5 s is before the start"),
        ([2.0, 1.0], None, "cut 2: cut at 1 s comes after one at 2 s"),
        ([2.0, 2.0], None, "given twice"),
        ([93.2], 60.0, r"cut at 93.2 s is past the video's end \(60.0 s\); were the cuts given in frames\?"),
        ([[1.0]], None, "have 2 dimensions"),
        (["soon"], None, "are not numbers"),
        ([1.0], 0.0, "a length of 0.0 s leaves no room"),
        ([1.0], math.nan, "a length of nan s leaves no room"),
    ],
)
def test_check_refuses(cuts_s: Any, duration_s: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(cuts_s, duration_s)


def test_check_returns_the_cuts() -> None:
    assert check([0, 2, 5.5], 6).tolist() == [0.0, 2.0, 5.5]
    assert check([]).shape == (0,)
