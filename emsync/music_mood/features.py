"""The symbolic features that mood is read from, window by window.

Conventions
- Time is cut into bins of one second. A window is `WINDOW_S` bins around a bin, a wide one `WIDE_S`;
  both are cut off at the music's beginning and end. A row of features describes one bin.
- Sums for each bin are computed once, and windows are differences of running totals, so a song needs few passes.
- "Pitched" is every family but drums. Feature names are `FEATURES`, one a column.
- In silent windows rates are 0, and features that need notes (pitch, loudness, mode) are NaN.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.score import Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS, reduce
from emsync.vocabulary import DRUMS, FAMILIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

WINDOW_S: Final = 9
WIDE_S: Final = 25
#: Harmony is measured in slots of this length: everything in a slot sounds together.
SLOTS_PER_S: Final = 4
#: Onsets nearer than this are one chord.
CHORD_S: Final = 0.03
#: Music longer than this is refused: a curve of a day is damage.
MAX_DURATION_S: Final = 86_400.0

#: Krumhansl and Kessler's probe-tone profiles (Krumhansl, Cognitive Foundations of Musical Pitch, 1990).
MAJOR: Final = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR: Final = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
#: Perceived consonance of interval classes 1 to 6 (Huron, Music Perception 11, 1994).
CONSONANCE: Final = np.array([-1.428, -0.582, 0.594, 0.386, 1.240, -0.453])
#: Pitch classes above the root: the four triads.
TRIADS: Final = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6), "augmented": (0, 4, 8)}

FEATURES: Final = (
    "tempo",  # log2 of quarter notes a minute
    *(f"onsets_{name.lower()}" for name in FAMILIES),  # log(1 + onsets a second)
    "onsets_pitched",
    "chord_rate",  # log(1 + distinct moments a second at which something pitched begins)
    "chord_size",  # notes a moment
    "busiest_family",  # log(1 + onsets a second) of the busiest pitched family
    "families",  # how many play
    "pitch_mean",  # of pitched notes, MIDI numbers
    "pitch_sd",
    "pitch_low",  # lowest and highest second by second, averaged
    "pitch_high",
    "register_change",  # mean pitch of the window's second half less its first
    "loudness",  # velocity
    "loudness_sd",
    "loudness_change",
    "note_length",  # log2 of seconds
    "articulation",  # share of the time to the family's next onset that a note fills, at most 1.5
    "polyphony",  # pitched notes sounding at a time
    "silence",  # share of slots without a pitched note
    "mode",  # correlation with the best major key less that with the best minor key
    "mode_wide",
    "key_clarity",  # correlation with the best key
    "key_clarity_wide",
    "key_drift",  # how far the window's pitch classes are from the wide window's (1 - cosine)
    "chroma_entropy",
    *(f"triad_{name}" for name in TRIADS),  # share of sounding slots that hold such a triad
    *(f"triad_{name}_wide" for name in ("major", "minor")),
    *(f"interval_class_{i}" for i in range(1, 7)),  # share of sounding pitch class pairs
    "consonance",
    "consonance_wide",
    "bass_dissonance",  # share of seconds' pitch classes a semitone or tritone above the lowest note
    "harmonic_rhythm",  # how far each second's pitch classes are from the last's (1 - cosine)
    "off_beat",  # share of pitched onsets off the quarter, and off the eighth
    "off_eighth",
    "onset_unevenness",  # of distinct onset distances: deviation over mean
    "melody_step",  # semitones the top line moves from onset to onset, as they are and without sign
    "melody_rise",
    "melody_leaps",  # share of moves over a fourth
    "repeated_notes",  # share of moves of none
)
N_FEATURES: Final = len(FEATURES)


@dataclass(frozen=True, eq=False)
class Notes:
    """What the features need of a song: rows (N,) in any order, a tempo map, and how long it lasts (s)."""

    family: IntArray
    pitch: IntArray
    velocity: IntArray
    start_s: FloatArray
    end_s: FloatArray
    tempo: TempoMap
    duration_s: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.duration_s) and 0 <= self.duration_s <= MAX_DURATION_S):
            raise InputError(f"music of {self.duration_s:g} s has no mood curve; give at most {MAX_DURATION_S:g} s")

    @classmethod
    def of_score(cls, score: Score) -> Notes:
        """Any score, brought to the five families (effects are dropped)."""
        reduced = reduce(score).score
        family_of = np.array([FAMILY_INSTRUMENTS.index(i) for i in reduced.instruments], dtype=np.int64)
        family = family_of[reduced.instrument] if len(reduced) else np.zeros(0, dtype=np.int64)
        return cls(
            family, reduced.pitch, reduced.velocity, reduced.start_s, reduced.end_s, score.tempo, score.duration_s
        )


def features(notes: Notes) -> FloatArray:
    """(bins, N_FEATURES): one row a second of music, for the window around the middle of that second.

    bins is the duration rounded up, at least 1. A feature is NaN where silence leaves it without a value.
    """
    seconds = _Seconds(notes)
    out: dict[str, FloatArray] = {}
    _add_tempo_and_onsets(seconds, out)
    pitched = seconds.pitched()
    _add_notes(pitched, out)
    _add_harmony(pitched, out)
    _add_rhythm(pitched, out)
    return np.stack([out[name] for name in FEATURES], axis=1)


class _Seconds:
    """Notes by the second of their onset, in order, and the windows that features are taken over."""

    def __init__(self, notes: Notes) -> None:
        self.tempo = notes.tempo
        self.n = max(1, int(np.ceil(notes.duration_s)))
        order = np.argsort(notes.start_s, kind="stable")
        order = order[notes.start_s[order] < self.n]
        self.family, self.velocity = notes.family[order].astype(np.int64), notes.velocity[order].astype(np.float64)
        self.pitch = notes.pitch[order].astype(np.int64)
        self.start, self.end = notes.start_s[order], np.minimum(notes.end_s[order], self.n)
        self.near, self.wide = _Window(self.n, WINDOW_S), _Window(self.n, WIDE_S)
        self.bins = self.start.astype(np.int64)

    def pitched(self) -> _Seconds:
        """The same without drums."""
        kept = copy.copy(self)
        keep = self.family != DRUMS
        for name in ("family", "velocity", "pitch", "start", "end", "bins"):
            setattr(kept, name, getattr(self, name)[keep])
        return kept

    @property
    def moment(self) -> npt.NDArray[np.bool_]:
        """(notes,) whether a note begins a new moment, and not a chord with the one before."""
        return np.append(True, np.diff(self.start) > CHORD_S)[: len(self.start)]

    @property
    def low(self) -> IntArray:
        """(n,) the lowest pitch of each second, 128 if there is none."""
        low = np.full(self.n, 128)
        np.minimum.at(low, self.bins, self.pitch)
        return low


def _add_tempo_and_onsets(seconds: _Seconds, out: dict[str, FloatArray]) -> None:
    """Tempo, onset rates of the families, loudness; of all notes, drums too."""
    n, near, bins, family, velocity = seconds.n, seconds.near, seconds.bins, seconds.family, seconds.velocity
    middle_s = np.arange(n) + 0.5
    out["tempo"] = np.log2(np.clip(seconds.tempo.qpm_at(middle_s), 20.0, 400.0))
    per_family = np.bincount(bins * len(FAMILIES) + family, minlength=n * len(FAMILIES)).reshape(n, -1).astype(float)
    rates = near.sum(per_family) / near.length_s[:, None]  # (n, families)
    for index, name in enumerate(FAMILIES):
        out[f"onsets_{name.lower()}"] = np.log1p(rates[:, index])
    tonal = np.arange(len(FAMILIES)) != DRUMS
    out["onsets_pitched"] = np.log1p(rates[:, tonal].sum(axis=1))
    out["busiest_family"] = np.log1p(rates[:, tonal].max(axis=1))
    out["families"] = (rates > 0).sum(axis=1).astype(float)
    out["loudness"], out["loudness_sd"] = near.mean_and_deviation(bins, velocity)
    out["loudness_change"] = near.change(bins, velocity)


def _add_notes(seconds: _Seconds, out: dict[str, FloatArray]) -> None:
    """Chords, register, length and articulation of the pitched notes."""
    n, near, bins, family, pitch = seconds.n, seconds.near, seconds.bins, seconds.family, seconds.pitch
    start, end, moment, low = seconds.start, seconds.end, seconds.moment, seconds.low
    count = near.total(bins, np.ones(len(bins)))
    moments = near.total(bins, moment.astype(float))
    out["chord_rate"] = np.log1p(moments / near.length_s)
    out["chord_size"] = _ratio(count, moments)
    out["pitch_mean"], out["pitch_sd"] = near.mean_and_deviation(bins, pitch.astype(float))
    out["register_change"] = near.change(bins, pitch.astype(float))
    out["note_length"] = near.mean(bins, np.log2(np.clip(end - start, 0.02, 16.0)))
    out["articulation"] = near.mean(bins, _filled_share(family, start, end))
    played = np.bincount(bins, minlength=n) > 0
    high = np.full(n, -1)
    np.maximum.at(high, bins, pitch)
    known = np.flatnonzero(played)
    out["pitch_low"] = near.mean(known, low[played].astype(float))
    out["pitch_high"] = near.mean(known, high[played].astype(float))


def _add_harmony(seconds: _Seconds, out: dict[str, FloatArray]) -> None:
    """Polyphony, key, triads and tension: seconds of each pitch class in each slot."""
    n, near, wide, bins, pitch = seconds.n, seconds.near, seconds.wide, seconds.bins, seconds.pitch
    start, end = seconds.start, seconds.end
    slots = n * SLOTS_PER_S
    sounding = _overlap(start * SLOTS_PER_S, end * SLOTS_PER_S, pitch % 12, slots, 12)  # (slots, 12), slot lengths
    per_second = sounding.reshape(n, SLOTS_PER_S, 12).sum(axis=1) / SLOTS_PER_S
    out["polyphony"] = near.sum(per_second.sum(axis=1)) / near.length_s
    on = (sounding > 0.2).astype(float)
    busy = on.sum(axis=1) > 0
    busy_s = busy.reshape(n, SLOTS_PER_S).sum(axis=1).astype(float)
    out["silence"] = 1 - near.sum(busy_s) / (near.length_s * SLOTS_PER_S)
    sounding_s = near.sum(busy_s), wide.sum(busy_s)
    local, broad = near.sum(per_second), wide.sum(per_second)
    for suffix, chroma in (("", local), ("_wide", broad)):
        major, minor = _key(chroma, MAJOR), _key(chroma, MINOR)
        out["mode" + suffix] = major - minor
        out["key_clarity" + suffix] = np.maximum(major, minor)
    out["key_drift"] = 1 - _cosine(local, broad)
    share = local / np.where(local.sum(axis=1, keepdims=True) > 0, local.sum(axis=1, keepdims=True), np.nan)
    out["chroma_entropy"] = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=1)
    _add_chords(on, sounding_s, (near, wide), out)
    played, low = np.bincount(bins, minlength=n) > 0, seconds.low
    above_bass = np.take_along_axis(per_second, (np.where(played, low, 0)[:, None] + np.array([1, 6])) % 12, axis=1)
    harsh = _ratio(above_bass.sum(axis=1), per_second.sum(axis=1))[played]
    out["bass_dissonance"] = near.mean(np.flatnonzero(played)[~np.isnan(harsh)], harsh[~np.isnan(harsh)])
    moved = 1 - _cosine(per_second[1:], per_second[:-1])
    known = np.flatnonzero(~np.isnan(moved))
    out["harmonic_rhythm"] = near.mean(known + 1, moved[known])


def _add_chords(
    on: FloatArray,
    sounding_s: tuple[FloatArray, FloatArray],
    windows: tuple[_Window, _Window],
    out: dict[str, FloatArray],
) -> None:
    """Triads and intervals of the pitch classes that sound together. on: (slots, 12), 1 where one sounds."""
    near, wide = windows
    slots = len(on)
    n = slots // SLOTS_PER_S
    for name, members in TRIADS.items():
        chord = np.ones((slots, 12))
        for member in members:
            chord *= np.roll(on, -member, axis=1)
        found = (chord.max(axis=1) > 0).reshape(n, SLOTS_PER_S).sum(axis=1).astype(float)
        out[f"triad_{name}"] = _ratio(near.sum(found), sounding_s[0])
        if f"triad_{name}_wide" in FEATURES:
            out[f"triad_{name}_wide"] = _ratio(wide.sum(found), sounding_s[1])
    pairs = np.stack(
        [(on * np.roll(on, -i, axis=1)).sum(axis=1) * (0.5 if i == 6 else 1.0) for i in range(1, 7)], axis=1
    )
    pairs = pairs.reshape(n, SLOTS_PER_S, 6).sum(axis=1)
    for suffix, window in (("", near), ("_wide", wide)):
        total = window.sum(pairs)
        # Without any two pitch classes at once there is no tension: shares are 0, not unknown.
        shares = total / np.maximum(total.sum(axis=1, keepdims=True), 1e-9)
        out["consonance" + suffix] = shares @ CONSONANCE
        if not suffix:
            for i in range(6):
                out[f"interval_class_{i + 1}"] = shares[:, i]


def _add_rhythm(seconds: _Seconds, out: dict[str, FloatArray]) -> None:
    """Rhythm against the beat, and the top line."""
    near, bins, pitch, start, moment = seconds.near, seconds.bins, seconds.pitch, seconds.start, seconds.moment
    quarters = seconds.tempo.quarters_at(start)
    off = np.abs(quarters - np.round(quarters)) > 1 / 12
    off_eighth = np.abs(2 * quarters - np.round(2 * quarters)) > 1 / 6
    out["off_beat"] = near.mean(bins[moment], off[moment].astype(float))
    out["off_eighth"] = near.mean(bins[moment], off_eighth[moment].astype(float))
    begins = np.flatnonzero(moment)
    distance, deviation = near.mean_and_deviation(bins[begins[1:]], np.minimum(np.diff(start[begins]), 4.0))
    out["onset_unevenness"] = _ratio(deviation, distance)
    top = np.maximum.reduceat(pitch, begins) if len(begins) else np.zeros(0, dtype=np.int64)
    step = np.diff(top).astype(float)
    at = bins[begins[1:]]
    out["melody_step"] = near.mean(at, np.minimum(np.abs(step), 24.0))
    out["melody_rise"] = near.mean(at, np.clip(step, -24.0, 24.0))
    out["melody_leaps"] = near.mean(at, (np.abs(step) > 5).astype(float))
    out["repeated_notes"] = near.mean(at, (step == 0).astype(float))


class _Window:
    """Sums over `width_s` (odd) bins around each of `n` bins, and means of what fell into them."""

    def __init__(self, n: int, width_s: int) -> None:
        self.n = n
        middle = np.arange(n)
        self.low = np.maximum(middle - width_s // 2, 0)
        self.high = np.minimum(middle + width_s // 2 + 1, n)
        self.centre = middle
        self.length_s = (self.high - self.low).astype(float)

    def sum(self, values: FloatArray) -> FloatArray:
        """(n, ...) a bin -> (n, ...) a window."""
        return self._between(values, self.low, self.high)

    @staticmethod
    def _between(values: FloatArray, low: IntArray, high: IntArray) -> FloatArray:
        total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        return np.asarray(
            np.maximum(total[high] - total[low], 0.0) if (values >= 0).all() else total[high] - total[low]
        )

    def total(self, bins: IntArray, values: FloatArray) -> FloatArray:
        return self.sum(np.bincount(bins, values, minlength=self.n).astype(float))

    def mean(self, bins: IntArray, values: FloatArray) -> FloatArray:
        return _ratio(self.total(bins, values), self.total(bins, np.ones(len(bins))))

    def mean_and_deviation(self, bins: IntArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = self.mean(bins, values)
        return mean, np.sqrt(np.maximum(self.mean(bins, values**2) - mean**2, 0.0))

    def change(self, bins: IntArray, values: FloatArray) -> FloatArray:
        """Mean of the second half less that of the first; 0 where one of them holds nothing but the other does."""
        count = np.bincount(bins, minlength=self.n).astype(float)
        total = np.bincount(bins, values, minlength=self.n).astype(float)
        middle = self.centre + 1
        before = _ratio(self._between(total, self.low, middle), self._between(count, self.low, middle))
        after = _ratio(self._between(total, middle, self.high), self._between(count, middle, self.high))
        both = np.isnan(before) & np.isnan(after)
        return np.where(both, np.nan, np.nan_to_num(after - before))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """The quotient, NaN where nothing is below (sums of ones and zeros leave rounding, hence the threshold)."""
    some = below > 1e-9
    return np.where(some, above / np.where(some, below, 1.0), np.nan)


def _filled_share(family: IntArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """Length of each note over the time to its family's next onset, at most 1.5; the last ones of a family are 1."""
    share = np.ones(len(start))
    for member in range(len(FAMILIES)):
        mine = np.flatnonzero(family == member)
        if not len(mine):
            continue
        onset = start[mine]
        following = np.searchsorted(onset, onset + CHORD_S, side="right")
        known = following < len(onset)
        gap = onset[np.minimum(following, len(onset) - 1)] - onset
        share[mine[known]] = np.minimum((end[mine] - onset)[known] / gap[known], 1.5)
    return share


