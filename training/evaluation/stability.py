"""Whether long pieces stay consistent: the same statistics for every minute, and whether they drift.

Conventions: scores of the five families, in seconds; a minute is 60 s of the piece, and a note counts where it begins.
Sounding time (polyphony, silence) is clipped to the minute. A statistic without notes is NaN.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.files import atomic_path
from emsync.score import Score
from emsync.tokenizer.events import times_steps
from emsync.training.evaluation.landing import Composed, CutList, random_list
from emsync.training.evaluation.report_page import plain, table
from emsync.vocabulary import DRUMS, FAMILIES, STEP_S

Floats = npt.NDArray[np.float64]

MINUTE_S: Final = 60.0
DEFAULT_MINUTES: Final = 5
#: A drum hit sounds for this long, whatever the length of its note.
HIT_S: Final = 0.5
#: A note is stuck when it sounds longer than this. One of a second or more that begins again at once goes on.
STUCK_S: Final = 8.0
_LONG_S, _AT_ONCE_S = 1.0, 0.02
#: The statistics by the name they have in JSON, and what they are called with their units.
STATISTICS: Final[Mapping[str, str]] = {
    "notes_per_s": "notes a second",
    **{f"notes_per_s_{family}": f"notes a second, {family}" for family in FAMILIES},
    "polyphony": "notes sounding, without drums",
    "pitch_class_entropy": "pitch-class entropy, bits",
    "mean_pitch": "mean pitch, MIDI",
    "velocity": "mean velocity",
    "silence": "share of silence",
    "stuck_notes": f"notes over {STUCK_S:g} s",
}


def long_lists(n: int, seed: int, *, minutes: int = DEFAULT_MINUTES) -> list[CutList]:
    """Make `n` films of this many minutes, with cuts as in `landing.random_lists`."""
    if n < 1:
        raise InputError(f"{n} pieces measure nothing; give at least 1")
    if minutes < 2:
        raise InputError(f"{minutes} minutes cannot drift; give at least 2")
    return [random_list(np.random.default_rng([seed, 1, i]), f"{i:03d}", minutes * MINUTE_S) for i in range(n)]


def minute_by_minute(score: Score, minutes: int) -> dict[str, Floats]:
    """Each of `STATISTICS` for the first minutes of a score of the five families: name -> (minutes,).

    Pitch-class entropy is that of the onsets, drums left out: -sum p log2 p over the twelve classes (MusDr: Wu & Yang
    2020, Section 4.1).
    """
    if len(score.instruments) != len(FAMILIES):
        raise InputError(
            f"a score of {len(score.instruments)} instruments is not one of five families; reduce it first"
        )
    edges_s: Floats = np.asarray(np.arange(minutes + 1) * MINUTE_S, dtype=np.float64)
    pitched = score.instrument != DRUMS
    minute = np.floor(score.start_s / MINUTE_S).astype(np.int64)
    inside = minute < minutes

    def count(mask: npt.NDArray[np.bool_], weights: npt.ArrayLike | None = None) -> Floats:
        chosen = mask & inside
        weighed = None if weights is None else np.asarray(weights, dtype=np.float64)[chosen]
        return np.bincount(minute[chosen], weights=weighed, minlength=minutes).astype(np.float64)

    def mean(mask: npt.NDArray[np.bool_], values: npt.ArrayLike) -> Floats:
        n = count(mask)
        return np.where(n > 0, count(mask, values) / np.maximum(n, 1), np.nan)

    everything = np.ones(len(score), dtype=bool)
    values = {"notes_per_s": count(everything) / MINUTE_S}
    for family, name in enumerate(FAMILIES):
        values[f"notes_per_s_{name}"] = count(score.instrument == family) / MINUTE_S
    start_s, end_s = score.start_s[pitched], score.end_s[pitched]
    # Seconds of sound within each minute: what all notes have sounded by its end, less what they had by its beginning.
    sounded = np.clip(edges_s[:, None] - start_s, 0, end_s - start_s).sum(axis=1)
    values["polyphony"] = np.diff(sounded) / MINUTE_S
    classes = np.stack([count(pitched & (score.pitch % 12 == k)) for k in range(12)], axis=1)  # (minutes, 12)
    total = classes.sum(axis=1, keepdims=True)
    p = classes / np.maximum(total, 1)
    entropy = -(p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)
    values["pitch_class_entropy"] = np.where(total[:, 0] > 0, entropy, np.nan)
    values["mean_pitch"] = mean(pitched, score.pitch)
    values["velocity"] = mean(everything, score.velocity)
    heard_until = np.where(pitched, score.end_s, score.start_s + HIT_S)
    values["silence"] = 1 - np.diff(_covered(score.start_s, heard_until, edges_s)) / MINUTE_S
    stuck_s = _stuck(score)
    values["stuck_notes"] = np.bincount(
        np.floor(stuck_s[stuck_s < edges_s[-1]] / MINUTE_S).astype(np.int64), minlength=minutes
    ).astype(np.float64)
    return values


def _covered(start_s: Floats, end_s: Floats, at_s: Floats) -> Floats:
    """For each time, how many seconds before it are within at least one of the spans; start_s is sorted."""
    if not len(start_s):
        return np.zeros(len(at_s))
    until = np.maximum.accumulate(end_s)
    first = np.flatnonzero(np.append(True, start_s[1:] > until[:-1]))  # where sound begins out of silence
    begin, end = start_s[first], until[np.append(first[1:] - 1, len(until) - 1)]
    done = np.concatenate([[0.0], np.cumsum(end - begin)])
    i = np.searchsorted(begin, at_s, side="right")
    return np.asarray(done[i] - np.where(i > 0, np.maximum(end[np.maximum(i - 1, 0)] - at_s, 0), 0))


def _stuck(score: Score) -> Floats:
    """Where notes begin that sound longer than `STUCK_S`; notes that continue without a gap count as one."""
    found = []
    for family in range(len(FAMILIES)):
        if family == DRUMS:
            continue
        own = score.of(family)
        for pitch in np.unique(own.pitch):
            start, end = own.start_s[own.pitch == pitch], own.end_s[own.pitch == pitch]
            goes_on = (start[1:] - end[:-1] <= _AT_ONCE_S) & (end[:-1] - start[:-1] >= _LONG_S)
            first = np.flatnonzero(np.append(True, ~goes_on))
            last = np.append(first[1:] - 1, len(start) - 1)
            found.append(start[first][end[last] - start[first] > STUCK_S])
    return np.concatenate(found) if found else np.zeros(0)


@dataclass(frozen=True, eq=False)
class Stability:
    """The statistics of P pieces, minute by minute, and how they ended.

    values: name -> (P, minutes), of `STATISTICS`. early_s: (P,) how long before the requested end END is.
    quiet_s: (P,) how long before that end the last sound ends.
    """

    values: Mapping[str, Floats]
    early_s: Floats
    quiet_s: Floats

    @property
    def n_pieces(self) -> int:
        return len(self.early_s)

    def by_minute(self, name: str) -> Floats:
        """The mean over pieces, (minutes,), NaN left out."""
        given = ~np.isnan(self.values[name])
        n = given.sum(axis=0)
        total = np.where(given, self.values[name], 0).sum(axis=0)
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    def ratio(self, name: str) -> float:
        """The mean of the last minute divided by that of the first; NaN where the first is 0."""
        means = self.by_minute(name)
        return float(means[-1] / means[0]) if means[0] else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values: for each statistic its means by minute and the last by the first; how pieces ended."""
        return {
            "pieces": self.n_pieces,
            "statistics": {
                name: {"by_minute": [plain(x) for x in self.by_minute(name)], "last_to_first": plain(self.ratio(name))}
                for name in self.values
            },
            "end_early_s": {"mean": float(self.early_s.mean()), "max": float(self.early_s.max())},
            "quiet_before_end_s": {"mean": float(self.quiet_s.mean()), "max": float(self.quiet_s.max())},
        }

    def to_markdown(self) -> str:
        """A section: the table of statistics by minutes."""
        minutes = next(iter(self.values.values())).shape[1]
        rows: list[list[str | float]] = [
            [STATISTICS[name], *self.by_minute(name).tolist(), self.ratio(name)] for name in self.values
        ]
        return (
            "\n".join(
                [
                    "## Stability",
                    "",
                    f"{self.n_pieces} pieces of {minutes} minutes, with random cuts; means over pieces. "
                    f"END was {self.early_s.mean():.2f} s before the requested end (at most "
                    f"{self.early_s.max():.2f} s), and the last sound ceased "
                    f"{self.quiet_s.mean():.2f} s before it (at most {self.quiet_s.max():.2f} s).",
                    "",
                    *table(["minute", *map(str, range(1, minutes + 1)), "last by first"], rows),
                ]
            )
            + "\n"
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """One small plot for each statistic: thin lines are pieces, the thick one is the mean; x: minutes (PNG)."""
        from matplotlib.figure import Figure

        columns = 4
        figure = Figure(figsize=(13, 2.5 * math.ceil(len(self.values) / columns)), layout="constrained")
        for i, (name, values) in enumerate(self.values.items()):
            axes = figure.add_subplot(math.ceil(len(self.values) / columns), columns, i + 1)
            minutes = np.arange(1, values.shape[1] + 1)
            for piece in values:
                axes.plot(minutes, piece, color="0.75", linewidth=0.8)
            axes.plot(minutes, self.by_minute(name), color="C0", linewidth=2, marker="o", markersize=4)
            axes.set_title(STATISTICS[name], fontsize=9)
            axes.set_xticks(minutes)
            if name not in ("mean_pitch", "velocity", "pitch_class_entropy"):
                axes.set_ylim(bottom=0)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")


def measure(composed: Sequence[Composed]) -> Stability:
    """The statistics of pieces of one length, of two minutes or more; an incomplete last minute is left out.

    Raises `InputError` for no pieces, or pieces of other lengths.
    """
    if not composed:
        raise InputError("there are no pieces to measure; compose at least 1")
    lengths = {made.film.duration_s for made in composed}
    if len(lengths) > 1 or min(lengths) < 2 * MINUTE_S:
        raise InputError(
            f"pieces of {min(lengths):g} to {max(lengths):g} s cannot be compared minute by minute; "
            "give pieces of one length, two minutes or more"
        )
    (length_s,) = lengths
    each = [minute_by_minute(made.score, int(length_s // MINUTE_S)) for made in composed]
    values = {name: np.stack([one[name] for one in each]) for name in STATISTICS}

    def before_end(when: Callable[[Composed], float]) -> Floats:
        return np.array([max(length_s - when(made), 0.0) for made in composed])

    return Stability(
        values,
        before_end(lambda made: float(times_steps(made.piece.events.ids)[-1]) * STEP_S),
        before_end(lambda made: float(made.score.end_s.max(initial=0.0))),
    )
