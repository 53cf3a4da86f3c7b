"""Laying sound under a film: the picture is copied as it is, the sound is encoded.

    mux("film.mp4", "song.wav", "scored.mp4")
    mux("film.mp4", "song.wav", "scored.mp4", under=Ducking())   # under the film's own sound, ducked under speech

Time 0 of the sound is the film's first frame, as everywhere in emsync. Nothing of the picture is decoded or encoded
again, so it loses nothing; its rotation and its frame times stay.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from emsync.ducking import MUSIC_DB, Ducking
from emsync.errors import InputError, VideoError
from emsync.files import atomic_path, check_writable
from emsync.film import best_stream
from emsync.mix import film_sound, mixed, sound_of
from emsync.sidechain import Ducker, open_ducker

#: Containers by a file's ending: ffmpeg's name, and the codec of the sound.
CONTAINERS: Final = {
    ".mp4": ("mp4", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mov": ("mov", "aac"),
    ".mkv": ("matroska", "aac"),
    ".webm": ("webm", "libopus"),
}
BIT_RATE: Final = 192_000
RATE_HZ: Final = 48_000
#: What a full or broken disk says.
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def mux(
    video: str | os.PathLike[str],
    sound: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    under: Ducking | None = None,
    music_db: float = 0.0,
    overwrite: bool = False,
    tell: Callable[[Ducker], None] | None = None,
) -> Path:
    """Write the film with this sound: instead of its own, or mixed with it.

    Args:
        video: The film. Its picture stream is copied.
        sound: A sound file; its beginning falls on the film's first frame. What is longer than the film is cut.
        output: The new film; its ending, one of `CONTAINERS`, says the container.
        under: The film keeps its sound at its own level, and the music goes down under speech; None replaces it.
        music_db: What the music's level is changed by, from -60 to 20 dB.
        overwrite: Replace a file that exists.
        tell: Called at the end with what followed the film's sound, if the film keeps it and has any.

    Returns the output's path.

    Raises:
        VideoError: The film cannot be read, or has no pictures.
        InputError: The sound cannot be read, or the container cannot hold the picture's codec.
        OutputError: The output cannot be written.

    """
    import av

    target = check_writable(output, overwrite=overwrite, inputs=(video, sound))
    suffix = _ending(target)
    if not MUSIC_DB[0] <= music_db <= MUSIC_DB[1]:
        raise InputError(f"music_db of {music_db:g} dB is not from {MUSIC_DB[0]:g} to {MUSIC_DB[1]:g}; give another")
    ducker = None if under is None else open_ducker(under)
    try:
        film = av.open(os.fspath(video))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{video} cannot be read as a video ({error}); check the name") from error
    with film:
        picture = best_stream(film)
        if picture is None:
            raise VideoError(f"{video} has no pictures; give a video")
        with (
            _opened_sound(sound) as music,
            atomic_path(target, overwrite=overwrite) as partial,
            av.open(os.fspath(partial), "w", format=CONTAINERS[suffix][0]) as out,
        ):
            copied, encoded = _streams(out, picture, suffix)
            clock = _clock(film, picture)
            # The file is opened three times: for the clock, the pictures and the sound, each read at its own pace.
            with av.open(os.fspath(video)) as again, av.open(os.fspath(video)) as own:
                frames = _frames(music, music.streams.audio[0])
                if ducker is not None or music_db:
                    voices = () if ducker is None else film_sound(own, float(clock.first * clock.base))
                    n_samples = round(clock.end_s * RATE_HZ)
                    frames = mixed(voices, sound_of(frames), n_samples, ducker, music_db)
                packets = again.demux(again.streams[picture.index])
                _write(packets, clock, copied, _sound(frames, encoded, clock.end_s), out)
                if ducker is not None and tell is not None:
                    ducker.has_sound = bool(own.streams.audio)
                    tell(ducker)
    return target


def check_container(video: str | os.PathLike[str], output: str | os.PathLike[str]) -> None:
    """Raise `InputError` for a picture that the output's container cannot hold, or for an unknown ending.

    A film that cannot be read is left to those who read it.
    """
    import av

    suffix = _ending(Path(output))
    with contextlib.suppress(av.FFmpegError, OSError), av.open(os.fspath(video)) as film:
        picture = best_stream(film)
        if picture is not None:
            with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix][0]) as out:
                _streams(out, picture, suffix)


def _ending(target: Path) -> str:
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise InputError(f"{target} has none of the endings {', '.join(CONTAINERS)}; give it one of them")
    return suffix


def _opened_sound(sound: str | os.PathLike[str]) -> Any:
    """The container of a sound file."""
    import av

    try:
        music = av.open(os.fspath(sound))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{sound} cannot be read as sound ({error}); give a .wav, .flac, .ogg or .mp3") from error
    if not music.streams.audio:
        music.close()
        raise InputError(f"{sound} has no sound; give a .wav, .flac, .ogg or .mp3")
    return music


def _streams(out: Any, picture: Any, suffix: str) -> tuple[Any, Any]:
    """The streams of the new film: the copied picture, and the encoded sound."""
    import av

    try:
        copied = out.add_stream_from_template(picture)
        encoded = out.add_stream(CONTAINERS[suffix][1], rate=RATE_HZ, layout="stereo")
        encoded.bit_rate = BIT_RATE
        out.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise InputError(
            f"{suffix} cannot hold this film's picture ({picture.codec_context.name}); write to .mkv instead"
        ) from error
    return copied, encoded


@dataclass(frozen=True)
class _Clock:
    """The clock of the picture's packets: one tick is `base` seconds.

    Attributes:
        first: Tick at which the first frame is shown.
        decoding: Decoding time of each packet, in ticks, none of them unknown.
        base: Seconds a tick.
        end_s: Where the last frame ends, in seconds after the first one begins.

    """

    first: int
    decoding: tuple[int, ...]
    base: Fraction
    end_s: float


def _is_picture(packet: Any) -> bool:
    return bool(packet.size) and packet.pts is not None


def _clock(film: Any, picture: Any) -> _Clock:
    """Read the times of all packets, keeping none of the pictures."""
    times = [(p.pts, p.dts, p.duration or 0) for p in film.demux(picture) if _is_picture(p)]
    if not times:
        raise VideoError(f"{film.name} has no pictures that can be read; give another video")
    # Matroska keeps no decoding times, and the first may be unknown: each comes before the next, at the latest with
    # its frame.
    following = max(shown for shown, _, _ in times) + 1
    decoding = []
    for shown, decoded, _ in reversed(times):
        following = min(shown, following - 1) if decoded is None else decoded
        decoding.append(following)
    first = min(shown for shown, _, _ in times)
    base: Fraction = picture.time_base
    end_s = max(float((shown - first + length) * base) for shown, _, length in times)
    return _Clock(first, tuple(reversed(decoding)), base, end_s)


def _write(packets: Iterable[Any], clock: _Clock, copied: Any, sound: Iterator[Any], out: Any) -> None:
    """Write pictures, the first frame moved to time 0, and sound, each next to what it is played with."""
    sound_s = 0.0
    for packet, decoded in zip(filter(_is_picture, packets), clock.decoding, strict=True):
        packet.pts -= clock.first
        packet.dts = decoded - clock.first
        at_s = float(packet.dts * clock.base)
        while sound_s <= at_s and (part := next(sound, None)) is not None:
            sound_s = float(part.pts * part.time_base)
            out.mux(part)
        packet.stream = copied
        out.mux(packet)
    for part in sound:
        out.mux(part)


def _sound(frames: Iterable[Any], stream: Any, end_s: float) -> Iterator[Any]:
    """Encoded packets of the sound, from its beginning until the film's end."""
    for part in _resampled(frames, stream, round(end_s * RATE_HZ)):
        yield from stream.encode(part)
    yield from stream.encode(None)


def _resampled(frames: Iterable[Any], stream: Any, n_samples: int) -> Iterator[Any]:
    """Frames as the encoder wants them, until there are at least n_samples samples or the sound ends."""
    import av

    resampler = av.AudioResampler(
        format=stream.format, layout="stereo", rate=RATE_HZ, frame_size=stream.frame_size or 960
    )
    at = 0
    for frame in itertools.chain(frames, (None,)):
        for part in resampler.resample(frame):
            if at >= n_samples:
                return
            part.pts, part.time_base = at, Fraction(1, RATE_HZ)
            at += part.samples
            yield part


def _frames(music: Any, source: Any) -> Iterator[Any]:
    """Decoded frames without times of their own."""
    for frame in music.decode(source):
        frame.pts = None
        yield frame