def _overlap(start: FloatArray, end: FloatArray, row: IntArray, slots: int, rows: int) -> FloatArray:
    """(slots, rows): how much of each slot (of length 1) the notes of each row fill, summed.

    A note's share of the slots is the difference of two ramps, each a partial slot and whole ones from there on.
    """
    part, whole = np.zeros((slots + 2) * rows), np.zeros((slots + 2) * rows)
    for times, sign in ((start, 1.0), (end, -1.0)):
        slot = np.minimum(times.astype(np.int64), slots)
        part += sign * np.bincount(slot * rows + row, 1 - (times - slot), minlength=len(part))
        whole += sign * np.bincount((slot + 1) * rows + row, minlength=len(whole))
    filled = part.reshape(-1, rows) + np.cumsum(whole.reshape(-1, rows), axis=0)
    return np.asarray(np.maximum(filled[:slots], 0.0))


def _key(chroma: FloatArray, profile: FloatArray) -> FloatArray:
    """(n,): the best correlation of each row's pitch classes (n, 12) with a profile in its twelve keys."""
    keys = np.stack([np.roll(profile - profile.mean(), tonic) for tonic in range(12)], axis=1)  # (12, 12)
    centred = chroma - chroma.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    best = (centred @ keys).max(axis=1) / np.sqrt((keys[:, 0] ** 2).sum())
    return _ratio(best, size)


def _cosine(a: FloatArray, b: FloatArray) -> FloatArray:
    return _ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))
