"""What `emsync compose` writes besides the MIDI file and its record: sound, film, picture and page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emsync.cli.mux import report as report_mux
from emsync.cli.producing import report as report_production
from emsync.cli.render import report as report_sound
from emsync.cli.say import say
from emsync.errors import InputError, MissingExtraError, OutputError, printable
from emsync.files import check_writable

if TYPE_CHECKING:
    from emsync.cli.producing import Producing
    from emsync.ducking import Ducking
    from emsync.page import Page
    from emsync.piece import Piece
    from emsync.produce import Progress
    from emsync.sidechain import Ducker
    from emsync.soundtrack import Soundtrack


@dataclass(frozen=True)
class Outputs:
    """Where each goes; None for what is not asked for.

    `stems` are written beside `wav`; `under` and `music_db` say how the music lies under the film (`mux.mux`).
    `producing` lets a music model play the piece, instead of FluidSynth.
    """

    wav: Path | None
    stems: bool
    mp4: Path | None
    plot: Path | None
    html: Path | None
    soundfont: Path | None
    loudness_lufs: float | None
    overwrite: bool
    musicxml: Path | None = None
    under: Ducking | None = None
    music_db: float = 0.0
    producing: Producing | None = None

    @property
    def needs_mood(self) -> bool:
        """Whether the recording follows the piece's mood."""
        return self.producing is not None and self.producing.adapter is not None

    def check(self, film: Path | None, song: Path, inputs: Iterable[Path | None] = ()) -> None:
        """Raise an `EmsyncError` for what could not be written in the end, before anything is composed.

        No output may be the film, or one of `inputs`, the other files that are read.
        """
        self.check_options(film)
        inputs = (film, self.soundfont, None if self.producing is None else self.producing.anchor, *inputs)
        taken = {Path(f"{song}.json").absolute(): "the record"}
        named = {
            "-o": song,
            "--wav": self._recording(song),
            "--mp4": self.mp4,
            "--plot": self.plot,
            "--html": self.html,
        }
        named["--musicxml"] = self.musicxml
        for flag, place in named.items():
            other = flag if place is None else taken.setdefault(place.absolute(), flag)
            if other != flag:
                raise OutputError(f"{flag} and {other} both name {place}; give each a name of its own")
        check_pictures(self.plot, self.html, overwrite=self.overwrite, inputs=inputs)
        if self.mp4 is not None and film is not None:
            from emsync.mux import check_container

            check_container(film, self.mp4)
        for place in (self._recording(song), self.mp4, self.musicxml, *self._stems()):
            if place is not None:
                check_writable(place, overwrite=self.overwrite, inputs=inputs)
        if self.producing is not None:
            self._check_producing(song)

    def _stems(self) -> list[Path]:
        """Where stems will be, whichever instruments the piece has."""
        from emsync.tokenizer.families import FAMILY_NAMES

        mix = self.wav
        if mix is None or not self.stems:
            return []
        return [mix.with_name(f"{mix.stem}-{name}{mix.suffix}") for name in FAMILY_NAMES]

    def check_options(self, film: Path | None) -> None:
        """Raise an `EmsyncError` for options that do not go together, and for what sound needs and is not there."""
        if self.mp4 is not None and film is None:
            raise InputError("--mp4 lays the music under the video, and there is none; give one, or use --wav")
        if self.stems and self.wav is None:
            raise InputError("--stems are written beside the mix; give --wav, too")
        if self.mp4 is None and (self.under is not None or self.music_db):
            raise InputError("--keep-sound and --music-gain are for the film with its music; give --mp4, too")
        if self.producing is None and self.stems and self.wav is not None:
            from emsync.audio import check_lossless

            check_lossless(self.wav)
        sounds = self.wav is not None or self.mp4 is not None or (self.html is not None and self.soundfont is not None)
        if self.producing is None and sounds:
            from emsync import soundfonts
            from emsync.audio import check_available

            check_available(loudness=self.loudness_lufs is not None)
            soundfonts.find(self.soundfont)
        if self.under is not None:
            from emsync.sidechain import open_ducker

            open_ducker(self.under)

    def _recording(self, song: Path) -> Path | None:
        """Where the sound goes, if it is asked for: that of a music model is always written."""
        return song.with_suffix(".wav") if self.wav is None and self.producing is not None else self.wav

    def _check_producing(self, song: Path) -> None:
        from emsync.produce import check_output

        assert self.producing is not None
        if self.stems or self.loudness_lufs is not None:
            raise InputError("--stems and --lufs are for rendered sound; leave them out with --produce")
        check_output(self._recording(song) or song, overwrite=self.overwrite)
        self.producing.check(self.soundfont)

    def write(self, track: Soundtrack, song: Path, film: Path | None, progress: Progress | None = None) -> None:
        """Write what is asked for, and print a line on each."""
        if self.producing is not None:
            self._produce(track, song, film, progress)
            self._write_pictures(track, song, film, self._recording(song))
            return
        sound: dict[str, Any] = {"soundfont": self.soundfont, "loudness_lufs": self.loudness_lufs}
        if self.wav is not None:
            rendered = track.render(self.wav, stems=self.stems, overwrite=self.overwrite, **sound)
            for text in rendered.warnings:
                say(f"Warning: {printable(text)}.", err=True)
            say(report_sound(rendered))
        if self.mp4 is not None and film is not None:
            found: list[Ducker] = []
            made = track.mux(
                film, self.mp4, under=self.under, music_db=self.music_db, tell=found.append, overwrite=self.overwrite,
                **sound,
            )  # fmt: skip
            say(printable(f"Wrote {made}, the film with the music.{report_mux(found)}"))
        self._write_pictures(track, song, film, None)

    def _produce(self, track: Soundtrack, song: Path, film: Path | None, progress: Progress | None) -> None:
        """Let the music model play the piece, and lay that under the film."""
        assert self.producing is not None
        recording = self._recording(song)
        assert recording is not None
        made = self.producing.run(
            song,
            recording,
            seed=track.recipe.seed,
            soundfont=self.soundfont,
            overwrite=self.overwrite,
            progress=progress,
        )
        say(report_production(made))
        if self.mp4 is not None and film is not None:
            from emsync.mux import mux

            found: list[Ducker] = []
            mux(
                film, recording, self.mp4, under=self.under, music_db=self.music_db, tell=found.append,
                overwrite=self.overwrite,
            )  # fmt: skip
            say(printable(f"Wrote {self.mp4}, the film with the recording.{report_mux(found)}"))

    def _write_pictures(self, track: Soundtrack, song: Path, film: Path | None, sound: Path | None) -> None:
        """Write score, picture and page; `sound` is what the page plays, None to render the piece."""
        if self.musicxml is not None:
            from emsync import musicxml

            musicxml.save(track.score, self.musicxml, title=song.stem, overwrite=self.overwrite)
            say(printable(f"Wrote {self.musicxml}, a score for players."))
        if self.plot is None and self.html is None:
            return
        rendering: dict[str, Any] = {"soundfont": self.soundfont, "loudness_lufs": self.loudness_lufs}
        piece = track.piece(song.name)
        record = song.with_name(song.name + ".json")
        if self.plot is not None:
            write_plot(piece, self.plot, overwrite=self.overwrite)
        if self.html is not None:
            write_page(
                piece, self.html, song, record=record, film=film, sound=sound, overwrite=self.overwrite, **rendering
            )


