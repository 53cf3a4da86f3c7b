"""Pianoroll archives to events, vectorised over many songs, with NumPy alone.

The archive's clock is musical (24 steps a quarter note); events live on the 8 ms grid. With `snap_tempo` each tempo
is first moved to the nearest one whose sixteenth is a whole number of grid steps, q' = 1875 / k quarter notes a minute
with k = round(1875 / q), so that a rhythm repeats in the same events wherever it occurs
(docs/decisions/0001-tempo-snapping.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.chords import chord_onsets
from emsync.tokenizer.events import MAX_STEPS, Notes, assemble

STEPS_PER_QUARTER = 24
DEFAULT_QPM = 120.0
#: Tempi outside are files' mistakes, not music.
QPM_RANGE = (20.0, 400.0)
SNAP_QPM = 60 / (4 * v.STEP_S)  # the tempo at which a sixteenth is one step: 1875

#: At most this many songs, and (except for one long song) notes, are converted at once.
_SONGS_AT_ONCE, _NOTES_AT_ONCE = 256, 1 << 17
_ONSET_BITS = (MAX_STEPS - 1).bit_length()
_ARRAYS = (
    "note_offset",
    "family",
    "pitch",
    "start_delta",
    "duration",
    "velocity",
    "tempo_offset",
    "tempo_step",
    "tempo_qpm",
    "meter_offset",
    "meter_step",
    "meter_num",
    "meter_den",
)

Archive = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SongEvents:
    """Events of many songs, end to end: song i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: npt.NDArray[np.uint16]
    velocities: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]


class _Clock:
    """Musical steps of many songs to seconds, through each song's tempo map."""

    def __init__(self, song: np.ndarray, step: np.ndarray, qpm: np.ndarray, n_songs: int, snap: bool) -> None:
        qpm = np.nan_to_num(qpm.astype(np.float64), nan=DEFAULT_QPM).clip(*QPM_RANGE)
        # Every song begins with the default, which a change at step 0 replaces (the last of equals counts).
        song = np.concatenate([np.arange(n_songs), song])
        step = np.concatenate([np.zeros(n_songs, dtype=np.int64), step.astype(np.int64)])
        qpm = np.concatenate([np.full(n_songs, DEFAULT_QPM), qpm])
        order = np.argsort((song << 32) | step, kind="stable")
        self._song, self._step, qpm = song[order], step[order], qpm[order]
        if snap:
            qpm = SNAP_QPM / np.maximum(np.rint(SNAP_QPM / qpm), 1)
        self._seconds_per_step = 60 / (qpm * STEPS_PER_QUARTER)
        begins = np.append(True, self._song[1:] != self._song[:-1])
        length = np.append(0.0, np.diff(self._step) * self._seconds_per_step[:-1])
        length[begins] = 0.0
        total = np.cumsum(length)
        self._time = total - total[begins][np.cumsum(begins) - 1]
        self._key = (self._song << 32) | self._step

    def grid(self, song: np.ndarray, step: np.ndarray) -> npt.NDArray[np.int64]:
        """Musical steps (may be fractional) to 8 ms steps."""
        whole = step if step.dtype == np.int64 else np.floor(step).astype(np.int64)
        segment = np.searchsorted(self._key, (song.astype(np.int64) << 32) | whole, side="right") - 1
        seconds = self._time[segment] + (step - self._step[segment]) * self._seconds_per_step[segment]
        return np.rint(seconds / v.STEP_S).astype(np.int64)


def _ragged(archive: Archive, name: str, first: int, last: int) -> tuple[np.ndarray, slice]:
    """Song numbers (from 0) of the entries of songs first..last, and their places."""
    offset = archive[f"{name}_offset"][first : last + 1].astype(np.int64)
    return np.repeat(np.arange(last - first), np.diff(offset)), slice(int(offset[0]), int(offset[-1]))


def _starts(group: np.ndarray, delta: np.ndarray) -> npt.NDArray[np.int64]:
    """Onsets in musical steps: `start_delta` summed up within each group (song and family)."""
    if not len(group):
        return np.empty(0, dtype=np.int64)
    begins = np.append(True, group[1:] != group[:-1])
    total = np.cumsum(delta)
    before = (total - delta)[begins]
    return np.asarray(total - before[np.cumsum(begins) - 1], dtype=np.int64)


