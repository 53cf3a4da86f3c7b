"""Finding a SoundFont among folders made on the spot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from emsync import soundfonts
from emsync.errors import InputError


def bank(path: Path, size: int = 100, form: bytes = b"sfbk") -> Path:
    """A file that opens as a SoundFont does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF" + size.to_bytes(4, "little") + form + bytes(size))
    return path


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that is searched; no pretty_midi, no variable."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.delenv(soundfonts.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(soundfonts, "folders", lambda: (folder, tmp_path / "missing"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return folder


def test_nothing_found_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"no SoundFont was found .* apt-get install fluid-soundfont-gm"):
        soundfonts.find()


def test_a_known_name_is_better_than_a_large_file(shelf: Path) -> None:
    large, small = bank(shelf / "zither.sf2", 5000), bank(shelf / "accordion.sf3", 50)
    assert soundfonts.find() == large
    known = bank(shelf / "FluidR3_GM.sf2", 10)
    assert soundfonts.find() == known
    assert soundfonts.find(small) == small


def test_files_that_are_no_soundfont_are_passed_over(shelf: Path) -> None:
    bank(shelf / "FluidR3_GM.sf2", 9000, b"WAVE")
    bank(shelf / "notes.txt", 9000)
    (shelf / "folder.sf2").mkdir()
    (shelf / "empty.sf2").touch()
    good = bank(shelf / "odd.SF2", 10)
    assert soundfonts.find() == good


def test_named_with_and_without_suffix(shelf: Path) -> None:
    bank(shelf / "FluidR3_GM.sf2")
    piano = bank(shelf / "Piano.sf3")
    assert soundfonts.find("piano") == piano
    assert soundfonts.find("Piano.sf3") == piano


def test_a_named_one_that_is_not_there() -> None:
    with pytest.raises(InputError, match="SoundFont grand was not found, neither as a file nor"):
        soundfonts.find("grand")


def test_a_named_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "song.sf2"
    file.write_bytes(b"MThd")
    with pytest.raises(InputError, match=r"song\.sf2 is not a SoundFont"):
        soundfonts.find(file)


def test_the_variable_comes_before_the_folders(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank(shelf / "FluidR3_GM.sf2")
    own = bank(tmp_path / "own.sf2")
    monkeypatch.setenv(soundfonts.ENVIRONMENT_VARIABLE, str(own))
    assert soundfonts.find() == own
    monkeypatch.setenv(soundfonts.ENVIRONMENT_VARIABLE, str(tmp_path / "gone.sf2"))
    with pytest.raises(InputError, match=r"^EMSYNC_SOUNDFONT: SoundFont .*gone\.sf2 was not found"):
        soundfonts.find()


def test_pretty_midi_carries_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Path) -> None:
    carried = bank(tmp_path / "pretty_midi" / "TimGM6mb.sf2")
    spec = importlib.util.spec_from_loader("pretty_midi", None, is_package=True)
    assert spec is not None
    spec.submodule_search_locations = [str(carried.parent)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "pretty_midi" else None)
    assert soundfonts.find() == carried
    better = bank(shelf / "FluidR3_GM.sf2", 10)
    assert soundfonts.find() == better


def test_the_usual_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folders = soundfonts.folders()
    assert folders[0] == tmp_path / "emsync" / "soundfonts"
    assert Path("/usr/share/sounds/sf2") in folders
    assert Path("/usr/share/soundfonts") in folders
