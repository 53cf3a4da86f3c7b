"""The lanes of crops: those of a song's own events shown or left out, masked in segments, and transposed with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from emsync.conditions import LANES, around_times
from emsync.control_lanes import SongEvents


def mask_segments(
    lanes: npt.NDArray[np.float32], rng: np.random.Generator, groups: Sequence[Sequence[int]], inside: float,
    outside: float,
) -> None:  # fmt: skip
    """Mask segments of lanes (T, N) in place: controllable-v2m, eqs. 11 and 12.

    Of each group of lanes a segment is drawn, from its first to its last position. With probability `inside` its lanes
    are NaN within it, with probability `outside` everywhere else.
    """
    if not inside and not outside:
        return
    for group in groups:
        first, last = np.sort(rng.integers(len(lanes), size=2))
        within = np.zeros(len(lanes), dtype=bool)
        within[first : last + 1] = True
        kind = rng.random()
        if kind < inside:
            lanes[np.flatnonzero(within)[:, None], list(group)] = np.nan
        elif kind < inside + outside:
            lanes[np.flatnonzero(~within)[:, None], list(group)] = np.nan


def mask_around(
    around: npt.NDArray[np.float32], times_s: npt.NDArray[np.float64], rng: np.random.Generator, inside: float,
    outside: float,
) -> None:  # fmt: skip
    """Mask segments of the mood around events (T, 2, P) in place, as `mask_segments` does with lanes.

    A segment is one of time: all events see the same part of a curve as not given.
    """
    if not inside and not outside:
        return
    at = around_times(times_s)
    for axis in range(around.shape[1]):
        first_s, last_s = np.sort(rng.choice(times_s, 2))
        within = (at >= first_s) & (at <= last_s)
        kind = rng.random()
        if kind < inside:
            around[:, axis][within] = np.nan
        elif kind < inside + outside:
            around[:, axis][~within] = np.nan


def song_groups() -> list[list[int]]:
    """The lanes that a song's own events give, those of one control together."""
    groups: dict[str, list[int]] = {}
    for number, lane in enumerate(LANES):
        if lane.of_song is not None:
            groups.setdefault(lane.control or lane.name, []).append(number)
    return list(groups.values())


def show_song_lanes(
    lanes: npt.NDArray[np.float32], song: SongEvents, window: npt.NDArray[np.int64], rng: np.random.Generator,
    drop: float,
) -> None:  # fmt: skip
    """Fill in the lanes (W, N) that a song's own events give, at the events `window` (W,), but a share `drop`."""
    for group in song_groups():
        if rng.random() < drop:
            continue
        for number in group:
            of_song = LANES[number].of_song
            assert of_song is not None
            lanes[:, number] = of_song(song)[window]


def transpose_lanes(lanes: npt.NDArray[np.float32], semitones: int) -> None:
    """Change the lanes (T, N) of a song, in place, into those of the song moved by `semitones`."""
    for number, lane in enumerate(LANES):
        if lane.moved is not None:
            lanes[:, number] = lane.moved(lanes[:, number], semitones)
