"""Crops: the pieces of songs that training steps on, drawn at random from a tokenized corpus.

A batch depends on (seed, step, place in the batch) alone. So a resumed run, and each of several processes, draws the
same crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emsync import meter
from emsync import vocabulary as v
from emsync.conditions import (
    COPY_LANES,
    MAX_OFFSET_S,
    MAX_TO_END_S,
    METER_LANES,
    MOOD_LANES,
    N_LANES,
    Conditions,
)
from emsync.control_lanes import SongEvents
from emsync.copying import lanes_of_song
from emsync.errors import CorpusError, InputError
from emsync.tokenizer.events import times_steps
from emsync.training.crop_lanes import mask_around, mask_segments, show_song_lanes, song_groups, transpose_lanes
from emsync.training.dataset import Dataset

_SLOTS = np.array([v.VALENCE_SLOT, v.AROUSAL_SLOT], dtype=np.int64)
PREFIX = len(_SLOTS) + 1  # mood positions and the instrument count


@dataclass(frozen=True)
class CropConfig:
    """How crops are drawn. Shares are probabilities; the remaining crops start anywhere."""

    context: int = 1024
    at_bar: float = 0.5
    """Share of crops that begin at a bar (of those not bound otherwise)."""
    at_start: float = 0.1
    """Share that begin where the song begins."""
    at_end: float = 0.1
    """Share that end with END."""
    near_chord: float = 0.35
    """Share drawn around a CHORD, from the songs that have one."""
    fill: float = 0.75
    """Of the crops that would run past the song's end, the share moved back to be full."""
    transpose: int = 3
    """Largest transposition, in semitones, either way."""
    drop_chord: float = 0.2
    """Share of CHORD events left out."""
    drop_boundaries: float = 0.1
    """Share of crops without boundaries."""
    sparse_boundaries: float = 0.3
    """Share of crops with boundaries at least four seconds apart, as in film."""
    drop_end: float = 0.15
    """Share of crops that do not know when the piece ends."""
    late_end: float = 0.3
    """Share of crops that know the end only in the last seconds before it, as in composing."""
    drop_meter: float = 0.1
    """Share of crops without the meter lanes."""
    drop_tempo: float = 0.3
    """Of the others, the share that does not know the tempo of the song's first bar."""
    drop_copy: float = 0.1
    """Share of crops without copy lanes, as where copying is barred in composing."""
    drop_mood: float = 0.15
    """Share of crops without any mood: what guidance is measured against."""
    drop_piece_mood: float = 0.25
    """Of the others, the share without the whole song's mood."""
    drop_mood_lanes: float = 0.25
    """Likewise, the share without the mood at each moment."""
    drop_lane: float = 0.5
    """Of each lane that a song's own events give (`conditions.Lane.of_song`), the share of crops without it. Lanes
    of one control are left out together."""
    drop_around: float = 0.1
    """Likewise, the share without the mood around each event, which a mood adapter reads."""
    drop_axis: float = 0.1
    """Share without valence, and share without arousal."""
    mask_inside: float = 0.0
    """Of valence and arousal at each moment, the share masked within a segment, drawn at random: p of
    controllable-v2m, eq. 12, which has 0.05. By default none, as the models on disk were trained. The mood around
    events is masked as often, in segments of its own."""
    mask_outside: float = 0.0
    """Likewise, the share masked everywhere but in a segment: q."""
    mask_lane_inside: float = 0.05
    """p of lanes that a song's own events give."""
    mask_lane_outside: float = 0.05
    """q of these lanes."""

    def __post_init__(self) -> None:
        if type(self.context) is not int or self.context < 16:
            raise InputError(f"a context of {self.context} is too short; give a whole number of at least 16")
        for name in (
            "at_bar",
            "at_start",
            "at_end",
            "near_chord",
            "fill",
            "drop_chord",
            "drop_boundaries",
            "sparse_boundaries",
            "drop_end",
            "late_end",
            "drop_meter",
            "drop_tempo",
            "drop_copy",
            "drop_mood",
            "drop_piece_mood",
            "drop_mood_lanes",
            "drop_around",
            "drop_axis",
            "drop_lane",
            "mask_inside",
            "mask_outside",
            "mask_lane_inside",
            "mask_lane_outside",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; a share is between 0 and 1")
        for inside, outside in (("mask_inside", "mask_outside"), ("mask_lane_inside", "mask_lane_outside")):
            shares = getattr(self, inside), getattr(self, outside)
            if sum(shares) > 1:
                raise InputError(
                    f"{inside} and {outside} are {shares[0]} and {shares[1]}; "
                    "a lane is masked one way, so give at most 1 in all"
                )
        if type(self.transpose) is not int or not 0 <= self.transpose <= 12:
            raise InputError(f"transpose is {self.transpose}; give 0 to 12 whole semitones")


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of one training step. Position t predicts `targets[:, t]`, weighed by `weights[:, t]` (0: not counted).

    ids, targets (B, T) int64; previous_velocity (B, T) int64, the velocity of the event before; velocities (B, T)
    int64, the event's own, 0 where it has none; lanes (B, T, N) float32; mood (B, 2) float32; weights (B, T) float32;
    around (B, T, 2, P) float32, the mood around each event, None where the crops are without it.
    """

    ids: npt.NDArray[np.int64]
    previous_velocity: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.int64]
    lanes: npt.NDArray[np.float32]
    mood: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    around: npt.NDArray[np.float32] | None = None


class Crops:
    """Draws batches from a dataset; see `CropConfig`.

    augment: whether anything is left out or transposed. controls: whether crops that are not augmented show the song's
    own controls, which others do by `drop_lane`; by default a song is seen as without controls. around: whether crops
    have the mood around each event, for a model with an adapter.
    """

    def __init__(
        self, data: Dataset, config: CropConfig, *, seed: int, augment: bool = True, controls: bool = False,
        around: bool = False,
    ) -> None:  # fmt: skip
        if not len(data):
            raise CorpusError("the corpus holds no songs; prepare a larger one")
        self.data, self.config, self.seed, self.augment, self.controls = data, config, seed, augment, controls
        self.around = around
        self._chords = _chord_places(data)

    def batch(self, step: int, size: int, *, rank: int = 0, chord_weight: float = 10.0) -> Batch:
        """The batch of one step, for one of several processes."""
        rows = [self.crop(np.random.default_rng([self.seed, step, rank, i])) for i in range(size)]
        return collate(rows, self.config.context, chord_weight=chord_weight)

    def _place(self, rng: np.random.Generator, length: int) -> tuple[int, int]:
        """A song and the event its crop begins at."""
        c = self.config
        kind = rng.random()
        if kind < c.near_chord and len(self._chords):
            at = int(self._chords[rng.integers(len(self._chords))])
            song = int(np.searchsorted(self.data.offsets, at, side="right")) - 1
            first, last = int(self.data.offsets[song]), int(self.data.offsets[song + 1])
            return song, max(at - first - int(rng.integers(16, max(17, length - 32))), 0)
        at = int(rng.integers(len(self.data.ids)))
        song = int(np.searchsorted(self.data.offsets, at, side="right")) - 1
        first, last = int(self.data.offsets[song]), int(self.data.offsets[song + 1])
        if len(self._chords):
            kind -= c.near_chord
        if kind < c.at_start:
            return song, 0
        if kind < c.at_start + c.at_end:
            return song, max(last - first - length, 0)
        return song, at - first

    def crop(self, rng: np.random.Generator) -> Row:
        c = self.config
        length = c.context - PREFIX + 1  # one more than the model reads: the last one is only a target
        song, begin = self._place(rng, length)
        if rng.random() < c.fill:
            begin = min(begin, max(int(self.data.offsets[song + 1] - self.data.offsets[song]) - length, 0))
        ids, velocities = self.data.song(song)
        count, ids, velocities = ids[0], ids[1:], velocities[1:]  # the instrument count is the prefix's
        begin = max(begin - 1, 0)
        if begin and rng.random() < c.at_bar:
            bars = np.flatnonzero(v.KIND[ids[max(begin - 400, 0) : begin + 1]] == v.K_BAR)
            if len(bars):
                begin = max(begin - 400, 0) + int(bars[-1])
        steps = times_steps(ids)
        chord = ids == v.CHORD
        boundaries_s = np.unique(steps[chord]) * v.STEP_S
        length_s = max(float(steps[-1]), 1.0) * v.STEP_S
        end_s: float | None = length_s
        end_known_s = MAX_TO_END_S
        known_s: npt.NDArray[np.float64] | None = boundaries_s
        if self.augment:
            if rng.random() < c.drop_boundaries:
                known_s = None
            elif rng.random() < c.sparse_boundaries:
                known_s = _thinned(boundaries_s, rng)
            if rng.random() < c.drop_end:
                end_s = None
            elif rng.random() < c.late_end:
                end_known_s = float(rng.uniform(0.0, MAX_TO_END_S))
            keep = ~(chord & (rng.random(len(ids)) < c.drop_chord))
            keep[:begin] = True
        else:
            keep = np.ones(len(ids), dtype=bool)
        # Chords shortly before the crop may have met boundaries within it, so the clock starts somewhat earlier.
        early = max(begin - 256, 0)
        window = np.arange(early, min(begin + length + 64, len(ids)))[keep[early : begin + length + 64]]
        window = window[: np.searchsorted(window, begin) + length]
        mood, curve = self._mood(rng, song, length_s)
        conditions = Conditions(boundaries_s=known_s, end_s=end_s, end_known_s=end_known_s, **mood)
        lanes = conditions.at(steps[window] * v.STEP_S, ids[window] == v.CHORD)
        if not (self.augment and rng.random() < c.drop_meter):
            tempo_given = not self.augment or rng.random() >= c.drop_tempo
            lanes[:, METER_LANES] = song_meter(ids, steps, tempo_given)[window]
        own = rng.spawn(1)[0]  # for lanes of the song's own events, so that the other draws are what they were before
        if self.augment or self.controls:
            drop = c.drop_lane if self.augment else 0.0
            show_song_lanes(lanes, SongEvents(ids, velocities, steps), window, own, drop)
        inside = window >= begin
        seen = np.flatnonzero(keep[: window[-1] + 1])  # the model's past: the whole song, without events left out
        copies = lanes_of_song(ids[seen])[np.searchsorted(seen, window[inside])]
        ids, velocities, lanes = ids[window[inside]], velocities[window[inside]], lanes[inside]
        if self.augment and c.transpose:
            semitones = int(rng.integers(-c.transpose, c.transpose + 1))
            moved = transpose(ids, semitones)
            if moved is not ids:
                ids, copies = moved, transpose_copies(copies, semitones)
                transpose_lanes(lanes, semitones)
        if not (self.augment and rng.random() < c.drop_copy):
            lanes[:, COPY_LANES] = copies
        if self.augment:
            mask_segments(lanes, rng, [[lane] for lane in MOOD_LANES], c.mask_inside, c.mask_outside)
            mask_segments(lanes, own, song_groups(), c.mask_lane_inside, c.mask_lane_outside)
        around = self._around(rng.spawn(1)[0], curve, steps[window[inside]] * v.STEP_S) if self.around else None
        return Row(
            np.concatenate([_SLOTS, [count], ids]),
            np.concatenate([np.zeros(PREFIX, dtype=np.uint8), velocities]),
            np.concatenate([np.repeat(lanes[:1], PREFIX, axis=0), lanes]),
            conditions.mood,
            around,
        )

    def _around(
        self, rng: np.random.Generator, curve: dict[str, Any], times_s: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """The mood around each event, (PREFIX + T, 2, P), left out or masked at random."""
        c = self.config
        around = Conditions(**({} if self.augment and rng.random() < c.drop_around else curve)).around(times_s)
        if self.augment:
            mask_around(around, times_s, rng, c.mask_inside, c.mask_outside)
        return np.concatenate([np.repeat(around[:1], PREFIX, axis=0), around])

    def _mood(self, rng: np.random.Generator, song: int, length_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """The song's mood as `Conditions` takes it, parts of it left out at random; and the curves around events."""
        c = self.config
        times_s, levels = self.data.song_mood(song, length_s)
        draws = rng.random(5) if self.augment else np.ones(5)
        if not len(levels) or draws[0] < c.drop_mood:
            return {}, {}
        given: dict[str, Any] = {}
        curve: dict[str, Any] = {}
        for k, axis in enumerate(("valence", "arousal")):
            if draws[1 + k] < c.drop_axis:
                continue
            if draws[3] >= c.drop_piece_mood:
                given[f"piece_{axis}"] = float(levels[:, k].mean())
            curve[axis] = (times_s, levels[:, k])
            if draws[4] >= c.drop_mood_lanes:
                given[axis] = curve[axis]
        return given, curve


@dataclass(frozen=True, eq=False)
class Row:
    """One crop, prefix and all: ids, velocities (T,), lanes (T, N), mood (2,), around (T, 2, P) or None."""

    ids: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.uint8]
    lanes: npt.NDArray[np.float32]
    mood: npt.NDArray[np.float32]
    around: npt.NDArray[np.float32] | None = None


