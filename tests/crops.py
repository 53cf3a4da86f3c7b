"""What tests of crops share: toy songs as a dataset, and crops drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from emsync import vocabulary as v
from emsync.conditions import LANE_NAMES
from emsync.training.crops import PREFIX, CropConfig, Crops, Row
from emsync.training.dataset import Dataset
from tests.models import toy_archive

BOUNDARY, TO_END = LANE_NAMES.index("boundary"), LANE_NAMES.index("time_to_end")
MOOD = [LANE_NAMES.index("valence"), LANE_NAMES.index("arousal")]
#: Crops that begin anywhere, changed by nothing.
PLAIN = CropConfig(
    context=64, at_bar=0, at_start=0, at_end=0, near_chord=0, transpose=0, drop_chord=0,
    drop_boundaries=0, sparse_boundaries=0, drop_end=0, late_end=0, drop_mood=0, drop_piece_mood=0,
    drop_mood_lanes=0, drop_axis=0, drop_meter=0, drop_tempo=0, drop_copy=0, drop_lane=1,
)  # fmt: skip


def toy_data(n_songs: int = 6, **options: Any) -> Dataset:
    return Dataset.of(dict(toy_archive(n_songs, **options).arrays))


def rows(data: Dataset, config: CropConfig, n: int = 60, *, seed: int = 0, augment: bool = True) -> list[Row]:
    crops = Crops(data, config, seed=seed, augment=augment)
    return [crops.crop(np.random.default_rng([seed, i])) for i in range(n)]


def place(data: Dataset, row: Row, *, chords: bool = True) -> tuple[int, int]:
    """The song a row comes from and where in it its events begin: no two places of toy songs are the same.

    The row is not transposed; chords: whether its CHORDs are still there.
    """
    events, previous_velocity = row.ids[PREFIX:], row.velocities[PREFIX:]
    n = len(events)
    for song in range(len(data)):
        ids, velocities = data.song(song)
        index = np.flatnonzero((ids != v.CHORD) | chords)
        for i in np.flatnonzero(ids[index][: len(index) - n + 1] == events[0]):
            run = index[i : i + n]
            if np.array_equal(ids[run], events) and np.array_equal(velocities[run], previous_velocity):
                return song, int(run[0])
    raise AssertionError("a crop holds events that no song has in this order")


def on(family: int, *pitches: int) -> list[int]:
    return [int(v.ON_BASE[family]) + pitch for pitch in pitches]


def off(family: int, *pitches: int) -> list[int]:
    return [int(v.OFF_BASE[family]) + pitch for pitch in pitches]
