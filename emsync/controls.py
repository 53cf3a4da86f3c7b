"""The controls that a piece's notes have: one vectorised function each, the same for training, judging and references.

Every function takes notes as arrays of one length (N,) and answers for moments (T,), in the units of
`emsync.control_curves`. Times are in seconds.

- intensity: the power of the notes that sound, 40 dB a tenfold velocity as General MIDI level 2 has it, averaged over
  tenths of a second, smoothed by a Savitzky-Golay filter of second order over a second (HPM, Section 3.2.2;
  controllable-v2m, Section 3.4), in dB against the mean of real songs.
- density: notes that begin in the second before and after, divided by the seconds of these that the piece has.
- melody: the pitch class of the highest note that sounds from middle C on (the skyline), or a rest.
- rhythm: of a beat's four sixteenths, those on which a note begins, as a binary number.
- key: the profile of Krumhansl and Kessler (1982) that fits the pitch classes best that sound four seconds around.
- change: how little the second before is like the second after, 1 minus the cosine between what sounds in each (pitch
  classes, octaves, drums), against the piece's own large changes. This is V2M-Zero's event curve (arXiv 2603.11042),
  on notes instead of an encoder's features: it says when and how much changes, not what, so that a film has one too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.control_curves import KINDS, REST, SLOTS, Control, ControlCurves
from emsync.errors import InputError
from emsync.score import Score

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

#: Controls are measured at the middle of every tenth of a second.
FRAME_S: Final = 0.1
#: A drum sounds for this long.
DRUM_S: Final = 0.15
#: The mean intensity of 600 songs of the corpus while anything sounds, in dB against one note of velocity 127. Songs
#: differ from it by 4.5 dB, and moments from their song by 3.6 dB (standard deviations).
TYPICAL_DB: Final = 0.0
#: The quietest intensity; anything quieter counts as this.
SILENT_DB: Final = KINDS["intensity"].low
#: Frames and order of the smoothing: a second, as both papers have it.
SMOOTH_FRAMES: Final = 11
SMOOTH_ORDER: Final = 2
#: The lead plays from here on: middle C.
LEAD_FROM: Final = 60
#: Density is counted so many seconds to either side, and the key found in as many.
DENSITY_HALF_S: Final = 1.0
KEY_HALF_S: Final = 4.0
#: Change compares so many seconds before a moment with as many after it; `LARGE` of a piece's moments change less than
#: what counts as 1, which is at least `LEAST_CHANGE`.
CHANGE_S: Final = 1.0
LARGE: Final = 0.95
LEAST_CHANGE: Final = 0.05
#: An onset this near to a sixteenth, in sixteenths, is on it.
ON_SIXTEENTH: Final = 0.4
#: Krumhansl and Kessler, Psychological Review 89 (1982): how well each degree fits, from the tonic on.
MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
#: (24, 12) The profiles of the keys, major from C on, then minor, each with mean 0 and length 1.
PROFILES: Final = np.array(
    [(x := np.roll(profile, tonic) - np.mean(profile)) / np.linalg.norm(x)
     for profile in (MAJOR, MINOR) for tonic in range(12)]
)  # fmt: skip
PROFILES.flags.writeable = False
#: Semitones above the tonic of the major and of the natural minor scale, with the leading note of the harmonic minor.
SCALES: Final = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))


def frame_times(duration_s: float) -> FloatArray:
    """(T,) The middles of the tenths of a second of a piece, at least one."""
    return np.asarray((np.arange(max(int(np.ceil(duration_s / FRAME_S - 1e-9)), 1)) + 0.5) * FRAME_S)


def smoothed(values: FloatArray, frames: int = SMOOTH_FRAMES, order: int = SMOOTH_ORDER) -> FloatArray:
    """A Savitzky-Golay filter: at each place the polynomial that fits the window around it best (Anal. Chem. 36, 1964).

    values: (T,). The first and the last half window are read off the polynomials of the first and the last window, as
    `scipy.signal.savgol_filter` does by default. Rows shorter than the window are fitted as a whole.
    """
    n = len(values)
    frames = min(frames, n if n % 2 else n - 1)
    if frames <= order:
        return np.asarray(values, dtype=np.float64)
    half = frames // 2
    powers = np.vander(np.arange(-half, half + 1, dtype=np.float64), order + 1, increasing=True)
    fit = np.linalg.pinv(powers)  # (order + 1, frames): the polynomial of a window
    out = np.convolve(values, fit[0][::-1], mode="same")
    out[:half] = (powers @ (fit @ values[:frames]))[:half]
    out[n - half :] = (powers @ (fit @ values[n - frames :]))[frames - half :]
    return np.asarray(out, dtype=np.float64)


def power(start_s: FloatArray, end_s: FloatArray, weight: FloatArray, duration_s: float) -> FloatArray:
    """(T,) The mean over each tenth of a second of the sum of the weights (N,) of the notes that sound."""
    edges = np.arange(len(frame_times(duration_s)) + 1) * FRAME_S
    at = np.concatenate([start_s, end_s])
    order = np.argsort(at, kind="stable")
    at, steps = at[order], np.concatenate([weight, -weight])[order]
    level = np.cumsum(steps)
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))]) if len(at) else np.zeros(1)
    passed = np.interp(edges, at, area) if len(at) else np.zeros(len(edges))
    return np.maximum(np.diff(passed) / FRAME_S, 0.0)


def intensity(
    start_s: FloatArray, end_s: FloatArray, velocity: npt.NDArray[np.number], is_drum: BoolArray, duration_s: float
) -> FloatArray:
    """(T,) The intensity of every frame, in dB against the mean of real songs."""
    ends = np.where(is_drum, np.minimum(end_s, start_s + DRUM_S), end_s)
    sounding = power(start_s, ends, (np.asarray(velocity) / 127.0) ** 4, duration_s)
    db = 10 * np.log10(np.maximum(sounding, 1e-12)) - TYPICAL_DB
    return np.clip(smoothed(np.maximum(db, SILENT_DB)), SILENT_DB, KINDS["intensity"].high)


def density(start_s: FloatArray, times_s: FloatArray, duration_s: float) -> FloatArray:
    """(T,) How many notes begin a second."""
    starts = np.sort(start_s)
    first, last = np.maximum(times_s - DENSITY_HALF_S, 0.0), np.minimum(times_s + DENSITY_HALF_S, duration_s)
    count = np.searchsorted(starts, last, side="left") - np.searchsorted(starts, first, side="left")
    return np.minimum(count / np.maximum(last - first, FRAME_S), KINDS["density"].high)


def skyline(
    start_s: FloatArray, end_s: FloatArray, pitch: IntArray, duration_s: float
) -> tuple[IntArray, FloatArray, IntArray]:
    """The highest pitch (T,) of every frame, -1 for none; and when its notes begin (K,), with their pitches (K,).

    Notes below `LEAD_FROM` do not count. A note counts in a frame if it sounds in the middle of it.
    """
    lead = np.asarray(pitch) >= LEAD_FROM
    on, off, p = start_s[lead], end_s[lead], np.asarray(pitch)[lead].astype(np.int64)
    n = len(frame_times(duration_s))
    first = np.clip(np.ceil(on / FRAME_S - 0.5 - 1e-9), 0, n).astype(np.int64)
    stop = np.clip(np.ceil(off / FRAME_S - 0.5 - 1e-9), 0, n).astype(np.int64)
    length = np.maximum(stop - first, 0)
    top = np.full(n, -1, dtype=np.int64)
    places = np.repeat(first - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(length.sum())
    np.maximum.at(top, places, np.repeat(p, length))
    at = np.minimum(first, n - 1)
    begins = (length > 0) & (top[at] == p)
    order = np.argsort(on[begins], kind="stable")
    return top, on[begins][order], p[begins][order]


def melody(start_s: FloatArray, end_s: FloatArray, pitch: IntArray, duration_s: float) -> tuple[FloatArray, FloatArray]:
    """(T,) The lead's pitch class in every frame, and (T,) that of its next onset; `REST` for none."""
    top, on, p = skyline(start_s, end_s, pitch, duration_s)
    now = np.where(top < 0, REST, top % 12).astype(np.float64)
    following = np.searchsorted(on, frame_times(duration_s), side="right")
    return now, np.append(p % 12, REST)[following].astype(np.float64)


