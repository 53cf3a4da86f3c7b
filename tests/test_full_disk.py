"""A disk that is full: one sentence, nothing half-written, and what stood there stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emsync.audio import render
from emsync.cli.main import main
from emsync.errors import OutputError
from emsync.mux import mux
from tests.films import shot_a, write
from tests.midi_files import NOTE, smf

resource = pytest.importorskip("resource", reason="Windows limits no file's size")
sf = pytest.importorskip("soundfile")


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    """No file that is written may be longer: writing on is refused, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    (tmp_path / "a.mid").write_bytes(smf(NOTE))
    (tmp_path / "a.wav").write_bytes(b"mine")
    return tmp_path / "a.mid"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_sound_that_finds_no_room(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fluidsynth")
    with at_most(40_000), pytest.raises(OutputError, match=r"sound\.raw could not be written \(.*\); free some space"):
        render(song, tmp_path / "a.wav", overwrite=True)

    def full(*_: object) -> None:
        raise sf.LibsndfileError(2)

    monkeypatch.setattr(sf.SoundFile, "write", full)
    for stems in (False, True):
        with pytest.raises(OutputError, match=r"\.wav could not be written; free some space or choose another folder"):
            render(song, tmp_path / "a.wav", stems=stems, overwrite=True)
    assert files(tmp_path) == ["a.mid", "a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"mine"


def test_a_film_that_finds_no_room(tmp_path: Path) -> None:
    film = write(tmp_path / "a.mp4", [shot_a(i) for i in range(10)])
    sf.write(tmp_path / "a.wav", [[0.0, 0.0]] * 17_640, 44_100)
    with at_most(20), pytest.raises(OutputError, match=r"b\.mp4 could not be written \(.*\); free some space"):
        mux(film, tmp_path / "a.wav", tmp_path / "b.mp4")
    assert files(tmp_path) == ["a.mp4", "a.wav"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("b.webm", ".webm cannot hold this film's picture (mpeg4); write to .mkv"), ("b.gif", "b.gif has none of")],
)
def test_a_container_that_cannot_hold_the_film_is_refused_before_composing(
    tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fluidsynth")
    film = write(tmp_path / "a.mp4", [shot_a(i) for i in range(10)])
    assert main(["compose", str(film), "-o", str(tmp_path / "a.mid"), "--mp4", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert files(tmp_path) == ["a.mp4"]
