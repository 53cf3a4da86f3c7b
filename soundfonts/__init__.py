"""Finding a SoundFont: the General MIDI instrument samples (.sf2, .sf3) that turn a MIDI file into sound.

None ships with emsync, since the good ones are larger than it. `find` looks, in this order: the given path; in the
environment variable `EMSYNC_SOUNDFONT`; in `folders()`, the best known names first; in an installed pretty_midi, which
carries a small one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from emsync.errors import InputError

ENVIRONMENT_VARIABLE = "EMSYNC_SOUNDFONT"
SUFFIXES = (".sf2", ".sf3")

#: General MIDI banks as distributions name them, best first (FluidR3 is the fullest of the common ones).
PREFERRED = (
    "FluidR3_GM.sf2",
    "FluidR3_GM.sf3",
    "FluidR3Mono_GM.sf3",
    "MuseScore_General.sf3",
    "MuseScore_General.sf2",
    "GeneralUser-GS.sf2",
    "GeneralUser_GS.sf2",
    "default-GM.sf2",
    "default-GM.sf3",
    "default.sf2",
    "default.sf3",
    "TimGM6mb.sf2",
)

#: Licences of well-known banks, by the beginning of their names.
LICENCES = {
    "fluidr3": "MIT",
    "musescore_general": "MIT",
    "generaluser": "free, see its licence file",
    "timgm6mb": "GPL-2",
}

REMEDY = (
    "install one (Debian, Ubuntu: apt-get install fluid-soundfont-gm; Fedora: dnf install fluid-soundfont-gm; "
    f"anywhere: pip install pretty_midi) or name one in {ENVIRONMENT_VARIABLE}"
)


def folders() -> tuple[Path, ...]:
    """The folders that are searched, the user's own first; they need not exist."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    found = [data / "emsync" / "soundfonts", data / "soundfonts", data / "sounds" / "sf2", data / "sounds" / "sf3"]
    if sys.platform == "darwin":
        found += [home / "Library" / "Audio" / "Sounds" / "Banks", Path("/Library/Audio/Sounds/Banks")]
    if sys.platform == "win32":
        found += [Path(os.environ.get("LOCALAPPDATA") or home) / "emsync" / "soundfonts", Path("C:/soundfonts")]
    found += [
        Path("/usr/share/sounds/sf2"),
        Path("/usr/share/sounds/sf3"),
        Path("/usr/share/soundfonts"),
        Path("/usr/local/share/soundfonts"),
        Path("/opt/homebrew/share/soundfonts"),
    ]
    return tuple(found)


@dataclass(frozen=True)
class Found:
    """A SoundFont on this machine: its file, its size in bytes, and its licence if the bank is a well-known one."""

    path: Path
    size_bytes: int
    licence: str | None


def listed() -> list[Found]:
    """The SoundFonts on this machine, in the order in which `find` prefers them."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    paths = [*([Path(chosen)] if chosen and Path(chosen).is_file() else []), *_candidates()]
    found = []
    for path in dict.fromkeys(paths):
        if _is_soundfont(path):
            name = path.resolve().name.lower()  # distributions link a default name to a bank
            licence = next((text for start, text in LICENCES.items() if name.startswith(start)), None)
            found.append(Found(path, path.stat().st_size, licence))
    return found


def find(name: str | os.PathLike[str] | None = None) -> Path:
    """Path of a SoundFont.

    `name` is a file, or the name of one in `folders()` with or without its suffix; None takes the best there is.
    Raises `InputError`, saying what to install, when there is none, or the named one is not there or no SoundFont.
    """
    if name is not None:
        return _named(os.fspath(name))
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        try:
            return _named(chosen)
        except InputError as error:
            raise InputError(f"{ENVIRONMENT_VARIABLE}: {error}") from error
    for path in _candidates():
        if _is_soundfont(path):
            return path
    raise InputError(f"no SoundFont was found on this machine; {REMEDY}")


def _named(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        if not _is_soundfont(path):
            raise InputError(f"{path} is not a SoundFont (.sf2 or .sf3); {REMEDY}")
        return path
    wanted = {name.lower(), *(name.lower() + suffix for suffix in SUFFIXES)}
    for candidate in _candidates():
        if candidate.name.lower() in wanted and _is_soundfont(candidate):
            return candidate
    raise InputError(f"SoundFont {name} was not found, neither as a file nor in the usual folders; {REMEDY}")


def _candidates() -> list[Path]:
    """SoundFonts by name: preferred names in the order of `PREFERRED`, then others by size, largest first."""
    found = [path for folder in folders() if os.access(folder, os.R_OK | os.X_OK) for path in sorted(folder.glob("*"))]
    found = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    spec = importlib.util.find_spec("pretty_midi")
    for place in (spec.submodule_search_locations or []) if spec else []:
        carried = Path(place) / "TimGM6mb.sf2"
        if carried.is_file():
            found.append(carried)
    rank = {name.lower(): place for place, name in enumerate(PREFERRED)}
    return sorted(found, key=lambda path: (rank.get(path.name.lower(), len(rank)), -path.stat().st_size))


def _is_soundfont(path: Path) -> bool:
    """Whether the file opens as a RIFF container of the form `sfbk`, as SoundFont 2.04 (section 3) and .sf3 have it."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:12] == b"sfbk"