def rhythm(onset_beats: FloatArray, n_beats: int) -> FloatArray:
    """(n_beats,) The pattern of each beat: its sixteenths on which notes begin, the first counting 8.

    onset_beats: (N,) when notes begin, in beats. Notes further from every sixteenth than `ON_SIXTEENTH` are left out.
    """
    place = np.rint(onset_beats * SLOTS)
    place = place[np.abs(onset_beats * SLOTS - place) <= ON_SIXTEENTH].astype(np.int64)
    struck = np.zeros(n_beats * SLOTS, dtype=np.int64)
    struck[place[(place >= 0) & (place < len(struck))]] = 1
    return (struck.reshape(n_beats, SLOTS) @ (1 << np.arange(SLOTS)[::-1])).astype(np.float64)


def key_of(weights: npt.NDArray[np.number]) -> IntArray:
    """(...,) The key that fits the weights (..., 12) of the pitch classes best: 0 to 11 major, 12 to 23 minor."""
    centred = weights - weights.mean(axis=-1, keepdims=True)
    return np.asarray((centred @ PROFILES.T).argmax(axis=-1))


def key(start_s: FloatArray, end_s: FloatArray, pitch: IntArray, times_s: FloatArray, duration_s: float) -> FloatArray:
    """(T,) The key around each moment, NaN where nothing pitched sounds."""
    edges = np.arange(len(frame_times(duration_s)) + 1) * FRAME_S
    total = summed(sounding(start_s, end_s, np.asarray(pitch) % 12, 12, duration_s))
    weights = _between(total, edges, times_s - KEY_HALF_S, times_s + KEY_HALF_S)
    found = key_of(weights).astype(np.float64)
    return np.where(weights.sum(axis=1) > 1e-9, found, np.nan)


