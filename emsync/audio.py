"""Rendering MIDI to sound with FluidSynth.

    render("song.mid", "song.wav")
    render("song.mid", "song.flac", duration_s=93.0, loudness_lufs=-16.0)

The MIDI *file* is what is played, with its controllers, banks and pitch bends. So a file that was edited in a DAW
sounds as edited. What is damaged in it is mended (`midi_mend`), and nothing else is changed. Needs the extra `audio`
and the FluidSynth library.

Conventions: stereo; blocks of (frames, 2) float32 in [-1, 1]; lengths in seconds unless named `_frames`. The same file,
SoundFont and options give the same bytes. Sound passes through a temporary file, so memory does not grow with length.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync import midi, soundfonts
from emsync.errors import InputError, MidiError, MissingExtraError
from emsync.files import atomic_path, check_writable, read_limited
from emsync.midi_mend import playable

Frames = npt.NDArray[np.float32]
Rate = Literal[44100, 48000]

#: The paper's level and fade-out (Section IV-A).
PEAK_DB: Final = -3.0
FADE_S: Final = 3.0
#: FluidSynth's own gain while rendering: far from clipping; the level is set afterwards.
GAIN: Final = 0.5
#: After the last note a piece rings on for at most this long. It has ended once it is this much below its peak.
LONGEST_TAIL_S: Final = 6.0
SILENCE_DB: Final = -60.0
LONGEST_S: Final = 4 * 3600.0
#: Sound below this is none: its level is not raised.
INAUDIBLE_DB: Final = -80.0
#: Formats by a file's ending, and how samples are stored in each.
FORMATS: Final = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
_BLOCK: Final = 64 * 256  # FluidSynth computes 64 frames at a time
_PLAYER_DONE: Final = 3
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
        faded: Whether it fades out, because the music goes on at the end.
        warnings: What was wrong with the MIDI file (`Score.warnings`).

    """

    path: Path
    duration_s: float
    rate_hz: int
    soundfont: Path
    peak_db: float
    faded: bool
    warnings: tuple[str, ...] = ()


