"""Landing chords on cuts by bending the tempo, and measuring how well chords meet cuts.

With hits "bend", music is composed with the chords for cuts on beats. If the tempo was planned for the film, `follow`
plays it in that tempo. Otherwise `land` moves these beats onto the cuts: each stretch between two of them is played a
little faster or slower. `measure` does not look at CHORD events but at what *sounds*: three or more notes of piano or
guitar that begin together and are held for two beats (`emsync.chords`), or to the end of the piece. A cut in the last
second of a film leaves no room for two beats, but its chord is as much of a hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.chords import chord_onsets
from emsync.cutlist import END_MARGIN_S
from emsync.errors import InputError
from emsync.score import Bars, KeySignature, Marker, Score, TempoMap
from emsync.tempo_plan import TempoPlan
from emsync.tokenizer.families import FAMILY_PROGRAMS
from emsync.vocabulary import CHORD_FAMILIES, STEP_S, STRINGS

FloatArray = npt.NDArray[np.float64]

#: A frame at 30 frames per second, and the wide window of the paper (Section IV-C).
FRAME_S: Final = 1 / 30
WIDE_S: Final = 1.0
#: How long a chord is held (`emsync.chords`).
CHORD_BEATS: Final = 2


@dataclass(frozen=True)
class Hit:
    """A cut and the sounding chord nearest to it within a second, in seconds; None if there is none."""

    cut_s: float
    chord_s: float | None

    @property
    def error_s(self) -> float | None:
        """How late the chord is; negative if it is early."""
        return None if self.chord_s is None else self.chord_s - self.cut_s

    @property
    def within_frame(self) -> bool:
        """Whether the chord is within a frame of the cut."""
        return self.error_s is not None and abs(self.error_s) <= FRAME_S


def warp(times_s: npt.ArrayLike, from_s: FloatArray, to_s: FloatArray) -> FloatArray:
    """Map times by the piecewise linear function that takes `from_s` to `to_s` (both increasing, of equal length)."""
    return np.interp(np.asarray(times_s, dtype=np.float64), from_s, to_s)


def land(score: Score, targets_s: npt.ArrayLike, cuts_s: npt.ArrayLike) -> Score:
    """Bend the tempo so that the music at each target moves to the cut of the same index.

    Notes, bars, markers, keys and the tempo map move together, so that everything keeps its position in its bar. The
    beginning and the end stay where they are.

    targets_s, cuts_s: (B,) increasing, within the score. If several cuts share a target, the nearest one gets it.
    Raises `InputError` if they differ in length or are not increasing.
    """
    targets, cuts = np.asarray(targets_s, dtype=np.float64), np.asarray(cuts_s, dtype=np.float64)
    if targets.shape != cuts.shape or targets.ndim != 1:
        raise InputError(f"{targets.size} chords cannot be moved onto {cuts.size} cuts; give one target for each cut")
    end_s = score.duration_s
    inside = (targets > STEP_S) & (targets < end_s - STEP_S) & (cuts > STEP_S) & (cuts < end_s - STEP_S)
    targets, cuts = targets[inside], cuts[inside]
    if (np.diff(targets) < 0).any() or (np.diff(cuts) <= 0).any():
        raise InputError("chords and cuts must both be in order of time; sort them")
    nearest = np.lexsort((np.abs(cuts - targets), targets))
    _, first = np.unique(targets[nearest], return_index=True)
    targets, cuts = targets[nearest[first]], cuts[nearest[first]]
    if not len(targets):
        return score
    old = np.concatenate([[0.0], targets, [end_s]])
    new = np.concatenate([[0.0], cuts, [end_s]])
    # The tempo may change where it did, and at every landing. A change within rounding of a landing is that landing.
    changes = score.tempo.times_s[(score.tempo.times_s < end_s)]
    changes = changes[np.abs(changes[:, None] - old[None, :]).min(axis=1) > 1e-6]
    at = np.unique(np.concatenate([changes, old[:-1]]))
    edges = np.append(at, end_s)
    stretch = np.diff(warp(edges, old, new)) / np.diff(edges)
    qpm = score.tempo.qpm_at(at + 2e-6) / stretch
    keep = np.append(True, np.abs(np.diff(qpm)) > 1e-9 * qpm[1:])
    tempo = TempoMap(warp(at, old, new)[keep], qpm[keep])
    bars = score.bars
    held = bars.start_s < end_s
    bar_s = warp(bars.start_s[held], old, new)
    start_s, finish_s = warp(score.start_s, old, new), warp(score.end_s, old, new)
    return Score(
        score.instruments, score.instrument, score.pitch, score.velocity, start_s, np.maximum(finish_s, start_s + 1e-6),
        tempo, Bars(bar_s, bars.numerator[held], bars.denominator[held]),
        [Marker(float(warp(m.time_s, old, new)), m.text) for m in score.markers],
        [KeySignature(float(warp(k.time_s, old, new)), k.tonic, k.is_minor) for k in score.keys],
        duration_s=end_s,
    )  # fmt: skip


def follow(score: Score, plan: TempoPlan, duration_s: float) -> Score:
    """Move a score from the nominal time of a plan to the time of its film, which ends at `duration_s`.

    Every note keeps its position in its bar. Bars and tempo are those of the plan, so hits stand on the cuts exactly.
    """
    start_s = plan.to_film(score.start_s)
    bars, tempo = plan.bars, plan.tempo
    held, sooner = bars.start_s < duration_s, tempo.times_s < duration_s
    return Score(
        score.instruments, score.instrument, score.pitch, score.velocity,
        start_s, np.maximum(np.minimum(plan.to_film(score.end_s), duration_s), start_s + 1e-6),
        TempoMap(tempo.times_s[sooner], tempo.qpm[sooner]),
        Bars(bars.start_s[held], bars.numerator[held], bars.denominator[held]),
        [Marker(float(plan.to_film(m.time_s)), m.text) for m in score.markers],
        [KeySignature(float(plan.to_film(k.time_s)), k.tonic, k.is_minor) for k in score.keys],
        duration_s=duration_s,
    )  # fmt: skip


def chord_families(score: Score) -> tuple[int, ...]:
    """The families whose chords count: piano and guitar (paper, Section III-B2); the strings where neither plays."""
    return CHORD_FAMILIES if np.isin(score.instrument, CHORD_FAMILIES).any() else (STRINGS,)


def sounding_chords(score: Score, *, to_end: bool = True) -> FloatArray:
    """Onsets of the long chords of a score of the five families, in seconds, increasing.

    Chords of `chord_families`. to_end: whether notes that sound to the end, for at least `END_MARGIN_S`, count as long.
    """
    if len(score.instruments) != len(FAMILY_PROGRAMS):
        raise InputError(
            f"chords are found in scores of five families, not of {len(score.instruments)} instruments; reduce it first"
        )
    length = score.tempo.quarters_at(score.end_s) - score.tempo.quarters_at(score.start_s)
    slack = 2 * STEP_S * score.tempo.qpm.max() / 60  # both ends were rounded to the grid
    if to_end:
        ends = score.end_s >= score.duration_s - 2 * STEP_S
        long = score.end_s - score.start_s >= END_MARGIN_S - 2 * STEP_S
        length = np.where(ends & long, np.maximum(length, CHORD_BEATS), length)
    # The notes of a landed chord share an onset; in a file they may differ by a rounding error.
    onset = np.rint(score.start_s / 1e-3).astype(np.int64)
    song = np.zeros(len(score), dtype=np.int64)
    families = chord_families(score)
    first = chord_onsets(song, score.instrument, onset, score.pitch, length + slack, families=families)
    return np.unique(score.start_s[first])


def closest_s(score: Score) -> float:
    """How close cuts may be, in seconds, for each to have a chord of its own: two beats, which a chord is held for.

    It is taken at the mean tempo, which bending towards cuts leaves as it is.
    """
    return CHORD_BEATS * score.duration_s / max(float(score.tempo.quarters_at(score.duration_s)), CHORD_BEATS)


def crowded(score: Score, cuts_s: npt.ArrayLike) -> int:
    """How many cuts follow the one before by less than `closest_s`, by more than a frame."""
    return int(np.count_nonzero(np.diff(np.asarray(cuts_s, dtype=np.float64)) < closest_s(score) - FRAME_S))


def measure(score: Score, cuts_s: npt.ArrayLike, *, to_end: bool = True) -> list[Hit]:
    """The sounding chord nearest to each cut, within a second; to_end: as for `sounding_chords`."""
    chords = sounding_chords(score, to_end=to_end)
    hits = []
    for cut in np.asarray(cuts_s, dtype=np.float64).tolist():
        near = chords[np.abs(chords - cut) <= WIDE_S]
        hits.append(Hit(cut, float(near[np.argmin(np.abs(near - cut))]) if len(near) else None))
    return hits
