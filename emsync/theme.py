"""Melodies: a theme of the user's own, and where a score plays one.

Conventions: melodies are in quarter notes; scores are in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync import vocabulary as v
from emsync.controls import key_of
from emsync.errors import InputError
from emsync.guide import ORDER, Source
from emsync.keys import Key
from emsync.score import Score
from emsync.tokenizer import families

FloatArray = npt.NDArray[np.floating]

#: The most bars that a theme file may have.
MOST_THEME_BARS: Final = 16
#: The family with the melody has at least this share of the pitched notes.
LEAD_SHARE: Final = 0.15


@dataclass(frozen=True, eq=False)
class Theme:
    """A melody: notes (N,) by onset.

    Attributes:
        onset_quarters, length_quarters: In quarter notes from its first bar line.
        pitch: MIDI pitches.
        family: The index of the family that plays it (`vocabulary.FAMILIES`).
        bar_quarters: The length of its bars.
        name: What to call it.

    """

    onset_quarters: npt.NDArray[np.float64]
    length_quarters: npt.NDArray[np.float64]
    pitch: npt.NDArray[np.int64]
    family: int
    bar_quarters: float = 4.0
    name: str = "theme"

    def __len__(self) -> int:
        return len(self.pitch)

    @property
    def key(self) -> Key | None:
        """The key that fits it best; None for notes that are all the same."""
        weights = np.bincount(self.pitch % 12, weights=self.length_quarters, minlength=12)
        if np.ptp(weights) == 0:
            return None
        is_minor, tonic = divmod(int(key_of(weights)), 12)
        return Key(tonic, bool(is_minor))

    @property
    def n_bars(self) -> int:
        """How many bars it has."""
        return int(np.ceil((self.onset_quarters.max() + 1e-6) / self.bar_quarters))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Theme:
        """The melody of a MIDI file: the top line of the family that plays highest.

        Raises:
            MidiError: The file cannot be read.
            InputError: It has no pitched notes, or more than `MOST_THEME_BARS` bars.

        """
        score = families.reduce(midi.read(path)).score
        if not (score.instrument != v.DRUMS).any():
            raise InputError(f"{path} has no pitched notes; a theme needs a melody of at least one note")
        theme = cls.of_score(score, name=os.path.basename(os.fspath(path)))
        if theme.n_bars > MOST_THEME_BARS:
            raise InputError(
                f"the theme {path} has {theme.n_bars} bars, more than {MOST_THEME_BARS}; give its first bars only"
            )
        return theme

    @classmethod
    def of_score(cls, score: Score, *, start_s: float = 0.0, end_s: float = np.inf, name: str = "theme") -> Theme:
        """The top line of a stretch of a score of the five families; its first bar line is that of its first note."""
        inside = (score.instrument != v.DRUMS) & (score.start_s >= start_s - 1e-6) & (score.start_s < end_s - 1e-6)
        if not inside.any():
            raise InputError(f"no pitched notes begin between {start_s:g} s and {end_s:g} s; choose another stretch")
        on, off, pitch, family = (x[inside] for x in (score.start_s, score.end_s, score.pitch, score.instrument))
        lead = lead_family(pitch, family)
        own = family == lead
        on, off, pitch = on[own], off[own], pitch[own]
        order = np.lexsort((-pitch, np.rint(on / 0.03)))  # the highest of the notes that begin together
        first = np.concatenate([[True], np.diff(np.rint(on[order] / 0.03)) > 0])
        on, off, pitch = on[order][first], off[order][first], pitch[order][first]
        bars_s = score.bars.start_s
        at = int(max(np.searchsorted(bars_s, on[0] + 0.03, side="right") - 1, 0))
        origin_s = float(bars_s[at]) if len(bars_s) else 0.0
        origin = score.tempo.quarters_at(np.array([origin_s]))[0]
        onset = score.tempo.quarters_at(on) - origin
        length = score.tempo.quarters_at(off) - origin - onset
        bar = float(score.bars.quarters[at]) if len(bars_s) else 4.0
        return cls(onset, length, pitch.astype(np.int64), lead, bar, name)

    def source(self, beat_steps: float) -> Source:
        """The melody as a passage, in a tempo with `beat_steps` steps per quarter note."""
        low, high = v.PITCH_RANGE[self.family]
        pitch = self.pitch + 12 * np.where(self.pitch < low, 1, np.where(self.pitch > high, -1, 0))
        events: list[list[tuple[int, int]]] = [[] for _ in range(self.n_bars + 1)]
        ends = self.onset_quarters + self.length_quarters
        following = np.append(self.onset_quarters[1:], np.inf)
        for onset, end, p in zip(self.onset_quarters, np.minimum(ends, following), pitch, strict=True):
            for quarters, base in ((onset, v.ON_BASE), (end, v.OFF_BASE)):
                bar = min(int((quarters + 1e-6) // self.bar_quarters), self.n_bars)
                place = round((quarters - bar * self.bar_quarters) * beat_steps)
                events[bar].append((place, int(base[self.family] + p)))
        bars = tuple(tuple(sorted(bar, key=lambda e: (e[0], ORDER[e[1]]))) for bar in events)
        lengths = tuple(round(self.bar_quarters * beat_steps) for _ in bars)
        return Source(bars, lengths, frozenset({self.family}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        return {
            "name": self.name, "family": v.FAMILIES[self.family], "bar_quarters": self.bar_quarters,
            "onset_quarters": self.onset_quarters.tolist(), "length_quarters": self.length_quarters.tolist(),
            "pitch": self.pitch.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Theme:
        """A theme from a record. Raises KeyError, TypeError or ValueError for anything else."""
        onset, length = (np.array(values[k], dtype=np.float64) for k in ("onset_quarters", "length_quarters"))
        pitch = np.array(values["pitch"], dtype=np.int64)
        bar = float(values["bar_quarters"])
        is_one = onset.ndim == 1 and onset.shape == length.shape == pitch.shape and 0 < len(pitch)
        if not (is_one and np.isfinite(onset).all() and np.isfinite(length).all() and 0.25 <= bar <= 64):
            raise ValueError("its notes do not fit together")
        if not ((onset >= 0).all() and (np.diff(onset) >= 0).all() and (length > 0).all()):
            raise ValueError("its notes are not in order")
        if not ((pitch >= 0).all() and (pitch <= 127).all() and onset.max() < MOST_THEME_BARS * bar):
            raise ValueError("a note is out of range")
        return cls(onset, length, pitch, v.FAMILIES.index(values["family"]), bar, str(values["name"]))


def given_theme(theme: str | os.PathLike[str] | Theme | None) -> Theme | None:
    """A theme; read, if it is the name of a file. Raises as `Theme.read`."""
    return Theme.read(theme) if isinstance(theme, str | os.PathLike) else theme


def lead_family(pitch: npt.NDArray[np.integer], family: npt.NDArray[np.integer]) -> int:
    """The family that plays highest on average, of those with at least `LEAD_SHARE` of the notes."""
    count = np.bincount(family, minlength=len(v.FAMILIES))
    mean = np.bincount(family, weights=pitch, minlength=len(v.FAMILIES)) / np.maximum(count, 1)
    return int(np.where(count >= LEAD_SHARE * len(pitch), mean, -1.0).argmax())


@dataclass(frozen=True)
class Return:
    """Where a melody is played: its first bar line, its transposition in semitones, and the share of its notes.

    in_other_mode: whether it is in minor though the melody is in major, or the other way round.
    """

    time_s: float
    semitones: int
    share: float
    in_other_mode: bool = False


def find_returns(
    score: Score,
    theme: Theme,
    *,
    least: float = 0.7,
    within_quarters: float = 0.13,
    semitones: Sequence[int] = range(-12, 13),
) -> list[Return]:
    """Where a score plays a melody, in any family but drums: at its bar lines, in order of time.

    A note of the melody is played if a note of its pitch begins within `within_quarters` of where it should. Of all
    transpositions, as it is and in the other mode, the one that has most notes counts. Returns that overlap are one:
    the best.

    Args:
        score: The score.
        theme: The melody.
        least: The least share of the melody's notes.
        within_quarters: How far off an onset may be.
        semitones: The transpositions to look for.

    """
    pitched = score.instrument != v.DRUMS
    at = score.tempo.quarters_at(score.start_s[pitched])
    pitch = score.pitch[pitched].astype(np.int64)
    found: list[Return] = []
    if not len(at) or not len(score.bars.start_s):
        return found
    order = np.argsort(at, kind="stable")
    at, pitch = at[order], pitch[order]
    lines = score.tempo.quarters_at(score.bars.start_s)
    shifts = np.array(semitones, dtype=np.int64)
    key = theme.key
    ways = [theme.pitch] if key is None else [theme.pitch, key.in_mode(theme.pitch, minor=not key.is_minor)]
    length = theme.n_bars * theme.bar_quarters
    for line, time_s in zip(lines.tolist(), score.bars.start_s.tolist(), strict=True):
        hits = np.zeros((len(ways), len(shifts)))
        for number, onset in enumerate(theme.onset_quarters.tolist()):
            first, stop = np.searchsorted(at, (line + onset - within_quarters, line + onset + within_quarters))
            hits += [np.isin(way[number] + shifts, pitch[first:stop]) for way in ways]
        distance = np.abs(shifts) + 100 * np.arange(len(ways))[:, None]  # of equally good ones, the nearest counts
        way, best = divmod(int(np.lexsort((distance.ravel(), -hits.ravel()))[0]), len(shifts))
        share = float(hits[way, best] / len(theme))
        if share < least:
            continue
        here = Return(time_s, int(shifts[best]), share, bool(way))
        before = score.tempo.quarters_at(np.array([found[-1].time_s]))[0] if found else -np.inf
        if line - before < length - 1e-6:
            if share > found[-1].share:
                found[-1] = here
        else:
            found.append(here)
    return found