def render(
    song: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    soundfont: str | os.PathLike[str] | None = None,
    rate_hz: Rate = 44100,
    duration_s: float | None = None,
    loudness_lufs: float | None = None,
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
        overwrite: Replace a file that exists.

    Raises:
        InputError: The song has no notes or is too long; there is no SoundFont; an option is out of range.
        OutputError: The output cannot be written.
        MissingExtraError: The extra `audio` or the FluidSynth library is missing.

    """
    soundfile = check_available(loudness=loudness_lufs is not None)
    target = check_writable(output, overwrite=overwrite, inputs=(song,))
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"{target} has none of the endings {', '.join(FORMATS)}; give it one of them")
    if rate_hz not in (44100, 48000):
        raise InputError(f"a rate of {rate_hz} Hz is not offered; choose 44100 or 48000")
    if duration_s is not None and not 0 < duration_s <= LONGEST_S:
        raise InputError(f"a length of {duration_s:g} s is not above 0 and at most {LONGEST_S:g} s; give another")
    if loudness_lufs is not None and not -70 <= loudness_lufs <= 0:
        raise InputError(f"a loudness of {loudness_lufs:g} LUFS is not from -70 to 0; give one such as -16")
    data = read_limited(song, midi.MAX_BYTES, "MIDI file", MidiError)
    score = midi.from_bytes(data, name=str(song))
    music_s = float(score.end_s.max())
    if music_s > LONGEST_S:
        raise InputError(f"{song} lasts {music_s:.0f} s, more than {LONGEST_S:.0f} s; cut it into parts")
    bank = soundfonts.find(soundfont)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "sound.raw"
        wanted = None if duration_s is None else round(duration_s * rate_hz)
        _play(playable(data, name=str(song)).data, bank, rate_hz, music_s, raw, wanted)
        sound = np.memmap(raw, dtype=np.float32, mode="r").reshape(-1, 2)
        n_frames, faded = _length(sound, rate_hz, duration_s)
        gain = _gain(sound[:n_frames], rate_hz, loudness_lufs)
        with (
            atomic_path(target, overwrite=overwrite) as partial,
            soundfile.SoundFile(
                partial, "w", samplerate=rate_hz, channels=2, format=target.suffix[1:].upper(),
                subtype=FORMATS[target.suffix.lower()],
            ) as file,
        ):  # fmt: skip
            for block in _finished(sound, n_frames, gain, round(FADE_S * rate_hz) if faded else 0):
                file.write(block)
        peak = _peak(sound[:n_frames]) * gain
        del sound
    return Rendering(target, n_frames / rate_hz, rate_hz, bank, 20 * math.log10(max(peak, 1e-9)), faded, score.warnings)


def check_available(*, loudness: bool = False) -> Any:
    """The module that writes sound files, once everything that rendering needs was found.

    `loudness` includes what measures it. Raises `MissingExtraError`, saying what to install.
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
    return importlib.import_module("soundfile")


def _play(data: bytes, bank: Path, rate_hz: int, music_s: float, raw: Path, n_frames: int | None) -> None:
    """Play a MIDI file's bytes into `raw`: float32 stereo frames, until it has rung out, or n_frames of them."""
    synth = _Synth(bank, rate_hz)
    try:
        player = synth.play(data)
        longest = round((music_s + LONGEST_TAIL_S) * rate_hz) if n_frames is None else n_frames
        peak, done = 0.0, 0
        with raw.open("wb") as file:
            while done < longest:
                block = synth.frames(min(_BLOCK, longest - done))
                file.write(block.tobytes())
                done += len(block)
                loudest = float(np.abs(block).max(initial=0.0))
                peak = max(peak, loudest)
                over = done / rate_hz > music_s and player.is_done()
                if n_frames is None and over and loudest < peak * 10 ** (SILENCE_DB / 20):
                    break
        player.delete()
    finally:
        synth.delete()


class _Synth:
    """FluidSynth, through pyfluidsynth's bindings, without an audio device."""

    def __init__(self, bank: Path, rate_hz: int) -> None:
        import fluidsynth

        self._module: Any = fluidsynth
        settings = {
            "player.timing-source": "sample",  # the player's clock is the rendered sound's, not the machine's
            "synth.lock-memory": 0,
            "synth.cpu-cores": 1,
        }
        self._synth = fluidsynth.Synth(gain=GAIN, samplerate=float(rate_hz), **settings)
        self._write = fluidsynth.cfunc(
            "fluid_synth_write_float", ctypes.c_int,
            ("synth", ctypes.c_void_p, 1), ("len", ctypes.c_int, 1), ("lbuf", ctypes.c_void_p, 1),
            ("loff", ctypes.c_int, 1), ("lincr", ctypes.c_int, 1), ("rbuf", ctypes.c_void_p, 1),
            ("roff", ctypes.c_int, 1), ("rincr", ctypes.c_int, 1),
        )  # fmt: skip
        # 1: channels without a program change have a piano, or drums, instead of nothing
        if self._synth.sfload(os.fspath(bank), 1) < 0:
            raise InputError(f"FluidSynth cannot read the SoundFont {bank}; give --soundfont another")

    def play(self, data: bytes) -> _Player:
        """Begin to play a MIDI file's bytes."""
        return _Player(self._module, self._synth.synth, data)

    def frames(self, n: int) -> Frames:
        """The next n frames, (n, 2)."""
        out = np.zeros((n, 2), dtype=np.float32)
        place = out.ctypes.data
        self._write(self._synth.synth, n, place, 0, 2, place, 1, 2)
        return out

    def delete(self) -> None:
        """Free everything."""
        self._synth.delete()


class _Player:
    """FluidSynth's MIDI file player."""

    def __init__(self, module: Any, synth: Any, data: bytes) -> None:
        self._module = module
        self._player = module.new_fluid_player(synth)
        add = module.cfunc(
            "fluid_player_add_mem", ctypes.c_int,
            ("player", ctypes.c_void_p, 1), ("buffer", ctypes.c_char_p, 1), ("len", ctypes.c_size_t, 1),
        )  # fmt: skip
        self._data = data  # must live as long as the player
        if add(self._player, data, len(data)) != 0 or module.fluid_player_play(self._player) != 0:
            raise InputError("FluidSynth cannot play this MIDI file; open it in a DAW and save it again")

    def is_done(self) -> bool:
        """Whether the file has been played to its end."""
        return bool(self._module.fluid_player_get_status(self._player) == _PLAYER_DONE)

    def delete(self) -> None:
        """Free the player."""
        self._module.fluid_player_stop(self._player)
        self._module.delete_fluid_player(self._player)


def _blocks(sound: Frames) -> Iterator[Frames]:
    for first in range(0, len(sound), _BLOCK):
        yield np.asarray(sound[first : first + _BLOCK])


def _peak(sound: Frames) -> float:
    return max((float(np.abs(block).max(initial=0.0)) for block in _blocks(sound)), default=0.0)


def _length(sound: Frames, rate_hz: int, duration_s: float | None) -> tuple[int, bool]:
    """How many frames to keep, and whether they fade out because the music goes on.

    A piece that ends by itself is cut where it has rung out.
    """
    floor = _peak(sound) * 10 ** (SILENCE_DB / 20)
    if duration_s is None:
        last = 0
        for i, block in enumerate(_blocks(sound)):
            loud = np.flatnonzero(np.abs(block).max(axis=1) > floor)
            if len(loud):
                last = i * _BLOCK + int(loud[-1]) + 1
        return max(last, 1), False
    n_frames = round(duration_s * rate_hz)
    end = np.asarray(sound[max(n_frames - rate_hz // 20, 0) : n_frames])
    return n_frames, bool(len(end) and np.abs(end).max() > floor)


def _gain(sound: Frames, rate_hz: int, loudness_lufs: float | None) -> float:
    """What samples are multiplied by to reach the peak or the loudness."""
    peak = _peak(sound)
    if peak < 10 ** (INAUDIBLE_DB / 20):
        raise InputError("the rendered sound is silent; does the SoundFont have the instruments of the file?")
    to_peak = 10 ** (PEAK_DB / 20) / peak
    if loudness_lufs is None:
        return to_peak
    import pyloudnorm

    if len(sound) < rate_hz // 2:
        return to_peak  # too short to have a loudness
    measured = pyloudnorm.Meter(rate_hz).integrated_loudness(np.asarray(sound, dtype=np.float64))
    return float(min(10 ** ((loudness_lufs - measured) / 20), to_peak)) if math.isfinite(measured) else to_peak


def _finished(sound: Frames, n_frames: int, gain: float, fade_frames: int) -> Iterator[Frames]:
    """Exactly n_frames frames, at their level, the last `fade_frames` fading out along a quarter of a cosine."""
    fade_from = n_frames - min(fade_frames, n_frames)
    for first in range(0, n_frames, _BLOCK):
        stop = min(first + _BLOCK, n_frames)
        block = np.zeros((stop - first, 2), dtype=np.float32)
        known = np.asarray(sound[first:stop])
        block[: len(known)] = known * np.float32(gain)
        if stop > fade_from:
            at = np.clip((np.arange(first, stop) - fade_from) / max(n_frames - fade_from, 1), 0.0, 1.0)
            block *= np.cos(at * np.pi / 2)[:, None].astype(np.float32)
        yield block
