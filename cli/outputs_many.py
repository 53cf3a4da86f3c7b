"""What `emsync compose` writes for each of several films besides the songs: a folder for each kind of file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emsync.cli.outputs import Outputs
from emsync.errors import InputError, OutputError

if TYPE_CHECKING:
    from emsync.ducking import Ducking
    from emsync.soundtrack import Soundtrack

#: The ending of each kind of file; that of films is the film's own, if it can hold the music.
ENDINGS: Final = {"wav": ".wav", "mp4": "", "plot": ".png", "html": ".html", "musicxml": ".musicxml"}
#: Names with such an ending are no folders' names.
_FILES: Final = frozenset(
    {".wav", ".flac", ".ogg", ".mp3", ".mp4", ".mkv", ".mov", ".m4v", ".webm", ".png", ".svg", ".html", ".musicxml"}
)


@dataclass(frozen=True)
class Folders:
    """Folders for what is asked for, None for the rest: NAME.wav in `wav`, NAME.png in `plot`, and so on.

    The other fields are those of `Outputs`. Passed to worker processes.
    """

    wav: Path | None = None
    mp4: Path | None = None
    plot: Path | None = None
    html: Path | None = None
    musicxml: Path | None = None
    stems: bool = False
    soundfont: Path | None = None
    loudness_lufs: float | None = None
    under: Ducking | None = None
    music_db: float = 0.0

    def _given(self) -> Iterator[tuple[str, Path]]:
        for name in ENDINGS:
            folder: Path | None = getattr(self, name)
            if folder is not None:
                yield name, folder

    def make(self) -> None:
        """Make the folders, and look for what sound needs. Raises an `EmsyncError` for what cannot be used."""
        for name, folder in self._given():
            if folder.is_file() or folder.suffix.lower() in _FILES:
                raise InputError(f"--{name} {folder} names a file, and several films are given; give a folder")
        self.outputs(Path("film"), overwrite=True).check_options(Path("film"))
        for _, folder in self._given():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error

    def absolute(self) -> Folders:
        """The same folders for processes that work elsewhere."""
        places: dict[str, Any] = {name: folder.absolute() for name, folder in self._given()}
        return replace(self, **places)

    def outputs(self, film: Path, *, overwrite: bool) -> Outputs:
        """The files of one film."""
        from emsync.mux import CONTAINERS

        own = film.suffix.lower() if film.suffix.lower() in CONTAINERS else ".mkv"
        places = {name: folder / f"{film.stem}{ENDINGS[name] or own}" for name, folder in self._given()}
        return Outputs(
            places.get("wav"), self.stems, places.get("mp4"), places.get("plot"), places.get("html"), self.soundfont,
            self.loudness_lufs, overwrite, musicxml=places.get("musicxml"), under=self.under, music_db=self.music_db,
        )  # fmt: skip

    def files(self, film: Path) -> list[Path]:
        """What there is when a film is done."""
        made = self.outputs(film, overwrite=True)
        return [each for each in (made.wav, made.mp4, made.plot, made.html, made.musicxml) if each is not None]

    def check(self, film: Path, song: Path, *, overwrite: bool) -> None:
        """Raise an `EmsyncError` for what could not be written in the end."""
        self.outputs(film, overwrite=overwrite).check(film, song)

    def write(self, track: Soundtrack, song: Path, film: Path, *, overwrite: bool) -> None:
        """Write the files of one film, without a word on standard output."""
        with redirect_stdout(io.StringIO()):
            self.outputs(film, overwrite=overwrite).write(track, song, film)
