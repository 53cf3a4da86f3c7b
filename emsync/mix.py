"""A film's own sound and music, mixed block by block.

Sound is stereo at 48 kHz, (n, 2) float32, time 0 being the film's first frame. Nothing is held longer than a fraction
of a second, so memory does not grow with length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Final

import numpy as np

from emsync.sidechain import BLOCK, RATE_HZ, Ducker, Frames, Limiter

#: A film's sound is moved to where its time stamps say, if it is further from there than this.
_DRIFT_S: Final = 0.005


def mixed(
    film: Iterable[Frames], music: Iterable[Frames], n_samples: int, ducker: Ducker | None, music_db: float
) -> Iterator[Any]:
    """Audio frames of the film's sound at its own level over the music, ducked if there is a `ducker`.

    - film, music: pieces of any length, in order; silence follows them, up to n_samples samples.
    - music_db: what the music is changed by before it is ducked.
    """
    limiter = Limiter()
    level = np.float32(10 ** (music_db / 20))
    rest = n_samples
    for voice, under in zip(_even(film, n_samples), _even(music, n_samples), strict=True):
        gains = level if ducker is None else level * ducker.gains(voice)
        summed = voice + under * gains
        block = limiter.add(summed)[:rest]
        rest -= len(block)
        if len(block):
            yield _frame(block)
    block = limiter.flush()[:rest]
    if len(block):
        yield _frame(block)


def _frame(block: Frames) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), format="fltp", layout="stereo")
    frame.sample_rate = RATE_HZ
    return frame


def _even(pieces: Iterable[Frames], n_samples: int) -> Iterator[Frames]:
    """Blocks of `BLOCK` samples until there are n_samples, silence following the pieces."""
    silence = itertools.repeat(np.zeros((BLOCK, 2), dtype=np.float32))
    waiting: list[Frames] = []
    size = given = 0
    for piece in itertools.chain(pieces, silence):
        if given >= n_samples:
            return
        waiting.append(piece)
        size += len(piece)
        if size < BLOCK:
            continue
        joined = np.concatenate(waiting)
        for first in range(0, size - BLOCK + 1, BLOCK):
            if given >= n_samples:
                return
            yield joined[first : first + BLOCK]
            given += BLOCK
        waiting = [joined[size - size % BLOCK :]]
        size %= BLOCK


def film_sound(container: Any, first_s: float) -> Iterator[Frames]:
    """The sound of a film from its first frame on, which is at `first_s` on the file's clock; nothing if it has none.

    Sound stands where its time stamps say: gaps are silent, and what comes before the first frame, or a second time, is
    left out. Packets that cannot be decoded are gaps.
    """
    source = container.streams.best("audio")
    if source is None:
        return
    place = _Place()
    for frame in _decoded(container, source):
        start = None
        if frame.pts is not None and frame.time_base:
            start = (float(frame.pts * Fraction(frame.time_base)) - first_s) * RATE_HZ
        yield from place.add(frame, start)
    yield from place.flush()


def _decoded(container: Any, source: Any) -> Iterator[Any]:
    import av

    for packet in container.demux(source):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


class _Place:
    """Puts decoded sound where it belongs."""

    def __init__(self) -> None:
        self._at = 0  # samples given so far
        self._run: _Run | None = None

    def add(self, frame: Any, start: float | None) -> Iterator[Frames]:
        """Take a frame that begins at sample `start`; None means right after the one before."""
        run = self._run
        if run is None or not run.goes_on(frame, start):
            yield from self.flush()
            run = self._run = _Run(self._at if start is None else start, frame)
        yield from self._given(run, frame)

    def flush(self) -> Iterator[Frames]:
        """What the resampler still holds."""
        if self._run is not None:
            yield from self._given(self._run, None)
            self._run = None

    def _given(self, run: _Run, frame: Any) -> Iterator[Frames]:
        for piece in run.resampled(frame):
            begin = run.out
            run.out += len(piece)
            while self._at < begin:  # a gap
                silent = min(begin - self._at, BLOCK)
                self._at += silent
                yield np.zeros((silent, 2), dtype=np.float32)
            late = self._at - begin
            if late < len(piece):
                self._at += len(piece) - late
                yield piece[late:]


class _Run:
    """Sound without a gap, on its way to 48 kHz stereo.

    - out: the sample at which its next piece begins; it may be negative.
    """

    def __init__(self, start: float, frame: Any) -> None:
        self.out = round(start)
        self._due = start
        self._kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        self._resampler = _resampler(frame)

    def goes_on(self, frame: Any, start: float | None) -> bool:
        """Whether a frame that begins at sample `start` follows what was taken so far."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        return kind == self._kind and (start is None or abs(start - self._due) <= _DRIFT_S * RATE_HZ)

    def resampled(self, frame: Any) -> Iterator[Frames]:
        """Take the next frame, or None at the end, and give what is ready."""
        if frame is not None:
            self._due += frame.samples * RATE_HZ / frame.sample_rate
            frame.pts = None
        for part in self._resampler.resample(frame):
            yield _stereo(part)


def _resampler(frame: Any) -> Any:
    """A resampler to 48 kHz floats. Mono stays mono, because ffmpeg would lower it by 3 dB on the way to stereo."""
    import av

    layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
    return av.AudioResampler(format="flt", layout=layout, rate=RATE_HZ)


def _stereo(frame: Any) -> Frames:
    """A frame's samples as (n, 2); a single channel is copied to both."""
    sound = np.asarray(frame.to_ndarray(), dtype=np.float32).reshape(-1, frame.layout.nb_channels)
    return np.broadcast_to(sound, (len(sound), 2))


def sound_of(frames: Iterable[Any]) -> Iterator[Frames]:
    """Decoded frames without times, as stereo at 48 kHz."""
    resampler: Any = None
    for frame in itertools.chain(frames, (None,)):
        resampler = _resampler(frame) if resampler is None and frame is not None else resampler
        for part in () if resampler is None else resampler.resample(frame):
            yield _stereo(part)
