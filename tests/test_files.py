"""Reading files of a bounded size, and text that is safe to print."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from emsync import midi
from emsync.errors import InputError, MidiError, printable
from emsync.files import read_limited


def test_a_file_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(InputError, match=r"file has 5 bytes, over 4; is it a file\? Give a smaller one"):
        read_limited(path, 4)
    with pytest.raises(MidiError, match="is it a MIDI file"):
        read_limited(path, 4, "MIDI file", MidiError)


def test_a_huge_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.mid"
    with open(path, "wb") as stream:
        stream.truncate(3 * 2**30)
    with pytest.raises(MidiError, match="has 3221225472 bytes, over 33554432"):
        midi.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mid")
    with pytest.raises(MidiError, match=r"pipe\.mid is a pipe, not a MIDI file; give the name of a regular file"):
        midi.read(tmp_path / "pipe.mid")
    with pytest.raises(MidiError, match="/dev/zero is a device, not a MIDI file"):
        midi.read("/dev/zero")
    with pytest.raises(MidiError, match=r"cannot be read \(Is a directory\)"):
        midi.read("/")
    here = Path.cwd()
    os.chdir(tmp_path)  # names of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.mid")
            with pytest.raises(MidiError, match=r"s\.mid is a socket, not a MIDI file"):
                midi.read("s.mid")
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "cannot be read"), ("a\0b", "is not a name that a file can have"), ("x" * 5000, "cannot be read")],
)
def test_names_that_no_file_has(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_limited(name, 10)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Flûte 笛 🎵", "Flûte 笛 🎵"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\nc\td\x9b", "a\\rb\\nc\\td\\x9b"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\udcff.mid", "\\udcff.mid"),
        ("two\u2028lines", "two\\u2028lines"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
