"""Reading files of a bounded size, writing several or none, and text that is safe to print."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from emsync import files, midi
from emsync.errors import InputError, MidiError, OutputError, printable
from emsync.files import atomic_paths, check_writable, is_cut_short, read_json, read_limited, write_bytes
from emsync.soundtrack import places

REPOSITORY = Path(__file__).resolve().parents[1]


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


def test_reading_takes_the_memory_of_the_file_not_of_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert read_limited(path, 2**30) == b"12345"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_longer_than_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"1234567")
    real = os.fstat

    def shorter(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        status[stat.ST_SIZE] = 2
        return os.stat_result(status)

    monkeypatch.setattr(files, "_PIECE_BYTES", 2)
    monkeypatch.setattr(files.os, "fstat", shorter)
    assert read_limited(path, 7) == b"1234567"
    with pytest.raises(InputError, match="has over 6 bytes"):
        read_limited(path, 6)


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


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000, "{", "NaN]", "\udcff"])
def test_what_is_no_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"a\.json is not JSON \(.*\); write it again") as caught:
        read_json(path, 1 << 20, "record", "write it again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"), [('{"a": 1, "b": 2, "a": 3}', "a"), ('[{"x": {"\\u001b": 1, "\\u001b": 1}}]', "\\x1b")]
)
def test_a_field_that_is_there_twice_is_refused(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_json(path, 1 << 20, "record", "write it again")
    assert str(caught.value) == f"{path} has the field '{name}' twice; keep one of them"


def test_links_devices_and_inputs_are_not_replaced(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    link, again = tmp_path / "link.mid", tmp_path / "again.mp4"
    link.symlink_to(film)
    os.link(film, again)
    for place, message in (
        (link, r"link\.mid is a link; give the name of the file itself"),
        (again, r"again\.mp4 is what is read, and is not replaced; write to another name"),
        (film, r"film\.mp4 is what is read"),
        (Path("/dev/null"), "/dev/null is not a regular file, and is not replaced"),
    ):
        with pytest.raises(OutputError, match=message):
            check_writable(place, overwrite=True, inputs=(None, film, tmp_path / "none"))
    with pytest.raises(OutputError, match="is a link"):
        write_bytes(link, b"song")
    assert film.read_bytes() == b"film"
    assert link.is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "song.mid")
    with pytest.raises(OutputError, match=r"song\.mid is not a regular file, and is not replaced"):
        write_bytes(tmp_path / "song.mid", b"song")


def test_the_umask_is_kept(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "song.mid", b"song")
    finally:
        os.umask(before)
    assert (tmp_path / "song.mid").stat().st_mode & 0o777 == 0o640


def _pair(folder: Path) -> tuple[Path, Path]:
    return folder / "song.mid", folder / "song.mid.json"


def _write_pair(folder: Path, text: str, *, overwrite: bool = True) -> None:
    with atomic_paths(_pair(folder), overwrite=overwrite) as temporaries:
        for temporary in temporaries:
            temporary.write_text(text, encoding="utf-8")


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_files_that_belong_together_are_all_written(tmp_path: Path) -> None:
    for text in ("first", "second"):
        _write_pair(tmp_path, text)
        assert _texts(tmp_path) == {"song.mid": text, "song.mid.json": text}
    with pytest.raises(OutputError, match=r"song\.mid exists already; give --overwrite"):
        _write_pair(tmp_path, "third", overwrite=False)
    assert not is_cut_short(tmp_path / "song.mid")


@pytest.mark.parametrize("stands", [(), ("song.mid",), ("song.mid", "song.mid.json")])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails_at", [0, 1])
def test_if_one_cannot_be_put_in_place_all_are_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands: tuple[str, ...], error: BaseException, fails_at: int
) -> None:
    before = dict.fromkeys(stands, "before")
    for name, text in before.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    replace, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == fails_at + 1:
            raise error
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", failing)
        with pytest.raises((OutputError, KeyboardInterrupt)):
            _write_pair(tmp_path, "after")
    assert _texts(tmp_path) == before


def test_if_one_cannot_be_written_all_are_as_before(tmp_path: Path) -> None:
    (tmp_path / "song.mid").write_text("before", encoding="utf-8")
    (tmp_path / "song.mid.json").mkdir()
    with pytest.raises(OutputError, match=r"song\.mid\.json is a folder"):
        _write_pair(tmp_path, "after")
    (tmp_path / "song.mid.json").rmdir()

    def fill() -> None:
        with atomic_paths(_pair(tmp_path)) as (song, _):
            song.write_text("after", encoding="utf-8")
            raise OSError(28, "no room")

    with pytest.raises(OutputError, match=r"song\.mid and .*song\.mid\.json could not be written \(no room\)"):
        fill()
    assert _texts(tmp_path) == {"song.mid": "before"}


@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_kill_between_two_files_is_seen_and_repaired_by_writing_again(tmp_path: Path, killed_at: int) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from emsync.files import atomic_paths\n"
        "replace, calls = os.replace, []\n"
        "def killed(*names):\n"
        "    calls.append(names)\n"
        f"    if len(calls) == {killed_at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(*names)\n"
        "os.replace = killed\n"
        "folder = Path(sys.argv[1])\n"
        "with atomic_paths([folder / 'song.mid', folder / 'song.mid.json'], overwrite=False) as both:\n"
        "    for each in both: each.write_text('first')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "song.mid").exists() == (killed_at == 2)
    assert not (tmp_path / "song.mid.json").exists()
    assert is_cut_short(tmp_path / "song.mid")
    assert places(tmp_path / "song.mid", overwrite=False) == _pair(tmp_path)
    _write_pair(tmp_path, "second", overwrite=False)
    assert not is_cut_short(tmp_path / "song.mid")
    assert [path.read_text(encoding="utf-8") for path in _pair(tmp_path)] == ["second", "second"]
