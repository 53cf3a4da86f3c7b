"""How loud a film is, second by second, on the clock of its frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.film_clock import Span

Floats = npt.NDArray[np.float64]

#: The level of digital silence, whose true level is minus infinity.
SILENCE_DB: Final = -120.0

#: Sound is measured in pieces of this many samples, so that a long packet still falls into the right seconds.
_PIECE_SAMPLES: Final = 1024

#: Sound that goes back by more than this starts over.
_BACK_S: Final = 1.0


class Loudness:
    """Gathers the level of decoded sound.

    - jump_s: sound that is later than expected by more than this has jumped with the file's clock.
    """

    def __init__(self, jump_s: float) -> None:
        self._jump_s = jump_s
        self._pieces: list[tuple[float, float, float]] = []  # start (on the file's clock), length, mean square
        self._runs: list[int] = []  # the piece that each run of the clock begins with
        self._end_s: float | None = None
        self._resampler: Any = None

    def add(self, frame: Any) -> None:
        """Note the mean square of an audio frame, 1 being full scale. Raises `ValueError` for unknown formats."""
        time_base = frame.time_base
        if frame.pts is None or not time_base or frame.samples == 0 or frame.sample_rate <= 0:
            return
        start_s = float(frame.pts * Fraction(time_base.numerator, time_base.denominator))
        if frame.format.name in ("s64", "s64p"):  # PyAV makes no arrays of these
            for each in self._as_float(frame):
                self._add(each, start_s)
        else:
            self._add(frame, start_s)

    def _add(self, frame: Any, start_s: float) -> None:
        rate_hz = frame.sample_rate
        squares, places = _squares(frame)
        samples = squares.size // places
        if self._end_s is None or not -_BACK_S <= start_s - self._end_s <= self._jump_s:
            self._runs.append(len(self._pieces))
        self._end_s = start_s + samples / rate_hz
        begins = np.arange(0, samples, _PIECE_SAMPLES)
        lengths = np.minimum(begins + _PIECE_SAMPLES, samples) - begins
        means = np.add.reduceat(squares, begins * places) / (lengths * places)
        for begin, length, mean in zip(begins.tolist(), lengths.tolist(), means.tolist(), strict=True):
            self._pieces.append((start_s + begin / rate_hz, length / rate_hz, mean))

    def _as_float(self, frame: Any) -> list[Any]:
        from av.audio.resampler import AudioResampler

        if self._resampler is None:
            self._resampler = AudioResampler(format="dbl")
        return list(self._resampler.resample(frame))

    def is_filled(self, from_s: float, to_s: float) -> bool:
        """Whether there is sound for at least half of a stretch of the file's clock."""
        if not self._runs:
            return False
        heard_s = 0.0
        for start_s, length_s, _ in reversed(self._pieces[self._runs[-1] :]):
            if start_s < from_s:
                break
            heard_s += length_s if start_s < to_s else 0.0
        return 2 * heard_s >= to_s - from_s

    def _on_film(self, spans: Sequence[Span]) -> tuple[Floats, Floats, Floats]:
        """Starts in seconds of the film, lengths, and mean squares of all pieces.

        Each run of the sound's clock belongs to a span of the frames' clock: in order if there are as many, else to the
        one with which it shares most.
        """
        start_s, length_s, mean_square = np.array(self._pieces).T
        edges = [*self._runs, len(self._pieces)]
        earliest = 0
        for number, (first, end) in enumerate(itertools.pairwise(edges)):
            low_s, high_s = start_s[first:end].min(), start_s[first:end].max()
            if len(self._runs) == len(spans):
                place = number
            else:
                shared = [min(high_s, span.last_s) - max(low_s, span.first_s) for span in spans[earliest:]]
                place = earliest + int(np.argmax(shared))
            earliest = place
            start_s[first:end] += spans[place].film_s - spans[place].first_s
        return start_s, length_s, mean_square

    def end_s(self, spans: Sequence[Span]) -> float:
        """When the sound ends, in seconds of the film; 0 without sound."""
        if not self._pieces or not spans:
            return 0.0
        start_s, length_s, _ = self._on_film(spans)
        ends_s = (start_s + length_s)[np.isfinite(start_s)]
        return float(ends_s.max(initial=0.0))

    def levels_db(self, duration_s: float, spans: Sequence[Span]) -> Floats:
        """Root mean square of each second of the film, in dB of full scale, (ceil(duration_s),).

        NaN where there is no sound; digital silence is `SILENCE_DB`.
        """
        seconds = math.ceil(round(duration_s, 6))
        if not self._pieces or seconds == 0 or not spans:
            return np.full(seconds, np.nan)
        start_s, length_s, mean_square = self._on_film(spans)
        at = np.floor(start_s + length_s / 2)
        inside = (at >= 0) & (at < seconds) & np.isfinite(mean_square)
        mean_square = np.minimum(mean_square, 1e12)  # damaged floating-point sound
        index = at[inside].astype(np.intp)
        total_s = np.bincount(index, weights=length_s[inside], minlength=seconds)
        energy = np.bincount(index, weights=(length_s * mean_square)[inside], minlength=seconds)
        with np.errstate(divide="ignore", invalid="ignore"):
            level_db = 10 * np.log10(energy / total_s)
        return np.where(total_s > 0, np.maximum(level_db, SILENCE_DB), np.nan)


def _squares(frame: Any) -> tuple[Floats, int]:
    """Mean squares of samples over the channels, and how many numbers there are a sample (interleaved channels)."""
    samples = frame.to_ndarray()  # (channels, n), or (1, n * channels) when interleaved
    values = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        values = (values - 128) / 128
    elif samples.dtype.kind == "i":
        values /= float(np.iinfo(samples.dtype).max) + 1
    squares = np.square(values).mean(axis=0)
    return squares, squares.size // frame.samples
