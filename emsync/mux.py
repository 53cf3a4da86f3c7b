"""Laying sound under a film: the picture is copied as it is, the sound is encoded.

    mux("film.mp4", "song.wav", "scored.mp4")

Time 0 of the sound is the film's first frame, as everywhere in emsync. Nothing of the picture is decoded or encoded
again, so it loses nothing; its rotation and its frame times stay.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from emsync.errors import InputError, VideoError
from emsync.files import atomic_path, check_writable
from emsync.film import best_stream

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


def mux(
    video: str | os.PathLike[str],
    sound: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the film with this sound instead of its own.

    Args:
        video: The film. Its picture stream is copied.
        sound: A sound file; its beginning falls on the film's first frame. What is longer than the film is cut.
        output: The new film; its ending, one of `CONTAINERS`, says the container.
        overwrite: Replace a file that exists.

    Returns the output's path.

    Raises:
        VideoError: The film cannot be read, or has no pictures.
        InputError: The sound cannot be read, or the container cannot hold the picture's codec.
        OutputError: The output cannot be written.

    """
    import av

    target = check_writable(output, overwrite=overwrite, inputs=(video, sound))
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise InputError(f"{target} has none of the endings {', '.join(CONTAINERS)}; give it one of them")
    kind, codec = CONTAINERS[suffix]
    try:
        film = av.open(os.fspath(video))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{video} cannot be read as a video ({error}); check the name") from error
    with film:
        picture = best_stream(film)
        if picture is None:
            raise VideoError(f"{video} has no pictures; give a video")
        try:
            music = av.open(os.fspath(sound))
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{sound} cannot be read as sound ({error}); give a .wav, .flac, .ogg or .mp3") from error
        with (
            music,
            atomic_path(target, overwrite=overwrite) as partial,
            av.open(os.fspath(partial), "w", format=kind) as out,
        ):
            if not music.streams.audio:
                raise InputError(f"{sound} has no sound; give a .wav, .flac, .ogg or .mp3")
            try:
                copied = out.add_stream_from_template(picture)
                encoded: Any = out.add_stream(codec, rate=RATE_HZ, layout="stereo")
                encoded.bit_rate = BIT_RATE
                out.start_encoding()
            except (av.FFmpegError, ValueError) as error:
                raise InputError(
                    f"{suffix} cannot hold this film's picture ({picture.codec_context.name}); write to .mkv instead"
                ) from error
            clock = _clock(film, picture)
            with av.open(os.fspath(video)) as again:
                _write(
                    again.demux(again.streams[picture.index]), clock, copied, _sound(music, encoded, clock.end_s), out
                )
    return target


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


def _sound(music: Any, stream: Any, end_s: float) -> Iterator[Any]:
    """Encoded packets of the sound, from its beginning until the film's end."""
    for part in _resampled(music, stream, round(end_s * RATE_HZ)):
        yield from stream.encode(part)
    yield from stream.encode(None)


def _resampled(music: Any, stream: Any, n_samples: int) -> Iterator[Any]:
    """Frames as the encoder wants them, until there are at least n_samples samples or the sound ends."""
    import av

    resampler = av.AudioResampler(
        format=stream.format, layout="stereo", rate=RATE_HZ, frame_size=stream.frame_size or 960
    )
    at = 0
    for frame in itertools.chain(_frames(music, music.streams.audio[0]), (None,)):
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