def _bars(archive: Archive, first: int, last: int, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bars of songs up to each song's last onset `end`: song, start step, length in steps (both may be fractional)."""
    n_songs = last - first
    song, where = _ragged(archive, "meter", first, last)
    num = archive["meter_num"][where].astype(np.float64).clip(1)
    den = archive["meter_den"][where].astype(np.float64).clip(1)
    song = np.concatenate([np.arange(n_songs), song])
    step = np.concatenate([np.zeros(n_songs, dtype=np.int64), archive["meter_step"][where].astype(np.int64)])
    quarters = np.concatenate([np.full(n_songs, 4.0), 4 * num / den])
    quarters = quarters * np.ceil(1 / quarters)  # meters shorter than a quarter note are written in longer bars
    quarters = quarters / np.ceil(
        quarters / (v.MAX_BAR_HALF_QUARTERS / 2) - 1e-9
    )  # and those over eight quarters split
    order = np.argsort((song << 32) | step, kind="stable")
    song, step, length = song[order], step[order], quarters[order] * STEPS_PER_QUARTER
    final = np.append(song[1:] != song[:-1], True)
    until = np.where(final, end[song] + 1, np.minimum(np.append(step[1:], 0), end[song] + 1))
    count = np.ceil(np.maximum(until - step, 0) / length).astype(np.int64)
    index = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    start = step[index] + within * length[index]
    # A meter change in mid-bar ends the bar there.
    actual = np.where(final[index], length[index], np.minimum(length[index], until[index] - start))
    return song[index], start, actual


def tokenize(archive: Archive, first: int = 0, last: int | None = None, *, snap_tempo: bool = True) -> SongEvents:
    """Songs first..last (exclusive) of an archive (the arrays of docs/corpus.md) to events.

    Silent bars before the first onset are left out, so that every song begins with the bar of its first note.
    """
    archive = {name: archive[name] for name in _ARRAYS}  # an open .npz would decompress at every look
    n_all = len(archive["note_offset"]) - 1
    last = n_all if last is None else min(last, n_all)
    if not 0 <= first < last:
        return SongEvents(np.empty(0, dtype=np.uint16), np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64))
    tempo_song, where = _ragged(archive, "tempo", first, last)
    clock = _Clock(tempo_song, archive["tempo_step"][where], archive["tempo_qpm"][where], last - first, snap_tempo)
    # A few songs at a time: as much as stays in the processor's cache, and in the bits of a key.
    parts, begin = [], first
    while first < last:
        limit = archive["note_offset"][first] + _NOTES_AT_ONCE
        until = int(np.searchsorted(archive["note_offset"], limit, side="right")) - 1
        until = min(max(until, first + 1), first + _SONGS_AT_ONCE, last)
        parts.append(_tokenize(archive, first, until, clock, first - begin))
        first = until
    lengths = [np.diff(part.offsets) for part in parts]
    return SongEvents(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.velocities for part in parts]),
        np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *lengths])),
    )


def _tokenize(archive: Archive, first: int, last: int, clock: _Clock, base: int) -> SongEvents:
    """`tokenize`, all songs at once; song `first` is number `base` of the clock."""
    n_songs = last - first
    song, where = _ragged(archive, "note", first, last)
    family = archive["family"][where]
    pitch = archive["pitch"][where]
    duration = archive["duration"][where].astype(np.int64)
    start = _starts(song * len(v.FAMILIES) + family, archive["start_delta"][where].astype(np.int64))

    last_onset = np.zeros(n_songs, dtype=np.int64)
    np.maximum.at(last_onset, song, start)
    first_onset = np.full(n_songs, np.iinfo(np.int64).max)
    np.minimum.at(first_onset, song, start)
    bar_song, bar_start, bar_length = _bars(archive, first, last, last_onset)
    # The bar in which each song begins.
    begins_in = np.zeros(n_songs)
    early = bar_start <= first_onset[bar_song]
    np.maximum.at(begins_in, bar_song[early], bar_start[early])
    keep = bar_start >= begins_in[bar_song]
    bar_song, bar_start, bar_length = bar_song[keep], bar_start[keep], bar_length[keep]

    zero = clock.grid(base + np.arange(n_songs), begins_in)
    zero_of_note = zero[song]
    on = clock.grid(base + song, start) - zero_of_note
    off = np.maximum(clock.grid(base + song, start + duration) - zero_of_note, on + 1)
    bar_step = clock.grid(base + bar_song, bar_start) - zero[bar_song]
    half = np.rint(bar_length / (STEPS_PER_QUARTER / 2)).astype(np.int64).clip(1, v.MAX_BAR_HALF_QUARTERS)
    # Two bars in one step (a meter change after a sliver of a bar): the later one counts.
    distinct = np.append((bar_song[1:] != bar_song[:-1]) | (bar_step[1:] != bar_step[:-1]), True)
    bar_song, bar_step, half = bar_song[distinct], bar_step[distinct], half[distinct]

    level = v.velocity_level(archive["velocity"][where])
    chords = chord_onsets(song, family, on, pitch, duration / STEPS_PER_QUARTER)
    clash = _part(song, family, pitch, on, off)
    if len(clash):
        good = np.ones(len(on), dtype=bool)
        good[clash] = False
        chords = chords[good[chords]]
    chord = np.unique((song[chords] << 32) | on[chords])
    notes = Notes(song, family, pitch, level, on, off)
    if len(clash):
        notes = Notes(song[good], family[good], pitch[good], level[good], on[good], off[good])
    ids, velocities, offsets = assemble(notes, bar_song, bar_step, half, chord >> 32, chord & 0xFFFFFFFF, n_songs)
    return SongEvents(ids, velocities, offsets)


def _part(song: np.ndarray, family: np.ndarray, pitch: np.ndarray, on: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Part equal notes that a grid of 8 ms has brought together: writes `off`, gives the indices of notes to leave out.

    At absurd tempi two notes of a pitch may fall into one step: the later one goes. And a note's least length of one
    step may reach into the next.
    """
    # Song, family, pitch, onset and place in one integer: sorting those is several times faster than np.lexsort.
    place_bits = max(len(on) - 1, 1).bit_length()
    key = (song * len(v.FAMILIES) + family) * 128 + pitch
    key <<= _ONSET_BITS + place_bits
    key |= on << place_bits
    key |= np.arange(len(on))
    key.sort()
    place = key & ((1 << place_bits) - 1)
    key >>= place_bits
    on, until = on[place], off[place]
    close = np.flatnonzero(((key[1:] >> _ONSET_BITS) == (key[:-1] >> _ONSET_BITS)) & (until[:-1] > on[1:]))
    off[place[close]] = np.maximum(on[close + 1], on[close] + 1)
    return place[np.flatnonzero(key[1:] == key[:-1]) + 1]
