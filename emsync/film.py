"""Decoding: one pass over a video file that gives its pictures in order, with their times, and how loud it is.

    with Film("film.mp4") as film:
        for picture, ticks in film.pictures():
            ...  # ticks * film.time_base seconds after the first picture
    film.duration_s, film.loudness_db()

Conventions: times are measured from the first picture, whatever the container's clock says (some start at 0.5 s, a
broadcast at ten hours). The pictures come from the first video stream that is not an attached picture, the sound from
the first audio stream that can be decoded. ffmpeg's own messages never reach the terminal: PyAV keeps them to itself
unless told otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from emsync.errors import InputError, VideoError

#: What digital silence is called, since its true level is minus infinity.
SILENCE_DB = -120.0

#: Rates that films have. A container's clock is often too coarse to say them exactly (WebM counts milliseconds).
_RATES = tuple(Fraction(rate) for rate in (10, 12, "12.5", 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)) + tuple(
    Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)
)

#: Sound is measured in pieces of this many samples, so that a long packet still falls into the right seconds.
_PIECE_SAMPLES = 1024

#: Streams that are no film: cover art and thumbnails.
_COVER = 0x400 | 0x800  # Disposition.attached_pic | Disposition.timed_thumbnails


def _fraction(value: Any) -> Fraction | None:
    """A rational of any PyAV version as a Fraction; None when it is missing, zero or without meaning."""
    if value is None or value.denominator == 0 or value.numerator <= 0:
        return None
    return Fraction(value.numerator, value.denominator)


def usual_rate(rate: Fraction) -> Fraction:
    """`rate`, or the rate that films have if it is within 0.04 % (24 and 23.976 are 0.1 % apart)."""
    nearest = min(_RATES, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest - rate) <= nearest * Fraction(4, 10_000) else rate


class Film:
    """A video file, opened, and decoded once.

    Before the pass: `width`, `height`, `time_base` (seconds a tick), `frame_rate` (as the file declares it, or None),
    `expected_s` (likewise). After it: `n_frames`, `duration_s`, `n_damaged` (packets that could not be decoded).
    Raises `VideoError` when there is nothing to decode.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path` and choose its streams."""
        self.path = Path(path)
        self.n_frames = 0
        self.n_damaged = 0
        self._end_ticks = 0
        self._first_s = 0.0
        self._sound: list[tuple[float, float, float]] = []  # start (on the container's clock), length, mean square
        self._container = self._open()
        try:
            self._choose_streams()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> Any:
        try:
            size = self.path.stat().st_size
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise VideoError(f"{self.path} {reason}; check the name") from error
        if self.path.is_dir():
            raise VideoError(f"{self.path} is a folder; give the name of a video file in it")
        if size == 0:
            raise VideoError(f"{self.path} is empty (0 bytes); copy or export the video again")
        try:
            # "file:" keeps a colon in a name from being read as a protocol; the whitelist keeps a playlist that calls
            # itself a film from opening anything over the network.
            container = av.open(
                f"file:{self.path}",
                mode="r",
                metadata_errors="replace",
                container_options={"protocol_whitelist": "file"},
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                raise VideoError(f"{self.path} cannot be read (permission denied); change its permissions") from error
            raise VideoError(
                f"{self.path} ({size} bytes) cannot be opened as a video: it is of another kind, or was cut off; "
                "play it to check, or export it again as H.264 in .mp4"
            ) from error
        if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty"):
            container.close()
            raise VideoError(f"{self.path} is a still picture or a text, not a video; give a video file")
        return container

    def _choose_streams(self) -> None:
        pictures = [stream for stream in self._container.streams.video if not int(stream.disposition) & _COVER]
        if not pictures:
            kind = "has sound but no pictures" if self._container.streams.audio else "holds no video stream"
            raise VideoError(f"{self.path} {kind}; give a video file, or use --duration and --cuts without one")
        playable = [stream for stream in pictures if stream.codec_context is not None]
        if not playable:
            raise VideoError(f"{self.path} has a codec that is not known here; export it again as H.264 in .mp4")
        self._video = playable[0]
        self._video.thread_type = "AUTO"
        sounds = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        self._audio = sounds[0] if sounds else None
        self.width, self.height = int(self._video.width), int(self._video.height)
        self.time_base = _fraction(self._video.time_base) or Fraction(1, 90_000)
        rate = _fraction(self._video.average_rate) or _fraction(self._video.guessed_rate)
        self.frame_rate = usual_rate(rate) if rate is not None and rate <= 1000 else None
        ticks, microseconds = self._video.duration, self._container.duration
        self._declared_s = float(ticks * self.time_base) if ticks is not None and ticks > 0 else None
        self.expected_s = self._declared_s
        if self.expected_s is None and microseconds is not None and microseconds > 0:
            self.expected_s = microseconds / 1e6  # of the longest stream, which may be the sound

    @property
    def stream(self) -> Any:
        """PyAV's video stream."""
        return self._video

    @property
    def has_audio(self) -> bool:
        """Whether the file has a sound stream that can be decoded."""
        return self._audio is not None

    @property
    def duration_s(self) -> float:
        """From the first picture to the end of the last one decoded so far."""
        return float(self._end_ticks * self.time_base)

    @property
    def is_complete(self) -> bool:
        """After the pass: whether every packet could be decoded and the pictures last as long as they declare."""
        return self.n_damaged == 0 and (self._declared_s is None or self.duration_s > self._declared_s - 1.0)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def pictures(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Every picture in order, with its time in ticks of `time_base`; ticks begin at 0 and strictly increase.

        A packet that cannot be decoded is counted and skipped; a file that breaks off ends there. Raises `VideoError`
        when not one picture could be decoded.
        """
        step = max(1, round(1 / (self.time_base * (self.frame_rate or 25))))
        first: int | None = None
        offset, last, last_length = 0, -1, 0
        for picture in self._decode():
            raw = picture.pts if picture.pts is not None else picture.dts
            if first is None:
                first = raw if raw is not None else 0
                self._first_s = float(first * self.time_base)
            # Without a time stamp (bare H.264) the pictures follow one another at the nominal rate.
            ticks = raw - first + offset if raw is not None else last + step if last >= 0 else 0
            if ticks <= last:
                if (last - ticks) * self.time_base < 1:
                    continue  # shown for no time at all
                offset += last + step - ticks  # the clock began anew, as in recordings joined end to end
                ticks = last + step
            last_length = ticks - last if last >= 0 else step
            last = ticks
            length = picture.duration if picture.duration is not None and picture.duration > 0 else last_length
            self._end_ticks = ticks + length
            self.n_frames += 1
            yield picture, ticks
        if self.n_frames == 0:
            raise VideoError(f"{self.path} has no picture that can be decoded; export it again as H.264 in .mp4")

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Pictures as they are decoded; sound is measured on the way."""
        streams = [self._video] if self._audio is None else [self._video, self._audio]
        try:
            for packet in self._container.demux(streams):
                yield from self._decoded(packet.stream, packet)
        except (av.error.FFmpegError, OSError):
            # The file breaks off: what the decoders still hold is good.
            self.n_damaged += 1
            for stream in streams:
                yield from self._decoded(stream, None)

    def _decoded(self, stream: Any, packet: Any) -> Iterator[av.VideoFrame]:
        try:
            frames = stream.decode(packet)
        except (av.error.FFmpegError, OSError, ValueError):
            self.n_damaged += stream is self._video
            return
        for frame in frames:
            if stream is self._video:
                yield frame
            else:
                self._listen(frame)

    def _listen(self, frame: Any) -> None:
        """Note the mean square of a piece of sound, full scale being 1."""
        time_base = _fraction(frame.time_base)
        if frame.pts is None or time_base is None or frame.samples == 0 or frame.sample_rate <= 0:
            return
        samples = frame.to_ndarray()  # (channels, n), or (1, n * channels) when interleaved
        values = samples.astype(np.float64)
        if samples.dtype == np.uint8:
            values = (values - 128) / 128
        elif samples.dtype.kind == "i":
            values /= float(np.iinfo(samples.dtype).max) + 1
        squares = np.square(values).mean(axis=0)
        places = squares.size // frame.samples  # how many numbers there are a sample
        begins = np.arange(0, frame.samples, _PIECE_SAMPLES)
        lengths = np.minimum(begins + _PIECE_SAMPLES, frame.samples) - begins
        means = np.add.reduceat(squares, begins * places) / (lengths * places)
        start_s = float(frame.pts * time_base)
        for begin, length, mean in zip(begins, lengths, means, strict=True):
            self._sound.append((start_s + begin / frame.sample_rate, length / frame.sample_rate, float(mean)))

    def loudness_db(self) -> npt.NDArray[np.float64]:
        """After the pass: root mean square of each second of the film, in dB of full scale; (ceil(duration_s),).

        NaN where there is no sound stream or it has nothing for that second; digital silence is `SILENCE_DB`.
        """
        seconds = math.ceil(round(self.duration_s, 6))
        if not self._sound or seconds == 0:
            return np.full(seconds, np.nan)
        start_s, length_s, mean_square = np.array(self._sound).T
        at = np.floor(start_s + length_s / 2 - self._first_s)
        inside = (at >= 0) & (at < seconds) & np.isfinite(mean_square)
        index = at[inside].astype(np.intp)
        total_s = np.bincount(index, weights=length_s[inside], minlength=seconds)
        energy = np.bincount(index, weights=(length_s * mean_square)[inside], minlength=seconds)
        with np.errstate(divide="ignore", invalid="ignore"):
            level_db = 10 * np.log10(energy / total_s)
        return np.where(total_s > 0, np.maximum(level_db, SILENCE_DB), np.nan)


class Stills:
    """Small pictures of a film, gathered while it is watched, evenly spaced however long it turns out to be.

        stills = Stills()
        scene = analyze("film.mp4", stills=stills)
        stills.at([1.0, 2.0])

    When there are `most` of them, every other one is let go and the distance doubled; so between a half of that and all
    remain. Pictures fit into `width` x `height` points, their proportions kept.
    """

    def __init__(self, *, width: int = 240, height: int = 135, most: int = 48) -> None:
        self._box, self._most = (width, height), most
        self._step_s, self._next_s = 0.04, 0.0
        self._kept: list[tuple[float, npt.NDArray[np.uint8]]] = []
        self._reformatter = VideoReformatter()

    def show(self, picture: av.VideoFrame, time_s: float) -> None:
        """Keep the picture if one is due at that time."""
        if time_s < self._next_s:
            return
        scale = min(self._box[0] / picture.width, self._box[1] / picture.height)
        width, height = (max(1, round(side * scale)) for side in (picture.width, picture.height))
        small = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", interpolation="AREA")
        self._kept.append((time_s, small.to_ndarray().astype(np.uint8)))
        if len(self._kept) == self._most:
            self._kept, self._step_s = self._kept[::2], 2 * self._step_s
        self._next_s = (math.floor(time_s / self._step_s + 1e-6) + 1) * self._step_s

    def at(self, times_s: npt.ArrayLike) -> list[npt.NDArray[np.uint8]]:
        """The picture kept that is nearest to each time: (height, width, 3), red, green and blue.

        Raises `InputError` when no film was watched.
        """
        if not self._kept:
            raise InputError("there are no stills; hand them to emsync.video.analyze first")
        kept_s = np.array([time_s for time_s, _ in self._kept])
        return [self._kept[int(np.abs(kept_s - time_s).argmin())][1] for time_s in np.atleast_1d(times_s)]