def check_pictures(plot: Path | None, html: Path | None, *, overwrite: bool, inputs: Any = ()) -> None:
    """Raise `OutputError` if the picture or the page cannot be written."""
    if plot is not None:
        from emsync.plot_piece import check_ending

        check_ending(plot)
    for place in (plot, html):
        if place is not None:
            check_writable(place, overwrite=overwrite, inputs=inputs)


def write_plot(piece: Piece, plot: Path, *, overwrite: bool) -> None:
    """Draw the piece and print a line on it."""
    from emsync.plot_piece import save_piece, summary

    save_piece(piece, plot, overwrite=overwrite)
    say(printable(f"Drew {plot}. {summary(piece)}"))


def write_page(
    piece: Piece, html: Path, song: Path, *, record: Path | None = None, film: Path | None = None,
    sound: Path | None = None, soundfont: Path | None = None, loudness_lufs: float | None = None, overwrite: bool,
) -> None:  # fmt: skip
    """Write the page and print a line on it.

    Without `sound` the song is rendered for the page. If it cannot be, the page has no sound, and a warning says why;
    but a SoundFont that was asked for must be there.
    """
    from emsync.page import save_page

    with tempfile.TemporaryDirectory() as folder:
        if sound is None:
            try:
                sound = _rendered(song, Path(folder), piece.duration_s, soundfont, loudness_lufs)
            except (MissingExtraError, InputError) as error:
                if soundfont is not None:
                    raise
                say(f"Warning: the page has no sound: {printable(str(error))}.", err=True)
        page = save_page(piece, html, song=song, record=record, sound=sound, film=film, overwrite=overwrite)
    say(printable(_report(page)))


def _rendered(song: Path, folder: Path, duration_s: float, soundfont: Path | None, lufs: float | None) -> Path:
    """The song as MP3, which every browser plays, small enough to be inside a page."""
    from emsync.audio import render
    from emsync.page import MAX_SOUND_BYTES

    made = render(song, folder / "sound.mp3", soundfont=soundfont, duration_s=duration_s, loudness_lufs=lufs).path
    size = made.stat().st_size
    if size > MAX_SOUND_BYTES:
        raise InputError(
            f"{duration_s:.0f} s of sound are {size} bytes, over {MAX_SOUND_BYTES}; render the song with emsync render "
            "and give the file to emsync page --sound, which links it"
        )
    return made


def _report(page: Page) -> str:
    parts = [f"the {name} {place}" for name, place in (("film", page.film), ("sound", page.sound)) if place is not None]
    return f"Wrote {page.path} ({page.n_bytes / 1e6:.1f} MB{''.join(', ' + part for part in parts)})."


def film_of(piece: Piece, song: Path) -> Path | None:
    """The film that the record names, if it is beside the song."""
    if piece.video is None:
        return None
    beside = song.with_name(Path(piece.video).name)
    return beside if beside.is_file() else None
