"""Decoding: one pass over a video file that gives its frames in order, with their times, and how loud it is.

    with Film("film.mp4") as film:
        for frame, ticks in film.frames():
            ...  # ticks * film.time_base seconds after the first frame
    film.duration_s, film.frame_rate, film.loudness_db(), film.warnings

All times are measured from the first frame, whatever the file's clock says (some start at 0.5 s, a broadcast at ten
hours). `emsync.film_clock` corrects time stamps that restart, jump or are out of order. ffmpeg's own messages never
reach the terminal: PyAV keeps them to itself by default.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np

from emsync.errors import VideoError, printable
from emsync.film_clock import JUMP_S, LONG_JUMP_S, FrameClock, settled_rate, usual_rate
from emsync.film_clock import RATES as RATES
from emsync.loudness import SILENCE_DB as SILENCE_DB
from emsync.loudness import Floats, Loudness
from emsync.stills import Orientation
from emsync.stills import Stills as Stills

#: No film is longer; a file that seems to be has wrong time stamps.
MAX_DURATION_S: Final = 86_400.0
#: No frame is larger (16K is 15360 x 8640). A damaged size would take the memory of the machine.
MAX_PIXELS: Final = 150_000_000

#: Streams that are not the film: cover art, thumbnails, still pictures.
_COVER: Final = 0x400 | 0x800  # Disposition.attached_pic | Disposition.timed_thumbnails
_STILL: Final = 0x100000  # Disposition.still_image
_DEFAULT: Final = 0x1
_PICTURE_CODECS: Final = ("mjpeg", "png", "bmp", "webp", "tiff", "gif", "jpeg2000", "ppm")
#: Format flag of ffmpeg: the clock may jump.
_MAY_JUMP: Final = 0x200

#: From this far apart on, frames are pictures of a slide show, of which the last may stay for long.
_SPARSE_S: Final = 0.5


def _fraction(value: Any) -> Fraction | None:
    """A rational of any PyAV version as a Fraction; None when it is missing, zero or without meaning."""
    if value is None or value.denominator == 0 or value.numerator <= 0:
        return None
    return Fraction(value.numerator, value.denominator)


class Film:
    """A video file, opened, and decoded once.

    - Before the pass: `time_base` (seconds a tick), `nominal_rate` (as the file declares it, or None), `expected_s`
      (likewise).
    - From the first frame on: `width`, `height`, `orientation`, as shown.
    - After the pass: `frame_rate`, `n_frames`, `duration_s`, `n_damaged` (packets that could not be decoded),
      `warnings` (the corrections, a sentence each).

    Raises `VideoError` when there is nothing to decode.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path` and choose its streams."""
        self.path = Path(path)
        self.n_damaged = 0
        self.orientation = Orientation()
        self._n_unknown_sound = 0
        self._last_length = 0  # ticks, of the last frame, as declared
        self._n_short = 0  # frames whose declared length ends long before the next frame
        self._container = self._open()
        try:
            self._choose_streams()
        except BaseException:
            self._container.close()
            raise

    @property
    def shown_path(self) -> str:
        """The file's name for messages."""
        return printable(str(self.path))

    def _open(self) -> Any:
        try:
            status = self.path.stat()
        except (OSError, ValueError) as error:
            detail = getattr(error, "strerror", None) or error
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({detail})"
            raise VideoError(f"{self.shown_path} {reason}; check the name") from error
        if self.path.is_dir():
            raise VideoError(f"{self.shown_path} is a folder; give the name of a video file in it")
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{self.shown_path} is a device or a pipe; give the name of a video file")
        if status.st_size == 0:
            raise VideoError(f"{self.shown_path} is empty (0 bytes); copy or export the video again")
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
                raise VideoError(
                    f"{self.shown_path} cannot be read (permission denied); change its permissions"
                ) from error
            raise VideoError(
                f"{self.shown_path} ({status.st_size} bytes) cannot be opened as a video: it is of another kind, or "
                "was cut off; play it to check, or export it again as H.264 in .mp4"
            ) from error
        if container.format.name in ("image2", "tty"):
            container.close()
            raise VideoError(f"{self.shown_path} is a still picture or a text, not a video; give a video file")
        return container

    def _choose_streams(self) -> None:
        streams = [stream for stream in self._container.streams.video if not int(stream.disposition) & _COVER]
        if not streams:
            kind = "has sound but no pictures" if self._container.streams.audio else "holds no video stream"
            raise VideoError(f"{self.shown_path} {kind}; give a video file, or use --duration and --cuts without one")
        playable = [stream for stream in streams if stream.codec_context is not None]
        if not playable:
            raise VideoError(f"{self.shown_path} has a codec that is not known here; export it again as H.264 in .mp4")
        largest = max(_area(stream) for stream in playable)
        self._video = min(playable, key=lambda stream: _rank(stream, largest))
        self._video.thread_type = "AUTO"
        self._video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        sounds = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        self._audio = min(sounds, key=lambda stream: not int(stream.disposition) & _DEFAULT, default=None)
        self.width, self.height = int(self._video.width), int(self._video.height)
        self.time_base = _fraction(self._video.time_base) or Fraction(1, 90_000)
        self._declared = [_fraction(self._video.average_rate), _fraction(self._video.guessed_rate)]
        rate = next((rate for rate in self._declared if rate is not None), None)
        self.nominal_rate = usual_rate(rate) if rate is not None and rate <= 120 else None
        may_jump = bool(int(self._container.format.flags) & _MAY_JUMP)
        jump_s = JUMP_S if may_jump else LONG_JUMP_S
        self._loudness = Loudness(jump_s)
        step = max(1, round(1 / (self.time_base * (self.nominal_rate or 25))))
        self._clock = FrameClock(self.time_base, step, jump_s, self._loudness.is_filled)
        ticks, microseconds = self._video.duration, self._container.duration
        self._declared_s = float(ticks * self.time_base) if ticks is not None and ticks > 0 else None
        self._container_s = microseconds / 1e6 if microseconds is not None and microseconds > 0 else None
        # The container's length is that of the longest stream, which may be the sound.
        self.expected_s = self._declared_s if self._declared_s is not None else self._container_s

    @property
    def stream(self) -> Any:
        """PyAV's video stream."""
        return self._video

    @property
    def has_audio(self) -> bool:
        """Whether the file has a sound stream that can be decoded."""
        return self._audio is not None

    @property
    def n_frames(self) -> int:
        """How many frames were decoded so far."""
        return len(self._clock.ticks)

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, a rate that exists: see `settled_rate`."""
        return settled_rate(self._clock.ticks, self.time_base, self._declared)

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last one decoded so far."""
        if not self._clock.ticks:
            return 0.0
        return float((self._clock.ticks[-1] + self._last_frame_ticks()) * self.time_base)

    def _last_frame_ticks(self) -> int:
        """How long the last frame is shown.

        As long as declared. Many containers declare no lengths, and ffmpeg guesses them from the frame rate; this shows
        where frames stay longer than declared. Then it is the commonest length; but in a slide show, until the sound
        ends, or until the file's declared end.
        """
        ticks = self._clock.ticks
        if len(ticks) < 2:
            return self._last_length or self._clock.step
        last_gap = ticks[-1] - ticks[-2]
        if self._last_length > 0 and not self._n_short and self._last_length * self.time_base <= LONG_JUMP_S:
            return self._last_length
        commonest = round(float(np.median(np.diff(np.asarray(ticks)))))
        if max(last_gap, commonest) * self.time_base <= _SPARSE_S:
            return commonest
        last_s = float(ticks[-1] * self.time_base)
        end_s = self._loudness.end_s(self._clock.spans)
        if end_s <= last_s and len(self._clock.spans) == 1:
            end_s = self._container_s or 0.0
        if last_s < end_s <= MAX_DURATION_S:
            return max(1, round((end_s - last_s) / self.time_base))
        return commonest

    @property
    def pictures_from_s(self) -> float:
        """How long after the beginning of the file its pictures begin, in seconds; 0 where nothing comes before them.

        That is the time line on which editing programs show the file.
        """
        begins = self._container.start_time
        if begins is None or not self._clock.spans:
            return 0.0
        late_s = self._clock.spans[0].first_s - begins / 1e6
        return late_s if 1e-3 < late_s <= MAX_DURATION_S else 0.0

    @property
    def is_complete(self) -> bool:
        """After the pass: whether every packet could be decoded and the frames last as long as the file declares."""
        is_whole = self._declared_s is None or self.duration_s > self._declared_s - 1.0
        return self.n_damaged == 0 and (is_whole or len(self._clock.spans) > 1)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The corrections in this file, a sentence each."""
        found = list(self._clock.warnings)
        if self._n_unknown_sound:
            found.append("the sound is of a kind that cannot be measured; its loudness is left out")
        return tuple(found)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def frames(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Every frame in order, with its time in ticks of `time_base`; ticks begin at 0 and strictly increase.

        A packet that cannot be decoded is counted and skipped; a file that breaks off ends there. Raises `VideoError`
        when not one frame could be decoded, and for a film of more than `MAX_DURATION_S`.
        """
        most = MAX_DURATION_S / self.time_base
        before: tuple[int, int] | None = None  # ticks and declared length of the frame before
        for frame, ticks in self._clock.times(self._decode()):
            if before is None:
                self.orientation = Orientation.of(frame)
                self.width, self.height = self.orientation.size(frame.width, frame.height)
            elif 2 * before[1] < ticks - before[0]:
                self._n_short += 1
            if ticks > most:
                raise VideoError(
                    f"{self.shown_path} seems to last more than {MAX_DURATION_S / 3600:g} hours; its time stamps are "
                    "damaged, so export it again"
                )
            length = frame.duration
            self._last_length = length if length is not None and length > 0 else 0
            before = ticks, self._last_length
            yield frame, ticks
        if self.n_frames == 0:
            raise VideoError(f"{self.shown_path} has no frame that can be decoded; export it again as H.264 in .mp4")
        if self.n_frames == 1 and self._container.format.name.endswith("_pipe"):
            raise VideoError(f"{self.shown_path} is a still picture or a text, not a video; give a video file")

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames as they are decoded; sound is measured on the way."""
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
            elif not self._n_unknown_sound:
                try:
                    self._loudness.add(frame)
                except (av.error.FFmpegError, ValueError):
                    self._n_unknown_sound += 1

    def loudness_db(self) -> Floats:
        """After the pass: root mean square of each second of the film, in dB of full scale; (ceil(duration_s),).

        NaN where there is no sound stream or it has nothing for that second; digital silence is `SILENCE_DB`.
        """
        return self._loudness.levels_db(self.duration_s, self._clock.spans)


def best_stream(container: Any) -> Any | None:
    """The stream of a container that is the film: the default one first; covers, stills and previews last or never."""
    streams = [s for s in container.streams.video if not int(s.disposition) & _COVER and s.codec_context is not None]
    largest = max((_area(stream) for stream in streams), default=0)
    return min(streams, key=lambda stream: _rank(stream, largest), default=None)


def _area(stream: Any) -> int:
    return int(stream.width or 0) * int(stream.height or 0)


def _rank(stream: Any, largest: int) -> tuple[bool, bool, bool, bool]:
    """Sorts a file's video streams, the film first: stills last, then the default first, then small previews last."""
    disposition, name = int(stream.disposition), stream.codec_context.name
    is_still = bool(disposition & _STILL) or stream.frames == 1
    is_picture = name in _PICTURE_CODECS and stream.average_rate is None
    return is_still, is_picture, not disposition & _DEFAULT, 4 * _area(stream) <= largest
