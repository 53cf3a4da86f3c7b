"""Rendering MIDI to sound with FluidSynth.

    render("song.mid", "song.wav")
    render("song.mid", "song.flac", duration_s=93.0, loudness_lufs=-16.0)
    render("song.mid", "song.wav", stems=True)     # and song-Piano.wav, song-Bass.wav ...

The MIDI *file* is what is played, with its controllers, banks and pitch bends. So a file that was edited in a DAW
sounds as edited. What is damaged in it is mended (`midi_mend`), and nothing else is changed. Needs the extra `audio`
and the FluidSynth library.

Conventions: stereo; blocks of (frames, 2) float32 in [-1, 1]; lengths in seconds unless named `_frames`. The same file,
SoundFont and options give the same bytes. Sound passes through a temporary file, so memory does not grow with length.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync import midi, soundfonts
from emsync.errors import InputError, MidiError, MissingExtraError, OutputError
from emsync.files import atomic_path, check_writable, read_limited, storing
from emsync.midi_mend import Part, Playable, playable
from emsync.sound_level import LoudnessMeter
from emsync.synthesizer import GRAIN, Frames, Synthesizer, groups_for

Rate = Literal[44100, 48000]

#: The paper's level and fade-out (Section IV-A).
PEAK_DB: Final = -3.0
FADE_S: Final = 3.0
#: After the last note a piece rings on for at most this long. It has ended once it is this much below its peak.
LONGEST_TAIL_S: Final = 6.0
SILENCE_DB: Final = -60.0
LONGEST_S: Final = 4 * 3600.0
#: Sound below this is none: its level is not raised.
INAUDIBLE_DB: Final = -80.0
#: Formats by a file's ending, and how samples are stored in each.
FORMATS: Final = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
#: Formats that keep every sample, so that stems sum to the mix. Stems have 24 bits, so that rounding does not add up.
LOSSLESS: Final = (".wav", ".flac")
STEM_FORMAT: Final = "PCM_24"
_BLOCK: Final = GRAIN * 256
_FRAME_BYTES: Final = 8
_LONGEST_NAME: Final = 60
#: What FluidSynth says of an instrument that it has not: channel, bank, program.
_SUBSTITUTED: Final = re.compile(r"found on channel (\d+) \[bank=(\d+) prog=(\d+)\]")
_NAMED: Final = 5
_LIBRARY: Final = (
    "the FluidSynth library was not found; install it (Debian, Ubuntu: apt-get install libfluidsynth3; macOS: "
    "brew install fluid-synth; Windows: choco install fluidsynth)"
)
_SNDFILE: Final = (
    "the sndfile library was not found; install it (Debian, Ubuntu: apt-get install libsndfile1; macOS: "
    "brew install libsndfile; Windows: pip install --force-reinstall soundfile)"
)


@dataclass(frozen=True)
class Rendering:
    """What was rendered.

    Attributes:
        path: The file.
        duration_s: Its length.
        rate_hz: Frames a second.
        soundfont: The SoundFont that was used.
        peak_db: The largest sample, in dB below full scale.
        faded: Whether it fades out, because the music continues at the end.
        warnings: What was wrong with the MIDI file (`Score.warnings`), and what the SoundFont lacks.
        stems: The files of the instruments, if they were asked for.

    """

    path: Path
    duration_s: float
    rate_hz: int
    soundfont: Path
    peak_db: float
    faded: bool
    warnings: tuple[str, ...] = ()
    stems: tuple[Path, ...] = ()


def render(
    song: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    soundfont: str | os.PathLike[str] | None = None,
    rate_hz: Rate = 44100,
    duration_s: float | None = None,
    loudness_lufs: float | None = None,
    stems: bool = False,
    overwrite: bool = False,
) -> Rendering:
    """Render a MIDI file to a sound file.

    Args:
        song: Any Standard MIDI File with notes.
        output: The sound file; its ending, one of `FORMATS`, says the format.
        soundfont: A file or the name of a SoundFont; None takes the best there is (`soundfonts.find`).
        rate_hz: 44100 or 48000.
        duration_s: The exact length, such as a film's; None ends when the last note has rung out.
        loudness_lufs: The integrated loudness to reach (ITU-R BS.1770, by pyloudnorm), as far as the peak stays below
            `PEAK_DB`; None sets the peak to `PEAK_DB`.
        stems: Also write one file for each channel that plays notes, beside the output and named by its tracks. All
            have the output's length, gain and fade, and sum to it; so the ending must be one of `LOSSLESS`.
        overwrite: Replace files that exist.

    Raises:
        InputError: The song has no notes or is too long; there is no SoundFont; an option is out of range.
        OutputError: An output cannot be written.
        MissingExtraError: The extra `audio` or the FluidSynth library is missing.

    """
    check_available(loudness=loudness_lufs is not None)
    target = check_writable(output, overwrite=overwrite, inputs=(song,))
    _check(target, rate_hz, duration_s, loudness_lufs, stems)
    data = read_limited(song, midi.MAX_BYTES, "MIDI file", MidiError)
    score = midi.from_bytes(data, name=str(song))
    music_s = float(score.end_s.max())
    if music_s > LONGEST_S:
        raise InputError(f"{song} lasts {music_s:.0f} s, more than {LONGEST_S:.0f} s; cut it into parts")
    bank = soundfonts.find(soundfont)
    played = playable(data, name=str(song))
    places = stem_paths(target, played.parts) if stems else {}
    for place in places.values():
        check_writable(place, overwrite=overwrite, inputs=(song,))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "sound.raw"
        wanted = None if duration_s is None else round(duration_s * rate_hz)
        said = _play(played, bank, rate_hz, music_s, raw, wanted)
        n_frames, faded = _length(raw, rate_hz, wanted)
        shape = _Shape(n_frames, round(FADE_S * rate_hz) if faded else 0, rate_hz)
        peak, gain = _levels(shape.applied(_blocks(raw, n_frames)), rate_hz, loudness_lufs)
        if places:
            gain = _write_stems(played, places, bank, shape, gain, overwrite)
        kind = FORMATS[target.suffix.lower()]
        with atomic_path(target, overwrite=overwrite) as partial, _open(partial, target, rate_hz, kind) as file:
            for block in shape.applied(_blocks(raw, n_frames), gain):
                file.write(_rounded(block, kind))
    return Rendering(
        target, n_frames / rate_hz, rate_hz, bank, 20 * math.log10(max(peak * gain, 1e-9)), faded,
        (*score.warnings, *_substituted(said, played.parts, bank)), tuple(places.values()),
    )  # fmt: skip


def _check(target: Path, rate_hz: int, duration_s: float | None, loudness_lufs: float | None, stems: bool) -> None:
    """Raise `InputError` for an option of `render` that is out of range."""
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{target} has none of the endings {', '.join(FORMATS)}; give it one of them")
    if stems:
        check_lossless(target)
    if rate_hz not in (44100, 48000):
        raise InputError(f"a rate of {rate_hz} Hz is not offered; choose 44100 or 48000")
    if duration_s is not None and not 0 < duration_s <= LONGEST_S:
        raise InputError(f"a length of {duration_s:g} s is not above 0 and at most {LONGEST_S:g} s; give another")
    if loudness_lufs is not None and not -70 <= loudness_lufs <= 0:
        raise InputError(f"a loudness of {loudness_lufs:g} LUFS is not from -70 to 0; give one such as -16")


def check_lossless(target: Path) -> None:
    """Raise `InputError` for a mix whose format is none that stems can have."""
    suffix = target.suffix.lower()
    if suffix not in LOSSLESS:
        raise InputError(f"stems as {suffix} would not sum to the mix; write {' or '.join(LOSSLESS)}")


def stem_paths(target: Path, parts: tuple[Part, ...]) -> dict[int, Path]:
    """The stem of each channel: OUTPUT-NAME.wav, by the names of the tracks that play on it, else by its number."""
    found: dict[int, Path] = {}
    taken: set[str] = set()
    for part in parts:
        plain = re.sub(r"[^\w .+()-]+", " ", " + ".join(part.names))[:_LONGEST_NAME].strip(" .")
        port, number = divmod(part.channel, 16)
        place = f"channel {number + 1}" + (f" of port {port + 1}" if port else "")
        name = plain or ("Drums" if part.is_drum else place.capitalize())
        if name.lower() in taken:
            name = f"{name} ({place})"
        taken.add(name.lower())
        found[part.channel] = target.with_name(f"{target.stem}-{name}{target.suffix}")
    return found


@contextlib.contextmanager
def _open(partial: Path, target: Path, rate_hz: int, kind: str) -> Iterator[Any]:
    """A sound file to write to, in the container of `target`. Raises `OutputError` where there is no room."""
    import soundfile as sf

    try:
        with sf.SoundFile(partial, "w", rate_hz, 2, format=target.suffix[1:].upper(), subtype=kind) as file:
            yield file
    except sf.LibsndfileError as error:
        raise OutputError(f"{target} could not be written; free some space or choose another folder") from error


def _rounded(block: Frames, kind: str) -> npt.NDArray[Any]:
    """Samples as they are stored: libsndfile would round whole numbers down, which moves silence to -1."""
    if not kind.startswith("PCM_"):
        return block
    bits = int(kind[4:])
    full = 1 << bits - 1
    whole = np.clip(np.rint(block.astype(np.float64) * full), -full, full - 1).astype(np.int32)
    return whole << 32 - bits  # libsndfile takes the upper bits


def check_available(*, loudness: bool = False) -> None:
    """Look for everything that rendering needs; `loudness` includes what measures it.

    Raises `MissingExtraError`, saying what to install.
    """
    wanted = ["soundfile", "fluidsynth"] + (["pyloudnorm"] if loudness else [])
    for name in wanted:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = "pyfluidsynth" if name == "fluidsynth" else (error.name or name)
            raise MissingExtraError(f"{missing} is not installed; run: pip install 'emsync[audio]'") from None
        except (ImportError, OSError) as error:  # installed, but it did not find its library
            raise MissingExtraError(_LIBRARY if name == "fluidsynth" else _SNDFILE) from error


def _play(
    played: Playable, bank: Path, rate_hz: int, music_s: float, raw: Path, n_frames: int | None
) -> tuple[str, ...]:
    """Play a MIDI file into `raw`: float32 stereo frames, until it has rung out, or n_frames of them.

    Returns what FluidSynth said on it.
    """
    synth = Synthesizer(bank, rate_hz)
    try:
        synth.play(played.ports)
        longest = round((music_s + LONGEST_TAIL_S) * rate_hz) if n_frames is None else n_frames
        peak, done = 0.0, 0
        with storing(raw), raw.open("wb") as file:
            while done < longest:
                block = synth.frames(min(_BLOCK, longest - done))
                file.write(block.tobytes())
                done += len(block)
                loudest = float(np.abs(block).max(initial=0.0))
                peak = max(peak, loudest)
                over = done / rate_hz > music_s and synth.is_done()
                if n_frames is None and over and loudest < peak * 10 ** (SILENCE_DB / 20):
                    break
        return synth.messages
    finally:
        synth.delete()


def _substituted(said: tuple[str, ...], parts: tuple[Part, ...], bank: Path) -> Iterator[str]:
    """One warning for all instruments that play and that the SoundFont lacks, out of what FluidSynth says of each."""
    playing = {part.channel for part in parts}
    found = {
        (int(program), int(bank_number))
        for text in said
        for channel, bank_number, program in _SUBSTITUTED.findall(text)
        if int(channel) in playing
    }
    if found:
        names = ", ".join(f"program {program + 1} of bank {number}" for program, number in sorted(found)[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        yield f"{bank.name} has no {names}{more}; others are heard in their place"


def _blocks(raw: Path, n_frames: int | None = None, first: int = 0) -> Iterator[Frames]:
    """The frames of `raw` from `first` to n_frames, or to its end, in blocks (n, 2)."""
    with raw.open("rb") as file:
        file.seek(first * _FRAME_BYTES)
        while n_frames is None or first < n_frames:
            wanted = _BLOCK if n_frames is None else min(_BLOCK, n_frames - first)
            block = np.frombuffer(file.read(wanted * _FRAME_BYTES), dtype=np.float32).reshape(-1, 2)
            if not len(block):
                return
            first += len(block)
            yield block


def _peak(blocks: Iterator[Frames]) -> float:
    return max((float(np.abs(block).max(initial=0.0)) for block in blocks), default=0.0)


def _length(raw: Path, rate_hz: int, wanted: int | None) -> tuple[int, bool]:
    """How many frames to keep, and whether they fade out because the music continues.

    A piece that ends by itself is cut where it has rung out.
    """
    floor = _peak(_blocks(raw)) * 10 ** (SILENCE_DB / 20)
    if wanted is None:
        last = at = 0
        for block in _blocks(raw):
            loud = np.flatnonzero(np.abs(block).max(axis=1) > floor)
            if len(loud):
                last = at + int(loud[-1]) + 1
            at += len(block)
        return max(last, 1), False
    end = _peak(_blocks(raw, wanted, max(wanted - rate_hz // 20, 0)))
    return wanted, end > floor


@dataclass(frozen=True)
class _Shape:
    """What is done to frames alike for the mix and the stems.

    Attributes:
        n_frames: How many there are.
        fade_frames: How many of the last ones fade out, along a quarter of a cosine.
        rate_hz: Frames a second.

    """

    n_frames: int
    fade_frames: int
    rate_hz: int

    def applied(self, blocks: Iterator[Frames], gain: float = 1.0) -> Iterator[Frames]:
        """Blocks (..., n, 2) from the first frame on, at their level."""
        fade_from = self.n_frames - min(self.fade_frames, self.n_frames)
        first = 0
        for known in blocks:
            block = known * np.float32(gain)
            stop = first + block.shape[-2]
            if stop > fade_from:
                at = np.clip((np.arange(first, stop) - fade_from) / max(self.n_frames - fade_from, 1), 0.0, 1.0)
                block *= np.cos(at * np.pi / 2)[:, None].astype(np.float32)
            yield block
            first = stop


def _levels(blocks: Iterator[Frames], rate_hz: int, loudness_lufs: float | None) -> tuple[float, float]:
    """The peak, and what samples are multiplied by to reach the peak or the loudness that is wanted."""
    meter = None if loudness_lufs is None else LoudnessMeter(rate_hz)
    peak = 0.0
    for block in blocks:
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        if meter is not None:
            meter.add(block)
    if peak < 10 ** (INAUDIBLE_DB / 20):
        raise InputError("the rendered sound is silent; does the SoundFont have the instruments of the file?")
    to_peak = 10 ** (PEAK_DB / 20) / peak
    if meter is None or loudness_lufs is None:
        return peak, to_peak
    measured = meter.integrated_lufs()  # not finite if the sound is too short or too quiet to have a loudness
    return peak, min(10 ** ((loudness_lufs - measured) / 20), to_peak) if math.isfinite(measured) else to_peak


def _write_stems(
    played: Playable, places: dict[int, Path], bank: Path, shape: _Shape, gain: float, overwrite: bool
) -> float:
    """Write the stem of each channel, and return the gain of them and of the mix.

    It is lower than the given one only if a stem would clip, which takes stems that cancel each other.
    """
    peak = _try_stems(played, places, bank, shape, gain, overwrite)
    if peak > 1:
        gain *= 0.999 / peak
        _try_stems(played, places, bank, shape, gain, overwrite)
    return gain


class _Clips(Exception):
    """Stems reach over full scale."""


def _try_stems(
    played: Playable, places: dict[int, Path], bank: Path, shape: _Shape, gain: float, overwrite: bool
) -> float:
    """Write the stems unless one clips, and return the highest peak."""
    synth = Synthesizer(bank, shape.rate_hz, groups_for(places))
    sizes = [min(_BLOCK, shape.n_frames - first) for first in range(0, shape.n_frames, _BLOCK)]
    peak = 0.0
    try:
        synth.play(played.ports)
        with contextlib.suppress(_Clips), contextlib.ExitStack() as stack:
            partials = {c: stack.enter_context(atomic_path(at, overwrite=overwrite)) for c, at in places.items()}
            files = {
                c: stack.enter_context(_open(at, places[c], shape.rate_hz, STEM_FORMAT)) for c, at in partials.items()
            }
            for block in shape.applied(map(synth.grouped, sizes), gain):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                for channel, file in files.items():
                    file.write(_rounded(block[channel % synth.groups], STEM_FORMAT))
            if peak > 1:
                raise _Clips
    finally:
        synth.delete()
    return peak
