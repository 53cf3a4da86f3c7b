"""Laying sound under a film: the picture is copied as it is, the sound is encoded.

    mux("film.mp4", "song.wav", "scored.mp4")

Time 0 of the sound is the film's first frame, as everywhere in emsync. Nothing of the picture is decoded or encoded
again, so it loses nothing; its rotation and its frame times stay.
"""

from __future__ import annotations

import os
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
            end_s = _copy_pictures(film, picture, out, copied)
            _encode_sound(music, out, encoded, end_s)
    return target


def _copy_pictures(film: Any, picture: Any, out: Any, copied: Any) -> float:
    """Copy the packets, the first frame moved to time 0; returns where the last one ends, in seconds."""
    packets = [packet for packet in film.demux(picture) if packet.size and packet.pts is not None]
    if not packets:
        raise VideoError(f"{film.name} has no pictures that can be read; give another video")
    # Matroska keeps no decoding times, and the first may be unknown: each comes before the next, at the latest with
    # its frame.
    following = max(packet.pts for packet in packets) + 1
    for packet in reversed(packets):
        if packet.dts is None:
            packet.dts = min(packet.pts, following - 1)
        following = packet.dts
    first = min(packet.pts for packet in packets)
    base: Fraction = picture.time_base
    end_s = 0.0
    for packet in packets:
        packet.pts -= first
        packet.dts -= first
        end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * base))
        packet.stream = copied
        out.mux(packet)
    return end_s


def _encode_sound(music: Any, out: Any, stream: Any, end_s: float) -> None:
    """Encode the sound from its beginning until the film's end."""
    import av

    size = stream.frame_size or 960
    resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=RATE_HZ, frame_size=size)
    left, at = round(end_s * RATE_HZ), 0
    source = music.streams.audio[0]
    for frame in (*_frames(music, source), None):
        for part in resampler.resample(frame):
            if left <= 0:
                break
            part.pts, part.time_base = at, Fraction(1, RATE_HZ)
            at += part.samples
            left -= part.samples
            out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def _frames(music: Any, source: Any) -> Any:
    for frame in music.decode(source):
        frame.pts = None
        yield frame
