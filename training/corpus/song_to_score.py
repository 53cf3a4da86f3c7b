"""A song of an archive in seconds: its tempo, its bars, its notes.

Archives keep the tempo and meters of a file as they are; absurd values are corrected here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus.archive import Archive, Song
from emsync.training.corpus.archive_events import DEFAULT_QPM, QPM_RANGE, STEPS_PER_QUARTER

#: Meters a song can be written in: numerators up to this, denominators a power of two up to that.
MAX_NUMERATOR: Final = 64
MAX_DENOMINATOR: Final = 32


def tempo_map(song: Song) -> TempoMap:
    """The song's tempo in seconds: 120 until the first change, values clipped to 20..400, of equal steps the last."""
    step = np.append(0, song.tempo_step).astype(np.int64)
    qpm = np.append(DEFAULT_QPM, np.nan_to_num(song.tempo_qpm.astype(np.float64), nan=DEFAULT_QPM)).clip(*QPM_RANGE)
    order = np.argsort(step, kind="stable")
    step, qpm = step[order], qpm[order]
    last = np.append(step[1:] != step[:-1], True)
    step, qpm = step[last], qpm[last]
    changes = np.append(True, qpm[1:] != qpm[:-1])
    step, qpm = step[changes], qpm[changes]
    times_s = np.append(0.0, np.cumsum(np.diff(step) * 60 / (qpm[:-1] * STEPS_PER_QUARTER)))
    return TempoMap(times_s, qpm)


def bar_table(song: Song) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bars up to the last sound: start step, numerator, denominator, each (B,), B >= 1.

    A meter no bar can have (zero, or a denominator that is not a power of two) is passed over. A meter that begins in
    mid-bar ends the bar there; that bar is written with the length it has.
    """
    num, den = song.meter_num.astype(np.int64), song.meter_den.astype(np.int64)
    sane = (num > 0) & (num <= MAX_NUMERATOR) & (den > 0) & (den <= MAX_DENOMINATOR) & (den & (den - 1) == 0)
    step = np.append(0, song.meter_step[sane]).astype(np.int64)
    num, den = np.append(4, num[sane]), np.append(4, den[sane])
    order = np.argsort(step, kind="stable")
    step, num, den = step[order], num[order], den[order]
    end = max(song.end_step, 1)
    last = np.append(step[1:] != step[:-1], True) & (step < end)
    step, num, den = step[last], num[last], den[last]
    length = 4 * STEPS_PER_QUARTER * num // den  # whole: denominators divide 32, and 32 divides 96
    until = np.append(step[1:], end)
    count = -(-(until - step) // length)
    index = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    start = step[index] + within * length[index]
    final = index == len(count) - 1
    actual = np.where(final, length[index], np.minimum(length[index], until[index] - start))
    cut = actual < length[index]
    thirty_seconds = 4 * STEPS_PER_QUARTER // MAX_DENOMINATOR
    shared = np.gcd(np.maximum(actual // thirty_seconds, 1), MAX_DENOMINATOR)
    writable = cut & (actual % thirty_seconds == 0)
    numerator = np.where(writable, actual // thirty_seconds // shared, num[index])
    denominator = np.where(writable, MAX_DENOMINATOR // shared, den[index])
    return start, numerator, denominator


def to_score(song: Song) -> Score:
    """A song in seconds, on the five family instruments, through its tempo map. Inverse of `songs.score_to_song`."""
    tempo = tempo_map(song)

    def seconds(step: np.ndarray) -> npt.NDArray[np.float64]:
        return np.asarray(tempo.seconds_at(step / STEPS_PER_QUARTER), dtype=np.float64)

    bar_step, numerator, denominator = bar_table(song)
    return Score(
        FAMILY_INSTRUMENTS,
        song.family.astype(np.int64),
        song.pitch.astype(np.int64),
        song.velocity.astype(np.int64),
        seconds(song.start_step),
        seconds(song.start_step + song.duration_step),
        tempo,
        Bars(seconds(bar_step), numerator, denominator),
    )


def song_score(archive: Archive, index: int) -> Score:
    """Song `index` of an archive in seconds (see `to_score`)."""
    return to_score(archive[index])