def collate(rows: Sequence[Row], context: int, *, chord_weight: float = 10.0) -> Batch:
    """Rows of at most context + 1 events, padded, to a batch of exactly `context` positions."""
    n = len(rows)
    ids = np.full((n, context + 1), v.PAD, dtype=np.int64)
    velocities = np.zeros((n, context + 1), dtype=np.int64)
    lanes = np.full((n, context, N_LANES), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        t = min(len(row.ids), context + 1)
        ids[i, :t], velocities[i, :t] = row.ids[:t], row.velocities[:t]
        lanes[i, : min(t, context)] = row.lanes[: min(t, context)]
    targets = ids[:, 1:].copy()
    weights = np.where(targets == v.CHORD, np.float32(chord_weight), np.float32(1))
    weights[targets == v.PAD] = 0
    weights[:, : PREFIX - 1] = 0  # the prefix is given, not predicted
    targets[:, : PREFIX - 1] = v.PAD
    previous_velocity = np.pad(velocities[:, : context - 1], ((0, 0), (1, 0)))
    mood = np.stack([row.mood for row in rows])
    return Batch(
        ids[:, :context], previous_velocity, velocities[:, :context], lanes, mood, targets, weights.astype(np.float32),
        _padded([row.around for row in rows], context),
    )  # fmt: skip


def _padded(curves: Sequence[npt.NDArray[np.float32] | None], context: int) -> npt.NDArray[np.float32] | None:
    """The mood around the events of rows, each (T, 2, P), as (B, context, 2, P); None if a row has none."""
    given = [curve for curve in curves if curve is not None]
    if len(given) < len(curves):
        return None
    out = np.full((len(given), context, *given[0].shape[1:]), np.nan, dtype=np.float32)
    for i, curve in enumerate(given):
        out[i, : min(len(curve), context)] = curve[:context]
    return out


def transpose(ids: npt.NDArray[np.int64], semitones: int) -> npt.NDArray[np.int64]:
    """All pitched events (drums stay) moved by `semitones`; unmoved, every one, if any would leave the range."""
    pitched = v.FAMILY[ids] > v.DRUMS
    moved = v.VALUE[ids[pitched]] + semitones
    low, high = v.PITCH_RANGE[v.PIANO]
    if not len(moved) or moved.min() < low or moved.max() > high:
        return ids
    out = ids.copy()
    out[pitched] += semitones
    return out


def transpose_copies(copies: npt.NDArray[np.float32], semitones: int) -> npt.NDArray[np.float32]:
    """Copy lanes (T, 2) of a song as those of the song moved by `semitones`.

    Which events match does not change; the followers move. One that would leave the range does not
    occur in that key: its lanes become NaN.
    """
    follower = copies[:, 0].astype(np.int64)
    pitched = v.FAMILY[follower] > v.DRUMS
    low, high = v.PITCH_RANGE[v.PIANO]
    moved = v.VALUE[follower] + semitones
    out = copies.copy()
    out[pitched, 0] += semitones
    out[pitched & ((moved < low) | (moved > high))] = np.nan
    return out


def song_meter(
    ids: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], tempo_given: bool = True
) -> npt.NDArray[np.float32]:
    """The values (T, 3) of `meter.of_events` of a whole song, the tempo of its first bar given or not."""
    known = meter.lengths(ids, steps)
    return meter.of_events(ids, steps, float(known[0]) if tempo_given and len(known) else None)


def _thinned(boundaries_s: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Boundaries at least as far apart as a film's: greedily, with a gap drawn between four and eight seconds."""
    gap = rng.uniform(MAX_OFFSET_S / 2, MAX_OFFSET_S)
    kept: list[float] = []
    for time in boundaries_s:
        if not kept or time - kept[-1] >= gap:
            kept.append(float(time))
    return np.array(kept)


def _chord_places(data: Dataset, block: int = 1 << 24) -> npt.NDArray[np.int64]:
    """Where CHORD is in the dataset."""
    parts = [np.flatnonzero(data.ids[a : a + block] == v.CHORD) + a for a in range(0, len(data.ids), block)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