def sounding(start_s: FloatArray, end_s: FloatArray, group: IntArray, n: int, duration_s: float) -> FloatArray:
    """(T, n) How many notes of each group sound in every frame, on average over it.

    group: (N,) the group of each note, 0 to n - 1.
    """
    frames = len(frame_times(duration_s))
    steps = np.zeros((frames + 2) * n)
    for at_s, sign in ((start_s, 1.0), (end_s, -1.0)):
        place = np.clip(np.asarray(at_s, dtype=np.float64) / FRAME_S, 0.0, frames)
        frame = place.astype(np.int64)
        late = place - frame  # a note that begins within a frame counts in part there, and in full from the next on
        cell = frame * n + group
        steps += sign * np.bincount(cell, 1.0 - late, len(steps))
        steps += sign * np.bincount(cell + n, late, len(steps))
    counts = steps.reshape(frames + 2, n).cumsum(axis=0)[:frames]
    return np.where(np.abs(counts) < 1e-9, 0.0, counts)


def summed(values: FloatArray) -> FloatArray:
    """(T, n) -> (T + 1, n): the sum of what comes before each edge of the frames."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _between(total: FloatArray, edges: npt.NDArray[np.floating], first_s: FloatArray, last_s: FloatArray) -> FloatArray:
    """(M, n) What sounds between two times (M,) each: total (T + 1, n) is `summed`, at edges (T + 1,)."""
    ends = []
    for at_s in (first_s, last_s):
        place = np.clip(at_s / (edges[1] - edges[0]), 0.0, len(edges) - 1.0)
        frame = np.minimum(place.astype(np.int64), len(edges) - 2)
        part = (place - frame)[:, None]
        ends.append(total[frame] * (1 - part) + total[frame + 1] * part)
    return np.asarray(ends[1] - ends[0])


def change(
    start_s: FloatArray, end_s: FloatArray, pitch: IntArray, is_drum: BoolArray, duration_s: float
) -> FloatArray:
    """(T,) How much the music changes at every frame, 0 to 1, 1 for the largest changes of the piece itself.

    Where only one of the two seconds has music, the change is 1; where neither has any, it is 0.
    """
    times_s = frame_times(duration_s)
    edges = np.arange(len(times_s) + 1) * FRAME_S
    ends = np.where(is_drum, np.minimum(end_s, start_s + DRUM_S), end_s)
    octave = np.asarray(pitch) // 12
    parts = [
        sounding(start_s[~is_drum], ends[~is_drum], np.asarray(pitch)[~is_drum] % 12, 12, duration_s),
        sounding(start_s[~is_drum], ends[~is_drum], octave[~is_drum], 11, duration_s),
        sounding(start_s[is_drum], ends[is_drum], octave[is_drum], 11, duration_s).sum(axis=1, keepdims=True),
    ]
    total = summed(np.concatenate(parts, axis=1))
    before = _between(total, edges, times_s - CHANGE_S, times_s)
    after = _between(total, edges, times_s, times_s + CHANGE_S)
    sizes = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    silent = (before.sum(axis=1) < 1e-6).astype(int) + (after.sum(axis=1) < 1e-6)
    unlike = np.where(silent == 0, 1 - (before * after).sum(axis=1) / np.maximum(sizes, 1e-12), silent == 1)
    return np.clip(unlike / max(float(np.quantile(unlike, LARGE)), LEAST_CHANGE), 0.0, 1.0)


def in_scale(key: int) -> BoolArray:
    """(12,) Which pitch classes belong to a key, 0 to 23."""
    inside = np.zeros(12, dtype=bool)
    inside[(key % 12 + np.array(SCALES[key // 12])) % 12] = True
    return inside


# ---- of a score -----------------------------------------------------------------------------------------------------


def of_score(score: Score, duration_s: float | None = None) -> ControlCurves:
    """All controls of a score, of any instruments.

    duration_s: measure as if it were this long; by default its own length. A sung line or an effect counts as any note.
    Raises `InputError` for a score without notes.
    """
    if not len(score):
        raise InputError("it has no notes, so it has no controls; give a reference with music")
    length = score.duration_s if duration_s is None else duration_s
    drums = np.array([i.is_drum for i in score.instruments], dtype=bool)[score.instrument]
    on, off, pitch = (column[~drums] for column in (score.start_s, score.end_s, score.pitch))
    times = frame_times(length)
    found = {
        "intensity": Control(times, intensity(score.start_s, score.end_s, score.velocity, drums, length)),
        "density": Control(times, density(score.start_s, times, length)),
        "change": Control(times, change(score.start_s, score.end_s, score.pitch, drums, length)),
    }
    origin = score.tempo.quarters_at(score.bars.start_s[:1])[0] if len(score.bars) else 0.0
    beats = score.tempo.quarters_at(score.start_s) - origin
    n_beats = max(int(np.ceil(float(score.tempo.quarters_at(np.array([length]))[0]) - origin)), 1)
    beat_s = score.tempo.seconds_at(np.arange(n_beats) + origin)
    after = (beat_s >= 0) & (beat_s < length)
    if after.any():
        found["rhythm"] = Control(beat_s[after], rhythm(beats, n_beats)[after])
    if len(on):
        top, again_s, _ = skyline(on, off, pitch, length)
        struck = np.zeros(len(times), dtype=bool)  # a note that is played again is a point of its own
        struck[np.minimum(np.maximum(np.ceil(again_s / FRAME_S - 0.5 - 1e-9), 0), len(times) - 1).astype(np.int64)] = (
            True
        )
        found["melody"] = _changes(times, np.where(top < 0, REST, top % 12).astype(np.float64), struck)
        found["key"] = _changes(times, key(on, off, pitch, times, length))
    return ControlCurves(found)


def _changes(times_s: FloatArray, values: FloatArray, struck: BoolArray | None = None) -> Control:
    """A held control from its values in every frame: a point at the beginning of each run of equal values.

    struck: (T,) where a point is wanted in any case.
    """
    new = np.append(True, ~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))))
    if struck is not None:
        new |= struck
    return Control(np.maximum(times_s[new] - FRAME_S / 2, 0.0), values[new], held=True)


def measured_melody_onsets(score: Score) -> tuple[FloatArray, IntArray]:
    """When the notes of a score's lead begin (K,), and their pitches (K,)."""
    drums = np.array([i.is_drum for i in score.instruments], dtype=bool)[score.instrument]
    _, on, pitch = skyline(score.start_s[~drums], score.end_s[~drums], score.pitch[~drums], score.duration_s)
    return on, pitch
